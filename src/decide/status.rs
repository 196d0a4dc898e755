//! A contract's status as a pure function of the facts: checks, conditions, health.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        condition::{ConditionType, Conditions, whole_seconds},
        contract::{
            AssignedDocument, Check, CheckResult, DocumentStatus, Health, KnownGood, Origin,
            RevisionRef, ServedDocument, Target, WidgetContractStatus,
        },
        incident::{IncidentStatus, State},
    },
    domain::{Severity, Verdict, text},
};

use super::{
    Stall,
    effective::Effective,
    publish::{overwritten_by, withheld_because},
    validate::RuleResult,
    view::{Assigned, Served, View},
};

/// The most checks that status shows.
const CHECKS_MAX: usize = 24;

/// The status that follows from the facts, given the one stored before.
#[must_use]
pub fn of(view: &View, now: Timestamp) -> WidgetContractStatus {
    let results = view.assigned_results();
    let checks = checks(&view.effective, &view.status.checks, &results, now);
    let document = documents(view, now);
    let mut status = WidgetContractStatus {
        observed_generation: Some(view.subject.generation),
        failing: Some(count(&checks, |check| check.result != CheckResult::Pass)),
        rules_summary: summary(&results),
        effective: Some(view.effective_ref.clone()),
        document: Some(document),
        checks,
        ..view.status.clone()
    };
    set_conditions(view, &results, &mut status, now);
    status
}

/// The status of a contract that cannot be worked on until a person acts. What is known of its
/// documents is kept: what is served stays served.
#[must_use]
pub fn stalled(
    stored: &WidgetContractStatus,
    generation: i64,
    stall: &Stall,
    now: Timestamp,
) -> WidgetContractStatus {
    let mut conditions = Conditions::of(Some(&stored.conditions));
    conditions.set(ConditionType::Ready, false, stall.reason, &stall.message, generation, now);
    conditions.set(ConditionType::Stalled, true, stall.reason, &stall.message, generation, now);
    conditions.remove(ConditionType::Reconciling);
    WidgetContractStatus {
        observed_generation: Some(generation),
        reason: stall.reason.to_owned(),
        health: Some(if stored.document.as_ref().is_some_and(|d| d.served.is_some()) {
            Health::Degraded
        } else {
            Health::Critical
        }),
        conditions: conditions.into_list(),
        ..stored.clone()
    }
}

/// What the open Incident, as it is from this look on, adds to a contract's status.
pub fn with_incident(
    status: &mut WidgetContractStatus,
    view: &View,
    incident: Option<&IncidentStatus>,
    now: Timestamp,
) {
    let Some(open) = &view.incident else { return };
    status.episodes = Some(status.episodes.unwrap_or(0).max(open.spec.ordinal));
    status.policy = Some(text::bounded(&open.spec.policies_summary, 63));
    if status.incident_ref.is_none() {
        return;
    }
    let generation = view.subject.generation;
    let mut conditions = Conditions::of(Some(&status.conditions));
    let is_ready = conditions.is_true(ConditionType::Ready);
    let incident = incident.unwrap_or(&open.status);
    let state = incident.state.unwrap_or_default();
    let at_work = matches!(state, State::Open | State::Remediating | State::Verifying);
    if !is_ready && at_work && incident.waiting != "AwaitingOwner" {
        status.health = Some(Health::Recovering);
        let message = format!("Incident {} is being worked on", open.name);
        conditions.remove(ConditionType::Stalled);
        conditions.set(ConditionType::Reconciling, true, "Remediating", &message, generation, now);
    }
    status.conditions = conditions.into_list();
}

/// Keeps the time since when each rule has been as it is, and counts failures without a counter:
/// `since` and the rule's interval say how many there have been.
fn checks(
    effective: &Effective,
    before: &[Check],
    results: &[RuleResult],
    now: Timestamp,
) -> Vec<Check> {
    let mut checks: Vec<Check> = results
        .iter()
        .filter_map(|result| check(effective, before, result, now))
        .take(CHECKS_MAX)
        .collect();
    checks.sort_by(|a, b| (a.result, b.severity, &a.rule).cmp(&(b.result, a.severity, &b.rule)));
    checks
}

