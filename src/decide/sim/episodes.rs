//! When an Incident opens, how long it stays, when a person is called, and what is said of it.

use serde_json::{Value, json};

use super::{World, broken, good, with};
use crate::{
    api::{
        contract::{CheckResult, Mode},
        incident::{State, StepOutcome},
    },
    decide::signal::Reason,
    domain::{Digest, Span},
};

const MINUTE: Span = Span::mins(1);

/// What happens to a world.
type Change = fn(&mut World);

/// A world that serves `good`, with `more` on its rule about images, and a policy that cannot heal
/// anything but says `extra`.
fn world(more: &Value, extra: &str) -> World {
    let mut world = World::new(&good());
    let images = world.contract["rules"][0].as_object_mut().unwrap();
    images.extend(more.as_object().unwrap().clone());
    world.contract["fallbackAssets"] = json!([]);
    let policy = format!(
        "default: true\nsteps: [{{name: asset, replaceAsset: {{}}}}, {{name: source, refetchSource: {{}}}}]\n{extra}"
    );
    world.policies[0].spec = serde_saphyr::from_str(&policy).unwrap();
    world.settle();
    world
}

const TWICE: &str =
    "retry: {maxAttempts: 2, minHealthyPeriod: 5m, backoff: {initial: 10s, max: 10s}}";

fn hero(world: &mut World, status: Option<u16>) {
    world.asset("hero", status);
    world.later(MINUTE).settle();
}

