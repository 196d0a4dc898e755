//! A Job that is run.
//!
//! Its name is made from the effect's key, so it can be made once; one that carries the key is it.
//!
//! ```text
//! on record     the Job                       what happens
//! nothing                                     the template is read and judged, the intent stored
//! intent        is not there                  it is made
//! intent        is not there, for an hour     outcome Unknown: it may have come and gone
//! intent        carries the key               outcome Done: it runs, and is waited for
//! Done          runs                          it is waited for, a little longer than its deadline
//! Done          is complete                   the end is stored, and the next step follows
//! Done          has failed, or is gone        outcome Failed
//! ```
//!
//! None is run beside another one of its step, of an earlier attempt or of an Incident before: until
//! the other has ended, or its time is over, neither is the intent stored nor the Job made. One that
//! goes on when its time is over was suspended, or whoever ends it is slow: then the step has failed.

mod manifest;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        condition::whole_seconds,
        incident::{EffectOutcome, StepEffect},
    },
    domain::{Digest, JobEnd, JobSeen, Span, mask},
    steps::{Job as JobStep, StepKind},
};

use super::{LONGEST_POLL, Refused, SHORTEST_POLL, Then, Turn, Turning};
use crate::decide::{
    Held,
    moves::Doing,
    view::{Need, OpenIncident, View},
};

/// What an Incident waits for while a Job runs.
pub(super) const JOB: &str = "Job";

/// The reason of an Incident that waits until another Job of a step has ended.
pub const JOB_RUNNING: &str = "JobRunning";

/// How long a Job stays after its end at least, so that it is seen however long nobody looked.
const KEPT: Span = Span::mins(60);
/// How much later than its deadline a Job is given up: its controller may be slow to say so.
pub(super) const GRACE: Span = Span::secs(30);
/// What is kept of its log.
const LOG_LINES: usize = 10;
const LOG_BYTES: usize = 1024;

/// Is it a Job whose end was not seen?
pub(super) fn may_run(effect: &StepEffect) -> bool {
    effect.made_of.is_some()
        && effect.ended_at.is_none()
        && effect.outcome != Some(EffectOutcome::NotDone)
}

pub(super) fn turn(at: &Turning<'_>, step: &JobStep) -> Turn {
    let name = name(at);
    let Some(effect) = at.stored() else {
        return match made(at, step, &name).and_then(|job| alone(at).map(|()| job)) {
            Ok(job) => Turn::Intend(StepEffect {
                made_of: digest_of(&job),
                ..at.intent(&format!("Job {name}"))
            }),
            Err(Not::Yet(need)) => Turn::Ask(need),
            Err(Not::Alone(held)) => Turn::Held(held),
            Err(Not::Possible(why)) => Turn::Failed(why),
        };
    };
    match effect.outcome {
        Some(EffectOutcome::Done) if effect.ended_at.is_some() => return Turn::Over,
        Some(EffectOutcome::Done) | None => {}
        Some(_) => return Turn::Failed(effect.message.clone()),
    }
    let Some(seen) = at.view.jobs.get(&name) else { return Turn::Ask(Need::Job(name)) };
    match (seen, effect.outcome) {
        (Ok(Some(seen)), Some(_)) => await_end(at, effect, seen),
        (Ok(None), Some(_)) => {
            let why = format!("{} was deleted before its end was seen", effect.target);
            at.not_done(effect, EffectOutcome::Failed, &why)
        }
        (Ok(Some(seen)), None) if seen.made_for == at.own_key() => runs(at, effect),
        (Ok(Some(_)), None) => {
            let why = format!("{} is there already and was not made for this", effect.target);
            at.not_done(effect, EffectOutcome::NotDone, &why)
        }
        (Ok(None), None) if KEPT.after(effect.intended_at.0) <= at.now => {
            let why =
                "nobody looked for an hour: whether it ran is not known, and it is not repeated";
            at.not_done(effect, EffectOutcome::Unknown, why)
        }
        (Ok(None), None) => match made(at, step, &name) {
            Ok(job) if digest_of(&job) != effect.made_of => {
                let why = "its template or its ServiceAccount has changed since it was decided on";
                at.not_done(effect, EffectOutcome::NotDone, why)
            }
            Ok(job) => match alone(at) {
                Ok(()) => at.send(effect, Doing::RunJob(Box::new(job))),
                Err(not) => not_made(at, effect, not),
            },
            Err(not) => not_made(at, effect, not),
        },
        (Err(why), _) => {
            let why = format!("{why}: what became of {} is not known", effect.target);
            at.not_done(effect, EffectOutcome::Unknown, &why)
        }
    }
}

/// What hinders it, once its intent is on record.
fn not_made(at: &Turning<'_>, effect: &StepEffect, not: Not) -> Turn {
    match not {
        Not::Yet(need) => Turn::Ask(need),
        Not::Alone(held) => Turn::Held(held),
        Not::Possible(why) => at.not_done(effect, EffectOutcome::NotDone, &why),
    }
}

