//! One request and its whole answer.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::{
    MAX_REDIRECTS, Outbound, OutboundError,
    error::origin,
    headers,
    limits::Slot,
    reach::{Awaits, Stage},
};
use crate::domain::Span;

/// Longest URL that is asked for, in bytes.
const MAX_URL: usize = 4096;

/// A request whose answer is wanted whole.
pub struct Request {
    hop: Hop,
    max_bytes: usize,
    deadline: Duration,
}

/// The whole answer, of whatever status.
pub struct Response {
    /// The status of the last hop.
    pub status: u16,
    /// The media type in lower case and without parameters.
    pub content_type: Option<String>,
    /// For `If-None-Match` of the next request.
    pub etag: Option<String>,
    /// For `If-Modified-Since` of the next request.
    pub last_modified: Option<String>,
    /// What the host asked us to wait.
    pub retry_after: Option<Span>,
    /// The body, decompressed.
    pub body: Vec<u8>,
    /// Where the body came from, after redirects.
    pub final_url: Url,
}

/// One request on the wire.
pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The addresses of the Service that is asked; none for everything outside.
    pub(super) service: Vec<IpAddr>,
    /// What it waits for, for whoever gives up on it.
    pub(super) awaits: Arc<Awaits>,
}

/// An answer whose body has not been read.
pub(super) struct Reply {
    pub(super) response: reqwest::Response,
    pub(super) url: Url,
    /// Kept until the body is read.
    _slot: Slot,
}

impl Request {
    /// Asks for `url`.
    ///
    /// # Errors
    /// [`OutboundError::Url`] where that is no absolute URL.
    pub fn get(url: &str, max_bytes: usize, deadline: Duration) -> Result<Self, OutboundError> {
        Ok(Self { hop: Hop::new(Method::GET, parse(url)?), max_bytes, deadline })
    }

    /// Sends `body` to `url`. The answer to a lost POST is unknown: it is never sent twice.
    ///
    /// # Errors
    /// [`OutboundError::Url`] where that is no absolute URL.
    pub fn post(
        url: &str,
        body: impl Into<Bytes>,
        max_bytes: usize,
        deadline: Duration,
    ) -> Result<Self, OutboundError> {
        let hop = Hop { body: body.into(), ..Hop::new(Method::POST, parse(url)?) };
        Ok(Self { hop, max_bytes, deadline })
    }

    /// Sets a header.
    ///
    /// # Errors
    /// [`OutboundError::Header`] where it is malformed, or is the client's own business.
    pub fn header(self, name: &str, value: &str) -> Result<Self, OutboundError> {
        self.set(name, value, false)
    }

    /// Sets a header that is never shown and never sent to another origin than the URL's.
    ///
    /// # Errors
    /// See [`Self::header`].
    pub fn secret_header(self, name: &str, value: &str) -> Result<Self, OutboundError> {
        self.set(name, value, true)
    }

    /// Connects to exactly these addresses, which the caller knows to be those of the Service
    /// `host` in the contract's own namespace: they may be private, and plain http will do.
    /// Redirects to another origin are then refused.
    ///
    /// # Errors
    /// [`OutboundError::Url`] without any address, which would be a request like any other, or
    /// where `host` is none.
    pub fn to_service(mut self, addresses: Vec<IpAddr>, host: &str) -> Result<Self, OutboundError> {
        if addresses.is_empty() {
            return Err(OutboundError::Url("is of a Service without an address"));
        }
        let host = host.parse().map_err(|_| OutboundError::Url("has no host"))?;
        // The endpoint's port may be another than the one that the Service is known by.
        self.hop.headers.insert(header::HOST, host);
        self.hop.service = addresses;
        Ok(self)
    }

    fn set(mut self, name: &str, value: &str, secret: bool) -> Result<Self, OutboundError> {
        let bad = || OutboundError::Header(crate::domain::text::bounded(name, 64));
        let parsed: HeaderName = name.parse().map_err(|_| bad())?;
        let mut value: HeaderValue = value.parse().map_err(|_| bad())?;
        if is_our_business(&parsed) {
            return Err(bad());
        }
        value.set_sensitive(secret);
        self.hop.headers.insert(parsed, value);
        Ok(self)
    }
}