fn check(
    effective: &Effective,
    before: &[Check],
    result: &RuleResult,
    now: Timestamp,
) -> Option<Check> {
    let old = before.iter().find(|check| check.rule == result.rule);
    let rule = effective.rule(&result.rule);
    let (outcome, path, keyword, message) = match &result.verdict {
        Verdict::Fail(violations) => {
            let first = violations.first()?;
            let message = match violations.len() {
                1 => first.message.clone(),
                more => format!("{} (and {} more)", first.message, more - 1),
            };
            (CheckResult::Fail, first.path.clone(), first.keyword.clone(), message)
        }
        Verdict::Unknown(doubt) => {
            (CheckResult::Unknown, String::new(), doubt.reason.to_string(), doubt.message.clone())
        }
        // A rule that has recovered stays listed until it has passed often enough in a row.
        Verdict::Pass => {
            let (old, rule) = (old?, rule?);
            if rule.success_threshold <= 1 {
                return None;
            }
            (CheckResult::Pass, old.path.clone(), old.keyword.clone(), old.message.clone())
        }
    };
    let since = old
        .filter(|old| old.result == outcome)
        .map_or_else(|| Time(whole_seconds(now)), |old| old.since.clone());
    let threshold = rule.map_or(1, |rule| match outcome {
        CheckResult::Pass => rule.success_threshold,
        CheckResult::Fail | CheckResult::Unknown => rule.failure_threshold,
    });
    let times = rule.map_or(1, |rule| times_in_a_row(since.0, now, rule.interval.as_millis()));
    if outcome == CheckResult::Pass && times >= threshold {
        return None;
    }
    Some(Check {
        rule: result.rule.clone(),
        target: Target::Assigned,
        result: outcome,
        severity: result.severity,
        since,
        failures: times.min(threshold),
        path,
        keyword,
        message: crate::domain::text::message(&message),
    })
}

fn times_in_a_row(since: Timestamp, now: Timestamp, interval_millis: u64) -> u32 {
    let passed = crate::domain::Span::between(since, now).as_millis();
    u32::try_from(passed / interval_millis.max(1) + 1).unwrap_or(u32::MAX)
}

fn documents(view: &View, now: Timestamp) -> DocumentStatus {
    let before = view.status.document.clone().unwrap_or_default();
    DocumentStatus {
        assigned: assigned(view, before.assigned.as_ref(), now),
        served: served(view, &before),
        ..before
    }
}

fn assigned(
    view: &View,
    before: Option<&AssignedDocument>,
    now: Timestamp,
) -> Option<AssignedDocument> {
    match &view.assigned {
        Assigned::Judged(judged) => {
            let digest = judged.document.digest();
            let valid_since = judged.is_good().then(|| {
                before
                    .filter(|before| before.digest == *digest)
                    .and_then(|before| before.valid_since.clone())
                    .unwrap_or_else(|| Time(whole_seconds(now)))
            });
            Some(AssignedDocument {
                digest: digest.clone(),
                raw_digest: judged.document.raw_digest().clone(),
                valid_since,
            })
        }
        Assigned::Malformed { raw_digest, .. } => Some(AssignedDocument {
            digest: raw_digest.clone(),
            raw_digest: raw_digest.clone(),
            valid_since: None,
        }),
        // What could not be had is not another document: keep what was known.
        Assigned::Unavailable(_) => before.cloned(),
    }
}

