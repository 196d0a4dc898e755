//! An Incident's status on its way to the next version: what each thing that happens writes into it,
//! and the one word that sums it up.
//!
//! Knows: conditions, attempts, waiting, signals. Must not know: when any of it should happen; that
//! is the machine's, in `incident`.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        condition::{ConditionType, Conditions, whole_seconds, whole_seconds_up},
        incident::{
            About, Attempt, Cause, EffectOutcome, IncidentStatus, Intent,
            Outcome as AttemptOutcome, Retried, Series, State, StepEffect, StepOutcome, StepTaken,
        },
        policy::{Retry, Step},
    },
    domain::{
        Digest, Span,
        patch::{OpSummary, rfc6902},
        text,
    },
    steps::Need as StepNeed,
};

use super::{
    Held,
    breakers::{self, BREAKER_OPEN},
    busy::BUSY,
    delivered::Edge,
    diagnose,
    effects::{JOB_RUNNING, Then, is_of, put_on_record},
    escalation,
    gates::{self, SCHEMA_HELD},
    hosts::EGRESS_BROKEN,
    limits,
    moves::{Move, Plan, STEPS_NOTED, summaries},
    pause::PAUSED,
    plan::{Candidate, StepName},
    requests::{self, Request},
    shown::Shown,
    signal::{Reason, Signal, Tried},
    status::STALE_AT_EDGE,
    symptoms,
    view::{Effect, Need, OpenIncident, View, sooner},
    write_back,
};

const ATTEMPTS_KEPT: usize = 20;
const MAX_ATTEMPTS: u32 = 3;
/// How often an escalated Incident is tried again: slowly, since a person has been called.
const SLOW_PROBE: Span = Span::mins(10);
/// The reason of Escalated where nothing is left to try, and not only a clock has run out.
const GIVEN_UP: &str = "PersonNeeded";
/// What an Incident waits for until the next attempt is due.
pub(super) const BACKOFF: &str = "Backoff";
/// What it waits for until a step asks or acts again.
pub(super) const RETRY: &str = "Retry";
/// What it waits for when nothing is left to try; it is tried all the same, slowly.
pub(super) const PERSON: &str = "Person";
/// What it waits for while one of its steps waits.
pub(super) const WAITING_STEP: &str = "Wait";
/// What it waits for where the plan stopped at a step that cannot be taken yet: `status.step`.
const WAITING_AT_STEP: [&str; 5] = [WAITING_STEP, JOB_RUNNING, BUSY, EGRESS_BROKEN, BREAKER_OPEN];
/// What it waits for while what is served is not seen at the edge.
const WAITING_EDGE: &str = "Edge";
/// The longest wait before a step asks again.
const LONGEST_RETRY: Span = Span::secs(30);

/// A status under way to its next version.
pub(super) struct Record<'a> {
    pub(super) incident: &'a OpenIncident,
    pub(super) status: IncidentStatus,
    pub(super) conditions: Conditions,
    pub(super) signals: Vec<Signal>,
    pub(super) next: Option<Timestamp>,
    pub(super) changes: Vec<OpSummary>,
    pub(super) step: String,
    pub(super) tried: Vec<Tried>,
    /// When what it published was decided.
    decided_at: Option<Timestamp>,
    /// A plan that people have not seen yet.
    shows: Option<Box<Plan>>,
    /// What is known of the edge.
    pub(super) edge: Edge,
    /// What its effect steps depend on, see [`breakers::of_effects`].
    pub(super) depends: BTreeMap<(usize, String), String>,
    /// The requests that an attempt is made for.
    pub(super) requests: Vec<String>,
    /// Who asked by them.
    asked_by: Option<String>,
    /// Was a gate found shut in this very look?
    is_held_anew: bool,
    pub(super) now: Timestamp,
}

impl<'a> Record<'a> {
    pub(super) fn of(incident: &'a OpenIncident, digest: Digest, now: Timestamp) -> Self {
        let mut status = incident.status.clone();
        status.current_digest = Some(digest);
        let mut record = Self {
            conditions: Conditions::of(Some(&status.conditions)),
            status,
            incident,
            signals: Vec::new(),
            next: None,
            changes: Vec::new(),
            step: String::new(),
            tried: Vec::new(),
            decided_at: None,
            shows: None,
            edge: Edge::NotAsked,
            depends: BTreeMap::new(),
            requests: Vec::new(),
            asked_by: None,
            is_held_anew: false,
            now,
        };
        let cause = record.incident.spec.cause.as_ref();
        let rules = &record.incident.spec.rules_summary;
        let how = match record.incident.spec.cause {
            Cause::AssetHostDown | Cause::EgressBroken => "unknown",
            _ => "failing",
        };
        let failing = format!("{rules} {how}, cause {cause}");
        if record.set(ConditionType::Diagnosed, true, cause, &failing) {
            record.signals.push(record.signal(Reason::IncidentOpened, &failing));
        }
        record
    }

