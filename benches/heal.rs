//! One heal: somebody breaks something, the operator mends it, and the watcher sees both how soon
//! it is mended and when all of it is written down.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::ValueEnum;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    cluster::{Cluster, apply, name_of, objects, version_of},
    documents, floor,
    watch::{Change, Watch},
};

/// The field manager of what the benchmark breaks; the audit log shows it.
pub const BREAK: &str = "bench-break";
/// The field manager of what breaks while warming up.
pub const WARM_UP: &str = "bench-warm-up";
/// The field manager of what the benchmark mends itself, as a document's owner would.
pub const MEND: &str = "bench-mend";

/// Between two heals, so that one's last Event is not in the other's way.
const PAUSE: Duration = Duration::from_millis(25);

/// What is broken, and what healed means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Case {
    /// An inline document, until the repair is written back into it.
    Document,
    /// A served key that somebody overwrites, until its bytes are back.
    Drift,
    /// A new bad document, until a repaired one is served.
    Served,
}

impl Case {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Document, Self::Drift, Self::Served];
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Document => "document",
            Self::Drift => "drift",
            Self::Served => "served",
        })
    }
}

/// How long a heal took, from the acknowledgement of the breaking write.
#[derive(Clone, Copy, Debug)]
pub struct Heal {
    /// Until the healed bytes were seen.
    pub healed: Duration,
    /// Until contract and Incident said so, too.
    pub recorded: Duration,
}

/// Breaks things and watches.
pub struct Healing {
    client: Client,
    namespace: String,
    served: Watch,
    plain: Watch,
    contracts: Watch,
    incidents: Watch,
}

impl Healing {
    /// One client breaks, another watches.
    pub async fn start(cluster: &Cluster, namespace: &str) -> anyhow::Result<Self> {
        let (client, watcher) = (cluster.client().await?, cluster.client().await?);
        let objects = |kind| objects(&watcher, namespace, kind);
        Ok(Self {
            client,
            namespace: namespace.to_owned(),
            served: Watch::start(objects("ConfigMap")?, Some("kintsugi.dev/part=served")).await?,
            plain: Watch::start(objects("ConfigMap")?, Some(floor::LABELS)).await?,
            contracts: Watch::start(objects("WidgetContract")?, None).await?,
            incidents: Watch::start(objects("Incident")?, None).await?,
        })
    }

    /// Makes the contracts of one round, a fresh one for each heal: a key that is overwritten for
    /// the third time within ten minutes is left alone, and Incidents of one contract must not
    /// get in each other's way.
    pub async fn prepare(
        &mut self,
        case: Case,
        round: usize,
        count: usize,
    ) -> anyhow::Result<Vec<String>> {
        let names: Vec<String> = (0..count).map(|at| format!("{case}-{round}-{at:03}")).collect();
        stream::iter(names.iter().enumerate())
            .map(|(at, name)| {
                let mut contract = documents::contract(name, at);
                if case == Case::Document {
                    contract["spec"]["healing"] = json!({"writeBack": "Document"});
                }
                let (client, namespace) = (&self.client, &self.namespace);
                async move { apply(client, namespace, &contract).await }
            })
            .buffer_unordered(8)
            .try_collect::<()>()
            .await?;
        let mut waiting: Vec<&str> = names.iter().map(String::as_str).collect();
        while !waiting.is_empty() {
            let ready = self.contracts.until("a new contract is Ready", is_ready).await?;
            waiting.retain(|name| *name != name_of(&ready.object));
        }
        Ok(names)
    }

    /// Breaks the contract's document or served key as `manager`, and waits for the heal.
    pub async fn heal(&mut self, case: Case, name: &str, manager: &str) -> anyhow::Result<Heal> {
        self.drain();
        let heal = match case {
            Case::Document => self.document(name, manager).await,
            Case::Drift => self.drift(name, manager).await,
            Case::Served => self.served(name, manager).await,
        };
        sleep(PAUSE).await;
        heal.with_context(|| format!("healing {name}"))
    }

    /// The same for a ConfigMap of the bare healer's.
    pub async fn floor(&mut self, name: &str) -> anyhow::Result<Duration> {
        self.drain();
        let good = documents::document(0).to_string();
        let patch = json!({"data": {"contract.json": "{}"}});
        let (broken, since) = self.write("ConfigMap", name, BREAK, &patch).await?;
        let healed = after(&mut self.plain, &broken, |object| holds(object) == Some(&good)).await?;
        sleep(PAUSE).await;
        Ok(healed.at.saturating_duration_since(since))
    }

    async fn document(&mut self, name: &str, manager: &str) -> anyhow::Result<Heal> {
        // Nothing but the fault, so that what is mended is what is served: four writes.
        let (broken, expected, since) =
            self.edit_badly(name, manager, &json!({"layout": null})).await?;
        let mends = |object: &DynamicObject| object.data["spec"]["document"]["inline"] == expected;
        let healed = after(&mut self.contracts, &broken, mends).await?;
        let recorded = self.recorded(name, "Resolved", is_ready).await?;
        Ok(Heal::between(since, &healed, recorded))
    }

