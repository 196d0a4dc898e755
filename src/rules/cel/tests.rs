//! The `cel` rule: what expressions say of documents, what is refused, and how soon it ends.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn rule(expression: &str) -> CelRule {
    CelRule { expression: expression.to_owned(), message: None, message_expression: None }
}

fn check(expression: &str, document: &Value) -> Verdict {
    compile(&rule(expression))
        .unwrap_or_else(|doubt| panic!("{expression}: {doubt:?}"))
        .check(document)
}

fn message(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Fail(violations) => {
            let at = (violations[0].path.as_str(), violations[0].keyword.as_str());
            assert_eq!(at, ("", "cel"));
            violations[0].message.clone()
        }
        other => panic!("{other:?}"),
    }
}

fn refused(expression: &str) -> Doubt {
    compile(&rule(expression)).map(|_| expression.to_owned()).unwrap_err()
}

#[test]
fn a_compiled_expression_can_be_shared_between_threads() {
    fn shareable<T: Send + Sync>(_: &T) {}
    shareable(&compile(&rule("true")).unwrap());
}

#[test]
fn expressions_are_true_or_false_of_the_document() {
    let document = json!({
        "data": {"country": "gb", "tags": ["a", "b"], "price": 5.0, "count": 5, "big": u64::MAX},
        "items": [{"id": 1, "tags": ["x"]}, {"id": 2, "tags": []}],
        "url": "https://example.com/a", "none": null,
    });
    for (expression, expected) in [
        ("self.data.country == 'gb'", true),
        ("self.data.country != 'gb'", false),
        ("self['data'].tags.size() == 2 && 'a' in self.data.tags", true),
        ("has(self.data.country) && !has(self.data.city)", true),
        ("self.items.all(i, i.id > 0)", true),
        ("self.items.exists_one(i, i.tags.exists(t, t == 'x'))", true),
        ("self.items.filter(i, i.id == 2).size() == 1", true),
        ("self.items.map(i, i.id).sum() == 3", true),
        ("self.items.map(i, i.id > 1, i.tags) == [[]]", true),
        ("self.items.map(i, i.tags.map(t, t + string(i.id))) == [['x1'], []]", true),
        ("self.data.map(k, k).exists(k, k == 'tags')", true),
        ("self.items.filter(i, i.id == 3) == []", true),
        ("self.items.map(i, i.id).map(i, i + 1).map(j, j == 2 || j == 3) == [true, true]", true),
        ("self.data.tags.isSorted()", true),
        ("url(self.url).getHost() == 'example.com'", true),
        ("self.url.matches('^https://') && matches(self.url, 'a$')", true),
        ("self.none == null", true),
        ("self.data.big > 9223372036854775807", true),
        ("sets.contains(self.data.tags, ['a'])", true),
        ("math.greatest(1, 2) == 2", true),
        ("self.data.country.startsWith('g') ? true : false", true),
        ("{'a': self.data.count}.a == 5", true),
        ("'5'.matches(r'^\\d$') // a comment with !! and ((((", true),
    ] {
        let verdict = check(expression, &document);
        assert_eq!(verdict == Verdict::Pass, expected, "{expression}: {verdict:?}");
        assert!(!matches!(verdict, Verdict::Unknown(_)), "{expression}: {verdict:?}");
    }
}

#[test]
fn equal_numbers_are_equal_whatever_their_type() {
    let document = json!({"i": 5, "d": 5.0, "h": 5.5});
    for (expression, expected) in [
        ("self.i == 5 && self.i == 5.0 && self.d == 5 && self.d == 5.0", true),
        ("5 == self.d && !(self.d != 5) && self.h != 5", true),
        ("self.d in [1, 5] && self.i in [5.0]", true),
        ("self.h == 5.5 && self.h > 5 && self.h < 6", true),
        ("self.h == 5", false),
    ] {
        assert_eq!(check(expression, &document) == Verdict::Pass, expected, "{expression}");
    }
}

#[test]
fn numbers_are_equal_by_value_in_lists_and_between_fields_too() {
    let document = json!({"i": 5, "d": 5.0, "list": [1, 2], "doubles": [1.0, 2.0],
        "long": 9_007_199_254_740_993_i64});
    for (expression, expected) in [
        ("self.i == self.d && self.d == 2 + 3 && !(self.i != self.d)", true),
        ("self.i == 5u && self.i in [5u] && 1.0 in self.list && 1 in self.doubles", true),
        ("self.list == self.doubles && self.list == [1.0, 2.0]", true),
        ("{'a': 1.0} == {'a': self.list[0]} && {1: 2} != {1: 3}", true),
        ("1.0 in {1: 'a'} && !('x' in {'y': 1})", true),
        ("self.long == 9007199254740992.0", false),
        ("self.list == [1, 3] || self.list == [1] || self.list == 1", false),
    ] {
        assert_eq!(check(expression, &document) == Verdict::Pass, expected, "{expression}");
    }
}

