//! The life of an effect: what the turn of an effect step in a plan means, by what is on record and
//! what is seen of its object.
//!
//! ```text
//! on record          on the object                what happens
//! nothing            no key; it would be of use    the intent is stored, if the policy may do it
//! nothing            no key; it would be of none   the step failed
//! intent             the key                       outcome Done
//! intent             no key, generation unchanged  it is sent, on exactly the version seen
//! intent             no key, generation moved on   outcome Unknown; it is not repeated
//! Done               not available yet             it is waited for, until the step's timeout
//! Done               available                     the next step follows
//! NotDone, Unknown                                 the step failed
//! ```
//!
//! An effect changes the generation of its object, so one whose generation is that of the intent
//! was not touched: sending is the first time, not a repetition, however often it is decided.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        condition::whole_seconds,
        incident::{EffectOutcome, Segment, WorkloadEffect},
        policy::Step,
    },
    domain::{SourceState, Span, Workload, text},
    steps::{Act, Proposal, View as StepView},
};

use super::view::{Need, OpenIncident, Right, View};

/// The reason of a policy that has such a step and nobody whose rights it would have.
pub const NO_SERVICE_ACCOUNT: &str = "NoServiceAccount";

const TIMEOUT: Span = Span::mins(2);
/// The longest wait: an Incident that sleeps longer looks forgotten.
const LONGEST_TIMEOUT: Span = Span::mins(60);
/// How often what is waited for is looked at, from the first look to the last.
pub(super) const SHORTEST_POLL: Span = Span::secs(1);
const LONGEST_POLL: Span = Span::secs(10);

/// What the turn of an effect step comes to.
#[derive(Clone, Debug)]
pub enum Turn {
    /// Gather this first.
    Ask(Need),
    /// Store that it is about to be done.
    Intend(WorkloadEffect),
    /// Do it: that is on record.
    Send {
        /// What.
        act: Act,
        /// To what.
        workload: Workload,
        /// What it leaves there.
        key: String,
    },
    /// Store what became of it.
    Settle {
        /// The effect with its outcome.
        effect: WorkloadEffect,
    },
    /// It is done, and not everything that the next step needs is there: look again then.
    Wait {
        /// When.
        look_at: Timestamp,
    },
    /// It is done, and the next step can use what came of it.
    Over,
    /// It was not done, or nothing came of it; why.
    Failed(String),
}

/// The turn of `step` in attempt `number` of `incident`.
#[must_use]
pub fn turn(
    view: &View,
    incident: &OpenIncident,
    segment: &Segment,
    step: &Step,
    number: u32,
    now: Timestamp,
) -> Turn {
    let Some(state) = &view.state else { return Turn::Ask(Need::State) };
    let policy = segment.policy_ref.as_ref().map_or("", |policy| policy.name.as_str());
    let stored =
        incident.status.effects.iter().find(|e| {
            (e.attempt, e.policy.as_str(), e.step.as_str()) == (number, policy, &step.name)
        });
    if let Some((effect, outcome)) = stored.and_then(|effect| Some((effect, effect.outcome?))) {
        return match outcome {
            EffectOutcome::Done => await_end(state, step, effect, now),
            EffectOutcome::NotDone | EffectOutcome::Unknown => Turn::Failed(effect.message.clone()),
        };
    }
    let settle = |effect: &WorkloadEffect, outcome, message: &str| Turn::Settle {
        effect: WorkloadEffect {
            outcome: Some(outcome),
            seen_at: Some(Time(whole_seconds(now))),
            message: text::message(message),
            ..effect.clone()
        },
    };
    let touched = stored.filter(|effect| !is_untouched(state, effect));
    let key = format!("{}/{number}", incident.name);
    let act = match (propose(step, state, &key), stored) {
        (Proposal::Act(act), _) => Ok(act),
        (Proposal::Done, Some(effect)) => return settle(effect, EffectOutcome::Done, ""),
        // One effect has one key in an attempt: it is done, whichever step did it.
        (Proposal::Done, None) => return Turn::Over,
        (Proposal::Nothing(why), _) => Err(why),
        (Proposal::Change(_) | Proposal::Wait(_), _) => Err("it acts on nothing".to_owned()),
    };
    if let Some(effect) = touched {
        let why = match &state.workload {
            Some(Err(why)) => why,
            _ => &format!("{} was changed by somebody else at the same time", effect.target),
        };
        let message = format!("{why}: whether this was done is not known, and it is not repeated");
        return settle(effect, EffectOutcome::Unknown, &message);
    }
    let may_act = act.and_then(|act| match &state.workload {
        Some(Ok(workload)) => Ok((act, workload)),
        Some(Err(why)) => Err(why.clone()),
        None => Err("there is no workload".to_owned()),
    });
    let refused = match may_act {
        Err(why) => why,
        Ok((act, workload)) => match right(view, policy, workload) {
            Err(Refused::Ask(need)) => return Turn::Ask(need),
            Err(Refused::No(why)) => why,
            Ok(()) if stored.is_some() => {
                return Turn::Send { act, workload: workload.clone(), key };
            }
            Ok(()) => return Turn::Intend(intent(workload, policy, step, number, now)),
        },
    };
    match stored {
        Some(effect) => settle(effect, EffectOutcome::NotDone, &refused),
        None => Turn::Failed(refused),
    }
}

