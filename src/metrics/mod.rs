//! What is counted, in the form that Prometheus scrapes (`OpenMetrics` 1.0).
//!
//! Knows: the families, their labels and buckets, and the text. Must not know: how what is counted comes
//! about; whoever counts hands in plain values.
//!
//! ```text
//! table.rs     each family with its help and its labels: docs/metrics.md is made from it
//! census.rs    what is counted anew at each scrape, from what is remembered of the cluster
//! mod.rs       what is counted when it happens
//! otlp.rs      all of it for a collector, read from the text
//! ```

mod census;
pub mod otlp;
pub mod table;

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        exemplar::{CounterWithExemplar, HistogramWithExemplars},
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::{Metric, Registry},
};

pub use census::Census;
use census::{Counted, Source};
use table::Described;

use crate::domain::Span;

/// The media type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Names and values of labels, in the order of the family's table.
type Labels = Vec<(&'static str, String)>;
/// The trace in which a value was seen.
type Trace = [(&'static str, String); 1];

/// Most rows of one family: labels that hold names of objects must not fill the memory of whoever scrapes.
const MOST_ROWS: usize = 1_000;
/// Most rows without names, in which what is beyond is counted.
const MOST_FOLDED: usize = 100;
/// What stands for a name in them.
const OTHER: &str = "other";

/// The families of counters that have had more rows than are shown.
#[derive(Clone, Debug, Default)]
struct Cut(Arc<Mutex<BTreeSet<String>>>);

impl Cut {
    fn note(&self, family: &Described) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(family.full_name());
    }

    fn families(&self) -> BTreeSet<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// From a look that reads nothing to one that waits for a slow host.
const LOOK_SECONDS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];
/// From a heal in one look to one that waits for its owner over a weekend. Times in status are whole seconds,
/// so less than one tells nothing.
const EPISODE_SECONDS: [f64; 9] =
    [1.0, 5.0, 30.0, 120.0, 600.0, 3_600.0, 14_400.0, 86_400.0, 259_200.0];

/// How long something about an Incident took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// From the write that broke a document until its first failed check.
    Detect,
    /// From its first failed check until a good document was served.
    Mitigate,
    /// From its first failed check until the assigned document was good, too.
    Resolve,
    /// From a plan that was shown until a person approved it.
    Approve,
}

/// All of it.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    census: Source,
    looks: Rows<Histogram>,
    look_failures: Rows<Counter>,
    happened: Rows<Counter>,
    steps: Rows<CounterWithExemplar<Trace>>,
    verdicts: Rows<Counter>,
    requests: Rows<Counter>,
    events_dropped: Counter,
    streams: Gauge,
    detect: HistogramWithExemplars<Trace>,
    mitigate: HistogramWithExemplars<Trace>,
    resolve: HistogramWithExemplars<Trace>,
    approve: HistogramWithExemplars<Trace>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("kintsugi");
        let census = Source::default();
        let cut = Cut::default();
        let counted = Counted { source: census.clone(), cut: cut.clone() };
        registry.register_collector(Box::new(counted));
        let episode = || HistogramWithExemplars::new(EPISODE_SECONDS.into_iter());
        let (detect, mitigate, resolve, approve) = (episode(), episode(), episode(), episode());
        register(&mut registry, &table::TIME_TO_DETECT, detect.clone());
        register(&mut registry, &table::TIME_TO_MITIGATE, mitigate.clone());
        register(&mut registry, &table::TIME_TO_RESOLVE, resolve.clone());
        register(&mut registry, &table::APPROVAL_WAIT, approve.clone());
        let events_dropped = Counter::default();
        register(&mut registry, &table::EVENTS_DROPPED, events_dropped.clone());
        let streams = Gauge::default();
        register(&mut registry, &table::STREAMS, streams.clone());
        Self {
            looks: Rows::new(&mut registry, &cut, &table::LOOKS, || Histogram::new(LOOK_SECONDS)),
            look_failures: Rows::new(&mut registry, &cut, &table::LOOK_FAILURES, Counter::default),
            happened: Rows::new(&mut registry, &cut, &table::HAPPENED, Counter::default),
            steps: Rows::new(&mut registry, &cut, &table::STEPS, CounterWithExemplar::default),
            verdicts: Rows::new(&mut registry, &cut, &table::RULE_RESULTS, Counter::default),
            requests: Rows::new(&mut registry, &cut, &table::API_REQUESTS, Counter::default),
            registry,
            census,
            events_dropped,
            streams,
            detect,
            mitigate,
            resolve,
            approve,
        }
    }
}

impl Metrics {
    /// The text of all families.
    ///
    /// # Errors
    /// Never: text grows in memory.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// From now on what is there is counted by `census`, until None is given.
    pub fn count_by(&self, census: Option<Box<dyn Fn() -> Census + Send + Sync>>) {
        self.census.set(census);
    }

