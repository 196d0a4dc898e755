//! WidgetClass: what all contracts of one widget share.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::contract::{FallbackAsset, Healing, History, RuleSpec, SchemaSource, Source};
use crate::domain::Span;

/// What all contracts of one widget share.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kintsugi.dev",
    version = "v1alpha1",
    kind = "WidgetClass",
    plural = "widgetclasses",
    shortname = "wcl",
    category = "kintsugi",
    namespaced,
    derive = "PartialEq",
    doc = "A WidgetClass is what all WidgetContracts of one widget share: a contract names it in spec.classRef, adds to it and may only make it stricter.",
    validation = Rule::new("size(self.metadata.name) <= 52").message("metadata.name must be at most 52 characters"),
    printcolumn(name = "Interval", type_ = "string", json_path = ".spec.interval"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.healing.mode"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct WidgetClassSpec {
    /// The JSON Schema of the documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaSource>,
    /// What else the documents must satisfy.
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleSpec>,
    /// Names of rules that a contract may loosen or replace.
    #[schemars(length(max = 64), inner(length(max = 63)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overridable: Vec<String>,
    /// The system of record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Where contracts are served that do not say so themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serve: Option<ClassServe>,
    /// URLs to put in the place of assets that are not there.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback_assets: Vec<FallbackAsset>,
    /// How far repairs may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healing: Option<Healing>,
    /// Which good documents are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// How often assets, freshness and URLs are looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
}

/// One ConfigMap for all contracts of a class, with a key for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClassServe {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub config_map_name: String,
    /// The key of a contract; `{{name}}` is the contract's name. Default: `{{name}}.json`.
    #[schemars(length(min = 1, max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_template: Option<String>,
}
