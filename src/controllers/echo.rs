//! The watch events of our own writes, so that none of them costs a look.
//!
//! An event may outrun the answer of the write that made it. It then waits for that answer: equal
//! versions are one and the same change, a newer one is news.
//!
//! Knows: versions. Must not know: what was written.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Key;

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// A contract.
    Contract(Key),
    /// An Incident.
    Incident(Key),
}

/// The writes under way, each with the newest version that an event has brought meanwhile.
#[derive(Debug, Default)]
pub struct Echoes {
    writing: Mutex<HashMap<Object, u64>>,
}

/// A write under way; dropped without an answer, whatever came meanwhile is news.
#[derive(Debug)]
pub struct Writing<'a, N: FnOnce()> {
    echoes: &'a Echoes,
    object: Object,
    /// Says that there is news.
    news: Option<N>,
    answer: u64,
}

impl Echoes {
    /// A write of `object` begins; `news` is called when more happened to it than this write.
    pub fn writing<N: FnOnce()>(&self, object: Object, news: N) -> Writing<'_, N> {
        self.lock().insert(object.clone(), 0);
        Writing { echoes: self, object, news: Some(news), answer: 0 }
    }

    /// An event brought this version of `object`; true when it has to wait for an answer.
    #[must_use]
    pub fn waits(&self, object: &Object, version: u64) -> bool {
        match self.lock().get_mut(object) {
            Some(newest) => {
                *newest = version.max(*newest);
                true
            }
            None => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Object, u64>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<N: FnOnce()> Writing<'_, N> {
    /// The write was answered with this version.
    pub fn answered(mut self, version: u64) {
        self.answer = version;
    }
}

impl<N: FnOnce()> Drop for Writing<'_, N> {
    fn drop(&mut self) {
        let newest = self.echoes.lock().remove(&self.object).unwrap_or(0);
        if newest > self.answer
            && let Some(news) = self.news.take()
        {
            news();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn object() -> Object {
        Object::Incident(Key::new("ns", "uk-1"))
    }

    #[test]
    fn only_what_is_newer_than_the_answer_is_news() {
        let echoes = Echoes::default();
        let table: [(&[u64], Option<u64>, bool); 5] = [
            (&[], Some(7), false),
            (&[7], Some(7), false),
            (&[7, 9], Some(7), true),
            (&[7], None, true),
            (&[], None, false),
        ];
        for (events, answer, expected) in table {
            let news = Cell::new(false);
            let writing = echoes.writing(object(), || news.set(true));
            for version in events {
                assert!(echoes.waits(&object(), *version));
            }
            match answer {
                Some(version) => writing.answered(version),
                None => drop(writing),
            }
            assert_eq!(news.get(), expected, "{events:?} {answer:?}");
            assert!(!echoes.waits(&object(), 10), "no write is under way any more");
        }
    }
}
