//! Tables of the repairs, judged before and after by the real rule.

mod laws;

use serde_json::json;

use super::*;
use crate::{
    domain::{Op, Verdict, Violation, patch::apply},
    rules::schema,
    steps::tests::{view, view_of},
};

const ALL: [Repair; 7] = [
    Repair::SetDefault,
    Repair::DropUnknown,
    Repair::Rename,
    Repair::Coerce,
    Repair::NearestEnum,
    Repair::Clamp,
    Repair::Truncate,
];

/// What is wrong with `document`, as the rule says it.
fn violations(schema: &Value, document: &Value) -> Vec<Violation> {
    match schema::compile(schema).unwrap().check(document) {
        Verdict::Pass => Vec::new(),
        Verdict::Fail(violations) => violations,
        Verdict::Unknown(doubt) => panic!("{doubt:?}"),
    }
}

fn plan(schema: &Value, document: &Value, allow: &[Repair]) -> Proposal {
    let mut view = view_of(document, violations(schema, document));
    view.schema = Some(schema);
    RepairDocument { allow: allow.to_vec() }.plan(&view)
}

fn repaired(schema: &Value, document: &Value, allow: &[Repair]) -> Option<Value> {
    match plan(schema, document, allow) {
        Proposal::Change(ops) => Some(apply(document, &ops).unwrap()),
        Proposal::Nothing(_) | Proposal::Wait(_) | Proposal::Act(_) | Proposal::Done => None,
    }
}

#[test]
fn without_a_list_only_repairs_that_lose_nothing_are_allowed() {
    let schema = json!({
        "properties": {"count": {"type": "integer"}, "size": {"enum": ["small"]},
                       "low": {"maximum": 5}, "title": {"maxLength": 3},
                       "lang": {"default": "en"}},
        "required": ["lang"], "additionalProperties": false
    });
    let document = json!({"count": "1", "size": "Small", "low": 9, "title": "long", "x": 1});
    let expected =
        json!({"count": 1, "size": "Small", "low": 9, "title": "long", "x": 1, "lang": "en"});
    assert_eq!(repaired(&schema, &document, &[]), Some(expected));
    let all = json!({"count": 1, "size": "small", "low": 5, "title": "lon", "lang": "en"});
    assert_eq!(repaired(&schema, &document, &ALL), Some(all));
}

#[test]
fn a_missing_key_without_a_default_is_not_made_up() {
    let schema = json!({"required": ["title"], "properties": {"title": {"type": "string"}}});
    let Proposal::Nothing(why) = plan(&schema, &json!({"x": "canary"}), &ALL) else { panic!() };
    assert!(why.contains("/title (required)") && !why.contains("canary"), "{why}");
}

#[test]
fn a_default_replaces_what_fails_only_when_no_other_repair_fits() {
    let schema = json!({"properties": {"n": {"type": "integer", "maximum": 5, "default": 1}}});
    let cases = [
        (json!("4"), &[][..], json!(4)),
        (json!("x"), &[], json!(1)),
        (json!("9"), &[], json!(1)),
        (json!("9"), &ALL, json!(5)),
        (json!(9), &[], json!(1)),
    ];
    for (value, allow, expected) in cases {
        let healed = repaired(&schema, &json!({"n": value, "good": "edit"}), allow);
        assert_eq!(healed, Some(json!({"n": expected, "good": "edit"})), "{value}");
    }
}

#[test]
fn a_default_that_cannot_be_right_or_loses_what_is_good_is_not_set() {
    let cases = [
        (json!({"default": "x", "type": "integer"}), json!(null)),
        (json!({"default": [], "uniqueItems": true}), json!([1, 1])),
        (json!({"default": {}, "maxProperties": 1}), json!({"a": 1, "b": 2})),
        (json!({"default": "same", "pattern": "^x"}), json!("same")),
        (json!({"default": "same", "pattern": "^x"}), json!("other")),
        // A list that was written as an object, as PHP does, is not emptied.
        (json!({"default": [], "type": "array"}), json!({"0": "a", "2": "b"})),
        (
            json!({"default": {"b": "x"}, "type": "object",
                "properties": {"b": {"type": "integer"}}}),
            json!(null),
        ),
        (
            json!({"default": {"c": 1}, "type": "object", "additionalProperties": false}),
            json!("text"),
        ),
        // Two defaults, and none of them nearer.
        (json!({"type": "integer", "allOf": [{"default": 1}, {"default": 2}]}), json!("x")),
    ];
    for (schema, value) in cases {
        let schema = json!({"properties": {"a": schema}});
        assert_eq!(repaired(&schema, &json!({"a": value}), &[]), None, "{schema}");
    }
    assert_eq!(repaired(&json!({"type": "object", "default": {}}), &json!([1]), &[]), None);
}

