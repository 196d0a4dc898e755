use super::*;
use crate::{
    api::incident::Cause,
    domain::{LogPattern, PodFault, Unseen, Workload},
};

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + minute * 60).unwrap()
}

fn nothing() -> Symptoms {
    Symptoms {
        limits: Ok(vec![limits("main", Some("64Mi"))]),
        shields: Ok(Vec::new()),
        warnings: Ok(Vec::new()),
        log: Ok(log(Vec::new())),
        unseen: Unseen::default(),
    }
}

fn limits(container: &str, memory: Option<&str>) -> ContainerLimits {
    ContainerLimits {
        container: container.to_owned(),
        memory: memory.map(ToOwned::to_owned),
        cpu: None,
    }
}

fn log(found: Vec<LogPattern>) -> ScannedLog {
    ScannedLog { pod: "catalog-1".to_owned(), container: "main".to_owned(), lines: 200, found }
}

fn warning(reason: &str, times: u32, minute: i64) -> Warning {
    Warning { reason: reason.to_owned(), times, last: at(minute) }
}

/// A source with pods that are in trouble for these reasons, and endpoints that are ready or not.
fn state(reasons: &[&str], is_ready: bool) -> SourceState {
    let fault =
        |reason: &&str| PodFault { reason: (*reason).to_owned(), pod: "catalog-1".to_owned() };
    SourceState {
        workload: Some(Ok(Workload { wanted: 1, ..Workload::default() })),
        pods: Some(Ok(reasons.iter().map(fault).collect())),
        endpoints: Some(if is_ready { Ok(1) } else { Err("none is ready".to_owned()) }),
        ..SourceState::default()
    }
}

type Answer = Result<(), Doubt>;

fn silent(reason: DoubtReason) -> Answer {
    Err(Doubt::new(reason, "no answer"))
}

fn evidence(
    check: SourceCheck,
    symptoms: &Symptoms,
    state: &SourceState,
    answer: Option<&Answer>,
) -> (CheckResult, String) {
    let diagnosis = diagnose::of(state, answer, Cause::Stale);
    let before = diagnosis.evidence.len();
    let diagnosis = explain(diagnosis, state, answer, Some(symptoms), at(0));
    assert_eq!(diagnosis.evidence.len(), before + 4, "each check says something");
    let found = diagnosis.evidence.into_iter().find(|evidence| evidence.check == check).unwrap();
    (found.result, found.message)
}

#[test]
fn limits_are_told_and_fail_where_a_container_was_killed_under_them() {
    let two = Symptoms {
        limits: Ok(vec![limits("main", None), limits("log", Some("8Mi"))]),
        ..nothing()
    };
    let table = [
        (
            nothing(),
            state(&[], false),
            CheckResult::Pass,
            "container main: memory 64Mi, cpu without limit",
        ),
        (
            nothing(),
            state(&["OOMKilled"], false),
            CheckResult::Fail,
            "Pod catalog-1 is OOMKilled under container main: memory 64Mi, cpu without limit",
        ),
        (
            two,
            state(&["CrashLoopBackOff", "OOMKilled"], false),
            CheckResult::Fail,
            "Pod catalog-1 is OOMKilled under container main: memory without limit, cpu without \
             limit; container log: memory 8Mi, cpu without limit",
        ),
    ];
    for (symptoms, state, result, says) in table {
        let (is, message) = evidence(SourceCheck::Limits, &symptoms, &state, None);
        assert_eq!((is, message.as_str()), (result, says));
    }
}

