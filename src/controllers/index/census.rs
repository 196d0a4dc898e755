//! How many there are of what is remembered.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{Index, Key, State, contracts::Traits, incidents::IncidentEntry, parents::is_open};
use crate::{
    api::{Incident, contract::Health, incident},
    decide::{
        breakers::{self, Calls, Unanswered},
        fleet::Trouble,
        limits,
        select::Policy,
        standing::{ServingReason, Standing},
    },
    domain::{Severity, breaker::Call},
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

/// An Incident, as far as it says something of policies: its namespace, and what it asked.
type Troubled = (Arc<str>, Arc<Trouble>, Arc<[(Box<str>, Call)]>);

/// What is there at one moment. All looks wait for the lock: under it is only taken what is then counted.
#[derive(Debug)]
pub struct Taken {
    contracts: Vec<(Key, Arc<Traits>, Standing)>,
    open: Vec<(Arc<str>, Arc<Incident>)>,
    repairs: Repairs,
}

/// The policies, and what there is to count of them.
#[derive(Debug)]
struct Repairs {
    policies: Vec<(Arc<str>, Arc<Policy>)>,
    incidents: Vec<Troubled>,
    /// What is on record in each namespace in which something was asked.
    calls: HashMap<Arc<str>, Arc<Calls>>,
}

/// A policy, its troubles and what they asked.
#[derive(Debug)]
struct OfPolicy<'a> {
    namespace: &'a Arc<str>,
    policy: &'a Policy,
    troubles: Vec<&'a Trouble>,
    asked: BTreeSet<&'a str>,
}

/// The policies of each namespace, to count the contracts that they are for.
type ByNamespace<'a> = HashMap<&'a str, Vec<(&'a Policy, &'a mut usize)>>;

impl Index {
    /// What is there now, to be counted.
    pub fn taken(&self) -> Taken {
        let mut state = self.lock();
        let contracts = state.contracts.iter();
        let contracts = contracts
            .map(|(key, entry)| (key.clone(), Arc::clone(&entry.traits), entry.standing))
            .collect();
        let open = state.open().map(|(name, object)| (Arc::clone(name), Arc::clone(object)));
        Taken { contracts, open: open.collect(), repairs: state.repairs() }
    }

    /// What did not answer last at `now`.
    pub fn unanswered(&self, now: Timestamp) -> Vec<Unanswered> {
        // All looks wait for the lock: under it is only taken what is then counted.
        let repairs = self.lock().repairs();
        repairs.unanswered(now)
    }
}

impl Taken {
    /// Each contract by its name, widget, health and what is served.
    #[must_use]
    pub fn each_contract(&self) -> BTreeMap<[String; 5], i64> {
        let row = |(key, traits, standing): &(Key, Arc<Traits>, Standing)| {
            let (health, serving) = (standing.health.to_string(), standing.serving.as_str());
            let [namespace, name] = [&key.namespace, &key.name].map(ToString::to_string);
            ([namespace, name, traits.widget.to_string(), health, serving.to_owned()], 1)
        };
        self.contracts.iter().map(row).collect()
    }

    /// Contracts by their health and by what is served.
    #[must_use]
    pub fn contracts(&self) -> Counts {
        let mut counts: HashMap<(&str, Health, ServingReason), i64> = HashMap::new();
        for (key, _, Standing { health, serving, .. }) in &self.contracts {
            *counts.entry((&key.namespace, *health, *serving)).or_default() += 1;
        }
        let row = |(namespace, health, serving): (&str, Health, ServingReason)| {
            [namespace.to_owned(), health.to_string(), serving.as_str().to_owned()]
        };
        counts.into_iter().map(|(of, count)| (row(of), count)).collect()
    }

    /// Open Incidents by state and severity, those about what several contracts share included.
    #[must_use]
    pub fn incidents(&self) -> Counts {
        let mut counts: HashMap<(&str, incident::State, Severity), i64> = HashMap::new();
        for (namespace, object) in &self.open {
            let stands = object.status.as_ref().and_then(|status| status.state).unwrap_or_default();
            *counts.entry((namespace, stands, object.spec.severity)).or_default() += 1;
        }
        let row = |(namespace, stands, severity): (&str, incident::State, Severity)| {
            [namespace.to_owned(), stands.to_string(), severity.to_string()]
        };
        counts.into_iter().map(|(of, count)| (row(of), count)).collect()
    }

