use serde_json::{Value, json};

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// An Incident whose plan has two steps in this mode.
fn incident(mode: &str, status: &Value) -> Incident {
    let digest = crate::domain::Digest::of_bytes(b"a");
    let object = json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "uk-1", "namespace": "shop"},
        "spec": {
            "contractName": "uk", "contractUID": "u", "widget": "w", "ordinal": 1,
            "openedAt": at(0), "cause": "DocumentChanged", "severity": "Critical",
            "rulesSummary": "schema", "subject": "uk", "documentDigest": digest,
            "fingerprint": digest, "traceparent": format!("00-{TRACE}-b7ad6b7169203331-01"),
            "plan": [{"policyRef": {"name": "heal"}, "why": "it matches", "rules": ["schema"],
                "mode": mode, "steps": [
                    {"name": "restore", "restoreRevision": {}},
                    {"name": "restart", "restartWorkload": {}},
                ]}],
        },
        "status": status,
    });
    serde_json::from_value(object).unwrap()
}

fn conditions(all: &[(&str, bool, &str, &str)]) -> Value {
    let condition = |(type_, is_true, reason, message): &(&str, bool, &str, &str)| json!({"type": type_, "status": if *is_true { "True" } else { "False" }, "reason": reason, "message": message, "lastTransitionTime": at(0)});
    all.iter().map(condition).collect()
}

/// `<type> <attempt> <step> <reason>: <message>`, and when it goes on.
fn words(said: &Happening) -> String {
    let kind: &str = said.r#type.into();
    let attempt = said.attempt.map_or_else(|| "-".to_owned(), |attempt| attempt.to_string());
    let step = if said.step.is_empty() { "-" } else { &said.step };
    let next = said
        .next
        .map_or_else(String::new, |next| format!(" +{}", next.as_second() - 1_800_000_000));
    format!("{kind} {attempt} {step} {}: {}{next}", said.reason, said.message)
}

fn attempt(number: u32, outcome: &str, message: &str, steps: &[(&str, &str)]) -> Value {
    let step = |(name, outcome): &(&str, &str)| json!({"policy": "heal", "name": name, "outcome": outcome});
    let steps: Value = steps.iter().map(step).collect();
    json!({"number": number, "step": "restore", "outcome": outcome, "message": message,
        "at": at(1), "steps": steps})
}

fn effect(outcome: Option<&str>, message: &str) -> Value {
    let mut effect = json!({"attempt": 1, "policy": "heal", "step": "restart",
        "target": "Deployment catalog", "intendedAt": at(1), "message": message});
    if let Some(outcome) = outcome {
        effect["outcome"] = json!(outcome);
    }
    effect
}

