//! A document that a person pinned: served until a given time whatever the rules say.
//!
//! Only a document that is there already can be pinned: the assigned one, or a stored revision. Must
//! not know: what is served when no pin is in force.

use std::{cmp::Reverse, sync::Arc};

use jiff::Timestamp;

use crate::{
    api::{PIN, contract::Origin},
    domain::{Digest, Document, Verdict},
};

use super::{
    plan,
    publish::{Serving, overwritten_by},
    undo,
    view::{Need, Note, Served, ServedKey, View},
};

/// Fewest hex digits of a digest that name a document.
const FEWEST_DIGITS: usize = 12;
const MOST_DIGITS: usize = 64;

/// How the contract's pin stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is none.
    None,
    /// It cannot be read: names the annotation and the fix.
    Invalid(String),
    /// Its time is over.
    Over(Timestamp),
    /// No such document is there: names the annotation and the fix.
    NotStored(String),
    /// In force.
    Holds(Pinned),
}

/// A document that is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Which.
    pub digest: Digest,
    /// The revision that stores it; None for the assigned document.
    pub revision: Option<u32>,
    /// Until when.
    pub until: Timestamp,
}

/// How the pin of the contract stands.
#[must_use]
pub fn standing(view: &View, now: Timestamp) -> Standing {
    let Some(text) = view.annotations.get(PIN) else { return Standing::None };
    let (hex, until) = match parse(text) {
        Ok(pin) => pin,
        Err(why) => {
            return Standing::Invalid(format!(
                "annotation {PIN}: {why}; write <digest>/<until>, such as \
                 0123456789ab/2026-12-31T18:00:00Z"
            ));
        }
    };
    if until <= now {
        return Standing::Over(until);
    }
    let is_meant = |digest: &Digest| {
        digest.as_str().strip_prefix("sha256:").is_some_and(|digits| digits.starts_with(&hex))
    };
    if let Some(document) = view.assigned_document().filter(|d| is_meant(d.digest())) {
        let digest = document.digest().clone();
        return Standing::Holds(Pinned { digest, revision: None, until });
    }
    let mut stored = view.status.document.iter().flat_map(|d| &d.revisions);
    match stored.find(|revision| is_meant(&revision.digest)) {
        Some(found) if !matches!(view.revisions.get(&found.number), Some(Err(_))) => {
            let (digest, revision) = (found.digest.clone(), Some(found.number));
            Standing::Holds(Pinned { digest, revision, until })
        }
        _ => Standing::NotStored(format!(
            "annotation {PIN}: no such document is stored, and nothing changes; pin one of \
             status.document.revisions, or the assigned document"
        )),
    }
}

/// The hex digits and the end of a pin.
fn parse(text: &str) -> Result<(String, Timestamp), &'static str> {
    let (digest, until) = text.split_once('/').ok_or("it has no slash")?;
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest).to_ascii_lowercase();
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("the digest is not hexadecimal");
    }
    if !(FEWEST_DIGITS..=MOST_DIGITS).contains(&digits.len()) {
        return Err("the digest must have 12 to 64 hex digits");
    }
    let until = until.parse().map_err(|_| "the time is not RFC 3339")?;
    Ok((digits, until))
}

/// The pin in force.
#[must_use]
pub fn in_force(view: &View, now: Timestamp) -> Option<Pinned> {
    match standing(view, now) {
        Standing::Holds(pinned) => Some(pinned),
        Standing::None | Standing::Invalid(_) | Standing::Over(_) | Standing::NotStored(_) => None,
    }
}

