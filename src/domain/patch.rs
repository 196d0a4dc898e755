//! What a document step proposes: RFC 6902 operations, each with where its value comes from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Digest, difference::Changed, text};

/// The three operations that steps use, a subset of RFC 6902.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::AsRefStr,
    strum::Display,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum OpKind {
    /// Put a value where none is (or insert into an array).
    Add,
    /// Put another value where one is.
    Replace,
    /// Take a value away.
    Remove,
}

/// Where the value of an operation comes from, as the Incident shows it instead of the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueFrom {
    /// The schema: a default, an enum member, a bound.
    Schema,
    /// The stored revision of that number.
    Revision(u32),
    /// The system of record.
    Source,
    /// The policy or the contract (a fallback asset, a patch, a metadata value).
    Spec,
    /// The document itself (a renamed key, a coerced or shortened value).
    Document,
}

impl std::fmt::Display for ValueFrom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Schema => f.write_str("schema"),
            Self::Revision(number) => write!(f, "revision {number}"),
            Self::Source => f.write_str("source"),
            Self::Spec => f.write_str("spec"),
            Self::Document => f.write_str("document"),
        }
    }
}

/// One change to a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Add, replace or remove.
    pub kind: OpKind,
    /// JSON Pointer (RFC 6901).
    pub path: String,
    /// The new value; None exactly for [`OpKind::Remove`].
    pub value: Option<Value>,
    /// Where the value comes from; None exactly for [`OpKind::Remove`].
    pub from: Option<ValueFrom>,
}

/// An [`Op`] as status shows it: the place and the digest, never the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpSummary {
    /// The operation.
    pub op: OpKind,
    /// JSON Pointer of the place that changes.
    #[schemars(length(max = 512))]
    pub path: String,
    /// Digest of the new value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_digest: Option<Digest>,
    /// Where the new value comes from: `schema`, `revision 3`, `source`, `spec` or `document`.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<String>,
}

impl Op {
    /// Put `value` at `path`, where nothing is yet.
    #[must_use]
    pub fn add(path: impl Into<String>, value: Value, from: ValueFrom) -> Self {
        Self { kind: OpKind::Add, path: path.into(), value: Some(value), from: Some(from) }
    }

    /// Put `value` in the place of what is at `path`.
    #[must_use]
    pub fn replace(path: impl Into<String>, value: Value, from: ValueFrom) -> Self {
        Self { kind: OpKind::Replace, path: path.into(), value: Some(value), from: Some(from) }
    }

    /// Take away what is at `path`.
    #[must_use]
    pub fn remove(path: impl Into<String>) -> Self {
        Self { kind: OpKind::Remove, path: path.into(), value: None, from: None }
    }

    /// What may be shown of this operation.
    #[must_use]
    pub fn summary(&self) -> OpSummary {
        OpSummary {
            op: self.kind,
            path: text::bounded(&self.path, 512),
            value_digest: self.value.as_ref().map(Digest::of_value),
            value_from: self.from.as_ref().map(ToString::to_string),
        }
    }

    fn to_json(&self) -> Value {
        match &self.value {
            Some(value) => json!({"op": self.kind, "path": self.path, "value": value}),
            None => json!({"op": self.kind, "path": self.path}),
        }
    }
}

impl OpSummary {
    /// What may be shown of a computed difference.
    #[must_use]
    pub fn of(changed: &Changed<'_>) -> Self {
        Self {
            op: changed.op,
            path: text::bounded(&changed.path, 512),
            value_digest: changed.value.map(Digest::of_value),
            value_from: None,
        }
    }
}

/// The operations as a JSON Patch.
#[must_use]
pub fn rfc6902(ops: &[Op]) -> Value {
    ops.iter().map(Op::to_json).collect()
}

/// `document` after all `ops`, or the reason why one of them does not apply.
///
/// # Errors
/// Names the operation that does not fit the document; the document is then not changed at all.
pub fn apply(document: &Value, ops: &[Op]) -> Result<Value, String> {
    let patch: json_patch::Patch = serde_json::from_value(rfc6902(ops))
        .map_err(|error| format!("the patch is not well formed: {error}"))?;
    let mut changed = document.clone();
    json_patch::patch(&mut changed, &patch)
        .map_err(|error| format!("the patch does not fit the document at {}", error.path))?;
    Ok(changed)
}

/// `token` escaped for use in a JSON Pointer (RFC 6901, section 3).
#[must_use]
pub fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// A JSON Pointer's tokens, unescaped.
pub fn tokens(pointer: &str) -> impl Iterator<Item = String> + '_ {
    pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~"))
}

/// The pointer of the parent and the last token; None for the whole document.
#[must_use]
pub fn split_last(pointer: &str) -> Option<(&str, String)> {
    let (parent, last) = pointer.rsplit_once('/')?;
    Some((parent, last.replace("~1", "/").replace("~0", "~")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_applies_as_a_whole_or_not_at_all() {
        let document = json!({"a": 1});
        let good = [Op::add("/b", json!(2), ValueFrom::Schema), Op::remove("/a")];
        assert_eq!(apply(&document, &good).unwrap(), json!({"b": 2}));
        let bad = [Op::remove("/a"), Op::replace("/missing/x", json!(1), ValueFrom::Source)];
        assert!(apply(&document, &bad).unwrap_err().contains("/missing/x"));
    }

    #[test]
    fn a_summary_shows_where_a_value_comes_from_and_not_the_value() {
        let op = Op::add("/price", json!("secret-canary"), ValueFrom::Revision(3));
        let shown = serde_json::to_string(&op.summary()).unwrap();
        assert!(shown.contains("revision 3") && !shown.contains("canary"), "{shown}");
    }
}
