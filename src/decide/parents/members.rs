//! Whom an Incident about several contracts concerns, and what of them it shows: the rules and places that
//! most of them share.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::{
    api::incident::{IncidentSpec, RuleViolation},
    decide::silence::Silence,
    domain::Severity,
};

/// Places that the members of a family share, as far as the Incident shows them.
const PLACES_SHOWN: usize = 20;

/// Whom it concerns.
pub(super) enum Members<'a> {
    /// Contracts with Incidents of their own.
    Incidents(Vec<&'a IncidentSpec>),
    /// Checks that are Unknown.
    Silences(Vec<&'a Silence>),
}

/// A place at which one of them fails: rule, path and keyword.
type Place<'a> = (&'a str, &'a str, &'a str);

impl<'a> Members<'a> {
    pub(super) fn severity(&self) -> Option<Severity> {
        match self {
            Self::Incidents(specs) => specs.iter().map(|spec| spec.severity).max(),
            Self::Silences(silences) => silences.iter().map(|silence| silence.severity).max(),
        }
    }

    fn rules(&self) -> Vec<&'a str> {
        match self {
            Self::Incidents(specs) => {
                let segments = specs.iter().flat_map(|spec| &spec.plan);
                segments.flat_map(|segment| &segment.rules).map(String::as_str).collect()
            }
            Self::Silences(silences) => silences.iter().map(|silence| &*silence.rule).collect(),
        }
    }

    /// The places, the most frequent first.
    fn places(&self) -> Vec<(Place<'a>, usize)> {
        match self {
            Self::Incidents(specs) => {
                let places = specs.iter().flat_map(|spec| &spec.violations);
                most_frequent(places.map(RuleViolation::place))
            }
            Self::Silences(silences) => {
                most_frequent(silences.iter().map(|silence| (&*silence.rule, "", &*silence.reason)))
            }
        }
    }

    /// The place at which the most of them fail, where it is more than one.
    pub(super) fn shared_most(&self) -> Option<String> {
        // What is Unknown fails nowhere.
        let Self::Incidents(_) = self else { return None };
        let ((rule, path, keyword), times) =
            self.places().into_iter().next().filter(|(_, n)| *n > 1)?;
        let place = if path.is_empty() { "the whole document" } else { path };
        Some(format!("{times} of them fail rule {rule} ({keyword}) at {place}"))
    }
}

/// The rules that do not pass, the most frequent first: `schema (12), images (3)`.
pub(super) fn rules(members: &Members<'_>) -> String {
    let frequent = most_frequent(members.rules().into_iter());
    let shown = frequent.into_iter().map(|(rule, times)| format!("{rule} ({times})"));
    shown.collect::<Vec<_>>().join(", ")
}

/// The places at which members do not pass, the most frequent first.
pub(super) fn places(members: &Members<'_>) -> Vec<RuleViolation> {
    let what = match members {
        Members::Incidents(_) => "fails",
        Members::Silences(_) => "cannot be checked",
    };
    let shown = members.places().into_iter().take(PLACES_SHOWN);
    let shown = shown.map(|((rule, path, keyword), times)| RuleViolation {
        rule: rule.to_owned(),
        path: path.to_owned(),
        keyword: keyword.to_owned(),
        message: format!("{what} in {times} of the contracts"),
    });
    shown.collect()
}

pub(super) fn most_frequent<T: Ord>(things: impl Iterator<Item = T>) -> Vec<(T, usize)> {
    let mut counts = BTreeMap::new();
    for thing in things {
        *counts.entry(thing).or_insert(0_usize) += 1;
    }
    let mut counts: Vec<(T, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, times)| Reverse(*times));
    counts
}
