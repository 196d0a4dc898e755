//! What a policy may do to all of its contracts together: storms, budgets, repairs at once.
//!
//! All of it is read from the Incidents themselves: what is not counted beside them cannot be lost in
//! a crash, and nothing is counted twice.

use jiff::Timestamp;

use crate::{
    api::{
        policy::{Budget, Concurrency, Storm},
        refs::Share,
    },
    domain::Span,
};

use super::{
    Held,
    fleet::{Fleet, Trouble},
    select::Policy,
    view::{EndedIncident, OpenIncident},
};

const MAX_UNHEALTHY: Share = Share::Percent(40);
const MIN_CONTRACTS: u32 = 5;
const COOLDOWN: Span = Span::mins(5);
const BUDGET: u32 = 100;
const BUDGET_WINDOW: Span = Span::mins(60);
const MAX_IN_FLIGHT: u32 = 10;
/// Why an Incident is held in a storm, and after it.
pub const STORM: &str = "Storm";
/// The same, after it.
pub const STORM_COOLDOWN: &str = "StormCooldown";
/// Why an Incident is held while as many repairs were made as may be in a time.
pub const BUDGET_SPENT: &str = "BudgetSpent";
/// Why an Incident is held while as many repairs are under way as may be.
pub const CONCURRENCY: &str = "Concurrency";

/// Is what an Incident waits for the end of a storm?
#[must_use]
pub fn is_storm(waiting: &str) -> bool {
    matches!(waiting, STORM | STORM_COOLDOWN)
}

/// How long a repair waits for others that are under way, before it is asked again: at least, and at
/// most where very many wait.
const FOR_OTHERS: Span = Span::secs(1);
const LONGEST_FOR_OTHERS: Span = Span::secs(60);
/// Of all that wait, so many for each repair that may be under way look again in a second.
const LOOKS: usize = 20;

/// The contract that asks; what is known of the others is in the fleet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own<'a> {
    /// Its name.
    pub contract: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// Its open Incident.
    pub open: Option<&'a OpenIncident>,
    /// Its Incidents that are over.
    pub ended: &'a [EndedIncident],
}

/// May `policy` repair one more contract, which is `own`? A repair that a person forces goes past the
/// budget, never past a storm.
///
/// # Errors
/// The first limit that is reached.
pub fn check(
    policy: &Policy,
    fleet: &Fleet,
    own: Own<'_>,
    is_forced: bool,
    now: Timestamp,
) -> Result<(), Held> {
    let open = own.open.map(|open| Trouble::of(&open.spec, &open.status));
    let ended = own.ended.iter().map(|ended| &ended.trouble);
    let known = fleet.troubles.iter().chain(ended).map(|trouble| &**trouble);
    let troubles: Vec<&Trouble> = known.filter(|trouble| trouble.is_of(&policy.name)).collect();
    let since = open.as_ref().map_or(now, |open| open.since);
    storm(policy, fleet, &troubles, (own.contract, (since, None)), now)?;
    // It has been asked about all of this attempt when its first effect was begun.
    if open.as_ref().is_some_and(|open| open.acting.iter().any(|a| a.policy == policy.name)) {
        return Ok(());
    }
    if !is_forced {
        budget(policy, troubles.iter().copied().chain(&open), now)?;
    }
    let waiting = troubles.iter().filter(|trouble| trouble.until.is_none()).count();
    concurrency(policy, fleet, waiting, own.uid, now)
}

/// Until when an Incident that is over counts for the budget or for a storm of `policy`.
#[must_use]
pub fn counts_until(policy: &Policy, ended: &Trouble) -> Option<Timestamp> {
    let window = budget_of(policy).1;
    let cooldown = Terms::of(policy).cooldown;
    let for_budget = ended.repairs.iter().max().map(|at| window.after(*at));
    // For as long as repairs wait after a storm that it was the last part of.
    let for_storm = ended.span(cooldown).1.map(|until| cooldown.after(until));
    for_budget.max(for_storm)
}

