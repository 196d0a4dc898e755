//! RemediationPolicy: which steps repair which failures, and how far.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{contract::Mode, incident::Cause, refs::Share};
use crate::{
    domain::{Severity, Span},
    rules::RuleType,
    steps::StepKind,
};

/// Which steps repair which failures, and how far.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kintsugi.dev",
    version = "v1alpha1",
    kind = "RemediationPolicy",
    plural = "remediationpolicies",
    shortname = "rpol",
    category = "kintsugi",
    namespaced,
    status = "RemediationPolicyStatus",
    derive = "PartialEq",
    doc = "A RemediationPolicy registers the pipeline of steps that repairs the failures it matches, with its retries and escalation.",
    validation = Rule::new("size(self.metadata.name) <= 52").message("metadata.name must be at most 52 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority"),
    printcolumn(name = "Matched", type_ = "integer", json_path = ".status.matched"),
    printcolumn(name = "Unhealthy", type_ = "integer", json_path = ".status.unhealthy"),
    printcolumn(name = "InFlight", type_ = "integer", json_path = ".status.inFlight"),
    printcolumn(name = "Storm", type_ = "boolean", json_path = ".status.storm"),
    printcolumn(name = "Healed", type_ = "integer", json_path = ".status.healed"),
    printcolumn(name = "Conflicted", type_ = "string", json_path = ".status.conditions[?(@.type=='Conflicted')].status", priority = 1),
    printcolumn(name = "Default", type_ = "boolean", json_path = ".spec.default", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1)
)]
#[x_kube(validation = Rule::new("has(self.match) != (has(self.default) && self.default)").message("exactly one of match, default: true must be set"))]
#[serde(rename_all = "camelCase")]
pub struct RemediationPolicySpec {
    /// Which failures it is for; all that is given must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#match: Option<Match>,
    /// It is for every failure that no other policy matches.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// Breaks ties between policies that match alike; the greater wins. Default: 0.
    #[schemars(range(min = -1000, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// How far repairs go. Default: Auto.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Starts no repair and stops those that have not acted yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// What to do, in order.
    #[schemars(length(min = 1, max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<Step>,
    /// When to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How long after an Incident was resolved the next one of the same contract waits before it
    /// acts. Default: 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Span>,
    /// How many repairs may be under way at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// When so many contracts are in trouble at once that their documents are not what is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storm: Option<Storm>,
    /// How many repairs may be made in a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// When something that steps depend on has not answered so often that it is left alone: the
    /// source that `refetchSource` asks, the workload that steps act on, the origin of a webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerTerms>,
    /// When repairs may act. A Deny window that is open shuts the gate; where there are Allow
    /// windows, one of them must be open. Default: always.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// How long a person may take to approve, where the mode is Approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalTerms>,
    /// When to call a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalation: Option<Escalation>,
    /// How many ended Incidents are kept, and how long. Those that a limit still counts are kept
    /// besides, at most 20 more of each contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incidents: Option<IncidentLimits>,
    /// The ServiceAccount of this namespace whose rights the steps that act in the cluster have:
    /// before each act it is asked whether this one may do it. Without it these steps do nothing.
    /// Whoever writes the policy must be allowed to impersonate it.
    #[schemars(length(min = 1, max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
}

/// Which failures a policy is for; all that is given must hold.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.widgets) || has(self.selector) || has(self.rules) || has(self.types) || has(self.keywords) || has(self.severities) || has(self.causes)").message("match must give at least one of widgets, selector, rules, types, keywords, severities, causes; a policy for everything says default: true"))]
#[x_kube(validation = Rule::new("!has(self.selector) || (has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0) || (has(self.selector.matchExpressions) && size(self.selector.matchExpressions) > 0)").message("selector is empty and selects every contract; name labels, or take it out: a policy for everything says default: true"))]
#[x_kube(validation = Rule::new("!has(self.selector) || !has(self.selector.matchExpressions) || self.selector.matchExpressions.all(it, it.operator in ['In', 'NotIn'] ? has(it.values) && size(it.values) > 0 : it.operator in ['Exists', 'DoesNotExist'])").message("selector.matchExpressions: operator must be In or NotIn with values, or Exists or DoesNotExist"))]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// Widget types.
    #[schemars(length(max = 32), inner(length(min = 1, max = 63)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub widgets: Vec<String>,
    /// Labels of the contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Names of rules.
    #[schemars(length(max = 32), inner(length(min = 1, max = 63)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Kinds of rules.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<RuleType>,
    /// JSON Schema keywords.
    #[schemars(length(max = 32), inner(length(min = 1, max = 63)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// Severities of rules.
    #[schemars(length(max = 3))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub severities: Vec<Severity>,
    /// Causes of Incidents (`spec.cause`), as they are found when one opens. What is found only
    /// later (`status.diagnosis`) is for a step's `when`.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
}

/// One step, of exactly one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Its name, unique within the policy.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Whether it is its turn: a CEL expression that returns a bool. `incident` has `cause`,
    /// `severity`, `rules` (a list), `tries` (attempts made before this one), `widget`, and
    /// `diagnosis` (the cause that was found by looking at the source; empty when nobody looked).
    /// Default: always.
    #[schemars(length(min = 1, max = 4096))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// What happens when it has nothing to offer. Default: Next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// How long a step that acts on a workload waits for it, at most an hour. Default: 2m. How long a
    /// Job may run. How long a call of a `webhook` may take, at most `--fetch-timeout` and `--api-timeout`, its default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How often `refetchSource` asks a source that does not answer again, and a `webhook` is told
    /// again, before the attempt goes on: after a second, and twice as long each time, at most 30s. These are not attempts.
    /// Default: 0.
    #[schemars(range(max = 10))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// What it does.
    #[serde(flatten)]
    pub kind: StepKind,
}

