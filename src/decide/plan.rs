//! From failing rules to a candidate: the steps of the winning policies, tried in memory.
//!
//! A plan has one segment for each policy that won a failing rule. Candidates compose: each step
//! gets the document that the steps before it made, and what still fails in it. A change that
//! makes nothing better is dropped. What comes out is judged by the same rules as every document,
//! and only a candidate that may be served is one.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    api::{
        contract::{Exclude, Method, Mode, NeverAgain, Origin},
        incident::{Cause, Retried, Segment, StepOutcome},
        policy::{OnFailure, Step},
        refs::LocalRef,
    },
    domain::{Document, Op, Severity, Span, ValueFrom, Verdict, patch::apply, text},
    steps::{
        Failing, Fallback, Need as StepNeed, Proposal, ReplaceAsset, StepKind, View as StepView,
    },
};

use super::{
    Held, breakers, busy,
    effects::{self, Turn},
    episode::{self, Episode},
    hosts, publish, select,
    signal::Tried,
    undo,
    validate::{Judged, RuleResult},
    view::{Need, View},
    when,
};

/// What came of planning.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// This document may be served.
    Candidate(Candidate),
    /// Gather this first.
    Ask(Need),
    /// Look again after this time.
    Wait {
        /// How long.
        wait: Span,
        /// The step that waits.
        step: String,
    },
    /// The source did not answer, and is asked again.
    Retry(Retried),
    /// It is the turn of an effect step.
    Effect {
        /// The step.
        step: StepName,
        /// What its turn comes to; None where nothing may be acted on.
        turn: Option<Box<Turn>>,
    },
    /// Nothing came of the steps, and one of them waits for what it depends on, for its like, or for
    /// what has not been asked yet.
    Held {
        /// What is waited for.
        held: Held,
        /// The step that the plan came to, if it came to any.
        step: String,
    },
    /// No step led to a document that may be served.
    None {
        /// The last step that was tried.
        step: String,
        /// Why, in a sentence for people.
        why: String,
        /// What was tried.
        tried: Vec<Tried>,
        /// A step said that nothing else shall be tried.
        escalate: bool,
    },
}

/// Which step, and of which policy: two may give their steps one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepName {
    /// The policy.
    pub policy: String,
    /// The step's name.
    pub step: String,
    /// The name of its kind.
    pub kind: &'static str,
}

/// A document that may be served.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The document.
    pub document: Arc<Document>,
    /// What was changed.
    pub ops: Vec<Op>,
    /// The step that made the last change.
    pub step: String,
    /// What was tried.
    pub tried: Vec<Tried>,
    /// Where the document comes from.
    pub origin: Origin,
}

/// The segments of a plan for `episode`, whose cause this is: ordered by the worst severity, then by
/// rule.
#[must_use]
pub fn segments(view: &View, episode: &Episode, cause: Cause) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for failing in &episode.failing {
        let severity =
            view.effective.rule(&failing.rule).map_or(Severity::Critical, |r| r.severity);
        let failure =
            episode::failure(view, &failing.rule, severity, &failing.violations, Some(cause));
        let choice = select::choose(&view.policies, view.effective.policy.as_deref(), &failure);
        // A policy that is named and is not there holds the plan: see the gates.
        let name =
            choice.winner.map(|winner| winner.name.as_str()).or(view.effective.policy.as_deref());
        let same = segments
            .iter_mut()
            .find(|segment| segment.policy_ref.as_ref().map(|p| p.name.as_str()) == name);
        match same {
            Some(segment) => segment.rules.push(failing.rule.clone()),
            None => segments.push(Segment {
                policy_ref: name.map(|name| LocalRef { name: name.to_owned() }),
                policy_generation: choice.winner.map(|winner| winner.generation),
                why: choice.why,
                rules: vec![failing.rule.clone()],
                mode: mode_of(view, choice.winner.and_then(|winner| winner.spec.mode)),
                steps: match choice.winner {
                    Some(winner) => winner.spec.steps.clone(),
                    None if name.is_some() => Vec::new(),
                    None => built_in(view),
                },
            }),
        }
    }
    segments
}

