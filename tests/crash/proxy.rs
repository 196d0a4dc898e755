//! Stands between the operator and the API server, counts what is written, and kills the operator
//! after the write that it was told.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use http::{Method, header};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch};

use crate::support::Cluster;

/// The largest object that is written.
const MOST_BYTES: usize = 4 * 1024 * 1024;

pub struct Proxy {
    shared: Arc<Shared>,
    kubeconfig: PathBuf,
    _folder: tempfile::TempDir,
}

struct Shared {
    client: Client,
    writes: watch::Sender<usize>,
    /// After how many writes which process is killed.
    kill: Mutex<Option<(usize, u32)>>,
    killed: watch::Sender<bool>,
}

impl Proxy {
    /// One that asks with the rights of the chart's ServiceAccount.
    pub async fn start(cluster: &Cluster) -> Self {
        let kubeconfig = Kubeconfig::read_from(cluster.operator_kubeconfig()).unwrap();
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        // A watch is silent for as long as nothing happens.
        config.read_timeout = None;
        let shared = Arc::new(Shared {
            client: Client::try_from(config).unwrap(),
            writes: watch::Sender::new(0),
            kill: Mutex::new(None),
            killed: watch::Sender::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(forward).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": server}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        });
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        Self { shared, kubeconfig: path, _folder: folder }
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What was written so far, the Lease not counted.
    pub fn writes(&self) -> usize {
        *self.shared.writes.borrow()
    }

    pub fn kill_after(&self, writes: Option<usize>, pid: u32) {
        *self.shared.kill.lock().unwrap() = writes.map(|writes| (writes, pid));
    }

    /// Waits until the process was killed.
    pub async fn killed(&self) {
        self.shared.killed.subscribe().wait_for(|killed| *killed).await.unwrap();
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, MOST_BYTES).await.unwrap();
    let path = parts.uri.path();
    let is_question = path.contains("subjectaccessreviews");
    // A policy counts what is there, some seconds later: it is no part of the story that is told.
    let is_count = path.contains("/remediationpolicies/");
    let is_write = !matches!(parts.method, Method::GET | Method::HEAD)
        && !is_question
        && !is_count
        && !path.contains("/leases");
    for name in [header::HOST, header::ACCEPT_ENCODING, header::CONTENT_LENGTH, header::CONNECTION]
    {
        parts.headers.remove(name);
    }
    let request = http::Request::from_parts(parts, kube::client::Body::from(body));
    let Ok(answer) = shared.client.send(request).await else {
        return Response::builder().status(502).body(Body::empty()).unwrap();
    };
    if is_write && answer.status().is_success() && shared.wrote() {
        // Nobody is left to read it.
        return std::future::pending().await;
    }
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::TRANSFER_ENCODING);
    Response::from_parts(parts, Body::new(body))
}

impl Shared {
    /// Counts a write; was it the last of the process?
    fn wrote(&self) -> bool {
        let mut kill = self.kill.lock().unwrap();
        self.writes.send_modify(|writes| *writes += 1);
        let Some((last, pid)) = *kill else { return false };
        if *self.writes.borrow() < last {
            return false;
        }
        *kill = None;
        let sent = Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
        assert!(sent.success(), "the operator was not there any more");
        self.killed.send_replace(true);
        true
    }
}
