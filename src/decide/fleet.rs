//! What one contract has to know of the others in its namespace.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    breakers::{self, Calls},
    effects,
};
use crate::{
    api::{
        condition::{ConditionType, Conditions},
        incident::{IncidentSpec, IncidentStatus},
    },
    domain::Span,
};

/// What is known of the other contracts of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Their Incidents with the policies asked for, those that are over included.
    pub troubles: Vec<Arc<Trouble>>,
    /// How many contracts each policy is for, this one included.
    pub matched: BTreeMap<String, usize>,
    /// How many contracts of each policy are about to be repaired and have no Incident yet.
    pub opening: BTreeMap<String, usize>,
    /// How many repairs of each policy are under way.
    pub in_flight: BTreeMap<String, usize>,
    /// What all contracts of the namespace depended on, this one included, and what answered.
    pub calls: Arc<Calls>,
}

/// One Incident, as far as it concerns others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The contract.
    pub contract: String,
    /// The policies of its plan.
    pub policies: Vec<String>,
    /// When the trouble began.
    pub since: Timestamp,
    /// When it was over.
    pub until: Option<Timestamp>,
    /// Passes what its last repair wrote, if there was one?
    pub is_repaired: bool,
    /// When a repair was written, or an effect begun.
    pub repairs: Vec<Timestamp>,
    /// The effects of the attempt that is under way.
    pub acting: Vec<Acting>,
}

/// An effect of an attempt that has not come to its end: what came of it nobody can count yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acting {
    /// The policy whose step it is.
    pub policy: String,
    /// What it acts on, where that can be left alone.
    pub dependency: Option<String>,
    /// Nobody is kept from anything by it for longer, whatever its attempt waits for then.
    pub until: Timestamp,
}

impl Acting {
    fn of(spec: &IncidentSpec, status: &IncidentStatus) -> Vec<Self> {
        if status.is_over() {
            return Vec::new();
        }
        let attempted = status.tries.unwrap_or(0);
        let begun = status.effects.iter().filter(|effect| effect.attempt > attempted);
        let acting = begun.map(|effect| {
            let step = effects::step_of(&spec.plan, effect);
            Self {
                policy: effect.policy.clone(),
                dependency: step.and_then(|step| breakers::acted_on(step, effect)),
                until: effects::at_most_until(step, effect),
            }
        });
        acting.collect()
    }
}

impl Trouble {
    /// Of an Incident.
    #[must_use]
    pub fn of(spec: &IncidentSpec, status: &IncidentStatus) -> Self {
        let is_over = status.is_over();
        let ended = status.resolved_at.as_ref().map_or(spec.opened_at.0, |time| time.0);
        let conditions = Conditions::of(Some(&status.conditions));
        let passes = [ConditionType::Verified, ConditionType::Mitigated]
            .into_iter()
            .all(|type_| conditions.is_true(type_));
        let policies = spec.plan.iter().filter_map(|s| s.policy_ref.as_ref());
        let wrote = status.attempts.iter().filter(|a| a.published.is_some() || !a.ops.is_empty());
        let acted = status.effects.iter().map(|effect| effect.intended_at.0);
        Self {
            contract: spec.contract_name.clone(),
            policies: policies.map(|policy| policy.name.clone()).collect(),
            since: spec.opened_at.0,
            until: is_over.then_some(ended),
            is_repaired: is_over || passes,
            repairs: wrote.map(|attempt| attempt.at.0).chain(acted).collect(),
            acting: Acting::of(spec, status),
        }
    }

    /// From when until when it counts for a storm. A repair that passes ends it, however long its
    /// owner takes to mend the document, but only after `cooldown`: else repairs that go well, each
    /// at once, would hide that all contracts break together.
    #[must_use]
    pub fn span(&self, cooldown: Span) -> (Timestamp, Option<Timestamp>) {
        let repaired = self.repairs.iter().max().filter(|_| self.is_repaired);
        let counts_until = repaired.map(|at| cooldown.after(*at));
        (self.since, counts_until.max(self.until))
    }

    /// Is an effect of the policy under way?
    #[must_use]
    pub fn is_acting(&self, policy: &str, now: Timestamp) -> bool {
        self.acting.iter().any(|acting| acting.policy == policy && acting.until > now)
    }

    /// Does an effect under way act on what is named so, so that others wait for what comes of it?
    #[must_use]
    pub fn tries(&self, dependency: &str, now: Timestamp) -> bool {
        let is_it = |acting: &&Acting| acting.dependency.as_deref() == Some(dependency);
        self.acting.iter().filter(is_it).any(|acting| acting.until > now)
    }

    /// Is it the policy's to repair?
    #[must_use]
    pub fn is_of(&self, policy: &str) -> bool {
        self.policies.iter().any(|name| name == policy)
    }
}
