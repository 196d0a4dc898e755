//! Contracts: their versions, what they read, and their object while they wait in the queue.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::ResourceExt as _;

use super::{Index, Key, State, version_of};
use crate::{
    api::{
        WidgetContract,
        contract::{DocumentSource, SchemaSource},
        policy::RemediationPolicySpec,
    },
    decide::{
        select,
        silence::{self, Silence},
        standing::Standing,
    },
};

/// What is remembered of one contract.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) uid: Arc<str>,
    /// The newest version seen or written.
    version: u64,
    class: Option<Box<str>>,
    pub(super) traits: Arc<Traits>,
    reads: Box<[Box<str>]>,
    /// The ConfigMap that it claims a key of.
    pub(super) serves: Option<Arc<str>>,
    /// As its status says.
    pub(super) standing: Standing,
    /// Looks in a row that ended in an error.
    failures: u32,
}

/// What policies tell contracts apart by. Apart from the rest, so that whoever counts by it need not hold
/// the index meanwhile.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Traits {
    pub(super) widget: Box<str>,
    pub(super) labels: BTreeMap<String, String>,
}

impl Traits {
    /// Is `policy` for a contract with these?
    pub(super) fn are_for(&self, policy: &RemediationPolicySpec) -> bool {
        select::is_for(policy, &self.widget, &self.labels)
    }
}

/// The object of a contract that waits in the queue.
#[derive(Debug)]
pub(super) struct Held {
    object: Arc<WidgetContract>,
    /// Is it one that we wrote ourselves, so that nothing has to be looked at for it?
    rests: bool,
}

/// Objects that are held at most for contracts that wait; when more wait, the others are read again
/// at their turn. Contracts can be made faster than they are looked at.
pub const MOST_HELD: usize = 100;

/// What is new about a contract that was seen.
#[derive(Debug)]
pub struct News {
    /// Its key.
    pub key: Key,
    /// Are other policies for it than before, as far as its widget and labels say?
    pub is_sorted_anew: bool,
}

impl Index {
    /// Takes in a contract. Is it worth a look? Not when we have seen or written this version.
    pub fn saw_contract(&self, object: WidgetContract) -> Option<News> {
        let key = Key::of(&object);
        let version = version(&object);
        let uid = object.uid().unwrap_or_default();
        let mut state = self.lock();
        let known = state.contracts.get_key_value(&key).map(|(known, _)| known.clone());
        let key = known.unwrap_or_else(|| state.shared(&key));
        let known = state.contracts.get(&key);
        // An older version of the same object is a late event; of another UID it is a new object.
        if known.is_some_and(|entry| *entry.uid == *uid && version <= entry.version) {
            return None;
        }
        let traits =
            Traits { widget: object.spec.widget.as_str().into(), labels: object.labels().clone() };
        let is_sorted_anew = known.is_none_or(|entry| *entry.traits != traits);
        let failures = known.map_or(0, |entry| entry.failures);
        let serves =
            known.filter(|entry| *entry.uid == *uid).and_then(|entry| entry.serves.clone());
        let is_same = known.is_some_and(|entry| *entry.uid == *uid);
        state.unreadable.remove(&key);
        if serves.is_none() {
            state.unclaim(&key);
        }
        if !is_same {
            let checks = object.status.as_ref().map_or(&[][..], |status| &status.checks);
            state.falls_silent(&key, silence::on_record(checks));
        }
        state.forget_reads(&key);
        let entry = Entry {
            class: object.spec.class_ref.as_ref().map(|class| class.name.as_str().into()),
            traits: Arc::new(traits),
            reads: reads(&object),
            serves,
            standing: Standing::of(object.status.as_ref()),
            uid: uid.into(),
            version,
            failures,
        };
        for name in &entry.reads {
            let config_map = key.beside(name);
            state.readers.entry(config_map).or_default().insert(key.clone());
        }
        state.contracts.insert(key.clone(), Box::new(entry));
        if state.held.len() < MOST_HELD {
            state.held.insert(key.clone(), Held { object: Arc::new(object), rests: false });
        }
        Some(News { key, is_sorted_anew })
    }

