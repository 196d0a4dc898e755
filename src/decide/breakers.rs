//! The breakers of what steps depend on: what is left alone for a while, because it has not answered
//! so often in a row, and who tries it then.
//!
//! They are counted from `status.calls` of the Incidents of the namespace each time they are asked, as
//! storms and budgets are: what is not kept beside the Incidents cannot be lost in a crash, and is not
//! counted twice. A policy's status shows them, for people.
//!
//! A step whose breaker is open is passed over, and the plan goes on to those that do not need what it
//! needs; the Incident is held when nothing else came of the plan.

mod named;
mod shown;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(super) use self::named::of_effects;
pub use self::{
    named::{acted_on, assets, dependency, source},
    shown::{Unanswered, shown, standing, stricter},
};
use super::{
    Held,
    plan::Attempting,
    select::Policy,
    view::{Need, OpenIncident, View},
};
use crate::{
    api::{
        condition::{whole_seconds, whole_seconds_up},
        incident::{self, Segment, State as IncidentState},
        policy::RemediationPolicySpec,
    },
    domain::{
        Doubt, Span,
        breaker::{Breaker, Call, State, Terms},
        text,
    },
    steps::StepKind,
};

/// The reason of an Incident that is held by a breaker.
pub const BREAKER_OPEN: &str = "BreakerOpen";

const FAILURE_THRESHOLD: u32 = 5;
const OPEN_FOR: Span = Span::secs(60);
const SHORTEST_OPEN_FOR: Span = Span::secs(1);
/// An Incident that is over is kept for its unanswered calls for so long, or as long as a breaker is open.
/// Without an end, something that nobody asks any more would be remembered for ever.
const REMEMBERED: Span = Span::mins(24 * 60);
/// Over how long those that waited are spread, at most.
pub const LONGEST_SPREAD: Span = Span::secs(5);
/// The same, as a share of the time that they wait.
const SPREAD_SHARE: f64 = 0.1;
const CALLS_KEPT: usize = 20;

/// The calls that are on record, by what was asked.
pub type Calls = BTreeMap<String, Vec<Call>>;

/// What of `calls` still says something, in order: the last one that was answered, and those after it.
pub fn keep_telling(calls: &mut Calls) {
    for of_one in calls.values_mut() {
        of_one.sort_unstable();
        let last = of_one.iter().rposition(|call| call.answered).unwrap_or(0);
        of_one.drain(..last);
        of_one.shrink_to_fit();
    }
}

/// When a policy's breakers open.
#[must_use]
pub fn terms(policy: &RemediationPolicySpec) -> Terms {
    let said = policy.breaker.clone().unwrap_or_default();
    Terms {
        failure_threshold: said.failure_threshold.unwrap_or(FAILURE_THRESHOLD),
        open_for: said.open_for.unwrap_or(OPEN_FOR).max(SHORTEST_OPEN_FOR),
    }
}

/// Whether something was asked that gave this answer; None where it was not asked at all.
#[must_use]
pub fn answered<T>(answer: &Result<T, Doubt>) -> Option<bool> {
    use crate::domain::DoubtReason::{ResponseTooLarge, SourceInvalid};
    match answer {
        Ok(_) => Some(true),
        Err(doubt) if doubt.reason.is_outage() => Some(false),
        Err(doubt) => matches!(doubt.reason, SourceInvalid | ResponseTooLarge).then_some(true),
    }
}

/// One more call on record; the oldest give way.
pub(super) fn note(
    calls: &mut Vec<incident::Call>,
    dependency: String,
    answered: bool,
    at: Timestamp,
) {
    calls.push(incident::Call { dependency, answered, at: Time(whole_seconds(at)) });
    let surplus = calls.len().saturating_sub(CALLS_KEPT);
    calls.drain(..surplus);
}

/// When something did not answer last that has not answered since, as far as these calls tell.
#[must_use]
pub fn unanswered(calls: &[incident::Call]) -> Option<Timestamp> {
    let mut last: BTreeMap<&str, Call> = BTreeMap::new();
    for incident::Call { dependency, answered, at } in calls {
        let call = Call { at: at.0, answered: *answered };
        last.entry(dependency).and_modify(|known| *known = call.max(*known)).or_insert(call);
    }
    last.into_values().filter(|call| !call.answered).map(|call| call.at).max()
}

/// Until when the breakers of `policies` still need to know of a call at `at` that was not answered.
pub(super) fn remember_until(policies: &[Policy], at: Timestamp) -> Option<Timestamp> {
    let longest = policies.iter().map(|policy| terms(&policy.spec).open_for).max()?;
    Some(longest.max(REMEMBERED).after(at))
}

/// May `step` of `segment` ask what it depends on?
///
/// # Errors
/// Whether this contract is the one that tries has to be found out first.
pub fn pass(
    view: &View,
    segment: &Segment,
    dependency: &str,
    attempting: Attempting,
    now: Timestamp,
) -> Result<Result<(), Held>, Need> {
    let Some(terms) = terms_of(view, segment) else { return Ok(Ok(())) };
    let until = match breaker(view, terms, dependency).state(terms, now) {
        State::Closed => return Ok(Ok(())),
        // What is only shown, or is not on record yet, is no attempt to learn from.
        State::HalfOpen { until } if attempting.attempt().is_some() => {
            match view.probing.get(dependency) {
                None => return Err(Need::Probe(dependency.to_owned())),
                Some(true) => return Ok(Ok(())),
                Some(false) => until,
            }
        }
        State::Open { until } | State::HalfOpen { until } => until,
    };
    Ok(Err(held(view, segment, terms, dependency, until, now)))
}

