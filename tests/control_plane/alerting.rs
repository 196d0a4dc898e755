//! An Incident that is escalated calls a person once: two replicas are scraped by two Prometheus servers
//! with the chart's own rules, and one Alertmanager sends what they say to a web hook.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::{
    healing::{incident_when, policy},
    leadership::{SHORT_LEASE, held_by},
    requests::kubectl,
    support::{
        Cluster, Namespace, Operator, PATIENCE, storefinder,
        web::{Asked, Web},
    },
};

const ALERT: &str = "KintsugiIncidentEscalated";

/// A program that says in its log where it listens.
struct Peer {
    child: Child,
    address: String,
    _folder: TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    async fn start(program: &Path, config: &Value, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, log) = (folder.path().join("config.json"), folder.path().join("log"));
        // JSON is YAML, too.
        fs::write(&file, config.to_string()).unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
            .args(args)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut peer = Self { child, address: String::new(), _folder: folder };
        let listening = async {
            loop {
                let text = fs::read_to_string(&log).unwrap();
                let mut lines = text.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
                if let Some(line) = lines.find(|line| line["msg"] == "Listening on") {
                    return line["address"].as_str().unwrap().to_owned();
                }
                assert!(peer.child.try_wait().unwrap().is_none(), "it has ended: {text}");
                // A file has no watch.
                sleep(Duration::from_millis(50)).await;
            }
        };
        let address = timeout(PATIENCE, listening).await;
        peer.address = address.unwrap_or_else(|_| panic!("{} does not listen", program.display()));
        peer
    }

    /// Sends escalations to `hook`.
    async fn alertmanager(hook: &str) -> Self {
        let program = std::env::var_os("KINTSUGI_TEST_ALERTMANAGER").expect("run `make test`");
        let config = json!({
            "route": {
                "receiver": "nobody", "routes": [{
                    "receiver": "person", "matchers": [format!("alertname={ALERT}")],
                    "group_by": ["alertname", "namespace"],
                    "group_wait": "0s", "group_interval": "1s", "repeat_interval": "4h",
                }],
            },
            "receivers": [
                {"name": "nobody"},
                {"name": "person", "webhook_configs": [{"url": hook, "send_resolved": true}]},
            ],
        });
        // Without a cluster of its own it opens no other port.
        let args = ["--storage.path=data", "--cluster.listen-address="];
        Self::start(Path::new(&program), &config, &args).await
    }

    async fn prometheus(operators: &[&Operator], alertmanager: &Self) -> Self {
        let folder = std::env::var_os("KINTSUGI_TEST_PROMETHEUS").expect("run `make test`");
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/kintsugi/files/rules.yaml");
        let replicas: Vec<String> = operators.iter().map(|operator| operator.address()).collect();
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": [{
                "job_name": "kintsugi", "honor_labels": true,
                "static_configs": [{"targets": replicas}],
            }],
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [alertmanager.address]}]}],
            },
        });
        // What fires is said every three seconds, not every minute.
        let args = ["--storage.tsdb.path=data", "--rules.alert.resend-delay=3s"];
        Self::start(&PathBuf::from(folder).join("prometheus"), &config, &args).await
    }

    #[expect(clippy::disallowed_methods, reason = "what is asked is a program of the test")]
    async fn get(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.address);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await).unwrap()
    }

    /// The value of one of its own metrics, all rows together.
    async fn counts(&self, metric: &str) -> f64 {
        let text = self.get("/metrics").await;
        let row = |line: &str| {
            let value = line.strip_prefix(metric)?.rsplit(' ').next()?;
            value.parse::<f64>().ok()
        };
        text.lines().filter_map(row).sum()
    }

    /// Waits until the metric has grown by so much.
    async fn has_counted(&self, metric: &str, more: f64) {
        let enough = self.counts(metric).await + more;
        let growing = async {
            while self.counts(metric).await < enough {
                // There is nothing to watch that would tell when to ask again.
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, growing).await.unwrap_or_else(|_| panic!("{metric} does not grow"));
    }
}

