//! The `refetchSource` step: take what is broken, or all, from the system of record.
//!
//! Knows: what the source answered. Must not know: how it was asked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Proposal, Scope, View, graft::graft};
use crate::domain::{Op, ValueFrom};

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
        let Some(source) = view.source else {
            return Proposal::Nothing("the source was not asked or did not answer".to_owned());
        };
        let ops = match self.scope.unwrap_or_default() {
            Scope::Document if source == view.document => Some(Vec::new()),
            Scope::Document => Some(vec![Op::replace("", source.clone(), ValueFrom::Source)]),
            Scope::Subtree => graft(view.document, source, view.failing, &ValueFrom::Source),
        };
        match ops {
            Some(ops) if !ops.is_empty() => Proposal::Change(ops),
            Some(_) => Proposal::Nothing(
                "the source's document is no different where the document fails".to_owned(),
            ),
            None => Proposal::Nothing(
                "a failing rule names no place, so no part can be taken; scope: Document would \
                 take the whole"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::tests::view;
    use serde_json::json;

    #[test]
    fn what_fails_is_taken_from_the_source() {
        let document = json!({"title": "edited"});
        let source = json!({"title": "theirs", "price": 3});
        let mut view = view(&document, &[("/price", "required")]);
        assert!(matches!(RefetchSource::default().plan(&view), Proposal::Nothing(_)));
        view.source = Some(&source);
        let expected = Op::add("/price", json!(3), ValueFrom::Source);
        assert_eq!(RefetchSource::default().plan(&view), Proposal::Change(vec![expected]));
    }
}
