//! What several contracts have in common is one Incident and one call for a person.

use futures::StreamExt as _;
use kintsugi::api::{Incident, WidgetContract, incident::Cause};
use kube::{
    ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    healing::{events, events_until, incident_when, incidents, policy, world},
    support::{Namespace, Operator, PATIENCE, has},
};

/// Waits until the Incident with this subject satisfies `condition`.
pub async fn about(
    namespace: &Namespace,
    subject: &str,
    condition: impl Fn(&Incident) -> bool,
) -> Incident {
    let seen = watcher(namespace.api::<Incident>(), watcher::Config::default());
    let fits = |incident: &Incident| incident.spec.subject == subject && condition(incident);
    let found = seen.applied_objects().filter_map(async |object| object.ok().filter(|o| fits(o)));
    let mut found = std::pin::pin!(found);
    match timeout(PATIENCE, found.next()).await {
        Ok(Some(incident)) => incident,
        _ => panic!("no such Incident about {subject}: {:#?}", incidents(namespace).await),
    }
}

pub fn is(state: &'static str) -> impl Fn(&Incident) -> bool {
    move |incident| {
        incident
            .status
            .as_ref()
            .and_then(|status| status.state)
            .is_some_and(|is| is.as_ref() == state)
    }
}

fn class(required: &[&str]) -> String {
    json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "WidgetClass",
        "metadata": {"name": "storefinder"},
        "spec": {"schema": {"inline": {"required": required}}},
    })
    .to_string()
}

fn contract(name: &str, document: &Value) -> String {
    json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "WidgetContract",
        "metadata": {"name": name},
        "spec": {
            "widget": "storefinder", "classRef": {"name": "storefinder"},
            "document": {"inline": document},
        },
    })
    .to_string()
}

fn restore() -> Value {
    json!([{"name": "restore", "restoreRevision": {"scope": "Document"}}])
}

#[tokio::test]
async fn a_bad_schema_over_two_hundred_contracts_is_one_incident_and_no_rollback() {
    const CONTRACTS: usize = 200;
    let (cluster, namespace, _operator) = world("family").await;
    policy(&namespace, &restore(), &json!({})).await;
    namespace.apply(&class(&["title"])).await;
    let names: Vec<String> = (0..CONTRACTS).map(|nth| format!("shop-{nth}")).collect();
    for name in &names {
        namespace.apply(&contract(name, &json!({"title": name}))).await;
    }
    for name in &names {
        namespace.contract_when(name, "Ready", has("Ready", "True", "Assigned")).await;
    }
    let before = cluster.requests(&namespace).await.len();

    namespace.apply(&class(&["title", "locale"])).await;
    let all_of_them = format!("documents of {CONTRACTS} contracts fail the schema, too");
    let parent = about(&namespace, "class/storefinder", |incident| {
        incident.status.as_ref().is_some_and(|status| status.message.contains(&all_of_them))
    })
    .await;
    assert_eq!(parent.spec.cause, Cause::SchemaChanged);
    assert!(is("Escalated")(&parent), "{parent:?}");
    assert_eq!(parent.owner_references()[0].kind, "WidgetClass");
    let children: Vec<_> =
        incidents(&namespace).await.into_iter().filter(|i| i.spec.about.is_none()).collect();
    assert_eq!(children.len(), CONTRACTS, "each keeps a record of its own");
    for child in &children {
        let status = child.status.as_ref().unwrap();
        assert_eq!((status.waiting.as_str(), status.tries), ("SchemaHeld", None));
        assert_eq!(child.spec.blames, parent.spec.about);
    }
    let requests = cluster.requests(&namespace).await.split_off(before);
    let touched: Vec<_> = requests.iter().filter(|r| r.contains("configmaps")).collect();
    assert!(touched.is_empty(), "{touched:#?}");
    let calls = events_until(&namespace, "Escalated")
        .await
        .into_iter()
        .filter(|said| said == "Escalated")
        .count();
    assert_eq!(calls, 1, "one call for a person");

    namespace.apply(&class(&["title"])).await;
    about(&namespace, "class/storefinder", is("Resolved")).await;
}

#[tokio::test]
async fn a_storm_is_held_under_one_incident_and_is_over_when_its_owners_act() {
    let (cluster, namespace, mut operator) = world("storm").await;
    let storm = json!({"maxUnhealthy": 1, "minContracts": 3, "cooldown": "1s"});
    policy(&namespace, &restore(), &json!({"storm": storm})).await;
    namespace.apply(&class(&["title"])).await;
    let names = ["a", "b", "c", "d"];
    let good = json!({"title": "Shops"});
    for name in names {
        namespace.apply(&contract(name, &good)).await;
        namespace.contract_when(name, "Ready", has("Ready", "True", "Assigned")).await;
    }
    // Nothing is repaired while all of them break.
    policy(&namespace, &restore(), &json!({"storm": storm, "suspend": true})).await;
    for name in names {
        namespace.apply(&contract(name, &json!({"name": "Shops"}))).await;
        incident_when(&namespace, name, "Held").await;
    }
    let clocks = json!({"unmitigatedAfter": "1s", "unresolvedAfter": "1s"});
    policy(&namespace, &restore(), &json!({"storm": storm, "escalation": clocks})).await;
    let held = |incident: &Incident| {
        incident.status.as_ref().is_some_and(|status| status.waiting == "Storm")
    };
    for name in names {
        about(&namespace, name, held).await;
    }
    let parent = about(&namespace, "policy/heal", is("Escalated")).await;
    let name = &namespace.name;
    let row = format!("kintsugi_storms{{namespace=\"{name}\",policy=\"heal\"}} 1");
    operator.scrape(&[&row]).await;
    let status = parent.status.as_ref().unwrap();
    assert_eq!(parent.spec.cause, Cause::Storm);
    assert!(status.message.starts_with("4 of the 4 contracts"), "{}", status.message);
    assert_eq!(parent.owner_references()[0].kind, "RemediationPolicy");

    // A restart opens no second one, and calls nobody again.
    events_until(&namespace, "Escalated").await;
    operator.signal("KILL");
    operator.wait();
    let operator = Operator::start(&cluster, &namespace, &[]);
    for name in names {
        let served = namespace.served_when(name, |_| true).await;
        assert_eq!(served, good, "what was served stays served");
    }
    for name in names {
        namespace.apply(&contract(name, &good)).await;
    }
    for name in names {
        namespace.contract_when(name, "Ready", has("Ready", "True", "Assigned")).await;
    }
    about(&namespace, "policy/heal", is("Resolved")).await;
    let text = operator.scrape(&["kintsugi_leader"]).await;
    assert!(!text.contains("kintsugi_storms{"), "{text}");
    let all = incidents(&namespace).await;
    assert_eq!(all.iter().filter(|incident| incident.spec.about.is_some()).count(), 1);
    let tried = all.iter().filter_map(|incident| incident.status.as_ref()?.tries);
    assert_eq!(tried.count(), 0, "nothing was repaired in a storm");
    let calls = events(&namespace).await.into_iter().filter(|said| said == "Escalated").count();
    assert_eq!(calls, 1, "one call for a person, whatever the clocks of each contract say");
    let contract: WidgetContract = namespace.contracts().get("a").await.unwrap();
    assert!(contract.status.unwrap().incident_ref.is_none());
}
