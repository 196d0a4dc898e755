//! Something that is put together once for all who want it, so that many cost as much as one.
//!
//! What is handed out is as of when somebody asked, or later: all that had been told by then is in it, and it is
//! no older than a second. What is told while they wait need not be in it: else each making, in which something
//! is told, would serve only one of them, and those who ask would wait for each other.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep, sleep_until},
};

use crate::controllers::live::SoFar;

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
    told: SoFar,
    at: Instant,
    what: Arc<T>,
}

impl<T> Default for Fresh<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Send + Sync + 'static> Fresh<T> {
    /// One in which there is all that `told` says has been told so far; if need be a new one, which serves all
    /// who asked before it was begun.
    pub async fn get(&self, told: impl Fn() -> SoFar, make: impl FnOnce() -> T) -> Arc<T> {
        let wanted = told();
        let mut last = self.0.lock().await;
        if let Some(made) = &*last {
            if made.told.covers(wanted) && made.at.elapsed() < GOOD_FOR {
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
    use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

    use super::*;

    /// Counts how often it was made.
    #[derive(Default)]
    struct Counted {
        fresh: Fresh<usize>,
        made: AtomicUsize,
        told: AtomicU64,
        spell: AtomicI64,
        /// How much is told while it is made.
        meanwhile: u64,
    }

    impl Counted {
        async fn get(&self) -> usize {
            let told = || SoFar {
                spell: self.spell.load(Ordering::Relaxed),
                number: self.told.load(Ordering::Relaxed),
            };
            let make = || {
                self.told.fetch_add(self.meanwhile, Ordering::Relaxed);
                self.made.fetch_add(1, Ordering::Relaxed) + 1
            };
            *self.fresh.get(told, make).await
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
    async fn all_who_asked_before_it_was_made_are_served_by_it_also_when_something_is_told_meanwhile()
     {
        let counted = Arc::new(Counted { meanwhile: 1, ..Counted::default() });
        counted.get().await;
        let began = Instant::now();
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let counted = Arc::clone(&counted);
            asking.spawn(async move { counted.get().await });
        }
        assert_eq!(asking.join_all().await.iter().max(), Some(&2));
        assert_eq!(began.elapsed(), AT_MOST_EVERY);
        assert_eq!(counted.get().await, 3, "who asks now wants what was told meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_told_in_another_spell_is_not_there_however_much_was_told() {
        let counted = Counted::default();
        counted.tell();
        assert_eq!(counted.get().await, 1);
        counted.spell.store(1, Ordering::Relaxed);
        counted.told.store(0, Ordering::Relaxed);
        assert_eq!(counted.get().await, 2);
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
