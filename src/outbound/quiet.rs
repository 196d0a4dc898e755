//! Servers of assets that cannot be reached are left alone for a while, then one look tries.
//!
//! Without it, every asset of a server that is gone would be asked for in each interval, and wait in its
//! queue behind all others until that is full; then nobody could be told any more why nothing is known.
//! By the laws of [`crate::domain::breaker`]. Kept for as long as the process lives: what a restart
//! forgets costs a few looks. Only the way to a server counts (its name, its connection), which nobody
//! who names a URL of it can break for the others; that it is slow or answers badly does not. When the
//! first host of any kind is reached after none could be, all of it is forgotten: it was us.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;
use url::Url;

use super::{OutboundError, error::origin};
use crate::domain::{
    Span,
    breaker::{Breaker, Call, State, Terms},
};

/// Looks in a row without a connection after which a server is left alone.
const FAILURES: u32 = 5;
/// Most servers that are remembered; only those that did not answer are.
const MOST_SERVERS: usize = 1024;

/// The servers that could not be reached lately.
#[derive(Debug)]
pub(super) struct Quiet {
    terms: Terms,
    /// What time is counted from: the wall clock may jump.
    began: Instant,
    /// For how long one look that tries keeps the others from trying.
    patience: Duration,
    servers: Mutex<HashMap<String, Known>>,
}

#[derive(Debug)]
struct Known {
    breaker: Breaker,
    last: Instant,
    why: OutboundError,
    tried_at: Option<Instant>,
}

/// A server that could not be reached when it was asked last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftAlone {
    /// The server.
    pub server: String,
    /// Who may ask it.
    pub state: State,
    /// How many looks in a row did not reach it.
    pub failures: u32,
    /// How long ago the first of them was.
    pub since: Span,
    /// In how long one look may try, where it is left alone; none once it may.
    pub opens_in: Option<Span>,
}

impl Quiet {
    /// After several looks in a row without a connection a server is left alone for `open_for`; one
    /// that tries has an answer within `patience`.
    pub(super) fn new(open_for: Duration, patience: Duration) -> Self {
        let open_for = Span::millis(u32::try_from(open_for.as_millis()).unwrap_or(u32::MAX));
        Self {
            terms: Terms { failure_threshold: FAILURES, open_for },
            began: Instant::now(),
            patience,
            servers: Mutex::default(),
        }
    }

    /// May the server of `url` be asked?
    ///
    /// # Errors
    /// Why it could not be reached last: it is left alone, or somebody tries just now.
    pub(super) fn admit(&self, url: &Url) -> Result<(), OutboundError> {
        let now = Instant::now();
        // A panic while the lock was held cannot leave the map half changed.
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = servers.get_mut(&origin(url)) else { return Ok(()) };
        let tries = known.tried_at.is_some_and(|at| now.duration_since(at) < self.patience);
        match known.breaker.state(self.terms, self.time(now)) {
            State::Closed => Ok(()),
            State::HalfOpen { .. } if !tries => {
                known.tried_at = Some(now);
                Ok(())
            }
            State::HalfOpen { .. } | State::Open { .. } => Err(known.why.clone()),
        }
    }

    /// The server of `url` was asked. What was refused here, or took too long, says nothing.
    pub(super) fn note<T>(&self, url: &Url, result: &Result<T, OutboundError>) {
        let asked = origin(url);
        let answered = match result {
            // Of another one, to which this one redirected.
            Err(OutboundError::Dns(of) | OutboundError::Connect(of)) => *of != asked,
            Ok(_)
            | Err(
                OutboundError::Tls(_)
                | OutboundError::Broken(_)
                | OutboundError::Redirect { .. }
                | OutboundError::TooLarge { .. },
            ) => true,
            Err(_) => return self.gave_up(&asked),
        };
        let now = Instant::now();
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let (false, Err(why)) = (answered, result) else {
            servers.remove(&asked);
            return;
        };
        if servers.len() >= MOST_SERVERS && !servers.contains_key(&asked) {
            let oldest = servers.iter().min_by_key(|(_, known)| known.last);
            let oldest = oldest.map(|(server, _)| server.clone());
            oldest.map(|oldest| servers.remove(&oldest));
        }
        let call = Call { at: self.time(now), answered };
        let before = servers.get(&asked).map_or_else(Breaker::default, |known| known.breaker);
        let breaker = before.after(self.terms, call);
        servers.insert(asked, Known { breaker, last: now, why: why.clone(), tried_at: None });
    }

