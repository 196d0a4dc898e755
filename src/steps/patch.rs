//! The `patch` step: apply a JSON Patch (RFC 6902) as the policy gives it.
//!
//! Knows: the operations of the spec. Must not know: the schema or what fails: whether the patch
//! heals anything is for the judges of the candidate to say.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Proposal, View, place};
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
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true, "nullable" = true))]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// A value that is written down: `value: null` is one, and not the lack of one.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Patch {
    /// See [`super::StepKind::plan`].
    #[must_use]
    pub fn plan(&self, view: &View<'_>) -> Proposal {
        if let Err(why) = self.validate() {
            return Proposal::Nothing(why);
        }
        let ops: Vec<Op> = self.ops.iter().map(PatchOp::to_op).collect();
        match apply(view.document, &ops) {
            Err(why) => Proposal::Nothing(why),
            Ok(patched) if patched == *view.document => {
                Proposal::Nothing("the patch changes nothing".to_owned())
            }
            Ok(_) => Proposal::Change(ops),
        }
    }

    /// Asks what the CRD's schema cannot express; the sentence names the operation and its field.
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.ops.is_empty() {
            return Err("patch.ops is empty; write at least one operation".to_owned());
        }
        self.ops
            .iter()
            .enumerate()
            .try_for_each(|(index, op)| op.validate(&format!("patch.ops[{index}]")))
    }
}

impl PatchOp {
    fn validate(&self, field: &str) -> Result<(), String> {
        place::check(&format!("{field}.path"), &self.path)?;
        match (self.op, &self.value) {
            (OpKind::Add | OpKind::Replace, None) => {
                Err(format!("{field} has no value; {} needs one", self.op))
            }
            (OpKind::Remove, Some(_)) => Err(format!("{field} has a value; remove takes none")),
            (OpKind::Remove, None) if self.path.is_empty() => {
                Err(format!("{field}.path is empty; the whole document cannot be removed"))
            }
            (OpKind::Add | OpKind::Replace, Some(_)) | (OpKind::Remove, None) => Ok(()),
        }
    }

    fn to_op(&self) -> Op {
        let from = self.value.as_ref().map(|_| ValueFrom::Spec);
        Op { kind: self.op, path: self.path.clone(), value: self.value.clone(), from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::tests::view;
    use serde_json::json;

    fn patch(ops: &Value) -> Patch {
        serde_json::from_value(json!({ "ops": ops })).unwrap()
    }

    #[test]
    fn operations_are_proposed_as_given() {
        let step = patch(&json!([
            {"op": "replace", "path": "/a", "value": null},
            {"op": "add", "path": "/list/-", "value": {"x": 1}},
            {"op": "remove", "path": "/b"},
        ]));
        let ops = vec![
            Op::replace("/a", json!(null), ValueFrom::Spec),
            Op::add("/list/-", json!({"x": 1}), ValueFrom::Spec),
            Op::remove("/b"),
        ];
        let document = json!({"a": 1, "b": 2, "list": []});
        assert_eq!(step.plan(&view(&document, &[])), Proposal::Change(ops));
    }

    #[test]
    fn an_operation_that_is_not_usable_is_named() {
        let good = json!({"op": "remove", "path": "/a"});
        let cases = [
            (json!([]), "patch.ops is empty"),
            (json!([good, {"op": "add", "path": "/b"}]), "patch.ops[1] has no value; add needs"),
            (json!([{"op": "replace", "path": "/b"}]), "patch.ops[0] has no value; replace needs"),
            (json!([{"op": "remove", "path": "/b", "value": 1}]), "patch.ops[0] has a value"),
            (json!([good, {"op": "remove", "path": "b"}]), "patch.ops[1].path holds \"b\""),
            (json!([{"op": "remove", "path": ""}]), "patch.ops[0].path is empty"),
        ];
        for (ops, why) in cases {
            let step = patch(&ops);
            assert!(step.validate().unwrap_err().starts_with(why), "{why}");
            let proposal = step.plan(&view(&json!({"a": 1}), &[]));
            assert!(matches!(proposal, Proposal::Nothing(said) if said.starts_with(why)), "{why}");
        }
    }

    #[test]
    fn a_patch_that_does_not_fit_or_changes_nothing_is_not_proposed() {
        let document = json!({"a": "canary", "b": [1]});
        let cases = [
            (json!([{"op": "replace", "path": "/c/x", "value": 1}]), "/c/x"),
            (json!([{"op": "remove", "path": "/b/1"}]), "/b/1"),
            (json!([{"op": "add", "path": "/a", "value": "canary"}]), "changes nothing"),
        ];
        for (ops, why) in cases {
            let proposal = patch(&ops).plan(&view(&document, &[]));
            let Proposal::Nothing(said) = proposal else { panic!("{why}") };
            assert!(said.contains(why) && !said.contains("canary"), "{said}");
        }
    }
}