    async fn drift(&mut self, name: &str, manager: &str) -> anyhow::Result<Heal> {
        let served = format!("{name}-served");
        let config_maps = self.objects("ConfigMap")?;
        let before = config_maps.get(&served).await?;
        let good = holds(&before).context("nothing is served")?.to_owned();
        let patch = json!({"data": {"contract.json": "{\"title\": \"by somebody else\"}"}});
        let (broken, since) = self.write("ConfigMap", &served, manager, &patch).await?;
        let healed =
            after(&mut self.served, &broken, |object| holds(object) == Some(&good)).await?;
        let recorded = self.recorded(name, "Resolved", is_ready).await?;
        Ok(Heal::between(since, &healed, recorded))
    }

    async fn served(&mut self, name: &str, manager: &str) -> anyhow::Result<Heal> {
        // A good edit that loses the layout.
        let edit = json!({"title": format!("An edit of {name}"), "layout": null});
        let (_, expected, since) = self.edit_badly(name, manager, &edit).await?;
        let serves = |object: &DynamicObject| {
            let text = holds(object).map(String::as_str).unwrap_or_default();
            serde_json::from_str::<Value>(text).is_ok_and(|document| document == expected)
        };
        let healed = self.served.until("a repaired document is served", serves).await?;
        let repaired = |contract: &DynamicObject| condition(contract, "Serving") == "Repaired";
        let recorded = self.recorded(name, "Mitigated", repaired).await?;
        // Its owner mends the document: the episode is over, and the next contract's turn.
        let mend = json!({"spec": {"document": {"inline": {"layout": "grid"}}}});
        self.write("WidgetContract", name, MEND, &mend).await?;
        self.recorded(name, "Resolved", is_ready).await?;
        Ok(Heal::between(since, &healed, recorded))
    }

    /// An edit of the document that loses the layout. Returns the contract as it was then, what its
    /// document is once repaired, and when the write was acknowledged.
    async fn edit_badly(
        &mut self,
        name: &str,
        manager: &str,
        bad: &Value,
    ) -> anyhow::Result<(DynamicObject, Value, Instant)> {
        let patch = json!({"spec": {"document": {"inline": bad}}});
        let (broken, since) = self.write("WidgetContract", name, manager, &patch).await?;
        let mut expected = broken.data["spec"]["document"]["inline"].clone();
        expected["layout"] = json!("grid");
        Ok((broken, expected, since))
    }

    /// One merge PATCH, and when it was acknowledged.
    async fn write(
        &self,
        kind: &str,
        name: &str,
        manager: &str,
        patch: &Value,
    ) -> anyhow::Result<(DynamicObject, Instant)> {
        let params = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
        let written = self.objects(kind)?.patch(name, &params, &Patch::Merge(patch)).await?;
        Ok((written, Instant::now()))
    }

    /// When the contract is as `condition` says and its Incident is in `state`.
    async fn recorded(
        &mut self,
        name: &str,
        state: &str,
        condition: impl Fn(&DynamicObject) -> bool,
    ) -> anyhow::Result<Instant> {
        let what = format!("an Incident {state}");
        let incident = self.incidents.until(&what, |incident| {
            incident.data["spec"]["contractName"] == name
                && incident.data["status"]["state"] == state
        });
        let incident = incident.await?.at;
        let contract = self.contracts.until("a contract that says so", |contract| {
            let counted = contract.data["status"]["episodes"].as_u64().unwrap_or(0) > 0;
            name_of(contract) == name && counted && condition(contract)
        });
        Ok(contract.await?.at.max(incident))
    }

    fn objects(&self, kind: &str) -> anyhow::Result<Api<DynamicObject>> {
        objects(&self.client, &self.namespace, kind)
    }

    fn drain(&mut self) {
        let Self { client: _, namespace: _, served, plain, contracts, incidents } = self;
        [served, plain, contracts, incidents].into_iter().for_each(Watch::drain);
    }
}

impl Heal {
    fn between(broken: Instant, healed: &Change, recorded: Instant) -> Self {
        Self {
            healed: healed.at.saturating_duration_since(broken),
            recorded: recorded.saturating_duration_since(broken),
        }
    }
}

/// The first change of the same object after `broken` that satisfies `condition`.
async fn after(
    watch: &mut Watch,
    broken: &DynamicObject,
    condition: impl Fn(&DynamicObject) -> bool,
) -> anyhow::Result<Change> {
    let (name, version) = (name_of(broken), version_of(broken));
    watch
        .until("the heal", |object| {
            name_of(object) == name && version_of(object) > version && condition(object)
        })
        .await
}

/// The document in a ConfigMap, as it is written there.
fn holds(config_map: &DynamicObject) -> Option<&String> {
    match &config_map.data["data"]["contract.json"] {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// Ready, about the spec as it is now, and in no episode.
pub fn is_ready(contract: &DynamicObject) -> bool {
    let status = &contract.data["status"];
    let current = status["observedGeneration"].as_i64() == contract.metadata.generation;
    current && condition(contract, "Ready") == "Assigned" && status["incidentRef"].is_null()
}

/// The reason of a condition that is True; empty when it is not.
fn condition<'a>(contract: &'a DynamicObject, type_: &str) -> &'a str {
    let conditions = contract.data["status"]["conditions"].as_array();
    let mut found = conditions.into_iter().flatten().filter(|c| c["type"] == type_);
    let is_true = found.find(|condition| condition["status"] == "True");
    is_true.and_then(|condition| condition["reason"].as_str()).unwrap_or_default()
}
