//! Gates that shut and open again: nothing is lost meanwhile, and what waited is done.

use std::sync::Arc;

use serde_json::{Value, json};

use super::World;
use crate::{
    api::{
        PAUSE,
        condition::{ConditionType, Conditions},
        incident::{About, State},
        refs::LocalRef,
    },
    decide::{
        fleet::{Fleet, Trouble},
        signal::Reason,
    },
    domain::{Heard, Span, Told},
};

/// A world that serves a good document, under a policy that also says `more`.
pub(super) fn world(more: &str) -> World {
    let mut world = World::new(&document(&json!("good")));
    let policy =
        format!("default: true\nsteps: [{{name: restore, restoreRevision: {{}}}}]\n{more}");
    world.policies[0].spec = serde_saphyr::from_str(&policy).unwrap();
    world.settle();
    world
}

/// The good document, or an edit of it with a good and a bad part.
pub(super) fn document(title: &Value) -> Value {
    let mut document = json!({"title": title, "hero": "https://cdn.test/hero.png"});
    if !document["title"].is_string() {
        document["new"] = json!(true);
    }
    document
}

fn waiting(world: &World) -> &str {
    &world.incidents.last().unwrap().2.waiting
}

#[test]
fn a_repair_waits_for_its_window_and_is_made_when_it_opens() {
    // The world begins on a Thursday at midnight.
    let mut world = world("windows: [{kind: Allow, schedule: '0 8 * * 1-5', duration: 10h}]");
    world.assign(&document(&json!(7)));
    world.later(Span::secs(10)).settle();
    assert_eq!((world.state(), waiting(&world)), (State::Held, "OutsideWindow"));
    assert_eq!(world.served_value(), document(&json!("good")));
    let message = world.incidents[0].2.message.clone();
    assert!(message.contains("2026-01-01T08:00:00Z"), "{message}");
    world.later(Span::secs(8 * 3600 - 20)).settle();
    assert_eq!(waiting(&world), "OutsideWindow", "not a minute early");
    // Its timer is set for the moment that the window opens.
    assert_eq!(world.next, Some("2026-01-01T08:00:00Z".parse().unwrap()));
    world.run_for(Span::mins(1));
    assert_eq!(waiting(&world), "AwaitingOwner");
    let served = world.served_value();
    assert_eq!((&served["title"], &served["new"]), (&json!("good"), &json!(true)));
}

#[test]
fn windows_that_never_open_or_cannot_be_used_hold_and_say_what_to_change() {
    for (windows, expected) in [
        ("[{kind: Allow, schedule: '0 0 30 2 *', duration: 1h}]", "never open"),
        (
            "[{kind: Allow, schedule: '0 8 * * *', duration: 1h}, \
              {kind: Deny, schedule: '0 0 * * *', duration: 24h}]",
            "the windows of RemediationPolicy heal never open: change its spec.windows",
        ),
        ("[{kind: Deny, schedule: 'daily', duration: 1h}]", "spec.windows[0].schedule"),
    ] {
        let mut world = world(&format!("windows: {windows}"));
        world.assign(&document(&json!(7)));
        world.later(Span::secs(10)).settle();
        assert_eq!(waiting(&world), "OutsideWindow", "{windows}");
        let message = &world.incidents[0].2.message;
        assert!(message.contains(expected), "{message}");
    }
}

/// `count` other contracts that are in trouble since the world began.
pub(super) fn others_in_trouble(count: usize, matched: usize) -> Fleet {
    let trouble = |nth: usize| Trouble {
        contract: format!("other-{nth}"),
        policies: vec!["heal".to_owned()],
        since: "2026-01-01T00:00:00Z".parse().unwrap(),
        until: None,
        is_repaired: false,
        repairs: Vec::new(),
        acting: Vec::new(),
    };
    Fleet {
        troubles: (0..count).map(|nth| Arc::new(trouble(nth))).collect(),
        matched: [("heal".to_owned(), matched)].into(),
        ..Fleet::default()
    }
}

