//! Each family: its name, what it counts and its labels. What is registered and what people read are made
//! from the same rows, so they cannot differ.

use std::fmt::Write as _;

use prometheus_client::registry::Unit;

use super::{Labels, OTHER};

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A count that begins at 0 with each process.
    Counter,
    /// How many there are now.
    Gauge,
    /// How long something took, in seconds.
    Seconds,
}

/// A family.
#[derive(Debug)]
pub struct Described {
    /// Without the prefix `kintsugi_`, the unit and `_total`.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What it counts.
    pub help: &'static str,
    /// Each label and the values that it has.
    pub labels: &'static [(&'static str, &'static str)],
}

/// The labels whose values are names that people give, or that others have for what they run.
const NAMES: [&str; 7] =
    ["namespace", "contract", "widget", "policy", "step", "dependency", "resource"];
/// What alerts are about, the worst first, as values of labels.
const WORST: [&str; 12] = [
    "Critical",
    "Escalated",
    "open",
    "half-open",
    "AwaitingApproval",
    "ApprovalUnprotected",
    "BudgetSpent",
    "Unknown",
    "Held",
    "Warning",
    "Degraded",
    "Recovering",
];

impl Described {
    /// How far from the worst a row with these values is.
    pub(super) fn rank(&self, values: &[String]) -> Vec<usize> {
        let labels =
            self.labels.iter().zip(values).filter(|((label, _), _)| !NAMES.contains(label));
        let rank = |value: &String| WORST.iter().position(|worst| worst == value);
        labels.map(|(_, value)| rank(value).unwrap_or(WORST.len())).collect()
    }

    /// Puts `other` in the place of each name in the values of a row.
    pub(super) fn without_names(&self, values: &mut [String]) {
        for ((label, _), value) in self.labels.iter().zip(values) {
            if NAMES.contains(label) {
                OTHER.clone_into(value);
            }
        }
    }

    pub(super) fn unit(&self) -> Option<Unit> {
        (self.kind == Kind::Seconds).then_some(Unit::Seconds)
    }

    /// The name by which Prometheus knows it.
    #[must_use]
    pub fn full_name(&self) -> String {
        let end = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge => "",
            Kind::Seconds => "_seconds",
        };
        format!("kintsugi_{}{end}", self.name)
    }
}

