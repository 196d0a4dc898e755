//! Shares: of what all have together nobody takes more than so much, whoever they are.
//!
//! Knows: who holds or waits for how much just now, and nobody else: there are never more entries than
//! holders, whose number is bounded where these are let in.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What each may take at most.
#[derive(Debug)]
pub struct Shares<K> {
    each: usize,
    known: Arc<Known<K>>,
}

type Known<K> = Mutex<HashMap<K, Own>>;

/// What is one's own.
#[derive(Debug)]
struct Own {
    left: Arc<Semaphore>,
    /// How many hold a part of it, or wait for one.
    holders: usize,
}

/// A part of somebody's share, until it is dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash> {
    key: K,
    known: Arc<Known<K>>,
    part: Option<OwnedSemaphorePermit>,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// `each` for everybody.
    #[must_use]
    pub fn new(each: usize) -> Self {
        Self { each, known: Arc::default() }
    }

    /// A part of the share of `key`, if one is left.
    #[must_use]
    pub fn take_now(&self, key: K) -> Option<Share<K>> {
        let (mut share, left) = self.enter(key);
        share.part = Some(left.try_acquire_owned().ok()?);
        Some(share)
    }

    /// A part of the share of `key`, once one is left; who waits longest is first.
    pub async fn take(&self, key: K) -> Share<K> {
        let (mut share, left) = self.enter(key);
        // It is never closed.
        share.part = left.acquire_owned().await.ok();
        share
    }

    fn enter(&self, key: K) -> (Share<K>, Arc<Semaphore>) {
        let new = || Own { left: Arc::new(Semaphore::new(self.each)), holders: 0 };
        // No code that can panic runs under this lock, so poison carries no broken state.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let own = known.entry(key.clone()).or_insert_with(new);
        own.holders += 1;
        let left = Arc::clone(&own.left);
        drop(known);
        (Share { key, known: Arc::clone(&self.known), part: None }, left)
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        drop(self.part.take());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = known.get_mut(&self.key) else { return };
        own.holders = own.holders.saturating_sub(1);
        if own.holders == 0 {
            known.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn nobody_takes_more_than_their_share_and_the_others_have_theirs() {
        let shares = Shares::new(2);
        let held = [shares.take_now("ann"), shares.take_now("ann")];
        assert!(held.iter().all(Option::is_some));
        assert!(shares.take_now("ann").is_none());
        assert!(shares.take_now("bob").is_some());
        drop(held);
        assert!(shares.take_now("ann").is_some());
    }

    #[test]
    fn who_waits_goes_on_once_a_part_of_the_same_share_comes_back() {
        let shares = Shares::new(1);
        let held = shares.take_now("ann");
        let mut waits = Box::pin(shares.take("ann"));
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(shares.take("bob").now_or_never().is_some());
        drop(held);
        assert!(waits.as_mut().now_or_never().is_some());
    }

    #[test]
    fn who_holds_nothing_and_waits_for_nothing_is_forgotten() {
        let shares = Shares::new(1);
        let known = || shares.known.lock().unwrap().len();
        let held = shares.take_now("ann");
        assert!(shares.take_now("ann").is_none());
        let mut waits = Box::pin(shares.take("ann"));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(held);
        assert_eq!(known(), 1, "somebody waits");
        drop(waits);
        assert_eq!(known(), 0);
    }
}
