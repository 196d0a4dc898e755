//! One file per rule kind: its spec and how it judges a document. Pure.
//!
//! Knows: the document, the compiled schema or expression, facts gathered by somebody else (probe
//! outcomes, `now`). Must not know: Kubernetes objects, clients, clocks, policies, incidents.
//!
//! A new kind is one file and one variant of [`RuleKind`]; the compiler asks for the rest.
//!
//! Schema, CEL and metadata rules judge the *document*; asset and freshness rules judge the
//! *world* that the document points at ([`RuleType::judges_world`]).

pub mod asset;
pub mod cel;
pub mod cost;
pub mod freshness;
pub mod metadata;
pub mod schema;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use asset::AssetRule;
pub use cel::CelRule;
pub use freshness::FreshnessRule;
pub use metadata::MetadataRule;
pub use schema::SchemaRule;

/// What a rule checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RuleKind {
    /// The document validates against the contract's schema. Present without being listed when
    /// the contract has a schema; list it to give it another severity or threshold.
    Schema(SchemaRule),
    /// A CEL expression over the document is true.
    Cel(CelRule),
    /// What the document's URLs point at is there and is what it should be.
    Asset(AssetRule),
    /// Required and expected values at given places.
    Metadata(MetadataRule),
    /// The document is not older than allowed.
    Freshness(FreshnessRule),
}

/// The name of a rule's kind, as `match.types` of a policy writes it.
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
)]
pub enum RuleType {
    /// See [`RuleKind::Schema`].
    Schema,
    /// See [`RuleKind::Cel`].
    #[serde(rename = "CEL")]
    #[strum(serialize = "CEL")]
    Cel,
    /// See [`RuleKind::Asset`].
    Asset,
    /// See [`RuleKind::Metadata`].
    Metadata,
    /// See [`RuleKind::Freshness`].
    Freshness,
}

impl RuleKind {
    /// The kind's name.
    #[must_use]
    pub fn rule_type(&self) -> RuleType {
        match self {
            Self::Schema(_) => RuleType::Schema,
            Self::Cel(_) => RuleType::Cel,
            Self::Asset(_) => RuleType::Asset,
            Self::Metadata(_) => RuleType::Metadata,
            Self::Freshness(_) => RuleType::Freshness,
        }
    }
}

impl RuleType {
    /// Does this kind judge the world, so that its verdict can change under one document? Such a
    /// rule withholds a new document only when it judges it worse than the one served.
    #[must_use]
    pub fn judges_world(self) -> bool {
        match self {
            Self::Asset | Self::Freshness => true,
            Self::Schema | Self::Cel | Self::Metadata => false,
        }
    }
}