/// Without a policy: declared fallback assets are used, and nothing else is repaired.
fn built_in(view: &View) -> Vec<Step> {
    if view.effective.fallback_assets.is_empty() {
        return Vec::new();
    }
    vec![Step {
        name: "fallback-assets".to_owned(),
        when: None,
        retries: None,
        on_failure: None,
        timeout: None,
        kind: StepKind::ReplaceAsset(ReplaceAsset::default()),
    }]
}

/// The strictest of the contract's, the policy's, the namespace's and the operator's mode.
#[must_use]
pub fn mode_of(view: &View, policy: Option<Mode>) -> Mode {
    let around = view.strictest.min(view.max_mode.unwrap_or_default());
    view.effective.mode.min(policy.unwrap_or_default()).min(around)
}

/// What a plan is made for, which decides what its steps may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempting {
    /// To be shown: nothing may be asked of a source that acts on being asked, and what is shown
    /// is how it would be after its `wait` steps.
    Nothing,
    /// With the Incident of this cause, which does not exist yet: neither may it then.
    First(Cause),
    /// An attempt of an Incident that is on record.
    Again(Attempt),
    /// The same, as far as a person has to be asked what to do next: a source that acts on being asked
    /// is not.
    Asking(Attempt),
}

impl Attempting {
    /// The attempt that is on record.
    #[must_use]
    pub fn attempt(self) -> Option<Attempt> {
        match self {
            Self::Again(attempt) | Self::Asking(attempt) => Some(attempt),
            Self::Nothing | Self::First(_) => None,
        }
    }
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// The time of the `wait` steps among so many of the plan's first steps is over.
    pub waited: usize,
    /// The attempts are spent: it is only a probe, which acts on no workload and, made every ten
    /// minutes, has waited.
    pub is_probe: bool,
}

/// Tries the steps of `segments` on the assigned document; what they write down as `{{now}}` is
/// `stamp`.
#[must_use]
pub fn candidate(
    view: &View,
    segments: &[Segment],
    attempting: Attempting,
    stamp: Timestamp,
    now: Timestamp,
) -> Outcome {
    // A document that is not JSON has no parts to repair: only a whole one can take its place.
    let nothing = || Document::from_value(serde_json::Value::Null).map(Arc::new);
    match view.assigned_document().map_or_else(nothing, |assigned| Ok(Arc::clone(assigned))) {
        Ok(start) => compose(view, segments, start, attempting, stamp, now),
        Err(malformed) => {
            let (step, why, tried) = (String::new(), malformed.to_string(), Vec::new());
            Outcome::None { step, why, tried, escalate: false }
        }
    }
}