/// So many contracts in trouble at once have one cause, and it is not in their documents.
fn storm(
    policy: &Policy,
    fleet: &Fleet,
    troubles: &[&Trouble],
    own: (&str, Spell),
    now: Timestamp,
) -> Result<(), Held> {
    let matched = fleet.matched.get(&policy.name).copied().unwrap_or(0);
    // Of those no Incident tells yet; this one may be among them.
    let opening = fleet.opening.get(&policy.name).copied().unwrap_or(0);
    let unsaid = std::iter::repeat_n((now, None), opening);
    let spans = spans(policy, troubles.iter().copied(), Some(own)).into_iter().chain(unsaid);
    let Some(storm) = storm_of(policy, matched, spans, now) else { return Ok(()) };
    let (name, why) = (&policy.name, storm.why(policy));
    if storm.is_over {
        return Err(Held { reason: STORM_COOLDOWN, message: why, until: storm.look_at });
    }
    let message = format!(
        "{why}: look for what they share, or raise its spec.storm.maxUnhealthy; see the Incident \
         about policy/{name}"
    );
    Err(Held { reason: STORM, message, until: storm.look_at })
}

/// A time in which a contract was in trouble.
type Spell = (Timestamp, Option<Timestamp>);

/// When the contracts of `troubles`, and `own`, were in trouble, as it counts for a storm: each contract
/// counts once, however many Incidents of it overlap.
#[must_use]
pub fn spans<'a>(
    policy: &Policy,
    troubles: impl Iterator<Item = &'a Trouble>,
    own: Option<(&'a str, Spell)>,
) -> Vec<Spell> {
    let cooldown = Terms::of(policy).cooldown;
    let known = troubles.map(|trouble| (trouble.contract.as_str(), trouble.span(cooldown)));
    let mut all: Vec<(&str, Spell)> = known.chain(own).collect();
    all.sort_unstable();
    let mut apart: Vec<(&str, Spell)> = Vec::new();
    for (contract, (since, until)) in all {
        match apart.last_mut() {
            Some((last, (_, end))) if *last == contract && end.is_none_or(|end| since <= end) => {
                *end = end.zip(until).map(|(end, until)| end.max(until));
            }
            _ => apart.push((contract, (since, until))),
        }
    }
    apart.into_iter().map(|(_, spell)| spell).collect()
}

/// A storm of one policy's contracts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stormy {
    /// When it began.
    pub since: Timestamp,
    /// How many contracts are in trouble at once, or were in the last moment of it.
    pub unhealthy: usize,
    /// How many the policy is for.
    pub matched: usize,
    /// It is over, but for the cooldown.
    pub is_over: bool,
    /// When that may change by time alone.
    pub look_at: Option<Timestamp>,
}

impl Stormy {
    /// A sentence for people.
    #[must_use]
    pub fn why(&self, policy: &Policy) -> String {
        let Self { unhealthy, matched, .. } = self;
        let (name, Terms { share, cooldown, .. }) = (&policy.name, Terms::of(policy));
        if self.is_over {
            return format!(
                "a storm of the contracts of RemediationPolicy {name} ended less than {cooldown} ago"
            );
        }
        format!(
            "{unhealthy} of the {matched} contracts that RemediationPolicy {name} is for are in \
             trouble at once, or were repaired less than {cooldown} ago, and at most {share} may be"
        )
    }
}

/// A policy's `storm`, with the defaults.
struct Terms {
    share: Share,
    fewest: usize,
    cooldown: Span,
}

impl Terms {
    fn of(policy: &Policy) -> Self {
        let Storm { max_unhealthy, min_contracts, cooldown } =
            policy.spec.storm.clone().unwrap_or_default();
        Self {
            share: max_unhealthy.unwrap_or(MAX_UNHEALTHY),
            fewest: usize::try_from(min_contracts.unwrap_or(MIN_CONTRACTS)).unwrap_or(usize::MAX),
            cooldown: cooldown.unwrap_or(COOLDOWN),
        }
    }
}

/// The storm that holds the repairs of `policy`, which is for `matched` contracts, when those were in
/// trouble in these spans.
#[must_use]
pub fn storm_of(
    policy: &Policy,
    matched: usize,
    spans: impl Iterator<Item = Spell>,
    now: Timestamp,
) -> Option<Stormy> {
    let Terms { share, fewest, cooldown } = Terms::of(policy);
    if matched < fewest {
        return None;
    }
    let spans: Vec<Spell> = spans.collect();
    let Above { since, last, open } = last_above(spans.iter().copied(), share.of(matched), now)?;
    let is_over = last < now;
    let look_at = if is_over {
        Some(cooldown.after(last))
    } else {
        spans.iter().filter_map(|(_, until)| *until).filter(|until| *until > now).min()
    };
    let goes_on = !is_over || look_at.is_some_and(|at| at > now);
    goes_on.then_some(Stormy { since, unhealthy: open, matched, is_over, look_at })
}

/// When more than `most` of `spans` were open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Above {
    since: Timestamp,
    /// The end of it, or the present.
    last: Timestamp,
    /// How many were open then.
    open: usize,
}

