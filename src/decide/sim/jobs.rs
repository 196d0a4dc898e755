//! A step's Job is never run beside itself: not across Incidents, and whatever is lost in between.

use super::{
    effects::{RUN, with_job},
    *,
};
use crate::{
    api::{
        condition::{ConditionType, Conditions},
        incident::EffectOutcome,
    },
    decide::effects::JOB_RUNNING,
};

/// Another kind of trouble than [`with_job`] begins with.
pub(super) fn another_trouble() -> Value {
    json!({"hero": "https://cdn.test/hero.png", "new": true})
}

/// The Job of a first Incident is running, which another one has taken the place of.
fn superseded(steps: &str) -> World {
    let mut world = with_job();
    world.policies[0].spec.steps = serde_saphyr::from_str(RUN).unwrap();
    world.settle();
    assert_eq!(world.made.len(), 1);
    world.policies[0].spec.steps = serde_saphyr::from_str(steps).unwrap();
    world.assign(&another_trouble());
    world.settle();
    assert_eq!((world.incidents[0].2.state, world.incidents.len()), (Some(State::Superseded), 2));
    world
}

/// The Job of another Incident's same step, as it comes to light now.
fn appears(world: &mut World) {
    let made_for = "uk-before/1/heal/run".to_owned();
    let ends_by = Span::mins(1).after(world.now);
    world.jobs.insert("other".to_owned(), JobSeen { made_for, ends_by, ..JobSeen::default() });
}

fn newest(world: &World) -> &IncidentStatus {
    &world.incidents.last().unwrap().2
}

/// It waits for another Job, and has spent nothing on that.
fn assert_waits(world: &World) {
    let status = newest(world);
    assert_eq!((world.state(), status.waiting.as_str()), (State::Held, JOB_RUNNING), "{status:?}");
    assert!(world.next.is_some_and(|next| next <= Span::secs(10).after(world.now)));
    assert_eq!(status.tries, None);
}

#[test]
fn the_job_of_an_incident_before_is_waited_for_however_that_one_ended() {
    for ends in ["superseded", "closed", "resolved"] {
        let mut world = with_job();
        let retry = world.policies[0].spec.retry.as_mut().unwrap();
        retry.min_healthy_period = Some(Span::secs(1));
        world.settle();
        match ends {
            "closed" => world.incidents[0].1.close = true,
            "resolved" => world.assign(&good()),
            _ => {}
        }
        world.settle().run_for(Span::secs(5));
        world.assign(&another_trouble());
        world.settle();
        assert_eq!((world.incidents.len(), world.made.len()), (2, 1), "{ends}");
        assert_waits(&world);
        let (status, (first, second)) =
            (newest(&world), (&world.incidents[0].0, &world.incidents[1].0));
        let (job, _) = world.jobs.iter().next().unwrap();
        let says = format!("Job {job} of attempt 1 of Incident {first} has not ended");
        assert!(status.message.starts_with(&says), "{}", status.message);
        assert!(status.effects.is_empty(), "{status:?}");
        let second = second.clone();
        let writes = world.writes;
        world.run_for(Span::secs(30));
        assert_eq!((world.writes, world.made.len()), (writes, 1), "it waits without a write");

        world.end_jobs(&JobEnd::Complete, "").run_for(Span::secs(10));
        assert_eq!(world.made[1], format!("{second}/1/heal/run"), "{ends}");
        assert_eq!((newest(&world).waiting.as_str(), world.state()), ("Job", State::Remediating));
        world.end_jobs(&JobEnd::Complete, "").roll_out().run_for(Span::secs(20));
        assert_eq!((world.state(), world.tries(), world.made.len()), (State::Mitigated, 1, 2));
    }
}

#[test]
fn a_job_of_another_step_or_another_policy_is_not_waited_for() {
    for made_for in ["uk-before/1/heal/rerun", "uk-before/1/another/run", ""] {
        let mut world = with_job();
        appears(&mut world);
        made_for.clone_into(&mut world.jobs.get_mut("other").unwrap().made_for);
        world.settle();
        assert_eq!(world.made.len(), 1, "{made_for}");
    }
}

#[test]
fn while_another_job_is_waited_for_no_source_is_asked_and_no_step_waits_again() {
    let steps =
        RUN.replacen('[', "[{name: ask, refetchSource: {}}, {name: pause, wait: {for: 5s}}, ", 1);
    let mut world = superseded(&steps);
    world.run_for(Span::secs(6));
    assert_waits(&world);
    let (asked, writes) = (world.asked_source, world.writes);
    world.run_for(Span::secs(30));
    assert_eq!((world.asked_source, world.writes), (asked, writes));
    world.end_jobs(&JobEnd::Complete, "").run_for(Span::secs(10));
    assert_eq!((world.made.len(), newest(&world).waiting.as_str()), (2, "Job"));
}

