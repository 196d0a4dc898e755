//! The parts of what the operator works with: which there are, and what is said of each.
//!
//! Some are always there. The others are what did not answer last: of those that answer nobody wants
//! a list.

use std::{cmp::Reverse, collections::BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::State;
use crate::{
    decide::breakers::Unanswered,
    domain::{Heard, LATELY, Span, breaker, unreachable},
};

/// Most parts that are shown.
const MOST: usize = 200;

/// What a part of the operator's surroundings is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, strum::Display,
)]
pub enum PartKind {
    /// The API server answers.
    ApiServer,
    /// What changes in the cluster is heard of.
    Watches,
    /// Somebody leads.
    Lease,
    /// What is outside of the cluster can be reached.
    Network,
    /// The names of what is outside are found.
    Dns,
    /// The collector takes spans and metrics.
    OtlpExporter,
    /// Whoever steps tell something takes it.
    Webhooks,
    /// A system of record answers.
    Source,
    /// A workload becomes available after steps acted on it.
    Workload,
    /// A server of assets can be reached.
    AssetHost,
}

impl PartKind {
    /// Can nothing be done without it?
    fn is_vital(self) -> bool {
        matches!(self, Self::ApiServer | Self::Watches | Self::Lease)
    }

    /// Several of those that have names.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Source => "sources",
            Self::Workload => "workloads",
            Self::AssetHost => "asset hosts",
            Self::ApiServer
            | Self::Watches
            | Self::Lease
            | Self::Network
            | Self::Dns
            | Self::OtlpExporter
            | Self::Webhooks => "parts",
        }
    }

    /// What something that steps depend on is, by its name.
    fn of(dependency: &str) -> Option<(Self, &str)> {
        let (kind, name) = dependency.split_once(' ')?;
        let kind = match kind {
            "source" => Self::Source,
            "workload" => Self::Workload,
            "assets" => Self::AssetHost,
            _ => return None,
        };
        Some((kind, name))
    }
}

/// A part of what the operator works with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Its namespace, where it is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How it stands.
    pub state: State,
    /// Why, in a sentence.
    pub message: String,
}

impl Part {
    /// One that is always there.
    pub fn fixed(kind: PartKind, state: State, message: impl Into<String>) -> Self {
        Self { kind, namespace: None, name: None, state, message: message.into() }
    }

    /// What the whole is because of it.
    pub(super) fn of_the_whole(&self) -> State {
        match self.state {
            // Without it some contracts cannot be healed; the others can.
            State::Critical if !self.kind.is_vital() => State::Degraded,
            state => state,
        }
    }

    /// The same of several.
    pub(super) fn said(&self) -> &'static str {
        match self.state {
            State::Critical => "left alone, since they do not answer",
            State::Degraded => "did not answer last",
            State::Recovering => "tried again",
            State::Healthy => "answer",
        }
    }
}

/// The way to what is outside of the cluster: one host that cannot be reached is that host's fault.
#[must_use]
pub fn network(heard: &[Heard], reached_again: Option<Span>) -> Part {
    let (state, message) = if let Some(asked) = unreachable(heard) {
        let none = format!("none of the {asked} hosts that were asked lately could be reached");
        (State::Critical, none)
    } else if reached_again.is_some_and(|ago| ago <= LATELY) {
        (State::Recovering, "hosts can be reached again since a moment ago".to_owned())
    } else {
        (State::Healthy, "nothing says that hosts cannot be reached".to_owned())
    };
    Part::fixed(PartKind::Network, state, message)
}

/// How the names of hosts are found, by whether each of those `named` was.
#[must_use]
pub fn dns(named: &[Heard]) -> Part {
    let (state, message) = match unreachable(named) {
        Some(asked) => (
            State::Critical,
            format!("none of the {asked} names that were asked for lately was found"),
        ),
        None => (State::Healthy, "nothing says that names are not found".to_owned()),
    };
    Part::fixed(PartKind::Dns, state, message)
}

/// All webhooks as one, by those of what did not answer last that are some.
#[must_use]
pub fn webhooks(unanswered: &[Unanswered]) -> Part {
    let of_webhooks = unanswered.iter().filter(|of| of.dependency.starts_with("webhook "));
    let origins: BTreeSet<&str> = of_webhooks.clone().map(|of| &*of.dependency).collect();
    let state = of_webhooks.map(|of| state_of(of.state)).max().unwrap_or_default();
    let message = match origins.len() {
        0 => "every webhook that was called last took it".to_owned(),
        1 => "1 webhook did not take what it was told last".to_owned(),
        some => format!("{some} webhooks did not take what they were told last"),
    };
    Part::fixed(PartKind::Webhooks, state, message)
}

/// What did not answer last, each as a part; webhooks are one together.
pub fn of_dependencies(unanswered: &[Unanswered]) -> impl Iterator<Item = Part> {
    unanswered.iter().filter_map(|of| {
        let (kind, name) = PartKind::of(&of.dependency)?;
        let (dependency, failures) = (&of.dependency, of.failures);
        let then = match of.state {
            breaker::State::Closed => "",
            breaker::State::HalfOpen { .. } => "; it is tried again",
            breaker::State::Open { .. } => "; it is left alone for a while",
        };
        let times = if failures == 1 { "time" } else { "times in a row" };
        Some(Part {
            kind,
            namespace: of.namespace.as_deref().map(str::to_owned),
            name: Some(name.to_owned()),
            state: state_of(of.state),
            message: format!("{dependency} did not answer {failures} {times}{then}"),
        })
    })
}

