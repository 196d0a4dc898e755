//! Where validation and planning run: bounded in number and in time.
//!
//! Knows: the runtime. Must not know: what the work is.
//!
//! All of it is handed to a thread of its own, quick work, too: run where it stands, by
//! `block_in_place`, it saved a tenth of a millisecond and took eighty megabytes with ten thousand
//! contracts, since each such call may leave a thread behind.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use crate::domain::Span;

/// How long work may wait for a place in the pool.
const PATIENCE_FOR_A_PLACE: Duration = Duration::from_secs(10);

/// The pool.
pub struct Pool {
    places: Arc<Semaphore>,
    patience: Span,
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

    /// Runs `work`. Work that is late goes on and keeps its place until it ends, so that slow work
    /// cannot pile up.
    ///
    /// # Errors
    /// See [`Late`].
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Late> {
        let place = Arc::clone(&self.places).acquire_owned();
        let place = timeout(PATIENCE_FOR_A_PLACE, place).await.ok().and_then(Result::ok);
        let place = place.ok_or(Late::Busy)?;
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(place);
            result
        });
        timeout(self.patience.to_std(), task).await.ok().and_then(Result::ok).ok_or(Late::Slow)
    }
}