/// Has every other Job of this step ended?
///
/// # Errors
/// What is not known yet, what is waited for, or that it cannot be.
fn alone(at: &Turning<'_>) -> Result<(), Not> {
    let running = match &at.view.running_jobs {
        None => return Err(Not::Yet(Need::RunningJobs)),
        Some(Err(why)) => {
            return Err(Not::Possible(format!(
                "{why}: whether a Job of this step is running is not known"
            )));
        }
        Some(Ok(running)) => running,
    };
    let (step, own) = (format!("/{}/{}", at.policy, at.step.name), at.own_key());
    let others = running.iter();
    let others = others.filter(|(_, seen)| seen.made_for != own && seen.made_for.ends_with(&step));
    let Some((name, seen)) = others.max_by_key(|(_, seen)| seen.ends_by) else { return Ok(()) };
    let mut made_for = seen.made_for.split('/');
    let (incident, attempt) = (made_for.next().unwrap_or(""), made_for.next().unwrap_or(""));
    let other = format!("Job {name} of attempt {attempt} of Incident {incident}");
    let until = GRACE.after(seen.ends_by);
    if until <= at.now {
        return Err(Not::Possible(format!(
            "{other} has not ended though its time is over, and none is run beside it; end it, or \
             delete it with --cascade=foreground"
        )));
    }
    let message = format!(
        "{other} has not ended, and none is run beside it; it is waited for until {until} at most"
    );
    let look_at = LONGEST_POLL.after(at.now).min(until);
    Err(Not::Alone(Held { reason: JOB_RUNNING, message, until: Some(look_at) }))
}

/// What an Incident waits for before a Job of its plan may be run, in attempt `number`.
///
/// # Errors
/// What is still to be gathered.
pub fn held_by_job(
    view: &View,
    incident: &OpenIncident,
    number: u32,
    now: Timestamp,
) -> Result<Option<Held>, Need> {
    for segment in &incident.spec.plan {
        let policy = segment.policy_ref.as_ref().map_or("", |policy| policy.name.as_str());
        for step in segment.steps.iter().filter(|step| matches!(step.kind, StepKind::Job(_))) {
            match alone(&Turning { view, incident, policy, step, number, now }) {
                Err(Not::Yet(need)) => return Err(need),
                Err(Not::Alone(held)) => return Ok(Some(held)),
                Ok(()) | Err(Not::Possible(_)) => {}
            }
        }
    }
    Ok(None)
}

/// Why it is not made.
enum Not {
    /// This has to be asked first.
    Yet(Need),
    /// Another one of its step has not ended.
    Alone(Held),
    /// Why.
    Possible(String),
}

impl From<Refused> for Not {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Ask(need) => Self::Yet(need),
            Refused::No(why) => Self::Possible(why),
        }
    }
}

/// The Job as it is to be made.
fn made(
    at: &Turning<'_>,
    step: &JobStep,
    name: &str,
) -> Result<k8s_openapi::api::batch::v1::Job, Not> {
    let service_account = at.right("create", ("batch", "jobs"), "")?;
    at.own_right("create", ("batch", "jobs"), "effects.jobs")?;
    let template = &step.template_config_map_ref;
    let text = match at.view.templates.get(template) {
        None => return Err(Not::Yet(Need::Template(template.clone()))),
        Some(Err(why)) => return Err(Not::Possible(format!("templateConfigMapRef: {why}"))),
        Some(Ok(text)) => text,
    };
    let wanted = manifest::Wanted {
        name,
        namespace: &at.view.subject.namespace,
        service_account: &service_account,
        key: &at.own_key(),
        contract_uid: &at.view.subject.uid,
        deadline: at.timeout(),
        kept: KEPT,
    };
    manifest::of(text, &wanted).map_err(|why| {
        let (name, key) = (&template.name, &template.key);
        Not::Possible(format!("templateConfigMapRef: {why} (key {key} of ConfigMap {name})"))
    })
}

/// All that a Job is made of, as one value.
fn digest_of(job: &k8s_openapi::api::batch::v1::Job) -> Option<Digest> {
    serde_json::to_value(job).ok().map(|value| Digest::of_value(&value))
}

/// It was made, and runs or has run.
fn runs(at: &Turning<'_>, effect: &StepEffect) -> Turn {
    let effect = at.outcome(effect, EffectOutcome::Done, "");
    let until = GRACE.after(at.until(&effect));
    let look_at = SHORTEST_POLL.after(at.now);
    Turn::Settle { effect, then: Then::Await { waiting: JOB, until, look_at } }
}

fn await_end(at: &Turning<'_>, effect: &StepEffect, seen: &JobSeen) -> Turn {
    let ended = |outcome, why: &str| {
        let effect = StepEffect {
            ended_at: Some(Time(whole_seconds(at.now))),
            log: mask::tail(&seen.log, LOG_LINES, LOG_BYTES),
            ..at.outcome(effect, outcome, why)
        };
        Turn::Settle { effect, then: Then::GoOn }
    };
    match &seen.end {
        Some(JobEnd::Complete) => ended(EffectOutcome::Done, "it is complete"),
        Some(JobEnd::Failed(reason)) => {
            ended(EffectOutcome::Failed, &format!("{} failed: {reason}", effect.target))
        }
        None => {
            let until = GRACE.after(at.until(effect));
            if until <= at.now {
                let why = format!("{} did not end within {}", effect.target, at.timeout());
                return at.not_done(effect, EffectOutcome::Failed, &why);
            }
            Turn::Wait { look_at: at.poll(effect).min(until) }
        }
    }
}

/// The same for the same attempt and step, and no other.
fn name(at: &Turning<'_>) -> String {
    let digest = Digest::of_bytes(at.own_key().as_bytes());
    let room = 63 - 1 - digest.short().len();
    let incident = &at.incident.name;
    let cut = incident.char_indices().map(|(n, _)| n).nth(room).unwrap_or(incident.len());
    // A dot is allowed in the name of an Incident, and not in a label that a pod has it in.
    let part = incident[..cut].replace('.', "-");
    format!("{}-{}", part.trim_end_matches('-'), digest.short())
}
