//! How all of it stands.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::incidents::IncidentRow;
use crate::{
    controllers::desk::{Desk, Refused, rights::Scope},
    decide::platform::{self, Facts, Part},
};

/// How all of it stands.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Platform {
    /// In one word.
    pub state: platform::State,
    /// Why it is not healthy: the worst reason first.
    pub why: Vec<String>,
    /// How many contracts there are, by their health.
    pub contracts: BTreeMap<String, usize>,
    /// How many Incidents are open, by their state.
    pub incidents: BTreeMap<String, usize>,
    /// How many of them wait for a person.
    pub waiting_for_people: usize,
    /// What the operator works with: what is always there, and what did not answer last. At most 200,
    /// the worst first.
    pub parts: Vec<Part>,
}

impl Desk {
    /// How all of it stands, as far as `scope` goes.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] while this replica does not lead.
    pub fn platform(&self, scope: &Scope) -> Result<Platform, Refused> {
        let ctx = self.ctx()?;
        let open = ctx.index.open_incidents(|namespace| scope.has(namespace));
        let rows: Vec<IncidentRow> =
            open.iter().map(|incident| IncidentRow::of(incident)).collect();
        let unanswered = super::breakers::unanswered(&ctx, scope);
        let mut parts = self.health.parts();
        parts.push(platform::network(&ctx.outbound.heard(), ctx.outbound.reached_again()));
        parts.push(platform::dns(&ctx.outbound.named()));
        parts.push(platform::webhooks(&unanswered));
        parts.extend(platform::of_dependencies(&unanswered));
        let mut facts = Facts { parts, ..Facts::default() };
        facts.contracts = ctx.index.count_health(|namespace| scope.has(namespace));
        for row in &rows {
            *facts.incidents.entry((row.state, row.severity)).or_default() += 1;
        }
        let (state, why) = platform::judge(&facts);
        let contracts = facts.contracts.iter().map(|(health, count)| (health.to_string(), *count));
        let mut incidents = BTreeMap::new();
        for row in &rows {
            *incidents.entry(row.state.to_string()).or_default() += 1;
        }
        Ok(Platform {
            state,
            why,
            contracts: contracts.collect(),
            incidents,
            waiting_for_people: rows.iter().filter(|row| row.waits_for_people).count(),
            parts: platform::bounded(facts.parts),
        })
    }
}
