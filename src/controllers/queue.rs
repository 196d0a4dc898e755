//! The work queue: which contract is looked at next.
//!
//! Own code, because kube's `Controller` keeps every object in a store, and ten thousand
//! contracts would not fit the memory goal; this queue holds keys, and an object only while its
//! contract waits its turn.
//!
//! Promises: one contract is never worked on twice at the same time; what changes while it is
//! worked on is looked at once more afterwards; of several times at which to look, the earliest
//! counts; nothing that was added is forgotten; the namespaces take turns.

mod lanes;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rand::RngExt as _;
use tokio::sync::Notify;

use self::lanes::Lanes;
use super::Key;

/// The longest wait before what failed is tried again.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// A queue of keys, ready now or later.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
    shorter: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: Lanes,
    running: HashSet<Key>,
    /// Running, and changed since it was taken.
    dirty: HashSet<Key>,
    later: BTreeMap<(Instant, u64), Key>,
    /// Canonical for `later`: at most one time for each key.
    due: HashMap<Key, (Instant, u64)>,
    counter: u64,
    closed: bool,
}

impl Queue {
    /// Look at `key` as soon as somebody is free.
    pub fn now(&self, key: Key) {
        let mut state = self.lock();
        state.cancel(&key);
        state.make_ready(key);
        drop(state);
        self.changed.notify_one();
    }

    /// Look at `key` at `at`, unless it is to be looked at sooner anyway.
    pub fn at(&self, key: Key, at: Instant) {
        let mut state = self.lock();
        if state.ready.contains(&key) || state.due.get(&key).is_some_and(|(due, _)| *due <= at) {
            return;
        }
        state.cancel(&key);
        state.counter += 1;
        let slot = (at, state.counter);
        state.later.insert(slot, key.clone());
        state.due.insert(key, slot);
        drop(state);
        self.changed.notify_one();
    }

    /// Never look at `key` again, unless it is added again.
    pub fn forget(&self, key: &Key) {
        let mut state = self.lock();
        state.cancel(key);
        state.dirty.remove(key);
        state.ready.remove(key);
    }

    /// The next key to work on, which must be given back by [`Queue::done`]; None once closed.
    pub async fn take(&self) -> Option<Key> {
        loop {
            let notified = self.changed.notified();
            let wake = {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                state.promote(Instant::now());
                if let Some(key) = state.pop() {
                    // Another worker may be asleep although more is ready.
                    if !state.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return Some(key);
                }
                state.later.keys().next().map(|(at, _)| *at)
            };
            match wake {
                Some(at) => {
                    let _ = tokio::time::timeout_at(at.into(), notified).await;
                }
                None => notified.await,
            }
        }
    }

    /// Waits until no more than `most` keys wait for somebody to work on them.
    pub async fn room(&self, most: usize) {
        loop {
            let shorter = self.shorter.notified();
            if self.has_room(most) {
                return;
            }
            shorter.await;
        }
    }

    /// How many keys wait for somebody to work on them, and how many for their time.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.ready.len(), state.later.len())
    }

    fn has_room(&self, most: usize) -> bool {
        let state = self.lock();
        state.closed || state.ready.len() <= most
    }

    /// The work on `key` has ended.
    pub fn done(&self, key: &Key) {
        self.shorter.notify_waiters();
        let mut state = self.lock();
        state.running.remove(key);
        if state.dirty.remove(key) {
            state.make_ready(key.clone());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Hands out no more work.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
        self.shorter.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock, so poison carries no broken state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn make_ready(&mut self, key: Key) {
        if self.running.contains(&key) {
            self.dirty.insert(key);
        } else {
            self.ready.push(&key);
        }
    }

    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let key = entry.remove();
            self.due.remove(&key);
            self.make_ready(key);
        }
    }

    fn pop(&mut self) -> Option<Key> {
        let key = self.ready.pop()?;
        self.running.insert(key.clone());
        Some(key)
    }

    fn cancel(&mut self, key: &Key) {
        if let Some(slot) = self.due.remove(key) {
            self.later.remove(&slot);
        }
    }
}

/// Doubles with each failure in a row, with a jitter of a quarter, up to a minute.
pub(super) fn backoff(failures: u32, first_millis: u64) -> Duration {
    let doubled = first_millis.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let wait = Duration::from_millis(doubled).min(LONGEST_BACKOFF);
    wait.mul_f64(rand::rng().random_range(0.75..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, time::Duration};

    fn key(name: &str) -> Key {
        Key::new("ns", name)
    }

    #[tokio::test]
    async fn what_changes_during_the_work_is_looked_at_once_more_and_never_at_the_same_time() {
        let queue = Queue::default();
        queue.now(key("a"));
        queue.now(key("a"));
        let taken = queue.take().await.unwrap();
        queue.now(key("a"));
        queue.now(key("b"));
        assert_eq!(queue.take().await.unwrap(), key("b"));
        queue.done(&taken);
        assert_eq!(queue.take().await.unwrap(), key("a"));
        queue.done(&taken);
        assert!(queue.lock().ready.is_empty() && queue.lock().dirty.is_empty());
    }

    #[tokio::test]
    async fn of_several_times_the_earliest_counts() {
        let queue = Queue::default();
        let now = Instant::now();
        queue.at(key("late"), now + Duration::from_secs(3600));
        queue.at(key("late"), now + Duration::from_millis(5));
        queue.at(key("late"), now + Duration::from_secs(60));
        assert_eq!(queue.take().await.unwrap(), key("late"));
        assert!(queue.lock().later.is_empty());
    }

    #[tokio::test]
    async fn a_namespace_does_not_wait_for_all_of_another_one() {
        let queue = Queue::default();
        for nth in 0..10_000 {
            queue.now(Key::new("many", &nth.to_string()));
        }
        queue.now(Key::new("few", "a"));
        queue.now(Key::new("few", "b"));
        let mut order = Vec::new();
        for _ in 0..5 {
            order.push(queue.take().await.unwrap().to_string());
        }
        assert_eq!(order, ["many/0", "few/a", "many/1", "few/b", "many/2"]);
        // What comes later does not wait for them either, nor for what it had before.
        queue.done(&Key::new("few", "a"));
        queue.now(Key::new("few", "a"));
        let next = [queue.take().await.unwrap(), queue.take().await.unwrap()];
        assert!(next.contains(&Key::new("few", "a")), "{next:?}");
        // All of the others still get their look.
        let mut rest = 0;
        while !queue.lock().ready.is_empty() {
            queue.take().await.unwrap();
            rest += 1;
        }
        assert_eq!(rest, 10_000 - 4);
    }

    #[tokio::test]
    async fn what_is_forgotten_is_not_handed_out_and_takes_no_turn() {
        let queue = Queue::default();
        for name in ["a", "b"] {
            queue.now(Key::new("gone", name));
        }
        queue.now(key("kept"));
        queue.at(Key::new("gone", "later"), Instant::now());
        for name in ["a", "b", "later"] {
            queue.forget(&Key::new("gone", name));
        }
        assert_eq!(queue.take().await.unwrap(), key("kept"));
        let state = queue.lock();
        assert!(state.ready.is_empty() && state.later.is_empty() && state.due.is_empty());
    }

    #[tokio::test]
    async fn a_closed_queue_lets_every_worker_go() {
        let queue = Arc::new(Queue::default());
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = Arc::clone(&queue);
                tokio::spawn(async move { queue.take().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.close();
        for worker in workers {
            assert_eq!(worker.await.unwrap(), None);
        }
    }
}
