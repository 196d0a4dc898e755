//! Which policy repairs which failure: one winner, never a merge.
//!
//! The order, and each step only breaks the ties of the one before: the policy that the contract
//! names; the most specific match; the greater priority; the older policy; the name. Two that are
//! told apart only by their age or name are told so: see [`super::conflicts`].
//!
//! | specificity | the policy matches by |
//! |---|---|
//! | 6 | widget and rule |
//! | 5 | rule |
//! | 4 | widget |
//! | 3 | type, keyword, severity or cause |
//! | 2 | labels |
//! | 1 | `default: true` |

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::{
    api::{
        incident::{Cause, Segment},
        policy::{Match, RemediationPolicySpec, Retry},
    },
    domain::{Severity, Span, text},
    rules::RuleType,
};

use super::requests::Annotations;

const MIN_HEALTHY: Span = Span::mins(5);

/// A policy as far as a choice needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Its generation.
    pub generation: i64,
    /// When it was created.
    pub created: Timestamp,
    /// Its annotations, as far as they are ours.
    pub annotations: Annotations,
    /// What it says.
    pub spec: RemediationPolicySpec,
}

impl Policy {
    /// What breaks a tie of specificity.
    pub(super) fn priority(&self) -> i32 {
        self.spec.priority.unwrap_or(0)
    }

    /// What breaks a tie of priority, too: the lesser wins.
    pub(super) fn rank(&self) -> (Timestamp, &str) {
        (self.created, &self.name)
    }
}

/// What a policy can match on.
#[derive(Clone, Debug)]
pub struct Failure<'a> {
    /// The contract's widget type.
    pub widget: &'a str,
    /// The contract's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The failing rule.
    pub rule: &'a str,
    /// Its kind; None for a document that is not JSON.
    pub rule_type: Option<RuleType>,
    /// Its severity.
    pub severity: Severity,
    /// The keywords of its violations.
    pub keywords: Vec<&'a str>,
    /// The cause of the Incident that it is, or would be, in; None while that is not known.
    pub cause: Option<Cause>,
}

/// The winner, if any, and why it won.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice<'a> {
    /// None: the built-in behaviour.
    pub winner: Option<&'a Policy>,
    /// A sentence for the Incident: the losers and why each lost.
    pub why: String,
}

/// The policy whose limits govern an Incident with this plan: the first that the plan names and
/// that is still there, as it is now.
#[must_use]
pub fn governing<'a>(policies: &'a [Policy], plan: &[Segment]) -> Option<&'a Policy> {
    let mut named = plan.iter().filter_map(|segment| segment.policy_ref.as_ref());
    named.find_map(|named| policies.iter().find(|policy| policy.name == named.name))
}

/// The same policy's retry settings, or the defaults.
#[must_use]
pub fn retry(policies: &[Policy], plan: &[Segment]) -> Retry {
    governing(policies, plan).and_then(|policy| policy.spec.retry.clone()).unwrap_or_default()
}

/// How long a document must pass, by the same policy, before it counts as healthy.
#[must_use]
pub fn min_healthy_period(policies: &[Policy], plan: &[Segment]) -> Span {
    retry(policies, plan).min_healthy_period.unwrap_or(MIN_HEALTHY)
}

/// The longest of these that any plan can come to.
pub(super) fn longest_healthy_period(policies: &[Policy]) -> Span {
    let retries = policies.iter().filter_map(|policy| policy.spec.retry.as_ref());
    let said = retries.filter_map(|retry| retry.min_healthy_period);
    said.fold(MIN_HEALTHY, Span::max)
}

/// Chooses among `policies`; `named` is the policy that the contract names.
#[must_use]
pub fn choose<'a>(
    policies: &'a [Policy],
    named: Option<&str>,
    failure: &Failure<'_>,
) -> Choice<'a> {
    if let Some(name) = named {
        let winner = policies.iter().find(|policy| policy.name == name);
        let why = match winner {
            Some(_) => format!("healing.policyRef names {name}"),
            None => {
                format!("healing.policyRef names {name}, which does not exist or cannot be read")
            }
        };
        return Choice { winner, why };
    }
    let mut matching: Vec<(u8, &Policy)> = policies
        .iter()
        .filter_map(|policy| Some((specificity(&policy.spec, failure)?, policy)))
        .collect();
    matching.sort_by(|(one, a), (other, b)| {
        let key = |specificity, policy: &Policy| (Reverse(specificity), Reverse(policy.priority()));
        key(*one, a).cmp(&key(*other, b)).then_with(|| a.rank().cmp(&b.rank()))
    });
    let Some((best, winner)) = matching.first().copied() else {
        return Choice { winner: None, why: "no policy matches: built-in behaviour".to_owned() };
    };
    let losers: Vec<String> = matching[1..]
        .iter()
        .map(|(specificity, loser)| {
            let reason = if *specificity < best {
                "matches less specifically"
            } else if loser.priority() < winner.priority() {
                "has a lower priority"
            } else if loser.created > winner.created {
                "is younger"
            } else {
                "comes later by name"
            };
            format!("{} {reason}", loser.name)
        })
        .collect();
    let why = match losers.as_slice() {
        [] => format!("{} is the only one that matches", winner.name),
        losers => format!("{} wins; {}", winner.name, losers.join("; ")),
    };
    Choice { winner: Some(winner), why: text::bounded(&why, 1024) }
}