fn compose(
    view: &View,
    segments: &[Segment],
    start: Arc<Document>,
    attempting: Attempting,
    stamp: Timestamp,
    now: Timestamp,
) -> Outcome {
    let never = undo::remembered(view);
    let exclude = [view.effective.exclude.clone(), undo::excludes(&never)].concat();
    let mut current = match judge(view, start, now) {
        Ok(judged) => judged,
        Err(need) => return Outcome::Ask(need),
    };
    let mut ops = Vec::new();
    let mut step_name = String::new();
    let mut tried = Vec::new();
    let mut holds = Holds::default();
    for (nth, segment) in segments.iter().enumerate() {
        let in_segment = |tried| Tried { segment: nth, ..tried };
        let failed = |step: &Step, why: &str| in_segment(failed(step, why));
        let done = |step: &Step, outcome| in_segment(done(step, outcome));
        for step in &segment.steps {
            let failing = failing_of(&current, &segment.rules);
            if failing.is_empty() {
                break;
            }
            if excluded(&exclude, &segment.rules, step, &[]) {
                continue;
            }
            match not_now(view, segments, segment, step, attempting, &tried, now) {
                Err(need) => return Outcome::Ask(need),
                Ok(Some(NotNow { why, shut })) => {
                    tried.push(Tried { outcome: StepOutcome::Skipped, ..failed(step, &why) });
                    holds.add(step, shut);
                    continue;
                }
                Ok(None) => {}
            }
            if let Some(held) = kept_from(view, segment, step, attempting, &holds) {
                tried.push(Tried { outcome: StepOutcome::Skipped, ..failed(step, &held.message) });
                return waits(view, held, step.name.clone(), nothing(step_name, tried, None));
            }
            step_name.clone_from(&step.name);
            holds.reached.clone_from(&step.name);
            if step.kind.is_effect() {
                match effect(view, segment, step, attempting, now) {
                    Err(outcome) => return *outcome,
                    Ok(turn) => tried.push(in_segment(turn)),
                }
                if let Some(escalated) = escalated(step, &step_name, &tried) {
                    return escalated;
                }
                continue;
            }
            match hindered(view, &never, segments, segment, step, attempting) {
                Err(outcome) => return *outcome,
                Ok(Some(why)) => {
                    tried.push(Tried { outcome: outcome_of(view, step), ..failed(step, &why) });
                    continue;
                }
                Ok(None) => {}
            }
            let why = match propose(view, step, &current, &failing, stamp) {
                Proposal::Wait(_) if is_waited_for(view, segments, step, attempting) => {
                    tried.push(done(step, StepOutcome::Waited));
                    continue;
                }
                Proposal::Wait(wait) => return Outcome::Wait { wait, step: step.name.clone() },
                Proposal::Nothing(why) => why,
                // Effect steps have had their turn above.
                Proposal::Act(_) | Proposal::Done => continue,
                Proposal::Change(proposed) if !editable(&current, &proposed) => {
                    "the document holds a number that would not survive being written again"
                        .to_owned()
                }
                Proposal::Change(proposed)
                    if excluded(&exclude, &segment.rules, step, &proposed) =>
                {
                    "healing.exclude forbids it".to_owned()
                }
                Proposal::Change(proposed) => match changed(view, &current, &proposed, now) {
                    Ok(Some(better)) if undo::is_forbidden(&never, better.document.digest()) => {
                        "a person took the same document back by spec.undo".to_owned()
                    }
                    Ok(Some(better)) => {
                        current = better;
                        ops.extend(proposed);
                        tried.push(done(step, StepOutcome::Changed));
                        holds.add(step, left_unlooked(view, &current, segment, step, now));
                        continue;
                    }
                    Ok(None) => "what it proposes makes nothing better".to_owned(),
                    Err(Unfit::Ask(need)) => return Outcome::Ask(need),
                    Err(Unfit::Bad(why)) => why,
                },
            };
            if let Some(shut) = unlooked(view, step, now) {
                tried.push(Tried { outcome: StepOutcome::Skipped, ..failed(step, &shut.message) });
                holds.add(step, Some(shut));
                continue;
            }
            tried.push(failed(step, &why));
            if let Some(escalated) = escalated(step, &step_name, &tried) {
                return escalated;
            }
        }
    }
    concluded(view, current, ops, step_name, tried, holds, now)
}

const STILL_FAILS: &str = "what the steps made of it still fails";

/// What holds steps of a plan, and how far it went on all the same.
#[derive(Default)]
struct Holds {
    held: Vec<Held>,
    /// The last step that had its turn, or is held.
    reached: String,
}

impl Holds {
    fn add(&mut self, step: &Step, shut: Option<Held>) {
        if let Some(shut) = shut {
            self.held.push(shut);
            self.reached.clone_from(&step.name);
        }
    }

    /// The one that holds what nobody has asked for, since the fault is on our side.
    fn unasked(&self) -> Option<&Held> {
        let is_ours = |held: &&Held| matches!(held.reason, busy::BUSY | hosts::EGRESS_BROKEN);
        self.held.iter().find(is_ours)
    }
}

/// Is what `step` starts from not known because there was no room to look?
fn unlooked(view: &View, step: &Step, now: Timestamp) -> Option<Held> {
    let asked = view.history.as_ref().filter(|_| step.kind.need() == Some(StepNeed::Revisions));
    busy::unasked(asked).map(|doubt| busy::held(view, &doubt.message, now))
}

