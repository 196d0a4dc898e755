//! The Incident machine: what one look means for the episode that a contract is in.
//!
//! ```text
//! seen                                        open Incident   what happens
//! trouble                                     none            open it; publish a candidate beside
//! trouble, same fingerprint, published by us  any             record the attempt by what is served now
//! trouble, same fingerprint, gate shut        any             Held (Mitigated while good is served)
//! trouble, same fingerprint, to be approved   any             Held, its plan shown; Remediating once a person approved
//! trouble, same fingerprint, attempt due      not Mitigated   publish a candidate, or record a failed attempt
//! the same, at the turn of an effect step     any             see the table in `effects`
//! trouble, same fingerprint, attempts spent   any             Escalated; a slow probe goes on
//! trouble, another fingerprint                any             Superseded; the next look opens anew
//! no trouble                                  any             Mitigated, then Resolved after minHealthyPeriod
//! unknown                                     any             nothing: Unknown is not Fail
//! ```
//!
//! A published repair is never taken for a success because it was written: the look after it reads
//! the served key again and judges what stands there.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        condition::{ConditionType, whole_seconds},
        contract::{Mode, WidgetContractStatus},
        incident::{
            Cause, IncidentSpec, Outcome as AttemptOutcome, RuleViolation, Segment, State,
            StepEffect,
        },
        policy::Retry,
    },
    domain::{Document, Severity, Verdict, difference::difference, patch::OpSummary, text},
};

use super::{
    Held, blame, breakers, delivered,
    drift::PUT_BACK,
    effects::{self, Turn},
    episode::{self, Episode},
    gates,
    gates::{Permit, Way},
    moves::{EffectAct, Move, OPS_SHOWN, Repair, intent, summaries},
    pin,
    plan::{self, Attempt, Attempting, Candidate, Outcome, StepName},
    publish::overwritten_by,
    record::Record,
    requests::{self, Request},
    select,
    shown::{self, Shown, Until},
    status, undo,
    validate::Judged,
    view::{Effect, EndedIncident, Need, OpenIncident, Served, View, sooner},
    write_back::{self, Place},
};

/// The next move, and when to look again; `seen` is the contract's status as it is about to be.
#[must_use]
pub fn advance(
    view: &View,
    seen: &WidgetContractStatus,
    now: Timestamp,
) -> (Move, Option<Timestamp>) {
    if view.effective.suspend || view.effective.mode == Mode::Off {
        return left_alone(view, now);
    }
    if let Some(open) = view.incident.as_ref().filter(|open| !open.spec.close)
        && !requests::pending(view, Request::Reset).is_empty()
    {
        let digest = open.status.document(&open.spec);
        let mut record = Record::of(open, digest.clone(), now);
        record.reset();
        return record.done();
    }
    if let Some(open) = view.incident.as_ref().filter(|open| !open.spec.close)
        && let Some(asked) = undo::asked(view, open, now)
    {
        return asked;
    }
    let (trouble, due) = episode::of(view, &seen.checks, now);
    if trouble.is_some() {
        match view.max_mode {
            None => return (Move::Ask(Need::MaxMode), None),
            Some(Mode::Off) => return (Move::Nothing, due),
            Some(_) => {}
        }
    }
    let (next_move, next) = match (&view.incident, trouble) {
        (None, None) => (Move::Nothing, None),
        (None, Some(trouble)) => (open(view, &trouble, now), None),
        (Some(incident), _) if incident.spec.close => (close(incident, now), None),
        (Some(incident), None) => quiet(view, seen, incident, now),
        (Some(incident), Some(trouble)) if is_same(incident, &trouble) => {
            go_on(view, seen, incident, &trouble, now)
        }
        // A rule that cannot be checked now may still fail: that is no other kind of trouble.
        (Some(incident), Some(_)) if is_unclear(view, incident) => unclear(view, incident, now),
        (Some(incident), Some(_)) => (supersede(incident, now), None),
    };
    (next_move, sooner(next, due))
}

