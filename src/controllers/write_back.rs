//! The object that holds the assigned document: what can be seen on it, and writing into it.
//!
//! Knows: the two kinds of it, a contract and a ConfigMap. Must not know: when a document is
//! written back; that is `decide::write_back`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::ConfigMap,
    apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry},
};
use kube::{Api, Resource, ResourceExt as _, api::Patch};
use serde_json::{Value, json};
use tracing::info;

use super::{Ctx, Error, Key, Seen, echo::Object, names::key_hash, patch_as_us};
use crate::{
    api::{WRITTEN_BACK, WidgetContract, contract::DocumentSource, refs::ConfigMapKeyRef},
    decide::{
        gitops,
        view::{Effect, Holder, View, WrittenBack},
    },
    domain::{Document, patch::escape},
};

/// The contract as the holder of `document.inline`.
#[must_use]
pub fn contract(object: &WidgetContract) -> Holder {
    holder(object, WRITTEN_BACK, &["f:spec", "f:document"])
}

/// A ConfigMap as the holder of the document in `key`, to which `contract` refers.
#[must_use]
pub fn config_map(contract: &WidgetContract, object: &ConfigMap, key: &str) -> Holder {
    let in_binary = object.binary_data.as_ref().is_some_and(|data| data.contains_key(key));
    let part = if in_binary { "f:binaryData" } else { "f:data" };
    let mut holder = holder(object, &annotation_of(key), &[part, &format!("f:{key}")]);
    holder.is_binary = in_binary;
    let referred_at = written_at(contract, &["f:spec", "f:document"]);
    // One of the two made this document the assigned one: the later, if both are known.
    holder.written_at = holder.written_at.zip(referred_at).map(|(one, other)| one.max(other));
    holder
}

fn holder<K: Resource>(object: &K, annotation: &str, field: &[&str]) -> Holder {
    let managers = object.managed_fields().iter().filter(|entry| owns(entry, field));
    let managers = managers.filter_map(|entry| entry.manager.as_deref());
    let tool = gitops::tool(object.labels(), object.annotations(), managers);
    Holder {
        version: object.resource_version().unwrap_or_default(),
        gitops: tool.map(ToOwned::to_owned),
        written_back: object.annotations().get(annotation).and_then(|note| note.parse().ok()),
        is_binary: false,
        written_at: written_at(object, field),
    }
}

/// When `field` was written last at the latest: the API server notes one time for all that a manager has
/// written in one way.
fn written_at<K: Resource>(object: &K, field: &[&str]) -> Option<Timestamp> {
    let owners = object.managed_fields().iter().filter(|entry| owns(entry, field));
    // One without a time may be the last one.
    let times: Option<Vec<_>> = owners.map(|entry| entry.time.as_ref().map(|at| at.0)).collect();
    times?.into_iter().max()
}

fn owns(entry: &ManagedFieldsEntry, field: &[&str]) -> bool {
    let Some(FieldsV1(fields)) = &entry.fields_v1 else { return false };
    field.iter().try_fold(fields, |fields, name| fields.get(name)).is_some()
}

/// Several contracts may have their documents in one ConfigMap.
fn annotation_of(key: &str) -> String {
    format!("{WRITTEN_BACK}-{}", key_hash(key))
}

/// Writes `document` where the assigned one is, on exactly the version that was seen.
///
/// # Errors
/// See [`Error`]; [`Error::Conflict`] when somebody wrote the object in between.
pub async fn write(
    ctx: &Ctx,
    seen: &Seen,
    view: &View,
    document: &Document,
    effect: Effect,
) -> Result<(), Error> {
    let step = effect.step.clone();
    let note = WrittenBack { digest: document.digest().clone(), effect }.to_string();
    match &view.effective.document {
        DocumentSource::Inline(_) => into_contract(ctx, seen, document, &note).await?,
        DocumentSource::ConfigMapKeyRef(at) => {
            into_config_map(ctx, seen, view.holder.as_ref(), at, document, &note).await?;
        }
        DocumentSource::Url(_) => return Ok(()),
    }
    info!(contract = %seen.key, digest = document.digest().short(), step, "written back");
    Ok(())
}

