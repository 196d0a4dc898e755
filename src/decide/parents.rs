//! Incidents about what several contracts have in common: a storm of one policy's contracts, a
//! schema that good documents fail, or a host that gives no answer. They call a person once instead of
//! once for each contract; what holds the contracts' own repairs is their gates, which need no such
//! Incident.
//!
//! ```text
//! in common            open Incident about it   what happens
//! yes                  none                     open it, unless a person closed the last about this
//! yes                  one                      Escalated; a person is called, and again for as long
//! no                   one                      Resolved
//! any                  one, closed by a person  Resolved
//! ```
//!
//! All of it follows from the Incidents that are there, and from the checks in the status of contracts:
//! a crash loses nothing and opens nothing twice.

mod members;
mod outages;

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        condition::{ConditionType, whole_seconds},
        incident::{About, Cause, Incident, IncidentSpec, IncidentStatus, State},
        refs::LocalRef,
    },
    domain::{Digest, Heard, Span, text},
};

use self::members::{Members, places, rules};
use super::{
    episode,
    escalation::{self, REPEAT_EVERY},
    fleet::Trouble,
    gates::{self, SCHEMA_HELD},
    limits::{self, STORM},
    moves::Move,
    record::Record,
    select::Policy,
    signal::Signal,
    silence::Silence,
    view::{OpenIncident, sooner},
};

/// Incidents that are over and are kept of each thing in common.
const KEPT: usize = 5;
/// The same of all hosts together.
const HOSTS_KEPT: usize = 50;
const KEPT_FOR: Span = Span::mins(168 * 60);
/// Of the name of what is in common, as part of an Incident's name.
const NAME_MAX: usize = 40;

/// What is known of one namespace.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// Its policies, each with how many contracts it is for.
    pub policies: Vec<(Policy, usize)>,
    /// The Incidents of contracts, those that are over included.
    pub troubles: Vec<Arc<Trouble>>,
    /// Those that are open.
    pub open: Vec<Arc<Incident>>,
    /// The Incidents about what they have in common, those that are over included.
    pub parents: Vec<Parent>,
    /// By contract, what it has to say of hosts that give it no answer.
    pub silences: Vec<(Arc<str>, Arc<[Silence]>)>,
    /// What came of asking each host last, in any namespace.
    pub heard: Vec<Heard>,
    /// How long ago one was reached after none could be.
    pub reached_again: Option<Span>,
}

/// An Incident about what several contracts have in common.
#[derive(Clone, Debug)]
pub struct Parent {
    /// Its UID.
    pub uid: String,
    /// The rest of it.
    pub incident: OpenIncident,
}

/// One write.
#[derive(Debug)]
pub enum Act {
    /// Open an Incident, which ends with `owner` where that is an object with an end.
    Open {
        /// Its name.
        name: String,
        /// Its spec.
        spec: Box<IncidentSpec>,
        /// What it is about.
        owner: About,
    },
    /// Write down what was seen.
    Record {
        /// The Incident as it was seen.
        parent: Box<Parent>,
        /// Its new status.
        status: Box<IncidentStatus>,
        /// What to say about it.
        signals: Vec<Signal>,
        /// The contracts that look again because of it, each after so long: what is known of them may be
        /// over, too.
        look_again: Vec<(Arc<str>, Span)>,
    },
    /// Delete one that is over and not kept any more.
    Forget(Box<Parent>),
}

/// What several contracts have in common now.
struct Common<'a> {
    about: About,
    cause: Cause,
    /// Since when without a break.
    since: Timestamp,
    why: String,
    members: Members<'a>,
    /// Is anything held because of it? A person is not called for what concerns nobody.
    holds: bool,
    repeat_every: Span,
}

/// What to write, and when to look again.
#[must_use]
pub fn next(family: &Family, now: Timestamp) -> (Vec<Act>, Option<Timestamp>) {
    let (storms, mut due) = storms(family, now);
    let (outages, outages_due) = outages::of(family, now);
    due = sooner(due, outages_due);
    // What makes room goes first.
    let (surplus, expiry) = surplus(family, now);
    let mut acts: Vec<Act> =
        surplus.into_iter().map(|parent| Act::Forget(Box::new(parent.clone()))).collect();
    let all: Vec<Common<'_>> = storms.into_iter().chain(schemas(family)).chain(outages).collect();
    for common in &all {
        if common.holds
            && open_about(family, &common.about).is_none()
            && !is_closed(family, common)
            && let Some(act) = open(family, common, now)
        {
            acts.push(act);
        }
    }
    for parent in family.parents.iter().filter(|parent| !is_over(parent)) {
        let about = parent.incident.spec.about.as_ref();
        let common = all.iter().find(|common| Some(&common.about) == about);
        let (act, at) = go_on(family, parent, common, now);
        acts.extend(act);
        due = sooner(due, at);
    }
    (acts, sooner(due, expiry))
}

