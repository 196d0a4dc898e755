//! The decision about one contract: which writes, in which order, and when to look again.
//!
//! One pass does one thing that changes the world and then looks again; status is written only
//! from what was seen, so it never claims what was merely intended:
//!
//! ```text
//! valid document, or drift     [revision] -> [served key] -> look again
//! marks lost, or outdated      [marks of the ConfigMap]   -> look again
//! trouble, no Incident         [Incident | served key]    -> look again
//! a later attempt              [served key]               -> look again
//! an effect step               [intent in the Incident status] -> look again
//!                              [what it acts on]          -> look again
//! a plan to be approved        [candidate] -> [status | Incident status]
//! seen as it should be         [revision] -> [prune] -> [status | Incident status]
//! ```

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    api::{
        contract::{Origin, RevisionRef, WidgetContractStatus},
        incident::{Cause, IncidentSpec, IncidentStatus, State},
        refs::LocalRef,
    },
    domain::{Document, Span},
};

use super::{
    Stall, busy, delivered, drift, incident, kept,
    moves::{EffectAct, Move, Plan, Repair},
    pause, pin,
    publish::{self, Serving},
    requests,
    signal::{self, Signal},
    silence::{self, Silence},
    status, undo,
    view::{Assigned, Effect, EndedIncident, Need, Note, Served, View, sooner},
};

/// What to do, and when to look again.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Writes of one stage may run side by side; a stage starts when the one before it was
    /// acknowledged.
    pub stages: Vec<Vec<Write>>,
    /// What to say once they were acknowledged.
    pub signals: Vec<Signal>,
    /// When to look again.
    pub next: Next,
    /// The hosts that give the contract no answer, where this look tells.
    pub silences: Option<Arc<[Silence]>>,
}

