//! Incident: one episode of one contract's trouble, from the first failing check to its end.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    contract::{CheckResult, Mode},
    policy::Step,
    refs::{ConfigMapKeyRef, LocalRef},
};
use crate::domain::{Digest, Severity, Span, patch::OpSummary};

/// One episode. Written once, which `crd` sees to; only [`super::crd::FOR_PEOPLE`] may change. It is
/// about one contract, or about what several have in common; then what is said of a document is said
/// of that.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "kintsugi.dev",
    version = "v1alpha1",
    kind = "Incident",
    plural = "incidents",
    shortname = "inc",
    category = "kintsugi",
    namespaced,
    status = "IncidentStatus",
    derive = "PartialEq",
    doc = "An Incident is one episode of one contract's trouble: what failed, why, what was done about it, and how it ended.",
    selectable = ".spec.contractName",
    selectable = ".spec.severity",
    selectable = ".spec.widget",
    selectable = ".status.state",
    printcolumn(name = "Subject", type_ = "string", json_path = ".spec.subject"),
    printcolumn(name = "Rules", type_ = "string", json_path = ".spec.rulesSummary"),
    printcolumn(name = "Severity", type_ = "string", json_path = ".spec.severity"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Tries", type_ = "integer", json_path = ".status.tries"),
    printcolumn(name = "Cause", type_ = "string", json_path = ".spec.cause"),
    printcolumn(name = "Waiting", type_ = "string", json_path = ".status.waiting"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Policy",
        type_ = "string",
        json_path = ".spec.policiesSummary",
        priority = 1
    ),
    printcolumn(name = "Trace", type_ = "string", json_path = ".spec.traceparent", priority = 1),
    printcolumn(
        name = "Next",
        type_ = "string",
        json_path = ".status.nextAttemptTime",
        priority = 1
    ),
    printcolumn(name = "Until", type_ = "string", json_path = ".status.heldUntil", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct IncidentSpec {
    /// What it is about, for the column: the contract's name, or such as `policy/heal`.
    #[schemars(length(min = 1, max = 320))]
    pub subject: String,
    /// The contract; none where it is about what several contracts have in common.
    #[schemars(length(min = 1, max = 63))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub contract_name: String,
    /// The contract's UID: a new contract of the same name is another one.
    #[serde(rename = "contractUID", default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(min = 1, max = 63))]
    pub contract_uid: String,
    /// What several contracts have in common that are in trouble together; then nothing is repaired
    /// because of this Incident, and each of them has its own but where all that they have is checks
    /// that are Unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
    /// What the cause lies in, where other contracts share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blames: Option<About>,
    /// The contract's widget type.
    #[schemars(length(min = 1, max = 63))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub widget: String,
    /// Which episode of its subject this is, from 1.
    #[schemars(range(min = 1))]
    pub ordinal: u32,
    /// Digest of the document that failed.
    pub document_digest: Digest,
    /// What failed as one value: the digest of the set of (rule, keyword, path).
    pub fingerprint: Digest,
    /// The names of the failing rules, for the column.
    #[schemars(length(max = 255))]
    pub rules_summary: String,
    /// What the rules object to: the first 20, values masked.
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<RuleViolation>,
    /// The worst severity among the failing rules.
    pub severity: Severity,
    /// Why it failed.
    pub cause: Cause,
    /// The plan: one segment for each policy.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<Segment>,
    /// What the first attempt is about to write into the assigned document; where a repair goes
    /// into the served key, that key says so itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// The names of the policies, for the column.
    #[schemars(length(max = 255))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub policies_summary: String,
    /// The trace that all spans of this episode belong to (W3C Trace Context).
    #[schemars(length(max = 55))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// When the first check failed.
    pub opened_at: Time,
    /// For a person: what is decided about the plan that status shows, where the mode is Approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// For a person: close the Incident whatever its state.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub close: bool,
    /// For a person: put back what was served before the repair, and never make that repair again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
}

impl IncidentSpec {
    /// The id of its trace.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent.as_deref()?.split('-').nth(1)
    }
}

/// What several contracts can have in common.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum About {
    /// The RemediationPolicy that is for all of them.
    Policy(LocalRef),
    /// The WidgetClass whose schema all of them have to fit.
    Class(LocalRef),
    /// The ConfigMap key that holds the schema.
    Schema(ConfigMapKeyRef),
    /// The host that all of them need and that gives no answer; then they have no Incidents of their
    /// own.
    Host(HostRef),
    /// The network of the operator itself, by which it reaches no host at all. One of its own, since any
    /// name could be that of a host.
    Egress(Egress),
}

/// A host outside.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct HostRef {
    /// Its name or address, without scheme and port.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
}

