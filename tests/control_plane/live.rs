//! What is told of healing as it happens: in order, resumable, by rights, and bounded.

use std::collections::BTreeSet;

use k8s_openapi::api::{coordination::v1::Lease, rbac::v1::RoleBinding};
use kintsugi::api::{Incident, PAUSE, WidgetContract};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::{
    desk::refused,
    healing::{edit, incident_when, policy, shop},
    leadership::SHORT_LEASE,
    support::{
        Cluster, Namespace, Operator, PATIENCE,
        desk::{self, DESK, Follower, Told, Visitor},
        has, storefinder,
    },
};

/// What it takes to be told.
fn lists() -> Value {
    json!([{"apiGroups": ["kintsugi.dev"], "resources": ["incidents"], "verbs": ["list"]}])
}

async fn world(prefix: &str, args: &[&str]) -> (Cluster, Namespace, Operator, Visitor) {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, prefix).await;
    let operator = Operator::start(&cluster, &namespace, &[&[DESK], args].concat());
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &lists()).await;
    operator.answers("/readyz", (200, "leading: every list is in")).await;
    (cluster, namespace, operator, ann)
}

/// A contract that is served.
async fn served(namespace: &Namespace) {
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
}

async fn break_it(namespace: &Namespace) {
    let bad = edit(&shop(), |document: &mut Value| document["title"] = json!(7));
    namespace.apply(&storefinder("uk", &bad)).await;
}

fn words(told: &[Told]) -> Vec<String> {
    told.iter().map(Told::words).collect()
}

#[tokio::test]
async fn a_contract_that_breaks_and_heals_is_seen_live_in_order_and_resumed_without_a_gap() {
    let (_cluster, namespace, _operator, ann) = world("live", &[]).await;
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    served(&namespace).await;
    let mut follower = ann.follow("", None).await;
    let before = follower.id.clone();
    break_it(&namespace).await;
    let is_complete = |told: &Told| told.event == "healing_complete";
    let mut told = follower.until(is_complete).await;
    let incident = incident_when(&namespace, "uk", "Mitigated").await;
    namespace.apply(&storefinder("uk", &shop())).await;
    told.extend(follower.until(is_complete).await);
    assert_eq!(
        words(&told),
        [
            "healing_start restore DocumentChanged",
            "healing_progress restore Changed",
            "healing_complete restore GoodDocumentServed",
            "healing_complete restore Recovered",
        ]
    );
    let name = incident.metadata.name.unwrap();
    let trace = &incident.spec.traceparent.unwrap()[3..35];
    let document = ann.get("/api/v1/openapi.json").await.body;
    let described = &document["paths"]["/api/v1/stream"]["get"]["responses"]["200"]["content"];
    let schema = json!({"allOf": [described["text/event-stream"]["schema"]],
        "components": document["components"]});
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for told in &told {
        let data = &told.data;
        for (field, expected) in [
            ("type", told.event.as_str()),
            ("namespace", &namespace.name),
            ("incident", &name),
            ("contract", "uk"),
            ("traceId", trace),
        ] {
            assert_eq!(data[field], expected, "{data}");
        }
        assert!(
            !data["message"].as_str().unwrap().is_empty() && validator.is_valid(data),
            "{data}"
        );
    }
    assert_eq!(told[0].data["message"], "schema failing, cause DocumentChanged");
    assert!(!format!("{told:?}").contains("Shops"), "no value of a document");

    // Whoever comes back misses nothing and is told nothing twice.
    let all = ann.follow("", Some(&before)).await.until(|one| one.id == told[3].id).await;
    assert_eq!(all, told);
    let query = format!("?namespace={}", namespace.name);
    let rest = ann.follow(&query, Some(&told[1].id)).await.until(|one| one.id == told[3].id).await;
    assert_eq!(rest, told[2..]);
    let mut elsewhere = ann.follow("", Some("1-2")).await;
    assert_eq!(elsewhere.next().await.unwrap().event, "resync");
    assert_eq!(elsewhere.id, told[3].id, "and goes on from here");
}

