//! What is served is not there before the edge shows it.

use super::*;

fn probed() -> World {
    let mut world = World::new(&good());
    world.contract["serve"] =
        json!({"probe": {"url": "https://edge.test/uk.json", "within": "2m"}});
    world.policies[0].spec = serde_saphyr::from_str(
        "default: true\nsteps: [{name: restore, restoreRevision: {}}]\nretry: {minHealthyPeriod: 1s}",
    )
    .unwrap();
    world.settle();
    world
}

fn says(world: &World, type_: &str) -> (String, String) {
    let condition = world.status.conditions.iter().find(|c| c.type_ == type_);
    condition.map_or_else(Default::default, |c| (c.status.clone(), c.reason.clone()))
}

fn delivered(world: &World) -> (String, String) {
    says(world, "Delivered")
}

fn pair(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

fn half_good() -> Value {
    with(|document| {
        document["title"] = json!(7);
        document["new"] = json!("good");
    })
}

#[test]
fn what_is_published_is_delivered_once_the_edge_shows_it_and_then_nothing_is_asked() {
    let mut world = probed();
    assert_eq!(delivered(&world), pair("Unknown", "AwaitingEdge"));
    let writes = world.writes;
    world.run_for(Span::secs(60));
    assert_eq!((world.writes, world.times(Reason::StaleAtEdge)), (writes, 0));
    world.edge = Some(good());
    world.run_for(Span::secs(15));
    assert_eq!(delivered(&world), pair("True", "SeenAtEdge"));
    assert_eq!(world.writes, writes + 1);
    let asked = world.asked_edge;
    world.later(Span::secs(60)).settle();
    assert_eq!((world.writes, world.asked_edge), (writes + 1, asked));
    // Another document is another delivery.
    world.assign(&with(|document| document["title"] = json!("two")));
    world.settle();
    assert_eq!(delivered(&world), pair("Unknown", "AwaitingEdge"));
}

#[test]
fn an_edge_that_stays_stale_is_said_once_and_is_over_when_it_catches_up() {
    let mut world = probed();
    world.edge = Some(json!({"old": true}));
    world.run_for(Span::mins(20));
    assert_eq!(delivered(&world), pair("False", "StaleAtEdge"));
    assert_eq!((world.times(Reason::StaleAtEdge), world.incidents.len()), (1, 0));
    let writes = world.writes;
    world.run_for(Span::mins(20));
    assert_eq!(world.writes, writes);
    world.edge = Some(good());
    world.run_for(Span::mins(2));
    assert_eq!(delivered(&world), pair("True", "SeenAtEdge"));
}

#[test]
fn a_repair_does_not_mitigate_before_it_is_seen_at_the_edge_and_calls_a_person_when_it_is_not() {
    let mut world = probed();
    world.edge = Some(good());
    world.run_for(Span::secs(15));
    world.assign(&half_good());
    world.settle();
    assert_eq!(world.served_value()["new"], "good");
    assert_eq!((world.state(), world.tries()), (State::Verifying, 1));
    assert_eq!(world.incidents[0].2.waiting, "Edge");
    world.run_for(Span::mins(3));
    assert_eq!((world.state(), world.tries()), (State::Escalated, 1));
    let escalated = |world: &World| {
        let conditions = &world.incidents[0].2.conditions;
        conditions
            .iter()
            .find(|c| c.type_ == "Escalated")
            .map(|c| (c.status.clone(), c.reason.clone()))
    };
    assert_eq!(escalated(&world), Some(pair("True", "StaleAtEdge")));
    assert_eq!((world.times(Reason::Mitigated), world.times(Reason::Escalated)), (0, 1));
    world.edge = Some(world.served_value());
    world.run_for(Span::mins(2));
    assert_eq!((world.state(), world.tries()), (State::Mitigated, 1));
    assert_eq!(escalated(&world), Some(pair("False", "Withdrawn")));
}

#[test]
fn a_good_document_that_the_edge_shows_already_mitigates_at_once() {
    let mut world = probed();
    world.edge = Some(good());
    world.run_for(Span::secs(15));
    world.assign(&broken());
    world.settle();
    assert_eq!((world.served_value(), world.state()), (good(), State::Mitigated));
}

#[test]
fn an_incident_is_not_resolved_before_its_owners_document_is_seen_at_the_edge() {
    let mut world = probed();
    world.edge = Some(good());
    world.run_for(Span::secs(15));
    world.assign(&half_good());
    world.settle();
    world.edge = Some(world.served_value());
    world.run_for(Span::secs(15));
    assert_eq!(world.state(), State::Mitigated);
    let mended = with(|document| document["title"] = json!("mended"));
    world.assign(&mended);
    world.settle().run_for(Span::mins(3));
    assert_eq!((world.served_value(), world.state()), (mended.clone(), State::Escalated));
    let calls = world.times(Reason::Escalated);
    world.run_for(Span::mins(10));
    assert_eq!((calls, world.times(Reason::Escalated)), (1, 1));
    world.edge = Some(mended);
    world.run_for(Span::mins(2));
    assert_eq!((world.state(), world.incidents.len()), (State::Resolved, 1));
}
