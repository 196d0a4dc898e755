//! Taking the failing parts of a document from another one, the donor: what `restoreRevision` and
//! `refetchSource` share.
//!
//! For each failing place the smallest part is taken that makes a difference:
//!
//! 1. The place itself, from the first donor that holds another value there.
//! 2. Where the first donor that has the object or list around it has no such member, the member
//!    is taken away, if it is one that the schema does not know or does not require.
//! 3. Else the same for the place above, and so on. The whole document is never taken: that
//!    is scope Document, and for a person to choose.
//!
//! What stands beside a failing place stays as it is, so the good part of an edit survives.
//!
//! **An index is not an identity.** When all elements of the donor's list have an `id` (or else a
//! `key`, `name` or `slug`) of their own, an element is the same as the one with the same value
//! there, wherever it stands. One that the donor does not have was put in by the edit: it goes;
//! if the edit also took out exactly one, that one comes back in its place. Members of two
//! different elements are never mixed. A list without identities is taken element by element only
//! while both have one length and no element has moved, else as a whole.
//!
//! Which element is the same as which is told by the module `twins`.
//!
//! Knows: the document, what fails in it, donors, the schema's `required`. Must not know: where a
//! donor comes from.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::Value;

use super::{
    Proposal, View,
    place::{above, child, join, listed},
    subschema::Schema,
    twins::{Found, Twins},
};
use crate::domain::{Op, OpKind, ValueFrom, Violation, patch::tokens};

/// A document to take parts from.
pub(super) struct Donor<'a> {
    pub(super) value: &'a Value,
    pub(super) from: ValueFrom,
}

/// The change that takes what fails from `donors`, the best donor first.
pub(super) fn failing_parts(view: &View<'_>, donors: &[Donor<'_>]) -> Proposal {
    let FailingPlaces { places, unscoped, mut left } = FailingPlaces::of(view);
    let graft = Graft {
        document: view.document,
        schema: view.schema.map(Schema::of),
        donors,
        twins: Twins::default(),
    };
    let mut ops: BTreeMap<String, Op> = BTreeMap::new();
    for (place, is_unknown) in &places {
        match graft.smallest_part(place, *is_unknown) {
            Some(op) => {
                ops.entry(op.path.clone()).or_insert(op);
            }
            None => left.push(place.clone()),
        }
    }
    if ops.is_empty() {
        return Proposal::Nothing(why_nothing(&left, &unscoped));
    }
    Proposal::Change(in_order(ops))
}

/// The change that takes the whole document from `donor`.
pub(super) fn whole(view: &View<'_>, donor: &Donor<'_>) -> Proposal {
    if donor.value == view.document {
        return Proposal::Nothing(format!("the document is already that of {}", donor.from));
    }
    Proposal::Change(vec![Op::replace("", donor.value.clone(), donor.from.clone())])
}

/// What fails, as far as parts are concerned.
#[derive(Default)]
struct FailingPlaces {
    /// The places, with whether the schema refuses the very key there.
    places: BTreeMap<String, bool>,
    /// The rules that object to the document as a whole.
    unscoped: BTreeSet<String>,
    /// What fails at no place that can be acted on.
    left: Vec<String>,
}

impl FailingPlaces {
    fn of(view: &View<'_>) -> Self {
        let mut all = Self::default();
        for failing in view.failing {
            for violation in &failing.violations {
                match violation.place() {
                    // Another timestamp would make old data look new.
                    _ if violation.keyword == "freshness" => {
                        all.unscoped.insert(failing.rule.clone());
                    }
                    Some("") => {
                        all.unscoped.insert(failing.rule.clone());
                    }
                    Some(place) => {
                        *all.places.entry(place.to_owned()).or_default() |= is_refused(violation);
                    }
                    None => all.left.push(violation.path.clone()),
                }
            }
        }
        all
    }
}

fn is_refused(violation: &Violation) -> bool {
    matches!(violation.keyword.as_str(), "additionalProperties" | "unevaluatedProperties")
}

struct Graft<'a> {
    document: &'a Value,
    schema: Option<Schema<'a>>,
    donors: &'a [Donor<'a>],
    twins: Twins<'a>,
}

impl Graft<'_> {
    /// The operation on the smallest part at or above `place` that makes a difference.
    fn smallest_part(&self, place: &str, is_unknown: bool) -> Option<Op> {
        let path: Vec<String> = tokens(place).collect();
        (1..=path.len()).rev().find_map(|depth| {
            let is_unknown = is_unknown && depth == path.len();
            self.part(&path[..depth], is_unknown)
        })
    }

    fn part(&self, path: &[String], is_unknown: bool) -> Option<Op> {
        let (last, parents) = path.split_last()?;
        let around = parents.iter().try_fold(self.document, |value, token| child(value, token))?;
        let here = child(around, last);
        let found: Vec<(&Donor<'_>, Found<'_>)> = self
            .donors
            .iter()
            .map(|donor| (donor, self.twins.find(self.document, donor.value, path)))
            .collect();
        let another = found.iter().find_map(|(donor, found)| match found {
            Found::There(value) if Some(*value) != here => Some((*value, &donor.from)),
            _ => None,
        });
        let place = join(path);
        if let Some((value, from)) = another {
            let (value, from) = (value.clone(), from.clone());
            return Some(match here {
                Some(_) => Op::replace(place, value, from),
                None => Op::add(place, value, from),
            });
        }
        let first =
            found.iter().map(|(_, found)| found).find(|found| !matches!(found, Found::Unclear));
        let may_go = is_unknown || !self.is_required(&join(parents), last);
        (matches!(first, Some(Found::Absent)) && here.is_some() && may_go)
            .then(|| Op::remove(place))
    }

    fn is_required(&self, parent: &str, key: &str) -> bool {
        self.schema.as_ref().is_some_and(|schema| schema.at(self.document, parent).requires(key))
    }
}

/// The operations in an order in which each applies. What is below a place that is taken whole is
/// taken with it; elements are removed last and from the end, so that no index moves under
/// another operation.
fn in_order(mut ops: BTreeMap<String, Op>) -> Vec<Op> {
    let places: BTreeSet<String> = ops.keys().cloned().collect();
    ops.retain(|place, _| !above(place).any(|upper| places.contains(upper)));
    let (mut removals, mut ordered): (Vec<Op>, Vec<Op>) =
        ops.into_values().partition(|op| op.kind == OpKind::Remove);
    // Indices have no leading zeros, so the longer one is the greater one.
    let key = |op: &Op| tokens(&op.path).map(|token| (token.len(), token)).collect::<Vec<_>>();
    removals.sort_by_key(|op| Reverse(key(op)));
    ordered.append(&mut removals);
    ordered
}

fn why_nothing(left: &[String], unscoped: &BTreeSet<String>) -> String {
    let mut sentences = Vec::new();
    if !left.is_empty() {
        let places = listed(left);
        sentences.push(format!("no part can be taken that makes a difference at {places}"));
    }
    if !unscoped.is_empty() {
        let rules = listed(&unscoped.iter().cloned().collect::<Vec<_>>());
        sentences.push(format!(
            "what {rules} objects to is no part of the document; that needs scope: Document"
        ));
    }
    sentences.join("; ")
}

#[cfg(test)]
mod tests;
