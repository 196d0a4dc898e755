//! Where documents, schemas and classes come from, and that a change of any is noticed.

use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::{Cluster, Namespace, Operator, condition, has, storefinder};

const FROM_CONFIG_MAP: &str = "{apiVersion: kintsugi.dev/v1alpha1, kind: WidgetContract, \
    metadata: {name: uk}, spec: {widget: storefinder, \
    document: {configMapKeyRef: {name: contracts, key: uk.json}}, \
    schema: {configMapKeyRef: {name: schemas, key: v1.json}}}}";

#[tokio::test]
async fn a_config_map_document_is_served_byte_for_byte_and_its_change_is_noticed() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "bytes").await;
    let _operator = Operator::start(&cluster, &namespace, &[]);
    let bytes = "{ \"title\": \"Shops\",\n  \"ratio\": 1.50 }\n";
    namespace.config_map("contracts", &[("uk.json", bytes)]).await;
    namespace.config_map("schemas", &[("v1.json", "{\"required\": [\"title\"]}")]).await;
    namespace.apply(FROM_CONFIG_MAP).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    assert_eq!(namespace.config_map_key("uk-served", "contract.json").await.unwrap(), bytes);

    namespace.config_map("contracts", &[("uk.json", "{\"title\": \"Changed\"}")]).await;
    namespace.served_when("uk", |value| value["title"] == "Changed").await;
}

#[tokio::test]
async fn a_changed_schema_is_noticed_and_what_is_served_stays() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "schema").await;
    let _operator = Operator::start(&cluster, &namespace, &[]);
    namespace.config_map("contracts", &[("uk.json", "{\"title\": \"Shops\"}")]).await;
    namespace.config_map("schemas", &[("v1.json", "{\"required\": [\"title\"]}")]).await;
    namespace.apply(FROM_CONFIG_MAP).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.config_map("schemas", &[("v1.json", "{\"required\": [\"headline\"]}")]).await;
    namespace.contract_when("uk", "invalid", has("Ready", "False", "Invalid")).await;
    assert_eq!(namespace.served_when("uk", |_| true).await["title"], "Shops");
}

#[tokio::test]
async fn a_missing_document_is_unknown_and_heals_when_it_appears() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "missing").await;
    let _operator = Operator::start(&cluster, &namespace, &[]);
    namespace.config_map("schemas", &[("v1.json", "{}")]).await;
    namespace.apply(FROM_CONFIG_MAP).await;
    let unknown = has("Valid", "Unknown", "ReferenceUnavailable");
    let contract = namespace.contract_when("uk", "unknown", unknown).await;
    assert!(condition(&contract, "Valid").2.contains("spec.document.configMapKeyRef"));
    namespace.config_map("contracts", &[("other.json", "{}")]).await;
    let no_key = |contract: Option<&kintsugi::api::WidgetContract>| {
        contract.is_some_and(|c| condition(c, "Valid").2.contains("has no key \"uk.json\""))
    };
    namespace.contract_when("uk", "no key", no_key).await;
    namespace.config_map("contracts", &[("uk.json", "{\"a\": 1}")]).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;

    namespace
        .api::<k8s_openapi::api::core::v1::ConfigMap>()
        .delete("contracts", &DeleteParams::default())
        .await
        .unwrap();
    namespace
        .contract_when("uk", "unknown again", has("Valid", "Unknown", "ReferenceUnavailable"))
        .await;
    assert_eq!(namespace.served_when("uk", |_| true).await, json!({"a": 1}));
}

#[tokio::test]
async fn a_class_that_appears_or_changes_is_noticed() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "class").await;
    let _operator = Operator::start(&cluster, &namespace, &[]);
    let mut manifest: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": "Shops"}))).unwrap();
    manifest["spec"]["classRef"] = json!({"name": "finder"});
    namespace.apply(&manifest.to_string()).await;
    namespace.contract_when("uk", "no class", has("Ready", "False", "ClassNotFound")).await;
    let class = |rule: &str| {
        format!(
            "{{apiVersion: kintsugi.dev/v1alpha1, kind: WidgetClass, metadata: {{name: finder}}, \
             spec: {{rules: [{{name: locale, metadata: {{required: [{rule}]}}}}]}}}}"
        )
    };
    namespace.apply(&class("/title")).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.apply(&class("/locale")).await;
    let contract = namespace.contract_when("uk", "invalid", has("Ready", "False", "Invalid")).await;
    assert!(condition(&contract, "Valid").2.contains("/locale"));
}

#[tokio::test]
async fn a_failing_warning_is_shown_and_withholds_nothing() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "warning").await;
    let _operator = Operator::start(&cluster, &namespace, &[]);
    let mut manifest: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": "Shops"}))).unwrap();
    manifest["spec"]["rules"] = json!([
        {"name": "locale", "severity": "Warning", "metadata": {"required": ["/locale"]}},
        {"name": "short", "cel": {"expression": "size(self.title) < 10", "message": "too long"}},
    ]);
    namespace.apply(&manifest.to_string()).await;
    let contract = namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let status = contract.status.unwrap();
    assert_eq!(status.health.unwrap().to_string(), "Degraded");
    assert_eq!((status.failing, status.rules_summary.as_str()), (Some(1), "2 pass, 1 fail"));

    manifest["spec"]["document"]["inline"]["title"] = json!("Far too long");
    namespace.apply(&manifest.to_string()).await;
    let contract = namespace.contract_when("uk", "invalid", has("Ready", "False", "Invalid")).await;
    assert!(condition(&contract, "Ready").2.contains("too long"));
}