/// What is not judged any more is counted among no others.
fn left_alone(view: &View, now: Timestamp) -> (Move, Option<Timestamp>) {
    let Some(incident) = &view.incident else { return (Move::Nothing, None) };
    let digest = incident.status.document(&incident.spec);
    let mut record = Record::of(incident, digest.clone(), now);
    record.is_left_alone();
    if record.status.waiting == incident.status.waiting {
        return (Move::Nothing, None);
    }
    record.done()
}

/// Would an attempt have nothing to do? Not while nothing can be concluded.
#[must_use]
pub fn nothing_to_heal(view: &View, seen: &WidgetContractStatus, now: Timestamp) -> bool {
    let Some(open) = &view.incident else { return true };
    let has_steps = open.spec.plan.iter().any(|segment| !segment.steps.is_empty());
    !has_steps || (episode::of(view, &seen.checks, now).0.is_none() && !is_unclear(view, open))
}

/// The same episode: the same places fail, or some of them.
fn is_same(incident: &OpenIncident, trouble: &Episode) -> bool {
    let known = &incident.spec.violations;
    let is_known =
        |violation: &RuleViolation| known.iter().any(|known| known.place() == violation.place());
    trouble.fingerprint == incident.spec.fingerprint
        || episode::violations(&trouble.failing).iter().all(is_known)
}

/// Is one of the Incident's rules Unknown now?
fn is_unclear(view: &View, incident: &OpenIncident) -> bool {
    view.assigned_results().iter().any(|result| {
        incident.is_about(&result.rule) && matches!(result.verdict, Verdict::Unknown(_))
    })
}

fn open(view: &View, trouble: &Episode, now: Timestamp) -> Move {
    // More places than an Incident shows may have been closed: of those beyond, a part opens again.
    let is_closed = |last: &EndedIncident| {
        last.fingerprint == trouble.fingerprint
            || last
                .closed
                .as_deref()
                .is_some_and(|closed| episode::is_within(&trouble.failing, closed))
    };
    let is_over = |last: &EndedIncident| {
        last.closed.is_some() && last.digest == trouble.digest && is_closed(last)
    };
    if view.ended.iter().any(is_over) {
        return Move::Nothing;
    }
    let ordinal = episode::next_ordinal(view);
    let name = episode::name(&view.subject.name, &view.subject.uid, ordinal);
    let cause = match blame::cause(view, trouble) {
        Ok(cause) => cause,
        Err(need) => return Move::Ask(need),
    };
    let segments = plan::segments(view, trouble, cause);
    if segments.iter().any(|segment| segment.mode == Mode::Off) {
        return Move::Nothing;
    }
    let place = write_back::place(view, &segments, &trouble.fingerprint, now);
    let mut first_intent = None;
    if let Some(need) = gates::lack(view, &segments) {
        return Move::Ask(need);
    }
    let repair = match gates::pass(view, &segments, cause, &place, now) {
        // Whoever is asked about the plan is shown it in the Incident, which comes first.
        Err(_) | Ok(Way::Asks(_)) => None,
        Ok(Way::Open(open)) => {
            match plan::candidate(view, &segments, Attempting::First(cause), now, now) {
                Outcome::Ask(need) => return Move::Ask(need),
                Outcome::Candidate(candidate) if !is_in_place(view, &candidate, &place) => {
                    first_intent = (place == Place::Assigned).then(|| intent(&candidate, 1));
                    Some(Repair::new(&open.permit(candidate), &name, 1, &place, now))
                }
                Outcome::Candidate(_)
                | Outcome::Wait { .. }
                | Outcome::Retry(_)
                | Outcome::Effect { .. }
                | Outcome::Held { .. }
                | Outcome::None { .. } => None,
            }
        }
    };
    let rules: Vec<&str> = trouble.failing.iter().map(|f| f.rule.as_str()).collect();
    let policies: Vec<&str> = segments
        .iter()
        .map(|segment| segment.policy_ref.as_ref().map_or("built-in", |policy| &policy.name))
        .collect();
    let spec = IncidentSpec {
        subject: view.subject.name.clone(),
        contract_name: view.subject.name.clone(),
        contract_uid: view.subject.uid.clone(),
        about: None,
        blames: (cause == Cause::SchemaChanged).then(|| blame::shared(view)).flatten(),
        widget: view.effective.widget.clone(),
        ordinal,
        document_digest: trouble.digest.clone(),
        fingerprint: trouble.fingerprint.clone(),
        rules_summary: text::bounded(&rules.join(","), 255),
        violations: episode::violations(&trouble.failing),
        severity: trouble.severity,
        cause,
        policies_summary: text::bounded(&policies.join(","), 255),
        plan: segments,
        intent: first_intent,
        traceparent: Some(episode::traceparent(&view.subject.uid, ordinal)),
        opened_at: Time(whole_seconds(trouble.since)),
        approval: None,
        close: false,
        undo: None,
    };
    Move::Open { name, spec: Box::new(spec), repair }
}