/// Contracts.
pub const CONTRACTS: Described = Described {
    name: "contracts",
    kind: Kind::Gauge,
    help: "Contracts, by their health and by what is served",
    labels: &[
        ("namespace", "of the contracts"),
        ("health", "`Healthy`, `Degraded`, …: their `status.health`"),
        ("serving", "the reason of their condition Serving, such as `Assigned` or `Repaired`"),
    ],
};
/// Incidents.
pub const INCIDENTS: Described = Described {
    name: "incidents",
    kind: Kind::Gauge,
    help: "Incidents that are open, those about what several contracts share included",
    labels: &[
        ("namespace", "of the Incidents"),
        ("state", "`Open`, `Held`, `Escalated`, …: their `status.state`"),
        ("severity", "`Critical`, `Warning`, `Info`"),
    ],
};
/// What is waited for.
pub const WAITING: Described = Described {
    name: "waiting",
    kind: Kind::Gauge,
    help: "Open Incidents that wait, by what they wait for",
    labels: &[
        ("namespace", "of the Incidents"),
        (
            "waiting",
            "`AwaitingApproval`, `ApprovalUnprotected`, `BudgetSpent`, `Backoff`, …: their `status.waiting`",
        ),
    ],
};
/// Contracts one by one.
pub const CONTRACT: Described = Described {
    name: "contract",
    kind: Kind::Gauge,
    help: "1 for each contract; only with `--contract-metrics`",
    labels: &[
        ("namespace", "of the contract"),
        ("contract", "its name"),
        ("widget", "its `spec.widget`"),
        ("health", "as above"),
        ("serving", "as above"),
    ],
};
/// Verdicts.
pub const RULE_RESULTS: Described = Described {
    name: "rule_results",
    kind: Kind::Counter,
    help: "Verdicts of rules, once for each judgement that was made of a document: the assigned one, the served one, a stored one; not of what steps only try",
    labels: &[
        ("type", "of the rule: `Schema`, `CEL`, `Asset`, `Metadata`, `Freshness`"),
        ("result", "`Pass`, `Fail`, `Unknown`"),
    ],
};
/// Breakers.
pub const BREAKERS: Described = Described {
    name: "breakers",
    kind: Kind::Gauge,
    help: "1 for each thing that others depend on and that did not answer when it was asked last",
    labels: &[
        ("namespace", "whose contracts ask it; empty for servers of assets, which all share"),
        (
            "dependency",
            "as in a policy's `status.breakers`, or `assets` and a server: of a URL scheme, host and port at most",
        ),
        (
            "state",
            "`closed`: it is asked; `open`: it is left alone; `half-open`: one may try; of several policies' breakers the one that lets the fewest ask",
        ),
    ],
};
/// Storms.
pub const STORMS: Described = Described {
    name: "storms",
    kind: Kind::Gauge,
    help: "1 for each policy whose repairs are held by a storm of its contracts, or by the cooldown after it",
    labels: OF_POLICY,
};
/// Budgets.
pub const BUDGET_LEFT: Described = Described {
    name: "budget_left",
    kind: Kind::Gauge,
    help: "Attempts that a policy's budget allows now",
    labels: OF_POLICY,
};
/// Queues.
pub const QUEUED: Described = Described {
    name: "queued",
    kind: Kind::Gauge,
    help: "Objects that wait to be looked at",
    labels: &[
        (
            "queue",
            "`contracts`, `policies`, or `namespaces` to look at for what their contracts share",
        ),
        ("due", "`now`, or `later` for those that have a time"),
    ],
};
/// Those who follow.
pub const STREAMS: Described = Described {
    name: "streams",
    kind: Kind::Gauge,
    help: "Streams of what happens (`/api/v1/stream`) that are open at this replica",
    labels: &[],
};
/// Leadership.
pub const LEADER: Described = Described {
    name: "leader",
    kind: Kind::Gauge,
    help: "1 while this replica leads and works, from the moment that every first list is in",
    labels: &[],
};
/// Looks.
pub const LOOKS: Described = Described {
    name: "look_duration",
    kind: Kind::Seconds,
    help: "How long looks at contracts took (reconciles)",
    labels: &[("result", "`success`, `error`")],
};
/// Looks that failed.
pub const LOOK_FAILURES: Described = Described {
    name: "look_errors",
    kind: Kind::Counter,
    help: "Looks at contracts that ended in an error, and are repeated",
    labels: &[(
        "error",
        "`Conflict`, `Retry`, `Timeout`, `Early`, `NotLeader`, `Stalled`, `Panic`: what it means for the look",
    )],
};
/// What happened.
pub const HAPPENED: Described = Described {
    name: "happenings",
    kind: Kind::Counter,
    help: "What happened to contracts and Incidents",
    labels: &[("reason", "as the reason of the Event that says it")],
};
/// Steps.
pub const STEPS: Described = Described {
    name: "steps",
    kind: Kind::Counter,
    help: "Steps of attempts that are over; exemplar: the Incident's trace",
    labels: &[
        ("namespace", "of the policy"),
        ("policy", "its name; empty for what is built in"),
        ("step", "its name"),
        ("outcome", "`Changed`, `Waited`, `Acted`, `Failed`, `Unavailable`, `Skipped`"),
    ],
};
/// Rows beyond the limit.
pub const ROWS_CUT: Described = Described {
    name: "rows_cut",
    kind: Kind::Gauge,
    help: "1 for each metric that has more rows than are shown",
    labels: &[("family", "its name")],
};
/// Events.
pub const EVENTS_DROPPED: Described = Described {
    name: "events_dropped",
    kind: Kind::Counter,
    help: "Events that could not be written; Incidents and the log have what they would have said",
    labels: &[],
};
/// Requests to the API server.
pub const API_REQUESTS: Described = Described {
    name: "api_requests",
    kind: Kind::Counter,
    help: "Requests to the API server; a watch is counted when it begins",
    labels: &[
        ("method", "of HTTP"),
        (
            "resource",
            "such as `widgetcontracts` or `widgetcontracts/status`; `other` for no resource",
        ),
        ("code", "of the answer; `none` where there was none in time"),
    ],
};
/// Detection.
pub const TIME_TO_DETECT: Described = Described {
    name: "time_to_detect",
    kind: Kind::Seconds,
    help: "From the write of a document until the first failed check of the Incident with the cause DocumentChanged that it led to; exemplar: its trace. The time of the write is the one that the API server noted in managedFields, whole seconds by its clock, of whoever owns the document or what refers to it, the later one; where none is known, as of a URL, nothing is observed",
    labels: &[],
};
/// Mitigation.
pub const TIME_TO_MITIGATE: Described = Described {
    name: "time_to_mitigate",
    kind: Kind::Seconds,
    help: "From the first failed check of an Incident until a good document was served; exemplar: its trace",
    labels: &[],
};
/// Resolution.
pub const TIME_TO_RESOLVE: Described = Described {
    name: "time_to_resolve",
    kind: Kind::Seconds,
    help: "From the first failed check of an Incident until the assigned document was good, too, unless a person closed it; exemplar: its trace",
    labels: &[],
};
/// Approval.
pub const APPROVAL_WAIT: Described = Described {
    name: "approval_wait",
    kind: Kind::Seconds,
    help: "From a plan that was shown until a person approved it; a part of the times above; exemplar: its trace",
    labels: &[],
};

