//! The `restoreRevision` step: take what is broken, or all, from a stored revision.
//!
//! Scope Subtree takes the smallest failing parts, by the rules of the module `graft`, each from
//! the newest revision that has something else there. Scope Document takes the newest revision
//! whole.
//!
//! Knows: revisions that pass today's rules. Must not know: how they are stored and selected.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Proposal, Scope, View,
    graft::{self, Donor},
};
use crate::domain::ValueFrom;

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
        let revisions = view.revisions.iter().map(|revision| Donor {
            value: &revision.value,
            from: ValueFrom::Revision(revision.number),
        });
        let donors: Vec<Donor<'_>> = revisions.collect();
        match (donors.first(), self.scope.unwrap_or_default()) {
            (None, _) => Proposal::Nothing("no stored revision passes today's rules".to_owned()),
            (Some(newest), Scope::Document) => graft::whole(view, newest),
            (Some(_), Scope::Subtree) => graft::failing_parts(view, &donors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Digest, Op},
        steps::{Revision, tests::view},
    };
    use serde_json::{Value, json};

    fn revision(number: u32, value: Value) -> Revision {
        Revision { number, digest: Digest::of_value(&value), value }
    }

    #[test]
    fn the_newest_revision_that_has_something_else_is_used() {
        let document = json!({"a": 1, "b": "new"});
        let revisions =
            [revision(3, json!({"a": 1, "b": "old"})), revision(2, json!({"a": 2, "b": "older"}))];
        let mut view = view(&document, &[("/a", "maximum")]);
        view.revisions = &revisions;
        let op = Op::replace("/a", json!(2), ValueFrom::Revision(2));
        assert_eq!(RestoreRevision::default().plan(&view), Proposal::Change(vec![op]));
    }

    #[test]
    fn scope_document_takes_the_newest_revision_whole_and_only_once() {
        let document = json!({"a": 1, "b": "new"});
        let revisions = [revision(3, json!({"a": 2})), revision(2, json!({"a": 3}))];
        let mut view = view(&document, &[("", "cel")]);
        view.revisions = &revisions;
        let step = RestoreRevision { scope: Some(Scope::Document) };
        let op = Op::replace("", json!({"a": 2}), ValueFrom::Revision(3));
        assert_eq!(step.plan(&view), Proposal::Change(vec![op]));
        view.document = &revisions[0].value;
        assert!(matches!(step.plan(&view), Proposal::Nothing(why) if why.contains("revision 3")));
    }

    #[test]
    fn without_a_revision_there_is_nothing_to_restore() {
        let document = json!({});
        let proposal = RestoreRevision::default().plan(&view(&document, &[("/a", "required")]));
        let why = "no stored revision passes today's rules".to_owned();
        assert_eq!(proposal, Proposal::Nothing(why));
    }
}
