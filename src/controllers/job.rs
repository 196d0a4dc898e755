//! Jobs that steps run: their templates, how far they are, and the one request that makes one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, LogParams},
};

use super::{
    Ctx, Error, Seen, create_as_us,
    names::owner_reference,
    workload::{goes_on, readable},
};
use crate::{
    api::{CONTRACT_UID, DONE_FOR, Incident, PART},
    decide::view::View,
    domain::{JobEnd, JobSeen, Span, text},
    steps::job::TemplateRef,
};

/// The chart's value that gives the rights to Jobs.
const VALUE: &str = "effects.jobs";
/// What is read of a log, from its end.
const LOG_LINES: i64 = 50;
const LOG_BYTES: i64 = 16 * 1024;
/// Jobs of one page of a list, whose templates may be large; and most pages that are read.
const PAGE: u32 = 50;
const MOST_PAGES: usize = 20;
/// Most pods of a Job that are looked at.
const MOST_PODS: u32 = 100;

/// The template's text; Err with what a person has to change.
///
/// # Errors
/// Only what concerns the API server as a whole.
pub async fn template(
    ctx: &Ctx,
    namespace: &str,
    wanted: &TemplateRef,
) -> Result<Result<String, String>, Error> {
    let TemplateRef { name, key } = wanted;
    let config_maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), namespace);
    let attempted = format!("reading ConfigMap {namespace}/{name}");
    let Some(found) = ctx.find(&attempted, config_maps.get(name)).await? else {
        return Ok(Err(format!("ConfigMap {name} does not exist; create it, or name another")));
    };
    Ok(text_of(found, key))
}

/// What we write ourselves is no template: whoever may write a contract chooses what it says, and
/// need not have the right to write ConfigMaps, or Jobs.
fn text_of(config_map: ConfigMap, key: &str) -> Result<String, String> {
    let name = config_map.name_any();
    if config_map.labels().contains_key(PART) {
        return Err(format!(
            "ConfigMap {name} is one that contracts are served from (label {PART}); put the \
             template into another"
        ));
    }
    let text = config_map.data.and_then(|mut data| data.remove(key));
    text.ok_or_else(|| format!("ConfigMap {name} has no key {key} in data; add it there"))
}

/// The Job of that name, if there is one; Err where it may not be read.
///
/// # Errors
/// Only what concerns the API server as a whole.
pub async fn seen(
    ctx: &Ctx,
    namespace: &str,
    name: &str,
) -> Result<Result<Option<JobSeen>, String>, Error> {
    let jobs: Api<Job> = Api::namespaced(ctx.client.clone(), namespace);
    let attempted = format!("reading Job {namespace}/{name}");
    let job = match readable(ctx.find(&attempted, jobs.get(name)).await, VALUE)? {
        Ok(Some(job)) => job,
        Ok(None) => return Ok(Ok(None)),
        Err(why) => return Ok(Err(why)),
    };
    let mut seen = as_seen(&job);
    // Its right to read logs says nothing: the same one is given for a diagnosis.
    if seen.end.is_some() && ctx.config.job_logs {
        seen.log = log(ctx, namespace, name).await;
    }
    Ok(Ok(Some(seen)))
}

/// The Jobs of the contract with this UID that have not ended, by name; Err where they may not be
/// listed, or are too many to be read.
///
/// # Errors
/// Only what concerns the API server as a whole.
pub async fn running(
    ctx: &Ctx,
    namespace: &str,
    contract_uid: &str,
) -> Result<Result<BTreeMap<String, JobSeen>, String>, Error> {
    let jobs: Api<Job> = Api::namespaced(ctx.client.clone(), namespace);
    let attempted = format!("listing Jobs in {namespace}");
    let label = format!("{PART}=job,{CONTRACT_UID}={contract_uid}");
    let mut params = ListParams::default().labels(&label).limit(PAGE);
    let mut running = BTreeMap::new();
    for _ in 0..MOST_PAGES {
        let page = match readable(ctx.read(&attempted, jobs.list(&params)).await, VALUE)? {
            Ok(page) => page,
            Err(why) => return Ok(Err(why)),
        };
        params.continue_token.clone_from(&page.metadata.continue_);
        let is_last = !goes_on(&page);
        let seen = page.items.into_iter().map(|job| (job.name_any(), as_seen(&job)));
        running.extend(seen.filter(|(_, seen)| seen.end.is_none()));
        if is_last {
            return Ok(Ok(running));
        }
    }
    Ok(Err(format!(
        "{attempted}: more than {} have the label {CONTRACT_UID}={contract_uid}; delete what has ended",
        MOST_PAGES * PAGE as usize
    )))
}

