//! What is seen around a source's workload that is down: real objects, and pods that kwok breaks.

use std::process::Command;

use futures::future::try_join_all;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{apps::v1::Deployment, core::v1::Pod, networking::v1::NetworkPolicy},
};
use kintsugi::api::{Incident, contract::CheckResult, incident::Cause};
use kube::{Api, Resource, ResourceExt as _, api::PostParams};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    effects::{contract, service, world, world_with},
    healing::{events_until, incident_when, policy},
    support::{Cluster, Namespace, workload::workload},
};

/// Result and message of one check.
fn told(incident: &Incident, check: &str) -> (CheckResult, String) {
    let diagnosis = incident.status.as_ref().unwrap().diagnosis.as_ref().unwrap();
    assert_eq!(diagnosis.cause, Cause::SourceDown);
    let mut all = diagnosis.evidence.iter();
    let found = all.find(|evidence| evidence.check.to_string() == check);
    let found = found.unwrap_or_else(|| panic!("no {check}: {diagnosis:?}"));
    (found.result, found.message.clone())
}

fn says(incident: &Incident, check: &str, result: CheckResult, words: &str) {
    let (is, message) = told(incident, check);
    assert!(is == result && message.contains(words), "{check}: {is:?} {message}");
}

/// A policy that does no more than ask the source.
async fn only_asks(namespace: &Namespace) {
    let steps = json!([{"name": "refetch", "refetchSource": {}}]);
    policy(namespace, &steps, &json!({"retry": {"backoff": {"initial": "1s"}}})).await;
}

async fn shield(namespace: &Namespace, name: &str, app: &str) {
    let manifest = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name},
        "spec": {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"]},
    });
    let policies = kube::core::ApiResource::from_gvk_with_plural(
        &kube::core::GroupVersionKind::gvk("networking.k8s.io", "v1", "NetworkPolicy"),
        "networkpolicies",
    );
    let api: kube::Api<kube::api::DynamicObject> =
        kube::Api::namespaced_with(namespace.client.clone(), &namespace.name, &policies);
    let object = serde_json::from_value(manifest).unwrap();
    api.create(&kube::api::PostParams::default(), &object).await.unwrap();
}

/// Waits until a pod's status says so.
async fn a_pod_is(namespace: &Namespace, so: &str) {
    let says = |pod: &Pod| serde_json::to_string(&pod.status).unwrap().contains(so);
    namespace.any(so, says).await;
}

fn described(cluster: &Cluster, namespace: &Namespace, incident: &Incident) -> String {
    let bin = std::env::var("KINTSUGI_TEST_BIN").unwrap();
    let output = Command::new(format!("{bin}/kubectl"))
        .args(["describe", "incident", &incident.name_any(), "-n", &namespace.name])
        .env("KUBECONFIG", cluster.admin_kubeconfig())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn limits_events_and_network_policies_are_told_where_a_pod_was_killed_for_its_memory() {
    let (cluster, namespace, web, _operator) = world("killed").await;
    service(&namespace, &web, false).await;
    let mut manifest: Value =
        serde_json::from_str(&workload("Deployment", "catalog", 1, "OOMKilled")).unwrap();
    manifest["spec"]["template"]["spec"]["containers"][0]["resources"] =
        json!({"limits": {"memory": "64Mi"}});
    namespace.apply(&manifest.to_string()).await;
    shield(&namespace, "deny", "catalog").await;
    shield(&namespace, "another", "other").await;
    a_pod_is(&namespace, "OOMKilled").await;
    events_until(&namespace, "BackOff").await;
    only_asks(&namespace).await;
    namespace.apply(&contract("uk", "Deployment", "catalog", |_| {})).await;

    let incident = incident_when(&namespace, "uk", "Escalated").await;
    says(&incident, "Pods", CheckResult::Fail, "is OOMKilled");
    says(&incident, "Limits", CheckResult::Fail, "OOMKilled under container main: memory 64Mi");
    says(&incident, "Events", CheckResult::Fail, "BackOff ");
    // Its endpoint is not ready, so nothing is known about who may connect.
    says(&incident, "NetworkPolicies", CheckResult::Unknown, "behind NetworkPolicy deny;");
    let shown = described(&cluster, &namespace, &incident);
    assert!(shown.contains("OOMKilled under container main: memory 64Mi"), "{shown}");
    assert!(!shown.contains("fault injected by a test"), "an Event's note is shown: {shown}");
    // Three attempts, each told once: the pod's Events and those of the ReplicaSets.
    let events =
        cluster.requests(&namespace).await.into_iter().filter(|r| r.starts_with("list events"));
    assert_eq!(events.count(), 6);
}

#[tokio::test]
async fn a_pod_that_fits_on_no_node_is_told_with_what_the_scheduler_warned_of() {
    let (_cluster, namespace, web, _operator) = world("homeless").await;
    service(&namespace, &web, false).await;
    let mut manifest: Value =
        serde_json::from_str(&workload("Deployment", "catalog", 1, "")).unwrap();
    manifest["spec"]["template"]["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "plan9"});
    namespace.apply(&manifest.to_string()).await;
    a_pod_is(&namespace, "Unschedulable").await;
    events_until(&namespace, "FailedScheduling").await;
    only_asks(&namespace).await;
    namespace.apply(&contract("uk", "Deployment", "catalog", |_| {})).await;
    let incident = incident_when(&namespace, "uk", "Escalated").await;
    says(&incident, "Pods", CheckResult::Fail, "is Unschedulable");
    says(&incident, "Events", CheckResult::Fail, "FailedScheduling ");
    says(&incident, "Limits", CheckResult::Pass, "container main: memory without limit");
    says(&incident, "NetworkPolicies", CheckResult::Pass, "no NetworkPolicy");
}

#[tokio::test]
async fn a_network_policy_is_blamed_where_ready_pods_cannot_be_connected_to() {
    let (_cluster, namespace, web, _operator) = world("shielded").await;
    service(&namespace, &web, true).await;
    namespace.apply(&workload("Deployment", "catalog", 1, "")).await;
    let runs = |deployment: Option<&Deployment>| {
        deployment.and_then(|d| d.status.as_ref()?.available_replicas) == Some(1)
    };
    namespace.when::<Deployment>("catalog", "a pod", runs).await;
    shield(&namespace, "deny", "catalog").await;
    // Nobody listens there, as where connections are refused.
    let closed =
        std::net::TcpListener::bind((web.ip().as_str(), 0)).unwrap().local_addr().unwrap().port();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "catalog", "labels": {"kubernetes.io/service-name": "catalog"}},
        "addressType": "IPv4", "ports": [{"name": "web", "port": closed}],
        "endpoints": [{"addresses": [web.ip()], "conditions": {"ready": true}}],
    });
    namespace.apply(&slice.to_string()).await;
    only_asks(&namespace).await;
    namespace.apply(&contract("uk", "Deployment", "catalog", |_| {})).await;
    let incident = incident_when(&namespace, "uk", "Escalated").await;
    says(
        &incident,
        "NetworkPolicies",
        CheckResult::Fail,
        "network policy: its pods are behind NetworkPolicy deny, they are ready",
    );
}