#[test]
fn a_misspelt_key_is_renamed_when_only_one_can_be_meant() {
    let open = json!({"required": ["title", "imageUrl"],
                      "properties": {"title": {}, "imageUrl": {"type": "integer"}, "sub": {}}});
    let mut closed = open.clone();
    closed["additionalProperties"] = json!(false);
    let cases = [
        (json!({"Title": 1, "imageUrl": 2}), json!({"title": 1, "imageUrl": 2})),
        (json!({"title": 1, "image_url": 2}), json!({"title": 1, "imageUrl": 2})),
        // The value is made to fit the schema of the right name, too.
        (json!({"title": 1, "image-url": "2"}), json!({"title": 1, "imageUrl": 2})),
        // Two that are as near, and one that is not near.
        (json!({"Title": 1, "TITLE": 2, "imageUrl": 2}), json!(null)),
        (json!({"heading": 1, "imageUrl": 2}), json!(null)),
        // What the schema knows by another name keeps it.
        (json!({"sub": 1, "imageUrl": 2}), json!(null)),
    ];
    for schema in [&open, &closed] {
        for (document, expected) in &cases {
            let healed = repaired(schema, document, &[Repair::Rename, Repair::Coerce]);
            assert_eq!(healed.unwrap_or_default(), *expected, "{document} by {schema}");
        }
    }
    // Only a key that the schema refuses may hold a typo: another may be somebody's own.
    let typo = json!({"tilte": 1, "imageUrl": 2});
    assert_eq!(repaired(&open, &typo, &[Repair::Rename]), None);
    let healed = repaired(&closed, &typo, &[Repair::Rename]);
    assert_eq!(healed, Some(json!({"title": 1, "imageUrl": 2})));
    let two = json!({"required": ["imageUrl", "imageUrls"]});
    let healed = repaired(&two, &json!({"image_urls": 1}), &ALL);
    assert_eq!(healed, Some(json!({"imageUrls": 1})), "the nearer of two");
    let optional = json!({"properties": {"subtitle": {}}, "additionalProperties": false});
    let healed = repaired(&optional, &json!({"subtitel": 1}), &ALL);
    assert_eq!(healed, Some(json!({"subtitle": 1})));
}

#[test]
fn a_key_that_a_metadata_rule_misses_is_renamed_or_set_too() {
    let schema = json!({"properties": {"locale": {"default": "en"}}});
    for (document, expected) in [
        (json!({"Locale": "de"}), json!({"locale": "de"})),
        (json!({"a": 1}), json!({"a": 1, "locale": "en"})),
        (json!({"locale": ""}), json!({"locale": "en"})),
    ] {
        let mut view = view(&document, &[("/locale", "metadata")]);
        view.schema = Some(&schema);
        let step = RepairDocument { allow: ALL.to_vec() };
        let Proposal::Change(ops) = step.plan(&view) else { panic!("{document}") };
        assert_eq!(apply(&document, &ops).unwrap(), expected);
    }
}

#[test]
fn an_unknown_key_is_dropped_only_when_it_may_be() {
    let schema = json!({"properties": {"a": {}}, "unevaluatedProperties": false});
    let document = json!({"a": 1, "b~/c": 2});
    assert_eq!(repaired(&schema, &document, &[]), None);
    let ops = vec![Op::remove("/b~0~1c")];
    assert_eq!(plan(&schema, &document, &[Repair::DropUnknown]), Proposal::Change(ops));
}

#[test]
fn a_place_inside_a_list_that_is_shortened_is_repaired_if_it_stays() {
    let schema = json!({"properties": {
        "list": {"maxItems": 2, "items": {"properties": {"n": {"type": "integer"}}}}
    }});
    let document = json!({"list": [{"n": 1}, {"n": "2"}, {"n": "3"}]});
    let expected = json!({"list": [{"n": 1}, {"n": 2}]});
    assert_eq!(repaired(&schema, &document, &ALL), Some(expected));
}

#[test]
fn of_two_keys_that_could_be_meant_none_becomes_the_one_because_the_other_is_dropped() {
    let schema = json!({"required": ["title"], "properties": {"title": {}},
                        "additionalProperties": false});
    let document = json!({"Title": 1, "TITLE": 2});
    let both = [Repair::Rename, Repair::DropUnknown];
    assert_eq!(repaired(&schema, &document, &both), Some(json!({})));
}

#[test]
fn a_key_is_not_renamed_to_a_name_under_which_its_value_is_wrong() {
    let schema = json!({"required": ["image"], "properties": {
        "image": {"type": "string", "default": "x"}
    }, "additionalProperties": false});
    let document = json!({"Image": ["a", "b"]});
    assert_eq!(repaired(&schema, &document, &[Repair::Rename]), None);
    // And so the next pass never finds it where a default may take its place.
    let healed = repaired(&schema, &document, &[Repair::Rename, Repair::SetDefault]);
    assert_eq!(healed, Some(json!({"Image": ["a", "b"], "image": "x"})));
}

#[test]
fn a_key_that_another_form_of_the_object_knows_is_neither_dropped_nor_renamed() {
    let form = |required: &[&str], known: &[&str]| {
        let properties: serde_json::Map<String, Value> =
            known.iter().map(|key| ((*key).to_owned(), json!({}))).collect();
        json!({"required": required, "properties": properties, "additionalProperties": false})
    };
    let image = form(&["title"], &["title", "poster"]);
    let video = form(&["title", "video", "length"], &["title", "video", "Poster", "length"]);
    let schema = json!({"anyOf": [image, video]});
    let document = json!({"title": 1, "Poster": 2});
    // The rule takes the closest form, which does not know the key.
    let found = violations(&schema, &document);
    assert_eq!((found[0].path.as_str(), found.len()), ("/Poster", 1));
    assert_eq!(repaired(&schema, &document, &ALL), None);
}

