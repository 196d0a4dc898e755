//! What an Incident does next, and the repair that it sends out: values that the machine makes and
//! `contract` turns into writes.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use serde_json::Value;

use crate::{
    api::{
        contract::Origin,
        incident::{IncidentSpec, IncidentStatus, Intent},
    },
    domain::{Digest, Document, FailedPod, Op, Span, Workload, patch::OpSummary},
    steps::{Change, webhook::SecretKeyRef},
};

use super::{
    gates::{Open, Permit},
    plan::Candidate,
    signal::Signal,
    view::{Effect, Need},
    write_back::Place,
};

/// Most changes of one attempt that are shown.
pub(super) const OPS_SHOWN: usize = 20;

/// Most steps of one attempt that are noted.
pub(super) const STEPS_NOTED: usize = 20;

/// What to do about the Incident.
#[derive(Debug)]
pub enum Move {
    /// Nothing.
    Nothing,
    /// Gather this first.
    Ask(Need),
    /// Open an Incident, and publish its first candidate beside.
    Open {
        /// Its name.
        name: String,
        /// Its spec.
        spec: Box<IncidentSpec>,
        /// The candidate.
        repair: Option<Repair>,
    },
    /// Publish a candidate of a later attempt.
    Publish(Repair),
    /// Act on something else than the document; that it is about to be is on record.
    Act(EffectAct),
    /// Write down what was seen.
    Record {
        /// The Incident's name.
        name: String,
        /// Its new status.
        status: Box<IncidentStatus>,
        /// What to say about it.
        signals: Vec<Signal>,
        /// A plan that people have not seen yet.
        shows: Option<Box<Plan>>,
    },
}

/// A plan with its values, for whoever may read the ConfigMap that it is stored in.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What an approval names it by.
    pub digest: Digest,
    /// The changes to the assigned document, by RFC 6902.
    pub patch: Value,
    /// The document after them.
    pub document: Arc<Document>,
}

/// A candidate that may be written: made only from a [`Permit`].
#[derive(Debug)]
pub struct Repair {
    /// The document.
    pub document: Arc<Document>,
    /// Where it comes from.
    pub origin: Origin,
    /// What it is written for.
    pub effect: Effect,
    /// Is it written into the assigned document, and not into the served key?
    pub written_back: bool,
    /// The revision, where it is what was served before the effect.
    pub undoes: Option<u32>,
}

impl Repair {
    pub(super) fn new(
        permit: &Permit,
        incident: &str,
        attempt: u32,
        place: &Place,
        now: Timestamp,
    ) -> Self {
        let candidate = permit.candidate();
        Self {
            document: Arc::clone(&candidate.document),
            origin: candidate.origin,
            effect: Effect {
                incident: incident.to_owned(),
                attempt,
                step: candidate.step.clone(),
                tried: candidate.tried.iter().take(STEPS_NOTED).cloned().collect(),
                decided_at: Some(now),
            },
            written_back: *place == Place::Assigned,
            undoes: None,
        }
    }
}

/// An act on something else than the document: made only where every gate is open.
#[derive(Clone, Debug)]
pub struct EffectAct {
    id: String,
    doing: Doing,
}

/// What is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Doing {
    /// The spec of the source's workload is changed.
    Change {
        /// To what.
        change: Change,
        /// On exactly the version that was seen.
        workload: Workload,
        /// What it leaves on the workload.
        key: String,
    },
    /// These pods are deleted, on exactly the versions that were seen.
    DeletePods(Vec<FailedPod>),
    /// Somebody's service is told.
    Call(Box<Call>),
    /// A Job is made, under a name that can be taken once.
    RunJob(Box<Job>),
}

/// One call of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What its receiver knows it by: the same for each try.
    pub key: String,
    /// Where it is sent.
    pub url: String,
    /// The Secret whose entries are sent as headers.
    pub headers: Option<String>,
    /// The key that it is signed with.
    pub signing_key: Option<SecretKeyRef>,
    /// What is sent: the same for each try.
    pub body: String,
    /// How long it may take.
    pub timeout: Option<Span>,
}

impl EffectAct {
    pub(super) fn new(_: Open, id: String, doing: Doing) -> Self {
        Self { id, doing }
    }

    /// What its answer is remembered by.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is done.
    #[must_use]
    pub fn doing(&self) -> &Doing {
        &self.doing
    }
}

/// What `candidate` is about to change, stored where the change overwrites its own evidence.
pub(super) fn intent(candidate: &Candidate, attempt: u32) -> Intent {
    Intent {
        attempt,
        step: candidate.step.clone(),
        digest: candidate.document.digest().clone(),
        ops: summaries(&candidate.ops),
    }
}

pub(super) fn summaries(ops: &[Op]) -> Vec<OpSummary> {
    ops.iter().take(OPS_SHOWN).map(Op::summary).collect()
}
