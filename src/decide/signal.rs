//! What happened, for people who are not looking at status: one value for each thing that
//! happens, said after the writes that made it so were acknowledged, as a log line and an Event.

use jiff::Timestamp;

use crate::{
    api::{
        condition::{ConditionType, Conditions},
        contract::WidgetContractStatus,
        incident::StepOutcome,
    },
    domain::text,
};

use super::{publish::withheld_because, view::View};

/// Something that happened to a contract or its Incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// What.
    pub reason: Reason,
    /// One sentence, without payload values.
    pub note: String,
    /// The Incident that it happened in.
    pub incident: Option<String>,
    /// The step that it is about; empty when it is about none.
    pub step: String,
    /// The attempt that it is about, from 1; 0 when it is about none.
    pub attempt: u32,
    /// What the attempt tried.
    pub tried: Vec<Tried>,
    /// When the condition that it tells of had flipped before. With the attempt it tells one of
    /// several of its kind in one Incident apart: a repeated look gives the same, and a relapse
    /// another.
    pub after: Option<Timestamp>,
}

/// One step of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Which segment of the plan it is in.
    pub segment: usize,
    /// Its name.
    pub step: String,
    /// What came of it.
    pub outcome: StepOutcome,
    /// Why nothing did; empty when something did.
    pub why: String,
}

/// The stable reasons of Events.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::AsRefStr,
    strum::Display,
    strum::EnumIter,
)]
pub enum Reason {
    /// The assigned document began to fail.
    ValidationFailed,
    /// An Incident was opened.
    IncidentOpened,
    /// What a step published passed again.
    StepSucceeded,
    /// No step led to a document that passes.
    StepFailed,
    /// People can see what would be done.
    PlanReady,
    /// A person has approved what would be done.
    Approved,
    /// A person has said that it must not be done.
    Rejected,
    /// A good document is served again.
    Mitigated,
    /// The assigned document is good, too.
    Resolved,
    /// A person is needed.
    Escalated,
    /// The assigned document passes again.
    ValidationRecovered,
    /// The assigned document is not served, though none of its failures was said.
    Withheld,
    /// The edge does not show what is served.
    StaleAtEdge,
}

impl Reason {
    /// Does a person have to look?
    #[must_use]
    pub fn is_warning(self) -> bool {
        match self {
            Self::ValidationFailed
            | Self::IncidentOpened
            | Self::StepFailed
            | Self::Escalated
            | Self::Withheld
            | Self::StaleAtEdge => true,
            Self::StepSucceeded
            | Self::PlanReady
            | Self::Approved
            | Self::Rejected
            | Self::Mitigated
            | Self::Resolved
            | Self::ValidationRecovered => false,
        }
    }
}

/// What a contract's status, as it is about to be, says for the first time. Unknown in between
/// says nothing new of the document.
#[must_use]
pub fn of_contract(view: &View, new: &WidgetContractStatus) -> Vec<Signal> {
    let conditions = Conditions::of(Some(&new.conditions));
    let says = |reason, type_| Signal {
        reason,
        note: conditions.get(type_).map_or_else(String::new, |is| text::message(&is.message)),
        incident: None,
        step: String::new(),
        attempt: 0,
        tried: Vec::new(),
        after: None,
    };
    let mut signals = Vec::new();
    if new.called_at.is_some() && new.called_at != view.status.called_at {
        signals.push(says(Reason::Escalated, ConditionType::Escalated));
    }
    let is_stale = |status: &WidgetContractStatus| {
        let conditions = Conditions::of(Some(&status.conditions));
        conditions.get(ConditionType::Delivered).is_some_and(|is| is.status == "False")
    };
    if is_stale(new) && !is_stale(&view.status) {
        signals.push(says(Reason::StaleAtEdge, ConditionType::Delivered));
    }
    match (view.status.last_valid, new.last_valid) {
        (None | Some(true), Some(false)) => {
            signals.push(says(Reason::ValidationFailed, ConditionType::Valid));
        }
        (Some(false), Some(true)) => {
            signals.push(says(Reason::ValidationRecovered, ConditionType::Valid));
        }
        _ if view.assigned_document().is_some()
            && withheld_because(view).is_some()
            && serves_another(new)
            && !serves_another(&view.status) =>
        {
            signals.push(says(Reason::Withheld, ConditionType::Serving));
        }
        _ => {}
    }
    signals
}

/// Does the status say that something else than the assigned document is served, or nothing?
fn serves_another(status: &WidgetContractStatus) -> bool {
    let conditions = Conditions::of(Some(&status.conditions));
    let elsewhere = ["Assigned", "AssignedUnverified", "Pinned", "WatchOnly", "ServeNotOwned"];
    conditions
        .get(ConditionType::Serving)
        .is_some_and(|serving| !elsewhere.contains(&serving.reason.as_str()))
}
