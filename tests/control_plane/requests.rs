//! What people ask for by annotation, as they do it: with kubectl.

use std::{path::PathBuf, process::Command};

use kintsugi::api::{Incident, WidgetContract};
use serde_json::{Value, json};

use crate::{
    healing::{edit, incident_is, incident_when, policy, shop, world},
    support::{Cluster, Namespace, has, storefinder},
};

/// `kubectl <args> -n <namespace>`; returns what it prints.
pub fn kubectl(cluster: &Cluster, namespace: &Namespace, args: &[&str]) -> String {
    let programs: PathBuf = std::env::var_os("KINTSUGI_TEST_BIN").unwrap().into();
    let done = Command::new(programs.join("kubectl"))
        .args(args)
        .arg(format!("--namespace={}", namespace.name))
        .env("KUBECONFIG", cluster.admin_kubeconfig())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test]
async fn a_person_asks_for_another_attempt_and_for_a_new_series() {
    let (cluster, namespace, _operator) = world("asked").await;
    policy(&namespace, &json!([{"name": "repair", "repairDocument": {}}]), &json!({})).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.apply(&storefinder("uk", &edit(&shop(), |d| d["title"] = json!({})))).await;
    let name = {
        let incident = incident_when(&namespace, "uk", "Escalated").await;
        assert_eq!(incident.status.unwrap().tries, Some(2));
        incident.metadata.name.unwrap()
    };

    kubectl(&cluster, &namespace, &["annotate", "wc/uk", "kintsugi.dev/heal=monday"]);
    let echoed = |contract: Option<&WidgetContract>| {
        let handled = contract.and_then(|c| c.status.as_ref()?.handled_requests.as_ref());
        handled.and_then(|handled| handled.heal.as_deref()) == Some("monday")
    };
    namespace.contract_when("uk", "echoes the request", echoed).await;
    let incident = incident_is(&namespace, &name, "Escalated").await;
    let attempts = incident.status.unwrap().attempts;
    assert_eq!((attempts.len(), &attempts[2].requests[..]), (3, &["monday".to_owned()][..]));

    let annotate = ["annotate", "rpol/heal", "kintsugi.dev/reset=monday"];
    kubectl(&cluster, &namespace, &annotate);
    let anew = |incident: Option<&Incident>| {
        let status = incident.and_then(|incident| incident.status.as_ref());
        status
            .is_some_and(|s| s.series.as_ref().is_some_and(|s| s.after == 3) && s.tries == Some(5))
    };
    namespace.when::<Incident>(&name, "made two more attempts", anew).await;
    let contract = namespace.contracts().get("uk").await.unwrap();
    let shared = contract.status.unwrap().handled_requests.unwrap().shared;
    assert_eq!(shared[0].from, "RemediationPolicy/heal");
    assert_eq!(shared[0].reset.as_deref(), Some("monday"));
}

#[tokio::test]
async fn a_person_asks_for_a_look_that_no_timer_brings() {
    let (cluster, namespace, _operator) = world("reconcile").await;
    let web = crate::support::web::Web::start().await;
    web.answer("/hero.png", 200, "image/png", "png");
    let mut manifest: Value = serde_json::from_str(&storefinder(
        "uk",
        &json!({"title": "Shops", "hero": web.url("/hero.png")}),
    ))
    .unwrap();
    manifest["spec"]["interval"] = json!("1h");
    manifest["spec"]["rules"] = json!([{"name": "images", "asset": {"paths": ["$.hero"]}}]);
    namespace.apply(&manifest.to_string()).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    web.answer("/hero.png", 404, "text/plain", "gone");
    kubectl(&cluster, &namespace, &["annotate", "wc/uk", "kintsugi.dev/reconcile=1"]);
    namespace.contract_when("uk", "sees it", has("Valid", "False", "RulesFail")).await;
}

#[tokio::test]
async fn a_person_pauses_what_a_policy_repairs_and_lets_it_go_on() {
    let (cluster, namespace, _operator) = world("pause").await;
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let pause = "kintsugi.dev/pause=2999-12-31T18:00:00Z/ann: the CDN moves";
    kubectl(&cluster, &namespace, &["annotate", "rpol/heal", pause]);
    let broken = edit(&shop(), |document| {
        document["title"] = json!(7);
        document["new"] = json!("and good");
    });
    namespace.apply(&storefinder("uk", &broken)).await;
    let incident = incident_when(&namespace, "uk", "Held").await;
    let status = incident.status.unwrap();
    assert_eq!(status.waiting, "Paused");
    let says = "RemediationPolicy heal is paused until 2999-12-31T18:00:00Z by ann: the CDN moves";
    assert!(status.message.starts_with(says), "{}", status.message);
    kubectl(&cluster, &namespace, &["annotate", "rpol/heal", "kintsugi.dev/pause-"]);
    incident_is(&namespace, &incident.metadata.name.unwrap(), "Mitigated").await;
    namespace.served_when("uk", |value| value["new"] == "and good").await;
}