#[test]
fn an_attempt_says_what_each_of_its_steps_came_to() {
    let mut world = World::new(&good());
    world.policies[0].spec = serde_saphyr::from_str(
        "default: true\nsteps: [{name: asset, replaceAsset: {}}, {name: restore, restoreRevision: {}}]",
    )
    .unwrap();
    world.settle().later(Span::secs(10));
    world.assign(&with(|document| {
        document["title"] = json!(7);
        document["new"] = json!("good");
    }));
    // Decided and written at one moment, seen at another.
    world.look();
    world.later(Span::millis(40)).settle();
    let steps = &world.incidents[0].2.attempts[0].steps;
    let said: Vec<_> = steps
        .iter()
        .map(|step| (step.policy.as_str(), step.name.as_str(), step.outcome, step.took))
        .collect();
    let expected = [
        ("heal", "asset", StepOutcome::Failed, None),
        ("heal", "restore", StepOutcome::Changed, Some(Span::millis(40))),
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_failure_counts_when_it_was_seen_as_often_in_a_row_as_its_threshold_says() {
    let mut world = world(&json!({"failureThreshold": 3}), TWICE);
    hero(&mut world, Some(404));
    assert_eq!((world.incidents.len(), world.status.checks[0].failures), (0, 1));
    // Any event brings a look; it is not another failure.
    for _ in 0..5 {
        world.later(Span::secs(1)).settle();
    }
    assert_eq!(world.status.checks[0].failures, 1);
    hero(&mut world, Some(404));
    assert_eq!(world.status.checks[0].failures, 2);
    hero(&mut world, Some(200));
    assert_eq!(world.status.checks, [], "a pass begins anew");
    for failures in 1..3 {
        hero(&mut world, Some(404));
        assert_eq!((world.incidents.len(), world.status.checks[0].failures), (0, failures));
    }
    hero(&mut world, Some(404));
    assert_eq!((world.incidents.len(), world.status.checks[0].failures), (1, 3));
    let writes = world.writes;
    world.later(Span::secs(1)).settle();
    assert_eq!(world.writes, writes, "what has counted is not counted on");
}

#[test]
fn time_in_which_nobody_looked_is_no_failure() {
    let mut world = world(&json!({"failureThreshold": 3}), TWICE);
    hero(&mut world, Some(404));
    world.later(Span::mins(600)).settle();
    world.later(Span::secs(1)).settle();
    assert_eq!((world.incidents.len(), world.status.checks[0].failures), (0, 2));
}

#[test]
fn a_threshold_is_waited_for_by_a_timer_of_its_own_and_withholds_at_once() {
    let mut world = world(&json!({}), TWICE);
    world.contract["rules"] = json!([{"name": "schema", "schema": {}, "failureThreshold": 3}]);
    world.settle();
    world.assign(&broken());
    world.later(MINUTE).settle();
    assert_eq!((world.incidents.len(), world.served_value()), (0, good()));
    assert_eq!(world.status.reason, "Invalid");
    // No rule judges the world here, so no other timer brings these looks.
    world.run_for(Span::mins(3));
    assert_eq!((world.incidents.len(), world.served_value()), (1, good()));
}

#[test]
fn a_failure_counts_when_it_has_lasted_for_as_long_as_its_rule_says() {
    let mut world = world(&json!({"for": "150s"}), TWICE);
    hero(&mut world, Some(404));
    world.run_for(Span::secs(149));
    assert_eq!(world.incidents.len(), 0);
    world.run_for(Span::secs(2)).settle();
    assert_eq!(world.incidents.len(), 1);
}

#[test]
fn an_incident_stays_open_until_its_rule_has_passed_as_often_in_a_row_as_its_threshold_says() {
    let soon = "retry: {maxAttempts: 9, minHealthyPeriod: 0s, backoff: {initial: 10s}}";
    let mut world = world(&json!({"successThreshold": 3}), soon);
    hero(&mut world, Some(404));
    hero(&mut world, Some(200));
    hero(&mut world, Some(200));
    let check = &world.status.checks[0];
    assert_eq!((check.result, check.failures), (CheckResult::Pass, 2));
    assert_eq!(world.status.failing, Some(0));
    hero(&mut world, Some(404));
    assert_eq!((world.state(), world.incidents.len()), (State::Remediating, 1), "the same one");
    for _ in 0..2 {
        hero(&mut world, Some(200));
        assert_eq!(world.state(), State::Mitigated);
    }
    // The third look is brought by a timer.
    world.run_for(MINUTE);
    assert_eq!((world.state(), world.incidents.len()), (State::Resolved, 1));
    assert_eq!(world.status.checks, []);
}

#[test]
fn a_rule_that_is_disabled_has_no_effect() {
    let mut world = world(&json!({"disabled": true}), TWICE);
    hero(&mut world, Some(404));
    assert_eq!((world.incidents.len(), world.status.rules_summary.as_str()), (0, "1 pass"));
    assert_eq!(world.status.reason, "Assigned");
}

#[test]
fn a_critical_rule_opens_an_incident_however_many_warnings_fail_before_it() {
    let mut world = world(&json!({}), TWICE);
    let warnings = (0..62).map(|n| {
        let path = format!("/{}", "long".repeat(120));
        json!({"name": format!("a-{n}"), "severity": "Warning", "metadata": {"required": [path]}})
    });
    let critical = json!({"name": "z", "metadata": {"required": ["/new"]}});
    world.contract["rules"] = warnings.chain([critical]).collect();
    world.later(MINUTE).settle();
    assert_eq!(world.incidents[0].1.rules_summary, "z");
    let status = &world.status;
    assert_eq!((status.checks[0].rule.as_str(), status.checks.len()), ("z", 63));
    assert_eq!((status.failing, status.rules_summary.as_str()), (Some(63), "1 pass, 63 fail"));
    let bytes = serde_json::to_string(status).unwrap().len();
    assert!(bytes < 32 * 1024, "{bytes} bytes of status");
}

#[test]
fn a_person_is_called_again_when_it_fails_again_after_it_was_mended() {
    let mut world = world(&json!({}), TWICE);
    for calls in 1..4 {
        hero(&mut world, Some(404));
        world.run_for(Span::mins(2));
        assert_eq!((world.state(), world.times(Reason::Escalated)), (State::Escalated, calls));
        hero(&mut world, Some(200));
        assert_eq!(world.state(), State::Mitigated);
        assert_eq!(world.times(Reason::Mitigated), calls, "{:?}", world.said);
    }
    assert_eq!(world.incidents.len(), 1);
}

#[test]
fn a_person_is_called_again_by_the_clock_though_nothing_may_be_tried() {
    let mut world = world(&json!({}), "mode: Observe\nescalation: {unmitigatedAfter: 1m}");
    for calls in 1..4 {
        hero(&mut world, Some(404));
        assert_eq!((world.state(), world.times(Reason::Escalated)), (State::Held, calls - 1));
        world.run_for(Span::mins(2));
        assert_eq!((world.state(), world.times(Reason::Escalated)), (State::Escalated, calls));
        hero(&mut world, Some(200));
        assert_eq!(world.state(), State::Mitigated);
    }
    assert_eq!((world.incidents.len(), world.tries()), (1, 0));
}

#[test]
fn a_call_that_nobody_answers_is_repeated_once_in_each_period_with_one_write() {
    let more = "mode: Observe\nescalation: {unmitigatedAfter: 1m, repeatEvery: 2h}";
    let mut world = world(&json!({}), more);
    hero(&mut world, Some(404));
    world.run_for(Span::mins(2));
    let said = |world: &World| (world.times(Reason::Escalated), world.writes);
    let (calls, writes) = said(&world);
    assert_eq!((world.state(), calls), (State::Escalated, 1));
    world.run_for(Span::mins(110));
    assert_eq!(said(&world), (1, writes));
    world.run_for(Span::mins(120));
    assert_eq!(said(&world), (2, writes + 1));
    world.run_for(Span::mins(120));
    assert_eq!(said(&world), (3, writes + 2));
    assert!(world.said.last().unwrap().1.note.starts_with("still: "), "{:?}", world.said.last());
    hero(&mut world, Some(200));
    world.run_for(Span::mins(240));
    assert_eq!(world.times(Reason::Escalated), 3, "it was answered");
}

#[test]
fn a_check_that_stays_unknown_calls_a_person_without_an_incident() {
    let escalated = |world: &World| {
        let conditions = &world.status.conditions;
        conditions.iter().find(|c| c.type_ == "Escalated").map(|c| c.reason.clone())
    };
    let mut world = world(&json!({}), "escalation: {unknownAfter: 10m, repeatEvery: 1h}");
    // Nobody speaks for several contracts at once.
    world.each_calls = true;
    hero(&mut world, None);
    world.run_for(Span::mins(9));
    assert_eq!((escalated(&world), world.times(Reason::Escalated)), (None, 0));
    world.run_for(Span::mins(2));
    assert_eq!(escalated(&world).as_deref(), Some("DnsFailed"));
    let writes = world.writes;
    world.run_for(Span::mins(55));
    assert_eq!((world.times(Reason::Escalated), world.writes), (1, writes));
    world.run_for(Span::mins(10));
    assert_eq!((world.times(Reason::Escalated), world.writes), (2, writes + 1));
    assert_eq!(world.incidents.len(), 0, "Unknown is not Fail");
    hero(&mut world, Some(200));
    assert_eq!((escalated(&world), world.status.called_at.clone()), (None, None));
}

#[test]
fn of_a_host_that_gives_no_answer_the_contract_says_so_and_leaves_the_call_to_the_outage() {
    let mut world = world(&json!({}), "escalation: {unknownAfter: 10m, repeatEvery: 1h}");
    hero(&mut world, None);
    let [silence] = &world.silences[..] else { panic!("{:?}", world.silences) };
    assert_eq!((&*silence.host, &*silence.rule), ("cdn.test", "images"));
    let escalated = |world: &World| {
        let conditions = &world.status.conditions;
        conditions.iter().find(|c| c.type_ == "Escalated").map(|c| c.message.clone())
    };
    world.run_for(Span::mins(9));
    let writes = world.writes;
    assert_eq!((escalated(&world), world.silences[0].call_every), (None, None));
    world.run_for(Span::mins(2));
    assert_eq!(world.silences[0].call_every, Some(Span::mins(60)));
    let message = escalated(&world).unwrap();
    assert!(message.contains("by the Incident about host/cdn.test"), "{message}");
    world.run_for(Span::mins(180));
    assert_eq!((world.times(Reason::Escalated), world.writes), (0, writes + 1));
    // What has no host is its own to say, whatever else is silent.
    world.contract["rules"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "sum", "cel": {"expression": "self.title +"}}));
    world.run_for(Span::mins(12));
    assert_eq!(world.times(Reason::Escalated), 1, "{:?}", world.said);
    hero(&mut world, Some(200));
    assert!(world.silences.is_empty(), "{:?}", world.silences);
}

