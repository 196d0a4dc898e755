//! How the ConfigMaps that we write are named and marked, so that whoever reads them finds what
//! whoever wrote them left.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource, ResourceExt as _};

use crate::{api::PART, decide::requests::Annotations, domain::Digest};

/// Those annotations that are meant for us.
#[must_use]
pub fn ours(annotations: &BTreeMap<String, String>) -> Annotations {
    let is_ours = |(name, _): &(&String, &String)| name.starts_with("kintsugi.dev/");
    annotations.iter().filter(is_ours).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Is this a ConfigMap that we serve from?
#[must_use]
pub fn is_served(object: &ConfigMap) -> bool {
    object.labels().get(PART).is_some_and(|part| part == "served")
}

/// The annotation that says whose a key is. Annotation names are short, so the key is hashed.
#[must_use]
pub fn owner_annotation(key: &str) -> String {
    format!("kintsugi.dev/owner-{}", key_hash(key))
}

/// The annotation that says what was written into a key: see [`Note`](crate::decide::view::Note).
#[must_use]
pub fn note_annotation(key: &str) -> String {
    format!("kintsugi.dev/note-{}", key_hash(key))
}

pub(super) fn key_hash(key: &str) -> String {
    Digest::of_bytes(key.as_bytes()).short().to_owned()
}

/// What makes an object end with its owner: a contract, or an Incident.
#[must_use]
pub fn owner_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// The name of the ConfigMap with an Incident's plan.
#[must_use]
pub fn candidate_name(incident: &str) -> String {
    format!("{incident}-candidate")
}

/// The key of a candidate's ConfigMap that holds the changes, as a JSON Patch (RFC 6902).
pub const PATCH_KEY: &str = "patch.json";

/// The same, compressed.
pub const PATCH_KEY_GZ: &str = "patch.json.gz";

/// The name of a contract's revision.
#[must_use]
pub fn revision_name(contract: &str, uid: &str, number: u32) -> String {
    let digits: String = uid.chars().filter(char::is_ascii_hexdigit).take(6).collect();
    format!("{contract}-{digits}-rev-{number}")
}

/// The key of a revision's or a candidate's ConfigMap that holds the document.
pub const REVISION_KEY: &str = "contract.json";

/// The same, compressed.
pub const REVISION_KEY_GZ: &str = "contract.json.gz";
