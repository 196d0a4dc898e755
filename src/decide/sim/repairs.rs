//! Whole repairs, from what the rules say to what is served.

use std::sync::Arc;

use serde_json::{Value, json};

use super::World;
use crate::{
    api::{
        contract::Mode,
        incident::{Cause, Segment},
    },
    decide::{
        plan::{self, Attempting, Outcome},
        view::Assigned,
    },
    domain::{Document, Span},
};

/// A world that serves `good` and heals by these steps.
fn world(good: &Value, schema: &Value, steps: &str) -> World {
    let mut world = World::new(good);
    world.contract["schema"]["inline"] = schema.clone();
    world.contract["rules"] = json!([]);
    world.policies[0].spec =
        serde_saphyr::from_str(&format!("default: true\nsteps: {steps}")).unwrap();
    world.settle();
    assert_eq!(&world.served_value(), good);
    world
}

fn after(world: &mut World, document: &Value) -> Value {
    world.assign(document);
    world.later(Span::secs(10)).settle();
    world.served_value()
}

#[test]
fn a_document_with_more_violations_than_an_incident_shows_is_repaired() {
    let schema = json!({"properties": {"prices": {"items": {"type": "integer"}}}});
    let good = json!({"prices": [1]});
    let mut world = world(&good, &schema, "[{name: repair, repairDocument: {}}]");
    let numbers: Vec<u32> = (100..160).collect();
    let texts: Vec<String> = numbers.iter().map(u32::to_string).collect();
    let served = after(&mut world, &json!({"prices": texts, "new": true}));
    assert_eq!(served, json!({"prices": numbers, "new": true}));
    let shown = &world.incidents[0].1.violations;
    assert_eq!(shown.len(), 20);
    assert!(shown[19].message.ends_with("(and 40 more)"), "{:?}", shown[19]);
}

#[test]
fn a_page_of_many_widgets_of_several_kinds_is_repaired() {
    let form =
        |kind: &str, known: Value| json!({"properties": {"kind": {"const": kind}, "n": known}});
    let schema = json!({"properties": {"page": {"items": {
        "oneOf": [form("card", json!({"type": "integer"})), form("tile", json!({"type": "string"}))]
    }}}});
    let mut world = world(&json!({"page": []}), &schema, "[{name: repair, repairDocument: {}}]");
    let cards = |n: fn(u32) -> Value| -> Value {
        (0..150).map(|at| json!({"kind": "card", "n": n(at)})).collect()
    };
    let served = after(&mut world, &json!({"page": cards(|at| at.to_string().into())}));
    assert_eq!(served, json!({"page": cards(Value::from)}));
}

#[test]
fn one_dead_url_of_a_srcset_is_replaced_and_the_others_stay() {
    let set = |first: &str| json!({"srcset": format!("https://cdn.test/{first} 1x, https://cdn.test/a.png?w=2 2x")});
    let mut world = world(&set("hero.png"), &json!({}), "[{name: asset, replaceAsset: {}}]");
    world.contract["rules"] = json!([{"name": "images", "asset": {"paths": ["$.srcset"]}}]);
    // What people are shown of the two is the same: a query is not.
    world.assets.insert("https://cdn.test/a.png?w=1".to_owned(), Some(404));
    world.assets.insert("https://cdn.test/a.png?w=2".to_owned(), Some(200));
    assert_eq!(after(&mut world, &set("a.png?w=1")), set("fallback.png"));
}

#[test]
fn a_document_whose_numbers_do_not_survive_is_not_shortened_as_a_whole() {
    let schema = json!({"maxItems": 1});
    let steps = "[{name: cut, repairDocument: {allow: [Truncate]}}]";
    let world = world(&json!({}), &schema, steps);
    let mut view = world.view();
    let document = Document::parse(b"[1.00000000000000000001, 2]".to_vec()).unwrap();
    let rules = &view.effective.rules;
    let judged = view.book.judge(rules, Arc::new(document), &view.probes, world.now);
    view.assigned = Assigned::Judged(judged);
    let segment = Segment {
        policy_ref: None,
        policy_generation: None,
        why: String::new(),
        rules: vec!["schema".to_owned()],
        mode: Mode::Auto,
        steps: world.policies[0].spec.steps.clone(),
    };
    let first = Attempting::First(Cause::DocumentChanged);
    let outcome = plan::candidate(&view, &[segment], first, world.now, world.now);
    let Outcome::None { why, .. } = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("would not survive"), "{why}");
}
