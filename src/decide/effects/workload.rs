//! A change of the spec of the source's workload.
//!
//! It changes the generation of its object, so one whose generation is that of the intent was not
//! touched: sending is the first time, not a repetition, however often it is decided.

use crate::{
    api::incident::{EffectOutcome, StepEffect},
    domain::{SourceState, Workload},
    steps::{Act, Change, Proposal},
};

use super::{Refused, Turn, Turning};
use crate::decide::{moves::Doing, view::Need};

pub(super) fn turn(at: &Turning<'_>) -> Turn {
    let Some(state) = &at.view.state else { return Turn::Ask(Need::State) };
    let stored = at.stored();
    if let Some((effect, outcome)) = stored.and_then(|effect| Some((effect, effect.outcome?))) {
        return match outcome {
            EffectOutcome::Done => at.wait_for_workload(state, effect),
            EffectOutcome::NotDone
            | EffectOutcome::Unknown
            | EffectOutcome::Failed
            | EffectOutcome::NoAnswer => Turn::Failed(effect.message.clone()),
        };
    }
    let touched = stored.filter(|effect| !is_untouched(state, effect));
    let change = match (at.propose(state), stored) {
        (Proposal::Act(Act::Change(change)), _) => Ok(change),
        (Proposal::Done, Some(effect)) => return at.done(effect, ""),
        // One effect has one key in an attempt: it is done, whichever step did it.
        (Proposal::Done, None) => return Turn::Over,
        (Proposal::Nothing(why), _) => Err(why),
        (Proposal::Act(_) | Proposal::Change(_) | Proposal::Wait(_), _) => {
            Err("it changes no workload".to_owned())
        }
    };
    if let Some(effect) = touched {
        let why = match &state.workload {
            Some(Err(why)) => why,
            _ => &format!("{} was changed by somebody else at the same time", effect.target),
        };
        let message = format!("{why}: whether this was done is not known, and it is not repeated");
        return at.not_done(effect, EffectOutcome::Unknown, &message);
    }
    let refused = match may_change(at, state, change) {
        Err(Refused::Ask(need)) => return Turn::Ask(need),
        Err(Refused::No(why)) => why,
        Ok((change, workload)) => {
            let Some(effect) = stored else {
                return Turn::Intend(StepEffect {
                    target_uid: workload.uid.clone(),
                    target_generation: Some(workload.generation),
                    ..at.intent(&workload.to_string())
                });
            };
            let workload = workload.clone();
            return at.send(effect, Doing::Change { change, workload, key: at.key() });
        }
    };
    match stored {
        Some(effect) => at.not_done(effect, EffectOutcome::NotDone, &refused),
        None => Turn::Failed(refused),
    }
}

fn may_change<'a>(
    at: &Turning<'_>,
    state: &'a SourceState,
    change: Result<Change, String>,
) -> Result<(Change, &'a Workload), Refused> {
    let change = change.map_err(Refused::No)?;
    let workload = match &state.workload {
        Some(Ok(workload)) => workload,
        Some(Err(why)) => return Err(Refused::No(why.clone())),
        None => return Err(Refused::No("there is no workload".to_owned())),
    };
    at.right("patch", ("apps", workload.kind.resource()), &workload.name)?;
    Ok((change, workload))
}

/// Is the workload the one of the intent, with its spec as it was then?
fn is_untouched(state: &SourceState, effect: &StepEffect) -> bool {
    let Some(Ok(workload)) = &state.workload else { return false };
    (workload.uid.as_str(), Some(workload.generation))
        == (effect.target_uid.as_str(), effect.target_generation)
}
