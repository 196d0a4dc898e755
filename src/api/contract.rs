//! WidgetContract: one document, what it must satisfy, where it is served.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::refs::{AnyObject, ConfigMapKeyRef, LocalRef, WebUrl};
use crate::{
    domain::{Digest, Severity, Span, WorkloadKind},
    rules::RuleKind,
};

/// What a widget's document should be, which document was asked for, and where it is served.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kintsugi.dev",
    version = "v1alpha1",
    kind = "WidgetContract",
    plural = "widgetcontracts",
    shortname = "wc",
    category = "kintsugi",
    namespaced,
    status = "WidgetContractStatus",
    derive = "PartialEq",
    doc = "A WidgetContract is the JSON document that a UI widget renders from, with the rules that it must satisfy and the place where it is served.",
    validation = Rule::new("size(self.metadata.name) <= 52").message("metadata.name must be at most 52 characters, since the names of incidents and revisions are made from it"),
    selectable = ".spec.widget",
    printcolumn(name = "Widget", type_ = "string", json_path = ".spec.widget"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Serving", type_ = "string", json_path = ".status.conditions[?(@.type=='Serving')].reason"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Failing", type_ = "integer", json_path = ".status.failing"),
    printcolumn(name = "Incident", type_ = "string", json_path = ".status.incidentRef.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Health", type_ = "string", json_path = ".status.health", priority = 1),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.document.served.revision", priority = 1),
    printcolumn(name = "Policy", type_ = "string", json_path = ".status.policy", priority = 1),
    printcolumn(name = "NextCheck", type_ = "string", json_path = ".status.nextCheckTime", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1)
)]
#[x_kube(validation = Rule::new("!(has(self.document.configMapKeyRef) && has(self.serve) && has(self.serve.configMapKeyRef)) || self.document.configMapKeyRef.name != self.serve.configMapKeyRef.name || self.document.configMapKeyRef.key != self.serve.configMapKeyRef.key").message("serve.configMapKeyRef must not be document.configMapKeyRef: the document asked for and the document served are two things"))]
#[x_kube(validation = Rule::new("!has(self.document.url) || !has(self.healing) || !has(self.healing.writeBack) || self.healing.writeBack != 'Document'").message("healing.writeBack: Document needs document.inline or document.configMapKeyRef: a URL is never written"))]
#[serde(rename_all = "camelCase")]
pub struct WidgetContractSpec {
    /// The widget type, such as `storefinder`; policies match on it.
    #[schemars(length(min = 1, max = 63))]
    pub widget: String,
    /// The class whose schema, rules and settings this contract shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_ref: Option<LocalRef>,
    /// The document that was asked for.
    pub document: DocumentSource,
    /// The JSON Schema of the document, draft 4 to 2020-12. Default: the class's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaSource>,
    /// What else the document must satisfy; added to the class's rules by name.
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleSpec>,
    /// The system of record, which can produce the document again. Default: the class's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Where the good document is served. Default: key `contract.json` of ConfigMap `<name>-served`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serve: Option<Serve>,
    /// URLs to put in the place of assets that are not there, in order. Default: the class's.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback_assets: Vec<FallbackAsset>,
    /// How far repairs may go. Default: the class's, else what the policy says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healing: Option<Healing>,
    /// Which good documents are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// How often assets, freshness and URLs are looked at. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// Stops every write but status.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// Where the document that was asked for is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DocumentSource {
    /// The document itself.
    Inline(AnyObject),
    /// A ConfigMap key that holds it; its bytes are served as they are.
    ConfigMapKeyRef(ConfigMapKeyRef),
    /// A URL that answers with it; looked at every interval, never written.
    Url(WebUrl),
}

/// Where the schema is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SchemaSource {
    /// The JSON Schema itself.
    Inline(AnyObject),
    /// A ConfigMap key that holds it.
    ConfigMapKeyRef(ConfigMapKeyRef),
}

