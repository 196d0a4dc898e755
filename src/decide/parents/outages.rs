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
    domain::{Heard, LATELY, Span},
};

use super::{
    Common, Family, all_about, is_closed,
    members::{Members, most_frequent},
    open_about,
};
use crate::decide::{escalation::REPEAT_EVERY, hosts, silence::Silence, view::sooner};

/// Once it is us no more, what contracts know of a host may be of before: they look again within the first
/// half of this, and no host is called to account until they have.
const SETTLES: Span = Span::secs(30);
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
    let again = egress.as_ref().map(|_| hosts::AGAIN.after(now));
    let settled = settled(family).filter(|settled| *settled > now);
    // Of what nobody here can reach nothing is known: what is said of a host already stays said.
    let is_said_to_be_us = open_about(family, &About::Egress(Egress {})).is_some();
    let is_them = egress.is_none() && !is_said_to_be_us && settled.is_none();
    let hosts = by_host.into_iter().filter_map(|(name, waiting)| {
        let common = host(name, &waiting)?;
        Some(Common { holds: common.holds && is_them, ..common })
    });
    (hosts.chain(egress).collect(), sooner(settled, again))
}

/// When all contracts have looked again, after it was us.
fn settled(family: &Family) -> Option<Timestamp> {
    let ours = all_about(family, &About::Egress(Egress {}));
    let over = ours.filter_map(|parent| parent.incident.status.resolved_at.as_ref());
    over.map(|over| SETTLES.after(over.0)).max()
}

/// Who looks again when an Incident of this cause is over, and after how long.
pub(super) fn look_again(family: &Family, cause: Cause) -> Vec<(Arc<str>, Span)> {
    if cause != Cause::EgressBroken {
        return Vec::new();
    }
    let half = SETTLES.times(0.5, SETTLES);
    let waiting = family.silences.iter().map(|(contract, _)| contract);
    waiting.map(|contract| (Arc::clone(contract), half.spread(contract))).collect()
}

/// Is it the network of this operator? It stays so until one host was reached: between two looks none
/// was asked lately.
fn is_us(family: &Family, egress: &Common<'_>) -> bool {
    let answered = |heard: &Heard| heard.answered && heard.ago <= LATELY;
    let is_said = || open_about(family, &egress.about).is_some() || is_closed(family, egress);
    hosts::unreachable(&family.heard).is_some() || (!family.heard.iter().any(answered) && is_said())
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
