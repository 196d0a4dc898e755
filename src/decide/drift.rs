//! Somebody else wrote the served key: the Incident about it, and the end of a fight over it.
//!
//! Whether the key is put back is decided in `publish`; this is about putting it on record.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        condition::{ConditionType, whole_seconds},
        contract::Mode,
        incident::{Cause, IncidentSpec, RuleViolation, Segment},
    },
    domain::{Digest, Severity, text},
};

use super::{
    episode::{name, next_ordinal, traceparent},
    moves::Move,
    record::Record,
    view::{Effect, Served, View},
};

/// The name under which an overwritten key fails; no rule of a contract can be meant by it, since
/// it is about what is served and not about the document.
const SERVED_RULE: &str = "served";
/// The built-in step that puts a served key back.
pub const PUT_BACK: &str = "put-back";

/// What the write that puts the key back carries.
#[must_use]
pub fn effect(incident: &str) -> Effect {
    Effect {
        incident: incident.to_owned(),
        attempt: 1,
        step: PUT_BACK.to_owned(),
        tried: Vec::new(),
        decided_at: None,
    }
}

/// The Incident about a served key that `manager` overwrote, to be opened before the key is put
/// back: putting it back erases the evidence. None when one is open already, or none is wanted.
#[must_use]
pub fn overwritten(view: &View, manager: &str, now: Timestamp) -> Option<(String, IncidentSpec)> {
    if view.incident.is_some() || view.effective.mode == Mode::Off {
        return None;
    }
    let ordinal = next_ordinal(view);
    let message = format!("field manager {manager} changed what is served");
    let spec = IncidentSpec {
        subject: view.subject.name.clone(),
        contract_name: view.subject.name.clone(),
        contract_uid: view.subject.uid.clone(),
        about: None,
        blames: None,
        widget: view.effective.widget.clone(),
        ordinal,
        document_digest: match &view.served {
            Served::Ours(key) => key.raw_digest.clone(),
            _ => Digest::of_bytes(b""),
        },
        fingerprint: Digest::of_bytes(SERVED_RULE.as_bytes()),
        rules_summary: SERVED_RULE.to_owned(),
        violations: vec![RuleViolation {
            rule: SERVED_RULE.to_owned(),
            path: String::new(),
            keyword: "overwritten".to_owned(),
            message: text::message(&message),
        }],
        severity: Severity::Critical,
        cause: Cause::Overwritten,
        policies_summary: "built-in".to_owned(),
        plan: vec![Segment {
            policy_ref: None,
            policy_generation: None,
            why: "what is served is put back whatever a policy says".to_owned(),
            rules: vec![SERVED_RULE.to_owned()],
            mode: Mode::Auto,
            steps: Vec::new(),
        }],
        intent: None,
        traceparent: Some(traceparent(&view.subject.uid, ordinal)),
        opened_at: Time(whole_seconds(now)),
        approval: None,
        close: false,
        undo: None,
    };
    Some((name(&view.subject.name, &view.subject.uid, ordinal), spec))
}

/// What a fight over the served key means for the open Incident: a person is needed.
#[must_use]
pub fn contended(view: &View, why: &str, now: Timestamp) -> Move {
    let Some(incident) = &view.incident else { return Move::Nothing };
    let digest = incident.spec.document_digest.clone();
    let mut record = Record::of(incident, digest, now);
    if !record.conditions.is_true(ConditionType::Escalated) {
        record.give_up(why);
    }
    record.done().0
}