/// One row of the table: the mode of the plan, what was written before and is now, and what is said.
type Row<'a> = (&'a str, &'a str, Value, Value, &'a [&'a str]);

fn check(table: Vec<Row<'_>>) {
    for (what, mode, was, is, expected) in table {
        let before = (!was.is_null()).then(|| incident(mode, &was));
        let said = happened(before.as_ref(), &incident(mode, &is), at(3));
        let found: Vec<String> = said.iter().map(words).collect();
        assert_eq!(found, expected, "{what}");
        for said in &said {
            let about = (&*said.namespace, &*said.incident, &*said.contract, said.at);
            assert_eq!(about, ("shop", "uk-1", "uk", at(3)), "{what}");
            assert_eq!(said.trace_id.as_deref(), Some(TRACE), "{what}");
        }
    }
}

fn held(reason: &str) -> Value {
    conditions(&[("Held", true, reason, "the mode says so")])
}

fn passes() -> Value {
    attempt(
        1,
        "Succeeded",
        "document abc is served",
        &[("asset", "Failed"), ("restore", "Changed"), ("restart", "Skipped")],
    )
}

/// An attempt failed, and the next one is waited for.
fn backoff() -> Value {
    let fails = attempt(1, "Failed", "no step led to one that passes", &[("restore", "Failed")]);
    json!({"state": "Remediating", "tries": 1, "step": "restore",
        "waiting": "Backoff", "nextAttemptTime": at(9), "attempts": [fails],
        "conditions": conditions(&[("Remediating", true, "Backoff", "no step led to one")])})
}

const MITIGATED: (&str, bool, &str, &str) =
    ("Mitigated", true, "GoodDocumentServed", "document abc is served");

#[test]
fn an_incident_says_when_it_begins_and_what_shuts_its_gates() {
    check(vec![
        (
            "it opens and may act",
            "Auto",
            Value::Null,
            Value::Null,
            &["healing_start 1 restore DocumentChanged: schema failing, cause DocumentChanged"],
        ),
        ("it opens and may not act", "Observe", Value::Null, Value::Null, &[]),
        ("it waits for nothing yet", "Auto", json!({}), json!({"state": "Open"}), &[]),
        (
            "it is held",
            "Observe",
            json!({}),
            json!({"state": "Held", "waiting": "ObserveOnly",
            "conditions": conditions(&[("Held", true, "ObserveOnly", "the mode says so"), MITIGATED])}),
            &["processing_delay - - ObserveOnly: the mode says so"],
        ),
        (
            "it is held as before",
            "Observe",
            json!({"state": "Held", "waiting": "ObserveOnly",
            "conditions": held("ObserveOnly")}),
            json!({"state": "Held", "waiting": "ObserveOnly",
            "conditions": held("ObserveOnly"), "message": "another"}),
            &[],
        ),
        (
            "a person is asked",
            "Approve",
            json!({}),
            json!({"state": "Held",
            "waiting": "AwaitingApproval", "heldUntil": at(60),
            "conditions": held("AwaitingApproval")}),
            &["processing_delay - - AwaitingApproval: the mode says so +60"],
        ),
        (
            "it is held, and its next attempt would be due before",
            "Auto",
            backoff(),
            json!({"state": "Held", "tries": 1, "waiting": "OutsideWindow", "nextAttemptTime": at(9),
            "heldUntil": at(99), "attempts": backoff()["attempts"],
            "conditions": held("OutsideWindow")}),
            &["processing_delay 1 - OutsideWindow: the mode says so +99"],
        ),
        (
            "what held it is over, and it is tried again",
            "Approve",
            json!({"state": "Held", "waiting": "Busy", "heldUntil": at(5), "conditions": held("Busy")}),
            json!({"state": "Held", "waiting": "Retry", "nextAttemptTime": at(9),
            "conditions": held("Busy")}),
            &["processing_delay - - Retry: the mode says so +9"],
        ),
        (
            "its hold is made longer",
            "Auto",
            json!({"state": "Held", "waiting": "Paused", "heldUntil": at(50),
            "conditions": held("Paused")}),
            json!({"state": "Held", "waiting": "Paused", "heldUntil": at(99),
            "conditions": held("Paused")}),
            &["processing_delay - - Paused: the mode says so +99"],
        ),
        (
            "a person has approved",
            "Approve",
            json!({"state": "Held"}),
            json!({
            "state": "Remediating", "approvedBy": "ann",
            "conditions": conditions(&[("Approved", true, "Approved", "ann approved it")])}),
            &["healing_start 1 restore DocumentChanged: ann approved it"],
        ),
    ]);
}

#[test]
fn an_attempt_says_what_its_steps_do_and_what_came_of_them() {
    check(vec![
        (
            "it healed what a person had approved",
            "Approve",
            json!({"approvedBy": "ann"}),
            json!({
            "state": "Mitigated", "tries": 1, "step": "restore", "waiting": "AwaitingOwner",
            "attempts": [passes()], "conditions": conditions(&[MITIGATED])}),
            &[
                "healing_progress 1 asset Failed: it made nothing better",
                "healing_progress 1 restore Changed: it made the document better",
                "healing_complete 1 restore GoodDocumentServed: document abc is served",
            ],
        ),
        (
            "it passes, and is not seen at the edge yet",
            "Auto",
            json!({}),
            json!({
            "state": "Verifying", "tries": 1, "waiting": "Edge", "attempts": [
            attempt(1, "Succeeded", "document abc is served", &[("restore", "Changed")])]}),
            &[
                "healing_progress 1 restore Changed: it made the document better",
                "healing_progress 1 restore Succeeded: document abc is served",
            ],
        ),
        (
            "an attempt failed",
            "Auto",
            json!({"state": "Open"}),
            backoff(),
            &[
                "healing_progress 1 restore Failed: it made nothing better",
                "healing_failed 1 restore Failed: no step led to one that passes",
                "processing_delay 1 restore Backoff: no step led to one +9",
            ],
        ),
        (
            "the next one begins with an effect",
            "Auto",
            backoff(),
            json!({
            "state": "Remediating", "tries": 1, "step": "restart", "waiting": "Backoff",
            "nextAttemptTime": at(9), "attempts": backoff()["attempts"],
            "effects": [{"attempt": 2, "policy": "heal", "step": "restart",
                "target": "Deployment catalog", "intendedAt": at(9)}]}),
            &[
                "healing_start 2 restart DocumentChanged: attempt 2 begins",
                "healing_progress 2 restart Acting: step restart is about to act on Deployment catalog",
            ],
        ),
        (
            "an effect took place",
            "Auto",
            json!({"effects": [effect(None, "")]}),
            json!({"effects": [effect(Some("Done"), "")]}),
            &["healing_progress 1 restart Done: step restart has acted on Deployment catalog"],
        ),
        (
            "an effect was refused",
            "Auto",
            json!({"effects": [effect(None, "")]}),
            json!({"effects": [effect(Some("NotDone"), "it is not allowed")]}),
            &["healing_progress 1 restart NotDone: it is not allowed"],
        ),
        (
            "a step waits",
            "Auto",
            json!({}),
            json!({"state": "Remediating", "waiting": "Wait",
            "step": "pause", "nextAttemptTime": at(5),
            "conditions": conditions(&[("Remediating", true, "Waiting", "step pause waits 5s")])}),
            &["processing_delay - pause Wait: step pause waits 5s +5"],
        ),
        (
            "a repair is about to be written back",
            "Auto",
            json!({"tries": 1}),
            json!({"tries": 1,
            "intent": {"attempt": 2, "step": "restore",
                "digest": crate::domain::Digest::of_bytes(b"c")}}),
            &[
                "healing_start 2 restore DocumentChanged: attempt 2 begins",
                "healing_progress 2 restore Writing: a repair is about to be written into the assigned \
             document",
            ],
        ),
    ]);
}

#[test]
fn an_end_is_said_once_and_nothing_follows_it() {
    let escalated = ("Escalated", true, "PersonNeeded", "2 attempts failed");
    check(vec![
        (
            "a person is called",
            "Auto",
            json!({"tries": 2}),
            json!({"state": "Escalated", "tries": 2,
            "step": "restore", "waiting": "Person", "nextAttemptTime": at(600),
            "message": "2 attempts failed", "conditions": conditions(&[escalated])}),
            &[
                "healing_failed 2 restore PersonNeeded: 2 attempts failed",
                "processing_delay 2 restore Person: 2 attempts failed +600",
            ],
        ),
        (
            "the owner mended it",
            "Auto",
            json!({"state": "Mitigated", "tries": 1,
            "conditions": conditions(&[MITIGATED])}),
            json!({"state": "Resolved", "tries": 1,
            "step": "restore", "message": "the assigned document passes",
            "conditions": conditions(&[MITIGATED, ("Resolved", true, "Recovered", "")])}),
            &["healing_complete 1 restore Recovered: the assigned document passes"],
        ),
        (
            "another trouble took the place of one that was healed",
            "Auto",
            json!({
            "state": "Mitigated", "conditions": conditions(&[MITIGATED])}),
            json!({
            "state": "Superseded", "message": "another kind of trouble took its place",
            "conditions": conditions(&[("Resolved", false, "Superseded", "")])}),
            &["healing_complete - - Superseded: another kind of trouble took its place"],
        ),
        (
            "another trouble took its place",
            "Auto",
            json!({"state": "Held"}),
            json!({
            "state": "Superseded", "message": "another kind of trouble took its place",
            "conditions": conditions(&[("Resolved", false, "Superseded", "")])}),
            &["healing_failed - - Superseded: another kind of trouble took its place"],
        ),
        ("nothing follows its end", "Auto", json!({"state": "Resolved"}), backoff(), &[]),
    ]);
}

#[test]
fn whoever_begins_to_look_takes_no_old_incident_for_news() {
    let old = incident(
        "Auto",
        &json!({"state": "Mitigated", "tries": 1, "conditions":
        conditions(&[("Mitigated", true, "GoodDocumentServed", "document abc is served")])}),
    );
    assert_eq!(happened(None, &old, at(0)), []);
}

#[test]
fn a_change_of_what_is_for_people_says_nothing() {
    let status = json!({"state": "Held", "waiting": "AwaitingApproval",
        "conditions": conditions(&[("Held", true, "AwaitingApproval", "a person is asked")])});
    let (before, mut after) = (incident("Approve", &status), incident("Approve", &status));
    after.spec.close = true;
    assert_eq!(happened(Some(&before), &after, at(0)), []);
}
