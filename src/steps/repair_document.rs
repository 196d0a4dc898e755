//! The `repairDocument` step: repair the document by what its schema says, deterministically.
//!
//! Every value that is put in comes from the schema (a default, a member of an `enum`, a bound) or
//! from the document itself. Nothing is made up: a missing key without a default stays missing.
//!
//! For each failing place, in the order of their pointers, the allowed repairs are tried so:
//!
//! | the place | repairs, in order |
//! |---|---|
//! | is missing | `Rename` of an unknown key to it, `SetDefault` |
//! | is a key that the schema does not know | `Rename` to a missing key, `DropUnknown` |
//! | holds something else that is wrong | `Coerce`, `NearestEnum`, `Clamp`, `Truncate`, each on what the one before it made of the value (see the module `fit`), and only when the result can be right; `SetDefault` |
//!
//! A default never takes the place of a list or an object that holds something: it would take away
//! all that is good in it. A rename is made only when each of the two names is the nearest to the
//! other, no form of the object knows the wrong one, and the value is right under the right one.
//!
//! Knows: the schema, the document, what fails. Must not know: any other document. Whether the
//! repaired document is right is for the judges of the candidate to say.

mod fit;
mod rename;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Proposal, View,
    draft::Draft,
    place,
    subschema::{Schema, Subschema},
};
use crate::domain::{
    ValueFrom,
    patch::{escape, split_last},
};
use rename::Names;

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
    /// Put the schema's `default` where a required value is missing, or in the place of one that
    /// fails; never of a list or an object that holds something.
    SetDefault,
    /// Take away a key that the schema does not know. Loses data.
    DropUnknown,
    /// Rename an unknown key to the missing one that it nearly spells.
    Rename,
    /// Turn text into the number or bool it spells, or a whole number or bool into text, where the
    /// schema wants that type.
    Coerce,
    /// Put the nearest member of the schema's `enum`. Loses data.
    NearestEnum,
    /// Put the bound that a number crosses. Loses data.
    Clamp,
    /// Shorten a text or a list to the schema's maximum. Loses data.
    Truncate,
}

impl RepairDocument {
    /// See [`super::StepKind::plan`].
    #[must_use]
    pub fn plan(&self, view: &View<'_>) -> Proposal {
        let Some(schema) = view.schema else {
            return Proposal::Nothing("there is no schema to repair by".to_owned());
        };
        let (failing, mut left) = failing_places(view);
        let mut repairing = Repairing {
            step: self,
            schema: &Schema::of(schema),
            document: view.document,
            draft: Draft::of(view.document),
            objects: objects(&failing),
        };
        for (at, keywords) in &failing {
            if !repairing.is_settled(at) && !repairing.repair(at, keywords) {
                left.push(format!("{at} ({})", Vec::from_iter(keywords.clone()).join(", ")));
            }
        }
        repairing.draft.propose(|| match left.as_slice() {
            [] => "what fails is no matter of the schema".to_owned(),
            _ => format!("no allowed repair fits {}", place::listed(&left)),
        })
    }

    fn allows(&self, repair: Repair) -> bool {
        if self.allow.is_empty() {
            return matches!(repair, Repair::SetDefault | Repair::Coerce);
        }
        self.allow.contains(&repair)
    }
}

type FailingPlaces<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// The places that fail in a way that a schema may have an answer to, and the keywords that say
/// so; and what fails at no place that can be acted on. A dead asset, an old document and a false
/// expression are not repaired by the letter of a schema, and a key whose very name is wrong is
/// not by another value.
fn failing_places<'a>(view: &View<'a>) -> (FailingPlaces<'a>, Vec<String>) {
    let mut places = FailingPlaces::new();
    let mut left = Vec::new();
    for violation in view.failing.iter().flat_map(|failing| &failing.violations) {
        let keyword = violation.keyword.as_str();
        if matches!(keyword, "asset" | "cel" | "freshness" | "propertyNames") {
            continue;
        }
        match violation.place() {
            Some(place) => {
                places.entry(place).or_default().insert(keyword);
            }
            None => left.push(format!("{} ({keyword})", violation.path)),
        }
    }
    (places, left)
}

/// Does the schema refuse the very key?
fn is_refused(keywords: &BTreeSet<&str>) -> bool {
    keywords.contains("additionalProperties") || keywords.contains("unevaluatedProperties")
}

