//! The `wait` step: look again later.
//!
//! Knows: how long. Must not know: what it waits for.

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

/// The longest wait: an Incident that sleeps longer looks forgotten.
const LONGEST: Span = Span::mins(60);

impl Wait {
    /// See [`super::StepKind::plan`].
    #[must_use]
    pub fn plan(&self, _: &View<'_>) -> Proposal {
        Proposal::Wait(self.r#for.min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::tests::view;
    use serde_json::json;

    #[test]
    fn a_wait_is_cut_at_an_hour() {
        for (minutes, waited) in [(5, 5), (60, 60), (61, 60)] {
            let step = Wait { r#for: Span::mins(minutes) };
            assert_eq!(step.plan(&view(&json!({}), &[])), Proposal::Wait(Span::mins(waited)));
        }
    }
}
