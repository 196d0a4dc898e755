//! The gates before a repair, in order; each is a named function. An open way gives a [`Permit`],
//! which a repair takes as an argument: a forgotten `return` does not compile. The last gate,
//! [`approval`], hangs on the candidate; so does the permit.

pub mod approval;

use jiff::Timestamp;

use crate::{
    api::{
        ACCEPT_SCHEMA, MAX_MODE, PIN,
        contract::Mode,
        incident::{Cause, Segment},
    },
    domain::Span,
};

use super::{
    Held, blame, breakers,
    hosts::{self, EGRESS_BROKEN},
    limits::{self, Own},
    pause::{self, PAUSED},
    pin,
    plan::Candidate,
    requests,
    select::Policy,
    view::{Need, Served, View},
    windows::{self, Shut},
    write_back::Place,
};

/// Why an Incident is held whose schema is to blame.
pub const SCHEMA_HELD: &str = "SchemaHeld";
const SUSPENDED: &str = "Suspended";
const PINNED: &str = "Pinned";

/// The right to write one candidate, and no other, once.
#[derive(Debug)]
pub struct Permit {
    candidate: Candidate,
}

impl Permit {
    /// What may be written.
    #[must_use]
    pub fn candidate(&self) -> &Candidate {
        &self.candidate
    }
}

/// What is left to pass when no gate of [`pass`] is shut.
#[derive(Debug)]
pub enum Way {
    /// Nothing.
    Open(Open),
    /// A person is asked about the candidate.
    Asks(Asks),
}

/// Whatever may be served may be written.
#[derive(Debug)]
pub struct Open(());

/// Only what a person approves may be written: see [`approval`].
#[derive(Debug)]
pub struct Asks(());

impl Open {
    /// The right to write `candidate`.
    #[must_use]
    pub fn permit(self, candidate: Candidate) -> Permit {
        Permit { candidate }
    }
}

/// Asks every gate but the last. Policies are read as they are now, not as they were when the plan
/// was made: switching a bad one to Observe stops it at once.
///
/// # Errors
/// The first gate that is shut.
pub fn pass(
    view: &View,
    segments: &[Segment],
    cause: Cause,
    place: &Place,
    now: Timestamp,
) -> Result<Way, Held> {
    suspended(view, segments)?;
    pause::pass(view, segments, now)?;
    pinned(view, now)?;
    hosts::all_pass(view, segments, now)?;
    schema_blame(view, cause)?;
    let mode = mode(view, segments)?;
    writable(view, place)?;
    breaker_open(view, segments, now)?;
    if !requests::is_forced(view) {
        cooldown(view, segments, now)?;
    }
    limited(view, segments, now)?;
    in_window(view, segments, now)?;
    Ok(if mode == Mode::Approve { Way::Asks(Asks(())) } else { Way::Open(Open(())) })
}

/// The fact that the gates cannot be asked without.
#[must_use]
pub fn lack(view: &View, segments: &[Segment]) -> Option<Need> {
    let mut steps = segments.iter().flat_map(|segment| &segment.steps);
    if view.heard.is_none() && steps.any(|step| hosts::needs(view, step)) {
        return Some(Need::Heard);
    }
    let named = segments.iter().filter_map(|segment| segment.policy_ref.as_ref());
    let policies: Vec<String> = named.map(|policy| policy.name.clone()).collect();
    (view.fleet.is_none() && !policies.is_empty()).then_some(Need::Fleet(policies))
}

fn policies<'a>(
    view: &'a View,
    segments: &'a [Segment],
) -> impl Iterator<Item = (&'a Segment, Option<&'a Policy>)> {
    segments.iter().map(|segment| {
        let name = segment.policy_ref.as_ref().map(|policy| &policy.name);
        (segment, view.policies.iter().find(|policy| Some(&policy.name) == name))
    })
}

fn suspended(view: &View, segments: &[Segment]) -> Result<(), Held> {
    for (segment, policy) in policies(view, segments) {
        let Some(named) = &segment.policy_ref else { continue };
        let message = match policy {
            None => format!(
                "RemediationPolicy {} is gone or cannot be read; see its status",
                named.name
            ),
            Some(policy) if policy.spec.suspend => {
                format!("RemediationPolicy {} is suspended", named.name)
            }
            Some(_) => continue,
        };
        return Err(Held { reason: SUSPENDED, message, until: None });
    }
    Ok(())
}

/// What a person pinned is not repaired.
fn pinned(view: &View, now: Timestamp) -> Result<(), Held> {
    let Some(pinned) = pin::in_force(view, now) else { return Ok(()) };
    let until = pinned.until;
    let message = format!(
        "annotation {PIN} pins document {} until {until}; remove it to repair before",
        pinned.digest.short()
    );
    Err(Held { reason: PINNED, message, until: Some(until) })
}

/// May an Incident that waits for this be held by its schema, as far as the gates have been asked? Those
/// that come before it say nothing about it.
#[must_use]
pub fn may_blame(waiting: &str) -> bool {
    matches!(waiting, SCHEMA_HELD | SUSPENDED | PAUSED | PINNED | EGRESS_BROKEN)
}

