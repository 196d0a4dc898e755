//! A contract's status as a pure function of the facts: checks, conditions, health.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        PIN,
        condition::{ConditionType, Conditions, whole_seconds},
        contract::{
            AssignedDocument, Check, CheckResult, DocumentStatus, Health, KnownGood, Origin,
            RevisionRef, ServedDocument, Target, WidgetContractStatus,
        },
        incident::{IncidentStatus, State},
    },
    domain::{Severity, Span, Verdict, text},
};

use super::{
    Stall,
    delivered::{self, Edge},
    escalation, pause,
    pin::{self, Pinned, Standing},
    publish::{overwritten_by, withheld_because},
    standing::ServingReason,
    validate::RuleResult,
    view::{Assigned, OpenIncident, Served, View, sooner},
};

/// The most checks that status shows.
const CHECKS_MAX: usize = 64;
/// What their paths and messages may take together, in bytes: status stays a small object.
const TEXTS_MAX: usize = 12 * 1024;

/// The reason where the edge does not show what is served.
pub const STALE_AT_EDGE: &str = "StaleAtEdge";

/// The status that follows from the facts, given the one stored before.
#[must_use]
pub fn of(view: &View, now: Timestamp) -> WidgetContractStatus {
    let results = view.assigned_results();
    let checks = checks(view, &results, now);
    let document = documents(view, now);
    let mut status = WidgetContractStatus {
        observed_generation: Some(view.subject.generation),
        failing: Some(failing(&results)),
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
/// documents is kept: what is served stays served. How many rules fail is not: nothing may have been asked
/// about what is assigned now.
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
        failing: None,
        rules_summary: String::new(),
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
    // Of one that is over, too: the process may have died between its status and the contract's.
    let last = view.ended.first().map(|last| (last.ordinal, &last.policies_summary));
    let open = view.incident.as_ref().map(|open| (open.spec.ordinal, &open.spec.policies_summary));
    let Some((ordinal, policies)) = open.or(last) else { return };
    status.episodes = status.episodes.max(Some(ordinal));
    status.policy = Some(text::bounded(policies, 63));
    let Some(open) = &view.incident else { return };
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

/// A condition that was taken away and put back has not flipped: without this, a contract in
/// trouble would be written at every look.
pub fn keep_times(status: &mut WidgetContractStatus, stored: &WidgetContractStatus) {
    for condition in &mut status.conditions {
        let old = stored.conditions.iter().find(|old| old.type_ == condition.type_);
        if let Some(old) = old.filter(|old| old.status == condition.status) {
            condition.last_transition_time = old.last_transition_time.clone();
        }
    }
}

/// How the rules that do not pass stand, the worst first: sorted before it is cut, since an
/// Incident opens only about what is seen here.
fn checks(view: &View, results: &[RuleResult], now: Timestamp) -> Vec<Check> {
    let mut checks: Vec<Check> =
        results.iter().filter_map(|result| check(view, result, now)).collect();
    checks.sort_by(|a, b| (a.result, b.severity, &a.rule).cmp(&(b.result, a.severity, &b.rule)));
    checks.truncate(CHECKS_MAX);
    let room = (TEXTS_MAX / (2 * checks.len()).max(1)).min(text::MESSAGE_MAX);
    for check in &mut checks {
        check.path = text::bounded(&check.path, room);
        check.message = text::bounded(&check.message, room);
    }
    checks
}

fn check(view: &View, result: &RuleResult, now: Timestamp) -> Option<Check> {
    let rule = view.effective.rule(&result.rule);
    let mut host = String::new();
    let (outcome, threshold, path, keyword, message) = match &result.verdict {
        Verdict::Fail(violations) => {
            let first = violations.first()?;
            let message = match violations.len() {
                1 => first.message.clone(),
                more => format!("{} (and {} more)", first.message, more - 1),
            };
            let threshold = rule.map_or(1, |rule| rule.failure_threshold);
            (CheckResult::Fail, threshold, first.path.clone(), first.keyword.clone(), message)
        }
        // Nothing waits for a row of these.
        Verdict::Unknown(doubt) => {
            let reason = doubt.reason.to_string();
            host = doubt.host.clone().unwrap_or_default();
            (CheckResult::Unknown, 1, String::new(), reason, doubt.message.clone())
        }
        // Listed until the Incident is over, or the row would begin anew.
        Verdict::Pass => {
            let threshold = rule.map_or(1, |rule| rule.success_threshold);
            let awaited = view.incident.as_ref().is_some_and(|open| open.is_about(&result.rule));
            if threshold <= 1 || !awaited {
                return None;
            }
            let message = format!("passes again; {threshold} times in a row end its failure");
            (CheckResult::Pass, threshold, String::new(), String::new(), message)
        }
    };
    let old = view.status.checks.iter().find(|check| check.rule == result.rule);
    let old = old.filter(|old| old.result == outcome);
    let interval = rule.map_or(view.effective.interval, |rule| rule.interval);
    let (failures, counted_at) = in_a_row(old, threshold, interval, now);
    Some(Check {
        rule: result.rule.clone(),
        target: Target::Assigned,
        result: outcome,
        severity: result.severity,
        since: old.map_or_else(|| Time(whole_seconds(now)), |old| old.since.clone()),
        failures,
        counted_at,
        path,
        keyword,
        host,
        message,
    })
}

/// How many times in a row, and when that was counted. A look counts only when an interval has
/// passed since the one before: else every event would be a failure of its own.
fn in_a_row(
    old: Option<&Check>,
    threshold: u32,
    interval: Span,
    now: Timestamp,
) -> (u32, Option<Time>) {
    let stored = || Time(whole_seconds(now));
    let (times, at) = match old {
        None => (1, stored()),
        Some(old) => match &old.counted_at {
            None => (old.failures, stored()),
            Some(at) if interval.after(at.0) <= now => (old.failures.saturating_add(1), stored()),
            Some(at) => (old.failures, at.clone()),
        },
    };
    (times.min(threshold), (times < threshold).then_some(at))
}

/// When the next look counts, where a threshold is waited for.
#[must_use]
pub fn counts_next(view: &View, checks: &[Check]) -> Option<Timestamp> {
    let counting = checks.iter().filter_map(|check| {
        let at = check.counted_at.as_ref()?.0;
        Some(view.effective.rule(&check.rule)?.interval.after(at))
    });
    counting.min()
}

/// When every rule of `incident` will have passed as often in a row as it has to, at the earliest;
/// None when they have.
#[must_use]
pub fn recovers_at(view: &View, incident: &OpenIncident, checks: &[Check]) -> Option<Timestamp> {
    let awaited = checks.iter().filter_map(|check| {
        let is_awaited = check.result == CheckResult::Pass && incident.is_about(&check.rule);
        let at = check.counted_at.as_ref().filter(|_| is_awaited)?.0;
        let rule = view.effective.rule(&check.rule)?;
        let missing = rule.success_threshold.saturating_sub(check.failures);
        let wait = rule.interval.as_millis().saturating_mul(missing.into());
        Some(Span::millis(u32::try_from(wait).unwrap_or(u32::MAX)).after(at))
    });
    awaited.max()
}

fn documents(view: &View, now: Timestamp) -> DocumentStatus {
    let before = view.status.document.clone().unwrap_or_default();
    let served = served(view, &before);
    DocumentStatus {
        assigned: assigned(view, before.assigned.as_ref(), now),
        delivered: delivered::of(view, served.as_ref(), before.delivered.as_ref(), now),
        served,
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
            // The one mark that changes while the bytes stay is that they were pinned.
            let origin = match &key.note {
                Some(note) if key.written_by_us && known.origin == Origin::Pinned => note.origin,
                _ => known.origin,
            };
            Some(ServedDocument {
                origin,
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
        Validity::Valid => {
            let message = "every Critical rule passes";
            status.last_valid = Some(true);
            conditions.set(ConditionType::Valid, true, "RulesPass", message, generation, now);
        }
        Validity::Invalid(ref why) => {
            status.last_valid = Some(false);
            conditions.set(ConditionType::Valid, false, "RulesFail", why, generation, now);
        }
        Validity::Unknown { reason, ref why } => {
            conditions.set_unknown(ConditionType::Valid, reason, why, generation, now);
        }
    }
    let serving = serving(view, status, &valid, now);
    set_pinned(view, &serving, &mut conditions, now);
    conditions.set(
        ConditionType::Serving,
        serving.is_serving,
        serving.reason.as_str(),
        &serving.message,
        generation,
        now,
    );
    set_delivered(view, status, &mut conditions, now);
    if view.effective.suspend {
        let message = "spec.suspend is true: nothing but status is written";
        conditions.set(ConditionType::Paused, true, "Suspended", message, generation, now);
    } else if let Err(held) = pause::pass_contract(view, now) {
        conditions.set(ConditionType::Paused, true, held.reason, &held.message, generation, now);
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
    set_escalated(view, status, &mut conditions, now);
    ready.reason.clone_into(&mut status.reason);
    status.health = Some(health(view, results, status, &valid, ready.is_ready));
    status.conditions = conditions.into_list();
}

fn set_delivered(
    view: &View,
    status: &WidgetContractStatus,
    conditions: &mut Conditions,
    now: Timestamp,
) {
    let (type_, generation) = (ConditionType::Delivered, view.subject.generation);
    match delivered::edge(view, status, now) {
        Edge::NotAsked => conditions.remove(type_),
        Edge::Seen => {
            let message = "serve.probe.url shows what is served";
            conditions.set(type_, true, "SeenAtEdge", message, generation, now);
        }
        Edge::Awaited { .. } => {
            let message = "serve.probe.url does not show yet what is served";
            conditions.set_unknown(type_, "AwaitingEdge", message, generation, now);
        }
        Edge::Stale { why, .. } => {
            conditions.set(type_, false, STALE_AT_EDGE, &why, generation, now);
        }
    }
}

/// Says that a check stays Unknown, and calls a person because of it, and again when nobody answers:
/// but where an Incident about what several contracts share calls for all of them.
fn set_escalated(
    view: &View,
    status: &mut WidgetContractStatus,
    conditions: &mut Conditions,
    now: Timestamp,
) {
    let late = escalation::unknown(view, &status.checks).filter(|unknown| unknown.at <= now);
    let Some(unknown) = late.min_by_key(|unknown| (unknown.is_spoken_for, unknown.at)) else {
        conditions.remove(ConditionType::Escalated);
        status.called_at = None;
        return;
    };
    let (type_, generation) = (ConditionType::Escalated, view.subject.generation);
    conditions.set(type_, true, &unknown.check.keyword, &unknown.message(), generation, now);
    // When a person was called last is kept: a check whose reason comes and goes calls no more often.
    if unknown.is_spoken_for {
        return;
    }
    let is_due = |last: &Time| unknown.again_at(last.0) <= now;
    if status.called_at.as_ref().is_none_or(is_due) {
        status.called_at = Some(Time(whole_seconds(now)));
    }
}

/// When a person is called, or called again, because of a check that stays Unknown, or when it is said
/// that somebody else calls.
#[must_use]
pub fn calls_next(view: &View, status: &WidgetContractStatus, now: Timestamp) -> Option<Timestamp> {
    let (spoken_for, own): (Vec<_>, Vec<_>) =
        escalation::unknown(view, &status.checks).partition(|unknown| unknown.is_spoken_for);
    let called = status.called_at.as_ref();
    let first = own.iter().min_by_key(|unknown| unknown.at);
    let own = first.map(|first| called.map_or(first.at, |last| first.again_at(last.0)));
    let said = spoken_for.iter().map(|unknown| unknown.at).filter(|at| *at > now).min();
    sooner(own, said)
}

/// What became of the annotation that pins a document.
fn set_pinned(view: &View, serving: &ServingState, conditions: &mut Conditions, now: Timestamp) {
    let (is_pinned, reason, message) = match pin::standing(view, now) {
        Standing::None => {
            conditions.remove(ConditionType::Pinned);
            return;
        }
        Standing::Holds(_) if serving.is(ServingReason::Pinned) => {
            (true, ServingReason::Pinned.as_str(), serving.message.clone())
        }
        Standing::Holds(_) => (false, "PinPending", "it is not served yet".to_owned()),
        Standing::Over(until) => {
            (false, "PinOver", format!("annotation {PIN}: its time was over at {until}; remove it"))
        }
        Standing::Invalid(why) => (false, "PinInvalid", why),
        Standing::NotStored(why) => (false, "PinNotStored", why),
    };
    let generation = view.subject.generation;
    conditions.set(ConditionType::Pinned, is_pinned, reason, &message, generation, now);
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
    reason: ServingReason,
    message: String,
}

impl ServingState {
    fn is(&self, reason: ServingReason) -> bool {
        self.reason == reason
    }
}

fn serving(
    view: &View,
    status: &WidgetContractStatus,
    valid: &Validity,
    now: Timestamp,
) -> ServingState {
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
        return state(false, ServingReason::ServeNotOwned, &message);
    }
    if view.served == Served::NotServed {
        return state(
            false,
            ServingReason::WatchOnly,
            "serve.none is set: the document is watched only",
        );
    }
    let Some(served) = status.document.as_ref().and_then(|d| d.served.as_ref()) else {
        let why = withheld_because(view)
            .unwrap_or_else(|| "there has been no valid document yet".to_owned());
        return state(false, ServingReason::None, &format!("nothing is served: {why}"));
    };
    let pinned = pin::in_force(view, now).filter(|pinned| pinned.digest == served.digest);
    if let Some(Pinned { digest, until, .. }) = pinned {
        let message =
            format!("document {} is served until {until} by annotation {PIN}", digest.short());
        return state(true, ServingReason::Pinned, &message);
    }
    if view.serves_assigned() {
        return match valid {
            Validity::Unknown { why, .. } => state(
                true,
                ServingReason::AssignedUnverified,
                &format!("the assigned document is served; not everything could be checked: {why}"),
            ),
            Validity::Valid => {
                state(true, ServingReason::Assigned, "the assigned document is served")
            }
            Validity::Invalid(why) => state(
                true,
                ServingReason::Assigned,
                &format!("the assigned document is served, but no longer passes: {why}"),
            ),
        };
    }
    let kept = format!("document {} stays served", served.digest.short());
    match withheld_because(view) {
        Some(why) if served.origin == Origin::Assigned => state(
            true,
            ServingReason::Withheld,
            &format!("the assigned document is withheld: {why}; {kept}"),
        ),
        _ => {
            let reason = match served.origin {
                Origin::Repaired | Origin::Source => ServingReason::Repaired,
                Origin::Fallback => ServingReason::Fallback,
                Origin::Assigned | Origin::History | Origin::Pinned => ServingReason::LastKnownGood,
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
        (Validity::Valid, _) if serving.is(ServingReason::Pinned) => {
            state(false, serving.reason.as_str(), serving.message.clone(), false)
        }
        (Validity::Valid, _) => state(
            false,
            "Publishing",
            "the assigned document is about to be served".to_owned(),
            true,
        ),
    }
}

fn health(
    view: &View,
    results: &[RuleResult],
    status: &WidgetContractStatus,
    valid: &Validity,
    ready: bool,
) -> Health {
    let documents = status.document.as_ref();
    let warning = results
        .iter()
        .any(|r| r.severity == Severity::Warning && matches!(r.verdict, Verdict::Fail(_)));
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

fn failing(results: &[RuleResult]) -> u32 {
    let failing = results.iter().filter(|result| result.verdict != Verdict::Pass).count();
    u32::try_from(failing).unwrap_or(u32::MAX)
}

/// Notes in `status` that `revision` was stored, and which older ones stay: never fewer than two,
/// never without the one that is served and the one that was served `before` it.
pub fn record_revision(
    status: &mut WidgetContractStatus,
    revision: RevisionRef,
    before: Option<u32>,
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
        let kept = at <= keep || [served, before].contains(&Some(stored.number));
        if !kept {
            pruned.push(stored.number);
        }
        kept
    });
    pruned
}
