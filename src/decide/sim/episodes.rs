//! When an Incident opens, and how long it stays.

use serde_json::{Value, json};

use super::{World, broken, good};
use crate::{
    api::{contract::CheckResult, incident::State},
    domain::Span,
};

const MINUTE: Span = Span::mins(1);

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
