//! What came of an effect on somebody who cannot be patched: plain data.

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
    /// It was not sent, and will not be before a person changes something; why.
    NotSent(String),
}
