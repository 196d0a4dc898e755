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
        measure::prepare(&metrics);
        let client = client(config.watch_timeout.to_std(), Arc::clone(&metrics)).await?;
        let desk = Arc::new(Desk::new(client.clone(), &config, metrics)?);
        let (endpoint, health) = (config.otlp_endpoint.as_deref(), Arc::clone(&desk.health));
        Ok(Self {
            outbound: Arc::new(Outbound::new(config.outbound())?),
            traces: Arc::new(Traces::new(endpoint, &config.identity, health)?),
            desk,
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
        let leader = Arc::new(Leader::new(&self.config, self.desk.reached_at()));
        let exported = CancellationToken::new();
        let scrapes = Arc::clone(&self.desk.scrapes);
        let health = Arc::clone(&self.desk.health);
        let export = export::start(&self.config, scrapes, health, exported.clone())?;
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
    config.read_timeout = Some(watch::patience(watch_timeout));
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
            let ended = self.shutdown.child_token();
            let spell = Spell::begin(&self.desk, Arc::new(self.ctx(leader, &ended)));
            tokio::select! {
                () = lead(&spell, &ended) => return,
                _ = leading.wait_for(|leading| !*leading) => {
                    warn!("leadership was lost; all work is dropped");
                    ended.cancel();
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

/// A spell of leadership, for those who ask: however it ends, nothing that was remembered in it is told from
/// then on.
struct Spell<'a> {
    desk: &'a Desk,
    ctx: Arc<Ctx>,
}

impl<'a> Spell<'a> {
    fn begin(desk: &'a Desk, ctx: Arc<Ctx>) -> Self {
        desk.begin(&ctx);
        Self { desk, ctx }
    }

    /// Every first list is in. Not before that is it said that somebody leads: a leader who is not allowed one
    /// of them heals nothing, and whoever is called when nobody leads must be called then, too.
    fn works(&self) {
        info!("every list is in");
        self.desk.health.listed(true);
        measure::begin(&self.ctx);
    }
}

impl Drop for Spell<'_> {
    fn drop(&mut self) {
        self.desk.health.listed(false);
        measure::end(&self.ctx);
        self.desk.end();
    }
}

/// Watches and works until `ended`.
async fn lead(spell: &Spell<'_>, ended: &CancellationToken) {
    let ctx = &spell.ctx;
    let mut watches = JoinSet::new();
    let mut workers = JoinSet::new();
    let start = async {
        watch::surroundings(ctx, &mut watches, ended).await;
        for _ in 0..ctx.config.concurrency {
            workers.spawn(contract::work(Arc::clone(ctx)));
        }
        watch::contracts(ctx, &mut watches, ended).await;
        ctx.index.listed_contracts();
        // What a policy says of itself is counted over all that is there.
        workers.spawn(policy::work(Arc::clone(ctx)));
        workers.spawn(parents::work(Arc::clone(ctx)));
    };
    tokio::select! {
        () = start => {
            spell.works();
            tokio::select! {
                () = ended.cancelled() => {}
                // A worker or a watch that ends by itself would be a dead operator with a live
                // lease: end the spell instead, so that somebody takes over.
                _ = workers.join_next() => error!("a worker ended"),
                _ = watches.join_next() => {
                    if !ended.is_cancelled() {
                        error!("a watch ended");
                    }
                }
            }
        }
        () = ended.cancelled() => {}
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

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;
    use crate::controllers::health::Election;

    #[tokio::test]
    async fn a_spell_is_told_of_from_the_moment_that_every_list_is_in_until_it_ends_however_it_does()
     {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let command = Config::augment_args(clap::Command::new("run"));
        let config = Config::from_arg_matches(&command.get_matches_from(["run"])).unwrap();
        let nowhere = KubeConfig::new("http://127.0.0.1:9".parse().unwrap());
        let client = Client::try_from(nowhere).unwrap();
        let metrics = Arc::new(Metrics::default());
        let desk = Desk::new(client.clone(), &config, Arc::clone(&metrics)).unwrap();
        let desk = Arc::new(desk);
        let operator = Operator {
            outbound: Arc::new(Outbound::new(config.outbound()).unwrap()),
            traces: Arc::new(Traces::new(None, "operator", Arc::default()).unwrap()),
            shutdown: CancellationToken::new(),
            client,
            config,
            desk: Arc::clone(&desk),
        };
        let leader = Arc::new(Leader::new(&operator.config, None));
        desk.health.election(Election::Leads);
        let told = || {
            let leads = metrics.text().unwrap().contains("\nkintsugi_leader{} 1\n");
            (leads, desk.health.ready().is_ok())
        };
        let spell = Spell::begin(&desk, Arc::new(operator.ctx(&leader, &operator.shutdown)));
        assert_eq!(told(), (false, false), "the first lists are not in");
        spell.works();
        assert_eq!(told(), (true, true));
        drop(spell);
        assert_eq!(told(), (false, false));
    }
}
