//! What did not answer last, and who may ask it now.

use std::cmp::Reverse;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::Page;
use crate::{
    controllers::{
        Ctx,
        desk::{Desk, Refused, rights::Scope},
    },
    decide::breakers::{self, Unanswered},
    domain::breaker::State,
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

impl Desk {
    /// What did not answer last, that which is left alone first: of the namespaces of `policies`, and
    /// servers of assets for who may see `assets`.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] while this replica does not lead.
    pub fn breakers(
        &self,
        policies: &Scope,
        assets: bool,
        after: usize,
        limit: usize,
    ) -> Result<Page<BreakerRow>, Refused> {
        let ctx = self.ctx()?;
        let mut all = unanswered(&ctx, policies);
        all.retain(|of| assets || of.namespace.is_some());
        let mut rows: Vec<BreakerRow> = all.into_iter().map(BreakerRow::of).collect();
        rows.sort_by(|one, other| one.place().cmp(&other.place()));
        Ok(Page::of(rows, after, limit))
    }
}

/// What did not answer last: of the namespaces of `scope`, and servers of assets.
pub(super) fn unanswered(ctx: &Ctx, scope: &Scope) -> Vec<Unanswered> {
    let now = ctx.now();
    let mut all = ctx.index.unanswered(now, |namespace| scope.has(namespace));
    all.extend(ctx.outbound.left_alone().into_iter().map(|left| Unanswered {
        namespace: None,
        dependency: breakers::assets(&left.server),
        state: left.state,
        failures: left.failures,
        since: left.since.before(now),
        next_probe: left.opens_in.map(|opens_in| opens_in.after(now)),
        policies: Vec::new(),
    }));
    all
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
