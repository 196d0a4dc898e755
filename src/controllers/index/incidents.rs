//! Incidents, by contract: the open one whole, of those that are over what is needed of them.

use std::{collections::BTreeMap, sync::Arc};

use kube::ResourceExt as _;

use super::{Index, Key, State, version_of};
use crate::{
    api::{Incident, incident::State as IncidentState},
    decide::{
        fleet::{Fleet, Trouble},
        measure::{self, Account, Measured},
        select,
        view::EndedIncident,
    },
};

/// What is remembered of one Incident.
#[derive(Debug)]
pub(super) struct IncidentEntry {
    name: String,
    version: u64,
    contract_uid: String,
    /// What the other contracts of the namespace need to know of it.
    trouble: Arc<Trouble>,
    /// What its policies are measured by.
    account: Account,
    /// The object while it is open, since every look at its contract needs it; else its end.
    state: Result<Arc<Incident>, EndedIncident>,
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
    /// same time must not both be the last one.
    pub fn fleet(&self, own: &Key, policies: Vec<String>) -> Fleet {
        let mut state = self.lock();
        let here = |key: &Key| key.namespace == own.namespace;
        let others = state.incidents.iter().filter(|(key, _)| here(key) && *key != own);
        let troubles =
            others.flat_map(|(_, all)| all.values().map(|entry| Arc::clone(&entry.trouble)));
        let mut fleet = Fleet { troubles: troubles.collect(), ..Fleet::default() };
        for name in &policies {
            let Some(policy) = state.policies.get(&own.beside(name)) else { continue };
            let matched = state.contracts.iter().filter(|(contract, entry)| {
                here(contract) && select::is_for(&policy.spec, &entry.widget, &entry.labels)
            });
            fleet.matched.insert(name.clone(), matched.count());
            let under_way = state.repairing.iter().filter(|(contract, policies)| {
                here(contract) && *contract != own && policies.contains(name)
            });
            fleet.in_flight.insert(name.clone(), under_way.count());
        }
        state.repairing.insert(own.clone(), policies);
        fleet
    }

    /// What the Incidents and contracts of its namespace say of a policy.
    pub fn measured(&self, policy: &Key) -> Measured {
        let state = self.lock();
        let Some(known) = state.policies.get(policy) else { return Measured::default() };
        let here = |key: &Key| key.namespace == policy.namespace;
        let matched = state.contracts.iter().filter(|(contract, entry)| {
            here(contract) && select::is_for(&known.spec, &entry.widget, &entry.labels)
        });
        let incidents = state.incidents.iter().filter(|(contract, _)| here(contract));
        let accounts = incidents.flat_map(|(_, all)| all.values().map(|entry| &entry.account));
        measure::count(&policy.name, &known.spec.steps, matched.count(), accounts)
    }

    /// No repair of this contract is under way any more.
    pub fn rests_again(&self, contract: &Key) {
        self.lock().repairing.remove(contract);
    }
}

impl State {
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
