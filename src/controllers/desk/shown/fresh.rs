//! Something that is put together once for all who want it, so that many cost as much as one.
//!
//! What is handed out is as of now to whoever asks: nothing has been told since that is not in it, and it is
//! no older than a second. Where more happens than it is put together for, those who ask wait for each other.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep, sleep_until},
};

/// How long it is good for, where nothing is told.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// It is put together no more often than that.
const AT_MOST_EVERY: Duration = Duration::from_millis(200);

/// The last one.
#[derive(Debug)]
pub struct Fresh<T>(Arc<Mutex<Option<Made<T>>>>);

#[derive(Debug)]
struct Made<T> {
    /// What had been told by then.
    told: String,
    at: Instant,
    what: Arc<T>,
}

impl<T> Default for Fresh<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Send + Sync + 'static> Fresh<T> {
    /// One in which there is all that `told` says has been told so far; if need be a new one.
    pub async fn get(&self, told: impl Fn() -> String, make: impl FnOnce() -> T) -> Arc<T> {
        let mut last = self.0.lock().await;
        if let Some(made) = &*last {
            if made.told == told() && made.at.elapsed() < GOOD_FOR {
                return Arc::clone(&made.what);
            }
            sleep_until(made.at + AT_MOST_EVERY).await;
        }
        // Before it is made: what is told meanwhile may be in it or not.
        let told = told();
        let what = Arc::new(make());
        *last = Some(Made { told, at: Instant::now(), what: Arc::clone(&what) });
        tokio::spawn(forget(Arc::clone(&self.0), Arc::clone(&what)));
        what
    }
}

/// Nobody keeps in memory what nobody looks at.
async fn forget<T>(last: Arc<Mutex<Option<Made<T>>>>, what: Arc<T>) {
    sleep(GOOD_FOR).await;
    let _ = last.lock().await.take_if(|made| Arc::ptr_eq(&made.what, &what));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts how often it was made.
    #[derive(Default)]
    struct Counted {
        fresh: Fresh<usize>,
        made: AtomicUsize,
        told: AtomicUsize,
    }

    impl Counted {
        async fn get(&self) -> usize {
            let told = || self.told.load(Ordering::Relaxed).to_string();
            *self.fresh.get(told, || self.made.fetch_add(1, Ordering::Relaxed) + 1).await
        }

        fn tell(&self) {
            self.told.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_within_a_second_are_given_the_same() {
        let counted = Counted::default();
        for _ in 0..9 {
            assert_eq!(counted.get().await, 1);
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(counted.get().await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_been_told_of_something_finds_it_there() {
        let counted = Counted::default();
        assert_eq!(counted.get().await, 1);
        counted.tell();
        let began = Instant::now();
        assert_eq!(counted.get().await, 2);
        assert_eq!(
            began.elapsed(),
            AT_MOST_EVERY,
            "it is not put together for each thing that is told"
        );
        assert_eq!(counted.get().await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn however_much_happens_and_however_many_ask_it_is_put_together_five_times_a_second() {
        let counted = Arc::new(Counted::default());
        let mut asking = tokio::task::JoinSet::new();
        for nth in 0..100 {
            let counted = Arc::clone(&counted);
            asking.spawn(async move {
                sleep(Duration::from_millis(10 * nth)).await;
                counted.tell();
                counted.get().await;
            });
        }
        asking.join_all().await;
        let made = counted.made.load(Ordering::Relaxed);
        assert!((2..=7).contains(&made), "{made}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_looks_at_is_forgotten() {
        let counted = Counted::default();
        counted.get().await;
        assert!(counted.fresh.0.lock().await.is_some());
        sleep(2 * GOOD_FOR).await;
        assert!(counted.fresh.0.lock().await.is_none());
    }
}