/// The same trouble goes on.
fn go_on(
    view: &View,
    seen: &WidgetContractStatus,
    incident: &OpenIncident,
    trouble: &Episode,
    now: Timestamp,
) -> (Move, Option<Timestamp>) {
    if pin::wrote(view) && !view.serves_assigned() && view.served_document.is_none() {
        return (Move::Ask(Need::ServedDocument), None);
    }
    let plan = &incident.spec.plan;
    let retry = select::retry(&view.policies, plan);
    let place = write_back::place(view, plan, &trouble.fingerprint, now);
    let written_back = write_back::attempt(view, incident);
    if incident.status.tries.is_none()
        && incident.status.effects.is_empty()
        && published_attempt(view, incident).is_none()
        && written_back.is_none()
        && policies_of(plan) != policies_of(&plan::segments(view, trouble, incident.spec.cause))
    {
        // Nothing was tried yet, and other policies are responsible now: plan anew.
        return (supersede(incident, now), None);
    }
    let mut record = Record::of(incident, trouble.digest.clone(), now);
    record.edge = delivered::edge(view, seen, now);
    record.depends = breakers::of_effects(view, plan);
    record.asked_for(view);
    if incident.status.current_digest.as_ref() != Some(&trouble.digest) || !serves_good(view) {
        record.withdraw(ConditionType::Verified, "what was verified is not what is at stake now");
    }
    if !serves_good(view) {
        record.withdraw(ConditionType::Mitigated, "what is served fails");
    }
    let waiting = record.status.waiting.as_str();
    if waiting == "HealthyPeriod" || (waiting == "AwaitingOwner" && !serves_good(view)) {
        // A relapse: what was waited for is not what is needed now.
        record.status.waiting.clear();
        record.status.next_attempt_time = None;
    }
    if let Some(effect) = published_attempt(view, incident)
        && record.status.tries.unwrap_or(0) < effect.attempt
    {
        let Some(served) = &view.served_document else {
            return (Move::Ask(Need::ServedDocument), None);
        };
        record.tell(view, effect);
        record.changes = changes(view, &served.document);
        if served.is_good() {
            record.succeeded(effect.attempt, served.document.digest(), &served_as(&place));
        } else if !served.critical().any(|result| matches!(result.verdict, Verdict::Fail(_))) {
            // Unknown is not Fail: look again, and spend no attempt on it.
            record.verifying(view.effective.interval);
        } else {
            let why = "what was published does not pass any more";
            record.failed(effect.attempt, why, &retry);
            // What it took the place of comes back before anything else is tried.
            record.next = Some(now);
        }
        return finish(view, record);
    }
    if let Some(effect) = published_attempt(view, incident).filter(|e| has_failed(incident, e))
        && let Some(back) = undo::of_failure(view, effect, now)
    {
        return (back, None);
    }
    if let Some(effect) = written_back
        && record.status.tries.unwrap_or(0) < effect.attempt
    {
        let why = "what was written back does not pass any more";
        record.tell_intent(view, effect);
        record.failed(effect.attempt, why, &retry);
        return finish(view, record);
    }
    if serves_good(view) {
        record.mitigated("the last good document stays served");
        if record.conditions.is_true(ConditionType::Verified) && record.waits_for_edge() {
            return finish(view, record);
        }
    }
    let is_forced = record.has_steps() && !record.requests.is_empty();
    if !is_forced && record.is_settled() {
        return finish(view, record);
    }
    attempt(view, record, &place, &retry)
}

