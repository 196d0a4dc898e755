//! What is wrong with a source that does not answer: evidence from what was seen of its workload,
//! its pods and its Service. It is reported; what is done about it is its policy's. What is seen around
//! it is told by [`super::symptoms`].

use crate::{
    api::{
        contract::CheckResult,
        incident::{Cause, Diagnosis, Evidence, SourceCheck},
    },
    domain::{Doubt, DoubtReason, PodFault, SourceState, text},
};

use super::busy;

/// Most faulty pods that are named.
const PODS_NAMED: usize = 3;

/// The diagnosis of a source whose answer was this; `otherwise` is the cause where it is well.
#[must_use]
pub fn of<T>(
    state: &SourceState,
    answer: Option<&Result<T, Doubt>>,
    otherwise: Cause,
) -> Diagnosis {
    let mut evidence = Vec::new();
    let mut found = |check, result, message: &str| {
        evidence.push(Evidence { check, result, message: text::message(message) });
    };
    match answer {
        Some(Ok(_)) => found(SourceCheck::Answer, CheckResult::Pass, "it answers with a document"),
        Some(Err(doubt)) if busy::unasked(answer).is_some() => {
            found(SourceCheck::Answer, CheckResult::Unknown, &doubt.message);
        }
        Some(Err(doubt)) => found(SourceCheck::Answer, CheckResult::Fail, &doubt.message),
        None => {}
    }
    match &state.workload {
        None => {}
        Some(Err(why)) => found(SourceCheck::Workload, CheckResult::Unknown, why),
        Some(Ok(workload)) if workload.wanted == 0 => {
            let message = format!("{workload} is scaled to zero");
            found(SourceCheck::Workload, CheckResult::Fail, &message);
        }
        Some(Ok(workload)) => {
            let message = format!("{workload} shall have {} pods", workload.wanted);
            found(SourceCheck::Workload, CheckResult::Pass, &message);
            match workload.rolled_out() {
                Ok(()) => found(SourceCheck::Rollout, CheckResult::Pass, "it is complete"),
                Err(missing) => found(SourceCheck::Rollout, CheckResult::Fail, &missing),
            }
        }
    }
    match &state.pods {
        None => {}
        Some(Err(why)) => found(SourceCheck::Pods, CheckResult::Unknown, why),
        Some(Ok(pods)) => {
            let told = match pods.as_slice() {
                [] => (CheckResult::Pass, "none of its pods is in trouble".to_owned()),
                pods => (CheckResult::Fail, named(pods)),
            };
            let (result, message) = in_part(state.more_pods, "pods", told);
            found(SourceCheck::Pods, result, &message);
        }
    }
    match &state.endpoints {
        None => {}
        Some(Err(why)) => found(SourceCheck::Endpoints, CheckResult::Fail, why),
        Some(Ok(ready)) => {
            let message = format!("its Service has {ready} that are ready");
            found(SourceCheck::Endpoints, CheckResult::Pass, &message);
        }
    }
    let fails = |evidence: &&Evidence| evidence.result == CheckResult::Fail;
    let cause = match evidence.iter().filter(fails).map(|evidence| evidence.check).next_back() {
        None => otherwise,
        Some(SourceCheck::Answer) if is_invalid(answer) => Cause::SourceInvalid,
        Some(_) => Cause::SourceDown,
    };
    Diagnosis { cause, evidence }
}

/// Did it answer, and not with a document?
fn is_invalid<T>(answer: Option<&Result<T, Doubt>>) -> bool {
    let doubt = answer.and_then(|answer| answer.as_ref().err());
    doubt.is_some_and(|doubt| {
        matches!(doubt.reason, DoubtReason::SourceInvalid | DoubtReason::ResponseTooLarge)
    })
}

/// Is anything of the source found to be broken?
#[must_use]
pub fn is_broken<T>(state: &SourceState, answer: Option<&Result<T, Doubt>>) -> bool {
    of(state, answer, Cause::NeverValid).cause != Cause::NeverValid
}

/// What is told of a list that goes on beyond what was looked at: that nothing was found in a part of
/// it does not make it fine.
pub(super) fn in_part(
    is_part: bool,
    of_what: &str,
    (result, message): (CheckResult, String),
) -> (CheckResult, String) {
    if !is_part {
        return (result, message);
    }
    let result = if result == CheckResult::Pass { CheckResult::Unknown } else { result };
    (result, format!("{message}; there are more {of_what} than were looked at"))
}

