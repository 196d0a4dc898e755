//! Plans that wait for a person: what is asked, what an answer opens, and what makes it void.

use serde_json::{Value, json};

use super::{
    World,
    effects::{SCALE, down, with_job},
    gates::document,
};
use crate::{
    api::{
        PAUSE, RECONCILE,
        condition::{ConditionType, Conditions},
        incident::{Approval, ApprovalDecision, IncidentStatus, State},
    },
    decide::{moves::Plan, signal::Reason},
    domain::{Digest, Span},
    steps::Change,
};

/// A contract that is served, in trouble, under a policy of mode Approve that also says `more`.
fn asking(more: &str) -> World {
    let mut world = World::new(&document(&json!("good")));
    let policy = format!(
        "default: true\nmode: Approve\nsteps: [{{name: restore, restoreRevision: {{}}}}]\n{more}"
    );
    world.policies[0].spec = serde_saphyr::from_str(&policy).unwrap();
    world.settle();
    world.assign(&document(&json!(7)));
    world.later(Span::secs(10)).settle();
    world
}

fn status(world: &World) -> &IncidentStatus {
    &world.incidents.last().unwrap().2
}

fn plan_of(world: &World) -> Digest {
    status(world).plan_digest.clone().unwrap()
}

fn decide(world: &mut World, plan: &Digest, decision: ApprovalDecision, reason: Option<&str>) {
    world.incidents.last_mut().unwrap().1.approval = Some(Approval {
        plan_digest: plan.clone(),
        decision,
        by: "ann".to_owned(),
        reason: reason.map(str::to_owned),
    });
    world.later(Span::secs(10)).settle();
}

fn approve(world: &mut World, plan: &Digest) {
    decide(world, plan, ApprovalDecision::Approve, Some("looks right"));
}

/// Reason and message of the condition Approved.
fn approved(world: &World) -> (bool, String, String) {
    let conditions = Conditions::of(Some(&status(world).conditions));
    let is = conditions.get(ConditionType::Approved).unwrap();
    (is.status == "True", is.reason.clone(), is.message.clone())
}

fn is_repaired(world: &World) -> bool {
    world.served_value()
        == json!({"title": "good", "hero": "https://cdn.test/hero.png", "new": true})
}

/// A status that asks about a document names it as it is stored, and no other status names one.
pub(super) fn assert_asks_about_what_can_be_read(status: &IncidentStatus, stored: Option<&Plan>) {
    let is_document = status.plan_digest.is_some() && !status.plan.is_empty();
    let asks = status.plan_digest.as_ref().filter(|_| is_document);
    let stored = stored.filter(|_| is_document);
    assert_eq!(asks, stored.map(|plan| &plan.digest), "asked about what nobody can read");
    let document = stored.map(|plan| plan.document.digest());
    assert_eq!(status.candidate_digest.as_ref(), document, "names another document");
}

#[test]
fn a_plan_is_shown_with_the_command_that_approves_it_and_nothing_is_done() {
    let mut world = asking("");
    assert_eq!((world.state(), status(&world).waiting.as_str()), (State::Held, "AwaitingApproval"));
    let plan = plan_of(&world);
    let (is, reason, message) = approved(&world);
    assert_eq!((is, reason.as_str()), (false, "AwaitingApproval"));
    let name = &world.incidents[0].0;
    let command = format!(
        "kubectl --namespace ns patch incident {name} --type=merge -p '{{\"spec\":{{\"approval\":\
         {{\"planDigest\":\"{plan}\",\"decision\":\"Approve\",\"by\":\"<you>\"}}}}}}'"
    );
    assert_eq!(message, format!("a person decides until 2026-01-02T00:00:10Z: {command}"));
    assert!(serde_json::from_str::<Value>(command.split('\'').nth(1).unwrap()).is_ok());
    let expires = status(&world).plan_expires_at.as_ref().unwrap().0;
    assert_eq!(expires.to_string(), "2026-01-02T00:00:10Z");
    assert_eq!(status(&world).plan[0].path, "/title");
    let shown = world.candidate.as_ref().unwrap();
    assert_eq!((&shown.digest, shown.document.value()["title"].as_str()), (&plan, Some("good")));
    assert_eq!(shown.patch, json!([{"op": "replace", "path": "/title", "value": "good"}]));
    let writes = world.writes;
    for _ in 0..5 {
        world.later(Span::secs(60)).settle();
    }
    assert_eq!((world.writes, is_repaired(&world), plan_of(&world)), (writes, false, plan));
    assert_eq!((world.tries(), world.times(Reason::PlanReady)), (0, 1));
}

