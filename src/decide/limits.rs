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
    view::OpenIncident,
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

/// May `policy` repair one more contract, whose own Incident is `own`, if there is one? A repair that
/// a person forces goes past the budget, never past a storm.
///
/// # Errors
/// The first limit that is reached.
pub fn check(
    policy: &Policy,
    fleet: &Fleet,
    own: Option<&OpenIncident>,
    is_forced: bool,
    now: Timestamp,
) -> Result<(), Held> {
    let own_uid = own.map(|own| own.spec.contract_uid.as_str());
    let own = own.map(|own| Trouble::of(&own.spec, &own.status));
    let others = fleet.troubles.iter().map(|trouble| &**trouble);
    let troubles: Vec<&Trouble> = others.filter(|trouble| trouble.is_of(&policy.name)).collect();
    storm(policy, fleet, &troubles, own.as_ref(), now)?;
    // It has been asked about all of this attempt when its first effect was begun.
    if own.as_ref().is_some_and(|own| own.acting.iter().any(|a| a.policy == policy.name)) {
        return Ok(());
    }
    if !is_forced {
        budget(policy, troubles.iter().copied().chain(&own), now)?;
    }
    let uid = own_uid.unwrap_or_default();
    let waiting = troubles.iter().filter(|trouble| trouble.until.is_none()).count();
    concurrency(policy, fleet, waiting, uid, now)
}

