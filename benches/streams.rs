//! Many who follow what happens: what each costs the operator, and whether all of them hear all of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{Timestamp, ToSpan as _};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
    rbac::v1::{Role, RoleBinding},
};
use kintsugi::domain::Digest;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::cluster::{Cluster, Memory, Operator, PATIENCE, new_namespace, objects, say};

/// Where it happens.
pub const NAMESPACE: &str = "bench-streams";
/// For how long.
const MINUTE: Duration = Duration::from_secs(60);
/// How often something happens.
const PAUSE: Duration = Duration::from_millis(200);
/// What one of them may cost.
pub const MOST_KIB: f64 = 64.0;
/// What may be added to that while something happens.
pub const MOST_GROWN_KIB: f64 = 16.0;
/// How many connect at the same time.
const AT_ONCE: usize = 50;

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// How many followed.
    pub clients: usize,
    /// The operator's memory before, with one who follows.
    pub before: Memory,
    /// Once all follow, and nothing has happened yet.
    pub connected: Memory,
    /// The most of all that was seen while it happened.
    pub most: f64,
    /// After the minute.
    pub after: Memory,
    /// How many things happened.
    pub happened: usize,
    /// How many of them whoever heard the fewest has heard.
    pub heard: usize,
    /// How many were told to all in a second.
    pub told_per_s: f64,
}

impl Measured {
    /// What one of them costs, in KiB.
    #[expect(clippy::cast_precision_loss, reason = "some thousands at most")]
    pub fn each_kib(&self) -> f64 {
        (self.after.now - self.before.now) * 1024.0 / self.clients as f64
    }

    /// How much more one of them costs, at most, once something happens, in KiB.
    #[expect(clippy::cast_precision_loss, reason = "some thousands at most")]
    pub fn grown_kib(&self) -> f64 {
        (self.most.max(self.after.now) - self.connected.now) * 1024.0 / self.clients as f64
    }

    /// What no run may miss: all of them hear all of it, in memory that stays as it is.
    ///
    /// # Errors
    /// When one of them does not, or it does not.
    pub fn holds(&self) -> anyhow::Result<()> {
        let Self { happened, heard, .. } = self;
        ensure!(heard >= happened, "somebody has heard {heard} of {happened} events");
        for (what, kib, most) in
            [("cost", self.each_kib(), MOST_KIB), ("grew by", self.grown_kib(), MOST_GROWN_KIB)]
        {
            ensure!(kib <= most, "those who follow {what} {kib:.1} KiB each: {most} are the most");
        }
        Ok(())
    }
}

/// So many follow for a minute in which something happens five times a second.
pub async fn measure(cluster: &Cluster, clients: usize) -> anyhow::Result<Measured> {
    let client = &cluster.client().await?;
    new_namespace(client, NAMESPACE).await?;
    let args = [
        "--log=info",
        "--dashboard-listen=127.0.0.1:0",
        &format!("--dashboard-streams={}", clients + 1),
        &format!("--dashboard-streams-per-person={}", clients + 1),
    ];
    let operator = Operator::start_with(cluster, NAMESPACE, &args)?;
    operator.leads(client).await?;
    let address = operator.says(cluster, NAMESPACE, "serving people").await?;
    let token = token(client).await?;
    ill(client).await?;
    operator.quiet().await?;
    let counts: Vec<Arc<AtomicUsize>> = (0..=clients).map(|_| Arc::default()).collect();
    let (mut following, mut counts) = (JoinSet::new(), counts.into_iter());
    let first = counts.next().context("nobody follows")?;
    following.spawn(follow(connect(&address, &token).await?, Arc::clone(&first)));
    for nth in 0..20 {
        happen(client, nth).await?;
    }
    heard(&first, 20).await?;
    let before = operator.memory()?;
    say(&format!("{clients} connect"));
    let counts: Vec<Arc<AtomicUsize>> = counts.collect();
    let connected: Vec<TcpStream> = stream::iter(0..clients)
        .map(|_| connect(&address, &token))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    for (connection, count) in connected.into_iter().zip(&counts) {
        following.spawn(follow(connection, Arc::clone(count)));
    }
    let connected = operator.memory()?;
    say("all of them follow");
    let (started, mut happened, mut most) = (Instant::now(), 0, connected.now);
    while started.elapsed() < MINUTE {
        happen(client, 20 + happened).await?;
        happened += 1;
        most = most.max(operator.memory()?.now);
        sleep(PAUSE).await;
    }
    for count in &counts {
        heard(count, happened).await?;
    }
    let told: usize = counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    let least = counts.iter().map(|count| count.load(Ordering::Relaxed)).min();
    #[expect(clippy::cast_precision_loss, reason = "some millions at most")]
    let told_per_s = told as f64 / started.elapsed().as_secs_f64();
    let after = operator.memory()?;
    ensure!(following.try_join_next().is_none(), "a stream ended");
    following.shutdown().await;
    operator.stop().await?;
    let heard = least.unwrap_or(0);
    Ok(Measured { clients, before, connected, most, after, happened, heard, told_per_s })
}

