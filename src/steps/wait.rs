//! The `wait` step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Proposal, View};
use crate::domain::Span;

/// Wait, then look again: for a source or a cache that heals by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wait {
    /// How long, at most an hour.
    pub r#for: Span,
}

impl Wait {
    /// See [`super::StepKind::plan`].
    #[must_use]
    pub fn plan(&self, _: &View<'_>) -> Proposal {
        Proposal::Wait(self.r#for.min(Span::mins(60)))
    }
}
