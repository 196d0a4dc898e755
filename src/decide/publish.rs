//! When a document may be served, and what to do about the served key.
//!
//! Schema, CEL and metadata rules judge the document: each Critical one must pass. Asset and
//! freshness rules judge the world: the new document may be served when each of their results is
//! no worse than for the document served now, else one dead image would block an urgent price
//! fix. On first publication there is nothing to compare with: Fail withholds, Unknown does not.
//!
//! Nothing is ever withdrawn: every arm below writes a good document or leaves the key as it is.

use std::sync::Arc;

use crate::{
    api::{
        contract::Origin,
        incident::{Attempt, Cause},
    },
    domain::{Digest, Document, Severity, Span, Verdict},
};

use jiff::Timestamp;

use super::{
    Stall, ownership, pin,
    validate::{Judged, RuleResult},
    view::{Assigned, EndedIncident, Need, Note, Served, View},
};

/// Most keys of a ConfigMap that several contracts are served from.
const MOST_KEYS: usize = 100;
/// Most bytes in it: the API server allows 1 MiB, and contracts look at different moments.
const MOST_BYTES: usize = 900 * 1024;
/// How long a round of a fight over the served key counts.
const FIGHT: Span = Span::mins(10);
/// Rounds that were put back before the next one is a fight.
const FIGHT_ROUNDS: usize = 2;

/// What to do about the served key.
#[derive(Clone, Debug)]
pub enum Serving {
    /// The key is as it should be, or is none of our business.
    Keep,
    /// The bytes are as they should be, the marks on their ConfigMap are not: set them, with this
    /// note.
    Mark(Note),
    /// Write this document.
    Write {
        /// The document.
        document: Arc<Document>,
        /// Where it comes from, and the revision that stores it.
        note: Note,
        /// Somebody else wrote the key since; this is their field manager.
        instead_of: Option<String>,
    },
    /// Gather this first.
    Ask(Need),
}

/// Decides about the served key.
#[must_use]
pub fn serving(view: &View, now: Timestamp) -> Serving {
    if view.effective.suspend {
        return Serving::Keep;
    }
    match bytes(view, now) {
        Serving::Keep => ownership::unmarked(view).map_or(Serving::Keep, Serving::Mark),
        other => other,
    }
}

fn bytes(view: &View, now: Timestamp) -> Serving {
    let is_ours = matches!(view.served, Served::Absent | Served::Ours(_));
    if let Some(pinned) = pin::in_force(view, now).filter(|_| is_ours) {
        return pin::serving(view, &pinned);
    }
    match &view.served {
        Served::NotServed | Served::Foreign { .. } | Served::Unavailable(_) => Serving::Keep,
        Served::Ours(_) if pin::wrote(view) && overwritten_by(view).is_none() => {
            match publishable(view) {
                Ok(true) => publish_assigned(view),
                Ok(false) => pin::after(view, now),
                Err(need) => Serving::Ask(need),
            }
        }
        Served::Ours(_) if view.serves_assigned() && overwritten_by(view).is_none() => {
            Serving::Keep
        }
        Served::Ours(_) if repair_stands(view) => Serving::Keep,
        Served::Absent | Served::Ours(_) => match publishable(view) {
            Ok(true) => publish_assigned(view),
            Ok(false) => put_back(view),
            Err(need) => Serving::Ask(need),
        },
    }
}

/// May the assigned document be served? Err asks for what the answer hangs on.
///
/// # Errors
/// The fact to gather first.
pub fn publishable(view: &View) -> Result<bool, Need> {
    let Assigned::Judged(assigned) = &view.assigned else { return Ok(false) };
    let (world, document): (Vec<_>, Vec<_>) = assigned.critical().partition(|r| r.world);
    if document.iter().any(|result| result.verdict != Verdict::Pass) {
        return Ok(false);
    }
    if world.iter().all(|result| result.verdict == Verdict::Pass) {
        return Ok(true);
    }
    if overwritten_by(view).is_some() {
        // What stands there now is somebody else's: no measure for what may be served.
        return Ok(false);
    }
    match (&view.served, &view.served_document) {
        (Served::Ours(_), None) => Err(Need::ServedDocument),
        (Served::Ours(_), Some(served)) => {
            Ok(world.iter().all(|result| no_worse_than_served(result, served)))
        }
        _ => Ok(world.iter().all(|result| !matches!(result.verdict, Verdict::Fail(_)))),
    }
}

