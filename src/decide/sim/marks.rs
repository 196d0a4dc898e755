//! What becomes of a served key whose marks somebody took away.

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
