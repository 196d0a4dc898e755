//! The source inside the cluster: asked by its Service, diagnosed, scaled and restarted.

use std::path::Path;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, StatefulSet},
        core::v1::{Pod, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
};
use kintsugi::api::{Incident, RemediationPolicy, contract::CheckResult, incident::EffectOutcome};
use kube::{
    Client, Config, Resource, ResourceExt,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::{
    chart,
    healing::{incident_when, policy},
    support::{
        Cluster, Namespace, Operator,
        people::until_allowed,
        storefinder,
        web::Web,
        workload::{evict, may, may_patch, pods, workload},
    },
};

/// A Service `catalog` whose one endpoint is the test's web server: kwok's pods have no network.
pub async fn service(namespace: &Namespace, web: &Web, ready: bool) {
    namespace
        .apply(
            "{apiVersion: v1, kind: Service, metadata: {name: catalog}, \
             spec: {ports: [{name: web, port: 80}]}}",
        )
        .await;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "catalog", "labels": {"kubernetes.io/service-name": "catalog"}},
        "addressType": "IPv4", "ports": [{"name": "web", "port": web.port()}],
        "endpoints": [{"addresses": [web.ip()], "conditions": {"ready": ready}}],
    });
    namespace.apply(&slice.to_string()).await;
}

/// A contract whose document is broken, with the source `catalog`.
pub fn contract(name: &str, kind: &str, workload: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut manifest: Value =
        serde_json::from_str(&storefinder(name, &json!({"title": 7}))).unwrap();
    manifest["spec"]["source"] = json!({
        "serviceRef": {"name": "catalog", "port": 80, "path": "/export?shop=uk"},
        "workloadRef": {"kind": kind, "name": workload},
    });
    change(&mut manifest);
    manifest.to_string()
}

/// A namespace, its web server, and an operator that may reach no other address and no plain http.
pub async fn world(prefix: &str) -> (Cluster, Namespace, Web, Operator) {
    world_with(prefix, &[]).await
}

/// The same, with these flags besides.
pub async fn world_with(prefix: &str, flags: &[&str]) -> (Cluster, Namespace, Web, Operator) {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, prefix).await;
    let web = Web::start_outside().await;
    web.answer("/export", 200, "application/json", "{\"title\": \"From the source\"}");
    // The machine's address need not be a private one, as a pod's is.
    let allow = format!("--allow-cidrs={}/32", web.ip());
    let operator = Operator::start(&cluster, &namespace, &[&[allow.as_str()], flags].concat());
    (cluster, namespace, web, operator)
}