#[test]
fn what_a_person_approved_is_done_once_and_on_record_with_who_approved_it() {
    let mut world = asking("");
    let plan = plan_of(&world);
    approve(&mut world, &plan);
    assert!(is_repaired(&world));
    assert_eq!((world.state(), world.tries()), (State::Mitigated, 1));
    assert_eq!(approved(&world), (true, "Approved".into(), "approved by ann: looks right".into()));
    let attempt = &status(&world).attempts[0];
    assert_eq!(attempt.approved_by.as_deref(), Some("ann"));
    assert_eq!(status(&world).plan_digest, None, "nothing is left to approve");
    assert_eq!((world.times(Reason::Approved), world.times(Reason::StepSucceeded)), (1, 1));
    let said = world.said.iter().find(|(_, signal)| signal.reason == Reason::Approved).unwrap();
    assert_eq!(said.1.note, "approved by ann: looks right");

    // The same trouble later is another attempt, and takes another approval.
    world.assign(&document(&json!("mended")));
    world.later(Span::secs(10)).settle();
    world.assign(&document(&json!(7)));
    world.later(Span::secs(10)).settle();
    assert_eq!((world.state(), world.incidents.len()), (State::Held, 1));
    assert_eq!(approved(&world).1, "PlanChanged");
    assert_ne!(plan_of(&world), plan);
}

#[test]
fn that_it_was_approved_is_written_down_before_it_is_done() {
    let mut world = asking("");
    let plan = plan_of(&world);
    world.incidents[0].1.approval = Some(Approval {
        plan_digest: plan,
        decision: ApprovalDecision::Approve,
        by: "ann".to_owned(),
        reason: None,
    });
    world.look();
    assert!(approved(&world).0 && !is_repaired(&world), "{:?}", status(&world));
    // Taken back in the last moment.
    world.incidents[0].1.approval = None;
    world.settle();
    assert!(!approved(&world).0 && !is_repaired(&world), "{:?}", status(&world));
    assert_eq!(status(&world).approved_by, None);
}

#[test]
fn an_approval_is_void_when_anything_that_it_covers_has_changed() {
    type Change = fn(&mut World);
    let changes: [(&str, Change); 4] = [
        ("the document", |world| {
            let mut other = document(&json!(7));
            other["new"] = json!("something else");
            world.assign(&other);
        }),
        ("the policy", |world| world.policies[0].generation += 1),
        ("the place", |world| world.contract["healing"] = json!({"writeBack": "Document"})),
        ("a fact", |world| {
            // Another revision is restored from.
            world.assign(&document(&json!("newer")));
            world.later(Span::secs(10)).settle();
            world.assign(&document(&json!(7)));
        }),
    ];
    for (what, change) in changes {
        let mut world = asking("");
        let plan = plan_of(&world);
        let published = world.published;
        change(&mut world);
        let of_its_owner = usize::from(what == "a fact");
        approve(&mut world, &plan);
        assert_eq!(world.published, published + of_its_owner, "{what}");
        assert_eq!(status(&world).waiting, "AwaitingApproval", "{what}");
        let (is, reason, message) = approved(&world);
        assert_eq!((is, reason.as_str()), (false, "PlanChanged"), "{what}");
        assert!(message.starts_with("ann decided on another plan"), "{message}");
        // The command names the new plan, and does not keep the old reason.
        let today = plan_of(&world);
        assert!(message.contains(today.as_str()) && today != plan, "{message}");
        assert!(message.ends_with("\"by\":\"<you>\",\"reason\":null}}}'"), "{message}");
        assert_eq!(world.candidate.as_ref().unwrap().digest, today, "{what}");
        approve(&mut world, &today);
        assert_eq!(status(&world).attempts[0].approved_by.as_deref(), Some("ann"), "{what}");
    }
}

