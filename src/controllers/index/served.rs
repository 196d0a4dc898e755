//! ConfigMaps that are served from, and which contract may write which key of them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;

use super::{Index, Key, State, version_of};
use crate::{
    api::{WidgetContract, refs::ConfigMapKeyRef},
    controllers::perform::owner_annotation,
    domain::Digest,
};

/// Who claims a served key: the oldest contract first, then by UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    created: i64,
    uid: String,
    contract: Key,
}

/// A ConfigMap that we serve from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedObject {
    /// Its UID.
    pub uid: String,
    /// Its resourceVersion.
    pub version: u64,
    /// Its keys.
    pub keys: Vec<ServedBytes>,
    /// Its annotations that are ours, as they are.
    pub annotations: BTreeMap<String, String>,
}

/// One key of a ConfigMap that we serve from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedBytes {
    /// The key.
    pub key: String,
    /// Digest of its bytes.
    pub raw_digest: Digest,
    /// The field manager that wrote it.
    pub manager: String,
}

impl Index {
    /// Says that `contract` wants to write `at`; returns the older contract that has the key
    /// already, if there is one.
    pub fn claim(&self, contract: &WidgetContract, at: Option<&ConfigMapKeyRef>) -> Option<Key> {
        let key = Key::of(contract);
        let claim = Claim {
            created: contract.creation_timestamp().map_or(0, |time| time.0.as_second()),
            uid: contract.uid().unwrap_or_default(),
            contract: key.clone(),
        };
        let mut state = self.lock();
        state.unclaim(&key);
        let at = at?;
        let config_map = Key::new(&key.namespace, &at.name);
        // A contract that is gone, or is another one by now, has nothing to claim.
        let entry = state.contracts.get_mut(&key).filter(|entry| entry.uid == claim.uid)?;
        entry.serves = Some(at.name.clone());
        let owner = state.served.get(&config_map).and_then(|object| {
            let note = object.annotations.get(&owner_annotation(&at.key))?;
            note.split_once('/').map(|(uid, _)| uid.to_owned())
        });
        let claims = state.claims.entry(config_map).or_default();
        claims.insert(claim.clone(), at.clone());
        // Whoever serves already goes on: who comes first must not hang on who is looked at first.
        let rivals = || claims.iter().filter(|(_, claimed)| claimed.key == at.key);
        let incumbent = rivals().find(|(rival, _)| Some(&rival.uid) == owner.as_ref());
        let (first, _) = incumbent.or_else(|| rivals().next())?;
        (*first != claim).then(|| first.contract.clone())
    }

    /// Takes in a ConfigMap that we serve from; returns the contracts whose key of it is news.
    pub fn saw_served(&self, object: &ConfigMap) -> Vec<Key> {
        let key = Key::of(object);
        let served = ServedObject::of(object);
        let mut state = self.lock();
        let known = state.served.get(&key);
        if known.is_some_and(|known| known.uid == served.uid && known.version >= served.version) {
            return Vec::new();
        }
        let of = |object: &ServedObject, name: &str| {
            object.keys.iter().find(|bytes| bytes.key == name).cloned()
        };
        let claims = state.claims.get(&key).into_iter().flatten();
        let concerned = claims
            .filter(|(_, at)| known.is_none_or(|known| of(known, &at.key) != of(&served, &at.key)))
            .map(|(claim, _)| claim.contract.clone())
            .collect();
        state.served.insert(key, served);
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
        self.lock().served.get(key).cloned()
    }
}

impl State {
    pub(super) fn unclaim(&mut self, key: &Key) {
        let Some(name) = self.contracts.get_mut(key).and_then(|entry| entry.serves.take()) else {
            return;
        };
        let config_map = Key::new(&key.namespace, &name);
        if let Some(claims) = self.claims.get_mut(&config_map) {
            claims.retain(|claim, _| claim.contract != *key);
            if claims.is_empty() {
                self.claims.remove(&config_map);
            }
        }
    }

    pub(super) fn claimants(&self, config_map: &Key) -> Vec<Key> {
        let claims = self.claims.get(config_map).into_iter().flatten();
        claims.map(|(claim, _)| claim.contract.clone()).collect()
    }
}

impl ServedObject {
    /// What is remembered of a served ConfigMap: digests, not bytes.
    #[must_use]
    pub fn of(object: &ConfigMap) -> Self {
        let text = object.data.iter().flatten().map(|(key, text)| (key, text.as_bytes()));
        let binary = object.binary_data.iter().flatten().map(|(key, bytes)| (key, &bytes.0[..]));
        let keys = text
            .chain(binary)
            .map(|(key, bytes)| ServedBytes {
                key: key.clone(),
                raw_digest: Digest::of_bytes(bytes),
                manager: manager_of(object, key),
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
            annotations,
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
