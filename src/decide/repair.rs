//! A repair on its way out: what is written, where, and what is stored about it before.

use std::sync::Arc;

use crate::{
    api::{contract::Origin, incident::Intent},
    domain::{Document, Op, patch::OpSummary},
};

use super::{gates::Permit, plan::Candidate, record::OPS_SHOWN, view::Effect, write_back::Place};

/// A candidate that may be written: made only with a [`Permit`].
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
}

impl Repair {
    pub(super) fn new(
        _: Permit,
        candidate: &Candidate,
        incident: &str,
        attempt: u32,
        place: &Place,
    ) -> Self {
        Self {
            document: Arc::clone(&candidate.document),
            origin: candidate.origin,
            effect: Effect { incident: incident.to_owned(), attempt, step: candidate.step.clone() },
            written_back: *place == Place::Assigned,
        }
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