    /// The first list of contracts has ended.
    pub fn listed_contracts(&self) {
        self.lock().is_whole = true;
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

    /// Takes in what a look at a contract had to say of hosts that give no answer; is it news?
    pub fn said_of_hosts(&self, key: &Key, silences: Arc<[Silence]>) -> bool {
        let mut state = self.lock();
        // It may be gone by now.
        let known = state.contracts.get_key_value(key).map(|(known, _)| known.clone());
        known.is_some_and(|known| state.falls_silent(&known, silences))
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
        if let Some(held) = state.held.remove(key) {
            return Some(held.object);
        }
        let newest = state.contracts.get(key)?.version;
        drop(state);
        let recent: WidgetContract = serde_json::from_slice(&self.recent.get(key)?).ok()?;
        (version(&recent) == newest).then(|| Arc::new(recent))
    }

    /// Keeps `object` for the next look, unless a newer one has arrived or too many are held.
    pub fn keep_object(&self, key: &Key, object: Arc<WidgetContract>) {
        let mut state = self.lock();
        if state.held.len() >= MOST_HELD {
            // The look may be a long way off: it goes to the end of the queue.
            drop(state.rest(key));
            return;
        }
        if state.contracts.get(key).is_some_and(|entry| version(&object) >= entry.version) {
            state.held.entry(key.clone()).or_insert(Held { object, rests: false });
        }
    }

    /// What we wrote: nothing older may be decided on. Kept for a look that follows at once.
    pub fn wrote_contract(&self, key: &Key, written: WidgetContract) {
        let version = version(&written);
        let mut state = self.lock();
        if let Some(entry) = state.contracts.get_mut(key)
            && version >= entry.version
        {
            entry.version = version;
            entry.standing = Standing::of(written.status.as_ref());
            state.held.insert(key.clone(), Held { object: Arc::new(written), rests: true });
        }
    }

    /// No look at the contract, which was `seen`, follows at once: what was kept for one is dropped,
    /// unless something newer came.
    pub fn rest(&self, key: &Key, seen: Arc<WidgetContract>) {
        let mut state = self.lock();
        let newest = state.rest(key).unwrap_or(seen);
        let is_newest =
            state.contracts.get(key).is_some_and(|entry| entry.version == version(&newest));
        drop(state);
        if is_newest && let Ok(text) = serde_json::to_vec(&*newest) {
            self.recent.insert(key.clone(), text.into());
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
        let mut readers: BTreeSet<_> =
            state.readers.get(config_map).into_iter().flatten().cloned().collect();
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
    /// Takes out what we wrote ourselves: no look follows because of it.
    fn rest(&mut self, key: &Key) -> Option<Arc<WidgetContract>> {
        self.held.get(key).filter(|held| held.rests)?;
        self.held.remove(key).map(|held| held.object)
    }

    /// What a contract has to say of hosts, from now on; is it news?
    fn falls_silent(&mut self, key: &Key, silences: Arc<[Silence]>) -> bool {
        if silences.is_empty() {
            return self.silences.remove(key).is_some();
        }
        if self.silences.get(key) == Some(&silences) {
            return false;
        }
        self.silences.insert(key.clone(), silences);
        true
    }

    pub(super) fn forget(&mut self, key: &Key) {
        self.unclaim(key);
        self.forget_reads(key);
        self.silences.remove(key);
        self.repairing.remove(key);
    }

    /// Forgets all but what the contract claims to serve.
    pub(super) fn forget_reads(&mut self, key: &Key) {
        self.held.remove(key);
        let Some(entry) = self.contracts.remove(key) else { return };
        for name in entry.reads {
            let config_map = key.beside(&name);
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
fn reads(contract: &WidgetContract) -> Box<[Box<str>]> {
    let mut names = BTreeSet::new();
    if let DocumentSource::ConfigMapKeyRef(reference) = &contract.spec.document {
        names.insert(reference.name.as_str());
    }
    if let Some(SchemaSource::ConfigMapKeyRef(reference)) = &contract.spec.schema {
        names.insert(reference.name.as_str());
    }
    names.into_iter().map(Into::into).collect()
}

fn version(object: &WidgetContract) -> u64 {
    version_of(object.resource_version().as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract(number: usize) -> WidgetContract {
        let spec = serde_json::json!({"widget": "w", "document": {"inline": {}}});
        let mut object =
            WidgetContract::new(&format!("c-{number}"), serde_json::from_value(spec).unwrap());
        object.metadata.namespace = Some("ns".to_owned());
        object.metadata.uid = Some(format!("u-{number}"));
        object.metadata.resource_version = Some("7".to_owned());
        object
    }

    #[test]
    fn every_contract_is_looked_at_although_not_every_object_is_held() {
        let index = Index::default();
        let keys: Vec<_> = (0..MOST_HELD + 9)
            .filter_map(|at| Some(index.saw_contract(contract(at))?.key))
            .collect();
        assert_eq!(keys.len(), MOST_HELD + 9);
        // Neither is what was written, when its next look is a long way off.
        let last = contract(MOST_HELD + 8);
        index.wrote_contract(&Key::of(&last), last.clone());
        index.keep_object(&Key::of(&last), Arc::new(last));
        let held = keys.iter().filter_map(|key| index.take_object(key)).count();
        assert_eq!(held, MOST_HELD);
        assert!(keys.iter().all(|key| index.contract_version(key) == 7));
        // Room again: what comes next is held.
        assert!(index.saw_contract(contract(MOST_HELD + 9)).is_some());
        assert!(index.take_object(&Key::new("ns", &format!("c-{}", MOST_HELD + 9))).is_some());
    }
}