fn no_worse_than_served(result: &RuleResult, served: &Judged) -> bool {
    let now = served.results.iter().find(|r| r.rule == result.rule);
    // A rule that the served document was not asked about cannot have been worse there.
    now.map_or(result.verdict == Verdict::Pass, |now| result.verdict.no_worse_than(&now.verdict))
}

fn publish_assigned(view: &View) -> Serving {
    let Some(document) = view.assigned_document() else { return Serving::Keep };
    let stored = view.status.document.iter().flat_map(|d| &d.revisions);
    let revision = stored.into_iter().find(|r| r.digest == *document.digest()).map(|r| r.number);
    let note = Note::plain(Origin::Assigned, revision);
    if view.serves_assigned() && pin::wrote(view) {
        return Serving::Mark(note);
    }
    Serving::Write { document: Arc::clone(document), note, instead_of: overwritten_by(view) }
}

/// Puts back what was served, when somebody else has changed or deleted it since, even if what
/// stands there now is valid: what is served is what was decided here, or nobody can tell why.
fn put_back(view: &View) -> Serving {
    let Some(manager) = overwritten_by(view) else { return Serving::Keep };
    let Some(served) = view.status.document.as_ref().and_then(|d| d.served.as_ref()) else {
        return Serving::Keep;
    };
    let known_good = view.status.document.as_ref().and_then(|d| d.last_known_good.as_ref());
    let Some(number) = served.revision.or(known_good.map(|good| good.revision)) else {
        return Serving::Keep;
    };
    match view.revisions.get(&number) {
        Some(Ok(document)) => {
            let origin = if served.revision.is_some() { served.origin } else { Origin::History };
            let note = noted_repair(view, &served.digest)
                .filter(|_| served.revision.is_some())
                .map_or_else(
                    || Note::plain(origin, Some(number)),
                    |note| Note { revision: Some(number), ..note.clone() },
                );
            let document = Arc::clone(document);
            Serving::Write { document, note, instead_of: Some(manager) }
        }
        Some(Err(_)) => Serving::Keep,
        None => Serving::Ask(Need::Revision(number)),
    }
}

/// What was noted beside the open Incident's repair `digest`, if whoever overwrote it left that there:
/// without it nobody could take the repair back.
fn noted_repair<'a>(view: &'a View, digest: &Digest) -> Option<&'a Note> {
    let (Served::Ours(key), Some(open)) = (&view.served, &view.incident) else { return None };
    let note = key.note.as_ref().filter(|note| !note.undoes)?;
    let effect = note.effect.as_ref().filter(|effect| effect.incident == open.name)?;
    let is_it = |attempt: &Attempt| {
        attempt.number == effect.attempt && attempt.published.as_ref() == Some(digest)
    };
    open.status.attempts.iter().any(is_it).then_some(note)
}

/// Is what is served the open Incident's repair of this very document, and still needed? Then the
/// document it repairs is not put in its place, however little its rules withhold by themselves.
fn repair_stands(view: &View) -> bool {
    let (Served::Ours(key), Some(open)) = (&view.served, &view.incident) else { return false };
    let effect = key.note.as_ref().and_then(|note| note.effect.as_ref());
    let ours = key.written_by_us && effect.is_some_and(|effect| effect.incident == open.name);
    let repaired = open.status.document(&open.spec);
    let same = view.assigned_document().is_some_and(|document| document.digest() == repaired);
    let still_fails = |result: &RuleResult| {
        let planned = open.spec.plan.iter().any(|segment| segment.rules.contains(&result.rule));
        planned && result.verdict != Verdict::Pass
    };
    ours && same && view.assigned_results().iter().any(still_fails)
}

