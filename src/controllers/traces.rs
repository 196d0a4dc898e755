//! One trace for each Incident, over OTLP.
//!
//! Knows: the trace that an Incident names in its spec, and how spans are exported. Must not
//! know: what follows from anything. A span is made where its Event is said, from the same value,
//! so the two cannot tell different stories; and since the trace is named in the Incident, it goes
//! on after a restart of the operator.
//!
//! `detect` is the root: the Incident's `traceparent` is its identity, known before the span is made.
//!
//! | span | from | to |
//! |---|---|---|
//! | `detect` | the first failing check | the Incident was opened |
//! | `diagnose` | the Incident was opened | at once |
//! | `attempt` with a child `step` for each that was tried | the attempt before, or the opening | its outcome was written down |
//! | `verify` | inside a successful attempt | at once |
//! | `resolve`, `escalate` | the opening | it happened |
//!
//! Attributes name contract, widget, rules, cause, attempt, step, outcome and a step's `why`; none
//! is a payload value.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use jiff::Timestamp;
use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{
        Span as _, SpanBuilder, SpanContext, TraceContextExt as _, TraceState, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider, SpanData,
        SpanExporter as Exporter,
    },
};

use super::health::{Export, Health};
use crate::{
    api::incident::{IncidentSpec, StepOutcome},
    decide::{
        signal::{Reason, Signal, Tried},
        view::OpenIncident,
    },
    domain::text,
    telemetry,
};

/// How long the last spans may take to be sent at the end.
const FLUSH: Duration = Duration::from_secs(5);
/// Most step spans of one attempt, and the longest `kintsugi.why` of one, in bytes.
const STEPS_SHOWN: usize = 20;
const WHY_MAX: usize = 128;
const OUTCOME: &str = "kintsugi.outcome";
const STEP: &str = "kintsugi.step";

/// Where spans go: nowhere, unless an endpoint is set.
pub struct Traces {
    provider: Option<SdkTracerProvider>,
}

impl Traces {
    /// Spans go to the OTLP gRPC `endpoint`; `health` is told whether they arrive.
    ///
    /// # Errors
    /// When the endpoint is not a URL.
    pub fn new(
        endpoint: Option<&str>,
        identity: &str,
        health: Arc<Health>,
    ) -> anyhow::Result<Self> {
        let Some(endpoint) = endpoint else { return Ok(Self { provider: None }) };
        health.exports();
        let exporter = telemetry::to(SpanExporter::builder().with_tonic(), endpoint, FLUSH)
            .build()
            .context("--otlp-endpoint is not usable")?;
        let provider = SdkTracerProvider::builder()
            .with_resource(telemetry::resource(identity))
            .with_id_generator(Identities::default())
            .with_batch_exporter(Watched { exporter, health })
            .build();
        Ok(Self { provider: Some(provider) })
    }

