//! Laws of the repairs, on documents that people have broken and on any others.

use proptest::prelude::*;

use super::*;
use crate::domain::OpKind;

fn schemas_of_scalars() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"type": "integer", "minimum": 1, "maximum": 5, "default": 2})),
        Just(json!({"type": "integer", "exclusiveMaximum": 3})),
        Just(json!({"type": ["string", "null"], "maxLength": 3, "default": null})),
        Just(json!({"type": "boolean"})),
        Just(json!({"enum": ["small", "large", 3], "default": "small"})),
        Just(json!({"const": "true", "default": "nonsense"})),
        Just(json!({"anyOf": [{"type": "null"}, {"type": "number", "minimum": 2}]})),
    ]
}

/// Schemas whose parts the documents below break in many ways.
fn schemas() -> impl Strategy<Value = Value> {
    schemas_of_scalars().prop_recursive(2, 12, 4, |inner| {
        let list =
            inner.clone().prop_map(|items| json!({"type": "array", "items": items, "maxItems": 2}));
        let members = prop::collection::btree_map("name|title|size", inner, 1..4);
        let object = (members, any::<bool>()).prop_map(|(properties, is_open)| {
            let required: Vec<&String> = properties.keys().collect();
            json!({"type": "object", "properties": properties, "required": required,
                   "additionalProperties": is_open})
        });
        prop_oneof![list, object]
    })
}

fn scalars() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-2..9_i32).prop_map(Value::from),
        prop_oneof![Just(1.0), Just(2.5)].prop_map(Value::from),
        "true|3|9|Small|lagre|a b c d e|é{5}".prop_map(Value::String),
    ]
}

fn broken() -> impl Strategy<Value = Value> {
    scalars().prop_recursive(2, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("name|Name|title|tilte|size|x", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Is `part` somewhere in `whole`, or spelt there, or the beginning of what is there?
fn comes_from(whole: &Value, part: &Value) -> bool {
    let is_spelt = match (whole, part) {
        (Value::String(text), Value::String(cut)) => text.starts_with(cut.as_str()),
        (Value::Array(items), Value::Array(cut)) => items.starts_with(cut),
        (Value::String(text), other) => {
            serde_json::from_str(text).is_ok_and(|spelt: Value| spelt == *other)
        }
        (other, Value::String(text)) => other.to_string().starts_with(text.as_str()),
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => whole == part,
    };
    is_spelt
        || match whole {
            Value::Object(map) => map.values().any(|below| comes_from(below, part)),
            Value::Array(items) => items.iter().any(|below| comes_from(below, part)),
            _ => false,
        }
}

/// A document that is right by one of [`schemas`].
fn right(schema: &Value) -> Value {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        return properties.iter().map(|(key, schema)| (key.clone(), right(schema))).collect();
    }
    if let Some(items) = schema.get("items") {
        return json!([right(items), right(items)]);
    }
    let pool = [json!(2), json!("small"), json!(true), json!("true"), Value::Null, json!("a")];
    pool.into_iter().find(|value| violations(schema, value).is_empty()).unwrap()
}

/// All places of a document that hold no other places.
fn leaves(value: &Value, at: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().for_each(|(key, value)| leaves(value, &format!("{at}/{key}"), found));
        }
        Value::Array(items) if !items.is_empty() => {
            let items = items.iter().enumerate();
            items.for_each(|(n, value)| leaves(value, &format!("{at}/{n}"), found));
        }
        leaf => found.push((at.to_owned(), leaf.clone())),
    }
}

/// One thing that people do to a document, at any of its leaves.
fn mutated(mut document: Value, (which, how): &(prop::sample::Index, u8)) -> Value {
    let mut found = Vec::new();
    leaves(&document, "", &mut found);
    let (at, leaf) = which.get(&found).clone();
    let parent_and_key = split_last(&at).map(|(parent, key)| (parent.to_owned(), key));
    let object = parent_and_key
        .and_then(|(parent, key)| Some((document.pointer_mut(&parent)?.as_object_mut()?, key)));
    match (how, object) {
        (0, Some((object, key))) => drop(object.remove(&key)),
        (1, Some((object, key))) => {
            object.remove(&key);
            object.insert(key.to_uppercase(), leaf);
        }
        (2, Some((object, _))) => drop(object.insert("xtra".to_owned(), json!([leaf]))),
        (3, Some((object, key))) => drop(object.insert(format!("{key}_"), json!({"kept": leaf}))),
        (4, _) => *document.pointer_mut(&at).unwrap() = json!({"size": leaf}),
        (5, _) => *document.pointer_mut(&at).unwrap() = json!([leaf, "3"]),
        (6, _) => *document.pointer_mut(&at).unwrap() = json!(9.5),
        (7, _) => *document.pointer_mut(&at).unwrap() = json!("nonsense"),
        _ => *document.pointer_mut(&at).unwrap() = json!(leaf.to_string()),
    }
    document
}

