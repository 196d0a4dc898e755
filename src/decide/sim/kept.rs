//! What is kept of Incidents that are over: no limit forgets what it still counts, and all of them go.

use super::{
    effects::{RUN, with_job},
    gates::document,
    jobs::another_trouble,
    *,
};
use crate::{
    api::{
        contract::WriteBack,
        incident::{Cause, EffectOutcome},
    },
    decide::{fleet::Trouble, kept::surplus},
};

/// A world under a policy that also says `more`, in which an Incident is over soon.
fn world(more: &str) -> World {
    let mut world = World::new(&document(&json!("good")));
    let policy = format!(
        "default: true\nsteps: [{{name: restore, restoreRevision: {{}}}}]\n\
         retry: {{minHealthyPeriod: 1s}}\n{more}"
    );
    world.policies[0].spec = serde_saphyr::from_str(&policy).unwrap();
    world.settle();
    world
}

fn break_it(world: &mut World) {
    world.assign(&document(&json!(7)));
    world.later(Span::secs(10)).settle();
}

/// Its owner mends it, and the Incident is over.
fn mend_it(world: &mut World) {
    world.assign(&document(&json!("good")));
    world.later(Span::secs(10)).settle().run_for(Span::secs(10));
    assert_eq!(world.status.incident_ref, None);
}

fn ordinals(world: &World) -> Vec<u32> {
    world.incidents.iter().map(|(_, spec, _)| spec.ordinal).collect()
}

#[test]
fn a_repair_is_counted_by_the_budget_however_few_incidents_are_kept_and_then_it_goes() {
    for few in ["keepResolved: 0", "keepResolved: 1", "ttl: 1m"] {
        let mut world = world(&format!("budget: {{limit: 2}}\nincidents: {{{few}}}"));
        for _ in 0..2 {
            break_it(&mut world);
            assert_eq!(world.state(), State::Mitigated, "{few}");
            mend_it(&mut world);
            world.run_for(Span::mins(5));
        }
        break_it(&mut world);
        let (_, spec, status) = world.incidents.last().unwrap();
        assert_eq!((spec.ordinal, status.waiting.as_str()), (3, "BudgetSpent"), "{few}");
        assert_eq!(ordinals(&world), [1, 2, 3], "{few}");
        // Timers alone bring the repair when the first is an hour old, and let all go after it.
        world.run_for(Span::mins(60));
        assert_eq!(world.state(), State::Mitigated, "{few}");
        mend_it(&mut world);
        world.run_for(Span::mins(90));
        let kept: &[u32] = if few == "keepResolved: 1" { &[3] } else { &[] };
        assert_eq!(ordinals(&world), kept, "{few}");
    }
}

#[test]
fn of_incidents_that_count_twenty_more_are_kept_and_no_more_the_newest() {
    let mut world = world("budget: {window: 100h}\nincidents: {keepResolved: 2}");
    for _ in 0..25 {
        break_it(&mut world);
        mend_it(&mut world);
    }
    assert_eq!(ordinals(&world), (4..=25).collect::<Vec<u32>>());
}

/// Of a contract whose last Incident is over at this moment, none is kept that no limit counts.
fn last(more: &str) -> (View, EndedIncident) {
    let mut world = world("");
    break_it(&mut world);
    mend_it(&mut world);
    let view = world.view();
    let none = Trouble { policies: Vec::new(), ..(*view.ended[0].trouble).clone() };
    let ended = EndedIncident {
        ended_at: Some(world.now),
        trouble: Arc::new(Trouble { until: Some(world.now), repairs: Vec::new(), ..none }),
        digest: Digest::of_bytes(b"another"),
        ..view.ended[0].clone()
    };
    let spec = format!(
        "default: true\nsteps: [{{name: restore, restoreRevision: {{}}}}]\n\
         incidents: {{keepResolved: 0}}\n{more}"
    );
    let mut view = view;
    view.policies[0].spec = serde_saphyr::from_str(&spec).unwrap();
    (view, ended)
}

/// Something else about a contract and its last Incident.
type Change = fn(&mut View, &mut EndedIncident);

fn was_the_policys(ended: &mut EndedIncident) {
    Arc::make_mut(&mut ended.trouble).policies = vec!["heal".to_owned()];
}

fn was_repaired_at_last(ended: &mut EndedIncident) {
    was_the_policys(ended);
    Arc::make_mut(&mut ended.trouble).repairs = ended.ended_at.into_iter().collect();
}

