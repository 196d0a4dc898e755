//! Contracts: their versions, what they read, and their object while they wait in the queue.

use std::{collections::BTreeSet, sync::Arc};

use kube::ResourceExt as _;

use super::{Index, Key, State, version_of};
use crate::api::{
    WidgetContract,
    contract::{DocumentSource, SchemaSource},
};

/// What is remembered of one contract.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) uid: String,
    /// The newest version seen or written.
    version: u64,
    class: Option<String>,
    reads: Vec<String>,
    pub(super) serves: Option<String>,
    /// The object, while it waits in the queue.
    object: Option<Arc<WidgetContract>>,
    /// Is the object one that we wrote ourselves, so that nothing has to be looked at for it?
    rests: bool,
    /// Looks in a row that ended in an error.
    failures: u32,
}

impl Index {
    /// Takes in a contract. Is it worth a look? Not when we have seen or written this version.
    pub fn saw_contract(&self, object: WidgetContract) -> Option<Key> {
        let key = Key::of(&object);
        let version = version(&object);
        let uid = object.uid().unwrap_or_default();
        let mut state = self.lock();
        let known = state.contracts.get(&key);
        // An older version of the same object is a late event; of another UID it is a new object.
        if known.is_some_and(|entry| entry.uid == uid && version <= entry.version) {
            return None;
        }
        let failures = known.map_or(0, |entry| entry.failures);
        let serves = known.filter(|entry| entry.uid == uid).and_then(|entry| entry.serves.clone());
        state.unreadable.remove(&key);
        if serves.is_none() {
            state.unclaim(&key);
        }
        state.forget_reads(&key);
        let entry = Entry {
            class: object.spec.class_ref.as_ref().map(|class| class.name.clone()),
            reads: reads(&object),
            serves,
            uid,
            version,
            object: Some(Arc::new(object)),
            rests: false,
            failures,
        };
        for name in &entry.reads {
            let config_map = Key::new(&key.namespace, name);
            state.readers.entry(config_map).or_default().insert(key.clone());
        }
        state.contracts.insert(key.clone(), entry);
        Some(key)
    }

    /// Takes in a contract that cannot be read; has that been said of this generation of it?
    pub fn saw_unreadable(&self, key: &Key, uid: &str, generation: i64) -> bool {
        let mut state = self.lock();
        state.forget(key);
        let said = state.unreadable.get(key);
        said.is_some_and(|(said_uid, said)| said_uid == uid && *said == generation)
    }

    /// It has been said that this generation of a contract cannot be read.
    pub fn said_unreadable(&self, key: &Key, uid: &str, generation: i64) {
        self.lock().unreadable.insert(key.clone(), (uid.to_owned(), generation));
    }

    /// Forgets a contract that is gone.
    pub fn lost_contract(&self, key: &Key) {
        let mut state = self.lock();
        state.forget(key);
        state.unreadable.remove(key);
        self.recent.invalidate(key);
    }

    /// The contracts that were known before a list and are not in it.
    pub fn contracts_not_in(&self, listed: &BTreeSet<Key>, scope: Option<&str>) -> Vec<Key> {
        let state = self.lock();
        let in_scope = |key: &&Key| scope.is_none_or(|namespace| &*key.namespace == namespace);
        state
            .contracts
            .keys()
            .filter(in_scope)
            .filter(|key| !listed.contains(*key))
            .cloned()
            .collect()
    }

    /// The object to work on, taken out of the index; None when it has to be read.
    pub fn take_object(&self, key: &Key) -> Option<Arc<WidgetContract>> {
        let mut state = self.lock();
        let entry = state.contracts.get_mut(key)?;
        let newest = entry.version;
        entry
            .object
            .take()
            .or_else(|| self.recent.get(key).filter(|object| version(object) == newest))
    }

    /// Keeps `object` for the next look, unless a newer one has arrived.
    pub fn keep_object(&self, key: &Key, object: Arc<WidgetContract>) {
        let mut state = self.lock();
        if let Some(entry) = state.contracts.get_mut(key)
            && entry.object.is_none()
            && version(&object) >= entry.version
        {
            entry.object = Some(object);
        }
    }