#[tokio::test]
async fn a_log_is_told_by_the_patterns_in_it_and_no_line_of_it_is_shown() {
    let (cluster, namespace, web, _operator) = world_with("log", &["--diagnosis-logs"]).await;
    service(&namespace, &web, false).await;
    let mut manifest: Value =
        serde_json::from_str(&workload("Deployment", "catalog", 1, "CrashLoopBackOff")).unwrap();
    manifest["spec"]["template"]["spec"]["containers"][0]["name"] = json!("crashing");
    namespace.apply(&manifest.to_string()).await;
    a_pod_is(&namespace, "CrashLoopBackOff").await;
    only_asks(&namespace).await;
    namespace.apply(&contract("uk", "Deployment", "catalog", |_| {})).await;

    let incident = incident_when(&namespace, "uk", "Escalated").await;
    let (result, message) = told(&incident, "Logs");
    let begins = "the last 3 lines of container crashing in Pod catalog-";
    assert!(result == CheckResult::Fail && message.starts_with(begins), "{result:?} {message}");
    assert!(message.ends_with(": crash once, last at 2026-01-01T00:00:00Z"), "{message}");
    let stored = serde_json::to_string(&incident).unwrap();
    for line in ["canary", "password", "runtime error", "goroutine"] {
        assert!(!stored.contains(line), "{line} is in the Incident: {stored}");
    }
    let shown = described(&cluster, &namespace, &incident);
    assert!(shown.contains("crash once") && !shown.contains("canary"), "{shown}");
}

/// More of them than a list is looked at of, before the one that matters by name.
async fn crowd<K>(namespace: &Namespace, of: impl Fn(String) -> Value)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let objects: Api<K> = namespace.api();
    let all = (0..101).map(|n| serde_json::from_value(of(format!("a-{n:03}"))).unwrap());
    let all: Vec<K> = all.collect();
    let params = PostParams::default();
    try_join_all(all.iter().map(|object| objects.create(&params, object))).await.unwrap();
}

#[tokio::test]
async fn lists_that_are_longer_than_what_is_looked_at_are_unknown_and_say_so() {
    let (_cluster, namespace, web, _operator) = world("crowded").await;
    service(&namespace, &web, false).await;
    crowd::<NetworkPolicy>(&namespace, |name| {
        json!({"metadata": {"name": name}, "spec": {"podSelector": {"matchLabels": {"app": "b"}}}})
    })
    .await;
    // Of nobody's, and started by nobody: no fault can be seen of them.
    crowd::<Pod>(&namespace, |name| {
        json!({
            "metadata": {"name": name, "labels": {"app": "catalog"}},
            "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "a:1"}]},
        })
    })
    .await;
    namespace.apply(&workload("Deployment", "catalog", 1, "CrashLoopBackOff")).await;
    only_asks(&namespace).await;
    namespace.apply(&contract("uk", "Deployment", "catalog", |_| {})).await;
    let incident = incident_when(&namespace, "uk", "Escalated").await;
    let more = |of_what: &str| format!("there are more {of_what} than were looked at");
    for (check, of_what) in
        [("Pods", "pods"), ("NetworkPolicies", "NetworkPolicies"), ("Events", "pods")]
    {
        says(&incident, check, CheckResult::Unknown, &more(of_what));
    }
}
