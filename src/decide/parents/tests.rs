use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn policy(spec: &str) -> Policy {
    let steps = "default: true\nsteps: [{name: a, restoreRevision: {}}]\n";
    Policy {
        name: "heal".to_owned(),
        generation: 1,
        created: Timestamp::UNIX_EPOCH,
        annotations: BTreeMap::default(),
        spec: serde_saphyr::from_str(&format!("{steps}{spec}")).unwrap(),
    }
}

/// A namespace of ten contracts under one policy, and what its writes made of it.
struct Town {
    family: Family,
    now: i64,
    said: Vec<String>,
}

impl Town {
    fn new(policy_spec: &str) -> Self {
        let family = Family { policies: vec![(policy(policy_spec), 10)], ..Family::default() };
        Self { family, now: 1_000, said: Vec::new() }
    }

    /// So many contracts get into trouble at once.
    fn break_contracts(&mut self, count: usize, blames: Option<&Value>) {
        for _ in 0..count {
            let nth = self.family.troubles.len();
            let mut spec = json!({
                "subject": "c", "contractName": format!("c-{nth}"),
                "contractUID": "u", "widget": "w", "ordinal": 1, "severity": "Critical",
                "documentDigest": "d", "fingerprint": "f", "rulesSummary": "schema",
                "cause": if blames.is_some() { "SchemaChanged" } else { "DocumentChanged" },
                "openedAt": at(self.now).to_string(),
                "violations": [{"rule": "schema", "path": "/price", "keyword": "required", "message": ""}],
                "plan": [{"policyRef": {"name": "heal"}, "why": "", "rules": ["schema"], "mode": "Auto"}],
            });
            if let Some(blames) = blames {
                spec["blames"] = blames.clone();
            }
            let spec: IncidentSpec = serde_json::from_value(spec).unwrap();
            self.family.troubles.push(Arc::new(Trouble::of(&spec, &IncidentStatus::default())));
            let mut open = Incident::new("i", spec);
            let waiting = if blames.is_some() { SCHEMA_HELD } else { STORM }.to_owned();
            open.status = Some(IncidentStatus { waiting, ..IncidentStatus::default() });
            self.family.open.push(Arc::new(open));
        }
    }

    /// All of them are well again.
    fn mend_all(&mut self) {
        self.family.open.clear();
        for trouble in &mut self.family.troubles {
            let until = trouble.until.or(Some(at(self.now)));
            *trouble = Arc::new(Trouble { until, ..(**trouble).clone() });
        }
    }

    /// Looks until nothing is left to write; returns how many writes that took.
    fn settle(&mut self) -> usize {
        for writes in 0..20 {
            let (acts, due) = next(&self.family, at(self.now));
            assert!(due.is_none_or(|due| due > at(self.now)), "no look is due at once");
            let Some(act) = acts.into_iter().next() else { return writes };
            match act {
                Act::Open { name, spec, .. } => {
                    let names: Vec<_> = self.parents().map(|p| p.incident.name.clone()).collect();
                    assert!(!names.contains(&name), "{name} is there already");
                    self.family.parents.push(Parent {
                        uid: name.clone(),
                        incident: OpenIncident {
                            name,
                            spec: *spec,
                            status: IncidentStatus::default(),
                            generation: 1,
                            version: "1".to_owned(),
                        },
                    });
                }
                Act::Record { parent, status, signals } => {
                    let same = |p: &&mut Parent| p.incident.name == parent.incident.name;
                    self.family.parents.iter_mut().find(same).unwrap().incident.status = *status;
                    self.said.extend(signals.iter().map(|signal| signal.reason.to_string()));
                }
                Act::Forget(parent) => {
                    self.family.parents.retain(|p| p.incident.name != parent.incident.name);
                }
            }
        }
        panic!("it never ends")
    }

    fn parents(&self) -> impl Iterator<Item = &Parent> {
        self.family.parents.iter()
    }

    fn states(&self) -> Vec<(String, State)> {
        let state =
            |p: &Parent| (p.incident.spec.subject.clone(), p.incident.status.state.unwrap());
        self.parents().map(state).collect()
    }
}

