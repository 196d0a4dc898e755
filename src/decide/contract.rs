//! The decision about one contract: which writes, in which order, and when to look again.
//!
//! One pass does one thing that changes the world and then looks again; status is written only
//! from what was seen, so it never claims what was merely intended:
//!
//! ```text
//! broken key or new document   [revision] -> [served key] -> look again
//! seen as it should be         [prune]    -> [status]
//! ```

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    api::contract::{Origin, RevisionRef, WidgetContractStatus},
    domain::{Document, Span},
};

use super::{
    publish::{self, Serving},
    status,
    view::{Assigned, Need, Note, Served, View, sooner},
};

/// What to do, and when to look again.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Writes of one stage may run side by side; a stage starts when the one before it was
    /// acknowledged.
    pub stages: Vec<Vec<Write>>,
    /// When to look again.
    pub next: Next,
}

/// One write.
#[derive(Clone, Debug)]
pub enum Write {
    /// Store a document as an immutable revision.
    Revision {
        /// Its number.
        number: u32,
        /// The document.
        document: Arc<Document>,
    },
    /// Write the served key.
    Serve {
        /// The document.
        document: Arc<Document>,
        /// What to note on the object.
        note: Note,
        /// Somebody else's bytes are there and must go.
        instead_of: Option<String>,
    },
    /// Delete a stored revision.
    Prune(u32),
    /// Write the contract's status.
    Status(Box<WidgetContractStatus>),
}

/// When to look again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Next {
    /// At once: something was written and has to be seen.
    Again,
    /// Then, or when something changes.
    At(Timestamp),
    /// When something changes.
    #[default]
    Changed,
}

/// The facts that the decision hangs on and that are not in `view` yet.
#[must_use]
pub fn needs(view: &View) -> Option<Need> {
    if let Serving::Ask(need) = publish::serving(view) {
        return Some(need);
    }
    // Our own bytes that status does not know of yet: their digest has to be read.
    let known = view.status.document.as_ref().and_then(|d| d.served.as_ref());
    match &view.served {
        Served::Ours(key)
            if key.written_by_us
                && known.is_none_or(|known| known.raw_digest != key.raw_digest)
                && !view.serves_assigned()
                && view.served_document.is_none() =>
        {
            Some(Need::ServedDocument)
        }
        _ => None,
    }
}

/// Decides. Every fact that [`needs`] names must be in `view`, or was not to be had.
#[must_use]
pub fn decide(view: &View, now: Timestamp) -> Decision {
    match publish::serving(view) {
        Serving::Write { document, mut note, instead_of } => {
            let mut stages = Vec::new();
            let unstored = note.revision.is_none() && note.origin == Origin::Assigned;
            if unstored && may_be_revision(view, now) {
                let number = next_revision(view);
                note.revision = Some(number);
                stages.push(vec![Write::Revision { number, document: Arc::clone(&document) }]);
            }
            stages.push(vec![Write::Serve { document, note, instead_of }]);
            Decision { stages, next: Next::Again }
        }
        Serving::Keep | Serving::Ask(_) => settle(view, now),
    }
}

/// Nothing to change in what is served: write down what was seen.
fn settle(view: &View, now: Timestamp) -> Decision {
    let mut new = status::of(view, now);
    let mut stages = Vec::new();
    let stored = view.assigned_document().is_some_and(|d| is_stored(view, d));
    let serves = view.serves_assigned() || view.served == Served::NotServed;
    if let (true, false, true, Some(document)) =
        (serves, stored, may_be_revision(view, now), view.assigned_document())
    {
        let noted = noted_revision(view);
        let number = noted.unwrap_or_else(|| next_revision(view));
        let revision = RevisionRef { number, digest: document.digest().clone() };
        if noted.is_none() {
            stages.push(vec![Write::Revision { number, document: Arc::clone(document) }]);
        }
        let pruned = status::record_revision(&mut new, revision, view.effective.history_limit, now);
        if let Some(served) = new.document.as_mut().and_then(|d| d.served.as_mut())
            && served.digest == *document.digest()
        {
            served.revision = Some(number);
        }
        if !pruned.is_empty() {
            stages.push(pruned.into_iter().map(Write::Prune).collect());
        }
    }
    let next = next_look(view, now);
    new.next_check_time = None;
    if new != view.status {
        stages.push(vec![Write::Status(Box::new(new))]);
    }
    Decision { stages, next: next.map_or(Next::Changed, Next::At) }
}

/// Good, and for as long as the soak asks for?
fn may_be_revision(view: &View, now: Timestamp) -> bool {
    match &view.assigned {
        Assigned::Judged(judged) if judged.is_good() && !view.effective.suspend => {
            soaked_at(view, now) <= now
        }
        _ => false,
    }
}

/// When the assigned document will have passed for as long as the soak asks for.
fn soaked_at(view: &View, now: Timestamp) -> Timestamp {
    let digest = view.assigned_document().map(|document| document.digest());
    let since = view
        .status
        .document
        .as_ref()
        .and_then(|d| d.assigned.as_ref())
        .filter(|assigned| Some(&assigned.digest) == digest)
        .and_then(|assigned| assigned.valid_since.as_ref())
        .map_or(now, |since| since.0);
    view.effective.soak.after(since)
}

fn is_stored(view: &View, document: &Document) -> bool {
    let stored = view.status.document.iter().flat_map(|d| &d.revisions);
    stored.into_iter().any(|revision| revision.digest == *document.digest())
}

/// The revision that was stored before the document was served, when the note says so.
fn noted_revision(view: &View) -> Option<u32> {
    match &view.served {
        Served::Ours(key) if view.serves_assigned() => key.note.as_ref()?.revision,
        _ => None,
    }
}

/// Numbers only grow: a number that was pruned is not given again.
fn next_revision(view: &View) -> u32 {
    let documents = view.status.document.as_ref();
    let newest = documents.and_then(|d| d.revisions.iter().map(|r| r.number).max());
    let last = documents.and_then(|d| d.last_known_good.as_ref()).map(|good| good.revision);
    newest.max(last).map_or(1, |number| number.saturating_add(1))
}

fn next_look(view: &View, now: Timestamp) -> Option<Timestamp> {
    let world = view.effective.look_every().map(|every| jittered(every, &view.subject.uid, now));
    let soak = match &view.assigned {
        Assigned::Judged(judged) if judged.is_good() => Some(soaked_at(view, now)),
        _ => None,
    };
    let unknown = view
        .assigned_results()
        .iter()
        .any(|result| matches!(result.verdict, crate::domain::Verdict::Unknown(_)))
        .then(|| view.effective.interval.after(now));
    sooner(sooner(world, soak.filter(|at| *at > now)), unknown)
}

/// The next tick of a clock that ticks `every`, at an offset that is this contract's own, so that
/// ten thousand contracts do not look at the same moment. Computed, not stored.
fn jittered(every: Span, uid: &str, now: Timestamp) -> Timestamp {
    let period = every.as_millis().max(1);
    let offset = uid
        .bytes()
        .fold(0_u64, |hash, byte| hash.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(byte))
        % period;
    let at = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let since_tick = (at + period - offset) % period;
    let wait = period - since_tick;
    Span::millis(u32::try_from(wait).unwrap_or(u32::MAX)).after(now)
}
