//! Plans that people are shown before anything is done: in mode DryRun, and for an approval.
//!
//! A plan is the same one for as long as its digest is. The digest holds when the plan was first
//! shown, and `{{now}}` in its steps means that moment: so a look makes the plan of the look before
//! it again, and one that has expired is another plan, which an old approval is not for.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use crate::{
    api::{
        condition::{ConditionType, whole_seconds},
        incident::ApprovalDecision,
    },
    domain::{Digest, patch::rfc6902},
};

use super::{
    gates::{
        Asks, Permit,
        approval::{self, Answer, Question},
    },
    plan::{self, Attempting, Candidate, Outcome},
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

/// Today's plan of the record's Incident, to be written into `place`.
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
    let planned = |at| plan::candidate(view, segments, Attempting::Nothing, at, now);
    let known = record.status.plan_digest.clone().zip(record.status.plan_shown_at.as_ref());
    let mut lapsed = false;
    if let Some((digest, at)) = known.map(|(digest, at)| (digest, at.0)) {
        lapsed = expires(at).is_some_and(|expires| expires <= now) && !is_rejected(record, &digest);
        if !lapsed {
            let outcome = planned(at);
            let Outcome::Candidate(candidate) = &outcome else { return (outcome, None) };
            if digest_of(view, record, place, candidate, at) == digest {
                let expires = expires(at);
                return (outcome, Some(Shown { digest, at, expires, is_new: false, lapsed }));
            }
        }
    }
    let at = whole_seconds(now);
    let outcome = planned(at);
    let Outcome::Candidate(candidate) = &outcome else { return (outcome, None) };
    let digest = digest_of(view, record, place, candidate, at);
    (outcome, Some(Shown { digest, at, expires: expires(at), is_new: true, lapsed }))
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
    candidate: &Candidate,
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
        "patch": rfc6902(&candidate.ops),
        "candidate": candidate.document.digest(),
        "shownAt": Time(at),
    }))
}

/// The right to write `candidate`, when a person has approved the plan that makes it; else the
/// record says what is waited for. That it was approved is written down before anything is done.
pub(super) fn approved(
    asks: Asks,
    view: &View,
    record: &mut Record<'_>,
    shown: &Shown,
    candidate: Candidate,
) -> Option<Permit> {
    record.show(shown, &candidate, "Approve");
    let earlier = record.conditions.get(ConditionType::Approved);
    let asked = Question {
        namespace: &view.subject.namespace,
        incident: record.incident,
        digest: &shown.digest,
        expires: shown.expires.unwrap_or(Timestamp::MAX),
        lapsed: shown.lapsed
            || (!shown.is_new && earlier.is_some_and(|earlier| earlier.reason == "Expired")),
    };
    match approval::answer(asks, &asked, candidate) {
        Answer::Yes { permit, by, .. } if record.status.approved_by.as_ref() == Some(&by) => {
            record.conditions.remove(ConditionType::Held);
            Some(permit)
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
