//! Steps that act on the source's workload: intent, act, outcome, and no act twice.

use super::*;
use crate::api::incident::{Cause, EffectOutcome, StepEffect, StepOutcome};

/// A contract whose document is broken beyond what history can mend, with a source that is down.
pub(super) fn down(steps: &str) -> World {
    let mut world = World::new(&good());
    world.contract["source"] = json!({
        "serviceRef": {"name": "catalog", "port": 80},
        "workloadRef": {"kind": "Deployment", "name": "catalog"},
    });
    let policy = format!(
        "default: true\nsteps: {steps}\nserviceAccountName: healer\n\
         retry: {{maxAttempts: 2, minHealthyPeriod: 5m, backoff: {{initial: 10s}}}}"
    );
    world.policies[0].spec = serde_saphyr::from_str(&policy).unwrap();
    world.source = Some(with(|document| document["title"] = json!("from the source")));
    world.workload = Some(Workload {
        name: "catalog".to_owned(),
        uid: "d".to_owned(),
        version: "1".to_owned(),
        generation: 1,
        observed_generation: 1,
        ..Workload::default()
    });
    world.settle().later(Span::secs(10));
    world.assign(&with(|document| document["title"] = json!(7)));
    world
}

pub(super) const SCALE: &str =
    "[{name: scale, scaleWorkload: {}}, {name: refetch, refetchSource: {}}]";
const DELETE: &str = "[{name: delete, deleteFailedPods: {}}, {name: again, refetchSource: {}}]";
const RESTART: &str = "[{name: refetch, refetchSource: {}}, \
                       {name: restart, timeout: 1m, restartWorkload: {}}, \
                       {name: again, refetchSource: {}}]";

impl World {
    /// The controller of the workload has done all that its spec asks for.
    pub(super) fn roll_out(&mut self) -> &mut Self {
        let workload = self.workload.as_mut().unwrap();
        workload.observed_generation = workload.generation;
        let wanted = workload.wanted;
        (workload.total, workload.updated, workload.available) = (wanted, wanted, wanted);
        self
    }

    pub(super) fn effects(&self) -> &[StepEffect] {
        &self.incidents.last().unwrap().2.effects
    }

    /// Looks until something is about to be done to the workload.
    fn until_intended(&mut self) -> &mut Self {
        for _ in 0..10 {
            if self.incidents.last().is_some_and(|(_, _, status)| !status.effects.is_empty()) {
                return self;
            }
            self.look();
        }
        panic!("nothing is about to be done: {:?}", self.incidents)
    }
}

/// The same, with so many pods that have failed.
fn with_failed_pods(count: usize) -> World {
    let mut world = down(DELETE);
    world.workload.as_mut().unwrap().wanted = 1;
    let pod = |n: usize| FailedPod {
        name: format!("catalog-{n:02}"),
        uid: format!("pod-{n:02}"),
        version: "1".to_owned(),
    };
    world.failed = (0..count).map(pod).collect();
    world
}

#[test]
fn failed_pods_are_deleted_once_ten_in_an_attempt_and_the_workload_is_awaited() {
    let mut world = with_failed_pods(12);
    world.settle();
    assert_eq!((world.deleted.len(), world.failed.len(), world.published), (10, 2, 1));
    let effect = &world.effects()[0];
    assert_eq!(effect.outcome, Some(EffectOutcome::Done));
    assert_eq!(effect.target, "10 failed pods of Deployment catalog");
    assert_eq!((effect.message.as_str(), effect.pods.len()), ("10 failed pods are gone", 0));
    assert_eq!(world.incidents[0].2.waiting, "Workload");
    world.roll_out().run_for(Span::secs(20));
    assert_eq!(world.served_value()["title"], "from the source");
    assert_eq!((world.deleted.len(), world.tries()), (10, 1));
}

#[test]
fn where_no_pod_has_failed_none_is_deleted() {
    let mut world = with_failed_pods(0);
    world.settle().run_for(Span::mins(1));
    assert!(world.deleted.is_empty() && world.effects().is_empty());
    let message = &world.incidents[0].2.message;
    assert!(message.contains("no pod of Deployment catalog has failed"), "{message}");
}

