//! One trace for each Incident, exported to a real OpenTelemetry collector, and the same trace
//! after a restart of the operator.

use std::{
    collections::BTreeMap,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kintsugi::api::{Incident, WidgetContract};
use serde_json::{Value, json};

use crate::{
    healing::{incident_when, policy},
    support::{Cluster, Namespace, Operator, PATIENCE, has, storefinder},
};

struct Collector {
    child: Child,
    endpoint: String,
    file: PathBuf,
}

/// A span as the collector has it: identities in hex, the parent empty at the root.
#[derive(Debug, PartialEq)]
struct Span {
    name: String,
    trace: String,
    id: String,
    parent: String,
    attributes: BTreeMap<String, String>,
}

impl Span {
    /// The value of the attribute.
    fn of(&self, attribute: &str) -> &str {
        self.attributes.get(&format!("kintsugi.{attribute}")).map_or("none", String::as_str)
    }

    /// Is it about this contract of a storefinder, and its schema?
    fn is_about(&self, contract: &str, cause: &str) -> bool {
        let said = ["contract", "widget", "rules", "cause"].map(|attribute| self.of(attribute));
        said == [contract, "storefinder", "schema", cause]
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

impl Collector {
    async fn start(folder: &Path) -> Self {
        let program = std::env::var_os("KINTSUGI_TEST_OTELCOL").expect("run `make test`");
        // The port is free when asked for; nothing else on this machine listens on loopback ports
        // by chance.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = folder.join("traces.jsonl");
        let config = json!({
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": format!("127.0.0.1:{port}")}}}},
            "exporters": {"file": {"path": file, "flush_interval": "100ms"}},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["file"]}},
            },
        });
        let mut child = Command::new(program)
            .arg(format!("--config=yaml:{config}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("otelcol.log")).unwrap())
            .spawn()
            .unwrap();
        // An operator that ends before it listens could send its spans to nobody, and nothing tells when
        // it does.
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = std::fs::read_to_string(folder.join("otelcol.log")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "the collector does not listen: {log}");
            assert!(child.try_wait().unwrap().is_none(), "the collector has ended: {log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { child, endpoint: format!("http://127.0.0.1:{port}"), file }
    }

    /// The spans that have arrived.
    fn spans(&self) -> Vec<Span> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let mut spans = Vec::new();
        for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            for span in parts(&line, "resourceSpans")
                .flat_map(|r| parts(r, "scopeSpans"))
                .flat_map(|s| parts(s, "spans"))
            {
                let attributes = parts(span, "attributes").map(|attribute| {
                    let value = &attribute["value"];
                    let value = value.as_object().and_then(|v| v.values().next()).cloned();
                    let text =
                        value.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
                    (
                        attribute["key"].as_str().unwrap_or_default().to_owned(),
                        text.unwrap_or_default(),
                    )
                });
                let text = |name: &str| span[name].as_str().unwrap_or_default().to_owned();
                spans.push(Span {
                    name: text("name"),
                    trace: text("traceId"),
                    id: text("spanId"),
                    parent: text("parentSpanId"),
                    attributes: attributes.collect(),
                });
            }
        }
        spans
    }

    /// Waits until a span of that name has arrived: the file has no watch, so it is read again.
    async fn has(&self, name: &str) {
        let start = Instant::now();
        while !self.spans().iter().any(|span| span.name == name) {
            assert!(start.elapsed() < PATIENCE, "no span {name} in {:?}", self.spans());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn parts<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn an_incident_is_one_trace_that_goes_on_after_a_restart() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "trace").await;
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path()).await;
    let endpoint = format!("--otlp-endpoint={}", collector.endpoint);
    let mut first = Operator::start(&cluster, &namespace, &[&endpoint]);
    namespace
        .apply(
            "{apiVersion: kintsugi.dev/v1alpha1, kind: RemediationPolicy, metadata: {name: heal}, spec: \
             {default: true, steps: [{name: source, refetchSource: {}}, {name: restore, restoreRevision: {}}], \
             retry: {minHealthyPeriod: 1s}}}",
        )
        .await;
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let broken = json!({"title": 4711, "note": "canary-value"});
    namespace.apply(&storefinder("uk", &broken)).await;
    let contract =
        namespace.contract_when("uk", "mitigated", has("Serving", "True", "Repaired")).await;
    let name = contract.status.unwrap().incident_ref.unwrap().name;
    first.signal("TERM");
    assert!(first.wait().success(), "{}", first.log());
    collector.has("verify").await;

    let _second = Operator::start(&cluster, &namespace, &[&endpoint]);
    namespace.apply(&storefinder("uk", &json!({"title": "Mended"}))).await;
    let resolved = |contract: Option<&WidgetContract>| {
        contract.is_some_and(|c| c.status.as_ref().is_some_and(|s| s.incident_ref.is_none()))
    };
    namespace.contract_when("uk", "resolved", resolved).await;
    collector.has("resolve").await;

    let spans = collector.spans();
    let incident: Incident = namespace.api().get(&name).await.unwrap();
    let traceparent = incident.spec.traceparent.unwrap();
    assert!(spans.iter().all(|span| span.trace == traceparent[3..35]), "{spans:?}");
    let root = spans.iter().find(|span| span.name == "detect").unwrap();
    assert_eq!((root.id.as_str(), root.parent.as_str()), (&traceparent[36..52], ""));
    let is_tree =
        spans.iter().all(|span| span == root || spans.iter().any(|other| other.id == span.parent));
    assert!(is_tree, "every parent was exported, too: {spans:?}");
    for expected in ["detect", "diagnose", "attempt", "verify", "resolve"] {
        assert_eq!(named(&spans, expected).len(), 1, "{expected} in {spans:?}");
    }
    let steps = named(&spans, "step");
    let went: Vec<_> = steps.iter().map(|s| [s.of("step"), s.of("outcome")]).collect();
    assert_eq!(went, [["source", "Failed"], ["restore", "Changed"]]);
    assert!(steps.iter().all(|step| step.is_about("uk", "DocumentChanged")), "{steps:?}");
    assert!(steps.iter().all(|step| step.of("attempt") == "1"), "{steps:?}");
    let shown = format!("{spans:?}");
    assert!(!shown.contains("canary") && !shown.contains("4711"), "no payload: {shown}");
}

#[tokio::test]
async fn each_step_of_an_attempt_that_fails_is_a_span_and_so_is_the_call_for_a_person() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "spans").await;
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path()).await;
    let endpoint = format!("--otlp-endpoint={}", collector.endpoint);
    let mut operator = Operator::start(&cluster, &namespace, &[&endpoint]);
    let steps = json!([
        {"name": "restore", "restoreRevision": {}},
        {"name": "source", "refetchSource": {}},
        {"name": "repair", "repairDocument": {}},
    ]);
    policy(&namespace, &steps, &json!({"retry": {"maxAttempts": 2}})).await;
    namespace.apply(&storefinder("uk", &json!({}))).await;
    incident_when(&namespace, "uk", "Escalated").await;
    operator.signal("TERM");
    assert!(operator.wait().success(), "{}", operator.log());
    collector.has("escalate").await;

    let spans = collector.spans();
    let attempts = named(&spans, "attempt");
    assert_eq!(attempts.len(), 2, "{spans:?}");
    for attempt in attempts {
        let of_it = spans.iter().filter(|span| span.parent == attempt.id);
        let steps: Vec<_> = of_it.map(|s| (s.name.as_str(), s.of("step"))).collect();
        assert_eq!(steps, [("step", "restore"), ("step", "source"), ("step", "repair")]);
        assert_eq!(attempt.of("outcome"), "StepFailed");
    }
    for step in named(&spans, "step") {
        assert!(step.is_about("uk", "NeverValid"), "{step:?}");
        assert_eq!(step.of("outcome"), "Failed");
        assert!(["1", "2"].contains(&step.of("attempt")), "{step:?}");
    }
    let restore = named(&spans, "step").into_iter().find(|s| s.of("step") == "restore").unwrap();
    assert_eq!(restore.of("why"), "no stored revision passes today's rules");
    let [escalate] = named(&spans, "escalate")[..] else { panic!("{spans:?}") };
    let said = ["step", "outcome", "attempt"].map(|attribute| escalate.of(attribute));
    assert_eq!(said, ["repair", "Escalated", "2"]);
    assert!(escalate.is_about("uk", "NeverValid"), "{escalate:?}");
}
