//! Many contracts that break at once and stay broken: what that puts into etcd, what it asks of the
//! API server, and whether it ends there.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io::{BufRead as _, BufReader},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use jiff::Timestamp;
use kube::{
    Client,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    cluster::{Cluster, Memory, OPERATOR, Operator, apply, name_of, objects, say},
    documents,
    memory::NAMESPACE,
    requests::Entry,
    watch::Watch,
};

/// How long it is watched that nothing goes on once all is written down.
pub const STILL: Duration = Duration::from_secs(60);
/// How long nothing is written before all counts as written.
const PAUSE: Duration = Duration::from_secs(15);
/// Objects in one answer to a LIST.
const PAGE: u32 = 500;
const KINDS: [&str; 4] = ["Incident", "Event", "ConfigMap", "WidgetContract"];

/// What came of all contracts being broken at once.
#[derive(Debug)]
pub struct Broken {
    /// From the change to the last write, in seconds.
    pub settled_s: f64,
    /// Objects and their bytes by kind, before and after.
    pub objects: BTreeMap<&'static str, (Stored, Stored)>,
    /// What etcd holds in MiB, before and after.
    pub etcd_mib: (f64, f64),
    /// The operator's.
    pub memory: Memory,
    /// Its writes by verb and resource.
    pub writes: BTreeMap<String, usize>,
    /// Its writes within [`STILL`] of that, its Lease apart.
    pub still: usize,
}

/// Objects of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stored {
    /// How many.
    pub count: usize,
    /// How long they are as JSON.
    pub bytes: usize,
}

/// Breaks the contracts that [`crate::memory`] has made, by one change of the schema they share.
/// Nothing is mended: whatever else is measured has been before.
pub async fn measure(cluster: &Cluster, contracts: usize) -> anyhow::Result<Broken> {
    let client = &cluster.client().await?;
    // Storms and budgets as they are where nobody has set them.
    let mut policy = documents::policy();
    let spec = policy["spec"].as_object_mut().context("a policy without spec")?;
    spec.remove("storm");
    spec.remove("budget");
    apply(client, NAMESPACE, &policy).await?;
    let operator = Operator::start(cluster, NAMESPACE)?;
    operator.leads(client).await?;
    operator.quiet().await?;
    let (before, etcd_before) = (stored(client).await?, etcd_mib(client).await?);
    let mut incidents = Watch::start(objects(client, NAMESPACE, "Incident")?, None).await?;
    let mut broken = Watch::start(objects(client, NAMESPACE, "WidgetContract")?, None).await?;
    say(&format!("breaking {contracts} contracts"));
    let (written, started) = (writes(cluster)?.len(), Instant::now());
    require(client, &json!(["title", "wanted"])).await?;
    // All Incidents are opened before the first status tells of one.
    let of_contract = |incident: &DynamicObject| incident.data["spec"]["contractName"].is_string();
    each(&mut incidents, contracts, "one more Incident", of_contract).await?;
    let fails = |contract: &DynamicObject| {
        let conditions = contract.data["status"]["conditions"].as_array();
        let mut valid = conditions.into_iter().flatten().filter(|c| c["type"] == "Valid");
        valid.any(|condition| condition["status"] == "False")
    };
    each(&mut broken, contracts, "one more contract is told to be broken", fails).await?;
    say(&format!("all are told to be broken after {:.0} s", started.elapsed().as_secs_f64()));
    // It looks at each of them every minute or two, so it is its writes that come to an end.
    let mut by_then = writes(cluster)?.split_off(written);
    loop {
        sleep(PAUSE).await;
        let now = writes(cluster)?.split_off(written);
        if now.len() == by_then.len() {
            break;
        }
        by_then = now;
    }
    sleep(STILL).await;
    let still = writes(cluster)?.len() - written - by_then.len();
    let memory = operator.memory()?;
    let (after, etcd_after) = (stored(client).await?, etcd_mib(client).await?);
    let between = |first: &Write, last: &Write| last.0.duration_since(first.0).as_secs_f64();
    let settled_s = by_then.first().zip(by_then.last()).map_or(0.0, |(a, b)| between(a, b));
    let mut by_kind = BTreeMap::new();
    for (_, what) in by_then {
        *by_kind.entry(what).or_insert(0) += 1;
    }
    operator.stop().await?;
    let pair = |kind| (before[kind], after[kind]);
    Ok(Broken {
        settled_s,
        objects: KINDS.into_iter().map(|kind| (kind, pair(kind))).collect(),
        etcd_mib: (etcd_before, etcd_after),
        memory,
        writes: by_kind,
        still,
    })
}

/// Waits until so many objects of different names were as `condition` says.
async fn each(
    watch: &mut Watch,
    count: usize,
    what: &str,
    condition: impl Fn(&DynamicObject) -> bool,
) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    while seen.len() < count {
        let change = watch.until(what, &condition).await?;
        seen.insert(name_of(&change.object).to_owned());
    }
    Ok(())
}

/// Has the schema require these fields.
async fn require(client: &Client, fields: &Value) -> anyhow::Result<()> {
    let classes = objects(client, NAMESPACE, "WidgetClass")?;
    let patch = json!({"spec": {"schema": {"inline": {"required": fields}}}});
    classes.patch("storefinder", &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

async fn stored(client: &Client) -> anyhow::Result<BTreeMap<&'static str, Stored>> {
    let mut all = BTreeMap::new();
    for kind in KINDS {
        let api = objects(client, NAMESPACE, kind)?;
        let (mut sum, mut next) = (Stored::default(), None);
        loop {
            let mut params = ListParams::default().limit(PAGE);
            params.continue_token = next;
            let page = api.list(&params).await.with_context(|| format!("listing {kind}"))?;
            let size = |object: &DynamicObject| serde_json::to_vec(object).map(|json| json.len());
            for object in &page.items {
                sum.count += 1;
                sum.bytes += size(object)?;
            }
            next = page.metadata.continue_.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        all.insert(kind, sum);
    }
    Ok(all)
}

/// How large the API server finds the database.
async fn etcd_mib(client: &Client) -> anyhow::Result<f64> {
    let text = client.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
    let line = text.lines().find(|line| line.starts_with("apiserver_storage_size_bytes{"));
    let bytes = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(bytes.context("the API server does not tell the size of etcd")? / f64::from(1 << 20))
}

/// When, and what.
type Write = (Timestamp, String);

/// All of the operator's writes but those of its Lease, from the audit log and what was rotated out
/// of it, in their order.
fn writes(cluster: &Cluster) -> anyhow::Result<Vec<Write>> {
    let log = cluster.audit_log();
    let folder = log.parent().context("no folder of the audit log")?;
    let mut found = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        if !name.starts_with("audit") || name == "audit.yaml" {
            continue;
        }
        for line in BufReader::new(File::open(file.path())?).lines() {
            let line = line?;
            if line.contains(OPERATOR) {
                let entry = serde_json::from_str::<Entry>(&line);
                found.extend(entry.ok().and_then(|entry| entry.written()));
            }
        }
    }
    found.sort();
    Ok(found)
}
