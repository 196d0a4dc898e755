//! What came of an effect on somebody who cannot be patched: plain data.

use jiff::Timestamp;

use super::Span;

/// What came of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// There was an answer.
    Answered {
        /// Its status.
        status: u16,
        /// What the other side asked us to wait.
        retry_after: Option<Span>,
    },
    /// It may have arrived or not; why there was no answer.
    Unheard(String),
    /// It was not sent, since too much else was under way here.
    NoRoom {
        /// Why, for people.
        why: String,
        /// When it was to be sent.
        at: Timestamp,
    },
    /// It was not sent, and will not be before a person changes something; why.
    NotSent(String),
}

/// A Job as it was when it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobSeen {
    /// What it was made for, by its own note; empty where it has none.
    pub made_for: String,
    /// When it is ended at the latest, by its deadline.
    pub ends_by: Timestamp,
    /// How it ended; None while it runs.
    pub end: Option<JobEnd>,
    /// The last lines of its log, as they are; empty while it runs and where they may not be read.
    pub log: String,
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// It did what it was made for.
    Complete,
    /// It did not; the reason in Kubernetes' own word, such as `BackoffLimitExceeded`.
    Failed(String),
}
