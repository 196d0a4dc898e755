//! A source that does not answer: it is left alone, tried by one, and then all that waited are healed.

use futures::{StreamExt as _, stream::FuturesUnordered};
use kintsugi::api::{
    Incident, RemediationPolicy, WidgetContract,
    incident::{IncidentStatus, State},
    policy::BreakerState,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    healing::policy,
    requests::kubectl,
    support::{
        Cluster, Namespace, Operator, storefinder,
        web::{Answer, Web},
    },
};

const NAMES: [&str; 6] = ["at", "be", "cz", "de", "ee", "fr"];
const ARGS: [&str; 3] = ["--allow-cidrs=127.0.0.0/8", "--allow-http", "--fetch-timeout=80s"];

/// Waits until the operator has looked at so many of the contracts again.
async fn looked_at(cluster: &Cluster, namespace: &Namespace, many: usize, token: &str) {
    for name in NAMES {
        let request = format!("kintsugi.dev/reconcile={token}");
        kubectl(cluster, namespace, &["annotate", "--overwrite", "wc", name, &request]);
    }
    let looked = NAMES.map(|name| {
        let echoed = |contract: Option<&WidgetContract>| {
            let handled = contract.and_then(|c| c.status.as_ref()?.handled_requests.as_ref());
            handled.and_then(|handled| handled.reconcile.as_deref()) == Some(token)
        };
        namespace.contract_when(name, "was looked at", echoed)
    });
    FuturesUnordered::from_iter(looked).take(many).collect::<Vec<_>>().await;
}

/// Waits until each contract's Incident is as `is` has it.
async fn each(namespace: &Namespace, what: &'static str, is: fn(&IncidentStatus) -> bool) {
    for name in NAMES {
        let named = |contract: Option<&WidgetContract>| {
            contract.and_then(|c| c.status.as_ref()?.incident_ref.as_ref()).is_some()
        };
        let contract = namespace.contract_when(name, "names an Incident", named).await;
        let incident = contract.status.unwrap().incident_ref.unwrap().name;
        let reached = |incident: Option<&Incident>| {
            incident.and_then(|incident| incident.status.as_ref()).is_some_and(is)
        };
        namespace.when::<Incident>(&incident, what, reached).await;
    }
}

#[tokio::test]
async fn a_source_that_fails_is_left_alone_also_by_another_process_tried_by_one_and_heals_all() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "breakers").await;
    let operator = Operator::start(&cluster, &namespace, &ARGS);
    let web = Web::start().await;
    web.answer("/shop.json", 503, "text/plain", "down");
    let more = json!({
        "breaker": {"failureThreshold": 5, "openFor": "45s"},
        "storm": {"maxUnhealthy": "100%"},
        "retry": {"maxAttempts": 20, "backoff": {"initial": "1s", "max": "1s"}},
    });
    policy(&namespace, &json!([{"name": "refetch", "refetchSource": {}}]), &more).await;
    for name in NAMES {
        let mut manifest: Value =
            serde_json::from_str(&storefinder(name, &json!({"title": 7}))).unwrap();
        manifest["spec"]["source"] = json!({"url": web.url("/shop.json")});
        namespace.apply(&manifest.to_string()).await;
    }
    each(&namespace, "waits for the breaker", |status| status.waiting == "BreakerOpen").await;
    let is_open = |policy: Option<&RemediationPolicy>| {
        let status = policy.and_then(|policy| policy.status.as_ref());
        status.is_some_and(|status| {
            let [breaker] = &status.breakers[..] else { return false };
            breaker.state == BreakerState::Open && breaker.failures >= 5
        })
    };
    let shown = namespace.when("heal", "shows the open breaker", is_open).await;
    let shown = &shown.status.unwrap().breakers[0];
    assert_eq!(shown.dependency, format!("source {}", web.url("")));
    assert!(shown.next_probe.is_some());
    let row = |state: &str| {
        let (name, at) = (&namespace.name, web.url(""));
        format!(
            "kintsugi_breakers{{namespace=\"{name}\",dependency=\"source {at}\",state=\"{state}\"}} 1"
        )
    };
    operator.scrape(&[&row("open")]).await;
    let list = kubectl(&cluster, &namespace, &["get", "incidents"]);
    let held = list.lines().filter(|line| line.contains("Held") && line.contains("BreakerOpen"));
    assert_eq!(held.count(), NAMES.len(), "{list}");
    let before = web.asked("/shop.json").len();

    // Another process knows it from what is on record, and asks nothing.
    drop(operator);
    let operator = Operator::start(&cluster, &namespace, &ARGS);
    looked_at(&cluster, &namespace, NAMES.len(), "after-the-restart").await;
    assert_eq!(web.asked("/shop.json").len(), before, "{}", operator.log());

    // When its time has come one contract tries. As long as that has no answer, no other asks.
    let (begin, begins) = watch::channel(false);
    let good = "{\"title\": \"From the source\"}".to_owned();
    let good = Answer::Text(200, "application/json".to_owned(), good);
    web.set("/shop.json", Answer::Once(begins, Box::new(good)));
    web.asked_in_all("/shop.json", before + 1).await;
    operator.scrape(&[&row("half-open")]).await;
    looked_at(&cluster, &namespace, NAMES.len() - 1, "while-one-tries").await;
    assert_eq!(web.asked("/shop.json").len(), before + 1);

    begin.send(true).unwrap();
    each(&namespace, "is healed", |status| status.state == Some(State::Mitigated)).await;
    assert_eq!(web.asked("/shop.json").len(), before + NAMES.len(), "each asks once");
    let is_closed = |policy: Option<&RemediationPolicy>| {
        policy.and_then(|policy| policy.status.as_ref()).is_some_and(|s| s.breakers.is_empty())
    };
    namespace.when::<RemediationPolicy>("heal", "shows no breaker", is_closed).await;
    let text = operator.scrape(&["kintsugi_leader"]).await;
    assert!(!text.contains("kintsugi_breakers{"), "{text}");
}