#[test]
fn a_storm_is_held_and_its_contracts_stay_served_until_some_time_after_it() {
    let mut world = world("");
    world.fleet = others_in_trouble(3, 6);
    world.assign(&document(&json!(7)));
    world.later(Span::secs(10)).settle();
    assert_eq!((world.state(), waiting(&world)), (State::Held, "Storm"));
    let message = world.incidents[0].2.message.clone();
    assert!(message.contains("4 of the 6") && message.contains("spec.storm"), "{message}");
    assert_eq!(world.served_value(), document(&json!("good")));

    let over = |trouble: &Arc<Trouble>| {
        Arc::new(Trouble { until: Some(world.now), ..(**trouble).clone() })
    };
    world.fleet.troubles = world.fleet.troubles.iter().map(over).collect();
    world.later(Span::secs(60)).settle();
    assert_eq!(waiting(&world), "StormCooldown");
    world.run_for(Span::mins(5));
    assert_eq!(waiting(&world), "AwaitingOwner");
    assert_eq!(world.served_value()["new"], json!(true));
}

#[test]
fn who_had_given_up_before_a_storm_is_silent_in_it_and_calls_again_after_it() {
    let mut world = world("escalation: {repeatEvery: 30m}\nretry: {maxAttempts: 1}");
    world.policies[0].spec.steps =
        serde_saphyr::from_str("[{name: set, patch: {ops: [{op: remove, path: /nothing}]}}]")
            .unwrap();
    world.assign(&document(&json!(7)));
    world.later(Span::secs(10)).settle();
    assert_eq!((world.state(), waiting(&world)), (State::Escalated, "Person"));
    assert_eq!(world.times(Reason::Escalated), 1);
    world.fleet = others_in_trouble(3, 6);
    world.run_for(Span::mins(60));
    assert_eq!((waiting(&world), world.times(Reason::Escalated)), ("Storm", 1));
    world.fleet = Fleet::default();
    world.run_for(Span::mins(60));
    assert_eq!(waiting(&world), "Person");
    assert!(world.times(Reason::Escalated) > 1, "the storm is over, and nobody has answered");
}

#[test]
fn where_nothing_is_written_about_a_storm_each_contract_calls_for_itself() {
    for (each_calls, expected) in [(false, 0), (true, 1)] {
        let mut world = world("escalation: {unresolvedAfter: 10m}");
        world.each_calls = each_calls;
        world.fleet = others_in_trouble(3, 6);
        world.assign(&document(&json!(7)));
        world.run_for(Span::mins(30));
        assert_eq!(waiting(&world), "Storm");
        assert_eq!(world.times(Reason::Escalated), expected);
    }
}

#[test]
fn a_policy_that_is_suspended_in_a_storm_makes_no_contract_call_for_itself() {
    for (shared, expected) in [(vec!["heal"], 0), (vec!["another"], 1), (vec![], 1)] {
        let mut world = world("suspend: true\nescalation: {unresolvedAfter: 10m}");
        let about = |name: &&str| About::Policy(LocalRef { name: (*name).to_owned() });
        world.shared = shared.iter().map(about).collect();
        world.assign(&document(&json!(7)));
        world.run_for(Span::mins(30));
        assert_eq!((waiting(&world), world.times(Reason::Escalated)), ("Suspended", expected));
    }
}

#[test]
fn who_goes_on_by_an_accepted_schema_calls_although_others_are_held_by_it() {
    let about = About::Class(LocalRef { name: "storefinder".to_owned() });
    for (windows, expected) in [("suspend: true", 0), ("storm: {maxUnhealthy: 100%}", 1)] {
        let mut world = world(&format!("{windows}\nescalation: {{unresolvedAfter: 10m}}"));
        world.assign(&document(&json!(7)));
        world.later(Span::secs(10)).settle();
        world.incidents[0].1.blames = Some(about.clone());
        world.shared = vec![about.clone()];
        world.run_for(Span::mins(30));
        assert_eq!(world.times(Reason::Escalated), expected, "{windows}");
    }
}

