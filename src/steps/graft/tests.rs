//! Laws and tables of what is taken from another document.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    domain::patch::apply,
    steps::tests::{documents, view},
};

fn plan(document: &Value, donors: &[&Value], failing: &[(&str, &str)]) -> Proposal {
    let numbers = (1..).map(ValueFrom::Revision);
    let donors: Vec<Donor<'_>> =
        donors.iter().zip(numbers).map(|(value, from)| Donor { value, from }).collect();
    failing_parts(&view(document, failing), &donors)
}

/// The document after the failing parts were taken from one donor.
fn grafted(document: &Value, donor: &Value, paths: &[&str]) -> Value {
    let failing: Vec<_> = paths.iter().map(|path| (*path, "type")).collect();
    match plan(document, &[donor], &failing) {
        Proposal::Change(ops) => apply(document, &ops).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_good_part_of_an_edit_survives() {
    let good = json!({"title": "old", "price": 1, "images": {"hero": "a.png"}});
    let edit = json!({"title": "new", "price": "free", "images": {"hero": "b.png"}});
    let healed = json!({"title": "new", "price": 1, "images": {"hero": "b.png"}});
    assert_eq!(grafted(&edit, &good, &["/price"]), healed);
}

#[test]
fn the_smallest_part_that_makes_a_difference_is_taken() {
    // Document, donor, failing place, healed document.
    let cases = [
        // Missing: added.
        (json!({"x": 1}), json!({"x": 0, "a": 2}), "/a", json!({"x": 1, "a": 2})),
        // Not in the donor and not required: taken away.
        (json!({"x": 1, "a": "?"}), json!({"x": 0}), "/a", json!({"x": 1})),
        (json!({"x": 1, "a": {"b": {}}}), json!({"x": 0}), "/a/b/c", json!({"x": 1})),
        // The parent is missing or has another shape: the parent.
        (json!({"x": 1}), json!({"a": {"b": 2}}), "/a/b", json!({"x": 1, "a": {"b": 2}})),
        (json!({"x": 1, "a": "?"}), json!({"a": {"b": 2}}), "/a/b", json!({"x": 1, "a": {"b": 2}})),
        // Equal there, so what is around it must be wrong.
        (
            json!({"x": 1, "a": {"b": 2, "c": 3}}),
            json!({"a": {"b": 2, "c": 4}}),
            "/a/b",
            json!({"x": 1, "a": {"b": 2, "c": 4}}),
        ),
        (json!({"a~/b": "?", "x": 1}), json!({"a~/b": 2}), "/a~0~1b", json!({"a~/b": 2, "x": 1})),
    ];
    for (document, donor, failing, healed) in cases {
        assert_eq!(grafted(&document, &donor, &[failing]), healed, "{failing} of {document}");
    }
}

#[test]
fn a_required_member_is_not_taken_away_but_what_is_around_it_is_replaced() {
    let schema = json!({"properties": {"card": {"required": ["kind", "price"]}}});
    let document = json!({"x": 1, "card": {"kind": "offer", "price": "?"}});
    let donor = json!({"card": {"kind": "text"}});
    let mut view = view(&document, &[("/card/price", "type")]);
    let donors = [Donor { value: &donor, from: ValueFrom::Source }];
    let removal = Op::remove("/card/price");
    assert_eq!(failing_parts(&view, &donors), Proposal::Change(vec![removal]));
    view.schema = Some(&schema);
    let card = Op::replace("/card", donor["card"].clone(), ValueFrom::Source);
    assert_eq!(failing_parts(&view, &donors), Proposal::Change(vec![card]));
}

#[test]
fn an_element_is_found_by_its_identity_and_not_by_its_index() {
    let good = json!([{"id": "a", "lat": 1}, {"id": "b", "lat": 2}]);
    // List, failing places in it, healed list.
    let cases = [
        // Moved.
        (
            json!([{"id": "b", "lat": "?", "new": 1}, {"id": "a", "lat": 9}]),
            vec!["/list/0/lat"],
            json!([{"id": "b", "lat": 2, "new": 1}, {"id": "a", "lat": 9}]),
        ),
        // Put in: goes again, and the ones beside it stay.
        (
            json!([{"id": "c", "lat": "?"}, {"id": "b", "lat": 9}, {"id": "a", "lat": 8}]),
            vec!["/list/0/lat"],
            json!([{"id": "b", "lat": 9}, {"id": "a", "lat": 8}]),
        ),
        // Several of them: no index moves under another.
        (
            json!([{"id": "c"}, {"id": "b", "lat": "?"}, {"id": "d"}, {"id": "a", "lat": 8}]),
            vec!["/list/0/lat", "/list/1/lat", "/list/2/lat"],
            json!([{"id": "b", "lat": 2}, {"id": "a", "lat": 8}]),
        ),
        // Put in for another: that one comes back.
        (
            json!([{"id": "a", "lat": 9}, {"id": "c", "lat": "?"}]),
            vec!["/list/1/lat"],
            json!([{"id": "a", "lat": 9}, {"id": "b", "lat": 2}]),
        ),
        // Without an identity of its own.
        (
            json!([{"id": "a", "lat": 9}, {"lat": 3}]),
            vec!["/list/1/id"],
            json!([{"id": "a", "lat": 9}, {"id": "b", "lat": 2}]),
        ),
        // One identity twice: the list as a whole.
        (json!([{"id": "a", "lat": "?"}, {"id": "a"}]), vec!["/list/0/lat"], good.clone()),
    ];
    for (list, failing, healed) in cases {
        let of = |list: &Value| json!({"list": list, "x": 1});
        assert_eq!(grafted(&of(&list), &of(&good), &failing), of(&healed), "{list}");
    }
}

#[test]
fn elements_that_go_do_so_from_the_end_of_a_long_list() {
    let good = json!([{"id": 0}, {"id": 1}]);
    let edit: Vec<Value> = (0..12).map(|id| json!({ "id": id })).collect();
    let failing = ["/2/x", "/9/x", "/10/x", "/11/x"];
    let healed: Vec<Value> =
        [0, 1, 3, 4, 5, 6, 7, 8].iter().map(|id| json!({ "id": id })).collect();
    assert_eq!(grafted(&json!(edit), &good, &failing), json!(healed));
}

#[test]
fn members_of_two_elements_are_never_mixed() {
    let good = json!({"list": [{"slug": "a", "price": 1}, {"slug": "b", "price": 2}]});
    let edit = json!({"list": [{"slug": "c", "price": "?"}, {"slug": "b", "price": 9}]});
    let healed = grafted(&edit, &good, &["/list/0/price"]);
    assert_eq!(healed["list"][0], good["list"][0]);
    assert_eq!(healed["list"][1], edit["list"][1]);
}

#[test]
fn a_list_without_identities_is_taken_whole_when_its_length_differs() {
    let good = json!({"tags": ["a", "b"]});
    assert_eq!(grafted(&json!({"tags": ["a", 7, "c"]}), &good, &["/tags/1"]), good);
    let same_length = json!({"tags": ["z", 7]});
    assert_eq!(grafted(&same_length, &good, &["/tags/1"]), json!({"tags": ["z", "b"]}));
}

#[test]
fn what_is_below_a_part_that_is_taken_is_taken_with_it() {
    let good = json!({"a": {"b": 1, "c": 2}, "a-": 3});
    let edit = json!({"a": {"b": "?", "c": "?"}, "a-": "?"});
    let failing = [("/a", "minProperties"), ("/a/b", "type"), ("/a-", "type"), ("/a/c", "type")];
    let Proposal::Change(ops) = plan(&edit, &[&good], &failing) else { panic!() };
    let places: Vec<&str> = ops.iter().map(|op| op.path.as_str()).collect();
    assert_eq!(places, ["/a", "/a-"]);
}

#[test]
fn the_next_donor_is_asked_before_more_is_taken() {
    let document = json!({"a": {"b": "?", "c": 1}});
    let donors = [json!({"a": {"c": 2}}), json!({"a": {"b": "?"}}), json!({"a": {"b": 3}})];
    let op = Op::replace("/a/b", json!(3), ValueFrom::Revision(3));
    let all: Vec<&Value> = donors.iter().collect();
    assert_eq!(plan(&document, &all, &[("/a/b", "type")]), Proposal::Change(vec![op]));
}

#[test]
fn what_is_about_the_whole_document_is_not_answered_with_a_part() {
    let document = json!({"publishedAt": "2020-01-01"});
    let donor = json!({"publishedAt": "2026-01-01"});
    for failing in [("", "cel"), ("", "type"), ("/publishedAt", "freshness")] {
        let Proposal::Nothing(why) = plan(&document, &[&donor], &[failing]) else { panic!() };
        assert!(why.contains("schema") && why.contains("scope: Document"), "{why}");
    }
}

#[test]
fn when_nothing_differs_the_places_are_named_without_their_values() {
    let document = json!({"a": "canary"});
    let Proposal::Nothing(why) = plan(&document, &[&document], &[("/a", "pattern")]) else {
        panic!()
    };
    assert!(why.contains("/a") && !why.contains("canary"), "{why}");
}

#[test]
fn what_fails_at_a_path_that_was_cut_is_left() {
    let key = "k".repeat(600);
    let document = json!({"a": {key.clone(): "?"}, "x": 1});
    let donor = json!({"a": {"b": 1}});
    let cut = format!("/a/{key}");
    let Proposal::Nothing(why) = plan(&document, &[&donor], &[(&cut, "type")]) else { panic!() };
    assert!(why.contains("/a/kkk"), "{why}");
}

#[test]
fn a_list_without_identities_whose_elements_have_moved_is_taken_whole() {
    let card = |title: &str, price: Value| json!({"title": title, "price": price});
    let good = json!({"list": [card("a", json!(1)), card("b", json!(2))]});
    let edit = json!({"list": [card("b", json!(2)), card("a", json!("?"))]});
    // Taken by its index, the price of b would become the price of a.
    assert_eq!(grafted(&edit, &good, &["/list/1/price"]), good);
    let unmoved = json!({"list": [card("new", json!(1)), card("b", json!("?"))]});
    let healed = json!({"list": [card("new", json!(1)), card("b", json!(2))]});
    assert_eq!(grafted(&unmoved, &good, &["/list/1/price"]), healed);
}

#[test]
fn many_places_in_a_long_list_take_no_longer_than_reading_it() {
    let list = |price: &Value| -> Value {
        (0..20_000).map(|id| json!({"id": id, "more": {"price": price}})).collect()
    };
    let donors: Vec<Value> = (0..10).map(|price| list(&json!(price))).collect();
    let places: Vec<String> = (0..200).map(|at| format!("/{}/more/price", at * 100)).collect();
    let failing: Vec<_> = places.iter().map(|place| (place.as_str(), "type")).collect();
    let donors: Vec<&Value> = donors.iter().collect();
    let Proposal::Change(ops) = plan(&list(&json!("?")), &donors, &failing) else { panic!() };
    assert_eq!(ops.len(), 200);
}

/// Places that may or may not be in one of [`documents`].
fn places() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("(/([a-c]|id|[0-2])){1,4}", 1..5)
}

proptest! {
    #[test]
    fn a_graft_applies_and_changes_only_what_fails_or_is_above_it(
        document in documents(), donors in prop::collection::vec(documents(), 1..3),
        paths in places(), keyword in "type|required|additionalProperties",
    ) {
        let failing: Vec<(&str, &str)> =
            paths.iter().map(|path| (path.as_str(), keyword.as_str())).collect();
        let donors: Vec<&Value> = donors.iter().collect();
        let proposal = plan(&document, &donors, &failing);
        prop_assert_eq!(&proposal, &plan(&document, &donors, &failing));
        if let Proposal::Change(ops) = proposal {
            prop_assert!(apply(&document, &ops).is_ok(), "{:?} on {}", ops, document);
            for op in &ops {
                prop_assert!(!op.path.is_empty());
                let is_at_or_above =
                    |path: &String| *path == op.path || above(path).any(|upper| upper == op.path);
                prop_assert!(paths.iter().any(is_at_or_above), "{}", op.path);
            }
        }
    }

    #[test]
    fn every_value_comes_from_a_donor(
        document in documents(), donor in documents(), paths in places()
    ) {
        let failing: Vec<(&str, &str)> =
            paths.iter().map(|path| (path.as_str(), "type")).collect();
        if let Proposal::Change(ops) = plan(&document, &[&donor], &failing) {
            for value in ops.iter().filter_map(|op| op.value.as_ref()) {
                prop_assert!(holds(&donor, value));
            }
        }
    }

    #[test]
    fn one_bad_member_is_healed_and_every_other_edit_is_kept(
        good in prop::collection::btree_map("[a-f]", 0..9_u8, 1..6), edits in any::<[u8; 6]>(),
        which in any::<prop::sample::Index>(),
    ) {
        let bad = which.get(&good.keys().cloned().collect::<Vec<_>>()).clone();
        let mut edit: serde_json::Map<String, Value> =
            good.keys().zip(edits).map(|(key, value)| (key.clone(), json!(value))).collect();
        edit.insert(bad.clone(), json!("broken"));
        let healed = grafted(&json!(edit), &json!(good), &[&format!("/{bad}")]);
        edit.insert(bad.clone(), json!(good[&bad]));
        prop_assert_eq!(healed, json!(edit));
    }
}

fn holds(whole: &Value, part: &Value) -> bool {
    whole == part
        || match whole {
            Value::Object(map) => map.values().any(|below| holds(below, part)),
            Value::Array(items) => items.iter().any(|below| holds(below, part)),
            _ => false,
        }
}
