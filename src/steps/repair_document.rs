//! The `repairDocument` step: repair the document by what its schema says, deterministically.
//!
//! Knows: the schema and the violations. Must not know: any other document. It never makes up
//! content: every value comes from the schema or from the document itself, and a required key
//! without a default stays missing.
//!
//! For one violation the first repair that is allowed and fits is taken, in this order: `Rename`,
//! `Coerce`, `NearestEnum`, `Clamp`, `Truncate`, `DropUnknown`, `SetDefault`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::{Proposal, View, subschema};
use crate::domain::{
    Op, OpKind, ValueFrom, Violation,
    patch::{apply, escape, split_last},
};

/// Repair the document by what its schema says, deterministically.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepairDocument {
    /// Which repairs are allowed. Default: `SetDefault` and Coerce; those that lose data must be
    /// named.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Repair>,
}

/// One way to make a value fit its schema.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::Display,
)]
pub enum Repair {
    /// Put the schema's `default` where a required value is missing or the value fails.
    SetDefault,
    /// Take away a key that the schema does not know. Loses data.
    DropUnknown,
    /// Rename an unknown key to the missing required one that it nearly spells.
    Rename,
    /// Turn text into the number or bool it spells, or back, where the schema wants that type.
    Coerce,
    /// Put the nearest member of the schema's `enum`. Loses data.
    NearestEnum,
    /// Put the bound that a number crosses. Loses data.
    Clamp,
    /// Shorten a text or a list to the schema's maximum. Loses data.
    Truncate,
}

/// How many characters two spellings of one word may differ in: one for each four, at most two.
const MOST_TYPOS: usize = 2;

impl RepairDocument {
    /// See [`super::StepKind::plan`].
    #[must_use]
    pub fn plan(&self, view: &View<'_>) -> Proposal {
        let Some(schema) = view.schema else {
            return Proposal::Nothing("there is no schema to repair by".to_owned());
        };
        let violations: Vec<&Violation> = view.failing.iter().flat_map(|f| &f.violations).collect();
        let mut ops: Vec<Op> = Vec::new();
        let mut left = Vec::new();
        for violation in &violations {
            // A rename settles two violations: the key that is missing and the one unknown.
            if ops.iter().any(|op| op.path == violation.path) {
                continue;
            }
            match self.repair(schema, view.document, violation, &violations) {
                Some(repair) => ops.extend(repair),
                None => left.push(format!("{} ({})", violation.path, violation.keyword)),
            }
        }
        remove_last(&mut ops);
        if ops.is_empty() || apply(view.document, &ops).is_err() {
            return Proposal::Nothing(format!("no allowed repair fits: {}", left.join(", ")));
        }
        Proposal::Change(ops)
    }

    fn repair(
        &self,
        schema: &Value,
        document: &Value,
        violation: &Violation,
        all: &[&Violation],
    ) -> Option<Vec<Op>> {
        let parts = subschema::at(schema, document, &violation.path);
        let value = document.pointer(&violation.path);
        let keyword = violation.keyword.as_str();
        let replace =
            |value: Value, from: ValueFrom| vec![Op::replace(&violation.path, value, from)];
        let allowed = |repair: Repair| self.allows(repair);
        let unknown_key = matches!(keyword, "additionalProperties" | "unevaluatedProperties");

        if allowed(Repair::Rename)
            && (keyword == "required" || unknown_key)
            && let Some(ops) = rename(document, violation, all)
        {
            return Some(ops);
        }
        if let (true, "type", Some(value)) = (allowed(Repair::Coerce), keyword, value)
            && let Some(coerced) = coerce(value, subschema::keyword(&parts, "type")?)
        {
            return Some(replace(coerced, ValueFrom::Document));
        }
        if let (true, "enum", Some(Value::String(text))) =
            (allowed(Repair::NearestEnum), keyword, value)
            && let Some(member) = nearest(text, subschema::keyword(&parts, "enum")?)
        {
            return Some(replace(member, ValueFrom::Schema));
        }
        if let (true, Some(Value::Number(number))) = (allowed(Repair::Clamp), value)
            && let Some(bound) = clamp(number, keyword, &parts)
        {
            return Some(replace(bound, ValueFrom::Schema));
        }
        if let (true, Some(value)) = (allowed(Repair::Truncate), value)
            && let Some(shorter) = truncate(value, keyword, &parts)
        {
            return Some(replace(shorter, ValueFrom::Document));
        }
        if unknown_key && allowed(Repair::DropUnknown) && value.is_some() {
            return Some(vec![Op::remove(&violation.path)]);
        }
        if allowed(Repair::SetDefault) && !unknown_key {
            let default = subschema::keyword(&parts, "default")?.clone();
            return match value {
                Some(value) if *value == default => None,
                Some(_) => Some(replace(default, ValueFrom::Schema)),
                None => Some(vec![Op::add(&violation.path, default, ValueFrom::Schema)]),
            };
        }
        None
    }

