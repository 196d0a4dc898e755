//! What happened, for people who are not looking at status: one value for each thing that
//! happens, said after the writes that made it so were acknowledged, as a log line and an Event.

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
    /// Tells one of several of its kind in one Incident apart, so that a repeated look says each
    /// only once: the attempt's number.
    pub number: u32,
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
    /// A good document is served again.
    Mitigated,
    /// The assigned document is good, too.
    Resolved,
    /// A person is needed.
    Escalated,
    /// The assigned document passes again.
    ValidationRecovered,
}

impl Reason {
    /// Does a person have to look?
    #[must_use]
    pub fn is_warning(self) -> bool {
        match self {
            Self::ValidationFailed | Self::IncidentOpened | Self::StepFailed | Self::Escalated => {
                true
            }
            Self::StepSucceeded | Self::Mitigated | Self::Resolved | Self::ValidationRecovered => {
                false
            }
        }
    }
}