fn storms(family: &Family, now: Timestamp) -> (Vec<Common<'_>>, Option<Timestamp>) {
    let (mut storms, mut due) = (Vec::new(), None);
    for (policy, matched) in &family.policies {
        let own = family.troubles.iter().filter(|trouble| trouble.is_of(&policy.name));
        let spans = limits::spans(policy, own.map(|trouble| &**trouble), None);
        let Some(storm) = limits::storm_of(policy, *matched, spans.into_iter(), now) else {
            continue;
        };
        due = sooner(due, storm.look_at);
        let is_of = |open: &&Arc<Incident>| {
            let mut named = open.spec.plan.iter().filter_map(|segment| segment.policy_ref.as_ref());
            named.any(|named| named.name == policy.name)
        };
        let members: Vec<&Incident> =
            family.open.iter().filter(is_of).map(|open| &**open).collect();
        storms.push(Common {
            about: About::Policy(LocalRef { name: policy.name.clone() }),
            cause: Cause::Storm,
            since: storm.since,
            why: storm.why(policy),
            holds: members.iter().any(|open| limits::is_storm(waiting(open))),
            members: Members::Incidents(members.into_iter().map(|open| &open.spec).collect()),
            repeat_every: escalation::repeat_every(policy.spec.escalation.as_ref()),
        });
    }
    (storms, due)
}

fn schemas(family: &Family) -> impl Iterator<Item = Common<'_>> {
    let mut blamed: BTreeMap<&About, Vec<&Incident>> = BTreeMap::new();
    // Those whose schema a person has accepted are held no more, and are repaired.
    for open in family.open.iter().filter(|open| gates::may_blame(waiting(open))) {
        if let Some(about) = &open.spec.blames {
            blamed.entry(about).or_default().push(open);
        }
    }
    blamed.into_iter().map(|(about, members)| Common {
        about: about.clone(),
        cause: Cause::SchemaChanged,
        // A contract that blames it anew is news, whoever has blamed it for long.
        since: members.iter().map(|open| open.spec.opened_at.0).max().unwrap_or(Timestamp::MAX),
        why: match members.len() {
            1 => "the last good document of 1 contract fails the schema, too".to_owned(),
            many => format!("the last good documents of {many} contracts fail the schema, too"),
        },
        holds: members.iter().any(|open| waiting(open) == SCHEMA_HELD),
        members: Members::Incidents(members.into_iter().map(|open| &open.spec).collect()),
        repeat_every: REPEAT_EVERY,
    })
}

fn waiting(open: &Incident) -> &str {
    open.status.as_ref().map_or("", |status| &status.waiting)
}

fn is_over(parent: &Parent) -> bool {
    parent.incident.status.is_over()
}

fn all_about<'a>(family: &'a Family, about: &'a About) -> impl Iterator<Item = &'a Parent> {
    family.parents.iter().filter(move |parent| parent.incident.spec.about.as_ref() == Some(about))
}

fn open_about<'a>(family: &'a Family, about: &'a About) -> Option<&'a Parent> {
    all_about(family, about).find(|parent| !is_over(parent))
}

/// Did a person close the last Incident about this, and nothing has changed since?
fn is_closed(family: &Family, common: &Common<'_>) -> bool {
    let last = all_about(family, &common.about).max_by_key(|p| p.incident.spec.ordinal);
    let Some(last) = last.filter(|last| last.incident.spec.close) else { return false };
    last.incident.status.resolved_at.as_ref().is_some_and(|closed| common.since <= closed.0)
}

fn open(family: &Family, common: &Common<'_>, now: Timestamp) -> Option<Act> {
    let severity = common.members.severity()?;
    let last = all_about(family, &common.about).map(|parent| parent.incident.spec.ordinal).max();
    let ordinal = last.unwrap_or(0).saturating_add(1);
    let policies = match &common.about {
        About::Policy(policy) => policy.name.clone(),
        About::Class(_) | About::Schema(_) | About::Host(_) | About::Egress(_) => String::new(),
    };
    let subject = common.about.to_string();
    let digest = Digest::of_bytes(subject.as_bytes());
    let spec = IncidentSpec {
        subject: text::bounded(&subject, 320),
        contract_name: String::new(),
        contract_uid: String::new(),
        about: Some(common.about.clone()),
        blames: None,
        widget: String::new(),
        ordinal,
        document_digest: digest.clone(),
        fingerprint: digest,
        rules_summary: text::bounded(&rules(&common.members), 255),
        violations: places(&common.members),
        severity,
        cause: common.cause,
        plan: Vec::new(),
        intent: None,
        policies_summary: policies,
        traceparent: None,
        opened_at: Time(whole_seconds(now)),
        approval: None,
        close: false,
        undo: None,
    };
    let name = name(&common.about, ordinal);
    Some(Act::Open { name, spec: Box::new(spec), owner: common.about.clone() })
}

