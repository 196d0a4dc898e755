//! A repair that a person takes back, or that fails its verification, gives way to what was served
//! before it.

use serde_json::{Value, json};

use super::{World, good, with};
use crate::{
    api::{
        HEAL,
        incident::{Never, Outcome, State},
    },
    domain::{Digest, Span},
};

fn edit(new: &str) -> Value {
    with(|document| {
        document["title"] = json!(7);
        document["new"] = json!(new);
    })
}

/// A world that serves a repaired edit, by these steps.
fn repaired(steps: &str) -> World {
    let mut world = World::new(&good());
    let policy =
        format!("default: true\nsteps: {steps}\nretry: {{maxAttempts: 3, minHealthyPeriod: 0s}}");
    world.policies[0].spec = serde_saphyr::from_str(&policy).unwrap();
    world.settle();
    world.assign(&edit("a"));
    world.later(Span::secs(10)).settle();
    assert_eq!(
        (world.served_value()["new"].clone(), world.state()),
        (json!("a"), State::Mitigated)
    );
    world
}

const RESTORE: &str = "[{name: restore, restoreRevision: {}}]";
const BOTH: &str = "[{name: restore, restoreRevision: {}}, {name: repair, repairDocument: {}}]";

fn undone(world: &mut World, never: Never) -> (u32, Option<u32>, String) {
    world.undo(never);
    world.later(Span::secs(1)).settle();
    let undone = world.incidents.last().unwrap().2.undone.clone().unwrap();
    (undone.attempt, undone.revision, undone.message)
}

#[test]
fn what_was_served_before_is_served_again_and_the_candidate_is_not_offered_again() {
    let mut world = repaired(RESTORE);
    let candidate = Digest::of_value(&world.served_value());
    let published = world.published;
    let (attempt, revision, message) = undone(&mut world, Never::Candidate);
    assert_eq!((attempt, revision), (1, Some(1)));
    assert_eq!(message, "what was served before is served again");
    assert_eq!((world.served_value(), world.published), (good(), published + 1));
    let never = &world.status.never[0];
    assert_eq!((never.candidate.as_ref(), never.rules.len()), (Some(&candidate), 0));
    world.run_for(Span::mins(30));
    assert_eq!((world.served_value(), world.state()), (good(), State::Escalated));
    let message = &world.incidents[0].2.message;
    assert!(message.contains("took the same document back by spec.undo"), "{message}");
    // Another edit with the same fault has another candidate.
    world.assign(&edit("b"));
    world.annotations.insert(HEAL.to_owned(), "1".to_owned());
    world.later(Span::secs(1)).settle();
    assert_eq!(world.served_value()["new"], "b");
    // The same one again does not.
    world.assign(&edit("a"));
    world.later(Span::secs(1)).settle().run_for(Span::mins(30));
    assert_ne!(world.served_value()["new"], "a");
}

#[test]
fn a_step_that_was_taken_back_is_not_used_for_its_rule_again_and_others_are() {
    let mut world = repaired(BOTH);
    assert_eq!(world.served_value()["title"], "one");
    undone(&mut world, Never::Step);
    assert_eq!(world.status.never[0].step.as_deref(), Some("restoreRevision"));
    world.run_for(Span::mins(5));
    assert_eq!(world.served_value()["title"], "7");
    // In another Incident, too.
    world.assign(&good());
    world.later(Span::secs(10)).settle();
    world.assign(&edit("b"));
    world.later(Span::secs(10)).settle();
    assert_eq!(world.incidents.len(), 2);
    assert_eq!(world.served_value()["title"], "7");
}

#[test]
fn a_rule_that_was_taken_back_is_not_repaired_again() {
    let mut world = repaired(BOTH);
    undone(&mut world, Never::Rule);
    let never = &world.status.never[0];
    assert_eq!((&never.rules[..], &never.step), (&["schema".to_owned()][..], &None));
    for document in [edit("b"), good(), edit("c")] {
        world.assign(&document);
        world.later(Span::secs(10)).settle().run_for(Span::mins(30));
        assert_eq!(world.served_value(), good());
    }
    assert_eq!(world.status.never.len(), 1);
}

#[test]
fn what_no_longer_passes_is_not_put_back_and_that_is_said() {
    let mut world = World::new(&good());
    world.settle().asset("hero", Some(404));
    world.later(Span::mins(1)).settle();
    let served = world.served_value();
    let (_, revision, message) = undone(&mut world, Never::Candidate);
    assert_eq!((world.served_value(), revision), (served, None));
    assert_eq!(
        message,
        "nothing was put back: revision 1, served before, does not pass today's rules"
    );
    let mut world = repaired(RESTORE);
    world.revisions.remove(&1);
    let (_, revision, message) = undone(&mut world, Never::Candidate);
    assert_eq!((revision, message.as_str()), (None, "nothing was put back: gone"));
}

