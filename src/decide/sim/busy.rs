//! A queue of our own is nobody's silence: nothing counts, nothing is spent, and it is asked again soon.

use super::{
    effects::{RUN, down, with_job, with_webhook},
    *,
};
use crate::{
    api::{
        RESET,
        contract::CheckResult,
        incident::{EffectOutcome, StepOutcome},
    },
    decide::delivered::{self, Edge},
};

const REFETCH: &str = "[{name: refetch, retries: 1, refetchSource: {}}]";

/// What came of a request that found no room.
pub(super) fn no_room() -> Doubt {
    Doubt::new(DoubtReason::Busy, "too many requests are under way here")
}

fn told() -> Told {
    Told::NoRoom { why: no_room().message, at: Timestamp::UNIX_EPOCH }
}

fn status(world: &World) -> &IncidentStatus {
    &world.incidents.last().unwrap().2
}

#[test]
fn a_source_that_there_is_no_room_to_ask_costs_no_attempt_and_counts_against_nobody() {
    let mut world = down(REFETCH);
    world.workload.as_mut().unwrap().wanted = 1;
    world.roll_out();
    world.no_room = true;
    world.settle();
    assert_eq!((world.state(), status(&world).waiting.as_str()), (State::Held, "Busy"));
    let soon = Span::secs(2).after(world.now);
    assert!(world.next.is_some_and(|at| at > world.now && at <= soon), "{:?}", world.next);
    let served = world.served_value();
    // However often it is looked at, nothing is written; and the longer it lasts the less often.
    let writes = world.writes;
    world.run_for(Span::mins(4));
    assert_eq!(world.writes, writes, "not quiet");
    world.settle();
    assert_eq!(world.next, Some(Span::secs(30).after(world.now)));
    assert_eq!(
        (world.tries(), &status(&world).calls, &status(&world).retried),
        (0, &vec![], &None)
    );
    assert_eq!(status(&world).message, no_room().message);
    assert_eq!(status(&world).diagnosis, None, "nobody is to blame");
    assert_eq!(world.served_value(), served);
    // A person is called all the same when it takes too long.
    let mut late = world.clone();
    late.later(Span::mins(24 * 60)).settle();
    assert_eq!((late.state(), late.tries()), (State::Escalated, 0));

    world.no_room = false;
    world.run_for(Span::mins(1));
    assert_eq!((world.state(), world.tries()), (State::Mitigated, 1));
    assert_eq!(world.served_value()["title"], "from the source");
}

#[test]
fn a_plan_goes_on_without_the_source_that_there_is_no_room_to_ask() {
    let mut world =
        down("[{name: refetch, refetchSource: {}}, {name: restore, restoreRevision: {}}]");
    world.no_room = true;
    world.assign(&with(|document| {
        document["title"] = json!(7);
        document["new"] = json!("good");
    }));
    world.settle();
    assert_eq!((world.state(), world.tries()), (State::Mitigated, 1));
    assert_eq!(world.served_value()["new"], "good");
    assert!(status(&world).calls.is_empty(), "{:?}", status(&world).calls);
}

#[test]
fn a_call_that_there_is_no_room_for_spends_no_try_and_is_made_once_with_the_key_of_its_intent() {
    let taken = Told::Answered { status: 204, retry_after: None };
    let mut world = with_webhook(&[told(), told(), told(), taken]);
    world.policies[0].spec.breaker =
        serde_saphyr::from_str("{failureThreshold: 1, openFor: 5m}").unwrap();
    world.roll_out().settle();
    assert_eq!((world.state(), status(&world).waiting.as_str()), (State::Held, "Busy"));
    assert_eq!(status(&world).message, no_room().message);
    let intent = world.effects()[0].clone();
    assert_eq!((intent.outcome, intent.tries, world.calls.len()), (None, None, 0));
    assert_eq!(world.answers.len(), 3, "it is not tried again at once");
    // Nobody else knows that it was not sent: the process that comes next sends it.
    world.told.clear();
    world.later(Span::secs(1)).settle();
    assert_eq!((world.answers.len(), &world.effects()[0]), (2, &intent));
    world.run_for(Span::secs(10));
    let key = format!("{}/1/heal/tell", world.incidents[0].0);
    let keys: Vec<&String> = world.calls.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [&key]);
    let effect = &world.effects()[0];
    assert_eq!((effect.outcome, effect.tries), (Some(EffectOutcome::Done), None));
    assert_eq!(effect.intended_at, intent.intended_at);
    assert_eq!((world.state(), world.tries()), (State::Mitigated, 1));
    assert!(status(&world).calls.iter().all(|call| call.answered), "{:?}", status(&world).calls);
}