/// A schema that good documents fail is mended by whoever changed it, or accepted as it is: one
/// document after the other is not repaired by it.
fn schema_blame(view: &View, cause: Cause) -> Result<(), Held> {
    if cause != Cause::SchemaChanged || blame::is_accepted(view) {
        return Ok(());
    }
    let message = format!(
        "the last good document fails the schema, too; take its change back, or accept it: kubectl \
         annotate widgetcontract {} --namespace={} {ACCEPT_SCHEMA}={} --overwrite",
        view.subject.name,
        view.subject.namespace,
        view.effective_ref.digest.short()
    );
    Err(Held { reason: SCHEMA_HELD, message, until: None })
}

/// The mode in force, and who set it.
fn strictest(view: &View, segments: &[Segment]) -> (Mode, String) {
    let by_policy = policies(view, segments).filter_map(|(_, policy)| {
        let policy = policy?;
        Some((policy.spec.mode?, format!("RemediationPolicy {}", policy.name)))
    });
    let around = [
        (view.effective.mode, "the contract or its class".to_owned()),
        (view.max_mode.unwrap_or_default(), format!("the label {MAX_MODE} of the namespace")),
        (view.strictest, "--observe-only".to_owned()),
    ];
    around.into_iter().chain(by_policy).min_by_key(|(mode, _)| *mode).unwrap_or_default()
}

fn mode(view: &View, segments: &[Segment]) -> Result<Mode, Held> {
    let (mode, by) = strictest(view, segments);
    let (reason, what) = match mode {
        Mode::Auto | Mode::Approve => return Ok(mode),
        Mode::Off | Mode::Observe => ("ObserveOnly", "nothing is repaired"),
        Mode::DryRun => ("DryRun", "the plan is shown and not carried out"),
    };
    Err(Held { reason, message: format!("the mode is {mode} by {by}: {what}"), until: None })
}

/// A repair needs a place that may be written.
fn writable(view: &View, place: &Place) -> Result<(), Held> {
    let (reason, message) = match (place, &view.served) {
        (Place::Assigned, _) | (_, Served::Absent | Served::Ours(_)) => return Ok(()),
        (_, Served::NotServed) => (
            "WatchOnly",
            "serve.none is set: there is no served document to repair; see healing.writeBack"
                .to_owned(),
        ),
        (_, Served::Foreign { owner }) => {
            ("ServeNotOwned", format!("what is served belongs to {owner}"))
        }
        (_, Served::Unavailable(doubt)) => ("ServeUnavailable", doubt.message.clone()),
    };
    Err(Held { reason, message, until: None })
}

/// Not while everything that the plan could do is left alone. What an attempt did to a workload goes
/// on to its end.
fn breaker_open(view: &View, segments: &[Segment], now: Timestamp) -> Result<(), Held> {
    let has_acted = view.incident.as_ref().is_some_and(|incident| {
        let number = incident.status.tries.unwrap_or(0).saturating_add(1);
        incident.status.effects.iter().any(|effect| effect.attempt == number)
    });
    if has_acted { Ok(()) } else { breakers::all_open(view, segments, now) }
}

/// What a policy may do to all of its contracts together.
fn limited(view: &View, segments: &[Segment], now: Timestamp) -> Result<(), Held> {
    let Some(fleet) = &view.fleet else { return Ok(()) };
    let is_forced = requests::is_forced(view);
    let own = Own {
        contract: &view.subject.name,
        uid: &view.subject.uid,
        open: view.incident.as_ref(),
        ended: &view.ended,
    };
    policies(view, segments)
        .filter_map(|(_, policy)| policy)
        .try_for_each(|policy| limits::check(policy, fleet, own, is_forced, now))
}

/// Every policy's windows must be open.
fn in_window(view: &View, segments: &[Segment], now: Timestamp) -> Result<(), Held> {
    for policy in policies(view, segments).filter_map(|(_, policy)| policy) {
        let name = &policy.name;
        let (message, until) = match windows::shut(&policy.spec.windows, now) {
            Ok(None) => continue,
            Ok(Some(Shut { until: Some(until) })) => {
                (format!("the windows of RemediationPolicy {name} open at {until}"), Some(until))
            }
            Ok(Some(Shut { until: None })) => (
                format!(
                    "the windows of RemediationPolicy {name} never open: change its spec.windows"
                ),
                None,
            ),
            Err(unusable) => (format!("RemediationPolicy {name}: {unusable}"), None),
        };
        return Err(Held { reason: "OutsideWindow", message, until });
    }
    Ok(())
}

fn cooldown(view: &View, segments: &[Segment], now: Timestamp) -> Result<(), Held> {
    let wait = policies(view, segments)
        .filter_map(|(_, policy)| policy?.spec.cooldown)
        .max()
        .unwrap_or(Span::ZERO);
    let Some(ended) = view.last_resolved().and_then(|last| last.ended_at) else { return Ok(()) };
    let until = wait.after(ended);
    if until <= now {
        return Ok(());
    }
    let message = format!("the last Incident was resolved less than {wait} ago");
    Err(Held { reason: "Cooldown", message, until: Some(until) })
}
