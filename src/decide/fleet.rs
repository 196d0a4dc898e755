//! What one contract has to know of the others in its namespace.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::breakers::Calls;
use crate::api::{
    condition::{ConditionType, Conditions},
    incident::{IncidentSpec, IncidentStatus, State},
};

/// What is known of the other contracts of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Their Incidents with the policies asked for, those that are over included.
    pub troubles: Vec<Arc<Trouble>>,
    /// How many contracts each policy is for, this one included.
    pub matched: BTreeMap<String, usize>,
    /// How many repairs of each policy are under way.
    pub in_flight: BTreeMap<String, usize>,
    /// What all contracts of the namespace depended on, this one included, and what answered.
    pub calls: Calls,
}

/// One Incident, as far as it concerns others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The policies of its plan.
    pub policies: Vec<String>,
    /// When the trouble began.
    pub since: Timestamp,
    /// When it was over, or a repair of it passed.
    pub until: Option<Timestamp>,
    /// When a repair was written.
    pub repairs: Vec<Timestamp>,
}

impl Trouble {
    /// Of an Incident.
    #[must_use]
    pub fn of(spec: &IncidentSpec, status: &IncidentStatus) -> Self {
        let is_over = status.state.is_some_and(State::is_over);
        let ended = status.resolved_at.as_ref().map_or(spec.opened_at.0, |time| time.0);
        // A repair that passes has ended it, however long its owner takes to mend the document: else
        // repairs that went well would become a storm that forbids the next one.
        let conditions = Conditions::of(Some(&status.conditions));
        let is_repaired = [ConditionType::Verified, ConditionType::Mitigated]
            .into_iter()
            .all(|type_| conditions.is_true(type_));
        let repaired = status.published_at.as_ref().filter(|_| is_repaired).map(|time| time.0);
        let policies = spec.plan.iter().filter_map(|s| s.policy_ref.as_ref());
        let wrote = status.attempts.iter().filter(|a| a.published.is_some() || !a.ops.is_empty());
        Self {
            policies: policies.map(|policy| policy.name.clone()).collect(),
            since: spec.opened_at.0,
            until: repaired.or(is_over.then_some(ended)),
            repairs: wrote.map(|attempt| attempt.at.0).collect(),
        }
    }

    /// Is it the policy's to repair?
    #[must_use]
    pub fn is_of(&self, policy: &str) -> bool {
        self.policies.iter().any(|name| name == policy)
    }
}
