//! When what is held is looked at again: it is said once for each hold, and goes with it.

use super::{
    effects::down,
    gates::{document, nothing_reached, others_in_trouble, world},
    *,
};
use crate::{
    api::{PAUSE, condition::ConditionType},
    decide::fleet::Trouble,
};

const REFETCH: &str = "[{name: refetch, refetchSource: {}}]";

fn newest(world: &World) -> &IncidentStatus {
    &world.incidents.last().unwrap().2
}

/// A world in trouble under a policy that also says `more`, after `change`.
fn in_trouble(more: &str, change: impl FnOnce(&mut World)) -> World {
    let mut world = world(more);
    change(&mut world);
    world.assign(&document(&json!(7)));
    world.later(Span::secs(10)).settle();
    world
}

fn annotate(world: &mut World, name: &str, text: &str) {
    world.annotations.insert(name.to_owned(), text.to_owned());
}

/// One contract whose policy has repaired another one at this second of the world.
fn repaired(world: &mut World, second: i64) {
    let began = world.now;
    world.fleet = others_in_trouble(1, 1);
    let trouble: &mut Trouble = Arc::make_mut(&mut world.fleet.troubles[0]);
    trouble.repairs = vec![Span::secs(u32::try_from(second).unwrap()).after(began)];
    trouble.until = Some(began);
}

/// One that a source holds which others have asked in vain.
fn left_alone() -> World {
    let mut world = down(REFETCH);
    let now = world.now.as_second();
    let at = |ago: i64| Timestamp::from_second(now - ago).unwrap();
    let calls = (0..5).map(|ago| Call { at: at(ago), answered: false }).collect();
    Arc::make_mut(&mut world.fleet.calls).insert("source Service catalog:80".to_owned(), calls);
    world.policies[0].spec.breaker = serde_saphyr::from_str("{openFor: 1h}").unwrap();
    world.settle();
    world
}

fn no_room_for_its_source() -> World {
    let mut world = down(REFETCH);
    world.workload.as_mut().unwrap().wanted = 1;
    world.roll_out();
    world.no_room = true;
    world.settle();
    world
}

fn resolved_a_moment_ago() -> World {
    let mut world = world("cooldown: 1h\nretry: {minHealthyPeriod: 1s}");
    world.assign(&document(&json!(7)));
    world.later(Span::secs(10)).settle();
    world.assign(&document(&json!("good")));
    world.later(Span::secs(10)).settle().run_for(Span::secs(10));
    assert_eq!(world.state(), State::Resolved);
    // Another place fails: of the same one it would be the same plan, already served.
    world.assign(&json!({"hero": "https://cdn.test/hero.png", "new": 1}));
    world.later(Span::secs(10)).settle();
    world
}

/// A world for each hold that ends by itself, what it waits for, and when it is looked at again: the exact
/// time where that is known.
fn held() -> Vec<(World, &'static str, Option<&'static str>)> {
    let pause = "2026-01-01T01:00:00Z/ann: the CDN moves";
    let pin = format!("{}/2026-01-01T01:00:00Z", Digest::of_value(&document(&json!("good"))));
    let at_one = Some("2026-01-01T01:00:00Z");
    vec![
        (in_trouble("", |world| annotate(world, PAUSE, pause)), "Paused", at_one),
        (in_trouble("", |world| annotate(world, PIN, &pin)), "Pinned", at_one),
        (
            in_trouble("windows: [{kind: Allow, schedule: '0 8 * * *', duration: 1h}]", |_| {}),
            "OutsideWindow",
            Some("2026-01-01T08:00:00Z"),
        ),
        (resolved_a_moment_ago(), "Cooldown", None),
        (
            in_trouble("", |world| {
                world.fleet = others_in_trouble(3, 6);
                let end = Span::secs(5).after(world.now);
                for trouble in &mut world.fleet.troubles {
                    Arc::make_mut(trouble).until = Some(end);
                }
            }),
            "StormCooldown",
            Some("2026-01-01T00:05:05Z"),
        ),
        (
            in_trouble("budget: {limit: 1, window: 1h}", |world| repaired(world, 5)),
            "BudgetSpent",
            Some("2026-01-01T01:00:05Z"),
        ),
        (
            in_trouble("mode: Approve\napproval: {ttl: 1h}", |_| {}),
            "AwaitingApproval",
            Some("2026-01-01T01:00:10Z"),
        ),
        (left_alone(), "BreakerOpen", None),
        (
            in_trouble("", |world| {
                world.fleet.in_flight = [("heal".to_owned(), 10)].into();
            }),
            "Concurrency",
            None,
        ),
        (no_room_for_its_source(), "Busy", None),
    ]
}

