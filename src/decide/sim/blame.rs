//! A schema that good documents fail: nothing is repaired by it before a person accepts it.

use serde_json::{Value, json};

use super::{World, good, with};
use crate::{
    api::{
        ACCEPT_SCHEMA,
        incident::{Cause, State},
    },
    decide::{blame, episode, gates, view::Need, write_back::Place},
    domain::Span,
};

/// A world whose policy can repair what the schema of [`tighten`] asks for.
fn world() -> World {
    let mut world = World::new(&good());
    let policy = "default: true\nsteps: [{name: restore, restoreRevision: {}}, {name: repair, repairDocument: {}}]";
    world.policies[0].spec = serde_saphyr::from_str(policy).unwrap();
    world.settle();
    world
}

fn tighten(world: &mut World) {
    let schema = &mut world.contract["schema"]["inline"];
    schema["required"] = json!(["title", "locale"]);
    schema["properties"]["locale"] = json!({"type": "string", "default": "en"});
}

/// A broken edit with a good part.
fn edited() -> Value {
    with(|document| {
        document["title"] = json!(7);
        document["new"] = json!("good");
    })
}

fn settle(world: &mut World) -> (Cause, State, &str) {
    world.later(Span::secs(10)).settle();
    let (_, spec, status) = world.incidents.last().unwrap();
    (spec.cause, status.state.unwrap_or_default(), &status.waiting)
}

fn accept(world: &mut World, version: &str) {
    world.annotations.insert(ACCEPT_SCHEMA.to_owned(), version.to_owned());
}

#[test]
fn a_schema_that_is_tightened_under_a_good_document_repairs_nothing() {
    let mut world = world();
    tighten(&mut world);
    let published = world.published;
    assert_eq!(settle(&mut world), (Cause::SchemaChanged, State::Held, "SchemaHeld"));
    world.run_for(Span::mins(4));
    assert_eq!((world.published, world.served_value(), world.tries()), (published, good(), 0));
    let digest = world.status.effective.as_ref().unwrap().digest.short().to_owned();
    let message = &world.incidents[0].2.message;
    let command = format!(
        "kubectl annotate widgetcontract uk --namespace=ns kintsugi.dev/accept-schema={digest}"
    );
    assert!(message.contains(&command), "{message}");
    // Taken back, it is over.
    world.contract["schema"] = World::new(&good()).contract["schema"].clone();
    world.later(Span::secs(10)).settle().run_for(Span::mins(6));
    assert_eq!((world.state(), world.incidents.len()), (State::Resolved, 1));
}

#[test]
fn a_bad_schema_is_found_behind_a_bad_document() {
    let mut world = world();
    tighten(&mut world);
    world.assign(&edited());
    let published = world.published;
    assert_eq!(settle(&mut world), (Cause::SchemaChanged, State::Held, "SchemaHeld"));
    assert_eq!((world.published, world.served_value()), (published, good()));
}

#[test]
fn a_bad_document_under_a_schema_that_good_ones_pass_is_repaired() {
    let mut world = world();
    let schema = &mut world.contract["schema"]["inline"];
    schema["properties"]["locale"] = json!({"type": "string"});
    world.assign(&edited());
    assert_eq!(settle(&mut world).0, Cause::DocumentChanged);
    assert_eq!(world.served_value()["new"], "good");
}

#[test]
fn an_accepted_schema_repairs_and_another_version_of_it_does_not() {
    let mut world = world();
    tighten(&mut world);
    settle(&mut world);
    let digest = world.status.effective.as_ref().unwrap().digest.clone();
    accept(&mut world, "0123456789ab");
    assert_eq!(settle(&mut world).2, "SchemaHeld");
    accept(&mut world, digest.short());
    assert_eq!(settle(&mut world).1, State::Mitigated);
    assert_eq!(world.served_value()["locale"], "en");
    // The same annotation opens nothing for the next version.
    world.contract["schema"]["inline"]["required"] = json!(["title", "locale", "colour"]);
    world.contract["schema"]["inline"]["properties"]["colour"] = json!({"default": "red"});
    let served = world.served_value();
    assert_eq!(settle(&mut world), (Cause::SchemaChanged, State::Held, "SchemaHeld"));
    assert_eq!(world.served_value(), served);
}

#[test]
fn the_gate_opens_for_the_very_version_that_was_accepted() {
    let mut world = world();
    let digest = world.view().effective_ref.digest;
    let one_off = &digest.short()[1..];
    for (cause, accepted, of_class, opens) in [
        (Cause::DocumentChanged, None, None, true),
        (Cause::SchemaChanged, None, None, false),
        (Cause::SchemaChanged, Some(""), None, false),
        (Cause::SchemaChanged, Some("true"), None, false),
        (Cause::SchemaChanged, Some(one_off), None, false),
        (Cause::SchemaChanged, Some(digest.short()), None, true),
        (Cause::SchemaChanged, Some(digest.as_str()), None, true),
        (Cause::SchemaChanged, Some("0123456789ab"), Some(digest.short()), true),
        (Cause::SchemaChanged, None, Some("0123456789ab"), false),
    ] {
        let annotation = |version: Option<&str>| {
            version.map(|version| (ACCEPT_SCHEMA.to_owned(), version.to_owned())).into_iter()
        };
        world.annotations = annotation(accepted).collect();
        world.class = annotation(of_class).collect();
        let mut view = world.view();
        view.max_mode = Some(world.max_mode);
        let place = Place::Served { refused: None };
        let passed = gates::pass(&view, &[], cause, &place, world.now);
        let reason = passed.err().map(|held| held.reason);
        assert_eq!(reason, (!opens).then_some("SchemaHeld"), "{accepted:?} {of_class:?}");
    }
}

#[test]
fn the_last_good_document_is_read_once_and_only_where_the_schema_fails() {
    let mut world = world();
    world.assign(&edited());
    let mut view = world.view();
    let checks = crate::decide::status::of(&view, world.now).checks;
    let trouble = episode::of(&view, &checks, world.now).0.unwrap();
    assert_eq!(blame::cause(&view, &trouble), Err(Need::Revision(1)));
    world.gather(&mut view, Need::Revision(1));
    assert_eq!(blame::cause(&view, &trouble), Ok(Cause::DocumentChanged));
    // A lesser rule was never a condition of being good.
    world.contract["rules"] = json!([{"name": "schema", "schema": {}, "severity": "Warning"}]);
    assert_eq!(blame::cause(&world.view(), &trouble), Ok(Cause::DocumentChanged));
    world.contract["rules"] = json!([{"name": "new", "metadata": {"required": ["/other"]}}]);
    world.assign(&good());
    let view = world.view();
    let checks = crate::decide::status::of(&view, world.now).checks;
    let trouble = episode::of(&view, &checks, world.now).0.unwrap();
    assert_eq!(blame::cause(&view, &trouble), Ok(Cause::RuleChanged));
}
