//! What one change of an Incident means to whoever follows the healing as it happens.
//!
//! ```text
//! HealingStart      an attempt begins, or the Incident opens with a plan that may act
//! HealingProgress   a step was tried; what it does to something else begins, or came to something
//! HealingComplete   a good document is served, or the assigned one is good, too
//! HealingFailed     an attempt failed, or a person is called
//! ProcessingDelay   a gate is shut, or the next attempt has its time
//! ```
//!
//! Knows: what an Incident said before and says now, and nothing else; so each change is said once,
//! whoever wrote it. Must not know: who listens.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::Serialize;

use super::record::{BACKOFF, PERSON, RETRY, WAITING_STEP};
use crate::{
    api::{
        Incident,
        condition::ConditionType,
        contract::Mode,
        incident::{Attempt, IncidentSpec, IncidentStatus, Outcome, Segment, State, StepOutcome},
    },
    domain::text,
};

/// What waiting for a time is called in an Incident's status, where no gate is shut.
const WAITS_FOR_TIME: [&str; 4] = [BACKOFF, RETRY, WAITING_STEP, PERSON];

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// An attempt begins, or the Incident opens with a plan that may act.
    HealingStart,
    /// A step was tried, or what it does to something else begins or came to something.
    HealingProgress,
    /// A good document is served, or the assigned one is good, too.
    HealingComplete,
    /// An attempt failed, or a person is called.
    HealingFailed,
    /// A gate is shut, or the next attempt has its time.
    ProcessingDelay,
}

/// Something that happened in an Incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Happening {
    /// What kind of thing.
    pub r#type: Kind,
    /// When it was seen.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The Incident's namespace.
    pub namespace: String,
    /// The Incident.
    pub incident: String,
    /// What it is about.
    pub subject: String,
    /// The contract, where it is about one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub contract: String,
    /// The state that the Incident has now.
    pub state: State,
    /// The attempt, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The step, where it is about one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// Why, in one word that does not change between versions: a condition's reason, what is waited
    /// for, or what came of a step.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The same in one sentence, without payload values.
    pub message: String,
    /// When it goes on, or when the operator looks again by itself; none where only a person or a change
    /// moves it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub next: Option<Timestamp>,
    /// The Incident's trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// What is to be said now that `object` is as it is. `before` is None where it was not known: then it is
/// news only as long as nothing has been written into it, since whoever begins to look finds old ones, too.
#[must_use]
pub fn happened(before: Option<&Incident>, object: &Incident, now: Timestamp) -> Vec<Happening> {
    let none = IncidentStatus::default();
    let was = before.and_then(|before| before.status.as_ref()).unwrap_or(&none);
    if (before.is_none() && object.status.is_some()) || was.is_over() {
        return Vec::new();
    }
    let is = object.status.as_ref().unwrap_or(&none);
    let mut change = Change { object, before, was, is, now, said: Vec::new() };
    change.start();
    change.effects();
    change.attempts();
    change.end();
    change.delay();
    change.said
}

struct Change<'a> {
    object: &'a Incident,
    before: Option<&'a Incident>,
    was: &'a IncidentStatus,
    is: &'a IncidentStatus,
    now: Timestamp,
    said: Vec<Happening>,
}

/// What one of them says beside what they all say.
#[derive(Default)]
struct Words<'a> {
    attempt: Option<u32>,
    step: &'a str,
    reason: &'a str,
    message: &'a str,
    next: Option<Timestamp>,
}