/// Waits until the workload carries the key of the Incident's first attempt.
async fn carries_the_key<K>(namespace: &Namespace, place: &'static str) -> (K, String)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Send
        + serde::de::DeserializeOwned
        + serde::Serialize
        + 'static,
{
    let key = move |object: &K| {
        let text = serde_json::to_value(object).unwrap().pointer(place).cloned();
        text.and_then(|key| key.as_str().map(ToOwned::to_owned))
    };
    let carries = move |object: Option<&K>| object.and_then(key).is_some();
    let object = namespace.when::<K>("catalog", "carries a key", carries).await;
    let key = key(&object).unwrap();
    (object, key)
}

async fn patches(cluster: &Cluster, namespace: &Namespace, resource: &str) -> usize {
    let wanted = format!("patch {resource} catalog");
    cluster.requests(namespace).await.iter().filter(|request| **request == wanted).count()
}

#[tokio::test]
async fn a_source_scaled_to_zero_is_scaled_refetched_and_healed() {
    let (cluster, namespace, web, _operator) = world("scale").await;
    service(&namespace, &web, false).await;
    may_patch(&namespace, "healer", "deployments", "catalog").await;
    namespace.apply(&workload("Deployment", "catalog", 0, "")).await;
    let steps = json!([
        {"name": "refetch", "refetchSource": {}},
        {"name": "scale", "scaleWorkload": {"minReplicas": 2}},
        {"name": "again", "refetchSource": {}},
    ]);
    policy(&namespace, &steps, &json!({"serviceAccountName": "healer"})).await;
    namespace.apply(&contract("uk", "Deployment", "catalog", |_| {})).await;

    let place = "/metadata/annotations/kintsugi.dev~1scaled-for";
    let (_, key) = carries_the_key::<Deployment>(&namespace, place).await;
    let available = |deployment: Option<&Deployment>| {
        deployment.and_then(|d| d.status.as_ref()?.available_replicas) == Some(2)
    };
    namespace.when::<Deployment>("catalog", "two pods", available).await;
    service(&namespace, &web, true).await;

    let incident = incident_when(&namespace, "uk", "Mitigated").await;
    assert_eq!(namespace.served_when("uk", |_| true).await, json!({"title": "From the source"}));
    assert_eq!(key, format!("{}/1", incident.name_any()));
    let status = incident.status.unwrap();
    assert_eq!((status.tries, status.step.as_str()), (Some(1), "again"));
    assert_eq!(status.effects.len(), 1);
    assert_eq!(status.effects[0].outcome, Some(EffectOutcome::Done));
    let diagnosis = serde_json::to_value(status.diagnosis.unwrap()).unwrap();
    assert_eq!(diagnosis["cause"], "SourceDown");
    for said in [
        "spec.source.serviceRef: Service catalog has no endpoint that is ready",
        "Deployment catalog is scaled to zero",
    ] {
        assert!(diagnosis.to_string().contains(said), "{diagnosis}");
    }
    assert_eq!(patches(&cluster, &namespace, "deployments").await, 1);
    let host = format!("catalog.{}.svc", namespace.name);
    assert_eq!(web.asked("/export")[0].headers["host"], host);
}

#[tokio::test]
async fn a_source_that_does_not_answer_is_restarted_once_and_awaited() {
    let (cluster, namespace, web, _operator) = world("restart").await;
    service(&namespace, &web, false).await;
    may_patch(&namespace, "healer", "statefulsets", "catalog").await;
    let mut manifest: Value =
        serde_json::from_str(&workload("StatefulSet", "catalog", 1, "")).unwrap();
    manifest["spec"]["serviceName"] = json!("catalog");
    namespace.apply(&manifest.to_string()).await;
    let runs = |set: Option<&StatefulSet>| {
        set.and_then(|set| set.status.as_ref()?.available_replicas) == Some(1)
    };
    namespace.when::<StatefulSet>("catalog", "a pod", runs).await;
    let steps = json!([
        {"name": "restart", "restartWorkload": {"waitFor": "Available"}},
        {"name": "refetch", "refetchSource": {}},
    ]);
    policy(&namespace, &steps, &json!({"serviceAccountName": "healer"})).await;
    namespace.apply(&contract("uk", "StatefulSet", "catalog", |_| {})).await;

    let place = "/spec/template/metadata/annotations/kintsugi.dev~1restarted-for";
    let (_, key) = carries_the_key::<StatefulSet>(&namespace, place).await;
    service(&namespace, &web, true).await;
    let incident = incident_when(&namespace, "uk", "Mitigated").await;
    assert_eq!(namespace.served_when("uk", |_| true).await, json!({"title": "From the source"}));
    assert_eq!(key, format!("{}/1", incident.name_any()));
    assert_eq!(patches(&cluster, &namespace, "statefulsets").await, 1);
    let set = namespace.api::<StatefulSet>().get("catalog").await.unwrap();
    let status = set.status.unwrap();
    assert_eq!(status.updated_replicas, Some(1), "it was waited for");
}

#[tokio::test]
async fn failed_pods_of_the_workload_are_deleted_once_and_no_other_pod_is() {
    let (cluster, namespace, web, _operator) = world("evicted").await;
    service(&namespace, &web, true).await;
    let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]});
    may(&namespace, "healer", &rule).await;
    namespace.apply(&workload("Deployment", "catalog", 2, "")).await;
    let runs = |deployment: Option<&Deployment>| {
        deployment.and_then(|d| d.status.as_ref()?.available_replicas) == Some(2)
    };
    namespace.when::<Deployment>("catalog", "two pods", runs).await;
    let evicted = pods(&namespace, "catalog").await.remove(0);
    evict(&namespace, &evicted).await;
    // It matches the selector, has failed, and is nobody's.
    namespace
        .apply(
            "{apiVersion: v1, kind: Pod, metadata: {name: alone, labels: {app: catalog}}, \
             spec: {containers: [{name: main, image: 'a:1'}]}}",
        )
        .await;
    let is_running = |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some("Running")
    };
    let alone = namespace.when::<Pod>("alone", "runs", is_running).await;
    evict(&namespace, &alone).await;
    namespace.when::<Deployment>("catalog", "two pods again", runs).await;
    let steps = json!([
        {"name": "delete", "deleteFailedPods": {}},
        {"name": "refetch", "refetchSource": {}},
    ]);
    policy(&namespace, &steps, &json!({"serviceAccountName": "healer"})).await;
    namespace.apply(&contract("uk", "Deployment", "catalog", |_| {})).await;

    let incident = incident_when(&namespace, "uk", "Mitigated").await;
    let effect = &incident.status.unwrap().effects[0];
    assert_eq!(effect.outcome, Some(EffectOutcome::Done), "{}", effect.message);
    assert_eq!(effect.target, "1 failed pods of Deployment catalog");
    namespace.gone::<Pod>(&evicted.name_any()).await;
    let left: Vec<String> =
        pods(&namespace, "catalog").await.iter().map(ResourceExt::name_any).collect();
    assert!(left.contains(&"alone".to_owned()) && left.len() == 3, "{left:?}");
    let deleted =
        cluster.requests(&namespace).await.into_iter().filter(|r| r.starts_with("delete pods"));
    let expected = format!("delete pods {}", evicted.name_any());
    assert_eq!(deleted.collect::<Vec<_>>(), [expected]);
}