#[test]
fn what_is_said_before_a_crash_is_not_said_again_after_it() {
    let mut world = world(&json!({}), TWICE);
    hero(&mut world, Some(404));
    hero(&mut world, Some(200));
    world.asset("hero", Some(404));
    world.later(MINUTE).settle();
    let before = world.clone();
    world.run_for(Span::mins(2));
    let names =
        |world: &World| -> Vec<_> { world.said.iter().map(|(name, _)| name.clone()).collect() };
    let said = names(&world);
    // The same looks once more, as if none of their writes had arrived.
    world.incidents = before.incidents.clone();
    world.status = before.status.clone();
    (world.now, world.next) = (before.now, before.next);
    world.run_for(Span::mins(2));
    let again: Vec<_> = names(&world).split_off(said.len());
    assert!(again.is_empty(), "{again:?}");
}

#[test]
fn unknown_in_between_is_neither_a_recovery_nor_another_failure() {
    let mut world = world(&json!({}), TWICE);
    let counts = |world: &World| {
        (world.times(Reason::ValidationFailed), world.times(Reason::ValidationRecovered))
    };
    for (status, failed, recovered) in [
        (Some(404), 1, 0),
        (None, 1, 0),
        (Some(404), 1, 0),
        (None, 1, 0),
        (Some(200), 1, 1),
        (None, 1, 1),
        (Some(200), 1, 1),
        (Some(404), 2, 1),
    ] {
        hero(&mut world, status);
        assert_eq!(counts(&world), (failed, recovered), "after {status:?}: {:?}", world.said);
    }
}

