//! What whoever scrapes the operator sees of a contract that breaks and heals.

use serde_json::{Value, json};

use crate::{
    healing::{edit, incident_when, policy, shop, world},
    support::{has, storefinder},
};

#[tokio::test]
async fn a_scrape_shows_what_is_broken_and_then_what_healed_it_with_the_trace_to_look_at() {
    let (_cluster, namespace, operator) = world("metrics").await;
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
    operator.scrape(&["kintsugi_leader", &contracts("Healthy", "Assigned")]).await;

    let bad = edit(&good, |document: &mut Value| drop(document["title"].take()));
    namespace.apply(&storefinder("uk", &bad)).await;
    let incident = incident_when(&namespace, "uk", "Held").await;
    let name = &namespace.name;
    let held = format!(
        "kintsugi_incidents{{namespace=\"{name}\",state=\"Held\",severity=\"Critical\"}} 1"
    );
    operator.scrape(&[&contracts("Degraded", "Withheld"), &held]).await;

    policy(&namespace, &restore, &json!({"mode": "Auto"})).await;
    incident_when(&namespace, "uk", "Mitigated").await;
    let trace = incident.spec.traceparent.unwrap();
    let trace = trace.split('-').nth(1).unwrap();
    let step = format!(
        "kintsugi_steps_total{{namespace=\"{name}\",policy=\"heal\",step=\"restore\",\
         outcome=\"Changed\"}} 1 # {{trace_id=\"{trace}\"}} 1.0"
    );
    operator.scrape(&[&step, "kintsugi_happenings_total{reason=\"StepSucceeded\"} 1"]).await;
    namespace.apply(&storefinder("uk", &good)).await;
    let took =
        ["mitigate", "resolve"].map(|what| format!("kintsugi_time_to_{what}_seconds_count 1"));
    let healthy = contracts("Healthy", "Assigned");
    let text = operator.scrape(&[&took[0], &took[1], &healthy]).await;
    assert!(!text.contains("kintsugi_incidents{"), "none is open any more: {text}");
    assert!(!text.contains("Shops"), "no value of a document: {text}");
}
