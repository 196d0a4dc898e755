//! What is there, counted at each scrape: a gauge that is kept up to date by hand would drift.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};

use super::{
    MOST_ROWS, OTHER,
    table::{self, Described},
};

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
pub(super) struct Source(Arc<Mutex<Option<Count>>>);

impl Source {
    pub(super) fn set(&self, count: Option<Count>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = count;
    }

    fn count(&self) -> Option<Census> {
        let source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.as_ref().map(|count| count())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

/// What the registry asks.
#[derive(Debug)]
pub(super) struct Counted(pub(super) Source);

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let census = self.0.count();
        let leads = [([], i64::from(census.is_some()))].into();
        rows(&mut encoder, &table::LEADER, leads)?;
        let census = census.unwrap_or_default();
        rows(&mut encoder, &table::CONTRACTS, census.contracts)?;
        rows(&mut encoder, &table::CONTRACT, census.contract)?;
        rows(&mut encoder, &table::INCIDENTS, census.incidents)?;
        rows(&mut encoder, &table::WAITING, census.waiting)?;
        rows(&mut encoder, &table::BREAKERS, census.breakers)?;
        rows(&mut encoder, &table::STORMS, census.storms)?;
        rows(&mut encoder, &table::BUDGET_LEFT, census.budget_left)?;
        rows(&mut encoder, &table::QUEUED, census.queued)
    }
}

fn rows<const LABELS: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    described: &Described,
    rows: Rows<LABELS>,
) -> fmt::Result {
    // The registry ends the others with a full stop.
    let help = format!("{}.", described.help);
    let mut family = encoder.encode_descriptor(described.name, &help, None, MetricType::Gauge)?;
    for (values, count) in bounded(rows) {
        let labels = table::labelled(described, &values);
        ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// The largest rows, and one for what is beyond.
fn bounded<const LABELS: usize>(rows: Rows<LABELS>) -> Rows<LABELS> {
    if rows.len() <= MOST_ROWS {
        return rows;
    }
    let mut all: Vec<_> = rows.into_iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rest = all.split_off(MOST_ROWS);
    let beyond =
        (std::array::from_fn(|_| OTHER.to_owned()), rest.iter().map(|(_, count)| count).sum());
    all.into_iter().chain([beyond]).collect()
}
