//! Places found through each keyword, and the ones that are rather not found.

use super::*;
use serde_json::json;

/// The `title`s of all schema objects that speak about the place.
fn titles(schema: &Value, document: &Value, pointer: &str) -> Vec<String> {
    let schema = Schema::of(schema);
    let says = schema.at(document, pointer);
    let titles = says.found.iter().filter_map(|found| found.keywords.get("title")?.as_str());
    titles.map(str::to_owned).collect()
}

#[test]
fn a_place_is_found_through_each_keyword() {
    let schema = json!({
        "$id": "https://example.com/widget",
        "$defs": {"a b": {"title": "by reference", "$ref": "#/definitions/more"}},
        "definitions": {"more": {"title": "further"}},
        "properties": {
            "plain": {"title": "plain", "items": {"title": "element"}},
            "tuple": {"prefixItems": [{"title": "first"}], "items": {"title": "rest"}},
            "old": {"items": [{"title": "first"}], "additionalItems": {"title": "rest"}},
            "ref": {"title": "near", "$ref": "#/$defs/a%20b"},
            "own": {"$ref": "https://example.com/widget#/definitions/more"},
            "both": {"allOf": [{"title": "one"}, {"title": "two"}]},
            "map": {"properties": {"x": {"title": "x"}},
                    "patternProperties": {"^n": {"title": "pattern"}},
                    "additionalProperties": {"title": "other"}},
            "open": {"properties": {"x": {}}, "unevaluatedProperties": {"title": "open"}}
        }
    });
    let document = json!({"plain": [1, 2], "tuple": [1, 2], "old": [1, 2]});
    let cases: [(&str, &[&str]); 14] = [
        ("/plain", &["plain"]),
        ("/plain/1", &["element"]),
        ("/tuple/0", &["first"]),
        ("/tuple/1", &["rest"]),
        ("/old/0", &["first"]),
        ("/old/1", &["rest"]),
        ("/ref", &["near", "by reference", "further"]),
        ("/own", &["further"]),
        ("/both", &["one", "two"]),
        ("/map/x", &["x"]),
        ("/map/n1", &["pattern"]),
        ("/map/z", &["other"]),
        ("/open/z", &["open"]),
        ("/nowhere/at/all", &[]),
    ];
    for (pointer, expected) in cases {
        assert_eq!(titles(&schema, &document, pointer), expected, "{pointer}");
    }
}

#[test]
fn a_cycle_of_references_ends() {
    let schema = json!({
        "$ref": "#/$defs/node",
        "$defs": {"node": {"title": "node", "allOf": [{"$ref": "#"}, {"$ref": "#/$defs/node"}],
                           "properties": {"next": {"$ref": "#"}}}}
    });
    assert_eq!(titles(&schema, &json!({}), "/next/next/next"), ["node"]);
}

#[test]
fn a_long_chain_of_references_and_a_wide_union_come_to_an_end() {
    let mut defs = Map::new();
    for n in 0..50_000 {
        defs.insert(n.to_string(), json!({"$ref": format!("#/$defs/{}", n + 1)}));
    }
    let chain = json!({"$ref": "#/$defs/0", "$defs": defs});
    assert!(Schema::of(&chain).at(&json!({}), "").is_empty());

    let branch = json!({"anyOf": vec![json!({"$ref": "#"}); 500]});
    let wide = json!({"anyOf": vec![branch; 500]});
    let wide = Schema::of(&wide);
    assert!(wide.at(&json!({}), "/a/b/c").is_empty());
    assert!(wide.may_know(&json!({}), "/a/b/c", "d"), "what is not known is not denied");
}

#[test]
fn a_branch_is_chosen_only_when_no_other_can_be_meant() {
    let branch =
        |kind: Value, title: &str| json!({"properties": {"kind": kind, "x": {"title": title}}});
    let hero = json!({"const": "hero"});
    let card = json!({"enum": ["card", "tile"]});
    let union = |branches: Vec<Value>| json!({ "oneOf": branches });
    let marked = union(vec![branch(hero.clone(), "hero"), branch(card, "card")]);
    let alike = union(vec![branch(hero.clone(), "one"), branch(hero.clone(), "two")]);
    let open = union(vec![branch(hero, "hero"), json!({"properties": {"x": {"title": "any"}}})]);
    let cases: [(&Value, Value, &[&str]); 7] = [
        (&marked, json!({"kind": "hero"}), &["hero"]),
        (&marked, json!({"kind": "tile"}), &["card"]),
        (&marked, json!({"kind": "other"}), &[]),
        (&marked, json!({"x": 1}), &[]),
        (&marked, json!([]), &[]),
        (&alike, json!({"kind": "hero"}), &[]),
        (&open, json!({"kind": "hero"}), &[]),
    ];
    for (schema, document, expected) in cases {
        assert_eq!(titles(schema, &document, "/x"), expected, "{document}");
    }
}

