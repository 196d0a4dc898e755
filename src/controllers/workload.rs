//! The source inside the cluster: read for a decision, and acted on for an effect step.
//!
//! What the operator may not read is a fact like any other: a contract does not stall for want of a
//! right that only some steps need.

use std::collections::BTreeMap;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, StatefulSet},
        authorization::v1::{
            LocalSubjectAccessReview, ResourceAttributes, SelfSubjectAccessReview,
            SelfSubjectAccessReviewSpec, SubjectAccessReviewSpec,
        },
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ManagedFieldsEntry},
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, Preconditions},
    core::{ObjectList, Selector},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Ctx, Error, Key, create_as_us, patch_as_us};
use crate::{
    api::{
        RESTARTED_FOR, SCALED_FOR,
        contract::{ServiceRef, Source, WorkloadRef},
    },
    decide::{
        endpoints::{self, Endpoints},
        gitops,
        view::Right,
    },
    domain::{Doubt, DoubtReason, FailedPod, PodFault, SourceState, Workload, WorkloadKind},
    steps::Change,
};

/// The chart's value that gives the rights to workloads.
const VALUE: &str = "effects.enabled";

/// Most pods of a workload that are looked at.
const MOST_PODS: u32 = 100;
/// Most `EndpointSlices` of a Service that are looked at; each has a hundred endpoints.
const MOST_SLICES: u32 = 10;

/// What is to be seen of `source` inside the cluster.
///
/// # Errors
/// Only what concerns the API server as a whole.
pub async fn state(ctx: &Ctx, namespace: &str, source: &Source) -> Result<SourceState, Error> {
    let mut state = SourceState::default();
    if let Some(named) = &source.workload_ref {
        let found = match named.kind {
            WorkloadKind::Deployment => deployment(ctx, namespace, &named.name).await,
            WorkloadKind::StatefulSet => stateful_set(ctx, namespace, &named.name).await,
        };
        match readable(found, VALUE)? {
            Ok(Some((mut workload, selector))) => {
                let mut scaler = Ok(None);
                if workload.wanted == 0 && workload.scaled_by.is_none() {
                    scaler = readable(scaler_of(ctx, namespace, named).await, VALUE)?;
                }
                let pods = readable(pods(ctx, namespace, &selector).await, VALUE)?;
                let pods = pods.map(|(pods, more)| {
                    state.more_pods = more;
                    state.failed = pods.iter().filter_map(|pod| failed(pod, &workload)).collect();
                    let mut faults: Vec<PodFault> = pods.iter().filter_map(fault).collect();
                    faults.sort();
                    faults
                });
                state.pods = Some(pods);
                state.workload = Some(scaler.map(|scaler| {
                    workload.scaled_by = scaler.or(workload.scaled_by.take());
                    workload
                }));
            }
            Ok(None) => {
                state.workload = Some(Err(format!(
                    "spec.source.workloadRef: {} {} does not exist; create it, or name another",
                    named.kind, named.name
                )));
            }
            Err(why) => state.workload = Some(Err(why)),
        }
    }
    if let Some(service) = &source.service_ref {
        let ready = endpoints(ctx, namespace, service).await?;
        let count = ready.map(|endpoints| endpoints.addresses.len());
        state.endpoints = Some(count.map_err(|doubt| doubt.message));
    }
    Ok(state)
}

/// A refusal for want of a right, as a fact; `value` of the chart gives it.
pub(super) fn readable<T>(
    found: Result<T, Error>,
    value: &str,
) -> Result<Result<T, String>, Error> {
    match found {
        Ok(found) => Ok(Ok(found)),
        Err(Error::Stalled(stall)) if stall.reason == "PermissionDenied" => {
            Ok(Err(format!("{}; the chart's {value} does", stall.message)))
        }
        Err(error) => Err(error),
    }
}