/// Was something left by `step`, which may be because there was no room to look?
fn left_unlooked(
    view: &View,
    current: &Judged,
    segment: &Segment,
    step: &Step,
    now: Timestamp,
) -> Option<Held> {
    let is_mended = failing_of(current, &segment.rules).is_empty();
    unlooked(view, step, now).filter(|_| !is_mended)
}

/// What came of all steps together.
fn concluded(
    view: &View,
    current: Judged,
    ops: Vec<Op>,
    step: String,
    tried: Vec<Tried>,
    holds: Holds,
    now: Timestamp,
) -> Outcome {
    if !ops.is_empty() && may_be_served(&current) {
        if let Some(stall) = publish::too_large(view, &current.document) {
            return Outcome::None { step, why: stall.message, tried, escalate: true };
        }
        let (origin, document) = (origin(&ops), current.document);
        return Outcome::Candidate(Candidate { document, ops, step, tried, origin });
    }
    let Holds { held, reached } = holds;
    let unjudged = busy::unjudged(&current).filter(|_| !ops.is_empty());
    let unjudged = unjudged.map(|doubt| busy::held(view, &doubt.message, now));
    let still = unjudged.as_ref().map_or(STILL_FAILS, |held| held.message.as_str());
    let spent = nothing(step, tried, Some(still).filter(|_| !ops.is_empty()));
    match unjudged.or_else(|| held.into_iter().reduce(breakers::sooner)) {
        Some(held) => waits(view, held, reached, spent),
        None => spent,
    }
}

/// What holds a plan is waited for. Where the source was asked in this very look that was an attempt,
/// though: who only waits comes back soon, and asks it again.
fn waits(view: &View, held: Held, step: String, spent: Outcome) -> Outcome {
    let is_asked = view.source.is_some() && busy::unasked(view.source.as_ref()).is_none();
    if is_asked { spent } else { Outcome::Held { held, step } }
}

/// Why it is not the turn of a step now.
struct NotNow {
    why: String,
    /// What has to open before.
    shut: Option<Held>,
}

/// Is it the turn of `step`, by its `when`, by what it depends on, and by what there is room for here?
fn not_now(
    view: &View,
    segments: &[Segment],
    segment: &Segment,
    step: &Step,
    attempting: Attempting,
    tried: &[Tried],
    now: Timestamp,
) -> Result<Option<NotNow>, Need> {
    if let Some(why) = skipped(view, segments, segment, step, attempting)? {
        return Ok(Some(NotNow { why, shut: None }));
    }
    if let Some(doubt) = busy::unasked(view.source.as_ref())
        && step.kind.need() == Some(StepNeed::Source)
        && passed_over(view, segments, step, attempting).is_none()
    {
        let shut = busy::held(view, &doubt.message, now);
        return Ok(Some(NotNow { why: shut.message.clone(), shut: Some(shut) }));
    }
    let is_begun = has_begun(view, segment, step, attempting);
    let unreachable = hosts::pass(view, step, now).err().filter(|_| !is_begun);
    let shut = match asks(view, segments, segment, step, attempting, tried) {
        _ if unreachable.is_some() => unreachable,
        Some(dependency) => breakers::pass(view, segment, &dependency, attempting, now)?.err(),
        None => None,
    };
    Ok(shut.map(|shut| NotNow { why: shut.message.clone(), shut: Some(shut) }))
}

/// What `step` is about to ask or to act on; None where that has been done, or will not be.
fn asks(
    view: &View,
    segments: &[Segment],
    segment: &Segment,
    step: &Step,
    attempting: Attempting,
    tried: &[Tried],
) -> Option<String> {
    let is_past = if step.kind.is_effect() {
        has_begun(view, segment, step, attempting)
    } else {
        // What was mended a moment ago is looked at again: that is what it was mended for.
        view.source.is_some()
            || passed_over(view, segments, step, attempting).is_some()
            || tried.iter().any(|tried| tried.outcome == StepOutcome::Acted)
    };
    if is_past { None } else { breakers::dependency(view, step) }
}

