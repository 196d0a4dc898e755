//! Incidents, by contract: the open one whole, of those that are over what is needed of them.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{Index, Key, PROBE_PATIENCE, State, version_of};
use crate::{
    api::{Incident, incident::IncidentStatus},
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
    pub(super) name: String,
    pub(super) version: u64,
    contract_uid: String,
    /// What the other contracts of the namespace need to know of it.
    pub(super) trouble: Arc<Trouble>,
    /// What its policies are measured by.
    account: Account,
    /// What it depended on, and whether that answered.
    pub(super) calls: Arc<[(Box<str>, Call)]>,
    /// The object while it is open, since every look at its contract needs it; else its end.
    pub(super) state: Result<Arc<Incident>, EndedIncident>,
}

impl IncidentEntry {
    /// Its name while it is open.
    pub(super) fn open_name(&self) -> Option<&str> {
        self.state.is_ok().then_some(self.name.as_str())
    }
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
        let (trouble, entry_state) = if status.is_over() {
            let uid = object.uid().unwrap_or_default();
            let ended = EndedIncident::of(&object.name_any(), &uid, &object.spec, &status);
            (Arc::clone(&ended.trouble), Err(ended))
        } else {
            (Arc::new(Trouble::of(&object.spec, &status)), Ok(Arc::new(object.clone())))
        };
        let entry = IncidentEntry {
            name: object.name_any(),
            version,
            contract_uid: object.spec.contract_uid.clone(),
            trouble,
            account: Account::of(&object.spec, &status),
            calls: calls_of(&status),
            state: entry_state,
        };
        let calls = Arc::clone(&entry.calls);
        let before = of_contract.insert(place, entry);
        // Under the lock, so that nobody hears of them in another order. What is over says no more.
        match before.as_ref().map(|before| before.state.as_ref()) {
            None => self.live.saw(None, object),
            Some(Ok(known)) => self.live.saw(Some(known), object),
            Some(Err(_)) => {}
        }
        if calls != before.map_or_else(Arc::default, |before| before.calls) {
            state.calls.remove(&contract.namespace);
        }
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
        state.calls.remove(&contract.namespace);
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
    /// What `policies` have to know of the other contracts in the namespace of `own`, whose own
    /// Incidents are counted as its look sees them ([`Index::incidents_of`]). A repair of
    /// `own` counts as under way from now on, until [`Index::rests_again`]: two that ask at the
    /// same time must not both be the last one. None while not all contracts are known: a share of
    /// those that happen to be would hide a storm.
    pub fn fleet(&self, own: &Key, policies: Vec<String>, now: Timestamp) -> Option<Fleet> {
        let mut state = self.lock();
        if !state.is_whole {
            return None;
        }
        let calls = state.calls(&own.namespace);
        let here = |key: &Key| key.namespace == own.namespace;
        let others = state.incidents.iter().filter(|(key, _)| here(key) && *key != own);
        let troubles = others.flat_map(|(_, all)| all.values().map(|entry| &entry.trouble));
        let of_them = troubles.filter(|trouble| policies.iter().any(|name| trouble.is_of(name)));
        let mut fleet = Fleet { troubles: of_them.cloned().collect(), calls, ..Fleet::default() };
        for name in &policies {
            let Some(policy) = state.policies.get(&own.beside(name)) else { continue };
            let matched = state.matched(&own.namespace, &policy.spec);
            fleet.matched.insert(name.clone(), matched);
            let repairing = state.repairing.iter().filter(|(_, policies)| policies.contains(name));
            let acting = state
                .incidents
                .iter()
                .filter(|(_, all)| all.values().any(|entry| entry.trouble.is_acting(name, now)));
            // What waits for its effect rests between its looks, and a process that has just begun
            // knows of no look at all: those are under way by what is on record.
            let under_way = repairing.map(|(key, _)| key).chain(acting.map(|(key, _)| key));
            let under_way: HashSet<&Key> =
                under_way.filter(|contract| here(contract) && *contract != own).collect();
            let has_none_yet = |contract: &&&Key| !state.has_open_incident(contract);
            fleet.opening.insert(name.clone(), under_way.iter().filter(has_none_yet).count());
            fleet.in_flight.insert(name.clone(), under_way.len());
        }
        state.repairing.insert(own.clone(), policies);
        Some(fleet)
    }

