//! May a RemediationPolicy be used, and what its status says.
//!
//! One that cannot be read is not in force. One that can, but has a step with a fault in it, is in
//! force without that step: the plan says so where it would have come, and the status before.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::{
    Stall,
    conflicts::{self, Rival},
    effects::NO_SERVICE_ACCOUNT,
    measure::Measured,
    when, windows,
};
use crate::{
    api::{
        ConditionType, Conditions,
        incident::Cause,
        policy::{
            BreakerShown, BreakerState, RemediationPolicySpec, RemediationPolicyStatus, Step,
        },
    },
    steps::StepKind,
};

/// What a spec says, as far as the API server could not see to it.
///
/// # Errors
/// The field that does not fit its type, and why.
pub fn read(spec: &Value) -> Result<RemediationPolicySpec, Stall> {
    let steps = spec.get("steps").and_then(Value::as_array);
    // By themselves first: what is flattened into a step has no path in the error of the whole.
    for (nth, step) in steps.into_iter().flatten().enumerate() {
        let Value::Object(mut kind) = step.clone() else { continue };
        for own in ["name", "when", "onFailure", "timeout", "retries"] {
            kind.remove(own);
        }
        let kind: Result<StepKind, _> = serde_path_to_error::deserialize(Value::Object(kind));
        kind.map_err(|error| {
            unreadable(&format!("spec.steps[{nth}].{}", error.path()), error.inner())
        })?;
    }
    serde_path_to_error::deserialize(spec)
        .map_err(|error| unreadable(&format!("spec.{}", error.path()), error.inner()))
}

fn unreadable(field: &str, why: &serde_json::Error) -> Stall {
    Stall::new("SpecInvalid", &format!("{field}: {why}; the policy is not in force"))
}

/// The first fault in a policy that can be read.
///
/// # Errors
/// The field and the fix.
pub fn judge(spec: &RemediationPolicySpec) -> Result<(), Stall> {
    let selector = spec.r#match.as_ref().and_then(|wanted| wanted.selector.as_ref());
    if let Some(fault) = selector.and_then(selector_fault) {
        let message = format!("spec.match.selector.{fault}; the policy matches nothing");
        return Err(Stall::new("SelectorInvalid", &message));
    }
    if let Err(unusable) = windows::check(&spec.windows) {
        let message = format!("{unusable}; the policy does not act");
        return Err(Stall::new("WindowInvalid", &message));
    }
    let causes = spec.r#match.iter().flat_map(|wanted| &wanted.causes);
    if let Some((nth, cause)) = causes.enumerate().find(|(_, cause)| is_never_asked(**cause)) {
        let message = format!(
            "spec.match.causes[{nth}]: no policy is asked about {cause}; take it out, or ask for \
             incident.diagnosis in a step's when; the others count"
        );
        return Err(Stall::new("CauseInvalid", &message));
    }
    let fault_of = |(nth, step): (usize, &Step)| Some((nth, fault_of_step(step)?));
    match spec.steps.iter().enumerate().find_map(fault_of) {
        None => nobodys(spec),
        Some((nth, fault)) => Err(Stall::new(
            "StepInvalid",
            &format!("spec.steps[{nth}].{fault}; this step does nothing, the others do"),
        )),
    }
}

/// Causes of which no plan is made: what is put back by itself, what is found only later, and what
/// several contracts have in common.
fn is_never_asked(cause: Cause) -> bool {
    match cause {
        Cause::Overwritten
        | Cause::SourceDown
        | Cause::SourceInvalid
        | Cause::Storm
        | Cause::AssetHostDown
        | Cause::EgressBroken => true,
        Cause::DocumentChanged
        | Cause::RuleChanged
        | Cause::SchemaChanged
        | Cause::AssetMissing
        | Cause::Stale
        | Cause::NeverValid => false,
    }
}

/// The first fault of one step.
fn fault_of_step(step: &Step) -> Option<String> {
    step.kind.fault().or_else(|| when::fault(step.when.as_deref()?))
}

