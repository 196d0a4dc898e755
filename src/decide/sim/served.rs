//! The ConfigMap that is served from: its marks are lost, or it has no room.

use serde_json::json;

use super::{World, good, with};
use crate::{
    api::incident::{Cause, State},
    decide::ownership::{self, ServedIn},
    domain::Span,
};

#[test]
fn a_key_whose_marks_are_lost_is_put_back_on_record_and_marked() {
    let mut world = World::new(&good());
    world.settle();
    world.replace(&with(|document| document["title"] = json!("Valid, but not ours")));
    world.later(Span::secs(10)).settle();
    assert_eq!((world.served_value(), world.state()), (good(), State::Resolved));
    assert_eq!(world.incidents[0].1.cause, Cause::Overwritten);
    assert!(world.served_in.is_labelled);
}

#[test]
fn marks_alone_are_set_again_and_are_no_incident() {
    let mut world = World::new(&good());
    world.settle();
    let (writes, note) = (world.writes, world.served.as_ref().unwrap().1.clone());
    world.replace(&good());
    world.later(Span::secs(10)).settle();
    assert_eq!((world.writes - writes, world.incidents.len()), (1, 0));
    assert_eq!(world.served.as_ref().unwrap().1, note, "the note is from status");
    assert!(world.served_in.is_labelled);
}

#[test]
fn a_successor_that_asks_for_what_is_served_already_stores_a_revision_of_its_own() {
    let mut world = World::new(&good());
    world.settle();
    let mut successor = World::new(&good());
    successor.served.clone_from(&world.served);
    successor.served_in = ServedIn {
        is_labelled: true,
        owner: ownership::owner("another", "uk"),
        ..ServedIn::default()
    };
    successor.settle();
    assert_eq!(successor.revisions.len(), 1);
    assert_eq!(successor.served_in.owner, ownership::owner("0123", "uk"));
}

/// A world that is served from a ConfigMap with others, so many and with so many bytes.
fn shared(other_keys: usize, other_bytes: usize) -> World {
    let mut world = World::new(&good());
    world.contract["serve"] = json!({"configMapKeyRef": {"name": "cdn", "key": "uk.json"}});
    world.served_in =
        ServedIn { is_labelled: true, other_keys, other_bytes, ..ServedIn::default() };
    world
}

#[test]
fn a_full_config_map_takes_no_new_key_until_there_is_room() {
    let small = good().to_string().len();
    let full = 900 * 1024;
    for (other_keys, other_bytes, fits) in
        [(99, 0, true), (100, 0, false), (1, full - small, true), (1, full - small + 1, false)]
    {
        let mut world = shared(other_keys, other_bytes);
        world.settle();
        assert_eq!(world.served.is_some(), fits, "{other_keys} keys, {other_bytes} bytes");
        if fits {
            continue;
        }
        assert_eq!((world.status.reason.as_str(), world.writes), ("ServeTooLarge", 1));
        let message = &world.status.conditions[0].message;
        assert!(message.contains("spec.serve.configMapKeyRef"), "{message}");
        world.served_in.other_keys = 1;
        world.served_in.other_bytes = 0;
        world.run_for(Span::mins(2));
        assert_eq!((world.served_value(), world.status.reason.as_str()), (good(), "Assigned"));
    }
}

#[test]
fn what_makes_a_full_config_map_no_larger_is_served() {
    let mut world = shared(100, 0);
    world.served_in.other_keys = 99;
    world.settle();
    (world.served_in.other_keys, world.served_in.other_bytes) = (100, 900 * 1024);
    let shorter = with(|document| document["title"] = json!("1"));
    world.assign(&shorter);
    world.later(Span::secs(10)).settle();
    assert_eq!(world.served_value(), shorter);
    let longer = with(|document| document["title"] = json!("too long by one or two"));
    world.assign(&longer);
    world.later(Span::secs(10)).settle();
    assert_eq!((world.served_value(), world.status.reason.as_str()), (shorter, "ServeTooLarge"));
}

#[test]
fn a_repair_that_has_no_room_is_left_to_people() {
    let mut world = shared(1, 0);
    world.settle();
    world.served_in.other_bytes = 900 * 1024;
    world.assign(&with(|document| {
        document["title"] = json!(7);
        document["new"] = json!("good");
    }));
    world.later(Span::secs(10)).settle().run_for(Span::mins(10));
    assert_eq!((world.served_value(), world.published), (good(), 1));
    let (_, _, status) = &world.incidents[0];
    let escalated = status.conditions.iter().find(|c| c.type_ == "Escalated").unwrap();
    assert!(escalated.message.contains("would hold 901 KiB"), "{}", escalated.message);
}
