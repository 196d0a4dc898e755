//! The life of an effect: what the turn of an effect step in a plan means, by what is on record and
//! what is seen of what it acts on.
//!
//! ```text
//! on record          seen                          what happens
//! nothing            it would be of use            the intent is stored, if the policy may do it
//! nothing            it would be of none           the step failed
//! intent             it took place                 outcome Done
//! intent             it cannot have taken place    it is done, on exactly what was seen
//! intent             the API server refused it     outcome NotDone
//! intent             neither can be told           outcome Unknown; it is not repeated
//! Done               not over yet                  it is waited for, until the step's timeout
//! Done               over                          the next step follows
//! NotDone, Unknown, Failed                         the step failed
//! ```
//!
//! Each kind has its own way to tell: `workload` by a key on the object and its generation, `pods` by
//! UIDs that are gone, `webhook` by an answer, `job` by a name that is made from the key.

mod job;
mod pods;
mod webhook;
mod workload;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        condition::whole_seconds,
        incident::{EffectOutcome, IncidentSpec, IncidentStatus, Segment, StepEffect},
        policy::Step,
    },
    domain::{SourceState, Span, Told, text},
    steps::{Proposal, StepKind, View as StepView},
};

pub use job::{JOB_RUNNING, held_by_job};

use super::{
    Held,
    moves::Doing,
    view::{Need, OpenIncident, Right, View},
};

/// The reason of a policy that has such a step and nobody whose rights it would have.
pub const NO_SERVICE_ACCOUNT: &str = "NoServiceAccount";

/// What an Incident waits for while the source's workload is not available after a step acted on it.
const WORKLOAD: &str = "Workload";

/// Most effects that an Incident keeps on record, and so most of one attempt.
const MOST_ON_RECORD: usize = 20;

const TIMEOUT: Span = Span::mins(2);
/// The longest wait: an Incident that sleeps longer looks forgotten.
const LONGEST_TIMEOUT: Span = Span::mins(60);
/// How often what is waited for is looked at, from the first look to the last.
const SHORTEST_POLL: Span = Span::secs(1);
const LONGEST_POLL: Span = Span::secs(10);

/// What the turn of an effect step comes to.
#[derive(Clone, Debug)]
pub enum Turn {
    /// Gather this first.
    Ask(Need),
    /// Store that it is about to be done.
    Intend(StepEffect),
    /// Do it: that is on record.
    Send {
        /// What its answer is remembered by.
        id: String,
        /// What is done.
        doing: Doing,
    },
    /// Store what became of it.
    Settle {
        /// The effect with its outcome.
        effect: StepEffect,
        /// What follows.
        then: Then,
    },
    /// It is done, and not everything that the next step needs is there: look again then.
    Wait {
        /// When.
        look_at: Timestamp,
    },
    /// There is no room for it yet, or its like is under way: it is not begun.
    Held(Held),
    /// It is done, and the next step can use what came of it.
    Over,
    /// It was not done, or nothing came of it; why.
    Failed(String),
    /// It was done, and its object did not become available in time; why.
    Unavailable(String),
}

/// What follows once it is stored what became of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The plan goes on at once.
    GoOn,
    /// It is done again after this time.
    Retry(Span),
    /// What came of it is waited for.
    Await {
        /// What, in the Incident's word.
        waiting: &'static str,
        /// Until when.
        until: Timestamp,
        /// When to look first.
        look_at: Timestamp,
    },
}

/// Is this something that an effect is waited for by, and that may end before its time is over?
#[must_use]
pub fn is_awaited(waiting: &str) -> bool {
    [WORKLOAD, job::JOB].contains(&waiting)
}

/// When it is known at the latest what came of `effect`; its step is None where the plan has none of
/// that name any more.
#[must_use]
pub fn at_most_until(step: Option<&Step>, effect: &StepEffect) -> Timestamp {
    let times = step.and_then(|step| step.retries).unwrap_or(0).saturating_add(1);
    let waits = webhook::LONGEST_WAIT.times(f64::from(times), LONGEST_TIMEOUT);
    let takes = timeout(step).times(f64::from(times), LONGEST_TIMEOUT);
    waits.after(takes.after(seen(effect)))
}

/// Until when a Job of an Incident that is over may run at most: it goes when its Incident is deleted.
#[must_use]
pub fn jobs_until(spec: &IncidentSpec, status: &IncidentStatus) -> Option<Timestamp> {
    let over = status.resolved_at.as_ref()?.0;
    let until = |effect: &StepEffect| {
        // One that nobody saw may have been made long after its intent, but not for what is over.
        let made_by = effect.outcome.map_or(over, |_| seen(effect));
        let step = step_of(&spec.plan, effect);
        job::GRACE.after(step.map_or(LONGEST_TIMEOUT, |step| timeout(Some(step))).after(made_by))
    };
    status.effects.iter().filter(|effect| job::may_run(effect)).map(until).max()
}

