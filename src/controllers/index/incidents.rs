//! Incidents, by contract: the open one whole, of those that are over what is needed of them.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use kube::ResourceExt as _;

use super::{Index, Key, PROBE_PATIENCE, State, version_of};
use crate::{
    api::{
        Incident,
        incident::{IncidentStatus, State as IncidentState},
    },
    decide::{
        breakers::{self, Calls},
        fleet::{Fleet, Trouble},
        measure::{self, Account, Measured},
        view::EndedIncident,
    },
    domain::breaker::Call,
};

/// What is remembered of one Incident.
#[derive(Debug)]
pub(super) struct IncidentEntry {
    name: String,
    pub(super) version: u64,
    contract_uid: String,
    /// What the other contracts of the namespace need to know of it.
    pub(super) trouble: Arc<Trouble>,
    /// What its policies are measured by.
    account: Account,
    /// What it depended on, and whether that answered.
    calls: Box<[(Box<str>, Call)]>,
    /// The object while it is open, since every look at its contract needs it; else its end.
    pub(super) state: Result<Arc<Incident>, EndedIncident>,
}

impl Index {
    /// Takes in an Incident; returns its contract, when it is news.
    pub fn saw_incident(&self, object: &Incident) -> Option<Key> {
        let contract =
            Key::new(&object.namespace().unwrap_or_default(), &object.spec.contract_name);
        let version = version_of(object.resource_version().as_deref());
        let mut state = self.lock();
        let of_contract = state.incidents.entry(contract.clone()).or_default();
        let place = (object.spec.ordinal, object.name_any());
        if of_contract.get(&place).is_some_and(|known| known.version >= version) {
            return None;
        }
        let status = object.status.clone().unwrap_or_default();
        let over = status.state.is_some_and(IncidentState::is_over);
        let entry = IncidentEntry {
            name: object.name_any(),
            version,
            contract_uid: object.spec.contract_uid.clone(),
            trouble: Arc::new(Trouble::of(&object.spec, &status)),
            account: Account::of(&object.spec, &status),
            calls: calls_of(&status),
            state: if over {
                let uid = object.uid().unwrap_or_default();
                Err(EndedIncident::of(&object.name_any(), &uid, &object.spec, &status))
            } else {
                Ok(Arc::new(object.clone()))
            },
        };
        of_contract.insert(place, entry);
        Some(contract)
    }

    /// Forgets an Incident that is gone; returns its contract.
    pub fn lost_incident(&self, object: &Incident) -> Option<Key> {
        let contract =
            Key::new(&object.namespace().unwrap_or_default(), &object.spec.contract_name);
        self.forget_incident(contract, &object.name_any())
    }

    /// Forgets the Incident of that name.
    pub fn forget_incident(&self, contract: Key, name: &str) -> Option<Key> {
        let mut state = self.lock();
        let of_contract = state.incidents.get_mut(&contract)?;
        of_contract.retain(|_, entry| entry.name != name);
        if of_contract.is_empty() {
            state.incidents.remove(&contract);
        }
        Some(contract)
    }

    /// The open Incident of a contract, and those that are over, newest first.
    pub fn incidents_of(
        &self,
        contract: &Key,
        uid: &str,
    ) -> (Option<Arc<Incident>>, Vec<EndedIncident>) {
        let state = self.lock();
        let own = state
            .incidents
            .get(contract)
            .into_iter()
            .flat_map(BTreeMap::values)
            .rev()
            .filter(|entry| entry.contract_uid == uid);
        let (mut open, mut over) = (None, Vec::new());
        for entry in own {
            match &entry.state {
                Ok(object) if open.is_none() => open = Some(Arc::clone(object)),
                Err(ended) => over.push(ended.clone()),
                Ok(_) => {}
            }
        }
        (open, over)
    }
}

impl Index {
    /// What `policies` have to know of the other contracts in the namespace of `own`. A repair of
    /// `own` counts as under way from now on, until [`Index::rests_again`]: two that ask at the
    /// same time must not both be the last one. None while not all contracts are known: a share of
    /// those that happen to be would hide a storm.
    pub fn fleet(&self, own: &Key, policies: Vec<String>) -> Option<Fleet> {
        let mut state = self.lock();
        if !state.is_whole {
            return None;
        }
        let here = |key: &Key| key.namespace == own.namespace;
        let others = state.incidents.iter().filter(|(key, _)| here(key) && *key != own);
        let troubles = others.flat_map(|(_, all)| all.values().map(|entry| &entry.trouble));
        let of_them = troubles.filter(|trouble| policies.iter().any(|name| trouble.is_of(name)));
        let mut fleet = Fleet {
            troubles: of_them.cloned().collect(),
            calls: state.calls(&own.namespace),
            ..Fleet::default()
        };
        for name in &policies {
            let Some(policy) = state.policies.get(&own.beside(name)) else { continue };
            let matched = state.matched(&own.namespace, &policy.spec);
            fleet.matched.insert(name.clone(), matched);
            let under_way = state.repairing.iter().filter(|(contract, policies)| {
                here(contract) && *contract != own && policies.contains(name)
            });
            let under_way: Vec<&Key> = under_way.map(|(contract, _)| contract).collect();
            let has_none_yet = |contract: &&&Key| !state.has_open_incident(contract);
            fleet.opening.insert(name.clone(), under_way.iter().filter(has_none_yet).count());
            fleet.in_flight.insert(name.clone(), under_way.len());
        }
        state.repairing.insert(own.clone(), policies);
        Some(fleet)
    }

