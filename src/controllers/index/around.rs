//! Policies and classes: few, and needed whole.

use std::{collections::BTreeSet, sync::Arc};

use kube::ResourceExt as _;

use super::{Index, Key};
use crate::{
    api::WidgetClass,
    controllers::names::ours,
    decide::{
        conflicts::{self, Rival},
        select::Policy,
    },
};

impl Index {
    /// Takes in a policy; returns the contracts of its namespace that are in trouble, when it is news.
    pub fn saw_policy(&self, key: &Key, policy: Policy) -> Option<Vec<Key>> {
        let mut state = self.lock();
        let same = state.policies.get(key).is_some_and(|known| **known == policy);
        state.policies.insert(key.clone(), Arc::new(policy));
        (!same).then(|| state.in_trouble(&key.namespace))
    }

    /// Forgets a policy; returns the contracts of its namespace that are in trouble, when it was known.
    pub fn lost_policy(&self, key: &Key) -> Option<Vec<Key>> {
        let mut state = self.lock();
        state.policies.remove(key)?;
        Some(state.in_trouble(&key.namespace))
    }

    /// The policies that this one ties with.
    pub fn rivals(&self, key: &Key) -> Vec<Rival> {
        let state = self.lock();
        let Some(own) = state.policies.get(key) else { return Vec::new() };
        let here = |other: &Key| other.namespace == key.namespace;
        let others = state.policies.iter().filter(|(other, _)| here(other) && *other != key);
        let contracts = state.contracts.iter().filter(|(contract, _)| here(contract));
        let contracts = contracts.map(|(_, entry)| (&*entry.traits.widget, &entry.traits.labels));
        conflicts::rivals(own, others.map(|(_, policy)| &**policy), contracts)
    }

    /// The policies that were known before a list and are not in it.
    pub fn policies_not_in(&self, listed: &BTreeSet<Key>, scope: Option<&str>) -> Vec<Key> {
        let state = self.lock();
        let in_scope = |key: &&Key| scope.is_none_or(|namespace| &*key.namespace == namespace);
        state.policies.keys().filter(in_scope).filter(|k| !listed.contains(*k)).cloned().collect()
    }

    /// The policies of a namespace.
    pub fn policies(&self, namespace: &str) -> Vec<Policy> {
        let state = self.lock();
        let here = state.policies.iter().filter(|(key, _)| &*key.namespace == namespace);
        here.map(|(_, policy)| Policy::clone(policy)).collect()
    }

    /// Takes in a class; returns the contracts that name it.
    pub fn saw_class(&self, class: WidgetClass) -> Vec<Key> {
        let key = Key::of(&class);
        let mut state = self.lock();
        let same = state.classes.get(&key).is_some_and(|known| {
            known.spec == class.spec && ours(known.annotations()) == ours(class.annotations())
        });
        state.classes.insert(key.clone(), Arc::new(class));
        if same { Vec::new() } else { state.of_class(&key) }
    }

    /// Forgets a class; returns the contracts that name it.
    pub fn lost_class(&self, key: &Key) -> Vec<Key> {
        let mut state = self.lock();
        state.classes.remove(key);
        state.of_class(key)
    }

    /// The class of that name.
    pub fn class(&self, key: &Key) -> Option<Arc<WidgetClass>> {
        self.lock().classes.get(key).cloned()
    }

    /// The classes that were known before a list and are not in it.
    pub fn classes_not_in(&self, listed: &BTreeSet<Key>, scope: Option<&str>) -> Vec<Key> {
        let state = self.lock();
        let in_scope = |key: &&Key| scope.is_none_or(|namespace| &*key.namespace == namespace);
        state.classes.keys().filter(in_scope).filter(|k| !listed.contains(*k)).cloned().collect()
    }
}