/// Is everything that the plan could do left alone for now?
///
/// # Errors
/// The breaker that closes first.
pub fn all_open(view: &View, segments: &[Segment], now: Timestamp) -> Result<(), Held> {
    let mut first: Option<Held> = None;
    let steps = segments.iter().flat_map(|s| s.steps.iter().map(move |step| (s, step)));
    for (segment, step) in steps.filter(|(_, step)| !matches!(step.kind, StepKind::Wait(_))) {
        let Some(dependency) = dependency(view, step) else { return Ok(()) };
        let Some(terms) = terms_of(view, segment) else { return Ok(()) };
        let State::Open { until } = breaker(view, terms, &dependency).state(terms, now) else {
            return Ok(());
        };
        let held = held(view, segment, terms, &dependency, until, now);
        first = first.into_iter().chain([held]).reduce(sooner);
    }
    first.map_or(Ok(()), Err)
}

/// Of two that hold, the one that is over first.
pub(super) fn sooner(one: Held, other: Held) -> Held {
    if one.until <= other.until { one } else { other }
}

/// Has something answered again that did not when `incident` depended on it last? What began its
/// series of attempts begins no other: they need not ask it again.
#[must_use]
pub fn is_back(view: &View, incident: &OpenIncident) -> bool {
    let last = incident.status.calls.last().filter(|call| !call.answered);
    let (Some(last), Some(fleet)) = (last, &view.fleet) else { return false };
    let began = incident.status.series.as_ref().map(|series| series.since.0);
    let after = began.into_iter().fold(last.at.0, Timestamp::max);
    let known = fleet.calls.get(&last.dependency).into_iter().flatten();
    known.into_iter().any(|call| call.answered && call.at > after)
}

/// Does an Incident wait for something that did not answer, so that it is looked at when that does?
#[must_use]
pub fn waits(status: &incident::IncidentStatus) -> bool {
    let gave_up = status.state == Some(IncidentState::Escalated)
        && status.calls.last().is_some_and(|call| !call.answered);
    status.waiting == BREAKER_OPEN || gave_up
}

/// When the contract of this UID looks again at what was over at `from`: not all at the same moment.
#[must_use]
pub fn spread(uid: &str, most: Span) -> Span {
    most.min(LONGEST_SPREAD).spread(uid)
}

fn terms_of(view: &View, segment: &Segment) -> Option<Terms> {
    let named = segment.policy_ref.as_ref()?;
    let policy = view.policies.iter().find(|policy| policy.name == named.name)?;
    Some(terms(&policy.spec))
}

fn breaker(view: &View, terms: Terms, dependency: &str) -> Breaker {
    let known = view.fleet.as_ref().and_then(|fleet| fleet.calls.get(dependency));
    known.map_or_else(Breaker::default, |calls| Breaker::of(terms, calls))
}

fn held(
    view: &View,
    segment: &Segment,
    terms: Terms,
    dependency: &str,
    until: Timestamp,
    now: Timestamp,
) -> Held {
    let failures = breaker(view, terms, dependency).failures;
    let policy = segment.policy_ref.as_ref().map_or("", |policy| policy.name.as_str());
    let until =
        spread(&view.subject.uid, terms.open_for.times(SPREAD_SHARE, LONGEST_SPREAD)).after(until);
    let at = whole_seconds_up(until);
    let message = format!(
        "{dependency} did not answer {failures} times in a row, and by spec.breaker of \
         RemediationPolicy {policy} it is left alone until one contract has tried it; looking again \
         at {at}"
    );
    Held { reason: BREAKER_OPEN, message: text::message(&message), until: Some(until.max(now)) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::DoubtReason;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_did_not_answer_last_is_told_from_what_has_answered_since() {
        let last = |calls: &[(&str, i64, bool)]| {
            let call = |(dependency, second, answered): &(&str, i64, bool)| incident::Call {
                dependency: (*dependency).to_owned(),
                answered: *answered,
                at: Time(at(*second)),
            };
            unanswered(&calls.iter().map(call).collect::<Vec<_>>())
        };
        assert_eq!(last(&[]), None);
        assert_eq!(last(&[("a", 1, false), ("a", 2, false)]), Some(at(2)));
        assert_eq!(last(&[("a", 1, false), ("a", 2, true)]), None);
        assert_eq!(last(&[("a", 2, true), ("a", 1, false)]), None, "in whatever order");
        assert_eq!(last(&[("a", 1, false), ("b", 2, true), ("c", 0, false)]), Some(at(1)));
    }

    #[test]
    fn only_what_was_asked_counts_and_only_an_outage_against_it() {
        let answer = |reason| answered(&Err::<(), _>(Doubt::new(reason, "no")));
        assert_eq!(answered(&Ok(())), Some(true));
        assert_eq!(answer(DoubtReason::ConnectionFailed), Some(false));
        assert_eq!(answer(DoubtReason::SourceDown), Some(false));
        assert_eq!(answer(DoubtReason::SourceInvalid), Some(true));
        assert_eq!(answer(DoubtReason::ReferenceUnavailable), None);
        assert_eq!(answer(DoubtReason::AddressRefused), None);
        assert_eq!(answer(DoubtReason::Busy), None, "nobody was asked");
    }

    #[test]
    fn those_that_waited_do_not_all_look_at_the_same_moment() {
        let spans: BTreeSet<Span> =
            (0..100).map(|nth| spread(&format!("uid-{nth}"), LONGEST_SPREAD)).collect();
        assert!(spans.len() > 50 && spans.iter().all(|span| *span <= LONGEST_SPREAD));
    }
}