/// What is served, as seen in the key. Where the key cannot be read, what was known stays.
fn served(view: &View, before: &DocumentStatus) -> Option<ServedDocument> {
    let target = view.effective.serve.as_ref()?;
    let key = match &view.served {
        Served::Ours(key) => key,
        Served::NotServed => return None,
        Served::Absent | Served::Foreign { .. } | Served::Unavailable(_) => {
            return before.served.clone();
        }
    };
    let stored = |digest| before.revisions.iter().find(|r| r.digest == digest).map(|r| r.number);
    let undisputed = view.serves_assigned() && overwritten_by(view).is_none();
    if let (true, Some(document)) = (undisputed, view.assigned_document()) {
        return Some(ServedDocument {
            digest: document.digest().clone(),
            raw_digest: document.raw_digest().clone(),
            origin: Origin::Assigned,
            revision: stored(document.digest().clone()),
            r#ref: target.at.clone(),
        });
    }
    match &before.served {
        // Somebody else's bytes are not what we serve: keep saying what should be there, and
        // where it was put.
        Some(known) if known.raw_digest == key.raw_digest || !key.written_by_us => {
            let at = if key.written_by_us { &target.at } else { &known.r#ref };
            Some(ServedDocument {
                revision: stored(known.digest.clone()).or(known.revision),
                r#ref: at.clone(),
                ..known.clone()
            })
        }
        None if !key.written_by_us => None,
        // Our own bytes, written before a crash or by a contract of the same name before us.
        _ => view.served_document.as_ref().map(|judged| ServedDocument {
            digest: judged.document.digest().clone(),
            raw_digest: judged.document.raw_digest().clone(),
            origin: key.note.as_ref().map_or(Origin::History, |note| note.origin),
            revision: stored(judged.document.digest().clone()),
            r#ref: target.at.clone(),
        }),
    }
}

fn set_conditions(
    view: &View,
    results: &[RuleResult],
    status: &mut WidgetContractStatus,
    now: Timestamp,
) {
    let generation = view.subject.generation;
    let mut conditions = Conditions::of(Some(&status.conditions));
    let valid = validity(results);
    match valid {
        Validity::Valid => conditions.set(
            ConditionType::Valid,
            true,
            "RulesPass",
            "every Critical rule passes",
            generation,
            now,
        ),
        Validity::Invalid(ref why) => {
            conditions.set(ConditionType::Valid, false, "RulesFail", why, generation, now);
        }
        Validity::Unknown { reason, ref why } => {
            conditions.set_unknown(ConditionType::Valid, reason, why, generation, now);
        }
    }
    let serving = serving(view, status, &valid);
    conditions.set(
        ConditionType::Serving,
        serving.is_serving,
        serving.reason,
        &serving.message,
        generation,
        now,
    );
    if view.effective.suspend {
        let message = "spec.suspend is true: nothing but status is written";
        conditions.set(ConditionType::Paused, true, "Suspended", message, generation, now);
    } else {
        conditions.remove(ConditionType::Paused);
    }
    let ready = ready(view, &valid, &serving);
    conditions.set(
        ConditionType::Ready,
        ready.is_ready,
        ready.reason,
        &ready.message,
        generation,
        now,
    );
    conditions.remove(ConditionType::Reconciling);
    conditions.remove(ConditionType::Stalled);
    // A bare Ready=False reads as «in progress» (kstatus), so it never stands alone.
    if !ready.is_ready {
        let pair = if ready.moves { ConditionType::Reconciling } else { ConditionType::Stalled };
        conditions.set(pair, true, ready.reason, &ready.message, generation, now);
    }
    ready.reason.clone_into(&mut status.reason);
    status.health = Some(health(view, status, &valid, ready.is_ready));
    status.conditions = conditions.into_list();
}

/// Whether the assigned document passes.
enum Validity {
    Valid,
    Invalid(String),
    Unknown { reason: &'static str, why: String },
}

fn validity(results: &[RuleResult]) -> Validity {
    let critical = || results.iter().filter(|r| r.severity == Severity::Critical);
    let failing = critical().find_map(|result| match &result.verdict {
        Verdict::Fail(violations) => Some((result, violations.first()?)),
        Verdict::Pass | Verdict::Unknown(_) => None,
    });
    if let Some((result, first)) = failing {
        let at = if first.path.is_empty() { String::new() } else { format!(" at {}", first.path) };
        return Validity::Invalid(format!("rule {}{at}: {}", result.rule, first.message));
    }
    let unknown = critical().find_map(|result| match &result.verdict {
        Verdict::Unknown(doubt) => Some((result, doubt)),
        Verdict::Pass | Verdict::Fail(_) => None,
    });
    match unknown {
        Some((result, doubt)) => Validity::Unknown {
            reason: doubt.reason.into(),
            why: format!("rule {}: {}", result.rule, doubt.message),
        },
        None => Validity::Valid,
    }
}

struct ServingState {
    is_serving: bool,
    reason: &'static str,
    message: String,
}

fn serving(view: &View, status: &WidgetContractStatus, valid: &Validity) -> ServingState {
    let state = |is_serving, reason, message: &str| ServingState {
        is_serving,
        reason,
        message: message.to_owned(),
    };
    if let Served::Foreign { owner } = &view.served {
        let message = format!(
            "the served ConfigMap belongs to {owner}; set serve.adopt: true to take it over, or \
             serve elsewhere"
        );
        return state(false, "ServeNotOwned", &message);
    }
    if view.served == Served::NotServed {
        return state(false, "WatchOnly", "serve.none is set: the document is watched only");
    }
    let Some(served) = status.document.as_ref().and_then(|d| d.served.as_ref()) else {
        let why = withheld_because(view)
            .unwrap_or_else(|| "there has been no valid document yet".to_owned());
        return state(false, "None", &format!("nothing is served: {why}"));
    };
    if view.serves_assigned() {
        return match valid {
            Validity::Unknown { why, .. } => state(
                true,
                "AssignedUnverified",
                &format!("the assigned document is served; not everything could be checked: {why}"),
            ),
            Validity::Valid => state(true, "Assigned", "the assigned document is served"),
            Validity::Invalid(why) => state(
                true,
                "Assigned",
                &format!("the assigned document is served, but no longer passes: {why}"),
            ),
        };
    }
    let kept = format!("document {} stays served", served.digest.short());
    match withheld_because(view) {
        Some(why) if served.origin == Origin::Assigned => {
            state(true, "Withheld", &format!("the assigned document is withheld: {why}; {kept}"))
        }
        _ => {
            let reason = match served.origin {
                Origin::Repaired | Origin::Source => "Repaired",
                Origin::Fallback => "Fallback",
                Origin::Assigned | Origin::History => "LastKnownGood",
            };
            state(true, reason, &kept)
        }
    }
}

struct ReadyState {
    is_ready: bool,
    reason: &'static str,
    message: String,
    /// Will it change without a person?
    moves: bool,
}

fn ready(view: &View, valid: &Validity, serving: &ServingState) -> ReadyState {
    let state =
        |is_ready, reason, message: String, moves| ReadyState { is_ready, reason, message, moves };
    match (valid, &view.served) {
        (_, Served::Foreign { .. }) => {
            state(false, "ServeNotOwned", serving.message.clone(), false)
        }
        (_, Served::Unavailable(doubt)) => {
            state(false, doubt.reason.into(), doubt.message.clone(), true)
        }
        (Validity::Invalid(why), _) => state(false, "Invalid", why.clone(), false),
        (Validity::Valid, Served::NotServed) => {
            state(true, "Valid", "the document passes; it is watched only".to_owned(), false)
        }
        (Validity::Valid, _) if view.serves_assigned() => {
            state(true, "Assigned", "the assigned document is served and passes".to_owned(), false)
        }
        // Unknown is not Fail: what was asked for is served.
        (Validity::Unknown { why, .. }, _) if view.serves_assigned() => state(
            true,
            "AssignedUnverified",
            format!("served, and not all could be checked: {why}"),
            false,
        ),
        (Validity::Unknown { reason, why }, _) => state(false, reason, why.clone(), true),
        (Validity::Valid, _) if view.effective.suspend => state(
            false,
            "Suspended",
            "a valid document waits for spec.suspend to end".to_owned(),
            false,
        ),
        (Validity::Valid, _) => state(
            false,
            "Publishing",
            "the assigned document is about to be served".to_owned(),
            true,
        ),
    }
}

fn health(view: &View, status: &WidgetContractStatus, valid: &Validity, ready: bool) -> Health {
    let documents = status.document.as_ref();
    let warning = status
        .checks
        .iter()
        .any(|c| c.severity == Severity::Warning && c.result == CheckResult::Fail);
    if view.effective.suspend {
        return Health::Suspended;
    }
    match (valid, ready) {
        (Validity::Unknown { .. }, true) => Health::Unknown,
        (_, true) if warning => Health::Degraded,
        (_, true) => Health::Healthy,
        (Validity::Unknown { .. }, _) => Health::Unknown,
        (Validity::Invalid(_), _) if view.serves_assigned() => Health::Critical,
        _ if documents.is_some_and(|d| d.served.is_some()) => Health::Degraded,
        _ if documents.is_some_and(|d| d.last_known_good.is_some()) => Health::Critical,
        _ => Health::Pending,
    }
}

fn summary(results: &[RuleResult]) -> String {
    let count =
        |wanted: fn(&Verdict) -> bool| results.iter().filter(|r| wanted(&r.verdict)).count();
    let parts = [
        (count(|v| *v == Verdict::Pass), "pass"),
        (count(|v| matches!(v, Verdict::Fail(_))), "fail"),
        (count(|v| matches!(v, Verdict::Unknown(_))), "unknown"),
    ];
    let said: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    said.join(", ")
}

fn count(checks: &[Check], wanted: fn(&Check) -> bool) -> u32 {
    u32::try_from(checks.iter().filter(|check| wanted(check)).count()).unwrap_or(u32::MAX)
}

/// Notes in `status` that `revision` was stored, and which older ones stay: never fewer than two,
/// never without the one that is served.
pub fn record_revision(
    status: &mut WidgetContractStatus,
    revision: RevisionRef,
    limit: u32,
    now: Timestamp,
) -> Vec<u32> {
    let documents = status.document.get_or_insert_with(DocumentStatus::default);
    documents.last_known_good = Some(KnownGood {
        digest: revision.digest.clone(),
        revision: revision.number,
        since: Time(whole_seconds(now)),
    });
    let served = documents.served.as_ref().and_then(|served| served.revision);
    documents.revisions.retain(|stored| stored.number != revision.number);
    documents.revisions.insert(0, revision);
    let keep = usize::try_from(limit.max(2)).unwrap_or(usize::MAX);
    let mut pruned = Vec::new();
    let mut at = 0;
    documents.revisions.retain(|stored| {
        at += 1;
        let kept = at <= keep || Some(stored.number) == served;
        if !kept {
            pruned.push(stored.number);
        }
        kept
    });
    pruned
}