#[test]
fn a_document_that_is_withheld_for_a_doubt_is_said_once_to_be() {
    let mut world = world(&json!({}), TWICE);
    // Too costly an expression is Unknown for every document.
    world.contract["rules"] = json!([{"name": "sum", "cel": {"expression": "self.title +"}}]);
    world.assign(&with(|document| document["title"] = json!("two")));
    world.later(MINUTE).settle().later(MINUTE).settle();
    assert_eq!(world.served_value(), good());
    world.assign(&with(|document| document["title"] = json!("three")));
    world.later(MINUTE).settle();
    assert_eq!(world.times(Reason::Withheld), 1, "{:?}", world.said);
    let (_, said) = world.said.last().unwrap();
    assert!(said.note.contains("is withheld: rule sum is unknown"), "{}", said.note);
    world.contract["rules"] = json!([]);
    world.settle();
    world.assign(&broken());
    world.later(MINUTE).settle();
    assert_eq!(world.times(Reason::Withheld), 1, "a failure says itself");
}

#[test]
fn an_incident_that_a_person_closes_is_said_to_be_resolved() {
    let mut world = world(&json!({}), TWICE);
    hero(&mut world, Some(404));
    world.incidents[0].1.close = true;
    world.later(Span::secs(1)).settle();
    assert_eq!((world.state(), world.times(Reason::Resolved)), (State::Resolved, 1));
}

#[test]
fn what_a_person_closed_does_not_open_again_because_a_part_of_it_is_over() {
    let mut world = world(&json!({}), TWICE);
    hero(&mut world, Some(404));
    world.assign(&with(|document| document["title"] = json!(7)));
    world.later(MINUTE).settle();
    let failing = |world: &World| world.incidents.last().unwrap().1.violations.len();
    let opened = (world.incidents.len(), failing(&world));
    assert_eq!(opened.1, 2, "{:?}", world.incidents.last().unwrap().1);
    hero(&mut world, Some(200));
    assert_eq!((world.incidents.len(), failing(&world)), opened, "it goes on for the rest");
    world.incidents.last_mut().unwrap().1.close = true;
    world.settle().run_for(Span::mins(60));
    assert_eq!((world.incidents.len(), world.state()), (opened.0, State::Resolved));
}

