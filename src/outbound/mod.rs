//! The only HTTP client of the house for what is not the Kubernetes API.
//!
//! Knows: the address guard, size caps, deadlines, limits per host, redirects. Must not know:
//! contracts, rules, Kubernetes.
//!
//! What holds for every request, at every hop:
//! - Only http and https, https alone unless [`Config::allow_http`]; never from https back to http.
//!   Any port: the guard decides by address, since a public service may listen anywhere.
//! - Every address, literal or resolved, is judged by the [`Guard`] before anything is sent, and
//!   the connection goes to the very addresses that were judged.
//! - No proxy from the environment, no cookies, no referer, no retry behind the caller's back.
//! - Redirects are followed by hand, [`MAX_REDIRECTS`] at most; secret headers stay at the origin
//!   they were meant for, and so does a POST.
//! - Bodies are cut at the caller's size after decompression, and everything ends at the deadline.
//! - Errors show the origin of a URL and nothing else of it: paths of webhooks hold tokens.

mod error;
mod fetch;
mod guard;
mod headers;
mod limits;
mod probe;
mod quiet;
mod reach;
mod resolve;
#[cfg(test)]
mod testing;

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use moka::sync::Cache;
use url::{Host, Url};

use crate::domain::{Heard, Span};

pub use error::OutboundError;
pub use fetch::{Request, Response};
pub use guard::{Guard, Refusal};
pub use probe::{Prober, Want};
pub use quiet::LeftAlone;
pub use resolve::{Lookup, SystemLookup};

use limits::{Limits, Slot};
use quiet::Quiet;
use reach::Reach;
use resolve::{GuardedResolver, PinnedResolver};

/// Most redirects that one request follows.
pub const MAX_REDIRECTS: usize = 5;

/// What the operator's flags say about requests to the outside.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address ranges that are let through though they are not public.
    pub allow_cidrs: Vec<IpNet>,
    /// Is plain http let through?
    pub allow_http: bool,
    /// The `User-Agent` of every request.
    pub user_agent: String,
    /// How long one connection may take, TLS included.
    pub connect_timeout: Duration,
    /// How long one probe may take once it has started, redirects included.
    pub probe_deadline: Duration,
    /// How long a probe may wait for a free slot before it starts.
    pub queue_timeout: Duration,
    /// How long a server of assets is left alone that could not be reached several times in a row.
    pub open_for: Duration,
    /// Most requests to one host at once.
    pub per_host: usize,
    /// Most requests at once.
    pub total: usize,
    /// Most bytes that remembered probes may take.
    pub remember_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow_cidrs: Vec::new(),
            allow_http: false,
            user_agent: concat!("kintsugi/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(3),
            probe_deadline: Duration::from_secs(10),
            queue_timeout: Duration::from_secs(30),
            open_for: Duration::from_secs(60),
            per_host: 4,
            total: 64,
            remember_bytes: 8 << 20,
        }
    }
}

/// The HTTP client.
pub struct Outbound {
    config: Config,
    guard: Arc<Guard>,
    limits: Limits,
    reach: Reach,
    quiet: Quiet,
    http: reqwest::Client,
    /// Clients that know only the addresses of one Service; loading root certificates for each
    /// request would be slow.
    pinned: Cache<Vec<IpAddr>, reqwest::Client>,
}

impl Outbound {
    /// A client that asks the system's resolver. Needs an installed rustls provider.
    ///
    /// # Errors
    /// [`OutboundError::Setup`] where TLS has no provider or no root certificates.
    pub fn new(config: Config) -> Result<Self, OutboundError> {
        Self::with_lookup(config, Arc::new(SystemLookup::default()))
    }

    /// A client that asks `lookup` for the addresses of names.
    ///
    /// # Errors
    /// See [`Self::new`].
    pub fn with_lookup(config: Config, lookup: Arc<dyn Lookup>) -> Result<Self, OutboundError> {
        // The HTTP client would panic without one.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(OutboundError::Setup("no TLS provider is installed"));
        }
        let guard = Arc::new(Guard::new(config.allow_cidrs.clone()));
        let resolver = GuardedResolver { guard: Arc::clone(&guard), lookup };
        Ok(Self {
            http: build(client(&config).dns_resolver(resolver))?,
            limits: Limits::new(config.total, config.per_host),
            reach: Reach::default(),
            quiet: Quiet::new(config.open_for, config.probe_deadline),
            pinned: Cache::builder()
                .max_capacity(64)
                .time_to_idle(Duration::from_secs(300))
                .build(),
            guard,
            config,
        })
    }

    /// Which hosts outside could be reached when they were asked last.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        self.reach.heard()
    }

    /// Of which hosts outside the name was found when they were asked last.
    #[must_use]
    pub fn named(&self) -> Vec<Heard> {
        self.reach.named()
    }

    /// How long ago one could be reached after none could be.
    #[must_use]
    pub fn reached_again(&self) -> Option<Span> {
        self.reach.reached_again()
    }

    /// The servers of assets that could not be reached when they were asked last, and who may ask them.
    #[must_use]
    pub fn left_alone(&self) -> Vec<LeftAlone> {
        self.quiet.all()
    }

    /// Waits for a slot to the host of `url`.
    async fn slot(&self, url: &Url) -> Result<Slot, OutboundError> {
        let slot = self.limits.slot(url.host_str().unwrap_or_default()).await;
        slot.ok_or_else(|| OutboundError::busy(url))
    }

    /// May a request go to `url`, as far as its text tells?
    fn admit(&self, url: &Url, service: &[IpAddr]) -> Result<(), OutboundError> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OutboundError::Url("holds a user name or password; send it as a header"));
        }
        let in_cluster = !service.is_empty();
        match url.scheme() {
            "https" => {}
            "http" if self.config.allow_http || in_cluster => {}
            "http" => return Err(OutboundError::plain_http(url)),
            _ => return Err(OutboundError::Url("is neither http nor https")),
        }
        // The client asks its resolver for names only, so literals are judged here.
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(OutboundError::Url("has no host")),
        };
        let refused = |refusal| OutboundError::address_refused(url, refusal);
        if let Some(address) = literal {
            self.guard.judge(address).map_err(refused)?;
        }
        service.iter().try_for_each(|address| self.guard.judge_service(*address)).map_err(refused)
    }

    /// The client for requests whose addresses the caller has found, or for all others.
    fn client_for(&self, service: &[IpAddr]) -> Result<reqwest::Client, OutboundError> {
        if service.is_empty() {
            return Ok(self.http.clone());
        }
        if let Some(known) = self.pinned.get(service) {
            return Ok(known);
        }
        let resolver = PinnedResolver(service.to_vec());
        let pinned = build(client(&self.config).dns_resolver(resolver))?;
        self.pinned.insert(service.to_vec(), pinned.clone());
        Ok(pinned)
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").field("config", &self.config).finish_non_exhaustive()
    }
}

fn client(config: &Config) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(config.user_agent.as_str())
        .connect_timeout(config.connect_timeout)
        .no_proxy()
        .referer(false)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(config.per_host)
        .pool_idle_timeout(Duration::from_secs(30))
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, OutboundError> {
    builder.build().map_err(|_| {
        OutboundError::Setup("no root certificates were found; mount them, or set SSL_CERT_FILE")
    })
}