#[test]
fn where_not_all_pods_were_looked_at_none_counts_as_deleted_or_as_well() {
    let mut world = with_failed_pods(2);
    world.until_intended();
    world.failed.clear();
    world.more_pods = true;
    world.settle();
    let effect = &world.effects()[0];
    assert_eq!(effect.outcome, Some(EffectOutcome::Unknown), "{effect:?}");
    assert!(effect.message.contains("more pods than were looked at"), "{effect:?}");
    let mut world = with_failed_pods(0);
    world.more_pods = true;
    world.settle();
    let message = &world.incidents[0].2.message;
    assert!(message.contains("it has more than were looked at"), "{message}");
}

#[test]
fn a_pod_that_changed_after_the_intent_is_deleted_as_it_is_then_and_one_that_is_gone_is_not_missed()
{
    let mut world = with_failed_pods(2);
    world.until_intended();
    world.failed[0].version = "2".to_owned();
    world.failed.remove(1);
    world.settle();
    assert_eq!(world.deleted, ["pod-00"]);
    assert_eq!(world.effects()[0].outcome, Some(EffectOutcome::Done));
}

#[test]
fn pods_of_a_workload_that_is_another_or_gone_are_not_known_to_be_deleted() {
    for is_there in [true, false] {
        let mut world = with_failed_pods(2);
        world.until_intended();
        world.failed.clear();
        match &mut world.workload {
            Some(workload) if is_there => workload.uid = "another".to_owned(),
            workload => *workload = None,
        }
        world.settle();
        let effect = &world.effects()[0];
        assert_eq!(effect.outcome, Some(EffectOutcome::Unknown), "{effect:?}");
        assert!(effect.message.contains("whether all were deleted is not known"), "{effect:?}");
    }
}

#[test]
fn a_crash_after_any_write_deletes_the_same_pods() {
    let story = |world: &mut World| {
        world.settle().run_for(Span::secs(20)).roll_out().run_for(Span::secs(20));
    };
    let (smooth, killed) = with_failed_pods(3).killed_after_each_write(story);
    assert_eq!((smooth.deleted.len(), smooth.state()), (3, State::Mitigated));
    for (nth, crashing) in killed {
        assert_eq!(crashing.deleted, smooth.deleted, "killed after write {nth}");
        assert_eq!(crashing.served_value(), smooth.served_value());
        assert_eq!((crashing.state(), crashing.tries()), (smooth.state(), smooth.tries()));
    }
}

#[test]
fn a_source_scaled_to_zero_is_scaled_awaited_refetched_and_healed() {
    let mut world = down(SCALE);
    world.settle();
    let key = format!("{}/1", world.incidents[0].0);
    assert_eq!(world.acts, [(Change::Scale(1), key)]);
    let status = &world.incidents[0].2;
    assert_eq!((status.waiting.as_str(), world.state()), ("Workload", State::Remediating));
    let diagnosis = status.diagnosis.as_ref().unwrap();
    assert_eq!(diagnosis.cause, Cause::SourceDown);
    assert!(diagnosis.evidence[0].message.contains("scaled to zero"), "{diagnosis:?}");
    // While it is waited for nothing is written, however often it is looked at.
    let writes = world.writes;
    world.run_for(Span::secs(20));
    assert_eq!((world.writes, world.published), (writes, 1));
    world.roll_out().run_for(Span::secs(20));
    assert_eq!(world.served_value()["title"], "from the source");
    assert_eq!((world.state(), world.tries(), world.acts.len()), (State::Mitigated, 1, 1));
    assert_eq!(world.effects()[0].outcome, Some(EffectOutcome::Done));
    let scaled = &world.incidents[0].2.attempts[0].steps[0];
    assert_eq!((scaled.name.as_str(), scaled.outcome), ("scale", StepOutcome::Acted));
    assert!(scaled.took.is_some_and(|took| took >= Span::secs(20)), "{scaled:?}");
}