/// The next attempt, when no gate is shut and it is due.
fn attempt(
    view: &View,
    mut record: Record<'_>,
    place: &Place,
    retry: &Retry,
) -> (Move, Option<Timestamp>) {
    let (incident, now) = (record.incident, record.now);
    let plan = &incident.spec.plan;
    if let Some(need) = gates::lack(view, plan) {
        return (Move::Ask(need), None);
    }
    let way = match gates::pass(view, plan, incident.spec.cause, place, now) {
        Ok(way) => way,
        Err(held) => return hold(view, record, place, &held),
    };
    record.is_alone_again();
    if let Way::Asks(_) = &way {
        match gates::approval::guarded(view, plan) {
            Err(need) => return (Move::Ask(need), None),
            Ok(Err(held)) => {
                record.unguarded(&held);
                return finish(view, record);
            }
            Ok(Ok(())) => {}
        }
    }
    let is_forced = !record.requests.is_empty();
    if record.has_given_up() && breakers::is_back(view, incident) {
        record.starts_afresh("what it depends on answers again");
    }
    let due = record.status.next_attempt_time.as_ref().map(|at| at.0);
    let due = due.filter(|at| *at > now && !is_forced);
    // What an effect is waited for may be there before its time is over.
    if let Some(at) = due.filter(|_| !effects::is_awaited(&record.status.waiting)) {
        record.conditions.remove(ConditionType::Held);
        record.next = Some(at);
        return finish(view, record);
    }
    let attempt = record.next_number();
    let attempting = Attempting::Again(Attempt {
        number: attempt,
        waited: if is_forced { usize::MAX } else { record.waited() },
        is_probe: record.has_given_up() && !is_forced,
    });
    let (outcome, shown) = match (held_by_job(view, &record), &way) {
        (Some(outcome), _) => (outcome, None),
        (None, Way::Open(_)) => (plan::candidate(view, plan, attempting, now, now), None),
        (None, Way::Asks(_)) => shown::today(view, &record, place, Until::Expired),
    };
    if let Way::Open(_) = &way {
        record.called(view);
        if !matches!(outcome, Outcome::Held { .. }) {
            record.conditions.remove(ConditionType::Held);
        }
    }
    match outcome {
        Outcome::Ask(need) => (Move::Ask(need), None),
        Outcome::Held { held, step } => {
            record.step_held(&held, step);
            finish(view, record)
        }
        Outcome::Candidate(candidate) if is_in_place(view, &candidate, place) => {
            record.changes = summaries(&candidate.ops);
            record.step = candidate.step;
            record.tried = candidate.tried;
            record.succeeded(attempt, candidate.document.digest(), &served_as(place));
            finish(view, record)
        }
        Outcome::Candidate(candidate) => {
            let Some(permit) = permit(view, &mut record, way, shown.as_ref(), candidate) else {
                return finish(view, record);
            };
            if *place == Place::Assigned && !is_intended(incident, permit.candidate(), attempt) {
                record.intend(intent(permit.candidate(), attempt));
                return finish(view, record);
            }
            (Move::Publish(Repair::new(&permit, &incident.name, attempt, place, now)), None)
        }
        Outcome::Wait { wait, step } => {
            record.wait(wait, &step);
            finish(view, record)
        }
        Outcome::Retry(retried) => {
            record.retry_step(retried);
            finish(view, record)
        }
        Outcome::Effect { step, turn } => {
            act(view, record, way, shown.as_ref(), &step, turn.map(|turn| *turn))
        }
        Outcome::None { step, why, tried, escalate } => {
            record.conditions.remove(ConditionType::Held);
            if let Err(need) = record.diagnose(view) {
                return (Move::Ask(need), None);
            }
            if record.has_given_up() && !is_forced {
                record.probe_again_slowly();
            } else {
                record.step = step;
                record.tried = tried;
                record.failed(attempt, &why, retry);
                if escalate && !record.has_given_up() {
                    record.give_up(&why);
                }
            }
            finish(view, record)
        }
    }
}

