//! `/livez` and `/readyz`: what a replica says of itself to the kubelet.

use std::{fs, path::PathBuf};

use k8s_openapi::api::{core::v1::ServiceAccount, rbac::v1::RoleBinding};
use kube::api::PostParams;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::{
    chart,
    support::{Cluster, Namespace, Operator},
};

const SHORT_LEASE: [&str; 2] = ["--lease-duration=5s", "--api-timeout=1s"];
const LEADS: (u16, &str) = (200, "leading: every list is in");
const CANNOT: (u16, &str) = (503, "the lease cannot be claimed or renewed; see the log");

#[tokio::test]
async fn a_leader_and_a_follower_are_ready_and_say_which_they_are() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "ready").await;
    let first = Operator::start_as(&cluster, &namespace, "first", &SHORT_LEASE);
    first.answers("/readyz", LEADS).await;
    let second = Operator::start_as(&cluster, &namespace, "second", &SHORT_LEASE);
    second.answers("/readyz", (200, "standing by: another replica leads")).await;
    second.answers("/livez", (200, "ok")).await;
    first.signal("TERM");
    second.answers("/readyz", LEADS).await;
}

#[tokio::test]
async fn a_leader_that_cannot_read_its_lists_is_not_ready() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "listing").await;
    let mut account = ServiceAccount::default();
    account.metadata.name = Some("lease-only".to_owned());
    namespace.api().create(&PostParams::default(), &account).await.unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "lease-only"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lease"},
        "subjects": [{"kind": "ServiceAccount", "name": "lease-only", "namespace": namespace.name}],
    }))
    .unwrap();
    namespace.api().create(&PostParams::default(), &binding).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = chart::kubeconfig_of(&cluster, &namespace.name, "lease-only", &folder);
    let operator = Operator::run(&kubeconfig, &args(&namespace));
    operator.answers("/readyz", (503, "leading: the first lists are not in yet")).await;
    operator.answers("/livez", (200, "ok")).await;
}

#[tokio::test]
async fn without_an_api_server_a_replica_is_not_ready_and_with_one_it_is_again() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "unreached").await;
    let text = fs::read_to_string(cluster.operator_kubeconfig()).unwrap();
    let (_, server) = text.split_once("server: \"https://").unwrap();
    let (server, _) = server.split_once('"').unwrap();
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = between.local_addr().unwrap();
    let (ip, _) = server.split_once(':').unwrap();
    let through = text.replace(
        &format!("server: \"https://{server}\""),
        &format!("server: \"https://{address}\", tls-server-name: \"{ip}\""),
    );
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig: PathBuf = folder.path().join("kubeconfig");
    fs::write(&kubeconfig, through).unwrap();

    let forwarding = forward(between, server.to_owned());
    let operator = Operator::run(&kubeconfig, &args(&namespace));
    operator.answers("/readyz", LEADS).await;
    forwarding.abort();
    let _ = forwarding.await;
    operator.answers("/readyz", CANNOT).await;
    operator.answers("/livez", (200, "ok")).await;
    let between = TcpListener::bind(address).await.unwrap();
    let _forwarding = forward(between, server.to_owned());
    operator.answers("/readyz", LEADS).await;
}

fn args(namespace: &Namespace) -> Vec<String> {
    let own = [
        "run".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
        format!("--namespaces={}", namespace.name),
        format!("--lease-namespace={}", namespace.name),
    ];
    own.into_iter().chain(SHORT_LEASE.map(str::to_owned)).collect()
}

/// Passes bytes on until it is aborted, and closes every connection then.
fn forward(listener: TcpListener, to: String) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut inner, _) = listener.accept().await.unwrap();
            let to = to.clone();
            connections.spawn(async move {
                let mut outer = TcpStream::connect(&to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut inner, &mut outer).await;
            });
        }
    })
}
