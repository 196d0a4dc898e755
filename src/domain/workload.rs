//! What is seen of the source inside the cluster: its workload, its Service, its pods.
//!
//! Knows: when a workload is available. Must not know: how it was read, what follows from it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of workload that a source can be.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::Display,
)]
pub enum WorkloadKind {
    /// A Deployment of `apps/v1`.
    #[default]
    Deployment,
    /// A StatefulSet of `apps/v1`.
    StatefulSet,
}

impl WorkloadKind {
    /// Its resource, as rights name it.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
        }
    }
}

/// A workload as it was when it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The version that was read.
    pub version: String,
    /// The generation of its spec.
    pub generation: i64,
    /// The generation that its controller has seen.
    pub observed_generation: i64,
    /// How many pods it shall have.
    pub wanted: i32,
    /// How many it has, of any age.
    pub total: i32,
    /// How many are of its newest template.
    pub updated: i32,
    /// How many are available.
    pub available: i32,
    /// Its rollout is paused, or its pods are replaced by hand only.
    pub is_paused: bool,
    /// The key of the last restart; empty when there was none.
    pub restarted_for: String,
    /// The key of the last scaling; empty when there was none.
    pub scaled_for: String,
    /// Whoever else sets how many pods it shall have.
    pub scaled_by: Option<String>,
}

impl Workload {
    /// Is its newest template rolled out, and all of it available?
    ///
    /// # Errors
    /// What is missing, for people.
    pub fn rolled_out(&self) -> Result<(), String> {
        if self.observed_generation < self.generation {
            return Err("its controller has not seen the last change of its spec".to_owned());
        }
        let (wanted, total) = (self.wanted, self.total);
        if self.updated < wanted {
            let paused = if self.is_paused { "; its rollout is paused" } else { "" };
            return Err(format!("{} of {wanted} pods are updated{paused}", self.updated));
        }
        if self.available < wanted {
            return Err(format!("{} of {wanted} pods are available", self.available));
        }
        if total > self.updated {
            return Err(format!("{} old pods are still there", total - self.updated));
        }
        Ok(())
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// A pod of the workload that does not run, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodFault {
    /// Why, in the kubelet's word, such as `CrashLoopBackOff`; `OOMKilled` before what followed.
    pub reason: String,
    /// The pod.
    pub pod: String,
}

impl PodFault {
    /// Is it one that starting the pod anew does not mend?
    #[must_use]
    pub fn is_for_people(&self) -> bool {
        let reasons = [
            "OOMKilled",
            "ImagePullBackOff",
            "ErrImagePull",
            "InvalidImageName",
            "CreateContainerConfigError",
        ];
        reasons.contains(&self.reason.as_str())
    }
}

/// A pod of the workload that has ended badly, evicted ones too: it never runs again.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FailedPod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The version that was read.
    pub version: String,
}

/// The source inside the cluster as it was when it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceState {
    /// Its workload, Err with why it is not known; None when none is named.
    pub workload: Option<Result<Workload, String>>,
    /// Its pods that do not run, Err with why that is not known; None when no workload is there.
    pub pods: Option<Result<Vec<PodFault>, String>>,
    /// Those of its pods that have failed; none where its pods are not known.
    pub failed: Vec<FailedPod>,
    /// Does it have more pods than were looked at?
    pub more_pods: bool,
    /// The addresses of its Service that are ready, Err with why there is none; None when no
    /// Service is named.
    pub endpoints: Option<Result<usize, String>>,
}

impl SourceState {
    /// Is what was acted on rolled out and available, and reachable where it has a Service?
    ///
    /// # Errors
    /// What is missing, for people.
    pub fn available(&self) -> Result<(), String> {
        match &self.workload {
            Some(Ok(workload)) => {
                workload.rolled_out().map_err(|missing| format!("{workload}: {missing}"))?;
            }
            Some(Err(why)) => return Err(why.clone()),
            None => return Err("no workload is named".to_owned()),
        }
        match &self.endpoints {
            Some(Err(why)) => Err(why.clone()),
            Some(Ok(_)) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_rolled_out_when_every_count_says_so() {
        let whole = Workload {
            generation: 2,
            observed_generation: 2,
            wanted: 2,
            total: 2,
            updated: 2,
            available: 2,
            ..Workload::default()
        };
        assert_eq!(whole.rolled_out(), Ok(()));
        let whole = || whole.clone();
        let table = [
            (Workload { observed_generation: 1, ..whole() }, "has not seen"),
            (Workload { updated: 1, ..whole() }, "1 of 2 pods are updated"),
            (Workload { updated: 0, is_paused: true, ..whole() }, "its rollout is paused"),
            (Workload { available: 1, ..whole() }, "1 of 2 pods are available"),
            (Workload { total: 3, ..whole() }, "1 old pods"),
        ];
        for (workload, says) in table {
            let missing = workload.rolled_out().unwrap_err();
            assert!(missing.contains(says), "{missing}");
        }
    }
}