/// Those that are shown: all that are always there, and of the others the worst; the worst first.
#[must_use]
pub fn bounded(mut parts: Vec<Part>) -> Vec<Part> {
    parts.sort_by(|one, other| {
        let place = |part: &Part| (part.name.is_some(), Reverse(part.state), part.kind);
        let rank = place(one).cmp(&place(other));
        rank.then_with(|| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)))
    });
    parts.truncate(MOST);
    parts.sort_by_key(|part| Reverse(part.state));
    parts
}

fn state_of(state: breaker::State) -> State {
    match state {
        breaker::State::Closed => State::Degraded,
        breaker::State::HalfOpen { .. } => State::Recovering,
        breaker::State::Open { .. } => State::Critical,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::decide::platform::{Facts, judge};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const OPEN: breaker::State = breaker::State::Open { until: NOW };
    const HALF: breaker::State = breaker::State::HalfOpen { until: NOW };

    fn of(dependency: &str, state: breaker::State) -> Unanswered {
        Unanswered {
            namespace: Some("shop".into()),
            dependency: dependency.to_owned(),
            state,
            failures: 3,
            since: NOW,
            next_probe: None,
            policies: Vec::new(),
        }
    }

    fn heard(hosts: &[(bool, u32)]) -> Vec<Heard> {
        let host = |(nth, (answered, ago)): (usize, &(bool, u32))| Heard {
            host: format!("h{nth}.test"),
            answered: *answered,
            ago: Span::secs(*ago),
        };
        hosts.iter().enumerate().map(host).collect()
    }

    #[test]
    fn what_is_left_alone_is_critical_what_is_tried_recovers_and_what_failed_is_degraded() {
        use State::{Critical, Degraded, Recovering};
        let all = [
            of("source https://cms.test", OPEN),
            of("workload Deployment catalog", HALF),
            of("assets https://cdn.test", breaker::State::Closed),
            of("webhook https://hooks.test", OPEN),
        ];
        let parts: Vec<Part> = of_dependencies(&all).collect();
        let said: Vec<_> =
            parts.iter().map(|part| (part.kind, part.name.as_deref(), part.state)).collect();
        assert_eq!(
            said,
            [
                (PartKind::Source, Some("https://cms.test"), Critical),
                (PartKind::Workload, Some("Deployment catalog"), Recovering),
                (PartKind::AssetHost, Some("https://cdn.test"), Degraded),
            ]
        );
        assert_eq!(webhooks(&all).state, Critical);
        assert_eq!(webhooks(&all[..3]).state, State::Healthy);
        // None of it keeps the others from being healed.
        let (state, why) = judge(&Facts { parts, ..Facts::default() });
        assert_eq!(state, Degraded);
        assert!(why[0].starts_with("source https://cms.test did not answer 3 times"), "{why:?}");
    }

    #[test]
    fn only_what_all_hosts_say_is_said_of_the_network_and_the_names() {
        let state = |hosts: &[(bool, u32)], again: Option<u32>| {
            network(&heard(hosts), again.map(Span::secs)).state
        };
        assert_eq!(state(&[], None), State::Healthy);
        assert_eq!(state(&[(false, 1)], None), State::Healthy, "one host's fault");
        assert_eq!(state(&[(false, 1), (false, 1)], None), State::Critical);
        assert_eq!(state(&[(false, 1), (true, 1)], Some(5)), State::Recovering);
        assert_eq!(state(&[(false, 1), (true, 1)], Some(500)), State::Healthy);
        assert_eq!(dns(&heard(&[(false, 1), (false, 1)])).state, State::Critical);
        assert_eq!(dns(&heard(&[(false, 1), (true, 1)])).state, State::Healthy);
    }

    #[test]
    fn no_more_parts_than_so_many_are_shown_and_none_that_is_always_there_is_missing() {
        let mut all: Vec<Unanswered> = (0..300)
            .map(|nth| of(&format!("source https://h{nth}.test"), breaker::State::Closed))
            .collect();
        all.push(of("source https://z.test", OPEN));
        let mut parts: Vec<Part> = of_dependencies(&all).collect();
        parts.push(Part::fixed(PartKind::Lease, State::Healthy, "somebody leads"));
        let (_, why) = judge(&Facts { parts: parts.clone(), ..Facts::default() });
        assert_eq!(why.len(), 2, "one for each kind and state: {why:?}");
        assert!(why.contains(&"300 sources: did not answer last".to_owned()), "{why:?}");
        let shown = bounded(parts);
        assert_eq!(shown.len(), MOST);
        assert_eq!(shown[0].name.as_deref(), Some("https://z.test"));
        assert_eq!(shown[MOST - 1].kind, PartKind::Lease);
    }
}
