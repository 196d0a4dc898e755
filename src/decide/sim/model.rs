//! `decide` model-checked as it runs in production: every order of looks and faults within bounds.
//!
//! The faults are those that the property tests do not reach by chance: the process dies after any
//! write of a look, or its answer is lost; a second replica, or a cache that lags, looks at a world
//! that is past and writes late; an event is lost, so that time passes without a look; a person or a
//! program changes the document, an asset, the served key, the workload or a Job at any moment, or a
//! webhook falls silent.
//!
//! A late write meets the preconditions that the API server holds it to, see [`World::meets`]: what
//! production does not send with one is not protected here either.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
    io::Write as _,
    sync::Mutex,
};

use stateright::{Checker, Model, Property};

use super::*;

/// Looks that a world needs to come to rest, at most.
const LOOKS_MAX: usize = 10;
/// Wakes of its timers after which nothing is left to try, at most.
const WAKES_MAX: usize = 60;
/// What may still happen on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Left {
    edits: u8,
    crashes: u8,
    pasts: u8,
    wakes: u8,
}

#[derive(Clone)]
struct At {
    world: World,
    /// The world as the second replica, or a cache that lags, knows it.
    past: Option<Box<World>>,
    left: Left,
    /// How far the end is, see [`World::measure`], where the last step broke no law.
    measure: Measure,
    /// Of all that later steps can depend on.
    key: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Does {
    Look,
    /// A look that dies after so many of its writes.
    Dies(usize),
    /// From now on there is one that does not hear what happens.
    FallsBehind,
    /// That one looks, and writes.
    LooksBehind,
    /// Time passes to the next timer, heard or not.
    Wakes,
    Edits(Edit),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Edit {
    Breaks,
    /// Another fault, which is another Incident.
    BreaksAnew,
    Mends,
    LosesAsset,
    SilencesAsset,
    Vandal,
    RollsOut,
    /// From now on the webhook takes calls and answers none.
    WebhookHangs,
    JobEnds,
    JobFails,
    /// A person deletes the Job. One that is not on record as made is left: nobody could tell it
    /// from one that was never made.
    JobGoes,
}

struct Contract {
    world: World,
    edits: &'static [Edit],
    left: Left,
    measures: Mutex<BTreeMap<Digest, Measure>>,
}

/// See [`World::measure`].
type Measure = Result<(usize, usize), String>;

impl World {
    /// All that later steps can depend on.
    fn key(&self) -> String {
        let status = serde_json::to_string(&self.status).unwrap();
        let incidents = serde_json::to_string(&self.incidents).unwrap();
        let revisions: Vec<_> =
            self.revisions.iter().map(|(number, document)| (number, document.digest())).collect();
        let outside =
            format!("{:?}|{:?}|{:?}|{:?}", self.answers, self.told, self.calls, self.jobs);
        format!(
            "{}|{status}|{incidents}|{}|{:?}|{:?}|{revisions:?}|{:?}|{:?}|{:?}|{:?}|{:?}|{:?}|{outside}",
            self.now,
            self.contract,
            self.served,
            self.served_in,
            self.assets,
            self.workload,
            self.written_back,
            self.acts,
            self.made,
            self.next,
        )
    }

    /// Would the API server take the write from somebody who decided on `seen`?
    fn meets(&self, seen: &Self, write: &Write) -> bool {
        let same_contract = || {
            (&seen.status, &seen.contract, &seen.written_back)
                == (&self.status, &self.contract, &self.written_back)
        };
        let same_incident = |name: &str| {
            let of =
                |world: &Self| world.incidents.iter().find(|(known, ..)| known == name).cloned();
            // One that was not there was opened a moment ago, by this look or before it.
            of(seen).is_none_or(|seen| Some(seen) == of(self))
        };
        match write {
            Write::Serve { .. } | Write::Mark { .. } => {
                (&seen.served, &seen.served_in) == (&self.served, &self.served_in)
            }
            Write::Back { .. } | Write::Status(_) => same_contract(),
            Write::Act(act) => match act.doing() {
                Doing::Change { .. } | Doing::DeletePods(_) => {
                    (&seen.workload, &seen.failed) == (&self.workload, &self.failed)
                }
                Doing::RunJob(_) => seen.incidents.iter().all(|(name, ..)| same_incident(name)),
                // Its receiver knows the key.
                Doing::Call(_) => true,
            },
            Write::IncidentStatus { name, .. } => same_incident(name),
            // A number that is taken by another document: see `store_revision`.
            Write::Revision { number, document } => self
                .revisions
                .get(number)
                .is_none_or(|stored| stored.digest() == document.digest() || same_contract()),
            Write::Open { .. } | Write::Candidate { .. } | Write::Prune(_) | Write::Forget(_) => {
                true
            }
        }
    }

    /// Applies what was decided on `seen`, until a write is refused or the process dies.
    fn perform(&mut self, seen: &Self, dies_after: Option<usize>) -> Option<Next> {
        let (_, decision, _) = seen.decided();
        for (nth, write) in decision.stages.into_iter().flatten().enumerate() {
            if Some(nth) == dies_after || !self.meets(seen, &write) {
                return None;
            }
            if let Write::Revision { number, .. } = &write {
                // Stored before a crash and never referred to: it makes room.
                self.revisions.remove(number);
            }
            self.apply(write);
        }
        decision.signals.into_iter().for_each(|signal| self.hear(signal));
        Some(decision.next)
    }

    fn look_now(&mut self, dies_after: Option<usize>) -> Option<Next> {
        let seen = self.clone();
        let next = self.perform(&seen, dies_after);
        if dies_after.is_some() {
            self.told.clear();
        }
        match next {
            Some(Next::At(at)) => self.next = Some(at),
            Some(Next::Changed) => self.next = None,
            Some(Next::Again) | None => {}
        }
        next
    }

    fn writes_of_a_look(&self) -> usize {
        let mut ahead = self.clone();
        ahead.look_now(None);
        ahead.writes - self.writes
    }

    fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Breaks => self.assign(&with(|document| document["title"] = json!(7))),
            Edit::BreaksAnew => self.assign(&json!({"hero": "https://cdn.test/hero.png"})),
            Edit::Mends => self.assign(&with(|document| document["title"] = json!("two"))),
            Edit::LosesAsset => self.asset("hero", Some(404)),
            Edit::SilencesAsset => self.asset("hero", None),
            Edit::Vandal if self.served.is_some() => {
                self.vandal(&with(|document| document["title"] = json!("theirs")));
            }
            Edit::RollsOut if self.workload.is_some() => drop(self.roll_out()),
            Edit::WebhookHangs => self.answers = vec![Told::Unheard("no answer".to_owned())],
            Edit::JobEnds => drop(self.end_jobs(&JobEnd::Complete, "mended").roll_out()),
            Edit::JobFails => drop(self.end_jobs(&JobEnd::Failed("Backoff".to_owned()), "")),
            Edit::JobGoes if self.is_on_record() => self.jobs.clear(),
            Edit::Vandal | Edit::RollsOut | Edit::JobGoes => {}
        }
    }

