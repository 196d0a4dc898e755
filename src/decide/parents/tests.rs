use serde_json::{Value, json};

use super::*;
use crate::{decide::select::testing, domain::Severity};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn policy(spec: &str) -> Policy {
    testing::policy("heal", 0, &format!("default: true\n{spec}"))
}

/// A namespace of ten contracts under one policy, and what its writes made of it.
struct Town {
    family: Family,
    now: i64,
    said: Vec<String>,
    look_again: Vec<(Arc<str>, Span)>,
}

impl Town {
    fn new(policy_spec: &str) -> Self {
        let family = Family { policies: vec![(policy(policy_spec), 10)], ..Family::default() };
        Self { family, now: 1_000, said: Vec::new(), look_again: Vec::new() }
    }

    /// Two hosts have given no answer for so long that it is said: it is us.
    fn cut_off() -> Self {
        let mut town = Self::new("");
        let hosts = ["cdn.test", "other.test"];
        for host in hosts {
            town.silence(host, 1, Severity::Critical);
        }
        town.hears(&hosts.map(|host| (host, false)));
        town.lasts(600);
        town.settle();
        town
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

    /// The checks of so many contracts begin to wait for an answer of `host`; a person is called when
    /// they have for ten minutes.
    fn silence(&mut self, host: &str, count: usize, severity: Severity) {
        for _ in 0..count {
            let name = format!("c-{}", self.family.silences.len());
            let silence = Silence {
                host: host.into(),
                rule: "images".into(),
                reason: "DnsFailed".into(),
                severity,
                since: at(self.now),
                call_every: None,
            };
            self.family.silences.push((name.into(), Arc::new([silence])));
        }
    }

    /// So many seconds later each contract looks again, and finds it as it was.
    fn lasts(&mut self, seconds: i64) {
        self.now += seconds;
        for (_, silences) in &mut self.family.silences {
            let silence = silences[0].clone();
            let is_late = Span::mins(10).after(silence.since) <= at(self.now);
            let call_every = is_late.then_some(Span::mins(60));
            *silences = Arc::new([Silence { call_every, ..silence }]);
        }
    }

    /// The host answers, and the checks that waited for it pass.
    fn answers(&mut self, host: &str) {
        self.family.silences.retain(|(_, silences)| &*silences[0].host != host);
    }

    /// What came of asking these hosts just now.
    fn hears(&mut self, heard: &[(&str, bool)]) {
        let of = |(host, answered): &(&str, bool)| Heard {
            host: (*host).to_owned(),
            answered: *answered,
            ago: Span::ZERO,
        };
        self.family.heard = heard.iter().map(of).collect();
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
        for writes in 0..100 {
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
                Act::Record { parent, status, signals, look_again } => {
                    let same = |p: &&mut Parent| p.incident.name == parent.incident.name;
                    self.family.parents.iter_mut().find(same).unwrap().incident.status = *status;
                    self.said.extend(signals.iter().map(|signal| signal.reason.to_string()));
                    self.look_again.extend(look_again);
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
fn a_pause_of_contracts_that_blame_a_schema_neither_ends_their_incident_nor_opens_one() {
    let blame = json!({"schema": {"name": "schemas", "key": "v3.json"}});
    for opened_before in [true, false] {
        let mut town = Town::new("storm: {maxUnhealthy: 100%}");
        town.break_contracts(2, Some(&blame));
        if opened_before {
            town.settle();
        }
        for open in &mut town.family.open {
            let mut paused = (**open).clone();
            paused.status.as_mut().unwrap().waiting = "Paused".to_owned();
            *open = Arc::new(paused);
        }
        town.settle();
        let expected: &[(&str, State)] =
            if opened_before { &[("schema/schemas/v3.json", State::Escalated)] } else { &[] };
        assert_eq!(town.states(), are(expected));
    }
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

const CDN: &str = "host/cdn.test";
const OTHER: &str = "host/other.test";
const EGRESS: &str = "egress";

fn are(expected: &[(&str, State)]) -> Vec<(String, State)> {
    expected.iter().map(|(subject, state)| ((*subject).to_owned(), *state)).collect()
}

#[test]
fn a_host_that_gives_no_answer_for_long_is_one_incident_and_one_call_until_it_answers() {
    let mut town = Town::new("");
    town.hears(&[("cdn.test", false), ("other.test", true)]);
    town.silence("cdn.test", 5, Severity::Warning);
    assert_eq!(town.settle(), 0, "it may be back any moment");
    town.now += 600;
    assert_eq!(town.settle(), 0, "no contract has looked again, and it may be over");
    town.lasts(0);
    town.settle();
    assert_eq!(town.states(), are(&[(CDN, State::Escalated)]));
    let [parent] = &town.family.parents[..] else { panic!() };
    let (spec, status) = (&parent.incident.spec, &parent.incident.status);
    assert_eq!(
        (spec.cause, spec.severity, spec.rules_summary.as_str()),
        (Cause::AssetHostDown, Severity::Warning, "images (5)")
    );
    assert_eq!(spec.violations[0].message, "cannot be checked in 5 of the contracts");
    let says = "host cdn.test gives no answer (DnsFailed): 5 contracts, such as c-0, c-1, c-2,";
    assert!(status.message.starts_with(says), "{}", status.message);
    assert!(status.message.contains("bring the host back"), "{}", status.message);
    let conditions: Vec<_> = status.conditions.iter().map(|is| is.type_.as_str()).collect();
    assert_eq!(conditions, ["Diagnosed", "Escalated"], "nothing is held by it");
    assert_eq!(town.said, ["IncidentOpened", "Escalated"]);
    town.now += 3_600;
    town.settle();
    assert_eq!(town.said.len(), 3, "nobody answered");
    // Some of them look again before the others.
    town.family.silences.truncate(1);
    town.settle();
    assert_eq!(town.states(), are(&[(CDN, State::Escalated)]));
    town.answers("cdn.test");
    town.settle();
    assert_eq!(town.states(), are(&[(CDN, State::Resolved)]));
    // The next time is another.
    town.silence("cdn.test", 1, Severity::Critical);
    town.lasts(600);
    town.settle();
    assert_eq!(town.states(), are(&[(CDN, State::Resolved), (CDN, State::Escalated)]));
    assert_eq!(town.family.parents[1].incident.spec.severity, Severity::Critical);
}

#[test]
fn it_is_us_and_not_the_hosts_while_none_can_be_reached() {
    use State::{Escalated, Resolved};
    let down: &[_] = &[("cdn.test", false), ("other.test", false)];
    let mut town = Town::new("");
    town.silence("cdn.test", 3, Severity::Critical);
    town.silence("other.test", 3, Severity::Critical);
    town.hears(down);
    town.lasts(600);
    town.settle();
    assert_eq!(town.states(), are(&[(EGRESS, Escalated)]));
    let message = &town.family.parents[0].incident.status.message;
    assert!(
        message.starts_with("no host that was asked lately can be reached: 6 con"),
        "{message}"
    );
    assert!(message.contains("mend the network"), "{message}");
    assert_eq!(town.family.parents[0].incident.spec.cause, Cause::EgressBroken);
    let (_, due) = next(&town.family, at(town.now));
    assert_eq!(due, Some(at(town.now + 30)), "another namespace may see first that it is over");
    // Between two looks nobody was asked.
    for heard in [&[][..], &down[..1]] {
        town.hears(heard);
        town.now += 60;
        assert_eq!(town.settle(), 0, "{heard:?}");
    }
    // One host answers: the other is down itself.
    town.hears(&[("cdn.test", true), ("other.test", false)]);
    town.settle();
    assert_eq!(town.states(), are(&[(EGRESS, Resolved)]));
    let settled = Span::secs(15)..=Span::secs(30);
    let in_time = town.look_again.iter().filter(|(_, after)| settled.contains(after)).count();
    assert_eq!(in_time, 6, "what is known of each may be of before: {:?}", town.look_again);
    let (_, due) = next(&town.family, at(town.now));
    assert_eq!(due, Some(at(town.now + 30)), "when they have looked again");
    town.answers("cdn.test");
    // Whoever has not looked again knows of before.
    town.hears(&[("cdn.test", true)]);
    town.now += 60;
    assert_eq!(town.settle(), 0);
    town.hears(&[("cdn.test", true), ("other.test", true)]);
    assert_eq!(town.settle(), 0, "it answers, and its contracts have yet to see it");
    town.hears(&[("cdn.test", true), ("other.test", false)]);
    town.settle();
    assert_eq!(town.states(), are(&[(EGRESS, Resolved), (OTHER, Escalated)]));
    assert_eq!(town.said.iter().filter(|said| *said == "Escalated").count(), 2);
    town.answers("other.test");
    town.settle();
    assert_eq!(town.states(), are(&[(EGRESS, Resolved), (OTHER, Resolved)]));
}

#[test]
fn who_closed_an_outage_of_ours_is_called_for_no_host_before_it_was_asked_again() {
    let mut town = Town::cut_off();
    town.family.parents[0].incident.spec.close = true;
    town.settle();
    assert_eq!(town.states(), are(&[(EGRESS, State::Resolved)]));
    town.now += 3_600;
    // The first host is reached again, and what is heard of the other is of before.
    town.hears(&[("cdn.test", true), ("other.test", false)]);
    town.answers("cdn.test");
    town.family.reached_again = Some(Span::secs(5));
    assert_eq!(town.settle(), 0);
    town.now += 60;
    town.family.reached_again = Some(Span::secs(65));
    town.settle();
    assert_eq!(town.states(), are(&[(EGRESS, State::Resolved), (OTHER, State::Escalated)]));
}

#[test]
fn what_nobody_has_asked_since_it_was_us_is_called_to_account_in_the_end() {
    let mut town = Town::cut_off();
    town.hears(&[("third.test", true)]);
    town.settle();
    assert_eq!(town.states(), are(&[(EGRESS, State::Resolved)]));
    town.now += 599;
    assert_eq!(town.settle(), 0);
    town.now += 1;
    town.settle();
    let both = [(EGRESS, State::Resolved), (CDN, State::Escalated), (OTHER, State::Escalated)];
    assert_eq!(town.states(), are(&both));
}

#[test]
fn who_closed_an_outage_is_called_again_when_another_check_becomes_late() {
    let mut town = Town::new("");
    town.hears(&[("cdn.test", false), ("other.test", false)]);
    town.silence("cdn.test", 2, Severity::Critical);
    town.lasts(600);
    town.settle();
    assert_eq!(town.states(), are(&[(EGRESS, State::Escalated)]));
    town.family.parents[0].incident.spec.close = true;
    town.settle();
    assert_eq!(town.states(), are(&[(EGRESS, State::Resolved)]));
    town.now += 10;
    town.silence("other.test", 1, Severity::Critical);
    town.lasts(600);
    town.settle();
    // The first checks are as they were: what is late now is news.
    let again = are(&[(EGRESS, State::Escalated)]);
    assert!(town.states().contains(&again[0]), "{:?}", town.states());
}

#[test]
fn what_is_said_of_a_host_stays_said_while_none_can_be_reached() {
    use State::Escalated;
    let mut town = Town::new("");
    town.hears(&[("cdn.test", false), ("other.test", true)]);
    town.silence("cdn.test", 1, Severity::Critical);
    town.lasts(600);
    town.settle();
    town.silence("other.test", 1, Severity::Critical);
    town.hears(&[("cdn.test", false), ("other.test", false)]);
    town.lasts(600);
    town.settle();
    assert_eq!(town.states(), are(&[(CDN, Escalated), (EGRESS, Escalated)]));
}

#[test]
fn an_outage_that_a_person_closed_stays_closed_until_it_is_over() {
    for (down, subject) in [(false, CDN), (true, EGRESS)] {
        let mut town = Town::new("");
        town.hears(&[("cdn.test", false), ("other.test", !down)]);
        town.silence("cdn.test", 2, Severity::Critical);
        town.lasts(600);
        town.settle();
        assert_eq!(town.states(), are(&[(subject, State::Escalated)]));
        town.family.parents[0].incident.spec.close = true;
        town.now += 10;
        town.settle();
        town.hears(&[]);
        town.now += 7_200;
        assert_eq!(town.settle(), 0, "{subject}: it is the same outage");
        town.answers("cdn.test");
        town.settle();
        town.silence("cdn.test", 2, Severity::Critical);
        town.hears(&[("cdn.test", false), ("other.test", !down)]);
        town.lasts(600);
        town.settle();
        assert_eq!(town.states(), are(&[(subject, State::Resolved), (subject, State::Escalated)]));
    }
}

#[test]
fn after_a_restart_what_is_on_record_keeps_an_outage_open_and_calls_nobody_again() {
    let mut town = Town::new("");
    town.silence("cdn.test", 2, Severity::Critical);
    town.lasts(600);
    town.settle();
    let called = town.said.clone();
    // What is on record says nothing of when a person is called.
    for (_, silences) in &mut town.family.silences {
        *silences = Arc::new([Silence { call_every: None, ..silences[0].clone() }]);
    }
    town.now += 5;
    town.settle();
    assert_eq!((town.states(), &town.said), (are(&[(CDN, State::Escalated)]), &called));
    town.family.parents.clear();
    town.now += 7_200;
    assert_eq!(town.settle(), 0, "nobody is called before a contract was looked at");
}

#[test]
fn nothing_is_kept_for_ever_of_hosts_and_not_too_much_before() {
    let mut town = Town::new("");
    for nth in 0..2 * HOSTS_KEPT {
        let host = format!("h{nth}.test");
        town.silence(&host, 1, Severity::Critical);
        town.lasts(600);
        town.settle();
        town.answers(&host);
        town.settle();
    }
    assert_eq!(town.parents().count(), HOSTS_KEPT);
    let oldest = format!("host/h{HOSTS_KEPT}.test");
    assert_eq!(town.parents().next().unwrap().incident.spec.subject, oldest);
    town.now += 8 * 24 * 3_600;
    town.settle();
    assert_eq!(town.parents().count(), 0);
}
