//! A schema that good documents fail: what is served stays, and nothing is repaired by it.

use kintsugi::api::{Incident, WidgetContract, incident::Cause};
use serde_json::json;

use crate::{
    healing::{incident_when, incidents, policy, world},
    support::has,
};

#[tokio::test]
async fn a_bad_schema_under_five_contracts_changes_nothing_served_and_repairs_nothing() {
    let (cluster, namespace, _operator) = world("blame").await;
    let steps = json!([
        {"name": "restore", "restoreRevision": {}}, {"name": "repair", "repairDocument": {}},
    ]);
    // All five at once would be a storm as well, which holds what is accepted, too.
    policy(&namespace, &steps, &json!({"storm": {"maxUnhealthy": "100%"}})).await;
    let class = |required: &[&str]| {
        json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "WidgetClass",
            "metadata": {"name": "storefinder"},
            "spec": {"schema": {"inline": {
                "required": required, "properties": {"locale": {"default": "en"}},
            }}},
        })
        .to_string()
    };
    namespace.apply(&class(&["title"])).await;
    let names = ["a", "b", "c", "d", "e"];
    let contract = |name: &str, title: &serde_json::Value| {
        json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "WidgetContract",
            "metadata": {"name": name},
            "spec": {
                "widget": "storefinder", "classRef": {"name": "storefinder"},
                "document": {"inline": {"title": title}},
            },
        })
        .to_string()
    };
    for name in names {
        namespace.apply(&contract(name, &json!(name))).await;
        namespace.contract_when(name, "Ready", has("Ready", "True", "Assigned")).await;
    }
    let before = cluster.requests(&namespace).await.len();

    namespace.apply(&class(&["title", "locale"])).await;
    for name in names {
        let incident = incident_when(&namespace, name, "Held").await;
        assert_eq!(incident.spec.cause, Cause::SchemaChanged);
        assert_eq!(incident.status.unwrap().waiting, "SchemaHeld");
    }
    for name in names {
        let served = namespace.served_when(name, |_| true).await;
        assert_eq!(served, json!({"title": name}));
    }
    let requests = cluster.requests(&namespace).await.split_off(before);
    let touched: Vec<_> = requests.iter().filter(|r| r.contains("configmaps")).collect();
    assert!(touched.is_empty(), "{touched:#?}");
    let tries = |incident: &Incident| incident.status.as_ref().and_then(|status| status.tries);
    assert!(incidents(&namespace).await.iter().all(|incident| tries(incident).is_none()));

    // Accepted for the class as it is, it is a reason to repair.
    let digest = {
        let contract = namespace.contracts().get("a").await.unwrap();
        contract.status.unwrap().effective.unwrap().digest
    };
    let mut accepted: serde_json::Value =
        serde_json::from_str(&class(&["title", "locale"])).unwrap();
    accepted["metadata"]["annotations"] = json!({"kintsugi.dev/accept-schema": digest.short()});
    namespace.apply(&accepted.to_string()).await;
    for name in names {
        namespace.served_when(name, |served| served["locale"] == "en").await;
    }
    let mitigated = |contract: Option<&WidgetContract>| {
        contract.is_some_and(|c| c.status.as_ref().is_some_and(|s| s.incident_ref.is_some()))
    };
    let contract = namespace.contract_when("a", "its Incident is open", mitigated).await;
    let name = contract.status.unwrap().incident_ref.unwrap().name;
    let attempted = |incident: Option<&Incident>| {
        incident.and_then(|incident| incident.status.as_ref()?.tries) == Some(1)
    };
    namespace.when::<Incident>(&name, "one attempt", attempted).await;
}
