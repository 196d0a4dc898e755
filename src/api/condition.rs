//! Condition types, and the one way to write a condition.
//!
//! Positive polarity, but for `Reconciling` and `Stalled`, which exist only while they are true
//! (kstatus), and `Paused`, `Escalated`, `Held`, which name a state that a person should notice.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::domain::{Span, text};

/// The conditions that we set, on any of our kinds.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::AsRefStr, strum::Display,
)]
pub enum ConditionType {
    /// Contract: served, and served is what was asked for.
    Ready,
    /// Contract: the assigned document passes every Critical rule.
    Valid,
    /// Contract: a document is served.
    Serving,
    /// Contract: what is served was seen at the edge; only with a probe.
    Delivered,
    /// Contract, policy: somebody asked us to keep still.
    Paused,
    /// Contract: what a person pinned is served; exists only while there is the annotation.
    Pinned,
    /// Policy: another one matches the same failures as well as it does; exists only while true.
    Conflicted,
    /// Work is under way; exists only while true.
    Reconciling,
    /// Nothing will move without a person; exists only while true.
    Stalled,
    /// Incident: the cause is named.
    Diagnosed,
    /// Incident: there is a plan.
    Planned,
    /// Incident: the plan may run.
    Approved,
    /// Incident: a step is under way.
    Remediating,
    /// Incident: what is served after the last effect passed again.
    Verified,
    /// Incident: a good document is served.
    Mitigated,
    /// Incident: the assigned document is good, too.
    Resolved,
    /// Incident: automation has nothing left; a person is needed. Contract: a check has stayed
    /// Unknown for too long; exists only while true.
    Escalated,
    /// Incident: a gate is shut.
    Held,
}

/// A sorted list of conditions with the rules of writing them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions(Vec<Condition>);

impl Conditions {
    /// The conditions as an object's status has them.
    #[must_use]
    pub fn of(existing: Option<&Vec<Condition>>) -> Self {
        Self(existing.cloned().unwrap_or_default())
    }

    /// The list to store, sorted by type so that equal states are equal bytes.
    #[must_use]
    pub fn into_list(mut self) -> Vec<Condition> {
        self.0.sort_by(|a, b| a.type_.cmp(&b.type_));
        self.0
    }

    /// Sets one condition; `lastTransitionTime` moves only when the status flips.
    pub fn set(
        &mut self,
        type_: ConditionType,
        status: bool,
        reason: &str,
        message: &str,
        generation: i64,
        now: Timestamp,
    ) {
        self.set_status(
            type_,
            if status { "True" } else { "False" },
            reason,
            message,
            generation,
            now,
        );
    }

    /// Sets one condition to `Unknown`.
    pub fn set_unknown(
        &mut self,
        type_: ConditionType,
        reason: &str,
        message: &str,
        generation: i64,
        now: Timestamp,
    ) {
        self.set_status(type_, "Unknown", reason, message, generation, now);
    }

    fn set_status(
        &mut self,
        type_: ConditionType,
        status: &str,
        reason: &str,
        message: &str,
        generation: i64,
        now: Timestamp,
    ) {
        let since = match self.get(type_) {
            Some(old) if old.status == status => old.last_transition_time.clone(),
            _ => Time(whole_seconds(now)),
        };
        let condition = Condition {
            type_: type_.to_string(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: text::message(message),
            observed_generation: Some(generation),
            last_transition_time: since,
        };
        self.remove(type_);
        self.0.push(condition);
    }

    /// Takes a condition away: the way of those that exist only while true.
    pub fn remove(&mut self, type_: ConditionType) {
        self.0.retain(|condition| condition.type_ != type_.as_ref());
    }

    /// The condition of that type.
    #[must_use]
    pub fn get(&self, type_: ConditionType) -> Option<&Condition> {
        self.0.iter().find(|condition| condition.type_ == type_.as_ref())
    }

    /// Is it there and true?
    #[must_use]
    pub fn is_true(&self, type_: ConditionType) -> bool {
        self.get(type_).is_some_and(|condition| condition.status == "True")
    }
}

/// Kubernetes stores times by the second; writing more would make every read differ from it.
#[must_use]
pub fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The same rounded up: what is stored of a time that is waited for is never too early.
#[must_use]
pub fn whole_seconds_up(at: Timestamp) -> Timestamp {
    whole_seconds(Span::millis(999).after(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_when_the_status_flips() {
        let (t1, t2) = (Timestamp::from_second(100).unwrap(), Timestamp::from_second(200).unwrap());
        let mut conditions = Conditions::default();
        conditions.set(ConditionType::Ready, true, "Assigned", "served", 1, t1);
        conditions.set(ConditionType::Ready, true, "Repaired", "repaired", 2, t2);
        let kept = conditions.get(ConditionType::Ready).unwrap();
        assert_eq!((kept.last_transition_time.0, kept.observed_generation), (t1, Some(2)));
        conditions.set(ConditionType::Ready, false, "None", "nothing", 2, t2);
        assert_eq!(conditions.get(ConditionType::Ready).unwrap().last_transition_time.0, t2);
    }
}
