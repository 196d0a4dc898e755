//! What is seen around a workload that is down, as evidence: resource limits, `NetworkPolicies`,
//! Warning Events, logs.
//!
//! It is gathered only for a source that is known to be in trouble, when an attempt is told of, and
//! explains that trouble: the cause is settled by [`super::diagnose`] before. Only one of them says
//! by itself that something is broken: a `NetworkPolicy` in front of pods that are ready and that the
//! operator cannot connect to.

pub mod log;

use jiff::Timestamp;

use crate::{
    api::{
        condition::whole_seconds,
        contract::CheckResult,
        incident::{Diagnosis, Evidence, SourceCheck},
    },
    domain::{
        ContainerLimits, Doubt, DoubtReason, Fact, LogPattern, ScannedLog, SourceState, Span,
        Symptoms, Warning, text,
    },
};

use super::{
    diagnose::{self, in_part},
    view::{Need, View},
};

/// How long ago a warning may have been seen to count.
const RECENT: Span = Span::mins(60);
/// Most reasons, patterns, containers and policies that are named.
const NAMED: usize = 5;

/// What is still to be gathered before the trouble of the source can be told.
#[must_use]
pub fn lack(view: &View) -> Option<Need> {
    let source = view.effective.source.as_ref()?;
    let Some(state) = &view.state else {
        let is_inside = source.workload_ref.is_some() || source.service_ref.is_some();
        let is_silent = matches!(view.source, Some(Err(_)));
        return (is_inside && is_silent).then_some(Need::State);
    };
    let is_broken = diagnose::is_broken(state, view.source.as_ref());
    (is_broken && source.workload_ref.is_some() && view.symptoms.is_none())
        .then_some(Need::Symptoms)
}

/// The diagnosis of a source, with what is seen around its workload where it is down.
#[must_use]
pub fn explain<T>(
    mut diagnosis: Diagnosis,
    state: &SourceState,
    answer: Option<&Result<T, Doubt>>,
    symptoms: Option<&Symptoms>,
    now: Timestamp,
) -> Diagnosis {
    let Some(Symptoms { limits, shields, warnings, log, unseen }) = symptoms else {
        return diagnosis;
    };
    let mut found = |check, (result, message): (CheckResult, String)| {
        diagnosis.evidence.push(Evidence { check, result, message: text::message(&message) });
    };
    found(SourceCheck::Limits, told(limits, |limits| of_limits(limits, state)));
    let of_them = told(shields, |names| of_shields(names, state, answer));
    found(SourceCheck::NetworkPolicies, in_part(unseen.policies, "NetworkPolicies", of_them));
    let of_them = told(warnings, |warnings| of_warnings(warnings, now));
    let of_them = in_part(unseen.events, "Events", of_them);
    found(SourceCheck::Events, in_part(unseen.pods, "pods", of_them));
    found(SourceCheck::Logs, in_part(unseen.pods, "pods", told(log, of_log)));
    diagnosis
}

fn told<T>(
    fact: &Fact<T>,
    tell: impl FnOnce(&T) -> (CheckResult, String),
) -> (CheckResult, String) {
    match fact {
        Ok(fact) => tell(fact),
        Err(why) => (CheckResult::Unknown, why.clone()),
    }
}

fn of_limits(limits: &[ContainerLimits], state: &SourceState) -> (CheckResult, String) {
    let mut pods = state.pods.iter().flatten().flatten();
    let killed = pods.find(|fault| fault.reason == "OOMKilled");
    let limit = |what: &str, limit: &Option<String>| match limit {
        Some(limit) => format!("{what} {limit}"),
        None => format!("{what} without limit"),
    };
    let of_one = |of: &ContainerLimits| {
        let (memory, cpu) = (limit("memory", &of.memory), limit("cpu", &of.cpu));
        format!("container {}: {memory}, {cpu}", of.container)
    };
    let all = named(limits.iter().map(of_one).collect());
    match killed {
        None => (CheckResult::Pass, all),
        Some(fault) => (CheckResult::Fail, format!("Pod {} is OOMKilled under {all}", fault.pod)),
    }
}

fn of_shields<T>(
    names: &[String],
    state: &SourceState,
    answer: Option<&Result<T, Doubt>>,
) -> (CheckResult, String) {
    if names.is_empty() {
        return (CheckResult::Pass, "no NetworkPolicy keeps anybody from its pods".to_owned());
    }
    let all = format!("its pods are behind NetworkPolicy {}", named(names.to_vec()));
    let is_ready = matches!(state.endpoints, Some(Ok(_)));
    match answer {
        Some(Ok(_)) => (CheckResult::Pass, format!("{all}, which lets the operator in")),
        Some(Err(doubt)) if is_ready && doubt.reason == DoubtReason::ConnectionFailed => (
            CheckResult::Fail,
            format!(
                "network policy: {all}, they are ready, and the operator cannot connect to them"
            ),
        ),
        Some(Err(_)) | None => {
            (CheckResult::Unknown, format!("{all}; whether it lets the operator in is not known"))
        }
    }
}

fn of_warnings(warnings: &[Warning], now: Timestamp) -> (CheckResult, String) {
    let is_recent = |warning: &&Warning| RECENT.after(warning.last) > now;
    let mut recent: Vec<&Warning> = warnings.iter().filter(is_recent).collect();
    if recent.is_empty() {
        return (CheckResult::Pass, format!("the cluster warned of nothing within {RECENT}"));
    }
    recent.sort_by(|a, b| (b.last, &a.reason).cmp(&(a.last, &b.reason)));
    let tell = |warning: &&Warning| {
        format!("{} {}, last at {}", warning.reason, times(warning.times), second(warning.last))
    };
    (CheckResult::Fail, named(recent.iter().map(tell).collect()))
}

fn of_log(log: &ScannedLog) -> (CheckResult, String) {
    let ScannedLog { pod, container, lines, found } = log;
    let of = format!("the last {lines} lines of container {container} in Pod {pod}");
    if found.is_empty() {
        return (CheckResult::Pass, format!("{of} show no known trouble"));
    }
    let tell = |pattern: &LogPattern| {
        let last = pattern.last.map(|at| format!(", last at {}", second(at)));
        format!("{} {}{}", pattern.name, times(pattern.lines), last.unwrap_or_default())
    };
    (CheckResult::Fail, format!("{of}: {}", named(found.iter().map(tell).collect())))
}

fn times(times: u32) -> String {
    if times == 1 { "once".to_owned() } else { format!("{times} times") }
}

fn second(at: Timestamp) -> Timestamp {
    whole_seconds(at)
}

/// The first few, and how many more there are.
fn named(mut all: Vec<String>) -> String {
    let more = all.len().saturating_sub(NAMED);
    all.truncate(NAMED);
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    format!("{}{more}", all.join("; "))
}

#[cfg(test)]
mod tests;