/// The endpoints of a Service that are ready.
///
/// # Errors
/// Only what concerns the API server as a whole.
pub async fn endpoints(
    ctx: &Ctx,
    namespace: &str,
    wanted: &ServiceRef,
) -> Result<Result<Endpoints, Doubt>, Error> {
    let name = &wanted.name;
    let found = async {
        let services: Api<Service> = Api::namespaced(ctx.client.clone(), namespace);
        let attempted = format!("reading Service {namespace}/{name}");
        let service = ctx.find(&attempted, services.get(name)).await?;
        let slices: Api<EndpointSlice> = Api::namespaced(ctx.client.clone(), namespace);
        let of_it = ListParams::default()
            .labels(&format!("kubernetes.io/service-name={name}"))
            .limit(MOST_SLICES);
        let attempted = format!("reading the EndpointSlices of Service {namespace}/{name}");
        let slices = ctx.read(&attempted, slices.list(&of_it)).await?;
        Ok((service, slices.items))
    };
    Ok(match readable(found.await, VALUE)? {
        Ok((service, slices)) => endpoints::ready(wanted, service.as_ref(), &slices),
        Err(why) => Err(Doubt::new(DoubtReason::ReferenceUnavailable, &why)),
    })
}

pub(super) async fn named<K>(ctx: &Ctx, namespace: &str, name: &str) -> Result<Option<K>, Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let objects: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    let attempted = format!("reading {} {namespace}/{name}", K::kind(&()));
    ctx.find(&attempted, objects.get(name)).await
}

type Found = Option<(Workload, LabelSelector)>;

async fn deployment(ctx: &Ctx, namespace: &str, name: &str) -> Result<Found, Error> {
    let Some(object) = named::<Deployment>(ctx, namespace, name).await? else {
        return Ok(None);
    };
    let (spec, status) = (object.spec.clone().unwrap_or_default(), object.status.clone());
    let status = status.unwrap_or_default();
    let template = spec.template.metadata.unwrap_or_default().annotations.unwrap_or_default();
    let workload = Workload {
        observed_generation: status.observed_generation.unwrap_or(0),
        wanted: spec.replicas.unwrap_or(1),
        total: status.replicas.unwrap_or(0),
        updated: status.updated_replicas.unwrap_or(0),
        available: status.available_replicas.unwrap_or(0),
        is_paused: spec.paused.unwrap_or(false),
        ..workload(WorkloadKind::Deployment, &object, &template)
    };
    Ok(Some((workload, spec.selector)))
}

async fn stateful_set(ctx: &Ctx, namespace: &str, name: &str) -> Result<Found, Error> {
    let Some(object) = named::<StatefulSet>(ctx, namespace, name).await? else {
        return Ok(None);
    };
    let (spec, status) = (object.spec.clone().unwrap_or_default(), object.status.clone());
    let status = status.unwrap_or_default();
    let template = spec.template.metadata.unwrap_or_default().annotations.unwrap_or_default();
    let strategy = spec.update_strategy.and_then(|strategy| strategy.type_);
    let workload = Workload {
        observed_generation: status.observed_generation.unwrap_or(0),
        wanted: spec.replicas.unwrap_or(1),
        total: status.replicas,
        updated: status.updated_replicas.unwrap_or(0),
        available: status.available_replicas.unwrap_or(0),
        is_paused: strategy.as_deref() == Some("OnDelete"),
        ..workload(WorkloadKind::StatefulSet, &object, &template)
    };
    Ok(Some((workload, spec.selector)))
}

/// What both kinds have in common.
fn workload<K: Resource<DynamicType = ()>>(
    kind: WorkloadKind,
    object: &K,
    template: &BTreeMap<String, String>,
) -> Workload {
    let none = BTreeMap::new();
    let managers = object.managed_fields().iter().filter(|entry| owns_replicas(entry));
    let managers = managers.filter_map(|entry| entry.manager.as_deref());
    Workload {
        kind,
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        version: object.resource_version().unwrap_or_default(),
        generation: object.meta().generation.unwrap_or(0),
        restarted_for: template.get(RESTARTED_FOR).cloned().unwrap_or_default(),
        scaled_for: object.annotations().get(SCALED_FOR).cloned().unwrap_or_default(),
        // Who set this very field: a tool that applies the rest leaves it to others.
        scaled_by: gitops::tool(&none, &none, managers).map(ToOwned::to_owned),
        ..Workload::default()
    }
}

