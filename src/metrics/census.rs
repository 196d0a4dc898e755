//! What is there, counted at each scrape: a gauge that is kept up to date by hand would drift.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};

use super::{
    Cut, MOST_FOLDED, MOST_ROWS, OTHER,
    table::{self, Described},
};

/// What was counted is told for so long to whoever asks meanwhile.
const FRESH: Duration = Duration::from_secs(1);

/// Rows of a family: the values of its labels in order, and how many.
type Rows<const LABELS: usize> = BTreeMap<[String; LABELS], i64>;

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Contracts by namespace, health and what is served.
    pub contracts: Rows<3>,
    /// Each contract by namespace, name, widget, health and what is served; none unless it is asked for.
    pub contract: Rows<5>,
    /// Open Incidents by namespace, state and severity.
    pub incidents: Rows<3>,
    /// Open Incidents that wait by namespace and what they wait for.
    pub waiting: Rows<2>,
    /// What did not answer last, by namespace, name and state of its breaker.
    pub breakers: Rows<3>,
    /// The policies in a storm.
    pub storms: Rows<2>,
    /// What is left of each policy's budget.
    pub budget_left: Rows<2>,
    /// What waits, by queue, and whether it is due.
    pub queued: Rows<2>,
}

type Count = Box<dyn Fn() -> Census + Send + Sync>;

/// Who counts; nobody while this replica does not lead.
#[derive(Clone, Default)]
pub(super) struct Source(Arc<Known>);

#[derive(Default)]
struct Known {
    count: Mutex<Option<Arc<Count>>>,
    last: Mutex<Option<(Instant, Arc<Census>)>>,
}

impl Source {
    pub(super) fn set(&self, count: Option<Count>) {
        *lock(&self.0.count) = count.map(Arc::new);
        *lock(&self.0.last) = None;
    }

    /// One counts at a time; whoever asks meanwhile, or shortly after, is told the same.
    pub(super) fn count(&self, now: Instant) -> Option<Arc<Census>> {
        let mut last = lock(&self.0.last);
        let count = lock(&self.0.count).clone()?;
        if let Some((at, census)) = &*last
            && now.saturating_duration_since(*at) < FRESH
        {
            return Some(Arc::clone(census));
        }
        let census = Arc::new(count());
        *last = Some((now, Arc::clone(&census)));
        Some(census)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

/// What the registry asks.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) source: Source,
    /// The families of counters that have more rows than are shown.
    pub(super) cut: Cut,
}

impl Collector for Counted {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let census = self.source.count(Instant::now());
        let leads = [([], i64::from(census.is_some()))].into();
        let census = census.unwrap_or_default();
        let cut = self.cut.families();
        let mut page = Page { encoder, cut };
        page.rows(&table::LEADER, &leads, Beyond::Sum)?;
        page.rows(&table::CONTRACTS, &census.contracts, Beyond::Sum)?;
        page.rows(&table::CONTRACT, &census.contract, Beyond::Sum)?;
        page.rows(&table::INCIDENTS, &census.incidents, Beyond::Sum)?;
        page.rows(&table::WAITING, &census.waiting, Beyond::Sum)?;
        page.rows(&table::BREAKERS, &census.breakers, Beyond::Sum)?;
        page.rows(&table::STORMS, &census.storms, Beyond::Sum)?;
        page.rows(&table::BUDGET_LEFT, &census.budget_left, Beyond::Least)?;
        page.rows(&table::QUEUED, &census.queued, Beyond::Sum)?;
        let cut = page.cut.iter().map(|family| ([family.clone()], 1)).collect();
        page.rows(&table::ROWS_CUT, &cut, Beyond::Sum)
    }
}

/// What the rows beyond the limit are told as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beyond {
    /// All of them together; of rows that are equally bad the largest are shown by themselves.
    Sum,
    /// The least of them, which is the worst; the least are shown by themselves.
    Least,
}

struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
    cut: std::collections::BTreeSet<String>,
}

impl Page<'_> {
    fn rows<const LABELS: usize>(
        &mut self,
        described: &Described,
        rows: &Rows<LABELS>,
        beyond: Beyond,
    ) -> fmt::Result {
        // The registry ends the others with a full stop.
        let help = format!("{}.", described.help);
        let (name, kind) = (described.name, MetricType::Gauge);
        let mut family = self.encoder.encode_descriptor(name, &help, None, kind)?;
        if rows.len() > MOST_ROWS {
            self.cut.insert(described.full_name());
        }
        for (values, count) in bounded(described, rows, beyond) {
            let labels = table::labelled(described, &values);
            ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// The worst rows by themselves, and those beyond without the names that tell them apart: what is wrong
/// stays in sight, whoever it is wrong with.
fn bounded<const LABELS: usize>(
    described: &Described,
    rows: &Rows<LABELS>,
    beyond: Beyond,
) -> Rows<LABELS> {
    if rows.len() <= MOST_ROWS {
        return rows.clone();
    }
    let mut all: Vec<_> = rows.iter().collect();
    all.sort_by_cached_key(|(values, count)| {
        let size = match beyond {
            Beyond::Sum => (Reverse(**count), 0),
            Beyond::Least => (Reverse(0), **count),
        };
        (described.rank(&values[..]), size)
    });
    let rest = all.split_off(MOST_ROWS);
    let mut folded = Rows::new();
    for (values, count) in rest {
        let mut at = values.clone();
        described.without_names(&mut at);
        if folded.len() >= MOST_FOLDED && !folded.contains_key(&at) {
            at = std::array::from_fn(|_| OTHER.to_owned());
        }
        join(&mut folded, at, *count, beyond);
    }
    for (values, count) in all {
        join(&mut folded, values.clone(), *count, beyond);
    }
    folded
}

fn join<const LABELS: usize>(
    rows: &mut Rows<LABELS>,
    at: [String; LABELS],
    count: i64,
    beyond: Beyond,
) {
    let joined = |known: i64| match beyond {
        Beyond::Sum => known.saturating_add(count),
        Beyond::Least => known.min(count),
    };
    rows.entry(at).and_modify(|known| *known = joined(*known)).or_insert(count);
}
