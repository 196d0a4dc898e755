//! `kintsugi run`: waits for leadership, works while it lasts, shuts down in order.
//!
//! Each spell of leadership starts with empty memory, as after a restart: what is in status is
//! enough, and nothing that was remembered before can be wrong about what another replica did.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use kube::{Client, Config as KubeConfig, client::ClientBuilder};
use moka::sync::Cache;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    Ctx, contract,
    desk::Desk,
    documents::Documents,
    echo::Echoes,
    export,
    health::Health,
    index::Index,
    leader::Leader,
    live::Live,
    measure, observe, parents,
    policy::{self, Policies},
    queue::Queue,
    requests::Requests,
    traces::Traces,
    watch, webhook,
};
use crate::{
    config::Config,
    metrics::Metrics,
    outbound::{Outbound, Prober},
};

/// The operator, ready to run.
pub struct Operator {
    config: Config,
    client: Client,
    outbound: Arc<Outbound>,
    traces: Arc<Traces>,
    desk: Arc<Desk>,
    shutdown: CancellationToken,
}

impl Operator {
    /// Everything that it needs; it stops with `shutdown`, which SIGTERM and SIGINT cancel.
    ///
    /// # Errors
    /// When it cannot start: no API server to be found, a flag that says nothing usable.
    pub async fn new(config: Config, shutdown: CancellationToken) -> anyhow::Result<Self> {
        stop_on_signals(shutdown.clone())?;
        let metrics = Arc::new(Metrics::default());
        let client = client(config.watch_timeout.to_std(), Arc::clone(&metrics)).await?;
        Ok(Self {
            outbound: Arc::new(Outbound::new(config.outbound())?),
            traces: Arc::new(Traces::new(config.otlp_endpoint.as_deref(), &config.identity)?),
            desk: Arc::new(Desk::new(client.clone(), &config, metrics)?),
            client,
            config,
            shutdown,
        })
    }

    /// Where people are answered.
    #[must_use]
    pub fn desk(&self) -> Arc<Desk> {
        Arc::clone(&self.desk)
    }

    /// Works, whenever it leads, until it is to stop.
    ///
    /// # Errors
    /// When something that should go on for ever ended by itself.
    pub async fn run(self) -> anyhow::Result<()> {
        let leader = Arc::new(Leader::new(&self.config));
        let exported = CancellationToken::new();
        let metrics = Arc::clone(&self.desk.metrics);
        let export = export::start(&self.config, metrics, exported.clone())?;
        // The lease is given up only after the last write, so it has a token of its own.
        let released = CancellationToken::new();
        let election =
            leader.run(self.client.clone(), &self.config, &self.desk.health, released.clone());
        let work = async {
            self.work(&leader).await;
            // Work that ended by itself ends the process: a live one that does nothing is worse.
            let by_itself = !self.shutdown.is_cancelled();
            self.shutdown.cancel();
            released.cancel();
            by_itself
        };
        let ((), by_itself) = tokio::join!(election, work);
        exported.cancel();
        // Sending blocks, and must not hold up the runtime's other threads.
        let spans = tokio::task::spawn_blocking(move || self.traces.shutdown());
        if let Some(export) = export {
            export.await.context("sending the last metrics")?;
        }
        spans.await.context("sending the last spans")?;
        info!("stopped");
        anyhow::ensure!(!by_itself, "a worker or a watch ended by itself; see the log");
        Ok(())
    }
}

async fn client(watch_timeout: Duration, metrics: Arc<Metrics>) -> anyhow::Result<Client> {
    let mut config = KubeConfig::infer().await.context(
        "no API server found: neither KUBECONFIG, ~/.kube/config nor a pod's ServiceAccount",
    )?;
    config.connect_timeout = Some(Duration::from_secs(5));
    // A list, or the opening of a watch, that is never answered; longer than a watch may be idle.
    config.read_timeout = Some(watch_timeout + Duration::from_secs(15));
    let builder = ClientBuilder::try_from(config)
        .context("the API server's address or credentials cannot be used")?;
    Ok(builder.with_layer(&Requests(metrics)).build())
}

impl Operator {
    /// One spell of leadership after the other, until it is to stop.
    async fn work(&self, leader: &Arc<Leader>) {
        let mut leading = leader.watch();
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                waited = leading.wait_for(|leading| *leading) => if waited.is_err() { return },
            }
            let spell = self.shutdown.child_token();
            let ctx = Arc::new(self.ctx(leader, &spell));
            measure::begin(&ctx);
            self.desk.begin(&ctx);
            let lead = lead(&ctx, &self.desk.health, &spell);
            tokio::select! {
                () = lead => return measure::end(&ctx),
                _ = leading.wait_for(|leading| !*leading) => {
                    warn!("leadership was lost; all work is dropped");
                    self.desk.health.listed(false);
                    measure::end(&ctx);
                    self.desk.end();
                    spell.cancel();
                }
            }
        }
    }

    fn ctx(&self, leader: &Arc<Leader>, spell: &CancellationToken) -> Ctx {
        let live = Arc::new(Live::new(super::now(), spell.clone()));
        Ctx {
            client: self.client.clone(),
            documents: Documents::new(&self.config),
            config: self.config.clone(),
            index: Index::new(Arc::clone(&live)),
            live,
            max_modes: Cache::builder()
                .max_capacity(10_000)
                .time_to_live(observe::MAX_MODE_AGE)
                .build(),
            approval_guard: Cache::builder().time_to_live(observe::GUARD_AGE).build(),
            told: webhook::memory(),
            echoes: Echoes::default(),
            queue: Queue::default(),
            policies: Policies::default(),
            families: Queue::default(),
            leader: Arc::clone(leader),
            traces: Arc::clone(&self.traces),
            prober: Prober::new(Arc::clone(&self.outbound)),
            outbound: Arc::clone(&self.outbound),
            metrics: Arc::clone(&self.desk.metrics),
            health: Arc::clone(&self.desk.health),
        }
    }
}

/// Watches and works until `spell` ends.
async fn lead(ctx: &Arc<Ctx>, health: &Health, spell: &CancellationToken) {
    let mut watches = JoinSet::new();
    let mut workers = JoinSet::new();
    let start = async {
        watch::surroundings(ctx, &mut watches, spell).await;
        for _ in 0..ctx.config.concurrency {
            workers.spawn(contract::work(Arc::clone(ctx)));
        }
        watch::contracts(ctx, &mut watches, spell).await;
        ctx.index.listed_contracts();
        // What a policy says of itself is counted over all that is there.
        workers.spawn(policy::work(Arc::clone(ctx)));
        workers.spawn(parents::work(Arc::clone(ctx)));
    };
    tokio::select! {
        () = start => {
            info!("every list is in");
            health.listed(true);
            tokio::select! {
                () = spell.cancelled() => {}
                // A worker or a watch that ends by itself would be a dead operator with a live
                // lease: end the spell instead, so that somebody takes over.
                _ = workers.join_next() => error!("a worker ended"),
                _ = watches.join_next() => {
                    if !spell.is_cancelled() {
                        error!("a watch ended");
                    }
                }
            }
        }
        () = spell.cancelled() => {}
    }
    ctx.queue.close();
    ctx.policies.close();
    ctx.families.close();
    let drained = async { while workers.join_next().await.is_some() {} };
    if timeout(ctx.config.drain_timeout.to_std(), drained).await.is_err() {
        warn!("work under way did not end in time; it is dropped");
        workers.shutdown().await;
    }
}

fn stop_on_signals(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: stopping"),
            _ = interrupt.recv() => info!("SIGINT: stopping"),
        }
        shutdown.cancel();
    });
    Ok(())
}