/// What happens when a step fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// The next step is tried.
    #[default]
    Next,
    /// The Incident escalates at once.
    Escalate,
}

/// When to try again. An attempt is one pass over all steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How many attempts. Default: 3.
    #[schemars(range(min = 1, max = 20))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How long to wait between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// How long a contract must stay healthy for its Incident to be over: a failure sooner is
    /// the same one. Default: 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_healthy_period: Option<Span>,
}

/// How long to wait between attempts: `initial`, times `factor` each time, at most `max`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// Before the second attempt. Default: 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial: Option<Span>,
    /// Default: 2.
    #[schemars(range(min = 1, max = 10))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<u32>,
    /// Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Span>,
}

/// How many repairs may be under way at the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Concurrency {
    /// Repairs that are written and not yet seen to hold. Default: 10.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
}

/// When repairs wait because too many contracts are in trouble at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storm {
    /// How many of the contracts that the policy is for may be in trouble at once: a number, or a
    /// share such as `40%`. Default: 40%.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unhealthy: Option<Share>,
    /// Of fewer contracts than these there is no storm. Default: 5.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_contracts: Option<u32>,
    /// How long repairs still wait after it. Default: 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Span>,
}

/// How many repairs may be made in a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Default: 100.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Default: 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
}

/// When something that steps depend on is left alone, and for how long. Of all contracts of the
/// namespace that depend on it: one of them tries when the time is over, and the others wait for
/// what comes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BreakerTerms {
    /// After so many times in a row without an answer. Default: 5.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
    /// Default: 60s; at least 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_for: Option<Span>,
}

/// A time in which repairs may act, or may not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Whether repairs act while it is open, or do not.
    pub kind: WindowKind,
    /// When it opens, as five cron fields: minute, hour, day of month, month, day of week
    /// (`0 8 * * 1-5`).
    #[schemars(length(min = 9, max = 128))]
    pub schedule: String,
    /// How long it stays open.
    pub duration: Span,
    /// The time zone of the schedule, by its IANA name (`Europe/London`). Default: UTC.
    #[schemars(length(min = 1, max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// What an open window means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WindowKind {
    /// Repairs act only while such a window is open.
    #[default]
    Allow,
    /// No repair acts while such a window is open.
    Deny,
}

/// How long a person may take to approve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalTerms {
    /// From when a plan was first shown; then it is asked for anew. Default: 24h; at least 1m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
}

/// When to call a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Escalation {
    /// No good document served for this long. Default: 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmitigated_after: Option<Span>,
    /// The assigned document still bad after this long. Default: 24h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unresolved_after: Option<Span>,
    /// A check could not be made for this long: the contract says so, since Unknown opens no
    /// Incident. Default: 15m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_after: Option<Span>,
    /// Nobody has answered for this long since a person was called: it is said again. Default: 4h;
    /// at least 1m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_every: Option<Span>,
}

/// How many ended Incidents are kept, and how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IncidentLimits {
    /// Resolved and superseded ones of each contract, but for those that a limit still counts.
    /// Default: 20.
    #[schemars(range(max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_resolved: Option<u32>,
    /// How long after their end, but for the same. Default: 168h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
}

/// What is known of the policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemediationPolicyStatus {
    /// The generation that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready; Stalled while it cannot be used; Conflicted while another policy matches the same
    /// failures as specifically and with the same priority.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// How many contracts it could be for, by widget and labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched: Option<u32>,
    /// How many of its Incidents are open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<u32>,
    /// How many of them are being repaired: Remediating or Verifying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// Does any of them wait for a storm to end?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storm: Option<bool>,
    /// In how many Incidents a step of it had its part in a repair that passed. Counted, as the
    /// steps are, over the Incidents that exist: the open ones, and of those that are over the ones
    /// that `incidents` keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healed: Option<u32>,
    /// What each step of the spec came to, by its name, over the last 20 attempts of each of those
    /// Incidents.
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepMeasured>,
    /// What its steps depend on and what did not answer last, the open ones first; at most 64. Counted
    /// from `calls` of the Incidents that exist.
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["dependency"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakers: Vec<BreakerShown>,
}

/// Something that steps depend on, and that did not answer last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BreakerShown {
    /// What, such as `source https://cms.example.com` or `workload Deployment catalog`.
    #[schemars(length(max = 320))]
    pub dependency: String,
    /// Whether it is left alone.
    pub state: BreakerState,
    /// How often in a row it did not answer.
    pub failures: u32,
    /// Since when.
    pub since: Time,
    /// When one contract tries again, where it is left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_probe: Option<Time>,
}

/// Whether something is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::Display)]
pub enum BreakerState {
    /// It is asked.
    Closed,
    /// It is left alone until `nextProbe`; then one contract tries.
    Open,
}

/// What one step came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepMeasured {
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// What it does, such as `restoreRevision`.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// In how many attempts it had its turn.
    pub tried: u32,
    /// In how many of them it had its part in a repair that passed.
    pub succeeded: u32,
    /// The median of the times that it took where it succeeded; see `attempts.steps.took` of an
    /// Incident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_time: Option<Span>,
}
