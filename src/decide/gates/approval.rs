//! The last gate: a person's approval of exactly one plan.
//!
//! Knows: what a person decided and about which plan. Must not know: who may decide; admission has
//! seen to that before the Incident could say so, and where nothing in the cluster does, nobody is
//! asked ([`guarded`]).

use jiff::Timestamp;

use super::{Asks, Held, Open, policies, strictest};
use crate::{
    api::incident::{Approval, ApprovalDecision, Segment, StepEffect},
    decide::view::{Need, OpenIncident, View},
    domain::{Digest, Span, text},
};

/// The reason of an Incident that waits for a person's word on its plan.
pub const AWAITING_APPROVAL: &str = "AwaitingApproval";
/// The same where nothing sees to whose word that is.
pub const UNPROTECTED: &str = "ApprovalUnprotected";

const TTL: Span = Span::mins(24 * 60);
/// Less would be asked for anew before anybody has read it.
const TTL_MIN: Span = Span::mins(1);
/// Most of a name or a reason that a message shows: the command behind it is never cut.
const SHOWN: usize = 48;

/// What a person is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Where the Incident is.
    pub namespace: &'a str,
    /// The Incident.
    pub incident: &'a OpenIncident,
    /// Today's plan.
    pub digest: &'a Digest,
    /// Until when it can be approved.
    pub expires: Timestamp,
    /// Has an equal plan expired before?
    pub lapsed: bool,
}

/// What a person has answered.
#[derive(Debug)]
pub enum Answer {
    /// This plan may be carried out.
    Yes {
        /// The right to.
        open: Open,
        /// Who approved it.
        by: String,
        /// A sentence for people.
        message: String,
    },
    /// It may not, or not yet.
    No {
        /// The reason of the condition Approved.
        reason: &'static str,
        /// What is waited for.
        held: Held,
    },
}

/// Is an approval worth asking for: does admission see to who gives it?
///
/// # Errors
/// The fact to gather first.
pub fn guarded(view: &View, segments: &[Segment]) -> Result<Result<(), Held>, Need> {
    Ok(match view.approval_guard.as_ref().ok_or(Need::ApprovalGuard)? {
        Ok(()) => Ok(()),
        Err(why) => {
            let (mode, by) = strictest(view, segments);
            let message = format!(
                "the mode is {mode} by {by}, and nothing sees to it that whoever approves may: \
                 {why}; install it with the chart (approvals.install), or use Auto or DryRun"
            );
            Err(Held { reason: UNPROTECTED, message, until: None })
        }
    })
}

/// How long people may take: the shortest that a policy of the plan gives.
#[must_use]
pub fn ttl(view: &View, segments: &[Segment]) -> Span {
    let given = policies(view, segments).filter_map(|(_, policy)| policy);
    let given = given.map(|policy| policy.spec.approval.as_ref().and_then(|terms| terms.ttl));
    given.map(|ttl| ttl.unwrap_or(TTL)).min().unwrap_or(TTL).max(TTL_MIN)
}

/// An effect goes on that a person approved before it was begun; None where nobody did.
#[must_use]
pub fn begun(_: Asks, effect: &StepEffect) -> Option<Open> {
    effect.approved_by.is_some().then_some(Open(()))
}

/// What was decided about the plan that is asked about.
#[must_use]
pub fn answer(_: Asks, asked: &Question<'_>) -> Answer {
    let given = asked.incident.spec.approval.as_ref();
    let (reason, why) = match given {
        Some(given) if given.plan_digest == *asked.digest => return decided(given),
        None => (AWAITING_APPROVAL, String::new()),
        Some(_) if asked.lapsed => {
            ("Expired", "the plan that was decided on has expired; ".to_owned())
        }
        Some(given) => (
            "PlanChanged",
            format!(
                "{} decided on another plan: the document, a policy or the changes differ; ",
                text::bounded(&given.by, SHOWN)
            ),
        ),
    };
    let message = format!("{why}a person decides until {}: {}", asked.expires, command(asked));
    let held = Held { reason: AWAITING_APPROVAL, message, until: Some(asked.expires) };
    Answer::No { reason, held }
}

fn decided(given: &Approval) -> Answer {
    let why = given.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let message = |what: &str| text::message(&format!("{what} by {}{why}", given.by));
    match given.decision {
        ApprovalDecision::Approve => {
            Answer::Yes { open: Open(()), by: given.by.clone(), message: message("approved") }
        }
        ApprovalDecision::Reject => {
            let held = Held { reason: "Rejected", message: message("rejected"), until: None };
            Answer::No { reason: "Rejected", held }
        }
    }
}

/// What a person types to approve the plan.
fn command(asked: &Question<'_>) -> String {
    let Question { namespace, incident, digest, .. } = asked;
    // A merge patch would keep the reason of an earlier decision.
    let earlier = incident.spec.approval.as_ref().is_some_and(|given| given.reason.is_some());
    let reason = if earlier { ",\"reason\":null" } else { "" };
    format!(
        "kubectl --namespace {namespace} patch incident {} --type=merge -p \
         '{{\"spec\":{{\"approval\":{{\"planDigest\":\"{digest}\",\"decision\":\"Approve\",\
         \"by\":\"<you>\"{reason}}}}}}}'",
        incident.name
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_command_is_never_cut() {
        let spec = json!({
            "subject": "c", "contractName": "c", "contractUID": "u", "widget": "w", "ordinal": 1, "severity": "Critical",
            "documentDigest": "d", "fingerprint": "f", "rulesSummary": "", "cause": "DocumentChanged",
            "openedAt": "2026-01-01T00:00:00Z",
            "approval": {
                "planDigest": "other", "decision": "Reject", "by": "é".repeat(128), "reason": "é",
            },
        });
        let incident = OpenIncident {
            name: "i".repeat(63),
            spec: serde_json::from_value(spec).unwrap(),
            status: crate::api::IncidentStatus::default(),
            generation: 2,
            version: "1".to_owned(),
        };
        let digest = Digest::of_bytes(b"");
        for (lapsed, expected) in [(false, "PlanChanged"), (true, "Expired")] {
            let asked = Question {
                namespace: &"n".repeat(63),
                incident: &incident,
                digest: &digest,
                expires: "2026-01-01T00:00:00Z".parse().unwrap(),
                lapsed,
            };
            let answer = answer(Asks(()), &asked);
            let Answer::No { reason, held } = answer else { panic!("{answer:?}") };
            assert_eq!((reason, held.reason), (expected, "AwaitingApproval"));
            assert_eq!(text::message(&held.message), held.message);
            assert!(held.message.ends_with("\"reason\":null}}}'"), "{}", held.message);
        }
    }
}
