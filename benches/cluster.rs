//! The control plane and the operator under test, as `benches/run.sh` started and built them.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Namespace};
use kintsugi::api::{Incident, RemediationPolicy, WidgetClass, WidgetContract};
use kube::{
    Api, Client, Config, Resource,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::ApiResource,
};
use serde_json::Value;
use tokio::time::sleep;

/// Longest wait for anything that should take milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Who the operator is for the API server.
pub const OPERATOR: &str = "system:serviceaccount:kintsugi-system:kintsugi";

/// A line of progress.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "bench: {line}");
}

/// The control plane.
#[derive(Clone, Debug)]
pub struct Cluster {
    state: PathBuf,
    /// The release binary. Not the one that cargo builds beside this benchmark: development
    /// dependencies switch on features of others that nobody ships.
    pub binary: PathBuf,
}

impl Cluster {
    /// The one that `benches/run.sh` has started.
    pub fn running() -> anyhow::Result<Self> {
        let path = |name: &str| std::env::var_os(name).context("run `make bench`");
        let (state, binary) = (path("KINTSUGI_BENCH_STATE")?, path("KINTSUGI_BENCH_OPERATOR")?);
        Ok(Self { state: state.into(), binary: binary.into() })
    }

    /// A client of its own, with its own connections.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let kubeconfig = Kubeconfig::read_from(self.state.join("admin.kubeconfig"))?;
        let options = KubeConfigOptions::default();
        Ok(Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &options).await?)?)
    }

    /// Does etcd flush each write to the disk?
    pub fn flushes() -> bool {
        std::env::var_os("FSYNC").is_some_and(|fsync| fsync == "1")
    }

    /// Where the API server writes down each request.
    pub fn audit_log(&self) -> PathBuf {
        self.state.join("audit.log")
    }
}

/// Makes a namespace.
pub async fn new_namespace(client: &Client, name: &str) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    namespaces.create(&PostParams::default(), &namespace).await?;
    Ok(())
}

/// The kinds that the benchmark handles as plain JSON.
pub fn resource(kind: &str) -> anyhow::Result<ApiResource> {
    Ok(match kind {
        "ConfigMap" => ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&()),
        "WidgetContract" => ApiResource::erase::<WidgetContract>(&()),
        "WidgetClass" => ApiResource::erase::<WidgetClass>(&()),
        "RemediationPolicy" => ApiResource::erase::<RemediationPolicy>(&()),
        "Incident" => ApiResource::erase::<Incident>(&()),
        "Event" => ApiResource::erase::<k8s_openapi::api::events::v1::Event>(&()),
        _ => bail!("{kind} is no kind of the benchmark's"),
    })
}

/// Objects of one kind in one namespace.
pub fn objects(client: &Client, namespace: &str, kind: &str) -> anyhow::Result<Api<DynamicObject>> {
    Ok(Api::namespaced_with(client.clone(), namespace, &resource(kind)?))
}

/// Applies a manifest. A field that the API server does not know is an error: what would be
/// measured without it is something else.
pub async fn apply(client: &Client, namespace: &str, manifest: &Value) -> anyhow::Result<()> {
    let text = |part: &Value| part.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&manifest["kind"]), text(&manifest["metadata"]["name"]));
    let params = PatchParams::apply("bench").validation_strict();
    objects(client, namespace, &kind)?
        .patch(&name, &params, &Patch::Apply(manifest))
        .await
        .with_context(|| format!("applying {kind} {name}"))?;
    Ok(())
}

/// The memory of a process in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident now.
    pub now: f64,
    /// Of it, what is no part of a file: not the pages of the binary, which others may share.
    pub anonymous: f64,
    /// The most that was ever resident.
    pub peak: f64,
}

/// The release binary as a process, with the rights that the chart gives.
#[derive(Debug)]
pub struct Operator {
    child: Child,
}

impl Operator {
    /// Starts it for one namespace.
    pub fn start(cluster: &Cluster, namespace: &str) -> anyhow::Result<Self> {
        Self::start_with(cluster, namespace, &["--log=warn"])
    }

    /// The same; `args` come on top.
    pub fn start_with(cluster: &Cluster, namespace: &str, args: &[&str]) -> anyhow::Result<Self> {
        let log = cluster.state.join(format!("operator-{namespace}.log"));
        let child = Command::new(&cluster.binary)
            .args(["run", "--listen=127.0.0.1:0"])
            .args(["--lease-namespace=kintsugi-system", "--lease-name=kintsugi"])
            .arg(format!("--namespaces={namespace}"))
            .args(args)
            .env("KUBECONFIG", cluster.state.join("operator.kubeconfig"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("starting the operator")?;
        Ok(Self { child })
    }

    /// Waits until it holds the Lease.
    pub async fn leads(&self, client: &Client) -> anyhow::Result<()> {
        let leases: Api<Lease> = Api::namespaced(client.clone(), "kintsugi-system");
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let lease = leases.get_opt("kintsugi").await?;
            let holder = lease.and_then(|lease| lease.spec).and_then(|spec| spec.holder_identity);
            if holder.is_some_and(|holder| !holder.is_empty()) {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("the operator does not come to lead; see its log in .run")
    }

    /// The address in the line of its log that says `what`.
    pub async fn says(
        &self,
        cluster: &Cluster,
        namespace: &str,
        what: &str,
    ) -> anyhow::Result<String> {
        let log = cluster.state.join(format!("operator-{namespace}.log"));
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let text = fs::read_to_string(&log)?;
            let line = text.lines().find(|line| line.contains(what));
            let line = line.and_then(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(address) = line.as_ref().and_then(|line| line["address"].as_str()) {
                return Ok(address.to_owned());
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("the operator does not say: {what}")
    }

    /// Waits until it has used next to no CPU for three seconds.
    pub async fn quiet(&self) -> anyhow::Result<()> {
        let mut before = self.cpu_ticks()?;
        for _ in 0..100 {
            sleep(Duration::from_secs(3)).await;
            let now = self.cpu_ticks()?;
            if now - before <= 1 {
                return Ok(());
            }
            before = now;
        }
        bail!("the operator does not come to rest")
    }

    /// Its memory.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
            kib.map(|kib| kib / 1024.0).with_context(|| format!("no {name} in its status"))
        };
        Ok(Memory { now: mib("VmRSS:")?, anonymous: mib("RssAnon:")?, peak: mib("VmHWM:")? })
    }

    /// The CPU time that it has used, in hundredths of a second.
    fn cpu_ticks(&self) -> anyhow::Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after_name = stat.rsplit_once(')').context("no name in its stat")?.1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let field = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
        Ok(field(11).context("no utime")? + field(12).context("no stime")?)
    }

    /// Asks it to end, as Kubernetes would, and waits.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        for _ in 0..150 {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("the operator does not end")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The name of an object, which every object here has.
pub fn name_of(object: &DynamicObject) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

/// The version of an object, as the number that it is.
pub fn version_of(object: &DynamicObject) -> u64 {
    object.meta().resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}