impl Outbound {
    /// Sends `request` and reads the whole answer, of whatever status.
    ///
    /// The deadline covers everything, waiting for a free slot included: whoever checked that it
    /// may act now must not find that the request left much later.
    ///
    /// # Errors
    /// See [`OutboundError`].
    pub async fn fetch(&self, request: Request) -> Result<Response, OutboundError> {
        let (url, deadline) = (request.hop.url.clone(), request.deadline);
        let awaits = Arc::clone(&request.hop.awaits);
        let answer = async {
            let reply = self.follow(request.hop, None).await?;
            reply.read(request.max_bytes).await
        };
        let answer = tokio::time::timeout(deadline, answer).await;
        answer.unwrap_or_else(|_| Err(self.gave_up(&awaits, &url, deadline)))
    }

    /// Nobody waits any more for the answer to a request that began at `url`. Its host was not reached
    /// where the request had left, and nothing of the answer had come: a queue here, or a slow body, is
    /// no fault of the way to it.
    pub(super) fn gave_up(&self, awaits: &Awaits, url: &Url, after: Duration) -> OutboundError {
        let late = OutboundError::deadline(url, after);
        match awaits.get() {
            Stage::Queued => return OutboundError::busy(url),
            Stage::Left(Some(asked)) => {
                self.reach.note(&asked, &Err::<(), _>(late.clone()));
            }
            Stage::Left(None) | Stage::Answered => {}
        }
        late
    }

    /// Sends `request` and reads no more of the answer than its status and what it asks us to wait.
    /// No redirect is followed: it is an answer like any other.
    ///
    /// # Errors
    /// See [`OutboundError`].
    pub async fn tell(&self, request: Request) -> Result<(u16, Option<Span>), OutboundError> {
        let (url, deadline) = (request.hop.url.clone(), request.deadline);
        let awaits = Arc::clone(&request.hop.awaits);
        let answer = async {
            let hop = request.hop;
            self.admit(&hop.url, &hop.service)?;
            let _slot = self.slot(&hop.url).await?;
            let response = self.send(&hop).await?;
            let wait = headers::retry_after(response.headers(), headers::wall_clock());
            Ok((response.status().as_u16(), wait))
        };
        let answer = tokio::time::timeout(deadline, answer).await;
        answer.unwrap_or_else(|_| Err(self.gave_up(&awaits, &url, deadline)))
    }

    /// Sends `hop` and follows redirects; every hop is judged and has a slot of its host.
    pub(super) async fn follow(
        &self,
        mut hop: Hop,
        mut first: Option<Slot>,
    ) -> Result<Reply, OutboundError> {
        // A POST that has left may have done what it does, wherever its answer leads.
        let may_be_made_anew = hop.method != Method::POST;
        for _ in 0..=MAX_REDIRECTS {
            self.admit(&hop.url, &hop.service)?;
            if may_be_made_anew {
                hop.awaits.set(Stage::Queued);
            }
            let slot = match first.take() {
                Some(slot) => slot,
                None => self.slot(&hop.url).await?,
            };
            let response = self.send(&hop).await?;
            match location(&response) {
                None => {
                    return Ok(Reply { response, url: hop.url, _slot: slot });
                }
                Some(location) => {
                    let asked = hop.url.clone();
                    hop = hop.redirected(response.status(), &location)?;
                    // Within one host it does not go back to the end of the queue.
                    first = Some(slot).filter(|_| hop.url.host_str() == asked.host_str());
                }
            }
        }
        Err(OutboundError::lost(&hop.url, "more often than a request follows"))
    }

    async fn send(&self, hop: &Hop) -> Result<reqwest::Response, OutboundError> {
        let request = self
            .client_for(&hop.service)?
            .request(hop.method.clone(), hop.url.clone())
            .headers(hop.headers.clone());
        let request =
            if hop.method == Method::POST { request.body(hop.body.clone()) } else { request };
        let is_outside = hop.service.is_empty();
        hop.awaits.set(Stage::Left(is_outside.then(|| hop.url.clone())));
        let sent = request.send().await;
        hop.awaits.set(Stage::Answered);
        let sent = sent.map_err(|error| OutboundError::from_client(&hop.url, &error));
        // The others were left alone because of us.
        if is_outside && self.reach.note(&hop.url, &sent) {
            self.quiet.forget();
        }
        sent
    }
}