    /// The servers that are remembered, and who may ask them.
    pub(super) fn all(&self) -> Vec<LeftAlone> {
        let now = self.time(Instant::now());
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let each = |(server, known): (&String, &Known)| {
            let state = known.breaker.state(self.terms, now);
            let until = match state {
                State::Open { until } => Some(until),
                State::Closed | State::HalfOpen { .. } => None,
            };
            LeftAlone {
                server: server.clone(),
                state,
                failures: known.breaker.failures,
                since: Span::between(known.breaker.since.unwrap_or(now), now),
                opens_in: until.map(|until| Span::between(now, until)),
            }
        };
        servers.iter().map(each).collect()
    }

    /// What could not be reached was not the servers' fault: each is asked again.
    pub(super) fn forget(&self) {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whoever tried came to no result: another may.
    fn gave_up(&self, asked: &str) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = servers.get_mut(asked) {
            known.tried_at = None;
        }
    }

    fn time(&self, at: Instant) -> Timestamp {
        let since = i64::try_from(at.duration_since(self.began).as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(since).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(60);
    const PATIENCE: Duration = Duration::from_secs(10);

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn gone(url: &Url) -> Result<(), OutboundError> {
        Err(OutboundError::Connect(origin(url)))
    }

    /// One that is left alone.
    fn open(at: &Url) -> Quiet {
        let quiet = Quiet::new(OPEN_FOR, PATIENCE);
        for nth in 0..FAILURES {
            assert_eq!(quiet.admit(at), Ok(()), "look {nth}");
            quiet.note(at, &gone(at));
        }
        assert_eq!(quiet.admit(at), gone(at), "with what came of the last");
        quiet
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_gone_is_left_alone_then_tried_by_one_look_and_asked_by_all_once_back()
    {
        let a = url("https://cdn.test/a?token=canary");
        let quiet = open(&a);
        assert_eq!(quiet.admit(&url("https://cdn.test:8443/a")), Ok(()), "another server");
        let known = |state| vec![("https://cdn.test".to_owned(), state)];
        let shown =
            || quiet.all().into_iter().map(|left| (left.server, left.state.as_str())).collect();
        let shown = || -> Vec<(String, &'static str)> { shown() };
        assert_eq!(shown(), known("open"));
        tokio::time::advance(OPEN_FOR).await;
        assert_eq!(shown(), known("half-open"));
        assert_eq!(quiet.admit(&a), Ok(()), "one tries");
        assert_eq!(quiet.admit(&url("https://cdn.test/b")), gone(&a), "and no other");
        quiet.note(&a, &gone(&a));
        assert_eq!(quiet.admit(&a), gone(&a), "open again");
        tokio::time::advance(OPEN_FOR).await;
        assert_eq!(quiet.admit(&a), Ok(()));
        quiet.note(&a, &Ok(()));
        for _ in 0..2 {
            assert_eq!(quiet.admit(&a), Ok(()), "it is back");
        }
        assert_eq!(shown(), []);
        quiet.note(&a, &gone(&a));
        assert_eq!(shown(), known("closed"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_tries_and_comes_to_no_result_keeps_nobody_for_long() {
        let a = url("https://cdn.test/a");
        let quiet = open(&a);
        tokio::time::advance(OPEN_FOR).await;
        assert_eq!(quiet.admit(&a), Ok(()));
        quiet.note::<()>(&a, &Err(OutboundError::deadline(&a, PATIENCE)));
        assert_eq!(quiet.admit(&a), Ok(()), "it gave up");
        assert_eq!(quiet.admit(&a), gone(&a));
        tokio::time::advance(PATIENCE).await;
        assert_eq!(quiet.admit(&a), Ok(()), "it was given up");
    }

    #[tokio::test]
    async fn only_the_way_to_a_server_counts_and_only_its_own() {
        let (a, b) = (url("https://cdn.test/a"), url("https://other.test/b"));
        for (result, expected) in [
            (Err(OutboundError::Dns(origin(&a))), false),
            (Err(OutboundError::Dns(origin(&b))), true),
            (Err(OutboundError::deadline(&a, PATIENCE)), true),
            (Err(OutboundError::Broken(origin(&a))), true),
            (Ok(()), true),
        ] {
            let quiet = Quiet::new(OPEN_FOR, PATIENCE);
            for _ in 0..2 * FAILURES {
                quiet.note(&a, &result);
            }
            assert_eq!(quiet.admit(&a).is_ok(), expected, "{result:?}");
        }
    }

    #[tokio::test]
    async fn no_more_servers_than_so_many_are_remembered() {
        let quiet = Quiet::new(OPEN_FOR, PATIENCE);
        for nth in 0..2 * MOST_SERVERS {
            let url = url(&format!("https://h{nth}.test/"));
            quiet.note(&url, &gone(&url));
        }
        assert_eq!(quiet.servers.lock().unwrap().len(), MOST_SERVERS);
    }
}