#[test]
fn a_document_that_there_is_no_room_to_fetch_is_unknown_of_nobody_and_asked_for_again_soon() {
    let mut world = World::new(&good());
    world.settle();
    let waits = |world: &World| {
        let mut view = world.view();
        view.assigned = Assigned::Unavailable(no_room());
        decide(&view, world.now).unwrap()
    };
    let mut wait = Vec::new();
    for after in [0, 8, 60, 600] {
        let decision = waits(&world);
        assert!(decision.silences.is_some_and(|silences| silences.is_empty()));
        let Next::At(at) = decision.next else { panic!("{:?}", decision.next) };
        wait.push(Span::between(world.now, at));
        for write in decision.stages.into_iter().flatten() {
            assert!(matches!(write, Write::Status(_)), "{write:?}");
            world.apply(write);
        }
        world.later(Span::secs(after));
    }
    assert_eq!(wait, [1, 1, 2, 17].map(Span::secs));
    let check = &world.status.checks[0];
    assert_eq!((check.result, check.keyword.as_str()), (CheckResult::Unknown, "Busy"));
    assert_eq!((check.host.as_str(), check.message.as_str()), ("", no_room().message.as_str()));
    assert!(world.incidents.is_empty());
    assert_eq!(world.served_value(), good());
}

#[test]
fn an_edge_that_there_is_no_room_to_ask_is_not_said_to_be_stale() {
    let mut world = World::new(&good());
    world.contract["serve"] =
        json!({"probe": {"url": "https://edge.test/uk.json", "within": "2m"}});
    world.no_room = true;
    world.settle().run_for(Span::mins(5));
    let edge = |world: &World| {
        let (view, ..) = world.decided();
        delivered::edge(&view, &world.status, world.now)
    };
    assert!(matches!(edge(&world), Edge::Awaited { ask_at } if ask_at > world.now));
    world.no_room = false;
    world.run_for(Span::secs(30));
    assert!(matches!(edge(&world), Edge::Stale { .. }));
    // What was seen does not become unseen.
    world.no_room = true;
    world.run_for(Span::mins(2));
    assert!(matches!(edge(&world), Edge::Stale { .. }));
    assert_eq!(world.times(Reason::StaleAtEdge), 1);
}

/// A source that answers while there is no room to ask it.
fn up(steps: &str) -> World {
    let mut world = down(steps);
    world.workload.as_mut().unwrap().wanted = 1;
    world.no_room = true;
    world.roll_out();
    world
}

/// Nothing was done and nothing is spent: room is waited for.
fn assert_waits(world: &World) {
    let status = status(world);
    assert_eq!((world.state(), status.waiting.as_str()), (State::Held, "Busy"), "{status:?}");
    assert_eq!((world.tries(), status.effects.len()), (0, 0));
    assert!(world.acts.is_empty() && world.calls.is_empty());
    let soon = Span::secs(30).after(world.now);
    assert!(world.next.is_some_and(|next| next <= soon), "{:?}", world.next);
}

#[test]
fn nothing_is_acted_on_before_a_source_is_asked_that_there_is_no_room_to_ask() {
    for acts in [
        "{name: restart, restartWorkload: {}}",
        "{name: tell, webhook: {url: 'https://hooks.test/x'}}",
    ] {
        for is_up in [true, false] {
            let mut world = up(&format!("[{{name: refetch, refetchSource: {{}}}}, {acts}]"));
            world.settle().run_for(Span::mins(2));
            assert_waits(&world);
            if !is_up {
                world.workload.as_mut().unwrap().available = 0;
            }
            world.no_room = false;
            world.run_for(Span::secs(40));
            let acted = world.acts.len() + world.calls.len();
            // It was asked first, and what is behind it has its turn where it did not answer.
            assert_eq!((acted > 0, world.asked_source > 0), (!is_up, true), "{acts}");
            let title = &world.served_value()["title"];
            assert_eq!(*title == "from the source", is_up, "{acts}");
        }
    }
}

#[test]
fn nobody_is_asked_to_approve_an_act_before_the_source_is_asked() {
    let mut world =
        up("[{name: refetch, refetchSource: {}}, {name: restart, restartWorkload: {}}]");
    world.policies[0].spec.mode = Some(Mode::Approve);
    world.settle().run_for(Span::mins(1));
    assert_waits(&world);
    assert_eq!(status(&world).plan_digest, None);
    world.no_room = false;
    world.run_for(Span::secs(40));
    assert_eq!(
        (status(&world).waiting.as_str(), status(&world).plan.len()),
        ("AwaitingApproval", 1)
    );
}

