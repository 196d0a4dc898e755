//! Workloads as sources have them, and who may act on them.

use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{Role, RoleBinding},
};
use kube::api::PostParams;
use serde_json::json;

use super::Namespace;

/// Lets the ServiceAccount patch one workload, and nothing else.
pub async fn may_patch(namespace: &Namespace, account: &str, resource: &str, name: &str) {
    let params = PostParams::default();
    let account_object: ServiceAccount =
        serde_json::from_value(json!({"metadata": {"name": account}})).unwrap();
    namespace.api().create(&params, &account_object).await.unwrap();
    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": account},
        "rules": [{"apiGroups": ["apps"], "resources": [resource], "resourceNames": [name],
                   "verbs": ["patch"]}],
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
