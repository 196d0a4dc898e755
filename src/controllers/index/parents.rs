//! Incidents about what several contracts have in common, and what they follow from.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::ResourceExt as _;

use super::{Index, Key, version_of};
use crate::{
    api::{
        Incident, RemediationPolicySpec,
        incident::{About, IncidentStatus},
    },
    decide::{
        parents::{Family, Parent},
        select::Policy,
        view::OpenIncident,
    },
    domain::{Heard, Span},
};

impl Index {
    /// Takes in an Incident about what several contracts have in common.
    pub fn saw_parent(&self, object: &Incident) {
        let mut state = self.lock();
        let (key, seen) = (Key::of(object), version_of(object.resource_version().as_deref()));
        let known = state.parents.get(&key);
        if known.is_none_or(|known| version(known) < seen) {
            self.live.saw(known.map(|known| &**known), object);
            state.parents.insert(key, Arc::new(object.clone()));
        }
    }

    /// Forgets one that is gone.
    pub fn lost_parent(&self, key: &Key) {
        self.lock().parents.remove(key);
    }

    /// Could what the contracts of a namespace have in common be written down?
    pub fn speaks(&self, namespace: &str, could: bool) {
        let mut state = self.lock();
        if could {
            state.speechless.remove(namespace);
        } else {
            state.speechless.insert(namespace.to_owned());
        }
    }

    /// Could it not?
    pub fn is_speechless(&self, namespace: &str) -> bool {
        self.lock().speechless.contains(namespace)
    }

    /// What the open Incidents of a namespace about what several contracts share are about.
    pub fn shared_in(&self, namespace: &str) -> Vec<About> {
        let state = self.lock();
        let here = state.parents.iter().filter(|(key, _)| &*key.namespace == namespace);
        let open = here.filter(|(_, object)| is_open(object));
        open.filter_map(|(_, object)| object.spec.about.clone()).collect()
    }

    /// The newest version of any Incident.
    pub fn newest_incident(&self) -> u64 {
        let state = self.lock();
        let of_contracts = state.incidents.values().flat_map(BTreeMap::values).map(|e| e.version);
        of_contracts.chain(state.parents.values().map(version)).max().unwrap_or(0)
    }

    /// Forgets the Incidents that were known before a list, up to version `newest`, and are not in it;
    /// returns their contracts and the namespaces concerned.
    pub fn keep_incidents(
        &self,
        listed: &BTreeSet<Key>,
        scope: Option<&str>,
        newest: u64,
    ) -> (Vec<Key>, BTreeSet<Arc<str>>) {
        let mut state = self.lock();
        let in_scope = |key: &Key| scope.is_none_or(|namespace| &*key.namespace == namespace);
        let (mut contracts, mut namespaces) = (Vec::new(), BTreeSet::new());
        state.parents.retain(|key, parent| {
            let stays = !in_scope(key) || listed.contains(key) || version(parent) > newest;
            if !stays {
                namespaces.insert(Arc::clone(&key.namespace));
            }
            stays
        });
        state.incidents.retain(|contract, all| {
            let known = all.len();
            if in_scope(contract) {
                all.retain(|(_, name), entry| {
                    entry.version > newest || listed.contains(&contract.beside(name))
                });
            }
            if all.len() < known {
                contracts.push(contract.clone());
                namespaces.insert(Arc::clone(&contract.namespace));
            }
            !all.is_empty()
        });
        state.calls.clear();
        (contracts, namespaces)
    }

    /// What the contracts of a namespace may have in common, where this is what was `heard` of hosts, and
    /// how long ago one was reached after none could be.
    pub fn family(
        &self,
        namespace: &str,
        heard: Vec<Heard>,
        reached_again: Option<Span>,
    ) -> Family {
        let state = self.lock();
        let here = |key: &Key| &*key.namespace == namespace;
        let incidents = || state.incidents.iter().filter(|(contract, _)| here(contract));
        let entries = || incidents().flat_map(|(_, all)| all.values());
        let policies: Vec<&Policy> = state
            .policies
            .iter()
            .filter(|(key, _)| here(key))
            .map(|(_, policy)| &**policy)
            .collect();
        let matched = state.matched_by(namespace, &policies);
        Family {
            policies: policies.into_iter().cloned().zip(matched).collect(),
            troubles: entries().map(|entry| Arc::clone(&entry.trouble)).collect(),
            open: entries().filter_map(|entry| entry.state.as_ref().ok()).cloned().collect(),
            parents: state.parents.iter().filter(|(key, _)| here(key)).map(parent).collect(),
            silences: state
                .silences
                .iter()
                .filter(|(key, _)| here(key))
                .map(|(key, silences)| (Arc::clone(&key.name), Arc::clone(silences)))
                .collect(),
            heard,
            reached_again,
        }
    }
}

impl super::State {
    /// How many contracts of a namespace a policy is for.
    pub(super) fn matched(&self, namespace: &str, policy: &RemediationPolicySpec) -> usize {
        let here = self.contracts.iter().filter(|(key, _)| &*key.namespace == namespace);
        here.filter(|(_, entry)| entry.traits.are_for(policy)).count()
    }

    /// The same of several policies, in their order.
    fn matched_by(&self, namespace: &str, policies: &[&Policy]) -> Vec<usize> {
        let here = self.contracts.iter().filter(|(key, _)| &*key.namespace == namespace);
        let mut counts = vec![0; policies.len()];
        for (_, entry) in here {
            for (count, policy) in counts.iter_mut().zip(policies) {
                *count += usize::from(entry.traits.are_for(&policy.spec));
            }
        }
        counts
    }
}

pub(super) fn is_open(object: &Incident) -> bool {
    !object.status.as_ref().is_some_and(IncidentStatus::is_over)
}

fn version(object: &Arc<Incident>) -> u64 {
    version_of(object.resource_version().as_deref())
}

fn parent((_, object): (&Key, &Arc<Incident>)) -> Parent {
    Parent { uid: object.uid().unwrap_or_default(), incident: OpenIncident::of(object) }
}
