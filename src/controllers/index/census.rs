//! How many there are of what is remembered.

use std::collections::BTreeMap;

use super::{Index, parents::is_open};

/// How many there are in a namespace with these two words.
pub type Counts = BTreeMap<[String; 3], i64>;

impl Index {
    /// Contracts by their health and by what is served.
    pub fn count_contracts(&self) -> Counts {
        let state = self.lock();
        let mut counts = Counts::new();
        for (key, entry) in &state.contracts {
            let (health, serving) = (entry.standing.health, entry.standing.serving.as_str());
            let row = [key.namespace.to_string(), health.to_string(), serving.to_owned()];
            *counts.entry(row).or_default() += 1;
        }
        counts
    }

    /// Open Incidents by state and severity, those about what several contracts share included.
    pub fn count_incidents(&self) -> Counts {
        let state = self.lock();
        let of_contracts = state.incidents.iter().flat_map(|(contract, all)| {
            let open = all.values().filter_map(|entry| entry.state.as_ref().ok());
            open.map(|object| (&contract.namespace, &**object))
        });
        let parents = state.parents.iter().map(|(key, object)| (&key.namespace, &**object));
        let mut counts = Counts::new();
        for (namespace, object) in of_contracts.chain(parents.filter(|(_, object)| is_open(object)))
        {
            let incident_state = object.status.as_ref().and_then(|status| status.state);
            let incident_state = incident_state.unwrap_or_default().to_string();
            let row = [namespace.to_string(), incident_state, object.spec.severity.to_string()];
            *counts.entry(row).or_default() += 1;
        }
        counts
    }
}