/// The operator's own way to what is outside of the cluster.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Egress {}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(policy) => write!(f, "policy/{}", policy.name),
            Self::Class(class) => write!(f, "class/{}", class.name),
            Self::Schema(at) => write!(f, "schema/{}/{}", at.name, at.key),
            Self::Host(host) => write!(f, "host/{}", host.name),
            Self::Egress(Egress {}) => write!(f, "egress"),
        }
    }
}

/// What a person takes back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Undo {
    /// What is never done to the contract again. Default: Candidate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub never: Option<Never>,
    /// Who, for other people.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// Why, for other people.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// How much of a repair is never made again.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::Display,
)]
pub enum Never {
    /// The very document that it published.
    #[default]
    Candidate,
    /// Steps of the kind that made its last change, for the same rules.
    Step,
    /// Any repair for the same rules.
    Rule,
}

/// What a person decided about one plan.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.decision != 'Reject' || has(self.reason)").message("a rejection needs a reason"))]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// The plan, by `status.planDigest`: another one is not meant.
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub plan_digest: Digest,
    /// May it be carried out?
    pub decision: ApprovalDecision,
    /// Who decided: the name that the API server knows its author by.
    #[schemars(length(min = 1, max = 256))]
    pub by: String,
    /// Why, for other people.
    #[schemars(length(min = 1, max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a plan may be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalDecision {
    /// It may, once.
    Approve,
    /// It may not.
    Reject,
}

/// One objection of one rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleViolation {
    /// The rule.
    #[schemars(length(max = 63))]
    pub rule: String,
    /// JSON Pointer of the offending place.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The keyword.
    #[schemars(length(max = 63))]
    pub keyword: String,
    /// One sentence, values masked.
    #[schemars(length(max = 512))]
    pub message: String,
}

impl RuleViolation {
    /// Where it is: rule, path and keyword.
    #[must_use]
    pub fn place(&self) -> (&str, &str, &str) {
        (&self.rule, &self.path, &self.keyword)
    }
}

/// Why a contract is in trouble.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::AsRefStr,
    strum::Display,
    strum::EnumIter,
)]
pub enum Cause {
    /// A new document arrived and fails.
    DocumentChanged,
    /// The rules changed under the same document.
    RuleChanged,
    /// The schema changed under the same document.
    SchemaChanged,
    /// Something the document points at is not there.
    AssetMissing,
    /// The document grew too old.
    Stale,
    /// Somebody else wrote the served key.
    Overwritten,
    /// There has never been a valid document.
    NeverValid,
    /// The source does not answer, or what makes it answer does not run; in a diagnosis only.
    SourceDown,
    /// The source answers, and not with a document that can be taken over; in a diagnosis only.
    SourceInvalid,
    /// More contracts of one policy are in trouble at once than its `storm` allows; of several
    /// contracts only.
    Storm,
    /// A host gives no answer, so that checks have been Unknown for long; of several contracts only.
    AssetHostDown,
    /// No host can be reached by the operator, which is nobody's fault but its own; of several contracts
    /// only.
    EgressBroken,
}

/// The part of a plan that one policy governs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    /// The policy; None for the built-in behaviour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_ref: Option<LocalRef>,
    /// The policy's generation when the plan was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_generation: Option<i64>,
    /// Why this policy and not another: the losers and why each lost.
    #[schemars(length(max = 1024))]
    pub why: String,
    /// The rules that it repairs.
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub rules: Vec<String>,
    /// Its mode when the plan was made; the one in force is read again before each act.
    pub mode: Mode,
    /// The steps, frozen.
    #[schemars(length(max = 20))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