#[tokio::test]
async fn what_may_not_be_done_or_would_mend_nothing_is_refused_by_name() {
    let (cluster, namespace, web, _operator) = world("refused").await;
    service(&namespace, &web, false).await;
    may_patch(&namespace, "healer", "deployments", "killed").await;
    namespace.apply(&workload("Deployment", "catalog", 1, "")).await;
    namespace.apply(&workload("Deployment", "killed", 1, "OOMKilled")).await;
    let killed = |deployment: Option<&Deployment>| {
        deployment.and_then(|d| d.status.as_ref()?.unavailable_replicas) == Some(1)
    };
    namespace.when::<Deployment>("killed", "a pod that is killed", killed).await;
    namespace
        .try_apply_as("argocd-controller", &workload("Deployment", "applied", 0, ""))
        .await
        .unwrap();
    namespace.apply(&workload("Deployment", "scaled", 0, "")).await;
    namespace
        .apply(
            "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: auto}, \
             spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: scaled}}}",
        )
        .await;
    for (name, step, account) in [
        ("nobody", "restartWorkload", None),
        ("healer", "restartWorkload", Some("healer")),
        ("scaler", "scaleWorkload", Some("healer")),
    ] {
        let mut manifest = json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy",
            "metadata": {"name": name},
            "spec": {
                "match": {"widgets": ["none"]}, "retry": {"maxAttempts": 1},
                "steps": [{"name": "act", step: {}}],
            },
        });
        if let Some(account) = account {
            manifest["spec"]["serviceAccountName"] = json!(account);
        }
        namespace.apply(&manifest.to_string()).await;
    }
    let cases = [
        ("a", "catalog", "nobody", "NoServiceAccount: spec.serviceAccountName"),
        ("b", "catalog", "healer", "ServiceAccount healer may not patch deployments.apps catalog"),
        ("c", "nowhere", "healer", "spec.source.workloadRef: Deployment nowhere does not exist"),
        ("d", "killed", "healer", "is OOMKilled, which no restart mends"),
        ("e", "applied", "scaler", "Argo CD sets spec.replicas of Deployment applied"),
        ("f", "scaled", "scaler", "HorizontalPodAutoscaler auto sets spec.replicas"),
    ];
    for (name, workload, policy, _) in cases {
        let manifest = contract(name, "Deployment", workload, |manifest| {
            manifest["spec"]["healing"] = json!({"policyRef": {"name": policy}});
        });
        namespace.apply(&manifest).await;
    }
    for (name, _, _, says) in cases {
        let incident = incident_when(&namespace, name, "Escalated").await;
        let status = incident.status.unwrap();
        assert!(status.message.contains(says), "{}", status.message);
        assert!(status.effects.is_empty());
    }
    let patched =
        cluster.requests(&namespace).await.into_iter().filter(|r| r.starts_with("patch depl"));
    assert_eq!(patched.collect::<Vec<_>>(), [""; 0]);
    let stalled = |policy: Option<&RemediationPolicy>| {
        let conditions = policy.and_then(|policy| policy.status.as_ref()).map(|s| &s.conditions);
        conditions
            .into_iter()
            .flatten()
            .any(|c| c.type_ == "Stalled" && c.reason == "NoServiceAccount")
    };
    namespace.when::<RemediationPolicy>("nobody", "is stalled", stalled).await;
}

