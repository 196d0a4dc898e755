//! Where validation and planning run: bounded in number and in time.
//!
//! Knows: the runtime, how long work took before. Must not know: what the work is.
//!
//! Work of unknown length runs on a thread of its own. Handing it over and back takes longer than
//! judging a usual document does, so work whose kind was quick the last time runs where it stands.
//! Should it turn out slow after all, the runtime goes on on another thread, and the time limit is
//! applied to it when it is done: what it may take at most is bounded by the cost gate.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::domain::Span;

/// How long work may wait for a place in the pool.
const PATIENCE_FOR_A_PLACE: Duration = Duration::from_secs(10);
/// Work that took no longer the last time is quick.
const QUICK: Duration = Duration::from_millis(1);
/// Work on more bytes is never taken for quick: what one document says of the next ends there.
const MOST_QUICK_BYTES: usize = 64 * 1024;

/// The pool.
pub struct Pool {
    places: Arc<Semaphore>,
    patience: Span,
}

/// How long one kind of work took the last time: the same rules on like documents.
#[derive(Debug)]
pub struct Pace(AtomicU64);

impl Default for Pace {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Pace {
    fn took(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.store(micros, Ordering::Relaxed);
    }

    fn is_quick(&self, bytes: usize) -> bool {
        bytes <= MOST_QUICK_BYTES && Duration::from_micros(self.0.load(Ordering::Relaxed)) <= QUICK
    }
}

/// Why work on the pool has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// It began and was not done in time.
    Slow,
    /// It never began: all places are taken by work that is not done in time.
    Busy,
}

impl Pool {
    /// `places` pieces of work at once, each at most as long as `patience`.
    #[must_use]
    pub fn new(places: usize, patience: Span) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), patience }
    }

    /// How long work may take.
    #[must_use]
    pub fn patience(&self) -> Span {
        self.patience
    }

    /// Runs `work` on a thread of its own. Work that is late goes on and keeps its place until it
    /// ends, so that slow work cannot pile up.
    ///
    /// # Errors
    /// See [`Late`].
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Late> {
        let place = self.place().await?;
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(place);
            result
        });
        timeout(self.patience.to_std(), task).await.ok().and_then(Result::ok).ok_or(Late::Slow)
    }

    /// [`Pool::run`] for work on `bytes` of a kind that is known by its `pace`: where it stands when
    /// that is quick.
    ///
    /// # Errors
    /// See [`Late`].
    pub async fn run_at<T: Send + 'static>(
        &self,
        pace: &Pace,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Late> {
        let timed = move || {
            let since = Instant::now();
            let result = work();
            (result, since.elapsed())
        };
        let done = if pace.is_quick(bytes) {
            let _place = self.place().await?;
            // A panic must stay with the work, as it does on a thread of its own.
            tokio::task::block_in_place(|| catch_unwind(AssertUnwindSafe(timed)))
                .map_err(|_| Late::Slow)
        } else {
            self.run(timed).await
        };
        let took = done.as_ref().map_or(Duration::MAX, |(_, took)| *took);
        pace.took(took);
        let (result, _) = done?;
        if took > self.patience.to_std() { Err(Late::Slow) } else { Ok(result) }
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Late> {
        let place = Arc::clone(&self.places).acquire_owned();
        let place = timeout(PATIENCE_FOR_A_PLACE, place).await.ok().and_then(Result::ok);
        place.ok_or(Late::Busy)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// On the thread that asked for it?
    async fn stays(pool: &Pool, pace: &Pace, bytes: usize) -> bool {
        let here = thread::current().id();
        pool.run_at(pace, bytes, move || thread::current().id() == here).await == Ok(true)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn only_what_was_quick_the_last_time_and_is_small_runs_where_it_stands() {
        let (pool, pace) = (Pool::new(1, Span::secs(5)), Pace::default());
        assert!(!stays(&pool, &pace, 10).await, "nothing is known of it yet");
        pace.took(Duration::from_micros(50));
        assert!(stays(&pool, &pace, 10).await);
        assert!(!stays(&pool, &pace, MOST_QUICK_BYTES + 1).await);
        pace.took(Duration::from_millis(2));
        assert!(!stays(&pool, &pace, 10).await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn quick_work_that_panics_or_takes_too_long_has_no_result() {
        let (pool, pace) = (Pool::new(1, Span::ZERO), Pace::default());
        pace.took(Duration::ZERO);
        assert_eq!(pool.run_at(&pace, 1, || ()).await, Err(Late::Slow));
        let pool = Pool::new(1, Span::secs(5));
        let panics = pool.run_at(&pace, 1, || panic!("on purpose"));
        assert_eq!(panics.await, Err::<(), _>(Late::Slow));
        assert_eq!(pool.run_at(&pace, 1, || 7).await, Ok(7), "its place is free again");
    }
}
