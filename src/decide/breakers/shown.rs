//! The breakers as people see them: what did not answer last, and what becomes of it. Nothing is decided by it.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Calls;
use crate::{
    api::policy::{BreakerShown, BreakerState},
    domain::breaker::{Breaker, State, Terms},
};

/// Most breakers that a policy's status shows.
const MOST_SHOWN: usize = 64;

/// Something that did not answer last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// The namespace that it is counted in; none where it is one for all of them.
    pub namespace: Option<Arc<str>>,
    /// What it is.
    pub dependency: String,
    /// Who may ask it now.
    pub state: State,
    /// How often in a row it did not answer.
    pub failures: u32,
    /// Since when.
    pub since: Timestamp,
    /// From when on one may try it, where it is left alone.
    pub next_probe: Option<Timestamp>,
    /// The policies by whose terms it stands so, of those that have asked it.
    pub policies: Vec<String>,
}

/// What of `asked` did not answer last.
pub fn standing<'a>(
    terms: Terms,
    asked: impl Iterator<Item = &'a str>,
    calls: &Calls,
    now: Timestamp,
) -> impl Iterator<Item = Unanswered> {
    asked.filter_map(move |dependency| {
        let breaker = Breaker::of(terms, calls.get(dependency)?);
        Some(Unanswered {
            namespace: None,
            dependency: dependency.to_owned(),
            state: breaker.state(terms, now),
            failures: breaker.failures,
            since: breaker.since?,
            next_probe: breaker.opened_at.map(|at| terms.open_for.after(at)),
            policies: Vec::new(),
        })
    })
}

/// One thing under two policies: it stands by the one that lets fewer ask.
#[must_use]
pub fn stricter(one: Unanswered, other: Unanswered) -> Unanswered {
    let (mut kept, given) = if other.state > one.state { (other, one) } else { (one, other) };
    kept.policies.extend(given.policies);
    kept
}

/// The breakers that a policy's status shows: of what its Incidents, which made these calls, depend on.
#[must_use]
pub fn shown(terms: Terms, asked: &BTreeSet<String>, calls: &Calls) -> Vec<BreakerShown> {
    let of = |dependency: &String| {
        let breaker = Breaker::of(terms, calls.get(dependency)?);
        let next_probe = breaker.opened_at.map(|at| terms.open_for.after(at));
        Some(BreakerShown {
            dependency: dependency.clone(),
            state: if next_probe.is_some() { BreakerState::Open } else { BreakerState::Closed },
            failures: breaker.failures,
            since: Time(breaker.since?),
            next_probe: next_probe.map(Time),
        })
    };
    let mut shown: Vec<BreakerShown> = asked.iter().filter_map(of).collect();
    shown.sort_by_key(|breaker| (breaker.state == BreakerState::Closed, breaker.since.0));
    shown.truncate(MOST_SHOWN);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Span, breaker::Call};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_policy_shows_what_does_not_answer_the_open_ones_first_and_not_too_many() {
        let terms = Terms { failure_threshold: 2, open_for: Span::secs(60) };
        let failed = |second| Call { at: at(second), answered: false };
        let mut calls: Calls = (0..100)
            .map(|nth| (format!("source https://a{nth:03}.test"), vec![failed(nth)]))
            .collect();
        calls.insert("source https://open.test".to_owned(), vec![failed(500), failed(501)]);
        calls.insert(
            "source https://back.test".to_owned(),
            vec![failed(500), Call { at: at(502), answered: true }],
        );
        let asked = calls.keys().cloned().collect();
        let shown = shown(terms, &asked, &calls);
        assert_eq!(shown.len(), 64);
        let first = BreakerShown {
            dependency: "source https://open.test".to_owned(),
            state: BreakerState::Open,
            failures: 2,
            since: Time(at(500)),
            next_probe: Some(Time(at(561))),
        };
        assert_eq!(shown[0], first);
        assert_eq!(shown[1].dependency, "source https://a000.test");
        assert!(!shown.iter().any(|shown| shown.dependency.contains("back")));
        let others = super::shown(terms, &BTreeSet::new(), &calls);
        assert!(others.is_empty(), "what its own Incidents never asked is not its business");
    }
}
