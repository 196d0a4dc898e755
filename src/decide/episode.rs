//! Is the contract in trouble, since when, and why: what an Incident would be about.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::{
    api::{
        contract::{Check, CheckResult},
        incident::{Cause, RuleViolation},
    },
    domain::{Digest, Severity, Verdict, Violation},
    rules::RuleType,
    steps::Failing,
};

use super::{
    select::{self, Failure},
    view::{Assigned, View, sooner},
};

/// The most violations that an Incident shows.
const VIOLATIONS_SHOWN: usize = 20;

/// The most rules that an Incident is about: a class and a contract have up to 64 each.
const RULES_MAX: usize = 64;

/// The trouble that a contract is in.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// The failing rules, the worst first, then by name.
    pub failing: Vec<Failing>,
    /// The worst severity.
    pub severity: Severity,
    /// The set of (rule, keyword, place) as one value.
    pub fingerprint: Digest,
    /// Digest of the document that fails.
    pub digest: Digest,
    /// Why.
    pub cause: Cause,
    /// When the first of them began to fail.
    pub since: Timestamp,
}

/// The trouble that the assigned document is in, as far as thresholds let it count; and when to
/// look again, where a threshold is still to be passed.
#[must_use]
pub fn of(view: &View, checks: &[Check], now: Timestamp) -> (Option<Episode>, Option<Timestamp>) {
    let mut due = None;
    let mut failing = Vec::new();
    for result in view.assigned_results() {
        let Verdict::Fail(violations) = result.verdict else { continue };
        if !is_of_interest(view, &result.rule, result.severity, &violations, None) {
            continue;
        }
        let check = checks.iter().find(|c| c.rule == result.rule && c.result == CheckResult::Fail);
        let began = check.map_or(now, |check| check.since.0);
        // Thresholds delay an Incident; where its own rule fails again, there is one already.
        let known = view.incident.as_ref().is_some_and(|open| open.is_about(&result.rule));
        if let Some(rule) = view.effective.rule(&result.rule).filter(|_| !known) {
            let times = check.map_or(1, |check| check.failures);
            let counts_at = rule.hold.after(began);
            if times < rule.failure_threshold || counts_at > now {
                due = sooner(due, Some(counts_at).filter(|at| *at > now));
                continue;
            }
        }
        failing.push((result.severity, began, Failing { rule: result.rule, violations }));
    }
    // What the cause is hangs on what fails; whether a lesser failure counts, on the cause.
    let all: Vec<&Failing> = failing.iter().map(|(_, _, failing)| failing).collect();
    let found = view.incident.as_ref().map_or_else(|| cause(view, &all), |open| open.spec.cause);
    failing.retain(|(severity, _, failing)| {
        is_of_interest(view, &failing.rule, *severity, &failing.violations, Some(found))
    });
    let Some(severity) = failing.iter().map(|(severity, ..)| *severity).max() else {
        return (None, due);
    };
    let since = failing.iter().map(|(_, began, _)| *began).fold(now, Timestamp::min);
    failing.sort_by(|a, b| (b.0, &a.2.rule).cmp(&(a.0, &b.2.rule)));
    failing.truncate(RULES_MAX);
    let failing: Vec<Failing> = failing.into_iter().map(|(_, _, failing)| failing).collect();
    let episode = Episode {
        fingerprint: fingerprint(&failing),
        digest: assigned_digest(view),
        cause: cause(view, &failing.iter().collect::<Vec<_>>()),
        severity,
        since,
        failing,
    };
    (Some(episode), due)
}

/// Critical failures are; lesser ones only where a policy matches them by severity.
pub(super) fn is_of_interest(
    view: &View,
    rule: &str,
    severity: Severity,
    violations: &[Violation],
    cause: Option<Cause>,
) -> bool {
    if severity == Severity::Critical {
        return true;
    }
    let failure = failure(view, rule, severity, violations, cause);
    let choice = select::choose(&view.policies, None, &failure);
    choice.winner.is_some_and(|winner| {
        winner.spec.r#match.as_ref().is_some_and(|m| m.severities.contains(&severity))
    })
}

/// What a policy can match on, of one failing rule.
#[must_use]
pub fn failure<'a>(
    view: &'a View,
    rule: &'a str,
    severity: Severity,
    violations: &'a [Violation],
    cause: Option<Cause>,
) -> Failure<'a> {
    Failure {
        widget: &view.effective.widget,
        labels: &view.subject.labels,
        rule,
        rule_type: view.effective.rule(rule).map(|rule| rule.kind.rule_type()),
        severity,
        keywords: violations.iter().map(|violation| violation.keyword.as_str()).collect(),
        cause,
    }
}