    /// Sets a condition; true when it flipped.
    pub(super) fn set(
        &mut self,
        type_: ConditionType,
        status: bool,
        reason: &str,
        message: &str,
    ) -> bool {
        let before = self.conditions.get(type_).map(|condition| condition.status.clone());
        self.conditions.set(type_, status, reason, message, self.incident.generation, self.now);
        before.as_deref() != Some(if status { "True" } else { "False" })
    }

    fn signal(&self, reason: Reason, note: &str) -> Signal {
        Signal {
            reason,
            note: text::message(note),
            incident: Some(self.incident.name.clone()),
            step: String::new(),
            attempt: 0,
            tried: Vec::new(),
            after: None,
        }
    }

    /// A signal about the attempt that was written down last.
    fn signal_attempt(&self, reason: Reason, note: &str) -> Signal {
        let (step, attempt) = (self.status.step.clone(), self.status.tries.unwrap_or(0));
        Signal { step, attempt, ..self.signal(reason, note) }
    }

    /// Says how the attempt that was written down last went, step by step.
    fn say_attempt(&mut self, reason: Reason, note: &str) {
        let tried = std::mem::take(&mut self.tried);
        self.signals.push(Signal { tried, ..self.signal_attempt(reason, note) });
    }

    /// The attempts that are made in this look are made for the requests that are pending.
    pub(super) fn asked_for(&mut self, view: &View) {
        self.requests = requests::pending(view, Request::Heal);
        self.asked_by = requests::asked_by(view, &self.requests);
    }

    pub(super) fn attempt(&mut self, number: u32, outcome: AttemptOutcome, message: &str) {
        let step = if self.step.is_empty() { self.status.step.clone() } else { self.step.clone() };
        self.status.tries = Some(number);
        self.status.step.clone_from(&step);
        self.called_by_effects(number);
        self.status.attempts.retain(|attempt| attempt.number != number);
        self.status.attempts.push(Attempt {
            number,
            step,
            outcome,
            message: text::message(message),
            at: Time(whole_seconds(self.now)),
            ops: std::mem::take(&mut self.changes),
            published: None,
            approved_by: self.status.approved_by.take(),
            asked_by: self.asked_by.take(),
            requests: std::mem::take(&mut self.requests),
            steps: self.steps_taken(number, outcome),
        });
        self.plan_is_over();
        let surplus = self.status.attempts.len().saturating_sub(ATTEMPTS_KEPT);
        self.status.attempts.drain(..surplus);
        self.status.message = text::message(message);
    }

    /// The source was asked in this very look: whether it answered.
    pub(super) fn called(&mut self, view: &View) {
        let asked = view.source.as_ref().and_then(breakers::answered);
        if let (Some(source), Some(answered)) = (&view.effective.source, asked) {
            let dependency = breakers::source(source);
            breakers::note(&mut self.status.calls, dependency, answered, self.now);
        }
    }

    /// What the attempt acted on: whether it became available, or answered.
    fn called_by_effects(&mut self, number: u32) {
        for tried in &self.tried {
            let segment = self.incident.spec.plan.get(tried.segment);
            let policy = segment.and_then(|segment| segment.policy_ref.as_ref());
            let policy = policy.map_or("", |policy| policy.name.as_str());
            let mut effects = self.status.effects.iter();
            let acted = effects.find(|effect| is_of(effect, number, policy, &tried.step));
            let answered = match tried.outcome {
                StepOutcome::Acted => true,
                StepOutcome::Unavailable => false,
                // Who refuses has answered.
                StepOutcome::Failed
                    if acted.is_some_and(|a| a.outcome == Some(EffectOutcome::Failed)) =>
                {
                    true
                }
                StepOutcome::Changed
                | StepOutcome::Waited
                | StepOutcome::Failed
                | StepOutcome::Skipped => continue,
            };
            let depends = self.depends.get(&(tried.segment, tried.step.clone()));
            if let (Some(_), Some(dependency)) = (acted, depends) {
                breakers::note(&mut self.status.calls, dependency.clone(), answered, self.now);
            }
        }
    }

    fn step_of(&self, tried: &Tried) -> Option<&Step> {
        let segment = self.incident.spec.plan.get(tried.segment)?;
        segment.steps.iter().find(|step| step.name == tried.step)
    }