#[test]
fn a_union_with_null_or_with_other_types_is_told_by_type() {
    let schema = json!({"properties": {
        "nullable": {"anyOf": [{"type": "null"}, {"title": "count", "type": "integer"}]},
        "mixed": {"anyOf": [{"title": "text", "type": "string"},
                            {"title": "list", "$ref": "#/$defs/list"}]},
    }, "$defs": {"list": {"type": "array"}}});
    let document = json!({"nullable": "12", "mixed": [1]});
    assert_eq!(titles(&schema, &document, "/nullable"), ["count"]);
    assert_eq!(titles(&schema, &document, "/mixed"), ["list"]);
    assert_eq!(titles(&schema, &json!({"mixed": 1}), "/mixed"), [""; 0]);
}

#[test]
fn a_branch_that_allows_anything_can_be_meant_too() {
    let schema = json!({"anyOf": [true, {"title": "short"}]});
    assert_eq!(titles(&schema, &json!("x"), ""), [""; 0]);
    let schema = json!({"anyOf": [false, {"title": "short"}]});
    assert_eq!(titles(&schema, &json!("x"), ""), ["short"]);
}

#[test]
fn beside_a_reference_nothing_counts_until_draft_7() {
    let schema = |draft: &str| {
        json!({"$schema": draft, "definitions": {"a": {"title": "there"}},
               "properties": {"a": {"title": "beside", "$ref": "#/definitions/a"}}})
    };
    let old = schema("http://json-schema.org/draft-07/schema#");
    assert_eq!(titles(&old, &json!({}), "/a"), ["there"]);
    let new = schema("https://json-schema.org/draft/2020-12/schema");
    assert_eq!(titles(&new, &json!({}), "/a"), ["beside", "there"]);
}

#[test]
fn a_reference_inside_an_embedded_schema_is_not_looked_for_in_the_root() {
    let schema = json!({
        "$defs": {"a": {"title": "of the root"}},
        "properties": {"x": {"$id": "https://example.com/other", "$ref": "#/$defs/a",
                             "$defs": {"a": {"title": "of the other"}}},
                       "y": {"$id": "#anchor", "title": "only named"}}
    });
    assert_eq!(titles(&schema, &json!({}), "/x"), [""; 0]);
    assert_eq!(titles(&schema, &json!({}), "/y"), ["only named"]);
}

#[test]
fn a_member_may_be_known_by_a_form_that_is_not_the_meant_one() {
    let known = |key: &str| json!({"properties": {key: {}}});
    let schema = json!({
        "anyOf": [known("a"), known("b")], "if": known("c"), "then": known("d"),
        "dependentSchemas": {"a": known("e")}, "patternProperties": {"^f": {}}
    });
    let schema = Schema::of(&schema);
    for key in ["a", "b", "c", "d", "e", "f1"] {
        assert!(schema.may_know(&json!({}), "", key), "{key}");
    }
    assert!(!schema.may_know(&json!({}), "", "g"));
    let elsewhere = [json!({"$ref": "#anchor"}), json!({"$dynamicRef": "#a"}), json!({"$id": "x"})];
    for not_followed in elsewhere {
        let schema = json!({ "allOf": [not_followed] });
        assert!(Schema::of(&schema).may_know(&json!({}), "", "g"), "{schema}");
    }
}

#[test]
fn a_value_is_admitted_with_all_that_is_in_it() {
    let schema = json!({"properties": {"a": {
        "properties": {"n": {"type": "integer"}}, "additionalProperties": false,
        "required": ["n"]
    }}});
    let schema = Schema::of(&schema);
    let admits = |value: Value| schema.admits(&json!({}), "/a", &value);
    assert!(admits(json!({"n": 1})));
    for wrong in [json!({}), json!({"n": "1"}), json!({"n": 1, "m": 2})] {
        assert!(!admits(wrong.clone()), "{wrong}");
    }
}

#[test]
fn escapes_of_a_fragment_are_decoded() {
    let cases = [("/a%20b", "/a b"), ("/%C3%A9", "/é"), ("/%", "/%"), ("/%zz", "/%zz")];
    for (escaped, plain) in cases {
        assert_eq!(percent_decoded(escaped), plain);
    }
}
