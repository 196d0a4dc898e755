//! How many there are of what is remembered.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{Index, State, incidents::IncidentEntry, parents::is_open};
use crate::{
    api::Incident,
    decide::{breakers, fleet::Trouble, limits},
    domain::breaker,
};

/// How many there are in a namespace with these two words.
pub type Counts = BTreeMap<[String; 3], i64>;

/// What holds repairs.
#[derive(Debug, Default)]
pub struct Limits {
    /// What did not answer last, by namespace, name and state.
    pub breakers: Counts,
    /// The policies in a storm, by namespace.
    pub storms: BTreeMap<[String; 2], i64>,
    /// What is left of the budgets of all policies.
    pub budget_left: BTreeMap<[String; 2], i64>,
}

/// By namespace and policy.
type ByPolicy<'a, T> = HashMap<(&'a Arc<str>, &'a str), T>;

impl Index {
    /// Each contract by its name, widget, health and what is served.
    pub fn each_contract(&self) -> BTreeMap<[String; 5], i64> {
        let state = self.lock();
        let row = |(key, entry): (&super::Key, &super::Entry)| {
            let [namespace, name] = [&key.namespace, &key.name].map(ToString::to_string);
            let (health, serving) = (entry.standing.health, entry.standing.serving.as_str());
            ([namespace, name, entry.widget.to_string(), health.to_string(), serving.to_owned()], 1)
        };
        state.contracts.iter().map(|(key, entry)| row((key, entry))).collect()
    }

    /// What holds repairs at `now`, as far as it follows from what is on record.
    pub fn count_limits(&self, now: Timestamp) -> Limits {
        let mut state = self.lock();
        // Put together before all of it is only read.
        let namespaces: BTreeSet<Arc<str>> =
            state.policies.keys().map(|key| Arc::clone(&key.namespace)).collect();
        let calls: HashMap<Arc<str>, _> =
            namespaces.into_iter().map(|name| (Arc::clone(&name), state.calls(&name))).collect();
        let state = &*state;
        let (troubles, asked) = state.by_policy();
        let mut counted = Limits::default();
        let mut strictest: BTreeMap<(&str, &str), breaker::State> = BTreeMap::new();
        for (key, policy) in &state.policies {
            let of_policy = (&key.namespace, &*key.name);
            let row = || [key.namespace.to_string(), key.name.to_string()];
            let own = troubles.get(&of_policy).map_or(&[][..], Vec::as_slice);
            let left = limits::budget_left(policy, own.iter().copied(), now);
            counted.budget_left.insert(row(), i64::from(left));
            if !own.is_empty() {
                let matched = state.matched(&key.namespace, &policy.spec);
                let spans = limits::spans(policy, own.iter().copied(), None).into_iter();
                if limits::storm_of(policy, matched, spans, now).is_some() {
                    counted.storms.insert(row(), 1);
                }
            }
            let terms = breakers::terms(&policy.spec);
            let (Some(asked), Some(calls)) = (asked.get(&of_policy), calls.get(&key.namespace))
            else {
                continue;
            };
            for (name, found) in breakers::standing(terms, asked.iter().copied(), calls, now) {
                let known = strictest.entry((&key.namespace, name)).or_insert(found);
                *known = breakers::stricter(*known, found);
            }
        }
        for ((namespace, name), found) in strictest {
            let row = [namespace, name, found.as_str()].map(str::to_owned);
            counted.breakers.insert(row, 1);
        }
        counted
    }

    /// Contracts by their health and by what is served.
    pub fn count_contracts(&self) -> Counts {
        let state = self.lock();
        let mut counts = Counts::new();
        for (key, entry) in &state.contracts {
            let (health, serving) = (entry.standing.health, entry.standing.serving.as_str());
            let row = [key.namespace.to_string(), health.to_string(), serving.to_owned()];
            *counts.entry(row).or_default() += 1;
        }
        counts
    }

