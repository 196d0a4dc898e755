//! Taking a repair back: what was served before it is served again, and what a person never wants to
//! see again is kept in mind.
//!
//! What was served before is noted beside what took its place, so a crash does not forget it. It is
//! judged by today's rules before it is put back. Must not know: when a repair has failed.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        condition::{ConditionType, whole_seconds},
        contract::{Exclude, NeverAgain, Origin},
        incident::{
            Attempt, IncidentSpec, IncidentStatus, Never, Segment, StepOutcome, StepTaken, Undone,
        },
    },
    domain::{Digest, Document, text},
    steps::StepKind,
};

use super::{
    moves::{Move, Repair},
    plan,
    record::Record,
    view::{Effect, Need, Note, OpenIncident, Served, View},
};

/// Most of them that are kept in mind.
const NEVER_KEPT: usize = 32;

/// What was served before a repair, ready to be served again.
struct Former {
    revision: u32,
    document: Arc<Document>,
}

fn note(view: &View) -> Option<&Note> {
    match &view.served {
        Served::Ours(key) if key.written_by_us => key.note.as_ref(),
        _ => None,
    }
}

/// The revision that is noted as served before what is served now.
pub(super) fn noted(view: &View) -> Option<u32> {
    note(view).and_then(|note| note.before)
}

/// What was served before what is served now, or why it is not served again.
///
/// # Errors
/// The fact to gather first.
fn former(view: &View, now: Timestamp) -> Result<Result<Former, String>, Need> {
    let Some(revision) = noted(view) else {
        return Ok(Err("what was served before was not stored".to_owned()));
    };
    let mut stored = view.status.document.iter().flat_map(|d| &d.revisions);
    if !stored.any(|stored| stored.number == revision) {
        return Ok(Err(format!("revision {revision}, served before, is not stored any more")));
    }
    let document = match view.revisions.get(&revision) {
        None => return Err(Need::Revision(revision)),
        Some(Err(doubt)) => return Ok(Err(doubt.message.clone())),
        Some(Ok(document)) => Arc::clone(document),
    };
    let judged = plan::judge(view, document, now)?;
    if !judged.is_good() {
        return Ok(Err(format!("revision {revision}, served before, does not pass today's rules")));
    }
    Ok(Ok(Former { revision, document: judged.document }))
}

fn put_back(former: Former, effect: &Effect) -> Move {
    Move::Publish(Repair::undone(former.document, former.revision, effect.clone()))
}

/// Puts back what was served before a repair that failed its verification; None when there is
/// nothing that passes.
pub(super) fn of_failure(view: &View, effect: &Effect, now: Timestamp) -> Option<Move> {
    match former(view, now) {
        Err(need) => Some(Move::Ask(need)),
        Ok(Ok(former)) => Some(put_back(former, effect)),
        Ok(Err(_)) => None,
    }
}

/// The revision to note beside a repair as served before it. One that was never verified was never
/// stored: then it is what was served before that one.
pub(super) fn before(view: &View) -> Option<u32> {
    let served = view.status.document.as_ref().and_then(|d| d.served.as_ref());
    served.and_then(|served| served.revision).or_else(|| noted(view))
}

/// What a person asked to take back of `incident`; None when there is nothing to do for it.
pub(super) fn asked(
    view: &View,
    incident: &OpenIncident,
    now: Timestamp,
) -> Option<(Move, Option<Timestamp>)> {
    if incident.spec.undo.is_none() || incident.status.undone.is_some() {
        return None;
    }
    let written = note(view).and_then(|note| Some((note, note.effect.as_ref()?)));
    let written = written.filter(|(_, effect)| effect.incident == incident.name);
    let latest = undone_attempt(&incident.status).map_or(0, |attempt| attempt.number);
    let (attempt, revision, message) = match written {
        Some((note, effect)) if note.undoes => {
            (effect.attempt, note.revision, "what was served before is served again".to_owned())
        }
        // What came of it is written down first.
        Some((_, effect)) if incident.status.tries.unwrap_or(0) < effect.attempt => return None,
        Some((_, effect)) => match former(view, now) {
            Err(need) => return Some((Move::Ask(need), None)),
            Ok(Ok(former)) => return Some((put_back(former, effect), None)),
            Ok(Err(why)) => (effect.attempt, None, format!("nothing was put back: {why}")),
        },
        None => (latest, None, "nothing was put back: none of its repairs is served".to_owned()),
    };
    let digest = incident.status.document(&incident.spec);
    let mut record = Record::of(incident, digest.clone(), now);
    record.withdraw(ConditionType::Verified, "a person took it back");
    record.status.message = text::message(&format!("spec.undo: {message}"));
    record.status.undone = Some(Undone {
        attempt,
        document: Some(digest.clone()),
        revision,
        message,
        at: Time(whole_seconds(now)),
    });
    record.waits_for("");
    record.status.next_attempt_time = None;
    record.next = Some(now);
    Some(record.done())
}

/// The attempt that was taken back, or would be.
fn undone_attempt(status: &IncidentStatus) -> Option<&Attempt> {
    let mut attempts = status.attempts.iter().rev();
    match &status.undone {
        Some(undone) => attempts.find(|attempt| attempt.number == undone.attempt),
        None => attempts.find(|attempt| attempt.published.is_some()),
    }
}

