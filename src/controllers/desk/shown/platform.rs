//! How all of it stands.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::Lately;
use crate::{
    controllers::desk::rights::Scope,
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

impl Lately {
    /// How all of it stands, as far as somebody may see contracts and Incidents; what did not answer last is
    /// known from Incidents.
    #[must_use]
    pub fn platform(&self, contracts: &Scope, incidents: Option<&Scope>) -> Platform {
        let nowhere = Scope::Only(BTreeSet::new());
        let sight = incidents.unwrap_or(&nowhere);
        let mut facts = Facts { contracts: self.health(contracts), ..Facts::default() };
        let mut by_state = BTreeMap::new();
        let mut waiting = 0;
        for object in self.open(sight) {
            let status = object.status.as_ref();
            let state = status.and_then(|status| status.state).unwrap_or_default();
            *facts.incidents.entry((state, object.spec.severity)).or_default() += 1;
            *by_state.entry(state.to_string()).or_default() += 1;
            waiting += usize::from(status.is_some_and(platform::waits_for_people));
        }
        let unanswered: Vec<_> =
            self.unanswered(sight).chain(self.servers(contracts)).cloned().collect();
        facts.parts = self.parts();
        facts.parts.push(platform::webhooks(&unanswered));
        facts.parts.extend(platform::of_dependencies(&unanswered));
        let (state, why) = platform::judge(&facts);
        let by_health = facts.contracts.iter().map(|(health, count)| (health.to_string(), *count));
        Platform {
            state,
            why,
            contracts: by_health.collect(),
            incidents: incidents.map(|_| by_state),
            waiting_for_people: incidents.map(|_| waiting),
            parts: platform::bounded(facts.parts),
        }
    }
}
