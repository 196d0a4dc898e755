//! All writes: each once, in the order the decision gives, each under the lease and with a
//! precondition, so that a stale look can never overwrite what it has not seen.

use std::{io::Write as _, sync::Arc};

use flate2::{Compression, write::GzEncoder};
use futures::future::try_join_all;
use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, Preconditions},
    core::PartialObjectMeta,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Ctx, Error, Key, Seen, candidate, create_as_us,
    echo::Object,
    events, job,
    names::{REVISION_KEY, REVISION_KEY_GZ, owner_reference, revision_name},
    patch_as_us, serve, webhook, workload, write_back,
};
use crate::{
    api::{
        DIGEST, Incident, PART, RECORDED_AT, WidgetContract,
        condition::whole_seconds,
        contract::WidgetContractStatus,
        incident::{IncidentSpec, IncidentStatus},
    },
    decide::{
        contract::{Decision, Next, Write},
        moves::{Doing, EffectAct},
        view::{EndedIncident, View},
    },
    domain::{Document, Told},
};

/// Revisions above this size are stored compressed.
const COMPRESS_ABOVE: usize = 64 * 1024;

/// Performs a decision; returns when to look again.
///
/// # Errors
/// The first write that failed; later stages were then not started.
pub async fn all(ctx: &Ctx, seen: &Seen, view: &View, decision: Decision) -> Result<Next, Error> {
    for stage in decision.stages {
        try_join_all(stage.into_iter().map(|write| one(ctx, seen, view, write))).await?;
    }
    for signal in &decision.signals {
        events::say(ctx, seen, view, signal).await;
    }
    Ok(decision.next)
}

async fn one(ctx: &Ctx, seen: &Seen, view: &View, write: Write) -> Result<(), Error> {
    match write {
        Write::Revision { number, document } => store_revision(ctx, seen, number, &document).await,
        Write::Serve { document, note, instead_of } => {
            serve::key(ctx, seen, view, &document, &note, instead_of.as_deref()).await
        }
        Write::Mark { note } => serve::mark(ctx, seen, view, &note).await,
        Write::Back { document, effect } => {
            write_back::write(ctx, seen, view, &document, effect).await
        }
        Write::Act(act) => act_on(ctx, seen, view, &act).await,
        Write::Open { name, spec } => open(ctx, seen, &name, *spec).await,
        Write::Candidate { incident, plan } => candidate::store(ctx, seen, &incident, &plan).await,
        Write::IncidentStatus { name, status } => {
            write_incident_status(ctx, seen, view, &name, &status).await
        }
        Write::Forget(ended) => forget(ctx, seen, &ended).await,
        Write::Prune(number) => prune(ctx, seen, number).await,
        Write::Status(status) => write_status(ctx, seen, &status).await,
    }
}

/// A refusal is the answer to the act, and for the next look: it is no reason to stop looking.
async fn act_on(ctx: &Ctx, seen: &Seen, view: &View, act: &EffectAct) -> Result<(), Error> {
    let namespace = &seen.key.namespace;
    let done = match act.doing() {
        Doing::Change { change, workload, key } => {
            workload::change(ctx, &seen.key, *change, workload, key).await
        }
        Doing::DeletePods(pods) => workload::delete_pods(ctx, &seen.key, pods).await,
        Doing::RunJob(job) => job::run(ctx, seen, view, job).await,
        Doing::Call(call) => return webhook::call(ctx, namespace, act.id(), call).await,
    };
    let Err(error) = done else { return Ok(()) };
    let why = error.refused()?;
    webhook::remember(ctx, namespace, act.id(), Told::NotSent(why));
    Ok(())
}

/// Writes `status`, if it differs from the one that was seen, on exactly the version seen.
///
/// # Errors
/// See [`Error`].
pub async fn write_status(
    ctx: &Ctx,
    seen: &Seen,
    status: &WidgetContractStatus,
) -> Result<(), Error> {
    let attempted = format!("writing the status of WidgetContract {}", seen.key);
    let version = seen.object.resource_version();
    let Some(patch) = status_patch(seen.object.status.as_ref(), status, version.as_deref()) else {
        return Ok(());
    };
    let contracts: Api<WidgetContract> = Api::namespaced(ctx.client.clone(), &seen.key.namespace);
    let params = patch_as_us();
    let patch = Patch::Merge(&patch);
    let request = contracts.patch_status(&seen.key.name, &params, &patch);
    let object = Object::Contract(seen.key.clone());
    let written = ctx.write_watched(&seen.key, object, &attempted, request).await?;
    ctx.index.wrote_contract(&seen.key, written);
    Ok(())
}