    /// What may happen and how looks may fail is counted from 0 on: a row that comes into being with its
    /// first count is no increase to whoever scrapes.
    pub fn may_happen<'a>(
        &self,
        reasons: impl IntoIterator<Item = &'a str>,
        failures: impl IntoIterator<Item = &'a str>,
    ) {
        reasons.into_iter().for_each(|reason| self.happened.with(&[reason], |_| ()));
        failures.into_iter().for_each(|kind| self.look_failures.with(&[kind], |_| ()));
    }

    /// A look at a contract ended after `took`; `failure` is the kind of its error.
    pub fn looked(&self, took: Duration, failure: Option<&str>) {
        let result = if failure.is_some() { "error" } else { "success" };
        self.looks.with(&[result], |looks| looks.observe(took.as_secs_f64()));
        if let Some(kind) = failure {
            self.look_failures.with(&[kind], Counter::inc);
        }
    }

    /// Something happened that is said in an Event with this reason.
    pub fn happened(&self, reason: &str) {
        self.happened.with(&[reason], Counter::inc);
    }

    /// A step of an attempt came to an end, at this time.
    pub fn tried(
        &self,
        namespace: &str,
        policy: &str,
        step: &str,
        outcome: &str,
        trace_id: &str,
        at: Timestamp,
    ) {
        let labels = [namespace, policy, step, outcome];
        let at = Some(SystemTime::from(at));
        self.steps.with(&labels, |steps| steps.inc_by(1, exemplar(trace_id), at));
    }

    /// Something about an Incident took so long, until this time.
    pub fn took(&self, what: Took, span: Span, trace_id: &str, at: Timestamp) {
        let histogram = match what {
            Took::Detect => &self.detect,
            Took::Mitigate => &self.mitigate,
            Took::Resolve => &self.resolve,
            Took::Approve => &self.approve,
        };
        let (took, at) = (span.to_std().as_secs_f64(), Some(SystemTime::from(at)));
        histogram.observe(took, exemplar(trace_id), at);
    }

    /// A rule of this type came to this result.
    pub fn judged(&self, rule_type: &str, result: &str) {
        self.verdicts.with(&[rule_type, result], Counter::inc);
    }

    /// The API server was asked for `resource` and answered with `code`.
    pub fn asked(&self, method: &str, resource: &str, code: &str) {
        self.requests.with(&[method, resource, code], Counter::inc);
    }

    /// One more stream of what happens is open.
    pub fn follows(&self) {
        self.streams.inc();
    }

    /// One of them has ended.
    pub fn follows_no_more(&self) {
        self.streams.dec();
    }

    /// An Event could not be written.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }
}

fn exemplar(trace_id: &str) -> Option<Trace> {
    (!trace_id.is_empty()).then(|| [("trace_id", trace_id.to_owned())])
}

fn register<M: Metric>(registry: &mut Registry, described: &Described, metric: M) {
    let (name, help) = (described.name, described.help);
    match described.unit() {
        Some(unit) => registry.register_with_unit(name, help, unit, metric),
        None => registry.register(name, help, metric),
    }
}

/// A family with so many rows at most.
struct Rows<M> {
    described: &'static Described,
    family: Family<Labels, M, fn() -> M>,
    known: Mutex<HashSet<Labels>>,
    cut: Cut,
}

impl<M> Rows<M>
where
    M: Clone + Metric,
    fn() -> M: MetricConstructor<M>,
    Family<Labels, M, fn() -> M>: Metric,
{
    fn new(
        registry: &mut Registry,
        cut: &Cut,
        described: &'static Described,
        row: fn() -> M,
    ) -> Self {
        let family = Family::new_with_constructor(row);
        register(registry, described, family.clone());
        Self { described, family, known: Mutex::default(), cut: cut.clone() }
    }

    /// Counts in the row with these values of its labels.
    fn with<T>(&self, values: &[&str], count: impl FnOnce(&M) -> T) {
        let labels = self.bounded(values);
        count(&self.family.get_or_create(&labels));
    }

    fn bounded(&self, values: &[&str]) -> Labels {
        let labels = table::labelled(self.described, values);
        // No code that can panic runs under this lock, so poison carries no broken state.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&labels) {
            return labels;
        }
        if known.len() < MOST_ROWS {
            known.insert(labels.clone());
            return labels;
        }
        self.cut.note(self.described);
        let mut values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        self.described.without_names(&mut values);
        let folded = table::labelled(self.described, &values);
        if !known.contains(&folded) {
            if known.len() >= MOST_ROWS + MOST_FOLDED {
                return labels.into_iter().map(|(name, _)| (name, OTHER.to_owned())).collect();
            }
            known.insert(folded.clone());
        }
        folded
    }
}

impl<M> fmt::Debug for Rows<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("name", &self.described.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