fn named(pods: &[PodFault]) -> String {
    let name = |fault: &PodFault| format!("Pod {} is {}", fault.pod, fault.reason);
    let named: Vec<String> = pods.iter().take(PODS_NAMED).map(name).collect();
    let more = pods.len().saturating_sub(PODS_NAMED);
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    format!("{}{more}", named.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Document, Workload};

    fn workload(wanted: i32, available: i32) -> Workload {
        Workload {
            name: "catalog".to_owned(),
            wanted,
            total: wanted,
            updated: wanted,
            available,
            ..Workload::default()
        }
    }

    fn pods(reasons: &[&str]) -> Vec<PodFault> {
        let fault =
            |reason: &&str| PodFault { reason: (*reason).to_owned(), pod: "catalog-1".to_owned() };
        reasons.iter().map(fault).collect()
    }

    #[test]
    fn each_fault_of_a_source_is_named_with_its_evidence() {
        let well = || SourceState {
            workload: Some(Ok(workload(2, 2))),
            pods: Some(Ok(pods(&[]))),
            failed: Vec::new(),
            more_pods: false,
            endpoints: Some(Ok(2)),
        };
        let no_endpoint = || Some(Err("Service catalog has no ready endpoint".to_owned()));
        let table = [
            (
                SourceState {
                    workload: Some(Ok(workload(0, 0))),
                    pods: Some(Ok(pods(&[]))),
                    failed: Vec::new(),
                    more_pods: false,
                    endpoints: no_endpoint(),
                },
                SourceCheck::Workload,
                CheckResult::Fail,
                "Deployment catalog is scaled to zero",
            ),
            (
                SourceState { workload: Some(Ok(workload(2, 1))), ..well() },
                SourceCheck::Rollout,
                CheckResult::Fail,
                "1 of 2 pods are available",
            ),
            (
                SourceState { pods: Some(Ok(pods(&["CrashLoopBackOff"]))), ..well() },
                SourceCheck::Pods,
                CheckResult::Fail,
                "Pod catalog-1 is CrashLoopBackOff",
            ),
            (
                SourceState {
                    pods: Some(Ok(pods(&["ImagePullBackOff", "OOMKilled", "a", "b"]))),
                    ..well()
                },
                SourceCheck::Pods,
                CheckResult::Fail,
                "is OOMKilled; Pod catalog-1 is a (and 1 more)",
            ),
            (
                SourceState {
                    pods: Some(Ok(pods(&["CrashLoopBackOff"]))),
                    more_pods: true,
                    ..well()
                },
                SourceCheck::Pods,
                CheckResult::Fail,
                "is CrashLoopBackOff; there are more pods than were looked at",
            ),
            (
                SourceState { more_pods: true, ..well() },
                SourceCheck::Pods,
                CheckResult::Unknown,
                "none of its pods is in trouble; there are more pods than were looked at",
            ),
            (
                SourceState { endpoints: no_endpoint(), ..well() },
                SourceCheck::Endpoints,
                CheckResult::Fail,
                "no ready endpoint",
            ),
            (
                SourceState {
                    workload: Some(Err("Deployment catalog does not exist".to_owned())),
                    pods: None,
                    failed: Vec::new(),
                    more_pods: false,
                    endpoints: Some(Ok(1)),
                },
                SourceCheck::Workload,
                CheckResult::Unknown,
                "does not exist",
            ),
        ];
        for (state, check, result, says) in table {
            let diagnosis = of::<Document>(&state, None, Cause::Stale);
            let evidence = diagnosis.evidence.iter().find(|e| e.check == check).unwrap();
            assert_eq!(evidence.result, result, "{evidence:?}");
            assert!(evidence.message.contains(says), "{evidence:?}");
            let down = result == CheckResult::Fail;
            assert_eq!(diagnosis.cause, if down { Cause::SourceDown } else { Cause::Stale });
        }
        let answer = Ok(());
        let diagnosis = of(&well(), Some(&answer), Cause::Stale);
        assert!(diagnosis.evidence.iter().all(|e| e.result == CheckResult::Pass));
        assert_eq!((diagnosis.cause, diagnosis.evidence.len()), (Cause::Stale, 5));
        let refused: Result<(), _> = Err(Doubt::new(DoubtReason::ConnectionFailed, "refused"));
        assert_eq!(of(&well(), Some(&refused), Cause::Stale).cause, Cause::SourceDown);
        let unasked: Result<(), _> = Err(Doubt::new(DoubtReason::Busy, "no room here"));
        let diagnosis = of(&well(), Some(&unasked), Cause::Stale);
        assert_eq!(diagnosis.cause, Cause::Stale, "a queue of our own is no fault of the source");
        assert_eq!(diagnosis.evidence[0].result, CheckResult::Unknown);
        let invalid: Result<(), _> = Err(Doubt::new(DoubtReason::SourceInvalid, "no JSON"));
        assert_eq!(of(&well(), Some(&invalid), Cause::Stale).cause, Cause::SourceInvalid);
        let scaled_away = SourceState { endpoints: Some(Err("none".to_owned())), ..well() };
        let diagnosis = of(&scaled_away, Some(&invalid), Cause::Stale);
        assert_eq!(diagnosis.cause, Cause::SourceDown, "what does not run comes first");
    }
}
