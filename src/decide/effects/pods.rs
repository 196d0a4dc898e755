//! The deletion of pods that have failed.
//!
//! The intent names each by its UID. One that is still there was not deleted yet; one that is gone
//! is gone for good, by whosever hand: nothing here can be done twice.

use crate::{
    api::incident::{EffectOutcome, PodRef, StepEffect},
    domain::{FailedPod, SourceState},
    steps::{Act, Proposal},
};

use super::{Refused, Turn, Turning};
use crate::decide::{moves::Doing, view::Need};

pub(super) fn turn(at: &Turning<'_>) -> Turn {
    let Some(state) = &at.view.state else { return Turn::Ask(Need::State) };
    let Some(effect) = at.stored() else {
        return match at.propose(state) {
            Proposal::Act(Act::DeletePods(pods)) => intend(at, &pods),
            Proposal::Nothing(why) => Turn::Failed(why),
            _ => Turn::Failed("it deletes no pod".to_owned()),
        };
    };
    match effect.outcome {
        Some(EffectOutcome::Done) => return at.wait_for_workload(state, effect),
        Some(
            EffectOutcome::NotDone
            | EffectOutcome::Unknown
            | EffectOutcome::Failed
            | EffectOutcome::NoAnswer,
        ) => {
            return Turn::Failed(effect.message.clone());
        }
        None => {}
    }
    if let Err(why) = known(state, effect) {
        let message = format!("{why}: whether all were deleted is not known");
        return at.not_done(effect, EffectOutcome::Unknown, &message);
    }
    let is_meant = |pod: &&FailedPod| effect.pods.iter().any(|meant| meant.uid == pod.uid);
    let left: Vec<FailedPod> = state.failed.iter().filter(is_meant).cloned().collect();
    if left.is_empty() && state.more_pods {
        let message = "it has more pods than were looked at: whether all were deleted is not known";
        return at.not_done(effect, EffectOutcome::Unknown, message);
    }
    if left.is_empty() {
        return at.done(effect, &format!("{} failed pods are gone", effect.pods.len()));
    }
    match may_delete(at) {
        Ok(()) => at.send(effect, Doing::DeletePods(left)),
        Err(Refused::Ask(need)) => Turn::Ask(need),
        Err(Refused::No(why)) => at.not_done(effect, EffectOutcome::NotDone, &why),
    }
}

/// That a pod is not seen tells nothing where those of the workload of the intent were not looked at.
///
/// # Errors
/// Why they are not known.
fn known(state: &SourceState, effect: &StepEffect) -> Result<(), String> {
    match &state.workload {
        Some(Ok(workload)) if workload.uid == effect.target_uid => {}
        Some(Err(why)) => return Err(why.clone()),
        Some(Ok(_)) | None => {
            return Err(format!("the workload of the {} is not there any more", effect.target));
        }
    }
    match &state.pods {
        Some(Ok(_)) => Ok(()),
        Some(Err(why)) => Err(why.clone()),
        None => Err("its pods are not known".to_owned()),
    }
}

fn may_delete(at: &Turning<'_>) -> Result<(), Refused> {
    at.right("delete", ("", "pods"), "")?;
    at.own_right("delete", ("", "pods"), "effects.deletePods")
}

fn intend(at: &Turning<'_>, pods: &[FailedPod]) -> Turn {
    match may_delete(at) {
        Err(Refused::Ask(need)) => return Turn::Ask(need),
        Err(Refused::No(why)) => return Turn::Failed(why),
        Ok(()) => {}
    }
    let workload = at.view.state.as_ref().and_then(|state| state.workload.as_ref()?.as_ref().ok());
    let named = |pod: &FailedPod| PodRef { name: pod.name.clone(), uid: pod.uid.clone() };
    let of_what = workload.map_or_else(String::new, |workload| format!(" of {workload}"));
    Turn::Intend(StepEffect {
        pods: pods.iter().map(named).collect(),
        target_uid: workload.map_or_else(String::new, |workload| workload.uid.clone()),
        ..at.intent(&format!("{} failed pods{of_what}", pods.len()))
    })
}