/// What the hook was told about escalations.
fn calls(web: &Web) -> Vec<Value> {
    let told = |asked: Asked| serde_json::from_str::<Value>(&asked.body).unwrap();
    web.asked("/person").into_iter().map(told).collect()
}

/// The alert stands, both servers have said so again and again, and one call was made.
async fn one_call_only(alertmanager: &Peer, web: &Web) {
    alertmanager.has_counted("alertmanager_alerts_received_total{status=\"firing\"", 6.0).await;
    // Each time that a group might be told of, it looks up what it has told already.
    alertmanager.has_counted("alertmanager_nflog_queries_total", 3.0).await;
    let standing = alertmanager.json(&format!("/api/v2/alerts?filter=alertname={ALERT}")).await;
    assert_eq!(standing.as_array().map(Vec::len), Some(1), "{standing}");
    assert_eq!(standing[0]["status"]["state"], "active", "{standing}");
    let calls = calls(web);
    assert_eq!(calls.len(), 1, "{calls:?}");
}

/// What whoever is called finds in the runbooks.
fn the_runbooks_commands_work(cluster: &Cluster, namespace: &Namespace) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks.md");
    let page = fs::read_to_string(page).unwrap();
    let commands: BTreeSet<&str> =
        page.lines().filter_map(|l| l.strip_prefix("    kubectl --namespace $NS get ")).collect();
    let shown: Vec<String> = commands
        .iter()
        .map(|command| {
            let args = ["get"].into_iter().chain(command.split(' '));
            kubectl(cluster, namespace, &args.collect::<Vec<_>>())
        })
        .collect();
    let escalated = commands.iter().zip(&shown).find(|(command, _)| command.contains("=Escalated"));
    let (_, escalated) = escalated.unwrap();
    assert!(["uk", "de"].iter().all(|name| escalated.contains(name)), "{escalated}");
}

#[tokio::test]
async fn an_escalated_incident_calls_a_person_once_also_while_another_replica_takes_over() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "alerting").await;
    let first = Operator::start_as(&cluster, &namespace, "first", &SHORT_LEASE);
    namespace.when("kintsugi", "first leads", held_by("first")).await;
    let second = Operator::start_as(&cluster, &namespace, "second", &SHORT_LEASE);
    let web = Web::start().await;
    web.answer("/person", 200, "text/plain", "");
    let alertmanager = Peer::alertmanager(&web.url("/person")).await;
    let servers = [
        Peer::prometheus(&[&first, &second], &alertmanager).await,
        Peer::prometheus(&[&second, &first], &alertmanager).await,
    ];

    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    for name in ["uk", "de"] {
        namespace.apply(&storefinder(name, &json!({}))).await;
        incident_when(&namespace, name, "Escalated").await;
    }
    web.asked_in_all("/person", 1).await;
    one_call_only(&alertmanager, &web).await;
    let call = &calls(&web)[0];
    assert_eq!((&call["status"], call["alerts"].as_array().unwrap().len()), (&json!("firing"), 1));
    let alert = &call["alerts"][0];
    let labels = json!({"alertname": ALERT, "namespace": namespace.name, "severity": "critical"});
    assert_eq!(alert["labels"], labels, "no replica and no contract is named");
    let says = |annotation: &str| alert["annotations"][annotation].as_str().unwrap();
    assert_eq!(says("summary"), format!("Incidents in {} need a person", namespace.name));
    assert_eq!(says("runbook_url"), "docs/runbooks.md#kintsugiincidentescalated");

    the_runbooks_commands_work(&cluster, &namespace);

    // For a while nobody counts what is there; that ends no alert.
    first.signal("KILL");
    namespace.when("kintsugi", "second leads", held_by("second")).await;
    second.scrape(&["kintsugi_leader 1", "state=\"Escalated\""]).await;
    one_call_only(&alertmanager, &web).await;

    for server in &servers {
        let rules = server.json("/api/v1/rules").await;
        let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
        assert!(rules.len() > 20, "{rules:?}");
        let bad: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
        assert!(bad.is_empty(), "{bad:?}");
    }
}