/// How specifically the policy matches; None when it does not.
fn specificity(policy: &RemediationPolicySpec, failure: &Failure<'_>) -> Option<u8> {
    let Some(wanted) = &policy.r#match else {
        return policy.default.then_some(1);
    };
    matches(wanted, failure).then(|| level(wanted))
}

/// How specific a match is, where it matches: see the table.
pub(super) fn level(wanted: &Match) -> u8 {
    let by_rule = !wanted.rules.is_empty();
    let by_widget = !wanted.widgets.is_empty();
    let by_kind = !wanted.types.is_empty()
        || !wanted.keywords.is_empty()
        || !wanted.severities.is_empty()
        || !wanted.causes.is_empty();
    match (by_widget, by_rule, by_kind) {
        (true, true, _) => 6,
        (false, true, _) => 5,
        (true, false, _) => 4,
        (false, false, true) => 3,
        (false, false, false) => 2,
    }
}

/// The severities that it is for: warnings are repaired only where a policy asks for them.
pub(super) fn severities(wanted: &Match) -> &[Severity] {
    if wanted.severities.is_empty() { &[Severity::Critical] } else { &wanted.severities }
}

/// Could the policy be for a contract of this widget with these labels, whatever fails?
#[must_use]
pub fn is_for(
    policy: &RemediationPolicySpec,
    widget: &str,
    labels: &BTreeMap<String, String>,
) -> bool {
    policy.r#match.as_ref().is_none_or(|wanted| {
        (wanted.widgets.is_empty() || wanted.widgets.iter().any(|name| name == widget))
            && wanted.selector.as_ref().is_none_or(|selector| selects(selector, labels))
    })
}

fn matches(wanted: &Match, failure: &Failure<'_>) -> bool {
    let named =
        |list: &[String], name: &str| list.is_empty() || list.iter().any(|item| item == name);
    named(&wanted.widgets, failure.widget)
        && named(&wanted.rules, failure.rule)
        && severities(wanted).contains(&failure.severity)
        && (wanted.causes.is_empty() || failure.cause.is_none_or(|c| wanted.causes.contains(&c)))
        && (wanted.types.is_empty() || failure.rule_type.is_some_and(|t| wanted.types.contains(&t)))
        && (wanted.keywords.is_empty()
            || failure.keywords.iter().any(|keyword| wanted.keywords.iter().any(|k| k == keyword)))
        && wanted.selector.as_ref().is_none_or(|selector| selects(selector, failure.labels))
}

