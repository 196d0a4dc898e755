//! A circuit breaker: when something that others depend on has not answered so often in a row, it is
//! left alone for a while, and then one of them tries.
//!
//! ```text
//! state       a call that was answered   one that was not
//! closed      closed, counted from 0     the nth in a row opens it
//! open        closed                     still open until then: it was asked before
//! half-open   closed                     open again from now on
//! ```
//!
//! Own code, because the state of the breakers that there are lives in a process, on its clock: here it
//! is what comes of the calls on record, so a restart, or another replica, finds it as it was.

use jiff::Timestamp;

use super::Span;

/// What came of asking something once. Of two at the same time the answer counts last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// When.
    pub at: Timestamp,
    /// Was it answered?
    pub answered: bool,
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// So many calls in a row without an answer open it.
    pub failure_threshold: u32,
    /// How long it stays open.
    pub open_for: Span,
}

/// What is to be known of the calls so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    /// How many in a row were not answered.
    pub failures: u32,
    /// When the first of them was made.
    pub since: Option<Timestamp>,
    /// When it opened last; None while it is closed.
    pub opened_at: Option<Timestamp>,
}

/// Who may ask; the fewer, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Everybody.
    Closed,
    /// One, to try.
    HalfOpen {
        /// When the others look again: what comes of it is known by then.
        until: Timestamp,
    },
    /// Nobody, until then.
    Open {
        /// When one may.
        until: Timestamp,
    },
}

impl State {
    /// One word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen { .. } => "half-open",
            Self::Open { .. } => "open",
        }
    }
}

impl Breaker {
    /// What comes of `calls`, in whatever order they are given.
    #[must_use]
    pub fn of(terms: Terms, calls: &[Call]) -> Self {
        let mut calls = calls.to_vec();
        calls.sort_unstable();
        calls.into_iter().fold(Self::default(), |breaker, call| breaker.after(terms, call))
    }

    /// The same after one more call.
    #[must_use]
    pub fn after(self, terms: Terms, call: Call) -> Self {
        if call.answered {
            return Self::default();
        }
        let failures = self.failures.saturating_add(1);
        let opens = failures >= terms.failure_threshold.max(1);
        let opened_at = match self.opened_at {
            Some(at) if call.at < terms.open_for.after(at) => Some(at),
            Some(_) => Some(call.at),
            None => opens.then_some(call.at),
        };
        Self { failures, since: self.since.or(Some(call.at)), opened_at }
    }