/// What has happened in the episode so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IncidentStatus {
    /// The generation that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Diagnosed, Planned, Approved, Remediating, Verified, Mitigated, Resolved, Escalated, Held.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// A summary of the conditions in one word; empty means Open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The step that is under way or was the last.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// How many attempts have been made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    /// Since when attempts are counted anew, where a person asked for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
    /// What it waits for, such as `Backoff` or `AwaitingOwner`.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waiting: String,
    /// What happened last, in one sentence.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The plan as it would be carried out now: places and digests, never values. The first 20.
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<OpSummary>,
    /// The plan as one value, where people are shown it before anything is done (modes DryRun and
    /// Approve): the document, the policies and their generations, every change with its value,
    /// the attempt, and when the plan was first shown. An approval names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<Digest>,
    /// Digest of the document that the plan comes to, where people are shown one: it is in the ConfigMap
    /// `<incident>-candidate`, for who may read that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate_digest: Option<Digest>,
    /// When that plan was first shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_shown_at: Option<Time>,
    /// Until when it can be approved; then it is asked for anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_expires_at: Option<Time>,
    /// Who approved that plan.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// What a later attempt is about to write into the assigned document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// What steps did to something else than the document, written down before it was done. The
    /// last 20, oldest first; a Job that has not ended stays.
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<StepEffect>,
    /// What steps asked or acted on, and whether it answered. The last 20, oldest first. The breakers
    /// of policies are counted from them.
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// Which step asks the source again, as its `retries` allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retried: Option<Retried>,
    /// What was found when the source was looked at, because it did not answer or a step was about
    /// to act on its workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
    /// The last 20 attempts, oldest first.
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// What came of `spec.undo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undone: Option<Undone>,
    /// Digest of the assigned document that the last decision was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_digest: Option<Digest>,
    /// When the next attempt, or the next look, is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,
    /// When the operator looks again by itself at what holds it (`waiting`), whether or not that has ended
    /// then. None where only a person or a change ends it. Of what nobody knows the end of (`Busy`,
    /// `Concurrency`, `EgressBroken`, `JobRunning`) this is the first look; more follow, a minute apart at
    /// most, and are not written down. Of a budget for which others wait as well (`BudgetSpent`) it is up to
    /// five minutes late once the first time has gone by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Time>,
    /// When the repair was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_at: Option<Time>,
    /// When a good document was first served again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mitigated_at: Option<Time>,
    /// When the assigned document was good, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Time>,
    /// When a person was called last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called_at: Option<Time>,
}

/// A summary of an Incident's conditions. Readers must accept values that they do not know.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::AsRefStr,
    strum::Display,
    strum::EnumIter,
)]
pub enum State {
    /// Opened; nothing done yet.
    #[default]
    Open,
    /// A gate is shut.
    Held,
    /// A step is under way.
    Remediating,
    /// A repair was written and is looked at again.
    Verifying,
    /// A good document is served; the assigned one is still bad.
    Mitigated,
    /// Over: the assigned document is good, too.
    Resolved,
    /// Automation has nothing left.
    Escalated,
    /// Over: another document, or another kind of trouble, took its place.
    Superseded,
}

impl State {
    /// Is the episode over?
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Resolved | Self::Superseded)
    }
}

impl IncidentStatus {
    /// Is the episode over? One without a status has just begun.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state.is_some_and(State::is_over)
    }

    /// The document that the last decision of the Incident with this `spec` was about.
    #[must_use]
    pub fn document<'a>(&'a self, spec: &'a IncidentSpec) -> &'a Digest {
        self.current_digest.as_ref().unwrap_or(&spec.document_digest)
    }
}

/// What an attempt is about to do, stored before it is done: it overwrites its own evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// The attempt, from 1.
    pub attempt: u32,
    /// The step that makes the last change.
    #[schemars(length(max = 63))]
    pub step: String,
    /// Digest of the document that will be written.
    pub digest: Digest,
    /// What will change: places and digests, never values. The first 20.
    #[schemars(length(max = 20))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ops: Vec<OpSummary>,
}

/// A new series of attempts: `maxAttempts`, backoff and the escalation clocks begin again with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// The attempts that were made before it.
    pub after: u32,
    /// When it began.
    pub since: Time,
}

/// What came of `spec.undo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Undone {
    /// The attempt that was taken back; 0 when there was none.
    pub attempt: u32,
    /// Digest of the assigned document that it had repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Digest>,
    /// The revision that is served again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// One sentence.
    #[schemars(length(max = 512))]
    pub message: String,
    /// When.
    pub at: Time,
}

/// What a step does to something else than the document. A workload then carries the key
/// `<incident>/<attempt>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepEffect {
    /// The attempt, from 1.
    pub attempt: u32,
    /// The policy whose step it is.
    #[schemars(length(max = 63))]
    pub policy: String,
    /// The step.
    #[schemars(length(max = 63))]
    pub step: String,
    /// What is acted on, such as `Deployment catalog`, or the origin of a webhook's URL.
    #[schemars(length(max = 300))]
    pub target: String,
    /// The workload's UID.
    #[serde(rename = "targetUID", default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub target_uid: String,
    /// The generation of the workload before, where its spec is changed: as long as it has that one,
    /// nothing was done to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_generation: Option<i64>,
    /// What is made, of a Job: another template, or another ServiceAccount, is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_of: Option<Digest>,
    /// The pods that are about to be deleted; none any more once it is known what became of them.
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodRef>,
    /// How often a webhook that did not take it is to be told again, so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    /// Who approved it, where the mode was Approve.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// When it was about to be done.
    pub intended_at: Time,
    /// What became of it; none while that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<EffectOutcome>,
    /// When that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Time>,
    /// When its end was seen, of a Job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// What was done, or why it was not, in one sentence.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The last lines that a Job logged, what looks like a secret masked; of the last Job only.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log: String,
}