#[test]
fn a_network_policy_is_blamed_only_where_pods_that_are_ready_cannot_be_connected_to() {
    let shielded = Symptoms { shields: Ok(vec!["deny".to_owned()]), ..nothing() };
    let (answers, unconnected) = (Some(Ok(())), Some(silent(DoubtReason::ConnectionFailed)));
    let unclear = Some(silent(DoubtReason::HttpUnclear));
    let table = [
        (&nothing(), true, &unconnected, CheckResult::Pass, "no NetworkPolicy"),
        (
            &shielded,
            true,
            &unconnected,
            CheckResult::Fail,
            "network policy: its pods are behind NetworkPolicy deny",
        ),
        (&shielded, false, &unconnected, CheckResult::Unknown, "is not known"),
        (&shielded, true, &unclear, CheckResult::Unknown, "is not known"),
        (&shielded, true, &None, CheckResult::Unknown, "is not known"),
        (&shielded, true, &answers, CheckResult::Pass, "which lets the operator in"),
    ];
    for (symptoms, is_ready, answer, result, says) in table {
        let state = state(&["CrashLoopBackOff"], is_ready);
        let (is, message) =
            evidence(SourceCheck::NetworkPolicies, symptoms, &state, answer.as_ref());
        assert_eq!(is, result, "{message}");
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn warnings_of_the_last_hour_are_told_by_reason_newest_first() {
    let of = |warnings: &[Warning]| {
        let symptoms = Symptoms { warnings: Ok(warnings.to_vec()), ..nothing() };
        evidence(SourceCheck::Events, &symptoms, &state(&[], false), None)
    };
    let old = warning("FailedMount", 9, -61);
    assert_eq!(
        of(std::slice::from_ref(&old)),
        (CheckResult::Pass, "the cluster warned of nothing within 1h".to_owned())
    );
    let recent = [old, warning("BackOff", 12, -5), warning("Failed", 1, -1)];
    let says =
        "Failed once, last at 2025-12-31T23:59:00Z; BackOff 12 times, last at 2025-12-31T23:55:00Z";
    assert_eq!(of(&recent), (CheckResult::Fail, says.to_owned()));
    let many: Vec<Warning> = (0..7).map(|n| warning(&format!("R{n}"), 1, -n)).collect();
    let (_, message) = of(&many);
    assert!(message.ends_with("(and 2 more)") && !message.contains("R5"), "{message}");
}

#[test]
fn a_log_is_told_by_its_patterns() {
    let found = vec![
        LogPattern { name: "connection refused", lines: 3, last: Some(at(-2)) },
        LogPattern { name: "crash", lines: 1, last: None },
    ];
    let table = [
        (
            Ok(log(Vec::new())),
            CheckResult::Pass,
            "the last 200 lines of container main in Pod catalog-1 show no known trouble",
        ),
        (
            Ok(log(found)),
            CheckResult::Fail,
            "the last 200 lines of container main in Pod catalog-1: connection refused 3 times, \
             last at 2025-12-31T23:58:00Z; crash once",
        ),
        (Err("not allowed".to_owned()), CheckResult::Unknown, "not allowed"),
    ];
    for (log, result, says) in table {
        let symptoms = Symptoms { log, ..nothing() };
        let (is, message) = evidence(SourceCheck::Logs, &symptoms, &state(&[], false), None);
        assert_eq!((is, message.as_str()), (result, says));
    }
}

#[test]
fn what_is_seen_around_a_workload_never_changes_the_cause() {
    let bad = Symptoms {
        limits: Err("not allowed".to_owned()),
        shields: Ok(vec!["deny".to_owned()]),
        warnings: Ok(vec![warning("BackOff", 12, 0)]),
        log: Ok(log(vec![LogPattern { name: "crash", lines: 1, last: None }])),
        unseen: Unseen::default(),
    };
    let well = SourceState {
        workload: Some(Ok(Workload::default())),
        pods: Some(Ok(Vec::new())),
        endpoints: Some(Ok(1)),
        ..SourceState::default()
    };
    for answer in [None, Some(Ok(())), Some(silent(DoubtReason::ConnectionFailed))] {
        for state in [&well, &state(&["CrashLoopBackOff"], true)] {
            let found = diagnose::of(state, answer.as_ref(), Cause::Stale);
            let explained = explain(found.clone(), state, answer.as_ref(), Some(&bad), at(0));
            assert_eq!(explained.cause, found.cause);
            assert_eq!(explained.evidence[..found.evidence.len()], found.evidence);
        }
    }
}

#[test]
fn a_list_that_goes_on_beyond_what_was_looked_at_is_never_fine() {
    let (pods, policies, events) = (
        Unseen { pods: true, ..Unseen::default() },
        Unseen { policies: true, ..Unseen::default() },
        Unseen { events: true, ..Unseen::default() },
    );
    let table = [
        (SourceCheck::NetworkPolicies, policies, "; there are more NetworkPolicies than were"),
        (SourceCheck::Events, events, "within 1h; there are more Events than were looked at"),
        (SourceCheck::Events, pods, "within 1h; there are more pods than were looked at"),
        (SourceCheck::Logs, pods, "no known trouble; there are more pods than were looked at"),
    ];
    let answers = Ok(());
    for (check, unseen, says) in table {
        let told = |symptoms: Symptoms| {
            evidence(check, &Symptoms { unseen, ..symptoms }, &state(&[], true), Some(&answers))
        };
        let (is, message) = told(nothing());
        assert!(is == CheckResult::Unknown && message.contains(says), "{check}: {is:?} {message}");
        let in_trouble = Symptoms {
            warnings: Ok(vec![warning("BackOff", 12, 0)]),
            log: Ok(log(vec![LogPattern { name: "crash", lines: 1, last: None }])),
            ..nothing()
        };
        let (is, message) = told(in_trouble);
        assert_ne!(is, CheckResult::Pass, "{message}");
        assert!(message.contains("than were looked at"), "{message}");
    }
}
