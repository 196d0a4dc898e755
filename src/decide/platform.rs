//! How all of it stands, in one word of four and the reasons for it: for whoever is on call.
//!
//! | state | means |
//! |---|---|
//! | `Critical` | somebody sees a broken page, a person is called, or the operator itself cannot work |
//! | `Degraded` | something is not as it should be, and nothing is being done about it just now |
//! | `Recovering` | all that is wrong is being healed |
//! | `Healthy` | nothing is wrong |
//!
//! The worst one counts. Contracts that are suspended, or have never been valid, are as somebody
//! wants them.

mod parts;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

pub use self::parts::{Part, PartKind, bounded, dns, network, of_dependencies, webhooks};
use super::gates::{
    SCHEMA_HELD,
    approval::{AWAITING_APPROVAL, UNPROTECTED},
};
use crate::{
    api::{
        contract::Health,
        incident::{IncidentStatus, State as IncidentState},
    },
    domain::Severity,
};

/// How something stands; the worse, the greater.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    JsonSchema,
    strum::Display,
    strum::EnumIter,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum State {
    /// Nothing is wrong.
    #[default]
    Healthy,
    /// What was wrong is being healed.
    Recovering,
    /// Something is wrong.
    Degraded,
    /// A person is needed now.
    Critical,
}

/// What is known of all of it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// How many contracts there are in each state of health.
    pub contracts: BTreeMap<Health, usize>,
    /// How many Incidents are open, by state and severity.
    pub incidents: BTreeMap<(IncidentState, Severity), usize>,
    /// The parts.
    pub parts: Vec<Part>,
}

/// The state, and why: the worst reason first. None while nothing is wrong.
#[must_use]
pub fn judge(facts: &Facts) -> (State, Vec<String>) {
    let mut why: Vec<(State, String)> = Vec::new();
    // Of many that have names there is a count: the parts themselves say which.
    let mut named: BTreeMap<(PartKind, State), Vec<&Part>> = BTreeMap::new();
    for part in &facts.parts {
        if part.name.is_some() {
            named.entry((part.kind, part.state)).or_default().push(part);
        } else {
            why.push((part.of_the_whole(), part.message.clone()));
        }
    }
    for ((kind, _), parts) in named {
        let said = match parts[..] {
            [part] => part.message.clone(),
            _ => format!("{} {}: {}", parts.len(), kind.plural(), parts[0].said()),
        };
        why.push((parts[0].of_the_whole(), said));
    }
    for (health, count) in &facts.contracts {
        let (state, said) = match health {
            Health::Critical => (State::Critical, "served with no valid document"),
            Health::Degraded => (State::Degraded, "not served as asked for"),
            Health::Unknown => (State::Degraded, "not checked"),
            Health::Recovering => (State::Recovering, "being healed"),
            Health::Healthy | Health::Pending | Health::Suspended => continue,
        };
        why.push((state, format!("{count} {}: {said}", plural(*count, "contract"))));
    }
    for ((incident, severity), count) in &facts.incidents {
        let (state, said) = match (incident, severity) {
            (IncidentState::Escalated, Severity::Critical) => {
                (State::Critical, "call for a person")
            }
            (IncidentState::Escalated, _) => (State::Degraded, "call for a person"),
            (IncidentState::Held, _) => (State::Degraded, "held"),
            (IncidentState::Open | IncidentState::Remediating | IncidentState::Verifying, _) => {
                (State::Recovering, "being worked on")
            }
            // What is served is good; the contract's own health says what is missing.
            (IncidentState::Mitigated | IncidentState::Resolved | IncidentState::Superseded, _) => {
                continue;
            }
        };
        why.push((state, format!("{count} {severity} {}: {said}", plural(*count, "Incident"))));
    }
    why.retain(|(state, _)| *state != State::Healthy);
    why.sort_by_key(|(state, _)| std::cmp::Reverse(*state));
    let worst = why.first().map_or(State::Healthy, |(state, _)| *state);
    (worst, why.into_iter().map(|(_, said)| said).collect())
}

/// Does this Incident go on only when a person does something?
#[must_use]
pub fn waits_for_people(status: &IncidentStatus) -> bool {
    let state = status.state.unwrap_or_default();
    let asks = [AWAITING_APPROVAL, UNPROTECTED, SCHEMA_HELD].contains(&&*status.waiting);
    state == IncidentState::Escalated || (state == IncidentState::Held && asks)
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contracts(all: &[(Health, usize)]) -> Facts {
        Facts { contracts: all.iter().copied().collect(), ..Facts::default() }
    }

    fn incident(state: IncidentState, severity: Severity) -> Facts {
        Facts { incidents: [((state, severity), 1)].into(), ..Facts::default() }
    }

    fn part(state: State) -> Facts {
        let message = "the API server does not answer".to_owned();
        Facts { parts: vec![Part::fixed(PartKind::ApiServer, state, message)], ..Facts::default() }
    }

    #[test]
    fn the_worst_of_all_is_the_state_and_its_reason_comes_first() {
        use IncidentState::{Escalated, Held, Mitigated, Remediating};
        let cases = [
            (Facts::default(), State::Healthy, ""),
            (
                contracts(&[(Health::Healthy, 9), (Health::Pending, 1), (Health::Suspended, 1)]),
                State::Healthy,
                "",
            ),
            (contracts(&[(Health::Recovering, 2)]), State::Recovering, "2 contracts: being healed"),
            (
                contracts(&[(Health::Recovering, 2), (Health::Degraded, 1)]),
                State::Degraded,
                "1 contract: not served as asked for",
            ),
            (contracts(&[(Health::Unknown, 1)]), State::Degraded, "1 contract: not checked"),
            (
                contracts(&[(Health::Degraded, 5), (Health::Critical, 1)]),
                State::Critical,
                "1 contract: served with no valid document",
            ),
            (
                incident(Remediating, Severity::Critical),
                State::Recovering,
                "1 Critical Incident: being worked on",
            ),
            (incident(Held, Severity::Warning), State::Degraded, "1 Warning Incident: held"),
            (
                incident(Escalated, Severity::Critical),
                State::Critical,
                "1 Critical Incident: call for a person",
            ),
            (
                incident(Escalated, Severity::Warning),
                State::Degraded,
                "1 Warning Incident: call for a person",
            ),
            (incident(Mitigated, Severity::Critical), State::Healthy, ""),
            (part(State::Healthy), State::Healthy, ""),
            (part(State::Degraded), State::Degraded, "the API server does not answer"),
            (part(State::Critical), State::Critical, "the API server does not answer"),
        ];
        for (facts, state, first) in cases {
            let (is, why) = judge(&facts);
            assert_eq!(is, state, "{facts:?}");
            assert_eq!(why.first().map_or("", String::as_str), first, "{facts:?}");
        }
    }
}