/// The step of `plan` that `effect` is of.
#[must_use]
pub fn step_of<'a>(plan: &'a [Segment], effect: &StepEffect) -> Option<&'a Step> {
    let is_its = |segment: &&Segment| {
        segment.policy_ref.as_ref().is_some_and(|policy| policy.name == effect.policy)
    };
    let mut steps = plan.iter().filter(is_its).flat_map(|segment| &segment.steps);
    steps.find(|step| step.name == effect.step)
}

/// Is it what this step of this policy did in this attempt? Two policies may give their steps one name.
#[must_use]
pub fn is_of(effect: &StepEffect, attempt: u32, policy: &str, step: &str) -> bool {
    (effect.attempt, effect.policy.as_str(), effect.step.as_str()) == (attempt, policy, step)
}

/// Puts an effect on record; the oldest that may go makes room.
pub fn put_on_record(effects: &mut Vec<StepEffect>, effect: StepEffect) {
    let number = effect.attempt;
    effects.push(effect);
    while effects.len() > MOST_ON_RECORD
        && let Some(nth) = (0..effects.len()).find(|nth| !stays(effects, *nth, number))
    {
        effects.remove(nth);
    }
}

/// Does this effect stay on record in attempt `number`? One of the attempt would be done again if it
/// went, and a Job that has not ended says how long its Incident is kept.
fn stays(effects: &[StepEffect], nth: usize, number: u32) -> bool {
    let Some((effect, later)) = effects.get(nth..).and_then(<[_]>::split_first) else {
        return false;
    };
    // Of each step the last one: it was made when the one before had ended.
    let is_last = || !later.iter().any(|l| (&l.policy, &l.step) == (&effect.policy, &effect.step));
    effect.attempt == number || (job::may_run(effect) && is_last())
}

fn timeout(step: Option<&Step>) -> Span {
    step.and_then(|step| step.timeout).unwrap_or(TIMEOUT).min(LONGEST_TIMEOUT)
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
    let policy = segment.policy_ref.as_ref().map_or("", |policy| policy.name.as_str());
    let at = Turning { view, incident, policy, step, number, now };
    let effects = &incident.status.effects;
    let stay = (0..effects.len()).filter(|nth| stays(effects, *nth, number));
    if at.stored().is_none() && stay.count() >= MOST_ON_RECORD {
        return Turn::Failed(format!(
            "{MOST_ON_RECORD} steps have acted in this attempt, or have a Job that has not ended, \
             and there is room for no more"
        ));
    }
    match &step.kind {
        StepKind::RestartWorkload(_) | StepKind::ScaleWorkload(_) => workload::turn(&at),
        StepKind::DeleteFailedPods(_) => pods::turn(&at),
        StepKind::Webhook(webhook) => webhook::turn(&at, webhook),
        StepKind::Job(job) => job::turn(&at, job),
        StepKind::RestoreRevision(_)
        | StepKind::RefetchSource(_)
        | StepKind::RepairDocument(_)
        | StepKind::ReplaceAsset(_)
        | StepKind::RegenerateMetadata(_)
        | StepKind::Patch(_)
        | StepKind::Wait(_) => Turn::Failed("it acts on nothing".to_owned()),
    }
}

/// Whose turn it is, and what is known.
struct Turning<'a> {
    view: &'a View,
    incident: &'a OpenIncident,
    policy: &'a str,
    step: &'a Step,
    number: u32,
    now: Timestamp,
}

/// Why it may not be done.
enum Refused {
    /// That has to be asked first.
    Ask(Need),
    /// Why.
    No(String),
}