fn fingerprint(failing: &[Failing]) -> Digest {
    let mut places: Vec<String> = failing
        .iter()
        .flat_map(|f| f.violations.iter().map(|v| format!("{}\n{}\n{}", f.rule, v.keyword, v.path)))
        .collect();
    places.sort();
    places.dedup();
    Digest::of_bytes(places.join("\0").as_bytes())
}

pub(super) fn assigned_digest(view: &View) -> Digest {
    match &view.assigned {
        Assigned::Judged(judged) => judged.document.digest().clone(),
        Assigned::Malformed { raw_digest, .. } => raw_digest.clone(),
        Assigned::Unavailable(_) => Digest::of_bytes(b""),
    }
}

fn cause(view: &View, failing: &[&Failing]) -> Cause {
    let documents = view.status.document.as_ref();
    let known_good = documents.and_then(|d| d.last_known_good.as_ref());
    let served = documents.and_then(|d| d.served.as_ref());
    let digest = assigned_digest(view);
    let was_good = known_good.is_some_and(|good| good.digest == digest)
        || served.is_some_and(|served| served.digest == digest);
    if known_good.is_none() && served.is_none() {
        return Cause::NeverValid;
    }
    if !was_good {
        return Cause::DocumentChanged;
    }
    let only = |wanted: RuleType| {
        failing.iter().all(|f| {
            view.effective.rule(&f.rule).is_some_and(|rule| rule.kind.rule_type() == wanted)
        })
    };
    if only(RuleType::Asset) {
        Cause::AssetMissing
    } else if only(RuleType::Freshness) {
        Cause::Stale
    } else if only(RuleType::Schema) {
        Cause::SchemaChanged
    } else {
        Cause::RuleChanged
    }
}

/// The first twenty violations, as an Incident shows them; the last one says how many more there are.
#[must_use]
pub fn violations(failing: &[Failing]) -> Vec<RuleViolation> {
    let of_rule = |f: &Failing| {
        let rule = f.rule.clone();
        f.violations.clone().into_iter().map(move |violation| (rule.clone(), violation))
    };
    let (rules, violations): (Vec<String>, Vec<Violation>) =
        failing.iter().flat_map(of_rule).unzip();
    let shown = rules.into_iter().zip(Violation::first(violations, VIOLATIONS_SHOWN));
    let shown = shown.map(|(rule, violation)| RuleViolation {
        rule,
        path: violation.path,
        keyword: violation.keyword,
        message: violation.message,
    });
    shown.collect()
}

/// Does nothing fail but at these places?
pub(super) fn is_within(failing: &[Failing], places: &[RuleViolation]) -> bool {
    let known: HashSet<_> = places.iter().map(RuleViolation::place).collect();
    failing.iter().all(|f| {
        let is_known = |v: &Violation| known.contains(&(f.rule.as_str(), &*v.path, &*v.keyword));
        f.violations.iter().all(is_known)
    })
}

/// The next episode's number: status and the Incidents that are there both know the last one.
pub(super) fn next_ordinal(view: &View) -> u32 {
    let last = view.ended.first().map_or(0, |last| last.ordinal);
    view.status.episodes.unwrap_or(0).max(last).saturating_add(1)
}

/// `<contract>-<10 hex of sha256(UID, ordinal)>`: a restart cannot open the same episode twice.
#[must_use]
pub fn name(contract: &str, uid: &str, ordinal: u32) -> String {
    let hash = Digest::of_bytes(format!("{uid}/{ordinal}").as_bytes());
    format!("{contract}-{}", &hash.short()[..10])
}

/// The trace of the episode (W3C Trace Context), from what names it: the same after a restart.
pub(super) fn traceparent(uid: &str, ordinal: u32) -> String {
    let hash = Digest::of_bytes(format!("trace {uid}/{ordinal}").as_bytes());
    let hex = hash.as_str().trim_start_matches("sha256:");
    format!("00-{}-{}-01", &hex[..32], &hex[32..48])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episodes_name_and_trace_are_the_same_after_a_restart() {
        assert_eq!(name("uk", "uid", 1), name("uk", "uid", 1));
        assert_ne!(name("uk", "uid", 1), name("uk", "uid", 2));
        assert_eq!(name("uk", "uid", 1).len(), "uk-".len() + 10);
        assert_eq!(traceparent("uid", 1).len(), 55);
    }
}