#[test]
fn a_step_can_ask_what_is_wrong_with_the_source_and_its_turn_goes_on_when_that_is_mended() {
    let steps = "[{name: scale, when: \"incident.diagnosis == 'SourceDown'\", scaleWorkload: {}}, \
                 {name: refetch, refetchSource: {}}]";
    let mut world = down(steps);
    world.settle();
    assert_eq!(world.acts.len(), 1);
    world.roll_out().run_for(Span::secs(20));
    assert_eq!(world.served_value()["title"], "from the source");
    assert_eq!(world.incidents[0].2.attempts[0].steps[0].outcome, StepOutcome::Acted);

    let mut world = down(steps);
    world.workload.as_mut().unwrap().wanted = 1;
    world.roll_out().settle();
    assert_eq!(
        (world.acts.len(), world.served_value()["title"].as_str()),
        (0, Some("from the source"))
    );
}

#[test]
fn a_source_that_does_not_answer_is_asked_again_within_the_attempt() {
    let steps = "[{name: pause, wait: {for: 30s}}, {name: refetch, retries: 3, refetchSource: {}}, \
                 {name: rest, wait: {for: 40s}}, {name: again, retries: 1, refetchSource: {}}]";
    let asked = |world: &World| {
        let retried = world.incidents[0].2.retried.clone();
        retried.map(|retried| (retried.attempt, retried.step, retried.times))
    };
    let mut world = down(steps);
    world.policies[0].spec.breaker = serde_saphyr::from_str("{failureThreshold: 50}").unwrap();
    world.settle();
    assert_eq!((asked(&world), world.incidents[0].2.waiting.as_str()), (None, "Wait"));
    world.run_for(Span::secs(32));
    assert_eq!(asked(&world), Some((1, "refetch".to_owned(), 2)));
    let mut silent = world.clone();
    // It answers, and neither the wait before nor a new attempt was needed.
    world.workload.as_mut().unwrap().wanted = 1;
    world.roll_out().run_for(Span::secs(5));
    assert_eq!(
        (world.served_value()["title"].as_str(), world.tries()),
        (Some("from the source"), 1)
    );

    // It does not: the attempt goes on, the wait behind has its turn, and then it has failed once.
    silent.run_for(Span::secs(12));
    assert_eq!((asked(&silent), silent.tries()), (Some((1, "refetch".to_owned(), 3)), 0));
    assert_eq!(silent.incidents[0].2.waiting, "Wait");
    silent.run_for(Span::secs(45));
    assert_eq!(asked(&silent), Some((1, "again".to_owned(), 1)));
    assert_eq!(silent.tries(), 1);
}

#[test]
fn a_restart_is_awaited_before_the_source_is_asked_again() {
    let mut world = down(RESTART);
    world.workload.as_mut().unwrap().wanted = 1;
    world.settle();
    assert_eq!(world.acts.len(), 1);
    // The old pod still answers, and the new one is not there yet.
    world.workload.as_mut().unwrap().available = 1;
    world.run_for(Span::secs(20));
    assert_eq!(world.published, 1);
    world.roll_out().run_for(Span::secs(20));
    assert_eq!(world.served_value()["title"], "from the source");
    assert_eq!((world.acts.len(), world.tries()), (1, 1));
}

#[test]
fn a_crash_after_any_write_acts_as_often_and_ends_as_no_crash_does() {
    let story = |world: &mut World| {
        world.settle().run_for(Span::secs(20)).roll_out().run_for(Span::secs(20));
    };
    for (steps, wanted) in [(SCALE, 0), (RESTART, 1)] {
        let mut start = down(steps);
        start.workload.as_mut().unwrap().wanted = wanted;
        let (smooth, killed) = start.killed_after_each_write(story);
        assert_eq!((smooth.acts.len(), smooth.state()), (1, State::Mitigated));
        for (nth, crashing) in killed {
            assert_eq!(crashing.acts, smooth.acts, "killed after write {nth}");
            assert_eq!(crashing.served_value(), smooth.served_value());
            assert_eq!((crashing.state(), crashing.tries()), (smooth.state(), smooth.tries()));
        }
    }
}

