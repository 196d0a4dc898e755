//! The `asset` rule: the URLs in the document point at what they should.
//!
//! Knows: which texts of a document are URLs, and what an answer says about one. Must not know:
//! how anybody asks ([`Probes`] are gathered elsewhere, for the URLs of [`CompiledAsset::targets`]).
//!
//! How a value that a path selects is read:
//!
//! | the value | what it means |
//! |---|---|
//! | an `http` or `https` URL | probed; a fragment is left out |
//! | `//host/path` | probed as `https` |
//! | a `data:` URL | judged as it stands (media type, size); has no host; never fetched |
//! | a member whose name ends in `srcset`, or a text that is a list of URLs with `2x`, `480w` | each URL of it, split as browsers do |
//! | a text with a `{{placeholder}}` or `${placeholder}` | not probed and no violation: it cannot be asked for, which does not make it dead. Its scheme and host are still judged where they stand before the first placeholder |
//! | a relative URL | Unknown: there is no base to ask at |
//! | any other scheme, an empty text, a value that is no text, a URL with a user or password | Fail |
//! | a host that is not in `allowedHosts` | Fail, without a probe. Judges the URL in the document, not where its host redirects to |
//!
//! How an answer is judged: 200, 203 and 206 with the right media type and size Pass;
//! `missingStatus` (404 and 410), a wrong media type and too many bytes Fail; anything else, and
//! no answer, is Unknown. A path that matches nothing is Unknown too, since it is the rule that
//! may be wrong. A violation is certain, so Fail wins over Unknown, and all violations are told.

mod find;
mod hosts;
mod judge;
mod paths;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Host;

use crate::domain::{ByteSize, Doubt, DoubtReason, Probes, Verdict, Violation};

use judge::Finding;
use paths::Path;

/// Most URLs that one rule has probed; a document with more gets Unknown, never Pass.
pub const MAX_TARGETS: usize = 64;
/// Most values that one rule looks at.
pub const MAX_PLACES: usize = 512;
/// Longest URL that is probed, in bytes.
pub const MAX_URL: usize = 2048;

/// Checks the assets that the document's URLs point at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssetRule {
    /// Path expressions (RFC 9535, without `match()` and `search()`) that select the URLs, such
    /// as `$..image.src`.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 512)))]
    pub paths: Vec<String>,
    /// Media types that are right, such as `image/*`; all when empty.
    #[schemars(length(max = 32), inner(length(max = 127)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content_types: Vec<String>,
    /// Hosts that assets may live on, such as `cdn.example.com` or `*.example.com`; all when empty.
    #[schemars(length(max = 32), inner(length(max = 253)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_hosts: Vec<String>,
    /// The largest asset that is right. Default: no limit on the asset (its body is not read).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<ByteSize>,
    /// Status codes that mean «not there». Default: 404 and 410.
    #[schemars(length(max = 32), inner(range(min = 100, max = 599)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_status: Vec<u16>,
}

/// An [`AssetRule`] that is ready to judge.
#[derive(Clone, Debug)]
pub struct CompiledAsset {
    paths: Vec<Path>,
    types: Vec<MediaRange>,
    hosts: Vec<HostPattern>,
    max_bytes: Option<u64>,
    missing: Vec<u16>,
}

/// A URL to probe, and a place that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// JSON Pointer of the text that holds the URL.
    pub path: String,
    /// Which of the URLs in that text, from 0.
    pub nth: usize,
    /// The URL to ask for, and the key of what was seen in [`Probes`].
    pub url: String,
}

/// What a document holds for a rule, before anybody was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What to probe, in the document's order; one URL may lie at several places.
    pub targets: Vec<Target>,
    /// What is wrong whatever an answer would say.
    pub violations: Vec<Violation>,
    /// What cannot be checked whatever an answer would say.
    pub doubts: Vec<Doubt>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct MediaRange {
    kind: String,
    subtype: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Exact(String),
    /// Any name below this one (which starts with a dot), at any depth.
    Below(String),
}

impl AssetRule {
    /// Makes the rule ready to judge.
    ///
    /// # Errors
    /// [`DoubtReason::RuleInvalid`], naming the field and the fix.
    pub fn compile(&self) -> Result<CompiledAsset, Doubt> {
        if self.paths.is_empty() {
            return Err(invalid("asset.paths is empty; name at least one, such as $..image.src"));
        }
        let missing = if self.missing_status.is_empty() {
            vec![404, 410]
        } else {
            each(&self.missing_status, |index, status| missing_status(index, *status))?
        };
        Ok(CompiledAsset {
            paths: each(&self.paths, |index, text| Path::compile(index, text))?,
            types: each(&self.content_types, |index, text| {
                MediaRange::parse(text).ok_or_else(|| {
                    invalid(&format!(
                        "asset.contentTypes[{index}] {text:?} is not a media type; write it like \
                         image/* or image/webp, without parameters"
                    ))
                })
            })?,
            hosts: each(&self.allowed_hosts, |index, text| {
                HostPattern::parse(text).ok_or_else(|| {
                    invalid(&format!(
                        "asset.allowedHosts[{index}] {text:?} is not a host; write it like \
                         cdn.example.com or *.example.com, without scheme, port or path"
                    ))
                })
            })?,
            max_bytes: self.max_bytes.map(ByteSize::bytes),
            missing,
        })
    }
}