#[tokio::test]
async fn a_policy_lends_only_the_rights_that_its_author_has() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "author").await;
    let grant = async |name: &str, rule: Value| {
        let role = json!({"metadata": {"name": name}, "rules": [rule]});
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "author", "namespace": namespace.name}],
        });
        let params = PostParams::default();
        let role: Role = serde_json::from_value(role).unwrap();
        let binding: RoleBinding = serde_json::from_value(binding).unwrap();
        namespace.api().create(&params, &role).await.unwrap();
        namespace.api().create(&params, &binding).await.unwrap();
        role.rules.unwrap().remove(0)
    };
    let author: ServiceAccount =
        serde_json::from_value(json!({"metadata": {"name": "author"}})).unwrap();
    namespace.api().create(&PostParams::default(), &author).await.unwrap();
    let policies = grant(
        "policies",
        json!({"apiGroups": ["kintsugi.dev"], "resources": ["remediationpolicies"],
               "verbs": ["create", "patch"]}),
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = chart::kubeconfig_of(&cluster, &namespace.name, "author", &folder);
    let theirs = Namespace { name: namespace.name.clone(), client: client(&kubeconfig).await };
    until_allowed(&theirs.client, &namespace.name, &policies).await;
    let policy = |account: Option<&str>| {
        let mut spec = json!({"default": true, "steps": [{"name": "a", "wait": {"for": "1s"}}]});
        if let Some(account) = account {
            spec["serviceAccountName"] = json!(account);
        }
        json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy",
            "metadata": {"name": "p"}, "spec": spec,
        })
        .to_string()
    };
    theirs.apply(&policy(None)).await;
    let refused = theirs.refusal(&policy(Some("healer"))).await;
    assert!(refused.contains("must be allowed to impersonate ServiceAccount healer"), "{refused}");
    let impersonates = grant(
        "impersonate",
        json!({"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["healer"],
               "verbs": ["impersonate"]}),
    )
    .await;
    until_allowed(&theirs.client, &namespace.name, &impersonates).await;
    theirs.apply(&policy(Some("healer"))).await;
    theirs.refusal(&policy(Some("other"))).await;
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    Client::try_from(config).unwrap()
}

#[tokio::test]
async fn without_the_charts_rights_a_workload_is_left_alone_and_the_value_is_named() {
    let cluster = Cluster::running();
    let (home, namespace) =
        (Namespace::new(&cluster, "home").await, Namespace::new(&cluster, "plain").await);
    let web = Web::start_outside().await;
    service(&namespace, &web, false).await;
    namespace.apply(&workload("Deployment", "catalog", 0, "")).await;
    let watched = format!("namespaces={{{}}}", namespace.name);
    chart::install(&cluster, "plain", &home.name, &["replicas=0,crds.install=false", &watched]);
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = chart::kubeconfig_of(&cluster, &home.name, "plain", &folder);
    let args = chart::installed(&cluster, &home.name, "plain").await;
    let _operator = Operator::run(&kubeconfig, &args);
    let steps = json!([{"name": "scale", "scaleWorkload": {}}]);
    let more = json!({"serviceAccountName": "healer", "retry": {"maxAttempts": 1}});
    policy(&namespace, &steps, &more).await;
    namespace.apply(&contract("uk", "Deployment", "catalog", |_| {})).await;
    let incident: Incident = incident_when(&namespace, "uk", "Escalated").await;
    let status = incident.status.unwrap();
    assert!(status.message.contains("effects.enabled"), "{}", status.message);
    let evidence = status.diagnosis.unwrap().evidence;
    let forbidden: Vec<_> = evidence.iter().filter(|e| e.message.contains("not allowed")).collect();
    assert_eq!(forbidden.len(), 4, "{evidence:?}");
    assert!(forbidden.iter().all(|e| e.result == CheckResult::Unknown), "{evidence:?}");
    let deployment = namespace.api::<Deployment>().get("catalog").await.unwrap();
    assert_eq!(deployment.metadata.generation, Some(1));
}