#[test]
fn what_may_have_been_done_and_undone_is_not_done_again_in_the_attempt() {
    let mut world = down(SCALE);
    world.until_intended();
    // Somebody scales it up and down again before the process looks for its key.
    let workload = world.workload.as_mut().unwrap();
    (workload.generation, workload.version) = (3, "3".to_owned());
    world.settle();
    assert!(world.acts.is_empty());
    let effect = &world.effects()[0];
    assert_eq!(effect.outcome, Some(EffectOutcome::Unknown));
    assert!(effect.message.contains("it is not repeated"), "{}", effect.message);
    assert_eq!(world.tries(), 1);
    // The next attempt has a key of its own.
    world.run_for(Span::secs(30));
    assert_eq!(world.acts.len(), 1);
    assert!(world.acts[0].1.ends_with("/2"), "{:?}", world.acts);
}

#[test]
fn nothing_is_done_without_a_right_to_it_and_the_attempt_says_which() {
    for (policy, may_act, says) in [
        (None, true, "NoServiceAccount: spec.serviceAccountName"),
        (Some("healer"), false, "ServiceAccount healer may not patch deployments.apps catalog"),
        (Some("eraser"), false, "ServiceAccount eraser may not delete pods"),
    ] {
        let mut world = if policy == Some("eraser") { with_failed_pods(1) } else { down(SCALE) };
        world.policies[0].spec.service_account_name = policy.map(ToOwned::to_owned);
        world.may_act = may_act;
        world.settle().run_for(Span::mins(1));
        assert!(world.acts.is_empty() && world.deleted.is_empty() && world.effects().is_empty());
        let message = &world.incidents[0].2.message;
        assert!(world.state() == State::Escalated && message.contains(says), "{message}");
    }
}

#[test]
fn what_the_chart_gives_the_operator_no_right_to_is_not_begun_and_the_value_is_named() {
    let mut world = with_failed_pods(1);
    world.operator_may = false;
    world.settle().run_for(Span::mins(1));
    assert!(world.deleted.is_empty() && world.effects().is_empty());
    let message = &world.incidents[0].2.message;
    let says = "the operator may not delete pods; the chart's effects.deletePods gives it that";
    assert!(message.contains(says), "{message}");
}

#[test]
fn a_right_that_is_taken_away_after_the_intent_is_missed_before_the_act() {
    let mut world = down(SCALE);
    world.until_intended();
    world.may_act = false;
    world.settle();
    assert!(world.acts.is_empty());
    assert_eq!(world.effects()[0].outcome, Some(EffectOutcome::NotDone));
    assert!(world.effects()[0].message.contains("may not patch"), "{:?}", world.effects());
}

