//! A Job that is run.
//!
//! Its name is made from the effect's key, so it can be made once; one that carries the key is it.
//!
//! ```text
//! on record     the Job                       what happens
//! nothing       one of an attempt before runs the step failed: none is run beside it
//! nothing                                     the template is read and judged, the intent stored
//! intent        is not there                  it is made
//! intent        is not there, for an hour     outcome Unknown: it may have come and gone
//! intent        carries the key               outcome Done: it runs, and is waited for
//! Done          runs                          it is waited for, a little longer than its deadline
//! Done          is complete                   the end is stored, and the next step follows
//! Done          has failed, or is gone        outcome Failed
//! ```

mod manifest;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        condition::whole_seconds,
        incident::{EffectOutcome, StepEffect},
    },
    domain::{Digest, JobEnd, JobSeen, Span, mask},
    steps::Job as JobStep,
};

use super::{Refused, SHORTEST_POLL, Then, Turn, Turning};
use crate::decide::{moves::Doing, view::Need};

/// What an Incident waits for while a Job runs.
pub(super) const JOB: &str = "Job";

/// What a Job's name follows in its effect's target.
const TARGET: &str = "Job ";

/// How long a Job stays after its end at least, so that it is seen however long nobody looked.
const KEPT: Span = Span::mins(60);
/// How much later than its deadline a Job is given up: its controller may be slow to say so.
const GRACE: Span = Span::secs(30);
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
        match of_before(at) {
            Err(Refused::Ask(need)) => return Turn::Ask(need),
            Err(Refused::No(why)) => return Turn::Failed(why),
            Ok(()) => {}
        }
        return match made(at, step, &name) {
            Ok(job) => Turn::Intend(StepEffect {
                made_of: digest_of(&job),
                ..at.intent(&format!("{TARGET}{name}"))
            }),
            Err(Refused::Ask(need)) => Turn::Ask(need),
            Err(Refused::No(why)) => Turn::Failed(why),
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
            Ok(job) => at.send(effect, Doing::RunJob(Box::new(job))),
            Err(Refused::Ask(need)) => Turn::Ask(need),
            Err(Refused::No(why)) => at.not_done(effect, EffectOutcome::NotDone, &why),
        },
        (Err(why), _) => {
            let why = format!("{why}: what became of {} is not known", effect.target);
            at.not_done(effect, EffectOutcome::Unknown, &why)
        }
    }
}

/// Has the Job of the attempt before come to its end? One that was given up may run on: it was
/// suspended, or whoever ends it is slow. It is never run beside itself.
fn of_before(at: &Turning<'_>) -> Result<(), Refused> {
    let before = at.incident.status.effects.iter().rfind(|effect| {
        (effect.policy.as_str(), effect.step.as_str()) == (at.policy, &at.step.name)
    });
    let Some(name) = before.and_then(|effect| effect.target.strip_prefix(TARGET)) else {
        return Ok(());
    };
    match at.view.jobs.get(name) {
        None => Err(Refused::Ask(Need::Job(name.to_owned()))),
        Some(Ok(Some(JobSeen { end: None, .. }))) => Err(Refused::No(format!(
            "Job {name} of an earlier attempt has not ended, and none is run beside it; end or \
             delete it"
        ))),
        Some(Ok(_)) => Ok(()),
        Some(Err(why)) => Err(Refused::No(format!(
            "{why}: whether Job {name} of an earlier attempt has ended is not known"
        ))),
    }
}

/// The Job as it is to be made.
fn made(
    at: &Turning<'_>,
    step: &JobStep,
    name: &str,
) -> Result<k8s_openapi::api::batch::v1::Job, Refused> {
    let service_account = at.right("create", ("batch", "jobs"), "")?;
    at.own_right("create", ("batch", "jobs"), "effects.jobs")?;
    let template = &step.template_config_map_ref;
    let text = match at.view.templates.get(template) {
        None => return Err(Refused::Ask(Need::Template(template.clone()))),
        Some(Err(why)) => return Err(Refused::No(format!("templateConfigMapRef: {why}"))),
        Some(Ok(text)) => text,
    };
    let wanted = manifest::Wanted {
        name,
        namespace: &at.view.subject.namespace,
        service_account: &service_account,
        key: &at.own_key(),
        deadline: at.timeout(),
        kept: KEPT,
    };
    manifest::of(text, &wanted).map_err(|why| {
        let (name, key) = (&template.name, &template.key);
        Refused::No(format!("templateConfigMapRef: {why} (key {key} of ConfigMap {name})"))
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