impl Change<'_> {
    fn say(&mut self, kind: Kind, words: &Words<'_>) {
        let spec = &self.object.spec;
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        self.said.push(Happening {
            r#type: kind,
            at: self.now,
            namespace: name(&self.object.metadata.namespace),
            incident: name(&self.object.metadata.name),
            subject: spec.subject.clone(),
            contract: spec.contract_name.clone(),
            state: self.is.state.unwrap_or_default(),
            attempt: words.attempt,
            step: words.step.to_owned(),
            reason: words.reason.to_owned(),
            message: text::message(words.message),
            next: words.next,
            trace_id: spec.trace_id().map(str::to_owned),
        });
    }

    fn start(&mut self) {
        let (spec, is) = (&self.object.spec, self.is);
        let attempt = begun(spec, is);
        if attempt <= self.before.map_or(0, |before| begun(&before.spec, self.was)) {
            return;
        }
        let approved = condition(is, ConditionType::Approved).filter(|_| is.approved_by.is_some());
        let message = match approved {
            _ if self.before.is_none() => {
                format!("{} failing, cause {}", spec.rules_summary, spec.cause)
            }
            Some(approved) => approved.message.clone(),
            None => format!("attempt {attempt} begins"),
        };
        let step = first_step(spec, is, attempt);
        let reason = spec.cause.as_ref();
        let attempt = Some(attempt);
        self.say(
            Kind::HealingStart,
            &Words { attempt, step, reason, message: &message, next: None },
        );
    }

    /// What steps do to something else than the document, and what they are about to write into it.
    fn effects(&mut self) {
        let (was, is) = (self.was, self.is);
        for effect in &is.effects {
            let known = was.effects.iter().find(|known| {
                (known.attempt, &known.policy, &known.step)
                    == (effect.attempt, &effect.policy, &effect.step)
            });
            let came_to = (effect.outcome, effect.ended_at.as_ref());
            if known.is_some_and(|known| came_to == (known.outcome, known.ended_at.as_ref())) {
                continue;
            }
            let (step, target) = (effect.step.as_str(), &effect.target);
            let (reason, message) = match effect.outcome {
                None => ("Acting".to_owned(), format!("step {step} is about to act on {target}")),
                Some(outcome) if effect.message.is_empty() => {
                    (outcome.to_string(), format!("step {step} has acted on {target}"))
                }
                Some(outcome) => (outcome.to_string(), effect.message.clone()),
            };
            let words = Words {
                attempt: Some(effect.attempt),
                step,
                reason: &reason,
                message: &message,
                next: None,
            };
            self.say(Kind::HealingProgress, &words);
        }
        if let Some(intent) = is.intent.as_ref().filter(|_| is.intent != was.intent) {
            let words = Words {
                attempt: Some(intent.attempt),
                step: &intent.step,
                reason: "Writing",
                message: "a repair is about to be written into the assigned document",
                next: None,
            };
            self.say(Kind::HealingProgress, &words);
        }
    }

    fn attempts(&mut self) {
        let tries = self.was.tries.unwrap_or(0);
        for attempt in self.is.attempts.iter().filter(|attempt| attempt.number > tries) {
            self.attempt(attempt);
        }
    }

    fn attempt(&mut self, attempt: &Attempt) {
        let number = Some(attempt.number);
        for step in attempt.steps.iter().filter(|step| step.outcome != StepOutcome::Skipped) {
            let message = match step.outcome {
                StepOutcome::Changed => "it made the document better",
                StepOutcome::Waited => "its time went by",
                StepOutcome::Acted => "what it did to something else took place",
                StepOutcome::Failed => "it made nothing better",
                StepOutcome::Unavailable => "what it depends on was not available",
                StepOutcome::Skipped => "it was not its turn",
            };
            let reason = step.outcome.to_string();
            let words =
                Words { attempt: number, step: &step.name, reason: &reason, message, next: None };
            self.say(Kind::HealingProgress, &words);
        }
        let kind = match attempt.outcome {
            Outcome::Failed | Outcome::Unknown => Kind::HealingFailed,
            // The same is said by its being complete.
            Outcome::Succeeded if self.is_mitigated_now() => return,
            Outcome::Succeeded => Kind::HealingProgress,
        };
        let words = Words {
            attempt: number,
            step: &attempt.step,
            reason: attempt.outcome.as_ref(),
            message: &attempt.message,
            next: None,
        };
        self.say(kind, &words);
    }

    /// What the Incident came to, if only for now.
    fn end(&mut self) {
        let is = self.is;
        let (step, attempt) = (is.step.as_str(), is.tries);
        if is.is_over() {
            // One that another took the place of while nothing good was served healed nothing.
            let mitigated = condition(self.was, ConditionType::Mitigated).is_some_and(is_true);
            let good = is.state == Some(State::Resolved) || mitigated;
            let kind = if good { Kind::HealingComplete } else { Kind::HealingFailed };
            let resolved = condition(is, ConditionType::Resolved);
            let reason = resolved.map_or("", |resolved| &resolved.reason);
            self.say(kind, &Words { attempt, step, reason, message: &is.message, next: None });
            return;
        }
        // The state and not the condition: that is true as well while a repair is under way, or must not
        // be made, and the last good document happens to be served.
        let mitigated = condition(is, ConditionType::Mitigated).filter(|_| self.is_mitigated_now());
        let called = condition(self.was, ConditionType::Escalated).is_some_and(is_true);
        let escalated = condition(is, ConditionType::Escalated).filter(|is| is_true(is) && !called);
        for (found, kind) in [(mitigated, Kind::HealingComplete), (escalated, Kind::HealingFailed)]
        {
            if let Some(Condition { reason, message, .. }) = found {
                self.say(kind, &Words { attempt, step, reason, message, next: None });
            }
        }
    }

    fn is_mitigated_now(&self) -> bool {
        self.is.state == Some(State::Mitigated) && self.was.state != Some(State::Mitigated)
    }

    fn delay(&mut self) {
        let is = self.is;
        let Some((reason, next)) = delayed(is).filter(|_| !is.is_over()) else { return };
        if delayed(self.was) == Some((reason, next)) {
            return;
        }
        let held = condition(is, ConditionType::Held).filter(|held| is_true(held));
        let under_way = condition(is, ConditionType::Remediating).filter(|is| is_true(is));
        let message = held.or(under_way).map_or(&is.message, |condition| &condition.message);
        let words = Words { attempt: is.tries, step: &is.step, reason, message, next };
        self.say(Kind::ProcessingDelay, &words);
    }
}