/// What to do about the served key while `pinned` holds.
#[must_use]
pub fn serving(view: &View, pinned: &Pinned) -> Serving {
    let manager = overwritten_by(view);
    let is_served = |raw_digest: &Digest| {
        let ours = matches!(&view.served, Served::Ours(key) if key.raw_digest == *raw_digest);
        ours && manager.is_none()
    };
    let known = view.status.document.as_ref().and_then(|d| d.served.as_ref());
    if known.is_some_and(|known| known.digest == pinned.digest && is_served(&known.raw_digest)) {
        return Serving::Keep;
    }
    let document = match pinned.revision {
        None => view.assigned_document(),
        Some(number) => match view.revisions.get(&number) {
            None => return Serving::Ask(Need::Revision(number)),
            Some(found) => found.as_ref().ok(),
        },
    };
    match document {
        Some(document) if !is_served(document.raw_digest()) => Serving::Write {
            document: document.clone(),
            note: Note::plain(Origin::Pinned, pinned.revision),
            instead_of: manager,
        },
        _ => Serving::Keep,
    }
}

/// Was what is served put there by a pin, in force or not?
#[must_use]
pub fn wrote(view: &View) -> bool {
    let Served::Ours(key) = &view.served else { return false };
    key.written_by_us && key.note.as_ref().is_some_and(|note| note.origin == Origin::Pinned)
}

/// What takes the place of a pinned document whose time is over, where the assigned one may not be
/// served: the last known good one, as before; where that fails by now, or a person took it back, the
/// newest other one.
#[must_use]
pub fn after(view: &View, now: Timestamp) -> Serving {
    let Some(documents) = &view.status.document else { return Serving::Keep };
    let never = undo::remembered(view);
    let known_good = documents.last_known_good.as_ref().map(|good| good.revision);
    let mut stored: Vec<_> = documents.revisions.iter().collect();
    stored.sort_by_key(|revision| Reverse((Some(revision.number) == known_good, revision.number)));
    for revision in stored.iter().filter(|stored| !undo::is_forbidden(&never, &stored.digest)) {
        let document = match view.revisions.get(&revision.number) {
            None => return Serving::Ask(Need::Revision(revision.number)),
            Some(Err(_)) => continue,
            Some(Ok(document)) => document,
        };
        match plan::judge(view, Arc::clone(document), now) {
            Err(need) => return Serving::Ask(need),
            Ok(judged)
                if judged.critical().any(|result| matches!(result.verdict, Verdict::Fail(_))) => {}
            Ok(_) => return instead(view, document, revision.number),
        }
    }
    Serving::Keep
}

fn instead(view: &View, document: &Arc<Document>, revision: u32) -> Serving {
    let note = Note::plain(Origin::History, Some(revision));
    let is_there = |key: &ServedKey| key.raw_digest == *document.raw_digest();
    if matches!(&view.served, Served::Ours(key) if is_there(key)) {
        return Serving::Mark(note);
    }
    Serving::Write { document: Arc::clone(document), note, instead_of: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_a_digest_and_a_time_and_says_which_of_them_is_wrong() {
        let until: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let full = "ab".repeat(32);
        for (text, expected) in [
            ("0123456789ab/2026-01-01T12:00:00Z", Ok("0123456789ab".to_owned())),
            ("sha256:0123456789AB/2026-01-01T13:00:00+01:00", Ok("0123456789ab".to_owned())),
            (&format!("{full}/2026-01-01T12:00:00Z"), Ok(full.clone())),
            (&format!("{full}a/2026-01-01T12:00:00Z"), Err("12 to 64")),
            ("0123456789a/2026-01-01T12:00:00Z", Err("12 to 64")),
            ("0123456789ax/2026-01-01T12:00:00Z", Err("hexadecimal")),
            ("0123456789ab", Err("slash")),
            ("0123456789ab/tomorrow", Err("RFC 3339")),
            ("0123456789ab/2026-01-01", Err("RFC 3339")),
            ("", Err("slash")),
        ] {
            match (parse(text), expected) {
                (Ok(pin), Ok(digits)) => assert_eq!(pin, (digits, until), "{text}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{text}: {why}"),
                (is, expected) => panic!("{text}: {is:?}, and not {expected:?}"),
            }
        }
    }
}
