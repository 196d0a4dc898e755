//! The served key, written: on exactly the ConfigMap that was looked at, with the marks that say
//! whose it is.
//!
//! Must not know: what is served, and why; that is decided.

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tracing::info;

use super::{
    Ctx, Error, Key, Seen, create_as_us,
    names::{is_served, note_annotation, owner_annotation, owner_reference},
    patch_as_us,
};
use crate::{
    api::{MANAGER, PART},
    decide::{
        effective::ServeTarget,
        ownership,
        view::{Note, Served, View},
    },
    domain::Document,
};

/// Writes the served key.
///
/// # Errors
/// See [`Error`].
pub async fn key(
    ctx: &Ctx,
    seen: &Seen,
    view: &View,
    document: &Document,
    note: &Note,
    instead_of: Option<&str>,
) -> Result<(), Error> {
    let Some(target) = &view.effective.serve else { return Ok(()) };
    let at = Key::new(&seen.key.namespace, &target.at.name);
    let attempted = format!("serving WidgetContract {} in ConfigMap {at}", seen.key);
    let config_maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &at.namespace);
    let written = if target.shared && !view.served_in.as_ref().is_some_and(|s| s.is_binary) {
        let manager = format!("{MANAGER}/{}", view.subject.uid);
        let mut params = PatchParams::apply(&manager);
        // Without force the API server itself refuses to take a key from another manager. A key
        // that is ours may still have the manager of a contract of the same name before this one.
        let ours = matches!(view.served, Served::Ours(_));
        params.force = target.adopt || ours || instead_of.is_some();
        let mut body = served_body(seen, target, document, note);
        // Another object of that name is not the one that was looked at. Not the version: others
        // write their own keys of it all the time.
        if let Some(found) = &view.served_in {
            body["metadata"]["uid"] = json!(found.uid);
        }
        let patch = Patch::Apply(&body);
        ctx.write(&attempted, config_maps.patch(&at.name, &params, &patch)).await?
    } else if let Some(found) = &view.served_in {
        let mut body = served_body(seen, target, document, note);
        body["metadata"]["resourceVersion"] = json!(found.version);
        body["metadata"]["ownerReferences"] = owners(seen, target, &found.owners);
        if found.is_binary {
            // A key cannot be in both.
            body["binaryData"] = json!({&target.at.key: null});
        }
        let params = patch_as_us();
        let patch = Patch::Merge(&body);
        ctx.write(&attempted, config_maps.patch(&at.name, &params, &patch)).await?
    } else {
        let mut body = served_body(seen, target, document, note);
        body["metadata"]["ownerReferences"] = owners(seen, target, &[]);
        let body: ConfigMap = match serde_json::from_value(body) {
            Ok(body) => body,
            Err(source) => {
                let source = Box::new(kube::Error::SerdeError(source));
                return Err(Error::Retry { attempted, source });
            }
        };
        let params = create_as_us();
        match ctx.write(&attempted, config_maps.create(&params, &body)).await {
            // Created by us before a crash, or by somebody just now: look at it first.
            Err(Error::Conflict { .. }) => {
                let found = ctx.find(&attempted, config_maps.get(&at.name)).await?;
                if let Some(found) = found.filter(is_served) {
                    ctx.index.saw_served(&found);
                }
                return Err(Error::Conflict { attempted });
            }
            answer => answer?,
        }
    };
    saw(ctx, seen, &written);
    info!(
        contract = %seen.key,
        config_map = %at,
        digest = document.digest().short(),
        origin = %note,
        instead_of,
        "served"
    );
    Ok(())
}

/// Sets the marks on the ConfigMap that is served from, and nothing else of it.
///
/// # Errors
/// See [`Error`].
pub async fn mark(ctx: &Ctx, seen: &Seen, view: &View, note: &Note) -> Result<(), Error> {
    let (Some(target), Some(found)) = (&view.effective.serve, &view.served_in) else {
        return Ok(());
    };
    let at = Key::new(&seen.key.namespace, &target.at.name);
    let attempted = format!("marking ConfigMap {at} as WidgetContract {}'s", seen.key);
    let config_maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &at.namespace);
    let mut metadata = marks(seen, target, note);
    metadata["resourceVersion"] = json!(found.version);
    metadata["ownerReferences"] = owners(seen, target, &found.owners);
    let params = patch_as_us();
    // Not applied, where it is shared: what an apply leaves out, as the bytes here, is taken away.
    let patch = Patch::Merge(json!({"metadata": metadata}));
    let written = ctx.write(&attempted, config_maps.patch(&at.name, &params, &patch)).await?;
    saw(ctx, seen, &written);
    info!(contract = %seen.key, config_map = %at, "marked again");
    Ok(())
}

/// Takes in the answer of a write. Between what was known and this answer other keys may have been
/// written: their events will be no news any more.
fn saw(ctx: &Ctx, seen: &Seen, written: &ConfigMap) {
    for other in ctx.index.saw_served(written) {
        if other != seen.key {
            ctx.queue.now(other);
        }
    }
}

fn served_body(seen: &Seen, target: &ServeTarget, document: &Document, note: &Note) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": marks(seen, target, note),
        "data": {&target.at.key: document.text()},
    })
}

fn marks(seen: &Seen, target: &ServeTarget, note: &Note) -> Value {
    let uid = seen.object.uid().unwrap_or_default();
    json!({
        "name": target.at.name,
        "namespace": &*seen.key.namespace,
        "labels": {PART: "served"},
        "annotations": {
            owner_annotation(&target.at.key): ownership::owner(&uid, &seen.key.name),
            note_annotation(&target.at.key): note.to_string(),
        },
    })
}

/// The owner references that a ConfigMap should have which has `found`: null when none, since a
/// merge patch that leaves them out leaves them there.
fn owners(seen: &Seen, target: &ServeTarget, found: &[OwnerReference]) -> Value {
    let others = found.iter().filter(|reference| !ownership::is_to_contract(reference)).cloned();
    let ours = target.delete_with_contract.then(|| owner_reference(&*seen.object));
    let wanted: Vec<OwnerReference> = others.chain(ours).collect();
    if wanted.is_empty() { Value::Null } else { json!(wanted) }
}