    /// Open Incidents by state and severity, those about what several contracts share included.
    pub fn count_incidents(&self) -> Counts {
        let state = self.lock();
        let mut counts = Counts::new();
        for (namespace, object) in state.open() {
            let incident_state = object.status.as_ref().and_then(|status| status.state);
            let incident_state = incident_state.unwrap_or_default().to_string();
            let row = [namespace.to_string(), incident_state, object.spec.severity.to_string()];
            *counts.entry(row).or_default() += 1;
        }
        counts
    }

    /// The same by what they wait for, those that wait for nothing left out.
    pub fn count_waiting(&self) -> BTreeMap<[String; 2], i64> {
        let state = self.lock();
        let mut counts = BTreeMap::new();
        for (namespace, object) in state.open() {
            let Some(status) = object.status.as_ref().filter(|s| !s.waiting.is_empty()) else {
                continue;
            };
            *counts.entry([namespace.to_string(), status.waiting.clone()]).or_default() += 1;
        }
        counts
    }
}

impl State {
    /// The open Incidents and their namespaces, those about what several contracts share included.
    fn open(&self) -> impl Iterator<Item = (&Arc<str>, &Incident)> {
        let of_contracts = self.incidents.iter().flat_map(|(contract, all)| {
            let open = all.values().filter_map(|entry| entry.state.as_ref().ok());
            open.map(|object| (&contract.namespace, &**object))
        });
        let parents = self.parents.iter().map(|(key, object)| (&key.namespace, &**object));
        of_contracts.chain(parents.filter(|(_, object)| is_open(object)))
    }