/// `<kind>-<what>-<10 hex>`: a restart cannot open the same one twice.
fn name(about: &About, ordinal: u32) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let plain = about.to_string().replace(|c: char| !is_plain(c), "-");
    let cut: String = plain.chars().take(NAME_MAX).collect();
    episode::name(cut.trim_end_matches('-'), &about.to_string(), ordinal)
}

fn go_on(
    family: &Family,
    parent: &Parent,
    common: Option<&Common<'_>>,
    now: Timestamp,
) -> (Option<Act>, Option<Timestamp>) {
    let incident = &parent.incident;
    let mut record = Record::of(incident, incident.spec.document_digest.clone(), now);
    let cause = incident.spec.cause;
    match common {
        _ if incident.spec.close => {
            record.over(State::Resolved, "ClosedByPerson", "a person closed it");
        }
        None => record.over(State::Resolved, "Recovered", over(incident)),
        Some(common) => {
            let why = match common.members.shared_most() {
                Some(place) => format!("{}; {place}", common.why),
                None => common.why.clone(),
            };
            let held = held_by(cause);
            if let Some(held) = held {
                record.set(ConditionType::Held, true, held, &why);
            }
            record.waits_for("Person");
            record.call_for(held.unwrap_or(cause.as_ref()), &why, common.repeat_every);
        }
    }
    match record.done() {
        (Move::Record { status, signals, .. }, at) => {
            let is_over = status.is_over();
            let look_again = if is_over { outages::look_again(family, cause) } else { Vec::new() };
            let parent = Box::new(parent.clone());
            (Some(Act::Record { parent, status, signals, look_again }), at)
        }
        (_, at) => (None, at),
    }
}

/// Why the repairs of its contracts are held; where what they have is Unknown, there are none.
fn held_by(cause: Cause) -> Option<&'static str> {
    match cause {
        Cause::AssetHostDown | Cause::EgressBroken => None,
        Cause::Storm => Some(STORM),
        _ => Some(SCHEMA_HELD),
    }
}

fn over(incident: &OpenIncident) -> &'static str {
    match incident.spec.cause {
        Cause::AssetHostDown => "no check waits for an answer of the host any more",
        Cause::EgressBroken => "hosts can be reached again, or no check waits for one any more",
        Cause::Storm => "the storm is over, and repairs go on",
        _ => "no good document fails the schema any more",
    }
}

/// Those that are not kept any more, and when the next one will not be.
fn surplus(family: &Family, now: Timestamp) -> (Vec<&Parent>, Option<Timestamp>) {
    let mut over: Vec<&Parent> = family.parents.iter().filter(|parent| is_over(parent)).collect();
    over.sort_by_key(|parent| Reverse(parent.incident.spec.ordinal));
    let (mut kept, mut surplus, mut next) = (BTreeMap::new(), Vec::new(), None);
    let mut hosts = Vec::new();
    for parent in over {
        let nth = kept.entry(&parent.incident.spec.about).or_insert(0_usize);
        *nth += 1;
        let ended = parent.incident.status.resolved_at.as_ref().map_or(now, |at| at.0);
        let until = KEPT_FOR.after(ended);
        // The newest is kept for its number and for a person's having closed it, as long as what it
        // is about; nothing says when a schema or a host is not used any more.
        let about = parent.incident.spec.about.as_ref();
        let ends = *nth > 1 || !about.is_some_and(ends_by_itself);
        if *nth > KEPT || (ends && until <= now) {
            surplus.push(parent);
            continue;
        }
        if ends {
            next = sooner(next, Some(until));
        }
        if matches!(about, Some(About::Host(_))) {
            hosts.push(parent);
        }
    }
    // Documents name any number of hosts, one after the other.
    hosts.sort_by_key(|parent| Reverse(parent.incident.status.resolved_at.as_ref().map(|at| at.0)));
    surplus.extend(hosts.into_iter().skip(HOSTS_KEPT));
    (surplus, next)
}

/// Is it an object, with which its Incidents end?
fn ends_by_itself(about: &About) -> bool {
    match about {
        About::Policy(_) | About::Class(_) => true,
        About::Schema(_) | About::Host(_) | About::Egress(_) => false,
    }
}

#[cfg(test)]
mod tests;
