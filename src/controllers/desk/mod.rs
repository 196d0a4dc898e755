//! Where people are answered: what they may see of the operator and ask of it, through whichever door.
//!
//! Knows: the API server's word on who somebody is and what they may do, and what is remembered while
//! this replica leads. Must not know: HTTP. Nothing is shown or done without a [`Person`], and of a
//! person only what Kubernetes' own rules allow: there are no rights of our own.
//!
//! ```text
//! person.rs   whose token is this?       TokenReview
//! pass.rs     what they carry instead
//! rights.rs   may they do that?          SubjectAccessReview
//! shown/      what there is to see
//! act.rs      what they may ask for
//! watch.rs    what happens, as it happens
//! turns.rs    whose turn it is to have the API server asked
//! shares.rs   how much of something one of many may take
//! ```

pub mod act;
pub mod pass;
pub mod person;
pub mod rights;
pub mod shares;
pub mod shown;
mod turns;
pub mod watch;

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak, atomic::AtomicU32},
    time::Duration,
};

use anyhow::Context as _;
use jiff::Timestamp;
use kube::Client;
use moka::sync::Cache;
use tokio::{sync::Semaphore, time::timeout};

use self::{
    pass::Passes,
    shares::Shares,
    turns::{For, Turn, Turns},
};
pub use self::{person::Person, rights::Ask};
use super::{Ctx, Error, answered, health::Health, scrape::Scrapes};
use crate::{config::Config, metrics::Metrics};

/// Why somebody gets no answer.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Nobody is known by this token: it is forged, has expired, or is for somebody else.
    #[error("{0}")]
    Unknown(&'static str),
    /// They lack a right.
    #[error("{0}")]
    Forbidden(String),
    /// There is none.
    #[error("{0}")]
    NotFound(String),
    /// What was asked for cannot be done; names the field.
    #[error("{0}")]
    Invalid(String),
    /// What was asked for is no more, or not yet, as it was seen.
    #[error("{0}")]
    Conflict(String),
    /// They have had what one of many may have: ask again after so long.
    #[error("{why}")]
    TooMany {
        /// Of what.
        why: &'static str,
        /// When to ask again.
        after: Duration,
    },
    /// Not now: ask again after so long.
    #[error("{why}")]
    Unavailable {
        /// What is missing.
        why: String,
        /// When to ask again.
        after: Duration,
    },
}

impl Refused {
    /// A missing right leaves a gap in an answer, and this is why; anything else refuses all of it.
    ///
    /// # Errors
    /// What is no gap.
    pub fn or_gap<T>(answer: Result<T, Self>) -> Result<Result<T, String>, Self> {
        match answer {
            Ok(seen) => Ok(Ok(seen)),
            Err(Self::Forbidden(why)) => Ok(Err(why)),
            Err(other) => Err(other),
        }
    }
}

/// Nobody can answer now, for this reason.
fn unavailable(why: String) -> Refused {
    Refused::Unavailable { why, after: Duration::from_secs(5) }
}

/// A key is at least so long, in bytes.
const SHORTEST_KEY: usize = 32;

fn key_in(path: &Path) -> anyhow::Result<Vec<u8>> {
    let flag = "--dashboard-key-file";
    let key = std::fs::read(path).with_context(|| format!("{flag}: {}", path.display()))?;
    anyhow::ensure!(key.len() >= SHORTEST_KEY, "{flag}: has less than {SHORTEST_KEY} bytes");
    Ok(key)
}

/// The clock, for what ends and for what is asked for.
#[expect(clippy::disallowed_methods, reason = "asked here and passed on")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// The desk.
pub struct Desk {
    /// What the operator says of itself.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The same, written down.
    pub scrapes: Arc<Scrapes>,
    /// Where a trace is looked at, with `{trace}` in the place of its id.
    pub traces: Option<String>,
    client: Client,
    api_timeout: Duration,
    audience: String,
    /// The hosts by whose name whoever brings no token may ask.
    pub hosts: Vec<String>,
    turns: Turns,
    people: Cache<person::Fingerprint, Arc<Person>>,
    nobodies: Cache<person::Fingerprint, ()>,
    acquainted: Cache<person::Fingerprint, ()>,
    strangers: Cache<IpAddr, Arc<AtomicU32>>,
    rights: Cache<rights::Question, bool>,
    passes: Passes,
    anonymous: bool,
    /// Those who follow what happens, in all and each.
    streams: Arc<Semaphore>,
    followers: Shares<String>,
    lately: shown::Fresh<shown::Lately>,
    log: shown::Kept,
    pod_ip: Option<IpAddr>,
    reached_at: OnceLock<SocketAddr>,
    spell: Mutex<Weak<Ctx>>,
}

