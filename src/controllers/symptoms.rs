//! What is seen around a workload that is down, read once for each attempt that is told of.
//!
//! Every list has a limit and a selector, and nothing here makes a look fail: what cannot be read is
//! not known, and says why. Of a log no line leaves this file.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        core::v1::{Event, Pod, PodTemplateSpec},
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
    core::{Selector, SelectorExt as _},
};

use super::{
    Ctx, Error,
    workload::{self, fault, goes_on},
};
use crate::{
    api::contract::WorkloadRef,
    decide::symptoms::log,
    domain::{ContainerLimits, Fact, ScannedLog, Symptoms, Unseen, Warning, WorkloadKind, text},
};

/// Most pods of a workload that are looked at.
const MOST_PODS: u32 = 100;
/// Most pods whose Events are asked for.
const MOST_TROUBLED: usize = 3;
/// Most Events of one object, and most `NetworkPolicies` of a namespace, that are looked at.
const MOST_LISTED: u32 = 100;
/// How much of a log is looked at.
const LOG_LINES: i64 = 200;
const LOG_BYTES: i64 = 64 * 1024;

/// What a workload makes its pods from.
struct Maker {
    selector: LabelSelector,
    template: PodTemplateSpec,
}

/// What is seen around the workload.
pub async fn around(ctx: &Ctx, namespace: &str, named: &WorkloadRef) -> Symptoms {
    let maker = match maker(ctx, namespace, named).await {
        Ok(maker) => maker,
        Err(why) => {
            return Symptoms {
                limits: Err(why.clone()),
                shields: Err(why.clone()),
                warnings: Err(why.clone()),
                log: Err(why),
                unseen: Unseen::default(),
            };
        }
    };
    let mut unseen = Unseen::default();
    let troubled = troubled(ctx, namespace, &maker.selector, &mut unseen.pods).await;
    let (shields, warnings, log) = tokio::join!(
        shields(ctx, namespace, &maker.template, &mut unseen.policies),
        warnings(ctx, namespace, named, &troubled, &mut unseen.events),
        scanned_log(ctx, namespace, &troubled),
    );
    Symptoms { limits: Ok(limits(&maker.template)), shields, warnings, log, unseen }
}

/// The answer, or why there is none, for people: what the API server said may hold anything.
fn known<T>(answer: Result<T, Error>, granted_by: &str) -> Fact<T> {
    answer.map_err(|error| match error {
        Error::Stalled(stall) if stall.reason == "PermissionDenied" => {
            format!("not allowed: {}; the chart's {granted_by} does", stall.message)
        }
        Error::Timeout { attempted, .. } => format!("{attempted}: no answer in time"),
        Error::Stalled(_)
        | Error::Conflict { .. }
        | Error::Retry { .. }
        | Error::Early { .. }
        | Error::NotLeader { .. } => "the API server could not tell".to_owned(),
    })
}

const DIAGNOSIS: &str = "diagnosis.enabled";

async fn maker(ctx: &Ctx, namespace: &str, named: &WorkloadRef) -> Fact<Maker> {
    let name = &named.name;
    let found = match named.kind {
        WorkloadKind::Deployment => {
            let found = workload::named::<Deployment>(ctx, namespace, name).await;
            let spec = known(found, DIAGNOSIS)?.and_then(|object| object.spec);
            spec.map(|spec| Maker { selector: spec.selector, template: spec.template })
        }
        WorkloadKind::StatefulSet => {
            let found = workload::named::<StatefulSet>(ctx, namespace, name).await;
            let spec = known(found, DIAGNOSIS)?.and_then(|object| object.spec);
            spec.map(|spec| Maker { selector: spec.selector, template: spec.template })
        }
    };
    found.ok_or_else(|| format!("{} {name} does not exist", named.kind))
}

fn limits(template: &PodTemplateSpec) -> Vec<ContainerLimits> {
    let containers = template.spec.iter().flat_map(|spec| &spec.containers);
    let limits = containers.map(|container| {
        let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        let limit = |what: &str| Some(text::bounded(&limits?.get(what)?.0, 32));
        ContainerLimits {
            container: text::bounded(&container.name, 63),
            memory: limit("memory"),
            cpu: limit("cpu"),
        }
    });
    limits.collect()
}

/// The pods that do not run, or else those that do: a few of them.
async fn troubled(
    ctx: &Ctx,
    namespace: &str,
    selector: &LabelSelector,
    more: &mut bool,
) -> Fact<Vec<Pod>> {
    let selector = Selector::try_from(selector.clone())
        .map_err(|_| "the workload's selector is not usable".to_owned())?;
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
    let of_it = ListParams::default().labels_from(&selector).limit(MOST_PODS);
    let attempted = format!("reading the pods of {namespace}");
    let found = known(ctx.read(&attempted, pods.list(&of_it)).await, DIAGNOSIS)?;
    *more = goes_on(&found);
    let mut pods = found.items;
    pods.sort_by_key(|pod| (fault(pod).is_none(), pod.name_any()));
    pods.truncate(MOST_TROUBLED);
    Ok(pods)
}