    fn allows(&self, repair: Repair) -> bool {
        if self.allow.is_empty() {
            matches!(repair, Repair::SetDefault | Repair::Coerce)
        } else {
            self.allow.contains(&repair)
        }
    }
}

/// The rename of an unknown key to a missing one of the same object, when each is the only one
/// that the other nearly spells.
fn rename(document: &Value, violation: &Violation, all: &[&Violation]) -> Option<Vec<Op>> {
    let (parent, name) = split_last(&violation.path)?;
    let object = document.pointer(parent)?.as_object()?;
    let siblings = |keywords: &[&str]| -> Vec<String> {
        all.iter()
            .filter(|other| keywords.contains(&other.keyword.as_str()))
            .filter_map(|other| split_last(&other.path))
            .filter(|(other_parent, _)| *other_parent == parent)
            .map(|(_, other_name)| other_name)
            .collect()
    };
    let missing = siblings(&["required"]);
    let unknown = siblings(&["additionalProperties", "unevaluatedProperties"]);
    let (from, to) = if missing.contains(&name) {
        (only_near(&name, &unknown)?, name)
    } else {
        let to = only_near(&name, &missing)?;
        (name, to)
    };
    // Both ways, so that two unknown keys never compete for one missing one.
    if only_near(&to, &unknown)? != from || only_near(&from, &missing)? != to {
        return None;
    }
    let value = object.get(&from)?.clone();
    Some(vec![
        Op::add(format!("{parent}/{}", escape(&to)), value, ValueFrom::Document),
        Op::remove(format!("{parent}/{}", escape(&from))),
    ])
}

fn only_near(word: &str, others: &[String]) -> Option<String> {
    let mut near = others.iter().filter(|other| nearly_spells(word, other));
    match (near.next(), near.next()) {
        (Some(one), None) => Some(one.clone()),
        _ => None,
    }
}

/// The same letters but for case, `_`, `-` and a typo or two.
fn nearly_spells(a: &str, b: &str) -> bool {
    let plain = |word: &str| -> String {
        word.chars()
            .filter(|c| !matches!(c, '_' | '-' | ' '))
            .flat_map(char::to_lowercase)
            .collect()
    };
    let (a, b) = (plain(a), plain(b));
    let typos = (a.chars().count().min(b.chars().count()) / 4).min(MOST_TYPOS);
    !a.is_empty() && strsim::osa_distance(&a, &b) <= typos
}

/// `value` as the wanted type, when nothing is lost: it prints as it did.
fn coerce(value: &Value, wanted: &Value) -> Option<Value> {
    let wants = |name: &str| match wanted {
        Value::String(one) => one == name,
        Value::Array(several) => several.iter().any(|one| one == name),
        _ => false,
    };
    match value {
        Value::String(text) => {
            let number =
                || text.parse::<Number>().ok().filter(|number| number.to_string() == *text);
            if wants("boolean") && (text == "true" || text == "false") {
                return Some(Value::Bool(text == "true"));
            }
            if wants("integer") || wants("number") {
                let number = number()?;
                return (wants("number") || number.is_i64() || number.is_u64())
                    .then(|| number.into());
            }
            None
        }
        Value::Number(number) if wants("integer") => {
            let whole = number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15)?;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "whole and within what a double holds exactly"
            )]
            let whole = whole as i64;
            Some(whole.into())
        }
        Value::Number(_) | Value::Bool(_) if wants("string") => Some(value.to_string().into()),
        _ => None,
    }
}

