//! Requests by annotation: each done once, whatever crashes, and never past what a person has shut.

use serde_json::json;

use super::{World, broken, good, with};
use crate::{
    api::{HEAL, HEAL_BY, RECONCILE, RESET, contract::HandledRequests, incident::State},
    domain::Span,
};

/// A world with an Incident that nothing can heal, and a policy that also says `more`.
fn spent(more: &str) -> World {
    let mut world = World::new(&good());
    world.contract["fallbackAssets"] = json!([]);
    let policy = format!(
        "default: true\nsteps: [{{name: asset, replaceAsset: {{}}}}]\n\
         retry: {{maxAttempts: 2, backoff: {{initial: 10s, max: 10s}}}}\n{more}"
    );
    world.policies[0].spec = serde_saphyr::from_str(&policy).unwrap();
    world.settle();
    world.asset("hero", Some(404));
    world.later(Span::mins(1)).settle().run_for(Span::mins(1));
    assert_eq!((world.state(), world.tries()), (State::Escalated, 2));
    world
}

fn ask(world: &mut World, annotation: &str, token: &str) {
    world.annotations.insert(annotation.to_owned(), token.to_owned());
    world.later(Span::secs(1)).settle();
}

fn echoed(world: &World) -> HandledRequests {
    world.status.handled_requests.clone().unwrap_or_default()
}

#[test]
fn a_request_to_heal_is_one_attempt_although_all_are_spent() {
    let mut world = spent("");
    ask(&mut world, HEAL, "monday");
    assert_eq!((world.tries(), echoed(&world).heal.as_deref()), (3, Some("monday")));
    assert_eq!(world.incidents[0].2.attempts[2].requests, ["monday"]);
    let writes = world.writes;
    world.later(Span::secs(1)).settle();
    assert_eq!((world.tries(), world.writes), (3, writes), "once");
    ask(&mut world, HEAL, "tuesday");
    assert_eq!((world.tries(), world.state()), (4, State::Escalated));
}

#[test]
fn an_attempt_names_who_asked_for_it_and_not_who_asked_before() {
    let mut world = spent("");
    world.annotations.insert(HEAL_BY.to_owned(), "monday ann".to_owned());
    ask(&mut world, HEAL, "monday");
    ask(&mut world, HEAL, "tuesday");
    let asked =
        world.incidents[0].2.attempts[2..].iter().map(|attempt| attempt.asked_by.as_deref());
    assert_eq!(asked.collect::<Vec<_>>(), [Some("ann"), None]);
}

#[test]
fn a_crash_at_any_write_makes_no_second_attempt() {
    for writes in 1..3 {
        let mut world = spent("");
        world.dies_after = Some(world.writes + writes);
        ask(&mut world, HEAL, "monday");
        assert_eq!(world.dies_after, None, "it was killed");
        assert_eq!((world.tries(), echoed(&world).heal.as_deref()), (3, Some("monday")));
    }
}

#[test]
fn a_request_to_heal_goes_past_the_cooldown() {
    let mut world = World::new(&good());
    let policy = "default: true\nsteps: [{name: restore, restoreRevision: {}}]\ncooldown: 1h\n\
                  retry: {minHealthyPeriod: 0s}";
    world.policies[0].spec = serde_saphyr::from_str(policy).unwrap();
    world.settle();
    let edit = |n: u32| {
        with(|document| {
            document["title"] = json!(n);
            document["new"] = json!(n);
        })
    };
    for document in [edit(1), good(), edit(2)] {
        world.assign(&document);
        world.later(Span::secs(10)).settle();
    }
    assert_eq!(world.incidents[1].2.waiting, "Cooldown");
    ask(&mut world, HEAL, "now");
    assert_eq!((world.state(), world.tries()), (State::Mitigated, 1));
    assert_eq!(world.served_value()["new"], 2);
    // The next Incident cools down again.
    for document in [good(), edit(3)] {
        world.assign(&document);
        world.later(Span::secs(10)).settle();
    }
    assert_eq!(world.incidents[2].2.waiting, "Cooldown");
}

#[test]
fn a_request_to_heal_waits_for_what_a_person_has_shut() {
    for (more, waiting) in [
        ("suspend: true", "Suspended"),
        ("mode: Observe", "ObserveOnly"),
        ("windows: [{kind: Deny, schedule: '0 0 * * *', duration: 20h}]", "OutsideWindow"),
    ] {
        let mut world = spent("");
        let open = world.policies[0].spec.clone();
        let shut: serde_json::Value = serde_saphyr::from_str(more).unwrap();
        let mut spec = serde_json::to_value(&open).unwrap();
        spec.as_object_mut().unwrap().extend(shut.as_object().unwrap().clone());
        world.policies[0].spec = serde_json::from_value(spec).unwrap();
        ask(&mut world, HEAL, "monday");
        assert_eq!((world.tries(), echoed(&world).heal), (2, None), "{more}");
        assert_eq!(world.incidents[0].2.waiting, waiting);
        world.policies[0].spec = open;
        world.later(Span::secs(1)).settle();
        assert_eq!((world.tries(), echoed(&world).heal.as_deref()), (3, Some("monday")), "{more}");
    }
    let mut world = spent("");
    world.contract["suspend"] = json!(true);
    ask(&mut world, HEAL, "monday");
    ask(&mut world, RESET, "monday");
    assert_eq!((world.tries(), echoed(&world)), (2, HandledRequests::default()));
}

