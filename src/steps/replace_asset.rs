//! The `replaceAsset` step: put another URL in the place of one that points at nothing.
//!
//! Knows: which places fail, and which URLs may stand there instead. Whether those are any better
//! is not decided here: the candidate is judged like every other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Proposal, View};
use crate::domain::{Op, ValueFrom, Violation};

/// Put another URL in the place of one that points at nothing: the one given here, else the
/// contract's fallback, else what was there in the newest good revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplaceAsset {
    /// The URL to put in.
    #[schemars(length(max = 2048))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl ReplaceAsset {
    /// See [`super::StepKind::plan`].
    #[must_use]
    pub fn plan(&self, view: &View<'_>) -> Proposal {
        let mut ops: Vec<Op> = Vec::new();
        for failing in view.failing {
            let assets = failing.violations.iter().filter(|violation| violation.keyword == "asset");
            for violation in assets {
                if ops.iter().any(|op| op.path == violation.path) {
                    continue;
                }
                if let Some((text, from)) = self.instead_of(view, &failing.rule, violation) {
                    ops.push(Op::replace(&violation.path, Value::String(text), from));
                }
            }
        }
        if ops.is_empty() {
            return Proposal::Nothing(
                "no other URL is known for what fails: give replaceAsset.url, fallbackAssets in \
                 the contract, or wait for a revision that has one"
                    .to_owned(),
            );
        }
        Proposal::Change(ops)
    }

    fn instead_of(
        &self,
        view: &View<'_>,
        rule: &str,
        violation: &Violation,
    ) -> Option<(String, ValueFrom)> {
        let dead = view.document.pointer(&violation.path)?.as_str()?;
        let fallback = |wanted: Option<&str>| {
            view.fallbacks.iter().find(|f| f.rule.as_deref() == wanted).map(|f| f.url.clone())
        };
        let named = self.url.clone().or_else(|| fallback(Some(rule))).or_else(|| fallback(None));
        if let Some(url) = named.filter(|url| url != dead) {
            return Some((url, ValueFrom::Spec));
        }
        view.revisions.iter().find_map(|revision| {
            let before = revision.value.pointer(&violation.path)?.as_str()?;
            (before != dead).then(|| (before.to_owned(), ValueFrom::Revision(revision.number)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Digest,
        steps::{Fallback, Revision, tests::view},
    };
    use serde_json::json;

    #[test]
    fn the_steps_url_wins_over_fallbacks_and_those_over_history() {
        let document = json!({"hero": "https://cdn.example.com/dead.png"});
        let value = json!({"hero": "https://cdn.example.com/old.png"});
        let revisions = [Revision { number: 4, digest: Digest::of_value(&value), value }];
        let fallbacks = [
            Fallback { rule: None, url: "https://cdn.example.com/any.png".to_owned() },
            Fallback {
                rule: Some("schema".to_owned()),
                url: "https://cdn.example.com/own.png".to_owned(),
            },
        ];
        let mut view = view(&document, &[("/hero", "asset")]);
        view.revisions = &revisions;
        let replaced = |step: &ReplaceAsset, view: &View<'_>| match step.plan(view) {
            Proposal::Change(ops) => ops[0].value.clone().unwrap(),
            other => panic!("{other:?}"),
        };
        let plain = ReplaceAsset::default();
        assert_eq!(replaced(&plain, &view), json!("https://cdn.example.com/old.png"));
        view.fallbacks = &fallbacks[..1];
        assert_eq!(replaced(&plain, &view), json!("https://cdn.example.com/any.png"));
        view.fallbacks = &fallbacks;
        assert_eq!(replaced(&plain, &view), json!("https://cdn.example.com/own.png"));
        let named = ReplaceAsset { url: Some("https://cdn.example.com/named.png".to_owned()) };
        assert_eq!(replaced(&named, &view), json!("https://cdn.example.com/named.png"));
    }

    #[test]
    fn a_dead_url_is_never_replaced_by_itself() {
        let dead = "https://cdn.example.com/dead.png";
        let document = json!({"hero": dead});
        let view = view(&document, &[("/hero", "asset")]);
        let same = ReplaceAsset { url: Some(dead.to_owned()) };
        assert!(matches!(same.plan(&view), Proposal::Nothing(_)));
    }
}