#[test]
fn a_rejected_plan_is_held_with_who_and_why_until_it_changes() {
    let mut world = asking("approval: {ttl: 1h}");
    let plan = plan_of(&world);
    decide(&mut world, &plan, ApprovalDecision::Reject, Some("the old title is wrong"));
    let told = "rejected by ann: the old title is wrong";
    assert_eq!((world.state(), status(&world).waiting.as_str()), (State::Held, "Rejected"));
    assert_eq!(approved(&world), (false, "Rejected".into(), told.into()));
    let writes = world.writes;
    // A rejection does not expire.
    world.later(Span::mins(120)).settle();
    assert_eq!((world.writes, plan_of(&world)), (writes, plan));
    assert_eq!(world.times(Reason::Rejected), 1);
    let mut other = document(&json!(7));
    other["new"] = json!("something else");
    world.assign(&other);
    world.later(Span::secs(10)).settle();
    assert_eq!(status(&world).waiting, "AwaitingApproval");
}

#[test]
fn a_plan_that_nobody_approved_in_time_is_asked_for_anew() {
    let mut world = asking("approval: {ttl: 1h}");
    let plan = plan_of(&world);
    world.later(Span::mins(60)).settle();
    assert_eq!(approved(&world).1, "AwaitingApproval");
    let second = plan_of(&world);
    assert_ne!(second, plan);
    // What was approved too late was another plan, and nothing is done.
    approve(&mut world, &plan);
    assert!(!is_repaired(&world) && approved(&world).1 == "PlanChanged", "{:?}", approved(&world));
    approve(&mut world, &second);
    assert!(is_repaired(&world));
}

#[test]
fn a_time_to_approve_that_nobody_could_keep_is_not_asked_for_again_and_again() {
    let mut world = asking("approval: {ttl: 0s}");
    let plan = plan_of(&world);
    world.later(Span::secs(30)).settle();
    assert_eq!(plan_of(&world), plan);
}

#[test]
fn an_approval_that_was_given_expires_with_its_plan() {
    let mut world =
        asking("approval: {ttl: 1h}\nwindows: [{kind: Deny, schedule: '1 0 * * *', duration: 2h}]");
    let plan = plan_of(&world);
    world.later(Span::secs(60)).settle();
    assert_eq!(status(&world).waiting, "OutsideWindow");
    approve(&mut world, &plan);
    assert!(!is_repaired(&world), "a window is a gate of its own");
    for _ in 0..2 {
        world.later(Span::mins(70)).settle();
    }
    let (is, reason, message) = approved(&world);
    assert_eq!((is, reason.as_str()), (false, "Expired"), "{message}");
    world.later(Span::secs(60)).settle();
    assert_eq!(approved(&world), (is, reason, message), "and it stays so");
    assert!(!is_repaired(&world));
}

#[test]
fn the_strictest_mode_wins_over_an_approval() {
    for (mode, waiting) in [("DryRun", "DryRun"), ("Observe", "ObserveOnly")] {
        let mut world = asking("");
        let plan = plan_of(&world);
        world.contract["healing"] = json!({"mode": mode});
        approve(&mut world, &plan);
        assert_eq!((status(&world).waiting.as_str(), is_repaired(&world)), (waiting, false));
        world.contract["healing"] = json!({"mode": "Auto"});
        world.later(Span::secs(10)).settle();
        assert!(
            is_repaired(&world),
            "the policy's Approve is met, and the contract cannot loosen it"
        );
        assert_eq!(status(&world).attempts[0].approved_by.as_deref(), Some("ann"));
    }
    let mut world = asking("");
    world.policies[0].spec.mode = None;
    world.contract["healing"] = json!({"mode": "Approve"});
    world.later(Span::secs(10)).settle();
    assert_eq!((status(&world).waiting.as_str(), is_repaired(&world)), ("AwaitingApproval", false));
}

