//! Repairs that are written into the assigned document, where its owner asks for it.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kintsugi::api::{
    Incident, WidgetContract,
    contract::{DocumentSource, WidgetContractSpec},
};
use kube::{
    ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::support::{Cluster, Namespace, Operator, has, storefinder};

async fn world(prefix: &str) -> (Cluster, Namespace, Operator) {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, prefix).await;
    let policy = json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": {"name": "heal"},
        "spec": {"default": true, "steps": [{"name": "restore", "restoreRevision": {}}]},
    });
    namespace.apply(&policy.to_string()).await;
    let operator = Operator::start(&cluster, &namespace, &[]);
    (cluster, namespace, operator)
}

fn shop() -> Value {
    json!({"title": "Shops", "subtitle": null})
}

/// The contract `uk`, its document written back and found at `document`.
fn contract(document: &Value) -> Value {
    let mut manifest: Value = serde_json::from_str(&storefinder("uk", &json!({}))).unwrap();
    manifest["spec"]["document"] = document.clone();
    manifest["spec"]["healing"] = json!({"writeBack": "Document"});
    manifest
}

async fn ready(namespace: &Namespace) -> WidgetContract {
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await
}

/// The one Incident of the namespace, once it has that state.
async fn incident_is(namespace: &Namespace, state: &'static str) -> Incident {
    let named = |contract: Option<&WidgetContract>| {
        contract.and_then(|c| c.status.as_ref()?.episodes).is_some()
    };
    namespace.contract_when("uk", "has had an episode", named).await;
    let incidents = namespace.api::<Incident>().list(&ListParams::default()).await.unwrap().items;
    let [incident] = &incidents[..] else { panic!("{incidents:#?}") };
    let reached = move |incident: Option<&Incident>| {
        let is = incident.and_then(|incident| incident.status.as_ref()?.state);
        is.is_some_and(|is| is.to_string() == state)
    };
    namespace.when::<Incident>(&incident.name_any(), state, reached).await
}

fn inline(spec: &WidgetContractSpec) -> Value {
    let DocumentSource::Inline(document) = &spec.document else { panic!("{:?}", spec.document) };
    document.0.clone().into()
}

#[tokio::test]
async fn an_inline_document_is_mended_in_place_by_four_writes_and_the_incident_is_over() {
    let (cluster, namespace, _operator) = world("inline").await;
    namespace.apply(&contract(&json!({"inline": shop()})).to_string()).await;
    ready(&namespace).await;
    let before = cluster.requests(&namespace).await.len();

    let mut broken = shop();
    broken["title"] = json!("far too long to be a title");
    namespace.apply(&contract(&json!({"inline": broken})).to_string()).await;
    let incident = incident_is(&namespace, "Resolved").await;
    let healed = ready(&namespace).await;
    assert_eq!(inline(&healed.spec), shop(), "its null survives, too");
    let status = incident.status.unwrap();
    assert_eq!((status.tries, status.step.as_str()), (Some(1), "restore"));
    assert_eq!(status.attempts[0].ops[0].path, "/title");

    let requests = cluster.requests(&namespace).await.split_off(before);
    let is_write = |request: &&String| {
        let beside = [" events", " remediationpolicies"].iter().any(|what| request.contains(what));
        !request.starts_with("get") && !beside
    };
    let writes: Vec<_> = requests.iter().filter(is_write).collect();
    assert_eq!(writes.len(), 4, "{writes:#?}");
    assert!(!requests.iter().any(|request| request.starts_with("list")), "{requests:#?}");
    assert!(writes[0].starts_with("create incidents"), "{writes:#?}");
    assert!(writes[1].starts_with("patch widgetcontracts uk"), "{writes:#?}");
}

#[tokio::test]
async fn a_document_in_a_config_map_is_mended_in_its_key_and_nothing_else_of_it() {
    let (_cluster, namespace, _operator) = world("key").await;
    namespace.config_map("cms", &[("uk.json", &shop().to_string()), ("other", "theirs")]).await;
    let at = json!({"configMapKeyRef": {"name": "cms", "key": "uk.json"}});
    namespace.apply(&contract(&at).to_string()).await;
    ready(&namespace).await;
    namespace.config_map("cms", &[("uk.json", "{\"title\": 7}"), ("other", "theirs")]).await;
    incident_is(&namespace, "Resolved").await;
    ready(&namespace).await;
    let text = namespace.config_map_key("cms", "uk.json").await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"title": "Shops"}));
    assert_eq!(namespace.config_map_key("cms", "other").await.unwrap(), "theirs");
}

#[tokio::test]
async fn a_document_in_binary_data_is_mended_in_binary_data() {
    let (_cluster, namespace, _operator) = world("binary").await;
    let bytes = |value: &Value| ByteString(value.to_string().into_bytes());
    let mut cms = ConfigMap {
        binary_data: Some(BTreeMap::from([("uk.json".to_owned(), bytes(&shop()))])),
        ..ConfigMap::default()
    };
    cms.metadata.name = Some("cms".to_owned());
    let config_maps = namespace.api::<ConfigMap>();
    config_maps.create(&PostParams::default(), &cms).await.unwrap();
    let at = json!({"configMapKeyRef": {"name": "cms", "key": "uk.json"}});
    namespace.apply(&contract(&at).to_string()).await;
    ready(&namespace).await;
    let broken = json!({"binaryData": {"uk.json": bytes(&json!({"title": 7}))}});
    config_maps.patch("cms", &PatchParams::default(), &Patch::Merge(&broken)).await.unwrap();
    incident_is(&namespace, "Resolved").await;
    let healed = config_maps.get("cms").await.unwrap();
    let bytes = healed.binary_data.unwrap().remove("uk.json").unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&bytes.0).unwrap(), json!({"title": "Shops"}));
    assert_eq!(healed.data, None);
}

#[tokio::test]
async fn a_document_that_flux_applies_is_left_to_flux_and_repaired_where_it_is_served() {
    let (_cluster, namespace, _operator) = world("gitops").await;
    let manifest = |document: Value| {
        let mut manifest = contract(&json!({"inline": document}));
        manifest["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": "shops"});
        manifest.to_string()
    };
    namespace.apply(&manifest(shop())).await;
    ready(&namespace).await;
    let broken = json!({"title": 7, "stores": [{"id": "new"}]});
    namespace.apply(&manifest(broken.clone())).await;
    let incident = incident_is(&namespace, "Mitigated").await;
    let served = namespace.served_when("uk", |document| document["stores"].is_array()).await;
    assert_eq!(served["title"], "Shops");
    let message = incident.status.unwrap().message;
    assert!(message.contains("not written back: Flux applies the document"), "{message}");
    let contract = namespace.contracts().get("uk").await.unwrap();
    assert_eq!(inline(&contract.spec), broken);
}
