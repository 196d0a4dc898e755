//! How many requests may run at once: in all, and to one host.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hands out [`Slot`]s.
#[derive(Debug)]
pub(super) struct Limits {
    all: Arc<Semaphore>,
    per_host: usize,
    hosts: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// The right to have one request under way; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _host: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
    // A host's semaphore lives as long as somebody holds or awaits a slot of it.
    _keep: Arc<Semaphore>,
}

impl Limits {
    pub(super) fn new(all: usize, per_host: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all.max(1))),
            per_host: per_host.max(1),
            hosts: Mutex::default(),
        }
    }

    /// Waits for a slot to `host`, first come first served; the host's limit is waited for first,
    /// so that the queue of a slow host holds none of the slots that all share.
    ///
    /// None only where the limits are shut down, which nobody does.
    pub(super) async fn slot(&self, host: &str) -> Option<Slot> {
        let keep = self.of_host(host);
        let host = Arc::clone(&keep).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Slot { _host: host, _all: all, _keep: keep })
    }

    fn of_host(&self, host: &str) -> Arc<Semaphore> {
        // A panic while the lock was held cannot leave the map half changed.
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.get(host).and_then(Weak::upgrade) {
            return known;
        }
        if hosts.len() == hosts.capacity() {
            // Before the map grows, forget the hosts that nobody asks.
            hosts.retain(|_, semaphore| semaphore.strong_count() > 0);
        }
        let semaphore = Arc::new(Semaphore::new(self.per_host));
        hosts.insert(host.to_owned(), Arc::downgrade(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_nobody_asks_are_forgotten() {
        let limits = Limits::new(64, 4);
        for host in 0..10_000 {
            drop(limits.of_host(&format!("{host}.example")));
        }
        assert!(limits.hosts.lock().unwrap().len() < 100);
    }
}