/// No step led to a document that may be served, although some may have changed something.
/// `still` says what is wrong with what they made of it.
fn nothing(step: String, tried: Vec<Tried>, still: Option<&str>) -> Outcome {
    let mut why = whys(&tried);
    if let Some(still) = still {
        why = if why.is_empty() { still.to_owned() } else { format!("{why}; {still}") };
    }
    if why.is_empty() {
        "there is no step to try".clone_into(&mut why);
    }
    Outcome::None { step, why, tried, escalate: false }
}

/// What keeps an effect step from being begun: it would be done because something is not known that nobody
/// has asked for.
fn kept_from(
    view: &View,
    segment: &Segment,
    step: &Step,
    attempting: Attempting,
    holds: &Holds,
) -> Option<Held> {
    let may_act = step.kind.is_effect()
        && attempting.attempt().is_none_or(|attempt| !attempt.is_probe)
        && !has_begun(view, segment, step, attempting);
    holds.unasked().filter(|_| may_act).cloned()
}

/// The turn of an effect step: what came of it, or what has to happen before the plan goes on.
fn effect(
    view: &View,
    segment: &Segment,
    step: &Step,
    attempting: Attempting,
    now: Timestamp,
) -> Result<Tried, Box<Outcome>> {
    if attempting.attempt().is_some_and(|attempt| attempt.is_probe) {
        return Ok(failed(step, "the attempts are spent"));
    }
    let held = |held| Err(Box::new(Outcome::Held { held, step: step.name.clone() }));
    let turn = match (attempting.attempt(), &view.incident) {
        (Some(attempt), Some(incident)) => {
            Some(effects::turn(view, incident, segment, step, attempt.number, now))
        }
        // Before the Incident exists nothing may be acted on.
        _ => None,
    };
    match turn {
        Some(Turn::Over) => Ok(done(step, StepOutcome::Acted)),
        Some(Turn::Failed(why)) => Ok(failed(step, &why)),
        Some(Turn::Unavailable(why)) => {
            Ok(Tried { outcome: StepOutcome::Unavailable, ..failed(step, &why) })
        }
        Some(Turn::Ask(need)) => Err(Box::new(Outcome::Ask(need))),
        Some(Turn::Held(why)) => held(why),
        turn => {
            let policy = segment.policy_ref.as_ref().map_or("", |policy| policy.name.as_str());
            let step = StepName {
                policy: policy.to_owned(),
                step: step.name.clone(),
                kind: step.kind.name(),
            };
            Err(Box::new(Outcome::Effect { step, turn: turn.map(Box::new) }))
        }
    }
}

/// The end of the plan, when the step that was tried last failed and nothing else shall be tried.
fn escalated(step: &Step, name: &str, tried: &[Tried]) -> Option<Outcome> {
    let has_failed = tried.last().is_some_and(|last| last.outcome.is_failure());
    (has_failed && step.on_failure == Some(OnFailure::Escalate)).then(|| Outcome::None {
        step: name.to_owned(),
        why: whys(tried),
        tried: tried.to_vec(),
        escalate: true,
    })
}

/// Why it is not the turn of a step, by its `when`.
///
/// # Errors
/// The fact to gather first.
fn skipped(
    view: &View,
    segments: &[Segment],
    segment: &Segment,
    step: &Step,
    attempting: Attempting,
) -> Result<Option<String>, Need> {
    if step.when.is_none() || has_begun(view, segment, step, attempting) {
        return Ok(None);
    }
    let asks = when::asks_for_diagnosis(step) && view.state.is_none();
    if asks && is_seen_into(view, attempting) {
        return Err(Need::State);
    }
    Ok(when::passes_over(step, &when::of(view, segments, attempting)))
}