/// One rule, of exactly one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleSpec {
    /// Its name, unique within the contract and its class. `schema` is the schema rule's.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// How much a failure matters. Default: Critical.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// How many failures in a row open an Incident, counted once in each `interval`; a pass or an
    /// Unknown begins anew. Never delays the refusal to publish. Default: 1.
    #[schemars(range(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
    /// How many passes in a row, counted once in each `interval`, end the failure that an Incident
    /// is about. Default: 1.
    #[schemars(range(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_threshold: Option<u32>,
    /// How long the rule must fail before an Incident opens. Default: 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#for: Option<Span>,
    /// How often an asset or freshness rule is checked. Default: the contract's interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// Leaves the rule out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// What the rule checks.
    #[serde(flatten)]
    pub kind: RuleKind,
}

/// The system of record.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.url) != has(self.serviceRef)").message("exactly one of url, serviceRef must be set"))]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// A URL that answers with the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<WebUrl>,
    /// A Service of this namespace that answers with the document, over plain http. Its ready
    /// endpoints are asked directly, and it can lead nowhere else, so no egress flag is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<ServiceRef>,
    /// The workload of this namespace that makes the document: looked at when the source does not
    /// answer, and what the steps `restartWorkload` and `scaleWorkload` act on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_ref: Option<WorkloadRef>,
    /// GET to read, POST to ask for the document to be made anew. Default: GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// A Secret whose keys are header names; used only if its annotation
    /// `kintsugi.dev/allowed-origins` names the origin of the URL; that of a Service is
    /// `http://<name>.<namespace>.svc`, with `:<port>` where it is not 80.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers_secret_ref: Option<LocalRef>,
}

/// A place at a Service of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// One of its ports, by number.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The path, with a query where one is needed. Default: `/`.
    #[schemars(length(min = 1, max = 512), regex(pattern = "^/[^#\\s]*$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A workload of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// An HTTP method that a source understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::Display)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
pub enum Method {
    /// Read.
    Get,
    /// Ask for the document to be made anew.
    Post,
}

/// Where the good document is served.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!(has(self.configMapKeyRef) && has(self.none))").message("at most one of configMapKeyRef, none may be set"))]
#[x_kube(validation = Rule::new("!(has(self.none) && has(self.probe))").message("at most one of none, probe may be set: where nothing is served, nothing gets anywhere"))]
#[x_kube(validation = Rule::new("!has(self.adopt) || !self.adopt || has(self.configMapKeyRef)").message("adopt needs configMapKeyRef: it names the ConfigMap that may be taken over"))]
#[x_kube(validation = Rule::new("!has(self.onDelete) || self.onDelete != 'Delete' || !has(self.configMapKeyRef)").message("onDelete: Delete is for a ConfigMap of the contract's own: leave out configMapKeyRef, or Retain"))]
#[serde(rename_all = "camelCase")]
pub struct Serve {
    /// The ConfigMap key that the document is written to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeyRef>,
    /// Serve nothing: the document is watched only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub none: Option<ServeNothing>,
    /// What happens to the served key when the contract is deleted. Default: Retain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_delete: Option<OnDelete>,
    /// Take over a key that exists and is not ours. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopt: bool,
    /// Where widgets read it, to see that what is served gets there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<EdgeProbe>,
}

/// Where widgets read what is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EdgeProbe {
    /// The URL that answers with the document.
    pub url: WebUrl,
    /// How long what is published may take to get there. Default: 2m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
}

/// Nothing is served. Has no settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServeNothing {}

/// What happens to the served key when the contract is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDelete {
    /// It stays, and a new contract of the same name takes it over.
    #[default]
    Retain,
    /// It is deleted with the contract, by owner reference; only for a ConfigMap of its own.
    Delete,
}

/// A URL to put in the place of an asset that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FallbackAsset {
    /// The asset rule that it is for. Default: every asset rule.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The URL to put in.
    pub url: WebUrl,
}

/// How far repairs may go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Healing {
    /// Can only be stricter than the policy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Where a repair is written. Default: Served. The stricter of class and contract wins, which
    /// is Served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_back: Option<WriteBack>,
    /// The policy to use, whatever others match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_ref: Option<LocalRef>,
    /// What is never done to this contract.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Exclude>,
}