    /// What the steps of the attempt came to, and how long each that counts took.
    fn steps_taken(&self, number: u32, outcome: AttemptOutcome) -> Vec<StepTaken> {
        let decided_at = self.decided_at.unwrap_or(self.now);
        let taken = self.tried.iter().take(STEPS_NOTED).map(|tried| {
            let segment = self.incident.spec.plan.get(tried.segment);
            let policy = segment.and_then(|segment| segment.policy_ref.as_ref());
            let policy = policy.map_or_else(String::new, |policy| policy.name.clone());
            let mut effects = self.status.effects.iter();
            let acted = effects.find(|effect| is_of(effect, number, &policy, &tried.step));
            let since = match tried.outcome {
                StepOutcome::Changed if outcome == AttemptOutcome::Succeeded => {
                    self.decided_at.map(|at| (at, self.now))
                }
                StepOutcome::Acted => acted.map(|effect| (effect.intended_at.0, decided_at)),
                StepOutcome::Changed
                | StepOutcome::Waited
                | StepOutcome::Failed
                | StepOutcome::Unavailable
                | StepOutcome::Skipped => None,
            };
            let took = since.map(|(since, until)| Span::between(since, until));
            StepTaken { policy, name: tried.step.clone(), outcome: tried.outcome, took }
        });
        taken.collect()
    }

    /// Takes back a condition that was true.
    pub(super) fn withdraw(&mut self, type_: ConditionType, why: &str) {
        if self.conditions.is_true(type_) {
            self.set(type_, false, "Withdrawn", why);
        }
    }

    pub(super) fn verifying(&mut self, interval: Span) {
        let message = "what was published could not be checked yet";
        self.set(ConditionType::Remediating, true, "Verifying", message);
        self.waits_for("Verification");
        self.next = Some(interval.after(self.now));
    }

    /// The attempt led to a document that passes; `how` says where it is now.
    pub(super) fn succeeded(&mut self, number: u32, digest: &Digest, how: &str) {
        let message = format!("document {} passes every rule and {how}", digest.short());
        self.attempt(number, AttemptOutcome::Succeeded, &message);
        if let Some(attempt) = self.status.attempts.last_mut() {
            attempt.published = Some(digest.clone());
        }
        self.status.published_at = Some(Time(whole_seconds(self.now)));
        self.set(ConditionType::Verified, true, "Passed", &message);
        self.set(ConditionType::Remediating, false, "Done", &message);
        self.conditions.remove(ConditionType::Held);
        self.withdraw(ConditionType::Escalated, &message);
        self.say_attempt(Reason::StepSucceeded, &message);
        self.mitigated(&message);
        self.waits_for("AwaitingOwner");
        self.status.next_attempt_time = None;
        self.waits_for_edge();
    }

    /// Is what is served not seen at the edge yet? Then it is waited for, and a person is called when
    /// that takes too long.
    pub(super) fn waits_for_edge(&mut self) -> bool {
        match self.edge.clone() {
            Edge::NotAsked => return false,
            Edge::Seen => {
                let escalated = self.conditions.get(ConditionType::Escalated);
                if escalated.is_some_and(|is| is.reason == STALE_AT_EDGE) {
                    self.withdraw(ConditionType::Escalated, "what is served was seen at the edge");
                }
                return false;
            }
            Edge::Awaited { .. } => {}
            Edge::Stale { why, .. } => self.call(STALE_AT_EDGE, &why),
        }
        self.waits_for(WAITING_EDGE);
        self.status.next_attempt_time = None;
        true
    }

    /// Which attempt it is that is written down next, from what is noted beside what it wrote.
    pub(super) fn tell(&mut self, view: &View, effect: &Effect) {
        let asked = effect.tried.iter().filter_map(|tried| {
            let step = self.step_of(tried)?;
            let is_source = step.kind.need() == Some(StepNeed::Source);
            let is_known = matches!(tried.outcome, StepOutcome::Changed | StepOutcome::Unavailable);
            let answered = tried.outcome == StepOutcome::Changed;
            Some((breakers::dependency(view, step).filter(|_| is_source && is_known)?, answered))
        });
        let asked: Vec<(String, bool)> = asked.collect();
        for (dependency, answered) in asked {
            let at = effect.decided_at.unwrap_or(self.now);
            breakers::note(&mut self.status.calls, dependency, answered, at);
        }
        self.step.clone_from(&effect.step);
        self.tried.clone_from(&effect.tried);
        self.decided_at = effect.decided_at;
    }

    /// What an attempt did, from what was stored before it: the evidence is overwritten.
    pub(super) fn tell_intent(&mut self, view: &View, effect: &Effect) {
        self.tell(view, effect);
        if let Some(intent) = write_back::intent(self.incident, effect.attempt) {
            self.changes.clone_from(&intent.ops);
        }
    }

