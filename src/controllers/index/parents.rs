//! Incidents about what several contracts have in common, and what they follow from.

use std::sync::Arc;

use kube::{Resource as _, ResourceExt as _};

use super::{Index, Key, version_of};
use crate::{
    api::{Incident, RemediationPolicySpec},
    decide::{
        parents::{Family, Parent},
        select,
        view::OpenIncident,
    },
};

impl Index {
    /// Takes in an Incident about what several contracts have in common.
    pub fn saw_parent(&self, object: &Incident) {
        let mut state = self.lock();
        let (key, version) = (Key::of(object), version_of(object.resource_version().as_deref()));
        let known = state.parents.get(&key).and_then(|known| known.resource_version());
        if known.is_none_or(|known| version_of(Some(&known)) < version) {
            state.parents.insert(key, Arc::new(object.clone()));
        }
    }

    /// Forgets one that is gone.
    pub fn lost_parent(&self, key: &Key) {
        self.lock().parents.remove(key);
    }

    /// What the Incidents of a namespace may have in common.
    pub fn family(&self, namespace: &str) -> Family {
        let state = self.lock();
        let here = |key: &Key| &*key.namespace == namespace;
        let incidents = || state.incidents.iter().filter(|(contract, _)| here(contract));
        let entries = || incidents().flat_map(|(_, all)| all.values());
        let policies = state.policies.iter().filter(|(key, _)| here(key));
        Family {
            policies: policies
                .map(|(_, policy)| (policy.clone(), state.matched(namespace, &policy.spec)))
                .collect(),
            troubles: entries().map(|entry| Arc::clone(&entry.trouble)).collect(),
            open: entries().filter_map(|entry| entry.state.as_ref().ok()).cloned().collect(),
            parents: state.parents.iter().filter(|(key, _)| here(key)).map(parent).collect(),
        }
    }
}

impl super::State {
    /// How many contracts of a namespace a policy is for.
    pub(super) fn matched(&self, namespace: &str, policy: &RemediationPolicySpec) -> usize {
        let here = self.contracts.iter().filter(|(key, _)| &*key.namespace == namespace);
        here.filter(|(_, entry)| select::is_for(policy, &entry.widget, &entry.labels)).count()
    }
}

fn parent((_, object): (&Key, &Arc<Incident>)) -> Parent {
    Parent {
        uid: object.uid().unwrap_or_default(),
        incident: OpenIncident {
            name: object.name_any(),
            spec: object.spec.clone(),
            status: object.status.clone().unwrap_or_default(),
            generation: object.meta().generation.unwrap_or(1),
            version: object.resource_version().unwrap_or_default(),
        },
    }
}