impl Decision {
    /// Does it store that something is about to be done, or what became of it? There is an end to
    /// that, so looks that follow each other for it are no fight with somebody.
    #[must_use]
    pub fn advances(&self, view: &View) -> bool {
        let known = view.incident.as_ref().map_or(&[][..], |open| &open.status.effects);
        let stores = |write: &Write| matches!(write, Write::IncidentStatus { status, .. } if status.effects != known);
        self.stages.iter().flatten().any(stores)
    }
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
    /// Set the marks on the ConfigMap of the served key, whose bytes are right.
    Mark {
        /// What to note on the object.
        note: Note,
    },
    /// Write into the assigned document.
    Back {
        /// The document.
        document: Arc<Document>,
        /// What it is written for.
        effect: Effect,
    },
    /// Act on something else than the document.
    Act(EffectAct),
    /// Open an Incident.
    Open {
        /// Its name.
        name: String,
        /// Its spec.
        spec: Box<IncidentSpec>,
    },
    /// Show a plan with its values, in place of the one that was shown before.
    Candidate {
        /// The Incident's name.
        incident: String,
        /// The plan.
        plan: Box<Plan>,
    },
    /// Write an Incident's status.
    IncidentStatus {
        /// Its name.
        name: String,
        /// The new status.
        status: Box<IncidentStatus>,
    },
    /// Delete an Incident that is over.
    Forget(EndedIncident),
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

/// Decides, or asks for the fact that the decision hangs on.
///
/// # Errors
/// The fact to gather first; asked again with it, this comes to an end.
pub fn decide(view: &View, now: Timestamp) -> Result<Decision, Need> {
    match publish::serving(view, now) {
        Serving::Ask(need) => Err(need),
        Serving::Write { instead_of: Some(manager), .. }
            if publish::contended_until(view, now).is_some() =>
        {
            Ok(contended(view, &manager, now))
        }
        Serving::Write { document, mut note, instead_of } => {
            if let Some(stall) = publish::too_large(view, &document) {
                return Ok(no_room(view, &stall, now));
            }
            let mut stages = Vec::new();
            let unstored = note.revision.is_none() && note.origin == Origin::Assigned;
            if unstored && may_be_revision(view, now) {
                let number = next_revision(view);
                note.revision = Some(number);
                stages.push(vec![Write::Revision { number, document: Arc::clone(&document) }]);
            }
            let drift = instead_of.as_deref().filter(|_| !view.effective.suspend);
            if let Some((name, spec)) = drift.and_then(|m| drift::overwritten(view, m, now)) {
                note.effect = Some(drift::effect(&name));
                stages.push(vec![Write::Open { name, spec: Box::new(spec) }]);
            } else if let Some(open) = drift.and(view.incident.as_ref())
                && open.spec.cause == Cause::Overwritten
            {
                // Opened before a crash: what is put back carries its name all the same.
                note.effect = Some(drift::effect(&open.name));
            }
            stages.push(vec![Write::Serve { document, note, instead_of }]);
            Ok(Decision { stages, signals: Vec::new(), next: Next::Again, silences: None })
        }
        Serving::Mark(note) => {
            let stages = vec![vec![Write::Mark { note }]];
            Ok(Decision { stages, signals: Vec::new(), next: Next::Again, silences: None })
        }
        Serving::Keep if unread(view) => Err(Need::ServedDocument),
        Serving::Keep => settle(view, now),
    }
}

/// A fight over the served key: say so, call a person, and write no more of it for a while.
fn contended(view: &View, manager: &str, now: Timestamp) -> Decision {
    if let Some((name, spec)) = drift::overwritten(view, manager, now) {
        let stages = vec![vec![Write::Open { name, spec: Box::new(spec) }]];
        return Decision { stages, signals: Vec::new(), next: Next::Again, silences: None };
    }
    let message = format!("{manager} keeps overwriting what is served; end the fight over the key");
    let stall = Stall::new("Contended", &message);
    let mut last = Vec::from_iter(stalled(view, &stall, now));
    let mut signals = Vec::new();
    if let Move::Record { name, status, signals: more, .. } = drift::contended(view, &message, now)
    {
        last.push(Write::IncidentStatus { name, status });
        signals = more;
    }
    let until = publish::contended_until(view, now);
    let stages = if last.is_empty() { Vec::new() } else { vec![last] };
    Decision {
        stages,
        signals,
        next: until.map_or(Next::Changed, Next::At),
        silences: Some(unheard()),
    }
}

/// What is to be served does not fit: say so, and look again, since others make room without any
/// event on this contract.
fn no_room(view: &View, stall: &Stall, now: Timestamp) -> Decision {
    let stages = stalled(view, stall, now).map(|status| vec![status]).into_iter().collect();
    let next = Next::At(view.effective.interval.after(now));
    Decision { stages, signals: Vec::new(), next, silences: Some(unheard()) }
}

/// A contract that is not checked keeps no outage open.
fn unheard() -> Arc<[Silence]> {
    Arc::default()
}

/// Says in status, where it does not yet, what a person has to do.
fn stalled(view: &View, stall: &Stall, now: Timestamp) -> Option<Write> {
    let mut new = status::stalled(&view.status, view.subject.generation, stall, now);
    new.incident_ref = view.incident_ref();
    (new != view.status).then(|| Write::Status(Box::new(new)))
}

/// Our own bytes that status does not know of yet: what they are has to be read.
fn unread(view: &View) -> bool {
    let known = view.status.document.as_ref().and_then(|d| d.served.as_ref());
    match &view.served {
        Served::Ours(key) => {
            key.written_by_us
                && known.is_none_or(|known| known.raw_digest != key.raw_digest)
                && !view.serves_assigned()
                && view.served_document.is_none()
        }
        _ => false,
    }
}

/// Nothing to change in what is served because of the assigned document: see what it means for
/// the Incident, and write down what was seen.
fn settle(view: &View, now: Timestamp) -> Result<Decision, Need> {
    let mut new = status::of(view, now);
    if delivered::is_asked(view, &new, now) {
        return Err(Need::Edge);
    }
    let edge_due = delivered::edge(view, &new, now).ask_at();
    let (incident, incident_due) = incident::advance(view, &new, now);
    let mut signals = signal::of_contract(view, &new);
    let mut last = Vec::new();
    let mut shown = None;
    let (mut ended, mut resolved) = (false, false);
    match incident {
        Move::Ask(need) => return Err(need),
        // What is served now is written down before anything takes its place: a repair made from
        // an older history, or in a revision's number that is taken, would lose it.
        Move::Open { .. } | Move::Publish(_) if unrecorded(view, &new) => {
            new.incident_ref = view.incident_ref();
            let mut stages = store(view, &mut new, now);
            stages.push(vec![Write::Status(Box::new(new))]);
            return Ok(Decision { stages, signals, next: Next::Again, silences: None });
        }
        Move::Open { name, spec, repair } => {
            let open = Write::Open { name, spec };
            let stages = match repair {
                // This overwrites the evidence, so it waits for the Incident.
                Some(repair) if repair.written_back => vec![vec![open], vec![write(view, repair)]],
                // Side by side: the bad document stays where it is, so no evidence is lost when the
                // Incident comes second, and a crash in between leaves its name on what is served.
                // The repair goes first: widgets wait for it, and for nothing else.
                repair => vec![
                    repair.map(|repair| write(view, repair)).into_iter().chain([open]).collect(),
                ],
            };
            return Ok(Decision { stages, signals: Vec::new(), next: Next::Again, silences: None });
        }
        Move::Publish(repair) => {
            let stages = vec![vec![write(view, repair)]];
            return Ok(Decision { stages, signals: Vec::new(), next: Next::Again, silences: None });
        }
        Move::Act(act) => {
            let stages = vec![vec![Write::Act(act)]];
            return Ok(Decision { stages, signals: Vec::new(), next: Next::Again, silences: None });
        }
        Move::Record { .. } if let Some(echo) = requests::past(view) => {
            let status =
                WidgetContractStatus { handled_requests: Some(echo), ..view.status.clone() };
            let stages = vec![vec![Write::Status(Box::new(status))]];
            return Ok(Decision { stages, signals: Vec::new(), next: Next::Again, silences: None });
        }
        Move::Record { name, status, signals: more, shows } => {
            // Before the status that names it: a person is never asked about what is not there.
            shown = shows.map(|plan| Write::Candidate { incident: name.clone(), plan });
            ended = status.is_over();
            resolved = status.state == Some(State::Resolved);
            new.incident_ref = (!ended).then(|| LocalRef { name: name.clone() });
            signals.extend(more);
            last.push(Write::IncidentStatus { name, status });
        }
        Move::Nothing => {
            new.incident_ref = view.incident_ref();
        }
    }
    let recorded = last.iter().find_map(|write| match write {
        Write::IncidentStatus { status, .. } => Some(&**status),
        _ => None,
    });
    // What supersedes an Incident may be the very trouble that somebody asks to heal.
    let idle = resolved || (!ended && incident::nothing_to_heal(view, &new, now));
    let on_record = recorded.or(view.incident.as_ref().map(|open| &open.status));
    new.never = undo::remembered(view);
    new.handled_requests = requests::echo(view, on_record, idle);
    status::with_incident(&mut new, view, recorded, now);
    status::keep_times(&mut new, &view.status);
    let is_open = new.incident_ref.is_some();
    let counts_next = status::counts_next(view, &new.checks);
    let calls_next = status::calls_next(view, &new, now);
    let silences = silence::of(view, &new.checks, now);
    let mut stages = store(view, &mut new, now);
    stages.extend(shown.map(|shown| vec![shown]));
    new.next_check_time = None;
    if new != view.status {
        // The echo says that the record is there.
        if new.handled_requests != view.status.handled_requests && !last.is_empty() {
            stages.push(std::mem::take(&mut last));
        }
        last.push(Write::Status(Box::new(new)));
    }
    if !last.is_empty() {
        stages.push(last);
    }
    // Every open thing has its next look: no lost event may leave it as it is for ever.
    let disputed = matches!(view.served, Served::Foreign { .. } | Served::Unavailable(_));
    let open = (is_open || disputed).then(|| view.effective.interval.after(now));
    let incident_due = sooner(incident_due, open);
    let (surplus, expiry) = kept::surplus(view, now);
    if !surplus.is_empty() {
        stages.push(surplus.into_iter().map(Write::Forget).collect());
    }
    let pinned_until = pin::in_force(view, now).map(|pinned| pinned.until);
    let due = sooner(sooner(incident_due, counts_next), sooner(pinned_until, calls_next));
    let paused_until = pause::pass_contract(view, now).err().and_then(|held| held.until);
    let due = sooner(sooner(due, edge_due), paused_until);
    let next = match sooner(sooner(next_look(view, now), due), expiry) {
        // What ended one episode may be the beginning of the next.
        _ if ended => Next::Again,
        Some(at) if at <= now => Next::Again,
        Some(at) => Next::At(at),
        None => Next::Changed,
    };
    Ok(Decision { stages, signals, next, silences: Some(silences) })
}

/// Is something else served than status says?
fn unrecorded(view: &View, new: &WidgetContractStatus) -> bool {
    let served = |status: &WidgetContractStatus| {
        status.document.as_ref().and_then(|d| d.served.as_ref()).map(|s| s.raw_digest.clone())
    };
    served(new) != served(&view.status)
}

fn write(view: &View, repair: Repair) -> Write {
    let Repair { document, origin, effect, written_back, undoes } = repair;
    if written_back {
        return Write::Back { document, effect };
    }
    let before = if undoes.is_some() { None } else { undo::before(view) };
    let effect = Some(effect);
    let note = Note { origin, revision: undoes, effect, before, undoes: undoes.is_some() };
    Write::Serve { document, note, instead_of: None }
}

/// Stores what is served as a revision, when it is good and not stored yet, and prunes.
fn store(view: &View, new: &mut WidgetContractStatus, now: Timestamp) -> Vec<Vec<Write>> {
    let Some(document) = to_store(view, now) else { return Vec::new() };
    let newest = view.status.document.as_ref().and_then(|d| d.last_known_good.as_ref());
    if newest.is_some_and(|newest| newest.digest == *document.digest()) {
        return Vec::new();
    }
    // One that is stored already, which its owner went back to, becomes the newest again.
    let stored = stored_as(view, &document).or_else(|| noted_revision(view));
    let number = stored.unwrap_or_else(|| next_revision(view));
    let revision = RevisionRef { number, digest: document.digest().clone() };
    let mut stages = Vec::new();
    if stored.is_none() {
        stages.push(vec![Write::Revision { number, document: Arc::clone(&document) }]);
    }
    let pruned = status::record_revision(
        new,
        revision,
        undo::noted(view),
        view.effective.history_limit,
        now,
    );
    if let Some(served) = new.document.as_mut().and_then(|d| d.served.as_mut())
        && served.digest == *document.digest()
    {
        served.revision = Some(number);
    }
    if !pruned.is_empty() {
        stages.push(pruned.into_iter().map(Write::Prune).collect());
    }
    stages
}

/// What is served, when it may become a revision.
fn to_store(view: &View, now: Timestamp) -> Option<Arc<Document>> {
    if view.serves_assigned() || view.served == Served::NotServed {
        return view.assigned_document().filter(|_| may_be_revision(view, now)).map(Arc::clone);
    }
    // A pin is for a while: what was good before it stays the last known good.
    let served =
        view.served_document.as_ref().filter(|served| served.is_good() && !pin::wrote(view))?;
    let fresh = matches!(&view.served, Served::Ours(key) if key.written_by_us);
    let soaks = view.effective.soak > Span::ZERO || view.effective.suspend;
    (fresh && !soaks).then(|| Arc::clone(&served.document))
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

/// The revision that holds this document.
fn stored_as(view: &View, document: &Document) -> Option<u32> {
    let stored = view.status.document.iter().flat_map(|d| &d.revisions);
    stored.into_iter().find(|r| r.digest == *document.digest()).map(|r| r.number)
}

/// The revision that was stored before the document was served, when the note says so.
fn noted_revision(view: &View) -> Option<u32> {
    match &view.served {
        Served::Ours(key) if key.written_by_us => key.note.as_ref()?.revision,
        _ => None,
    }
}

/// Numbers only grow: a number that was pruned is not given again.
fn next_revision(view: &View) -> u32 {
    let documents = view.status.document.as_ref();
    let newest = documents.and_then(|d| d.revisions.iter().map(|r| r.number).max());
    let last = documents.and_then(|d| d.last_known_good.as_ref()).map(|good| good.revision);
    newest.max(last).max(noted_revision(view)).map_or(1, |number| number.saturating_add(1))
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
    let unknown = sooner(unknown, busy::next_look(view, now));
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
