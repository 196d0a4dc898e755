//! What an answer says about one asset.

use url::Url;

use super::{CompiledAsset, Target};
use crate::domain::{Answer, Doubt, DoubtReason, Probe, text};

/// What is known of one asset.
pub(super) enum Finding {
    Right,
    /// Certainly not what it should be, and why.
    Wrong(String),
    /// Cannot be told.
    Unclear(Doubt),
}

/// Judges `target` by what was seen of it.
pub(super) fn judge(rule: &CompiledAsset, target: &Target, probe: Option<&Probe>) -> Finding {
    let shown = shown(&target.url);
    match probe {
        None => unclear(DoubtReason::HttpUnclear, &format!("{shown} was not probed yet")),
        Some(Probe::Failed { reason, message, host }) => {
            let doubt = Doubt::new(*reason, &format!("{shown}: {message}"));
            Finding::Unclear(doubt.for_want_of(host.as_deref()))
        }
        Some(Probe::Answered(answer)) => judge_answer(rule, &shown, answer),
    }
}

fn judge_answer(rule: &CompiledAsset, shown: &str, answer: &Answer) -> Finding {
    let status = answer.status;
    if rule.missing.contains(&status) {
        return Finding::Wrong(format!("{shown} is not there: its host answers {status}"));
    }
    match status {
        200 | 203 | 206 => judge_asset(rule, shown, answer),
        _ => {
            let what = format!(
                "{shown}: its host answers {status}, which does not say whether it is there"
            );
            let mut doubt = Doubt::new(DoubtReason::HttpUnclear, &what);
            doubt.retry_after = answer.retry_after;
            Finding::Unclear(doubt)
        }
    }
}

fn judge_asset(rule: &CompiledAsset, shown: &str, answer: &Answer) -> Finding {
    let mut doubt = None;
    match &answer.content_type {
        Some(media_type) if !rule.allows_type(media_type) => {
            let media_type = text::bounded(media_type, 127);
            return Finding::Wrong(format!(
                "{shown} is {media_type:?}, which is not in asset.contentTypes"
            ));
        }
        None if !rule.types.is_empty() => {
            doubt = Some(format!("{shown}: its host sends no Content-Type; have it send one"));
        }
        _ => {}
    }
    if let Some(max) = rule.max_bytes {
        match answer.length {
            Some(length) if length > max => {
                return Finding::Wrong(format!(
                    "{shown} has {length} bytes; asset.maxBytes allows {max}"
                ));
            }
            Some(_) => {}
            None => {
                doubt = doubt.or_else(|| {
                    Some(format!(
                        "{shown}: its host does not tell the size; have it send Content-Length, \
                         or drop asset.maxBytes"
                    ))
                });
            }
        }
    }
    doubt.map_or(Finding::Right, |what| unclear(DoubtReason::HttpUnclear, &what))
}

/// What is wrong with a `data:` URL, which is its own answer. Shows nothing of its data.
pub(super) fn judge_data(rule: &CompiledAsset, url: &Url) -> Option<String> {
    let Some((head, data)) = url.path().split_once(',') else {
        return Some("is a data URL without a comma, so it holds no data".to_owned());
    };
    let mut parts = head.split(';').map(str::trim);
    let media_type = match parts.next() {
        None | Some("") => "text/plain".to_owned(),
        Some(media_type) => media_type.to_ascii_lowercase(),
    };
    if !rule.allows_type(&media_type) {
        let media_type = text::bounded(&media_type, 127);
        return Some(format!(
            "is a data URL of type {media_type:?}, which is not in asset.contentTypes"
        ));
    }
    let is_base64 = parts.next_back().is_some_and(|last| last.eq_ignore_ascii_case("base64"));
    // A question mark is data here, though the URL's grammar calls what follows it a query.
    let length = decoded_length(data, url.query(), is_base64);
    rule.max_bytes
        .filter(|max| length > *max)
        .map(|max| format!("is a data URL of {length} bytes; asset.maxBytes allows {max}"))
}

fn decoded_length(data: &str, query: Option<&str>, is_base64: bool) -> u64 {
    let text = data.len() + query.map_or(0, |query| query.len() + 1);
    let escapes = [Some(data), query].into_iter().flatten().map(|part| part.matches('%').count());
    let bytes = text.saturating_sub(2 * escapes.sum::<usize>());
    let bytes = if is_base64 {
        let padding = data.bytes().rev().take_while(|b| *b == b'=').count();
        bytes.saturating_sub(padding) * 3 / 4
    } else {
        bytes
    };
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The URL as people may see it: without user, query and fragment, and bounded.
fn shown(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return "a URL".to_owned();
    };
    url.set_query(None);
    url.set_fragment(None);
    // Both can only fail for a URL that cannot hold a user anyway.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    text::bounded(url.as_str(), 256)
}

fn unclear(reason: DoubtReason, message: &str) -> Finding {
    Finding::Unclear(Doubt::new(reason, message))
}
