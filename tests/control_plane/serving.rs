//! What is served, and what stays served.

use k8s_openapi::api::core::v1::ConfigMap;
use kintsugi::api::WidgetContract;
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    runtime::wait::conditions::is_deleted,
};
use serde_json::{Value, json};

use crate::support::{Cluster, Namespace, Operator, condition, has, storefinder, web::Web};

async fn world(prefix: &str) -> (Cluster, Namespace, Operator) {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, prefix).await;
    let operator = Operator::start(&cluster, &namespace, &[]);
    (cluster, namespace, operator)
}

#[tokio::test]
async fn a_valid_document_is_served_and_becomes_a_revision() {
    let (_cluster, namespace, _operator) = world("valid").await;
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    let contract = namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    assert_eq!(namespace.served_when("uk", |_| true).await, json!({"title": "Shops"}));
    let status = contract.status.unwrap();
    let documents = status.document.unwrap();
    assert_eq!(documents.served.unwrap().revision, Some(1));
    assert_eq!(documents.last_known_good.unwrap().revision, 1);
    assert_eq!(status.health.unwrap().to_string(), "Healthy");
    let revision = namespace
        .api::<ConfigMap>()
        .list(&ListParams::default().labels("kintsugi.dev/part=revision"))
        .await
        .unwrap();
    assert_eq!(revision.items[0].immutable, Some(true));
    assert_eq!(revision.items[0].owner_references()[0].name, "uk");
}

#[tokio::test]
async fn a_broken_document_is_withheld_and_the_good_one_stays_served() {
    let (_cluster, namespace, _operator) = world("withheld").await;
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.apply(&storefinder("uk", &json!({"stores": []}))).await;
    let broken = namespace.contract_when("uk", "invalid", has("Ready", "False", "Invalid")).await;
    let (serving, reason, message) = condition(&broken, "Serving");
    assert_eq!((serving, reason), ("True", "Withheld"));
    assert!(message.contains("/title"), "{message}");
    assert_eq!(condition(&broken, "Stalled").0, "True", "a bare Ready=False reads as progress");
    assert_eq!(namespace.served_when("uk", |_| true).await, json!({"title": "Shops"}));
    let check = broken.status.unwrap().checks.remove(0);
    assert_eq!((check.rule.as_str(), check.keyword.as_str()), ("schema", "required"));

    namespace.apply(&storefinder("uk", &json!({"title": "New shops"}))).await;
    namespace.contract_when("uk", "Ready again", has("Ready", "True", "Assigned")).await;
    namespace.served_when("uk", |value| value["title"] == "New shops").await;
}

