//! What whoever scrapes the operator sees of a contract that breaks and heals.

use serde_json::{Value, json};

use crate::{
    healing::{edit, incident_when, policy, shop},
    support::{Cluster, Namespace, Operator, has, storefinder},
};

#[tokio::test]
async fn a_scrape_shows_what_is_broken_and_then_what_healed_it_with_the_trace_to_look_at() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "metrics").await;
    let operator = Operator::start(&cluster, &namespace, &["--contract-metrics"]);
    let restore = json!([{"name": "restore", "restoreRevision": {}}]);
    policy(&namespace, &restore, &json!({"mode": "Observe"})).await;
    let good = shop();
    namespace.apply(&storefinder("uk", &good)).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let contracts = |health: &str, serving: &str| {
        let name = &namespace.name;
        format!(
            "kintsugi_contracts{{namespace=\"{name}\",health=\"{health}\",serving=\"{serving}\"}} 1"
        )
    };
    let contract = |health: &str, serving: &str| {
        let name = &namespace.name;
        format!(
            "kintsugi_contract{{namespace=\"{name}\",contract=\"uk\",widget=\"storefinder\",\
             health=\"{health}\",serving=\"{serving}\"}} 1"
        )
    };
    let budget = |left: u32| {
        let name = &namespace.name;
        format!("kintsugi_budget_left{{namespace=\"{name}\",policy=\"heal\"}} {left}")
    };
    let asked = "kintsugi_api_requests_total{method=\"PATCH\",resource=\"widgetcontracts/status\",\
                 code=\"200\"}";
    let rows = [contracts("Healthy", "Assigned"), contract("Healthy", "Assigned"), budget(100)];
    let rows = rows.each_ref().map(String::as_str);
    let passes = "kintsugi_rule_results_total{type=\"Schema\",result=\"Pass\"} ";
    operator.scrape(&[&rows[..], &["kintsugi_leader", asked, passes]].concat()).await;

    let bad = edit(&good, |document: &mut Value| drop(document["title"].take()));
    namespace.apply(&storefinder("uk", &bad)).await;
    let incident = incident_when(&namespace, "uk", "Held").await;
    let name = &namespace.name;
    let held = format!(
        "kintsugi_incidents{{namespace=\"{name}\",state=\"Held\",severity=\"Critical\"}} 1"
    );
    let waits = format!("kintsugi_waiting{{namespace=\"{name}\",waiting=\"ObserveOnly\"}} 1");
    let trace = incident.spec.traceparent.as_deref().unwrap();
    let trace = trace.split('-').nth(1).unwrap();
    let degraded = [contracts("Degraded", "Withheld"), contract("Degraded", "Withheld")];
    let fails = "kintsugi_rule_results_total{type=\"Schema\",result=\"Fail\"} ";
    let text = operator
        .scrape(&[
            &degraded[0],
            &degraded[1],
            &held,
            &waits,
            fails,
            "kintsugi_time_to_detect_seconds_count 1",
        ])
        .await;
    let detect =
        text.lines().find(|row| row.starts_with("kintsugi_time_to_detect") && row.contains('#'));
    assert!(detect.is_some_and(|row| row.contains(trace)), "{text}");

    policy(&namespace, &restore, &json!({"mode": "Auto"})).await;
    incident_when(&namespace, "uk", "Mitigated").await;
    let step = format!(
        "kintsugi_steps_total{{namespace=\"{name}\",policy=\"heal\",step=\"restore\",\
         outcome=\"Changed\"}} 1 # {{trace_id=\"{trace}\"}} 1.0"
    );
    operator
        .scrape(&[&step, &budget(99), "kintsugi_happenings_total{reason=\"StepSucceeded\"} 1"])
        .await;
    namespace.apply(&storefinder("uk", &good)).await;
    let took =
        ["mitigate", "resolve"].map(|what| format!("kintsugi_time_to_{what}_seconds_count 1"));
    let healthy = contracts("Healthy", "Assigned");
    operator.scrape(&[&took[0], &took[1], &healthy]).await;
    // What is there is counted once a second at most, and may be older than what has happened.
    let is_over = |text: &str| !text.contains("kintsugi_incidents{");
    let text = operator.scrape_until(is_over, "none is open any more").await;
    assert!(!text.contains("Shops"), "no value of a document: {text}");
}