#[test]
fn a_source_behind_a_job_is_asked_soon_and_not_when_the_jobs_time_is_over() {
    let mut world = with_job();
    world.policies[0].spec.steps =
        serde_saphyr::from_str(&RUN.replace("timeout: 1m", "timeout: 60m")).unwrap();
    world.settle().run_for(Span::secs(5));
    assert_eq!(status(&world).waiting, "Job");
    world.no_room = true;
    world.end_jobs(&JobEnd::Complete, "").roll_out().run_for(Span::secs(20));
    assert_eq!((world.state(), status(&world).waiting.as_str()), (State::Held, "Busy"));
    assert!(world.next.is_some_and(|next| next <= Span::secs(30).after(world.now)));
    world.no_room = false;
    world.run_for(Span::secs(30));
    assert_eq!((world.state(), world.tries(), world.made.len()), (State::Mitigated, 1, 1));
}

#[test]
fn a_wait_that_is_over_is_not_waited_for_again_while_there_is_no_room() {
    let mut world = up("[{name: pause, wait: {for: 5s}}, {name: refetch, refetchSource: {}}]");
    world.settle().run_for(Span::secs(8));
    assert_waits(&world);
    let writes = world.writes;
    world.run_for(Span::mins(4));
    assert_waits(&world);
    assert_eq!(world.writes, writes);
    assert!(world.next.is_some_and(|next| next > Span::secs(20).after(world.now)), "no backoff");
}

#[test]
fn a_wait_behind_what_there_was_no_room_for_is_waited_for() {
    let steps = "[{name: tell, webhook: {url: 'https://hooks.test/x'}}, \
                  {name: pause, wait: {for: 10m}}, {name: restart, restartWorkload: {}}]";
    let mut world = with_webhook(&[told(), Told::Answered { status: 400, retry_after: None }]);
    world.policies[0].spec.steps = serde_saphyr::from_str(steps).unwrap();
    world.policies[0].spec.service_account_name = Some("healer".to_owned());
    world.settle();
    assert_eq!(status(&world).waiting, "Busy");
    world.run_for(Span::mins(9));
    assert_eq!((status(&world).waiting.as_str(), world.acts.len()), ("Wait", 0));
    world.run_for(Span::mins(2));
    assert_eq!(world.acts.len(), 1);
}

#[test]
fn a_candidate_whose_assets_there_is_no_room_to_ask_for_costs_no_attempt() {
    let mut world = World::new(&good());
    world.settle().asset("hero", Some(404));
    world.no_room_for = Some("fallback");
    world.later(Span::mins(1)).settle();
    assert_waits(&world);
    let writes = world.writes;
    world.run_for(Span::mins(4));
    assert_waits(&world);
    assert_eq!(world.writes, writes, "not quiet");
    // An asset whose host gives no answer was asked for.
    let mut silent = world.clone();
    silent.no_room_for = None;
    silent.asset("fallback", None);
    silent.run_for(Span::mins(1));
    assert_eq!((silent.state(), silent.tries()), (State::Escalated, 2));

    world.no_room_for = None;
    world.run_for(Span::mins(1));
    assert_eq!((world.served_value(), world.tries()), (fallback(), 1));
}

#[test]
fn a_revision_whose_assets_there_is_no_room_to_ask_for_is_waited_for_before_anything_acts() {
    let mut world =
        down("[{name: restore, restoreRevision: {}}, {name: restart, restartWorkload: {}}]");
    world.workload.as_mut().unwrap().wanted = 1;
    world.no_room_for = Some("hero");
    world.assign(&with(|document| {
        document["title"] = json!(7);
        document["hero"] = json!("https://cdn.test/other.png");
    }));
    world.roll_out().settle().run_for(Span::mins(2));
    assert_waits(&world);
    world.no_room_for = None;
    world.run_for(Span::secs(40));
    assert_eq!((world.state(), world.tries(), world.acts.len()), (State::Mitigated, 1, 0));
    assert_eq!(world.served_value()["title"], "one");
}

#[test]
fn a_fallback_is_used_where_there_is_no_room_to_find_out_what_revisions_are_worth() {
    let mut world = World::new(&good());
    world.settle().asset("other", Some(404));
    world.no_room_for = Some("hero");
    world.assign(&with(|document| document["hero"] = json!("https://cdn.test/other.png")));
    world.later(Span::mins(1)).settle();
    assert_eq!((world.state(), world.served_value()), (State::Mitigated, fallback()));
}