    /// Is the outcome of every effect known?
    fn is_on_record(&self) -> bool {
        let mut effects = self.incidents.iter().flat_map(|(_, _, status)| &status.effects);
        effects.all(|effect| effect.outcome.is_some())
    }

    /// Looks until nothing is left to do now, and how many it took; Err when there is no end to it.
    fn rest(&mut self) -> Result<usize, String> {
        for looks in 0..LOOKS_MAX {
            let writes = self.writes;
            if self.look_now(None) != Some(Next::Again) && self.writes == writes {
                return Ok(looks);
            }
        }
        Err(format!("no rest after {LOOKS_MAX} looks"))
    }

    /// Is there nothing left that only time could bring?
    fn is_settled(&self) -> bool {
        let state = |(_, _, status): &(String, IncidentSpec, IncidentStatus)| {
            status.state.unwrap_or_default()
        };
        self.incidents
            .iter()
            .map(state)
            .all(|state| state.is_over() || matches!(state, State::Mitigated | State::Escalated))
    }

    /// The measure: how many wakes and then looks are left until all is healed, mitigated or in the
    /// hands of people, when nobody disturbs it any more. Every look makes it smaller, so there is
    /// always an end.
    fn measure(&self) -> Measure {
        let mut ahead = self.clone();
        let looks = ahead.rest()?;
        for wakes in 0..WAKES_MAX {
            if ahead.is_settled() {
                return Ok((wakes, looks));
            }
            let next = ahead.next.ok_or("in trouble, and nothing is due")?;
            ahead.now = next.max(Span::secs(1).after(ahead.now));
            ahead.rest()?;
        }
        Err(format!("not settled after {WAKES_MAX} wakes"))
    }

