//! States as a page shows them: a word and a shape; the colour only repeats what the two say.

use crate::{
    api::{
        contract::{CheckResult, Health},
        incident::{EffectOutcome, Outcome, State as IncidentState, StepOutcome},
    },
    decide::platform,
    domain::Severity,
};

/// What a state means to whoever looks; each has a shape in `frame.html` and a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Tone {
    /// As it should be.
    Good,
    /// Something is being done.
    Busy,
    /// Not as it should be.
    Warn,
    /// Broken.
    Bad,
    /// Nothing to look at.
    Quiet,
}

/// A state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What it means.
    pub tone: Tone,
    /// Its word.
    pub word: String,
}

impl Mark {
    /// One of our own words.
    pub fn new(tone: Tone, word: &(impl ToString + ?Sized)) -> Self {
        Self { tone, word: word.to_string() }
    }
}

impl From<platform::State> for Mark {
    fn from(state: platform::State) -> Self {
        let (tone, word) = match state {
            platform::State::Healthy => (Tone::Good, "Healthy"),
            platform::State::Recovering => (Tone::Busy, "Recovering"),
            platform::State::Degraded => (Tone::Warn, "Degraded"),
            platform::State::Critical => (Tone::Bad, "Critical"),
        };
        Self::new(tone, word)
    }
}

impl From<Health> for Mark {
    fn from(health: Health) -> Self {
        let tone = match health {
            Health::Healthy => Tone::Good,
            Health::Recovering => Tone::Busy,
            Health::Degraded | Health::Unknown => Tone::Warn,
            Health::Critical => Tone::Bad,
            Health::Pending | Health::Suspended => Tone::Quiet,
        };
        Self::new(tone, &health)
    }
}

impl From<IncidentState> for Mark {
    fn from(state: IncidentState) -> Self {
        let tone = match state {
            IncidentState::Open | IncidentState::Remediating | IncidentState::Verifying => {
                Tone::Busy
            }
            IncidentState::Held | IncidentState::Mitigated => Tone::Warn,
            IncidentState::Escalated => Tone::Bad,
            IncidentState::Resolved => Tone::Good,
            IncidentState::Superseded => Tone::Quiet,
        };
        Self::new(tone, &state)
    }
}

impl From<Severity> for Mark {
    fn from(severity: Severity) -> Self {
        let tone = match severity {
            Severity::Critical => Tone::Bad,
            Severity::Warning => Tone::Warn,
            Severity::Info => Tone::Quiet,
        };
        Self::new(tone, &severity)
    }
}

impl From<CheckResult> for Mark {
    fn from(result: CheckResult) -> Self {
        let tone = match result {
            CheckResult::Pass => Tone::Good,
            CheckResult::Fail => Tone::Bad,
            CheckResult::Unknown => Tone::Warn,
        };
        Self::new(tone, &result)
    }
}

impl From<Outcome> for Mark {
    fn from(outcome: Outcome) -> Self {
        let tone = match outcome {
            Outcome::Succeeded => Tone::Good,
            Outcome::Failed => Tone::Bad,
            Outcome::Unknown => Tone::Warn,
        };
        Self::new(tone, &outcome)
    }
}

impl From<StepOutcome> for Mark {
    fn from(outcome: StepOutcome) -> Self {
        let tone = match outcome {
            StepOutcome::Changed | StepOutcome::Acted => Tone::Good,
            StepOutcome::Waited | StepOutcome::Skipped => Tone::Quiet,
            StepOutcome::Failed => Tone::Bad,
            StepOutcome::Unavailable => Tone::Warn,
        };
        Self::new(tone, &outcome)
    }
}

impl From<EffectOutcome> for Mark {
    fn from(outcome: EffectOutcome) -> Self {
        let tone = match outcome {
            EffectOutcome::Done => Tone::Good,
            EffectOutcome::NotDone | EffectOutcome::Unknown | EffectOutcome::NoAnswer => Tone::Warn,
            EffectOutcome::Failed => Tone::Bad,
        };
        Self::new(tone, &outcome)
    }
}
