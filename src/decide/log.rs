//! The healing log: what was done, and what came of it, as a list of actions.
//!
//! It is read from Incidents and kept nowhere else, so it can say nothing that they do not. An Incident
//! shows its last 20 attempts and effects; what was before is in no log either.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::{
    condition::ConditionType,
    incident::{Attempt, IncidentSpec, IncidentStatus, State, StepEffect, StepTaken},
};

/// What was done, or happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub enum What {
    /// The Incident was opened.
    Opened,
    /// A person approved the plan that is shown.
    Approved,
    /// A person rejected it.
    Rejected,
    /// A step did something to something else than the document.
    Acted,
    /// An attempt was made.
    Attempted,
    /// A good document was served again.
    Mitigated,
    /// A person was called.
    Escalated,
    /// A person took a repair back.
    Undone,
    /// The Incident is over: the assigned document is good.
    Resolved,
    /// The Incident is over: other trouble took its place.
    Superseded,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The namespace.
    pub namespace: String,
    /// The Incident.
    pub incident: String,
    /// What it is about.
    pub subject: String,
    /// The contract, where it is about one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub contract: String,
    /// What was done.
    pub what: What,
    /// In which attempt, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The policies whose steps had their part in it; those of the plan where no step had.
    pub policies: Vec<String>,
    /// The step: of an attempt the one that made the last change, or the last one tried.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// What came of it, as the Incident has it: `Succeeded`, `Failed`, `Unknown` of an attempt, `Done`,
    /// `NotDone`, `Unknown`, `Failed`, `NoAnswer` of what a step did to something else.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub outcome: String,
    /// What was acted on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Who decided.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// One sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The steps of an attempt that had their turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepTaken>,
}

/// Which actions.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this contract.
    pub contract: Option<String>,
    /// Of this Incident.
    pub incident: Option<String>,
    /// Under this policy.
    pub policy: Option<String>,
    /// In which this step had its turn.
    pub step: Option<String>,
    /// With this outcome.
    pub outcome: Option<String>,
}

impl Filter {
    /// Is it one of them?
    #[must_use]
    pub fn wants(&self, action: &Action) -> bool {
        let steps = || action.steps.iter().map(|taken| &*taken.name);
        let has_step = |step: &str| action.step == step || steps().any(|name| name == step);
        self.may_want(&action.contract, &action.incident, &action.policies)
            && self.step.as_deref().is_none_or(has_step)
            && self.outcome.as_deref().is_none_or(|wanted| wanted == action.outcome)
    }

    /// Could any action of such an Incident be one?
    #[must_use]
    pub fn may_want(&self, contract: &str, incident: &str, policies: &[String]) -> bool {
        self.contract.as_deref().is_none_or(|wanted| wanted == contract)
            && self.incident.as_deref().is_none_or(|wanted| wanted == incident)
            && self.policy.as_ref().is_none_or(|wanted| policies.contains(wanted))
    }
}

/// What happened in one Incident.
#[must_use]
pub fn actions(
    namespace: &str,
    incident: &str,
    spec: &IncidentSpec,
    status: &IncidentStatus,
) -> Vec<Action> {
    let planned = spec.plan.iter().filter_map(|segment| segment.policy_ref.as_ref());
    let planned: BTreeSet<&str> = planned.map(|policy| &*policy.name).collect();
    let entry = |what: What, at: Timestamp, message: &str| Action {
        at,
        namespace: namespace.to_owned(),
        incident: incident.to_owned(),
        subject: spec.subject.clone(),
        contract: spec.contract_name.clone(),
        what,
        attempt: None,
        policies: planned.iter().map(|name| (*name).to_owned()).collect(),
        step: String::new(),
        outcome: String::new(),
        target: String::new(),
        by: String::new(),
        message: message.to_owned(),
        steps: Vec::new(),
    };
    let opened = format!("{} {}: {}", spec.severity, spec.cause, spec.rules_summary);
    let mut all = vec![entry(What::Opened, spec.opened_at.0, &opened)];
    all.extend(
        status.attempts.iter().map(|attempt| {
            attempted(entry(What::Attempted, attempt.at.0, &attempt.message), attempt)
        }),
    );
    all.extend(
        status
            .effects
            .iter()
            .map(|effect| acted(entry(What::Acted, effect.intended_at.0, &effect.message), effect)),
    );
    if let Some(answer) = condition(status, ConditionType::Approved) {
        let approved = status.approved_by.clone().filter(|_| answer.status == "True");
        let what = match approved {
            Some(_) => Some(What::Approved),
            None if answer.reason == "Rejected" => Some(What::Rejected),
            None => None,
        };
        let given = spec.approval.as_ref().map(|given| given.by.clone());
        all.extend(what.map(|what| Action {
            by: approved.or(given).unwrap_or_default(),
            ..entry(what, answer.last_transition_time.0, &answer.message)
        }));
    }
    if let Some(undone) = &status.undone {
        all.push(Action {
            attempt: (undone.attempt > 0).then_some(undone.attempt),
            by: spec.undo.as_ref().map(|undo| undo.by.clone()).unwrap_or_default(),
            ..entry(What::Undone, undone.at.0, &undone.message)
        });
    }
    if let Some(at) = &status.mitigated_at {
        all.push(entry(What::Mitigated, at.0, ""));
    }
    let escalated =
        condition(status, ConditionType::Escalated).filter(|found| found.status == "True");
    let called = status.called_at.as_ref().map(|at| at.0);
    if let Some(at) = called.or(escalated.map(|found| found.last_transition_time.0)) {
        all.push(entry(What::Escalated, at, escalated.map_or("", |found| &found.message)));
    }
    if let Some(at) = status.resolved_at.as_ref().filter(|_| status.is_over()) {
        let is_superseded = status.state == Some(State::Superseded);
        let what = if is_superseded { What::Superseded } else { What::Resolved };
        all.push(entry(what, at.0, if spec.close { "closed by a person" } else { "" }));
    }
    all
}