/// A step that acts in the cluster has somebody's rights or does nothing.
fn nobodys(spec: &RemediationPolicySpec) -> Result<(), Stall> {
    if spec.service_account_name.is_some() {
        return Ok(());
    }
    let Some(nth) = spec.steps.iter().position(|step| step.kind.has_rights()) else {
        return Ok(());
    };
    let step = spec.steps[nth].kind.name();
    let message = format!(
        "spec.serviceAccountName is missing: spec.steps[{nth}].{step} has its rights; name a \
         ServiceAccount of this namespace; such steps do nothing, the others do"
    );
    Err(Stall::new(NO_SERVICE_ACCOUNT, &message))
}

fn selector_fault(selector: &LabelSelector) -> Option<String> {
    let wanted = selector.match_expressions.iter().flatten().enumerate();
    wanted.into_iter().find_map(|(nth, wanted)| {
        let needs_values = match wanted.operator.as_str() {
            "In" | "NotIn" => true,
            "Exists" | "DoesNotExist" => false,
            other => {
                return Some(format!(
                    "matchExpressions[{nth}].operator {other:?} is unknown; write In, NotIn, \
                     Exists or DoesNotExist"
                ));
            }
        };
        let has_values = wanted.values.as_ref().is_some_and(|values| !values.is_empty());
        let operator = &wanted.operator;
        (needs_values && !has_values)
            .then(|| format!("matchExpressions[{nth}].values is empty; {operator} needs some"))
    })
}

/// The status of a policy, given what was found and counted, the policies that it ties with, and the
/// status that is stored.
#[must_use]
pub fn status(
    stored: &RemediationPolicyStatus,
    generation: i64,
    found: &Result<(), Stall>,
    measured: Measured,
    rivals: &[Rival],
    now: Timestamp,
) -> RemediationPolicyStatus {
    let mut conditions = Conditions::of(Some(&stored.conditions));
    match found {
        Ok(()) => {
            let message = "the policy can be used";
            conditions.set(ConditionType::Ready, true, "Usable", message, generation, now);
            conditions.remove(ConditionType::Stalled);
        }
        Err(Stall { reason, message }) => {
            conditions.set(ConditionType::Ready, false, reason, message, generation, now);
            conditions.set(ConditionType::Stalled, true, reason, message, generation, now);
        }
    }
    let conflicted = ConditionType::Conflicted;
    match conflicts::message(rivals) {
        Some(message) => {
            conditions.set(conflicted, true, conflicts::REASON, &message, generation, now);
        }
        None => conditions.remove(conflicted),
    }
    let Measured { matched, unhealthy, in_flight, storm, healed, steps, breakers } = measured;
    RemediationPolicyStatus {
        observed_generation: Some(generation),
        conditions: conditions.into_list(),
        matched: Some(matched),
        unhealthy: Some(unhealthy),
        in_flight: Some(in_flight),
        storm: Some(storm),
        healed: Some(healed),
        steps,
        breakers,
    }
}