/// What a person never wants to see again, by `spec.undo` of an Incident.
#[must_use]
pub fn never(name: &str, spec: &IncidentSpec, status: &IncidentStatus) -> Option<NeverAgain> {
    let never = spec.undo.as_ref()?.never.unwrap_or_default();
    let attempt = undone_attempt(status);
    let mut again = NeverAgain {
        incident: name.to_owned(),
        candidate: None,
        document: None,
        step: None,
        rules: Vec::new(),
    };
    if never == Never::Candidate {
        again.candidate = Some(attempt?.published.clone()?);
        again.document = status.undone.as_ref().and_then(|undone| undone.document.clone());
        return Some(again);
    }
    // Steps of two policies may have one name: whose it was is on the attempt's record.
    let policy = attempt.and_then(|attempt| {
        let is_it = |taken: &&StepTaken| {
            taken.name == attempt.step && taken.outcome == StepOutcome::Changed
        };
        Some(attempt.steps.iter().rfind(is_it)?.policy.as_str())
    });
    let has_step = |segment: &&Segment| {
        let named = segment.policy_ref.as_ref().map_or("", |policy| policy.name.as_str());
        attempt.is_some_and(|attempt| segment.steps.iter().any(|step| step.name == attempt.step))
            && policy.is_none_or(|policy| policy == named)
    };
    let segment = spec.plan.iter().find(has_step);
    if never == Never::Step {
        let step = &attempt?.step;
        let step = segment?.steps.iter().find(|known| known.name == *step)?;
        again.step = Some(step.kind.name().to_owned());
    }
    again.rules = match segment {
        Some(segment) => segment.rules.clone(),
        None => spec.plan.iter().flat_map(|segment| segment.rules.clone()).take(64).collect(),
    };
    Some(again)
}

/// All that is kept in mind after this look.
#[must_use]
pub fn remembered(view: &View) -> Vec<NeverAgain> {
    let mut all = view.status.never.clone();
    let open = view.incident.as_ref();
    let open = open.and_then(|open| never(&open.name, &open.spec, &open.status));
    for again in view.ended.iter().rev().filter_map(|ended| ended.never.clone()).chain(open) {
        match all.iter_mut().find(|known| known.incident == again.incident) {
            Some(known) => *known = again,
            None => all.push(again),
        }
    }
    let surplus = all.len().saturating_sub(NEVER_KEPT);
    all.drain(..surplus);
    all
}

/// What no step may do, in the form of `healing.exclude`.
pub(super) fn excludes(never: &[NeverAgain]) -> Vec<Exclude> {
    let of = |again: &NeverAgain| {
        let step = again.step.clone();
        let exclude = move |rule: &String| Exclude {
            rule: Some(rule.clone()),
            step: step.clone(),
            paths: Vec::new(),
        };
        again.rules.iter().map(exclude).collect::<Vec<_>>()
    };
    never.iter().flat_map(of).collect()
}

/// Why a step that comes to another text each time is not used: its candidates cannot be told by
/// their digests, and a person took back what one of them made of the assigned document.
pub(super) fn no_variation(
    view: &View,
    never: &[NeverAgain],
    step: &StepKind,
) -> Option<&'static str> {
    let assigned = view.assigned_document().map(|document| document.digest());
    let was_taken_back = never.iter().any(|again| again.document.as_ref() == assigned);
    (assigned.is_some() && step.varies() && was_taken_back)
        .then_some("a person took a repair of this document back by spec.undo")
}

/// Is it a document that a person took back?
pub(super) fn is_forbidden(never: &[NeverAgain], digest: &Digest) -> bool {
    never.iter().any(|again| again.candidate.as_ref() == Some(digest))
}

impl Repair {
    /// What was served before an effect. No gate holds it: it was good, and is again.
    fn undone(document: Arc<Document>, revision: u32, effect: Effect) -> Self {
        Self {
            document,
            origin: Origin::History,
            effect,
            written_back: false,
            undoes: Some(revision),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_two_steps_of_one_name_the_one_is_never_taken_again_that_made_the_repair() {
        let spec = json!({
            "subject": "uk", "contractName": "uk", "contractUID": "u", "widget": "w", "ordinal": 1,
            "documentDigest": "d", "fingerprint": "f", "rulesSummary": "", "severity": "Critical",
            "cause": "DocumentChanged", "openedAt": "2026-01-01T00:00:00Z",
            "undo": {"never": "Step", "by": "ann"},
            "plan": [
                {"policyRef": {"name": "a"}, "why": "", "rules": ["x"], "mode": "Auto",
                 "steps": [{"name": "fix", "repairDocument": {}}]},
                {"policyRef": {"name": "b"}, "why": "", "rules": ["y"], "mode": "Auto",
                 "steps": [{"name": "fix", "restoreRevision": {}}]},
            ],
        });
        let spec: IncidentSpec = serde_json::from_value(spec).unwrap();
        for (policy, kind, rule) in [("a", "repairDocument", "x"), ("b", "restoreRevision", "y")] {
            let outcome = |of: &str| if of == policy { "Changed" } else { "Failed" };
            let status = json!({"attempts": [{
                "number": 1, "step": "fix", "outcome": "Succeeded", "message": "",
                "at": "2026-01-01T00:00:10Z", "published": "d2",
                "steps": [
                    {"policy": "a", "name": "fix", "outcome": outcome("a")},
                    {"policy": "b", "name": "fix", "outcome": outcome("b")},
                ],
            }]});
            let status: IncidentStatus = serde_json::from_value(status).unwrap();
            let again = never("uk-1", &spec, &status).unwrap();
            assert_eq!((again.step.as_deref(), again.rules), (Some(kind), vec![rule.to_owned()]));
        }
    }
}