#[test]
fn a_request_to_heal_publishes_nothing_that_fails() {
    let mut world = spent("");
    let (served, published) = (world.served_value(), world.published);
    ask(&mut world, HEAL, "monday");
    assert_eq!((world.served_value(), world.published), (served, published));
}

#[test]
fn what_is_asked_of_a_healthy_contract_is_echoed_at_once() {
    let mut world = World::new(&good());
    world.settle();
    for name in [HEAL, RESET, RECONCILE] {
        world.annotations.insert(name.to_owned(), "x".repeat(80));
    }
    let writes = world.writes;
    world.settle();
    let expected = Some(format!("{}…", "x".repeat(60)));
    let echo = echoed(&world);
    assert_eq!(
        (echo.heal, echo.reset, echo.reconcile),
        (expected.clone(), expected.clone(), expected)
    );
    world.settle();
    assert_eq!(world.writes, writes + 1);
    world.assign(&broken());
    world.later(Span::secs(1)).settle();
    assert_eq!(world.incidents[0].2.attempts.iter().map(|a| a.requests.len()).sum::<usize>(), 0);
}

#[test]
fn a_reset_begins_a_new_series_and_calls_nobody_for_the_old_one() {
    let mut world = spent("escalation: {unmitigatedAfter: 3m}");
    world.run_for(Span::mins(5));
    ask(&mut world, RESET, "monday");
    assert_eq!((world.state(), world.tries()), (State::Remediating, 3), "counters only grow");
    assert_eq!(echoed(&world).reset.as_deref(), Some("monday"));
    world.run_for(Span::secs(30));
    assert_eq!((world.state(), world.tries()), (State::Escalated, 4), "two more");
}

#[test]
fn a_crash_in_a_reset_leaves_one_new_series() {
    for writes in 1..4 {
        let mut world = spent("");
        world.dies_after = Some(world.writes + writes);
        ask(&mut world, RESET, "monday");
        assert_eq!(world.incidents[0].2.series.as_ref().unwrap().after, 2);
        assert_eq!((world.tries(), echoed(&world).reset.as_deref()), (3, Some("monday")));
    }
}

#[test]
fn a_class_and_a_policy_ask_for_all_their_contracts() {
    let mut world = spent("");
    world.class.insert(HEAL.to_owned(), "monday".to_owned());
    world.later(Span::secs(1)).settle();
    assert_eq!(world.incidents[0].2.attempts[2].requests, ["WidgetClass/shared monday"]);
    world.policies[0].annotations.insert(HEAL.to_owned(), "monday".to_owned());
    world.later(Span::secs(1)).settle();
    assert_eq!(world.incidents[0].2.attempts[3].requests, ["RemediationPolicy/heal monday"]);
    let shared = echoed(&world).shared;
    let echo: Vec<_> = shared.iter().map(|s| (s.from.as_str(), s.heal.as_deref())).collect();
    let expected =
        [("WidgetClass/shared", Some("monday")), ("RemediationPolicy/heal", Some("monday"))];
    assert_eq!(echo, expected);
    world.later(Span::secs(1)).settle();
    assert_eq!(world.tries(), 4);
}

#[test]
fn what_a_policy_was_asked_before_an_incident_is_not_asked_of_it() {
    let mut world = World::new(&good());
    world.policies[0].annotations.insert(HEAL.to_owned(), "last week".to_owned());
    world.policies[0].spec.cooldown = Some(Span::mins(60));
    world.policies[0].spec.retry =
        serde_json::from_value(json!({"minHealthyPeriod": "0s"})).unwrap();
    world.settle();
    for document in [broken(), good(), with(|document| document["title"] = json!(8))] {
        world.assign(&document);
        world.later(Span::secs(10)).settle();
    }
    assert_eq!(world.incidents.last().unwrap().2.waiting, "Cooldown");
    assert_eq!(echoed(&world).shared[0].heal.as_deref(), Some("last week"));
}

#[test]
fn what_a_policy_was_asked_before_an_incident_forces_nothing_after_a_crash() {
    for dies_after in 1..8 {
        let mut world = World::new(&good());
        world.contract["fallbackAssets"] = json!([]);
        let policy = "default: true\nsteps: [{name: asset, replaceAsset: {}}]\n\
                      retry: {maxAttempts: 2, backoff: {initial: 10s, max: 10s}}";
        world.policies[0].spec = serde_saphyr::from_str(policy).unwrap();
        world.policies[0].annotations.insert(HEAL.to_owned(), "last week".to_owned());
        world.settle();
        world.asset("hero", Some(404));
        world.dies_after = Some(world.writes + dies_after);
        world.later(Span::mins(1)).settle();
        let asked: usize = world.incidents[0].2.attempts.iter().map(|a| a.requests.len()).sum();
        assert_eq!((asked, world.tries()), (0, 1), "killed after write {dies_after}");
    }
}

#[test]
fn a_request_to_heal_outlives_an_incident_that_gives_way_to_another() {
    let mut world = spent("");
    world.policies[0].spec.suspend = true;
    ask(&mut world, HEAL, "monday");
    assert_eq!(echoed(&world).heal, None);
    // Another fault: the first Incident is superseded, which is not what was asked for.
    world.asset("hero", Some(200));
    world.assign(&broken());
    world.later(Span::secs(1)).settle();
    assert_eq!((world.incidents.len(), echoed(&world).heal), (2, None));
    world.policies[0].spec.suspend = false;
    world.later(Span::secs(1)).settle();
    assert_eq!(echoed(&world).heal.as_deref(), Some("monday"));
    assert_eq!(world.incidents[1].2.attempts[0].requests, ["monday"]);
}