/// The `NetworkPolicies` that decide who may connect to pods of this template.
async fn shields(
    ctx: &Ctx,
    namespace: &str,
    template: &PodTemplateSpec,
    more: &mut bool,
) -> Fact<Vec<String>> {
    let policies: Api<NetworkPolicy> = Api::namespaced(ctx.client.clone(), namespace);
    let attempted = format!("reading the NetworkPolicies of {namespace}");
    let some = ListParams::default().limit(MOST_LISTED);
    let found = known(ctx.read(&attempted, policies.list(&some)).await, DIAGNOSIS)?;
    *more = goes_on(&found);
    let none = BTreeMap::new();
    let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    let labels = labels.unwrap_or(&none);
    let selects = |policy: &&NetworkPolicy| {
        policy.spec.as_ref().is_some_and(|spec| {
            let is_ingress = spec.policy_types.as_ref().is_none_or(|types| {
                types.is_empty() || types.iter().any(|policy_type| policy_type == "Ingress")
            });
            let selector = Selector::try_from(spec.pod_selector.clone().unwrap_or_default());
            is_ingress && selector.is_ok_and(|selector| selector.matches(labels))
        })
    };
    let mut names: Vec<String> = found.iter().filter(selects).map(ResourceExt::name_any).collect();
    names.sort();
    Ok(names)
}

/// What the cluster warned of, by reason: about these pods, and about making pods at all.
async fn warnings(
    ctx: &Ctx,
    namespace: &str,
    named: &WorkloadRef,
    troubled: &Fact<Vec<Pod>>,
    more: &mut bool,
) -> Fact<Vec<Warning>> {
    // A Deployment's pods are made by its ReplicaSets, which are named after it.
    let maker = match named.kind {
        WorkloadKind::Deployment => "involvedObject.kind=ReplicaSet".to_owned(),
        WorkloadKind::StatefulSet => {
            format!("involvedObject.kind=StatefulSet,involvedObject.name={}", named.name)
        }
    };
    let of_pod =
        |pod: &Pod| format!("involvedObject.kind=Pod,involvedObject.name={}", pod.name_any());
    let of_pods = troubled.iter().flatten().map(of_pod);
    let prefix = format!("{}-", named.name);
    let is_ours = |event: &Event| {
        let of = &event.involved_object;
        let name = of.name.as_deref().unwrap_or_default();
        of.kind.as_deref() != Some("ReplicaSet") || name.starts_with(&prefix)
    };
    let events: Api<Event> = Api::namespaced(ctx.client.clone(), namespace);
    let attempted = format!("reading the Events of {namespace}");
    let mut by_reason: BTreeMap<String, Warning> = BTreeMap::new();
    for about in of_pods.chain([maker]) {
        let warnings =
            ListParams::default().fields(&format!("type=Warning,{about}")).limit(MOST_LISTED);
        let found = known(ctx.read(&attempted, events.list(&warnings)).await, DIAGNOSIS)?;
        *more |= goes_on(&found);
        for event in found.iter().filter(|event| is_ours(event)) {
            let Some(seen) = seen(event) else { continue };
            let known = by_reason
                .entry(seen.reason.clone())
                .or_insert_with(|| Warning { times: 0, ..seen.clone() });
            known.times = known.times.saturating_add(seen.times);
            known.last = known.last.max(seen.last);
        }
    }
    Ok(by_reason.into_values().collect())
}

/// The Event as one warning. Whoever writes Events can write any reason: what is no word is no reason.
fn seen(event: &Event) -> Option<Warning> {
    let reason = event.reason.as_deref().unwrap_or_default();
    let is_word = !reason.is_empty() && reason.chars().all(|c| c.is_ascii_alphanumeric());
    let reason = if is_word { text::bounded(reason, 63) } else { "Other".to_owned() };
    let series = event.series.as_ref();
    let times = series.and_then(|series| series.count).or(event.count).unwrap_or(1);
    let last: Timestamp = series
        .and_then(|series| Some(series.last_observed_time.as_ref()?.0))
        .or_else(|| Some(event.last_timestamp.as_ref()?.0))
        .or_else(|| Some(event.event_time.as_ref()?.0))
        .or_else(|| Some(event.metadata.creation_timestamp.as_ref()?.0))?;
    Some(Warning { reason, times: u32::try_from(times).unwrap_or(1), last })
}

/// The end of the log of one container, the first that is in trouble.
async fn scanned_log(ctx: &Ctx, namespace: &str, troubled: &Fact<Vec<Pod>>) -> Fact<ScannedLog> {
    // The right to read logs says nothing: the same one is given for those of Jobs.
    if !ctx.config.diagnosis_logs {
        return Err(
            "not allowed: no log is looked through; the chart's diagnosis.logs has it done"
                .to_owned(),
        );
    }
    let pods = troubled.as_ref().map_err(Clone::clone)?;
    let Some(pod) = pods.first() else { return Err("there is no pod to read a log of".to_owned()) };
    let Some(container) = container(pod) else {
        return Err("its pod has no container".to_owned());
    };
    let (name, container) = (pod.name_any(), text::bounded(&container, 63));
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
    let attempted = format!("reading the log of Pod {namespace}/{name}");
    let end = LogParams {
        container: Some(container.clone()),
        tail_lines: Some(LOG_LINES),
        limit_bytes: Some(LOG_BYTES),
        timestamps: true,
        ..LogParams::default()
    };
    let text = known(ctx.read(&attempted, pods.logs(&name, &end)).await, "diagnosis.logs")?;
    let (lines, found) = log::scan(&text);
    Ok(ScannedLog { pod: name, container, lines, found })
}

/// The first container of the pod that is not ready, or else the first.
fn container(pod: &Pod) -> Option<String> {
    let statuses = pod.status.iter().flat_map(|status| {
        status.init_container_statuses.iter().chain(&status.container_statuses).flatten()
    });
    let is_done = |container: &k8s_openapi::api::core::v1::ContainerStatus| {
        let ended = container.state.as_ref().and_then(|state| state.terminated.as_ref());
        ended.is_some_and(|ended| ended.exit_code == 0)
    };
    let unready = statuses.into_iter().find(|container| !container.ready && !is_done(container));
    unready
        .map(|container| container.name.clone())
        .or_else(|| Some(pod.spec.as_ref()?.containers.first()?.name.clone()))
}