impl CompiledAsset {
    /// Must a probe tell the size, too?
    #[must_use]
    pub fn needs_length(&self) -> bool {
        self.max_bytes.is_some()
    }

    /// What to probe before [`Self::check`], and what can be said without.
    #[must_use]
    pub fn targets(&self, document: &Value) -> Found {
        find::find(self, document)
    }

    /// Judges `document` by what was seen of its URLs.
    #[must_use]
    pub fn check(&self, document: &Value, probes: &Probes) -> Verdict {
        let Found { targets, mut violations, mut doubts } = self.targets(document);
        for target in &targets {
            match judge::judge(self, target, probes.get(&target.url)) {
                Finding::Right => {}
                Finding::Wrong(message) => {
                    let violation = Violation::new(&target.path, KEYWORD, &message);
                    violations.push(violation.about_url(target.nth));
                }
                Finding::Unclear(doubt) => doubts.push(doubt),
            }
        }
        if !violations.is_empty() {
            return Verdict::Fail(violations);
        }
        if let Some(down) = hosts::down(&targets, probes) {
            return Verdict::Unknown(down);
        }
        first_of(doubts).map_or(Verdict::Pass, Verdict::Unknown)
    }

    fn allows_host(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    fn allows_type(&self, media_type: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|range| range.matches(media_type))
    }
}

/// What [`Violation::keyword`] says of this rule.
const KEYWORD: &str = "asset";

impl MediaRange {
    fn parse(text: &str) -> Option<Self> {
        let (kind, subtype) = text.split_once('/')?;
        let any = subtype == "*";
        let well_formed = (is_token(kind) || (kind == "*" && any)) && (any || is_token(subtype));
        well_formed.then(|| Self {
            kind: kind.to_ascii_lowercase(),
            subtype: (!any).then(|| subtype.to_ascii_lowercase()),
        })
    }

    fn matches(&self, media_type: &str) -> bool {
        let (kind, subtype) = media_type.split_once('/').unwrap_or((media_type, ""));
        (self.kind == "*" || self.kind == kind)
            && self.subtype.as_deref().is_none_or(|s| s == subtype)
    }
}

/// A name in a media type (RFC 6838, section 4.2).
fn is_token(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
}

impl HostPattern {
    /// Reads a host as the URL standard does, so that it compares equal to a parsed URL's.
    fn parse(text: &str) -> Option<Self> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let host = Host::parse(name.strip_suffix('.').unwrap_or(name)).ok()?;
        match (below, host) {
            (_, Host::Domain(name)) if name.contains('*') => None,
            (true, Host::Domain(name)) => Some(Self::Below(format!(".{name}"))),
            (true, _) => None,
            (false, host) => Some(Self::Exact(host.to_string())),
        }
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Below(suffix) => host.ends_with(suffix.as_str()),
        }
    }
}

fn missing_status(index: usize, status: u16) -> Result<u16, Doubt> {
    // A busy or broken host says nothing about its assets, so no setting may turn that into
    // «not there» and start a repair.
    if (400..500).contains(&status) && status != 408 && status != 429 {
        return Ok(status);
    }
    Err(invalid(&format!(
        "asset.missingStatus[{index}] is {status}, which does not say that an asset is gone; use \
         4xx codes other than 408 and 429"
    )))
}

fn each<T, U>(items: &[T], make: impl Fn(usize, &T) -> Result<U, Doubt>) -> Result<Vec<U>, Doubt> {
    items.iter().enumerate().map(|(index, item)| make(index, item)).collect()
}

/// The first doubt, which also says how many more there are.
fn first_of(doubts: Vec<Doubt>) -> Option<Doubt> {
    let more = doubts.len().saturating_sub(1);
    let mut first = doubts.into_iter().next()?;
    if more > 0 {
        first.message =
            crate::domain::text::message(&format!("{} (and {more} more)", first.message));
    }
    Some(first)
}

fn invalid(message: &str) -> Doubt {
    Doubt::new(DoubtReason::RuleInvalid, message)
}

#[cfg(test)]
mod tests;
