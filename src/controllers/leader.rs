//! Who works: one replica, elected by a Lease.
//!
//! Own code, because the published crates answer «am I the leader» from a boolean that outlives
//! its lease. Here the answer is an expiry on the monotonic clock: a replica that could not renew
//! stops writing before anybody else may start, whatever the network or the wall clock do.
//!
//! ```text
//! renewed ----------------------- margin --|-- expiry: others may take it
//!         may_write() is true              false
//! ```
//!
//! Other replicas count the time since *they* saw the lease change, never the time written in it:
//! clocks of two machines differ (kubernetes/client-go issue 448).

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, ResourceExt as _, api::PostParams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::health::{Election, Health};
use crate::config::Config;

/// This replica's claim to be the leader.
#[derive(Debug)]
pub struct Leader {
    identity: String,
    duration: Duration,
    margin: Duration,
    request_timeout: Duration,
    /// Where the other replicas reach this one.
    reached_at: Option<SocketAddr>,
    expiry: Mutex<Option<Instant>>,
    leading: watch::Sender<bool>,
}

/// Where the leader's dashboard is reached, on the Lease.
const REACHED_AT: &str = "kintsugi.dev/dashboard";

/// What was last seen of the Lease, and when by our own clock.
struct Observed {
    version: Option<String>,
    at: Instant,
}

impl Leader {
    /// A claim that is not held yet, by a replica that the others reach at `reached_at`.
    #[must_use]
    pub fn new(config: &Config, reached_at: Option<SocketAddr>) -> Self {
        Self {
            reached_at,
            identity: config.identity.clone(),
            duration: config.lease_duration.to_std(),
            margin: config.lease_margin(),
            request_timeout: config.api_timeout.to_std(),
            expiry: Mutex::new(None),
            leading: watch::Sender::new(false),
        }
    }

    /// May a write be sent now? Its answer then arrives, or its time-out passes, before the lease
    /// ends.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.held_until().is_some_and(|expiry| Instant::now() + self.margin < expiry)
    }

    /// Changes when this replica starts or stops to lead.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.leading.subscribe()
    }

    /// Claims and renews until `shutdown`, then gives the lease up.
    pub async fn run(
        &self,
        client: Client,
        config: &Config,
        health: &Health,
        shutdown: CancellationToken,
    ) {
        let leases: Api<Lease> = Api::namespaced(client, &config.lease_namespace);
        let mut observed = Observed { version: None, at: Instant::now() };
        // Often enough that one late answer does not close the window in which writes may be sent.
        let pause = (self.duration.saturating_sub(self.margin) / 2).min(self.duration / 3);
        loop {
            let round = self.round(&leases, &config.lease_name, &mut observed, health);
            let renewed = match tokio::time::timeout(self.request_timeout * 2, round).await {
                Ok(Ok(())) => true,
                Ok(Err(error)) => {
                    warn!(%error, "could not claim or renew the lease");
                    false
                }
                Err(_) => {
                    warn!("the lease could not be claimed or renewed in time");
                    false
                }
            };
            if !renewed {
                // Who leads is not known any more: nobody is sent on with what they carry.
                health.leader_at(None);
            }
            self.leading.send_if_modified(|leading| {
                let now = self.may_write();
                let changed = *leading != now;
                if changed {
                    info!(identity = %self.identity, leading = now, "leadership changed");
                }
                *leading = now;
                changed
            });
            health.election(match (renewed, self.may_write()) {
                (false, _) => Election::Failed,
                (true, false) => Election::Follows,
                (true, true) => Election::Leads,
            });
            // A follower looks more often, so that a lease given up is taken at once.
            let steady = renewed && self.may_write();
            let wait = if steady { pause } else { pause.min(Duration::from_secs(1)) };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.give_up(&leases, &config.lease_name).await;
    }

    async fn round(
        &self,
        leases: &Api<Lease>,
        name: &str,
        observed: &mut Observed,
        health: &Health,
    ) -> Result<(), kube::Error> {
        let sent = Instant::now();
        let Some(lease) = leases.get_opt(name).await? else {
            let lease = self.claim(Lease::default(), name);
            return self.store(leases.create(&PostParams::default(), &lease).await, sent);
        };
        if observed.version != lease.metadata.resource_version {
            *observed = Observed { version: lease.metadata.resource_version.clone(), at: sent };
        }
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        let free = holder.as_deref().is_none_or(str::is_empty);
        let ours = holder.as_deref() == Some(self.identity.as_str());
        let theirs = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
        let theirs = Duration::from_secs(u64::try_from(theirs).unwrap_or(0)).max(self.duration);
        if !free && !ours && observed.at.elapsed() < theirs {
            let at = lease.annotations().get(REACHED_AT);
            health.leader_at(at.and_then(|at| at.parse().ok()));
            return Ok(());
        }
        health.leader_at(None);
        // The resourceVersion is in the object, so of two replicas only one replaces it.
        let claimed = self.claim(lease, name);
        self.store(leases.replace(name, &PostParams::default(), &claimed).await, sent)
    }

    /// `lease`, claimed or renewed.
    fn claim(&self, mut lease: Lease, name: &str) -> Lease {
        #[expect(
            clippy::disallowed_methods,
            reason = "for people to read; nothing is decided on it"
        )]
        let now = MicroTime(Timestamp::now());
        let old = lease.spec.take().unwrap_or_default();
        let same = old.holder_identity.as_deref() == Some(self.identity.as_str());
        let transitions = old.lease_transitions.unwrap_or(0);
        lease.metadata.name = Some(name.to_owned());
        let annotations = lease.annotations_mut();
        match self.reached_at {
            Some(at) => drop(annotations.insert(REACHED_AT.to_owned(), at.to_string())),
            None => drop(annotations.remove(REACHED_AT)),
        }
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(
                i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX),
            ),
            acquire_time: if same { old.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if same { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        });
        lease
    }

    /// A claim counts from when its request was *sent*: that is the earliest moment from which
    /// another replica may count.
    fn store(&self, answer: Result<Lease, kube::Error>, sent: Instant) -> Result<(), kube::Error> {
        match answer {
            Ok(_) => {
                self.set_expiry(Some(sent + self.duration));
                Ok(())
            }
            // Somebody else was faster: look again in the next round.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn give_up(&self, leases: &Api<Lease>, name: &str) {
        if self.held_until().is_none() {
            return;
        }
        self.set_expiry(None);
        let release = async {
            let Some(mut lease) = leases.get_opt(name).await? else { return Ok(()) };
            let Some(spec) = lease.spec.as_mut() else { return Ok(()) };
            if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
                return Ok(());
            }
            spec.holder_identity = None;
            leases.replace(name, &PostParams::default(), &lease).await.map(drop)
        };
        match tokio::time::timeout(self.request_timeout, release).await {
            Ok(Ok(())) => info!("the lease was given up"),
            Ok(Err(error)) => warn!(%error, "the lease could not be given up; it will expire"),
            Err(_) => warn!("the lease could not be given up in time; it will expire"),
        }
    }

    fn held_until(&self) -> Option<Instant> {
        *self.expiry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_expiry(&self, expiry: Option<Instant>) {
        *self.expiry.lock().unwrap_or_else(PoisonError::into_inner) = expiry;
    }
}
