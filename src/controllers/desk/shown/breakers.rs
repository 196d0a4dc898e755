//! What did not answer last, and who may ask it now.

use std::cmp::Reverse;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Lately, Page};
use crate::{
    controllers::desk::rights::Scope, decide::breakers::Unanswered, domain::breaker::State,
};

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerIs {
    /// Everybody.
    Closed,
    /// One, to try.
    HalfOpen,
    /// Nobody for now.
    Open,
}

/// A breaker in a list.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BreakerRow {
    /// The namespace that it is counted in; none of a server of assets, which is one for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What did not answer, such as `source https://cms.example.com`.
    pub dependency: String,
    /// Who may ask it now.
    pub state: BreakerIs,
    /// How often in a row it did not answer.
    pub failures: u32,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// From when on one may try it, where it is or was left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub next_probe: Option<Timestamp>,
    /// The policies under which it is used; none of a server of assets.
    pub policies: Vec<String>,
}

impl Lately {
    /// What did not answer last, that which is left alone first: of the namespaces of `policies`, and the
    /// servers of assets that whoever may see `contracts` may know of.
    #[must_use]
    pub fn breakers(
        &self,
        policies: &Scope,
        contracts: Option<&Scope>,
        after: usize,
        limit: usize,
    ) -> Page<BreakerRow> {
        let servers = contracts.into_iter().flat_map(|contracts| self.servers(contracts));
        let all = self.unanswered(policies).chain(servers);
        let mut rows: Vec<BreakerRow> = all.cloned().map(BreakerRow::of).collect();
        rows.sort_by(|one, other| one.place().cmp(&other.place()));
        Page::of(rows, after, limit)
    }
}

impl BreakerRow {
    fn place(&self) -> impl Ord + use<'_> {
        (Reverse(self.state), self.namespace.as_deref(), &*self.dependency)
    }

    fn of(of: Unanswered) -> Self {
        Self {
            namespace: of.namespace.as_deref().map(str::to_owned),
            dependency: of.dependency,
            state: match of.state {
                State::Closed => BreakerIs::Closed,
                State::HalfOpen { .. } => BreakerIs::HalfOpen,
                State::Open { .. } => BreakerIs::Open,
            },
            failures: of.failures,
            since: of.since,
            next_probe: of.next_probe,
            policies: of.policies,
        }
    }
}
