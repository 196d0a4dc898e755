//! What a person pins is served until its time is over, whatever the rules say, and then what was
//! served before.

use serde_json::{Value, json};

use super::{World, broken, good, with};
use crate::{
    api::{
        PIN,
        condition::{ConditionType, Conditions},
        incident::{Never, State},
    },
    domain::{Digest, Span},
};

fn two() -> Value {
    with(|document| document["title"] = json!("two"))
}

/// A world that has served one document after the other.
fn world() -> World {
    let mut world = World::new(&good());
    world.settle();
    world.assign(&two());
    world.later(Span::secs(10)).settle();
    world
}

fn pin(world: &mut World, document: &Value, span: Span) {
    let until = span.after(world.now);
    let digest = Digest::of_value(document);
    world.annotations.insert(PIN.to_owned(), format!("{}/{until}", digest.short()));
    world.settle();
}

/// Status, reason and message of a condition.
fn says(world: &World, type_: ConditionType) -> (String, String, String) {
    let conditions = Conditions::of(Some(&world.status.conditions));
    let is = conditions.get(type_).unwrap();
    (is.status.clone(), is.reason.clone(), is.message.clone())
}

#[test]
fn a_stored_document_that_is_pinned_is_served_until_its_time_is_over() {
    let mut world = world();
    pin(&mut world, &good(), Span::mins(30));
    assert_eq!(world.served_value(), good());
    let (serving, reason, message) = says(&world, ConditionType::Serving);
    assert_eq!((serving.as_str(), reason.as_str()), ("True", "Pinned"));
    assert!(message.contains("until 2026-01-01T00:30:10Z by annotation kintsugi.dev/pin"));
    assert_eq!((world.status.reason.as_str(), world.incidents.len()), ("Pinned", 0));
    let writes = world.writes;
    world.run_for(Span::mins(29));
    assert_eq!((world.served_value(), world.writes), (good(), writes));
    // No event, but a timer.
    world.run_for(Span::mins(2));
    assert_eq!(world.served_value(), two());
    assert_eq!(says(&world, ConditionType::Serving).1, "Assigned");
    let (is, reason, _) = says(&world, ConditionType::Pinned);
    assert_eq!((is.as_str(), reason.as_str()), ("False", "PinOver"));
}

#[test]
fn a_pin_that_is_taken_away_is_over_at_once_and_leaves_no_condition() {
    let mut world = world();
    pin(&mut world, &good(), Span::mins(30));
    world.annotations.clear();
    world.settle();
    assert_eq!((world.served_value(), world.status.reason.as_str()), (two(), "Assigned"));
    assert!(!world.status.conditions.iter().any(|condition| condition.type_ == "Pinned"));
}

#[test]
fn a_document_that_fails_is_served_while_it_is_pinned_and_the_last_good_one_after_it() {
    let mut world = world();
    world.assign(&broken());
    world.settle();
    assert_eq!(world.served_value(), two());
    pin(&mut world, &broken(), Span::mins(30));
    assert_eq!(world.served_value(), broken());
    assert_eq!(says(&world, ConditionType::Serving).1, "Pinned");
    assert_eq!(
        world.status.document.as_ref().unwrap().last_known_good.as_ref().unwrap().revision,
        2
    );
    world.run_for(Span::mins(31));
    assert_eq!(world.served_value(), two());
}

#[test]
fn an_old_document_that_fails_gives_way_to_the_last_good_one() {
    let mut world = world();
    world.contract["rules"] = json!([{"name": "new", "metadata": {"expected": {"/title": "two"}}}]);
    world.settle();
    pin(&mut world, &good(), Span::mins(30));
    assert_eq!(world.served_value(), good());
    world.assign(&broken());
    world.settle().run_for(Span::mins(31));
    assert_eq!(world.served_value(), two());
}

#[test]
fn nothing_is_repaired_while_a_document_is_pinned() {
    let mut world = world();
    let edit = with(|document| {
        document["title"] = json!(7);
        document["new"] = json!("good");
    });
    pin(&mut world, &good(), Span::mins(30));
    world.assign(&edit);
    world.settle();
    assert_eq!(world.incidents[0].2.waiting, "Pinned");
    assert_eq!((world.served_value(), world.tries()), (good(), 0));
    world.run_for(Span::mins(31));
    assert_eq!(
        (world.served_value()["new"].clone(), world.state()),
        (json!("good"), State::Mitigated)
    );
}

#[test]
fn a_pinned_document_that_fails_mitigates_nothing() {
    let mut world = world();
    world.contract["rules"] = json!([{"name": "new", "metadata": {"expected": {"/title": "two"}}}]);
    world.settle();
    pin(&mut world, &good(), Span::mins(30));
    world.assign(&broken());
    world.settle();
    assert!(world.incidents[0].2.mitigated_at.is_none());
    world.annotations.clear();
    world.settle();
    assert!(world.incidents[0].2.mitigated_at.is_some());
}

#[test]
fn what_is_pinned_is_put_back_when_somebody_overwrites_it() {
    let mut world = world();
    pin(&mut world, &good(), Span::mins(30));
    world.vandal(&two());
    world.later(Span::secs(10)).settle();
    assert_eq!((world.served_value(), world.state()), (good(), State::Resolved));
}

#[test]
fn a_pin_that_cannot_be_kept_says_why_and_changes_nothing() {
    for (text, reason, part) in [
        ("0123456789ab/2027-01-01T00:00:00Z", "PinNotStored", "status.document.revisions"),
        ("0123456789ab", "PinInvalid", "annotation kintsugi.dev/pin: it has no slash; write"),
        ("0123/2027-01-01T00:00:00Z", "PinInvalid", "12 to 64 hex digits"),
        ("0123456789ab/later", "PinInvalid", "RFC 3339"),
    ] {
        let mut world = world();
        world.annotations.insert(PIN.to_owned(), text.to_owned());
        let published = world.published;
        world.settle();
        let (is, why, message) = says(&world, ConditionType::Pinned);
        assert_eq!((is.as_str(), why.as_str()), ("False", reason), "{text}");
        assert!(message.contains(part), "{message}");
        assert_eq!((world.published, world.status.reason.as_str()), (published, "Assigned"));
    }
    // Stored by its record, but gone.
    let mut world = world();
    world.revisions.remove(&1);
    pin(&mut world, &good(), Span::mins(30));
    assert_eq!(says(&world, ConditionType::Pinned).1, "PinNotStored");
    assert_eq!(world.served_value(), two());
}

#[test]
fn a_suspended_contract_serves_no_pin() {
    let mut world = world();
    world.contract["suspend"] = json!(true);
    pin(&mut world, &good(), Span::mins(30));
    assert_eq!(
        (world.served_value(), says(&world, ConditionType::Pinned).1),
        (two(), "PinPending".to_owned())
    );
}

#[test]
fn what_a_person_took_back_does_not_come_after_a_pin() {
    let mut world = world();
    world.assign(&with(|document| {
        document["title"] = json!(7);
        document["new"] = json!(true);
    }));
    world.later(Span::secs(10)).settle();
    let repaired = world.served_value();
    assert_eq!((repaired["new"].clone(), world.state()), (json!(true), State::Mitigated));
    pin(&mut world, &good(), Span::mins(30));
    world.undo(Never::Candidate);
    world.settle().run_for(Span::mins(40));
    assert_eq!(world.served_value(), two());
    assert_eq!(says(&world, ConditionType::Serving).1, "LastKnownGood");
}
