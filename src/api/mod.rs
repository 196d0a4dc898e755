//! The Kubernetes API of Kintsugi: `kintsugi.dev/v1alpha1`.
//!
//! Knows: the shape of the four custom resources, their bounds and their CEL rules. Must not
//! know: what anything means (that is `decide`), any client, any default (defaults live where
//! they are used, since defaults in a CRD show up as differences in GitOps tools).

pub mod class;
pub mod condition;
pub mod contract;
pub mod crd;
pub mod incident;
pub mod policy;
pub mod reference;
pub mod refs;

pub use class::{WidgetClass, WidgetClassSpec};
pub use condition::{ConditionType, Conditions};
pub use contract::{WidgetContract, WidgetContractSpec, WidgetContractStatus};
pub use incident::{Incident, IncidentSpec, IncidentStatus};
pub use policy::{RemediationPolicy, RemediationPolicySpec, RemediationPolicyStatus};

/// The API group.
pub const GROUP: &str = "kintsugi.dev";

/// Annotation on a Secret with headers: the origins that they may be sent to, separated by commas.
pub const ALLOWED_ORIGINS: &str = "kintsugi.dev/allowed-origins";
/// Label on a namespace: the furthest mode of all contracts in it.
pub const MAX_MODE: &str = "kintsugi.dev/max-mode";
/// Annotation on a contract, and with a hash of the key behind it on a ConfigMap: the document that
/// was written back there last, and for what.
pub const WRITTEN_BACK: &str = "kintsugi.dev/written-back";
/// Annotation on a revision: the digest of its document.
pub const DIGEST: &str = "kintsugi.dev/digest";
/// Annotation on a revision: when it became one, RFC 3339.
pub const RECORDED_AT: &str = "kintsugi.dev/recorded-at";
/// Annotation on the ConfigMap with a candidate: the plan that it is of.
pub const PLAN_DIGEST: &str = "kintsugi.dev/plan-digest";
/// Label on the ConfigMaps that we write: `served`, `revision` or `candidate`, and on
/// Jobs: `job`.
pub const PART: &str = "kintsugi.dev/part";
/// Annotation on a contract, its class or its policy: a new value asks for a look with fresh probes.
pub const RECONCILE: &str = "kintsugi.dev/reconcile";
/// The same: a new value asks for an attempt now.
pub const HEAL: &str = "kintsugi.dev/heal";
/// The same: a new value begins a new series of attempts.
pub const RESET: &str = "kintsugi.dev/reset";
/// Annotation on a contract: who asked for an attempt, behind the value of [`HEAL`] that it is about.
pub const HEAL_BY: &str = "kintsugi.dev/heal-by";
/// Annotation on a contract or its class: the version of the rules that counts although good
/// documents fail its schema, as the first 12 hex digits of `status.effective.digest`.
pub const ACCEPT_SCHEMA: &str = "kintsugi.dev/accept-schema";
/// Annotation on a contract: what is served until when, whatever the rules say, as
/// `<digest>/<RFC 3339>`.
pub const PIN: &str = "kintsugi.dev/pin";
/// Annotation on a contract, its class or its policy: nothing is repaired until then, as
/// `<RFC 3339>/<who>: <why>`.
pub const PAUSE: &str = "kintsugi.dev/pause";
/// Annotation on a workload's pod template: what it was restarted for, `<incident>/<attempt>`.
pub const RESTARTED_FOR: &str = "kintsugi.dev/restarted-for";
/// Annotation on a workload: what it was scaled for, `<incident>/<attempt>`.
pub const SCALED_FOR: &str = "kintsugi.dev/scaled-for";
/// Annotation on a Job: what it was made for, `<incident>/<attempt>/<policy>/<step>`.
pub const DONE_FOR: &str = "kintsugi.dev/done-for";
/// Label on a Job: the UID of the contract that it was made for.
pub const CONTRACT_UID: &str = "kintsugi.dev/contract-uid";
/// The field manager of our writes.
pub const MANAGER: &str = "kintsugi";