const OF_POLICY: &[(&str, &str)] = &[("namespace", "of the policy"), ("policy", "its name")];

/// All of them.
pub const ALL: [&Described; 22] = [
    &CONTRACTS,
    &CONTRACT,
    &RULE_RESULTS,
    &INCIDENTS,
    &WAITING,
    &STEPS,
    &TIME_TO_DETECT,
    &TIME_TO_MITIGATE,
    &TIME_TO_RESOLVE,
    &APPROVAL_WAIT,
    &BREAKERS,
    &STORMS,
    &BUDGET_LEFT,
    &HAPPENED,
    &EVENTS_DROPPED,
    &LOOKS,
    &LOOK_FAILURES,
    &QUEUED,
    &API_REQUESTS,
    &STREAMS,
    &LEADER,
    &ROWS_CUT,
];

/// The labels of a row.
pub(super) fn labelled(described: &Described, values: &[impl AsRef<str>]) -> Labels {
    let names = described.labels.iter().map(|(name, _)| *name);
    names.zip(values).map(|(name, value)| (name, value.as_ref().to_owned())).collect()
}

/// The page for people.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\nMade from the code by `make docs`. The operator serves them at `/metrics` as OpenMetrics, \
         and with `--otlp-endpoint` sends them to a collector by the same names. Counters begin at 0 with each process; a replica that does not lead counts nothing that is there. A \
         family has at most 1000 rows with names of objects, the worst ones: in the rows beyond, each name is \
         replaced by `other`, and `kintsugi_rows_cut` says so.\n\n\
         | metric | kind | counts | labels |\n|---|---|---|---|\n",
    );
    for described in ALL {
        let kind = match described.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Seconds => "histogram",
        };
        let labels = described.labels.iter().map(|(name, values)| format!("`{name}`: {values}"));
        let labels = labels.collect::<Vec<_>>().join("<br>");
        // Text grows in memory: it cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {kind} | {} | {labels} |",
            described.full_name(),
            described.help
        );
    }
    page
}