/// A Job without its log.
fn as_seen(job: &Job) -> JobSeen {
    let made_at = job.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let deadline = job.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
    let deadline = deadline.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(0);
    JobSeen {
        made_for: job.annotations().get(DONE_FOR).cloned().unwrap_or_default(),
        ends_by: Span::secs(deadline).after(made_at),
        end: end(job),
        log: String::new(),
    }
}

fn end(job: &Job) -> Option<JobEnd> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let is = |type_: &str| {
        conditions.iter().find(|known| known.type_ == type_ && known.status == "True")
    };
    if is("Complete").is_some() {
        return Some(JobEnd::Complete);
    }
    let reason = is("Failed")?.reason.clone().unwrap_or_default();
    Some(JobEnd::Failed(text::bounded(&reason, 63)))
}

/// The end of the log of its newest pod. It is for people: where it cannot be had there is none.
async fn log(ctx: &Ctx, namespace: &str, name: &str) -> String {
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
    let of_it = ListParams::default()
        .labels(&format!("batch.kubernetes.io/job-name={name}"))
        .limit(MOST_PODS);
    let attempted = format!("reading the log of Job {namespace}/{name}");
    let Ok(found) = ctx.read(&attempted, pods.list(&of_it)).await else { return String::new() };
    // Which is the newest is not known of a part of them.
    if goes_on(&found) {
        return String::new();
    }
    let newest = found.items.into_iter().max_by_key(|pod| pod.metadata.creation_timestamp.clone());
    let Some(pod) = newest else { return String::new() };
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let params = LogParams {
        container: container.map(|container| container.name.clone()),
        tail_lines: Some(LOG_LINES),
        limit_bytes: Some(LOG_BYTES),
        ..LogParams::default()
    };
    ctx.read(&attempted, pods.logs(&pod.name_any(), &params)).await.unwrap_or_default()
}

/// Makes a Job, owned by the open Incident, if that is still as it was decided on: by its name a Job
/// that a person has deleted since, or that others have seen end, could not be told from one that was
/// never made. One that is there already was made before: the next look sees whether it is this one.
///
/// # Errors
/// See [`Error`].
pub async fn run(ctx: &Ctx, contract: &Seen, view: &View, job: &Job) -> Result<(), Error> {
    let namespace = &contract.key.namespace;
    let attempted = format!("making Job {namespace}/{}", job.name_any());
    let Some(decided_on) = &view.incident else { return Err(Error::Conflict { attempted }) };
    let incidents: Api<Incident> = Api::namespaced(ctx.client.clone(), namespace);
    let open = ctx.find(&attempted, incidents.get(&decided_on.name)).await?;
    let is_that = |open: &Incident| open.resource_version().as_ref() == Some(&decided_on.version);
    let Some(open) = open.filter(is_that) else { return Err(Error::Conflict { attempted }) };
    let mut job = job.clone();
    job.metadata.owner_references = Some(vec![owner_reference(&open)]);
    let jobs: Api<Job> = Api::namespaced(ctx.client.clone(), namespace);
    match ctx.write(&attempted, jobs.create(&create_as_us(), &job)).await {
        Ok(_) | Err(Error::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_template_is_a_key_of_a_config_map_that_no_contract_is_served_from() {
        let text = |metadata: Value| {
            let config_map = json!({"metadata": metadata, "data": {"heal": "a Job"}});
            text_of(serde_json::from_value(config_map).unwrap(), "heal")
        };
        assert_eq!(text(json!({"name": "jobs", "labels": {"a": "b"}})).unwrap(), "a Job");
        for part in ["served", "revision", "candidate"] {
            let why = text(json!({"name": "jobs", "labels": {PART: part}})).unwrap_err();
            assert!(
                why.starts_with("ConfigMap jobs is one that contracts are served from"),
                "{why}"
            );
        }
        let why = text_of(ConfigMap::default(), "heal").unwrap_err();
        assert!(why.contains("has no key heal in data"), "{why}");
    }
}
