//! Whose a served ConfigMap is: by marks that somebody may take away, and for how long.

use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kintsugi::api::{
    PART,
    incident::{Cause, State},
};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    healing::incidents,
    support::{Cluster, Namespace, Operator, has, storefinder},
};

const NOT_OURS: &str = "{\"title\": \"Not ours\"}";

/// A namespace in which `uk` is served.
async fn world(prefix: &str) -> (Cluster, Namespace, Operator) {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, prefix).await;
    let operator = Operator::start(&cluster, &namespace, &[]);
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    (cluster, namespace, operator)
}

/// A ConfigMap as somebody has it in a file: without any mark of ours.
fn plain(name: &str, key: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some([(key.to_owned(), NOT_OURS.to_owned())].into()),
        ..ConfigMap::default()
    }
}

fn vandal() -> PostParams {
    PostParams { field_manager: Some("vandal".to_owned()), ..PostParams::default() }
}

fn is_marked(object: &ConfigMap) -> bool {
    let is_owned = object.annotations().keys().any(|name| name.contains("/owner-"));
    is_owned && object.labels().get(PART).is_some_and(|part| part == "served")
}

/// Waits until every one of these keys holds something that is not the vandal's, with our marks.
async fn put_back(namespace: &Namespace, name: &str, keys: &'static [&'static str]) -> ConfigMap {
    let is_back = move |object: Option<&ConfigMap>| {
        object.is_some_and(|object| {
            let data = object.data.clone().unwrap_or_default();
            is_marked(object)
                && keys.iter().all(|key| data.get(*key).is_some_and(|t| t != NOT_OURS))
        })
    };
    namespace.when::<ConfigMap>(name, "is put back and marked", is_back).await
}

/// Waits until the only Incident is over: it is about the vandal.
async fn on_record(namespace: &Namespace, contract: &str) {
    let uid = namespace.contracts().get(contract).await.unwrap().uid().unwrap();
    let name = kintsugi::decide::episode::name(contract, &uid, 1);
    crate::healing::incident_is(namespace, &name, "Resolved").await;
    let all = incidents(namespace).await;
    let of_it: Vec<_> = all.iter().filter(|i| i.spec.contract_name == contract).collect();
    assert_eq!(of_it.len(), 1);
    assert_eq!(of_it[0].spec.cause, Cause::Overwritten);
    assert_eq!(of_it[0].status.as_ref().unwrap().state, Some(State::Resolved));
    let message = &of_it[0].spec.violations[0].message;
    assert!(message.contains("vandal"), "{message}");
}

#[tokio::test]
async fn a_served_config_map_that_is_replaced_without_its_marks_is_put_back_at_once() {
    let (_cluster, namespace, _operator) = world("replaced").await;
    let config_maps = namespace.api::<ConfigMap>();
    let plain = plain("uk-served", "contract.json");
    config_maps.replace("uk-served", &vandal(), &plain).await.unwrap();
    put_back(&namespace, "uk-served", &["contract.json"]).await;
    on_record(&namespace, "uk").await;
    assert_eq!(namespace.served_when("uk", |_| true).await, json!({"title": "Shops"}));

    // The annotations alone: there is nothing to put back, and nobody to blame.
    let stripped = json!({"metadata": {"annotations": null}});
    config_maps
        .patch("uk-served", &PatchParams::default(), &Patch::Merge(&stripped))
        .await
        .unwrap();
    put_back(&namespace, "uk-served", &["contract.json"]).await;
    assert_eq!(incidents(&namespace).await.len(), 1);
}

#[tokio::test]
async fn a_served_config_map_that_is_deleted_and_made_anew_by_somebody_is_put_back() {
    let (_cluster, namespace, operator) = world("recreated").await;
    let config_maps = namespace.api::<ConfigMap>();
    // So that it sees both at once.
    operator.signal("STOP");
    config_maps.delete("uk-served", &DeleteParams::default()).await.unwrap();
    let mut plain = plain("uk-served", "contract.json");
    plain.data = None;
    let bytes = ByteString(NOT_OURS.as_bytes().to_vec());
    plain.binary_data = Some([("contract.json".to_owned(), bytes)].into());
    let made = config_maps.create(&vandal(), &plain).await.unwrap();
    operator.signal("CONT");
    let back = put_back(&namespace, "uk-served", &["contract.json"]).await;
    on_record(&namespace, "uk").await;
    assert_eq!(back.uid(), made.uid());
    assert_eq!(namespace.served_when("uk", |_| true).await, json!({"title": "Shops"}));
}

#[tokio::test]
async fn each_key_of_a_shared_config_map_that_is_replaced_without_its_marks_is_put_back() {
    let (_cluster, namespace, _operator) = world("replaced-shared").await;
    for name in ["one", "two"] {
        let mut manifest: Value =
            serde_json::from_str(&storefinder(name, &json!({"title": name}))).unwrap();
        let key = format!("{name}.json");
        manifest["spec"]["serve"] = json!({"configMapKeyRef": {"name": "cdn", "key": key}});
        namespace.apply(&manifest.to_string()).await;
        namespace.contract_when(name, "Ready", has("Ready", "True", "Assigned")).await;
    }
    let plain = plain("cdn", "one.json");
    namespace.api::<ConfigMap>().replace("cdn", &vandal(), &plain).await.unwrap();
    let back = put_back(&namespace, "cdn", &["one.json", "two.json"]).await;
    on_record(&namespace, "one").await;
    assert_eq!(back.data.unwrap()["two.json"], "{\"title\":\"two\"}");
}

#[tokio::test]
async fn a_served_config_map_ends_with_its_contract_for_as_long_as_that_is_asked_for() {
    let (_cluster, namespace, _operator) = world("ondelete").await;
    let bound = |wanted: bool| {
        move |object: Option<&ConfigMap>| {
            object.is_some_and(|object| object.owner_references().is_empty() != wanted)
        }
    };
    for (on_delete, wanted) in [("Delete", true), ("Retain", false), ("Delete", true)] {
        let mut manifest: Value =
            serde_json::from_str(&storefinder("uk", &json!({"title": "Shops"}))).unwrap();
        manifest["spec"]["serve"] = json!({"onDelete": on_delete});
        namespace.apply(&manifest.to_string()).await;
        namespace.when::<ConfigMap>("uk-served", on_delete, bound(wanted)).await;
    }
    namespace.contracts().delete("uk", &DeleteParams::default()).await.unwrap();
    namespace.gone::<ConfigMap>("uk-served").await;
}
