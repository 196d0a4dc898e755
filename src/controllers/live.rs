//! What happens while this replica leads, for those who follow it as it happens.
//!
//! There is one ring of the last things for all who follow. Each has a place in it and reads on at their
//! own pace, so whoever is slow costs nothing; one whose place has been overwritten has missed
//! something, and is told so. A place is known by `<when the spell began>-<name>`: that of another
//! spell, of this replica or of another one, says nothing here. The name is that of a number, which is not
//! told itself: whoever may look into one namespace would read from it how much happens in the others.
//!
//! Knows: order, places. Must not know: what is said, or who may hear it.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{api::Incident, decide::live::happened};

/// How many of the last things are kept.
pub const KEPT: usize = 1_024;

/// One thing that happened.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// Its number, from 1.
    pub number: u64,
    /// Where.
    pub namespace: Arc<str>,
    /// What kind of thing.
    pub kind: &'static str,
    /// All of it, as JSON on one line: written once for all who follow.
    pub json: Box<str>,
}

/// All that happens in one spell of leadership.
#[derive(Debug)]
pub struct Live {
    spell: i64,
    /// What gives numbers their names. It hides how many there were, and is no secret to build on.
    names: RandomState,
    ended: CancellationToken,
    newest: watch::Sender<u64>,
    ring: Mutex<VecDeque<Arc<Said>>>,
}

impl Default for Live {
    fn default() -> Self {
        Self::new(Timestamp::UNIX_EPOCH, CancellationToken::new())
    }
}

/// How much has been told. It is for ourselves only: nobody is shown numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoFar {
    /// In which spell.
    pub spell: i64,
    /// The number of the last thing; 0 where there was none.
    pub number: u64,
}

impl SoFar {
    /// Is all of `other` in it? What was told in another spell never is.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.spell == other.spell && self.number >= other.number
    }
}

/// What there is for one who follows.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// This happened.
    Said(Arc<Said>),
    /// What happened before is not known: their place is one of another spell, or too old.
    Resync,
    /// They were too slow, and have missed something.
    Dropped,
    /// Nothing more happens here: this replica stops, or leads no more.
    Ended,
}

/// The place of one who follows.
#[derive(Debug)]
pub struct Place {
    live: Arc<Live>,
    seen: u64,
    is_lost: bool,
    newest: watch::Receiver<u64>,
}

enum After {
    Said(Arc<Said>),
    /// Nothing that they want, up to this number.
    Nothing(u64),
    Overwritten,
}

impl Live {
    /// Of a spell that began then, and ends with `ended`.
    #[must_use]
    pub fn new(began: Timestamp, ended: CancellationToken) -> Self {
        Self {
            spell: began.as_millisecond(),
            names: RandomState::new(),
            ended,
            newest: watch::Sender::new(0),
            ring: Mutex::default(),
        }
    }

