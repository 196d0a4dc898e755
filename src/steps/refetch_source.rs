//! The `refetchSource` step: take what is broken, or all, from the system of record.
//!
//! Scope Subtree takes the smallest failing parts, by the rules of the module `graft`. What the
//! source answered need not be right: the candidate is judged like every other.
//!
//! Knows: what the source answered. Must not know: how it was asked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Proposal, Scope, View,
    graft::{self, Donor},
};
use crate::domain::ValueFrom;

/// Take what is broken, or all, from the system of record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefetchSource {
    /// How much to take over. Default: Subtree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
}

impl RefetchSource {
    /// See [`super::StepKind::plan`].
    #[must_use]
    pub fn plan(&self, view: &View<'_>) -> Proposal {
        let Some(value) = view.source else {
            return Proposal::Nothing("the source was not asked or did not answer".to_owned());
        };
        let donor = Donor { value, from: ValueFrom::Source };
        match self.scope.unwrap_or_default() {
            Scope::Document => graft::whole(view, &donor),
            Scope::Subtree => graft::failing_parts(view, &[donor]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Op, steps::tests::view};
    use serde_json::json;

    #[test]
    fn the_source_gives_a_part_or_the_whole() {
        let document = json!({"a": "broken", "b": "new"});
        let source = json!({"a": 1, "b": "old"});
        let mut view = view(&document, &[("/a", "type")]);
        view.source = Some(&source);
        let part = Op::replace("/a", json!(1), ValueFrom::Source);
        assert_eq!(RefetchSource::default().plan(&view), Proposal::Change(vec![part]));
        let step = RefetchSource { scope: Some(Scope::Document) };
        let whole = Op::replace("", source.clone(), ValueFrom::Source);
        assert_eq!(step.plan(&view), Proposal::Change(vec![whole]));
        view.document = &source;
        assert!(matches!(step.plan(&view), Proposal::Nothing(_)));
    }

    #[test]
    fn without_an_answer_there_is_nothing_to_take() {
        let document = json!({"a": 1});
        for scope in [None, Some(Scope::Document)] {
            let proposal = RefetchSource { scope }.plan(&view(&document, &[("/a", "type")]));
            let why = "the source was not asked or did not answer".to_owned();
            assert_eq!(proposal, Proposal::Nothing(why));
        }
    }
}
