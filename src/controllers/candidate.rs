//! The ConfigMap in which people who may read it see an Incident's plan with its values.
//!
//! Knows: how a plan is stored. Must not know: when one is shown; that is `decide::shown`.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kube::{Api, ResourceExt as _};

use super::{
    Ctx, Error, Key, Seen, create_as_us,
    documents::stored_bytes,
    names::{
        PATCH_KEY, PATCH_KEY_GZ, REVISION_KEY, REVISION_KEY_GZ, candidate_name, owner_reference,
    },
    perform::{compressed, delete},
};
use crate::{
    api::{DIGEST, PART, PLAN_DIGEST},
    decide::moves::Plan,
    domain::{Digest, Document, Doubt, DoubtReason},
};

/// The most that is stored; a document alone always fits.
const SIZE_MAX: usize = 900 * 1024;

/// Stores `plan` in place of the one that was shown before.
///
/// # Errors
/// See [`Error`].
pub async fn store(ctx: &Ctx, seen: &Seen, incident: &str, plan: &Plan) -> Result<(), Error> {
    let key = Key::new(&seen.key.namespace, &candidate_name(incident));
    let attempted = format!("showing the plan of Incident {}/{incident}", key.namespace);
    let uid = seen.object.uid().unwrap_or_default();
    let open = ctx.index.incidents_of(&seen.key, &uid).0;
    let Some(owner) = open.filter(|open| open.name_any() == incident) else {
        return Err(Error::Conflict { attempted });
    };
    let mut body = config_map(plan);
    body.metadata.name = Some(key.name.to_string());
    body.metadata.owner_references = Some(vec![owner_reference(&*owner)]);
    let config_maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &key.namespace);
    let params = create_as_us();
    match ctx.write(&attempted, config_maps.create(&params, &body)).await {
        Err(Error::Conflict { .. }) => {}
        answer => return answer.map(drop),
    }
    let Some(found) = ctx.find(&attempted, config_maps.get(&key.name)).await? else {
        return Err(Error::Conflict { attempted });
    };
    let plan_of = |object: &ConfigMap| object.annotations().get(PLAN_DIGEST).cloned();
    if plan_of(&found) == plan_of(&body) && found.owner_references() == body.owner_references() {
        return Ok(());
    }
    // It is immutable, so that what was approved cannot be another thing than what was read.
    delete(ctx, &config_maps, &attempted, &found).await?;
    ctx.write(&attempted, config_maps.create(&params, &body)).await.map(drop)
}

/// The document that an Incident's plan comes to, which has this digest; Err(Doubt) when it is not there,
/// or another one is.
///
/// # Errors
/// Only what concerns the API server as a whole.
pub async fn read(
    ctx: &Ctx,
    incident: &Key,
    digest: &Digest,
) -> Result<Result<Arc<Document>, Doubt>, Error> {
    let name = candidate_name(&incident.name);
    let doubt = |why: &str| {
        Err(Doubt::new(DoubtReason::ReferenceUnavailable, &format!("ConfigMap {name} {why}")))
    };
    let config_maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &incident.namespace);
    let attempted = format!("reading the plan of Incident {incident}");
    let Some(object) = ctx.find(&attempted, config_maps.get(&name)).await? else {
        return Ok(doubt("is not there"));
    };
    let Some(bytes) = stored_bytes(&object) else {
        return Ok(doubt("holds no document"));
    };
    Ok(match Document::parse(bytes) {
        Ok(document) if document.digest() == digest => Ok(Arc::new(document)),
        Ok(_) => doubt(
            "holds another document than the plan names: somebody has changed it, or another plan is \
             about to be shown",
        ),
        Err(malformed) => doubt(&format!("holds what is no document: {malformed}")),
    })
}

fn config_map(plan: &Plan) -> ConfigMap {
    let (mut data, mut binary_data) = (BTreeMap::new(), BTreeMap::new());
    let mut put = |text: &str, key: &str, key_gz: &str, room: usize| {
        let (size, compressed) = match compressed(text.as_bytes()) {
            Some(bytes) => (bytes.len(), Some(bytes)),
            None => (text.len(), None),
        };
        if size > room {
            return 0;
        }
        match compressed {
            Some(bytes) => drop(binary_data.insert(key_gz.to_owned(), ByteString(bytes))),
            None => drop(data.insert(key.to_owned(), text.to_owned())),
        }
        size
    };
    let used = put(plan.document.text(), REVISION_KEY, REVISION_KEY_GZ, usize::MAX);
    // Where both do not fit, the document is what cannot be found out otherwise.
    let room = SIZE_MAX.saturating_sub(used);
    put(&plan.patch.to_string(), PATCH_KEY, PATCH_KEY_GZ, room);
    let mut body = ConfigMap {
        immutable: Some(true),
        data: Some(data),
        binary_data: Some(binary_data),
        ..ConfigMap::default()
    };
    body.metadata.labels = Some([(PART.to_owned(), "candidate".to_owned())].into());
    body.metadata.annotations = Some(
        [
            (DIGEST.to_owned(), plan.document.digest().to_string()),
            (PLAN_DIGEST.to_owned(), plan.digest.to_string()),
        ]
        .into(),
    );
    body
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn keys(document: &Value, patch: Value) -> Vec<String> {
        let document = Arc::new(Document::from_value(document.clone()).unwrap());
        let stored = config_map(&Plan { digest: Digest::of_bytes(b""), patch, document });
        assert_eq!(stored.immutable, Some(true));
        let text = stored.data.unwrap().into_keys();
        text.chain(stored.binary_data.unwrap().into_keys()).collect()
    }

    #[test]
    fn what_is_large_is_compressed_and_a_patch_that_does_not_fit_is_left_out() {
        let patch = || json!([{"op": "add", "path": "/a", "value": 1}]);
        assert_eq!(keys(&json!({"a": 1}), patch()), ["contract.json", "patch.json"]);
        let long = json!({"a": "a".repeat(70_000)});
        assert_eq!(keys(&long, patch()), ["patch.json", "contract.json.gz"]);
        // Digests do not compress well: both together are more than a ConfigMap may hold.
        let noise: Vec<String> = (0..11_000_u32)
            .map(|n| Digest::of_bytes(&n.to_be_bytes()).as_str()[7..].to_owned())
            .collect();
        let noise = json!({"a": noise});
        let whole = json!([{"op": "replace", "path": "", "value": noise}]);
        assert_eq!(keys(&noise, whole.clone()), ["contract.json.gz", "patch.json.gz"]);
        let both: Vec<Value> = vec![whole[0].clone(), whole[0].clone()];
        assert_eq!(keys(&noise, json!(both)), ["contract.json.gz"]);
    }
}