    /// The same by what they wait for, those that wait for nothing left out.
    #[must_use]
    pub fn waiting(&self) -> BTreeMap<[String; 2], i64> {
        let mut counts: HashMap<(&str, &str), i64> = HashMap::new();
        for (namespace, object) in &self.open {
            let waiting = object.status.as_ref().map_or("", |status| status.waiting.as_str());
            if !waiting.is_empty() {
                *counts.entry((namespace, waiting)).or_default() += 1;
            }
        }
        let row = |(namespace, waiting): (&str, &str)| [namespace, waiting].map(str::to_owned);
        counts.into_iter().map(|(of, count)| (row(of), count)).collect()
    }

    /// What holds repairs at `now`, as far as it follows from what is on record.
    #[must_use]
    pub fn limits(&self, now: Timestamp) -> Limits {
        let policies = self.repairs.by_policy();
        let mut matched = vec![0; policies.len()];
        let mut counting: ByNamespace<'_> = HashMap::new();
        for (of, matched) in policies.iter().zip(&mut matched) {
            // Without trouble there is no storm, whatever the number of its contracts.
            if !of.troubles.is_empty() {
                counting.entry(of.namespace).or_default().push((of.policy, matched));
            }
        }
        count_matched(
            self.contracts.iter().map(|(key, traits, _)| (&*key.namespace, &**traits)),
            counting,
        );
        let mut counted = Limits::default();
        for (OfPolicy { namespace, policy, troubles, .. }, matched) in policies.iter().zip(matched)
        {
            let row = || [namespace.to_string(), policy.name.clone()];
            let troubles = || troubles.iter().copied();
            let left = limits::budget_left(policy, troubles(), now);
            counted.budget_left.insert(row(), i64::from(left));
            let spans = limits::spans(policy, troubles(), None).into_iter();
            if limits::storm_of(policy, matched, spans, now).is_some() {
                counted.storms.insert(row(), 1);
            }
        }
        for found in self.repairs.unanswered(now) {
            let namespace = found.namespace.as_deref().unwrap_or_default();
            let row = [namespace, &*found.dependency, found.state.as_str()].map(str::to_owned);
            counted.breakers.insert(row, 1);
        }
        counted
    }
}

impl State {
    /// The open Incidents and their namespaces, those about what several contracts share included.
    fn open(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Incident>)> {
        let of_contracts = self.incidents.iter().flat_map(|(contract, all)| {
            let open = all.values().filter_map(|entry| entry.state.as_ref().ok());
            open.map(|object| (&contract.namespace, object))
        });
        let parents = self.parents.iter().map(|(key, object)| (&key.namespace, object));
        of_contracts.chain(parents.filter(|(_, object)| is_open(object)))
    }

    fn repairs(&mut self) -> Repairs {
        let policies = self.policies.iter();
        let policies =
            policies.map(|(key, policy)| (Arc::clone(&key.namespace), Arc::clone(policy)));
        let entries = self.incidents.iter().flat_map(|(contract, all)| {
            all.values().map(move |entry: &IncidentEntry| (&contract.namespace, entry))
        });
        let troubled = |(namespace, entry): (&Arc<str>, &IncidentEntry)| {
            (Arc::clone(namespace), Arc::clone(&entry.trouble), Arc::clone(&entry.calls))
        };
        let (policies, incidents) = (policies.collect(), entries.map(troubled).collect::<Vec<_>>());
        let asking = incidents.iter().filter(|(_, _, calls)| !calls.is_empty());
        let asking: HashSet<&Arc<str>> = asking.map(|(namespace, _, _)| namespace).collect();
        let calls = asking.into_iter().map(|name| (Arc::clone(name), self.calls(name))).collect();
        Repairs { policies, incidents, calls }
    }
}