    /// An Incident is as `object` now. Called in the order in which that became so.
    pub fn saw(&self, before: Option<&Incident>, object: &Incident) {
        for happening in happened(before, object, super::now()) {
            match serde_json::to_string(&happening) {
                Ok(json) => self.say(&happening.namespace, happening.r#type.into(), json),
                Err(error) => warn!(%error, "what happened cannot be told"),
            }
        }
    }

    fn say(&self, namespace: &str, kind: &'static str, json: String) {
        let number = {
            let mut ring = self.ring();
            let number = ring.back().map_or(1, |last| last.number.saturating_add(1));
            if ring.len() == KEPT {
                ring.pop_front();
            }
            let (namespace, json) = (namespace.into(), json.into());
            ring.push_back(Arc::new(Said { number, namespace, kind, json }));
            number
        };
        self.newest.send_replace(number);
    }

    /// How much has been told by now. Out of the ring, since that is what those who follow read.
    #[must_use]
    pub fn so_far(&self) -> SoFar {
        let number = self.ring().back().map_or(0, |last| last.number);
        SoFar { spell: self.spell, number }
    }

    /// A place to follow from: after `last`, the id of what somebody has seen; by default from now on.
    #[must_use]
    pub fn place(self: &Arc<Self>, last: Option<&str>) -> Place {
        let newest = self.newest.subscribe();
        let now = *newest.borrow();
        let known = last.map(|last| self.known(last).filter(|seen| *seen <= now));
        Place {
            live: Arc::clone(self),
            seen: known.flatten().unwrap_or(now),
            is_lost: known == Some(None),
            newest,
        }
    }

    /// The number in an id, if it is one of this spell and still the last one before all that is kept, or
    /// one of these.
    fn known(&self, id: &str) -> Option<u64> {
        let (_, name) = id.rsplit_once('-').filter(|(spell, _)| spell.parse() == Ok(self.spell))?;
        let name = u64::from_str_radix(name, 16).ok()?;
        let numbers = |ring: &VecDeque<Arc<Said>>| {
            Some((ring.front()?.number.saturating_sub(1), ring.back()?.number))
        };
        let (first, last) = numbers(&self.ring()).unwrap_or_default();
        (first..=last).find(|number| self.name(*number) == name)
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{:016x}", self.spell, self.name(number))
    }

    fn name(&self, number: u64) -> u64 {
        self.names.hash_one(number)
    }

    fn after(&self, seen: u64, is_wanted: impl Fn(&str) -> bool) -> After {
        let ring = self.ring();
        let (Some(first), Some(last)) = (ring.front(), ring.back()) else {
            return After::Nothing(seen);
        };
        let Some(skipped) = (seen + 1).checked_sub(first.number) else {
            return After::Overwritten;
        };
        let rest = ring.iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX));
        let mut wanted = rest.filter(|said| is_wanted(&said.namespace));
        wanted.next().map_or(After::Nothing(last.number), |said| After::Said(Arc::clone(said)))
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Arc<Said>>> {
        // No code that can panic runs under this lock, so poison carries no broken state.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// What comes next of those namespaces that are wanted. Nothing is lost when it is asked again without
    /// having been waited for.
    pub async fn next(&mut self, is_wanted: impl Fn(&str) -> bool) -> News {
        if std::mem::take(&mut self.is_lost) {
            return News::Resync;
        }
        loop {
            // Before the ring is read: what comes after that wakes us.
            self.newest.borrow_and_update();
            match self.live.after(self.seen, &is_wanted) {
                After::Said(said) => {
                    self.seen = said.number;
                    return News::Said(said);
                }
                After::Overwritten => return News::Dropped,
                After::Nothing(last) => self.seen = self.seen.max(last),
            }
            if self.live.ended.is_cancelled() {
                return News::Ended;
            }
            tokio::select! {
                _ = self.newest.changed() => {}
                () = self.live.ended.cancelled() => {}
            }
        }
    }

    /// The id of what was seen last.
    #[must_use]
    pub fn id(&self) -> String {
        self.live.id(self.seen)
    }

    /// Ends when nothing more happens here.
    pub async fn ended(&self) {
        self.live.ended.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn live(second: i64) -> Arc<Live> {
        let began = Timestamp::from_second(second).unwrap();
        Arc::new(Live::new(began, CancellationToken::new()))
    }

    fn say(live: &Live, count: usize) {
        for _ in 0..count {
            live.say("shop", "healing_start", "{}".to_owned());
        }
    }

    /// What is there now, until it has to be waited for.
    fn all_of(place: &mut Place, is_wanted: impl Fn(&str) -> bool) -> Vec<News> {
        std::iter::from_fn(|| place.next(&is_wanted).now_or_never()).collect()
    }

    fn numbers(news: &[News]) -> Vec<u64> {
        let number = |news: &News| match news {
            News::Said(said) => said.number,
            other => panic!("{other:?}"),
        };
        news.iter().map(number).collect()
    }

    #[test]
    fn whoever_follows_sees_what_happens_from_then_on_once_and_in_order() {
        let live = live(1);
        say(&live, 2);
        let mut place = live.place(None);
        assert_eq!(all_of(&mut place, |_| true), []);
        say(&live, 3);
        assert_eq!(numbers(&all_of(&mut place, |_| true)), [3, 4, 5]);
        assert_eq!(all_of(&mut place, |_| true), []);
    }

    #[test]
    fn an_id_goes_on_exactly_after_what_it_names() {
        let live = live(1);
        say(&live, 5);
        let mut place = live.place(Some(&live.id(3)));
        assert_eq!(place.id(), live.id(3));
        assert_eq!(numbers(&all_of(&mut place, |_| true)), [4, 5]);
        assert_eq!(all_of(&mut live.place(Some(&place.id())), |_| true), []);
        // Before anything has happened there is a place, too.
        assert_eq!(numbers(&all_of(&mut live.place(Some(&live.id(0))), |_| true)).len(), 5);
    }

    #[test]
    fn an_id_is_the_same_for_all_who_follow_and_tells_nobody_how_many_there_were() {
        let (live, other) = (live(1), live(1));
        let ids = |live: &Live| (0..100).map(|number| live.id(number)).collect::<Vec<_>>();
        assert_eq!(ids(&live), ids(&live));
        let alike = ids(&live).into_iter().zip(ids(&other)).filter(|(one, other)| one == other);
        assert_eq!(alike.count(), 0, "nobody can make a list of them");
        assert!(!ids(&live).is_sorted(), "nor see from two which is the later one");
    }

    #[test]
    fn an_id_that_says_nothing_here_is_answered_by_resync_and_what_happens_from_then_on() {
        let live = live(1);
        say(&live, KEPT + 5);
        let (too_old, unsaid) = (live.id(4), live.id(99_999));
        let of_another = live.id(KEPT as u64).replace("1000-", "999-");
        let ids = [&*of_another, &*too_old, &*unsaid, "1000", "1000-1", "-", "", "x-y", "1000--1"];
        for id in ids {
            let mut place = live.place(Some(id));
            assert_eq!(all_of(&mut place, |_| true), [News::Resync], "{id}");
            say(&live, 1);
            assert_eq!(all_of(&mut place, |_| true).len(), 1, "{id}");
        }
    }

    #[test]
    fn the_oldest_id_that_is_known_is_the_one_before_all_that_is_kept() {
        let live = live(1);
        say(&live, KEPT + 5);
        assert_eq!(numbers(&all_of(&mut live.place(Some(&live.id(5))), |_| true)).len(), KEPT);
    }

    #[test]
    fn whoever_falls_behind_the_ring_is_dropped_and_the_others_go_on() {
        let live = live(1);
        let (mut slow, mut quick) = (live.place(None), live.place(None));
        say(&live, KEPT);
        assert_eq!(all_of(&mut quick, |_| true).len(), KEPT);
        say(&live, 1);
        assert_eq!(slow.next(|_| true).now_or_never(), Some(News::Dropped));
        assert_eq!(all_of(&mut quick, |_| true).len(), 1);
        assert_eq!(live.ring().len(), KEPT, "no more is kept for anybody");
    }

    #[test]
    fn how_much_was_told_grows_with_what_is_said_and_says_nothing_of_another_spell() {
        let (one, other) = (live(1), live(2));
        let nothing = one.so_far();
        say(&one, 1);
        let first = one.so_far();
        say(&one, 2 * KEPT);
        let last = one.so_far();
        assert!(last.covers(first) && first.covers(nothing) && last.covers(last));
        assert!(!first.covers(last) && !nothing.covers(first));
        assert!(!last.covers(other.so_far()) && !other.so_far().covers(nothing));
    }

    #[test]
    fn what_somebody_may_not_see_moves_their_place_on_and_nothing_else() {
        let live = live(1);
        let mut place = live.place(None);
        let only = |namespace: &str| namespace == "other";
        for _ in 0..3 {
            say(&live, KEPT);
            assert_eq!(all_of(&mut place, only), []);
        }
        live.say("other", "healing_start", "{}".to_owned());
        assert_eq!(numbers(&all_of(&mut place, only)).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_woken_by_what_happens_and_by_the_end() {
        let live = live(1);
        let mut place = live.place(None);
        let waiting = tokio::spawn(async move {
            let first = place.next(|_| true).await;
            (first, place.next(|_| true).await)
        });
        tokio::task::yield_now().await;
        say(&live, 1);
        tokio::task::yield_now().await;
        live.ended.cancel();
        let (first, then) = waiting.await.unwrap();
        assert_eq!((numbers(&[first]), then), (vec![1], News::Ended));
    }

    #[test]
    fn what_happened_before_the_end_is_said_before_it() {
        let live = live(1);
        let mut place = live.place(None);
        say(&live, 2);
        live.ended.cancel();
        let mut seen = Vec::new();
        while let Some(News::Said(said)) = place.next(|_| true).now_or_never() {
            seen.push(said.number);
        }
        assert_eq!(seen, [1, 2]);
        assert_eq!(place.next(|_| true).now_or_never(), Some(News::Ended));
    }
}
