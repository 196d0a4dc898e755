//! The `regenerateMetadata` step: set values at given places.
//!
//! Only the last part of a place may be missing: making up what is around it would make up
//! content. A value is a text, unless a number or a bool belongs there and the text spells one:
//! what belongs there is said by the schema, or else by what is there now. A list or an object is
//! never overwritten.
//!
//! Knows: the texts of the spec, the values for what stands in `{{}}`, the document, the schema.
//! Must not know: where those values come from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Proposal, View, draft::Draft, place, spelling, subschema::Schema};
use crate::domain::ValueFrom;

/// Set values at given places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegenerateMetadata {
    /// JSON Pointers and the text to put there; `{{revision}}`, `{{now}}`, `{{contract}}` and
    /// `{{widget}}` are filled in. A place that holds a number or a bool gets one.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 512}))]
    pub set: BTreeMap<String, String>,
}

/// What may stand in `{{}}`.
const VARIABLES: [&str; 4] = ["revision", "now", "contract", "widget"];

impl RegenerateMetadata {
    /// See [`super::StepKind::plan`].
    #[must_use]
    pub fn plan(&self, view: &View<'_>) -> Proposal {
        let value_of = |name: &str| {
            let known = view.variables.iter().find(|(known, _)| *known == name);
            known.map(|(_, value)| value.as_str())
        };
        let entry = |(at, text): (&String, &String)| {
            check_place(at)?;
            Ok((at.clone(), fill(at, text, value_of)?))
        };
        let filled: Result<Vec<(String, String)>, String> = self.set.iter().map(entry).collect();
        let filled = match filled {
            Ok(filled) => filled,
            Err(why) => return Proposal::Nothing(why),
        };
        let mut draft = Draft::of(view.document);
        let mut left = Vec::new();
        for (at, text) in filled {
            if has_place(draft.value(), &at) {
                let value = value_of_kind(kind_wanted(view.schema, draft.value(), &at), text);
                draft.put(&at, &value, ValueFrom::Spec);
            } else {
                left.push(at);
            }
        }
        draft.propose(|| match left.as_slice() {
            [] => "every value is already as regenerateMetadata.set has it".to_owned(),
            _ => format!(
                "regenerateMetadata.set has no place for a value at {}: what is around it is \
                 missing, or a list or an object is there",
                place::listed(&left)
            ),
        })
    }

    /// Is there a text in it whose value is another each time?
    pub(super) fn varies(&self) -> bool {
        let lasting = |name: &str| (!["revision", "now"].contains(&name)).then_some("");
        self.set.iter().any(|(at, text)| fill(at, text, lasting).is_err())
    }

    /// Asks what the CRD's schema cannot express; what stands in `{{}}` gets its value later.
    pub(super) fn validate(&self) -> Result<(), String> {
        let value_of = |name: &str| VARIABLES.contains(&name).then_some("");
        self.set.iter().try_for_each(|(at, text)| {
            check_place(at)?;
            fill(at, text, value_of).map(drop)
        })
    }
}

fn check_place(at: &str) -> Result<(), String> {
    if at.is_empty() {
        let why = "regenerateMetadata.set holds \"\", the whole document; name a place in it, such \
                   as /version";
        return Err(why.to_owned());
    }
    place::check("regenerateMetadata.set", at)
}

/// Can a single value stand at `at`?
fn has_place(document: &Value, at: &str) -> bool {
    let is_object = |around: &str| document.pointer(around).is_some_and(Value::is_object);
    match (document.pointer(at), place::above(at).next()) {
        (Some(there), _) => !there.is_object() && !there.is_array(),
        (None, around) => around.is_some_and(is_object),
    }
}

/// The kinds of a single value, as far as a text can spell them.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    Bool,
}

/// The kind of value that belongs at `at`: the schema's, where it leaves no choice, else that of
/// what is there.
fn kind_wanted(schema: Option<&Value>, document: &Value, at: &str) -> Kind {
    let schema = schema.map(Schema::of);
    let says = schema.as_ref().map(|schema| schema.at(document, at));
    // Whoever allows any number allows a whole one.
    let allowed = ["string", "integer", "boolean"]
        .map(|name| says.as_ref().is_none_or(|says| says.allows_type(name)));
    match allowed {
        [true, false, false] => Kind::Text,
        [false, true, false] => Kind::Number,
        [false, false, true] => Kind::Bool,
        _ => match document.pointer(at) {
            Some(Value::Number(_)) => Kind::Number,
            Some(Value::Bool(_)) => Kind::Bool,
            _ => Kind::Text,
        },
    }
}

/// What `text` spells as a value of that kind, or the text itself.
fn value_of_kind(kind: Kind, text: String) -> Value {
    let spelt = match kind {
        Kind::Text => None,
        Kind::Number => spelling::number(&text).map(Value::Number),
        Kind::Bool => spelling::boolean(&text).map(Value::Bool),
    };
    spelt.unwrap_or(Value::String(text))
}