/// The last time up to `now` at which more than `most` of `spans` were open.
fn last_above(spans: impl Iterator<Item = Spell>, most: usize, now: Timestamp) -> Option<Above> {
    // An end comes before a beginning at the same moment.
    let mut changes: Vec<(Timestamp, bool)> = spans
        .filter(|(since, until)| *since <= now && until.is_none_or(|until| until > *since))
        .flat_map(|(since, until)| {
            let end = until.filter(|until| *until <= now).map(|until| (until, false));
            [Some((since, true)), end]
        })
        .flatten()
        .collect();
    changes.sort_unstable();
    let (mut open, mut since, mut last) = (0_usize, now, None);
    for (at, begins) in changes {
        if begins {
            open += 1;
            if open == most.saturating_add(1) {
                since = at;
            }
        } else {
            if open > most {
                last = Some(Above { since, last: at, open });
            }
            open = open.saturating_sub(1);
        }
    }
    if open > most { Some(Above { since, last: now, open }) } else { last }
}

/// A policy's `budget`, with the defaults.
fn budget_of(policy: &Policy) -> (u32, Span) {
    let Budget { limit, window } = policy.spec.budget.clone().unwrap_or_default();
    (limit.unwrap_or(BUDGET), window.unwrap_or(BUDGET_WINDOW))
}

/// The repairs of `troubles` that a budget with this window counts.
fn recent<'a>(
    window: Span,
    troubles: impl Iterator<Item = &'a Trouble>,
    now: Timestamp,
) -> Vec<Timestamp> {
    let repairs = troubles.flat_map(|trouble| trouble.repairs.iter().copied());
    repairs.filter(|at| window.after(*at) > now).collect()
}

/// How many more repairs the budget of `policy`, whose troubles these are, allows now.
#[must_use]
pub fn budget_left<'a>(
    policy: &Policy,
    troubles: impl Iterator<Item = &'a Trouble>,
    now: Timestamp,
) -> u32 {
    let (limit, window) = budget_of(policy);
    let spent = recent(window, troubles, now).len();
    limit.saturating_sub(u32::try_from(spent).unwrap_or(u32::MAX))
}

fn budget<'a>(
    policy: &Policy,
    troubles: impl Iterator<Item = &'a Trouble>,
    now: Timestamp,
) -> Result<(), Held> {
    let (limit, window) = budget_of(policy);
    let mut recent = recent(window, troubles, now);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if recent.len() < limit {
        return Ok(());
    }
    recent.sort_unstable();
    // When so many are too old that one is free.
    let frees = recent.get(recent.len() - limit).map(|at| window.after(*at));
    let (spent, name) = (recent.len(), &policy.name);
    Err(Held {
        reason: BUDGET_SPENT,
        message: format!(
            "RemediationPolicy {name} has made {spent} repairs in {window}, and its spec.budget \
             allows {limit}"
        ),
        until: frees,
    })
}

fn concurrency(
    policy: &Policy,
    fleet: &Fleet,
    waiting: usize,
    uid: &str,
    now: Timestamp,
) -> Result<(), Held> {
    let Concurrency { max_in_flight } = policy.spec.concurrency.clone().unwrap_or_default();
    let most = usize::try_from(max_in_flight.unwrap_or(MAX_IN_FLIGHT)).unwrap_or(usize::MAX);
    let under_way = fleet.in_flight.get(&policy.name).copied().unwrap_or(0);
    if under_way < most {
        return Ok(());
    }
    let name = &policy.name;
    // No number that changes while it waits: each change would be a write for each that waits.
    let message = format!(
        "as many repairs of RemediationPolicy {name} are under way as its \
         spec.concurrency.maxInFlight allows: {most}"
    );
    let until = for_others(waiting, most, uid, now);
    Err(Held { reason: CONCURRENCY, message, until: Some(until) })
}

/// When the contract of this UID asks again, where so many wait and only `most` may be under way: the
/// more wait, the later, and not all at the same moment.
fn for_others(waiting: usize, most: usize, uid: &str, now: Timestamp) -> Timestamp {
    let rounds = waiting / most.max(1).saturating_mul(LOOKS);
    let rounds = f64::from(u32::try_from(rounds).unwrap_or(u32::MAX));
    let longest = FOR_OTHERS.times(rounds, LONGEST_FOR_OTHERS);
    // Half of it at least: nobody asks twice while others have not asked once.
    let half = longest.times(0.5, longest);
    half.spread(uid).after(half.max(FOR_OTHERS).after(now))
}

#[cfg(test)]
mod tests;