/// Does it wait for another Job still? Then the steps before it are not tried again at each look: they
/// ask sources.
fn held_by_job(view: &View, record: &Record<'_>) -> Option<Outcome> {
    if record.status.waiting != effects::JOB_RUNNING {
        return None;
    }
    match effects::held_by_job(view, record.incident, record.next_number(), record.now) {
        Err(need) => Some(Outcome::Ask(need)),
        Ok(held) => held.map(|held| Outcome::Held { held, step: record.status.step.clone() }),
    }
}

/// A gate is shut; in mode `DryRun` people are shown what would be done.
fn hold(
    view: &View,
    mut record: Record<'_>,
    place: &Place,
    held: &Held,
) -> (Move, Option<Timestamp>) {
    record.gate_held(held);
    if held.reason == "DryRun" {
        record.conditions.remove(ConditionType::Approved);
        match shown::today(view, &record, place, Until::Replaced) {
            (Outcome::Ask(need), _) => return (Move::Ask(need), None),
            (Outcome::Candidate(candidate), Some(shown)) => {
                record.show(&shown, &candidate, "DryRun");
            }
            (Outcome::Effect { step, .. }, _) => {
                record.plan_is_over();
                record.would_act(&step);
            }
            _ => record.plan_is_over(),
        }
    } else if record.is_about_another_document() {
        // What is shown was to be done to that one, and no other plan is made while the gate is shut.
        record.plan_is_over();
    }
    finish(view, record)
}

/// The turn of a step that acts on something else than the document.
fn act(
    view: &View,
    mut record: Record<'_>,
    way: Way,
    shown: Option<&Shown>,
    step: &StepName,
    turn: Option<Turn>,
) -> (Move, Option<Timestamp>) {
    let (open, by) = match (way, shown) {
        (Way::Open(open), _) => (Some(open), None),
        (Way::Asks(asks), Some(shown)) => {
            let target = match &turn {
                Some(Turn::Intend(effect)) => Some(effect.target.clone()),
                _ => record.under_way(step).map(|effect| effect.target.clone()),
            };
            record.show_effect(shown, step, &target.unwrap_or_default());
            let Some(open) = shown::approved(asks, view, &mut record, shown) else {
                return finish(view, record);
            };
            (Some(open), record.status.approved_by.clone())
        }
        (Way::Asks(asks), None) => {
            record.conditions.remove(ConditionType::Held);
            (record.under_way(step).and_then(|effect| gates::approval::begun(asks, effect)), None)
        }
    };
    match (turn, open) {
        (Some(Turn::Send { id, doing }), Some(open)) => match by {
            Some(by) => record.may_go_on(step, by),
            None => return (Move::Act(EffectAct::new(open, id, doing)), None),
        },
        (Some(Turn::Intend(effect)), Some(_)) => {
            // The evidence goes with what is done about it.
            if let Err(need) = record.diagnose(view) {
                return (Move::Ask(need), None);
            }
            record.plan_is_over();
            record.intend_effect(StepEffect { approved_by: by, ..effect });
        }
        (Some(Turn::Settle { effect, then }), _) => record.settle_effect(effect, then),
        (Some(Turn::Wait { look_at }), _) => record.next = Some(look_at),
        _ => {}
    }
    finish(view, record)
}

