//! A request that found no room among our own in time, and was not made: it says nothing of whoever it was
//! for. Nothing counts against anybody and no attempt is spent; it is made soon, and the longer there is no
//! room the less often it is tried, since each that waits takes the room of another.

use jiff::Timestamp;

use crate::{
    api::{
        condition::{ConditionType, Conditions},
        contract::CheckResult,
    },
    domain::{Doubt, DoubtReason, Span, Verdict},
};

use super::{
    Held,
    effective::DOCUMENT_RULE,
    validate::Judged,
    view::{Assigned, View},
};

/// The reason of an Incident that waits for it.
pub const BUSY: &str = "Busy";

const SOONEST: Span = Span::secs(1);
const LATEST: Span = Span::secs(30);

/// Why something was not asked at all, where that is why there is no answer.
#[must_use]
pub fn unasked<T>(answer: Option<&Result<T, Doubt>>) -> Option<&Doubt> {
    let doubt = answer?.as_ref().err()?;
    (doubt.reason == DoubtReason::Busy).then_some(doubt)
}

/// Why a document is not known to be good, where nothing else is why but that something was not asked.
#[must_use]
pub fn unjudged(judged: &Judged) -> Option<&Doubt> {
    let mut why = None;
    for result in judged.critical() {
        match &result.verdict {
            Verdict::Pass => {}
            Verdict::Unknown(doubt) if doubt.reason == DoubtReason::Busy => why = Some(doubt),
            Verdict::Unknown(_) | Verdict::Fail(_) => return None,
        }
    }
    why
}

/// What holds the Incident until a request is made that found no room at `at`.
#[must_use]
pub fn held(view: &View, why: &str, at: Timestamp) -> Held {
    let conditions =
        view.incident.as_ref().map(|open| Conditions::of(Some(&open.status.conditions)));
    let known = conditions.as_ref().and_then(|known| known.get(ConditionType::Held));
    let known = known.filter(|held| held.status == "True" && held.reason == BUSY);
    let since = known.map_or(at, |held| held.last_transition_time.0);
    Held { reason: BUSY, message: why.to_owned(), until: Some(again(since, at)) }
}

/// When to ask again for the assigned document; None where it was asked for.
#[must_use]
pub fn next_look(view: &View, now: Timestamp) -> Option<Timestamp> {
    let Assigned::Unavailable(doubt) = &view.assigned else { return None };
    let known = view.status.checks.iter().find(|check| check.rule == DOCUMENT_RULE);
    let known = known.filter(|check| check.result == CheckResult::Unknown);
    let since = known.map_or(now, |check| check.since.0);
    (doubt.reason == DoubtReason::Busy).then(|| again(since, now))
}

/// When to try again what has found no room from `since` to `now`.
fn again(since: Timestamp, now: Timestamp) -> Timestamp {
    Span::between(since, now).times(0.25, LATEST).max(SOONEST).after(now)
}