    /// Stores what an attempt is about to write before it is written; the look after it writes.
    pub(super) fn intend(&mut self, intent: Intent) {
        let message = format!("attempt {} is about to be written", intent.attempt);
        self.set(ConditionType::Remediating, true, "Writing", &message);
        // Not `waiting`: what was waited for is part of what the plan is made from.
        self.status.intent = Some(intent);
        self.next = Some(self.now);
    }

    /// Stores what a step is about to do to something else before it is done; the look after it does it.
    pub(super) fn intend_effect(&mut self, effect: StepEffect) {
        let message = format!("step {} is about to act on {}", effect.step, effect.target);
        self.set(ConditionType::Remediating, true, "Acting", &message);
        self.status.step.clone_from(&effect.step);
        self.status.message = text::message(&message);
        put_on_record(&mut self.status.effects, effect);
        self.next = Some(self.now);
    }

    /// Stores what became of it.
    pub(super) fn settle_effect(&mut self, effect: StepEffect, then: Then) {
        match then {
            Then::GoOn => self.next = Some(self.now),
            Then::Retry(wait) => {
                let message = format!("step {} acts on {} again", effect.step, effect.target);
                self.set(ConditionType::Remediating, true, "Retrying", &message);
                self.waits_for(RETRY);
                self.status.message.clone_from(&effect.message);
                self.next_attempt(wait);
            }
            Then::Await { waiting, until, look_at } => {
                let message = format!("step {} acted on {}", effect.step, effect.target);
                self.set(ConditionType::Remediating, true, "Waiting", &message);
                self.waits_for(waiting);
                self.status.message = text::message(&message);
                self.status.next_attempt_time = Some(Time(until));
                self.next = Some(look_at);
            }
        }
        let is_same =
            |stored: &&mut StepEffect| is_of(stored, effect.attempt, &effect.policy, &effect.step);
        if !effect.log.is_empty() {
            // One log is enough for a status to hold.
            self.status.effects.iter_mut().for_each(|known| known.log.clear());
        }
        if let Some(stored) = self.status.effects.iter_mut().find(is_same) {
            *stored = effect;
        }
    }

    /// Tells what is wrong with the source, as far as anybody looked.
    ///
    /// # Errors
    /// What is still to be gathered.
    pub(super) fn diagnose(&mut self, view: &View) -> Result<(), Need> {
        if let Some(need) = symptoms::lack(view) {
            return Err(need);
        }
        if let Some(state) = &view.state {
            let answer = view.source.as_ref();
            let found = diagnose::of(state, answer, self.incident.spec.cause);
            let symptoms = view.symptoms.as_deref();
            let explained = symptoms::explain(found, state, answer, symptoms, self.now);
            self.status.diagnosis = Some(explained);
        }
        Ok(())
    }

    pub(super) fn failed(&mut self, number: u32, why: &str, retry: &Retry) {
        self.attempt(number, AttemptOutcome::Failed, why);
        self.say_attempt(Reason::StepFailed, why);
        self.set(ConditionType::Verified, false, "Failed", why);
        let before = self.status.series.as_ref().map_or(0, |series| series.after);
        let in_series = number.saturating_sub(before);
        if in_series >= retry.max_attempts.unwrap_or(MAX_ATTEMPTS) {
            let kept = &self.status.attempts;
            let failed = kept.iter().filter(|a| a.outcome == AttemptOutcome::Failed).count();
            let last = if kept.len() < ATTEMPTS_KEPT { "" } else { "the last " };
            self.give_up(&format!("{failed} of {last}{} attempts failed: {why}", kept.len()));
            return;
        }
        self.set(ConditionType::Remediating, true, "Backoff", why);
        self.waits_for(BACKOFF);
        self.next_attempt(backoff(retry, in_series, &self.incident.spec.contract_uid));
    }

    /// A person asked for a new series of attempts: counters only grow, so it is told where it begins.
    pub(super) fn reset(&mut self) {
        self.starts_afresh("a person asked for a new series of attempts");
    }

    /// A new series of attempts begins.
    pub(super) fn starts_afresh(&mut self, why: &str) {
        let after = self.status.tries.unwrap_or(0);
        self.status.series = Some(Series { after, since: Time(whole_seconds(self.now)) });
        self.withdraw(ConditionType::Escalated, why);
        if matches!(self.status.waiting.as_str(), BACKOFF | PERSON) {
            self.status.waiting.clear();
            self.status.next_attempt_time = None;
        }
        self.status.message = text::message(why);
        self.next = Some(self.now);
    }

