//! Is the thing that a URL names there, and what is it?
//!
//! A HEAD first. A host that refuses HEAD, or says that nothing is there, is asked again with a GET
//! for one byte: many answer HEAD with 403, 404 or 405 for what a GET finds. A body is never read.
//!
//! One look per URL at a time, shared by all who ask. What was seen is remembered within a bound:
//! for those who can do with an older look, for the host's `ETag` and `Last-Modified`, and so
//! that a host which asked us to wait is left alone. That wait is kept per URL and not per host:
//! one tenant's URL must not be able to stop the checks of all others on a shared host. A server that
//! cannot be reached at all is left alone for a while, see [`super::quiet`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use http::{HeaderMap, HeaderValue, Method, header};
use moka::sync::Cache;
use tokio::time::{Instant, timeout};
use url::Url;

use super::{
    Outbound, OutboundError,
    fetch::{Hop, Reply, parse},
    headers,
    limits::Slot,
    reach::Awaits,
};
use crate::domain::{Answer, Probe, Span};

/// Most bytes that are read of the answer to a GET for one byte, so that its connection can
/// serve again.
const MAX_DRAIN: usize = 1024;

/// What somebody needs of a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// Must the size be told, at the price of a second request where a HEAD does not tell it?
    pub length: bool,
    /// How old a look may be that is reused; zero looks again, or joins the look that is under way.
    pub max_age: Duration,
}

/// Probes URLs; clones share everything.
#[derive(Clone)]
pub struct Prober {
    outbound: Arc<Outbound>,
    seen: Cache<Key, Seen>,
    under_way: Arc<Mutex<HashMap<Key, WeakShared<Look>>>>,
}

type Look = BoxFuture<'static, Probe>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    url: String,
    length: bool,
}

/// What is remembered of a URL.
#[derive(Clone)]
struct Seen {
    probe: Probe,
    at: Instant,
    /// The host asked us not to ask before.
    not_before: Option<Instant>,
    /// The last good answer, which the host may confirm instead of repeating it.
    good: Option<Good>,
}

#[derive(Clone)]
struct Good {
    answer: Answer,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Prober {
    /// A prober that asks through `outbound`.
    #[must_use]
    pub fn new(outbound: Arc<Outbound>) -> Self {
        let seen = Cache::builder()
            .max_capacity(outbound.config.remember_bytes)
            .weigher(|key: &Key, seen: &Seen| {
                u32::try_from(key.url.len() + seen.weight()).unwrap_or(u32::MAX)
            })
            .build();
        Self { outbound, seen, under_way: Arc::default() }
    }

    /// What is there at `url`. Never an error: what went wrong is what was seen.
    pub async fn probe(&self, url: &str, want: Want) -> Probe {
        let key = Key { url: url.to_owned(), length: want.length };
        if let Some(probe) = self.seen.get(&key).and_then(|seen| seen.reusable(want.max_age)) {
            return probe;
        }
        self.join(key).await
    }

    /// The look that is under way, or a new one. It goes on while anybody waits for it.
    fn join(&self, key: Key) -> Shared<Look> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(look) = under_way.get(&key).and_then(WeakShared::upgrade) {
            return look;
        }
        if under_way.len() == under_way.capacity() {
            // Before the map grows, forget the looks that everybody has given up.
            under_way.retain(|_, look| look.upgrade().is_some());
        }
        let prober = self.clone();
        let of = key.clone();
        let look = async move { prober.look_and_remember(of).await }.boxed().shared();
        if let Some(weak) = look.downgrade() {
            under_way.insert(key, weak);
        }
        look
    }

    async fn look_and_remember(self, key: Key) -> Probe {
        let good = self.seen.get(&key).and_then(|seen| seen.good);
        let seen = match self.look(&key, good.clone()).await {
            Ok((answer, confirmable)) => Seen {
                not_before: wait_asked_for(&answer).map(|wait| Instant::now() + wait.to_std()),
                probe: Probe::Answered(answer),
                at: Instant::now(),
                good: confirmable.or(good),
            },
            Err(error) => Seen {
                probe: Probe::Failed {
                    reason: error.reason(),
                    message: error.to_string(),
                    host: error.silent_host(),
                },
                at: Instant::now(),
                not_before: None,
                good,
            },
        };
        let probe = seen.probe.clone();
        self.seen.insert(key.clone(), seen);
        // Remembered first, so that nobody falls between the look and the memory of it.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        probe
    }

