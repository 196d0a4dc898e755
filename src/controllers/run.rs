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
    documents::Documents,
    echo::Echoes,
    export,
    index::Index,
    leader::Leader,
    measure, observe, parents,
    policy::{self, Policies},
    queue::Queue,
    requests::Requests,
    traces::Traces,
    watch, webhook,
};
use crate::{
    config::Config,
    http::{self, Health},
    metrics::Metrics,
    outbound::{Outbound, Prober},
};

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start: no API server to be found, the listening address is taken.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    stop_on_signals(shutdown.clone())?;
    let metrics = Arc::new(Metrics::default());
    let client = client(config.watch_timeout.to_std(), Arc::clone(&metrics)).await?;
    let outbound = Arc::new(Outbound::new(config.outbound())?);
    let traces = Arc::new(Traces::new(config.otlp_endpoint.as_deref(), &config.identity)?);
    let leader = Arc::new(Leader::new(&config));
    let health = Arc::new(Health::default());
    let exported = CancellationToken::new();
    let export = export::start(&config, Arc::clone(&metrics), exported.clone())?;
    let said = (Arc::clone(&health), Arc::clone(&metrics));
    let server = http::serve(config.listen, said.0, said.1, shutdown.clone()).await?;
    let election = tokio::spawn({
        let (leader, client) = (Arc::clone(&leader), client.clone());
        // The lease is given up only after the last write, so it has a token of its own.
        let released = CancellationToken::new();
        let stop = released.clone();
        let standing = Arc::clone(&health);
        let ending = shutdown.clone();
        let work = work(
            client.clone(),
            config.clone(),
            Arc::clone(&leader),
            outbound,
            Arc::clone(&traces),
            (health, metrics),
            shutdown.clone(),
        );
        async move {
            let election = leader.run(client, &config, &standing, stop);
            let work = async move {
                work.await;
                // Work that ended by itself ends the process: a live one that does nothing is worse.
                let by_itself = !ending.is_cancelled();
                ending.cancel();
                released.cancel();
                by_itself
            };
            tokio::join!(election, work).1
        }
    });
    let by_itself = election.await.context("the election ended")?;
    server.await.context("the HTTP server ended")?;
    exported.cancel();
    // Sending blocks, and must not hold up the runtime's other threads.
    let spans = tokio::task::spawn_blocking(move || traces.shutdown());
    if let Some(export) = export {
        export.await.context("sending the last metrics")?;
    }
    spans.await.context("sending the last spans")?;
    info!("stopped");
    anyhow::ensure!(!by_itself, "a worker or a watch ended by itself; see the log");
    Ok(())
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

/// One spell of leadership after the other, until `shutdown`.
async fn work(
    client: Client,
    config: Config,
    leader: Arc<Leader>,
    outbound: Arc<Outbound>,
    traces: Arc<Traces>,
    (health, metrics): (Arc<Health>, Arc<Metrics>),
    shutdown: CancellationToken,
) {
    let mut leading = leader.watch();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            waited = leading.wait_for(|leading| *leading) => if waited.is_err() { return },
        }
        let ctx = Arc::new(Ctx {
            client: client.clone(),
            documents: Documents::new(&config),
            config: config.clone(),
            index: Index::default(),
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
            leader: Arc::clone(&leader),
            traces: Arc::clone(&traces),
            prober: Prober::new(Arc::clone(&outbound)),
            outbound: Arc::clone(&outbound),
            metrics: Arc::clone(&metrics),
        });
        let spell = shutdown.child_token();
        measure::begin(&ctx);
        let lead = lead(&ctx, &health, &spell);
        tokio::select! {
            () = lead => return measure::end(&ctx),
            _ = leading.wait_for(|leading| !*leading) => {
                warn!("leadership was lost; all work is dropped");
                health.listed(false);
                measure::end(&ctx);
                spell.cancel();
            }
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