    pub(super) fn wait(&mut self, wait: Span, step: &str) {
        self.set(ConditionType::Remediating, true, "Waiting", &format!("step {step} waits {wait}"));
        self.waits_for(WAITING_STEP);
        step.clone_into(&mut self.status.step);
        self.next_attempt(wait);
    }

    /// A step of the attempt under way is about to be tried again.
    pub(super) fn retry_step(&mut self, retried: Retried) {
        let message = format!("step {} asks the source again", retried.step);
        self.set(ConditionType::Remediating, true, "Retrying", &message);
        self.waits_for(RETRY);
        self.status.step.clone_from(&retried.step);
        let doublings = i32::try_from(retried.times.saturating_sub(1)).unwrap_or(i32::MAX);
        self.next_attempt(Span::secs(1).times(2_f64.powi(doublings), LONGEST_RETRY));
        self.status.retried = Some(retried);
    }

    pub(super) fn next_attempt(&mut self, wait: Span) {
        let stored = whole_seconds_up(wait.after(self.now));
        self.status.next_attempt_time = Some(Time(stored));
        self.next = Some(stored);
    }

    pub(super) fn waits_for(&mut self, what: &str) {
        what.clone_into(&mut self.status.waiting);
    }

    pub(super) fn held(&mut self, held: &Held) {
        let known = self.status.held_until.as_ref().filter(|_| self.is_held_for(held.reason));
        self.status.held_until = held.noted(known, self.now);
        self.is_held_anew = true;
        self.set(ConditionType::Held, true, held.reason, &held.message);
        self.waits_for(held.reason);
        if !self.conditions.is_true(ConditionType::Escalated) {
            self.status.message = text::message(&held.message);
        }
        self.next = held.until;
    }

    fn is_held_for(&self, reason: &str) -> bool {
        let held = self.conditions.get(ConditionType::Held);
        held.is_some_and(|held| held.status == "True" && held.reason == reason)
    }

    /// No time is said that no hold has, or that has gone by without anybody having asked the gates.
    fn forgets_what_is_not_held(&mut self) {
        let is_over = self.status.held_until.as_ref().is_none_or(|until| until.0 <= self.now);
        let is_stale = is_over && !self.is_held_anew;
        if is_stale || !self.is_held_for(&self.status.waiting) {
            self.status.held_until = None;
        }
    }

    /// A gate is shut.
    pub(super) fn gate_held(&mut self, held: &Held) {
        if WAITING_AT_STEP.contains(&held.reason) {
            // No plan was tried: a step of an earlier attempt must not pass for where this one stopped.
            self.status.step.clear();
        }
        self.held(held);
    }

    /// A step of the attempt under way cannot be taken yet.
    pub(super) fn step_held(&mut self, held: &Held, step: String) {
        if !step.is_empty() {
            self.status.step = step;
        }
        // What was waited for until now is there, and no time of it must hold up what comes next.
        self.status.next_attempt_time = None;
        self.held(held);
    }

    /// How many of the plan's steps come up to the one that the plan stopped at in this attempt: the time
    /// of the `wait` steps among them is over.
    pub(super) fn waited(&self) -> usize {
        if !WAITING_AT_STEP.contains(&self.status.waiting.as_str()) {
            return 0;
        }
        let steps = self.incident.spec.plan.iter().flat_map(|segment| &segment.steps);
        let own = steps.zip(1..).filter(|(step, _)| step.name == self.status.step);
        own.map(|(_, nth)| nth).max().unwrap_or(0)
    }

    /// The number of the next attempt.
    pub(super) fn next_number(&self) -> u32 {
        self.status.tries.unwrap_or(0).saturating_add(1)
    }

    /// Shows people what would be done.
    pub(super) fn show(&mut self, shown: &Shown, candidate: &Candidate, mode: &str) {
        let ops = &candidate.ops;
        let places: Vec<String> = ops.iter().map(|op| format!("{} {}", op.kind, op.path)).collect();
        self.shows_plan(shown, mode, &format!("would {}", places.join(", ")));
        self.status.plan = summaries(ops);
        self.status.candidate_digest = Some(candidate.document.digest().clone());
        if shown.is_new {
            self.shows = Some(Box::new(Plan {
                digest: shown.digest.clone(),
                patch: rfc6902(ops),
                document: Arc::clone(&candidate.document),
            }));
        }
    }

    /// Shows people what would be done to something else than the document.
    pub(super) fn show_effect(&mut self, shown: &Shown, step: &StepName, target: &str) {
        let (name, kind) = (&step.step, step.kind);
        self.shows_plan(shown, "Approve", &format!("step {name} would act on {target}: {kind}"));
        self.status.plan.clear();
        self.status.candidate_digest = None;
    }

