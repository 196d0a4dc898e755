//! What a rule says of a document: Pass, Fail, or Unknown, which is never taken for Fail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Span, text};

/// The outcome of one rule on one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The rule was checked and holds.
    Pass,
    /// The rule was checked and does not hold; never empty.
    Fail(Vec<Violation>),
    /// The rule could not be checked. Nothing may be repaired on the strength of this.
    Unknown(Doubt),
}

impl Verdict {
    /// Pass when there is nothing to object to, else Fail.
    #[must_use]
    pub fn from_violations(violations: Vec<Violation>) -> Self {
        if violations.is_empty() { Self::Pass } else { Self::Fail(violations) }
    }

    /// Is this verdict no worse than `other`? Fail is worse than Unknown, Unknown than Pass.
    #[must_use]
    pub fn no_worse_than(&self, other: &Self) -> bool {
        self.badness() <= other.badness()
    }

    fn badness(&self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Unknown(_) => 1,
            Self::Fail(_) => 2,
        }
    }
}

/// How much a failing rule matters.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::AsRefStr,
    strum::Display,
)]
pub enum Severity {
    /// Shown only.
    Info,
    /// Shown and makes the contract Degraded; opens an Incident only where a policy asks for it.
    Warning,
    /// The document must not be served while this fails.
    #[default]
    Critical,
}

/// One thing that a rule objects to. Holds no payload value: `message` is masked by its maker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// JSON Pointer (RFC 6901) of the offending place, empty for the whole document, as people
    /// see it: a long one is cut. Who acts on it asks [`Violation::place`].
    pub path: String,
    /// The JSON Schema keyword, or `cel`, `asset`, `metadata`, `freshness`.
    pub keyword: String,
    /// One sentence for a person, without payload values.
    pub message: String,
    /// Which URL of the text at the place, from 0, where it is about one: a `srcset` holds several
    /// that people are shown alike, without their queries.
    pub url: Option<usize>,
    is_exact: bool,
}

impl Violation {
    /// A violation with bounded texts.
    #[must_use]
    pub fn new(path: &str, keyword: &str, message: &str) -> Self {
        let shown = text::bounded(path, 512);
        Self {
            is_exact: shown == path,
            path: shown,
            keyword: text::bounded(keyword, 63),
            message: text::message(message),
            url: None,
        }
    }

    /// The same about one URL of the text at the place.
    #[must_use]
    pub fn about_url(self, nth: usize) -> Self {
        Self { url: Some(nth), ..self }
    }

    /// The pointer of the place; None when `path` is not all of it, and may be another place's.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.is_exact.then_some(self.path.as_str())
    }

    /// The first `most` of `violations`; where that is not all, the last says how many more.
    #[must_use]
    pub fn first(mut violations: Vec<Self>, most: usize) -> Vec<Self> {
        let more = violations.len().saturating_sub(most);
        violations.truncate(most);
        if let Some(last) = violations.last_mut().filter(|_| more > 0) {
            last.message = text::message(&format!("{} (and {more} more)", last.message));
        }
        violations
    }
}

/// The longest name of a host that is shown, in bytes: a contract's status may show many.
const HOST_MAX: usize = 128;

/// Why a rule could not be checked, and when it is worth asking again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The stable reason.
    pub reason: DoubtReason,
    /// One sentence for a person: names the field and the fix, without payload values.
    pub message: String,
    /// What the other side asked us to wait, if it did (Retry-After).
    pub retry_after: Option<Span>,
    /// The host that gave no answer, where that is why.
    pub host: Option<String>,
}

impl Doubt {
    /// A doubt with a bounded message.
    #[must_use]
    pub fn new(reason: DoubtReason, message: &str) -> Self {
        Self { reason, message: text::message(message), retry_after: None, host: None }
    }

    /// The same because this host, if any, gave no answer.
    #[must_use]
    pub fn for_want_of(self, host: Option<&str>) -> Self {
        Self { host: host.map(|host| text::bounded(host, HOST_MAX)), ..self }
    }
}

/// The stable reasons of Unknown; used as condition reasons and metric labels.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::AsRefStr,
    strum::Display,
    strum::IntoStaticStr,
)]
pub enum DoubtReason {
    /// The schema is not a valid JSON Schema, or has a remote `$ref` or a pattern that is refused.
    SchemaInvalid,
    /// The schema's ConfigMap or key is not there.
    SchemaNotFound,
    /// The static cost gate refused the schema before it ran.
    SchemaTooCostly,
    /// The expression does not compile or does not return a bool.
    ExpressionInvalid,
    /// The static cost gate refused the expression before it ran.
    ExpressionTooCostly,
    /// A field of the rule is not usable (a JSONPath, a media type, a timestamp format).
    RuleInvalid,
    /// The check did not end in its time.
    DeadlineExceeded,
    /// Too much was asked for at once here: nobody has looked yet.
    Busy,
    /// A referenced object is not there or could not be read.
    ReferenceUnavailable,
    /// The address guard refused to connect.
    AddressRefused,
    /// The name did not resolve.
    DnsFailed,
    /// No connection, or it broke.
    ConnectionFailed,
    /// A host of which several assets were asked for could not be reached for any of them.
    AssetHostDown,
    /// An answer that says nothing about the asset: 401, 403, 429, 5xx and the like.
    HttpUnclear,
    /// The answer was larger or slower than allowed.
    ResponseTooLarge,
    /// The source's Service has no endpoint that is ready.
    SourceDown,
    /// The source answered, and not with a document that can be taken over.
    SourceInvalid,
}

impl DoubtReason {
    /// Does it mean that whoever was asked is not there, or too busy to answer?
    #[must_use]
    pub fn is_outage(self) -> bool {
        match self {
            Self::DeadlineExceeded
            | Self::DnsFailed
            | Self::ConnectionFailed
            | Self::AssetHostDown
            | Self::HttpUnclear
            | Self::SourceDown => true,
            Self::SchemaInvalid
            | Self::SchemaNotFound
            | Self::SchemaTooCostly
            | Self::ExpressionInvalid
            | Self::ExpressionTooCostly
            | Self::RuleInvalid
            | Self::ReferenceUnavailable
            | Self::Busy
            | Self::AddressRefused
            | Self::ResponseTooLarge
            | Self::SourceInvalid => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_shown_in_part_is_no_place() {
        let whole = format!("/{}", "k".repeat(511));
        let of = |path: &str| Violation::new(path, "type", "is wrong");
        assert_eq!(of(&whole).place(), Some(whole.as_str()));
        assert_eq!(of("").place(), Some(""));
        // The second would be shown, and found, as the key "a b".
        for path in [format!("{whole}k"), "/a\tb".to_owned()] {
            assert_eq!(of(&path).place(), None, "{path}");
            assert_eq!(Violation::first(vec![of(&path); 2], 1)[0].place(), None);
        }
    }

    #[test]
    fn unknown_lies_between_pass_and_fail() {
        let fail = Verdict::Fail(vec![Violation::new("/a", "type", "is not a string")]);
        let unknown = Verdict::Unknown(Doubt::new(DoubtReason::DnsFailed, "no such host"));
        assert!(unknown.no_worse_than(&fail) && !fail.no_worse_than(&unknown));
        assert!(Verdict::Pass.no_worse_than(&unknown) && !unknown.no_worse_than(&Verdict::Pass));
    }
}