#[test]
fn a_storm_is_one_incident_about_its_policy_and_one_call_for_a_person() {
    let mut town = Town::new("");
    town.break_contracts(4, None);
    assert_eq!(town.settle(), 0, "four of ten may be in trouble");
    town.break_contracts(3, None);
    town.settle();
    let about_heal = |state| vec![("policy/heal".to_owned(), state)];
    assert_eq!(town.states(), about_heal(State::Escalated));
    let [parent] = &town.family.parents[..] else { panic!() };
    let (spec, status) = (&parent.incident.spec, &parent.incident.status);
    assert_eq!((spec.rules_summary.as_str(), spec.cause), ("schema (7)", Cause::Storm));
    assert_eq!(spec.violations[0].path, "/price");
    assert!(status.message.starts_with("7 of the 10 contracts"), "{}", status.message);
    assert!(status.message.contains("7 of them fail rule schema (required) at /price"));
    assert_eq!(town.said, ["IncidentOpened", "Escalated"]);
    // It grows: said in its message, and nobody is called again.
    town.break_contracts(2, None);
    assert_eq!(town.settle(), 1);
    assert_eq!(town.said.len(), 2);
    // Over, but for the cooldown, during which repairs are still held.
    town.now += 60;
    town.mend_all();
    town.settle();
    assert_eq!(town.states(), about_heal(State::Escalated));
    town.now += 300;
    town.settle();
    assert_eq!(town.states(), about_heal(State::Resolved));
    assert_eq!(town.said, ["IncidentOpened", "Escalated", "Resolved"]);
}

#[test]
fn whoever_does_not_answer_is_called_again() {
    let mut town = Town::new("escalation: {repeatEvery: 10m}");
    town.break_contracts(7, None);
    town.settle();
    let (_, due) = next(&town.family, at(town.now));
    assert_eq!(due, Some(at(town.now + 600)));
    town.now += 600;
    town.settle();
    assert_eq!(town.said, ["IncidentOpened", "Escalated", "Escalated"]);
}

#[test]
fn a_storm_that_a_person_closed_stays_closed_and_the_next_one_is_another() {
    let mut town = Town::new("");
    town.break_contracts(7, None);
    town.settle();
    town.family.parents[0].incident.spec.close = true;
    town.now += 10;
    town.settle();
    town.break_contracts(1, None);
    assert_eq!(town.settle(), 0, "it is the same storm");
    town.now += 10;
    town.mend_all();
    town.now += 1_000;
    town.break_contracts(6, None);
    town.settle();
    let states: Vec<_> = town.states().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [State::Resolved, State::Escalated]);
}

#[test]
fn contracts_that_blame_one_schema_share_one_incident_about_it() {
    let mut town = Town::new("storm: {maxUnhealthy: 100%}");
    town.break_contracts(3, Some(&json!({"class": {"name": "storefinder"}})));
    town.break_contracts(2, Some(&json!({"schema": {"name": "schemas", "key": "v3.json"}})));
    town.settle();
    let escalated = |subject: &str| (subject.to_owned(), State::Escalated);
    let about_both = [escalated("class/storefinder"), escalated("schema/schemas/v3.json")];
    assert_eq!(town.states(), about_both);
    let message = &town.parents().next().unwrap().incident.status.message;
    assert!(message.starts_with("the last good documents of 3 contracts"), "{message}");
    assert!(message.contains("take the change of the schema back"), "{message}");
    town.mend_all();
    town.settle();
    assert!(town.states().iter().all(|(_, state)| *state == State::Resolved));
}

#[test]
fn those_that_are_over_are_kept_up_to_a_number_and_a_time() {
    let mut town = Town::new("storm: {cooldown: 1s}");
    for _ in 0..8 {
        town.break_contracts(7, None);
        town.settle();
        town.now += 10;
        town.mend_all();
        town.settle();
        town.now += 10;
        town.settle();
    }
    assert_eq!(town.parents().count(), KEPT);
    town.now += 8 * 24 * 3_600;
    town.settle();
    let ordinals: Vec<_> = town.parents().map(|parent| parent.incident.spec.ordinal).collect();
    assert_eq!(ordinals, [8], "the newest stays: the next one's number follows from it");
}