#[test]
fn what_a_person_closed_hides_no_other_fault_however_many_places_it_had() {
    let mut world = world(&json!({}), TWICE);
    let many: Vec<Value> = (0..30)
        .map(|nth| {
            json!({"name": format!("a{nth}"), "cel": {
        "expression": "self.title != 7"}})
        })
        .collect();
    let rules: Vec<Value> = world.contract["rules"]
        .as_array()
        .cloned()
        .unwrap_or_default()
        .into_iter()
        .chain(many)
        .collect();
    world.contract["rules"] = json!(rules);
    world.settle();
    world.assign(&with(|document| document["title"] = json!(7)));
    world.later(MINUTE).settle();
    assert_eq!(world.incidents.last().unwrap().1.violations.len(), 20, "it shows no more");
    world.incidents.last_mut().unwrap().1.close = true;
    world.settle().run_for(Span::mins(10));
    let opened = world.incidents.len();
    hero(&mut world, Some(404));
    assert_eq!(world.incidents.len(), opened + 1, "another fault of the same document");
}

#[test]
fn what_a_person_closed_opens_again_for_another_document_than_the_last_that_it_was_about() {
    let published = |title: i32| with(|document| document["title"] = json!(title));
    let mut world = world(&json!({}), "incidents: {keepResolved: 0}");
    world.assign(&published(1));
    world.later(MINUTE).settle();
    world.assign(&published(2));
    world.later(MINUTE).settle();
    let last = Some(Digest::of_value(&published(2)));
    assert_eq!((world.incidents.len(), &world.incidents[0].2.current_digest), (1, &last));
    world.incidents[0].1.close = true;
    world.settle().run_for(Span::mins(60));
    assert_eq!((world.incidents.len(), world.state()), (1, State::Resolved), "it opened again");
    assert_eq!(world.incidents[0].2.current_digest, last);
    // One that comes at the same moment as the closing was not closed.
    world.assign(&published(3));
    world.later(MINUTE).settle();
    assert_eq!(world.incidents.last().unwrap().1.ordinal, 2);
    world.assign(&published(4));
    world.incidents.last_mut().unwrap().1.close = true;
    world.settle();
    assert_eq!(world.incidents.last().unwrap().1.ordinal, 3);
}

#[test]
fn a_person_is_called_when_nothing_good_was_served_for_long_though_attempts_go_on() {
    let patient = "retry: {maxAttempts: 20, backoff: {initial: 60s, max: 60s}}\nescalation: {unmitigatedAfter: 3m}";
    let mut world = world(&json!({}), patient);
    hero(&mut world, Some(404));
    world.run_for(Span::secs(170));
    assert_eq!((world.state(), world.times(Reason::Escalated)), (State::Remediating, 0));
    let tries = world.tries();
    world.run_for(Span::secs(20));
    assert_eq!((world.state(), world.times(Reason::Escalated)), (State::Escalated, 1));
    let message = world.incidents[0].2.message.clone();
    assert!(
        message.starts_with("no good document was served for 3m; bring the asset"),
        "{message}"
    );
    world.run_for(Span::mins(4));
    assert!(world.tries() > tries + 2, "calling a person stops no attempt: {}", world.tries());
    world.run_for(Span::mins(30));
    assert_eq!((world.tries(), world.times(Reason::Escalated)), (20, 1));
    let message = &world.incidents[0].2.message;
    assert!(message.starts_with("20 of the last 20 attempts failed: asset: "), "{message}");
}

#[test]
fn a_person_is_called_while_a_step_waits_while_a_gate_is_shut_and_while_nothing_is_known() {
    let slow = "escalation: {unmitigatedAfter: 3m}";
    let waiting = "default: true\nsteps: [{name: pause, wait: {for: 1h}}]";
    let cases: [(&str, Change, &str); 3] = [
        ("waits", |_| {}, "no good document was served for 3m; bring"),
        ("held", |world| world.max_mode = Mode::Observe, "for 3m; held: the mode is Observe"),
        ("unknown", |world| world.asset("hero", None), "no good document was served for 3m; bring"),
    ];
    for (name, change, expected) in cases {
        let mut world = world(&json!({}), slow);
        world.policies[0].spec = serde_saphyr::from_str(&format!("{waiting}\n{slow}")).unwrap();
        hero(&mut world, Some(404));
        change(&mut world);
        world.later(Span::secs(1)).settle().run_for(Span::secs(160));
        assert_eq!(world.times(Reason::Escalated), 0, "{name}");
        world.run_for(Span::mins(1));
        assert_eq!(
            (world.state(), world.times(Reason::Escalated)),
            (State::Escalated, 1),
            "{name}"
        );
        let message = &world.incidents[0].2.message;
        assert!(message.contains(expected), "{name}: {message}");
    }
}

