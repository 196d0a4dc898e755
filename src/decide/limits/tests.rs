use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::decide::select::testing;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn policy(spec: &str) -> Policy {
    testing::policy("heal", 0, &format!("default: true\n{spec}"))
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
        ("concurrency: {maxInFlight: 2}", fleet(50, &[], 2), held("Concurrency", Some(NOW + 1))),
        ("", fleet(50, &[], 10), held("Concurrency", Some(NOW + 1))),
    ] {
        let found = check(&policy(spec), &fleet, Own::default(), false, at(NOW)).err();
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
    let held = check(&policy, &others, Own::default(), false, at(10_000)).unwrap_err();
    assert_eq!((held.reason, held.until), ("BudgetSpent", Some(at(9_990 + 3_600))));
    assert_eq!(
        check(&policy, &others, Own { open: Some(&own), ..Own::default() }, false, at(10_000)),
        Ok(())
    );
    let mut over = own;
    over.status.tries = Some(1);
    assert!(
        check(&policy, &others, Own { open: Some(&over), ..Own::default() }, false, at(10_000))
            .is_err(),
        "the next one"
    );
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
        check(&policy(""), &fleet, Own::default(), false, at(NOW)).err().map(|held| held.reason)
    };
    let two = |ago| vec![repaired("a", ago), repaired("b", ago)];
    assert_eq!(reason(two(10), 0), Some("Storm"), "the third within minutes");
    assert_eq!(reason(two(1_000), 0), None, "their owners may take as long as they like");
    assert_eq!(reason(vec![repaired("a", 10), repaired("a", 20)], 0), None, "one contract");
    assert_eq!(reason(vec![repaired("a", 10)], 1), Some("Storm"), "another is on its way");
}

/// An Incident of the contract itself that is over.
fn over(since: i64, until: i64, repairs: &[i64]) -> EndedIncident {
    let OpenIncident { name, spec, status, .. } = calling();
    let trouble = Trouble {
        since: at(since),
        until: Some(at(until)),
        is_repaired: true,
        repairs: repairs.iter().map(|second| at(*second)).collect(),
        acting: Vec::new(),
        ..Trouble::of(&spec, &status)
    };
    EndedIncident { trouble: Arc::new(trouble), ..EndedIncident::of(&name, "", &spec, &status) }
}

#[test]
fn repairs_of_the_contract_itself_count_for_the_budget_each_once() {
    let mut open = calling();
    open.status.tries = Some(1);
    let ended = [over(9_000, 9_100, &[9_050, 9_060]), over(1_000, 1_100, &[1_050])];
    let own = Own { contract: "uk", uid: "u", open: Some(&open), ended: &ended };
    let limit = |limit: usize| {
        let policy = policy(&format!("budget: {{limit: {limit}}}"));
        check(&policy, &fleet(50, &[(9_070, None)], 0), own, false, at(10_000)).err()
    };
    // Two of them, one of the open Incident and one of another contract.
    let held = limit(4).unwrap();
    assert_eq!((held.reason, held.until), ("BudgetSpent", Some(at(9_050 + 3_600))));
    assert_eq!(limit(5), None);
}

#[test]
fn a_contract_is_once_in_a_storm_whatever_incidents_it_has_and_knows_of_its_own_past() {
    const NOW: i64 = 10_000;
    let open = calling();
    let held = |others: &[(i64, Option<i64>)], own: Option<&OpenIncident>, ended| {
        let own = Own { contract: "uk", uid: "u", open: own, ended };
        check(&policy(""), &fleet(5, others, 0), own, false, at(NOW)).err().map(|h| h.reason)
    };
    // Its repair of a minute ago still counts when it is in trouble again, and not for two.
    let repaired = [over(NOW - 100, NOW - 70, &[NOW - 80])];
    for own in [None, Some(&open)] {
        assert_eq!(held(&[(NOW - 60, None)], own, &repaired), None);
        assert_eq!(held(&[(NOW - 60, None); 2], own, &repaired), Some("Storm"));
    }
    // Three were in trouble until a minute ago, and it was one of them.
    let past = [over(NOW - 900, NOW - 60, &[])];
    let others = [(NOW - 900, Some(NOW - 60)); 2];
    assert_eq!(held(&others, None, &past), Some("StormCooldown"));
    assert_eq!(held(&others, None, &[]), None);
}

#[test]
fn a_contract_whose_trouble_took_the_place_of_another_is_still_in_a_storm() {
    let mut others = fleet(5, &[(9_000, Some(9_100)), (9_000, None), (9_050, None)], 0);
    let first = Trouble { contract: "c-1".to_owned(), ..(*others.troubles[0]).clone() };
    others.troubles[0] = Arc::new(first);
    let own = Own { contract: "uk", ..Own::default() };
    let held = check(&policy(""), &others, own, false, at(10_000)).err();
    assert_eq!(held.map(|held| held.reason), Some("Storm"), "two others, and this one");
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
    assert_eq!(check(&policy("budget: {limit: 1}"), &fleet, Own::default(), false, at(10)), Ok(()));
}

#[test]
fn a_person_forces_past_the_budget_and_never_past_a_storm() {
    let spent = fleet(50, &[(9_000, None)], 0);
    let policy_of_one = policy("budget: {limit: 1}");
    assert!(check(&policy_of_one, &spent, Own::default(), false, at(10_000)).is_err());
    assert_eq!(check(&policy_of_one, &spent, Own::default(), true, at(10_000)), Ok(()));
    let storm = fleet(5, &[(9_000, None); 4], 0);
    assert!(check(&policy(""), &storm, Own::default(), true, at(10_000)).is_err());
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
        let troubles = || fleet.troubles.iter().map(|trouble| &**trouble);
        let left = limit.saturating_sub(young(NOW));
        prop_assert_eq!(usize::try_from(budget_left(&policy, troubles(), at(NOW))).unwrap(), left);
        match budget(&policy, troubles(), at(NOW)) {
            Ok(()) => prop_assert!(young(NOW) < limit),
            Err(held) => {
                prop_assert!(young(NOW) >= limit);
                let frees = (NOW..=NOW + window).find(|second| young(*second) < limit);
                prop_assert_eq!(held.until, frees.map(at));
            }
        }
    }

    #[test]
    fn what_does_not_count_any_more_makes_no_difference(
        ended in prop::collection::vec((0_i64..100, 0_i64..60, prop::option::of(0_i64..60)), 0..8),
        others in prop::collection::vec((0_i64..100, prop::option::of(1_i64..60)), 0..4),
        window in 1_i64..60, cooldown in 0_i64..60, now in 0_i64..300,
    ) {
        let policy = policy(&format!(
            "budget: {{limit: 2, window: {window}s}}\nstorm: {{cooldown: {cooldown}s}}"
        ));
        let others: Vec<_> =
            others.iter().map(|(since, long)| (*since, long.map(|long| since + long))).collect();
        let fleet = fleet(5, &others, 0);
        let ended = ended.iter().map(|(since, long, repaired)| {
            let repairs: Vec<i64> = repaired.iter().map(|after| since + after.min(long)).collect();
            over(*since, since + long, &repairs)
        });
        let all: Vec<EndedIncident> = ended.collect();
        let counts = |ended: &EndedIncident| {
            counts_until(&policy, &ended.trouble).is_some_and(|until| until > at(now))
        };
        let counted: Vec<EndedIncident> =
            all.iter().filter(|ended| counts(ended)).cloned().collect();
        let checked = |ended| {
            check(&policy, &fleet, Own { contract: "uk", ended, ..Own::default() }, false, at(now))
        };
        prop_assert_eq!(checked(&all), checked(&counted));
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