fn owns_replicas(entry: &ManagedFieldsEntry) -> bool {
    let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
    fields.is_some_and(|fields| fields["f:spec"].get("f:replicas").is_some())
}

/// The autoscaler of a workload.
async fn scaler_of(
    ctx: &Ctx,
    namespace: &str,
    named: &WorkloadRef,
) -> Result<Option<String>, Error> {
    let scalers: Api<HorizontalPodAutoscaler> = Api::namespaced(ctx.client.clone(), namespace);
    let attempted = format!("reading the HorizontalPodAutoscalers of {namespace}");
    let found = ctx.read(&attempted, scalers.list(&ListParams::default())).await?;
    let of_it = found.items.into_iter().find(|scaler| {
        scaler.spec.as_ref().is_some_and(|spec| {
            let target = &spec.scale_target_ref;
            (target.kind.as_str(), &target.name) == (&named.kind.to_string(), &named.name)
        })
    });
    Ok(of_it.map(|scaler| format!("HorizontalPodAutoscaler {}", scaler.name_any())))
}

/// Some of the pods, and whether there are more.
async fn pods(
    ctx: &Ctx,
    namespace: &str,
    selector: &LabelSelector,
) -> Result<(Vec<Pod>, bool), Error> {
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
    // One that cannot be used selects what nobody here has seen.
    let Ok(selector) = Selector::try_from(selector.clone()) else { return Ok((Vec::new(), true)) };
    let of_it = ListParams::default().labels_from(&selector).limit(MOST_PODS);
    let attempted = format!("reading the pods of {namespace}");
    let found = ctx.read(&attempted, pods.list(&of_it)).await?;
    let more = goes_on(&found);
    Ok((found.items, more))
}

/// Does the list go on beyond its limit?
pub(super) fn goes_on<K: Clone>(list: &ObjectList<K>) -> bool {
    list.metadata.continue_.as_ref().is_some_and(|token| !token.is_empty())
}

/// The pod, where it has failed and is the workload's own: a selector may match others, too.
fn failed(pod: &Pod, workload: &Workload) -> Option<FailedPod> {
    let has_failed = pod.status.as_ref()?.phase.as_deref() == Some("Failed");
    let is_going = pod.metadata.deletion_timestamp.is_some();
    let owner = pod.owner_references().iter().find(|owner| owner.controller == Some(true))?;
    let is_own = match workload.kind {
        WorkloadKind::StatefulSet => {
            (owner.kind.as_str(), &owner.uid) == ("StatefulSet", &workload.uid)
        }
        // By the name that its controller gives a ReplicaSet: to read one would take a right more.
        WorkloadKind::Deployment => {
            let hash = pod.labels().get("pod-template-hash")?;
            (owner.kind.as_str(), &owner.name)
                == ("ReplicaSet", &format!("{}-{hash}", workload.name))
        }
    };
    (has_failed && is_own && !is_going).then(|| FailedPod {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        version: pod.resource_version().unwrap_or_default(),
    })
}

/// What keeps the pod from running, in the kubelet's word.
pub(super) fn fault(pod: &Pod) -> Option<PodFault> {
    // One that is going away is not what the workload runs.
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = pod.status.as_ref()?;
    let containers =
        || status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let killed = containers().find_map(|container| {
        let ends = [&container.last_state, &container.state];
        let mut ends = ends.into_iter().filter_map(|end| end.as_ref()?.terminated.as_ref());
        let reason = ends.find_map(|end| end.reason.clone());
        reason.filter(|reason| reason == "OOMKilled" && !container.ready)
    });
    let waiting = || {
        containers().find_map(|container| {
            let reason = container.state.as_ref()?.waiting.as_ref()?.reason.clone()?;
            // These pass by themselves.
            (!["ContainerCreating", "PodInitializing"].contains(&reason.as_str())).then_some(reason)
        })
    };
    let failed = || {
        let reason = status.reason.clone().unwrap_or_else(|| "Failed".to_owned());
        (status.phase.as_deref() == Some("Failed")).then_some(reason)
    };
    let homeless = || {
        let conditions = status.conditions.iter().flatten();
        let mut unscheduled =
            conditions.filter(|c| c.type_ == "PodScheduled" && c.status == "False");
        unscheduled.find_map(|condition| condition.reason.clone())
    };
    let reason = killed.or_else(waiting).or_else(failed).or_else(homeless)?;
    Some(PodFault { reason: crate::domain::text::bounded(&reason, 63), pod: pod.name_any() })
}

