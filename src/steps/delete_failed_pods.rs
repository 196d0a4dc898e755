//! The `deleteFailedPods` step: take away the pods of the source's workload that have failed.
//!
//! A pod that has failed never runs again, and its UID never comes back: to delete it twice is to
//! delete it once. Whether it was done is read from what is still there.
//!
//! Knows: which pods are worth it, and how many at a time. Must not know: how they are deleted, who
//! may do it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Act, Proposal, View};

/// Most pods that are deleted in one attempt: more would make an Incident's status large.
pub const MOST_PODS: usize = 10;

/// Delete the pods of the source's workload (`source.workloadRef`) that have failed, evicted ones
/// too, at most ten in an attempt, with the rights of the policy's `serviceAccountName`; then wait
/// until the workload is available, at most the step's `timeout`. Never a pod that runs, is pending
/// or has succeeded, nor one that another object than the workload controls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeleteFailedPods {}

impl DeleteFailedPods {
    /// See [`super::StepKind::plan`].
    #[must_use]
    pub fn plan(&self, view: &View<'_>) -> Proposal {
        let workload = match view.workload() {
            Ok(workload) => workload,
            Err(why) => return Proposal::Nothing(why),
        };
        if let Some(Err(why)) = view.state.and_then(|state| state.pods.as_ref()) {
            return Proposal::Nothing(why.clone());
        }
        let failed = view.state.iter().flat_map(|state| &state.failed);
        let pods: Vec<_> = failed.take(MOST_PODS).cloned().collect();
        if pods.is_empty() {
            let more = view.state.is_some_and(|state| state.more_pods);
            let more = if more { ", and it has more than were looked at" } else { "" };
            return Proposal::Nothing(format!("no pod of {workload} has failed{more}"));
        }
        Proposal::Act(Act::DeletePods(pods))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        domain::{FailedPod, SourceState, Workload},
        steps::tests::view,
    };

    #[test]
    fn failed_pods_are_deleted_ten_at_a_time_and_not_where_none_is_known() {
        let failed = |count: usize| {
            let pod = |n| FailedPod { name: format!("catalog-{n}"), ..FailedPod::default() };
            (0..count).map(pod).collect::<Vec<_>>()
        };
        let named = || Some(Ok(Workload { name: "catalog".to_owned(), ..Workload::default() }));
        let missing = Some(Err("Deployment catalog does not exist".to_owned()));
        let unreadable = Err("pods may not be read".to_owned());
        let table = [
            (named(), Ok(Vec::new()), 3, "deletes 3"),
            (named(), Ok(Vec::new()), 25, "deletes 10"),
            (named(), Ok(Vec::new()), 0, "no pod of Deployment catalog has failed"),
            (named(), unreadable, 0, "may not be read"),
            (missing, Ok(Vec::new()), 0, "does not exist"),
            (None, Ok(Vec::new()), 0, "spec.source.workloadRef"),
        ];
        for (workload, pods, count, expected) in table {
            let failed = failed(count);
            let state =
                SourceState { workload, pods: Some(pods), failed, ..SourceState::default() };
            let document = json!({});
            let mut view = view(&document, &[]);
            view.state = Some(&state);
            let says = match DeleteFailedPods::default().plan(&view) {
                Proposal::Act(Act::DeletePods(pods)) => format!("deletes {}", pods.len()),
                Proposal::Nothing(why) => why,
                other => panic!("{other:?}"),
            };
            assert!(says.contains(expected), "{says}, and not {expected}");
        }
    }
}