#[test]
fn one_element_that_decides_outweighs_those_that_cannot_be_judged() {
    let document = json!({"items": [{"a": 1}, {"b": 2}]});
    for (expression, expected) in [
        ("self.items.exists(i, i.b == 2) && self.items.exists(i, i.a == 1)", true),
        ("!self.items.all(i, i.b == 3)", true),
        ("self.items.exists(i, self.items.exists(j, j.b == 2 && i.a == 1))", true),
        ("self.items.all(i, i.b == 2)", false),
    ] {
        assert_eq!(check(expression, &document) == Verdict::Pass, expected, "{expression}");
    }
    let undecided = message(&check("self.items.exists(i, i.b == 3)", &document));
    assert!(undecided.contains("the key \"b\" is missing"), "{undecided}");
}

#[test]
fn a_text_is_as_long_as_its_characters() {
    let document = json!({"title": "\u{dc}ber \u{1f600}"});
    assert_eq!(check("self.title.size() == 6 && size(self.title) == 6", &document), Verdict::Pass);
}

#[test]
fn a_time_zone_is_refused_since_the_interpreter_ignores_it() {
    let doubt = refused("timestamp(self.t).getHours('Europe/Berlin') < 18");
    assert_eq!(doubt.reason, DoubtReason::ExpressionInvalid);
    assert!(doubt.message.contains("getHours with a time zone"), "{}", doubt.message);
}

#[test]
fn an_error_that_lies_in_the_document_is_a_fail_that_says_so_without_values() {
    let document = json!({"name": "canary", "n": i64::MAX, "list": [1], "zero": 0, "map": {}});
    for (expression, expected) in [
        ("self.missing == 1", "the key \"missing\" is missing"),
        ("self.map[self.name] == 1", "a key is missing"),
        ("self.name.first == 'x'", "type"),
        ("self.name.first != 'x'", "type"),
        ("self.name + 1 == 2", "type"),
        ("self.n + 1 > 0", "overflows"),
        ("1 / self.zero > 0", "divides by zero"),
        ("self.list[5] == 1", "too short"),
        ("self.name.all(c, true)", "type"),
        ("self.name.map(c, true) == []", "type"),
        ("self.list.filter(i, self.name) == []", "type"),
        ("self.list.map(i, i.id) == []", "type"),
        ("int(self.name) > 0", "int cannot take"),
        ("self.name < 1", "type"),
    ] {
        let message = message(&check(expression, &document));
        assert!(message.contains(expected), "{expression}: {message}");
        assert!(!message.contains("canary") && !message.contains("922337"), "{message}");
    }
}

#[test]
fn an_error_that_no_document_avoids_is_the_authors_and_unknown() {
    for (expression, expected) in [
        ("self.a ==", "does not compile, line 1"),
        ("this.a == 1", "\"this\", which is not there; self is the document"),
        ("self.items.all(i, j > 1)", "\"j\""),
        ("self.a == 1 && nope(self.a)", "\"nope\""),
        ("sets.nope(self.a, self.a)", "\"sets.nope\""),
        ("self.a.frobnicate()", "\"frobnicate\""),
        ("Foo{a: 1} == 1", "make a map"),
        ("!!self.a", "has !!"),
        ("1 - - 1 == 2", "has --"),
        ("self.a.matches('(')", "pattern that is not valid"),
        ("size(self.a)", "a number; it must return a bool"),
        ("self.items.map(i, i)", "a list"),
        ("'text'", "a string"),
        ("self", "the document"),
        ("self.a ? 1 : 2", "a number"),
    ] {
        let doubt = refused(expression);
        assert_eq!(doubt.reason, DoubtReason::ExpressionInvalid, "{expression}: {doubt:?}");
        assert!(doubt.message.contains(expected), "{expression}: {}", doubt.message);
        assert!(doubt.message.contains("cel.expression"), "{}", doubt.message);
    }
    let Verdict::Unknown(doubt) = check("self.a", &json!({"a": "x"})) else { panic!() };
    assert_eq!(doubt.reason, DoubtReason::ExpressionInvalid);
    assert!(doubt.message.contains("did not return a bool"));
}