    fn shows_plan(&mut self, shown: &Shown, mode: &str, message: &str) {
        self.set(ConditionType::Planned, true, mode, message);
        self.status.plan_digest = Some(shown.digest.clone());
        self.status.plan_shown_at = Some(Time(shown.at));
        self.status.plan_expires_at = shown.expires.map(Time);
        if shown.is_new {
            self.status.approved_by = None;
            let after = Some(shown.at);
            self.signals.push(Signal { after, ..self.signal(Reason::PlanReady, message) });
        }
    }

    /// The effect of this step in the attempt under way, whose outcome is not known yet.
    pub(super) fn under_way(&self, step: &StepName) -> Option<&StepEffect> {
        let nth = self.place_under_way(step)?;
        self.status.effects.get(nth)
    }

    fn place_under_way(&self, step: &StepName) -> Option<usize> {
        let number = self.next_number();
        self.status.effects.iter().position(|effect| {
            is_of(effect, number, &step.policy, &step.step) && effect.outcome.is_none()
        })
    }

    /// A person has approved what was begun in another mode: written down before it is done.
    pub(super) fn may_go_on(&mut self, step: &StepName, by: String) {
        if let Some(nth) = self.place_under_way(step) {
            self.status.effects[nth].approved_by = Some(by);
        }
        self.plan_is_over();
        self.next = Some(self.now);
    }

    /// A person has approved the plan: written down before anything is done.
    pub(super) fn approved(&mut self, by: String, message: &str, shown_at: Timestamp) {
        self.set(ConditionType::Approved, true, "Approved", message);
        self.set(ConditionType::Remediating, true, "Approved", message);
        self.conditions.remove(ConditionType::Held);
        self.status.approved_by = Some(by);
        self.status.waiting.clear();
        let after = Some(shown_at);
        self.signals.push(Signal { after, ..self.signal(Reason::Approved, message) });
        self.next = Some(self.now);
    }

    /// A person has not approved the plan, or says that it must not be carried out.
    pub(super) fn not_approved(&mut self, reason: &str, held: &Held, shown_at: Timestamp) {
        let before = self.conditions.get(ConditionType::Approved);
        let is_news = before.is_none_or(|before| before.reason != reason);
        self.set(ConditionType::Approved, false, reason, &held.message);
        self.status.approved_by = None;
        // What was waited for until now is there: a person is waited for, and no time.
        self.status.next_attempt_time = None;
        if is_news && held.reason == "Rejected" {
            let after = Some(shown_at);
            self.signals.push(Signal { after, ..self.signal(Reason::Rejected, &held.message) });
        }
        self.held(held);
    }

    /// There is nothing any more that a person could approve.
    /// Is another document assigned than at the look before?
    pub(super) fn is_about_another_document(&self) -> bool {
        self.status.current_digest != self.incident.status.current_digest
    }

    pub(super) fn plan_is_over(&mut self) {
        self.forget_plan();
        if !self.conditions.is_true(ConditionType::Approved) {
            self.conditions.remove(ConditionType::Approved);
        }
    }

    /// Shows no plan any more: the next one is another one, whatever it says.
    fn forget_plan(&mut self) {
        self.status.plan.clear();
        self.status.plan_digest = None;
        self.status.candidate_digest = None;
        self.status.plan_shown_at = None;
        self.status.plan_expires_at = None;
        self.status.approved_by = None;
        self.conditions.remove(ConditionType::Planned);
    }

    /// Nobody is asked: what was approved meanwhile was approved by nobody knows whom.
    pub(super) fn unguarded(&mut self, held: &Held) {
        self.forget_plan();
        self.set(ConditionType::Approved, false, held.reason, &held.message);
        self.held(held);
    }

    pub(super) fn would_act(&mut self, step: &StepName) {
        let message = format!("would begin with step {}: {}", step.step, step.kind);
        self.set(ConditionType::Planned, true, "DryRun", &message);
    }

    pub(super) fn mitigated(&mut self, message: &str) {
        if self.conditions.is_true(ConditionType::Mitigated) || self.edge.is_pending() {
            return;
        }
        let after = self.flipped_at(ConditionType::Mitigated);
        if self.set(ConditionType::Mitigated, true, "GoodDocumentServed", message) {
            self.status.mitigated_at = Some(Time(whole_seconds(self.now)));
            self.signals.push(Signal { after, ..self.signal(Reason::Mitigated, message) });
        }
    }

