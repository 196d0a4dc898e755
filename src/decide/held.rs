//! What a shut gate says, and when the operator looks at it again by itself.
//!
//! Most holds end at a time that is known and stays the same at each look. Of a few nobody knows: they are
//! asked about every so often, and each time would be another one. Of these the first is written down, with
//! the hold itself, and none after it: a contract that waits costs no write.
//!
//! A budget is between the two: each repair that comes back is for one of all who wait, and the others wait for
//! the next. Each of these times would be a write for each of them, so after the first they are written down in
//! coarse steps.
//!
//! Must not know: why a gate is shut.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    busy::BUSY,
    effects::JOB_RUNNING,
    hosts::EGRESS_BROKEN,
    limits::{BUDGET_SPENT, CONCURRENCY},
};
use crate::{api::condition::whole_seconds_up, domain::Span};

/// A shut gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The stable reason.
    pub reason: &'static str,
    /// What a person can do, or what is waited for.
    pub message: String,
    /// When to ask again; None when only a change opens it.
    pub until: Option<Timestamp>,
}

/// What nobody knows the end of, so that it is asked about every so often.
const ASKED_AGAIN: [&str; 4] = [BUSY, CONCURRENCY, EGRESS_BROKEN, JOB_RUNNING];

/// How coarse the times of a budget are, in seconds.
const COARSE: i64 = 300;

/// The longest time between two looks at one of these.
pub const AT_MOST: Span = Span::mins(1);

/// When what is held is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Then.
    At(Timestamp),
    /// Every so often, and within [`AT_MOST`].
    Soon,
}

/// When the operator looks again by itself at what is held for `reason`, where `until` was written down.
#[must_use]
pub fn again(reason: &str, until: Option<Timestamp>, now: Timestamp) -> Option<Again> {
    match until? {
        until if until > now => Some(Again::At(until)),
        _ => is_asked_again(reason).then_some(Again::Soon),
    }
}

fn is_asked_again(reason: &str) -> bool {
    ASKED_AGAIN.contains(&reason)
}

impl Held {
    /// What is written down of `until`; `known` is what was at the look before, if it was held for the same.
    #[must_use]
    pub(super) fn noted(&self, known: Option<&Time>, now: Timestamp) -> Option<Time> {
        let until = Time(whole_seconds_up(self.until?));
        let Some(known) = known else { return Some(until) };
        Some(match self.reason {
            reason if is_asked_again(reason) => known.clone(),
            BUDGET_SPENT if known.0 > now => known.clone(),
            BUDGET_SPENT => Time(coarse(until.0)),
            _ => until,
        })
    }
}

/// The next full five minutes.
fn coarse(at: Timestamp) -> Timestamp {
    let steps = at.as_second().div_euclid(COARSE).saturating_add(1);
    Timestamp::from_second(steps.saturating_mul(COARSE)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milli: i64) -> Timestamp {
        Timestamp::from_millisecond(milli).unwrap()
    }

    #[test]
    fn a_known_end_is_written_down_and_a_look_that_comes_every_so_often_once() {
        let noted = |reason: &'static str, until: Option<i64>, known: Option<i64>| {
            let held = Held { reason, message: String::new(), until: until.map(at) };
            held.noted(known.map(|known| Time(at(known))).as_ref(), at(8_000)).map(|noted| noted.0)
        };
        for (reason, until, known, expected) in [
            ("ObserveOnly", None, None, None),
            ("Paused", None, Some(9_000), None),
            ("Cooldown", Some(9_000), None, Some(9_000)),
            // Never too early.
            ("BreakerOpen", Some(9_001), None, Some(10_000)),
            // A person has made it longer, or shorter.
            ("Paused", Some(12_000), Some(9_000), Some(12_000)),
            ("Paused", Some(7_000), Some(9_000), Some(7_000)),
            ("BudgetSpent", Some(9_000), None, Some(9_000)),
            // The next one is another's, and so on.
            ("BudgetSpent", Some(9_500), Some(9_000), Some(9_000)),
            ("BudgetSpent", Some(9_500), Some(8_000), Some(300_000)),
            ("BudgetSpent", Some(299_000), Some(8_000), Some(300_000)),
            ("BudgetSpent", Some(310_000), Some(300_000), Some(300_000)),
            ("Busy", Some(2_000), None, Some(2_000)),
            ("Busy", Some(3_000), Some(2_000), Some(2_000)),
            ("Concurrency", Some(3_000), Some(2_000), Some(2_000)),
            ("EgressBroken", Some(3_000), Some(2_000), Some(2_000)),
            ("JobRunning", Some(3_000), Some(2_000), Some(2_000)),
        ] {
            assert_eq!(
                noted(reason, until, known),
                expected.map(at),
                "{reason} {until:?} {known:?}"
            );
        }
    }

    #[test]
    fn what_is_over_is_shown_as_soon_only_where_it_is_asked_about_every_so_often() {
        let now = at(5_000);
        for (reason, until, expected) in [
            ("ObserveOnly", None, None),
            ("OutsideWindow", Some(9_000), Some(Again::At(at(9_000)))),
            ("OutsideWindow", Some(5_000), None),
            ("Concurrency", Some(9_000), Some(Again::At(at(9_000)))),
            ("Concurrency", Some(5_000), Some(Again::Soon)),
        ] {
            assert_eq!(again(reason, until.map(at), now), expected, "{reason} {until:?}");
        }
    }
}
