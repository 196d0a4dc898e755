//! What does not answer is left alone, and tried by one; a plan goes on without it where it can.

use super::{effects::down, *};
use crate::api::incident::StepOutcome;

const REFETCH: &str = "[{name: refetch, refetchSource: {}}]";

/// Others have asked the source in vain so often, once in each second up to now.
fn asked_in_vain(world: &mut World, times: i64) {
    let at = |ago: i64| Timestamp::from_second(world.now.as_second() - ago).unwrap();
    let calls = (0..times).map(|ago| Call { at: at(ago), answered: false }).collect();
    Arc::make_mut(&mut world.fleet.calls).insert("source Service catalog:80".to_owned(), calls);
}

fn waiting(world: &World) -> &str {
    &world.incidents.last().unwrap().2.waiting
}

#[test]
fn a_source_that_others_asked_in_vain_is_not_asked_until_its_time_and_then_it_heals() {
    let mut world = down(REFETCH);
    asked_in_vain(&mut world, 5);
    world.settle();
    assert_eq!((world.state(), waiting(&world)), (State::Held, "BreakerOpen"));
    assert_eq!((world.asked_source, world.tries()), (0, 0));
    let message = world.incidents[0].2.message.clone();
    assert!(
        message.starts_with("source Service catalog:80 did not answer 5 times in a row")
            && message.contains("RemediationPolicy heal")
            && message.contains("looking again at 2026-01-01T00:01:1"),
        "{message}"
    );
    // However often it is looked at: nothing is asked, and nothing is written.
    let writes = world.writes;
    world.run_for(Span::secs(59)).settle();
    assert_eq!((world.writes, world.asked_source), (writes, 0));
    world.workload.as_mut().unwrap().wanted = 1;
    world.roll_out().run_for(Span::secs(10));
    assert_eq!((world.asked_source, world.state()), (1, State::Mitigated));
    assert_eq!(world.served_value()["title"], "from the source");
    let calls: Vec<bool> = world.incidents[0].2.calls.iter().map(|call| call.answered).collect();
    assert_eq!(calls, [true], "what came of it is on record");
}

#[test]
fn a_wait_that_is_over_is_not_waited_for_again_while_a_breaker_is_open() {
    let mut world = down(
        "[{name: pause, wait: {for: 5s}}, {name: refetch, refetchSource: {}}, \
          {name: repair, patch: {ops: [{op: remove, path: /nothing}]}}]",
    );
    asked_in_vain(&mut world, 5);
    world.policies[0].spec.breaker = serde_saphyr::from_str("{openFor: 5m}").unwrap();
    world.settle().run_for(Span::secs(8));
    assert_eq!((world.state(), waiting(&world)), (State::Held, "BreakerOpen"));
    let writes = world.writes;
    for _ in 0..4 {
        world.later(Span::mins(1)).settle();
    }
    assert_eq!((world.writes, waiting(&world), world.tries()), (writes, "BreakerOpen", 0));
}

#[test]
fn who_does_not_try_waits_for_what_comes_of_it_and_who_tries_in_vain_opens_it_again() {
    let mut world = down(REFETCH);
    asked_in_vain(&mut world, 5);
    world.tries_first = false;
    world.settle().run_for(Span::secs(70));
    assert_eq!((waiting(&world), world.asked_source), ("BreakerOpen", 0));
    assert!(world.next.is_some_and(|at| at > world.now), "it looks again by itself");
    let writes = world.writes;
    world.settle();
    assert_eq!(world.writes, writes, "not quiet");

    world.tries_first = true;
    world.run_for(Span::secs(30));
    assert_eq!((world.asked_source, world.tries()), (1, 1));
    // Its next attempt would be after ten seconds, and finds it open.
    world.run_for(Span::secs(40));
    assert_eq!((waiting(&world), world.asked_source), ("BreakerOpen", 1));
}

#[test]
fn a_plan_goes_on_to_the_steps_that_do_not_need_what_is_left_alone() {
    for steps in [
        "[{name: refetch, refetchSource: {}}, {name: restore, restoreRevision: {}}]",
        "[{name: restore, restoreRevision: {}}, {name: refetch, refetchSource: {}}]",
    ] {
        let mut world = down(steps);
        asked_in_vain(&mut world, 5);
        world.assign(&with(|document| {
            document["title"] = json!(7);
            document["new"] = json!("good");
        }));
        world.settle();
        assert_eq!((world.state(), world.asked_source), (State::Mitigated, 0), "{steps}");
        assert_eq!(world.served_value()["new"], "good");
        let taken = &world.incidents[0].2.attempts[0].steps;
        let skipped = taken.iter().find(|taken| taken.name == "refetch");
        assert!(skipped.is_none_or(|taken| taken.outcome == StepOutcome::Skipped), "{taken:?}");
    }
}

