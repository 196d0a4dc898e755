//! What is counted, written down: for whoever scrapes, and for a collector.
//!
//! Knows: that it takes some milliseconds where there are many contracts. Must not know: what is counted.
//! It is written on a thread of its own, so that it keeps nobody else from being answered, and one at a time:
//! whoever asks meanwhile waits for his turn, and finds what is there counted already
//! ([`Metrics::count_by`]).

use std::sync::Arc;

use jiff::Timestamp;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest, common::v1::KeyValue,
};

use super::pool::{Late, Pool};
use crate::{domain::Span, metrics::Metrics};

/// How long one may take to be written: far longer than it does.
const PATIENCE: Span = Span::secs(5);

/// Where metrics are written down.
pub struct Scrapes {
    metrics: Arc<Metrics>,
    pool: Pool,
}

impl Scrapes {
    /// Of these.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, pool: Pool::new(1, PATIENCE) }
    }

    /// The text of all families.
    ///
    /// # Errors
    /// See [`Late`].
    pub async fn text(&self) -> Result<String, Late> {
        let metrics = Arc::clone(&self.metrics);
        let text = self.pool.run(move || metrics.text()).await?;
        // Text grows in memory: it cannot fail.
        Ok(text.unwrap_or_default())
    }

    /// All families at `now` as a collector takes them, counted since the process `began`.
    ///
    /// # Errors
    /// See [`Late`].
    pub async fn otlp(
        &self,
        resource: Vec<KeyValue>,
        began: Timestamp,
        now: Timestamp,
    ) -> Result<ExportMetricsServiceRequest, Late> {
        let metrics = Arc::clone(&self.metrics);
        let request = self.pool.run(move || metrics.otlp(resource, began, now)).await?;
        Ok(request.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Mutex,
            mpsc::{self, RecvTimeoutError},
        },
        time::Duration,
    };

    use super::*;
    use crate::metrics::Census;

    /// Metrics for which nothing is counted before somebody says so.
    fn slow() -> (Scrapes, mpsc::Sender<()>) {
        let (go, wait) = mpsc::channel();
        let (metrics, wait) = (Arc::new(Metrics::default()), Mutex::new(wait));
        metrics.count_by(Some(Box::new(move || {
            let said = wait.lock().unwrap().recv_timeout(Duration::from_secs(10));
            assert_ne!(said, Err(RecvTimeoutError::Timeout), "nothing else went on meanwhile");
            Census::default()
        })));
        (Scrapes::new(metrics), go)
    }

    #[tokio::test]
    async fn while_what_is_there_is_counted_the_only_thread_answers_others() {
        let (scrapes, go) = slow();
        let (text, ()) = tokio::join!(scrapes.text(), async move { go.send(()).unwrap() });
        assert!(text.unwrap().contains("\nkintsugi_leader{} 1\n"));

        let (scrapes, go) = slow();
        let now = Timestamp::UNIX_EPOCH;
        let told = scrapes.otlp(Vec::new(), now, now);
        let (told, ()) = tokio::join!(told, async move { go.send(()).unwrap() });
        assert_eq!(told.unwrap().resource_metrics.len(), 1);
    }

    #[tokio::test]
    async fn those_who_scrape_at_the_same_time_take_turns_and_are_all_told() {
        let (scrapes, go) = slow();
        let all = futures::future::join_all((0..20).map(|_| scrapes.text()));
        // It is counted once for all of them.
        let (texts, ()) = tokio::join!(all, async move { go.send(()).unwrap() });
        assert!(texts.into_iter().all(|text| text.unwrap().ends_with("# EOF\n")));
    }
}
