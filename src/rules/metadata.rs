//! The `metadata` rule: values that must be there, and values that must be so.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{Doubt, DoubtReason, Verdict, Violation};

/// Checks single places of the document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetadataRule {
    /// JSON Pointers (RFC 6901) that must hold something: not absent, not null, not "".
    #[schemars(length(max = 32), inner(length(max = 512), regex(pattern = "^(/.*)?$")))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// JSON Pointers and the scalar (text, number as text, `true`, `false`) that must be there.
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 512}))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expected: BTreeMap<String, String>,
}

impl MetadataRule {
    /// What the rule says of `document`. The expected value is the spec's and may be shown; the
    /// one that is there is the payload's and is not.
    #[must_use]
    pub fn check(&self, document: &Value) -> Verdict {
        let pointers = self.required.iter().chain(self.expected.keys());
        if let Some(bad) = pointers.clone().find(|p| !p.is_empty() && !p.starts_with('/')) {
            return Verdict::Unknown(Doubt::new(
                DoubtReason::RuleInvalid,
                &format!("metadata: {bad:?} is not a JSON Pointer; it has to start with \"/\""),
            ));
        }
        let missing = self.required.iter().filter(|pointer| is_empty(document.pointer(pointer)));
        let missing = missing.map(|pointer| {
            Violation::new(
                pointer,
                "metadata",
                &format!("{pointer:?} is required and holds nothing"),
            )
        });
        let different = self
            .expected
            .iter()
            .filter(|(pointer, wanted)| !holds(document.pointer(pointer), wanted))
            .map(|(pointer, wanted)| {
                Violation::new(pointer, "metadata", &format!("{pointer:?} should be {wanted:?}"))
            });
        Verdict::from_violations(missing.chain(different).collect())
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    }
}

fn holds(value: Option<&Value>, wanted: &str) -> bool {
    match value {
        Some(Value::String(text)) => text == wanted,
        // As text: comparing a number with a text as values would never hold.
        Some(Value::Number(number)) => number.to_string().as_str() == wanted,
        Some(Value::Bool(is)) => is.to_string().as_str() == wanted,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn paths(rule: &str, document: &Value) -> Vec<String> {
        let rule: MetadataRule = serde_saphyr::from_str(rule).unwrap();
        match rule.check(document) {
            Verdict::Pass => Vec::new(),
            Verdict::Fail(violations) => violations.into_iter().map(|v| v.path).collect(),
            Verdict::Unknown(doubt) => vec![doubt.message],
        }
    }

    #[test]
    fn a_required_place_holds_something() {
        let rule = "required: [/a, /b, /c, /d, /e]";
        let document = json!({"a": null, "b": "", "c": 0, "d": false});
        assert_eq!(paths(rule, &document), ["/a", "/b", "/e"]);
    }

    #[test]
    fn an_expected_scalar_is_compared_as_text_and_the_payload_is_not_shown() {
        let rule = "expected: {/locale: en-GB, /version: '2', /live: 'true'}";
        assert!(paths(rule, &json!({"locale": "en-GB", "version": 2, "live": true})).is_empty());
        let rule: MetadataRule = serde_saphyr::from_str("expected: {/locale: en-GB}").unwrap();
        let Verdict::Fail(violations) = rule.check(&json!({"locale": "canary"})) else { panic!() };
        assert!(violations[0].message.contains("en-GB"));
        assert!(!violations[0].message.contains("canary"));
    }

    #[test]
    fn a_place_that_is_no_pointer_is_the_rules_fault() {
        assert!(
            paths("required: [locale]", &json!({}))[0].contains("\"locale\" is not a JSON Pointer")
        );
    }
}