/// Why a step cannot propose anything, whatever it would.
///
/// # Errors
/// What has to happen before that can be said.
fn hindered(
    view: &View,
    never: &[NeverAgain],
    segments: &[Segment],
    segment: &Segment,
    step: &Step,
    attempting: Attempting,
) -> Result<Option<String>, Box<Outcome>> {
    let varied = undo::no_variation(view, never, &step.kind);
    if let Some(why) = varied.or_else(|| passed_over(view, segments, step, attempting)) {
        return Ok(Some(why.to_owned()));
    }
    if let Some(need) = lacks(view, step) {
        return Err(Box::new(Outcome::Ask(need)));
    }
    let (Some(StepNeed::Source), Some(Err(doubt))) = (step.kind.need(), &view.source) else {
        return Ok(None);
    };
    if let Some(retried) = asks_again(view, segment, step, attempting) {
        return Err(Box::new(Outcome::Retry(retried)));
    }
    if view.state.is_none() && is_seen_into(view, attempting) {
        return Err(Box::new(Outcome::Ask(Need::State)));
    }
    Ok(Some(doubt.message.clone()))
}

/// What came of a step that could not propose anything.
fn outcome_of(view: &View, step: &Step) -> StepOutcome {
    let asked = view.source.as_ref().filter(|_| step.kind.need() == Some(StepNeed::Source));
    let is_out = asked.is_some_and(|answer| breakers::answered(answer) == Some(false));
    if is_out { StepOutcome::Unavailable } else { StepOutcome::Failed }
}

/// Why it is not the turn of a step that asks the source.
fn passed_over(
    view: &View,
    segments: &[Segment],
    step: &Step,
    attempting: Attempting,
) -> Option<&'static str> {
    if step.kind.need() != Some(StepNeed::Source) {
        return None;
    }
    let is_past =
        attempting.attempt().is_some_and(|attempt| has_acted_behind(view, segments, step, attempt));
    if is_past {
        return Some("a later step went on from what the source said");
    }
    match attempting {
        Attempting::Again(_) => None,
        Attempting::Nothing | Attempting::First(_) | Attempting::Asking(_) => {
            acts_on_being_asked(view).then_some("would ask the source for a new document")
        }
    }
}

/// Is an act of the step on record in this attempt? Then its turn goes on, whatever it changed.
fn has_begun(view: &View, segment: &Segment, step: &Step, attempting: Attempting) -> bool {
    let Some(attempt) = attempting.attempt() else { return false };
    let policy = segment.policy_ref.as_ref().map_or("", |policy| policy.name.as_str());
    let mut effects = view.incident.iter().flat_map(|incident| &incident.status.effects);
    effects.any(|effect| effects::is_of(effect, attempt.number, policy, &step.name))
}

/// Is more to be seen of a source that does not answer than that?
fn is_seen_into(view: &View, attempting: Attempting) -> bool {
    let source = view.effective.source.as_ref();
    attempting.attempt().is_some()
        && source.is_some_and(|s| s.service_ref.is_some() || s.workload_ref.is_some())
}

/// Is the time of a `wait` step over?
fn is_waited_for(view: &View, segments: &[Segment], step: &Step, attempting: Attempting) -> bool {
    match attempting {
        Attempting::Again(attempt) | Attempting::Asking(attempt) => {
            let before = segments.iter().flat_map(|segment| &segment.steps).take(attempt.waited);
            let is_among = before.into_iter().any(|known| std::ptr::eq(known, step));
            is_among || attempt.is_probe || has_acted_behind(view, segments, step, attempt)
        }
        // Who is shown a plan is shown what it comes to.
        Attempting::Nothing => true,
        Attempting::First(_) => false,
    }
}

/// The next time that a step asks a source that did not answer.
fn asks_again(
    view: &View,
    segment: &Segment,
    step: &Step,
    attempting: Attempting,
) -> Option<Retried> {
    let attempt = attempting.attempt().filter(|attempt| !attempt.is_probe)?.number;
    if view.probing.values().any(|is_probe| *is_probe) {
        // Who tries for all others tries once.
        return None;
    }
    view.effective.source.as_ref()?;
    let policy = segment.policy_ref.as_ref().map_or("", |policy| policy.name.as_str());
    let known = view.incident.as_ref().and_then(|incident| incident.status.retried.as_ref());
    let known = known.filter(|known| {
        (known.attempt, known.policy.as_str(), &known.step) == (attempt, policy, &step.name)
    });
    let times = known.map_or(0, |known| known.times);
    (times < step.retries.unwrap_or(0)).then(|| Retried {
        attempt,
        policy: policy.to_owned(),
        step: step.name.clone(),
        times: times.saturating_add(1),
    })
}