#[test]
fn what_the_api_server_refuses_is_not_done_with_its_reason_and_the_plan_goes_on() {
    let why = "making Job ns/a: admission refused the object";
    for mut world in [down(SCALE), with_failed_pods(1), with_job()] {
        world.refuses = Some(why.to_owned());
        world.settle();
        let effect = &world.effects()[0];
        assert_eq!((effect.outcome, effect.message.as_str()), (Some(EffectOutcome::NotDone), why));
        assert!(world.acts.is_empty() && world.deleted.is_empty() && world.made.is_empty());
        assert_eq!((world.refusals, world.tries()), (1, 1), "it is asked once in an attempt");
        world.run_for(Span::mins(1));
        assert_eq!((world.refusals, world.state()), (2, State::Escalated));
        let message = &world.incidents[0].2.message;
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn a_workload_that_stays_down_is_restarted_once_in_each_attempt_and_then_left_to_a_person() {
    let mut world = down(RESTART);
    world.workload.as_mut().unwrap().wanted = 1;
    world.settle().run_for(Span::secs(59));
    assert_eq!((world.acts.len(), world.tries()), (1, 0), "it is waited for");
    world.run_for(Span::mins(60));
    let keys: Vec<_> = world.acts.iter().map(|(_, key)| &key[key.len() - 2..]).collect();
    assert_eq!(keys, ["/1", "/2"]);
    assert_eq!(world.state(), State::Escalated);
    let message = &world.incidents[0].2.message;
    assert!(message.contains("bring the source back"), "{message}");
}

#[test]
fn a_new_document_in_between_cancels_what_was_about_to_be_done() {
    let mut world = down(SCALE);
    world.until_intended();
    world.assign(&good());
    world.settle();
    assert!(world.acts.is_empty());
    assert_eq!(world.served_value(), good());
}

#[test]
fn a_plan_that_is_only_shown_acts_on_nothing() {
    let mut world = down(SCALE);
    world.max_mode = Mode::DryRun;
    world.settle().run_for(Span::mins(10));
    assert!(world.acts.is_empty() && world.effects().is_empty());
    let status = &world.incidents[0].2;
    let planned = status.conditions.iter().find(|c| c.type_ == "Planned").unwrap();
    assert_eq!(planned.message, "would begin with step scale: scaleWorkload");
}

#[test]
fn a_wait_before_an_act_is_waited_once_and_one_behind_it_again() {
    let mut world = down(
        "[{name: before, wait: {for: 5s}}, {name: scale, scaleWorkload: {}}, \
          {name: behind, wait: {for: 7s}}, {name: refetch, refetchSource: {}}]",
    );
    world.settle();
    assert!(world.acts.is_empty() && world.incidents[0].2.step == "before");
    world.run_for(Span::secs(10));
    assert_eq!(world.acts.len(), 1);
    world.roll_out();
    world.run_for(Span::secs(4));
    assert_eq!((world.incidents[0].2.step.as_str(), world.published), ("behind", 1));
    world.run_for(Span::secs(10));
    assert_eq!(
        (world.served_value()["title"].clone(), world.acts.len()),
        (json!("from the source"), 1)
    );
}

#[test]
fn another_policy_in_the_middle_of_an_act_does_not_have_it_done_again() {
    let mut world = down(RESTART);
    world.workload.as_mut().unwrap().wanted = 1;
    world.settle();
    assert_eq!(world.acts.len(), 1);
    let mut another = world.policies[0].clone();
    another.name = "another".to_owned();
    another.spec.priority = Some(1);
    world.policies.push(another);
    world.run_for(Span::secs(20)).roll_out().run_for(Span::secs(20));
    assert_eq!((world.acts.len(), world.incidents.len()), (1, 1));
    assert_eq!(world.served_value()["title"], "from the source");
}

const TELL: &str = "[{name: tell, retries: 2, webhook: {url: 'https://hooks.test/canary?canary'}}, \
                     {name: again, refetchSource: {}}]";

/// The same, with somebody to be told and answers from there.
pub(super) fn with_webhook(answers: &[Told]) -> World {
    let mut world = down(TELL);
    world.policies[0].spec.service_account_name = None;
    world.workload.as_mut().unwrap().wanted = 1;
    world.answers = answers.to_vec();
    world
}

fn answered(status: u16) -> Told {
    Told::Answered { status, retry_after: None }
}

#[test]
fn whoever_is_told_hears_what_is_wrong_once_and_no_value_of_the_document() {
    let mut world = with_webhook(&[answered(200)]);
    world.roll_out().settle();
    assert_eq!(world.served_value()["title"], "from the source");
    let name = &world.incidents[0].0;
    let [(key, body)] = world.calls.as_slice() else { panic!("{:?}", world.calls) };
    assert_eq!(*key, format!("{name}/1/heal/tell"));
    let body: Value = serde_json::from_str(body).unwrap();
    let expected = json!({
        "key": key, "namespace": "ns", "contract": "uk", "widget": "w", "incident": name,
        "policy": "heal", "step": "tell", "attempt": 1, "cause": "DocumentChanged",
        "severity": "Critical", "rules": ["schema"],
    });
    assert_eq!((&body["data"], &body["type"]), (&expected, &json!("incident.remediation")));
    let effect = &world.effects()[0];
    assert_eq!(
        (effect.outcome, effect.target.as_str()),
        (Some(EffectOutcome::Done), "https://hooks.test")
    );
    let taken = &world.incidents[0].2.attempts[0].steps[0];
    assert_eq!((taken.name.as_str(), taken.outcome), ("tell", StepOutcome::Acted));
}

#[test]
fn a_plan_of_many_calls_is_no_fight_that_is_slowed_down() {
    let call = |name: &str| format!("{{name: {name}, webhook: {{url: 'https://hooks.test/a'}}}}");
    let calls = ["a", "b", "c", "d"].map(call).join(", ");
    let mut world = down(&format!("[{calls}, {{name: again, refetchSource: {{}}}}]"));
    world.settle();
    assert_eq!(world.calls.len(), 4);
    assert!(world.most_again <= 5, "{} looks in a row", world.most_again);
}

#[test]
fn a_200_with_an_error_in_its_body_is_taken_and_the_step_behind_sees_that_it_did_not_help() {
    // Of an answer no more than its head is ever seen.
    let mut world = with_webhook(&[answered(200)]);
    world.settle();
    assert_eq!(world.effects()[0].outcome, Some(EffectOutcome::Done));
    assert_eq!((world.tries(), world.published), (1, 1));
    let steps = &world.incidents[0].2.attempts[0].steps;
    assert_eq!(steps[1].outcome, StepOutcome::Unavailable);
}

#[test]
fn what_may_pass_is_sent_again_with_the_same_key_and_body_as_often_as_retries_say() {
    let wait = Told::Answered { status: 429, retry_after: Some(Span::secs(20)) };
    let late = Told::Unheard("it did not answer completely within 10s".to_owned());
    let mut world = with_webhook(&[wait, late.clone(), answered(204)]);
    world.roll_out().settle();
    assert_eq!((world.calls.len(), world.incidents[0].2.waiting.as_str()), (1, "Retry"));
    assert_eq!(world.effects()[0].tries, Some(1));
    world.run_for(Span::secs(18));
    assert_eq!(world.calls.len(), 1, "it asked us to wait");
    world.run_for(Span::secs(60));
    assert_eq!(world.calls.len(), 3);
    assert!(world.calls.iter().all(|call| *call == world.calls[0]), "{:?}", world.calls);
    assert_eq!((world.state(), world.tries()), (State::Mitigated, 1));

    let mut world = with_webhook(&[answered(503), late, answered(500)]);
    world.settle().run_for(Span::secs(5));
    assert_eq!((world.calls.len(), world.tries()), (3, 1));
    let effect = &world.effects()[0];
    assert_eq!(effect.outcome, Some(EffectOutcome::NoAnswer));
    assert_eq!(
        effect.message,
        "https://hooks.test (sent 3 times): it answered 500; see why in its own log"
    );
    // Another attempt is another call.
    world.run_for(Span::secs(60));
    assert!(world.calls[3].0.ends_with("/2/heal/tell"), "{:?}", world.calls);
}

#[test]
fn what_will_not_pass_fails_at_once() {
    let refused = Told::NotSent("https://hooks.test has a private address".to_owned());
    for (answer, says, outcome) in [
        (answered(400), "it answered 400", EffectOutcome::Failed),
        (answered(302), "a redirect, which a POST does not follow", EffectOutcome::Failed),
        (refused, "has a private address", EffectOutcome::NotDone),
    ] {
        let mut world = with_webhook(&[answer]);
        world.settle();
        assert_eq!((world.calls.len(), world.tries()), (1, 1));
        let effect = &world.effects()[0];
        assert_eq!(effect.outcome, Some(outcome));
        assert!(effect.message.contains(says), "{}", effect.message);
        // Who refuses has answered; who was not asked has not.
        let calls = world.incidents[0].2.calls.iter();
        let calls: Vec<bool> = calls
            .filter(|call| call.dependency == "webhook https://hooks.test")
            .map(|call| call.answered)
            .collect();
        assert_eq!(calls, vec![true; usize::from(outcome == EffectOutcome::Failed)]);
        assert!(!format!("{:?}", world.incidents[0].2).contains("canary"));
    }
}

#[test]
fn a_crash_after_any_write_of_a_call_sends_no_other_key_and_ends_as_no_crash_does() {
    let story = |world: &mut World| {
        world.settle().run_for(Span::secs(20)).roll_out().run_for(Span::secs(20));
    };
    let keys =
        |world: &World| world.calls.iter().cloned().collect::<std::collections::BTreeSet<_>>();
    for answers in [vec![answered(200)], vec![answered(503), answered(503), answered(200)]] {
        let mut start = with_webhook(&answers);
        start.roll_out();
        let (smooth, killed) = start.killed_after_each_write(story);
        assert_eq!(smooth.state(), State::Mitigated);
        for (nth, crashing) in killed {
            assert_eq!(keys(&crashing), keys(&smooth), "killed after write {nth}");
            assert!(crashing.calls.len() <= smooth.calls.len() + 1);
            assert_eq!(crashing.served_value(), smooth.served_value());
            assert_eq!((crashing.state(), crashing.tries()), (smooth.state(), smooth.tries()));
        }
    }
}

pub(super) const RUN: &str = "[{name: run, timeout: 1m, job: {templateConfigMapRef: {name: jobs, key: heal}}}, \
                    {name: again, refetchSource: {}}]";

/// The same, with a Job that may mend it.
pub(super) fn with_job() -> World {
    let mut world = down(RUN);
    world.workload.as_mut().unwrap().wanted = 1;
    let template = "{apiVersion: batch/v1, kind: Job, spec: {template: {spec: {restartPolicy: Never, \
                    containers: [{name: main, image: 'heal:1'}]}}}}";
    world.template = Some(template.to_owned());
    world
}

impl World {
    pub(super) fn end_jobs(&mut self, end: &JobEnd, log: &str) -> &mut Self {
        for job in self.jobs.values_mut() {
            job.end = Some(end.clone());
            log.clone_into(&mut job.log);
        }
        self
    }
}

#[test]
fn a_job_is_made_once_followed_to_its_end_and_what_it_mended_is_served() {
    let mut world = with_job();
    world.settle();
    let key = format!("{}/1/heal/run", world.incidents[0].0);
    assert_eq!(world.made, [key]);
    assert_eq!(world.incidents[0].2.waiting, "Job");
    let writes = world.writes;
    world.run_for(Span::secs(20));
    assert_eq!((world.writes, world.published), (writes, 1), "it is waited for without a write");
    world.end_jobs(&JobEnd::Complete, "mended\npassword=canary\n").roll_out();
    world.run_for(Span::secs(20));
    assert_eq!(world.served_value()["title"], "from the source");
    let effect = &world.effects()[0];
    assert_eq!((effect.outcome, effect.ended_at.is_some()), (Some(EffectOutcome::Done), true));
    assert_eq!(effect.log, "mended\npassword=***");
    assert_eq!((world.made.len(), world.tries(), world.state()), (1, 1, State::Mitigated));
}

#[test]
fn a_job_that_does_not_end_in_time_is_named_and_none_is_run_beside_it() {
    let mut world = with_job();
    world.settle().run_for(Span::secs(120));
    let effect = &world.effects()[0];
    assert_eq!(effect.outcome, Some(EffectOutcome::Failed), "{effect:?}");
    assert!(effect.message.contains("did not end within 1m"), "{}", effect.message);
    // Whoever suspended it, or is slow to end it, may let it go on.
    world.run_for(Span::mins(20));
    assert_eq!((world.made.len(), world.tries(), world.state()), (1, 2, State::Escalated));
    let message = &world.incidents[0].2.attempts[1].message;
    assert!(message.contains("of attempt 1 of Incident"), "{message}");
    assert!(message.contains("has not ended though its time is over"), "{message}");
}

#[test]
fn a_job_that_has_not_ended_stays_on_record_however_much_is_done_after_it() {
    let call = |name: &str| format!("{{name: {name}, webhook: {{url: 'https://hooks.test/a'}}}}");
    let job = "name: run, timeout: 1m, job: {templateConfigMapRef: {name: jobs, key: heal}}";
    let calls = ["a", "b", "c", "d"].map(call).join(", ");
    let mut world = with_job();
    world.policies[0].spec.steps =
        serde_saphyr::from_str(&format!("[{{{job}}}, {calls}]")).unwrap();
    world.policies[0].spec.retry.as_mut().unwrap().max_attempts = Some(9);
    world.settle().run_for(Span::mins(30));
    assert_eq!((world.tries(), world.calls.len(), world.made.len()), (9, 36, 1));
    let effects = world.effects();
    assert_eq!((effects.len(), effects[0].step.as_str(), effects[0].attempt), (20, "run", 1));
    assert!(effects[1].attempt > 1, "what is over makes room: {effects:?}");
}

#[test]
fn a_job_that_fails_or_is_gone_is_named_and_another_attempt_makes_another() {
    let failed = JobEnd::Failed("BackoffLimitExceeded".to_owned());
    for says in ["failed: BackoffLimitExceeded", "was deleted before its end was seen"] {
        let mut world = with_job();
        world.settle();
        if says.starts_with("failed") {
            world.end_jobs(&failed, "no such host");
        } else {
            world.jobs.clear();
        }
        world.run_for(Span::secs(20));
        let effect = &world.effects()[0];
        assert_eq!(effect.outcome, Some(EffectOutcome::Failed), "{effect:?}");
        assert!(effect.message.contains(says), "{}", effect.message);
        assert_eq!(world.tries(), 1);
        world.run_for(Span::secs(20));
        assert!(world.made[1].ends_with("/2/heal/run"), "{:?}", world.made);
    }
}

#[test]
fn a_template_that_may_not_be_run_makes_no_job_and_no_intent() {
    for (template, says) in [
        (None, "templateConfigMapRef: ConfigMap jobs does not exist"),
        (Some("{kind: Pod, apiVersion: v1}"), "no Job of batch/v1"),
    ] {
        let mut world = with_job();
        world.template = template.map(ToOwned::to_owned);
        world.settle();
        let message = &world.incidents[0].2.message;
        assert!(world.made.is_empty() && world.effects().is_empty());
        assert!(message.contains(says), "{message}");
    }
    let mut world = with_job();
    world.operator_may = false;
    world.settle();
    let message = &world.incidents[0].2.message;
    assert!(
        message.contains("the operator may not create jobs.batch; the chart's effects.jobs"),
        "{message}"
    );
}

#[test]
fn a_job_that_nobody_looked_for_in_an_hour_is_not_made_again() {
    let mut world = with_job();
    world.until_intended();
    world.later(Span::mins(61)).settle();
    assert!(world.made.is_empty());
    assert_eq!(world.effects()[0].outcome, Some(EffectOutcome::Unknown));
    assert_eq!(world.tries(), 1);
}

#[test]
fn a_crash_after_any_write_makes_the_same_job_and_no_other() {
    let story = |world: &mut World| {
        world.settle().run_for(Span::secs(20));
        world.end_jobs(&JobEnd::Complete, "mended").roll_out().run_for(Span::secs(20));
    };
    let (smooth, killed) = with_job().killed_after_each_write(story);
    assert_eq!((smooth.made.len(), smooth.state()), (1, State::Mitigated));
    for (nth, crashing) in killed {
        assert_eq!(crashing.made, smooth.made, "killed after write {nth}");
        assert_eq!(crashing.served_value(), smooth.served_value());
        assert_eq!((crashing.state(), crashing.tries()), (smooth.state(), smooth.tries()));
    }
}

#[test]
fn what_is_seen_around_a_workload_is_asked_for_when_an_attempt_is_told_and_not_while_it_is_awaited()
{
    let mut world = down(SCALE);
    world.settle();
    let told = |world: &World| {
        let diagnosis = world.incidents[0].2.diagnosis.clone().unwrap();
        let of = |evidence: &crate::api::incident::Evidence| evidence.check.to_string();
        diagnosis.evidence.iter().map(of).collect::<Vec<_>>()
    };
    assert!(
        told(&world).ends_with(&["Events".to_owned(), "Logs".to_owned()]),
        "{:?}",
        told(&world)
    );
    // A process that dies between the two looks anew.
    let asked = world.asked_symptoms;
    assert_eq!(asked, 1);
    world.run_for(Span::secs(60));
    assert_eq!((world.asked_symptoms, world.acts.len()), (asked, 1));
}

#[test]
fn a_source_that_a_policy_only_asks_is_diagnosed_when_it_does_not_answer() {
    let mut world = down("[{name: refetch, refetchSource: {}}]");
    world.settle();
    let status = &world.incidents[0].2;
    let diagnosis = status.diagnosis.as_ref().unwrap();
    assert_eq!((diagnosis.cause, world.tries()), (Cause::SourceDown, 1));
    assert!(
        diagnosis.evidence.iter().any(|e| e.message.contains("BackOff 3 times")),
        "{diagnosis:?}"
    );
    assert!(world.acts.is_empty());
}