/// Opens an Incident. One that is there already was opened before a crash: it is taken over.
async fn open(ctx: &Ctx, seen: &Seen, name: &str, spec: IncidentSpec) -> Result<(), Error> {
    let attempted = format!("opening Incident {}/{name}", seen.key.namespace);
    let incidents: Api<Incident> = Api::namespaced(ctx.client.clone(), &seen.key.namespace);
    let mut object = Incident::new(name, spec);
    object.metadata.owner_references = Some(vec![owner_reference(&*seen.object)]);
    let params = create_as_us();
    let echo = Object::Incident(Key::new(&seen.key.namespace, name));
    let request = incidents.create(&params, &object);
    let opened = match ctx.write_watched(&seen.key, echo, &attempted, request).await {
        Err(Error::Conflict { .. }) => {
            let found = ctx.find(&attempted, incidents.get(name)).await?;
            found.ok_or(Error::Conflict { attempted })?
        }
        answer => answer?,
    };
    ctx.index.saw_incident(&opened);
    Ok(())
}

/// Deletes an Incident that is over, and none of that name that came after it.
async fn forget(ctx: &Ctx, seen: &Seen, ended: &EndedIncident) -> Result<(), Error> {
    delete_incident(ctx, &seen.key.namespace, &ended.name, &ended.uid).await?;
    ctx.index.forget_incident(seen.key.clone(), &ended.name);
    Ok(())
}

