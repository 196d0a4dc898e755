//! What whoever scrapes the operator sees of a contract that breaks and heals.

use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    events::v1::Event,
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    healing::{edit, incident_when, policy, shop},
    support::{Cluster, Namespace, Operator, PATIENCE, has, storefinder},
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

/// From when it is in force on, nobody makes an Event in the namespace.
async fn without_events(cluster: &Cluster, namespace: &Namespace) {
    let name = &namespace.name;
    let admin = cluster.admin().await;
    let policy = json!({"metadata": {"name": name}, "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
            "resourceRules": [{"apiGroups": ["events.k8s.io"], "apiVersions": ["v1"],
                               "operations": ["CREATE"], "resources": ["events"]}],
        },
        "validations": [{"expression": "false", "message": "no Events here"}],
    }});
    let binding = json!({"metadata": {"name": name},
                         "spec": {"policyName": name, "validationActions": ["Deny"]}});
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(admin.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(admin);
    let params = PostParams::default();
    policies.create(&params, &serde_json::from_value(policy).unwrap()).await.unwrap();
    bindings.create(&params, &serde_json::from_value(binding).unwrap()).await.unwrap();
    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": "try", "namespace": name}, "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "test", "reportingInstance": "test", "action": "Try",
        "reason": "Try", "type": "Normal", "regarding": {"kind": "Namespace", "namespace": name},
    }))
    .unwrap();
    let (events, dry) = (namespace.api::<Event>(), PostParams { dry_run: true, ..params });
    let refused = async {
        loop {
            match events.create(&dry, &event).await {
                Err(error) if error.to_string().contains("no Events here") => return,
                Err(error) => panic!("{error}"),
                // Nothing tells when a policy is in force.
                Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("Events are refused");
}

#[tokio::test]
async fn an_event_that_the_api_server_does_not_take_is_counted_and_holds_up_no_healing() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "noevents").await;
    without_events(&cluster, &namespace).await;
    let operator = Operator::start(&cluster, &namespace, &[]);
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    operator.scrape(&["kintsugi_events_dropped_total 0"]).await;
    let bad = edit(&shop(), |document: &mut Value| document["title"] = json!(7));
    namespace.apply(&storefinder("uk", &bad)).await;
    incident_when(&namespace, "uk", "Mitigated").await;
    let dropped = |text: &str| {
        let counted =
            text.lines().find_map(|line| line.strip_prefix("kintsugi_events_dropped_total "));
        counted.and_then(|counted| counted.parse::<u64>().ok()).unwrap_or_default()
    };
    // It was opened, and repaired.
    operator.scrape_until(|text| dropped(text) >= 2, "two Events that were dropped").await;
    let events = namespace.api::<Event>().list(&ListParams::default()).await.unwrap();
    assert!(events.items.is_empty(), "{events:?}");
}