/// Has somebody this right in the namespace?
///
/// # Errors
/// See [`Error`].
pub async fn may(ctx: &Ctx, namespace: &str, right: &Right) -> Result<bool, Error> {
    let text = |text: &str| Some(text.to_owned());
    let resource_attributes = Some(ResourceAttributes {
        namespace: text(namespace),
        verb: text(right.verb),
        group: text(right.group),
        resource: text(right.resource),
        name: text(&right.name),
        ..ResourceAttributes::default()
    });
    let Some(account) = &right.service_account else {
        let spec =
            SelfSubjectAccessReviewSpec { resource_attributes, non_resource_attributes: None };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let reviews: Api<SelfSubjectAccessReview> = Api::all(ctx.client.clone());
        let attempted = "asking what the operator may do";
        let answer = ctx.read(attempted, reviews.create(&create_as_us(), &review)).await?;
        return Ok(answer.status.is_some_and(|status| status.allowed));
    };
    let mut review = LocalSubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{namespace}:{account}")),
            groups: Some(vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ]),
            resource_attributes,
            ..SubjectAccessReviewSpec::default()
        },
        ..LocalSubjectAccessReview::default()
    };
    review.metadata.namespace = text(namespace);
    let reviews: Api<LocalSubjectAccessReview> = Api::namespaced(ctx.client.clone(), namespace);
    let attempted = format!("asking what ServiceAccount {namespace}/{account} may do");
    let answer = ctx.read(&attempted, reviews.create(&create_as_us(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
}

/// Changes a workload, on exactly the version that was seen: a request that comes late finds
/// another, and does nothing.
///
/// # Errors
/// See [`Error`].
pub async fn change(
    ctx: &Ctx,
    contract: &Key,
    change: Change,
    workload: &Workload,
    key: &str,
) -> Result<(), Error> {
    let namespace = &contract.namespace;
    let metadata = json!({"resourceVersion": workload.version, "uid": workload.uid});
    let mut patch = json!({"metadata": metadata});
    match change {
        Change::Restart => {
            patch["spec"]["template"]["metadata"]["annotations"] = json!({RESTARTED_FOR: key});
        }
        Change::Scale(replicas) => {
            patch["metadata"]["annotations"] = json!({SCALED_FOR: key});
            patch["spec"]["replicas"] = json!(replicas);
        }
    }
    let attempted = format!("acting on {} {namespace}/{}", workload.kind, workload.name);
    match workload.kind {
        WorkloadKind::Deployment => {
            send::<Deployment>(ctx, namespace, &workload.name, &attempted, &patch).await
        }
        WorkloadKind::StatefulSet => {
            send::<StatefulSet>(ctx, namespace, &workload.name, &attempted, &patch).await
        }
    }
}

/// Deletes failed pods, each on exactly the version that was seen. One that is gone or has changed
/// is left to the next look.
///
/// # Errors
/// See [`Error`].
pub async fn delete_pods(ctx: &Ctx, contract: &Key, failed: &[FailedPod]) -> Result<(), Error> {
    let namespace = &contract.namespace;
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
    for pod in failed {
        let attempted = format!("deleting Pod {namespace}/{}", pod.name);
        let preconditions = Some(Preconditions {
            uid: Some(pod.uid.clone()),
            resource_version: Some(pod.version.clone()),
        });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        match ctx.write(&attempted, pods.delete(&pod.name, &params)).await {
            Ok(_) | Err(Error::Conflict { .. }) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn send<K>(
    ctx: &Ctx,
    namespace: &str,
    name: &str,
    attempted: &str,
    patch: &Value,
) -> Result<(), Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let objects: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    let (params, patch) = (patch_as_us(), Patch::Merge(patch));
    ctx.write(attempted, objects.patch(name, &params, &patch)).await.map(drop)
}