#[test]
fn a_hold_that_ends_by_itself_says_when_it_is_looked_at_again_and_is_written_once() {
    for (mut world, waiting, expected) in held() {
        let status = newest(&world).clone();
        assert_eq!((world.state(), status.waiting.as_str()), (State::Held, waiting));
        let until = status.held_until.clone().unwrap_or_else(|| panic!("{waiting}: {status:?}")).0;
        assert!(until > world.now, "{waiting}: {until}");
        if let Some(expected) = expected {
            assert_eq!(until.to_string(), expected, "{waiting}");
        }
        // It is when the operator does look: a timer is set for it, and not for later.
        assert!(world.next.is_some_and(|next| next <= until), "{waiting}: {:?}", world.next);
        let writes = world.writes;
        for _ in 0..40 {
            world.later(Span::secs(5)).settle();
        }
        assert_eq!(world.writes, writes, "{waiting} is not quiet");
        assert_eq!(newest(&world), &status, "{waiting}");
    }
}

#[test]
fn what_only_a_person_or_a_change_ends_says_no_time() {
    for (more, waiting) in [
        ("mode: Observe", "ObserveOnly"),
        ("mode: DryRun", "DryRun"),
        ("suspend: true", "Suspended"),
        ("windows: [{kind: Allow, schedule: '0 0 30 2 *', duration: 1h}]", "OutsideWindow"),
    ] {
        let world = in_trouble(more, |_| {});
        assert_eq!((newest(&world).waiting.as_str(), &newest(&world).held_until), (waiting, &None));
    }
}

#[test]
fn what_is_over_takes_its_time_with_it() {
    for (mut world, waiting, _) in held() {
        // By itself, or since somebody else has come to an end.
        world.fleet.in_flight.clear();
        world.no_room = false;
        if let Some(workload) = &mut world.workload {
            workload.wanted = 1;
            world.roll_out();
        }
        if waiting == "AwaitingApproval" {
            let plan_digest = newest(&world).plan_digest.clone().unwrap();
            world.incidents.last_mut().unwrap().1.approval = Some(Approval {
                plan_digest,
                decision: ApprovalDecision::Approve,
                by: "ann".to_owned(),
                reason: None,
            });
            world.settle();
        }
        world.run_for(Span::mins(9 * 60));
        let status = newest(&world);
        assert_ne!(status.waiting, waiting);
        assert_eq!(status.held_until, None, "{waiting}: {status:?}");
    }
}

#[test]
fn a_hold_that_a_person_makes_longer_says_the_new_time() {
    let pause = |world: &mut World, hour: u32| {
        annotate(world, PAUSE, &format!("2026-01-01T0{hour}:00:00Z/ann: the CDN moves"));
    };
    let mut world = in_trouble("", |world| pause(world, 1));
    for hour in [3, 2] {
        pause(&mut world, hour);
        world.later(Span::secs(10)).settle();
        let until = newest(&world).held_until.clone().unwrap().0.to_string();
        assert_eq!(until, format!("2026-01-01T0{hour}:00:00Z"));
    }
}

#[test]
fn a_time_that_has_gone_by_while_nobody_could_ask_the_gates_is_not_said_any_more() {
    let pause = "2026-01-01T00:01:00Z/ann: the CDN moves";
    let mut world = World::new(&good());
    world.settle();
    annotate(&mut world, PAUSE, pause);
    world.asset("hero", Some(404));
    world.later(Span::secs(10)).settle();
    assert!(newest(&world).held_until.is_some());
    // The asset cannot be asked for: nothing is concluded, and no gate is asked.
    world.asset("hero", None);
    world.later(Span::mins(5)).settle();
    assert_eq!(newest(&world).held_until, None);
    let writes = world.writes;
    world.later(Span::mins(5)).settle();
    assert_eq!(world.writes, writes);
}

#[test]
fn what_is_asked_about_every_so_often_is_asked_within_a_minute() {
    let mut egress = World::new(&document(&json!("good")));
    let policy = "default: true\nsteps: [{name: asset, replaceAsset: {}}]";
    egress.policies[0].spec = serde_saphyr::from_str(policy).unwrap();
    egress.settle();
    egress.heard = nothing_reached();
    egress.asset("hero", Some(404));
    egress.later(Span::secs(60)).settle();
    let mut crowded = in_trouble("storm: {maxUnhealthy: 100%}", |world| {
        world.fleet = others_in_trouble(5_000, 5_001);
        world.fleet.in_flight = [("heal".to_owned(), 10)].into();
    });
    crowded.settle();
    for (mut world, waiting) in
        [(egress, "EgressBroken"), (crowded, "Concurrency"), (no_room_for_its_source(), "Busy")]
    {
        let until = newest(&world).held_until.clone();
        for _ in 0..20 {
            world.settle();
            let next = world.next.unwrap();
            assert!(next <= held::AT_MOST.after(world.now), "{waiting}: {next} at {}", world.now);
            world.now = next.max(Span::secs(1).after(world.now));
        }
        assert_eq!(
            (newest(&world).waiting.as_str(), &newest(&world).held_until),
            (waiting, &until)
        );
    }
}

/// No status says when it is looked at again that is not held, or not for what it waits for.
pub(super) fn assert_said_only_while_held(status: &IncidentStatus) {
    let mut held = status.conditions.iter().filter(|is| is.type_ == ConditionType::Held.as_ref());
    let is_held = held.any(|held| held.status == "True" && held.reason == status.waiting);
    assert!(status.held_until.is_none() || is_held, "{status:?}");
}