impl Repairs {
    /// Each policy with its troubles and what they asked.
    fn by_policy(&self) -> Vec<OfPolicy<'_>> {
        let all = self.policies.iter().map(|(namespace, policy)| OfPolicy {
            namespace,
            policy,
            troubles: Vec::new(),
            asked: BTreeSet::new(),
        });
        let mut all: Vec<OfPolicy<'_>> = all.collect();
        let places = self.policies.iter().map(|(namespace, policy)| (&**namespace, &*policy.name));
        let places: HashMap<(&str, &str), usize> = places.zip(0..).collect();
        for (namespace, trouble, calls) in &self.incidents {
            // One that is named twice counts once.
            let named: BTreeSet<&str> = trouble.policies.iter().map(String::as_str).collect();
            let known = named.into_iter().filter_map(|name| places.get(&(&**namespace, name)));
            for of in known {
                let Some(of) = all.get_mut(*of) else { continue };
                of.troubles.push(trouble);
                of.asked.extend(calls.iter().map(|(name, _)| &**name));
            }
        }
        all
    }

    /// What did not answer last at `now`, each thing of a namespace once: as the strictest of its policies
    /// has it.
    fn unanswered(&self, now: Timestamp) -> Vec<Unanswered> {
        let mut all: BTreeMap<(Arc<str>, String), Unanswered> = BTreeMap::new();
        for OfPolicy { namespace, policy, asked, .. } in self.by_policy() {
            let Some(calls) = self.calls.get(namespace) else { continue };
            let terms = breakers::terms(&policy.spec);
            for mut found in breakers::standing(terms, asked.into_iter(), calls, now) {
                found.namespace = Some(Arc::clone(namespace));
                found.policies.push(policy.name.clone());
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
        all.into_values().collect()
    }
}

/// Counts for each policy how many contracts it is for: each contract is seen once, whatever their number.
fn count_matched<'a>(
    contracts: impl Iterator<Item = (&'a str, &'a Traits)>,
    mut policies: ByNamespace<'_>,
) {
    for (namespace, traits) in contracts {
        for (policy, count) in policies.get_mut(namespace).into_iter().flatten() {
            **count += usize::from(traits.are_for(&policy.spec));
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
        let counted = index.taken().limits(at(10));
        assert_eq!(rows(&counted.budget_left), [("heal".to_owned(), 3), ("other".to_owned(), 100)]);
        assert!(counted.storms.is_empty() && counted.breakers.is_empty());

        for (contract_name, failures) in [("a", 3), ("b", 0)] {
            index.saw_contract(contract(contract_name));
            index.saw_incident(&incident(contract_name, failures));
        }
        let counted = index.taken().limits(at(10));
        assert_eq!(rows(&counted.storms), [("heal".to_owned(), 1)]);
        assert_eq!(rows(&counted.budget_left), [("heal".to_owned(), 1), ("other".to_owned(), 98)]);
        for (second, state) in [(10, "open"), (40, "half-open")] {
            let found = index.taken().limits(at(second)).breakers;
            let found: Vec<Vec<String>> = found.into_keys().map(|key| key.to_vec()).collect();
            assert_eq!(found, [row(&["ns", "source https://cms.test", state])]);
        }
        assert_eq!(rows(&index.taken().limits(at(60)).budget_left)[0].1, 3, "the window is over");
        let [found] = &index.unanswered(at(10))[..] else { panic!("one") };
        assert_eq!((found.failures, found.since, found.next_probe), (3, at(0), Some(at(31))));
        assert_eq!(found.policies, ["heal", "other"]);

        index.lost_policy(&Key::new("ns", "heal"));
        let counted = index.taken().limits(at(10));
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
        assert_eq!(index.taken().waiting(), [(row, 2)].into());
    }

    #[test]
    fn each_contract_is_seen_once_to_count_whom_policies_are_for_whatever_their_number() {
        let of_widget = |widget: &str| Traits { widget: widget.into(), labels: BTreeMap::new() };
        let [finder, menu] = ["finder", "menu"].map(of_widget);
        let mut seen = 0;
        let all = (0..100).map(|nth| if nth < 60 { ("ns", &finder) } else { ("other", &menu) });
        let contracts = all.inspect(|_| seen += 1);
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
        assert_eq!(index.taken().each_contract(), [(row, 1)].into());
    }
}
