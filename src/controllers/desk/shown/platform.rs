//! How all of it stands.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

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
    /// How many Incidents are open, by their state; absent for whoever may not list any, and then nothing
    /// that is known from them is in the rest either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incidents: Option<BTreeMap<String, usize>>,
    /// How many of them wait for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for_people: Option<usize>,
    /// What the operator works with: what is always there, and what did not answer last. At most 200,
    /// the worst first.
    pub parts: Vec<Part>,
}

impl Desk {
    /// How all of it stands, as far as somebody may see contracts and Incidents; what did not answer last is
    /// known from Incidents.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] while this replica does not lead.
    pub fn platform(
        &self,
        contracts: &Scope,
        incidents: Option<&Scope>,
    ) -> Result<Platform, Refused> {
        let ctx = self.ctx()?;
        let may = |namespace: &str| incidents.is_some_and(|scope| scope.has(namespace));
        let statuses: Vec<_> = ctx
            .index
            .open_incidents(may)
            .iter()
            .map(|open| (open.spec.severity, open.status.clone().unwrap_or_default()))
            .collect();
        let nowhere = Scope::Only(BTreeSet::new());
        let unanswered = super::breakers::unanswered(&ctx, incidents.unwrap_or(&nowhere));
        let mut parts = self.health.parts();
        parts.push(platform::network(&ctx.outbound.heard(), ctx.outbound.reached_again()));
        parts.push(platform::dns(&ctx.outbound.named()));
        parts.push(platform::webhooks(&unanswered));
        parts.extend(platform::of_dependencies(&unanswered));
        let mut facts = Facts { parts, ..Facts::default() };
        facts.contracts = ctx.index.count_health(|namespace| contracts.has(namespace));
        let mut by_state = BTreeMap::new();
        for (severity, status) in &statuses {
            let state = status.state.unwrap_or_default();
            *facts.incidents.entry((state, *severity)).or_default() += 1;
            *by_state.entry(state.to_string()).or_default() += 1;
        }
        let waiting =
            statuses.iter().filter(|(_, status)| platform::waits_for_people(status)).count();
        let (state, why) = platform::judge(&facts);
        let by_health = facts.contracts.iter().map(|(health, count)| (health.to_string(), *count));
        Ok(Platform {
            state,
            why,
            contracts: by_health.collect(),
            incidents: incidents.map(|_| by_state),
            waiting_for_people: incidents.map(|_| waiting),
            parts: platform::bounded(facts.parts),
        })
    }
}
