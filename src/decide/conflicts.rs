//! Which policies only their age or their names tell apart: a choice that nobody made.
//!
//! Two policies of a namespace conflict when one failure could be matched by both, as specifically
//! and with the same priority. [`super::select`] then lets the older one win, always the same; both
//! say so in their status, since whoever wrote them may have meant the other one.
//!
//! - Widgets, rules, severities and causes: what both give must have something in common; what one
//!   of them leaves out fits the other. Without `severities` a policy is for Critical rules.
//! - Types and keywords: there must be a kind of failure that both are for. One document can break
//!   several keywords of its schema at once, so two policies for different ones conflict.
//! - Labels: where one of them gives a `selector`, there must be a contract in the namespace that
//!   both are for. Without selectors they conflict before there is any contract.
//! - Two with `default: true` conflict always.
//! - A suspended policy wins all the same, and then holds: it conflicts like any other. So does one
//!   whose status says that it has a fault, as long as it can be read.

use std::collections::BTreeMap;

use crate::{api::policy::Match, domain::text, rules::RuleType};

use super::select::{Policy, is_for, level, severities};

/// The reason of the condition.
pub const REASON: &str = "SameSpecificityAndPriority";

/// So many names are shown of those that win, and of those that lose: what is said must not be cut.
const NAMED: usize = 3;

/// Another policy that one ties with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Its name.
    pub name: String,
    /// Is it the one that repairs what both match?
    pub wins: bool,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of a rule of this type.
    Of(RuleType),
    /// The document is not JSON, so no rule was asked.
    NotJson,
}

const KINDS: [Kind; 6] = [
    Kind::Of(RuleType::Schema),
    Kind::Of(RuleType::Cel),
    Kind::Of(RuleType::Asset),
    Kind::Of(RuleType::Metadata),
    Kind::Of(RuleType::Freshness),
    Kind::NotJson,
];

/// The policies among `others` that `own` ties with, in the order in which they would win;
/// `contracts` are the widgets and labels of all contracts of the namespace.
#[must_use]
pub fn rivals<'a>(
    own: &Policy,
    others: impl Iterator<Item = &'a Policy>,
    contracts: impl Iterator<Item = (&'a str, &'a BTreeMap<String, String>)>,
) -> Vec<Rival> {
    let could_tie = others.filter(|other| tie(own, other));
    let (mut undecided, mut found): (Vec<&Policy>, Vec<&Policy>) =
        could_tie.partition(|other| has_selector(own) || has_selector(other));
    // One pass, and only as long as something is open: there may be ten thousand contracts.
    for (widget, labels) in contracts {
        if undecided.is_empty() {
            break;
        }
        if is_for(&own.spec, widget, labels) {
            found.extend(undecided.extract_if(.., |other| is_for(&other.spec, widget, labels)));
        }
    }
    found.sort_by(|a, b| a.rank().cmp(&b.rank()));
    let rival =
        |other: &Policy| Rival { name: other.name.clone(), wins: other.rank() < own.rank() };
    found.into_iter().map(rival).collect()
}

/// What the condition says; None where there is nothing to say.
#[must_use]
pub fn message(rivals: &[Rival]) -> Option<String> {
    let names = |wins: bool| {
        let names: Vec<&str> =
            rivals.iter().filter(|rival| rival.wins == wins).map(|r| r.name.as_str()).collect();
        let shown = names[..names.len().min(NAMED)].join(", ");
        match names.len() {
            0 => None,
            more if more > NAMED => Some(format!("{shown} and {} more", more - NAMED)),
            _ => Some(shown),
        }
    };
    let comes = match (names(true), names(false)) {
        (None, None) => return None,
        (Some(winners), None) => format!("this one loses to {winners}"),
        (None, Some(losers)) => format!("this one wins over {losers}"),
        (Some(winners), Some(losers)) => {
            format!("this one loses to {winners}, and wins over {losers}")
        }
    };
    Some(text::message(&format!(
        "other policies match the same as specifically, with the same priority: {comes}, by age, then \
         by name; set spec.priority to choose"
    )))
}

/// Could both match the same failure equally well, if there is a contract that both are for?
fn tie(a: &Policy, b: &Policy) -> bool {
    if a.priority() != b.priority() {
        return false;
    }
    match (&a.spec.r#match, &b.spec.r#match) {
        (None, None) => a.spec.default && b.spec.default,
        (Some(a), Some(b)) => level(a) == level(b) && overlap(a, b),
        _ => false,
    }
}

fn overlap(a: &Match, b: &Match) -> bool {
    share(&a.widgets, &b.widgets)
        && share(&a.rules, &b.rules)
        && share(severities(a), severities(b))
        && share(&a.causes, &b.causes)
        && KINDS.iter().any(|kind| is_for_kind(a, *kind) && is_for_kind(b, *kind))
}

