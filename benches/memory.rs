//! The operator's memory with many contracts: made while it runs, all Ready, and then at rest.

use std::{collections::HashSet, time::Instant};

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Client,
    api::{DynamicObject, PostParams},
};

use crate::{
    cluster::{Cluster, Memory, Operator, apply, name_of, objects, say},
    documents,
    heal::is_ready,
    watch::Watch,
};

/// Where all these contracts are.
pub const NAMESPACE: &str = "bench-memory";

/// How many are created at the same time.
const AT_ONCE: usize = 16;

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// How many contracts.
    pub contracts: usize,
    /// From the first one created to the last one Ready, in seconds.
    pub all_ready_s: f64,
    /// Of the operator that saw them all created.
    pub memory: Memory,
    /// Of one that was started when they were there.
    pub restarted: Memory,
}

/// Creates the contracts and waits for quiet; then the same after a restart.
pub async fn measure(
    cluster: &Cluster,
    operator: Operator,
    contracts: usize,
) -> anyhow::Result<Measured> {
    let client = cluster.client().await?;
    apply(&client, NAMESPACE, &documents::class()).await?;
    apply(&client, NAMESPACE, &documents::policy()).await?;
    let kind = objects(&cluster.client().await?, NAMESPACE, "WidgetContract")?;
    let mut watch = Watch::start(kind, None).await?;
    say(&format!("creating {contracts} contracts"));
    let started = Instant::now();
    tokio::try_join!(create(&client, contracts), all_ready(&mut watch, contracts))?;
    drop(watch);
    let all_ready_s = started.elapsed().as_secs_f64();
    say(&format!("all are Ready after {all_ready_s:.0} s"));
    operator.quiet().await?;
    let memory = operator.memory()?;
    operator.stop().await?;
    let operator = Operator::start(cluster, NAMESPACE)?;
    operator.leads(&client).await?;
    operator.quiet().await?;
    let restarted = operator.memory()?;
    operator.stop().await?;
    Ok(Measured { contracts, all_ready_s, memory, restarted })
}

async fn create(client: &Client, contracts: usize) -> anyhow::Result<()> {
    let kind = objects(client, NAMESPACE, "WidgetContract")?;
    let kind = &kind;
    stream::iter(0..contracts)
        .map(|number| async move {
            let manifest = documents::contract(&format!("contract-{number:05}"), number);
            let object: DynamicObject = serde_json::from_value(manifest)?;
            kind.create(&PostParams::default(), &object).await.context("creating a contract")?;
            anyhow::Ok(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn all_ready(watch: &mut Watch, contracts: usize) -> anyhow::Result<()> {
    let mut ready = HashSet::new();
    while ready.len() < contracts {
        let change = watch.until("one more contract is Ready", is_ready).await?;
        if ready.insert(name_of(&change.object).to_owned()) && ready.len() % 1_000 == 0 {
            say(&format!("{} are Ready", ready.len()));
        }
    }
    if ready.len() > contracts {
        bail!("more contracts than were made")
    }
    Ok(())
}