#[test]
fn keys_that_mean_something_to_javascript_are_keys_like_others() {
    let schema = json!({"properties": {"proto": {}, "n": {"type": "integer"}},
                        "required": ["proto"], "additionalProperties": false});
    let document = json!({"__proto__": {"n": "1"}, "constructor": 1, "n": "1"});
    let expected = json!({"__proto__": {"n": "1"}, "constructor": 1, "n": 1});
    let lossless = [Repair::Coerce, Repair::Rename, Repair::SetDefault];
    assert_eq!(repaired(&schema, &document, &lossless), Some(expected));
}

#[test]
fn a_key_whose_name_is_wrong_keeps_its_value() {
    let schema = json!({"propertyNames": {"pattern": "^[a-z]+$"},
                        "additionalProperties": {"default": 1}});
    assert_eq!(repaired(&schema, &json!({"A": 2}), &ALL), None);
}

#[test]
fn a_path_that_is_not_shown_whole_is_not_acted_on() {
    let schema = json!({"properties": {"a b": {}}, "additionalProperties": false});
    let tab = json!({"a\tb": 1, "a b": 2});
    assert_eq!(violations(&schema, &tab)[0].path, "/a b");
    let Proposal::Nothing(why) = plan(&schema, &tab, &ALL) else { panic!() };
    assert!(why.contains("/a b (additionalProperties)"), "{why}");
    let long = "k".repeat(600);
    assert_eq!(repaired(&schema, &json!({long: 1}), &ALL), None);
}

#[test]
fn a_text_is_not_cut_by_a_bound_that_does_not_count() {
    let schema = json!({"$schema": "http://json-schema.org/draft-07/schema#",
                        "definitions": {"text": {"maxLength": 6}},
                        "properties": {"a": {"$ref": "#/definitions/text", "maxLength": 2}}});
    let healed = repaired(&schema, &json!({"a": "abcdefgh"}), &ALL);
    assert_eq!(healed, Some(json!({"a": "abcdef"})));
}

#[test]
fn many_wrong_places_of_a_large_document_are_repaired_at_once() {
    let known: serde_json::Map<String, Value> =
        (0..200).map(|n| (format!("{n}"), json!({"type": "integer"}))).collect();
    let patterns: serde_json::Map<String, Value> =
        (0..20).map(|n| (format!("^x\\w+{n}$"), json!({}))).collect();
    let schema = json!({"properties": {"list": {"items": {"type": "integer"}},
        "map": {"properties": known, "patternProperties": patterns,
                "additionalProperties": false}}});
    let list: Vec<Value> =
        (0..50_000).map(|n| if n % 500 == 0 { json!("7") } else { json!(n) }).collect();
    let map: serde_json::Map<String, Value> =
        (0..99).map(|n| (format!("k{n}"), json!(1))).collect();
    let document = json!({"list": list, "map": map});
    assert_eq!(violations(&schema, &document).len(), 199);
    let healed = repaired(&schema, &document, &ALL).unwrap();
    assert_eq!(violations(&schema, &healed), Vec::new());
}

#[test]
fn what_is_no_matter_of_the_schema_is_not_repaired_by_it() {
    let schema = json!({"properties": {"a": {"default": 1}}});
    let document = json!({"a": 2});
    for keyword in ["asset", "cel", "freshness"] {
        let mut view = view(&document, &[("/a", keyword)]);
        assert!(matches!(RepairDocument::default().plan(&view), Proposal::Nothing(_)));
        view.schema = Some(&schema);
        let Proposal::Nothing(why) = RepairDocument::default().plan(&view) else { panic!() };
        assert_eq!(why, "what fails is no matter of the schema");
    }
}

#[test]
fn a_branch_of_a_union_is_repaired_when_it_is_clear_which() {
    let branch =
        |kind: &str, schema: Value| json!({"properties": {"kind": {"const": kind}, "n": schema}});
    let schema = json!({"oneOf": [branch("a", json!({"type": "integer"})),
                                  branch("b", json!({"type": "string"}))]});
    for (document, expected) in [
        (json!({"kind": "a", "n": "1"}), Some(json!({"kind": "a", "n": 1}))),
        (json!({"kind": "b", "n": 1}), Some(json!({"kind": "b", "n": "1"}))),
        (json!({"kind": "c", "n": 1}), None),
        (json!({"n": 1}), None),
    ] {
        let mut view = view(&document, &[("/n", "type")]);
        view.schema = Some(&schema);
        let healed = match RepairDocument::default().plan(&view) {
            Proposal::Change(ops) => Some(apply(&document, &ops).unwrap()),
            _ => None,
        };
        assert_eq!(healed, expected, "{document}");
    }
}
