//! ConfigMaps that are served from, and which contract may write which key of them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

use super::{Index, Key, State, version_of};
use crate::{
    api::{WidgetContract, refs::ConfigMapKeyRef},
    controllers::names::owner_annotation,
    decide::ownership::is_served_in,
    domain::Digest,
};

/// Who claims a served key: the oldest contract first, then by UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    created: i64,
    uid: Arc<str>,
    contract: Key,
    /// The key that is claimed.
    at: Box<str>,
}

/// A ConfigMap that we serve from, as it is kept.
#[derive(Debug)]
pub(super) enum Packed {
    /// With one key, as there is one for each contract: as text, which takes half the memory of a
    /// dozen small parts and is soon read.
    Text(Box<str>),
    /// With many keys, which few have.
    Whole(Box<ServedObject>),
}

/// A ConfigMap that we serve from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServedObject {
    /// Its UID.
    pub uid: String,
    /// Its resourceVersion.
    pub version: u64,
    /// Its keys.
    pub keys: Vec<ServedBytes>,
    /// What it is deleted with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<OwnerReference>,
    /// Its annotations that are ours, as they are.
    pub annotations: BTreeMap<String, String>,
}

/// One key of a ConfigMap that we serve from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedBytes {
    /// The key.
    pub key: String,
    /// Digest of its bytes.
    pub raw_digest: Digest,
    /// How many bytes it holds.
    pub size: usize,
    /// The field manager that wrote it.
    pub manager: String,
    /// Is it in `binaryData`?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_binary: bool,
}

impl Index {
    /// Says that `contract` wants to write `at`; returns the older contract that has the key
    /// already, if there is one.
    pub fn claim(&self, contract: &WidgetContract, at: Option<&ConfigMapKeyRef>) -> Option<Key> {
        let key = Key::of(contract);
        let mut state = self.lock();
        state.unclaim(&key);
        let at = at?;
        let (key, _) = state.contracts.get_key_value(&key)?;
        let key = key.clone();
        let config_map = state.known_config_map(key.beside(&at.name));
        // A contract that is gone, or is another one by now, has nothing to claim.
        let uid = contract.uid().unwrap_or_default();
        let entry = state.contracts.get_mut(&key).filter(|entry| *entry.uid == *uid)?;
        entry.serves = Some(Arc::clone(&config_map.name));
        let claim = Claim {
            created: contract.creation_timestamp().map_or(0, |time| time.0.as_second()),
            uid: Arc::clone(&entry.uid),
            contract: key,
            at: at.key.as_str().into(),
        };
        let owner = state.served_object(&config_map).and_then(|object| {
            let note = object.annotations.get(&owner_annotation(&at.key))?;
            note.split_once('/').map(|(uid, _)| uid.to_owned())
        });
        let claims = state.claims.entry(config_map).or_insert_with(|| Vec::with_capacity(1));
        let rank = claims.partition_point(|other| *other < claim);
        claims.insert(rank, claim.clone());
        // Whoever serves already goes on: who comes first must not hang on who is looked at first.
        // Its mark may be lost; its status is not.
        if owner.is_none() && is_served_in(contract.status.as_ref(), at) {
            return None;
        }
        let rivals = || claims.iter().filter(|rival| rival.at == claim.at);
        let incumbent = rivals().find(|rival| Some(&*rival.uid) == owner.as_deref());
        let first = incumbent.or_else(|| rivals().next())?;
        (*first != claim).then(|| first.contract.clone())
    }

    /// Takes in a ConfigMap that we serve from; returns the contracts whose key of it is news.
    pub fn saw_served(&self, object: &ConfigMap) -> Vec<Key> {
        let key = Key::of(object);
        let served = ServedObject::of(object);
        let mut state = self.lock();
        let known = state.served_object(&key);
        if known
            .as_ref()
            .is_some_and(|known| known.uid == served.uid && known.version >= served.version)
        {
            return Vec::new();
        }
        // What a contract looks at: its key and the marks that are about it.
        let same = |a: &ServedObject, b: &ServedObject, key: &str| {
            let owner = owner_annotation(key);
            a.key(key) == b.key(key)
                && a.annotations.get(&owner) == b.annotations.get(&owner)
                && a.owners == b.owners
        };
        let claims = state.claims.get(&key).into_iter().flatten();
        let concerned = claims
            .filter(|claim| known.as_ref().is_none_or(|known| !same(known, &served, &claim.at)))
            .map(|claim| claim.contract.clone())
            .collect();
        drop(known);
        let key = state.shared(&key);
        let key = state.known_config_map(key);
        state.served.insert(key, Packed::of(served));
        concerned
    }

    /// Forgets a served ConfigMap that is gone; returns the contracts that serve from it.
    pub fn lost_served(&self, key: &Key) -> Vec<Key> {
        let mut state = self.lock();
        state.served.remove(key);
        state.claimants(key)
    }

