//! The `restoreRevision` step: take what is broken, or all, from a stored revision.
//!
//! Knows: revisions that pass today's rules. Must not know: how they are stored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Proposal, Scope, View, graft::graft};
use crate::domain::{Op, ValueFrom};

/// Take what is broken, or all, from a stored revision that passes today's rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreRevision {
    /// How much to take over. Default: Subtree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
}

impl RestoreRevision {
    /// See [`super::StepKind::plan`].
    #[must_use]
    pub fn plan(&self, view: &View<'_>) -> Proposal {
        if view.revisions.is_empty() {
            return Proposal::Nothing("no stored revision passes today's rules".to_owned());
        }
        let mut without_place = false;
        for revision in view.revisions {
            let from = ValueFrom::Revision(revision.number);
            let ops = match self.scope.unwrap_or_default() {
                Scope::Document if revision.value == *view.document => Some(Vec::new()),
                Scope::Document => Some(vec![Op::replace("", revision.value.clone(), from)]),
                Scope::Subtree => graft(view.document, &revision.value, view.failing, &from),
            };
            match ops {
                Some(ops) if !ops.is_empty() => return Proposal::Change(ops),
                Some(_) => {}
                None => without_place = true,
            }
        }
        Proposal::Nothing(if without_place {
            "a failing rule names no place, so no part can be restored; scope: Document would \
             restore the whole"
                .to_owned()
        } else {
            "the stored revisions are no different where the document fails".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Digest,
        steps::{Revision, tests::view},
    };
    use serde_json::json;

    #[test]
    fn the_newest_revision_that_differs_is_used() {
        let document = json!({"a": 1, "b": "new"});
        let revision = |number, a| {
            let value = json!({"a": a, "b": "old"});
            Revision { number, digest: Digest::of_value(&value), value }
        };
        let revisions = [revision(3, json!(1)), revision(2, json!("good"))];
        let mut view = view(&document, &[("/a", "type")]);
        view.revisions = &revisions;
        let expected = Op::replace("/a", json!("good"), ValueFrom::Revision(2));
        assert_eq!(RestoreRevision::default().plan(&view), Proposal::Change(vec![expected]));
        let whole = RestoreRevision { scope: Some(Scope::Document) };
        let expected = Op::replace("", revisions[0].value.clone(), ValueFrom::Revision(3));
        assert_eq!(whole.plan(&view), Proposal::Change(vec![expected]));
    }

    #[test]
    fn without_a_revision_there_is_nothing_to_offer() {
        let document = json!({});
        let view = view(&document, &[("/a", "required")]);
        assert!(matches!(RestoreRevision::default().plan(&view), Proposal::Nothing(_)));
    }
}