#[test]
fn without_a_policy_there_is_no_limit_to_wait_for() {
    let mut world = World::new(&document(&json!("good")));
    world.policies.clear();
    world.settle();
    world.fleet = others_in_trouble(30, 30);
    world.asset("hero", Some(404));
    world.later(Span::secs(60)).settle();
    assert_eq!(world.served_value()["hero"], json!("https://cdn.test/fallback.png"));
}

/// Two hosts were asked a moment ago, and neither could be reached.
pub(super) fn nothing_reached() -> Vec<Heard> {
    let heard = |host: &str| Heard { host: host.to_owned(), answered: false, ago: Span::secs(5) };
    vec![heard("cdn.test"), heard("cms.test")]
}

#[test]
fn while_nothing_outside_can_be_reached_nothing_that_needs_it_is_done() {
    let mut world = World::new(&document(&json!("good")));
    let policy = "default: true\nsteps: [{name: asset, replaceAsset: {}}]";
    world.policies[0].spec = serde_saphyr::from_str(policy).unwrap();
    world.settle();
    world.heard = nothing_reached();
    world.asset("hero", Some(404));
    world.later(Span::secs(60)).settle();
    assert_eq!((world.state(), waiting(&world)), (State::Held, "EgressBroken"));
    assert_eq!((world.published, world.tries()), (1, 0));
    let message = &world.incidents[0].2.message;
    assert!(message.contains("none of the 2 hosts") && message.contains("DNS"), "{message}");
    let writes = world.writes;
    world.run_for(Span::mins(2));
    assert_eq!(world.writes, writes, "not quiet");
    world.heard[1].answered = true;
    world.run_for(Span::mins(1));
    assert_eq!(world.served_value()["hero"], json!("https://cdn.test/fallback.png"));
}

#[test]
fn a_plan_goes_on_without_the_steps_that_need_what_nobody_can_reach() {
    let mut world = World::new(&document(&json!("good")));
    let policy = "default: true\nsteps: [{name: asset, replaceAsset: {}}, \
                  {name: restore, restoreRevision: {}}]";
    world.policies[0].spec = serde_saphyr::from_str(policy).unwrap();
    world.settle();
    world.heard = nothing_reached();
    world.assign(&document(&json!(7)));
    world.later(Span::secs(10)).settle();
    assert_eq!((world.state(), world.published), (State::Mitigated, 2));
    assert_eq!(world.served_value()["new"], json!(true));
}

#[test]
fn while_nothing_outside_can_be_reached_no_workload_is_acted_on_for_a_source_that_nobody_asked() {
    let steps = "[{name: refetch, refetchSource: {}}, {name: restart, restartWorkload: {}}]";
    let mut world = super::effects::down(steps);
    world.contract["source"] = json!({
        "url": "https://cms.test/uk.json",
        "workloadRef": {"kind": "Deployment", "name": "catalog"},
    });
    world.workload.as_mut().unwrap().wanted = 1;
    world.roll_out();
    world.source = None;
    world.heard = nothing_reached();
    world.settle();
    world.run_for(Span::mins(10));
    assert_eq!((world.state(), waiting(&world)), (State::Held, "EgressBroken"));
    assert_eq!((world.tries(), &world.incidents[0].2.effects), (0, &vec![]));
    // One is reached, and the source still is not: that is what it says.
    world.heard[0].answered = true;
    world.run_for(Span::mins(1));
    assert_eq!(world.incidents[0].2.effects.len(), 1);
}

/// A source outside that nobody can reach, behind a `wait`, and `more` steps behind it.
fn waits_for_a_source_outside(more: &str) -> World {
    let steps = format!(
        "[{{name: pause, wait: {{for: 30s}}}}, {{name: refetch, refetchSource: {{}}}}{more}]"
    );
    let mut world = super::effects::down(&steps);
    world.contract["source"] = json!({
        "url": "https://cms.test/uk.json",
        "workloadRef": {"kind": "Deployment", "name": "catalog"},
    });
    world.source = None;
    world
}