/// So many contracts in trouble at once have one cause, and it is not in their documents.
fn storm(
    policy: &Policy,
    fleet: &Fleet,
    troubles: &[&Trouble],
    own: Option<&Trouble>,
    now: Timestamp,
) -> Result<(), Held> {
    let matched = fleet.matched.get(&policy.name).copied().unwrap_or(0);
    // Of those no Incident tells yet; this one may be among them.
    let opening = fleet.opening.get(&policy.name).copied().unwrap_or(0);
    let unsaid = std::iter::repeat_n((now, None), opening);
    let own = (own.map_or(now, |own| own.since), None);
    let spans = spans(policy, troubles.iter().copied()).into_iter().chain(unsaid).chain([own]);
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

/// When the contracts of `troubles` were in trouble, as it counts for a storm: one at a time for each.
#[must_use]
pub fn spans<'a>(policy: &Policy, troubles: impl Iterator<Item = &'a Trouble>) -> Vec<Spell> {
    let cooldown = Terms::of(policy).cooldown;
    let mut all: Vec<(&str, Spell)> =
        troubles.map(|trouble| (trouble.contract.as_str(), trouble.span(cooldown))).collect();
    all.sort_unstable();
    let next = all.iter().skip(1).map(Some).chain([None]);
    let cut = all.iter().zip(next).map(|((contract, (since, until)), next)| {
        let next = next.filter(|(other, _)| other == contract).map(|(_, (since, _))| *since);
        (*since, until.map(|until| next.map_or(until, |next| until.min(next))).or(next))
    });
    cut.collect()
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

fn budget<'a>(
    policy: &Policy,
    troubles: impl Iterator<Item = &'a Trouble>,
    now: Timestamp,
) -> Result<(), Held> {
    let Budget { limit, window } = policy.spec.budget.clone().unwrap_or_default();
    let (limit, window) = (limit.unwrap_or(BUDGET), window.unwrap_or(BUDGET_WINDOW));
    let repairs = troubles.flat_map(|trouble| trouble.repairs.iter().copied());
    let mut recent: Vec<Timestamp> = repairs.filter(|at| window.after(*at) > now).collect();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if recent.len() < limit {
        return Ok(());
    }
    recent.sort_unstable();
    // When so many are too old that one is free.
    let frees = recent.get(recent.len() - limit).map(|at| window.after(*at));
    let (spent, name) = (recent.len(), &policy.name);
    Err(Held {
        reason: "BudgetSpent",
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
    Err(Held { reason: "Concurrency", message, until: Some(until) })
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
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn policy(spec: &str) -> Policy {
        let steps = "default: true\nsteps: [{name: a, restoreRevision: {}}]\n";
        Policy {
            name: "heal".to_owned(),
            generation: 1,
            created: Timestamp::UNIX_EPOCH,
            annotations: BTreeMap::default(),
            spec: serde_saphyr::from_str(&format!("{steps}{spec}")).unwrap(),
        }
    }

    fn fleet(matched: usize, troubles: &[(i64, Option<i64>)], in_flight: usize) -> Fleet {
        let trouble = |(since, until): &(i64, Option<i64>)| Trouble {
            contract: String::new(),
            policies: vec!["heal".to_owned()],
            since: at(*since),
            until: until.map(at),
            is_repaired: until.is_some(),
            repairs: vec![at(*since)],
            acting: Vec::new(),
        };
        let of_contract =
            |(nth, trouble)| Arc::new(Trouble { contract: format!("c-{nth}"), ..trouble });
        Fleet {
            troubles: troubles.iter().map(trouble).enumerate().map(of_contract).collect(),
            opening: BTreeMap::new(),
            matched: [("heal".to_owned(), matched)].into(),
            in_flight: [("heal".to_owned(), in_flight)].into(),
            ..Fleet::default()
        }
    }

    #[test]
    fn limits_hold_with_a_reason_and_a_time() {
        const NOW: i64 = 10_000;
        let open = |count: usize| vec![(NOW - 60, None); count];
        let over = |count: usize, ended: i64| vec![(NOW - 900, Some(NOW - ended)); count];
        let held = |reason: &'static str, until: Option<i64>| Some((reason, until.map(at)));
        for (spec, fleet, expected) in [
            // With this one, two of five: 40 % are allowed.
            ("", fleet(5, &open(1), 0), None),
            ("", fleet(5, &open(2), 0), held("Storm", None)),
            // Of four contracts there is no storm.
            ("", fleet(4, &open(3), 0), None),
            ("storm: {minContracts: 4}", fleet(4, &open(3), 0), held("Storm", None)),
            ("storm: {maxUnhealthy: 3}", fleet(50, &open(2), 0), None),
            ("storm: {maxUnhealthy: 3}", fleet(50, &open(3), 0), held("Storm", None)),
            ("storm: {maxUnhealthy: 100%}", fleet(5, &open(4), 0), None),
            // Over for a minute: repairs wait for four more.
            ("", fleet(5, &over(3, 60), 0), held("StormCooldown", Some(NOW - 60 + 300))),
            ("", fleet(5, &over(3, 300), 0), None),
            ("storm: {cooldown: 30s}", fleet(5, &over(3, 60), 0), None),
            // Repairs in the last hour.
            ("budget: {limit: 2}", fleet(50, &open(1), 0), None),
            ("budget: {limit: 2}", fleet(50, &open(2), 0), held("BudgetSpent", Some(NOW + 3540))),
            ("budget: {limit: 2, window: 1m}", fleet(50, &open(2), 0), None),
            ("concurrency: {maxInFlight: 2}", fleet(50, &[], 1), None),
            (
                "concurrency: {maxInFlight: 2}",
                fleet(50, &[], 2),
                held("Concurrency", Some(NOW + 1)),
            ),
            ("", fleet(50, &[], 10), held("Concurrency", Some(NOW + 1))),
        ] {
            let found = check(&policy(spec), &fleet, None, false, at(NOW)).err();
            let found = found.map(|held| (held.reason, held.until));
            assert_eq!(found, expected, "{spec} {fleet:?}");
        }
    }

    /// An Incident whose first attempt has begun to call somebody, and has come to no end.
    fn calling() -> OpenIncident {
        let spec = serde_json::json!({
            "contractName": "uk", "contractUID": "u", "widget": "w", "ordinal": 1,
            "openedAt": at(9_000), "cause": "SourceDown", "severity": "Critical", "rulesSummary": "a",
            "subject": "contract/uk", "documentDigest": crate::domain::Digest::of_bytes(b"a"), "fingerprint": crate::domain::Digest::of_bytes(b"b"),
            "plan": [{"policyRef": {"name": "heal"}, "why": "it matches", "rules": ["a"],
                "mode": "Auto", "steps": [{"name": "call", "webhook": {"url": "https://a.test"}}]}],
        });
        let status = serde_json::json!({"effects": [{"attempt": 1, "policy": "heal", "step": "call",
            "target": "https://a.test", "intendedAt": at(9_990)}]});
        OpenIncident {
            name: "uk-1".to_owned(),
            generation: 1,
            version: String::new(),
            spec: serde_json::from_value(spec).unwrap(),
            status: serde_json::from_value(status).unwrap(),
        }
    }

    #[test]
    fn effects_count_for_the_budget_and_what_has_begun_comes_to_its_end() {
        let own = calling();
        let mut others = fleet(50, &[], 9);
        others.troubles = vec![Arc::new(Trouble::of(&own.spec, &own.status))];
        let policy = policy("budget: {limit: 1}\nconcurrency: {maxInFlight: 1}");
        let held = check(&policy, &others, None, false, at(10_000)).unwrap_err();
        assert_eq!((held.reason, held.until), ("BudgetSpent", Some(at(9_990 + 3_600))));
        assert_eq!(check(&policy, &others, Some(&own), false, at(10_000)), Ok(()));
        let mut over = own;
        over.status.tries = Some(1);
        assert!(check(&policy, &others, Some(&over), false, at(10_000)).is_err(), "the next one");
    }

    #[test]
    fn repairs_that_go_well_do_not_hide_a_storm_nor_are_they_one_for_ever() {
        const NOW: i64 = 10_000;
        let repaired = |contract: &str, ago: i64| {
            Arc::new(Trouble {
                contract: contract.to_owned(),
                policies: vec!["heal".to_owned()],
                since: at(NOW - ago),
                until: None,
                is_repaired: true,
                repairs: vec![at(NOW - ago + 1)],
                acting: Vec::new(),
            })
        };
        let reason = |troubles: Vec<Arc<Trouble>>, opening: usize| {
            let mut fleet = fleet(5, &[], 0);
            fleet.troubles = troubles;
            fleet.opening = [("heal".to_owned(), opening)].into();
            check(&policy(""), &fleet, None, false, at(NOW)).err().map(|held| held.reason)
        };
        let two = |ago| vec![repaired("a", ago), repaired("b", ago)];
        assert_eq!(reason(two(10), 0), Some("Storm"), "the third within minutes");
        assert_eq!(reason(two(1_000), 0), None, "their owners may take as long as they like");
        assert_eq!(reason(vec![repaired("a", 10), repaired("a", 20)], 0), None, "one contract");
        assert_eq!(reason(vec![repaired("a", 10)], 1), Some("Storm"), "another is on its way");
    }

    #[test]
    fn however_many_wait_for_others_all_ask_within_a_minute_and_few_in_the_same_second() {
        let asks = |waiting: usize| {
            let mut seconds = BTreeMap::new();
            for nth in 0..waiting {
                let asked = for_others(waiting, 10, &format!("uid-{nth:05}"), at(0));
                *seconds.entry(asked.as_second()).or_insert(0_usize) += 1;
            }
            seconds
        };
        assert_eq!(asks(5), [(1, 5)].into(), "a few ask at once");
        for waiting in [1_000, 10_000] {
            let seconds = asks(waiting);
            assert!(seconds.keys().all(|second| (1..=60).contains(second)), "{seconds:?}");
            assert!(seconds.values().all(|many| *many <= 4 * LOOKS * 10), "{seconds:?}");
        }
    }

    #[test]
    fn the_trouble_of_another_policy_does_not_count() {
        let mut fleet = fleet(5, &[(0, None); 4], 0);
        fleet.troubles = vec![Arc::new(Trouble {
            policies: vec!["another".to_owned()],
            ..(*fleet.troubles[0]).clone()
        })];
        assert_eq!(check(&policy("budget: {limit: 1}"), &fleet, None, false, at(10)), Ok(()));
    }

    #[test]
    fn a_person_forces_past_the_budget_and_never_past_a_storm() {
        let spent = fleet(50, &[(9_000, None)], 0);
        let policy_of_one = policy("budget: {limit: 1}");
        assert!(check(&policy_of_one, &spent, None, false, at(10_000)).is_err());
        assert_eq!(check(&policy_of_one, &spent, None, true, at(10_000)), Ok(()));
        let storm = fleet(5, &[(9_000, None); 4], 0);
        assert!(check(&policy(""), &storm, None, true, at(10_000)).is_err());
    }

    proptest! {
        #[test]
        fn a_budget_is_spent_just_while_so_many_repairs_are_as_young_as_its_window(
            repairs in prop::collection::vec(0_i64..=100, 0..12),
            limit in 0_usize..6, window in 1_i64..60,
        ) {
            const NOW: i64 = 100;
            let policy = policy(&format!("budget: {{limit: {limit}, window: {window}s}}"));
            let repaired: Vec<_> = repairs.iter().map(|second| (*second, None)).collect();
            let fleet = fleet(50, &repaired, 0);
            let young =
                |second: i64| repairs.iter().filter(|at| **at + window > second).count();
            match budget(&policy, fleet.troubles.iter().map(|trouble| &**trouble), at(NOW)) {
                Ok(()) => prop_assert!(young(NOW) < limit),
                Err(held) => {
                    prop_assert!(young(NOW) >= limit);
                    let frees = (NOW..=NOW + window).find(|second| young(*second) < limit);
                    prop_assert_eq!(held.until, frees.map(at));
                }
            }
        }

        #[test]
        fn whoever_repairs_whenever_the_budget_lets_him_never_overspends_it(
            wants in prop::collection::vec(any::<bool>(), 150),
            limit in 1_usize..6, window in 1_i64..60,
        ) {
            let policy = policy(&format!("budget: {{limit: {limit}, window: {window}s}}"));
            let mut repairs: Vec<i64> = Vec::new();
            for (second, wants) in (0_i64..).zip(wants) {
                let repaired: Vec<_> = repairs.iter().map(|second| (*second, None)).collect();
                let fleet = fleet(50, &repaired, 0);
                let troubles = fleet.troubles.iter().map(|trouble| &**trouble);
                if wants && budget(&policy, troubles, at(second)).is_ok() {
                    repairs.push(second);
                }
            }
            let most = repairs
                .iter()
                .map(|from| repairs.iter().filter(|at| (*from..from + window).contains(*at)).count())
                .max();
            prop_assert!(most.unwrap_or(0) <= limit, "{most:?} within {window}s: {repairs:?}");
        }

        #[test]
        fn the_last_moment_of_a_storm_is_the_last_moment_of_a_storm(
            spans in prop::collection::vec((0_i64..50, prop::option::of(0_i64..60)), 0..12),
            most in 0_usize..6,
        ) {
            const NOW: i64 = 40;
            let spans: Vec<_> =
                spans.iter().map(|(since, long)| (*since, long.map(|long| since + long))).collect();
            let open = |second: i64| {
                let is_open = |(since, until): &&(i64, Option<i64>)| {
                    *since <= second && until.is_none_or(|until| until > second)
                };
                spans.iter().filter(is_open).count()
            };
            let last = (0..=NOW).rev().find(|second| open(*second) > most);
            let times = spans.iter().map(|(since, until)| (at(*since), until.map(at)));
            let found = last_above(times, most, at(NOW)).map(|above| above.last.as_second());
            // A storm that is over ends at the second after its last.
            let expected = last.map(|second| if second == NOW { NOW } else { second + 1 });
            prop_assert_eq!(found, expected);
        }
    }
}