/// The right to write `candidate`, or None when a person has to be waited for.
fn permit(
    view: &View,
    record: &mut Record<'_>,
    way: Way,
    shown: Option<&Shown>,
    candidate: Candidate,
) -> Option<Permit> {
    let open = match way {
        Way::Open(open) => open,
        Way::Asks(asks) => {
            let shown = shown?;
            record.show(shown, &candidate, "Approve");
            shown::approved(asks, view, record, shown)?
        }
    };
    Some(open.permit(candidate))
}

/// The end of every look at an Incident whose trouble is not over.
fn finish(view: &View, mut record: Record<'_>) -> (Move, Option<Timestamp>) {
    record.escalate_when_late(view);
    record.done()
}

/// Nothing can be concluded now; the clocks go on.
fn unclear(view: &View, incident: &OpenIncident, now: Timestamp) -> (Move, Option<Timestamp>) {
    let digest = incident.status.document(&incident.spec);
    let mut record = Record::of(incident, digest.clone(), now);
    record.is_alone_again();
    finish(view, record)
}

/// No failure counts any more. Unknown is not Pass either, nor is a failure that does not count
/// yet: then nothing is concluded.
fn quiet(
    view: &View,
    seen: &WidgetContractStatus,
    incident: &OpenIncident,
    now: Timestamp,
) -> (Move, Option<Timestamp>) {
    let results = view.assigned_results();
    let passes = results
        .iter()
        .filter(|result| result.severity == Severity::Critical)
        .all(|result| result.verdict == Verdict::Pass)
        && !is_unclear(view, incident);
    let Some(assigned) = seen.document.as_ref().and_then(|d| d.assigned.as_ref()) else {
        return unclear(view, incident, now);
    };
    let served = seen.document.as_ref().and_then(|d| d.served.as_ref());
    if let Some(served) = served.filter(|_| incident.spec.cause == Cause::Overwritten && passes)
        && pin::wrote(view)
    {
        let why = "what is pinned is served again";
        let mut record = Record::of(incident, served.digest.clone(), now);
        PUT_BACK.clone_into(&mut record.step);
        record.attempt(1, AttemptOutcome::Succeeded, why);
        record.over(State::Resolved, "PutBack", why);
        return record.done();
    }
    if !passes || !(view.serves_assigned() || view.served == Served::NotServed) {
        return unclear(view, incident, now);
    }
    let mut record = Record::of(incident, assigned.digest.clone(), now);
    record.edge = delivered::edge(view, seen, now);
    let since = assigned.valid_since.as_ref().map_or(now, |since| since.0);
    let patience = select::min_healthy_period(&view.policies, &incident.spec.plan);
    let mut healthy_at = patience.after(since);
    if incident.spec.cause == Cause::Overwritten {
        // The document was good all along; with the key put back it is over.
        healthy_at = now;
        PUT_BACK.clone_into(&mut record.step);
        record.succeeded(1, &assigned.digest, "is served");
    } else if let Some(effect) = write_back::attempt(view, incident) {
        // It is good because we made it so, and every rule was asked: nothing to wait for.
        healthy_at = now;
        if record.status.tries.unwrap_or(0) < effect.attempt {
            record.tell_intent(view, effect);
            record.asked_for(view);
            record.succeeded(effect.attempt, &assigned.digest, "is written back");
        }
    }
    if let Some(at) = status::recovers_at(view, incident, &seen.checks) {
        healthy_at = healthy_at.max(at);
    }
    record.mitigated("the assigned document passes and is served");
    record.conditions.remove(ConditionType::Held);
    record.plan_is_over();
    if record.waits_for_edge() {
        return finish(view, record);
    }
    // Whoever was called has mended it; after a relapse somebody is called again.
    record.withdraw(ConditionType::Escalated, "the assigned document passes and is served");
    if healthy_at <= now {
        record.resolved();
    } else {
        record.waits_for("HealthyPeriod");
        record.status.next_attempt_time = Some(Time(whole_seconds(healthy_at)));
        // Whole seconds are stored; the look is due when the last of them has passed.
        record.next = Some(healthy_at);
    }
    record.done()
}