fn is_for_kind(wanted: &Match, kind: Kind) -> bool {
    let by_type = match kind {
        Kind::Of(rule_type) => wanted.types.is_empty() || wanted.types.contains(&rule_type),
        Kind::NotJson => wanted.types.is_empty(),
    };
    let by_keyword =
        wanted.keywords.is_empty() || wanted.keywords.iter().any(|k| kind_of(k) == kind);
    by_type && by_keyword
}

/// The kind of the failures that have this keyword.
fn kind_of(keyword: &str) -> Kind {
    match keyword {
        "json" => Kind::NotJson,
        "cel" => Kind::Of(RuleType::Cel),
        "asset" => Kind::Of(RuleType::Asset),
        "metadata" => Kind::Of(RuleType::Metadata),
        "freshness" => Kind::Of(RuleType::Freshness),
        _ => Kind::Of(RuleType::Schema),
    }
}

fn has_selector(policy: &Policy) -> bool {
    policy.spec.r#match.as_ref().is_some_and(|wanted| wanted.selector.is_some())
}

/// Lists have something in common, or one of them is left out.
fn share<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|item| b.contains(item))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::incident::Cause,
        decide::{
            requests::Annotations,
            select::{Failure, choose},
        },
        domain::Severity,
    };

    fn policy(name: &str, created: i64, spec: &Value) -> Policy {
        let mut spec = spec.clone();
        spec["steps"] = json!([{"name": "a", "restoreRevision": {}}]);
        Policy {
            name: name.to_owned(),
            generation: 1,
            created: Timestamp::from_second(created).unwrap(),
            annotations: Annotations::new(),
            spec: serde_json::from_value(spec).unwrap(),
        }
    }

    type Contract = (String, BTreeMap<String, String>);

    fn contract(widget: &str, shop: &str) -> Contract {
        (widget.to_owned(), [("shop".to_owned(), shop.to_owned())].into())
    }

    fn rivals_of(own: &Policy, others: &[Policy], contracts: &[Contract]) -> Vec<Rival> {
        let contracts = contracts.iter().map(|(widget, labels)| (widget.as_str(), labels));
        rivals(own, others.iter(), contracts)
    }

    fn conflict(a: &str, b: &str) -> bool {
        let spec = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
        let (a, b) = (policy("a", 1, &spec(a)), policy("b", 2, &spec(b)));
        let contracts = [contract("finder", "uk"), contract("banner", "de")];
        let told = rivals_of(&a, std::slice::from_ref(&b), &contracts);
        let back = rivals_of(&b, &[a], &contracts);
        assert_eq!(told.len(), back.len(), "both say so, or none does");
        !told.is_empty()
    }

    #[test]
    fn two_policies_conflict_where_one_failure_could_be_matched_by_both_as_well() {
        for (a, b) in [
            ("default: true", "{default: true, suspend: true}"),
            ("match: {rules: [a, b]}", "match: {rules: [b, c]}"),
            ("match: {widgets: [finder]}", "match: {widgets: [finder], types: [Asset]}"),
            ("match: {types: [Schema]}", "match: {keywords: [required]}"),
            // One document can break both.
            ("match: {keywords: [required]}", "match: {keywords: [maxLength]}"),
            ("match: {severities: [Critical]}", "match: {types: [Asset]}"),
            ("{match: {rules: [a]}, priority: 0}", "match: {rules: [a]}"),
            // There is a contract that both are for.
            ("match: {rules: [a], selector: {matchLabels: {shop: uk}}}", "match: {rules: [a]}"),
            (
                "match: {selector: {matchLabels: {shop: uk}}}",
                "match: {selector: {matchExpressions: [{key: shop, operator: Exists}]}}",
            ),
        ] {
            assert!(conflict(a, b), "{a} and {b}");
        }
        for (a, b) in [
            ("default: true", "match: {types: [Schema]}"),
            ("match: {rules: [a]}", "match: {rules: [b]}"),
            ("match: {rules: [a]}", "match: {rules: [a], widgets: [finder]}"),
            ("{match: {rules: [a]}, priority: 1}", "match: {rules: [a]}"),
            ("match: {types: [Asset]}", "match: {types: [CEL]}"),
            ("match: {types: [Asset]}", "match: {keywords: [required]}"),
            ("match: {keywords: [cel]}", "match: {keywords: [asset]}"),
            ("match: {keywords: [json]}", "match: {types: [Schema]}"),
            ("match: {causes: [Stale]}", "match: {causes: [AssetMissing]}"),
            // Without severities it is for Critical rules.
            ("match: {severities: [Warning]}", "match: {types: [Asset]}"),
            // There is no contract that both are for.
            ("match: {rules: [a], selector: {matchLabels: {shop: fr}}}", "match: {rules: [a]}"),
            (
                "match: {selector: {matchLabels: {shop: uk}}}",
                "match: {selector: {matchLabels: {shop: de}}}",
            ),
            (
                "match: {widgets: [finder]}",
                "match: {widgets: [finder, banner], selector: {matchLabels: {shop: de}}}",
            ),
        ] {
            assert!(!conflict(a, b), "{a} and {b}");
        }
    }

    #[test]
    fn who_wins_and_how_to_choose_is_said_whatever_the_order_and_however_many_there_are() {
        let all = json!({"default": true});
        let long = |nth: i64| format!("{nth:02}-{}", "x".repeat(49));
        let mut others: Vec<Policy> = (0..50).map(|nth| policy(&long(nth), nth, &all)).collect();
        let own = policy("own", 25, &all);
        let told = message(&rivals_of(&own, &others, &[])).unwrap();
        others.reverse();
        assert_eq!(message(&rivals_of(&own, &others, &[])).as_ref(), Some(&told));
        assert!(told.ends_with("set spec.priority to choose"), "{told}");
        assert!(told.contains(&format!("loses to {}, ", long(0))), "{told}");
        assert!(told.contains(" and 23 more, and wins over "), "{told}");
        let twin = message(&rivals_of(&own, &[policy("zzz", 25, &all)], &[])).unwrap();
        assert!(twin.contains("this one wins over zzz, by age, then by name"), "{twin}");
        assert_eq!(message(&[]), None);
    }

    /// Some of the items, or none.
    fn some(items: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
        prop::sample::subsequence(items, 0..=items.len())
    }

    fn a_match() -> impl Strategy<Value = Value> {
        let lists = (
            some(&["finder", "banner"]),
            some(&["a", "b"]),
            some(&["Schema", "CEL", "Asset"]),
            some(&["required", "maxLength", "cel", "asset", "json"]),
            some(&["Critical", "Warning"]),
            some(&["Stale", "DocumentChanged"]),
            prop::option::of(prop::sample::select(vec!["uk", "de", "fr"])),
        );
        lists.prop_map(|(widgets, rules, types, keywords, severities, causes, shop)| {
            let mut wanted = json!({
                "widgets": widgets, "rules": rules, "types": types, "keywords": keywords,
                "severities": severities, "causes": causes,
            });
            if let Some(shop) = shop {
                wanted["selector"] = json!({"matchLabels": {"shop": shop}});
            }
            wanted
        })
    }

    fn a_policy(name: &'static str) -> impl Strategy<Value = Policy> {
        let wanted = prop::option::weighted(0.9, a_match());
        (wanted, 0..2_i32, 0..2_i64).prop_map(move |(wanted, priority, created)| {
            let spec = match wanted {
                Some(wanted) => json!({"match": wanted, "priority": priority}),
                None => json!({"default": true, "priority": priority}),
            };
            policy(name, created, &spec)
        })
    }

    /// Is there a failure of one of these contracts for which only age or name decides?
    fn really_tie(a: &Policy, b: &Policy, contracts: &[Contract]) -> bool {
        let kinds: [(Option<RuleType>, &[&str]); 6] = [
            (Some(RuleType::Schema), &["required"]),
            (Some(RuleType::Schema), &["maxLength"]),
            (Some(RuleType::Schema), &["required", "maxLength"]),
            (Some(RuleType::Cel), &["cel"]),
            (Some(RuleType::Asset), &["asset"]),
            (None, &["json"]),
        ];
        let policies = [a.clone(), b.clone()];
        let ties = |failure: &Failure<'_>| {
            let why = choose(&policies, None, failure).why;
            why.ends_with("is younger") || why.ends_with("comes later by name")
        };
        contracts.iter().any(|(widget, labels)| {
            ["a", "b"].iter().any(|rule| {
                kinds.iter().any(|(rule_type, keywords)| {
                    [Severity::Critical, Severity::Warning].iter().any(|severity| {
                        [Cause::Stale, Cause::DocumentChanged].iter().any(|cause| {
                            ties(&Failure {
                                widget,
                                labels,
                                rule,
                                rule_type: *rule_type,
                                severity: *severity,
                                keywords: keywords.to_vec(),
                                cause: Some(*cause),
                            })
                        })
                    })
                })
            })
        })
    }

    proptest! {
        #[test]
        fn policies_are_told_to_conflict_exactly_when_a_choice_between_them_can_be_a_tie(
            a in a_policy("a"),
            b in a_policy("b"),
            shops in some(&["uk", "de"]),
        ) {
            let widgets = ["finder", "banner"];
            let of_shop = |shop: &&str| widgets.map(|widget| contract(widget, shop));
            let contracts: Vec<Contract> = shops.iter().flat_map(of_shop).collect();
            let told = rivals_of(&a, std::slice::from_ref(&b), &contracts);
            let back = rivals_of(&b, std::slice::from_ref(&a), &contracts);
            let has_selector = has_selector(&a) || has_selector(&b);
            // Without selectors they are told before there is a contract.
            let might_be = widgets.map(|widget| contract(widget, "uk"));
            let expected = really_tie(&a, &b, if has_selector { &contracts } else { &might_be });
            prop_assert_eq!(told.len(), usize::from(expected));
            prop_assert_eq!(back.len(), usize::from(expected));
            if expected {
                prop_assert!(told[0].wins != back[0].wins, "one of them wins");
                prop_assert_eq!(told[0].wins, b.rank() < a.rank());
            }
        }
    }
}
