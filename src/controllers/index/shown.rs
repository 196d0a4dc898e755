//! What is remembered, for those who look at all of it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{Entry, Index, Key, State, incidents::IncidentEntry, parents::is_open};
use crate::{
    api::{Incident, contract::Health},
    decide::standing::Standing,
};

/// A contract in a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// The type of its widget.
    pub widget: String,
    /// How it stands.
    pub standing: Standing,
    /// Its open Incident.
    pub incident: Option<String>,
}

/// What there is to list.
#[derive(Debug, Default)]
pub struct Lists {
    /// The open Incidents, those about what several contracts share included.
    pub open: Vec<Arc<Incident>>,
    /// How many contracts there are, by namespace and health.
    pub health: BTreeMap<Arc<str>, BTreeMap<Health, usize>>,
    /// The contracts that are not as they should be, and that no open Incident speaks for: the worst first.
    pub unspoken: Vec<Listed>,
    /// The hosts that contracts had no answer from, by namespace.
    pub silent: BTreeMap<Arc<str>, BTreeSet<Box<str>>>,
}

/// Not as it should be: the worst first.
const WORSE: [Health; 3] = [Health::Critical, Health::Degraded, Health::Unknown];

/// An Incident that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its key.
    pub key: Key,
    /// Its resourceVersion.
    pub version: u64,
    /// When it ended, as far as that is known.
    pub ended_at: Option<Timestamp>,
}

impl Index {
    /// The namespaces in which there are contracts or Incidents.
    pub fn namespaces(&self) -> BTreeSet<Arc<str>> {
        let state = self.lock();
        let contracts = state.contracts.keys().chain(state.incidents.keys());
        contracts.chain(state.parents.keys()).map(|key| Arc::clone(&key.namespace)).collect()
    }

    /// The contracts that `wanted` is true of, by their keys in order: `limit` of them after `after`.
    pub fn list_contracts(
        &self,
        after: Option<&Key>,
        limit: usize,
        wanted: impl Fn(&Key, &str, Standing) -> bool,
    ) -> Vec<Listed> {
        let state = self.lock();
        let mut keys: Vec<&Key> = state
            .contracts
            .iter()
            .filter(|(key, _)| after.is_none_or(|after| *key > after))
            .filter(|(key, entry)| wanted(key, &entry.traits.widget, entry.standing))
            .map(|(key, _)| key)
            .collect();
        keys.sort_unstable();
        keys.truncate(limit);
        let listed = keys.into_iter();
        listed.filter_map(|key| Some(state.listed(key, state.contracts.get(key)?))).collect()
    }

    /// What there is to list, of all namespaces.
    pub fn lists(&self) -> Lists {
        // All looks wait for the lock: under it everything is gone through once.
        let state = self.lock();
        let mut lists = Lists { open: state.open_incidents(|_| true), ..Lists::default() };
        for (key, entry) in &state.contracts {
            let health = entry.standing.health;
            let counts = lists.health.entry(Arc::clone(&key.namespace)).or_default();
            *counts.entry(health).or_default() += 1;
            if WORSE.contains(&health) {
                let listed = state.listed(key, entry);
                lists.unspoken.extend(Some(listed).filter(|listed| listed.incident.is_none()));
            }
        }
        for (key, silences) in &state.silences {
            let hosts = lists.silent.entry(Arc::clone(&key.namespace)).or_default();
            hosts.extend(silences.iter().map(|silence| silence.host.clone()));
        }
        drop(state);
        let rank = |health| WORSE.iter().position(|worse| *worse == health);
        lists.unspoken.sort_unstable_by(|one, other| {
            let place = |listed: &Listed| rank(listed.standing.health);
            place(one).cmp(&place(other)).then_with(|| one.key.cmp(&other.key))
        });
        lists
    }

    /// The Incidents that are remembered whole: the open ones, and all about what several contracts
    /// share.
    pub fn whole_incidents(&self, wanted: impl Fn(&str) -> bool) -> Vec<Arc<Incident>> {
        let state = self.lock();
        let mut all = state.open_incidents(&wanted);
        let parents =
            state.parents.iter().filter(|(key, object)| wanted(&key.namespace) && !is_open(object));
        all.extend(parents.map(|(_, object)| Arc::clone(object)));
        all
    }

    /// The Incidents of contracts that are over and that `wanted` is true of, by contract, name and
    /// policies: the `most` that ended last, the last one first.
    pub fn ended_incidents(
        &self,
        most: usize,
        wanted: impl Fn(&Key, &str, &[String]) -> bool,
    ) -> Vec<Ended> {
        let state = self.lock();
        let of_contracts = state.incidents.iter().flat_map(|(contract, all)| {
            all.values().map(move |entry: &IncidentEntry| (contract, entry))
        });
        let mut ended: Vec<_> = of_contracts
            .filter_map(|(contract, entry)| {
                let end = entry.state.as_ref().err()?;
                let is_wanted = wanted(contract, &entry.name, &entry.trouble.policies);
                is_wanted.then_some((end.ended_at, contract, entry))
            })
            .collect();
        ended.sort_unstable_by_key(|(at, contract, entry)| Reverse((*at, *contract, &entry.name)));
        ended.truncate(most);
        let of = |(ended_at, contract, entry): (_, &Key, &IncidentEntry)| Ended {
            key: contract.beside(&entry.name),
            version: entry.version,
            ended_at,
        };
        ended.into_iter().map(of).collect()
    }
}

impl State {
    fn listed(&self, key: &Key, entry: &Entry) -> Listed {
        let incidents = self.incidents.get(key).into_iter().flat_map(BTreeMap::values);
        let mut open = incidents.filter_map(IncidentEntry::open_name);
        Listed {
            key: key.clone(),
            widget: entry.traits.widget.to_string(),
            standing: entry.standing,
            incident: open.next_back().map(str::to_owned),
        }
    }

    /// The open Incidents of the namespaces that `wanted` is true of, those about what several
    /// contracts share included.
    fn open_incidents(&self, wanted: impl Fn(&str) -> bool) -> Vec<Arc<Incident>> {
        let of_contracts =
            self.incidents.iter().filter(|(contract, _)| wanted(&contract.namespace));
        let of_contracts = of_contracts
            .flat_map(|(_, all)| all.values())
            .filter_map(|entry| entry.state.as_ref().ok());
        let parents = self.parents.iter().filter(|(key, _)| wanted(&key.namespace));
        let parents = parents.map(|(_, object)| object).filter(|object| is_open(object));
        of_contracts.chain(parents).cloned().collect()
    }
}