/// Deletes the Incident with this UID, if it is still there.
pub(super) async fn delete_incident(
    ctx: &Ctx,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<(), Error> {
    let attempted = format!("deleting Incident {namespace}/{name}");
    let incidents: Api<Incident> = Api::namespaced(ctx.client.clone(), namespace);
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match ctx.write(&attempted, incidents.delete(name, &params)).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// Writes the status of the open Incident on exactly the version that was decided on, or that this very
/// look opened.
async fn write_incident_status(
    ctx: &Ctx,
    seen: &Seen,
    view: &View,
    name: &str,
    status: &IncidentStatus,
) -> Result<(), Error> {
    let attempted = format!("writing the status of Incident {}/{name}", seen.key.namespace);
    let uid = seen.object.uid().unwrap_or_default();
    let Some(known) = ctx.index.incidents_of(&seen.key, &uid).0 else {
        return Err(Error::Conflict { attempted });
    };
    let version = known.resource_version();
    let decided_on = view.incident.as_ref().filter(|open| open.name == name);
    // Another replica, or a person, has written it since.
    if decided_on.is_some_and(|open| version.as_ref() != Some(&open.version)) {
        return Err(Error::Conflict { attempted });
    }
    let Some(patch) = status_patch(known.status.as_ref(), status, version.as_deref()) else {
        return Ok(());
    };
    let incidents: Api<Incident> = Api::namespaced(ctx.client.clone(), &seen.key.namespace);
    let params = patch_as_us();
    let patch = Patch::Merge(&patch);
    let object = Object::Incident(Key::new(&seen.key.namespace, name));
    let request = incidents.patch_status(name, &params, &patch);
    match ctx.write_watched(&seen.key, object, &attempted, request).await {
        Ok(written) => {
            ctx.index.saw_incident(&written);
            Ok(())
        }
        // Deleted by somebody: the next look opens another, if there is still trouble.
        Err(error) if error.is_not_found() => {
            ctx.index.lost_incident(&known);
            Err(Error::Conflict { attempted })
        }
        Err(error) => Err(error),
    }
}

/// The merge patch from one status to another on exactly one version; None when they are equal.
pub(super) fn status_patch<S: Serialize + Default>(
    before: Option<&S>,
    after: &S,
    version: Option<&str>,
) -> Option<Value> {
    let before = before.map_or_else(|| serde_json::to_value(S::default()), serde_json::to_value);
    let (Ok(before), Ok(after)) = (before, serde_json::to_value(after)) else { return None };
    let difference = merge_difference(&before, &after)?;
    Some(json!({"metadata": {"resourceVersion": version}, "status": difference}))
}

/// Writes the conditions of a contract whose object cannot be read, so that nothing else of its
/// status is known here or touched.
///
/// # Errors
/// See [`Error`].
pub async fn say_stalled(
    ctx: &Ctx,
    key: &Key,
    version: Option<&str>,
    status: &WidgetContractStatus,
) -> Result<(), Error> {
    let attempted = format!("writing the status of WidgetContract {key}");
    let contracts: Api<PartialObjectMeta<WidgetContract>> =
        Api::namespaced(ctx.client.clone(), &key.namespace);
    let patch = json!({
        "metadata": {"resourceVersion": version},
        "status": {
            "conditions": status.conditions,
            "reason": status.reason,
            "observedGeneration": status.observed_generation,
        },
    });
    let params = patch_as_us();
    let patch = Patch::Merge(&patch);
    ctx.write(&attempted, contracts.patch_status(&key.name, &params, &patch)).await.map(drop)
}

async fn store_revision(
    ctx: &Ctx,
    seen: &Seen,
    number: u32,
    document: &Arc<Document>,
) -> Result<(), Error> {
    let uid = seen.object.uid().unwrap_or_default();
    let name = revision_name(&seen.key.name, &uid, number);
    let attempted = format!("storing revision {number} of WidgetContract {}", seen.key);
    let config_maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &seen.key.namespace);
    let mut body = ConfigMap { immutable: Some(true), ..ConfigMap::default() };
    body.metadata.name = Some(name.clone());
    body.metadata.labels = Some([(PART.to_owned(), "revision".to_owned())].into());
    body.metadata.owner_references = Some(vec![owner_reference(&*seen.object)]);
    body.metadata.annotations = Some(
        [
            (DIGEST.to_owned(), document.digest().to_string()),
            (RECORDED_AT.to_owned(), whole_seconds(ctx.now()).to_string()),
        ]
        .into(),
    );
    match compressed(document.bytes()) {
        Some(bytes) => {
            body.binary_data = Some([(REVISION_KEY_GZ.to_owned(), ByteString(bytes))].into());
        }
        None => body.data = Some([(REVISION_KEY.to_owned(), document.text().to_owned())].into()),
    }
    let params = create_as_us();
    match ctx.write(&attempted, config_maps.create(&params, &body)).await {
        Ok(_) => {
            ctx.documents.stored(Key::new(&seen.key.namespace, &name), document);
            Ok(())
        }
        // Stored before a crash, its number not noted in status: the same document is as good as
        // ours; another one was never referred to and makes room, if the status is still as it was
        // seen: a second replica may just have referred to it.
        Err(Error::Conflict { .. }) => {
            let found = ctx.find(&attempted, config_maps.get(&name)).await?;
            let Some(found) = found else { return Err(Error::Conflict { attempted }) };
            if found.annotations().get(DIGEST).map(String::as_str)
                == Some(document.digest().as_str())
            {
                return Ok(());
            }
            let contracts: Api<WidgetContract> =
                Api::namespaced(ctx.client.clone(), &seen.key.namespace);
            let contract = ctx.find(&attempted, contracts.get(&seen.key.name)).await?;
            if contract.is_some_and(|now| now.resource_version() == seen.object.resource_version())
            {
                delete(ctx, &config_maps, &attempted, &found).await?;
            }
            Err(Error::Conflict { attempted })
        }
        Err(error) => Err(error),
    }
}

pub(super) fn compressed(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() <= COMPRESS_ABOVE {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

async fn prune(ctx: &Ctx, seen: &Seen, number: u32) -> Result<(), Error> {
    let name = revision_name(&seen.key.name, &seen.object.uid().unwrap_or_default(), number);
    let attempted = format!("pruning revision {number} of WidgetContract {}", seen.key);
    let config_maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &seen.key.namespace);
    match ctx.write(&attempted, config_maps.delete(&name, &DeleteParams::default())).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

pub(super) async fn delete(
    ctx: &Ctx,
    config_maps: &Api<ConfigMap>,
    attempted: &str,
    object: &ConfigMap,
) -> Result<(), Error> {
    let preconditions =
        Preconditions { uid: object.uid(), resource_version: object.resource_version() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    ctx.write(attempted, config_maps.delete(&object.name_any(), &params)).await.map(drop)
}

/// The JSON Merge Patch (RFC 7386) from `before` to `after`; None when they are equal.
fn merge_difference(before: &Value, after: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return Some(after.clone());
    };
    let mut patch = serde_json::Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        let changed = match old.get(key) {
            Some(old) => merge_difference(old, value),
            None => Some(value.clone()),
        };
        if let Some(changed) = changed {
            patch.insert(key.clone(), changed);
        }
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_status_that_did_not_change_is_not_written() {
        assert_eq!(
            merge_difference(&json!({"a": [1], "b": {}}), &json!({"a": [1], "b": {}})),
            None
        );
    }

    fn small_object() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![any::<bool>().prop_map(Value::Bool), Just(json!([1, 2])), Just(json!("x"))];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        })
        .prop_map(|value| json!({"root": value}))
    }

    proptest! {
        #[test]
        fn the_difference_applied_gives_the_new_status(before in small_object(), after in small_object()) {
            let mut patched = before.clone();
            if let Some(patch) = merge_difference(&before, &after) {
                json_patch::merge(&mut patched, &patch);
            }
            prop_assert_eq!(patched, after);
        }
    }
}
