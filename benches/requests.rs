//! What a heal asks of the API server, from the server's own audit log: how many requests, and
//! when each came and was answered, counted from the answer to the breaking write.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    time::Duration,
};

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::sleep;

use crate::{
    cluster::{Cluster, OPERATOR},
    heal::{BREAK, Case, MEND},
    stats::median,
};

/// What the heals of one case ask for, on average.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// Heals that were looked at.
    pub heals: usize,
    /// Writes of Incidents, contracts, served keys and their statuses.
    pub writes: f64,
    /// New revisions stored.
    pub revisions: f64,
    /// GETs.
    pub reads: f64,
    /// LISTs.
    pub lists: f64,
    /// Events.
    pub events: f64,
    /// The most common sequence of requests, and in how many heals it was seen.
    pub timeline: (Vec<Moment>, usize),
}

/// One request of the most common sequence: medians in milliseconds after the breaking write.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Verb and resource.
    pub what: String,
    /// When it came.
    pub came: f64,
    /// When it was answered.
    pub answered: f64,
}

/// A line of the audit log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: User,
    object_ref: Option<Object>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct Object {
    resource: String,
    subresource: String,
    name: String,
}

/// One heal in the log: the operator's requests after the breaking write, until the next write
/// of the benchmark's to the same contract.
struct Window {
    case: Case,
    broken: Timestamp,
    requests: Vec<Entry>,
}

/// Counts the requests of each case's measured heals.
pub async fn count(cluster: &Cluster, cases: &[Case]) -> anyhow::Result<BTreeMap<Case, Requests>> {
    // The last lines are written after the answers to them.
    sleep(Duration::from_secs(1)).await;
    let log = fs::read_to_string(cluster.audit_log()).context("reading the audit log")?;
    let mut entries: Vec<Entry> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|entry: &Entry| entry.stage == "ResponseComplete")
        .collect();
    entries.sort_by_key(|entry| entry.request_received_timestamp);
    let windows = windows(entries, cases);
    let of = |case: Case| {
        let windows: Vec<&Window> = windows.iter().filter(|window| window.case == case).collect();
        requests(&windows)
    };
    Ok(cases.iter().map(|case| (*case, of(*case))).collect())
}

fn windows(entries: Vec<Entry>, cases: &[Case]) -> Vec<Window> {
    let mut closed = Vec::new();
    let mut open: HashMap<String, Window> = HashMap::new();
    let mut current = None;
    for entry in entries {
        let Some((case, contract)) = subject(&entry, cases) else {
            // A LIST has no name: it belongs to the heal that is under way.
            let listed = entry.user.username == OPERATOR && entry.verb == "list";
            if let Some(window) = current.as_ref().and_then(|name| open.get_mut(name))
                && listed
            {
                window.requests.push(entry);
            }
            continue;
        };
        if entry.request_uri.contains(&format!("fieldManager={BREAK}")) {
            let window = Window { case, broken: entry.stage_timestamp, requests: Vec::new() };
            closed.extend(open.insert(contract.clone(), window));
            current = Some(contract);
        } else if entry.request_uri.contains(&format!("fieldManager={MEND}")) {
            closed.extend(open.remove(&contract));
        } else if entry.user.username == OPERATOR
            && let Some(window) = open.get_mut(&contract)
        {
            window.requests.push(entry);
        }
    }
    closed.extend(open.into_values());
    closed
}

/// The contract that a request is about: the names of all that belongs to one begin with its own,
/// `<case>-<round>-<number>`.
fn subject(entry: &Entry, cases: &[Case]) -> Option<(Case, String)> {
    let object = entry.object_ref.as_ref()?;
    let case = cases.iter().find(|case| object.name.starts_with(&format!("{case}-")))?;
    let end = object.name.splitn(3, '-').nth(2)?;
    let number: String = end.chars().take_while(char::is_ascii_digit).collect();
    let length = object.name.len() - end.len() + number.len();
    Some((*case, object.name[..length].to_owned()))
}

impl Entry {
    /// When the operator wrote, and what; None of all else and of its Lease.
    pub fn written(&self) -> Option<(Timestamp, String)> {
        let writes = matches!(&*self.verb, "create" | "update" | "patch" | "delete");
        let is_its = self.stage == "ResponseComplete" && self.user.username == OPERATOR;
        let is_told = writes && is_its && self.object().0 != "leases";
        // It asks by `create` what somebody may do.
        let is_asked = self.object().0.ends_with("reviews");
        (is_told && !is_asked).then(|| (self.request_received_timestamp, self.label()))
    }

    fn object(&self) -> (&str, &str) {
        let object = self.object_ref.as_ref();
        object.map_or(("", ""), |object| (&*object.resource, &*object.subresource))
    }

    fn is_revision(&self) -> bool {
        self.verb == "create"
            && self.object_ref.as_ref().is_some_and(|object| object.name.contains("-rev-"))
    }

    fn is_event(&self) -> bool {
        self.object().0 == "events"
    }

    fn is_write(&self) -> bool {
        let writes = matches!(&*self.verb, "create" | "update" | "patch" | "delete");
        writes && !self.is_event() && !self.is_revision()
    }

    fn label(&self) -> String {
        let (resource, sub) = self.object();
        let slash = if sub.is_empty() { "" } else { "/" };
        let what = if self.is_revision() { " (revision)" } else { "" };
        format!("{} {resource}{slash}{sub}{what}", self.verb)
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer requests than 2^52")]
fn requests(windows: &[&Window]) -> Requests {
    let heals = windows.len();
    let mean = |is: fn(&Entry) -> bool| {
        let all = windows.iter().flat_map(|window| &window.requests);
        all.filter(|entry| is(entry)).count() as f64 / heals.max(1) as f64
    };
    Requests {
        heals,
        writes: mean(Entry::is_write),
        revisions: mean(Entry::is_revision),
        reads: mean(|entry| entry.verb == "get"),
        lists: mean(|entry| entry.verb == "list"),
        events: mean(Entry::is_event),
        timeline: timeline(windows),
    }
}

/// Of the heals with the most common sequence of requests, the median of each.
fn timeline(windows: &[&Window]) -> (Vec<Moment>, usize) {
    let mut alike: BTreeMap<Vec<String>, Vec<&Window>> = BTreeMap::new();
    for window in windows {
        let labels = window.requests.iter().map(Entry::label).collect();
        alike.entry(labels).or_default().push(window);
    }
    let Some((labels, alike)) = alike.into_iter().max_by_key(|(_, windows)| windows.len()) else {
        return (Vec::new(), 0);
    };
    let moments = labels.into_iter().enumerate().map(|(at, what)| {
        let times = |when: fn(&Entry) -> Timestamp| {
            let times = alike.iter().filter_map(|window| {
                let entry = window.requests.get(at)?;
                Some(when(entry).duration_since(window.broken).as_secs_f64() * 1000.0)
            });
            median(&times.collect::<Vec<_>>())
        };
        let came = times(|entry| entry.request_received_timestamp);
        Moment { what, came, answered: times(|entry| entry.stage_timestamp) }
    });
    (moments.collect(), alike.len())
}

/// What `of` says of the case that asks for the most.
pub fn most(requests: &BTreeMap<Case, Requests>, of: fn(&Requests) -> f64) -> Option<f64> {
    let counted = requests.values().filter(|requests| requests.heals > 0);
    counted.map(of).max_by(f64::total_cmp)
}
