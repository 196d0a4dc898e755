//! How many there are of what is remembered.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{Entry, Index, Key, State, incidents::IncidentEntry, parents::is_open};
use crate::{
    api::{Incident, contract::Health, incident},
    decide::{
        breakers::{self, Calls, Unanswered},
        fleet::Trouble,
        limits,
        select::{self, Policy},
        standing::{ServingReason, Standing},
    },
    domain::Severity,
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

/// A policy, and what there is of it to be counted.
#[derive(Debug, Default)]
struct OfPolicy {
    policy: Option<Arc<Policy>>,
    troubles: Vec<Arc<Trouble>>,
    asked: BTreeSet<String>,
    /// How many contracts it is for; counted only where there is trouble.
    matched: usize,
}

/// By namespace and name.
type ByPolicy = HashMap<(Arc<str>, String), OfPolicy>;

/// The policies of each namespace, to count the contracts that they are for.
type ByNamespace<'a> = HashMap<&'a str, Vec<(&'a Policy, &'a mut usize)>>;

impl Index {
    /// Each contract by its name, widget, health and what is served.
    pub fn each_contract(&self) -> BTreeMap<[String; 5], i64> {
        let all: Vec<(Key, Box<str>, Standing)> = {
            let state = self.lock();
            let each = state.contracts.iter();
            each.map(|(key, entry)| (key.clone(), entry.widget.clone(), entry.standing)).collect()
        };
        let row = |(Key { namespace, name }, widget, standing): (Key, Box<str>, Standing)| {
            let (health, serving) = (standing.health.to_string(), standing.serving.as_str());
            let [namespace, name] = [namespace, name].map(|part| part.to_string());
            ([namespace, name, widget.into_string(), health, serving.to_owned()], 1)
        };
        all.into_iter().map(row).collect()
    }

    /// What holds repairs at `now`, as far as it follows from what is on record.
    pub fn count_limits(&self, now: Timestamp) -> Limits {
        let (policies, calls) = self.by_policy();
        let mut counted = Limits::default();
        for ((namespace, name), OfPolicy { policy, troubles, matched, .. }) in &policies {
            let Some(policy) = policy else { continue };
            let row = || [namespace.to_string(), name.clone()];
            let troubles = || troubles.iter().map(|trouble| &**trouble);
            let left = limits::budget_left(policy, troubles(), now);
            counted.budget_left.insert(row(), i64::from(left));
            let spans = limits::spans(policy, troubles(), None).into_iter();
            if limits::storm_of(policy, *matched, spans, now).is_some() {
                counted.storms.insert(row(), 1);
            }
        }
        for ((namespace, dependency), found) in unanswered(&policies, &calls, now) {
            let row = [&namespace, &*dependency, found.state.as_str()].map(str::to_owned);
            counted.breakers.insert(row, 1);
        }
        counted
    }

    /// What did not answer last at `now`, in the namespaces that `wanted` is true of.
    pub fn unanswered(&self, now: Timestamp, wanted: impl Fn(&str) -> bool) -> Vec<Unanswered> {
        let (mut policies, calls) = self.by_policy();
        policies.retain(|(namespace, _), _| wanted(namespace));
        unanswered(&policies, &calls, now).into_values().collect()
    }

    /// Each policy with what is counted of it, and the calls on record in each namespace.
    fn by_policy(&self) -> (ByPolicy, HashMap<Arc<str>, Arc<Calls>>) {
        // All looks wait for the lock: under it is only taken what is then counted.
        let mut state = self.lock();
        let policies = state.by_policy();
        let asking = policies.iter().filter(|(_, of)| !of.asked.is_empty());
        let asking: BTreeSet<&Arc<str>> = asking.map(|((namespace, _), _)| namespace).collect();
        let calls = asking.into_iter().map(|name| (Arc::clone(name), state.calls(name))).collect();
        (policies, calls)
    }

    /// Contracts by their health and by what is served.
    pub fn count_contracts(&self) -> Counts {
        let state = self.lock();
        let mut counts: HashMap<(&Arc<str>, Health, ServingReason), i64> = HashMap::new();
        for (key, Entry { standing, .. }) in state.contracts.iter().map(|(k, e)| (k, &**e)) {
            *counts.entry((&key.namespace, standing.health, standing.serving)).or_default() += 1;
        }
        let row = |(namespace, health, serving): (&Arc<str>, Health, ServingReason)| {
            [namespace.to_string(), health.to_string(), serving.as_str().to_owned()]
        };
        counts.into_iter().map(|(of, count)| (row(of), count)).collect()
    }

    /// Open Incidents by state and severity, those about what several contracts share included.
    pub fn count_incidents(&self) -> Counts {
        let state = self.lock();
        let mut counts: HashMap<(&Arc<str>, incident::State, Severity), i64> = HashMap::new();
        for (namespace, object) in state.open() {
            let stands = object.status.as_ref().and_then(|status| status.state).unwrap_or_default();
            *counts.entry((namespace, stands, object.spec.severity)).or_default() += 1;
        }
        let row = |(namespace, stands, severity): (&Arc<str>, incident::State, Severity)| {
            [namespace.to_string(), stands.to_string(), severity.to_string()]
        };
        counts.into_iter().map(|(of, count)| (row(of), count)).collect()
    }

    /// The same by what they wait for, those that wait for nothing left out.
    pub fn count_waiting(&self) -> BTreeMap<[String; 2], i64> {
        let state = self.lock();
        let mut counts: HashMap<(&Arc<str>, &str), i64> = HashMap::new();
        for (namespace, object) in state.open() {
            let waiting = object.status.as_ref().map_or("", |status| status.waiting.as_str());
            if !waiting.is_empty() {
                *counts.entry((namespace, waiting)).or_default() += 1;
            }
        }
        let row =
            |(namespace, waiting): (&Arc<str>, &str)| [namespace.to_string(), waiting.to_owned()];
        counts.into_iter().map(|(of, count)| (row(of), count)).collect()
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

    /// Each policy with its troubles, what it asked and how many contracts it is for.
    fn by_policy(&self) -> ByPolicy {
        let mut of: ByPolicy = HashMap::new();
        for (key, policy) in &self.policies {
            let place = (Arc::clone(&key.namespace), policy.name.clone());
            of.entry(place).or_default().policy = Some(Arc::clone(policy));
        }
        let entries = self.incidents.iter().flat_map(|(contract, all)| {
            all.values().map(move |entry: &IncidentEntry| (&contract.namespace, entry))
        });
        for (namespace, entry) in entries {
            let policies: BTreeSet<&String> = entry.trouble.policies.iter().collect();
            for policy in policies {
                let found = of.entry((Arc::clone(namespace), policy.clone())).or_default();
                found.troubles.push(Arc::clone(&entry.trouble));
                found.asked.extend(entry.calls.iter().map(|(name, _)| name.to_string()));
            }
        }
        let mut counting: ByNamespace<'_> = HashMap::new();
        for ((namespace, _), OfPolicy { policy, troubles, matched, .. }) in &mut of {
            if let Some(policy) = policy.as_deref().filter(|_| !troubles.is_empty()) {
                counting.entry(namespace).or_default().push((policy, matched));
            }
        }
        let contracts = self.contracts.iter();
        let contracts =
            contracts.map(|(key, entry)| (&*key.namespace, &*entry.widget, &entry.labels));
        count_matched(contracts, counting);
        of
    }
}

/// What did not answer last, by its namespace and name, as the strictest of its policies has it.
fn unanswered(
    policies: &ByPolicy,
    calls: &HashMap<Arc<str>, Arc<Calls>>,
    now: Timestamp,
) -> BTreeMap<(Arc<str>, String), Unanswered> {
    let mut all: BTreeMap<(Arc<str>, String), Unanswered> = BTreeMap::new();
    for ((namespace, name), OfPolicy { policy, asked, .. }) in policies {
        let (Some(policy), Some(calls)) = (policy, calls.get(namespace)) else { continue };
        let terms = breakers::terms(&policy.spec);
        let asked = asked.iter().map(String::as_str);
        for mut found in breakers::standing(terms, asked, calls, now) {
            found.namespace = Some(Arc::clone(namespace));
            found.policies.push(name.clone());
            let place = (Arc::clone(namespace), found.dependency.clone());
            let found = match all.remove(&place) {
                Some(known) => breakers::stricter(known, found),
                None => found,
            };
            all.insert(place, found);
        }
    }
    // The policies are in no order.
    for found in all.values_mut() {
        found.policies.sort_unstable();
    }
    all
}

/// Counts for each policy how many contracts it is for: each contract is seen once, whatever their number.
fn count_matched<'a>(
    contracts: impl Iterator<Item = (&'a str, &'a str, &'a BTreeMap<String, String>)>,
    mut policies: ByNamespace<'_>,
) {
    for (namespace, widget, labels) in contracts {
        for (policy, count) in policies.get_mut(namespace).into_iter().flatten() {
            **count += usize::from(select::is_for(&policy.spec, widget, labels));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{api::WidgetContract, domain::Digest};

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
        let [found] = &index.unanswered(at(10), |_| true)[..] else { panic!("one") };
        assert_eq!((found.failures, found.since, found.next_probe), (3, at(0), Some(at(31))));
        assert_eq!(found.policies, ["heal", "other"]);
        assert_eq!(index.unanswered(at(10), |_| false), []);

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
    fn each_contract_is_seen_once_to_count_whom_policies_are_for_whatever_their_number() {
        let all = (0..100).map(|nth| if nth < 60 { ("ns", "finder") } else { ("other", "menu") });
        let labels = BTreeMap::new();
        let mut seen = 0;
        let contracts = all.inspect(|_| seen += 1);
        let contracts = contracts.map(|(namespace, widget)| (namespace, widget, &labels));
        let policies: Vec<Policy> = (0..20)
            .map(|nth| ["match: {widgets: [finder]}", "match: {widgets: [none]}"][nth % 2])
            .map(|spec| policy("heal", spec).1)
            .collect();
        let mut counts = vec![0; policies.len()];
        let of: ByNamespace<'_> = [("ns", policies.iter().zip(&mut counts).collect())].into();
        count_matched(contracts, of);
        assert_eq!((seen, &counts[..4]), (100, &[60, 0, 60, 0][..]));
    }

    #[test]
    fn each_contract_is_a_row_of_its_own() {
        let index = Index::default();
        index.saw_contract(contract("a"));
        let row = ["ns", "a", "finder", "Unknown", "Unknown"].map(str::to_owned);
        assert_eq!(index.each_contract(), [(row, 1)].into());
    }
}
