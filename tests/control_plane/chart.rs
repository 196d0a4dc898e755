//! The chart, installed by the real helm: what it installs and which rights it gives.

use std::process::Command;

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, ResourceExt as _, api::ListParams};

use crate::support::Cluster;

fn helm(cluster: &Cluster, args: &[&str]) -> (bool, String) {
    let helm =
        std::path::PathBuf::from(std::env::var_os("KINTSUGI_TEST_BIN").unwrap()).join("helm");
    let output = Command::new(helm)
        .args(args)
        .env("KUBECONFIG", cluster.admin_kubeconfig())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn the_chart_is_installed_with_the_rights_that_this_suite_runs_under() {
    let cluster = Cluster::running();
    let client = cluster.admin().await;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "kintsugi-system");
    let deployment = deployments.get("kintsugi").await.unwrap();
    let pod = deployment.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.service_account_name.as_deref(), Some("kintsugi"));
    let security = pod.containers[0].security_context.clone().unwrap();
    assert_eq!(security.read_only_root_filesystem, Some(true));
    assert_eq!(security.allow_privilege_escalation, Some(false));

    let roles: Api<k8s_openapi::api::rbac::v1::ClusterRole> = Api::all(client);
    let selector = ListParams::default().labels("app.kubernetes.io/name=kintsugi");
    for role in roles.list(&selector).await.unwrap() {
        for rule in role.rules.clone().unwrap_or_default() {
            let wild = |list: &Option<Vec<String>>| list.iter().flatten().any(|item| item == "*");
            assert!(
                !wild(&Some(rule.verbs.clone())) && !wild(&rule.resources),
                "{}",
                role.name_any()
            );
            let secrets = rule.resources.iter().flatten().any(|resource| resource == "secrets");
            assert!(!secrets || rule.verbs == ["get"], "Secrets are read by name only");
        }
    }
}

#[test]
fn the_chart_lints_and_watches_only_the_namespaces_it_is_given() {
    let cluster = Cluster::running();
    let (linted, output) = helm(&cluster, &["lint", "--strict", "charts/kintsugi"]);
    assert!(linted, "{output}");
    let (_, all) = helm(&cluster, &["template", "k", "charts/kintsugi"]);
    assert!(all.contains("kind: ClusterRoleBinding"), "{all}");
    let (_, some) =
        helm(&cluster, &["template", "k", "charts/kintsugi", "--set", "namespaces={shop,news}"]);
    assert!(!some.contains("kind: ClusterRole\n"), "{some}");
    assert!(some.contains("--namespaces=shop,news") && some.contains("namespace: news"), "{some}");
}

#[test]
fn a_wrong_value_is_refused_with_its_name() {
    let cluster = Cluster::running();
    let (ok, output) =
        helm(&cluster, &["template", "k", "charts/kintsugi", "--set", "log.format=xml"]);
    assert!(!ok && output.contains("log/format"), "{output}");
    let (ok, output) = helm(&cluster, &["template", "k", "charts/kintsugi", "--set", "replica=3"]);
    assert!(!ok && output.contains("replica"), "{output}");
}
