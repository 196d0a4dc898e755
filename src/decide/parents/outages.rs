//! Outages: hosts that give no answer for longer than the policies of those who need them wait.
//!
//! ```text
//! hosts that were asked lately          what is said
//! one could be reached, or only one     an Incident about each host that a check waits for
//!   was asked
//! several, and none could be reached    one Incident about the operator's own network
//! none, as between two looks            what was said last
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    api::{
        condition::whole_seconds,
        incident::{About, Cause, Egress, HostRef},
    },
    domain::{Heard, LATELY, Span, unreachable},
};

use super::{
    Common, Family, all_about, is_closed,
    members::{Members, most_frequent},
    open_about,
};
use crate::decide::{escalation::REPEAT_EVERY, hosts::AGAIN, silence::Silence, view::sooner};

/// Once it is us no more, what is known of a host may be of before, or of a request that had left before:
/// all contracts look again, but not sooner than after this, and spread over as long again.
const SETTLES: Span = Span::secs(15);
/// What nobody has asked for so long since is called to account by what is known of it.
const SETTLES_AT_MOST: Span = Span::mins(10);
/// Contracts whose names an Incident shows.
const NAMES_SHOWN: usize = 3;

/// A check that is Unknown, and whose it is.
type Waiting<'a> = (&'a str, &'a Silence);

/// What the contracts have in common that wait for hosts, and when to look again.
pub(super) fn of(family: &Family, now: Timestamp) -> (Vec<Common<'_>>, Option<Timestamp>) {
    let mut by_host: BTreeMap<&str, Vec<Waiting<'_>>> = BTreeMap::new();
    for (contract, silences) in &family.silences {
        for silence in silences.iter() {
            by_host.entry(&silence.host).or_default().push((contract, silence));
        }
    }
    let all: Vec<Waiting<'_>> = by_host.values().flatten().copied().collect();
    let egress = egress(&all).filter(|egress| is_us(family, egress));
    // It may be seen in another namespace that it is us no more.
    let again = egress.as_ref().map(|_| AGAIN.after(now));
    let was_us = was_us_until(family, now).filter(|until| SETTLES_AT_MOST.after(*until) > now);
    // Of what nobody here can reach nothing is known: what is said of a host already stays said.
    let is_said_to_be_us = open_about(family, &About::Egress(Egress {})).is_some();
    let may_be_us = egress.is_some() || is_said_to_be_us;
    let mut settles = false;
    let hosts = by_host.into_iter().filter_map(|(name, waiting)| {
        let common = host(name, &waiting)?;
        let is_known = was_us.is_none_or(|until| is_silent_since(family, name, until, now));
        settles |= common.holds && !is_known;
        Some(Common { holds: common.holds && !may_be_us && is_known, ..common })
    });
    let all = hosts.chain(egress).collect();
    (all, sooner(again, settles.then(|| AGAIN.after(now))))
}

/// When it was us last, as far as Incidents tell, and this process has seen: a person may have closed the
/// Incident long before.
fn was_us_until(family: &Family, now: Timestamp) -> Option<Timestamp> {
    let ours = all_about(family, &About::Egress(Egress {}));
    let ours = ours.filter_map(|parent| Some(parent.incident.status.resolved_at.as_ref()?.0));
    ours.chain(family.reached_again.map(|ago| ago.before(now))).max()
}

/// Was the host asked since it was us, until then, and gave no answer?
fn is_silent_since(family: &Family, host: &str, until: Timestamp, now: Timestamp) -> bool {
    let left = SETTLES.after(until);
    let asked_since = |heard: &&Heard| heard.host == host && heard.ago.after(left) <= now;
    family.heard.iter().find(asked_since).is_some_and(|heard| !heard.answered)
}

/// Who looks again when an Incident of this cause is over, and after how long.
pub(super) fn look_again(family: &Family, cause: Cause) -> Vec<(Arc<str>, Span)> {
    if cause != Cause::EgressBroken {
        return Vec::new();
    }
    let waiting = family.silences.iter().map(|(contract, _)| contract);
    let after = |contract: &str| SETTLES.plus(SETTLES.spread(contract));
    waiting.map(|contract| (Arc::clone(contract), after(contract))).collect()
}

/// Is it the network of this operator? It stays so until one host was reached: between two looks none
/// was asked lately.
fn is_us(family: &Family, egress: &Common<'_>) -> bool {
    let answered = |heard: &Heard| heard.answered && heard.ago <= LATELY;
    let is_said = || open_about(family, &egress.about).is_some() || is_closed(family, egress);
    unreachable(&family.heard).is_some() || (!family.heard.iter().any(answered) && is_said())
}

fn egress<'a>(all: &[Waiting<'a>]) -> Option<Common<'a>> {
    let why = "no host that was asked lately can be reached".to_owned();
    common(About::Egress(Egress {}), Cause::EgressBroken, &why, all)
}

fn host<'a>(name: &str, waiting: &[Waiting<'a>]) -> Option<Common<'a>> {
    let reasons = most_frequent(waiting.iter().map(|(_, silence)| &*silence.reason));
    let reasons: Vec<&str> = reasons.into_iter().map(|(reason, _)| reason).collect();
    let why = format!("host {name} gives no answer ({})", reasons.join(", "));
    let about = About::Host(HostRef { name: name.to_owned() });
    common(about, Cause::AssetHostDown, &why, waiting)
}

fn common<'a>(
    about: About,
    cause: Cause,
    what: &str,
    waiting: &[Waiting<'a>],
) -> Option<Common<'a>> {
    let first = waiting.iter().map(|(_, silence)| silence.since).min()?;
    // A check that has become late is news, whichever has waited for long, and whoever closed what was
    // said of that.
    let late = waiting.iter().map(|(_, silence)| *silence).filter(|it| it.call_every.is_some());
    let since = late.map(|silence| silence.since).max().unwrap_or(first);
    let calls = || waiting.iter().filter_map(|(_, silence)| silence.call_every);
    Some(Common {
        about,
        cause,
        since,
        why: format!(
            "{what}: {} cannot be checked, the first since {}; nothing is repaired because of it, and \
             what is served stays served",
            named(waiting),
            whole_seconds(first),
        ),
        members: Members::Silences(waiting.iter().map(|(_, silence)| *silence).collect()),
        holds: calls().next().is_some(),
        repeat_every: calls().min().unwrap_or(REPEAT_EVERY),
    })
}

/// `contract uk`, or `5 contracts, such as a, b, c,`.
fn named(waiting: &[Waiting<'_>]) -> String {
    let names: BTreeSet<&str> = waiting.iter().map(|(contract, _)| *contract).collect();
    let first: Vec<&str> = names.iter().copied().take(NAMES_SHOWN).collect();
    match names.len() {
        1 => format!("contract {}", first.join("")),
        many => format!("{many} contracts, such as {},", first.join(", ")),
    }
}
