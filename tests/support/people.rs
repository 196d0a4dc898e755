//! People with the rights that they are given, and no others.

use std::path::PathBuf;

use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    rbac::v1::{PolicyRule, Role, RoleBinding},
};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Cluster, Namespace, PATIENCE};

/// What makes whoever uses it act as `user`, who has no rights but those that he is given.
fn kubeconfig(cluster: &Cluster, user: &str) -> Kubeconfig {
    let mut kubeconfig = Kubeconfig::read_from(cluster.admin_kubeconfig()).unwrap();
    for named in &mut kubeconfig.auth_infos {
        named.auth_info.as_mut().unwrap().impersonate = Some(user.to_owned());
    }
    kubeconfig
}

/// The same as a file.
pub fn kubeconfig_of(cluster: &Cluster, user: &str) -> PathBuf {
    let path = cluster.state.join(format!("{user}.kubeconfig"));
    std::fs::write(&path, serde_saphyr::to_string(&kubeconfig(cluster, user)).unwrap()).unwrap();
    path
}

/// A client that acts as `user`, who has no rights but those that he is given.
pub async fn acting_as(cluster: &Cluster, user: &str) -> Client {
    let kubeconfig = kubeconfig(cluster, user);
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    Client::try_from(config).unwrap()
}

/// The namespace as `user` sees it, who has the rights of these rules there.
pub async fn person(
    cluster: &Cluster,
    namespace: &Namespace,
    user: &str,
    rules: &Value,
) -> Namespace {
    let role = json!({"metadata": {"name": user}, "rules": rules});
    let binding = json!({
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    let role: Role = serde_json::from_value(role).unwrap();
    let binding: RoleBinding = serde_json::from_value(binding).unwrap();
    namespace.api().create(&PostParams::default(), &role).await.unwrap();
    namespace.api().create(&PostParams::default(), &binding).await.unwrap();
    let client = acting_as(cluster, user).await;
    let last = role.rules.unwrap().pop().unwrap();
    until_allowed(&client, &namespace.name, &last).await;
    Namespace { name: namespace.name.clone(), client }
}

/// The API server's authorizer learns of a new role a moment later, and tells nobody.
pub async fn until_allowed(client: &Client, namespace: &str, rule: &PolicyRule) {
    let first = |list: &Option<Vec<String>>| list.as_ref().and_then(|list| list.first().cloned());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                verb: rule.verbs.first().cloned(),
                group: first(&rule.api_groups),
                resource: first(&rule.resources),
                name: first(&rule.resource_names),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let asking = async {
        loop {
            let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
            if answer.status.is_some_and(|status| status.allowed) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, asking).await.expect("is allowed");
}
