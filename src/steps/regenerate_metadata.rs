//! The `regenerateMetadata` step: set values at given places.
//!
//! Knows: the texts of the spec and the variables that may stand in them. Only the last part of a
//! place may be missing: making up its parents would make up content.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::{Proposal, View};
use crate::domain::{Op, ValueFrom, patch::split_last};

/// Set values at given places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegenerateMetadata {
    /// JSON Pointers and the text to put there; `{{revision}}`, `{{now}}`, `{{contract}}` and
    /// `{{widget}}` are filled in. A place that holds a number or a bool gets one.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 512}))]
    pub set: BTreeMap<String, String>,
}

impl RegenerateMetadata {
    /// See [`super::StepKind::plan`].
    #[must_use]
    pub fn plan(&self, view: &View<'_>) -> Proposal {
        let mut ops = Vec::new();
        for (pointer, template) in &self.set {
            let text = match fill(template, view.variables) {
                Ok(text) => text,
                Err(unknown) => {
                    return Proposal::Nothing(format!(
                        "set {pointer:?}: {{{{{unknown}}}}} is not a variable"
                    ));
                }
            };
            let Some((parent, _)) = split_last(pointer) else {
                return Proposal::Nothing(format!(
                    "set {pointer:?} is not a JSON Pointer to a part"
                ));
            };
            match (view.document.pointer(pointer), view.document.pointer(parent)) {
                (Some(old), _) => {
                    let new = like(old, text);
                    if *old != new {
                        ops.push(Op::replace(pointer, new, ValueFrom::Spec));
                    }
                }
                (None, Some(Value::Object(_))) => {
                    ops.push(Op::add(pointer, Value::String(text), ValueFrom::Spec));
                }
                (None, _) => {
                    return Proposal::Nothing(format!("set {pointer:?}: its parent is no object"));
                }
            }
        }
        if ops.is_empty() {
            return Proposal::Nothing("every value is as it should be set".to_owned());
        }
        Proposal::Change(ops)
    }
}

/// `template` with its variables filled in, or the name of one that is not known.
fn fill(template: &str, variables: &[(&str, String)]) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or_else(|| after.to_owned())?;
        let value = variables.iter().find(|(known, _)| *known == name.trim());
        filled.push_str(before);
        filled.push_str(&value.ok_or_else(|| name.trim().to_owned())?.1);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// `text` as a value of the kind that `old` is, where it spells one.
fn like(old: &Value, text: String) -> Value {
    match old {
        Value::Number(_) => text.parse::<Number>().map_or(Value::String(text), Value::Number),
        Value::Bool(_) if text == "true" || text == "false" => Value::Bool(text == "true"),
        _ => Value::String(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::tests::view;
    use serde_json::json;

    fn plan(set: &[(&str, &str)], document: &Value) -> Proposal {
        let variables = [("revision", "7".to_owned()), ("widget", "teaser".to_owned())];
        let mut view = view(document, &[("/version", "metadata")]);
        view.variables = &variables;
        let set = set.iter().map(|(at, text)| ((*at).to_owned(), (*text).to_owned())).collect();
        RegenerateMetadata { set }.plan(&view)
    }

    #[test]
    fn values_are_set_from_variables_in_the_kind_that_the_place_has() {
        let document = json!({"version": 6, "meta": {}});
        let set = [("/version", "{{revision}}"), ("/meta/by", "{{ widget }}-{{revision}}")];
        let expected = vec![
            Op::add("/meta/by", json!("teaser-7"), ValueFrom::Spec),
            Op::replace("/version", json!(7), ValueFrom::Spec),
        ];
        assert_eq!(plan(&set, &document), Proposal::Change(expected));
        assert!(matches!(plan(&[("/version", "6")], &document), Proposal::Nothing(_)), "equal");
    }

    #[test]
    fn an_unknown_variable_or_a_missing_parent_is_named() {
        for (set, text) in [
            (("/version", "{{secret}}"), "{{secret}}"),
            (("/a/b", "x"), "/a/b"),
            (("", "x"), "not a JSON Pointer"),
        ] {
            match plan(&[set], &json!({"version": 6})) {
                Proposal::Nothing(why) => assert!(why.contains(text), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
