//! Which URLs a document holds for a rule, and what is wrong with one before anybody is asked.

use std::collections::BTreeSet;

use serde_json::Value;
use url::{ParseError, Url};

use super::{
    CompiledAsset, Found, KEYWORD, MAX_PLACES, MAX_TARGETS, MAX_URL, Target, invalid,
    judge::judge_data, paths,
};
use crate::domain::{Violation, srcset, text};

/// See [`CompiledAsset::targets`].
pub(super) fn find(rule: &CompiledAsset, document: &Value) -> Found {
    let (selected, doubts) = paths::select(&rule.paths, document);
    let mut finder = Finder {
        rule,
        room: MAX_PLACES,
        urls: BTreeSet::new(),
        too_many_urls: false,
        found: Found::default(),
    };
    for place in &selected {
        finder.read(&place.pointer, place.value);
        if finder.room == 0 {
            finder.found.doubts.push(invalid(&format!(
                "asset.paths select {MAX_PLACES} URLs or more, and a rule reads no further; split it"
            )));
            break;
        }
    }
    if finder.too_many_urls {
        finder.found.doubts.push(invalid(&format!(
            "asset.paths select more than {MAX_TARGETS} different URLs; a rule checks \
             {MAX_TARGETS} at most, so split it"
        )));
    }
    finder.found.doubts.extend(doubts);
    finder.found
}

struct Finder<'a> {
    rule: &'a CompiledAsset,
    /// How many more URLs are read, so that one text of 900 KiB cannot make a list as long.
    room: usize,
    urls: BTreeSet<String>,
    too_many_urls: bool,
    found: Found,
}

/// What one URL is good for.
enum Reading {
    Probe(Url),
    /// Nothing to ask and nothing to object to.
    Leave,
    Wrong(String),
    Unclear(String),
}

impl Finder<'_> {
    fn read(&mut self, pointer: &str, value: &Value) {
        self.room = self.room.saturating_sub(1);
        let Value::String(text) = value else {
            let what = format!("is {}, not the text of a URL", kind(value));
            return self.object(pointer, None, &what);
        };
        if text.trim().is_empty() {
            return self.object(pointer, None, "is empty; it should be the URL of an asset");
        }
        let urls = srcset::urls(pointer, text, self.room + 1);
        if urls.is_empty() {
            return self.object(pointer, None, "holds no URL, only commas");
        }
        self.room = (self.room + 1).saturating_sub(urls.len());
        for (nth, candidate) in urls.into_iter().enumerate() {
            match self.classify(candidate.url) {
                Reading::Probe(url) => self.ask(pointer, nth, url),
                Reading::Leave => {}
                Reading::Wrong(what) => self.object(pointer, Some(nth), &what),
                Reading::Unclear(what) => {
                    let place = text::bounded(pointer, 128);
                    self.found.doubts.push(invalid(&format!("the URL at {place} {what}")));
                }
            }
        }
    }

    fn ask(&mut self, pointer: &str, nth: usize, url: Url) {
        let url = String::from(url);
        if self.urls.len() < MAX_TARGETS || self.urls.contains(&url) {
            self.urls.insert(url.clone());
            self.found.targets.push(Target { path: pointer.to_owned(), nth, url });
        } else {
            self.too_many_urls = true;
        }
    }

    fn object(&mut self, pointer: &str, nth: Option<usize>, what: &str) {
        let violation = Violation::new(pointer, KEYWORD, what);
        self.found.violations.push(match nth {
            Some(nth) => violation.about_url(nth),
            None => violation,
        });
    }

    fn classify(&self, text: &str) -> Reading {
        if let Some(at) = placeholder(text) {
            return self.classify_start(&text[..at]);
        }
        if text.len() > MAX_URL && !is_data(text) {
            return Reading::Unclear(format!("is longer than {MAX_URL} bytes; shorten it"));
        }
        let absolute =
            if text.starts_with("//") { format!("https:{text}") } else { text.to_owned() };
        match Url::parse(&absolute) {
            Ok(url) if url.scheme() == "data" => {
                judge_data(self.rule, &url).map_or(Reading::Leave, Reading::Wrong)
            }
            Ok(mut url) => {
                url.set_fragment(None);
                self.objection(&url).map_or(Reading::Probe(url), Reading::Wrong)
            }
            Err(ParseError::RelativeUrlWithoutBase) => Reading::Unclear(
                "is relative, and there is no page to look for it from; write an absolute URL, or \
                 leave its place out of asset.paths"
                    .to_owned(),
            ),
            Err(error) => Reading::Wrong(format!("is not a URL: {error}")),
        }
    }

    /// Judges the scheme and the host as far as they stand before the first placeholder.
    fn classify_start(&self, start: &str) -> Reading {
        let parse = |text: String| Url::parse(&text).ok();
        let start =
            if start.starts_with("//") { format!("https:{start}") } else { start.to_owned() };
        let Some(url) = parse(start.clone()).filter(|url| url.scheme() != "data") else {
            return Reading::Leave;
        };
        // The host is whole when what comes next cannot become a part of it.
        let host_is_whole =
            parse(format!("{start}x")).is_some_and(|next| next.host() == url.host());
        if host_is_whole || !is_web(&url) {
            self.objection(&url).map_or(Reading::Leave, Reading::Wrong)
        } else {
            Reading::Leave
        }
    }

    /// What is wrong with a URL that is to be asked for.
    fn objection(&self, url: &Url) -> Option<String> {
        if !is_web(url) {
            let scheme = text::bounded(url.scheme(), 32);
            return Some(format!("has the scheme {scheme:?}; assets are http, https or data URLs"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Some("holds a user name or password; an asset's URL is public".to_owned());
        }
        let host = url.host_str().unwrap_or_default();
        (!self.rule.allows_host(host)).then(|| {
            format!(
                "is on the host {:?}, which is not in asset.allowedHosts",
                text::bounded(host, 253)
            )
        })
    }
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// Where the first `{{...}}` or `${...}` starts.
fn placeholder(text: &str) -> Option<usize> {
    let closed = |open: &str, close: &str| {
        let at = text.find(open)?;
        text[at..].contains(close).then_some(at)
    };
    [closed("{{", "}}"), closed("${", "}")].into_iter().flatten().min()
}

fn is_data(text: &str) -> bool {
    text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list (select its items with [*])",
        Value::Object(_) => "an object (select a member of it)",
    }
}

#[cfg(test)]
mod tests;
