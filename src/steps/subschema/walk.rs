//! The schema objects that speak about a place, found by following references and unions.
//!
//! Knows: JSON Schema's applicators. Must not know: what the other keywords mean.

use std::{
    collections::{HashSet, VecDeque},
    ptr,
};

use serde_json::{Map, Value};

use super::{Found, Schema, Subschema, below, place};
use crate::domain::patch::tokens;

/// The most schema objects that one look-up visits. A schema is read as often as its references
/// and unions ask for, and whoever wrote it must not make a repair take for ever.
const MOST_VISITED: usize = 16_384;

/// Keywords that name another schema.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// Which branches of a union are followed.
#[derive(Clone, Copy)]
pub(super) enum Branches {
    /// None: what is found holds whatever the value is.
    None,
    /// The one that the value can be meant to be.
    Meant,
    /// All, and those of `if` and the like: what is found may hold.
    All,
}

/// One look-up.
pub(super) struct Walk<'s, 'a> {
    schema: &'s Schema<'a>,
    visits_left: usize,
    /// There was more to visit, so that what was found is not all.
    is_cut_short: bool,
}

impl<'s, 'a: 's> Walk<'s, 'a> {
    pub(super) fn of(schema: &'s Schema<'a>) -> Self {
        Self { schema, visits_left: MOST_VISITED, is_cut_short: false }
    }

    /// What speaks about the place `pointer` of `document`, as if `last` stood there; None when
    /// there is too much.
    pub(super) fn down(
        mut self,
        document: &Value,
        pointer: &str,
        last: Option<&Value>,
        branches: Branches,
    ) -> Option<Vec<Found<'s>>> {
        let mut value = if pointer.is_empty() { last } else { Some(document) };
        let mut here = self.gather([self.schema.root], value, branches);
        let mut path = tokens(pointer).peekable();
        while let Some(token) = path.next() {
            let schemas = below(&here, &self.schema.patterns, value, &token);
            value = match path.peek() {
                Some(_) => value.and_then(|value| place::child(value, &token)),
                None => last,
            };
            here = self.gather(schemas, value, branches);
        }
        (!self.is_cut_short).then_some(here)
    }

    /// The `schemas` and all that must hold with them for `value`, each once, so that a cycle of
    /// references ends.
    pub(super) fn gather(
        &mut self,
        schemas: impl IntoIterator<Item = &'s Value>,
        value: Option<&Value>,
        branches: Branches,
    ) -> Vec<Found<'s>> {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        // A queue instead of recursion: a chain of references may be long.
        let mut to_do: VecDeque<(&Value, usize)> =
            schemas.into_iter().map(|schema| (schema, 0)).collect();
        while let Some((schema, hops)) = to_do.pop_front() {
            let Some(keywords) = schema.as_object().filter(|map| seen.insert(ptr::from_ref(*map)))
            else {
                continue;
            };
            let Some(left) = self.visits_left.checked_sub(1) else {
                self.is_cut_short = true;
                break;
            };
            self.visits_left = left;
            let referred = self.schema.referred(keywords);
            let is_embedded = self.schema.is_embedded(keywords);
            let leads_elsewhere =
                referred.is_none() && REFERENCES.iter().any(|r| keywords.contains_key(*r));
            if matches!(branches, Branches::All) && (is_embedded || leads_elsewhere) {
                self.is_cut_short = true;
            }
            if is_embedded {
                continue;
            }
            let mut next: Vec<&Value> = referred.into_iter().collect();
            if !(self.schema.is_ref_alone && keywords.contains_key("$ref")) {
                found.push(Found { keywords, hops });
                next.extend(list(keywords, "allOf"));
                next.extend(self.followed(keywords, value, branches));
            }
            to_do.extend(next.into_iter().map(|schema| (schema, hops + 1)));
        }
        found
    }

    fn followed(
        &mut self,
        keywords: &'s Map<String, Value>,
        value: Option<&Value>,
        branches: Branches,
    ) -> Vec<&'s Value> {
        let unions = ["anyOf", "oneOf"].into_iter();
        match branches {
            Branches::None => Vec::new(),
            Branches::Meant => unions
                .filter_map(|union| self.meant(keywords.get(union)?.as_array()?, value))
                .collect(),
            Branches::All => {
                let conditional = ["if", "then", "else"].into_iter();
                let dependent = keywords.get("dependentSchemas").and_then(Value::as_object);
                unions
                    .flat_map(|union| list(keywords, union))
                    .chain(conditional.filter_map(|keyword| keywords.get(keyword)))
                    .chain(dependent.into_iter().flat_map(Map::values))
                    .collect()
            }
        }
    }

    /// The one branch of a union that `value` can be meant to be; None when there are several.
    ///
    /// A branch for null only is nobody's aim. Of the others those of the value's type are looked
    /// at, where there are any; and of those the one whose marks the value bears. A mark is a
    /// member that every one of them gives a `const` or an `enum`.
    fn meant(&mut self, branches: &'s [Value], value: Option<&Value>) -> Option<&'s Value> {
        let mut left: Vec<(&Value, Subschema<'s>)> = branches
            .iter()
            .filter(|branch| **branch != Value::Bool(false))
            .map(|branch| (branch, self.always([branch])))
            .filter(|(_, says)| !says.allows_only_null())
            .collect();
        if let (Some(value), true) = (value, left.len() > 1) {
            if left.iter().any(|(_, says)| says.allows_type_of(value)) {
                left.retain(|(_, says)| says.allows_type_of(value));
            }
            if left.len() > 1 {
                // Without marks all are left, and none is chosen.
                let marks = self.marks(&left);
                left.retain(|(_, says)| marks.iter().all(|mark| self.bears(value, says, mark)));
            }
        }
        match left.as_slice() {
            [(only, _)] => Some(only),
            _ => None,
        }
    }

    fn marks(&mut self, branches: &[(&'s Value, Subschema<'s>)]) -> Vec<&'s str> {
        let Some((_, first)) = branches.first() else { return Vec::new() };
        let mut marks: Vec<&str> = first.properties().collect();
        for (_, says) in branches {
            marks.retain(|key| self.member(says, key).members().is_some());
        }
        marks
    }

    fn bears(&mut self, value: &Value, says: &Subschema<'s>, mark: &str) -> bool {
        let allowed = self.member(says, mark).members().unwrap_or_default();
        value.get(mark).is_some_and(|mark| allowed.contains(&mark))
    }

    fn member(&mut self, says: &Subschema<'s>, key: &str) -> Subschema<'s> {
        self.always(says.objects("properties").filter_map(|map| map.get(key)))
    }

    fn always(&mut self, schemas: impl IntoIterator<Item = &'s Value>) -> Subschema<'s> {
        let found = self.gather(schemas, None, Branches::None);
        Subschema { found, patterns: &self.schema.patterns }
    }
}

fn list<'a>(keywords: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a Value> {
    keywords.get(name).and_then(Value::as_array).into_iter().flatten()
}