fn intent(
    workload: &Workload,
    policy: &str,
    step: &Step,
    attempt: u32,
    now: Timestamp,
) -> WorkloadEffect {
    WorkloadEffect {
        attempt,
        policy: policy.to_owned(),
        step: step.name.clone(),
        target: text::bounded(&workload.to_string(), 300),
        target_uid: workload.uid.clone(),
        target_generation: workload.generation,
        intended_at: Time(whole_seconds(now)),
        outcome: None,
        seen_at: None,
        message: String::new(),
    }
}

fn propose(step: &Step, state: &SourceState, key: &str) -> Proposal {
    step.kind.plan(&StepView {
        document: &serde_json::Value::Null,
        failing: &[],
        schema: None,
        revisions: &[],
        source: None,
        fallbacks: &[],
        variables: &[],
        state: Some(state),
        key,
    })
}

/// Is the workload the one of the intent, with its spec as it was then?
fn is_untouched(state: &SourceState, effect: &WorkloadEffect) -> bool {
    let Some(Ok(workload)) = &state.workload else { return false };
    (workload.uid.as_str(), workload.generation)
        == (effect.target_uid.as_str(), effect.target_generation)
}

/// When an effect of `step` that took place has failed, unless it is available before.
#[must_use]
pub fn until(step: &Step, effect: &WorkloadEffect) -> Timestamp {
    timeout(step).after(seen(effect))
}

fn timeout(step: &Step) -> Span {
    step.timeout.unwrap_or(TIMEOUT).min(LONGEST_TIMEOUT)
}

fn seen(effect: &WorkloadEffect) -> Timestamp {
    effect.seen_at.as_ref().map_or(effect.intended_at.0, |seen| seen.0)
}

fn await_end(state: &SourceState, step: &Step, effect: &WorkloadEffect, now: Timestamp) -> Turn {
    let Err(missing) = step.kind.settled(state) else { return Turn::Over };
    let until = until(step, effect);
    if until <= now {
        let timeout = timeout(step);
        return Turn::Failed(format!("within {timeout} it did not become available: {missing}"));
    }
    let waited = Span::between(seen(effect), now);
    let poll = waited.times(0.25, LONGEST_POLL).max(SHORTEST_POLL);
    Turn::Wait { look_at: poll.after(now).min(until) }
}

enum Refused {
    Ask(Need),
    No(String),
}

/// May the policy, as it is now, do it?
fn right(view: &View, policy: &str, workload: &Workload) -> Result<(), Refused> {
    let policy = view.policies.iter().find(|known| known.name == policy);
    let named = policy.and_then(|policy| policy.spec.service_account_name.clone());
    let Some(service_account) = named else {
        return Err(Refused::No(format!(
            "{NO_SERVICE_ACCOUNT}: spec.serviceAccountName of its policy names nobody whose rights \
             it has; name a ServiceAccount that may {} {workload}",
            Right::VERB
        )));
    };
    let right = Right { service_account, kind: workload.kind, name: workload.name.clone() };
    match view.rights.get(&right) {
        None => Err(Refused::Ask(Need::Right(right))),
        Some(true) => Ok(()),
        Some(false) => Err(Refused::No(format!(
            "ServiceAccount {} may not {} {}.{} {}; grant it that, or name another in \
             spec.serviceAccountName of its policy",
            right.service_account,
            Right::VERB,
            right.kind.resource(),
            Right::GROUP,
            right.name
        ))),
    }
}