#[test]
fn a_person_is_called_when_the_owner_does_not_mend_what_is_mitigated() {
    let mut world = world(&json!({}), "escalation: {unmitigatedAfter: 1m, unresolvedAfter: 1h}");
    world.policies[0].spec.steps[0] =
        serde_saphyr::from_str("{name: restore, restoreRevision: {}}").unwrap();
    world.assign(&with(|document| {
        document["title"] = json!(7);
        document["new"] = json!("good");
    }));
    world.later(MINUTE).settle().run_for(Span::mins(58));
    assert_eq!((world.state(), world.times(Reason::Escalated)), (State::Mitigated, 0));
    world.run_for(Span::mins(3));
    assert_eq!((world.state(), world.times(Reason::Escalated)), (State::Escalated, 1));
    let message = &world.incidents[0].2.message;
    assert!(message.starts_with("the assigned document has not passed for 1h; mend"), "{message}");
}

#[test]
fn only_attempts_that_failed_are_counted_as_failed() {
    let mut world = world(&json!({}), TWICE);
    world.contract["fallbackAssets"] = json!([{"url": "https://cdn.test/fallback.png"}]);
    hero(&mut world, Some(404));
    assert_eq!((world.state(), world.tries()), (State::Mitigated, 1));
    hero(&mut world, Some(200));
    world.asset("fallback", Some(404));
    hero(&mut world, Some(404));
    assert_eq!(world.state(), State::Escalated);
    let message = &world.incidents[0].2.message;
    assert!(message.starts_with("1 of 2 attempts failed: "), "{message}");
}

#[test]
fn a_policy_says_how_far_repairs_go() {
    for (mode, incidents, state, waiting, published) in [
        (Mode::Off, 0, None, "", 1),
        (Mode::Observe, 1, Some(State::Held), "ObserveOnly", 1),
        (Mode::DryRun, 1, Some(State::Held), "DryRun", 1),
        (Mode::Approve, 1, Some(State::Held), "AwaitingApproval", 1),
        (Mode::Auto, 1, Some(State::Mitigated), "AwaitingOwner", 2),
    ] {
        let mut world = World::new(&good());
        world.policies[0].spec.mode = Some(mode);
        world.settle();
        world.assign(&with(|document| {
            document["title"] = json!(7);
            document["new"] = json!("good");
        }));
        world.later(MINUTE).settle();
        assert_eq!((world.incidents.len(), world.published), (incidents, published), "{mode}");
        assert_eq!(world.status.reason, "Invalid", "{mode}");
        let last = world.incidents.last().map(|(_, _, status)| status);
        let shows = matches!(mode, Mode::DryRun | Mode::Approve);
        assert_eq!(last.and_then(|status| status.state), state, "{mode}");
        assert_eq!(last.map_or("", |status| &status.waiting), waiting, "{mode}");
        assert_eq!(last.is_some_and(|status| !status.plan.is_empty()), shows);
    }
}

#[test]
fn an_incident_that_is_over_is_kept_for_as_long_as_its_policy_says() {
    let soon = "retry: {minHealthyPeriod: 0s}\nincidents: {ttl: 1h}";
    let mut world = world(&json!({}), soon);
    hero(&mut world, Some(404));
    hero(&mut world, Some(200));
    assert_eq!(world.state(), State::Resolved);
    world.run_for(Span::mins(58));
    assert_eq!(world.incidents.len(), 1);
    world.run_for(Span::mins(4));
    assert_eq!(world.incidents.len(), 0);
    hero(&mut world, Some(404));
    assert_eq!(world.incidents[0].1.ordinal, 2, "a number is not given again");
}