#[test]
fn nobody_is_asked_where_admission_does_not_see_to_who_answers() {
    let mut world = asking("");
    let plan = plan_of(&world);
    world.guard = Err("there is no ValidatingAdmissionPolicy a".to_owned());
    approve(&mut world, &plan);
    assert_eq!(status(&world).waiting, "ApprovalUnprotected");
    let (_, reason, message) = approved(&world);
    assert_eq!(reason, "ApprovalUnprotected");
    assert!(
        message.contains("approvals.install") && message.contains("RemediationPolicy heal"),
        "{message}"
    );
    let writes = world.writes;
    world.later(Span::secs(60)).settle();
    assert_eq!((world.writes, is_repaired(&world)), (writes, false));
    // What was approved meanwhile counts for nothing.
    world.guard = Ok(());
    world.later(Span::secs(60)).settle();
    assert_eq!((approved(&world).1.as_str(), is_repaired(&world)), ("PlanChanged", false));
}

#[test]
fn a_dry_run_shows_the_whole_plan_and_writes_it_once() {
    let mut world = asking("");
    world.contract["healing"] = json!({"mode": "DryRun"});
    world.later(Span::secs(10)).settle();
    let shown = world.candidate.clone().unwrap();
    assert_eq!(shown.patch, json!([{"op": "replace", "path": "/title", "value": "good"}]));
    assert_eq!((plan_of(&world), status(&world).plan_expires_at.clone()), (shown.digest, None));
    let writes = world.writes;
    world.later(Span::mins(48 * 60)).settle();
    assert_eq!(world.writes, writes + 1, "a person is called, and that is all");
    assert!(!is_repaired(&world));
}

#[test]
fn a_plan_with_the_time_in_it_is_the_same_plan_a_minute_later() {
    let mut world = World::new(&json!({"title": "good", "at": "then"}));
    world.contract["rules"] = json!([{"name": "stamped", "metadata": {"required": ["/at"]}}]);
    let steps = "[{name: pause, wait: {for: 5m}}, \
                 {name: stamp, regenerateMetadata: {set: {/at: '{{now}}'}}}]";
    world.policies[0].spec =
        serde_saphyr::from_str(&format!("default: true\nmode: Approve\nsteps: {steps}")).unwrap();
    world.settle();
    world.assign(&json!({"title": "good"}));
    world.later(Span::secs(10)).settle();
    let plan = plan_of(&world);
    let stamp = status(&world).plan_shown_at.as_ref().unwrap().0.to_string();
    world.later(Span::secs(60)).settle();
    assert_eq!(plan_of(&world), plan);
    approve(&mut world, &plan);
    assert_eq!(world.served_value()["at"], json!(stamp));
}

#[test]
fn a_plan_can_be_read_before_it_is_asked_about_whatever_else_is_written() {
    let world = asking("");
    for dies_after in 1..4 {
        let mut world = world.clone();
        world.assign(&document(&json!(8)));
        world.annotations.insert(RECONCILE.to_owned(), "monday".to_owned());
        world.dies_after = Some(world.writes + dies_after);
        // Each status that asks for an answer is held to it, see `World::apply`.
        world.later(Span::secs(10)).settle();
        assert_eq!(Some(plan_of(&world)), world.candidate.map(|plan| plan.digest));
    }
}