/// By JSON Patch, with the whole document as one value: a merge patch would take a null of the
/// document for «delete this».
async fn into_contract(
    ctx: &Ctx,
    seen: &Seen,
    document: &Document,
    note: &str,
) -> Result<(), Error> {
    let attempted = format!("writing the document back into WidgetContract {}", seen.key);
    let contracts: Api<WidgetContract> = Api::namespaced(ctx.client.clone(), &seen.key.namespace);
    // As a precondition: an object of another version is refused with a conflict.
    let mut operations = vec![json!({
        "op": "replace", "path": "/metadata/resourceVersion", "value": seen.object.resource_version(),
    })];
    if seen.object.annotations().is_empty() {
        operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    let annotation = format!("/metadata/annotations/{}", escape(WRITTEN_BACK));
    operations.push(json!({"op": "add", "path": annotation, "value": note}));
    let value = document.value();
    operations.push(json!({"op": "replace", "path": "/spec/document/inline", "value": value}));
    let patch = match serde_json::from_value(Value::Array(operations)) {
        Ok(operations) => Patch::Json::<()>(operations),
        Err(source) => {
            let source = Box::new(kube::Error::SerdeError(source));
            return Err(Error::Retry { attempted, source });
        }
    };
    let params = patch_as_us();
    let request = contracts.patch(&seen.key.name, &params, &patch);
    let object = Object::Contract(seen.key.clone());
    let written = ctx.write_watched(&seen.key, object, &attempted, request).await?;
    // The next look works on the answer and need not wait for the watch.
    ctx.index.saw_contract(written);
    Ok(())
}

async fn into_config_map(
    ctx: &Ctx,
    seen: &Seen,
    holder: Option<&Holder>,
    at: &ConfigMapKeyRef,
    document: &Document,
    note: &str,
) -> Result<(), Error> {
    let key = Key::new(&seen.key.namespace, &at.name);
    let attempted = format!("writing the document of {} back into ConfigMap {key}", seen.key);
    let Some(holder) = holder else { return Err(Error::Conflict { attempted }) };
    let config_maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &key.namespace);
    let (part, bytes) = if holder.is_binary {
        ("binaryData", BASE64_STANDARD.encode(document.bytes()))
    } else {
        ("data", document.text().to_owned())
    };
    let patch = Patch::Merge(json!({
        "metadata": {
            "resourceVersion": holder.version,
            "annotations": {annotation_of(&at.key): note},
        },
        part: {&at.key: bytes},
    }));
    let params = patch_as_us();
    ctx.write(&attempted, config_maps.patch(&at.name, &params, &patch)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A contract and the ConfigMap with its document; each was written so, by two managers at most.
    fn written(contract: &[Option<i64>], config_map: &[Option<i64>]) -> Holder {
        let managed = |times: &[Option<i64>], fields: &Value| -> Vec<Value> {
            let entry = |second: &Option<i64>| {
                json!({"manager": "test", "operation": "Update", "fieldsV1": fields,
                    "time": second.map(at)})
            };
            // Who wrote something else says nothing of the document.
            let other = json!({"manager": "test", "operation": "Update", "time": at(9_000),
                "fieldsV1": {"f:metadata": {"f:labels": {}}}});
            times.iter().map(entry).chain([other]).collect()
        };
        let refers = json!({"f:spec": {"f:document": {"f:configMapKeyRef": {}}}});
        let contract: WidgetContract = serde_json::from_value(json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "WidgetContract",
            "metadata": {"name": "uk", "managedFields": managed(contract, &refers)},
            "spec": {"widget": "w", "document": {"configMapKeyRef": {"name": "c", "key": "a.json"}}},
        }))
        .unwrap();
        let holds = json!({"f:data": {"f:a.json": {}}});
        let object: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": "c", "managedFields": managed(config_map, &holds)},
            "data": {"a.json": "{}", "b.json": "{}"},
        }))
        .unwrap();
        super::config_map(&contract, &object, "a.json")
    }

    #[test]
    fn a_document_was_written_when_it_or_what_refers_to_it_was_written_last() {
        for (contract, config_map, expected) in [
            (&[Some(1)][..], &[Some(2)][..], Some(2)),
            (&[Some(3)], &[Some(2)], Some(3)),
            (&[Some(1)], &[Some(2), Some(5)], Some(5)),
            // One of which the time is not known may be the last.
            (&[Some(1)], &[Some(2), None], None),
            (&[None], &[Some(2)], None),
            (&[], &[Some(2)], None),
            (&[Some(1)], &[], None),
        ] {
            let found = written(contract, config_map).written_at;
            assert_eq!(found, expected.map(at), "{contract:?} {config_map:?}");
        }
    }
}