#[test]
fn failures_of_its_own_are_on_record_and_one_below_the_threshold_holds_nothing() {
    let mut world = down(REFETCH);
    asked_in_vain(&mut world, 3);
    world.settle();
    // Once before the Incident was on record, and once after.
    assert_eq!((world.tries(), world.asked_source), (1, 2));
    let status = &world.incidents[0].2;
    assert_eq!(status.attempts[0].steps[0].outcome, StepOutcome::Unavailable);
    let call = &status.calls[0];
    assert_eq!((call.dependency.as_str(), call.answered), ("source Service catalog:80", false));
    // With its own it is four, and the fifth opens it.
    world.run_for(Span::secs(20));
    assert_eq!((world.tries(), world.asked_source), (2, 3));
}

#[test]
fn a_failure_that_another_step_made_good_is_on_record_too_although_only_the_note_tells_of_it() {
    let mut world =
        down("[{name: refetch, refetchSource: {}}, {name: restore, restoreRevision: {}}]");
    world.assign(&with(|document| {
        document["title"] = json!(7);
        document["new"] = json!("good");
    }));
    world.settle();
    let status = &world.incidents[0].2;
    let taken: Vec<StepOutcome> = status.attempts[0].steps.iter().map(|s| s.outcome).collect();
    assert_eq!(taken, [StepOutcome::Unavailable, StepOutcome::Changed]);
    let calls: Vec<bool> = status.calls.iter().map(|call| call.answered).collect();
    assert_eq!(calls, [false]);
}

#[test]
fn a_workload_that_does_not_become_available_is_left_alone_too_and_its_source_is_asked_after_an_act()
 {
    let steps =
        "[{name: restart, timeout: 10s, restartWorkload: {}}, {name: refetch, refetchSource: {}}]";
    let mut world = down(steps);
    world.workload.as_mut().unwrap().wanted = 1;
    world.policies[0].spec.breaker =
        serde_saphyr::from_str("{failureThreshold: 1, openFor: 5m}").unwrap();
    world.settle().run_for(Span::secs(15));
    let calls: Vec<(&str, bool)> = world.incidents[0]
        .2
        .calls
        .iter()
        .map(|call| (call.dependency.as_str(), call.answered))
        .collect();
    assert_eq!(
        calls,
        [("source Service catalog:80", false), ("workload Deployment catalog", false)]
    );
    world.run_for(Span::mins(4));
    assert_eq!((world.acts.len(), waiting(&world)), (1, "BreakerOpen"));

    // One that becomes available is on record as well, and what it makes is asked at once.
    let mut world = down(steps);
    world.workload.as_mut().unwrap().wanted = 1;
    asked_in_vain(&mut world, 5);
    world.settle().roll_out().run_for(Span::secs(15));
    assert_eq!(world.served_value()["title"], "from the source");
    assert_eq!(world.asked_source, 1);
}

#[test]
fn what_has_given_up_begins_anew_when_the_source_answers_somebody_again() {
    let mut world = down(REFETCH);
    world.settle().run_for(Span::secs(60));
    assert_eq!((world.state(), world.tries()), (State::Escalated, 2));
    let asked = world.asked_source;
    world.later(Span::secs(1)).settle();
    assert_eq!(world.asked_source, asked, "by itself it would look in ten minutes");
    let call = Call { at: world.now, answered: true };
    Arc::make_mut(&mut world.fleet.calls)
        .insert("source Service catalog:80".to_owned(), vec![call]);
    world.workload.as_mut().unwrap().wanted = 1;
    world.roll_out().settle();
    assert_eq!((world.asked_source, world.state()), (asked + 1, State::Mitigated));
    assert_eq!(world.served_value()["title"], "from the source");
}

#[test]
fn what_answered_once_begins_one_series_of_attempts_and_no_other_when_they_ask_nothing() {
    let mut world = down("[{name: tell, webhook: {url: 'https://hooks.test/x'}}]");
    world.policies[0].spec.service_account_name = None;
    world.policies[0].spec.retry = serde_saphyr::from_str("{maxAttempts: 1}").unwrap();
    let not_sent = Told::NotSent("https://hooks.test has a private address".to_owned());
    world.answers = vec![Told::Unheard("it did not answer within 10s".to_owned()), not_sent];
    world.settle().run_for(Span::secs(60));
    assert_eq!((world.state(), world.tries(), world.calls.len()), (State::Escalated, 1, 1));
    let call = Call { at: world.now, answered: true };
    Arc::make_mut(&mut world.fleet.calls)
        .insert("webhook https://hooks.test".to_owned(), vec![call]);
    world.later(Span::secs(60)).settle();
    assert_eq!((world.state(), world.tries()), (State::Escalated, 2), "once");
    for _ in 0..5 {
        world.later(Span::secs(60)).settle();
    }
    assert_eq!((world.state(), world.tries()), (State::Escalated, 2), "and not once more");
}