#[test]
fn what_a_limit_counts_is_kept_to_the_second() {
    let written_back: Change = |view, _| view.effective.write_back = WriteBack::Document;
    let unanswered: Change = |_, ended| ended.unanswered = ended.ended_at;
    let cases: [(&str, Change, u32); 13] = [
        ("", |_, _| {}, 0),
        ("cooldown: 30m", |_, _| {}, 1800),
        ("cooldown: 30m", |_, ended| ended.resolved = false, 0),
        ("", |_, ended| was_the_policys(ended), 300),
        ("storm: {cooldown: 10s}", |_, ended| was_the_policys(ended), 10),
        ("budget: {window: 2h}", |_, ended| was_repaired_at_last(ended), 2 * 3600),
        // In a storm for ten minutes after its repair, and repairs wait for ten more after that.
        (
            "budget: {window: 1s}\nstorm: {cooldown: 10m}",
            |_, ended| was_repaired_at_last(ended),
            1200,
        ),
        ("", |_, ended| ended.cause = Cause::Overwritten, 600),
        ("", written_back, 300),
        ("retry: {minHealthyPeriod: 1h}", written_back, 3600),
        ("", unanswered, 24 * 3600),
        ("breaker: {openFor: 48h}", unanswered, 48 * 3600),
        ("", |_, ended| ended.jobs_until = ended.ended_at.map(|at| Span::mins(30).after(at)), 1800),
    ];
    for (nth, (more, change, until)) in cases.into_iter().enumerate() {
        let (mut view, mut ended) = last(more);
        change(&mut view, &mut ended);
        view.ended = vec![ended.clone()];
        let at = |seconds| Span::secs(seconds).after(ended.ended_at.unwrap());
        if let Some(before) = until.checked_sub(1) {
            assert_eq!(surplus(&view, at(before)), (vec![], Some(at(until))), "{nth} {more}");
        }
        assert_eq!(surplus(&view, at(until)), (vec![ended.clone()], None), "{nth} {more}");
    }
}

#[test]
fn what_a_person_closed_is_kept_until_another_document_is_known_to_be_assigned() {
    let (mut view, mut ended) = last("");
    let digest = view.assigned_document().unwrap().digest().clone();
    ended = EndedIncident { closed: Some(Box::default()), digest, ..ended };
    view.ended = vec![ended.clone()];
    let late = Span::mins(30 * 24 * 60).after(ended.ended_at.unwrap());
    assert_eq!(surplus(&view, late), (vec![], None));
    ended.digest = Digest::of_bytes(b"another");
    view.ended = vec![ended.clone()];
    assert_eq!(surplus(&view, late), (vec![ended], None));
    view.assigned = Assigned::Unavailable(Doubt::new(DoubtReason::ReferenceUnavailable, "none"));
    assert_eq!(surplus(&view, late), (vec![], None));
}

/// Something else about the effect that the Job is.
type Differs = fn(&mut StepEffect);

/// A Job of half an hour runs, and its Incident is superseded and counts for nothing else.
fn with_a_long_job() -> World {
    let mut world = with_job();
    let spec = &mut world.policies[0].spec;
    spec.steps = serde_saphyr::from_str(&RUN.replace("1m", "30m")).unwrap();
    spec.budget = serde_saphyr::from_str("{window: 1s}").unwrap();
    spec.storm = serde_saphyr::from_str("{cooldown: 1s}").unwrap();
    spec.incidents = serde_saphyr::from_str("{keepResolved: 0}").unwrap();
    world.settle();
    assert_eq!(world.made.len(), 1);
    world.assign(&another_trouble());
    world.settle();
    assert_eq!((world.incidents[0].2.state, world.incidents.len()), (Some(State::Superseded), 2));
    world
}

#[test]
fn no_job_is_ended_by_the_deletion_of_its_incident() {
    let mut world = with_a_long_job();
    let (first, (job, _)) = (world.incidents[0].0.clone(), world.jobs.first_key_value().unwrap());
    let job = job.clone();
    world.run_for(Span::mins(29));
    assert!(world.jobs.contains_key(&job), "it was deleted with its Incident");
    // A timer alone lets it go.
    world.run_for(Span::mins(2));
    assert!(world.incidents.iter().all(|(name, ..)| *name != first));
}

#[test]
fn a_job_counts_until_its_time_is_over_and_one_that_has_ended_or_was_not_made_does_not() {
    let world = with_a_long_job();
    let (name, spec, status) = world.incidents[0].clone();
    let over = status.resolved_at.clone().unwrap().0;
    let later = Span::mins(7).after(over);
    let seen_at = status.effects[0].seen_at.clone().unwrap().0;
    let cases: [(Differs, Option<(Timestamp, Span)>); 7] = [
        (|_| {}, Some((seen_at, Span::mins(30)))),
        // It may have been made for the last time that its Incident was looked at.
        (|effect| (effect.outcome, effect.seen_at) = (None, None), Some((later, Span::mins(30)))),
        (|effect| effect.outcome = Some(EffectOutcome::Failed), Some((seen_at, Span::mins(30)))),
        (|effect| effect.step = "gone".to_owned(), Some((seen_at, Span::mins(60)))),
        (|effect| effect.ended_at = Some(effect.intended_at.clone()), None),
        (|effect| effect.outcome = Some(EffectOutcome::NotDone), None),
        // Another kind of step.
        (|effect| effect.made_of = None, None),
    ];
    for (nth, (change, until)) in cases.into_iter().enumerate() {
        let mut status = status.clone();
        status.resolved_at.as_mut().unwrap().0 = later;
        change(&mut status.effects[0]);
        let ended = EndedIncident::of(&name, &name, &spec, &status);
        let until = until.map(|(at, runs)| Span::secs(30).after(runs.after(at)));
        assert_eq!(ended.jobs_until, until, "{nth}");
    }
}