#[test]
fn a_plan_for_one_document_is_not_shown_for_another_while_a_gate_is_shut() {
    let mut world = asking("");
    let plan = plan_of(&world);
    world
        .annotations
        .insert(PAUSE.to_owned(), "2026-01-01T06:00:00Z/ann: the CDN moves".to_owned());
    world.later(Span::secs(10)).settle();
    assert_eq!((status(&world).waiting.as_str(), plan_of(&world)), ("Paused", plan.clone()));
    let mut other = document(&json!(7));
    other["promo"] = json!("and more");
    world.assign(&other);
    world.later(Span::secs(10)).settle();
    assert_eq!((world.incidents.len(), status(&world).waiting.as_str()), (1, "Paused"));
    assert_eq!((&status(&world).plan_digest, status(&world).plan.len()), (&None, 0));
    world.annotations.clear();
    world.later(Span::secs(10)).settle();
    assert_ne!(plan_of(&world), plan);
}

/// A contract whose source is scaled to zero, under a policy of mode Approve.
fn asking_to_scale() -> World {
    let mut world = down(SCALE);
    world.policies[0].spec.mode = Some(crate::api::contract::Mode::Approve);
    world.settle();
    world
}

/// Message of the condition Planned.
fn planned(world: &World) -> String {
    let conditions = Conditions::of(Some(&status(world).conditions));
    conditions.get(ConditionType::Planned).map_or_else(String::new, |is| is.message.clone())
}

#[test]
fn an_effect_is_asked_about_by_itself_and_then_the_document_that_came_of_it() {
    let mut world = asking_to_scale();
    assert_eq!((world.state(), status(&world).waiting.as_str()), (State::Held, "AwaitingApproval"));
    assert_eq!(planned(&world), "step scale would act on Deployment catalog: scaleWorkload");
    assert!(approved(&world).2.contains(plan_of(&world).as_str()));
    let (writes, plan) = (world.writes, plan_of(&world));
    for _ in 0..5 {
        world.later(Span::secs(60)).settle();
    }
    assert_eq!((world.writes, world.acts.len(), plan_of(&world)), (writes, 0, plan.clone()));
    assert_eq!(world.times(Reason::PlanReady), 1);

    approve(&mut world, &plan);
    assert_eq!(
        world.acts.iter().map(|(change, _)| change).collect::<Vec<_>>(),
        [&Change::Scale(1)]
    );
    assert_eq!(status(&world).effects[0].approved_by.as_deref(), Some("ann"));
    assert_eq!(status(&world).plan_digest, None, "nothing is left to approve for now");
    world.roll_out().run_for(Span::secs(20));
    let next = plan_of(&world);
    assert_ne!(next, plan);
    assert_eq!(status(&world).waiting, "AwaitingApproval");
    assert_ne!(world.served_value()["title"], "from the source");
    approve(&mut world, &next);
    assert_eq!(world.served_value()["title"], "from the source");
    assert_eq!((world.acts.len(), world.tries(), world.state()), (1, 1, State::Mitigated));
    assert_eq!(status(&world).attempts[0].approved_by.as_deref(), Some("ann"));
}

#[test]
fn an_effect_is_not_begun_on_what_is_not_as_it_was_when_it_was_approved() {
    type Change = fn(&mut World);
    let changes: [(&str, Change); 3] = [
        ("its spec", |world| world.workload.as_mut().unwrap().generation += 1),
        ("another of its name", |world| world.workload.as_mut().unwrap().uid = "e".to_owned()),
        ("the policy", |world| world.policies[0].generation += 1),
    ];
    for (what, change) in changes {
        let mut world = asking_to_scale();
        let plan = plan_of(&world);
        change(&mut world);
        approve(&mut world, &plan);
        assert_eq!((world.acts.len(), approved(&world).1.as_str()), (0, "PlanChanged"), "{what}");
    }
    let mut world = asking_to_scale();
    let plan = plan_of(&world);
    decide(&mut world, &plan, ApprovalDecision::Reject, Some("it is being moved"));
    world.later(Span::mins(10)).settle();
    assert_eq!((world.acts.len(), status(&world).waiting.as_str()), (0, "Rejected"));
}