/// Has a step behind this one acted or asked again in this attempt? Then this one had its turn
/// before.
fn has_acted_behind(view: &View, segments: &[Segment], step: &Step, attempt: Attempt) -> bool {
    let incident = view.incident.iter();
    let effects = incident.clone().flat_map(|incident| &incident.status.effects);
    let effects = effects.map(|effect| (effect.attempt, &effect.policy, &effect.step));
    let retried = incident.filter_map(|incident| incident.status.retried.as_ref());
    let retried = retried.map(|retried| (retried.attempt, &retried.policy, &retried.step));
    let mut acted = effects.chain(retried).filter(|(number, ..)| *number == attempt.number);
    let steps = || {
        segments.iter().flat_map(|segment| {
            let policy = segment.policy_ref.as_ref().map_or("", |policy| policy.name.as_str());
            segment.steps.iter().map(move |step| (policy, step))
        })
    };
    let own = steps().position(|(_, known)| std::ptr::eq(known, step));
    acted.any(|(_, policy, step)| {
        steps().position(|(p, s)| (p, &s.name) == (policy.as_str(), step)) > own
    })
}

/// In the plan's first segment, until it is said which.
fn failed(step: &Step, why: &str) -> Tried {
    let outcome = StepOutcome::Failed;
    Tried { segment: 0, step: step.name.clone(), outcome, why: text::message(why) }
}

fn done(step: &Step, outcome: StepOutcome) -> Tried {
    Tried { segment: 0, step: step.name.clone(), outcome, why: String::new() }
}

fn whys(tried: &[Tried]) -> String {
    let failed = tried.iter().filter(|tried| !tried.why.is_empty());
    let whys: Vec<String> = failed.map(|tried| format!("{}: {}", tried.step, tried.why)).collect();
    whys.join("; ")
}

/// Only another document may take the place of one that cannot be written again as it is.
fn editable(current: &Judged, proposed: &[Op]) -> bool {
    let is_another = |op: &Op| op.path.is_empty() && op.from != Some(ValueFrom::Document);
    current.document.is_exact() || proposed.iter().all(is_another)
}

fn propose(
    view: &View,
    step: &Step,
    current: &Judged,
    failing: &[Failing],
    stamp: Timestamp,
) -> Proposal {
    let fallbacks: Vec<Fallback> = view
        .effective
        .fallback_assets
        .iter()
        .map(|fallback| Fallback { rule: fallback.rule.clone(), url: fallback.url.0.clone() })
        .collect();
    let next = view.status.document.iter().flat_map(|d| &d.revisions).map(|r| r.number).max();
    let variables = [
        ("revision", next.map_or(1, |number| number.saturating_add(1)).to_string()),
        ("now", crate::api::condition::whole_seconds(stamp).to_string()),
        ("contract", view.subject.name.clone()),
        ("widget", view.effective.widget.clone()),
    ];
    let source = view.source.as_ref().and_then(|source| source.as_ref().ok());
    let revisions = view.history.as_ref().and_then(|history| history.as_ref().ok());
    step.kind.plan(&StepView {
        document: current.document.value(),
        failing,
        schema: view.schema.as_ref().map(|schema| schema.value()),
        revisions: revisions.map_or(&[], Vec::as_slice),
        source: source.map(|document| document.value()),
        fallbacks: &fallbacks,
        variables: &variables,
        state: None,
        key: "",
    })
}

/// Is the source asked by POST? That is an effect, and has the Incident's name as its key.
fn acts_on_being_asked(view: &View) -> bool {
    view.effective.source.as_ref().is_some_and(|s| s.method == Some(Method::Post))
}