/// What is waited for, and until when.
fn delayed(status: &IncidentStatus) -> Option<(&str, Option<Timestamp>)> {
    let held = condition(status, ConditionType::Held).filter(|held| is_true(held));
    let waiting = status.waiting.as_str();
    let waits = (held.is_some() && !waiting.is_empty()) || WAITS_FOR_TIME.contains(&waiting);
    // The next attempt may be due before the gate opens: that is not when it goes on.
    let is_held = held.is_some_and(|held| held.reason == waiting);
    let next = if is_held { &status.held_until } else { &status.next_attempt_time };
    waits.then(|| (waiting, next.as_ref().map(|at| at.0)))
}

/// The attempt that is known to have begun; the first one has as soon as there is a plan that may act.
fn begun(spec: &IncidentSpec, status: &IncidentStatus) -> u32 {
    let tries = status.tries.unwrap_or(0);
    let is_next = status.approved_by.is_some() || status.waiting == WAITING_STEP;
    let noted = status.effects.iter().map(|effect| effect.attempt);
    let intents = spec.intent.iter().chain(&status.intent).map(|intent| intent.attempt);
    let retried = status.retried.iter().map(|retried| retried.attempt);
    let acts = |segment: &Segment| segment.mode == Mode::Auto && !segment.steps.is_empty();
    let planned = u32::from(spec.plan.iter().any(acts));
    let next = tries.saturating_add(u32::from(is_next));
    noted.chain(intents).chain(retried).chain([next, planned]).max().unwrap_or(0)
}

/// The first step that is known of an attempt; at least the one that the plan begins with.
fn first_step<'a>(spec: &'a IncidentSpec, status: &'a IncidentStatus, number: u32) -> &'a str {
    let made = status.attempts.iter().find(|attempt| attempt.number == number);
    let taken = made.and_then(|attempt| attempt.steps.first()).map(|step| step.name.as_str());
    let effect = status.effects.iter().find(|effect| effect.attempt == number);
    let intents = [&spec.intent, &status.intent].into_iter().flatten();
    let mut intents = intents.filter(|intent| intent.attempt == number);
    taken
        .or(effect.map(|effect| effect.step.as_str()))
        .or(intents.next().map(|intent| intent.step.as_str()))
        .or(Some(status.step.as_str()).filter(|step| !step.is_empty()))
        .or(spec.plan.iter().flat_map(|segment| &segment.steps).map(|step| &*step.name).next())
        .unwrap_or_default()
}

fn condition(status: &IncidentStatus, type_: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_.as_ref())
}

fn is_true(condition: &Condition) -> bool {
    condition.status == "True"
}

#[cfg(test)]
mod tests;
