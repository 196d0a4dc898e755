//! All decisions, pure: facts and `now` in, a decision out.
//!
//! Knows: what the API means, which rule wins, when a document may be served, what an Incident
//! does next. Must not know: any client, network, clock, randomness or async code; a fact that it
//! lacks is asked for ([`view::Need`]) and gathered by somebody else.

pub mod blame;
pub mod breakers;
pub mod busy;
pub mod conflicts;
pub mod contract;
pub mod delivered;
pub mod detect;
pub mod diagnose;
pub mod drift;
pub mod effective;
pub mod effects;
pub mod endpoints;
pub mod episode;
mod escalation;
pub mod fleet;
pub mod gates;
pub mod gitops;
pub mod guard;
pub mod held;
pub mod history;
pub mod hosts;
pub mod incident;
mod kept;
pub mod limits;
pub mod live;
pub mod log;
pub mod measure;
pub mod moves;
pub mod ownership;
pub mod parents;
pub mod pause;
pub mod pin;
pub mod plan;
pub mod platform;
pub mod policy;
pub mod publish;
mod record;
pub mod requests;
pub mod select;
mod shown;
pub mod signal;
pub mod silence;
pub mod standing;
pub mod status;
pub mod symptoms;
pub mod undo;
pub mod validate;
pub mod verdicts;
pub mod view;
pub mod when;
pub mod windows;
pub mod write_back;

#[cfg(test)]
mod sim;

pub use held::Held;

/// Why nothing will move until a person acts: a condition reason and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Stall {
    /// Stable, in CamelCase.
    pub reason: &'static str,
    /// Names the field and the fix.
    pub message: String,
}

impl Stall {
    /// A stall with a bounded message.
    #[must_use]
    pub fn new(reason: &'static str, message: &str) -> Self {
        Self { reason, message: crate::domain::text::message(message) }
    }
}
