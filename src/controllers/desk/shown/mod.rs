//! What there is to see: of the namespaces that a person may look into, and no payload values but in
//! documents.
//!
//! Lists come from what is remembered, so a page that is looked at all day costs the API server
//! nothing; a single contract or Incident is read anew. What all look at is put together once for all of
//! them ([`Lately`]).

mod breakers;
mod contracts;
mod documents;
mod fresh;
mod incidents;
mod lately;
mod log;
mod plan;
mod platform;
mod policies;

use schemars::JsonSchema;
use serde::Serialize;

use super::Refused;
use crate::controllers::{Ctx, Key};

pub use self::{
    breakers::{BreakerIs, BreakerRow},
    contracts::{ContractFilter, ContractRow, ContractShown, RuleRow},
    documents::{Change, Difference, DocumentShown, DocumentsShown, RevisionRow, RevisionShown},
    incidents::{IncidentFilter, IncidentRow, IncidentShown, Rank},
    lately::Lately,
    log::{Log, MOST_ACTIONS},
    plan::PlanShown,
    platform::Platform,
    policies::{PolicyRow, PolicyShown, StepRow},
};
pub(super) use self::{
    fresh::Fresh,
    log::{Kept, memory},
};

/// A part of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Page<T> {
    /// The objects.
    pub items: Vec<T>,
    /// What `continue` has to be to see what follows; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#continue: Option<String>,
}

impl<T> Page<T> {
    /// `limit` of `rows` after the first `after` of them.
    fn of(rows: Vec<T>, after: usize, limit: usize) -> Self {
        let end = after.saturating_add(limit);
        let goes_on = rows.len() > end;
        Self {
            items: rows.into_iter().skip(after).take(limit).collect(),
            r#continue: goes_on.then(|| end.to_string()),
        }
    }
}

/// The namespace of `key`, where the operator watches it: in others it has no rights.
pub(in crate::controllers::desk) fn watched<'a>(
    ctx: &Ctx,
    kind: &str,
    key: &'a Key,
) -> Result<&'a str, Refused> {
    if ctx.config.watches(&key.namespace) {
        return Ok(&key.namespace);
    }
    Err(Refused::NotFound(format!("{kind} {key}: the operator does not watch that namespace")))
}