#[test]
fn the_message_is_the_most_special_one_that_can_be_made() {
    let with = |plain: Option<&str>, made: Option<&str>| {
        let rule = CelRule {
            expression: "self.n > 5".to_owned(),
            message: plain.map(str::to_owned),
            message_expression: made.map(str::to_owned),
        };
        message(&compile(&rule).unwrap().check(&json!({"n": 1})))
    };
    let made = with(Some("too few"), Some("'need ' + string(6 - self.n) + ' more'"));
    assert_eq!(made, "need 5 more");
    for useless in ["self.missing", "self.n", "''", "'  '"] {
        assert_eq!(with(Some("too few"), Some(useless)), "too few", "{useless}");
    }
    assert_eq!(with(None, None), "the expression is false: self.n > 5");
    let long = format!("'{}'", "x".repeat(2_000));
    assert_eq!(with(None, Some(&long)).len(), 512);
}

#[test]
fn what_could_run_away_is_refused_before_it_runs() {
    let loops = |count: usize| {
        (0..count).fold("true".to_owned(), |inner, i| format!("self.all(x{i}, {inner})"))
    };
    let cases = [
        (format!("self.a == '{}'", "x".repeat(64 * 1024)), "4096"),
        (loops(3), "2 loops"),
        ("self.a.all(a, a.b.all(b, b.c.all(c, c.d.all(d, d))))".to_owned(), "3 loops"),
        (format!("{}true{}", "(".repeat(40), ")".repeat(40)), "24 brackets"),
        (format!("{}true{}", "!(".repeat(40), ")".repeat(40)), "24 brackets"),
        (format!("1{} > 0", "+1".repeat(1_000)), "160 operators"),
        (format!("self{} == 1", ".a".repeat(1_000)), "160 operators"),
        ("self.a.matches(self.b)".to_owned(), "not a literal"),
        ("matches(self.a, self.b)".to_owned(), "not a literal"),
        (format!("self.a.matches('{}')", "x".repeat(600)), "512 bytes"),
        ("self.a.matches('((a{1,100}){1,100}){1,100}')".to_owned(), "compiled"),
        ("lists.range(1000000000).size() > 1".to_owned(), "lists.range"),
        ("'%.1000000000f'.format([1.0]) == ''".to_owned(), "precision"),
    ];
    for (expression, expected) in cases {
        let doubt = refused(&expression);
        assert_eq!(doubt.reason, DoubtReason::ExpressionTooCostly, "{expected}: {doubt:?}");
        assert!(doubt.message.contains(expected), "{expected}: {}", doubt.message);
    }
    compile(&rule("self.rows.all(r, r.cells.all(c, c.tags.all(t, t != '')))")).unwrap();
}