/// Does the selector select these labels? An empty one selects everything.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let exact =
        selector.match_labels.iter().flatten().all(|(name, value)| labels.get(name) == Some(value));
    exact
        && selector.match_expressions.iter().flatten().all(|wanted| {
            let value = labels.get(&wanted.key);
            let mut values = wanted.values.iter().flatten().peekable();
            let is_given = values.peek().is_some();
            let listed = value.is_some_and(|value| values.any(|wanted| wanted == value));
            match wanted.operator.as_str() {
                "In" => listed,
                "NotIn" => is_given && !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                // What says nothing (an operator that is not known, NotIn without values) selects nothing:
                // acting on less is safer.
                _ => false,
            }
        })
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A policy of one step, made at this second.
    pub(in crate::decide) fn policy(name: &str, created: i64, spec: &str) -> Policy {
        let spec = format!("{spec}\nsteps: [{{name: a, restoreRevision: {{}}}}]");
        Policy {
            name: name.to_owned(),
            generation: 1,
            created: Timestamp::from_second(created).unwrap(),
            annotations: Annotations::new(),
            spec: serde_saphyr::from_str(&spec).unwrap(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    use testing::policy;

    fn failure(labels: &BTreeMap<String, String>) -> Failure<'_> {
        Failure {
            widget: "storefinder",
            labels,
            rule: "schema",
            rule_type: Some(RuleType::Schema),
            severity: Severity::Critical,
            keywords: vec!["required"],
            cause: Some(Cause::DocumentChanged),
        }
    }

    fn winner(policies: &[Policy], named: Option<&str>) -> String {
        let labels = [("shop".to_owned(), "uk".to_owned())].into();
        let choice = choose(policies, named, &failure(&labels));
        choice.winner.map_or_else(|| "none".to_owned(), |winner| winner.name.clone())
    }

    #[test]
    fn the_most_specific_match_wins_in_the_documented_order() {
        let mut policies = vec![
            policy("default", 1, "default: true"),
            policy("labels", 1, "match: {selector: {matchLabels: {shop: uk}}}"),
            policy("keyword", 1, "match: {keywords: [required]}"),
            policy("widget", 1, "match: {widgets: [storefinder]}"),
            policy("rule", 1, "match: {rules: [schema]}"),
            policy("both", 1, "match: {widgets: [storefinder], rules: [schema]}"),
        ];
        while let Some(expected) = policies.last().map(|policy| policy.name.clone()) {
            assert_eq!(winner(&policies, None), expected);
            assert_eq!(winner(&policies, Some("default")), "default", "policyRef wins");
            policies.pop();
        }
        assert_eq!(winner(&[], None), "none");
    }

    #[test]
    fn ties_are_broken_by_priority_then_age_then_name() {
        let old = policy("old", 1, "match: {rules: [schema]}");
        let young = policy("young", 2, "match: {rules: [schema]}");
        let high = policy("high", 3, "match: {rules: [schema]}\npriority: 5");
        let twin = policy("a-twin", 1, "match: {rules: [schema]}");
        assert_eq!(winner(&[young.clone(), old.clone(), high.clone()], None), "high");
        assert_eq!(winner(&[young.clone(), old.clone()], None), "old");
        assert_eq!(winner(&[old.clone(), twin], None), "a-twin");
        let labels = BTreeMap::new();
        let policies = [high, old, young];
        let why = choose(&policies, None, &failure(&labels)).why;
        assert_eq!(why, "high wins; old has a lower priority; young has a lower priority");
    }

    #[test]
    fn every_given_condition_must_hold() {
        for spec in [
            "match: {widgets: [other]}",
            "match: {rules: [schema], types: [Asset]}",
            "match: {rules: [schema], severities: [Warning]}",
            "match: {selector: {matchLabels: {shop: de}}}",
            "match: {rules: [schema], causes: [SchemaChanged]}",
            "match: {selector: {matchExpressions: [{key: shop, operator: NotIn, values: [uk]}]}}",
            "match: {selector: {matchExpressions: [{key: shop, operator: NotIn}]}}",
        ] {
            assert_eq!(winner(&[policy("p", 1, spec)], None), "none", "{spec}");
        }
        for spec in [
            "match: {selector: {matchExpressions: [{key: shop, operator: In, values: [uk]}]}}",
            "match: {causes: [Stale, DocumentChanged]}",
        ] {
            assert_eq!(winner(&[policy("p", 1, spec)], None), "p", "{spec}");
        }
    }

    /// Policies of different names, which match the same failure in all ways or do not, twice in any order.
    fn any_policies() -> impl Strategy<Value = (Vec<Policy>, Vec<Policy>)> {
        let wanted = prop::sample::select(vec![
            "default: true",
            "match: {selector: {matchLabels: {shop: uk}}}",
            "match: {keywords: [required]}",
            "match: {widgets: [storefinder]}",
            "match: {rules: [schema]}",
            "match: {widgets: [storefinder], rules: [schema]}",
            "match: {widgets: [other]}",
            "match: {rules: [schema], causes: [Stale]}",
        ]);
        let any = prop::collection::vec((wanted, 0_i64..3, -1..2), 0..7).prop_map(|all| {
            let policy = |(nth, (wanted, created, priority)): (usize, (&str, i64, i32))| {
                policy(&format!("p-{nth}"), created, &format!("{wanted}\npriority: {priority}"))
            };
            all.into_iter().enumerate().map(policy).collect::<Vec<_>>()
        });
        any.prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))
    }

    proptest! {
        #[test]
        fn the_winner_is_the_same_in_any_order_and_beats_each_other_alone(
            (policies, shuffled) in any_policies()
        ) {
            let best = winner(&policies, None);
            prop_assert_eq!(&best, &winner(&shuffled, None));
            let alone = |policy: &Policy| winner(std::slice::from_ref(policy), None);
            let matching: Vec<&Policy> =
                policies.iter().filter(|policy| alone(policy) == policy.name).collect();
            let Some(won) = matching.iter().find(|policy| policy.name == best) else {
                prop_assert!(matching.is_empty() && best == "none", "{best} does not match");
                return Ok(());
            };
            for other in &policies {
                prop_assert_eq!(&winner(&[other.clone(), (*won).clone()], None), &best);
                prop_assert_eq!(&winner(&policies, Some(&other.name)), &other.name);
            }
        }

        #[test]
        fn a_policy_that_loses_changes_nothing_but_the_reason((policies, _) in any_policies()) {
            let best = winner(&policies, None);
            for loser in policies.iter().filter(|policy| policy.name != best) {
                let mut others = policies.clone();
                others.retain(|policy| policy.name != loser.name);
                prop_assert_eq!(&winner(&others, None), &best);
            }
        }
    }
}