    /// What the Incidents and contracts of its namespace say of a policy.
    pub fn measured(&self, policy: &Key) -> Measured {
        let state = self.lock();
        let Some(known) = state.policies.get(policy) else { return Measured::default() };
        let here = |key: &Key| key.namespace == policy.namespace;
        let matched = state.matched(&policy.namespace, &known.spec);
        let incidents = state.incidents.iter().filter(|(contract, _)| here(contract));
        let entries: Vec<&IncidentEntry> = incidents.flat_map(|(_, all)| all.values()).collect();
        let accounts = entries.iter().map(|entry| &entry.account);
        let measured = measure::count(&policy.name, &known.spec.steps, matched, accounts);
        let own = entries.iter().filter(|entry| entry.account.is_of(&policy.name));
        let asked = own.flat_map(|entry| entry.calls.iter().map(|(name, _)| name.to_string()));
        let (asked, calls) = (asked.collect(), state.calls(&policy.namespace));
        let breakers = breakers::shown(breakers::terms(&known.spec), &asked, &calls);
        Measured { breakers, ..measured }
    }

    /// Is `contract` the one that tries `dependency`? It is when nobody else does, and stays it until
    /// [`Index::rests_again`].
    pub fn claim_probe(&self, contract: &Key, dependency: &str) -> bool {
        let mut state = self.lock();
        let place = (Arc::clone(&contract.namespace), dependency.to_owned());
        let now = Instant::now();
        let by_another = state.probing.get(&place).is_some_and(|(by, since)| {
            by != contract && now.duration_since(*since) < PROBE_PATIENCE
        });
        if !by_another {
            state.probing.insert(place, (contract.clone(), now));
        }
        !by_another
    }

    /// The contracts of a namespace that wait for something that did not answer, and their UIDs.
    pub fn waiting_for_answers(&self, namespace: &str) -> Vec<(Key, String)> {
        let state = self.lock();
        let here = state.incidents.iter().filter(|(key, _)| &*key.namespace == namespace);
        let waiting = here.filter_map(|(key, all)| {
            let waits = |entry: &&IncidentEntry| {
                let open = entry.state.as_ref().ok().and_then(|object| object.status.as_ref());
                open.is_some_and(breakers::waits)
            };
            let entry = all.values().find(waits)?;
            Some((key.clone(), entry.contract_uid.clone()))
        });
        waiting.collect()
    }

    /// No repair of this contract is under way any more.
    pub fn rests_again(&self, contract: &Key) {
        let mut state = self.lock();
        state.repairing.remove(contract);
        state.probing.retain(|_, (by, _)| by != contract);
    }
}

fn calls_of(status: &IncidentStatus) -> Box<[(Box<str>, Call)]> {
    let calls = status.calls.iter().map(|call| {
        (call.dependency.as_str().into(), Call { at: call.at.0, answered: call.answered })
    });
    calls.collect()
}

impl State {
    fn has_open_incident(&self, contract: &Key) -> bool {
        let entries = self.incidents.get(contract).into_iter().flat_map(BTreeMap::values);
        entries.into_iter().any(|entry| entry.state.is_ok())
    }

    /// The calls on record in a namespace.
    fn calls(&self, namespace: &str) -> Calls {
        let mut calls = Calls::new();
        let here = self.incidents.iter().filter(|(key, _)| &*key.namespace == namespace);
        let entries = here.flat_map(|(_, all)| all.values());
        for (dependency, call) in entries.flat_map(|entry| &entry.calls) {
            match calls.get_mut(&**dependency) {
                Some(known) => known.push(*call),
                None => drop(calls.insert(dependency.to_string(), vec![*call])),
            }
        }
        calls
    }

    /// The contracts of a namespace that have an open Incident.
    pub(super) fn in_trouble(&self, namespace: &str) -> Vec<Key> {
        let open = |entry: &IncidentEntry| entry.state.is_ok();
        self.incidents
            .iter()
            .filter(|(contract, _)| &*contract.namespace == namespace)
            .filter(|(_, incidents)| incidents.values().any(open))
            .map(|(contract, _)| contract.clone())
            .collect()
    }
}
