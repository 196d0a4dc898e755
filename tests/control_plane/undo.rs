//! A repair that a person takes back.

use kintsugi::api::{Incident, WidgetContract};
use serde_json::json;

use crate::{
    healing::{edit, incident_is, incident_when, policy, shop, world},
    requests::kubectl,
    support::{has, storefinder},
};

#[tokio::test]
async fn a_person_takes_a_repair_back_and_its_step_is_not_used_again() {
    let (cluster, namespace, _operator) = world("undo").await;
    let steps = json!([
        {"name": "restore", "restoreRevision": {}},
        {"name": "patch", "patch": {"ops": [{"op": "add", "path": "/title", "value": "Patched"}]}},
    ]);
    policy(&namespace, &steps, &json!({})).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.apply(&storefinder("uk", &edit(&shop(), |d| d["title"] = json!(7)))).await;
    let incident = incident_when(&namespace, "uk", "Mitigated").await;
    let name = incident.metadata.name.unwrap();
    // What is restored is what was served: there is nothing to put back, but to keep in mind.
    let undo = r#"{"spec":{"undo":{"never":"Step","by":"ada","reason":"the title is outdated"}}}"#;
    kubectl(&cluster, &namespace, &["patch", "incident", &name, "--type=merge", "-p", undo]);
    namespace.served_when("uk", |document| document["title"] == "Patched").await;
    let incident = incident_is(&namespace, &name, "Mitigated").await;
    assert!(incident.status.unwrap().undone.is_some());

    // Taken back as well, the contract serves what it did before.
    namespace.apply(&storefinder("uk", &shop())).await;
    incident_is(&namespace, &name, "Resolved").await;
    let broken = edit(&shop(), |document| {
        document["title"] = json!(7);
        document["new"] = json!("and good");
    });
    namespace.apply(&storefinder("uk", &broken)).await;
    namespace.served_when("uk", |document| document["new"] == "and good").await;
    let incident = incident_when(&namespace, "uk", "Mitigated").await;
    let name = incident.metadata.name.unwrap();
    let undo = r#"{"spec":{"undo":{"never":"Rule"}}}"#;
    kubectl(&cluster, &namespace, &["patch", "incident", &name, "--type=merge", "-p", undo]);
    namespace.served_when("uk", |document| document["title"] == "Shops").await;
    let undone = |incident: Option<&Incident>| {
        let status = incident.and_then(|incident| incident.status.as_ref());
        status.is_some_and(|s| s.undone.as_ref().is_some_and(|undone| undone.revision.is_some()))
    };
    namespace.when::<Incident>(&name, "says what is served again", undone).await;
    // The two statuses are written side by side.
    let both = |contract: Option<&WidgetContract>| {
        let status = contract.and_then(|contract| contract.status.as_ref());
        status.is_some_and(|status| status.never.len() == 2)
    };
    let contract = namespace.contract_when("uk", "keeps both in mind", both).await;
    let never = contract.status.unwrap().never;
    assert_eq!((never.len(), never[0].step.as_deref()), (2, Some("restoreRevision")));
    assert_eq!(never[1].rules, ["schema"]);
}