impl Desk {
    /// A desk at which nobody leads yet.
    ///
    /// # Errors
    /// When the key that passes are signed with cannot be read.
    pub fn new(client: Client, config: &Config, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let key = config.dashboard_key_file.as_deref().map(key_in).transpose()?;
        Ok(Self {
            health: Arc::default(),
            scrapes: Arc::new(Scrapes::new(Arc::clone(&metrics))),
            metrics,
            traces: config.dashboard_traces.clone(),
            client,
            api_timeout: config.api_timeout.to_std(),
            audience: config.dashboard_audience.clone(),
            hosts: config.dashboard_host.clone(),
            turns: Turns::default(),
            people: person::memory(),
            nobodies: person::memory(),
            acquainted: person::acquaintances(),
            strangers: person::strangers(),
            rights: rights::memory(),
            passes: Passes::new(key.as_deref())?,
            anonymous: config.dashboard_anonymous,
            streams: Arc::new(Semaphore::new(usize::from(config.dashboard_streams))),
            followers: Shares::new(usize::from(config.streams_of_one())),
            lately: shown::Fresh::default(),
            log: shown::memory(),
            pod_ip: config.pod_ip,
            reached_at: OnceLock::new(),
            spell: Mutex::default(),
        })
    }

    /// People are answered at this port: the other replicas send them on to it while this one leads.
    pub fn answers_at(&self, port: u16) {
        if let Some(ip) = self.pod_ip {
            // It listens once.
            let _ = self.reached_at.set(SocketAddr::new(ip, port));
        }
    }

    /// Where the other replicas reach this one.
    pub(super) fn reached_at(&self) -> Option<SocketAddr> {
        self.reached_at.get().copied()
    }

    /// From now on this replica leads, and remembers in `ctx`.
    pub fn begin(&self, ctx: &Arc<Ctx>) {
        self.now_leads(Arc::downgrade(ctx));
    }

    /// The clock, for those who say how long ago something was.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        now()
    }

    /// It leads no more.
    pub fn end(&self) {
        self.now_leads(Weak::new());
    }

    fn now_leads(&self, ctx: Weak<Ctx>) {
        // No code that can panic runs under this lock, so poison carries no broken state.
        *self.spell.lock().unwrap_or_else(PoisonError::into_inner) = ctx;
    }

    /// What is remembered: only the replica that leads knows all of it.
    fn ctx(&self) -> Result<Arc<Ctx>, Refused> {
        let spell = self.spell.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let why = match (spell, self.health.ready()) {
            (Some(ctx), Ok(_)) => return Ok(ctx),
            (Some(_), Err(why)) => why,
            (None, _) => "this replica does not lead",
        };
        Err(Refused::Unavailable { why: why.to_owned(), after: Duration::from_secs(2) })
    }

    /// One request to the API server for somebody.
    async fn ask<T>(
        &self,
        of: For<'_>,
        attempted: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Refused> {
        let _turn = self.turn(of, attempted).await?;
        self.asked(attempted, request).await
    }

    /// The same for who has their turn.
    async fn asked<T>(
        &self,
        attempted: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Refused> {
        let outcome = timeout(self.api_timeout, request).await;
        self.health.api_server(answered(&outcome));
        match outcome {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => {
                Err(Refused::NotFound(format!("{attempted}: there is none")))
            }
            Ok(Err(kube::Error::Api(status))) if status.is_invalid() => {
                Err(Refused::Invalid(status.message.clone()))
            }
            Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => {
                Err(unavailable(format!("{attempted}: the operator itself may not do that")))
            }
            // What the API server says is about the operator, not about whoever asked.
            Ok(Err(error)) => {
                tracing::debug!(%error, attempted, "somebody could not be answered");
                Err(unavailable(format!("{attempted}: the API server gave no usable answer")))
            }
            Err(_) => {
                Err(unavailable(format!("{attempted}: the API server did not answer in time")))
            }
        }
    }

    /// The same of what the controllers read for looks of their own.
    async fn look<T>(
        &self,
        person: &Person,
        attempted: &str,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Refused> {
        let _turn = self.turn(For::Person(person), attempted).await?;
        request.await.map_err(|error| {
            tracing::warn!(%error, attempted, "somebody could not be answered");
            unavailable(format!(
                "{attempted}: the API server gave no usable answer, or none in time"
            ))
        })
    }

    async fn turn(&self, of: For<'_>, attempted: &str) -> Result<Turn<'_>, Refused> {
        let turn = timeout(self.api_timeout, self.turns.take(of)).await;
        turn.map_err(|_| unavailable(format!("{attempted}: too much else is asked for")))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    /// A desk whose API server is not there.
    pub fn desk(args: &[&str]) -> Desk {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let command = Config::augment_args(clap::Command::new("run"));
        let args = ["run"].iter().chain(args);
        let config = Config::from_arg_matches(&command.get_matches_from(args)).unwrap();
        let nowhere = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        let client = Client::try_from(nowhere).unwrap();
        Desk::new(client, &config, Arc::default()).unwrap()
    }
}
