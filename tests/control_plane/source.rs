//! The system of record: what it is asked, and what is made of its answer.

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::{
    healing::{incident_when, incidents, policy, world},
    support::{storefinder, web::Web},
};

#[tokio::test]
async fn what_is_broken_is_refetched_with_headers_that_go_to_no_other_origin() {
    let (_cluster, namespace, operator) = world("source").await;
    let (web, other) = (Web::start().await, Web::start().await);
    web.answer(
        "/uk.json",
        200,
        "application/json",
        "{\"title\": \"From the source\", \"stores\": []}",
    );
    other.answer("/uk.json", 200, "application/json", "{\"title\": \"Stolen\"}");
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "token", "annotations": {"kintsugi.dev/allowed-origins": web.url("")}},
        "stringData": {"authorization": "Bearer canary-4711"},
    }))
    .unwrap();
    namespace.api::<Secret>().create(&kube::api::PostParams::default(), &secret).await.unwrap();
    policy(&namespace, &json!([{"name": "refetch", "refetchSource": {}}]), &json!({})).await;
    let contract = |name: &str, source: &Web, document: Value| {
        let mut manifest: Value = serde_json::from_str(&storefinder(name, &document)).unwrap();
        manifest["spec"]["source"] =
            json!({"url": source.url("/uk.json"), "headersSecretRef": {"name": "token"}});
        manifest.to_string()
    };
    namespace.apply(&contract("uk", &web, json!({"title": 7}))).await;
    let incident = incident_when(&namespace, "uk", "Mitigated").await;
    assert_eq!(incident.spec.cause.to_string(), "NeverValid");
    assert_eq!(namespace.served_when("uk", |_| true).await, json!({"title": "From the source"}));
    assert_eq!(web.asked("/uk.json")[0].headers["authorization"], "Bearer canary-4711");

    namespace.apply(&contract("thief", &other, json!({"title": 7}))).await;
    incident_when(&namespace, "thief", "Escalated").await;
    assert!(other.asked("/uk.json").is_empty(), "the Secret names another origin");
    let shown = serde_json::to_string(&incidents(&namespace).await).unwrap();
    assert!(!shown.contains("canary") && !operator.log().contains("canary"));
}

#[tokio::test]
async fn a_source_is_posted_to_once_for_an_attempt_with_a_key_that_names_its_incident() {
    let (_cluster, namespace, _operator) = world("post").await;
    let web = Web::start().await;
    web.answer("/make", 200, "application/json", "{\"title\": \"Made anew\"}");
    policy(
        &namespace,
        &json!([{"name": "make", "refetchSource": {"scope": "Document"}}]),
        &json!({}),
    )
    .await;
    let mut manifest: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": 7}))).unwrap();
    manifest["spec"]["source"] = json!({"url": web.url("/make"), "method": "POST"});
    namespace.apply(&manifest.to_string()).await;
    let incident = incident_when(&namespace, "uk", "Mitigated").await;
    assert_eq!(namespace.served_when("uk", |_| true).await, json!({"title": "Made anew"}));
    let asked = web.asked("/make");
    assert_eq!((asked.len(), asked[0].method.as_str()), (1, "POST"));
    let key = format!("{}/1", incident.metadata.name.unwrap());
    assert_eq!(asked[0].headers["idempotency-key"], key);
}