    /// The laws of safety, in every state.
    fn law_broken(&self) -> Option<String> {
        let open = self.incidents.iter().filter(|(_, _, status)| !is_over(status)).count();
        if open > 1 {
            return Some(format!("{open} open Incidents"));
        }
        if let Some((bytes, _, manager)) = &self.served
            && manager == "kintsugi"
        {
            let served: Value = serde_json::from_slice(bytes).unwrap();
            if !served["title"].is_string() {
                return Some(format!("what fails its schema is served: {served}"));
            }
        }
        let keys: BTreeSet<&String> = self.acts.iter().map(|(_, key)| key).collect();
        if keys.len() < self.acts.len() {
            return Some(format!("an effect was done twice: {:?}", self.acts));
        }
        // Without policy and step: there is one step here that runs a Job.
        let attempts: BTreeSet<_> =
            self.made.iter().map(|key| key.rsplitn(3, '/').nth(2)).collect();
        if attempts.len() < self.made.len() {
            return Some(format!("a Job was made twice: {:?}", self.made));
        }
        if self.jobs.values().filter(|job| job.end.is_none()).count() > 1 {
            return Some(format!("a Job is run beside itself: {:?}", self.jobs));
        }
        if let Some(broken) = self.call_broken() {
            return Some(broken);
        }
        for (name, _, status) in &self.incidents {
            if status.tries.unwrap_or(0) > 2 {
                return Some(format!("{name} has had more attempts than its policy gives it"));
            }
        }
        let document = self.status.document.as_ref()?;
        let served = document.served.as_ref().and_then(|served| served.revision);
        let good = document.last_known_good.as_ref().map(|good| good.revision);
        let lost = served.into_iter().chain(good).find(|n| !self.revisions.contains_key(n));
        lost.map(|number| format!("revision {number}, which is needed, is gone"))
    }

    /// What is sent for one step of one attempt is always the same, and for another another.
    fn call_broken(&self) -> Option<String> {
        let mut sent = BTreeMap::new();
        for call in &self.calls {
            let body: Value = serde_json::from_str(&call.1).unwrap();
            let of = ["incident", "attempt", "step"].map(|part| body["data"][part].to_string());
            if *sent.entry(of).or_insert(call) != call {
                return Some(format!("one call, and two keys or bodies: {:?}", self.calls));
            }
        }
        let keys: BTreeSet<&String> = sent.values().map(|(key, _)| key).collect();
        (keys.len() < sent.len()).then(|| format!("two calls, and one key: {:?}", self.calls))
    }

    /// The laws of one step from `before`.
    fn step_broken(&self, before: &Self) -> Option<String> {
        let tries = |world: &Self| -> BTreeMap<String, u32> {
            let each = world.incidents.iter();
            each.map(|(name, _, status)| (name.clone(), status.tries.unwrap_or(0))).collect()
        };
        let (old, new) = (tries(before), tries(self));
        old.iter().find_map(|(name, before)| match new.get(name) {
            Some(after) if after < before => Some(format!("{name}: an attempt is forgotten")),
            Some(after) if *after > before + 1 => Some(format!("{name}: attempts jump")),
            None => Some(format!("{name} is lost")),
            Some(_) => None,
        })
    }
}