    /// What we wrote: nothing older may be decided on. Kept for a look that follows at once.
    pub fn wrote_contract(&self, key: &Key, written: WidgetContract) {
        let version = version(&written);
        if let Some(entry) = self.lock().contracts.get_mut(key)
            && version >= entry.version
        {
            entry.version = version;
            entry.object = Some(Arc::new(written));
            entry.rests = true;
        }
    }

    /// No look at the contract, which was `seen`, follows at once.
    pub fn rest(&self, key: &Key, seen: Arc<WidgetContract>) {
        let mut state = self.lock();
        let Some(entry) = state.contracts.get_mut(key) else { return };
        let newest = if entry.rests { entry.object.take().unwrap_or(seen) } else { seen };
        // Unless something newer came meanwhile.
        if version(&newest) == entry.version {
            self.recent.insert(key.clone(), newest);
        }
    }

    /// A look went wrong, perhaps because there is something newer than the watch has brought: the
    /// next one reads.
    pub fn reread(&self, key: &Key) {
        self.recent.invalidate(key);
    }

    /// The newest version of this contract that we have seen or written.
    pub fn contract_version(&self, key: &Key) -> u64 {
        self.lock().contracts.get(key).map_or(0, |entry| entry.version)
    }

    /// One more look that ended in an error; returns how many in a row there have been.
    pub fn failed(&self, key: &Key) -> u32 {
        self.lock().contracts.get_mut(key).map_or(1, |entry| {
            entry.failures = entry.failures.saturating_add(1);
            entry.failures
        })
    }

    /// A look that went well.
    pub fn succeeded(&self, key: &Key) {
        if let Some(entry) = self.lock().contracts.get_mut(key) {
            entry.failures = 0;
        }
    }

    /// Every contract that reads a ConfigMap by its own spec.
    pub fn all_readers(&self) -> BTreeSet<Key> {
        self.lock().readers.values().flatten().cloned().collect()
    }

    /// The contracts that read this ConfigMap.
    pub fn readers_of(&self, config_map: &Key) -> Vec<Key> {
        let state = self.lock();
        let mut readers = state.readers.get(config_map).cloned().unwrap_or_default();
        let classes = state.classes.iter().filter(|(key, class)| {
            key.namespace == config_map.namespace
                && matches!(&class.spec.schema, Some(SchemaSource::ConfigMapKeyRef(schema))
                    if schema.name == *config_map.name)
        });
        for (class, _) in classes {
            readers.extend(state.of_class(class));
        }
        readers.into_iter().collect()
    }
}

impl State {
    pub(super) fn forget(&mut self, key: &Key) {
        self.unclaim(key);
        self.forget_reads(key);
    }

    /// Forgets all but what the contract claims to serve.
    pub(super) fn forget_reads(&mut self, key: &Key) {
        let Some(entry) = self.contracts.remove(key) else { return };
        for name in entry.reads {
            let config_map = Key::new(&key.namespace, &name);
            if let Some(readers) = self.readers.get_mut(&config_map) {
                readers.remove(key);
                if readers.is_empty() {
                    self.readers.remove(&config_map);
                }
            }
        }
    }

    pub(super) fn of_class(&self, class: &Key) -> Vec<Key> {
        self.contracts
            .iter()
            .filter(|(key, _)| key.namespace == class.namespace)
            .filter(|(_, entry)| entry.class.as_deref() == Some(class.name.as_ref()))
            .map(|(key, _)| key.clone())
            .collect()
    }
}

/// The ConfigMaps that a contract's own spec reads.
fn reads(contract: &WidgetContract) -> Vec<String> {
    let mut names = BTreeSet::new();
    if let DocumentSource::ConfigMapKeyRef(reference) = &contract.spec.document {
        names.insert(reference.name.clone());
    }
    if let Some(SchemaSource::ConfigMapKeyRef(reference)) = &contract.spec.schema {
        names.insert(reference.name.clone());
    }
    names.into_iter().collect()
}

fn version(object: &WidgetContract) -> u64 {
    version_of(object.resource_version().as_deref())
}
