//! What each contract has to say of hosts that give it no answer: what an outage is made of.
//!
//! An Incident about a host has nothing of its own to follow from: a check that is Unknown opens none. So
//! what is remembered of a contract between its looks is these few words of its status, and nothing of
//! one that lacks nothing.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    api::contract::{Check, CheckResult},
    domain::{Severity, Span},
};

use super::{
    escalation::{self, Unknown},
    view::View,
};

/// A check that is Unknown because a host gives no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// The host.
    pub host: Box<str>,
    /// The rule.
    pub rule: Box<str>,
    /// The reason of Unknown.
    pub reason: Box<str>,
    /// How much the rule matters.
    pub severity: Severity,
    /// Since when it has been Unknown.
    pub since: Timestamp,
    /// How often a person is called because of it; None before a look has found that it lasts: what was
    /// seen earlier may be over by now.
    pub call_every: Option<Span>,
}

impl Silence {
    fn of(check: &Check, call_every: Option<Span>) -> Self {
        Self {
            host: check.host.as_str().into(),
            rule: check.rule.as_str().into(),
            reason: check.keyword.as_str().into(),
            severity: check.severity,
            since: check.since.0,
            call_every,
        }
    }
}

/// What a look at a contract, whose checks are these, has to say.
pub(super) fn of(view: &View, checks: &[Check], now: Timestamp) -> Arc<[Silence]> {
    let silent = escalation::unknown(view, checks).filter(|known| !known.check.host.is_empty());
    let call_every = |known: &Unknown<'_>| (known.at <= now).then_some(known.repeat_every);
    silent.map(|known| Silence::of(known.check, call_every(&known))).collect()
}

/// What is on record of a contract that was not looked at yet: it calls nobody, and keeps what is called
/// for already.
#[must_use]
pub fn on_record(checks: &[Check]) -> Arc<[Silence]> {
    let silent = checks
        .iter()
        .filter(|check| check.result == CheckResult::Unknown && !check.host.is_empty());
    silent.map(|check| Silence::of(check, None)).collect()
}