#[tokio::test]
async fn a_heal_that_fails_is_told_with_what_it_waits_for_until_a_person_is_called() {
    let (_cluster, namespace, _operator, ann) = world("livefails", &[]).await;
    // There is no revision: nothing was ever served.
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    let mut follower = ann.follow("", None).await;
    break_it(&namespace).await;
    let told = follower
        .until(|told| told.event == "processing_delay" && told.data["reason"] == "Person")
        .await;
    assert_eq!(
        words(&told),
        [
            "healing_start restore NeverValid",
            "healing_progress restore Failed",
            "healing_failed restore Failed",
            "processing_delay restore Backoff",
            "healing_start restore NeverValid",
            "healing_progress restore Failed",
            "healing_failed restore Failed",
            "healing_failed restore PersonNeeded",
            "processing_delay restore Person",
        ]
    );
    let incident = incident_when(&namespace, "uk", "Escalated").await.status.unwrap();
    let due = incident.next_attempt_time.unwrap().0.to_string();
    assert_eq!(told.last().unwrap().data["next"], due);
    assert!(told[3].data["next"].is_string(), "{:?}", told[3]);
    let attempts: Vec<_> = told.iter().map(|told| told.data["attempt"].as_u64()).collect();
    assert_eq!(attempts, [1, 1, 1, 1, 2, 2, 2, 2, 2].map(Some));
}

#[expect(clippy::disallowed_methods, reason = "what is asked is the operator itself")]
async fn page(visitor: &Visitor, path: &str) -> String {
    visitor.request("GET", path).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_gate_that_is_shut_says_everywhere_when_it_is_looked_at_again() {
    const UNTIL: &str = "2099-01-01T00:00:00Z";
    let (_cluster, namespace, _operator, ann) = world("liveheld", &[]).await;
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    served(&namespace).await;
    let mut follower = ann.follow("", None).await;
    let contracts = namespace.api::<WidgetContract>();
    let params = PatchParams::default();
    let pause = |why: Value| Patch::Merge(json!({"metadata": {"annotations": {PAUSE: why}}}));
    let paused = pause(json!(format!("{UNTIL}/ann: the CDN moves")));
    contracts.patch("uk", &params, &paused).await.unwrap();
    break_it(&namespace).await;
    let told = follower.until(|told| told.event == "processing_delay").await;
    let delay = &told.last().unwrap().data;
    assert_eq!((&delay["reason"], &delay["next"]), (&json!("Paused"), &json!(UNTIL)));
    let held = incident_when(&namespace, "uk", "Held").await.status.unwrap();
    assert_eq!(held.held_until.unwrap().0.to_string(), UNTIL);
    let listed = ann.get("/api/v1/incidents").await.body;
    assert_eq!(listed["items"][0]["heldUntil"], UNTIL, "{listed}");
    let page = page(&ann, "/incidents").await;
    let says = format!(", looks again <time datetime=\"{UNTIL}\"");
    assert!(page.contains(&says), "{page}");

    // With what held it the time goes, too.
    contracts.patch("uk", &params, &pause(Value::Null)).await.unwrap();
    follower.until(|told| told.event == "healing_complete").await;
    let healed = incident_when(&namespace, "uk", "Mitigated").await.status.unwrap();
    assert_eq!(healed.held_until, None);
}

#[tokio::test]
async fn nobody_is_told_of_a_namespace_whose_incidents_they_may_not_list() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "liverights").await;
    let other = Namespace::new(&cluster, "liveother").await;
    let both = format!("--namespaces={}", other.name);
    let operator = Operator::start(&cluster, &namespace, &[DESK, &both]);
    let bob = desk::visitor(&cluster, &other, &operator, "bob", &lists()).await;
    let gets =
        json!([{"apiGroups": ["kintsugi.dev"], "resources": ["incidents"], "verbs": ["get"]}]);
    let eve = desk::visitor(&cluster, &namespace, &operator, "eve", &gets).await;
    operator.answers("/readyz", (200, "leading: every list is in")).await;
    for (visitor, query, status) in [
        (&eve, String::new(), 403),
        (&bob, format!("?namespace={}", namespace.name), 403),
        (&bob, "?namespace=..".to_owned(), 400),
        (&bob.with("none"), String::new(), 401),
    ] {
        let answer = visitor.get(&format!("/api/v1/stream{query}")).await;
        assert_eq!((answer.status, &*answer.media_type), (status, "application/problem+json"));
    }

    let mut follower = bob.follow("", None).await;
    let greeted = follower.id.clone();
    for namespace in [&namespace, &other] {
        let steps = json!([{"name": "restore", "restoreRevision": {}}]);
        policy(namespace, &steps, &json!({"mode": "Observe"})).await;
        served(namespace).await;
        break_it(namespace).await;
        incident_when(namespace, "uk", "Held").await;
        // What they are not told moves the id on from which they would go on.
        while follower.id == greeted {
            assert_eq!(follower.block().await.unwrap().event, "");
        }
    }
    let told = follower.next().await.unwrap();
    assert_eq!(told.words(), "processing_delay - ObserveOnly", "{told:?}");
    assert_eq!(told.data["namespace"], other.name, "of the first one nothing");

    // A right that is taken away ends it.
    let bindings = other.api::<RoleBinding>();
    bindings.delete(&bob.name, &DeleteParams::default()).await.unwrap();
    let ended = follower.next().await.unwrap();
    assert_eq!(ended.event, "end", "{ended:?}");
    let why = ended.data["message"].as_str().unwrap();
    assert!(why.contains("may not list incidents.kintsugi.dev"), "{why}");
    assert_eq!(follower.next().await, None);
}