#[test]
fn a_crash_at_any_write_undoes_once() {
    let mut smooth = repaired(RESTORE);
    undone(&mut smooth, Never::Candidate);
    let writes = smooth.writes - repaired(RESTORE).writes;
    for nth in 1..=writes {
        let mut world = repaired(RESTORE);
        world.dies_after = Some(world.writes + nth);
        undone(&mut world, Never::Candidate);
        assert_eq!(world.dies_after, None);
        assert_eq!((world.served_value(), world.published), (good(), smooth.published), "{nth}");
        assert_eq!(world.status.never, smooth.status.never, "{nth}");
        assert_eq!(world.tries(), smooth.tries(), "{nth}");
    }
}

#[test]
fn what_is_taken_back_after_the_end_is_kept_in_mind() {
    let mut world = repaired(RESTORE);
    world.assign(&good());
    world.later(Span::secs(10)).settle();
    assert_eq!(world.state(), State::Resolved);
    world.undo(Never::Rule);
    world.later(Span::secs(10)).settle();
    world.assign(&edit("b"));
    world.later(Span::secs(10)).settle();
    assert_eq!((world.incidents.len(), world.served_value()), (2, good()));
}

#[test]
fn an_incident_is_taken_back_once_and_a_second_request_changes_only_what_is_kept_in_mind() {
    let mut world = repaired(BOTH);
    let first = undone(&mut world, Never::Step);
    world.run_for(Span::mins(5));
    let (served, published) = (world.served_value(), world.published);
    assert_eq!(served["title"], "7", "the other step has repaired it since");
    assert_eq!(undone(&mut world, Never::Rule), first);
    assert_eq!((world.served_value(), world.published), (served, published));
    let [never] = &world.status.never[..] else { panic!("{:?}", world.status.never) };
    assert_eq!((&never.rules[..], &never.step), (&["schema".to_owned()][..], &None));
}

#[test]
fn a_suspended_contract_is_left_as_it_is() {
    let mut world = repaired(RESTORE);
    world.contract["suspend"] = json!(true);
    let published = world.published;
    world.undo(Never::Candidate);
    world.later(Span::secs(10)).settle();
    assert_eq!((world.published, &world.incidents[0].2.undone), (published, &None));
}

#[test]
fn an_attempt_whose_verification_fails_gives_way_to_what_was_served_before() {
    let mut world = World::new(&good());
    world.policies[0].spec.steps.remove(0);
    world.settle().asset("other", Some(404));
    world.assign(&with(|document| {
        document["hero"] = json!("https://cdn.test/other.png");
        document["new"] = json!(true);
    }));
    // Published, and in the same moment its asset is gone.
    world.later(Span::secs(10)).look();
    assert_eq!(world.served_value()["hero"], "https://cdn.test/fallback.png");
    world.asset("fallback", Some(404));
    world.settle();
    assert_eq!(world.incidents[0].2.attempts[0].outcome, Outcome::Failed);
    assert_eq!(world.served_value(), good());
    assert!(world.incidents[0].2.mitigated_at.is_some());
    let published = world.published;
    world.settle();
    assert_eq!(world.published, published);
}

#[test]
fn a_repair_that_comes_out_different_each_time_is_not_made_again_either() {
    let mut world = World::new(&with(|document| document["version"] = json!("1")));
    world.contract["rules"] =
        json!([{"name": "envelope", "metadata": {"expected": {"/locale": "en-GB"}}}]);
    world.assign(&with(|document| document["locale"] = json!("en-GB")));
    let policy = "default: true\nsteps: [{name: stamp, regenerateMetadata: \
                  {set: {/locale: en-GB, /version: '{{ revision }}'}}}]";
    world.policies[0].spec = serde_saphyr::from_str(policy).unwrap();
    world.settle();
    let before = world.served_value();
    world.assign(&with(|document| {
        document["version"] = json!("1");
        document["locale"] = json!("de-DE");
    }));
    world.later(Span::secs(10)).settle();
    assert_eq!(world.served_value()["version"], "2");
    undone(&mut world, Never::Candidate);
    assert_eq!(world.served_value(), before);
    world.run_for(Span::mins(30));
    assert_eq!(world.served_value(), before);
    let message = &world.incidents[0].2.message;
    assert!(message.contains("took a repair of this document back by spec.undo"), "{message}");
}

#[test]
fn a_repair_that_somebody_overwrote_can_still_be_taken_back() {
    let mut world = repaired(RESTORE);
    world.vandal(&with(|document| document["title"] = json!("theirs")));
    world.later(Span::secs(10)).settle();
    assert_eq!(world.served_value()["new"], "a");
    let (_, revision, message) = undone(&mut world, Never::Candidate);
    assert_eq!((world.served_value(), revision), (good(), Some(1)), "{message}");
}
