//! What a real OpenTelemetry collector is sent: one trace for each Incident, the same after a restart of the
//! operator, metrics and logs; and what becomes of the work where nobody takes it.

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
    desk::{sees_all, until},
    healing::{incident_when, policy},
    support::{
        Cluster, Namespace, Operator, PATIENCE,
        desk::{self, DESK},
        has, storefinder,
    },
};

/// What we send.
const SIGNALS: [&str; 3] = ["traces", "metrics", "logs"];

struct Collector {
    child: Child,
    endpoint: String,
    folder: PathBuf,
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
        Self::start_for(folder, &SIGNALS).await
    }

    /// One that knows nothing of the other signals.
    async fn start_for(folder: &Path, signals: &[&str]) -> Self {
        Self::start_at(folder, "http", "127.0.0.1", &Value::Null, signals).await
    }

    /// With TLS, by the certificate of the API server.
    async fn start_with_tls(folder: &Path, cluster: &Cluster) -> Self {
        let (cert, key) = cluster.server_certificate();
        let tls = json!({"cert_file": cert, "key_file": key});
        Self::start_at(folder, "https", &cluster.server_address(), &tls, &SIGNALS).await
    }

    async fn start_at(
        folder: &Path,
        scheme: &str,
        host: &str,
        tls: &Value,
        signals: &[&str],
    ) -> Self {
        let program = std::env::var_os("KINTSUGI_TEST_OTELCOL").expect("run `make test`");
        // The port is free when asked for; nothing else on this machine listens on loopback ports
        // by chance.
        let port = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port();
        let (mut exporters, mut pipelines) = (json!({}), json!({}));
        for signal in signals {
            let exporter = format!("file/{signal}");
            let file = folder.join(signal).with_extension("jsonl");
            exporters[&exporter] = json!({"path": file, "flush_interval": "100ms"});
            pipelines[*signal] = json!({"receivers": ["otlp"], "exporters": [exporter]});
        }
        let config = json!({
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": format!("{host}:{port}"), "tls": tls}}}},
            "exporters": exporters,
            "service": {"telemetry": {"metrics": {"level": "none"}}, "pipelines": pipelines},
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
        while TcpStream::connect((host, port)).is_err() {
            let log = std::fs::read_to_string(folder.join("otelcol.log")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "the collector does not listen: {log}");
            assert!(child.try_wait().unwrap().is_none(), "the collector has ended: {log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { child, endpoint: format!("{scheme}://{host}:{port}"), folder: folder.to_owned() }
    }

    /// What has arrived: traces, metrics or logs, one value for each batch.
    fn arrived(&self, signal: &str) -> Vec<Value> {
        let file = self.folder.join(signal).with_extension("jsonl");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        // The last line may still be being written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The metrics of each batch that has arrived, by name.
    fn metrics(&self) -> Vec<BTreeMap<String, Value>> {
        let metrics = |batch: &Value| {
            let all = parts(batch, "resourceMetrics").flat_map(|r| parts(r, "scopeMetrics"));
            let all = all.flat_map(|s| parts(s, "metrics"));
            all.map(|m| (m["name"].as_str().unwrap().to_owned(), m.clone())).collect()
        };
        self.arrived("metrics").iter().map(metrics).collect()
    }

    /// The lines of logs that have arrived, each with its scope: the module that it is from.
    fn lines(&self) -> Vec<(String, Value)> {
        let lines = |batch: &Value| -> Vec<(String, Value)> {
            let scopes = parts(batch, "resourceLogs").flat_map(|r| parts(r, "scopeLogs"));
            let of = |scope: &Value| {
                let name = scope["scope"]["name"].as_str().unwrap_or_default().to_owned();
                parts(scope, "logRecords").map(|l| (name.clone(), l.clone())).collect::<Vec<_>>()
            };
            scopes.flat_map(of).collect()
        };
        self.arrived("logs").iter().flat_map(lines).collect()
    }

    /// The spans that have arrived.
    fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for line in self.arrived("traces") {
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

    /// Waits until a span of that name has arrived.
    async fn has(&self, name: &str) {
        let has = || self.spans().iter().any(|span| span.name == name);
        self.until(has, || format!("no span {name} in {:?}", self.spans())).await;
    }

    /// Waits until `has`: the files have no watch, so they are read again.
    async fn until(&self, has: impl Fn() -> bool, missing: impl Fn() -> String) {
        let start = Instant::now();
        while !has() {
            assert!(start.elapsed() < PATIENCE, "{}", missing());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The value of an attribute in the form of OTLP, as text.
fn attribute<'a>(of: &'a Value, name: &str) -> Option<&'a str> {
    let attribute = parts(of, "attributes").find(|attribute| attribute["key"] == name)?;
    attribute["value"]["stringValue"].as_str()
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

#[tokio::test]
async fn metrics_and_logs_arrive_with_the_trace_of_the_incident_that_they_are_about() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "otlp").await;
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path()).await;
    let endpoint = format!("--otlp-endpoint={}", collector.endpoint);
    let args = [endpoint.as_str(), "--otlp-metrics-interval=200"];
    let mut operator = Operator::start(&cluster, &namespace, &args);
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let is_there = |name: &str| collector.metrics().iter().any(|batch| batch.contains_key(name));
    let missing = || format!("{:?}", collector.metrics());
    // While it works, and not only at the end.
    collector.until(|| is_there("kintsugi_contracts"), missing).await;
    let broken = json!({"title": 4711, "note": "canary-value"});
    namespace.apply(&storefinder("uk", &broken)).await;
    let contract =
        namespace.contract_when("uk", "mitigated", has("Serving", "True", "Repaired")).await;
    let incident = contract.status.unwrap().incident_ref.unwrap().name;
    let scraped = operator.scrape(&["kintsugi_steps_total{"]).await;
    operator.signal("TERM");
    assert!(operator.wait().success(), "{}", operator.log());

    let incident: Incident = namespace.api().get(&incident).await.unwrap();
    let traceparent = incident.spec.traceparent.unwrap();
    let trace = &traceparent[3..35];
    // The last words.
    let is_last = |batch: &BTreeMap<String, Value>| {
        batch.get("kintsugi_leader").is_some_and(|leader| {
            leader["gauge"]["dataPoints"][0]["asInt"] == "0"
                && batch.contains_key("kintsugi_steps_total")
        })
    };
    collector.until(|| collector.metrics().iter().any(is_last), missing).await;
    let has_stopped =
        || collector.lines().iter().any(|(_, line)| line["body"]["stringValue"] == "stopped");
    collector.until(has_stopped, || format!("{:?}", collector.lines())).await;

    let batches = collector.metrics();
    let last = batches.iter().rfind(|batch| is_last(batch)).unwrap();
    let families: Vec<&str> = scraped.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
    let counters = families.iter().filter_map(|family| family.strip_suffix(" counter"));
    for name in counters.filter(|name| scraped.contains(&format!("\n{name}_total"))) {
        assert!(last.contains_key(&format!("{name}_total")), "{name} is not in {:?}", last.keys());
    }
    let step = &last["kintsugi_steps_total"]["sum"]["dataPoints"][0];
    let about = ["namespace", "policy", "step", "outcome"].map(|name| attribute(step, name));
    let expected = [namespace.name.as_str(), "heal", "restore", "Changed"].map(Some);
    assert_eq!((about, &step["asInt"]), (expected, &json!("1")));
    assert_eq!(step["exemplars"][0]["traceId"], trace, "{step}");
    let mitigated = &last["kintsugi_time_to_mitigate_seconds"]["histogram"]["dataPoints"][0];
    assert_eq!(mitigated["count"], "1", "{mitigated}");
    let from = parts(&collector.arrived("metrics")[0], "resourceMetrics").next().unwrap().clone();
    assert_eq!(attribute(&from["resource"], "service.name"), Some("kintsugi"));

    let lines = collector.lines();
    let opened = lines.iter().map(|(_, line)| line);
    let opened = opened.into_iter().find(|l| attribute(l, "reason") == Some("IncidentOpened"));
    let opened = opened.unwrap();
    assert_eq!((&opened["traceId"], &opened["severityText"]), (&json!(trace), &json!("WARN")));
    for (scope, line) in &lines {
        let is_told =
            ["kintsugi", "kube_client", "kube_runtime"].iter().any(|own| scope.starts_with(own));
        assert!(is_told, "{scope}: {line}");
    }
    let all = format!("{batches:?} {lines:?}");
    assert!(!all.contains("canary") && !all.contains("4711"), "no payload: {all}");
}

#[tokio::test]
async fn a_collector_with_tls_is_sent_all_of_it_where_its_certificate_is_trusted_and_else_nothing()
{
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "tls").await;
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start_with_tls(folder.path(), &cluster).await;
    let endpoint = format!("--otlp-endpoint={}", collector.endpoint);
    let args = [endpoint.as_str(), "--otlp-metrics-interval=200"];
    let mut stranger = Operator::start(&cluster, &namespace, &args);
    stranger.logs("metrics could not be sent");
    stranger.signal("TERM");
    assert!(stranger.wait().success(), "{}", stranger.log());
    for signal in SIGNALS {
        assert_eq!(collector.arrived(signal), Vec::<Value>::new(), "{signal}");
    }

    let kubeconfig = cluster.operator_kubeconfig();
    let trusts = [("SSL_CERT_FILE", cluster.authority())];
    let mut operator = Operator::start_in(&kubeconfig, &namespace, "operator", &args, &trusts);
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.apply(&storefinder("uk", &json!({"title": 7, "note": "new"}))).await;
    namespace.contract_when("uk", "mitigated", has("Serving", "True", "Repaired")).await;
    operator.signal("TERM");
    assert!(operator.wait().success(), "{}", operator.log());
    collector.has("verify").await;
    for signal in ["metrics", "logs"] {
        let has = || !collector.arrived(signal).is_empty();
        collector.until(has, || format!("{signal}: {}", operator.log())).await;
    }
}

#[tokio::test]
async fn a_collector_that_takes_nothing_holds_up_neither_repairs_nor_the_end() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "mute").await;
    // It lets itself be connected to, and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("--otlp-endpoint=http://{}", mute.local_addr().unwrap());
    let args = [endpoint.as_str(), "--otlp-metrics-interval=100"];
    let mut operator = Operator::start(&cluster, &namespace, &args);
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    operator.logs("metrics could not be sent");
    namespace.apply(&storefinder("uk", &json!({"title": 7, "note": "new"}))).await;
    namespace.contract_when("uk", "mitigated", has("Serving", "True", "Repaired")).await;
    operator.signal("TERM");
    assert!(operator.wait().success(), "{}", operator.log());
    let said = operator.log();
    assert_eq!(said.matches("metrics could not be sent").count(), 1, "{said}");
}

#[tokio::test]
async fn a_collector_that_takes_all_but_the_logs_is_told_of_as_a_part_of_the_platform() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "nologs").await;
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start_for(folder.path(), &["traces", "metrics"]).await;
    let endpoint = format!("--otlp-endpoint={}", collector.endpoint);
    let args = [DESK, endpoint.as_str(), "--otlp-metrics-interval=200"];
    let operator = Operator::start(&cluster, &namespace, &args);
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &sees_all()).await;
    let says = |answer: &desk::Answer| {
        let mut parts = answer.body["parts"].as_array().into_iter().flatten();
        let part = parts.find(|part| part["kind"] == "OtlpExporter");
        part.is_some_and(|part| part["message"] == "could not be sent to the collector: logs")
    };
    until(&ann, "/api/v1/health", says).await;
    collector.until(|| !collector.metrics().is_empty(), || "no metrics".to_owned()).await;
}