impl Contract {
    fn at(&self, world: World, past: Option<Box<World>>, left: Left, broken: Option<String>) -> At {
        let of_world = world.key();
        let measure = broken.map_or_else(|| self.measure(&world, &of_world), Err);
        let key = format!("{left:?}|{:?}|{of_world}", past.as_ref().map(|past| past.key()));
        At { key: Digest::of_bytes(key.as_bytes()), world, past, left, measure }
    }

    /// Taken once of each world: many paths lead to it, with more or less that may still happen.
    fn measure(&self, world: &World, key: &str) -> Measure {
        let key = Digest::of_bytes(key.as_bytes());
        if let Some(known) = self.measures.lock().unwrap().get(&key) {
            return known.clone();
        }
        let measure = world.measure();
        self.measures.lock().unwrap().insert(key, measure.clone());
        measure
    }
}

impl Hash for At {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl PartialEq for At {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl std::fmt::Debug for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let world = &self.world;
        writeln!(f, "{} {:?}", world.now, self.measure)?;
        writeln!(f, "assigned {}", world.contract["document"]["inline"])?;
        if let Some((bytes, note, manager)) = &world.served {
            writeln!(f, "served {} by {manager}: {note:?}", String::from_utf8_lossy(bytes))?;
        }
        for (name, _, status) in &world.incidents {
            let (state, tries, waiting) = (status.state, status.tries, &status.waiting);
            writeln!(f, "{name} {state:?} tries {tries:?} waits for {waiting:?}")?;
        }
        write!(f, "{} next {:?}", world.status.reason, world.next)
    }
}

impl Model for Contract {
    type State = At;
    type Action = Does;

    fn init_states(&self) -> Vec<At> {
        vec![self.at(self.world.clone(), None, self.left, None)]
    }

    fn actions(&self, at: &At, actions: &mut Vec<Does>) {
        if at.measure.is_err() {
            return;
        }
        actions.push(Does::Look);
        if at.left.crashes > 0 {
            actions.extend((0..=at.world.writes_of_a_look()).skip(1).map(Does::Dies));
        }
        if at.past.is_some() {
            actions.push(Does::LooksBehind);
        } else if at.left.pasts > 0 {
            actions.push(Does::FallsBehind);
        }
        if at.left.wakes > 0 && at.world.next.is_some_and(|next| next > at.world.now) {
            actions.push(Does::Wakes);
        }
        if at.left.edits > 0 {
            actions.extend(self.edits.iter().copied().map(Does::Edits));
        }
    }

    fn next_state(&self, before: &At, does: Does) -> Option<At> {
        let At { mut world, mut past, mut left, measure, .. } = before.clone();
        match does {
            Does::Look => drop(world.look_now(None)),
            Does::Dies(after) => {
                left.crashes -= 1;
                world.look_now(Some(after));
            }
            Does::FallsBehind => {
                left.pasts -= 1;
                past = Some(Box::new(World { told: BTreeMap::new(), ..world.clone() }));
            }
            Does::LooksBehind => {
                let mut behind = past.take()?;
                behind.now = world.now;
                // What one process was told the other does not know.
                let told = std::mem::take(&mut world.told);
                world.perform(&behind, None);
                world.told = told;
            }
            Does::Wakes => {
                left.wakes -= 1;
                world.now = world.next?;
            }
            Does::Edits(edit) => {
                left.edits -= 1;
                world.edit(edit);
            }
        }
        world.said.clear();
        let broken = world.law_broken().or_else(|| world.step_broken(&before.world));
        let mut at = self.at(world, past, left, broken);
        if does == Does::Look
            && at.world.writes > before.world.writes
            && let (Ok(before), Ok(after)) = (measure, &at.measure)
            && *after >= before
        {
            at.measure = Err(format!("a look brings it no nearer: {before:?}, then {after:?}"));
        }
        (at.key != before.key).then_some(at)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "every law holds, and each look brings the end nearer",
                |_, at: &At| at.measure.is_ok(),
            ),
            Property::sometimes("something is done", |_, at: &At| {
                let World { acts, calls, made, .. } = &at.world;
                at.world.published > 1 || !(acts.is_empty() && calls.is_empty() && made.is_empty())
            }),
        ]
    }
}