#[test]
fn nothing_is_acted_on_for_the_part_that_a_step_could_not_mend_because_there_was_no_room_to_look() {
    let mut world = down("[{name: asset, replaceAsset: {}}, {name: restart, restartWorkload: {}}]");
    world.contract["rules"] = json!([
        {"name": "images", "asset": {"paths": ["$.hero"]}},
        {"name": "logos", "asset": {"paths": ["$.logo"]}},
    ]);
    world.contract["fallbackAssets"] =
        json!([{"rule": "images", "url": "https://cdn.test/fallback.png"}]);
    world.asset("logo", Some(200));
    world.asset("gone", Some(404));
    world.asset("broken", Some(404));
    world.assign(&with(|document| document["logo"] = json!("https://cdn.test/logo.png")));
    world.workload.as_mut().unwrap().wanted = 1;
    world.roll_out().settle();
    world.no_room_for = Some("logo");
    world.assign(&with(|document| {
        document["hero"] = json!("https://cdn.test/gone.png");
        document["logo"] = json!("https://cdn.test/broken.png");
    }));
    world.later(Span::mins(1)).settle().run_for(Span::mins(2));
    assert_waits(&world);
    world.no_room_for = None;
    world.run_for(Span::secs(40));
    assert_eq!((world.state(), world.tries(), world.acts.len()), (State::Mitigated, 1, 0));
    let served = world.served_value();
    let expected = ["fallback", "logo"].map(|name| json!(format!("https://cdn.test/{name}.png")));
    assert_eq!([&served["hero"], &served["logo"]], [&expected[0], &expected[1]]);
}

#[test]
fn a_source_that_makes_a_document_is_not_asked_each_second_for_one_whose_assets_find_no_room() {
    let mut world = up(REFETCH);
    world.no_room = false;
    world.contract["source"]["method"] = json!("POST");
    let other = with(|document| document["hero"] = json!("https://cdn.test/other.png"));
    world.source = Some(other.clone());
    world.no_room_for = Some("other");
    world.assign(&good());
    world.asset("hero", Some(404));
    world.settle();
    assert_eq!((status(&world).waiting.as_str(), world.tries()), ("Backoff", 1));
    let message = &status(&world).attempts[0].message;
    assert!(message.ends_with(&no_room().message), "{message}");
    world.run_for(Span::mins(1));
    assert_eq!((world.state(), world.tries(), world.asked_source), (State::Escalated, 2, 2));
    let writes = world.writes;
    world.run_for(Span::mins(3));
    assert_eq!((world.writes, world.asked_source), (writes, 2), "not quiet");
    world.no_room_for = None;
    world.run_for(Span::mins(10));
    assert_eq!((world.state(), world.asked_source), (State::Mitigated, 3));
    assert_eq!(world.served_value(), other);
}

#[test]
fn a_source_that_does_not_answer_is_not_asked_each_second_while_a_revision_finds_no_room() {
    let mut world = down(
        "[{name: refetch, refetchSource: {}}, {name: restore, restoreRevision: {}}, \
          {name: restart, restartWorkload: {}}]",
    );
    world.workload.as_mut().unwrap().wanted = 1;
    world.no_room_for = Some("hero");
    world.assign(&with(|document| {
        document["title"] = json!(7);
        document["hero"] = json!("https://cdn.test/other.png");
    }));
    world.settle();
    assert_eq!((status(&world).waiting.as_str(), world.tries()), ("Backoff", 1));
    let taken = status(&world).attempts[0].steps.iter().map(|taken| taken.outcome);
    let expected = [StepOutcome::Unavailable, StepOutcome::Skipped, StepOutcome::Skipped];
    assert_eq!(taken.collect::<Vec<_>>(), expected);
    world.run_for(Span::mins(1));
    // Once before the Incident was on record, and once in each attempt.
    assert_eq!((world.state(), world.tries(), world.asked_source), (State::Escalated, 2, 3));
    assert_eq!((status(&world).calls.len(), world.acts.len()), (2, 0));
    let writes = world.writes;
    world.run_for(Span::mins(3));
    assert_eq!((world.writes, world.asked_source), (writes, 3), "not quiet");
}

#[test]
fn a_reset_is_not_put_off_by_a_probe_that_there_was_no_room_for() {
    let mut world = down(REFETCH);
    world.policies[0].spec.breaker = serde_saphyr::from_str("{failureThreshold: 50}").unwrap();
    world.settle().run_for(Span::mins(5));
    assert_eq!((world.state(), status(&world).waiting.as_str()), (State::Escalated, "Person"));
    let tries = world.tries();
    world.no_room = true;
    world.run_for(Span::mins(10));
    assert_eq!(status(&world).waiting, "Busy");
    world.no_room = false;
    world.run_for(Span::mins(1));
    assert_eq!((status(&world).waiting.as_str(), world.tries()), ("Person", tries));
    world.workload.as_mut().unwrap().wanted = 1;
    world.annotations.insert(RESET.to_owned(), "now".to_owned());
    world.roll_out().settle();
    assert_eq!((world.state(), world.tries()), (State::Mitigated, tries + 1));
}
