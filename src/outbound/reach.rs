//! Which hosts could be reached when they were asked last: bounded, for as long as the process lives.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;
use url::{Host, Url};

use super::OutboundError;
use crate::domain::{Heard, LATELY, Span, unreachable};

/// Most hosts that are remembered. What says nothing any more gives way first, then what did not answer:
/// many hosts that are gone must not hide one that is there.
const MOST_HOSTS: usize = 256;

/// What a request waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// A slot: it may be made anew as if it had never been made.
    #[default]
    Queued,
    /// An answer that has not begun: from this URL, where that is outside of the cluster.
    Left(Option<Url>),
    /// The rest of an answer that has begun.
    Answered,
}

/// The stage of a request, for whoever gives up on it.
#[derive(Debug, Default)]
pub(super) struct Awaits(Mutex<Stage>);

impl Awaits {
    pub(super) fn set(&self, stage: Stage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    pub(super) fn get(&self) -> Stage {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is remembered of each host.
#[derive(Debug, Default)]
pub(super) struct Reach(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    hosts: HashMap<String, Last>,
    /// None could be reached lately, and none has been since, however long ago that was.
    is_cut_off: bool,
    /// When one could be reached last after none could be.
    reached_again: Option<Instant>,
}

/// What came of asking a host last.
#[derive(Debug)]
struct Last {
    at: Instant,
    answered: bool,
    /// Was its name found? None where it has none, or where nobody knows.
    named: Option<bool>,
}

impl Reach {
    /// The host of `url` was asked. Only what came of the way to it counts: what it answered does not,
    /// and what was refused here was not asked. Is it the first that could be reached, after none could
    /// be? Then what is known of the others is of before.
    pub(super) fn note<T>(&self, url: &Url, result: &Result<T, OutboundError>) -> bool {
        let answered = match result {
            Ok(_) => true,
            Err(
                OutboundError::Dns(_) | OutboundError::Connect(_) | OutboundError::Deadline { .. },
            ) => false,
            Err(_) => return false,
        };
        let Some(host) = url.host_str() else { return false };
        let named = match result {
            _ if !matches!(url.host(), Some(Host::Domain(_))) => None,
            Ok(_) | Err(OutboundError::Connect(_)) => Some(true),
            Err(OutboundError::Dns(_)) => Some(false),
            Err(_) => None,
        };
        let now = Instant::now();
        let mut known = self.lock();
        let is_first = answered && std::mem::take(&mut known.is_cut_off);
        if is_first {
            known.reached_again = Some(now);
        }
        let hosts = &mut known.hosts;
        if hosts.len() >= MOST_HOSTS && !hosts.contains_key(host) {
            let lately = |at: &Instant| now.duration_since(*at) <= LATELY.to_std();
            let least =
                hosts.iter().min_by_key(|(_, last)| (lately(&last.at), last.answered, last.at));
            let least = least.map(|(host, _)| host.clone());
            least.map(|least| hosts.remove(&least));
        }
        hosts.insert(host.to_owned(), Last { at: now, answered, named });
        known.is_cut_off |= !answered && unreachable(&known.heard(now)).is_some();
        is_first
    }

    /// What is known of all of them.
    pub(super) fn heard(&self) -> Vec<Heard> {
        self.lock().heard(Instant::now())
    }

    /// Of which hosts the name was found.
    pub(super) fn named(&self) -> Vec<Heard> {
        self.lock().each(Instant::now(), |last| last.named)
    }

    /// How long ago one could be reached after none could be.
    pub(super) fn reached_again(&self) -> Option<Span> {
        self.lock().reached_again.map(|at| between(at, Instant::now()))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // A panic while the lock was held cannot leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn heard(&self, now: Instant) -> Vec<Heard> {
        self.each(now, |last| Some(last.answered))
    }

    fn each(&self, now: Instant, answered: impl Fn(&Last) -> Option<bool>) -> Vec<Heard> {
        let heard = self.hosts.iter().filter_map(|(host, last)| {
            let answered = answered(last)?;
            Some(Heard { host: host.clone(), answered, ago: between(last.at, now) })
        });
        heard.collect()
    }
}

fn between(at: Instant, now: Instant) -> Span {
    Span::millis(u32::try_from(now.duration_since(at).as_millis()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str) -> Url {
        Url::parse(&format!("https://{host}/a")).unwrap()
    }

    #[tokio::test]
    async fn a_name_that_was_not_found_is_told_from_a_host_that_cannot_be_connected_to() {
        let reach = Reach::default();
        let origin = || "https://a.test".to_owned();
        for (host, error) in [
            ("a.test", OutboundError::Dns(origin())),
            ("b.test", OutboundError::Connect(origin())),
            ("192.0.2.1", OutboundError::Connect(origin())),
        ] {
            reach.note(&url(host), &Err::<(), _>(error));
        }
        let mut named: Vec<_> =
            reach.named().into_iter().map(|heard| (heard.host, heard.answered)).collect();
        named.sort_unstable();
        assert_eq!(named, [("a.test".to_owned(), false), ("b.test".to_owned(), true)]);
        assert_eq!(reach.heard().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_result_of_each_host_is_remembered_and_no_more_hosts_than_so_many() {
        let reach = Reach::default();
        let failed = Err::<(), _>(OutboundError::Dns("https://a.test".to_owned()));
        assert!(!reach.note(&url("a.test"), &failed));
        assert!(!reach.note(&url("a.test"), &Err::<(), _>(OutboundError::Url("has no host"))));
        let heard = |reach: &Reach| -> Vec<(String, bool)> {
            reach.heard().into_iter().map(|heard| (heard.host, heard.answered)).collect()
        };
        assert_eq!(heard(&reach), [("a.test".to_owned(), false)]);
        assert!(!reach.note(&url("a.test"), &Ok(())), "it was one host's fault");
        for host in ["a.test", "b.test"] {
            reach.note(&url(host), &failed);
        }
        assert_eq!(reach.reached_again(), None);
        tokio::time::advance(2 * LATELY.to_std()).await;
        assert!(reach.note(&url("a.test"), &Ok(())), "none could be reached before");
        assert!(!reach.note(&url("b.test"), &Ok(())), "one could");
        assert!(reach.reached_again().is_some());
        reach.note(&url("b.test"), &failed);
        assert!(heard(&reach).contains(&("a.test".to_owned(), true)));
        for nth in 0..2 * MOST_HOSTS {
            reach.note(&url(&format!("h{nth}.test")), &failed);
        }
        assert_eq!(reach.heard().len(), MOST_HOSTS);
        let answered: Vec<_> =
            heard(&reach).into_iter().filter(|(_, answered)| *answered).collect();
        assert_eq!(answered, [("a.test".to_owned(), true)], "what did not answer gives way");
    }
}