/// Where the leaf at `at` stands after the renames in `ops`, and whether one of them moved it.
fn after_renames(ops: &[Op], at: &str) -> (String, bool) {
    for pair in ops.windows(2) {
        let [from, to] = pair else { continue };
        let is_rename = from.kind == OpKind::Remove && to.kind == OpKind::Add;
        if let (true, Some(below)) = (is_rename, at.strip_prefix(&from.path))
            && (below.is_empty() || below.starts_with('/'))
        {
            return (format!("{}{below}", to.path), true);
        }
    }
    (at.to_owned(), false)
}

proptest! {
    #[test]
    fn lossless_repairs_touch_nothing_that_no_violation_names(
        schema in schemas(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), 0..9_u8), 1..4),
    ) {
        let lossless = [Repair::SetDefault, Repair::Coerce, Repair::Rename];
        let broken = mutations.iter().fold(right(&schema), mutated);
        let found = violations(&schema, &broken);
        let named: BTreeSet<&str> = found.iter().map(|violation| violation.path.as_str()).collect();
        let Proposal::Change(ops) = plan(&schema, &broken, &lossless) else { return Ok(()) };
        let healed = apply(&broken, &ops).unwrap();
        let mut before = Vec::new();
        leaves(&broken, "", &mut before);
        for (at, leaf) in &before {
            let (place, is_renamed) = after_renames(&ops, at);
            // A renamed value is made to fit its right name, by Coerce.
            let may_change = is_renamed
                || named.contains(at.as_str())
                || named.iter().any(|place| place::above(place).any(|upper| upper == at));
            let stays = healed.pointer(&place);
            prop_assert!(stays.is_some(), "{} is lost from {} by {}", at, broken, schema);
            prop_assert!(may_change || stays == Some(leaf), "{} of {} by {}", at, broken, schema);
        }
        let mut after = Vec::new();
        leaves(&healed, "", &mut after);
        let moved: BTreeSet<String> =
            before.iter().map(|(at, _)| after_renames(&ops, at).0).collect();
        for (at, _) in &after {
            let is_named = place::above(at).chain([at.as_str()]).any(|upper| named.contains(upper));
            prop_assert!(is_named || moved.contains(at), "{} came into {}", at, broken);
        }
        prop_assert!(violations(&schema, &healed).len() < found.len(), "{} by {}", broken, schema);
    }

    #[test]
    fn repairing_comes_to_an_end(
        schema in schemas(), document in broken(),
        allow in prop::sample::subsequence(&ALL[..], 0..=7),
    ) {
        // What was renamed or set is judged for the first time afterwards, so once need not be
        // enough; but the same repair is never proposed for ever.
        let mut now = document;
        let mut passes = 0;
        while let Some(better) = repaired(&schema, &now, &allow) {
            now = better;
            passes += 1;
            prop_assert!(passes <= 4, "{} by {}", now, schema);
        }
    }

    #[test]
    fn a_repaired_place_is_not_repaired_again(
        value in scalars(), schema in schemas_of_scalars(),
        allow in prop::sample::subsequence(&ALL[..], 0..=7),
    ) {
        let schema = json!({"properties": {"a": schema}});
        if let Some(once) = repaired(&schema, &json!({"a": value}), &allow) {
            prop_assert_eq!(repaired(&schema, &once, &allow), None);
            prop_assert_eq!(violations(&schema, &once), Vec::new());
        }
    }

    #[test]
    fn values_come_from_the_schema_or_the_document(schema in schemas(), document in broken()) {
        if let Proposal::Change(ops) = plan(&schema, &document, &ALL) {
            for op in ops {
                let Some(value) = op.value else { continue };
                let is_known = match op.from.unwrap() {
                    ValueFrom::Document => comes_from(&document, &value),
                    // Inside an exclusive maximum of 3 the nearest number is 2.
                    ValueFrom::Schema => comes_from(&schema, &value) || value == json!(2),
                    other => panic!("{other}"),
                };
                prop_assert!(is_known, "{} in {} by {}", value, document, schema);
            }
        }
    }

    #[test]
    fn what_does_not_fail_stays(good in "[a-z]{1,9}", size in -3..12_i32) {
        let schema = json!({"properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 5, "default": 3},
            "title": {"type": "string"}
        }});
        let document = json!({"title": good, "size": size, "more": {"x": [good, size]}});
        let healed = repaired(&schema, &document, &ALL).unwrap_or(document.clone());
        prop_assert_eq!(&healed["title"], &document["title"]);
        prop_assert_eq!(&healed["more"], &document["more"]);
        prop_assert_eq!(violations(&schema, &healed), Vec::new());
    }
}