#[tokio::test]
async fn a_stream_ends_when_the_lead_is_lost() {
    let (_cluster, namespace, operator, ann) = world("livelead", &SHORT_LEASE).await;
    let mut follower = ann.follow("", None).await;
    let leases: Api<Lease> = namespace.api();
    let held = json!({"holderIdentity": "somebody-else", "leaseDurationSeconds": 3600});
    let patch = json!({"spec": held});
    leases.patch("kintsugi", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let told = follower.next().await.unwrap();
    assert_eq!(told.event, "end", "{told:?}");
    assert_eq!(follower.next().await, None);
    operator.logs("leadership was lost");
    assert_eq!(ann.get("/api/v1/stream").await.status, 503);
}

/// An Incident of no contract, to write into what a healing would.
async fn patient(namespace: &Namespace) {
    let digest = kintsugi::domain::Digest::of_bytes(b"a");
    let incident: Incident = serde_json::from_value(json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "ill-1"},
        "spec": {
            "contractName": "ill", "contractUID": "none", "widget": "w", "ordinal": 1,
            "openedAt": "2026-01-01T00:00:00Z", "cause": "DocumentChanged", "severity": "Warning",
            "rulesSummary": "schema", "subject": "ill", "documentDigest": digest,
            "fingerprint": digest,
        },
    }))
    .unwrap();
    namespace.api::<Incident>().create(&PostParams::default(), &incident).await.unwrap();
    let status = json!({"status": {"state": "Open"}});
    patch_status(namespace, &status).await;
}

async fn patch_status(namespace: &Namespace, patch: &Value) {
    let incidents = namespace.api::<Incident>();
    let params = PatchParams::default();
    incidents.patch_status("ill-1", &params, &Patch::Merge(patch)).await.unwrap();
}

/// What [`burst`] tells.
const BURST: usize = 20 * 21 + 1;

/// One change that is as much as one can be: twenty attempts of twenty steps.
async fn burst(namespace: &Namespace, nth: usize) {
    let steps: Value = (0..20)
        .map(|step| json!({"policy": "heal", "name": format!("step-{step}"), "outcome": "Failed"}))
        .collect();
    let attempts: Value = (nth * 20 + 1..=nth * 20 + 20)
        .map(|number| {
            json!({"number": number, "step": "step-19", "outcome": "Failed",
            "message": "x".repeat(400), "at": "2026-01-01T00:00:00Z", "steps": steps})
        })
        .collect();
    let status = json!({"tries": nth * 20 + 20, "attempts": attempts});
    patch_status(namespace, &json!({"status": status})).await;
}

/// Somebody who connects and reads no more than what greets them.
async fn who_does_not_read(ann: &Visitor) -> TcpStream {
    let address = ann.url.strip_prefix("http://").unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let request = format!(
        "GET /api/v1/stream HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\r\n",
        ann.token
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("retry: ") {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0);
    }
    stream
}

#[tokio::test]
async fn who_does_not_read_is_dropped_with_a_notice_and_the_others_go_on() {
    let (_cluster, namespace, mut operator, ann) = world("liveslow", &[]).await;
    patient(&namespace).await;
    let mut quick = ann.follow("", None).await;
    let (mut slow, never) = (who_does_not_read(&ann).await, who_does_not_read(&ann).await);
    let mut told = Vec::new();
    for nth in 0..6 {
        burst(&namespace, nth).await;
        let count = (nth + 1) * BURST;
        while told.len() < count {
            told.push(quick.next().await.unwrap());
        }
    }
    let ids: BTreeSet<&str> = told.iter().map(|told| told.id.as_str()).collect();
    assert_eq!(ids.len(), told.len(), "nothing is told twice");
    let attempts = told.iter().map(|told| told.data["attempt"].as_u64().unwrap());
    let is_told: BTreeSet<u64> = attempts.collect();
    assert_eq!(is_told, (1..=120).collect(), "nothing is missed");

    let mut read = Vec::new();
    let reading = slow.read_to_end(&mut read);
    tokio::time::timeout(PATIENCE, reading).await.expect("it does not end").unwrap();
    let text = String::from_utf8(read).unwrap();
    let last = text.rfind("event: ").map(|at| &text[at..]).unwrap();
    assert!(last.starts_with("event: dropped\n"), "{last}");
    let seen = text.matches("event: healing_").count();
    assert!(seen < told.len(), "{seen} of {}", told.len());

    // One that still does not read does not hold up the end, and those that do are told of it.
    operator.signal("TERM");
    assert_eq!(quick.next().await.unwrap().event, "end");
    assert_eq!(quick.next().await, None);
    assert!(operator.wait().success());
    let log = operator.log();
    assert!(log.contains("connections that did not end are dropped"), "{log}");
    drop(never);
}

