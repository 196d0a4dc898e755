//! What takes its time by somebody's wish: soak, wait, cooldown.

use kintsugi::api::{Incident, WidgetContract};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::{
    healing::{edit, incident_is, incident_when, policy, shop, world},
    support::{has, storefinder},
};

#[tokio::test]
async fn a_document_that_soaks_is_served_at_once_and_becomes_a_revision_later() {
    let (_cluster, namespace, _operator) = world("soak").await;
    let soaking = |soak: &str| {
        let mut manifest: Value = serde_json::from_str(&storefinder("uk", &shop())).unwrap();
        manifest["spec"]["history"] = json!({"soak": soak});
        manifest.to_string()
    };
    namespace.apply(&soaking("1h")).await;
    let contract = namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let documents = contract.status.unwrap().document.unwrap();
    assert_eq!((documents.served.unwrap().revision, documents.last_known_good), (None, None));
    namespace.apply(&soaking("1s")).await;
    let stored = |contract: Option<&WidgetContract>| {
        let documents = contract.and_then(|c| c.status.as_ref()?.document.as_ref());
        documents.is_some_and(|documents| documents.last_known_good.is_some())
    };
    namespace.contract_when("uk", "becomes a revision", stored).await;
}

#[tokio::test]
async fn a_step_that_waits_holds_the_steps_after_it_and_spends_no_attempt() {
    let (_cluster, namespace, _operator) = world("wait").await;
    let steps = json!([{"name": "pause", "wait": {"for": "2s"}}, {"name": "restore", "restoreRevision": {}}]);
    policy(&namespace, &steps, &json!({})).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let broken = edit(&shop(), |document| {
        document["title"] = json!(7);
        document["new"] = json!("good");
    });
    let uid = namespace.contracts().get("uk").await.unwrap().metadata.uid.unwrap();
    let name = kintsugi::decide::episode::name("uk", &uid, 1);
    // Watched before it begins: it does not last.
    let breaks = storefinder("uk", &broken);
    let (waiting, _) =
        tokio::join!(incident_is(&namespace, &name, "Remediating"), namespace.apply(&breaks));
    let status = waiting.status.unwrap();
    assert_eq!(
        (status.waiting.as_str(), status.step.as_str(), status.tries),
        ("Wait", "pause", None)
    );
    let healed = incident_is(&namespace, &name, "Mitigated").await;
    assert_eq!(healed.status.unwrap().tries, Some(1));
    namespace.served_when("uk", |document| document["new"] == "good").await;
}

#[tokio::test]
async fn an_incident_soon_after_another_cools_down_and_says_until_when() {
    let (_cluster, namespace, _operator) = world("cooldown").await;
    let steps = json!([{"name": "restore", "restoreRevision": {}}]);
    policy(&namespace, &steps, &json!({"cooldown": "1h"})).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let broken = edit(&shop(), |document| document["title"] = json!(7));
    namespace.apply(&storefinder("uk", &broken)).await;
    let first = incident_when(&namespace, "uk", "Mitigated").await;
    namespace.apply(&storefinder("uk", &shop())).await;
    incident_is(&namespace, &first.metadata.name.unwrap(), "Resolved").await;
    namespace.apply(&storefinder("uk", &broken)).await;
    let second = incident_when(&namespace, "uk", "Held").await;
    let status = second.status.unwrap();
    assert_eq!((status.waiting.as_str(), status.tries), ("Cooldown", None));
    assert!(status.message.contains("less than 1h ago"), "{}", status.message);
    assert_eq!(namespace.served_when("uk", |_| true).await, shop(), "what is good stays served");
}

#[tokio::test]
async fn a_namespace_label_holds_repairs_and_lets_them_go() {
    let (_cluster, namespace, _operator) = world("maxmode").await;
    namespace.label("kintsugi.dev/max-mode", Some("Observe")).await;
    policy(&namespace, &json!([{"name": "repair", "restoreRevision": {}}]), &json!({})).await;
    let contract = |document: &Value| {
        let mut manifest: Value = serde_json::from_str(&storefinder("uk", document)).unwrap();
        manifest["spec"]["interval"] = json!("1s");
        manifest.to_string()
    };
    namespace.apply(&contract(&shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let broken = edit(&shop(), |document| {
        document["title"] = json!(7);
        document["new"] = json!("good");
    });
    namespace.apply(&contract(&broken)).await;
    let held = incident_when(&namespace, "uk", "Held").await;
    let message = held.status.unwrap().message;
    assert!(message.contains("Observe by the label kintsugi.dev/max-mode"), "{message}");
    assert_eq!(namespace.served_when("uk", |_| true).await, shop());
    namespace.label("kintsugi.dev/max-mode", None).await;
    namespace.served_when("uk", |document| document["new"] == "good").await;
}

#[tokio::test]
async fn an_incident_belongs_to_its_contract_and_is_gone_with_it() {
    let (_cluster, namespace, _operator) = world("owner").await;
    namespace.apply(&storefinder("uk", &json!({}))).await;
    let contract = namespace.contract_when("uk", "is judged", has("Valid", "False", "RulesFail"));
    let uid = contract.await.metadata.uid.unwrap();
    let incident = incident_when(&namespace, "uk", "Open").await;
    let owners = incident.metadata.owner_references.unwrap();
    let [owner] = owners.as_slice() else { panic!("{owners:?}") };
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("WidgetContract", "uk"));
    assert_eq!((owner.controller, &owner.uid), (Some(true), &uid));
    namespace.contracts().delete("uk", &DeleteParams::default()).await.unwrap();
    namespace.gone::<Incident>(&incident.metadata.name.unwrap()).await;
}
