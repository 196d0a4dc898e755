//! What is read from the headers of an answer, bounded.

use http::{HeaderMap, HeaderName, header};
use jiff::{Timestamp, fmt::rfc2822};

use crate::domain::Span;

/// Longest header value that is taken over.
const MAX_VALUE: usize = 512;
/// Longest wait that a host can ask for: more would let it switch a check off.
const MAX_WAIT: Span = Span::mins(60);

/// The value as text; None when absent, not text or too long.
pub(super) fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    (value.len() <= MAX_VALUE).then(|| value.to_owned())
}

/// The media type in lower case and without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = text(headers, &header::CONTENT_TYPE)?;
    let media_type = value.split(';').next()?.trim();
    (!media_type.is_empty()).then(|| media_type.to_ascii_lowercase())
}

/// `Content-Length`.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &header::CONTENT_LENGTH)?.parse().ok()
}

/// The whole size, from `Content-Range: bytes 0-0/1234`.
pub(super) fn range_total(headers: &HeaderMap) -> Option<u64> {
    text(headers, &header::CONTENT_RANGE)?.rsplit_once('/')?.1.trim().parse().ok()
}

/// What the host asks us to wait: seconds, or until a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Span> {
    let value = text(headers, &header::RETRY_AFTER)?;
    let value = value.trim();
    let wait = if let Ok(seconds) = value.parse::<u64>() {
        Span::secs(u32::try_from(seconds).unwrap_or(u32::MAX))
    } else {
        let until = rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
        Span::between(now, until)
    };
    Some(wait.min(MAX_WAIT))
}

/// The wall clock, for `Retry-After` with a date: nothing but a wait is computed from it.
#[expect(clippy::disallowed_methods, reason = "a date from another machine needs our own")]
pub(super) fn wall_clock() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date_and_bounded() {
        let now: Timestamp = "2015-10-21T07:28:00Z".parse().unwrap();
        for (value, expected) in [
            ("120", Some(Span::secs(120))),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(Span::secs(30))),
            ("Wed, 21 Oct 2015 07:27:00 GMT", Some(Span::ZERO)),
            ("99999999999", Some(MAX_WAIT)),
            ("Wed, 21 Oct 2099 07:28:00 GMT", Some(MAX_WAIT)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(&headers(header::RETRY_AFTER, value), now), expected, "{value}");
        }
    }

    #[test]
    fn a_media_type_loses_case_and_parameters() {
        for (value, expected) in
            [("Image/PNG; q=1", Some("image/png")), ("text/html", Some("text/html")), (" ", None)]
        {
            let headers = headers(header::CONTENT_TYPE, value);
            assert_eq!(media_type(&headers).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn the_whole_size_is_read_from_a_range() {
        for (value, expected) in
            [("bytes 0-0/1234", Some(1234)), ("bytes 0-0/*", None), ("x", None)]
        {
            assert_eq!(range_total(&headers(header::CONTENT_RANGE, value)), expected, "{value}");
        }
    }
}
