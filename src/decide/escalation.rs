//! When a person is called though work goes on, and what they read.
//!
//! Knows: the clocks of an open Incident and of a check that stays Unknown, and what to do about each
//! cause. Must not know: what
//! is written of it; that is the record's.

use jiff::Timestamp;

use crate::{
    api::{
        condition::{ConditionType, Conditions},
        contract::{Check, CheckResult},
        incident::Cause,
        policy::Escalation,
    },
    domain::{Span, text},
};

use super::{
    episode, select,
    view::{OpenIncident, View},
};

const UNMITIGATED_AFTER: Span = Span::mins(5);
const UNRESOLVED_AFTER: Span = Span::mins(24 * 60);
const UNKNOWN_AFTER: Span = Span::mins(15);
pub(super) const REPEAT_EVERY: Span = Span::mins(4 * 60);
/// However often somebody wants to hear it.
const REPEAT_AT_MOST_EVERY: Span = Span::mins(1);

/// The clock that runs out first.
pub(super) struct Clock {
    /// When.
    pub(super) at: Timestamp,
    /// What it means that it has.
    pub(super) why: String,
}

/// The clocks of `incident`, whose conditions are these.
pub(super) fn clock(view: &View, incident: &OpenIncident, conditions: &Conditions) -> Clock {
    let escalation = terms(view, incident);
    let series = incident.status.series.as_ref().map(|series| series.since.0);
    let opened = series.unwrap_or(incident.spec.opened_at.0);
    let patience = escalation.unresolved_after.unwrap_or(UNRESOLVED_AFTER);
    let mut first = (patience.after(opened), patience, "the assigned document has not passed");
    if !conditions.is_true(ConditionType::Mitigated) {
        let patience = escalation.unmitigated_after.unwrap_or(UNMITIGATED_AFTER);
        // After a relapse it begins anew.
        let relapsed = conditions.get(ConditionType::Mitigated);
        let since =
            relapsed.map_or(opened, |condition| condition.last_transition_time.0.max(opened));
        first = first.min((patience.after(since), patience, "no good document was served"));
    }
    let (at, patience, what) = first;
    let held = conditions.get(ConditionType::Held).filter(|held| held.status == "True");
    let held = held.map_or_else(String::new, |held| format!("; held: {}", held.message));
    Clock { at, why: format!("{what} for {patience}{held}") }
}

fn terms(view: &View, incident: &OpenIncident) -> Escalation {
    let policy = select::governing(&view.policies, &incident.spec.plan);
    policy.and_then(|policy| policy.spec.escalation.clone()).unwrap_or_default()
}

/// How often a person is called because of `incident`.
pub(super) fn repeats(view: &View, incident: &OpenIncident) -> Span {
    repeat_every(Some(&terms(view, incident)))
}

/// How often a person is called by these terms.
pub(super) fn repeat_every(terms: Option<&Escalation>) -> Span {
    let given = terms.and_then(|terms| terms.repeat_every);
    given.unwrap_or(REPEAT_EVERY).max(REPEAT_AT_MOST_EVERY)
}

/// A check that is Unknown, and when a person is called because of it.
pub(super) struct Unknown<'a> {
    /// The check.
    pub(super) check: &'a Check,
    /// When a person is called.
    pub(super) at: Timestamp,
    /// How often.
    pub(super) repeat_every: Span,
    /// Does an Incident about what several contracts share call, and not the contract?
    pub(super) is_spoken_for: bool,
    patience: Span,
}

impl Unknown<'_> {
    /// What it means, for people.
    pub(super) fn message(&self) -> String {
        let Check { rule, message, host, .. } = self.check;
        let who = if self.is_spoken_for {
            format!(
                "; a person is called for all contracts at once, by the Incident about host/{host}, \
                 or about egress while no host can be reached"
            )
        } else {
            String::new()
        };
        let what = format!(
            "rule {rule} could not be checked for {}: {message}; nothing is repaired because of it, \
             and what is served stays served",
            self.patience
        );
        format!("{}{who}", text::bounded(&what, text::MESSAGE_MAX.saturating_sub(who.len())))
    }

    /// When a person who was called at `last` is called again.
    pub(super) fn again_at(&self, last: Timestamp) -> Timestamp {
        self.repeat_every.after(last)
    }
}

