//! Workloads as sources have them, and who may act on them.

use k8s_openapi::api::{
    core::v1::{Pod, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::Namespace;

/// Lets the ServiceAccount patch one workload, and nothing else.
pub async fn may_patch(namespace: &Namespace, account: &str, resource: &str, name: &str) {
    let rule = json!({"apiGroups": ["apps"], "resources": [resource], "resourceNames": [name],
                      "verbs": ["patch"]});
    may(namespace, account, &rule).await;
}

/// A ServiceAccount that has this right, and no other.
pub async fn may(namespace: &Namespace, account: &str, right: &Value) {
    let params = PostParams::default();
    let account_object: ServiceAccount =
        serde_json::from_value(json!({"metadata": {"name": account}})).unwrap();
    namespace.api().create(&params, &account_object).await.unwrap();
    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": account},
        "rules": [right],
    }))
    .unwrap();
    namespace.api().create(&params, &role).await.unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace.name}],
    }))
    .unwrap();
    namespace.api().create(&params, &binding).await.unwrap();
}

/// A workload whose pods run nothing, as kwok does it.
pub fn workload(kind: &str, name: &str, replicas: u32, fault: &str) -> String {
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name},
                             "annotations": {"test.kintsugi.dev/fault": fault}},
                "spec": {"containers": [{"name": "main", "image": "catalog:1"}]},
            },
        },
    })
    .to_string()
}

/// The pods of a workload, by name.
pub async fn pods(namespace: &Namespace, name: &str) -> Vec<Pod> {
    let of_it = ListParams::default().labels(&format!("app={name}"));
    let mut pods = namespace.api::<Pod>().list(&of_it).await.unwrap().items;
    pods.sort_by_key(ResourceExt::name_any);
    pods
}

/// Evicts a pod that runs, as a kubelet does: it has failed, and stays there.
pub async fn evict(namespace: &Namespace, pod: &Pod) {
    let name = pod.name_any();
    let patch = json!({"metadata": {"annotations": {"test.kintsugi.dev/ends": "Evicted"}}});
    let params = PatchParams::default();
    namespace.api::<Pod>().patch(&name, &params, &Patch::Merge(&patch)).await.unwrap();
    let has_failed = |pod: Option<&Pod>| {
        let phase = pod.and_then(|pod| pod.status.as_ref()?.phase.clone());
        phase.as_deref() == Some("Failed")
    };
    namespace.when::<Pod>(&name, "has failed", has_failed).await;
}

/// A Job whose one pod completes, as kwok does it.
pub fn job_template() -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "main", "image": "heal:1"}],
        }}},
    })
}