#[tokio::test]
async fn what_is_served_is_delivered_once_the_url_that_widgets_read_shows_it() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "delivered").await;
    let web = Web::start().await;
    let flags = ["--allow-cidrs=127.0.0.0/8", "--allow-http"];
    let _operator = Operator::start(&cluster, &namespace, &flags);
    let mut contract: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": "Shops"}))).unwrap();
    contract["spec"]["interval"] = json!("1s");
    contract["spec"]["serve"] = json!({"probe": {"url": web.url("/uk.json"), "within": "2s"}});
    web.answer("/uk.json", 200, "application/json", r#"{"title": "Old"}"#);
    namespace.apply(&contract.to_string()).await;
    namespace.contract_when("uk", "awaited", has("Delivered", "Unknown", "AwaitingEdge")).await;
    namespace.contract_when("uk", "stale", has("Delivered", "False", "StaleAtEdge")).await;
    // Written in another way, it is the same document.
    web.answer("/uk.json", 200, "application/json", r#"{ "title" : "Shops" }"#);
    namespace.contract_when("uk", "delivered", has("Delivered", "True", "SeenAtEdge")).await;
}

#[tokio::test]
async fn before_the_first_valid_document_nothing_is_created() {
    let (_cluster, namespace, _operator) = world("pending").await;
    namespace.apply(&storefinder("uk", &json!({}))).await;
    let contract = namespace.contract_when("uk", "invalid", has("Ready", "False", "Invalid")).await;
    assert_eq!(
        condition(&contract, "Serving"),
        ("False", "None", condition(&contract, "Serving").2)
    );
    assert_eq!(contract.status.unwrap().health.unwrap().to_string(), "Pending");
    assert_eq!(namespace.config_map_key("uk-served", "contract.json").await, None);
}

#[tokio::test]
async fn a_served_key_that_somebody_overwrote_or_deleted_is_put_back() {
    let (_cluster, namespace, _operator) = world("drift").await;
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    // The assigned document is broken as well, so what is put back comes from history.
    namespace.apply(&storefinder("uk", &json!({"title": 7}))).await;
    namespace.contract_when("uk", "invalid", has("Ready", "False", "Invalid")).await;

    let overwrite = json!({"data": {"contract.json": "{\"title\": \"Valid, but not ours\"}"}});
    let config_maps = namespace.api::<ConfigMap>();
    let params = PatchParams { field_manager: Some("vandal".into()), ..PatchParams::default() };
    config_maps.patch("uk-served", &params, &Patch::Merge(&overwrite)).await.unwrap();
    namespace.served_when("uk", |value| value["title"] == "Shops").await;

    let gone = config_maps.get("uk-served").await.unwrap().uid().unwrap();
    config_maps.delete("uk-served", &DeleteParams::default()).await.unwrap();
    let back = move |object: Option<&ConfigMap>| {
        object.is_some_and(|object| object.uid().as_deref() != Some(gone.as_str()))
    };
    namespace.when::<ConfigMap>("uk-served", "is there again", back).await;
    assert_eq!(namespace.served_when("uk", |_| true).await, json!({"title": "Shops"}));
}

#[tokio::test]
async fn what_is_served_outlives_its_contract_and_the_next_one_of_that_name_takes_it_over() {
    let (_cluster, namespace, _operator) = world("retain").await;
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    let old = namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.contracts().delete("uk", &DeleteParams::default()).await.unwrap();
    let uid = old.uid().unwrap();
    let gone = kube::runtime::wait::await_condition(namespace.contracts(), "uk", is_deleted(&uid));
    tokio::time::timeout(crate::support::PATIENCE, gone).await.unwrap().unwrap();
    assert_eq!(namespace.served_when("uk", |_| true).await["title"], "Shops");

    namespace.apply(&storefinder("uk", &json!({"title": "Successor"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.served_when("uk", |value| value["title"] == "Successor").await;
}

#[tokio::test]
async fn a_config_map_that_is_not_ours_is_left_alone_unless_it_may_be_adopted() {
    let (_cluster, namespace, _operator) = world("foreign").await;
    namespace.config_map("cdn", &[("uk.json", "{\"title\": \"theirs\"}"), ("fr.json", "{}")]).await;
    let mut manifest: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": "Shops"}))).unwrap();
    manifest["spec"]["serve"] = json!({"configMapKeyRef": {"name": "cdn", "key": "uk.json"}});
    namespace.apply(&manifest.to_string()).await;
    let refused =
        namespace.contract_when("uk", "refused", has("Ready", "False", "ServeNotOwned")).await;
    assert!(condition(&refused, "Ready").2.contains("adopt: true"));
    let theirs = namespace.config_map_key("cdn", "uk.json").await.unwrap();
    assert_eq!(theirs, "{\"title\": \"theirs\"}");

    manifest["spec"]["serve"]["adopt"] = json!(true);
    namespace.apply(&manifest.to_string()).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    assert_eq!(namespace.config_map_key("cdn", "uk.json").await.unwrap(), "{\"title\":\"Shops\"}");
    assert_eq!(namespace.config_map_key("cdn", "fr.json").await.unwrap(), "{}", "other keys stay");
}

#[tokio::test]
async fn a_shared_config_map_that_is_full_takes_no_more_and_the_contract_says_so() {
    let (_cluster, namespace, _operator) = world("full").await;
    let keys: Vec<String> = (0..100).map(|at| format!("{at}.json")).collect();
    let data: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "{}")).collect();
    namespace.config_map("cdn", &data).await;
    let mut manifest: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": "Shops"}))).unwrap();
    let at = json!({"name": "cdn", "key": "uk.json"});
    manifest["spec"]["serve"] = json!({"configMapKeyRef": at, "adopt": true});
    manifest["spec"]["interval"] = json!("1s");
    namespace.apply(&manifest.to_string()).await;
    namespace.contract_when("uk", "refused", has("Ready", "False", "ServeTooLarge")).await;
    assert_eq!(namespace.config_map_key("cdn", "uk.json").await, None);

    namespace.config_map("cdn", &data[1..]).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
}

#[tokio::test]
async fn what_the_api_server_refuses_is_said_by_the_names_of_its_fields() {
    let (_cluster, namespace, _operator) = world("refused").await;
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let freeze = json!({"immutable": true});
    let params = PatchParams::default();
    let config_maps = namespace.api::<ConfigMap>();
    config_maps.patch("uk-served", &params, &Patch::Merge(&freeze)).await.unwrap();
    namespace.apply(&storefinder("uk", &json!({"title": "Later"}))).await;
    let refused = namespace.contract_when("uk", "refused", has("Ready", "False", "Rejected")).await;
    let message = condition(&refused, "Ready").2;
    assert!(message.ends_with("(data: FieldValueForbidden)"), "{message}");
}

#[tokio::test]
async fn contracts_of_a_class_share_one_config_map_and_its_rules() {
    let (_cluster, namespace, _operator) = world("shared").await;
    namespace
        .apply(
            "{apiVersion: kintsugi.dev/v1alpha1, kind: WidgetClass, metadata: {name: teaser}, spec: \
             {schema: {inline: {required: [title]}}, serve: {configMapName: teasers}}}",
        )
        .await;
    for (name, title) in [("one", "1"), ("two", "2")] {
        namespace.apply(&teaser(name, &format!("{{title: '{title}'}}"))).await;
    }
    for name in ["one", "two"] {
        namespace.contract_when(name, "Ready", has("Ready", "True", "Assigned")).await;
    }
    let key = |key| namespace.config_map_key("teasers", key);
    assert_eq!(key("one.json").await.unwrap(), "{\"title\":\"1\"}");
    assert_eq!(key("two.json").await.unwrap(), "{\"title\":\"2\"}");

    namespace.apply(&teaser("one", "{subtitle: x}")).await;
    namespace.contract_when("one", "invalid", has("Ready", "False", "Invalid")).await;
    namespace.apply(&teaser("two", "{title: '3'}")).await;
    let three = |object: Option<&ConfigMap>| {
        object.and_then(|o| o.data.as_ref()).is_some_and(|data| data["two.json"].contains('3'))
    };
    namespace.when::<ConfigMap>("teasers", "two.json is news", three).await;
    assert_eq!(key("one.json").await.unwrap(), "{\"title\":\"1\"}");
}

fn teaser(name: &str, document: &str) -> String {
    format!(
        "{{apiVersion: kintsugi.dev/v1alpha1, kind: WidgetContract, metadata: {{name: {name}}}, \
         spec: {{widget: teaser, classRef: {{name: teaser}}, document: {{inline: {document}}}}}}}"
    )
}

#[tokio::test]
async fn a_successor_takes_its_key_of_a_shared_config_map_over() {
    let (_cluster, namespace, _operator) = world("successor").await;
    let claim = |title: &str| {
        let mut manifest: Value =
            serde_json::from_str(&storefinder("uk", &json!({"title": title}))).unwrap();
        manifest["spec"]["serve"] = json!({"configMapKeyRef": {"name": "cdn", "key": "a.json"}});
        manifest.to_string()
    };
    namespace.apply(&claim("first")).await;
    let old = namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.contracts().delete("uk", &DeleteParams::default()).await.unwrap();
    let uid = old.uid().unwrap();
    let gone = kube::runtime::wait::await_condition(namespace.contracts(), "uk", is_deleted(&uid));
    tokio::time::timeout(crate::support::PATIENCE, gone).await.unwrap().unwrap();
    namespace.apply(&claim("second")).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    assert_eq!(namespace.config_map_key("cdn", "a.json").await.unwrap(), "{\"title\":\"second\"}");
}

#[tokio::test]
async fn of_two_contracts_that_claim_one_key_the_older_serves_and_the_other_says_so() {
    let (_cluster, namespace, _operator) = world("conflict").await;
    let claim = |name: &str| {
        let mut manifest: Value =
            serde_json::from_str(&storefinder(name, &json!({"title": name}))).unwrap();
        manifest["spec"]["serve"] = json!({"configMapKeyRef": {"name": "cdn", "key": "a.json"}});
        manifest.to_string()
    };
    namespace.apply(&claim("first")).await;
    namespace.contract_when("first", "Ready", has("Ready", "True", "Assigned")).await;
    // Ages are kept by the second: the second contract has to be younger by one.
    let first = namespace.contracts().get("first").await.unwrap().creation_timestamp().unwrap();
    loop {
        namespace.apply(&claim("second")).await;
        let second = namespace.contracts().get("second").await.unwrap();
        if second.creation_timestamp().unwrap() > first {
            break;
        }
        namespace.contracts().delete("second", &DeleteParams::default()).await.unwrap();
    }
    let second =
        namespace.contract_when("second", "told", has("Ready", "False", "ServeConflict")).await;
    assert!(condition(&second, "Ready").2.contains("first"));
    assert_eq!(namespace.config_map_key("cdn", "a.json").await.unwrap(), "{\"title\":\"first\"}");
}

#[tokio::test]
async fn a_watch_only_contract_is_judged_and_nothing_is_written() {
    let (_cluster, namespace, _operator) = world("watchonly").await;
    let mut manifest: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": "Shops"}))).unwrap();
    manifest["spec"]["serve"] = json!({"none": {}});
    namespace.apply(&manifest.to_string()).await;
    namespace.contract_when("uk", "valid", has("Ready", "True", "Valid")).await;
    assert_eq!(namespace.config_map_key("uk-served", "contract.json").await, None);
    manifest["spec"]["document"]["inline"] = json!({});
    namespace.apply(&manifest.to_string()).await;
    namespace.contract_when("uk", "invalid", has("Ready", "False", "Invalid")).await;
}

#[tokio::test]
async fn a_suspended_contract_is_judged_and_its_served_document_is_left_as_it_is() {
    let (_cluster, namespace, _operator) = world("suspend").await;
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let mut manifest: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": "Later"}))).unwrap();
    manifest["spec"]["suspend"] = json!(true);
    namespace.apply(&manifest.to_string()).await;
    let paused = namespace.contract_when("uk", "paused", has("Paused", "True", "Suspended")).await;
    assert_eq!(condition(&paused, "Ready").1, "Suspended");
    assert_eq!(namespace.served_when("uk", |_| true).await["title"], "Shops");
    manifest["spec"]["suspend"] = json!(false);
    namespace.apply(&manifest.to_string()).await;
    namespace.served_when("uk", |value| value["title"] == "Later").await;
}

#[tokio::test]
async fn history_keeps_its_limit_and_never_loses_what_is_served() {
    let (_cluster, namespace, _operator) = world("history").await;
    for n in 1..=5 {
        let mut manifest: Value =
            serde_json::from_str(&storefinder("uk", &json!({"title": format!("v{n}")}))).unwrap();
        manifest["spec"]["history"] = json!({"limit": 2});
        namespace.apply(&manifest.to_string()).await;
        namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    }
    let contract: WidgetContract = namespace.contracts().get("uk").await.unwrap();
    let revisions = contract.status.unwrap().document.unwrap().revisions;
    assert_eq!(revisions.iter().map(|r| r.number).collect::<Vec<_>>(), [5, 4]);
    let stored = ListParams::default().labels("kintsugi.dev/part=revision");
    let stored = namespace.api::<ConfigMap>().list(&stored).await.unwrap().items;
    assert_eq!(stored.len(), 2);
}