/// The fact that `step` cannot do without and that nobody has gathered yet.
fn lacks(view: &View, step: &Step) -> Option<Need> {
    match step.kind.need()? {
        StepNeed::Revisions => view.history.is_none().then_some(Need::History),
        StepNeed::Source => view.source.is_none().then_some(Need::Source),
        StepNeed::State => view.state.is_none().then_some(Need::State),
    }
}

enum Unfit {
    Ask(Need),
    Bad(String),
}

/// The document after `proposed`, when fewer violations are left than before.
fn changed(
    view: &View,
    current: &Judged,
    proposed: &[Op],
    now: Timestamp,
) -> Result<Option<Judged>, Unfit> {
    let value = apply(current.document.value(), proposed).map_err(Unfit::Bad)?;
    let document = Document::from_value(value).map_err(|bad| Unfit::Bad(bad.to_string()))?;
    let judged = judge(view, Arc::new(document), now).map_err(Unfit::Ask)?;
    Ok((weight(&judged) < weight(current)).then_some(judged))
}

/// How much is wrong: Critical violations first, then doubts, then the rest.
fn weight(judged: &Judged) -> (usize, usize, usize) {
    let violations = |critical: bool| {
        judged
            .results
            .iter()
            .filter(|result| (result.severity == Severity::Critical) == critical)
            .map(|result| match &result.verdict {
                Verdict::Fail(violations) => violations.len(),
                Verdict::Pass | Verdict::Unknown(_) => 0,
            })
            .sum()
    };
    let doubts = judged.results.iter().filter(|r| matches!(r.verdict, Verdict::Unknown(_))).count();
    (violations(true), doubts, violations(false))
}

/// Judges a candidate by all rules; asks for the assets that nobody has looked at yet.
pub(super) fn judge(view: &View, document: Arc<Document>, now: Timestamp) -> Result<Judged, Need> {
    let unseen: Vec<(String, bool)> = view
        .book
        .assets(&view.effective.rules, document.value())
        .into_iter()
        .map(|asset| (asset.url, asset.sized))
        .filter(|(url, _)| !view.probes.contains_key(url))
        .collect();
    if !unseen.is_empty() {
        return Err(Need::Assets(unseen));
    }
    Ok(view.book.judge(&view.effective.rules, document, &view.probes, now))
}

/// A repair must be good beyond doubt: what could not be checked is not published by a machine.
fn may_be_served(judged: &Judged) -> bool {
    judged.is_good()
}

fn failing_of(judged: &Judged, rules: &[String]) -> Vec<Failing> {
    let failing = |result: &RuleResult| match &result.verdict {
        Verdict::Fail(violations) => {
            Some(Failing { rule: result.rule.clone(), violations: violations.clone() })
        }
        Verdict::Pass | Verdict::Unknown(_) => None,
    };
    let document_itself = rules.iter().any(|rule| rule == super::effective::DOCUMENT_RULE);
    judged
        .results
        .iter()
        .filter(|result| document_itself || rules.contains(&result.rule))
        .filter_map(failing)
        .collect()
}

/// Does the contract forbid this step, or any of what it proposes?
fn excluded(exclude: &[Exclude], rules: &[String], step: &Step, ops: &[Op]) -> bool {
    exclude.iter().any(|entry| {
        let rule = entry.rule.as_ref().is_none_or(|rule| rules.contains(rule));
        let kind = entry.step.as_deref().is_none_or(|kind| kind == step.kind.name());
        let touches = |op: &Op| {
            let at = format!("{}/", op.path);
            entry.paths.iter().any(|path| {
                let path = format!("{path}/");
                at.starts_with(&path) || path.starts_with(&at)
            })
        };
        rule && kind && (entry.paths.is_empty() || ops.iter().any(touches))
    })
}

fn origin(ops: &[Op]) -> Origin {
    let whole = ops.iter().rev().find(|op| op.path.is_empty());
    match whole.and_then(|op| op.from.as_ref()) {
        Some(ValueFrom::Revision(_)) => Origin::History,
        Some(ValueFrom::Source) => Origin::Source,
        _ => Origin::Repaired,
    }
}
