//! Which Incidents of a contract that are over are kept: as many and as long as its policy says, and
//! those that a limit still counts, because a limit that forgets lets more be done than it allows.
//!
//! | it counts for | until |
//! |---|---|
//! | the budget, a storm and its cooldown | what `limits` says, by each policy of its plan |
//! | `cooldown` | that is over; the last one that was resolved |
//! | a fight over the served key | the round is too old |
//! | a document that is not written back twice | `minHealthyPeriod` is over |
//! | a breaker | its unanswered calls are too old |
//! | what a person closed | another document is assigned |
//! | a Job of it, which goes with it | the time of that is over |

use jiff::Timestamp;

use crate::{api::contract::WriteBack, domain::Span};

use super::{
    breakers, episode, limits, publish, select,
    view::{Assigned, EndedIncident, View, sooner},
};

const KEEP_RESOLVED: u32 = 20;
const RESOLVED_TTL: Span = Span::mins(168 * 60);
/// So many more are kept at most because they count.
const MORE_KEPT: usize = 20;

/// The ended Incidents that are not kept any more, and when the next one will not be.
#[must_use]
pub(super) fn surplus(view: &View, now: Timestamp) -> (Vec<EndedIncident>, Option<Timestamp>) {
    let named = view.status.policy.as_deref().unwrap_or_default();
    let policy =
        view.policies.iter().find(|policy| named.split(',').any(|name| name == policy.name));
    let limits = policy.and_then(|policy| policy.spec.incidents.clone()).unwrap_or_default();
    let keep = limits.keep_resolved.unwrap_or(KEEP_RESOLVED);
    let ttl = limits.ttl.unwrap_or(RESOLVED_TTL);
    let expires = |ended: &EndedIncident| ended.ended_at.map_or(now, |at| ttl.after(at));
    let too_many = usize::try_from(keep).unwrap_or(usize::MAX);
    let (mut surplus, mut next, mut more) = (Vec::new(), None, 0);
    for (at, ended) in view.ended.iter().enumerate() {
        if at < too_many && expires(ended) > now {
            next = sooner(next, Some(expires(ended)));
            continue;
        }
        let until = counts_until(view, ended).filter(|until| *until > now);
        if more < MORE_KEPT && (until.is_some() || is_closed_for_good(view, ended)) {
            more += 1;
            next = sooner(next, until);
        } else {
            surplus.push(ended.clone());
        }
    }
    (surplus, next)
}

/// Until when a limit of the policies in force counts it, or a Job of it may run.
fn counts_until(view: &View, ended: &EndedIncident) -> Option<Timestamp> {
    let policies = &view.policies;
    let its = policies.iter().filter(|policy| ended.trouble.is_of(&policy.name));
    let limited = its.filter_map(|policy| limits::counts_until(policy, &ended.trouble)).max();
    // Any policy of the namespace may be the next one's.
    let cooldown = policies.iter().filter_map(|policy| policy.spec.cooldown).max();
    let is_last = view.last_resolved().is_some_and(|last| last.name == ended.name);
    let cools = cooldown.filter(|_| is_last);
    let healthy = select::longest_healthy_period(policies);
    let written_back = (view.effective.write_back == WriteBack::Document).then_some(healthy);
    let called = ended.unanswered.and_then(|at| breakers::remember_until(policies, at));
    let after = |span: Option<Span>| Some(span?.after(ended.ended_at?));
    [
        limited,
        after(cools),
        publish::round_until(ended),
        after(written_back),
        called,
        ended.jobs_until,
    ]
    .into_iter()
    .flatten()
    .max()
}

/// What a person closed opens again for another document only; while none can be had, nobody knows.
fn is_closed_for_good(view: &View, ended: &EndedIncident) -> bool {
    let is_known = !matches!(view.assigned, Assigned::Unavailable(_));
    ended.closed.is_some() && (!is_known || ended.digest == episode::assigned_digest(view))
}
