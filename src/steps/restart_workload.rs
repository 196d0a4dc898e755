//! The `restartWorkload` step: have the pods of the source's workload replaced, as `kubectl rollout
//! restart` does.
//!
//! The key on the pod template says that it was done: there already means done, whoever asks. An
//! outcome that is not known is read from there.
//!
//! Knows: when a restart is of use. Must not know: how it is sent, who may send it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Act, Change, Proposal, View};
use crate::domain::{PodFault, SourceState};

/// Restart the source's workload (`source.workloadRef`) by an annotation on its pod template, with
/// the rights of the policy's `serviceAccountName`. Not one that is scaled to zero, nor where a pod
/// was killed for its memory or has no image: that is reported for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestartWorkload {
    /// What the next step waits for, at most the step's `timeout`. Default: Available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_for: Option<WaitFor>,
}

/// What is waited for after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WaitFor {
    /// The rollout is complete, its pods are available, and the source's Service has an endpoint.
    #[default]
    Available,
    /// Nothing: the next step follows at once.
    Nothing,
}

impl RestartWorkload {
    /// See [`super::StepKind::plan`].
    #[must_use]
    pub fn plan(&self, view: &View<'_>) -> Proposal {
        let workload = match view.workload() {
            Ok(workload) => workload,
            Err(why) => return Proposal::Nothing(why),
        };
        if workload.restarted_for == view.key {
            return Proposal::Done;
        }
        if workload.wanted == 0 {
            return Proposal::Nothing(format!("{workload} is scaled to zero: see scaleWorkload"));
        }
        let pods = view.state.and_then(|state| state.pods.as_ref()?.as_ref().ok());
        match pods.into_iter().flatten().find(|fault| fault.is_for_people()) {
            Some(PodFault { reason, pod }) => Proposal::Nothing(format!(
                "Pod {pod} is {reason}, which no restart mends; mend {workload}"
            )),
            None => Proposal::Act(Act::Change(Change::Restart)),
        }
    }

    /// See [`super::StepKind::settled`].
    pub(super) fn settled(&self, state: &SourceState) -> Result<(), String> {
        match self.wait_for.unwrap_or_default() {
            WaitFor::Available => state.available(),
            WaitFor::Nothing => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{domain::Workload, steps::tests::view};

    #[test]
    fn a_workload_is_restarted_once_for_a_key_and_not_where_that_mends_nothing() {
        let named = |wanted, restarted_for: &str| {
            let restarted_for = restarted_for.to_owned();
            Some(Ok(Workload { wanted, restarted_for, ..Workload::default() }))
        };
        let missing = Some(Err("Deployment catalog does not exist".to_owned()));
        let table = [
            (named(2, ""), "", "restarts"),
            (named(2, "uk-1/1"), "CrashLoopBackOff", "restarts"),
            (named(2, "uk-1/2"), "ImagePullBackOff", "done"),
            (named(0, ""), "", "scaled to zero"),
            (named(2, ""), "ImagePullBackOff", "Pod a-1 is ImagePullBackOff"),
            (named(2, ""), "OOMKilled", "no restart mends"),
            (missing, "", "does not exist"),
            (None, "", "spec.source.workloadRef"),
        ];
        for (workload, reason, expected) in table {
            let fault = PodFault { reason: reason.to_owned(), pod: "a-1".to_owned() };
            let pods = if reason.is_empty() { Vec::new() } else { vec![fault] };
            let state = SourceState { workload, pods: Some(Ok(pods)), ..SourceState::default() };
            let document = json!({});
            let mut view = view(&document, &[]);
            view.state = Some(&state);
            view.key = "uk-1/2";
            let says = match RestartWorkload::default().plan(&view) {
                Proposal::Act(Act::Change(Change::Restart)) => "restarts".to_owned(),
                Proposal::Done => "done".to_owned(),
                Proposal::Nothing(why) => why,
                other => panic!("{other:?}"),
            };
            assert!(says.contains(expected), "{says}, and not {expected}");
        }
    }
}
