//! The `job` step: run a Job that the owners of the source have written, and go on when it is over.
//!
//! Its name is made from what it is made for, so it is made once, whoever makes it.
//!
//! Knows: where its template is. Must not know: what may stand in one; that is `decide`'s.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Run a Job of `batch/v1` from a template in a ConfigMap of the same namespace, with the policy's
/// `serviceAccountName` as its own, and follow it to its end, at most the step's `timeout`, which is
/// its `activeDeadlineSeconds`, too. It is refused, and the Incident names the field, where its
/// template asks for the host (`hostPath`, `hostNetwork`, `hostPID`, `hostIPC`, host ports), for
/// privileges or capabilities, for another namespace or ServiceAccount, or is no Job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// The key that holds the template, as YAML or JSON, at most 64 KiB.
    pub template_config_map_ref: TemplateRef,
}

/// One key of a ConfigMap in the same namespace.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct TemplateRef {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key, in `data`.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}