impl<'a> Turning<'a> {
    /// What is on record of it.
    fn stored(&self) -> Option<&'a StepEffect> {
        let mut effects = self.incident.status.effects.iter();
        effects.find(|effect| is_of(effect, self.number, self.policy, &self.step.name))
    }

    /// What it leaves on its object: the same for all steps of an attempt.
    fn key(&self) -> String {
        format!("{}/{}", self.incident.name, self.number)
    }

    /// What tells it from everything else that is done.
    fn own_key(&self) -> String {
        format!("{}/{}/{}", self.key(), self.policy, self.step.name)
    }

    fn propose(&self, state: &SourceState) -> Proposal {
        self.step.kind.plan(&StepView {
            document: &serde_json::Value::Null,
            failing: &[],
            schema: None,
            revisions: &[],
            source: None,
            fallbacks: &[],
            variables: &[],
            state: Some(state),
            key: &self.key(),
        })
    }

    /// It is about to be done to `target`.
    fn intent(&self, target: &str) -> StepEffect {
        StepEffect {
            attempt: self.number,
            policy: self.policy.to_owned(),
            step: self.step.name.clone(),
            target: text::bounded(target, 300),
            target_uid: String::new(),
            target_generation: None,
            made_of: None,
            pods: Vec::new(),
            tries: None,
            approved_by: None,
            intended_at: Time(whole_seconds(self.now)),
            outcome: None,
            seen_at: None,
            ended_at: None,
            message: String::new(),
            log: String::new(),
        }
    }

    /// `effect` with what became of it.
    fn outcome(&self, effect: &StepEffect, outcome: EffectOutcome, message: &str) -> StepEffect {
        StepEffect {
            outcome: Some(outcome),
            seen_at: Some(Time(whole_seconds(self.now))),
            message: text::message(message),
            pods: Vec::new(),
            ..effect.clone()
        }
    }

    /// It did not take place, or that is not known.
    fn not_done(&self, effect: &StepEffect, outcome: EffectOutcome, why: &str) -> Turn {
        Turn::Settle { effect: self.outcome(effect, outcome, why), then: Then::GoOn }
    }

    /// It is done, unless the API server refused that already: it would do so again and again.
    fn send(&self, effect: &StepEffect, doing: Doing) -> Turn {
        // An Incident of the same name that came after this one has another time.
        let id = format!("{}@{}", self.own_key(), effect.intended_at.0);
        match self.view.told.get(&id) {
            None => Turn::Ask(Need::Told(id)),
            Some(Some(Told::NotSent(why))) => self.not_done(effect, EffectOutcome::NotDone, why),
            Some(_) => Turn::Send { id, doing },
        }
    }

    /// It took place, and the workload is waited for.
    fn done(&self, effect: &StepEffect, message: &str) -> Turn {
        let effect = self.outcome(effect, EffectOutcome::Done, message);
        let (until, look_at) = (self.until(&effect), SHORTEST_POLL.after(self.now));
        Turn::Settle { effect, then: Then::Await { waiting: WORKLOAD, until, look_at } }
    }

    fn timeout(&self) -> Span {
        timeout(Some(self.step))
    }

    /// When an effect that took place has failed, unless what came of it is there before.
    fn until(&self, effect: &StepEffect) -> Timestamp {
        self.timeout().after(seen(effect))
    }

    /// An effect on the workload has taken place: is the workload available?
    fn wait_for_workload(&self, state: &SourceState, effect: &StepEffect) -> Turn {
        let Err(missing) = self.step.kind.settled(state) else { return Turn::Over };
        let until = self.until(effect);
        if until <= self.now {
            let timeout = self.timeout();
            return Turn::Unavailable(format!(
                "within {timeout} it did not become available: {missing}"
            ));
        }
        Turn::Wait { look_at: self.poll(effect).min(until) }
    }

    /// When to look next at what came of an effect: the longer it takes the less often.
    fn poll(&self, effect: &StepEffect) -> Timestamp {
        let waited = Span::between(seen(effect), self.now);
        waited.times(0.25, LONGEST_POLL).max(SHORTEST_POLL).after(self.now)
    }

    /// May the policy, as it is now, do it? Then the ServiceAccount is given whose right it is.
    fn right(
        &self,
        verb: &'static str,
        (group, resource): (&'static str, &'static str),
        name: &str,
    ) -> Result<String, Refused> {
        let policy = self.view.policies.iter().find(|known| known.name == self.policy);
        let service_account = policy.and_then(|policy| policy.spec.service_account_name.clone());
        let right = Right { service_account, verb, group, resource, name: name.to_owned() };
        let Some(service_account) = &right.service_account else {
            return Err(Refused::No(format!(
                "{NO_SERVICE_ACCOUNT}: spec.serviceAccountName of its policy names nobody whose \
                 rights it has; name a ServiceAccount that may {right}"
            )));
        };
        let refused = format!(
            "ServiceAccount {service_account} may not {right}; grant it that, or name another in \
             spec.serviceAccountName of its policy"
        );
        self.has(&right, refused)?;
        Ok(service_account.clone())
    }

    /// May the operator itself do it? Only `value` of the chart gives it that.
    fn own_right(
        &self,
        verb: &'static str,
        (group, resource): (&'static str, &'static str),
        value: &str,
    ) -> Result<(), Refused> {
        let right = Right { service_account: None, verb, group, resource, name: String::new() };
        let refused = format!("the operator may not {right}; the chart's {value} gives it that");
        self.has(&right, refused)
    }

    fn has(&self, right: &Right, refused: String) -> Result<(), Refused> {
        match self.view.rights.get(right) {
            None => Err(Refused::Ask(Need::Right(right.clone()))),
            Some(true) => Ok(()),
            Some(false) => Err(Refused::No(refused)),
        }
    }
}

fn seen(effect: &StepEffect) -> Timestamp {
    effect.seen_at.as_ref().map_or(effect.intended_at.0, |seen| seen.0)
}