#[test]
fn an_expression_at_every_limit_runs_on_a_small_stack() {
    let nest = cost::MAX_NESTING;
    let chain = "+1".repeat(cost::MAX_CHAIN - nest - 2);
    let expressions = [
        format!("{}true{}", "!(".repeat(nest), ")".repeat(nest)),
        format!("1{} > 0", "+1".repeat(cost::MAX_CHAIN - 2)),
        format!("{}1{} != 1", "[".repeat(nest), "]".repeat(nest)),
        format!("{}1{chain}{} > 0", "(".repeat(nest), ")".repeat(nest)),
        format!("{}1{chain}{} != 1", "[".repeat(nest), "]".repeat(nest)),
    ];
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        for expression in expressions {
            assert_eq!(check(&expression, &json!(1)), Verdict::Pass, "{expression}");
        }
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn what_is_cheap_on_one_document_is_refused_on_a_large_one() {
    let items =
        |count: i32| json!({"items": (0..count).map(|id| json!({"id": id})).collect::<Vec<_>>()});
    let pairs = "self.items.all(a, self.items.exists(b, b.id == a.id))";
    assert_eq!(check(pairs, &items(100)), Verdict::Pass);
    let large = items(20_000);
    for costly in [
        pairs,
        "self.items.all(i, i.id in self.items.map(j, j.id))",
        // A regular expression is compiled at each call.
        "self.items.all(i, string(i.id).matches('^[0-9]{1,60}$'))",
        // The whole list is handed to a function at each turn.
        "self.items.all(i, self.items.size() > 0)",
    ] {
        let verdict = check(costly, &large);
        let Verdict::Unknown(doubt) = verdict else { panic!("{costly}: {verdict:?}") };
        assert_eq!(doubt.reason, DoubtReason::ExpressionTooCostly);
        assert!(doubt.message.contains("5000000"), "{}", doubt.message);
    }
    // One loop over as many is fine, and so is one over what each of them holds.
    for linear in [
        "self.items.all(i, i.id >= 0)",
        "self.items.all(i, has(i.id) && [i.id].all(x, x >= 0))",
        "self.items.map(i, i.id).size() == 20000",
        "self.items.filter(i, i.id < 10).map(i, i.id).sum() == 45",
    ] {
        let verdict = check(linear, &large);
        assert_eq!(verdict, Verdict::Pass, "{linear}");
    }
    let text = json!({"text": "a".repeat(20_000)});
    let bomb = "self.text.replace('', self.text).replace('', 'xxxxxxxx').size() > 0";
    assert!(matches!(check(bomb, &text), Verdict::Unknown(_)));
}

#[test]
fn what_is_large_in_one_place_is_not_averaged_over_many() {
    let mut rows = vec![json!({"l": [], "b": []}); 10_000];
    rows[0] = json!({"l": vec![1; 10_000], "b": vec![1; 20_000]});
    let rows = json!(rows);
    let text = json!({"a": "a".repeat(200_000), "b": format!("{}b", "a".repeat(20_000)), "n": vec![0; 99]});
    for (costly, document) in [
        ("self.all(x, x.l.all(y, x.l.all(z, z == 1)))", &rows),
        ("self.all(x, x.l.all(y, x.b.size() >= 0))", &rows),
        ("self.a.indexOf(self.b) == -1", &text),
        ("self.a.findAll('.*[^a-z]|[a-z]').size() > 0", &text),
        ("self.n.all(x, self.a.split('').size() > 0 && self.a.split('').size() > 0)", &text),
        ("self.a.matches('[ab]*a[ab]{400}c')", &text),
    ] {
        let verdict = check(costly, document);
        let Verdict::Unknown(doubt) = verdict else { panic!("{costly}: {verdict:?}") };
        assert_eq!(doubt.reason, DoubtReason::ExpressionTooCostly, "{costly}");
    }
}

#[test]
fn a_page_of_text_can_be_searched() {
    let document = json!({"body": "x".repeat(20_000), "tags": {"a": "b"}});
    for cheap in [
        "!self.body.contains('<script') && self.body.indexOf('y') == -1",
        "self.body.replace('y', '--') == self.body",
        "self.body.matches('^x+$') && self.body.split(',').size() == 1",
    ] {
        assert_eq!(check(cheap, &document), Verdict::Pass, "{cheap}");
    }
    let names: serde_json::Map<String, Value> =
        (0..5_000).map(|i| (format!("k{i}"), json!("text"))).collect();
    assert_eq!(check("self.all(k, self[k] != '')", &json!(names)), Verdict::Pass);
}

fn any_expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "self", "self.a", "self.a.b", "x", "1", "2.5", "'s'", "true", "null", "[1, 2]", "{'a': 1}",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
        let op = prop::sample::select(vec!["==", "!=", "<", "+", "-", "*", "/", "&&", "||", "in"]);
        let loops = prop::sample::select(vec!["all", "exists", "map", "filter", "exists_one"]);
        let call = prop::sample::select(vec![
            "size()",
            "lowerAscii()",
            "distinct()",
            "matches('a+')",
            "split('a')",
            "flatten()",
            "reverse()",
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (inner.clone(), loops, inner.clone()).prop_map(|(a, l, b)| format!("{a}.{l}(x, {b})")),
            (inner.clone(), call).prop_map(|(a, call)| format!("{a}.{call}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
        ]
    })
}

proptest! {
    /// What the gate lets through ends soon, and says nothing of the document's values.
    #[test]
    fn whatever_passes_ends_and_keeps_values_to_itself(expression in any_expression()) {
        let items: Vec<Value> =
            (0..300).map(|i| json!({"b": [i, "canary"], "a": "canary"})).collect();
        let document = json!({"a": items, "b": "canary"});
        if let Ok(compiled) = compile(&rule(&expression)) {
            let verdict = compiled.check(&document);
            let shown = format!("{verdict:?}");
            prop_assert!(!shown.contains("canary"), "{}: {}", expression, shown);
        }
    }
}