    /// The served ConfigMaps that were known before a list and are not in it.
    pub fn served_not_in(&self, listed: &BTreeSet<Key>, scope: Option<&str>) -> Vec<Key> {
        let state = self.lock();
        let in_scope = |key: &&Key| scope.is_none_or(|namespace| &*key.namespace == namespace);
        state.served.keys().filter(in_scope).filter(|k| !listed.contains(*k)).cloned().collect()
    }

    /// The served ConfigMap of that name.
    pub fn served(&self, key: &Key) -> Option<ServedObject> {
        self.lock().served_object(key).map(Cow::into_owned)
    }
}

impl State {
    fn served_object(&self, key: &Key) -> Option<Cow<'_, ServedObject>> {
        self.served.get(key).and_then(Packed::open)
    }

    pub(super) fn unclaim(&mut self, key: &Key) {
        let Some(name) = self.contracts.get_mut(key).and_then(|entry| entry.serves.take()) else {
            return;
        };
        let config_map = Key { namespace: Arc::clone(&key.namespace), name };
        if let Some(claims) = self.claims.get_mut(&config_map) {
            claims.retain(|claim| claim.contract != *key);
            if claims.is_empty() {
                self.claims.remove(&config_map);
            }
        }
    }

    pub(super) fn claimants(&self, config_map: &Key) -> Vec<Key> {
        let claims = self.claims.get(config_map).into_iter().flatten();
        claims.map(|claim| claim.contract.clone()).collect()
    }

    /// The same key, its text shared with what else is remembered of that ConfigMap.
    fn known_config_map(&self, key: Key) -> Key {
        let claimed = self.claims.get_key_value(&key).map(|(known, _)| known);
        let known = claimed.or_else(|| self.served.get_key_value(&key).map(|(known, _)| known));
        known.cloned().unwrap_or(key)
    }
}

impl ServedObject {
    /// What is remembered of a served ConfigMap: digests, not bytes.
    #[must_use]
    pub fn of(object: &ConfigMap) -> Self {
        let text = object.data.iter().flatten().map(|(key, text)| (key, text.as_bytes(), false));
        let binary = object.binary_data.iter().flatten();
        let binary = binary.map(|(key, bytes)| (key, &bytes.0[..], true));
        let keys = text
            .chain(binary)
            .map(|(key, bytes, is_binary)| ServedBytes {
                key: key.clone(),
                raw_digest: Digest::of_bytes(bytes),
                size: bytes.len(),
                manager: manager_of(object, key),
                is_binary,
            })
            .collect();
        let annotations = object
            .annotations()
            .iter()
            .filter(|(name, _)| name.starts_with("kintsugi.dev/"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Self {
            uid: object.uid().unwrap_or_default(),
            version: version_of(object.resource_version().as_deref()),
            keys,
            owners: object.owner_references().to_vec(),
            annotations,
        }
    }

    /// The key of that name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&ServedBytes> {
        self.keys.iter().find(|bytes| bytes.key == name)
    }
}

impl Packed {
    fn of(object: ServedObject) -> Self {
        match serde_json::to_string(&object) {
            Ok(text) if object.keys.len() == 1 => Self::Text(text.into()),
            _ => Self::Whole(Box::new(object)),
        }
    }

    /// None is no answer that anything hangs on: what is not known is read anew.
    fn open(&self) -> Option<Cow<'_, ServedObject>> {
        match self {
            Self::Text(text) => serde_json::from_str(text).ok().map(Cow::Owned),
            Self::Whole(object) => Some(Cow::Borrowed(object)),
        }
    }
}

/// The field manager that wrote `data[key]` last, as the API server recorded it.
fn manager_of(object: &ConfigMap, key: &str) -> String {
    let field = format!("f:{key}");
    object
        .managed_fields()
        .iter()
        .filter(|entry| {
            entry.fields_v1.as_ref().is_some_and(|fields| {
                ["f:data", "f:binaryData"]
                    .iter()
                    .any(|part| fields.0.get(part).is_some_and(|f| f.get(&field).is_some()))
            })
        })
        // Of several owners the latest writer is the one whose bytes are there.
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
        .and_then(|entry| entry.manager.clone())
        .unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_seen() {
        for keys in 0..3 {
            let bytes = |at| ServedBytes {
                key: format!("{at}.json"),
                raw_digest: Digest::of_bytes(b"{}"),
                size: 2,
                manager: "kintsugi".to_owned(),
                is_binary: at == 1,
            };
            let owner = OwnerReference { uid: "u-2".to_owned(), ..OwnerReference::default() };
            let object = ServedObject {
                uid: "u-1".to_owned(),
                version: u64::MAX,
                keys: (0..keys).map(bytes).collect(),
                owners: (0..keys).map(|_| owner.clone()).collect(),
                annotations: [("kintsugi.dev/note-1".to_owned(), "a \"note\"\n".to_owned())].into(),
            };
            let packed = Packed::of(object.clone());
            assert_eq!(packed.open().map(Cow::into_owned), Some(object));
        }
    }
}
