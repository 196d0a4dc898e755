//! Plans and older documents, with their values, and what a person does about them.

use std::process::Command;

use k8s_openapi::api::core::v1::ConfigMap;
use kintsugi::api::Incident;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use super::{World, broken, contract, may, policy, world, world_of, wrong_with};
use crate::{
    healing::{edit, incident_when, shop},
    support::{Namespace, browser::Browser, desk, has},
};

/// The Incident of the contract `uk`, whose plan waits for a person.
async fn waits(namespace: &Namespace) -> String {
    policy(namespace, "by-people", "storefinder", "Approve").await;
    namespace.apply(&contract("uk", "storefinder", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.apply(&contract("uk", "storefinder", &broken())).await;
    incident_when(namespace, "uk", "Held").await.metadata.name.unwrap()
}

#[tokio::test]
async fn a_plan_stands_with_its_values_for_who_may_read_them_and_only_while_it_is_the_plan() {
    let World { cluster, namespace, operator, browser } = world("values").await;
    let name = waits(&namespace).await;
    let path = format!("/namespaces/{}/incidents/{name}", namespace.name);
    let change = "replace /title from revision 1";
    browser.open(&path).await;
    let text = browser.text().await;
    for shown in [change, "\"far too long to be a title\"", "\"Shops\""] {
        assert!(text.contains(shown), "{shown}: {text}");
    }

    let rules = json!([{"apiGroups": ["kintsugi.dev"], "resources": ["incidents"],
                        "verbs": ["get", "list"]}]);
    let bob = desk::visitor(&cluster, &namespace, &operator, "bob", &rules).await;
    let his = Browser::of(&bob).await;
    his.open(&path).await;
    let text = his.text().await;
    assert!(text.contains(&format!("bob may not get configmaps {name}-candidate")), "{text}");
    assert!(text.contains(change) && !text.contains("\"Shops\""), "{text}");
    assert_eq!(wrong_with(&his, "incident-without-values").await, [""; 0]);
    drop(his);

    let config_maps = namespace.api::<ConfigMap>();
    let stored = format!("{name}-candidate");
    let mut other = config_maps.get(&stored).await.unwrap();
    config_maps.delete(&stored, &DeleteParams::default()).await.unwrap();
    other.metadata.resource_version = None;
    other.metadata.uid = None;
    let forged = edit(&broken(), |document| document["title"] = json!("Forged"));
    other.data.as_mut().unwrap().insert("contract.json".to_owned(), forged.to_string());
    config_maps.create(&PostParams::default(), &other).await.unwrap();
    browser.open(&path).await;
    let text = browser.text().await;
    assert!(text.contains("holds another document than the plan names"), "{text}");
    assert!(text.contains(change) && !text.contains("Forged"), "{text}");
    assert_eq!(wrong_with(&browser, "incident-forged").await, [""; 0]);
    assert!(!operator.log().contains("far too long to be"), "no value is in the log");
}

#[tokio::test]
async fn a_plan_is_rejected_with_a_reason_by_who_may_change_incidents_in_any_way() {
    // By PUT, and not by PATCH.
    let World { cluster, namespace, operator, browser } =
        world_of("rejects", &["update", "approve"]).await;
    let waits = waits(&namespace).await;
    let path = format!("/namespaces/{}/incidents/{waits}", namespace.name);
    let bob = desk::visitor(&cluster, &namespace, &operator, "bob", &may(&["approve"])).await;
    let his = Browser::of(&bob).await;
    his.open(&path).await;
    let text = his.text().await;
    assert!(text.contains("bob may not update incidents.kintsugi.dev"), "{text}");
    assert_eq!(his.run("return document.querySelectorAll('main form').length").await, 0);
    drop(his);

    browser.open(&format!("/namespaces/{}/contracts/uk", namespace.name)).await;
    let forms = "return document.querySelectorAll('main form[method=post]').length";
    assert_eq!(browser.run(forms).await, 2, "she may heal and suspend it, too");
    browser.open(&path).await;
    browser.click("xpath", "//button[.='Reject']").await;
    let here = browser.run("return [location.pathname, document.activeElement.id]").await;
    assert_eq!(here, json!([path, "why"]), "a rejection needs a reason, and nothing was sent");
    browser.fill("#why", "the old title is wrong").await;
    browser.click("xpath", "//button[.='Reject']").await;
    let says = "document.body.innerText.includes(':ann: the old title is wrong')";
    browser.until(&format!("document.querySelector('h1') && {says}")).await;
    let text = browser.text().await;
    assert!(text.contains("waits for Rejected") && !text.contains("Decide about"), "{text}");
    let rejected = |incident: Option<&Incident>| {
        incident
            .and_then(|incident| incident.status.as_ref())
            .is_some_and(|status| status.waiting == "Rejected" && status.attempts.is_empty())
    };
    namespace.when::<Incident>(&waits, "rejected", rejected).await;
}

#[tokio::test]
async fn an_older_document_is_served_by_the_command_that_stands_beside_its_preview() {
    let World { cluster, namespace, browser, operator: _operator } = world("previews").await;
    let newer = edit(&shop(), |document| document["title"] = json!("Newer"));
    for document in [shop(), newer] {
        namespace.apply(&contract("uk", "storefinder", &document)).await;
        namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    }
    namespace.served_when("uk", |document| document["title"] == "Newer").await;
    browser.open(&format!("/namespaces/{}/contracts/uk", namespace.name)).await;
    browser.until("document.body.innerText.includes('revision 2') || location.reload()").await;
    browser.follow("revision 1").await;
    browser.until("document.querySelector('.command')").await;
    let text = browser.text().await;
    assert!(text.contains("With revision 1 in place") && text.contains("\"Shops\""), "{text}");
    assert_eq!(wrong_with(&browser, "contract-preview").await, [""; 0]);
    let command = browser.run("return document.querySelector('.command').innerText").await;
    let command = command.as_str().unwrap();
    let bin = std::env::var("KINTSUGI_TEST_BIN").unwrap();
    let typed = Command::new("bash")
        .args(["-c", command])
        .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
        .env("KUBECONFIG", cluster.admin_kubeconfig())
        .output()
        .unwrap();
    assert!(typed.status.success(), "{command}: {}", String::from_utf8_lossy(&typed.stderr));
    namespace.served_when("uk", |document| document["title"] == "Shops").await;
    namespace.contract_when("uk", "pinned", has("Serving", "True", "Pinned")).await;
}