#[test]
fn an_effect_that_was_begun_in_another_mode_is_done_only_when_a_person_approves_it() {
    let mut world = down(SCALE);
    while world.incidents.last().is_none_or(|(_, _, status)| status.effects.is_empty()) {
        world.look();
    }
    world.policies[0].spec.mode = Some(crate::api::contract::Mode::Approve);
    world.later(Span::secs(10)).settle();
    assert_eq!((world.acts.len(), status(&world).waiting.as_str()), (0, "AwaitingApproval"));
    let plan = plan_of(&world);
    approve(&mut world, &plan);
    assert_eq!((world.acts.len(), status(&world).effects.len()), (1, 1));
    assert_eq!(status(&world).effects[0].approved_by.as_deref(), Some("ann"));
}

#[test]
fn a_crash_after_any_write_of_an_approved_effect_does_it_once() {
    let story = |world: &mut World| {
        for _ in 0..2 {
            if let Some(plan) = status(world).plan_digest.clone() {
                approve(world, &plan);
            }
            world.settle().roll_out().run_for(Span::secs(20));
        }
    };
    let (smooth, killed) = asking_to_scale().killed_after_each_write(story);
    assert_eq!(smooth.state(), State::Mitigated);
    for (nth, crashing) in killed {
        assert_eq!(crashing.acts, smooth.acts, "killed after write {nth}");
        assert_eq!((crashing.state(), crashing.tries()), (State::Mitigated, 1), "write {nth}");
        assert_eq!(status(&crashing).effects[0].approved_by.as_deref(), Some("ann"));
    }
}

#[test]
fn an_approval_of_a_job_is_for_what_it_would_run_and_for_no_other_template() {
    let other = "{apiVersion: batch/v1, kind: Job, spec: {template: {spec: {restartPolicy: Never, \
                 containers: [{name: main, image: 'other:1'}]}}}}";
    for changed_before in [true, false] {
        let mut world = with_job();
        world.policies[0].spec.mode = Some(crate::api::contract::Mode::Approve);
        world.settle();
        let plan = plan_of(&world);
        if changed_before {
            world.template = Some(other.to_owned());
            approve(&mut world, &plan);
            assert_eq!((world.made.len(), approved(&world).1.as_str()), (0, "PlanChanged"));
            continue;
        }
        world.incidents[0].1.approval = Some(Approval {
            plan_digest: plan,
            decision: ApprovalDecision::Approve,
            by: "ann".to_owned(),
            reason: None,
        });
        while status(&world).effects.is_empty() {
            world.look();
        }
        world.template = Some(other.to_owned());
        world.settle();
        let effect = &status(&world).effects[0];
        assert!(effect.message.contains("its template"), "{effect:?}");
        assert_eq!(world.made.len(), 0);
    }
}

#[test]
fn a_wait_behind_an_approved_effect_is_waited_for_and_one_before_it_is_not() {
    let steps = "[{name: before, wait: {for: 2m}}, {name: scale, scaleWorkload: {}}, \
                 {name: behind, wait: {for: 2m}}, {name: refetch, refetchSource: {}}]";
    let mut world = down(steps);
    world.policies[0].spec.mode = Some(crate::api::contract::Mode::Approve);
    world.settle();
    let plan = plan_of(&world);
    approve(&mut world, &plan);
    world.roll_out().run_for(Span::secs(20));
    assert_eq!((world.acts.len(), status(&world).waiting.as_str()), (1, "Wait"));
    world.run_for(Span::mins(3));
    assert_eq!(status(&world).waiting, "AwaitingApproval");
    let (writes, plan) = (world.writes, plan_of(&world));
    world.later(Span::secs(60)).settle();
    assert_eq!((world.writes, plan_of(&world)), (writes, plan.clone()));
    approve(&mut world, &plan);
    assert_eq!(world.served_value()["title"], "from the source");
    assert_eq!((world.acts.len(), world.tries()), (1, 1));
}