/// The checks that are Unknown and matter, each with its clock as its policy counts. Unknown opens no
/// Incident of the contract, so it is the contract that says it, but for what others share with it.
pub(super) fn unknown<'a>(
    view: &'a View,
    checks: &'a [Check],
) -> impl Iterator<Item = Unknown<'a>> {
    let unknown = checks.iter().filter(|check| {
        !view.effective.suspend
            && check.result == CheckResult::Unknown
            && episode::is_of_interest(view, &check.rule, check.severity, &[], None)
    });
    unknown.map(|check| {
        let failure = episode::failure(view, &check.rule, check.severity, &[], None);
        let choice = select::choose(&view.policies, view.effective.policy.as_deref(), &failure);
        let terms = choice.winner.and_then(|policy| policy.spec.escalation.clone());
        let terms = terms.unwrap_or_default();
        let patience = terms.unknown_after.unwrap_or(UNKNOWN_AFTER);
        Unknown {
            check,
            at: patience.after(check.since.0),
            repeat_every: repeat_every(Some(&terms)),
            is_spoken_for: !check.host.is_empty() && !view.each_calls,
            patience,
        }
    })
}

/// What went wrong and what to do about it: the advice is never cut.
pub(super) fn advised(why: &str, cause: Cause) -> String {
    let advice = match cause {
        Cause::DocumentChanged | Cause::NeverValid => {
            "mend the document, or give its policy a step that can"
        }
        Cause::RuleChanged => "mend the document, or take the change of its rules back",
        Cause::SchemaChanged => {
            "take the change of the schema back, mend the documents, or accept it with annotation \
             kintsugi.dev/accept-schema"
        }
        Cause::AssetMissing => {
            "bring the asset back, point the document at another, or give fallbackAssets"
        }
        Cause::Stale => "publish a fresh document, and see why its source stopped",
        Cause::SourceInvalid => {
            "mend what the source answers with; status.diagnosis says what is wrong with it"
        }
        Cause::SourceDown => "bring the source back; status.diagnosis says what is wrong with it",
        Cause::Storm => {
            "look for what they share; their policy repairs nothing until fewer are in trouble, or \
             its spec.storm.maxUnhealthy is raised"
        }
        Cause::AssetHostDown => {
            "bring the host back, its name in the DNS and its certificate included, or point the \
             documents at another"
        }
        Cause::EgressBroken => {
            "mend the network, the DNS or the proxy of this operator, and look at its NetworkPolicy"
        }
        Cause::Overwritten => {
            "take the right to write the key from whoever does, or serve elsewhere"
        }
    };
    let room = text::MESSAGE_MAX.saturating_sub(advice.len() + 2);
    format!("{}; {advice}", text::bounded(why, room))
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    #[test]
    fn whoever_is_called_reads_what_to_do_next_however_much_was_tried() {
        let twenty: Vec<String> =
            (0..20).map(|n| format!("step-{n}: nothing fits /é/{n}")).collect();
        let mut advice = std::collections::BTreeSet::new();
        for cause in Cause::iter() {
            let (short, long) = (advised("it fails", cause), advised(&twenty.join("; "), cause));
            let (_, what_to_do) = short.split_once("it fails; ").unwrap();
            assert!(long.starts_with("step-0: ") && long.ends_with(what_to_do), "{long}");
            assert!(long.len() <= text::MESSAGE_MAX && long.contains('…'), "{long}");
            advice.insert(what_to_do.to_owned());
        }
        assert!(advice.len() >= 6, "by cause: {advice:?}");
    }
}