/// How far repairs go, from the least to the most.
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
    strum::EnumString,
)]
pub enum Mode {
    /// Conditions only.
    Off,
    /// And an Incident with its cause.
    Observe,
    /// And a plan.
    DryRun,
    /// And repair, after a person has approved the plan.
    Approve,
    /// And repair.
    #[default]
    Auto,
}

/// Where a repair is written.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::Display,
)]
pub enum WriteBack {
    /// Into the served key; the assigned document is left to its owner.
    #[default]
    Served,
    /// Into the assigned document, `document.inline` or the ConfigMap key that it refers to, from
    /// where it is served. Not where a GitOps tool applies the document, nor when the same fault
    /// came back within the policy's `minHealthyPeriod`: then into the served key.
    Document,
}

/// A repair that is never made; all given fields must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exclude {
    /// Name of a rule that is not repaired.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Kind of a step that is not used, such as `repairDocument`.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// JSON Pointers at and under which nothing is changed.
    #[schemars(length(max = 32), inner(length(max = 512)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

/// Which good documents are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// How many revisions. Default: 10.
    #[schemars(range(min = 2, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// How long a document must have passed before it becomes a revision. Default: 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<Span>,
}

/// What is known of the contract.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WidgetContractStatus {
    /// The generation that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Valid, Serving, Paused; Delivered with a `serve.probe`; Reconciling and Stalled while they are true; Escalated while a
    /// check has been Unknown for longer than the policy's `unknownAfter`; Pinned while the contract has the annotation `kintsugi.dev/pin`.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The reason of Ready.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A summary of the conditions in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How many rules fail or are unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<u32>,
    /// How many episodes (Incidents) this contract has had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub episodes: Option<u32>,
    /// The name of the policy that would repair it, or `none`.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Which class and spec this status was computed from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectiveRef>,
    /// Did every Critical rule pass when that was last known? Unknown leaves it as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_valid: Option<bool>,
    /// The documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentStatus>,
    /// The rules that do not pass, worst first; those that pass are counted only.
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// Pass, Fail and Unknown counted, such as `5 pass, 1 fail`.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rules_summary: String,
    /// The open Incident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident_ref: Option<LocalRef>,
    /// What people took back and is not done again, newest last: the last 32.
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["incident"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<NeverAgain>,
    /// The requests by annotation that were handled last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handled_requests: Option<HandledRequests>,
    /// When a person was called last because of a check that stays Unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called_at: Option<Time>,
    /// When something open is looked at again, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_check_time: Option<Time>,
}

/// A repair that a person took back by `spec.undo` of an Incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NeverAgain {
    /// The Incident.
    #[schemars(length(max = 63))]
    pub incident: String,
    /// The document that is not published again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Digest>,
    /// The assigned document that is not repaired again by what comes out different each time: a
    /// text with `{{revision}}` or `{{now}}` in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Digest>,
    /// The kind of step that is not used for `rules`; without one, none is.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The rules that are not repaired.
    #[schemars(length(max = 64), inner(length(max = 63)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
}

/// The tokens of the requests that were handled last, cut at 63 bytes; a request is an annotation
/// whose value is another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandledRequests {
    /// Of `kintsugi.dev/heal`: an attempt was made for it, or there was nothing to heal.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heal: Option<String>,
    /// Of `kintsugi.dev/reset`: attempts are counted anew, and a call for a person is taken back.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<String>,
    /// Of `kintsugi.dev/reconcile`: everything was looked at.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconcile: Option<String>,
    /// Those on the class, and on the policies of the open Incident.
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["from"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<SharedRequests>,
}

/// The tokens on an object that several contracts share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharedRequests {
    /// The object, such as `WidgetClass/storefinder`.
    #[schemars(length(max = 127))]
    pub from: String,
    /// Of `kintsugi.dev/heal`.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heal: Option<String>,
    /// Of `kintsugi.dev/reset`.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<String>,
    /// Of `kintsugi.dev/reconcile`.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconcile: Option<String>,
}