/// One pod, and no other of that name that came after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodRef {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its UID.
    #[schemars(length(max = 63))]
    pub uid: String,
}

/// What came of depending on something once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// What was asked or acted on, such as `source https://cms.example.com`.
    #[schemars(length(max = 320))]
    pub dependency: String,
    /// Whether it answered, or the workload became available.
    pub answered: bool,
    /// When.
    pub at: Time,
}

/// How often a step was tried again in an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retried {
    /// The attempt, from 1.
    pub attempt: u32,
    /// The policy whose step it is.
    #[schemars(length(max = 63))]
    pub policy: String,
    /// The step.
    #[schemars(length(max = 63))]
    pub step: String,
    /// How often so far.
    pub times: u32,
}

/// What became of an effect, as read from the object that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::Display)]
pub enum EffectOutcome {
    /// The object carries its key, what was to go is gone, or whoever was told has taken it.
    Done,
    /// It was not sent, and will not be; or the API server refused it.
    NotDone,
    /// The object was changed by somebody else in between and does not carry its key: it may have
    /// been done and undone. It is not repeated.
    Unknown,
    /// It was done, and nothing good came of it: whoever was told refused, or the Job failed.
    Failed,
    /// It was sent as often as its step may, and whoever was told did not answer, or was too busy.
    NoAnswer,
}

/// What was found when the source was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// The cause: `SourceDown` where any of the evidence fails, else that of the Incident.
    pub cause: Cause,
    /// One entry for each check.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
}

/// What one check of the source found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// What was checked.
    pub check: SourceCheck,
    /// Pass, Fail, or Unknown when it could not be checked.
    pub result: CheckResult,
    /// One sentence.
    #[schemars(length(max = 512))]
    pub message: String,
}

/// What of a source is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::Display)]
pub enum SourceCheck {
    /// Whether it answered with a document.
    Answer,
    /// Whether its workload is there and is not scaled to zero.
    Workload,
    /// Whether the workload's rollout is complete.
    Rollout,
    /// Whether the workload's pods run.
    Pods,
    /// Whether its Service has an endpoint that is ready.
    Endpoints,
    /// Whether a container was killed under its resource limits.
    Limits,
    /// Whether a `NetworkPolicy` keeps the operator from its pods.
    NetworkPolicies,
    /// Whether the cluster warned about its pods within the last hour.
    Events,
    /// Whether the end of a container's log shows trouble.
    Logs,
}

/// One pass over all steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// The step that made the last change, or the last one tried.
    #[schemars(length(max = 63))]
    pub step: String,
    /// How it ended.
    pub outcome: Outcome,
    /// One sentence, values masked.
    #[schemars(length(max = 512))]
    pub message: String,
    /// When it was made.
    pub at: Time,
    /// What it changed: places and digests, never values. The first 20.
    #[schemars(length(max = 20))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ops: Vec<OpSummary>,
    /// Digest of the document that it published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<Digest>,
    /// Who approved it, where the mode was Approve.
    #[schemars(length(max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// Who asked for it now, as the request on the contract says.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
    /// The requests by `kintsugi.dev/heal` that it was made for.
    #[schemars(length(max = 32), inner(length(max = 191)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<String>,
    /// The steps that had their turn in it. The first 20.
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepTaken>,
}

/// One step of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepTaken {
    /// The policy whose step it is; none for built-in behaviour.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub policy: String,
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// What came of it.
    pub outcome: StepOutcome,
    /// Of a step that changed the document, where the attempt succeeded: the time from its decision
    /// until what it published was seen to pass. Of a step that acted on something else: the time
    /// from its intent until the next step could use what came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took: Option<Span>,
}

/// What came of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::Display)]
pub enum StepOutcome {
    /// It made the document better.
    Changed,
    /// Its time went by.
    Waited,
    /// What it did to something else than the document took place.
    Acted,
    /// It made nothing better.
    Failed,
    /// What it depends on was not available: the source or the service gave no answer, or the workload
    /// did not become available in time.
    Unavailable,
    /// It was not its turn: by its `when`, or because what it depends on is left alone for a while.
    Skipped,
}

impl StepOutcome {
    /// Did nothing come of it, although it was its turn?
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Unavailable)
    }
}

/// How an attempt ended.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::AsRefStr,
    strum::Display,
    strum::EnumIter,
)]
pub enum Outcome {
    /// What it published passed again.
    Succeeded,
    /// No step led to a document that passes.
    Failed,
    /// It is not known whether the effect took place.
    Unknown,
}