/// Who changed the served key since we wrote it, if anybody did.
#[must_use]
pub fn overwritten_by(view: &View) -> Option<String> {
    let recorded = view.status.document.as_ref()?.served.as_ref()?;
    // Served elsewhere from now on: the old place says nothing about the new one.
    if view.effective.serve.as_ref().is_none_or(|target| target.at != recorded.r#ref) {
        return None;
    }
    match &view.served {
        Served::Ours(key) if key.raw_digest == recorded.raw_digest || key.written_by_us => None,
        Served::Ours(key) => Some(key.manager.clone()),
        Served::Absent => Some("somebody who deleted it".to_owned()),
        Served::NotServed | Served::Foreign { .. } | Served::Unavailable(_) => None,
    }
}

/// Why `document` has no room in a ConfigMap that others are served from, too; None when it has. What
/// makes the ConfigMap no larger than it is always has: a full one must not keep a document broken.
#[must_use]
pub fn too_large(view: &View, document: &Document) -> Option<Stall> {
    let target = view.effective.serve.as_ref().filter(|target| target.shared)?;
    let found = view.served_in.as_ref()?;
    let size = document.bytes().len();
    let what = if found.size.is_none() && found.other_keys >= MOST_KEYS {
        format!("holds {} other keys, and {MOST_KEYS} are allowed", found.other_keys)
    } else if found.other_bytes + size > MOST_BYTES && found.size.is_none_or(|now| size > now) {
        let (kib, most) = ((found.other_bytes + size).div_ceil(1024), MOST_BYTES / 1024);
        format!("would hold {kib} KiB, and {most} KiB are allowed")
    } else {
        return None;
    };
    let message = format!(
        "spec.serve.configMapKeyRef, or the class's serve.configMapName: ConfigMap {} {what}; serve \
         in another, or delete keys that nobody reads",
        target.at.name
    );
    Some(Stall::new("ServeTooLarge", &message))
}

/// Until when the served key is left to whoever keeps overwriting it: the third time within ten
/// minutes is a fight, and a fight is for people to end. None when there is none.
#[must_use]
pub fn contended_until(view: &View, now: Timestamp) -> Option<Timestamp> {
    overwritten_by(view)?;
    let rounds = view.ended.iter().filter_map(round_until);
    let recent: Vec<Timestamp> = rounds.filter(|until| *until > now).collect();
    let first = recent.iter().min()?;
    (recent.len() >= FIGHT_ROUNDS).then_some(*first)
}

/// Until when an Incident that is over counts as a round of a fight, if it is one.
pub(super) fn round_until(ended: &EndedIncident) -> Option<Timestamp> {
    ended.ended_at.filter(|_| ended.cause == Cause::Overwritten).map(|at| FIGHT.after(at))
}

/// Why the assigned document is not served, for people; None when it is or may be.
#[must_use]
pub fn withheld_because(view: &View) -> Option<String> {
    // Where the answer hangs on a fact that this look did not need, it is not served either way:
    // the same state must read the same, whatever was gathered for it.
    if publishable(view) == Ok(true) {
        return None;
    }
    let results = view.assigned_results();
    let worst = results
        .iter()
        .filter(|result| result.severity == Severity::Critical)
        .find(|result| result.verdict != Verdict::Pass)?;
    let why = match &worst.verdict {
        Verdict::Fail(violations) => {
            let first = violations.first()?;
            let at =
                if first.path.is_empty() { String::new() } else { format!(" at {}", first.path) };
            format!("rule {} fails{at}: {}", worst.rule, first.message)
        }
        Verdict::Unknown(doubt) => format!("rule {} is unknown: {}", worst.rule, doubt.message),
        Verdict::Pass => return None,
    };
    Some(why)
}