/// A contract's health in one word.
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
pub enum Health {
    /// Served as asked for.
    Healthy,
    /// Something good is served, but not what was asked for; or a Warning fails.
    Degraded,
    /// No valid document is served.
    Critical,
    /// A repair is under way.
    Recovering,
    /// It could not be checked.
    Unknown,
    /// It has never been valid.
    Pending,
    /// Suspended by its spec.
    Suspended,
}

/// Which class and spec a status was computed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveRef {
    /// Digest of the merged spec.
    pub digest: Digest,
    /// Generation of the class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_generation: Option<i64>,
}

/// The documents of a contract.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentStatus {
    /// The document that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned: Option<AssignedDocument>,
    /// The document that widgets read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<ServedDocument>,
    /// The newest document that became a revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_known_good: Option<KnownGood>,
    /// What is known of the served document at `serve.probe.url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Delivered>,
    /// The stored revisions, newest first.
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<RevisionRef>,
}

/// The document that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignedDocument {
    /// Digest of its canonical form.
    pub digest: Digest,
    /// Digest of its bytes.
    pub raw_digest: Digest,
    /// Since when this very document has passed every Critical rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_since: Option<Time>,
}

/// The document that widgets read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServedDocument {
    /// Digest of its canonical form.
    pub digest: Digest,
    /// Digest of its bytes.
    pub raw_digest: Digest,
    /// Where it came from.
    pub origin: Origin,
    /// The revision that stores it, once it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// Where it is.
    pub r#ref: ConfigMapKeyRef,
}

/// What is known of a served document at the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivered {
    /// Digest of its canonical form.
    pub digest: Digest,
    /// Where it is waited for.
    pub url: WebUrl,
    /// Since when.
    pub published_at: Time,
    /// When it was first seen there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Time>,
}

/// Where a served document came from.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::AsRefStr,
    strum::Display,
    strum::EnumString,
)]
pub enum Origin {
    /// It is the assigned document.
    Assigned,
    /// It was repaired.
    Repaired,
    /// It is a stored revision.
    History,
    /// The system of record answered with it.
    Source,
    /// A fallback asset was put into it.
    Fallback,
    /// A person pinned it.
    Pinned,
}

/// The newest document that became a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KnownGood {
    /// Digest of its canonical form.
    pub digest: Digest,
    /// Its revision.
    pub revision: u32,
    /// When it became one.
    pub since: Time,
}

/// A stored revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionRef {
    /// Its number.
    pub number: u32,
    /// Digest of its document's canonical form.
    pub digest: Digest,
}

/// One rule that does not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// The rule.
    #[schemars(length(max = 63))]
    pub rule: String,
    /// Which document was checked.
    pub target: Target,
    /// Fail or Unknown; Pass while an Incident waits for `successThreshold`.
    pub result: CheckResult,
    /// How much it matters.
    pub severity: Severity,
    /// Since when it has been so.
    pub since: Time,
    /// How many times in a row it has been so, up to the threshold that is waited for.
    pub failures: u32,
    /// When it was last counted; only while a threshold is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_at: Option<Time>,
    /// JSON Pointer of the first offending place.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The keyword, or the reason of Unknown.
    #[schemars(length(max = 63))]
    pub keyword: String,
    /// The host that gave no answer, where it is Unknown for that.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// One sentence.
    #[schemars(length(max = 512))]
    pub message: String,
}

/// Which of the two documents.
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
    strum::Display,
)]
pub enum Target {
    /// The one that was asked for.
    Assigned,
    /// The one that widgets read.
    Served,
}

/// What a check said, when it did not pass.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::Display,
)]
pub enum CheckResult {
    /// The rule does not hold.
    Fail,
    /// The rule could not be checked.
    Unknown,
    /// The rule holds again, and its Incident is still open; only with a `successThreshold`.
    Pass,
}