/// `template` with what stands in `{{}}` filled in.
fn fill<'a>(
    at: &str,
    template: &str,
    value_of: impl Fn(&str) -> Option<&'a str>,
) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or_else(|| {
            format!("regenerateMetadata.set[{at:?}] has {{{{ without }}}}; write {{{{revision}}}}")
        })?;
        let value = value_of(name.trim()).ok_or_else(|| {
            format!(
                "regenerateMetadata.set[{at:?}] has {{{{{}}}}}, which has no value; there are {}",
                name.trim(),
                VARIABLES.join(", ")
            )
        })?;
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::tests::view;
    use serde_json::json;

    fn step(set: &[(&str, &str)]) -> RegenerateMetadata {
        let set = set.iter().map(|(at, text)| ((*at).to_owned(), (*text).to_owned())).collect();
        RegenerateMetadata { set }
    }

    fn set(document: &Value, schema: Option<&Value>, entries: &[(&str, &str)]) -> Proposal {
        let variables = [("revision", "12".to_owned()), ("widget", "{{widget}}".to_owned())];
        let mut view = view(document, &[]);
        view.schema = schema;
        view.variables = &variables;
        step(entries).plan(&view)
    }

    #[test]
    fn a_value_has_the_type_that_belongs_there() {
        let schema = json!({"properties": {
            "count": {"type": "integer"}, "ratio": {"type": ["number", "null"]},
            "flag": {"type": "boolean"}, "text": {"type": "string"},
            "either": {"type": ["string", "integer"]}
        }});
        let document = json!({"text": 1, "either": 1, "number": 1.5, "yes": true, "word": "x"});
        let cases = [
            ("/count", "{{revision}}", json!(12)),
            ("/count", "v{{revision}}", json!("v12")),
            ("/ratio", "1.5", json!(1.5)),
            ("/flag", "true", json!(true)),
            ("/flag", "yes", json!("yes")),
            ("/text", "{{revision}}", json!("12")),
            ("/either", "{{revision}}", json!(12)),
            ("/number", "{{revision}}", json!(12)),
            ("/number", "012", json!("012")),
            ("/yes", "false", json!(false)),
            ("/word", "{{ revision }}", json!("12")),
            // What is filled in is not filled again.
            ("/new", "{{revision}}-{{widget}}", json!("12-{{widget}}")),
        ];
        for (at, text, expected) in cases {
            let proposal = set(&document, Some(&schema), &[(at, text)]);
            let Proposal::Change(ops) = proposal else { panic!("{at}") };
            assert_eq!(ops[0].value, Some(expected), "{at} {text}");
            assert_eq!(ops[0].from, Some(ValueFrom::Spec));
        }
    }

    #[test]
    fn an_unknown_variable_or_an_open_brace_is_named_and_nothing_is_set() {
        for (text, why) in [("{{revison}}", "{{revison}}"), ("{{revision", "without }}")] {
            let entries = [("/a", "fine"), ("/b", text)];
            let Proposal::Nothing(said) = set(&json!({}), None, &entries) else { panic!() };
            assert!(said.contains(why) && said.contains("/b"), "{said}");
        }
        let proposal = set(&json!({}), None, &[("/b", "{{now}}")]);
        assert!(matches!(proposal, Proposal::Nothing(said) if said.contains("{{now}}")));
    }

    #[test]
    fn only_the_last_part_of_a_place_may_be_missing() {
        let document = json!({"meta": {}, "list": [1], "text": "canary"});
        let proposal = set(&document, None, &[("/meta/version", "1"), ("/none/version", "1")]);
        let Proposal::Change(ops) = proposal else { panic!() };
        assert_eq!(ops.iter().map(|op| op.path.as_str()).collect::<Vec<_>>(), ["/meta/version"]);
        for at in ["/none/version", "/list/1", "/list/-", "/text/x", "/meta", "/list"] {
            let proposal = set(&document, None, &[(at, "1")]);
            let Proposal::Nothing(said) = proposal else { panic!("{at}") };
            assert!(said.contains(at) && !said.contains("canary"), "{said}");
        }
    }

    #[test]
    fn a_value_that_is_right_is_not_set_again() {
        let document = json!({"version": 12, "name": "12"});
        let entries = [("/version", "{{revision}}"), ("/name", "{{revision}}")];
        assert!(matches!(set(&document, None, &entries), Proposal::Nothing(_)));
    }

    #[test]
    fn a_place_that_cannot_be_set_is_refused() {
        for (at, why) in [("version", "JSON Pointer"), ("", "whole document")] {
            let Proposal::Nothing(said) = set(&json!({}), None, &[(at, "1")]) else { panic!() };
            assert!(said.contains(why), "{said}");
        }
    }
}