    /// The answer, and what the host may confirm the next time.
    async fn look(
        &self,
        key: &Key,
        good: Option<Good>,
    ) -> Result<(Answer, Option<Good>), OutboundError> {
        let outbound = &self.outbound;
        let url = parse(&key.url)?;
        // A queue is no fault of the host, so waiting in it does not count against the deadline.
        let slot = timeout(outbound.config.queue_timeout, outbound.slot(&url)).await;
        let slot = slot.map_err(|_| OutboundError::busy(&url))??;
        // Asked for last: who waited in the queue learns what became of those before.
        outbound.quiet.admit(&url)?;
        let deadline = outbound.config.probe_deadline;
        let awaits = Arc::default();
        let answer = timeout(deadline, outbound.ask(&url, key.length, good, slot, &awaits)).await;
        let answer = answer.unwrap_or_else(|_| Err(outbound.gave_up(&awaits, &url, deadline)));
        outbound.quiet.note(&url, &answer);
        answer
    }
}

impl Outbound {
    async fn ask(
        &self,
        url: &Url,
        length: bool,
        good: Option<Good>,
        slot: Slot,
        awaits: &Arc<Awaits>,
    ) -> Result<(Answer, Option<Good>), OutboundError> {
        let hop = |method| Hop {
            headers: conditional(good.as_ref()),
            awaits: Arc::clone(awaits),
            ..Hop::new(method, url.clone())
        };
        let head = self.follow(hop(Method::HEAD), Some(slot)).await?;
        let answer = read_answer(&head);
        if head_says_enough(&answer, length) {
            return Ok(confirm(answer, &head, good));
        }
        drop(head);
        let mut get = hop(Method::GET);
        get.headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-0"));
        let get = self.follow(get, None).await?;
        let (answer, good) = confirm(read_answer(&get), &get, good);
        drain(get).await;
        Ok((answer, good))
    }
}

impl Seen {
    /// What was seen, where that may still be told.
    fn reusable(self, max_age: Duration) -> Option<Probe> {
        let now = Instant::now();
        let wait = self.not_before.and_then(|until| until.checked_duration_since(now));
        match (self.probe, wait.filter(|wait| !wait.is_zero())) {
            (Probe::Answered(answer), Some(wait)) => {
                let millis = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
                let retry_after = Some(Span::millis(millis));
                Some(Probe::Answered(Answer { retry_after, ..answer }))
            }
            (probe, _) => (now.duration_since(self.at) < max_age).then_some(probe),
        }
    }

    /// About how many bytes this takes.
    fn weight(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let message = match &self.probe {
            Probe::Failed { message, .. } => message.len(),
            Probe::Answered(answer) => length(&answer.content_type),
        };
        let good = self.good.as_ref().map_or(0, |good| {
            length(&good.etag) + length(&good.last_modified) + length(&good.answer.content_type)
        });
        size_of::<Self>() + message + good
    }
}

/// How long a busy host asked to be left alone. With any other answer the wait is about something
/// else, and honouring it would let a host freeze what was seen.
fn wait_asked_for(answer: &Answer) -> Option<Span> {
    answer.retry_after.filter(|_| answer.status == 429 || answer.status >= 500)
}

/// Asks for the thing as it is, and only if it is not what was seen before.
fn conditional(good: Option<&Good>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // A compressed answer would not tell the size of the thing.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let mut set = |name, value: Option<&String>| {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    };
    set(header::IF_NONE_MATCH, good.and_then(|good| good.etag.as_ref()));
    set(header::IF_MODIFIED_SINCE, good.and_then(|good| good.last_modified.as_ref()));
    headers
}

fn read_answer(reply: &Reply) -> Answer {
    let headers = reply.response.headers();
    let status = reply.response.status().as_u16();
    let length = match status {
        206 => headers::range_total(headers),
        _ => headers::content_length(headers),
    };
    Answer {
        status,
        content_type: headers::media_type(headers),
        length,
        retry_after: headers::retry_after(headers, headers::wall_clock()),
    }
}

/// Is no GET needed? A host that is busy or down is not asked twice.
fn head_says_enough(answer: &Answer, length: bool) -> bool {
    match answer.status {
        200..300 => !length || answer.length.is_some(),
        429 => true,
        400..=501 => false,
        _ => true,
    }
}

/// The answer, or what was seen before where the host says that nothing has changed.
fn confirm(answer: Answer, reply: &Reply, good: Option<Good>) -> (Answer, Option<Good>) {
    match (answer.status, good) {
        (304, Some(good)) => (good.answer.clone(), Some(good)),
        (200 | 206, _) => {
            let headers = reply.response.headers();
            let etag = headers::text(headers, &header::ETAG);
            let last_modified = headers::text(headers, &header::LAST_MODIFIED);
            let good = Good { answer: answer.clone(), etag, last_modified };
            (answer, Some(good))
        }
        _ => (answer, None),
    }
}

/// Reads the little that a GET for one byte brings; more closes the connection.
async fn drain(mut reply: Reply) {
    if reply.response.status().as_u16() != 206 {
        return;
    }
    let mut read = 0;
    while let Ok(Some(chunk)) = reply.response.chunk().await {
        read += chunk.len();
        if read > MAX_DRAIN {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
