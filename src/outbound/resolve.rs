//! Names to addresses, each of which the guard has judged.
//!
//! The HTTP client connects to exactly the addresses that this hands over and never resolves a
//! name by itself, so a name that changes between check and connection has nothing to change.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::Arc,
};

use futures::future::{BoxFuture, FutureExt as _};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::guard::{Guard, Refusal};

/// Most addresses that one name may have; more are not looked at.
const MAX_ADDRESSES: usize = 64;
/// Most look-ups at once. A look-up cannot be cut short, so those that hang must be few.
const MAX_LOOKUPS: usize = 32;

/// Finds the addresses of a name.
pub trait Lookup: Send + Sync + 'static {
    /// All addresses of `name`.
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver: `/etc/hosts`, search domains and all.
#[derive(Debug)]
pub struct SystemLookup {
    slots: Arc<Semaphore>,
}

impl Default for SystemLookup {
    fn default() -> Self {
        Self { slots: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }
}

impl Lookup for SystemLookup {
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let slots = Arc::clone(&self.slots);
        async move {
            let slot = slots.acquire_owned().await.map_err(io::Error::other)?;
            let addresses = tokio::task::spawn_blocking(move || {
                // Held until the look-up ends, even where nobody waits for it any more.
                let _slot = slot;
                let found = (name.as_str(), 0).to_socket_addrs()?;
                Ok(found.map(|address| address.ip()).collect())
            });
            addresses.await.map_err(io::Error::other)?
        }
        .boxed()
    }
}

/// The name has an address that the guard refuses.
#[derive(Debug)]
pub(super) struct RefusedAddress(pub(super) Refusal);

impl fmt::Display for RefusedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name has a {} address", self.0)
    }
}

impl std::error::Error for RefusedAddress {}

/// The HTTP client's resolver.
pub(super) struct GuardedResolver {
    pub(super) guard: Arc<Guard>,
    pub(super) lookup: Arc<dyn Lookup>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.guard);
        let addresses = self.lookup.lookup(name.as_str().to_owned());
        Box::pin(async move {
            let mut addresses = addresses.await?;
            addresses.truncate(MAX_ADDRESSES);
            if addresses.is_empty() {
                return Err(io::Error::from(io::ErrorKind::NotFound).into());
            }
            // One refused address refuses the name: whoever mixes public and private ones hopes
            // that the connection falls back to the private one.
            for address in &addresses {
                guard.judge(*address).map_err(RefusedAddress)?;
            }
            Ok(connectable(addresses))
        })
    }
}

/// A resolver that knows one answer, for requests whose addresses the caller has found.
pub(super) struct PinnedResolver(pub(super) Vec<IpAddr>);

impl Resolve for PinnedResolver {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses = self.0.clone();
        Box::pin(async move { Ok(connectable(addresses)) })
    }
}

/// Port 0 stands for the URL's port.
fn connectable(addresses: Vec<IpAddr>) -> Addrs {
    Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)))
}