/// The one member of the `enum` that `text` nearly spells.
fn nearest(text: &str, members: &Value) -> Option<Value> {
    let names: Vec<String> =
        members.as_array()?.iter().filter_map(|m| m.as_str().map(str::to_owned)).collect();
    only_near(text, &names).map(Value::String)
}

/// The bound that `number` crosses.
fn clamp(number: &Number, keyword: &str, parts: &[&Value]) -> Option<Value> {
    let bound = || subschema::keyword(parts, keyword);
    let whole = subschema::keyword(parts, "type").is_some_and(|type_| type_ == "integer");
    match keyword {
        "minimum" | "maximum" => bound().filter(|bound| bound.is_number()).cloned(),
        // The nearest number inside is known for whole numbers only.
        "exclusiveMinimum" if whole || number.is_i64() => {
            Some((bound()?.as_i64()?.checked_add(1)?).into())
        }
        "exclusiveMaximum" if whole || number.is_i64() => {
            Some((bound()?.as_i64()?.checked_sub(1)?).into())
        }
        _ => None,
    }
}

/// `value` cut to the maximum that it passes: a text by characters, a list from its end.
fn truncate(value: &Value, keyword: &str, parts: &[&Value]) -> Option<Value> {
    let maximum = || usize::try_from(subschema::keyword(parts, keyword)?.as_u64()?).ok();
    match (keyword, value) {
        ("maxLength", Value::String(text)) => {
            Some(text.chars().take(maximum()?).collect::<String>().into())
        }
        ("maxItems", Value::Array(items)) => {
            Some(items.iter().take(maximum()?).cloned().collect::<Vec<_>>().into())
        }
        _ => None,
    }
}

