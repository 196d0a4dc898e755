//! Gates that shut and open again: nothing is lost meanwhile, and what waited is done.

use serde_json::{Value, json};

use super::World;
use crate::{api::incident::State, domain::Span};

/// A world that serves a good document, under a policy that also says `more`.
fn world(more: &str) -> World {
    let mut world = World::new(&document(&json!("good")));
    let policy =
        format!("default: true\nsteps: [{{name: restore, restoreRevision: {{}}}}]\n{more}");
    world.policies[0].spec = serde_saphyr::from_str(&policy).unwrap();
    world.settle();
    world
}

/// The good document, or an edit of it with a good and a bad part.
fn document(title: &Value) -> Value {
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