    /// What the Incidents and contracts of its namespace say of a policy.
    pub fn measured(&self, policy: &Key) -> Measured {
        let mut state = self.lock();
        let calls = state.calls(&policy.namespace);
        let Some(known) = state.policies.get(policy) else { return Measured::default() };
        let here = |key: &Key| key.namespace == policy.namespace;
        let matched = state.matched(&policy.namespace, &known.spec);
        let incidents = state.incidents.iter().filter(|(contract, _)| here(contract));
        let entries: Vec<&IncidentEntry> = incidents.flat_map(|(_, all)| all.values()).collect();
        let accounts = entries.iter().map(|entry| &entry.account);
        let measured = measure::count(&policy.name, &known.spec.steps, matched, accounts);
        let own = entries.iter().filter(|entry| entry.account.is_of(&policy.name));
        let asked = own.flat_map(|entry| entry.calls.iter().map(|(name, _)| name.to_string()));
        let breakers = breakers::shown(breakers::terms(&known.spec), &asked.collect(), &calls);
        Measured { breakers, ..measured }
    }

    /// Is `contract` the one that tries `dependency`? It is when nobody else does, and stays it until
    /// [`Index::rests_again`]; whose effect on it is under way tries it between the looks, too.
    pub fn claim_probe(&self, contract: &Key, dependency: &str, at: Timestamp) -> bool {
        let mut state = self.lock();
        let others = state
            .incidents
            .iter()
            .filter(|(key, _)| key.namespace == contract.namespace && *key != contract);
        let mut entries = others.flat_map(|(_, all)| all.values());
        if entries.any(|entry| entry.trouble.tries(dependency, at)) {
            return false;
        }
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

fn calls_of(status: &IncidentStatus) -> Arc<[(Box<str>, Call)]> {
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

    /// The calls on record in a namespace, as far as they still say something. Put together once for
    /// all looks until one of its Incidents says something else.
    pub(super) fn calls(&mut self, namespace: &Arc<str>) -> Arc<Calls> {
        if let Some(known) = self.calls.get(namespace) {
            return Arc::clone(known);
        }
        let mut calls = Calls::new();
        let here = self.incidents.iter().filter(|(key, _)| key.namespace == *namespace);
        let entries = here.flat_map(|(_, all)| all.values());
        for (dependency, call) in entries.flat_map(|entry| &*entry.calls) {
            match calls.get_mut(&**dependency) {
                Some(known) => known.push(*call),
                None => drop(calls.insert(dependency.to_string(), vec![*call])),
            }
        }
        breakers::keep_telling(&mut calls);
        let calls = Arc::new(calls);
        self.calls.insert(Arc::clone(namespace), Arc::clone(&calls));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{api::refs::LocalRef, decide::select::Policy};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn key(contract: &str) -> Key {
        Key::new("ns", contract)
    }

    /// The Incident of a contract whose first attempt began to restart what is behind its source, and
    /// to call for help, at second 0.
    fn acting(contract: &str, version: u32, tries: u32) -> Incident {
        let effect = |step: &str, target: &str| {
            json!({"attempt": 1, "policy": "heal", "step": step, "target": target,
                "intendedAt": at(0), "seenAt": at(1), "outcome": "Done"})
        };
        let object = json!({
            "apiVersion": "kintsugi.dev/v1alpha1",
            "kind": "Incident",
            "metadata": {"name": format!("{contract}-1"), "namespace": "ns", "uid": contract,
                "resourceVersion": version.to_string()},
            "spec": {
                "contractName": contract, "contractUID": contract, "widget": "w", "ordinal": 1,
                "openedAt": at(0), "cause": "SourceDown", "severity": "Critical",
                "rulesSummary": "a",
            "subject": "contract/uk", "documentDigest": crate::domain::Digest::of_bytes(b"a"), "fingerprint": crate::domain::Digest::of_bytes(b"b"), "plan": [{
                    "policyRef": LocalRef { name: "heal".to_owned() }, "why": "it matches",
                    "rules": ["a"], "mode": "Auto", "steps": [
                        {"name": "restart", "timeout": "5m", "restartWorkload": {}},
                        {"name": "call", "webhook": {"url": "https://on.call/x"}},
                    ],
                }],
            },
            "status": {"state": "Remediating", "tries": tries, "effects": [
                effect("restart", "Deployment catalog"), effect("call", "https://on.call"),
            ]},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn whose_effect_is_under_way_is_the_one_that_tries_also_between_its_looks_and_after_a_restart()
    {
        let index = Index::default();
        index.saw_incident(&acting("uk", 1, 0));
        // No look is under way, as after a restart.
        index.rests_again(&key("uk"));
        for dependency in ["workload Deployment catalog", "webhook https://on.call"] {
            assert!(!index.claim_probe(&key("at"), dependency, at(60)), "{dependency}");
            assert!(index.claim_probe(&Key::new("other", "at"), dependency, at(60)));
            assert!(index.claim_probe(&key("uk"), dependency, at(60)), "its own");
            index.rests_again(&key("uk"));
        }
        assert!(index.claim_probe(&key("at"), "workload Deployment other", at(60)));
        index.rests_again(&key("at"));
        // At the longest as long as its step may take.
        assert!(!index.claim_probe(&key("at"), "workload Deployment catalog", at(300)));
        assert!(index.claim_probe(&key("at"), "workload Deployment catalog", at(360)));
        index.rests_again(&key("at"));
        // What came of the attempt is on record.
        index.saw_incident(&acting("uk", 2, 1));
        assert!(index.claim_probe(&key("at"), "workload Deployment catalog", at(60)));
    }

    #[test]
    fn a_contract_that_waits_for_an_effect_is_under_way_for_the_others_also_after_a_restart() {
        let index = Index::default();
        index.listed_contracts();
        index.saw_policy(&key("heal"), policy());
        index.saw_incident(&acting("uk", 1, 0));
        let in_flight = |contract: &str, second: i64| {
            let fleet = index.fleet(&key(contract), vec!["heal".to_owned()], at(second)).unwrap();
            index.rests_again(&key(contract));
            fleet.in_flight["heal"]
        };
        assert_eq!((in_flight("at", 60), in_flight("uk", 60)), (1, 0));
        // Once, also while it is looked at.
        drop(index.fleet(&key("uk"), vec!["heal".to_owned()], at(60)));
        assert_eq!(in_flight("at", 60), 1);
        index.rests_again(&key("uk"));
        index.saw_incident(&acting("uk", 2, 1));
        assert_eq!(in_flight("at", 60), 0);
    }

    #[test]
    fn what_is_over_counts_for_its_own_contract_as_its_look_sees_it_and_for_the_others() {
        let index = Index::default();
        index.listed_contracts();
        let mut object = acting("uk", 1, 1);
        object.status.as_mut().unwrap().state = Some(crate::api::incident::State::Resolved);
        index.saw_incident(&object);
        let (open, ended) = index.incidents_of(&key("uk"), "uk");
        let repairs: Vec<_> = ended.iter().map(|ended| ended.trouble.repairs.as_slice()).collect();
        assert_eq!((open, repairs.as_slice()), (None, &[[at(0), at(0)].as_slice()][..]));
        let troubles = |contract: &str| {
            let fleet = index.fleet(&key(contract), vec!["heal".to_owned()], at(60)).unwrap();
            index.rests_again(&key(contract));
            fleet.troubles
        };
        assert_eq!(troubles("uk"), [], "not once more");
        assert_eq!(troubles("at"), [Arc::clone(&ended[0].trouble)]);
    }

    #[test]
    fn the_calls_of_a_namespace_are_put_together_once_until_an_incident_says_something_else() {
        let index = Index::default();
        index.listed_contracts();
        let called = |version: u32, calls: &[(i64, bool)]| {
            let mut object = acting("uk", version, 0);
            let call = |(second, answered): &(i64, bool)| json!({"dependency": "source a", "answered": answered, "at": at(*second)});
            let calls = calls.iter().map(call).collect();
            let calls = serde_json::from_value(serde_json::Value::Array(calls)).unwrap();
            object.status.as_mut().unwrap().calls = calls;
            object
        };
        let calls = || {
            let fleet = index.fleet(&key("at"), Vec::new(), at(60)).unwrap();
            index.rests_again(&key("at"));
            fleet.calls
        };
        index.saw_incident(&called(1, &[(1, false), (2, true), (3, false), (4, false)]));
        let first = calls();
        let kept: Vec<bool> = first["source a"].iter().map(|call| call.answered).collect();
        assert_eq!(kept, [true, false, false], "what was before the last answer says nothing");
        index.saw_incident(&called(2, &[(1, false), (2, true), (3, false), (4, false)]));
        assert!(Arc::ptr_eq(&first, &calls()));
        index.saw_incident(&called(3, &[(5, true)]));
        assert_eq!(calls()["source a"].len(), 1);
        index.forget_incident(key("uk"), "uk-1");
        assert!(calls().is_empty());
    }

    fn policy() -> Policy {
        let spec = "default: true\nsteps: [{name: restart, restartWorkload: {}}]\n";
        Policy {
            name: "heal".to_owned(),
            generation: 1,
            created: Timestamp::UNIX_EPOCH,
            annotations: BTreeMap::default(),
            spec: serde_saphyr::from_str(spec).unwrap(),
        }
    }
}
