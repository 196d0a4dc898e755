//! Plans that people are shown before anything is done: in mode DryRun, and for an approval.
//!
//! An approval is for one act: for a document that is written, or for an effect that is begun. What
//! comes after an effect is known only then, and is asked about by itself.
//!
//! A plan is the same one for as long as its digest is. The digest holds when the plan was first
//! shown, and `{{now}}` in its steps means that moment: so a look makes the plan of the look before
//! it again, and one that has expired is another plan, which an old approval is not for.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use crate::{
    api::{
        condition::{ConditionType, whole_seconds},
        incident::ApprovalDecision,
    },
    domain::{Digest, patch::rfc6902},
};

use super::{
    effects::Turn,
    gates::{
        Asks, Open,
        approval::{self, Answer, Question},
    },
    plan::{self, Attempt, Attempting, Outcome},
    record::Record,
    view::View,
    write_back::Place,
};

/// A plan as it is shown.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) digest: Digest,
    pub(super) at: Timestamp,
    pub(super) expires: Option<Timestamp>,
    /// It is not the one that status shows.
    pub(super) is_new: bool,
    /// The one that status shows has expired.
    lapsed: bool,
}

/// For how long a plan is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Until another one takes its place.
    Replaced,
    /// Until the time that people may take to approve it is over.
    Expired,
}

/// Today's plan of the record's Incident, to be written into `place`; it is shown where it comes to
/// something that a person can decide on.
pub(super) fn today(
    view: &View,
    record: &Record<'_>,
    place: &Place,
    until: Until,
) -> (Outcome, Option<Shown>) {
    let segments = &record.incident.spec.plan;
    let now = record.now;
    let ttl = (until == Until::Expired).then(|| approval::ttl(view, segments));
    let expires = |at: Timestamp| ttl.map(|ttl| whole_seconds(ttl.after(at)));
    let attempting = match until {
        Until::Replaced => Attempting::Nothing,
        Until::Expired => {
            let number = record.next_number();
            let waited = waited(record, number);
            Attempting::Asking(Attempt { number, waited, is_probe: false })
        }
    };
    let planned = |at| plan::candidate(view, segments, attempting, at, now);
    let known = record.status.plan_digest.clone().zip(record.status.plan_shown_at.as_ref());
    let mut lapsed = false;
    if let Some((digest, at)) = known.map(|(digest, at)| (digest, at.0)) {
        lapsed = expires(at).is_some_and(|expires| expires <= now) && !is_rejected(record, &digest);
        if !lapsed {
            let outcome = planned(at);
            let Some(act) = act(record, &outcome) else { return (outcome, None) };
            if digest_of(view, record, place, &act, at) == digest {
                let expires = expires(at);
                return (outcome, Some(Shown { digest, at, expires, is_new: false, lapsed }));
            }
        }
    }
    let at = whole_seconds(now);
    let outcome = planned(at);
    let Some(act) = act(record, &outcome) else { return (outcome, None) };
    let digest = digest_of(view, record, place, &act, at);
    (outcome, Some(Shown { digest, at, expires: expires(at), is_new: true, lapsed }))
}

/// Among how many of the plan's steps the time of the `wait` steps is over. Before the first act of an
/// attempt a person is waited for, and behind one the time is, until the next plan is shown.
fn waited(record: &Record<'_>, number: u32) -> usize {
    let has_acted = record.status.effects.iter().any(|effect| effect.attempt == number);
    let is_over = !has_acted || record.status.plan_digest.is_some();
    if is_over || !record.requests.is_empty() { usize::MAX } else { record.waited() }
}

/// What `outcome` is about to do, where that takes a person's word.
fn act(record: &Record<'_>, outcome: &Outcome) -> Option<Value> {
    let effect = match outcome {
        Outcome::Candidate(candidate) => {
            let (patch, digest) = (rfc6902(&candidate.ops), candidate.document.digest());
            return Some(json!({"patch": patch, "candidate": digest}));
        }
        Outcome::Effect { turn, step } => match turn.as_deref()? {
            Turn::Intend(effect) => effect,
            // It was begun in another mode.
            Turn::Send { .. } => {
                record.under_way(step).filter(|effect| effect.approved_by.is_none())?
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(json!({
        "policy": effect.policy,
        "step": effect.step,
        "target": effect.target,
        "targetUID": effect.target_uid,
        "targetGeneration": effect.target_generation,
        "madeOf": effect.made_of,
        "pods": effect.pods,
    }))
}

/// A rejection holds for as long as its plan stays the same.
fn is_rejected(record: &Record<'_>, digest: &Digest) -> bool {
    record.incident.spec.approval.as_ref().is_some_and(|given| {
        given.decision == ApprovalDecision::Reject && given.plan_digest == *digest
    })
}

/// Everything that an approval is for, as one value.
fn digest_of(
    view: &View,
    record: &Record<'_>,
    place: &Place,
    act: &Value,
    at: Timestamp,
) -> Digest {
    let named = record.incident.spec.plan.iter().filter_map(|segment| segment.policy_ref.as_ref());
    let policies = named.map(|named| {
        let policy = view.policies.iter().find(|policy| policy.name == named.name);
        (&named.name, policy.map(|policy| policy.generation))
    });
    Digest::of_value(&json!({
        "incident": record.incident.name,
        "attempt": record.next_number(),
        "document": record.status.current_digest,
        "policies": policies.collect::<Vec<_>>(),
        "writtenBack": *place == Place::Assigned,
        "act": act,
        "shownAt": Time(at),
    }))
}

/// Whether a person has approved the plan, which the record shows; else the record says what is waited
/// for. That it was approved is written down before anything is done.
pub(super) fn approved(
    asks: Asks,
    view: &View,
    record: &mut Record<'_>,
    shown: &Shown,
) -> Option<Open> {
    let earlier = record.conditions.get(ConditionType::Approved);
    let asked = Question {
        namespace: &view.subject.namespace,
        incident: record.incident,
        digest: &shown.digest,
        expires: shown.expires.unwrap_or(Timestamp::MAX),
        lapsed: shown.lapsed
            || (!shown.is_new && earlier.is_some_and(|earlier| earlier.reason == "Expired")),
    };
    match approval::answer(asks, &asked) {
        Answer::Yes { open, by, .. } if record.status.approved_by.as_ref() == Some(&by) => {
            record.conditions.remove(ConditionType::Held);
            Some(open)
        }
        Answer::Yes { by, message, .. } => {
            record.approved(by, &message, shown.at);
            None
        }
        Answer::No { reason, held } => {
            record.not_approved(reason, &held, shown.at);
            None
        }
    }
}
