//! The `scaleWorkload` step: scale the source's workload up from zero.
//!
//! Never down, never what runs already, never what somebody else scales: two who set one number
//! fight without end. The key on the workload says that it was done.
//!
//! Knows: when scaling is of use. Must not know: how it is sent, who may send it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Act, Change, Proposal, View};

/// Scale the source's workload (`source.workloadRef`) up from zero, with the rights of the policy's
/// `serviceAccountName`, and wait until it is available, at most the step's `timeout`. Does nothing
/// to one that has pods, or whose `spec.replicas` an autoscaler or a GitOps tool sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleWorkload {
    /// How many pods it shall have. Default: 1.
    #[schemars(range(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i32>,
}

impl ScaleWorkload {
    /// See [`super::StepKind::plan`].
    #[must_use]
    pub fn plan(&self, view: &View<'_>) -> Proposal {
        let workload = match view.workload() {
            Ok(workload) => workload,
            Err(why) => return Proposal::Nothing(why),
        };
        if workload.scaled_for == view.key {
            return Proposal::Done;
        }
        if workload.wanted > 0 {
            return Proposal::Nothing(format!("{workload} is not scaled to zero"));
        }
        match &workload.scaled_by {
            Some(other) => Proposal::Nothing(format!(
                "{other} sets spec.replicas of {workload}: scale it there"
            )),
            None => {
                Proposal::Act(Act::Change(Change::Scale(self.min_replicas.unwrap_or(1).max(1))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        domain::{SourceState, Workload},
        steps::tests::view,
    };

    #[test]
    fn a_workload_is_scaled_up_from_zero_only_and_never_against_somebody_else() {
        let table = [
            (0, None, "", "scales to 3"),
            (0, None, "uk-1/1", "scales to 3"),
            (0, None, "uk-1/2", "done"),
            (1, None, "", "is not scaled to zero"),
            (0, Some("Argo CD"), "", "Argo CD sets spec.replicas"),
            (0, Some("HorizontalPodAutoscaler a"), "uk-1/2", "done"),
        ];
        for (wanted, other, scaled_for, expected) in table {
            let (scaled_by, scaled_for) = (other.map(ToOwned::to_owned), scaled_for.to_owned());
            let workload = Workload { wanted, scaled_for, scaled_by, ..Workload::default() };
            let state = SourceState { workload: Some(Ok(workload)), ..SourceState::default() };
            let document = json!({});
            let mut view = view(&document, &[]);
            view.state = Some(&state);
            view.key = "uk-1/2";
            let says = match (ScaleWorkload { min_replicas: Some(3) }).plan(&view) {
                Proposal::Act(Act::Change(Change::Scale(replicas))) => {
                    format!("scales to {replicas}")
                }
                Proposal::Done => "done".to_owned(),
                Proposal::Nothing(why) => why,
                other => panic!("{other:?}"),
            };
            assert!(says.contains(expected), "{says}, and not {expected}");
        }
    }
}
