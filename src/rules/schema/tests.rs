//! The `schema` rule: what compiles, what is said of a document, and how soon.

use super::*;
use crate::domain::Violation;
use proptest::prelude::*;
use serde_json::json;

fn check(schema: &Value, document: &Value) -> Verdict {
    compile(schema).unwrap_or_else(|doubt| panic!("{schema}: {doubt:?}")).check(document)
}

fn violations(schema: &Value, document: &Value) -> Vec<Violation> {
    match check(schema, document) {
        Verdict::Fail(violations) => violations,
        other => panic!("{other:?}"),
    }
}

fn places(schema: &Value, document: &Value) -> Vec<(String, String)> {
    violations(schema, document).into_iter().map(|v| (v.path, v.keyword)).collect()
}

fn place(path: &str, keyword: &str) -> (String, String) {
    (path.to_owned(), keyword.to_owned())
}

#[test]
fn a_schema_can_be_shared_between_threads() {
    fn shareable<T: Send + Sync>(_: &T) {}
    shareable(&compile(&json!({})).unwrap());
}

#[test]
fn each_draft_reads_the_schema_in_its_own_way() {
    // `exclusiveMinimum` is a bool in draft 4; a list under `items` is a tuple until 2019-09.
    let draft4 = json!({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": true});
    assert!(matches!(check(&draft4, &json!(1)), Verdict::Fail(_)));
    for draft in [
        "http://json-schema.org/draft-06/schema#",
        "http://json-schema.org/draft-07/schema#",
        "https://json-schema.org/draft/2019-09/schema",
    ] {
        let tuple =
            json!({"$schema": draft, "items": [{"type": "string"}], "additionalItems": false});
        assert_eq!(check(&tuple, &json!(["a"])), Verdict::Pass, "{draft}");
        assert!(matches!(check(&tuple, &json!(["a", 1])), Verdict::Fail(_)), "{draft}");
    }
    let newest = json!({"prefixItems": [{"type": "string"}], "items": false});
    assert!(matches!(check(&newest, &json!(["a", 1])), Verdict::Fail(_)));
    let doubt = compile(&json!({"$schema": "https://example.com/own"})).unwrap_err();
    assert_eq!(doubt.reason, DoubtReason::SchemaInvalid);
    assert!(doubt.message.contains("draft-04") && doubt.message.contains("2020-12"), "{doubt:?}");
}

#[test]
fn a_bad_schema_is_refused_with_what_is_wrong_with_it() {
    for (schema, expected) in [
        (json!({"type": "strnig"}), "strnig"),
        (json!({"properties": {"a": {"minimum": "x"}}}), "/properties/a/minimum"),
        (json!([]), "neither an object nor a boolean"),
        (json!({"pattern": "(a"}), "/pattern"),
        (json!({"pattern": "(a)\\1"}), "back-references"),
        (json!({"pattern": "((a{1,1000}){1,1000}){1,1000}"}), "too large"),
        (json!({"patternProperties": {"(?<=a)b": {}}}), "look-around"),
        (json!({"$ref": "https://example.com/x.json"}), "inline it under $defs"),
        (json!({"items": {"$ref": "file:///etc/passwd"}}), "inline it under $defs"),
        (json!({"$dynamicRef": "#node"}), "use $ref"),
        (json!({"allOf": [{"$ref": "#"}]}), "recurses without end"),
    ] {
        let doubt = compile(&schema).unwrap_err();
        assert_eq!(doubt.reason, DoubtReason::SchemaInvalid, "{schema}");
        assert!(doubt.message.contains(expected), "{} should contain {expected}", doubt.message);
    }
}

#[test]
fn an_exponential_schema_is_refused_before_it_is_compiled() {
    let mut defs = serde_json::Map::new();
    for i in 0..60 {
        let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
        defs.insert(format!("d{i}"), json!({"allOf": [next, next]}));
    }
    defs.insert("d60".to_owned(), json!({"type": "integer"}));
    let schema = json!({"$ref": "#/$defs/d0", "$defs": defs});
    let doubt = compile(&schema).unwrap_err();
    assert_eq!(doubt.reason, DoubtReason::SchemaTooCostly);
}

#[test]
fn the_longest_chain_of_refs_that_passes_compiles_on_a_small_stack() {
    let last = cost::schema::MAX_REF_CHAIN - 1;
    let mut defs = serde_json::Map::new();
    for i in 0..last {
        let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
        let level = json!({"allOf": [{"properties": {"a": {"items": {"anyOf": [next]}}}}]});
        defs.insert(format!("d{i}"), level);
    }
    defs.insert(format!("d{last}"), json!({"type": "integer"}));
    let schema = json!({"$ref": "#/$defs/d0", "$defs": defs});
    // Threads of a blocking pool have 2 MiB.
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let run = move || compile(&schema).unwrap().check(&json!({"a": [{"a": [3]}]}));
    assert_eq!(thread.spawn(run).unwrap().join().unwrap(), Verdict::Pass);
}

#[test]
fn a_regular_expression_that_would_backtrack_for_ever_is_matched() {
    let schema = compile(&json!({"pattern": "^(a+)+$"})).unwrap();
    let document = json!(format!("{}!", "a".repeat(50_000)));
    let verdict = schema.check(&document);
    assert!(matches!(verdict, Verdict::Fail(_)));
}

#[test]
fn missing_and_unknown_keys_are_named_by_their_own_pointer() {
    let schema = json!({"properties": {"a": {
        "type": "object", "required": ["x/y", "z"], "properties": {"q": {}}, "additionalProperties": false
    }}});
    let document = json!({"a": {"k~": 1, "m": 2, "q": 3}});
    let expected = [
        place("/a/k~0", "additionalProperties"),
        place("/a/m", "additionalProperties"),
        place("/a/x~1y", "required"),
        place("/a/z", "required"),
    ];
    assert_eq!(places(&schema, &document), expected);
    assert!(violations(&schema, &document)[2].message.contains("\"x/y\" is required"));
    let unevaluated = json!({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": false});
    assert_eq!(places(&unevaluated, &json!({"b": 1})), [place("/b", "unevaluatedProperties")]);
    let names = json!({"propertyNames": {"maxLength": 3}});
    assert_eq!(places(&names, &json!({"long/name": 1})), [place("/long~1name", "propertyNames")]);
}

#[test]
fn no_message_holds_a_value_of_the_document() {
    let schema = json!({"properties": {
        "a": {"type": "integer"}, "b": {"enum": ["x", "y"]}, "c": {"const": 1},
        "d": {"maxLength": 2}, "e": {"pattern": "^x"}, "f": {"format": "email"},
        "g": {"anyOf": [{"type": "null"}, {"maxLength": 1}]}, "h": {"not": {"type": "string"}},
        "i": {"pattern": "^(?!c)x"}, "j": {"oneOf": [{"type": "string"}, {"minLength": 1}]},
        "k": false, "l": {"uniqueItems": true}, "m": {"contains": {"type": "null"}},
        "n": {"items": {"type": "null"}}, "o": {"properties": {"p": {"multipleOf": 2}}},
        "q": {"contentEncoding": "base64"}, "r": {"minProperties": 3}, "s": {"propertyNames": {"enum": ["z"]}}
    }});
    let canary = "canary";
    let mut document = serde_json::Map::new();
    for key in "abcdefghijkq".chars() {
        document.insert(key.to_string(), json!(canary));
    }
    document.insert("l".into(), json!([canary, canary]));
    document.insert("m".into(), json!([canary]));
    document.insert("n".into(), json!([canary, 4711]));
    document.insert("o".into(), json!({"p": 4711}));
    document.insert("r".into(), json!({"v": canary}));
    let found = violations(&schema, &Value::Object(document));
    assert!(found.len() >= 14, "{found:#?}");
    let shown = format!("{found:?}");
    assert!(!shown.contains(canary) && !shown.contains("4711"), "{shown}");
}

#[test]
fn violations_are_sorted_without_doubles_and_at_most_two_hundred() {
    let schema = json!({"allOf": [{"items": {"type": "string"}}, {"items": {"type": "string"}}]});
    let document = json!((0..230).collect::<Vec<i32>>());
    let found = violations(&schema, &document);
    assert_eq!(found.len(), 200);
    let mut sorted = found.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(found, sorted);
    assert!(found[199].message.ends_with("(and 30 more)"), "{:?}", found[199]);
}

fn tree_of_widgets(union: &str) -> Value {
    let widget = |kind: &str, own: Value| {
        let mut properties =
            json!({"kind": {"const": kind}, "children": {"items": {"$ref": "#/$defs/widget"}}});
        properties.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        json!({"type": "object", "properties": properties, "required": ["kind"]})
    };
    let forms = [
        widget("row", json!({"gap": {"type": "integer"}})),
        widget("column", json!({"gap": {"type": "integer"}})),
        widget("text", json!({"text": {"type": "string"}})),
        widget("image", json!({"url": {"type": "string", "format": "uri"}})),
        widget("button", json!({"label": {"type": "string"}})),
    ];
    json!({"$ref": "#/$defs/widget", "$defs": {"widget": {union: forms}}})
}

#[test]
fn a_broken_leaf_deep_in_a_tree_of_unions_is_found_and_quickly() {
    for union in ["anyOf", "oneOf"] {
        let schema = compile(&tree_of_widgets(union)).unwrap();
        let mut document = json!({"kind": "text", "text": 4711});
        let mut path = "/text".to_owned();
        for level in 0..25 {
            let kind = if level % 2 == 0 { "row" } else { "column" };
            document = json!({"kind": kind, "children": [document]});
            path = format!("/children/0{path}");
        }
        let verdict = schema.check(&document);
        let Verdict::Fail(found) = verdict else { panic!() };
        let [violation] = found.as_slice() else { panic!("{found:#?}") };
        assert_eq!((violation.path.as_str(), violation.keyword.as_str()), (path.as_str(), "type"));
        // The validator's own list takes years here.
    }
}

#[test]
fn a_page_of_broken_trees_is_explained() {
    let schema = compile(&tree_of_widgets("oneOf")).unwrap();
    let tree =
        (0..40).fold(json!({"kind": "text", "text": "x".repeat(100_000)}), |below, level| {
            let gap = if level == 0 { json!("x") } else { json!(level) };
            json!({"kind": "row", "gap": gap, "children": [below]})
        });
    let page = json!({"kind": "row", "children": vec![tree; 8]});
    let verdict = schema.check(&page);
    let Verdict::Fail(found) = verdict else { panic!() };
    assert!(found.iter().filter(|violation| violation.keyword == "type").count() >= 4);
}

#[test]
fn a_union_reports_the_form_that_was_meant_or_itself() {
    let form = |kind: &str, key: &str, own: &str| json!({"type": "object", "properties": {"kind": {"const": kind}, key: {"type": own}}, "required": ["kind", key]});
    let schema =
        json!({"anyOf": [form("a", "n", "integer"), form("b", "s", "string"), {"type": "string"}]});
    for (document, expected) in [
        (json!({"kind": "a", "n": "x"}), place("/n", "type")),
        (json!({"kind": "b"}), place("/s", "required")),
        (json!(7), place("", "anyOf")),
    ] {
        assert_eq!(places(&schema, &document), [expected], "{document}");
    }
    let ambiguous = json!({"oneOf": [{"type": "string"}, {"minLength": 1}]});
    assert_eq!(places(&ambiguous, &json!("x")), [place("", "oneOf")]);
    let nullable = json!({"properties": {"a": {"anyOf": [{"type": "string", "maxLength": 2}, {"type": "null"}]}}});
    assert_eq!(places(&nullable, &json!({"a": "long"})), [place("/a", "maxLength")]);
}

#[test]
fn unions_are_opened_in_every_draft_and_under_an_own_id_and_odd_names() {
    for draft in [
        "http://json-schema.org/draft-04/schema#",
        "http://json-schema.org/draft-07/schema#",
        "https://json-schema.org/draft/2019-09/schema",
        "https://json-schema.org/draft/2020-12/schema",
    ] {
        let id = if draft.contains("draft-04") { "id" } else { "$id" };
        let schema = json!({
            "$schema": draft, id: "https://example.com/widget",
            "properties": {"a %/~ü#": {"$ref": "#/definitions/x%20y"}},
            "definitions": {"x y": {"oneOf": [
                {"type": "object", "properties": {"n": {"pattern": "^(?!x)a"}}, "required": ["n"]},
                {"type": "null"}
            ]}}
        });
        assert_eq!(check(&schema, &json!({"a %/~ü#": {"n": "a"}})), Verdict::Pass, "{draft}");
        let found = places(&schema, &json!({"a %/~ü#": {"n": "b"}}));
        assert_eq!(found, [place("/a %~1~0ü#/n", "pattern")], "{draft}");
    }
}

#[test]
fn a_key_that_a_failing_subschema_knows_is_not_called_unknown() {
    let base = json!({"properties": {"a": {"type": "string"}, "b": {}}, "required": ["z"]});
    let schema = json!({"properties": {"o": {"allOf": [base], "unevaluatedProperties": false}}});
    let both = json!({"o": {"a": "x", "b": 1, "c": 1}});
    assert_eq!(places(&schema, &both), [place("/o/z", "required")]);
    let wrong = json!({"o": {"a": 1, "z": 1}});
    assert_eq!(places(&schema, &wrong), [place("/o/a", "type")]);
    let unknown = json!({"o": {"a": "x", "z": 1}});
    assert_eq!(places(&schema, &unknown), [place("/o/z", "unevaluatedProperties")]);
}

#[test]
fn where_the_mark_fits_no_form_none_is_said_to_be_meant() {
    let schema = json!({"oneOf": [
        {"properties": {"kind": {"const": "a"}, "n": {}}, "required": ["kind", "n"]},
        {"properties": {"kind": {"const": "b"}}, "required": ["kind"]}
    ]});
    assert_eq!(places(&schema, &json!({"kind": "c"})), [place("", "oneOf")]);
    assert_eq!(places(&schema, &json!({"kind": "a"})), [place("/n", "required")]);
}

#[test]
fn a_schema_with_a_relative_id_is_explained() {
    let schema = json!({"$id": "widget.json", "properties": {"a": {"anyOf": [
        {"$ref": "#/$defs/text"}, {"type": "null"}
    ]}}, "$defs": {"text": {"type": "string", "maxLength": 2}}});
    assert_eq!(places(&schema, &json!({"a": "long"})), [place("/a", "maxLength")]);
}

#[test]
fn more_objections_than_memory_holds_are_not_gathered() {
    let names: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
    let schema = compile(&json!({"items": {"required": names}})).unwrap();
    let verdict = schema.check(&json!(vec![json!({}); 200_000]));
    let Verdict::Fail(found) = verdict else { panic!() };
    assert_eq!(found[0].keyword, "required");
}

#[test]
fn alternatives_that_each_compile_the_whole_schema_are_compiled_within_limits() {
    let large: serde_json::Map<String, Value> =
        (0..10_000).map(|i| (format!("p{i}"), json!({"type": "string"}))).collect();
    let forms: Vec<Value> = (0..200)
        .map(|i| json!({"properties": {"k": {"const": i}, "l": {"$ref": "#/$defs/large"}}}))
        .collect();
    let schema = json!({"anyOf": forms, "$defs": {"large": {"properties": large}}});
    let schema = compile(&schema).unwrap();
    let verdict = schema.check(&json!({"k": "x"}));
    let Verdict::Fail(found) = verdict else { panic!() };
    assert_eq!(found[0].keyword, "anyOf");
}

proptest! {
    /// The explaining validator must never call a document good that the plain one calls bad.
    #[test]
    fn every_invalid_document_is_explained_at_a_place_that_exists_or_is_missing(
        kinds in prop::collection::vec(0..7_usize, 1..5), value in 0..4_usize,
    ) {
        let names = ["row", "column", "text", "image", "button", "nothing", ""];
        let values = [json!(1), json!("x"), json!(null), json!([])];
        let mut document = json!({"kind": "text", "text": values[value]});
        for kind in kinds {
            document = json!({"kind": names[kind], "gap": values[value], "children": [document]});
        }
        let schema = tree_of_widgets("oneOf");
        let plain = jsonschema::options().offline().build(&schema).unwrap();
        match check(&schema, &document) {
            Verdict::Pass => prop_assert!(plain.is_valid(&document)),
            Verdict::Fail(found) => {
                prop_assert!(!plain.is_valid(&document));
                for violation in found {
                    prop_assert_ne!(&violation.keyword, "schema");
                    let there = document.pointer(&violation.path).is_some();
                    prop_assert!(there || violation.keyword == "required", "{:?}", violation);
                }
            }
            Verdict::Unknown(doubt) => prop_assert!(false, "{:?}", doubt),
        }
    }
}