impl Hop {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            service: Vec::new(),
            awaits: Arc::default(),
        }
    }

    /// The next request after an answer of `status` that points to `location`.
    fn redirected(mut self, status: StatusCode, location: &str) -> Result<Self, OutboundError> {
        let next = self.url.join(location).ok().filter(|next| next.as_str().len() <= MAX_URL);
        let Some(next) = next.filter(|next| matches!(next.scheme(), "http" | "https")) else {
            return Err(OutboundError::lost(&self.url, "to what is no http or https URL"));
        };
        let refuse = |what| Err(OutboundError::unsafe_redirect(&self.url, what));
        if self.url.scheme() == "https" && next.scheme() == "http" {
            return refuse("from https to plain http");
        }
        let same_origin = next.origin() == self.url.origin();
        if !same_origin && !self.service.is_empty() {
            return refuse("out of the cluster");
        }
        if turns_into_get(&self.method, status) {
            self.method = Method::GET;
            self.body = Bytes::new();
            self.headers.remove(header::CONTENT_TYPE);
        }
        if !same_origin && self.method == Method::POST {
            return refuse("a POST to another origin");
        }
        if !same_origin {
            // They stay away even if a later hop leads back: that hop was chosen by a stranger.
            self.drop_secrets();
        }
        self.url = next;
        Ok(self)
    }

    fn drop_secrets(&mut self) {
        let secret: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, value)| value.is_sensitive() || is_credential(name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in secret {
            self.headers.remove(name);
        }
    }
}

impl Reply {
    /// The whole answer with its body, which is cut by an error at `max` bytes.
    async fn read(mut self, max: usize) -> Result<Response, OutboundError> {
        let too_large = || OutboundError::too_large(&self.url, max);
        let length = headers::content_length(self.response.headers());
        if length.is_some_and(|length| length > max as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        loop {
            let chunk = self.response.chunk().await;
            let chunk = chunk.map_err(|error| OutboundError::from_client(&self.url, &error))?;
            let Some(chunk) = chunk else { break };
            if body.len() + chunk.len() > max {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        let headers = self.response.headers();
        Ok(Response {
            status: self.response.status().as_u16(),
            content_type: headers::media_type(headers),
            etag: headers::text(headers, &header::ETAG),
            last_modified: headers::text(headers, &header::LAST_MODIFIED),
            retry_after: headers::retry_after(headers, headers::wall_clock()),
            body,
            final_url: self.url,
        })
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.hop.method)
            .field("origin", &origin(&self.hop.url))
            .field("headers", &self.hop.headers)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("bytes", &self.body.len())
            .field("origin", &origin(&self.final_url))
            .finish_non_exhaustive()
    }
}

/// The absolute URL that `text` holds.
pub(super) fn parse(text: &str) -> Result<Url, OutboundError> {
    if text.len() > MAX_URL {
        return Err(OutboundError::Url("is longer than 4096 bytes; shorten it"));
    }
    Url::parse(text)
        .map_err(|_| OutboundError::Url("is not absolute; write it like https://host/path"))
}

/// Where a redirect points to.
fn location(response: &reqwest::Response) -> Option<String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(header::LOCATION)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// Is the next request a GET, as browsers have it?
fn turns_into_get(method: &Method, status: StatusCode) -> bool {
    match status.as_u16() {
        303 => *method != Method::HEAD,
        301 | 302 => *method == Method::POST,
        _ => false,
    }
}

fn is_credential(name: &HeaderName) -> bool {
    [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION].contains(name)
}

/// Headers that frame or route a request, or switch decompression off.
fn is_our_business(name: &HeaderName) -> bool {
    let own = [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::EXPECT,
        header::ACCEPT_ENCODING,
        header::RANGE,
    ];
    own.contains(name) || name.as_str().starts_with("proxy-") || name == "keep-alive"
}

#[cfg(test)]
mod tests;
