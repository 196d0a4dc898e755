//! Which policy and which of its steps an Incident gets, by what it is.

use super::*;
use crate::{api::incident::StepOutcome, decide::policy};

/// A world that has served the good document, with this policy first.
fn world(name: &str, spec: &str) -> World {
    let mut world = World::new(&good());
    let spec = serde_json::to_value(serde_saphyr::from_str::<Value>(spec).unwrap()).unwrap();
    let spec = policy::read(&spec).unwrap();
    world.policies.push(Policy { name: name.to_owned(), spec, ..world.policies[0].clone() });
    world.settle().later(Span::secs(10));
    world
}

fn policies(world: &World) -> Vec<&str> {
    world.incidents.iter().map(|(_, spec, _)| spec.policies_summary.as_str()).collect()
}

fn outcomes(world: &World, attempt: usize) -> Vec<(&str, StepOutcome)> {
    let attempts = &world.incidents.last().unwrap().2.attempts;
    attempts[attempt].steps.iter().map(|step| (step.name.as_str(), step.outcome)).collect()
}

#[test]
fn the_cause_that_an_incident_opened_with_chooses_its_policy_until_its_end() {
    let by_cause = "match: {causes: [AssetMissing]}\nmode: Observe\n\
                    steps: [{name: other, replaceAsset: {}}]";
    let mut world = world("assets", by_cause);
    world.contract["fallbackAssets"] = json!([]);
    world.asset("hero", Some(404));
    world.later(Span::secs(60)).settle();
    assert_eq!((policies(&world), world.state()), (vec!["assets"], State::Held));
    // By today's document alone the cause would be another, and with it the policy.
    world.assign(&with(|document| document["title"] = json!("edited")));
    world.later(Span::secs(60)).settle();
    assert_eq!((policies(&world), world.state()), (vec!["assets"], State::Held));
    // Another episode has a cause of its own.
    world.assign(&broken());
    world.asset("hero", Some(200));
    world.later(Span::secs(60)).settle();
    assert_eq!(policies(&world), ["assets", "heal"]);
}

#[test]
fn a_warning_opens_an_incident_only_for_a_cause_that_a_policy_matches() {
    let lesser = |causes: &str| {
        let spec = format!(
            "match: {{severities: [Warning], causes: [{causes}]}}\n\
             steps: [{{name: asset, replaceAsset: {{}}}}]"
        );
        let mut world = world("lesser", &spec);
        world.contract["rules"][0]["severity"] = json!("Warning");
        world.asset("hero", Some(404));
        world.later(Span::secs(60)).settle();
        world.incidents.len()
    };
    assert_eq!((lesser("AssetMissing"), lesser("Stale")), (1, 0));
}

#[test]
fn a_step_that_says_escalate_ends_the_attempts_and_the_steps_behind_it() {
    let mut world = world(
        "strict",
        "match: {rules: [schema]}\nsteps: [{name: asset, onFailure: Escalate, replaceAsset: {}}, \
         {name: restore, restoreRevision: {}}]",
    );
    world.assign(&with(|document| {
        document["title"] = json!(7);
        document["new"] = json!("good");
    }));
    world.settle();
    assert_eq!((world.state(), world.tries(), world.served_value()), (State::Escalated, 1, good()));
    assert_eq!(outcomes(&world, 0), [("asset", StepOutcome::Failed)]);
}

#[test]
fn a_step_whose_when_is_false_is_skipped_and_said_to_be() {
    let mut world = world(
        "picky",
        "match: {rules: [schema]}\nretry: {backoff: {initial: 1s}}\nsteps: [\
         {name: asset, when: \"incident.cause == 'AssetMissing'\", onFailure: Escalate, replaceAsset: {}}, \
         {name: late, when: \"incident.tries >= 1\", restoreRevision: {}}]",
    );
    world.assign(&with(|document| {
        document["title"] = json!(7);
        document["new"] = json!("good");
    }));
    world.settle();
    assert_eq!((world.tries(), world.state()), (1, State::Remediating));
    let skipped = [("asset", StepOutcome::Skipped), ("late", StepOutcome::Skipped)];
    assert_eq!(outcomes(&world, 0), skipped);
    let message = &world.incidents[0].2.attempts[0].message;
    assert!(message.starts_with("asset: its when is false; late: its when is false"), "{message}");
    world.run_for(Span::secs(30));
    assert_eq!((world.tries(), &world.served_value()["new"]), (2, &json!("good")));
    let taken = [("asset", StepOutcome::Skipped), ("late", StepOutcome::Changed)];
    assert_eq!(outcomes(&world, 1), taken);
}
