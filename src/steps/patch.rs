//! The `patch` step: apply a JSON Patch (RFC 6902) as the policy gives it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Proposal, View};
use crate::domain::{Op, OpKind, ValueFrom, patch::apply};

/// Apply a JSON Patch (RFC 6902): `add`, `replace` and `remove`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// The operations, in order.
    #[schemars(length(min = 1, max = 32))]
    pub ops: Vec<PatchOp>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PatchOp {
    /// What to do.
    pub op: OpKind,
    /// JSON Pointer (RFC 6901) of the place.
    #[schemars(length(min = 1, max = 512), regex(pattern = "^/"))]
    pub path: String,
    /// The new value: any JSON, for `add` and `replace`.
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

impl Patch {
    /// See [`super::StepKind::plan`].
    #[must_use]
    pub fn plan(&self, view: &View<'_>) -> Proposal {
        let mut ops = Vec::with_capacity(self.ops.len());
        for (index, op) in self.ops.iter().enumerate() {
            ops.push(match (op.op, &op.value) {
                (OpKind::Add, Some(value)) => Op::add(&op.path, value.clone(), ValueFrom::Spec),
                (OpKind::Replace, Some(value)) => {
                    Op::replace(&op.path, value.clone(), ValueFrom::Spec)
                }
                (OpKind::Remove, _) => Op::remove(&op.path),
                (kind, None) => {
                    return Proposal::Nothing(format!("ops[{index}]: {kind} needs a value"));
                }
            });
        }
        match apply(view.document, &ops) {
            Ok(changed) if changed == *view.document => {
                Proposal::Nothing("the patch changes nothing".to_owned())
            }
            Ok(_) => Proposal::Change(ops),
            Err(why) => Proposal::Nothing(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::tests::view;
    use serde_json::json;

    fn plan(patch: &str, document: &Value) -> Proposal {
        let patch: Patch = serde_saphyr::from_str(patch).unwrap();
        patch.plan(&view(document, &[("/a", "type")]))
    }

    #[test]
    fn a_patch_that_fits_is_proposed_and_one_that_does_not_says_why() {
        let document = json!({"a": 1});
        let expected = vec![Op::replace("/a", json!({"b": [2]}), ValueFrom::Spec)];
        assert_eq!(
            plan("ops: [{op: replace, path: /a, value: {b: [2]}}]", &document),
            Proposal::Change(expected)
        );
        for (patch, text) in [
            ("ops: [{op: add, path: /x}]", "ops[0]: add needs a value"),
            ("ops: [{op: remove, path: /x}]", "does not fit"),
            ("ops: [{op: replace, path: /a, value: 1}]", "changes nothing"),
        ] {
            match plan(patch, &document) {
                Proposal::Nothing(why) => assert!(why.contains(text), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