    /// Has this Incident done what it can? Then only its owner, or time, moves it on.
    pub(super) fn is_settled(&mut self) -> bool {
        let mitigated = self.conditions.is_true(ConditionType::Mitigated);
        let has_steps = self.has_steps();
        // Trying again what cannot be tried would only look like work.
        let settled = !has_steps || (mitigated && self.conditions.is_true(ConditionType::Verified));
        if settled {
            self.waits_for("AwaitingOwner");
        }
        settled
    }

    pub(super) fn has_steps(&self) -> bool {
        self.incident.spec.plan.iter().any(|segment| !segment.steps.is_empty())
    }

    /// Nothing is left to try: a person is called, and a slow probe goes on.
    pub(super) fn give_up(&mut self, why: &str) {
        self.set(ConditionType::Remediating, false, "Escalated", why);
        self.call(GIVEN_UP, why);
        self.probe_again_slowly();
    }

    pub(super) fn has_given_up(&self) -> bool {
        let escalated = self.conditions.get(ConditionType::Escalated);
        escalated.is_some_and(|is| is.status == "True" && is.reason == GIVEN_UP)
    }

    /// Calls a person. What goes on by itself goes on.
    fn call(&mut self, reason: &str, why: &str) {
        let found = self.status.diagnosis.as_ref().map(|diagnosis| diagnosis.cause);
        let message = match reason {
            // Neither the document nor the policy is what is to be mended.
            STALE_AT_EDGE => text::message(why),
            _ => escalation::advised(why, found.unwrap_or(self.incident.spec.cause)),
        };
        let after = self.flipped_at(ConditionType::Escalated);
        if self.set(ConditionType::Escalated, true, reason, &message) {
            self.signals.push(Signal { after, ..self.signal_attempt(Reason::Escalated, &message) });
            self.status.called_at = Some(Time(whole_seconds(self.now)));
        }
        self.status.message = message;
    }

    /// Calls a person, and again every so often for as long as nobody answers.
    pub(super) fn call_for(&mut self, reason: &str, why: &str, every: Span) {
        self.call(reason, why);
        self.call_again(every);
    }

    /// Calls a person again who has not answered for long.
    fn call_again(&mut self, every: Span) {
        let called = self.status.called_at.as_ref().map(|at| at.0);
        let Some(last) = called.or_else(|| self.flipped_at(ConditionType::Escalated)) else {
            return;
        };
        let mut due = every.after(last);
        if due <= self.now {
            let escalated = self.conditions.get(ConditionType::Escalated);
            let message = escalated.map_or_else(String::new, |is| format!("still: {}", is.message));
            let after = Some(last);
            self.signals.push(Signal { after, ..self.signal_attempt(Reason::Escalated, &message) });
            self.status.called_at = Some(Time(whole_seconds(self.now)));
            due = every.after(self.now);
        }
        self.next = sooner(self.next, Some(due));
    }

    /// When a condition flipped last, whichever way.
    fn flipped_at(&self, type_: ConditionType) -> Option<Timestamp> {
        self.conditions.get(type_).map(|condition| condition.last_transition_time.0)
    }

    pub(super) fn probe_again_slowly(&mut self) {
        // Whatever the probe waited for meanwhile: a person is what moves it on.
        self.waits_for(PERSON);
        self.next_attempt(SLOW_PROBE);
    }

    /// Calls a person when one of the two clocks has run out: asked at every look at an open
    /// Incident, whatever else is waited for.
    pub(super) fn escalate_when_late(&mut self, view: &View) {
        if !view.each_calls && (self.is_spoken_for() || view.shared.iter().any(|s| self.is_in(s))) {
            return;
        }
        if self.conditions.is_true(ConditionType::Escalated) {
            self.call_again(escalation::repeats(view, self.incident));
            return;
        }
        let clock = escalation::clock(view, self.incident, &self.conditions);
        if clock.at > self.now {
            self.next = sooner(self.next, Some(clock.at));
        } else {
            self.call("Overdue", &clock.why);
        }
    }

    /// Is a person called about what it shares with other contracts? See `parents`.
    fn is_spoken_for(&self) -> bool {
        limits::is_storm(&self.status.waiting)
            || (self.status.waiting == SCHEMA_HELD && self.incident.spec.blames.is_some())
    }

    /// Is it one of those that an Incident with this subject is about, whatever it waits for now? A
    /// policy that a person suspends in a storm makes nobody call who did not before.
    fn is_in(&self, shared: &About) -> bool {
        let spec = &self.incident.spec;
        let mut policies = spec.plan.iter().filter_map(|segment| segment.policy_ref.as_ref());
        match shared {
            About::Policy(policy) => policies.any(|named| named == policy),
            // One whose schema a person has accepted goes on by itself.
            About::Class(_) | About::Schema(_) => {
                spec.blames.as_ref() == Some(shared) && gates::may_blame(&self.status.waiting)
            }
            About::Host(_) | About::Egress(_) => false,
        }
    }