#[test]
fn a_wait_that_is_over_is_not_waited_for_again_while_nothing_outside_can_be_reached() {
    let mut world = waits_for_a_source_outside(", {name: restart, restartWorkload: {}}");
    world.heard = nothing_reached();
    world.settle();
    assert_eq!(waiting(&world), "Wait");
    world.run_for(Span::secs(40));
    assert_eq!((world.state(), waiting(&world)), (State::Held, "EgressBroken"));
    let writes = world.writes;
    world.run_for(Span::mins(5));
    assert_eq!((world.state(), waiting(&world), world.tries()), (State::Held, "EgressBroken", 0));
    assert_eq!(world.writes, writes, "not quiet");
}

#[test]
fn the_next_attempt_waits_although_a_gate_was_shut_before_it() {
    let mut world = waits_for_a_source_outside("");
    world.settle().run_for(Span::secs(31));
    assert_eq!((waiting(&world), world.tries()), ("Backoff", 1));
    world.heard = nothing_reached();
    world.settle().run_for(Span::secs(40));
    assert_eq!((waiting(&world), world.tries()), ("EgressBroken", 1));
    world.heard[0].answered = true;
    world.run_for(Span::secs(31));
    assert_eq!((waiting(&world), world.tries()), ("Wait", 1));
}

#[test]
fn hosts_that_are_gone_do_not_hold_a_step_that_needs_another_until_that_was_asked_in_vain_too() {
    let mut world = World::new(&document(&json!("good")));
    let policy = "default: true\nretry: {maxAttempts: 1}\n\
                  steps: [{name: tell, webhook: {url: 'https://hooks.test/x'}}]";
    world.policies[0].spec = serde_saphyr::from_str(policy).unwrap();
    world.answers = vec![Told::Answered { status: 200, retry_after: None }];
    world.settle();
    world.heard = nothing_reached();
    let alone = Heard { host: "hooks.test".to_owned(), answered: false, ago: Span::secs(100) };
    world.heard.push(alone);
    world.assign(&document(&json!(7)));
    world.later(Span::secs(10)).settle();
    assert_eq!((waiting(&world), world.calls.len()), ("EgressBroken", 0));
    // What was heard of it is too old by now; the others are asked again and again.
    world.heard[2].ago = Span::secs(130);
    world.run_for(Span::mins(1));
    assert_eq!(world.calls.len(), 1);
}

#[test]
fn a_pause_holds_repairs_with_who_and_why_until_its_time_and_never_what_is_published() {
    const UNTIL: &str = "2026-01-01T01:00:00Z/ann: the CDN moves";
    for on in ["contract uk", "RemediationPolicy heal"] {
        let mut world = world("");
        let annotations = if on == "contract uk" {
            &mut world.annotations
        } else {
            &mut world.policies[0].annotations
        };
        annotations.insert(PAUSE.to_owned(), UNTIL.to_owned());
        world.assign(&document(&json!("also good")));
        world.later(Span::secs(10)).settle();
        assert_eq!(world.served_value()["title"], "also good", "{on}");
        world.assign(&document(&json!(7)));
        world.later(Span::secs(10)).settle();
        let status = &world.incidents[0].2;
        assert_eq!((world.state(), status.waiting.as_str()), (State::Held, "Paused"), "{on}");
        let says = format!("{on} is paused until 2026-01-01T01:00:00Z by ann: the CDN moves");
        assert!(status.message.starts_with(&says), "{}", status.message);
        let (writes, published) = (world.writes, world.published);
        world.later(Span::secs(60)).settle();
        assert_eq!((world.writes, world.published), (writes, published), "{on}");
        world.run_for(Span::mins(61));
        assert_eq!((world.state(), world.tries()), (State::Mitigated, 1), "{on}");
        let conditions = Conditions::of(Some(&world.status.conditions));
        assert!(conditions.get(ConditionType::Paused).is_none(), "{on}");
    }
}