/// The members of one object that fail, with whether the schema refuses the very key; and its
/// names, once they were asked for.
#[derive(Default)]
struct Members {
    failing: BTreeMap<String, bool>,
    names: Option<Names>,
}

fn objects<'a>(failing: &FailingPlaces<'a>) -> BTreeMap<&'a str, Members> {
    let mut objects: BTreeMap<&str, Members> = BTreeMap::new();
    for (at, keywords) in failing {
        if let Some((parent, key)) = split_last(at) {
            objects.entry(parent).or_default().failing.insert(key, is_refused(keywords));
        }
    }
    objects
}

struct Repairing<'a> {
    step: &'a RepairDocument,
    schema: &'a Schema<'a>,
    document: &'a Value,
    draft: Draft,
    /// Those around the failing places, by their pointers.
    objects: BTreeMap<&'a str, Members>,
}

impl<'a> Repairing<'a> {
    /// Was this place dealt with by the repair of another?
    fn is_settled(&self, at: &str) -> bool {
        let was_there = self.document.pointer(at).is_some();
        let is_there = self.draft.value().pointer(at).is_some();
        was_there != is_there
    }

    /// Repairs one place; false when no allowed repair fits.
    fn repair(&mut self, at: &str, keywords: &BTreeSet<&str>) -> bool {
        match self.draft.value().pointer(at).cloned() {
            None => self.rename(at) || self.set_default(at),
            Some(_) if is_refused(keywords) => self.rename(at) || self.drop_unknown(at),
            Some(value) => {
                let fitted = self.fitted(at, &value, keywords);
                fitted.is_some_and(|(value, from)| self.draft.put(at, &value, from))
                    || (!holds_something(&value) && self.set_default(at))
            }
        }
    }

    fn says(&self, at: &str) -> Subschema<'a> {
        self.schema.at(self.draft.value(), at)
    }

    fn fitted(
        &self,
        at: &str,
        value: &Value,
        keywords: &BTreeSet<&str>,
    ) -> Option<(Value, ValueFrom)> {
        fit::fitted(value, &self.says(at), keywords, |repair| self.step.allows(repair))
    }

    fn set_default(&mut self, at: &str) -> bool {
        // The default of a whole document is another document.
        if !self.step.allows(Repair::SetDefault) || at.is_empty() {
            return false;
        }
        let default = self.says(at).default_value();
        let default = default.filter(|default| self.schema.admits(self.draft.value(), at, default));
        default.is_some_and(|value| self.draft.put(at, value, ValueFrom::Schema))
    }

    fn drop_unknown(&mut self, at: &str) -> bool {
        let Some((parent, key)) = split_last(at) else { return false };
        self.step.allows(Repair::DropUnknown)
            // The closest form of a union does not know the key. That form is a guess.
            && !self.schema.may_know(self.draft.value(), parent, &key)
            && self.draft.take(at).is_some()
    }

    /// Renames the key at `at`, or another key to it, if the value is right under its new name.
    fn rename(&mut self, at: &str) -> bool {
        if !self.step.allows(Repair::Rename) {
            return false;
        }
        let renamed = split_last(at).and_then(|(parent, key)| {
            let (from, to) = self.pair(parent, &key)?;
            let place = |key: &str| format!("{parent}/{}", escape(key));
            let (from_place, to_place) = (place(&from), place(&to));
            let is_taken = self.draft.value().pointer(&to_place).is_some();
            if is_taken || self.schema.may_know(self.document, parent, &from) {
                return None;
            }
            let value = self.draft.value().pointer(&from_place)?.clone();
            let (value, valued) = if self.says(&to_place).admits(&value) {
                (value, ValueFrom::Document)
            } else {
                self.fitted(&to_place, &value, &BTreeSet::new())?
            };
            self.draft.take(&from_place)?;
            Some(self.draft.put(&to_place, &value, valued))
        });
        renamed.unwrap_or_default()
    }

    /// The rename that `key` of the object at `parent` is part of: from, to. Read off the document
    /// as it came: a key that was dropped since is still one that could have been meant.
    fn pair(&mut self, parent: &str, key: &str) -> Option<(String, String)> {
        let object = self.document.pointer(parent)?.as_object()?;
        let says = self.schema.at(self.document, parent);
        let members = self.objects.get_mut(parent)?;
        let failing = members.failing.iter().map(|(key, is_refused)| (key, *is_refused));
        members.names.get_or_insert_with(|| Names::of(object, &says, failing)).pair(key)
    }
}

fn holds_something(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