    /// Does it wait for what may hold several contracts?
    fn shares_its_hold(&self) -> bool {
        limits::is_storm(&self.status.waiting) || self.status.waiting == SCHEMA_HELD
    }

    /// It does not wait any more for what holds several contracts: it speaks for itself again.
    pub(super) fn is_alone_again(&mut self) {
        if self.shares_its_hold() {
            let waits_for = if self.has_given_up() { PERSON } else { "" };
            self.waits_for(waits_for);
        }
    }

    /// Nothing is decided about its contract for as long as a person wants it so.
    pub(super) fn is_left_alone(&mut self) {
        if self.shares_its_hold() {
            let message = "the contract is suspended, or its mode is Off";
            self.held(&Held { reason: PAUSED, message: message.to_owned(), until: None });
        }
    }

    pub(super) fn resolved(&mut self) {
        self.over(State::Resolved, "Recovered", "the assigned document passes and is served");
    }

    pub(super) fn over(&mut self, state: State, reason: &str, message: &str) {
        self.set(ConditionType::Resolved, state == State::Resolved, reason, message);
        self.plan_is_over();
        for open in [ConditionType::Held, ConditionType::Remediating, ConditionType::Escalated] {
            self.conditions.remove(open);
        }
        self.status.state = Some(state);
        self.status.resolved_at = Some(Time(whole_seconds(self.now)));
        self.status.waiting.clear();
        self.status.next_attempt_time = None;
        self.status.message = text::message(message);
        if state == State::Resolved {
            self.signals.push(self.signal(Reason::Resolved, message));
        }
    }

    pub(super) fn done(mut self) -> (Move, Option<Timestamp>) {
        self.forgets_what_is_not_held();
        if !self.status.is_over() {
            self.status.state = Some(state(&self.conditions, &self.status.waiting));
        }
        self.status.observed_generation = Some(self.incident.generation);
        self.status.conditions = self.conditions.into_list();
        if self.status == self.incident.status {
            return (Move::Nothing, self.next);
        }
        let Self { incident, status, signals, next, shows, .. } = self;
        let (name, status) = (incident.name.clone(), Box::new(status));
        (Move::Record { name, status, signals, shows }, next)
    }
}

/// The one word for the column.
fn state(conditions: &Conditions, waiting: &str) -> State {
    if conditions.is_true(ConditionType::Escalated) {
        State::Escalated
    } else if conditions.is_true(ConditionType::Held) {
        State::Held
    } else if conditions.is_true(ConditionType::Mitigated)
        && (waiting == "AwaitingOwner" || waiting == "HealthyPeriod")
    {
        State::Mitigated
    } else if waiting == "Verification" || waiting == WAITING_EDGE {
        State::Verifying
    } else if conditions.is_true(ConditionType::Remediating) {
        State::Remediating
    } else if conditions.is_true(ConditionType::Mitigated) {
        State::Mitigated
    } else {
        State::Open
    }
}

/// `initial * factor^(attempt - 1)`, at most `max`, less up to a quarter that is this contract's
/// own: computed from its UID, so that a restart waits as long.
fn backoff(retry: &Retry, attempt: u32, uid: &str) -> Span {
    let settings = retry.backoff.clone().unwrap_or_default();
    let initial = settings.initial.unwrap_or(Span::secs(1));
    let max = settings.max.unwrap_or(Span::secs(60));
    let factor = f64::from(settings.factor.unwrap_or(2).max(1));
    let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let spread = uid.bytes().fold(attempt, |sum, byte| sum.wrapping_mul(31) ^ u32::from(byte));
    let share = f64::from(spread % 256) / 1024.0;
    initial.times(factor.powi(exponent), max).times(1.0 - share, max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::policy::Backoff;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn backoff_grows_and_stays_within_its_bounds(attempt in 1..40_u32, uid in "[a-f0-9]{8}") {
            let retry = Retry {
                backoff: Some(Backoff { initial: Some(Span::secs(2)), factor: Some(3), max: Some(Span::secs(90)) }),
                ..Retry::default()
            };
            let wait = backoff(&retry, attempt, &uid);
            prop_assert!(wait >= Span::millis(1500) && wait <= Span::secs(90), "{wait}");
            let later = backoff(&retry, attempt + 2, &uid);
            prop_assert!(later >= wait || later >= Span::secs(67), "{wait} then {later}");
        }
    }
}