/// The newest `limit` of `actions`, the newest first.
pub fn keep_newest(actions: &mut Vec<Action>, limit: usize) {
    let place = |action: &Action| (action.at, action.what, action.attempt);
    actions.sort_by(|one, other| {
        place(other).cmp(&place(one)).then_with(|| one.incident.cmp(&other.incident))
    });
    actions.truncate(limit);
}

fn attempted(entry: Action, attempt: &Attempt) -> Action {
    let own = attempt.steps.iter().filter(|taken| !taken.policy.is_empty());
    let own: BTreeSet<&String> = own.map(|taken| &taken.policy).collect();
    let policies = if own.is_empty() { entry.policies } else { own.into_iter().cloned().collect() };
    Action {
        attempt: Some(attempt.number),
        policies,
        step: attempt.step.clone(),
        outcome: attempt.outcome.to_string(),
        by: attempt.approved_by.clone().or_else(|| attempt.asked_by.clone()).unwrap_or_default(),
        steps: attempt.steps.clone(),
        ..entry
    }
}

fn acted(entry: Action, effect: &StepEffect) -> Action {
    Action {
        attempt: Some(effect.attempt),
        policies: vec![effect.policy.clone()],
        step: effect.step.clone(),
        outcome: effect.outcome.map(|outcome| outcome.to_string()).unwrap_or_default(),
        target: effect.target.clone(),
        by: effect.approved_by.clone().unwrap_or_default(),
        ..entry
    }
}

fn condition(status: &IncidentStatus, type_: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_.as_ref())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::Digest;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// One that was attempted in vain, acted on a workload, called a person, was undone and resolved.
    fn told() -> Vec<Action> {
        let digest = Digest::of_bytes(b"a");
        let segment = |policy: &str| json!({"policyRef": {"name": policy}, "why": "it matches", "rules": ["a"], "mode": "Auto", "steps": []});
        let spec = json!({
            "contractName": "uk", "contractUID": "u", "widget": "w", "ordinal": 1, "subject": "uk",
            "openedAt": at(0), "cause": "SourceDown", "severity": "Critical", "rulesSummary": "a",
            "documentDigest": digest, "fingerprint": digest, "undo": {"by": "ada"},
            "plan": [segment("heal"), segment("other")],
        });
        let condition = |type_: &str, status: &str, second: i64| json!({"type": type_, "status": status, "reason": "Given", "message": type_, "lastTransitionTime": at(second)});
        let status = json!({
            "state": "Resolved", "tries": 2, "approvedBy": "bob", "calledAt": at(40),
            "mitigatedAt": at(50), "resolvedAt": at(70),
            "undone": {"attempt": 2, "message": "taken back", "at": at(60)},
            "conditions": [condition("Approved", "True", 20), condition("Escalated", "False", 41)],
            "attempts": [
                {"number": 1, "step": "refetch", "outcome": "Failed", "message": "no", "at": at(10),
                    "steps": [{"policy": "other", "name": "refetch", "outcome": "Failed"}]},
                {"number": 2, "step": "restore", "outcome": "Succeeded", "message": "yes",
                    "at": at(45), "approvedBy": "bob", "steps": [
                        {"policy": "heal", "name": "restart", "outcome": "Acted"},
                        {"policy": "heal", "name": "restore", "outcome": "Changed"}]},
            ],
            "effects": [{"attempt": 2, "policy": "heal", "step": "restart", "outcome": "Done",
                "target": "Deployment catalog", "intendedAt": at(30)}],
        });
        let [spec, status]: [Value; 2] = [spec, status];
        let mut all = actions(
            "shop",
            "uk-1",
            &serde_json::from_value(spec).unwrap(),
            &serde_json::from_value(status).unwrap(),
        );
        keep_newest(&mut all, 200);
        all
    }

    #[test]
    fn an_incident_is_told_from_its_end_to_its_beginning() {
        use What::{Acted, Approved, Attempted, Escalated, Mitigated, Opened, Resolved, Undone};
        let all = told();
        let what: Vec<What> = all.iter().map(|action| action.what).collect();
        let expected =
            [Resolved, Undone, Mitigated, Attempted, Escalated, Acted, Approved, Attempted, Opened];
        assert_eq!(what, expected);
        let by: Vec<&str> = all.iter().map(|action| &*action.by).collect();
        assert_eq!(by, ["", "ada", "", "bob", "", "", "bob", "", ""]);
        assert_eq!(all[5].target, "Deployment catalog");
        assert_eq!(all[8].message, "Critical SourceDown: a");
        let mut newest = all;
        keep_newest(&mut newest, 2);
        assert_eq!(newest.last().unwrap().what, Undone);
    }

    #[test]
    fn a_filter_leaves_what_it_is_for() {
        let count = |filter: Filter| told().iter().filter(|action| filter.wants(action)).count();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(count(Filter::default()), 9);
        assert_eq!(count(Filter { contract: some("fr"), ..Filter::default() }), 0);
        assert_eq!(count(Filter { incident: some("uk-1"), ..Filter::default() }), 9);
        assert_eq!(count(Filter { policy: some("other"), ..Filter::default() }), 7);
        assert_eq!(count(Filter { step: some("restart"), ..Filter::default() }), 2);
        assert_eq!(count(Filter { outcome: some("Failed"), ..Filter::default() }), 1);
        let both = Filter { step: some("restart"), outcome: some("Done"), ..Filter::default() };
        assert_eq!(count(both), 1);
    }
}