/// Is something asked again that by the stored status is left alone?
#[must_use]
pub fn has_closed(stored: &RemediationPolicyStatus, measured: &Measured) -> bool {
    let is_open = |breakers: &[BreakerShown], dependency: &str| {
        let mut open = breakers.iter().filter(|breaker| breaker.state == BreakerState::Open);
        open.any(|breaker| breaker.dependency == dependency)
    };
    let was_open = |breaker: &&BreakerShown| breaker.state == BreakerState::Open;
    let mut before = stored.breakers.iter().filter(was_open);
    before.any(|breaker| !is_open(&measured.breakers, &breaker.dependency))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(spec: &str) -> Result<(), Stall> {
        let spec: Value = serde_saphyr::from_str(spec).unwrap();
        read(&spec).and_then(|spec| judge(&spec))
    }

    #[test]
    fn each_fault_that_the_crd_lets_through_is_told_by_its_field_and_fix() {
        let in_step = |step: &str| format!("{{default: true, steps: [{{name: a, {step}}}]}}");
        let selecting = |wanted: &str| {
            format!(
                "{{match: {{selector: {{matchExpressions: [{wanted}]}}}}, \
                 steps: [{{name: a, restoreRevision: {{}}}}]}}"
            )
        };
        let no_duration = "\"1s1h\" is not a duration such as 500ms";
        let cases = [
            (in_step("wait: {for: 1s1h}"), "SpecInvalid", "spec.steps[0].wait.for", no_duration),
            (
                "{default: true, steps: [{name: a, wait: {for: 1s}}], \
                 windows: [{kind: Deny, schedule: nightly, duration: 1h}]}"
                    .to_owned(),
                "WindowInvalid",
                "spec.windows[0].schedule",
                "the policy does not act",
            ),
            (
                "{default: true, steps: [{name: a, wait: {for: 1s}}], cooldown: 1s1h}".to_owned(),
                "SpecInvalid",
                "spec.cooldown",
                no_duration,
            ),
            (
                "{default: true, steps: [{name: a, wait: {for: 1s}}], \
                 retry: {backoff: {initial: 1s1h}}}"
                    .to_owned(),
                "SpecInvalid",
                "spec.retry.backoff.initial",
                no_duration,
            ),
            (
                in_step("patch: {ops: [{op: remove, path: /a~2}]}"),
                "StepInvalid",
                "spec.steps[0].patch.ops[0].path",
                "write /a/b, with ~1 for /",
            ),
            (
                in_step("patch: {ops: [{op: add, path: /a}]}"),
                "StepInvalid",
                "spec.steps[0].patch.ops[0]",
                "add needs one",
            ),
            (
                in_step("replaceAsset: {url: 'https://cdn.test/a.png,'}"),
                "StepInvalid",
                "spec.steps[0].replaceAsset.url",
                "write one without spaces",
            ),
            (
                in_step("regenerateMetadata: {set: {version: '1'}}"),
                "StepInvalid",
                "spec.steps[0].regenerateMetadata.set",
                "is not a JSON Pointer",
            ),
            (
                in_step("regenerateMetadata: {set: {/version: '{{weather}}'}}"),
                "StepInvalid",
                "spec.steps[0].regenerateMetadata.set[\"/version\"]",
                "there are revision, now, contract, widget",
            ),
            (
                in_step("restartWorkload: {}"),
                "NoServiceAccount",
                "spec.serviceAccountName is missing",
                "spec.steps[0].restartWorkload",
            ),
            (in_step("timeout: 1s1h, restartWorkload: {}"), "SpecInvalid", "spec.", no_duration),
            (
                selecting("{key: shop, operator: Like, values: [uk]}"),
                "SelectorInvalid",
                "spec.match.selector.matchExpressions[0].operator",
                "write In, NotIn, Exists or DoesNotExist",
            ),
            (
                selecting("{key: a, operator: Exists}, {key: shop, operator: In}"),
                "SelectorInvalid",
                "spec.match.selector.matchExpressions[1].values",
                "In needs some",
            ),
        ];
        for (spec, reason, field, fix) in cases {
            is_told(&spec, reason, field, fix);
        }
    }

    fn is_told(spec: &str, reason: &str, field: &str, fix: &str) {
        let Err(stall) = found(spec) else { panic!("found good: {spec}") };
        assert_eq!(stall.reason, reason, "{stall}");
        assert!(stall.message.starts_with(field) && stall.message.contains(fix), "{stall}");
    }

    #[test]
    fn what_cannot_be_asked_of_an_incident_is_told_by_its_field_and_fix() {
        let when = |when: &str| {
            format!("{{default: true, steps: [{{name: a, when: \"{when}\", wait: {{for: 1s}}}}]}}")
        };
        for (spec, reason, field, fix) in [
            (
                when("incident.weather == 'fine'"),
                "StepInvalid",
                "spec.steps[0].when cannot be evaluated",
                "the key \"weather\" is missing; this step does nothing",
            ),
            (
                when("incident.cause =="),
                "StepInvalid",
                "spec.steps[0].when does not compile",
                "this step does nothing, the others do",
            ),
            (
                when(&"(".repeat(40)),
                "StepInvalid",
                "spec.steps[0].when",
                "this step does nothing, the others do",
            ),
            (
                "{match: {causes: [Stale, SourceDown]}, steps: [{name: a, wait: {for: 1s}}]}"
                    .to_owned(),
                "CauseInvalid",
                "spec.match.causes[1]",
                "incident.diagnosis",
            ),
        ] {
            is_told(&spec, reason, field, fix);
        }
    }

    #[test]
    fn a_policy_of_every_kind_of_step_is_good() {
        let good = "{match: {selector: {matchExpressions: [{key: a, operator: In, values: [b]}, \
             {key: c, operator: DoesNotExist}]}}, cooldown: 1h30m, steps: [\
             {name: a, onFailure: Escalate, restoreRevision: {}}, {name: b, refetchSource: {}}, \
             {name: c, repairDocument: {allow: [Truncate]}}, {name: d, replaceAsset: {}}, \
             {name: e, regenerateMetadata: {set: {/a: '{{revision}} {{now}} {{contract}} {{widget}}'}}}, \
             {name: f, patch: {ops: [{op: add, path: /a, value: null}]}}, {name: g, wait: {for: 5s}}, \
             {name: h, timeout: 3m, when: '\"schema\" in incident.rules', restartWorkload: {}}, {name: i, scaleWorkload: {}}], \
             serviceAccountName: healer}";
        assert_eq!(found(good), Ok(()));
    }

    #[test]
    fn the_status_follows_the_finding_and_is_the_same_when_nothing_changed() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let bad = Err(Stall::new("SpecInvalid", "spec.cooldown: no"));
        let (ready, stalled) = (ConditionType::Ready, ConditionType::Stalled);
        let status = |stored: &_, generation, found: &_, now| {
            super::status(stored, generation, found, Measured::default(), &[], now)
        };
        let first = status(&RemediationPolicyStatus::default(), 1, &bad, at(1));
        let conditions = Conditions::of(Some(&first.conditions));
        assert!(!conditions.is_true(ready) && conditions.is_true(stalled));
        assert_eq!(conditions.get(ready).unwrap().message, "spec.cooldown: no");
        assert_eq!(status(&first, 1, &bad, at(2)), first);
        let mended = status(&first, 2, &Ok(()), at(3));
        let conditions = Conditions::of(Some(&mended.conditions));
        assert!(conditions.is_true(ready) && conditions.get(stalled).is_none());
        assert_eq!(mended.observed_generation, Some(2));
    }

    #[test]
    fn a_tie_is_told_while_it_lasts_beside_what_else_is_said() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let rivals = [Rival { name: "old".to_owned(), wins: true }];
        let status = |stored: &_, rivals: &_, now| {
            super::status(stored, 1, &Ok(()), Measured::default(), rivals, now)
        };
        let tied = status(&RemediationPolicyStatus::default(), &rivals, at(1));
        let conditions = Conditions::of(Some(&tied.conditions));
        let told = conditions.get(ConditionType::Conflicted).unwrap();
        assert_eq!((&*told.status, &*told.reason), ("True", "SameSpecificityAndPriority"));
        assert!(told.message.contains("loses to old"), "{}", told.message);
        assert!(conditions.is_true(ConditionType::Ready), "it can be used all the same");
        assert_eq!(status(&tied, &rivals, at(2)), tied);
        let over = status(&tied, &[], at(3));
        assert_eq!(Conditions::of(Some(&over.conditions)).get(ConditionType::Conflicted), None);
    }
}
