//! Metrics on their way to an OpenTelemetry collector: what `/metrics` has, each time the interval is over and
//! once at the end.
//!
//! Knows: the collector, the clock. Must not know: what is counted. One request at a time, bounded in time,
//! and none is kept: the next one says it all again, so a collector that is gone costs nothing but what it
//! would have been told.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use opentelemetry_otlp::OTEL_EXPORTER_OTLP_HEADERS;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::metrics_service_client::MetricsServiceClient, common::v1::KeyValue,
};
use percent_encoding::percent_decode_str;
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request,
    metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap},
    transport::{Channel, Endpoint},
};
use tracing::{info, warn};

use super::{
    health::{Export, Health},
    now,
    scrape::Scrapes,
};
use crate::{config::Config, metrics::otlp::attribute, telemetry};

/// How long one request may take.
const SEND: Duration = Duration::from_secs(5);

/// By its name in the specification; the library has it with its own exporter of metrics only.
const OTEL_EXPORTER_OTLP_METRICS_HEADERS: &str = "OTEL_EXPORTER_OTLP_METRICS_HEADERS";

/// Where metrics go.
struct Collector {
    client: MetricsServiceClient<Channel>,
    headers: MetadataMap,
    health: Arc<Health>,
}

/// Sends `scrapes` until `end`, and then once more; nowhere, unless an endpoint is set. `health` is told
/// whether they arrive.
///
/// # Errors
/// When the endpoint is not a URL.
pub fn start(
    config: &Config,
    scrapes: Arc<Scrapes>,
    health: Arc<Health>,
    end: CancellationToken,
) -> anyhow::Result<Option<JoinHandle<()>>> {
    let Some(endpoint) = &config.otlp_endpoint else { return Ok(None) };
    let mut reached =
        Endpoint::from_shared(endpoint.clone()).context("--otlp-endpoint is not usable")?;
    if let Some(tls) = telemetry::tls(endpoint) {
        reached = reached.tls_config(tls).context("--otlp-endpoint is not usable")?;
    }
    let channel = reached.connect_timeout(SEND).timeout(SEND).connect_lazy();
    let headers = headers(|name| std::env::var(name).ok());
    let client = MetricsServiceClient::new(channel);
    let collector = Collector { client, headers, health };
    let resource = telemetry::resource(&config.identity);
    let resource = resource.iter().map(|(key, value)| attribute(key.as_str(), &value.as_str()));
    let every = Duration::from_millis(u64::from(config.otlp_metrics_interval));
    Ok(Some(tokio::spawn(export(collector, scrapes, resource.collect(), every, end))))
}

async fn export(
    collector: Collector,
    scrapes: Arc<Scrapes>,
    resource: Vec<KeyValue>,
    every: Duration,
    end: CancellationToken,
) {
    let began = now();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // At once there is nothing to tell.
    ticks.tick().await;
    let mut arrives = true;
    loop {
        let is_over = tokio::select! {
            biased;
            () = end.cancelled() => true,
            _ = ticks.tick() => false,
        };
        let told = async {
            let request = scrapes.otlp(resource.clone(), began, now()).await;
            collector.send(request.map_err(|_| Code::DeadlineExceeded)?).await
        };
        let sent = tokio::select! {
            sent = told => sent,
            // The end waits for one answer, and not for two.
            () = end.cancelled(), if !is_over => continue,
        };
        // Once for each time that it changes: these lines go to the same collector.
        match &sent {
            Ok(()) if !arrives => info!("metrics can be sent again"),
            Err(code) if arrives => warn!(%code, "metrics could not be sent"),
            _ => {}
        }
        arrives = sent.is_ok();
        collector.health.exported(Export::Metrics, arrives);
        if is_over {
            return;
        }
    }
}

impl Collector {
    async fn send(
        &self,
        request: opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest,
    ) -> Result<(), Code> {
        let mut request = Request::new(request);
        *request.metadata_mut() = self.headers.clone();
        let mut client = self.client.clone();
        match timeout(SEND, client.export(request)).await {
            Ok(answer) => answer.map(drop).map_err(|status| status.code()),
            Err(_) => Err(Code::DeadlineExceeded),
        }
    }
}

/// Those of this signal, else those of all: as the other exporters have it.
fn headers(variable: impl Fn(&str) -> Option<String>) -> MetadataMap {
    let own = variable(OTEL_EXPORTER_OTLP_METRICS_HEADERS);
    metadata(&own.or_else(|| variable(OTEL_EXPORTER_OTLP_HEADERS)).unwrap_or_default())
}

/// `key=value` pairs, separated by commas, as the other exporters read them. What is none is left out, and
/// nothing of it is shown: it may be a token.
fn metadata(text: &str) -> MetadataMap {
    let mut headers = MetadataMap::new();
    for (name, value) in text.split(',').filter_map(|pair| pair.split_once('=')) {
        let name = AsciiMetadataKey::from_bytes(name.trim().to_lowercase().as_bytes());
        let value = percent_decode_str(value.trim()).decode_utf8();
        let value = value.ok().and_then(|value| AsciiMetadataValue::try_from(&*value).ok());
        if let (Ok(name), Some(mut value)) = (name, value) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_specification_has_them_and_never_shown() {
        let headers = metadata("Authorization=Bearer%20canary, x-tenant = shop ,=,none,bad name=1");
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(text("authorization").as_deref(), Some("Bearer canary"));
        assert_eq!(text("x-tenant").as_deref(), Some("shop"));
        assert_eq!(headers.len(), 2);
        assert!(!format!("{headers:?}").contains("canary"));
        assert!(metadata("").is_empty());
    }

    #[test]
    fn headers_of_metrics_take_the_place_of_those_of_all_signals() {
        let found = |set: &[(&str, &str)]| {
            let variable = |name: &str| set.iter().find(|(known, _)| *known == name).map(|v| v.1);
            let headers = headers(|name| variable(name).map(str::to_owned));
            let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
            (text("x-all"), text("x-metrics"))
        };
        let all = ("OTEL_EXPORTER_OTLP_HEADERS", "x-all=1");
        let own = ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-metrics=2");
        assert_eq!(found(&[]), (None, None));
        assert_eq!(found(&[all]), (Some("1".to_owned()), None));
        assert_eq!(found(&[own]), (None, Some("2".to_owned())));
        assert_eq!(found(&[own, all]), (None, Some("2".to_owned())));
    }
}
