//! The cost gate of schemas: what it lets through, what it refuses, and the law of both.

use super::*;
use proptest::prelude::*;
use serde_json::{Map, json};

fn gate(schema: &Value) -> Result<(), Doubt> {
    check_size(schema)?;
    let graph =
        Graph::of(schema).map_err(|message| Doubt::new(DoubtReason::SchemaInvalid, &message))?;
    check(&graph)
}

fn levels(count: usize, level: impl Fn(Value) -> Value) -> Value {
    let mut defs = Map::new();
    for i in 0..count {
        let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
        defs.insert(format!("d{i}"), level(next));
    }
    defs.insert(format!("d{count}"), json!({"type": "integer"}));
    json!({"$ref": "#/$defs/d0", "$defs": defs})
}

#[test]
fn doubling_is_refused_wherever_it_hides() {
    let doubled: [fn(Value) -> Value; 6] = [
        |next| json!({"allOf": [next, next]}),
        |next| json!({"anyOf": [next, {"not": next}]}),
        |next| json!({"properties": {"x": {"oneOf": [next, next]}}}),
        |next| json!({"allOf": [{"items": next}, {"items": next}]}),
        |next| json!({"allOf": [{"properties": {"x": next}}, {"additionalProperties": next}]}),
        |next| json!({"allOf": [next], "unevaluatedProperties": false}),
    ];
    for level in doubled {
        assert!(gate(&levels(5, level)).is_ok());
        let doubt = gate(&levels(30, level)).unwrap_err();
        assert_eq!(doubt.reason, DoubtReason::SchemaTooCostly);
        assert!(doubt.message.contains("2000") && doubt.message.contains("/$defs/"), "{doubt:?}");
    }
}

#[test]
fn what_only_looks_repeated_passes() {
    // Different properties and different items are different places.
    let wide = |next: Value| json!({"properties": {"a": next, "b": next, "c": next}});
    assert!(gate(&levels(100, wide)).is_ok());
    assert!(gate(&levels(100, |next| json!({"items": {"items": next}}))).is_ok());
    let forms: Vec<Value> =
        (0..200).map(|i| json!({"properties": {"kind": {"const": i}}})).collect();
    assert!(gate(&json!({"oneOf": forms})).is_ok());
}

#[test]
fn recursion_through_data_passes_and_recursion_in_place_does_not() {
    let form = |kind: &str| json!({"properties": {"kind": {"const": kind}, "children": {"items": {"$ref": "#"}}}});
    for fine in [
        json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}),
        json!({"oneOf": [form("row"), form("column")]}),
        json!({"anyOf": [{"items": {"$ref": "#"}}, {"additionalProperties": {"$ref": "#"}}]}),
    ] {
        gate(&fine).unwrap();
    }
    for endless in [
        json!({"$ref": "#"}),
        json!({"not": {"$ref": "#"}}),
        json!({"properties": {"a": {"anyOf": [{"$ref": "#/properties/a"}, {"type": "null"}]}}}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
    ] {
        let doubt = gate(&endless).unwrap_err();
        assert_eq!(doubt.reason, DoubtReason::SchemaInvalid);
        assert!(doubt.message.contains("recurses without end"), "{doubt:?}");
    }
}

#[test]
fn recursion_that_doubles_its_objections_is_refused() {
    let twice = json!({"properties": {"x": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
    let doubt = gate(&twice).unwrap_err();
    assert_eq!(doubt.reason, DoubtReason::SchemaTooCostly, "{doubt:?}");
}

#[test]
fn long_chains_of_refs_are_refused() {
    for count in [MAX_REF_CHAIN + 1, 5_000, 100_000] {
        let plain = levels(count, |next| next);
        let nested = levels(count, |next| json!({"properties": {"x": next}}));
        for schema in [plain, nested] {
            let refused = gate(&schema).unwrap_err();
            assert_eq!(refused.reason, DoubtReason::SchemaTooCostly);
        }
    }
    gate(&levels(MAX_REF_CHAIN - 1, |next| next)).unwrap();
}

#[test]
fn size_is_bounded_in_every_direction() {
    let mut deep = json!({});
    for _ in 0..=MAX_DEPTH {
        deep = json!({"not": deep});
    }
    let many: Vec<Value> = (0..MAX_VALUES).map(|i| json!(i)).collect();
    let patterns: Vec<Value> =
        (0..=MAX_PATTERNS).map(|i| json!({"pattern": format!("^{i}$")})).collect();
    let cases = [
        (deep, "128 levels"),
        (json!({"enum": many}), "50000 values"),
        (json!({"title": "x".repeat(MAX_BYTES + 1)}), "bytes of text"),
        (json!({"items": {"pattern": "x".repeat(MAX_PATTERN_BYTES + 1)}}), "/items"),
        (json!({"prefixItems": patterns}), "251 different patterns"),
    ];
    for (schema, expected) in cases {
        let doubt = gate(&schema).unwrap_err();
        assert_eq!(doubt.reason, DoubtReason::SchemaTooCostly);
        assert!(doubt.message.contains(expected), "{doubt:?}");
    }
}

fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({})),
        Just(json!(false)),
        (0..4_u8).prop_map(|i| json!({"$ref": format!("#/$defs/d{i}")})),
    ];
    let tree = leaf.prop_recursive(3, 24, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..3);
        let keyword = prop::sample::select(vec!["allOf", "anyOf", "oneOf"]);
        prop_oneof![
            (keyword, list).prop_map(|(keyword, list)| json!({keyword: list})),
            inner.clone().prop_map(|schema| json!({"items": schema})),
            inner.clone().prop_map(|schema| json!({"properties": {"x": schema}})),
            inner.prop_map(|schema| json!({"not": schema})),
        ]
    });
    prop::collection::vec(tree, 4).prop_map(|trees| {
        let defs: Map<String, Value> =
            trees.into_iter().enumerate().map(|(i, tree)| (format!("d{i}"), tree)).collect();
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    })
}

proptest! {
    /// The law that the gate exists for: what it lets through ends.
    #[test]
    fn whatever_passes_comes_to_an_end(schema in any_schema()) {
        if gate(&schema).is_ok() {
            let mut document = json!(1);
            for level in 0..40 {
                document = if level % 2 == 0 { json!([document]) } else { json!({"x": document}) };
            }
            let compiled = crate::rules::schema::compile(&schema).unwrap();
            let _ = compiled.check(&document);
        }
    }
}