/// What the operator has in memory, in KiB.
fn resident(operator: &Operator) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", operator.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

const MANY: usize = 1_000;
/// How many things happen while they follow.
const HAPPENED: usize = 20;

/// One thing happens: a backoff.
async fn happen(namespace: &Namespace, nth: usize) {
    let next = jiff::Timestamp::from_second(i64::try_from(nth).unwrap()).unwrap();
    let message = "no step led to a document that passes: ".repeat(8);
    let status = json!({"state": "Remediating", "waiting": "Backoff", "nextAttemptTime": next,
                        "message": message});
    patch_status(namespace, &json!({"status": status})).await;
}

#[tokio::test]
async fn a_thousand_who_follow_are_all_told_the_same_and_cost_little_each_and_no_more_are_let_in() {
    let most = format!("--dashboard-streams={MANY}");
    let each = format!("--dashboard-streams-per-person={MANY}");
    let (cluster, namespace, operator, ann) = world("livemany", &[&most, &each]).await;
    patient(&namespace).await;
    // What the ring, the HTTP server and the API server's client take is not theirs.
    let mut first = ann.follow("", None).await;
    for nth in 0..3 {
        burst(&namespace, nth).await;
        for _ in 0..BURST {
            first.next().await.unwrap();
        }
    }
    let before = resident(&operator);
    let mut all: Vec<Follower> = vec![first];
    while all.len() < MANY {
        all.push(ann.follow("", None).await);
    }
    // As many as one person may have open, too, which would be said first.
    let bob = desk::visitor(&cluster, &namespace, &operator, "bob", &lists()).await;
    let refused = bob.get("/api/v1/stream").await;
    assert_eq!((refused.status, &*refused.media_type), (503, "application/problem+json"));
    let mut told = Vec::new();
    for nth in 1..=HAPPENED {
        happen(&namespace, nth).await;
        // One after the other: of two changes at once the watch may show the last alone.
        told.push(all[0].next().await.unwrap());
    }
    for follower in &mut all[1..] {
        for told in &told {
            assert_eq!(follower.next().await.as_ref(), Some(told));
        }
    }
    let each = resident(&operator).saturating_sub(before) / MANY;
    println!("{each} KiB for each who follows");
    assert!(each <= 64, "{each} KiB for each who follows");
    // Whoever goes leaves room for another.
    drop(all.pop());
    let patience = tokio::time::timeout(PATIENCE, async {
        while ann.get_status("/api/v1/stream").await != 200 {
            // There is nothing to watch that would tell when to ask again.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    patience.await.expect("there is room again");
}

#[tokio::test]
async fn one_person_follows_by_a_share_of_all_streams_and_leaves_the_rest_to_others() {
    let (cluster, namespace, operator, ann) = world("liveshare", &["--dashboard-streams=8"]).await;
    let bob = desk::visitor(&cluster, &namespace, &operator, "bob", &lists()).await;
    let mut all = vec![ann.follow("", None).await, ann.follow("", None).await];
    // Another token of hers is hers, too.
    let again = ann.with(&desk::token(&namespace, "ann", desk::AUDIENCE).await);
    for ann in [&ann, &again] {
        let answer = ann.get("/api/v1/stream").await;
        refused(&answer, 429, "--dashboard-streams-per-person");
        assert_eq!(answer.retry_after.as_deref(), Some("30"));
    }
    all.push(bob.follow("", None).await);
    operator.scrape(&["kintsugi_streams 3"]).await;
    drop(all);
    operator.scrape(&["kintsugi_streams 0"]).await;
    drop(ann.follow("", None).await);
}