#[test]
fn a_job_that_goes_on_when_its_time_is_over_fails_the_step_and_a_person_is_called() {
    let mut world = superseded(RUN);
    world.run_for(Span::secs(80));
    assert_waits(&world);
    world.run_for(Span::mins(3));
    assert_eq!((world.made.len(), world.tries(), world.state()), (1, 2, State::Escalated));
    let message = &newest(&world).message;
    assert!(message.contains("delete it with --cascade=foreground"), "{message}");
}

#[test]
fn where_jobs_may_not_be_listed_none_is_run() {
    let mut world = with_job();
    world.may_list = false;
    world.settle();
    assert!(world.made.is_empty() && newest(&world).effects.is_empty());
    let message = &newest(&world).message;
    assert!(message.contains("whether a Job of this step is running is not known"), "{message}");
}

#[test]
fn a_job_that_comes_to_light_after_the_intent_is_waited_for_too() {
    let mut world = with_job();
    for _ in 0..10 {
        if world.incidents.last().is_some_and(|(_, _, status)| !status.effects.is_empty()) {
            break;
        }
        world.look();
    }
    appears(&mut world);
    world.settle().run_for(Span::secs(30));
    assert_waits(&world);
    assert_eq!((world.made.len(), newest(&world).effects[0].outcome), (0, None));
    world.jobs.clear();
    world.run_for(Span::secs(10));
    assert_eq!(
        (world.made.len(), newest(&world).effects[0].outcome),
        (1, Some(EffectOutcome::Done))
    );
}

#[test]
fn a_job_behind_a_job_is_run_when_the_other_one_ends_and_not_when_the_firsts_time_is_over() {
    let first =
        "[{name: first, timeout: 60m, job: {templateConfigMapRef: {name: jobs, key: heal}}}, ";
    let mut world = with_job();
    world.policies[0].spec.steps = serde_saphyr::from_str(&RUN.replacen('[', first, 1)).unwrap();
    world.settle();
    assert_eq!(world.made.len(), 1);
    world.end_jobs(&JobEnd::Complete, "");
    appears(&mut world);
    world.run_for(Span::secs(20));
    assert_waits(&world);
    world.jobs.remove("other");
    world.run_for(Span::secs(20));
    assert_eq!((world.made.len(), newest(&world).waiting.as_str()), (2, "Job"));
}

#[test]
fn a_wait_behind_a_job_that_cannot_be_run_is_waited_for() {
    let steps = RUN.replace(
        "{name: again, refetchSource: {}}",
        "{name: pause, wait: {for: 10m}}, {name: restart, restartWorkload: {}}",
    );
    for is_refused in [false, true] {
        let mut world = superseded(&steps);
        world.run_for(Span::secs(20));
        assert_waits(&world);
        if is_refused {
            world.refuses = Some("exceeded quota".to_owned());
            world.jobs.clear();
        }
        world.run_for(Span::mins(3));
        let status = newest(&world);
        assert_eq!((world.made.len(), world.acts.len()), (1, 0), "{status:?}");
        assert_eq!((status.waiting.as_str(), status.step.as_str()), ("Wait", "pause"));
        world.refuses = None;
        world.run_for(Span::mins(10));
        assert_eq!(world.acts.len(), 1);
    }
}

#[test]
fn an_approval_is_kept_while_another_job_is_waited_for() {
    let mut world = with_job();
    world.policies[0].spec.mode = Some(Mode::Approve);
    appears(&mut world);
    world.settle();
    assert_waits(&world);
    assert_eq!(newest(&world).plan_digest, None, "what cannot be begun is not asked about");
    world.jobs.clear();
    world.run_for(Span::secs(10));
    let plan = newest(&world).plan_digest.clone().unwrap();
    appears(&mut world);
    happen(&mut world, &Happens::Approve(true));
    world.settle().run_for(Span::secs(30));
    assert_waits(&world);
    assert_eq!(world.made.len(), 0);
    world.jobs.clear();
    world.run_for(Span::secs(10));
    assert_eq!((world.made.len(), newest(&world).tries), (1, None));
    assert_eq!(newest(&world).effects[0].approved_by.as_deref(), Some("ann"));
    assert_eq!(world.incidents[0].1.approval.as_ref().unwrap().plan_digest, plan);
    let conditions = Conditions::of(Some(&newest(&world).conditions));
    assert!(conditions.get(ConditionType::Held).is_none(), "{conditions:?}");
}

#[test]
fn a_crash_after_any_write_runs_no_job_beside_another() {
    let story = |world: &mut World| {
        world.settle();
        world.assign(&another_trouble());
        world.settle().run_for(Span::secs(20));
        assert_eq!(world.made.len(), 1, "beside another");
        world.end_jobs(&JobEnd::Complete, "").run_for(Span::secs(20));
        world.end_jobs(&JobEnd::Complete, "").roll_out().run_for(Span::secs(20));
    };
    let (smooth, killed) = with_job().killed_after_each_write(story);
    assert_eq!((smooth.made.len(), smooth.state()), (2, State::Mitigated));
    for (nth, crashing) in killed {
        assert_eq!(crashing.made, smooth.made, "killed after write {nth}");
        assert_eq!((crashing.state(), crashing.tries()), (smooth.state(), smooth.tries()));
    }
}