/// Removals last and from the end, so that no index shifts under another operation.
fn remove_last(ops: &mut [Op]) {
    ops.sort_by(|a, b| {
        let removes = |op: &Op| op.kind == OpKind::Remove;
        removes(a)
            .cmp(&removes(b))
            .then_with(|| if removes(a) { b.path.cmp(&a.path) } else { std::cmp::Ordering::Equal })
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Verdict, rules::schema, steps::tests::view_of};
    use serde_json::json;

    /// The document after the step, judged by the real schema before and after.
    fn repaired(allow: &[Repair], schema: &Value, document: &Value) -> Result<Value, String> {
        let Verdict::Fail(violations) = schema::compile(schema).unwrap().check(document) else {
            panic!("{document} passes");
        };
        let mut view = view_of(document, violations);
        view.schema = Some(schema);
        match (RepairDocument { allow: allow.to_vec() }).plan(&view) {
            Proposal::Change(ops) => Ok(apply(document, &ops).unwrap()),
            Proposal::Nothing(why) => Err(why),
            Proposal::Wait(_) => panic!("a repair does not wait"),
        }
    }

    #[test]
    fn each_repair_does_what_its_name_says() {
        let cases: Vec<(Repair, Value, Value, Value)> = vec![
            (
                Repair::SetDefault,
                json!({"required": ["n"], "properties": {"n": {"default": 3}}}),
                json!({}),
                json!({"n": 3}),
            ),
            (
                Repair::SetDefault,
                json!({"properties": {"n": {"type": "integer", "default": 3}}}),
                json!({"n": "x"}),
                json!({"n": 3}),
            ),
            (
                Repair::DropUnknown,
                json!({"additionalProperties": false, "properties": {"a": {}}}),
                json!({"a": 1, "b": 2}),
                json!({"a": 1}),
            ),
            (
                Repair::Rename,
                json!({"required": ["postcode"], "properties": {"postcode": {}}, "additionalProperties": false}),
                json!({"post_code": 1}),
                json!({"postcode": 1}),
            ),
            (
                Repair::Coerce,
                json!({"properties": {"n": {"type": "integer"}}}),
                json!({"n": "12"}),
                json!({"n": 12}),
            ),
            (
                Repair::Coerce,
                json!({"properties": {"n": {"type": "string"}}}),
                json!({"n": 12}),
                json!({"n": "12"}),
            ),
            (
                Repair::Coerce,
                json!({"properties": {"n": {"type": "boolean"}}}),
                json!({"n": "true"}),
                json!({"n": true}),
            ),
            (
                Repair::NearestEnum,
                json!({"properties": {"c": {"enum": ["primary", "danger"]}}}),
                json!({"c": "Primry"}),
                json!({"c": "primary"}),
            ),
            (
                Repair::Clamp,
                json!({"properties": {"n": {"maximum": 5}}}),
                json!({"n": 9}),
                json!({"n": 5}),
            ),
            (
                Repair::Clamp,
                json!({"properties": {"n": {"type": "integer", "exclusiveMinimum": 0}}}),
                json!({"n": 0}),
                json!({"n": 1}),
            ),
            (
                Repair::Truncate,
                json!({"properties": {"t": {"maxLength": 3}}}),
                json!({"t": "äöüß"}),
                json!({"t": "äöü"}),
            ),
            (
                Repair::Truncate,
                json!({"properties": {"l": {"maxItems": 1}}}),
                json!({"l": [1, 2]}),
                json!({"l": [1]}),
            ),
        ];
        for (repair, schema, document, expected) in cases {
            assert_eq!(
                repaired(&[repair], &schema, &document),
                Ok(expected),
                "{repair} {document}"
            );
        }
    }

    #[test]
    fn what_loses_data_is_done_only_when_named() {
        let schema = json!({"additionalProperties": false, "properties": {"t": {"maxLength": 1}, "n": {"maximum": 1}}});
        for document in [json!({"t": "long"}), json!({"n": 2}), json!({"x": 1})] {
            assert!(repaired(&[], &schema, &document).is_err(), "{document}");
        }
    }

    #[test]
    fn what_is_not_certain_is_not_done() {
        let schema = json!({"required": ["title"], "additionalProperties": false, "properties": {"title": {}, "n": {"type": "integer"}, "c": {"enum": ["left", "lift"]}}});
        for (repair, document) in [
            (Repair::SetDefault, json!({})),
            (Repair::Rename, json!({"titel": 1, "titl": 2})),
            (Repair::Rename, json!({"headline": 1})),
            (Repair::Coerce, json!({"title": 1, "n": "012"})),
            (Repair::Coerce, json!({"title": 1, "n": "twelve"})),
            (Repair::NearestEnum, json!({"title": 1, "c": "lft"})),
        ] {
            assert!(repaired(&[repair], &schema, &document).is_err(), "{repair} {document}");
        }
    }

    #[test]
    fn the_sentence_names_places_and_no_values() {
        let schema = json!({"properties": {"n": {"type": "integer"}}});
        let why = repaired(&[], &schema, &json!({"n": "canary"})).unwrap_err();
        assert!(why.contains("/n (type)") && !why.contains("canary"), "{why}");
    }

    #[test]
    fn several_violations_are_repaired_together_and_all_else_is_left() {
        let schema = json!({"required": ["a"], "properties": {"a": {"default": 1}, "l": {"items": {"type": "integer"}}}, "additionalProperties": false});
        let document = json!({"l": ["1", 2, "3"], "x": 0, "y": 0});
        let all = [Repair::SetDefault, Repair::Coerce, Repair::DropUnknown];
        let result = repaired(&all, &schema, &document).unwrap();
        assert_eq!(result, json!({"a": 1, "l": [1, 2, 3]}));
    }
}