/// The token of somebody who may list the Incidents there.
async fn token(client: &Client) -> anyhow::Result<String> {
    let params = PostParams::default();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    let account = serde_json::from_value(json!({"metadata": {"name": "ann"}}))?;
    accounts.create(&params, &account).await?;
    let roles: Api<Role> = Api::namespaced(client.clone(), NAMESPACE);
    let role = json!({"metadata": {"name": "ann"}, "rules": [
        {"apiGroups": ["kintsugi.dev"], "resources": ["incidents"], "verbs": ["list"]}]});
    roles.create(&params, &serde_json::from_value(role)?).await?;
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), NAMESPACE);
    let binding = json!({"metadata": {"name": "ann"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "ann"},
        "subjects": [{"kind": "ServiceAccount", "name": "ann", "namespace": NAMESPACE}]});
    bindings.create(&params, &serde_json::from_value(binding)?).await?;
    let spec = TokenRequestSpec { audiences: vec!["kintsugi".to_owned()], ..Default::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let made = accounts.create_token_request("ann", &params, &request).await?;
    Ok(made.status.context("no token")?.token)
}

/// An Incident of no contract, to write into what a healing would.
async fn ill(client: &Client) -> anyhow::Result<()> {
    let digest = Digest::of_bytes(b"a");
    let incident: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "ill-1"},
        "spec": {
            "contractName": "ill", "contractUID": "none", "widget": "w", "ordinal": 1,
            "openedAt": "2026-01-01T00:00:00Z", "cause": "DocumentChanged", "severity": "Warning",
            "rulesSummary": "schema", "subject": "ill", "documentDigest": digest,
            "fingerprint": digest,
        },
    }))?;
    objects(client, NAMESPACE, "Incident")?.create(&PostParams::default(), &incident).await?;
    let status = json!({"status": {"state": "Remediating"}});
    patch(client, &status).await
}

async fn patch(client: &Client, status: &serde_json::Value) -> anyhow::Result<()> {
    let incidents = objects(client, NAMESPACE, "Incident")?;
    let params = PatchParams::default();
    incidents.patch_status("ill-1", &params, &Patch::Merge(status)).await?;
    Ok(())
}

/// One thing happens: a backoff.
async fn happen(client: &Client, nth: usize) -> anyhow::Result<()> {
    let next = Timestamp::UNIX_EPOCH + i64::try_from(nth)?.seconds();
    let message = "no step led to a document that passes: ".repeat(8);
    let status = json!({"waiting": "Backoff", "nextAttemptTime": next, "message": message});
    patch(client, &json!({"status": status})).await
}

/// Connects, and is greeted.
async fn connect(address: &str, token: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET /api/v1/stream?namespace={NAMESPACE} HTTP/1.1\r\nhost: {address}\r\n\
         authorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut read = Vec::new();
    let greeted = async {
        while !read.windows(7).any(|part| part == b"retry: ") {
            if stream.read_buf(&mut read).await? == 0 {
                bail!("refused: {}", String::from_utf8_lossy(&read));
            }
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, greeted).await.context("nobody greets")??;
    Ok(stream)
}

/// Counts what is told until it ends.
async fn follow(mut stream: TcpStream, count: Arc<AtomicUsize>) {
    let mut unread: Vec<u8> = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut unread).await {
        let mark = b"event: processing_delay";
        let mut from = 0;
        while let Some(at) = unread[from..].windows(mark.len()).position(|part| part == mark) {
            count.fetch_add(1, Ordering::Relaxed);
            from += at + mark.len();
        }
        // What may be the beginning of a mark stays.
        unread.drain(..from.max(unread.len().saturating_sub(mark.len() - 1)));
    }
}

async fn heard(count: &AtomicUsize, expected: usize) -> anyhow::Result<()> {
    let waiting = async {
        while count.load(Ordering::Relaxed) < expected {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let came = timeout(PATIENCE, waiting).await;
    let heard = count.load(Ordering::Relaxed);
    came.map_err(|_| anyhow::anyhow!("somebody has heard {heard} of {expected}"))
}