    /// Who may ask at `now`?
    #[must_use]
    pub fn state(&self, terms: Terms, now: Timestamp) -> State {
        let Some(opened_at) = self.opened_at else { return State::Closed };
        let until = terms.open_for.after(opened_at);
        if now < until {
            return State::Open { until };
        }
        // One time for all who ask in the meantime: what they are told does not change with each look.
        let period = terms.open_for.as_millis().max(1);
        let late = Span::between(until, now).as_millis();
        let ends = (late / period).saturating_add(1).saturating_mul(period);
        let ends = Span::millis(u32::try_from(ends).unwrap_or(u32::MAX));
        State::HalfOpen { until: ends.after(until) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn call(second: i64, answered: bool) -> Call {
        Call { at: at(second), answered }
    }

    fn terms(failure_threshold: u32, open_for: u32) -> Terms {
        Terms { failure_threshold, open_for: Span::secs(open_for) }
    }

    #[test]
    fn of_two_states_the_greater_lets_fewer_ask() {
        let until = at(9);
        let mut states = [State::Open { until: at(1) }, State::Closed, State::HalfOpen { until }];
        states.sort_unstable();
        assert_eq!(states.map(State::as_str), ["closed", "half-open", "open"]);
    }

    #[test]
    fn it_opens_at_the_threshold_lets_one_try_and_opens_again_or_closes_by_what_came_of_it() {
        let terms = terms(3, 60);
        let failed = [call(1, false), call(2, false), call(3, false)];
        let state = |calls: &[Call], now: i64| Breaker::of(terms, calls).state(terms, at(now));
        assert_eq!(state(&failed[..2], 3), State::Closed);
        assert_eq!(state(&failed, 3), State::Open { until: at(63) });
        assert_eq!(state(&failed, 62), State::Open { until: at(63) });
        assert_eq!(state(&failed, 63), State::HalfOpen { until: at(123) });
        assert_eq!(state(&failed, 130), State::HalfOpen { until: at(183) });
        // One that was asked before it opened and gave up later does not keep it open for longer.
        let late = [&failed[..], &[call(40, false)]].concat();
        assert_eq!(state(&late, 41), State::Open { until: at(63) });
        let tried = |answered| [&failed[..], &[call(70, answered)]].concat();
        assert_eq!(state(&tried(false), 71), State::Open { until: at(130) });
        assert_eq!(state(&tried(true), 71), State::Closed);
        assert_eq!(Breaker::of(terms, &tried(true)), Breaker::default());
    }

    fn calls() -> impl Strategy<Value = Vec<Call>> {
        let call =
            (0_i64..200, any::<bool>()).prop_map(|(second, answered)| call(second, answered));
        prop::collection::vec(call, 0..24)
    }

    fn some_terms() -> impl Strategy<Value = Terms> {
        (1_u32..5, 1_u32..40).prop_map(|(threshold, open_for)| terms(threshold, open_for))
    }

    proptest! {
        #[test]
        fn the_order_in_which_calls_become_known_does_not_matter(
            calls in calls(), terms in some_terms(),
        ) {
            let reversed: Vec<Call> = calls.iter().rev().copied().collect();
            prop_assert_eq!(Breaker::of(terms, &calls), Breaker::of(terms, &reversed));
        }

        #[test]
        fn a_breaker_that_was_stored_goes_on_as_one_that_was_not(
            calls in calls(), cut in 0_usize..24, terms in some_terms(),
        ) {
            let mut calls = calls;
            calls.sort_unstable();
            let (before, behind) = calls.split_at(cut.min(calls.len()));
            let stored = Breaker::of(terms, before);
            let resumed = behind.iter().fold(stored, |breaker, call| breaker.after(terms, *call));
            prop_assert_eq!(resumed, Breaker::of(terms, &calls));
        }

        #[test]
        fn it_is_not_closed_just_when_so_many_in_a_row_were_not_answered(
            calls in calls(), terms in some_terms(), now in 200_i64..400,
        ) {
            let mut sorted = calls.clone();
            sorted.sort_unstable();
            let in_a_row = sorted.iter().rev().take_while(|call| !call.answered).count();
            let breaker = Breaker::of(terms, &calls);
            prop_assert_eq!(usize::try_from(breaker.failures).unwrap(), in_a_row);
            let opens = breaker.failures >= terms.failure_threshold;
            prop_assert_eq!(breaker.state(terms, at(now)) != State::Closed, opens);
        }

        #[test]
        fn it_is_open_for_just_its_time_after_it_opened_and_one_answer_closes_it(
            calls in calls(), terms in some_terms(), now in 0_i64..400,
        ) {
            let breaker = Breaker::of(terms, &calls);
            let until = breaker.opened_at.map(|opened| terms.open_for.after(opened));
            match breaker.state(terms, at(now)) {
                State::Closed => prop_assert_eq!(until, None),
                State::Open { until: end } => {
                    prop_assert_eq!(until, Some(end));
                    prop_assert!(at(now) < end);
                }
                State::HalfOpen { until: next } => {
                    prop_assert!(until.is_some_and(|until| until <= at(now)));
                    prop_assert!(next > at(now) && next <= terms.open_for.after(at(now)));
                }
            }
            let closed = breaker.after(terms, call(500, true));
            prop_assert_eq!(closed.state(terms, at(500)), State::Closed);
        }

        #[test]
        fn whoever_tries_in_vain_opens_it_for_its_time_again(
            calls in calls(), terms in some_terms(),
        ) {
            let mut calls = calls;
            calls.extend((0..terms.failure_threshold).map(|nth| call(200 + i64::from(nth), false)));
            let breaker = Breaker::of(terms, &calls);
            let now = at(500);
            let is_half_open = matches!(breaker.state(terms, now), State::HalfOpen { .. });
            prop_assert!(is_half_open);
            let tried = breaker.after(terms, Call { at: now, answered: false });
            let until = terms.open_for.after(now);
            prop_assert_eq!(tried.state(terms, now), State::Open { until });
        }
    }
}