/// Explores all that may happen to `world`.
fn explore(name: &str, world: &World, edits: &'static [Edit], left: Left) {
    let model = Contract { world: world.clone(), edits, left, measures: Mutex::default() };
    let checker = model.checker().threads(2).spawn_bfs().join();
    writeln!(
        std::io::stdout(),
        "model: {name}: {} states, {} of them different, {} steps deep",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    )
    .unwrap();
    checker.assert_properties();
}

fn at_rest(healing: Value) -> World {
    let mut world = World::new(&good());
    world.contract["healing"] = healing;
    world.settle();
    world
}

const CRASH: Left = Left { edits: 2, crashes: 1, pasts: 0, wakes: 1 };
const PAST: Left = Left { edits: 2, crashes: 0, pasts: 1, wakes: 1 };

#[test]
fn no_order_of_events_makes_a_repair_unsafe_or_endless() {
    let world = at_rest(json!({}));
    let edits = &[Edit::Breaks, Edit::Mends, Edit::LosesAsset, Edit::SilencesAsset, Edit::Vandal];
    explore("served, with a crash", &world, edits, CRASH);
    let edits = &[Edit::Breaks, Edit::LosesAsset, Edit::Vandal];
    explore("served, with a second replica", &world, edits, PAST);
}

#[test]
fn no_order_of_events_makes_a_repair_that_is_written_back_unsafe_or_endless() {
    let world = at_rest(json!({"writeBack": "Document"}));
    let edits = &[Edit::Breaks, Edit::Mends, Edit::LosesAsset, Edit::Vandal];
    explore("written back, with a crash", &world, edits, CRASH);
    let edits = &[Edit::Breaks, Edit::Mends];
    explore("written back, with a second replica", &world, edits, PAST);
}

#[test]
fn no_order_of_events_makes_an_effect_unsafe_or_endless() {
    let world = effects::down(effects::SCALE);
    let edits = &[Edit::Mends, Edit::Vandal, Edit::RollsOut];
    explore("scaled, with a crash", &world, edits, CRASH);
    let edits = &[Edit::Mends, Edit::RollsOut];
    explore("scaled, with a second replica", &world, edits, PAST);
}

#[test]
fn no_order_of_events_makes_a_call_another_one_or_endless() {
    let silent = Told::Unheard("no answer".to_owned());
    let taken = Told::Answered { status: 200, retry_after: None };
    let unsent = Told::NoRoom { why: "no room".to_owned(), at: Timestamp::UNIX_EPOCH };
    let mut world = effects::with_webhook(&[unsent, silent, taken]);
    world.roll_out();
    let edits = &[Edit::Mends, Edit::WebhookHangs];
    explore("called, with a crash", &world, edits, Left { edits: 1, ..CRASH });
    let edits = &[Edit::WebhookHangs];
    explore("called, with a second replica", &world, edits, Left { edits: 1, ..PAST });
}

#[test]
fn no_order_of_events_makes_a_job_run_twice_or_be_awaited_for_ever() {
    let world = effects::with_job();
    let edits = &[Edit::Mends, Edit::BreaksAnew, Edit::JobEnds, Edit::JobFails, Edit::JobGoes];
    explore("run, with a crash", &world, edits, Left { edits: 1, ..CRASH });
    let edits = &[Edit::BreaksAnew, Edit::JobEnds, Edit::JobGoes];
    explore("run, with a second replica", &world, edits, Left { edits: 1, ..PAST });
}