/// The policies of a plan, by name.
fn policies_of(plan: &[Segment]) -> Vec<Option<&str>> {
    plan.iter().map(|s| s.policy_ref.as_ref().map(|policy| policy.name.as_str())).collect()
}

fn supersede(incident: &OpenIncident, now: Timestamp) -> Move {
    end(incident, State::Superseded, "Superseded", "another kind of trouble took its place", now)
}

fn close(incident: &OpenIncident, now: Timestamp) -> Move {
    end(incident, State::Resolved, "ClosedByPerson", "a person closed it", now)
}

/// Ends an Incident whatever is assigned: nobody has looked at another document than its last one.
fn end(incident: &OpenIncident, state: State, reason: &str, why: &str, now: Timestamp) -> Move {
    let digest = incident.status.document(&incident.spec);
    let mut record = Record::of(incident, digest.clone(), now);
    record.over(state, reason, why);
    record.done().0
}

/// The attempt of this Incident that wrote what is served now.
fn published_attempt<'a>(view: &'a View, incident: &OpenIncident) -> Option<&'a Effect> {
    let Served::Ours(key) = &view.served else { return None };
    let note = key.note.as_ref().filter(|note| !note.undoes)?;
    let effect = note.effect.as_ref()?;
    let ours = key.written_by_us && effect.incident == incident.name;
    (ours && !view.serves_assigned()).then_some(effect)
}

fn has_failed(incident: &OpenIncident, effect: &Effect) -> bool {
    let attempts = &incident.status.attempts;
    let attempt = attempts.iter().find(|attempt| attempt.number == effect.attempt);
    attempt.is_some_and(|attempt| attempt.outcome == AttemptOutcome::Failed)
}

/// What is different in what is served, by comparison with what was asked for: what was done, not
/// what was meant to be done.
fn changes(view: &View, served: &Document) -> Vec<OpSummary> {
    let Some(assigned) = view.assigned_document() else { return Vec::new() };
    let (changes, _) = difference(assigned.value(), served.value(), OPS_SHOWN);
    changes.iter().map(OpSummary::of).collect()
}

/// Does the place hold the candidate already?
fn is_in_place(view: &View, candidate: &Candidate, place: &Place) -> bool {
    let raw_digest = candidate.document.raw_digest();
    *place != Place::Assigned
        && matches!(&view.served, Served::Ours(key) if key.raw_digest == *raw_digest)
}

fn is_intended(incident: &OpenIncident, candidate: &Candidate, attempt: u32) -> bool {
    write_back::intent(incident, attempt)
        .is_some_and(|intent| intent.digest == *candidate.document.digest())
}

/// What became of a repair that went into the served key, for people.
fn served_as(place: &Place) -> String {
    match place {
        Place::Served { refused: Some(why) } => format!("is served; not written back: {why}"),
        Place::Served { refused: None } | Place::Assigned => "is served".to_owned(),
    }
}

/// Is something served that is not the document in trouble? It passed when it was published.
fn serves_good(view: &View) -> bool {
    // The same bytes by another hand are the same document.
    let undisputed = matches!(view.served, Served::Ours(_)) && overwritten_by(view).is_none();
    // A person may have pinned one that never did.
    let passes = !pin::wrote(view) || view.served_document.as_ref().is_some_and(Judged::is_good);
    undisputed && !view.serves_assigned() && passes
}