    /// The spans of one signal.
    pub fn say(&self, incident: &OpenIncident, signal: &Signal, now: Timestamp) {
        let Some(provider) = &self.provider else { return };
        let Some(parent) = incident.spec.traceparent.as_deref().and_then(context) else { return };
        let tracer = provider.tracer("kintsugi");
        let opened = incident.spec.opened_at.0;
        let span = |name: &'static str, from: Timestamp, parent: &Context| {
            one(&tracer, name, from, now, attributes(&incident.spec, signal), parent)
        };
        match signal.reason {
            Reason::IncidentOpened => {
                let root = parent.span().span_context().clone();
                NEXT.set(Some((root.trace_id(), root.span_id())));
                span("detect", opened, &Context::new());
                NEXT.set(None);
                span("diagnose", now, &parent);
            }
            Reason::StepSucceeded | Reason::StepFailed => {
                let before = incident.status.attempts.last().map_or(opened, |last| last.at.0);
                let attempt = span("attempt", before, &parent);
                for tried in steps(signal) {
                    let attributes = step_attributes(&incident.spec, signal, &tried);
                    one(&tracer, "step", before, now, attributes, &attempt);
                }
                if signal.reason == Reason::StepSucceeded {
                    span("verify", now, &attempt);
                }
            }
            Reason::Resolved => drop(span("resolve", opened, &parent)),
            Reason::Escalated => drop(span("escalate", opened, &parent)),
            // Told by the attempt, or no part of an Incident.
            Reason::Mitigated
            | Reason::PlanReady
            | Reason::Approved
            | Reason::Rejected
            | Reason::ValidationFailed
            | Reason::ValidationRecovered
            | Reason::Withheld
            | Reason::StaleAtEdge => {}
        }
    }

    /// Sends what is left.
    pub fn shutdown(&self) {
        if let Some(provider) = &self.provider
            && let Err(error) = provider.shutdown_with_timeout(FLUSH)
        {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// An exporter that says what comes of it.
#[derive(Debug)]
struct Watched {
    exporter: SpanExporter,
    health: Arc<Health>,
}

impl Exporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        self.health.exported(Export::Spans, sent.is_ok());
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

thread_local! {
    /// The identity of the next span without a parent that this thread makes.
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Random identities, but for the root of an Incident's trace.
#[derive(Debug, Default)]
struct Identities {
    random: RandomIdGenerator,
}

impl IdGenerator for Identities {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get().map_or_else(|| self.random.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().map_or_else(|| self.random.new_span_id(), |(_, span)| span)
    }
}

/// A whole span; returns the context for its children.
fn one(
    tracer: &SdkTracer,
    name: &'static str,
    from: Timestamp,
    to: Timestamp,
    attributes: Vec<KeyValue>,
    parent: &Context,
) -> Context {
    let builder = SpanBuilder::from_name(name)
        .with_start_time(SystemTime::from(from))
        .with_attributes(attributes);
    let mut span = tracer.build_with_context(builder, parent);
    let context = parent.with_remote_span_context(span.span_context().clone());
    span.end_with_timestamp(SystemTime::from(to));
    context
}

fn attributes(spec: &IncidentSpec, signal: &Signal) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("kintsugi.contract", spec.contract_name.clone()),
        KeyValue::new("kintsugi.widget", spec.widget.clone()),
        KeyValue::new("kintsugi.rules", spec.rules_summary.clone()),
        KeyValue::new("kintsugi.cause", spec.cause.to_string()),
        KeyValue::new(OUTCOME, signal.reason.to_string()),
    ];
    if signal.attempt > 0 {
        attributes.push(KeyValue::new("kintsugi.attempt", i64::from(signal.attempt)));
        attributes.push(KeyValue::new(STEP, signal.step.clone()));
    }
    attributes
}

/// The steps of an attempt. Where none was noted, as when a key was put back, it had the one.
fn steps(signal: &Signal) -> Vec<Tried> {
    if !signal.tried.is_empty() {
        return signal.tried.iter().take(STEPS_SHOWN).cloned().collect();
    }
    let outcome = match signal.reason {
        Reason::StepSucceeded => StepOutcome::Changed,
        _ => StepOutcome::Failed,
    };
    vec![Tried { segment: 0, step: signal.step.clone(), outcome, why: String::new() }]
}

fn step_attributes(spec: &IncidentSpec, signal: &Signal, tried: &Tried) -> Vec<KeyValue> {
    let mut attributes = attributes(spec, signal);
    attributes.retain(|attribute| !matches!(attribute.key.as_str(), OUTCOME | STEP));
    attributes.push(KeyValue::new(OUTCOME, tried.outcome.to_string()));
    attributes.push(KeyValue::new(STEP, tried.step.clone()));
    if !tried.why.is_empty() {
        attributes.push(KeyValue::new("kintsugi.why", text::bounded(&tried.why, WHY_MAX)));
    }
    attributes
}

/// The context that a W3C `traceparent` names; None when it is malformed.
fn context(traceparent: &str) -> Option<Context> {
    let mut parts = traceparent.split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    let context = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default());
    Some(Context::new().with_remote_span_context(context))
}
