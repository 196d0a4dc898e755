//! Why a request got no answer.

use std::{error::Error, io, time::Duration};

use url::{Origin, Url};

use super::{Refusal, resolve::RefusedAddress};
use crate::domain::{DoubtReason, text};

/// Why a request got no answer. Texts are fixed but for the origin of the URL: no credentials,
/// path, query or fragment, and nothing that the other side sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The client could not be built.
    #[error("the HTTP client could not be set up: {0}")]
    Setup(&'static str),
    /// The URL is not one to ask for.
    #[error("the URL {0}")]
    Url(&'static str),
    /// A header that requests may not set.
    #[error("the header {0:?} may not be set; remove it")]
    Header(String),
    /// Plain http.
    #[error("{0} is plain http, which is not allowed; use https, or allow http by flag")]
    PlainHttp(String),
    /// The guard refused an address.
    #[error("{origin} has a {refusal} address; allow its range by flag if that is meant")]
    AddressRefused {
        /// The origin.
        origin: String,
        /// Why.
        refusal: Refusal,
    },
    /// A redirect that is not followed.
    #[error("{origin} redirects {what}; give the URL that it should end at")]
    Redirect {
        /// The origin that sent the redirect.
        origin: String,
        /// Where to, in fixed words.
        what: &'static str,
        /// Is it unsafe to follow, rather than no use?
        refused: bool,
    },
    /// The name has no address.
    #[error("the name of {0} does not resolve; check its spelling, and the DNS here")]
    Dns(String),
    /// No connection.
    #[error("{0} accepts no connection; check that it is up, and its port")]
    Connect(String),
    /// No secure connection.
    #[error(
        "{0} offers no valid TLS: its certificate or protocol is not accepted; renew the one or the other"
    )]
    Tls(String),
    /// The connection broke, or what came was not HTTP.
    #[error("the connection to {0} broke before the answer ended; see why in its own log")]
    Broken(String),
    /// The total time is up.
    #[error(
        "{origin} did not answer completely within {after:?}; make it answer faster, or allow more time by flag"
    )]
    Deadline {
        /// The origin that was asked first.
        origin: String,
        /// The total time.
        after: Duration,
    },
    /// No slot became free, and the request may be made anew.
    #[error(
        "too many requests are under way here, so the one to {0} waited in vain; it is made again, \
         and --fetches and --fetches-per-host allow more at once"
    )]
    Busy(String),
    /// The body is larger than wanted.
    #[error("{origin} sends more than {max} bytes; make that smaller")]
    TooLarge {
        /// The origin.
        origin: String,
        /// The cap.
        max: usize,
    },
}

impl OutboundError {
    /// What a rule calls it.
    #[must_use]
    pub fn reason(&self) -> DoubtReason {
        match self {
            Self::Url(_) | Self::Header(_) => DoubtReason::RuleInvalid,
            Self::PlainHttp(_)
            | Self::AddressRefused { .. }
            | Self::Redirect { refused: true, .. } => DoubtReason::AddressRefused,
            Self::Redirect { refused: false, .. } => DoubtReason::HttpUnclear,
            Self::Dns(_) => DoubtReason::DnsFailed,
            Self::Setup(_) | Self::Connect(_) | Self::Tls(_) | Self::Broken(_) => {
                DoubtReason::ConnectionFailed
            }
            Self::Deadline { .. } => DoubtReason::DeadlineExceeded,
            Self::Busy(_) => DoubtReason::Busy,
            Self::TooLarge { .. } => DoubtReason::ResponseTooLarge,
        }
    }

    /// The host that was asked and gave no answer that can be read; None where that is not why, as in
    /// a queue of our own.
    #[must_use]
    pub fn silent_host(&self) -> Option<String> {
        let origin = match self {
            Self::Dns(origin)
            | Self::Connect(origin)
            | Self::Tls(origin)
            | Self::Broken(origin)
            | Self::Deadline { origin, .. } => origin,
            Self::Setup(_)
            | Self::Url(_)
            | Self::Header(_)
            | Self::PlainHttp(_)
            | Self::AddressRefused { .. }
            | Self::Redirect { .. }
            | Self::Busy(_)
            | Self::TooLarge { .. } => return None,
        };
        Some(Url::parse(origin).ok()?.host_str()?.to_owned())
    }

    pub(super) fn plain_http(url: &Url) -> Self {
        Self::PlainHttp(origin(url))
    }

    pub(super) fn address_refused(url: &Url, refusal: Refusal) -> Self {
        Self::AddressRefused { origin: origin(url), refusal }
    }

    /// A redirect that leads nowhere.
    pub(super) fn lost(url: &Url, what: &'static str) -> Self {
        Self::Redirect { origin: origin(url), what, refused: false }
    }

    /// A redirect that is not safe to follow.
    pub(super) fn unsafe_redirect(url: &Url, what: &'static str) -> Self {
        Self::Redirect { origin: origin(url), what, refused: true }
    }

    pub(super) fn deadline(url: &Url, after: Duration) -> Self {
        Self::Deadline { origin: origin(url), after }
    }

    pub(super) fn busy(url: &Url) -> Self {
        Self::Busy(origin(url))
    }

    pub(super) fn too_large(url: &Url, max: usize) -> Self {
        Self::TooLarge { origin: origin(url), max }
    }

    /// What the HTTP client's error means. Its own text is never used: it holds the whole URL.
    pub(super) fn from_client(url: &Url, error: &reqwest::Error) -> Self {
        let origin = origin(url);
        if let Some(RefusedAddress(refusal)) = causes(error).find_map(|e| e.downcast_ref()) {
            return Self::AddressRefused { origin, refusal: *refusal };
        }
        if error.is_dns() {
            Self::Dns(origin)
        } else if causes(error).any(is_tls) {
            Self::Tls(origin)
        } else if error.is_connect() {
            Self::Connect(origin)
        } else {
            Self::Broken(origin)
        }
    }
}

/// The error and all that caused it, looking into I/O errors, too.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

fn is_tls(error: &(dyn Error + 'static)) -> bool {
    error.is::<rustls::Error>()
}

/// Scheme, host and port: what may be shown of any URL.
pub(super) fn origin(url: &Url) -> String {
    match url.origin() {
        Origin::Tuple(scheme, host, port) => {
            let usual = matches!((scheme.as_str(), port), ("http", 80) | ("https", 443));
            let host = text::bounded(&host.to_string(), 253);
            if usual { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") }
        }
        Origin::Opaque(_) => "a URL".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_show_the_origin_and_nothing_else_of_a_url() {
        let url = Url::parse("https://user:canary@hooks.example.com/canary?canary#canary").unwrap();
        for error in [
            OutboundError::plain_http(&url),
            OutboundError::address_refused(&url, Refusal::Metadata),
            OutboundError::lost(&url, "too often"),
            OutboundError::deadline(&url, Duration::from_secs(1)),
            OutboundError::busy(&url),
            OutboundError::too_large(&url, 1),
        ] {
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("https://hooks.example.com"), "{shown}");
            assert!(!shown.contains("canary"), "{shown}");
        }
        let (silent, busy) =
            (OutboundError::deadline(&url, Duration::ZERO), OutboundError::busy(&url));
        assert_eq!(silent.silent_host().as_deref(), Some("hooks.example.com"));
        assert_eq!(busy.silent_host(), None, "a queue of our own says nothing of the host");
        assert_eq!(
            origin(&Url::parse("http://a.example:8080/x").unwrap()),
            "http://a.example:8080"
        );
    }
}