    /// The troubles of each policy, and what it asked.
    fn by_policy(&self) -> (ByPolicy<'_, Vec<&Trouble>>, ByPolicy<'_, BTreeSet<&str>>) {
        let mut troubles: ByPolicy<'_, Vec<&Trouble>> = HashMap::new();
        let mut asked: ByPolicy<'_, BTreeSet<&str>> = HashMap::new();
        let entries = self.incidents.iter().flat_map(|(contract, all)| {
            all.values().map(move |entry: &IncidentEntry| (&contract.namespace, entry))
        });
        for (namespace, entry) in entries {
            let policies: BTreeSet<&str> =
                entry.trouble.policies.iter().map(String::as_str).collect();
            for policy in policies {
                troubles.entry((namespace, policy)).or_default().push(&entry.trouble);
                if entry.calls.is_empty() {
                    continue;
                }
                let names = entry.calls.iter().map(|(name, _)| &**name);
                asked.entry((namespace, policy)).or_default().extend(names);
            }
        }
        (troubles, asked)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{api::WidgetContract, controllers::Key, decide::select::Policy, domain::Digest};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn policy(name: &str, spec: &str) -> (Key, Policy) {
        let spec = format!("steps: [{{name: refetch, refetchSource: {{}}}}]\n{spec}");
        let policy = Policy {
            name: name.to_owned(),
            generation: 1,
            created: Timestamp::UNIX_EPOCH,
            annotations: BTreeMap::default(),
            spec: serde_saphyr::from_str(&spec).unwrap(),
        };
        (Key::new("ns", name), policy)
    }

    fn contract(name: &str) -> WidgetContract {
        let object = json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "WidgetContract",
            "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1"},
            "spec": {"widget": "finder", "document": {"inline": {}}},
        });
        serde_json::from_value(object).unwrap()
    }

    /// The open Incident of a contract under two policies, of which `heal` has restarted something at
    /// second 0, and which was not answered by its source `failures` times.
    fn incident(contract: &str, failures: i64) -> crate::api::Incident {
        let digest = Digest::of_bytes(b"a");
        let segment = |policy: &str| json!({"policyRef": {"name": policy}, "why": "it matches", "rules": ["a"], "mode": "Auto", "steps": []});
        let call = |second| json!({"dependency": "source https://cms.test", "answered": false, "at": at(second)});
        let calls: Vec<Value> = (0..failures).map(call).collect();
        let object = json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": format!("{contract}-1"), "namespace": "ns", "uid": contract,
                "resourceVersion": "1"},
            "spec": {
                "contractName": contract, "contractUID": contract, "widget": "finder",
                "ordinal": 1, "openedAt": at(0), "cause": "DocumentChanged",
                "severity": "Critical", "rulesSummary": "a", "subject": contract,
                "documentDigest": digest, "fingerprint": digest,
                "plan": [segment("heal"), segment("other")],
            },
            "status": {"state": "Remediating", "tries": 0, "calls": calls, "effects": [
                {"attempt": 1, "policy": "heal", "step": "x", "target": "Deployment catalog",
                    "intendedAt": at(0), "seenAt": at(1), "outcome": "Done"},
            ]},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn storms_budgets_and_breakers_are_those_of_each_policy_and_one_row_for_each_dependency() {
        let index = Index::default();
        let storm = "storm: {maxUnhealthy: 1, minContracts: 2}\nbudget: {limit: 3, window: 1m}";
        let (key, heal) = policy(
            "heal",
            &format!("default: true\nbreaker: {{failureThreshold: 2, openFor: 30s}}\n{storm}"),
        );
        index.saw_policy(&key, heal);
        let (key, other) = policy("other", "default: true\nstorm: {maxUnhealthy: 100%}");
        index.saw_policy(&key, other);
        let row = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        let rows = |counted: &BTreeMap<[String; 2], i64>| {
            counted.iter().map(|([_, policy], count)| (policy.clone(), *count)).collect::<Vec<_>>()
        };
        let counted = index.count_limits(at(10));
        assert_eq!(rows(&counted.budget_left), [("heal".to_owned(), 3), ("other".to_owned(), 100)]);
        assert!(counted.storms.is_empty() && counted.breakers.is_empty());

        for (contract_name, failures) in [("a", 3), ("b", 0)] {
            index.saw_contract(contract(contract_name));
            index.saw_incident(&incident(contract_name, failures));
        }
        let counted = index.count_limits(at(10));
        assert_eq!(rows(&counted.storms), [("heal".to_owned(), 1)]);
        assert_eq!(rows(&counted.budget_left), [("heal".to_owned(), 1), ("other".to_owned(), 98)]);
        for (second, state) in [(10, "open"), (40, "half-open")] {
            let found = index.count_limits(at(second)).breakers;
            let found: Vec<Vec<String>> = found.into_keys().map(|key| key.to_vec()).collect();
            assert_eq!(found, [row(&["ns", "source https://cms.test", state])]);
        }
        assert_eq!(rows(&index.count_limits(at(60)).budget_left)[0].1, 3, "the window is over");

        index.lost_policy(&Key::new("ns", "heal"));
        let counted = index.count_limits(at(10));
        assert!(counted.storms.is_empty());
        let found: Vec<_> = counted.breakers.into_keys().map(|[_, _, state]| state).collect();
        assert_eq!(found, ["closed"], "the other policy is more patient");
    }

    #[test]
    fn open_incidents_are_counted_by_what_they_wait_for_if_they_wait() {
        let index = Index::default();
        for (name, state, waiting) in [
            ("a", "Held", "AwaitingApproval"),
            ("b", "Held", "AwaitingApproval"),
            ("c", "Remediating", ""),
            ("d", "Resolved", "AwaitingOwner"),
        ] {
            let mut incident = incident(name, 0);
            let status = incident.status.as_mut().unwrap();
            status.state = serde_json::from_value(json!(state)).unwrap();
            status.waiting = waiting.to_owned();
            index.saw_contract(contract(name));
            index.saw_incident(&incident);
        }
        let row = ["ns", "AwaitingApproval"].map(str::to_owned);
        assert_eq!(index.count_waiting(), [(row, 2)].into());
    }

    #[test]
    fn each_contract_is_a_row_of_its_own() {
        let index = Index::default();
        index.saw_contract(contract("a"));
        let row = ["ns", "a", "finder", "Unknown", "Unknown"].map(str::to_owned);
        assert_eq!(index.each_contract(), [(row, 1)].into());
    }
}
