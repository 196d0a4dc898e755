//! Logs: structured, on standard error, for people or for machines; and to an OpenTelemetry collector, where
//! one is set.
//!
//! Knows: the log filter, the collector, by what name it knows us. Must not know: what happens.

use std::{
    fmt::{self, Debug, Formatter},
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    logs::{AnyValue, LogRecord as _},
};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{
        BatchConfigBuilder, BatchLogProcessor, LogBatch, LogExporter as Exporter, LogProcessor,
        SdkLogRecord, SdkLoggerProvider,
    },
};
use tonic::transport::ClientTlsConfig;
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt as lines, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::config::{Config, LogFormat};

/// How long one request with lines may take, and the last ones together.
const SEND: Duration = Duration::from_secs(3);
/// Most lines that wait to be sent; what is beyond is on standard error alone.
const MOST_WAITING: usize = 2_048;
const BATCH: usize = 512;

/// By what name a collector knows us.
#[must_use]
pub fn resource(identity: &str) -> Resource {
    Resource::builder()
        .with_service_name("kintsugi")
        .with_attribute(KeyValue::new("service.instance.id", identity.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// How the collector at this address is known: one with TLS by a certificate that the system trusts.
#[must_use]
pub fn tls(endpoint: &str) -> Option<ClientTlsConfig> {
    let scheme = endpoint.split("://").next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("https").then(|| ClientTlsConfig::new().with_native_roots())
}

/// An exporter to `endpoint`, each request of which may take so long.
pub fn to<B: WithExportConfig + WithTonicConfig>(
    builder: B,
    endpoint: &str,
    timeout: Duration,
) -> B {
    let builder = builder.with_endpoint(endpoint).with_timeout(timeout);
    match tls(endpoint) {
        Some(tls) => builder.with_tls_config(tls),
        None => builder,
    }
}

/// Lines on their way to a collector, if there is one.
#[derive(Debug)]
pub struct Logs {
    provider: Option<SdkLoggerProvider>,
    arrival: Arc<Arrival>,
}

/// Whoever is told whether lines arrive: nobody at first, for logging begins before all else.
#[derive(Default)]
struct Arrival(OnceLock<Box<dyn Fn(bool) + Send + Sync>>);

impl Debug for Arrival {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Arrival").field(&self.0.get().is_some()).finish()
    }
}

impl Logs {
    /// From now on `told` is told of each batch whether it arrived.
    pub fn tell(&self, told: impl Fn(bool) + Send + Sync + 'static) {
        // There is one process, and one who wants to know.
        let _ = self.arrival.0.set(Box::new(told));
    }

    /// Sends what is left.
    pub fn shutdown(self) {
        if let Some(provider) = self.provider
            && provider.shutdown_with_timeout(SEND).is_err()
        {
            tracing::warn!("the last lines could not be sent");
        }
    }
}

/// Starts logging; inside a runtime, where there is a collector.
///
/// # Errors
/// When `--log` is not a filter, or `--otlp-endpoint` not a URL.
pub fn init(config: &Config) -> anyhow::Result<Logs> {
    let filter = filter(&config.log)?;
    let layer = lines::layer().with_writer(std::io::stderr);
    let layer = match config.log_format {
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => layer.with_target(false).boxed(),
    };
    let arrival = Arc::<Arrival>::default();
    let provider = provider(config, Arc::clone(&arrival))?;
    let sent = provider.as_ref().map(|provider| {
        let filter = filter_fn(|line| is_told(line.target()));
        OpenTelemetryTracingBridge::new(provider).with_filter(filter)
    });
    tracing_subscriber::registry().with(filter).with(layer).with(sent).init();
    Ok(Logs { provider, arrival })
}

/// `said`, and whatever it is: an answer of the API server that cannot be read is not told in full. It may be
/// a Secret, or a token that somebody showed, which is sent back with what is known of it.
fn filter(said: &str) -> anyhow::Result<EnvFilter> {
    let filter = EnvFilter::try_new(said)
        .with_context(|| format!("--log: {said:?} is not a filter such as info"))?;
    Ok(filter.add_directive("kube_client::client=error".parse()?))
}

/// What we and the client of the API server say. Not what the way to the collector is made of: each line that
/// is sent would make others.
fn is_told(target: &str) -> bool {
    let from = target.split("::").next().unwrap_or_default();
    matches!(from, "kintsugi" | "kube" | "kube_client" | "kube_runtime")
}

fn provider(config: &Config, arrival: Arc<Arrival>) -> anyhow::Result<Option<SdkLoggerProvider>> {
    let Some(endpoint) = &config.otlp_endpoint else { return Ok(None) };
    let exporter = to(LogExporter::builder().with_tonic(), endpoint, SEND)
        .build()
        .context("--otlp-endpoint is not usable")?;
    let bounds = BatchConfigBuilder::default()
        .with_max_queue_size(MOST_WAITING)
        .with_max_export_batch_size(BATCH)
        .build();
    let batches =
        BatchLogProcessor::builder(Watched { exporter, arrival }).with_batch_config(bounds).build();
    let provider = SdkLoggerProvider::builder()
        .with_resource(resource(&config.identity))
        .with_log_processor(Traced)
        .with_log_processor(batches)
        .build();
    Ok(Some(provider))
}

/// An exporter that says what comes of it.
#[derive(Debug)]
struct Watched {
    exporter: LogExporter,
    arrival: Arc<Arrival>,
}

impl Exporter for Watched {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        if let Some(told) = self.arrival.0.get() {
            told(sent.is_ok());
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// A line that names a trace is part of it.
#[derive(Debug)]
struct Traced;

impl LogProcessor for Traced {
    fn emit(&self, line: &mut SdkLogRecord, _: &InstrumentationScope) {
        let named = line.attributes_iter().find_map(|(key, value)| match value {
            AnyValue::String(id) if key.as_str() == "trace_id" => {
                TraceId::from_hex(id.as_str()).ok()
            }
            _ => None,
        });
        if let Some(trace) = named.filter(|trace| *trace != TraceId::INVALID) {
            // Of no span: it is told when the trace's spans may long be over.
            line.set_trace_context(trace, SpanId::INVALID, Some(TraceFlags::SAMPLED));
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_tells_what_the_api_server_answers() {
        for said in
            ["info", "trace", "kube_client=trace", "kube_client::client=debug", "kube=debug"]
        {
            let lines =
                tracing_subscriber::registry().with(filter(said).unwrap()).with(lines::layer());
            tracing::subscriber::with_default(lines, || {
                let target = "kube_client::client";
                assert!(
                    !tracing::enabled!(target: "kube_client::client", tracing::Level::WARN),
                    "{said} {target}"
                );
                assert!(
                    tracing::enabled!(target: "kintsugi", tracing::Level::INFO)
                        || said.starts_with("kube")
                );
            });
        }
    }

    #[test]
    fn what_carries_lines_to_the_collector_makes_none() {
        for told in ["kintsugi", "kintsugi::controllers::events", "kube_client::client", "kube"] {
            assert!(is_told(told), "{told}");
        }
        for silent in [
            "h2::codec",
            "hyper",
            "hyper_util::client",
            "tonic::transport",
            "tower::buffer",
            "opentelemetry_sdk",
            "opentelemetry_otlp",
            "rustls",
            "kintsugi_other",
            "",
        ] {
            assert!(!is_told(silent), "{silent}");
        }
    }
}
