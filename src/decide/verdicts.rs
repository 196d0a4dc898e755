//! What the last look said of each rule in force, read back from a contract's status: it lists the rules
//! that do not pass, and only counts the others.
//!
//! A rule is said to pass only where that follows: the status was made by these very rules, the rules
//! were asked, and none of those that do not pass is left out. Else nobody knows, and nothing is said.

use crate::{
    api::contract::{CheckResult, WidgetContractStatus},
    domain::Digest,
};

use super::effective::Rule;

/// What each of `rules`, which `digest` names, came to; None where status does not say so.
#[must_use]
pub fn of(
    rules: &[Rule],
    digest: Option<&Digest>,
    status: &WidgetContractStatus,
) -> Vec<Option<CheckResult>> {
    let made_by = status.effective.as_ref().map(|effective| &effective.digest);
    if digest.is_none() || made_by != digest {
        return vec![None; rules.len()];
    }
    // Of a document that cannot be had or read, no rule in force was asked.
    let were_asked =
        status.checks.iter().all(|check| rules.iter().any(|rule| rule.name == check.rule));
    let failing = status.checks.iter().filter(|check| check.result != CheckResult::Pass).count();
    let all_listed = status.failing.and_then(|count| usize::try_from(count).ok()) == Some(failing);
    let unlisted = (were_asked && all_listed).then_some(CheckResult::Pass);
    let verdict = |rule: &Rule| {
        let listed = status.checks.iter().find(|check| check.rule == rule.name);
        listed.map_or(unlisted, |check| Some(check.result))
    };
    rules.iter().map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::WidgetContract,
        decide::{Stall, effective::Effective, status},
    };

    const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn said(failing: u32, listed: &[(&str, &str)]) -> Value {
        let check = |(rule, result): &(&str, &str)| {
            json!({"rule": rule, "target": "Assigned", "result": result, "severity": "Critical",
                   "since": "2026-11-30T00:00:00Z", "failures": 1, "keyword": "", "message": ""})
        };
        let checks: Vec<Value> = listed.iter().map(check).collect();
        json!({"effective": {"digest": DIGEST}, "failing": failing, "checks": checks})
    }

    fn verdicts(status: Value, digest: Option<&str>) -> Vec<Option<String>> {
        let spec = json!({"widget": "w", "document": {"inline": {}}, "rules": [
            {"name": "a", "metadata": {"required": ["/a"]}},
            {"name": "b", "metadata": {"required": ["/b"]}},
        ]});
        let spec = serde_json::from_value(spec).unwrap();
        let rules =
            Effective::merge("uk", None, &WidgetContract::new("uk", spec).spec).unwrap().rules;
        let digest = digest.map(|digest| serde_json::from_value(json!(digest)).unwrap());
        let found = of(&rules, digest.as_ref(), &serde_json::from_value(status).unwrap());
        found.into_iter().map(|one| one.map(|one| one.to_string())).collect()
    }

    #[test]
    fn a_rule_that_is_not_listed_passes_only_where_that_follows() {
        let some = |a: &str, b: &str| vec![Some(a.to_owned()), Some(b.to_owned())];
        let here = Some(DIGEST);
        assert_eq!(verdicts(said(0, &[]), here), some("Pass", "Pass"));
        assert_eq!(verdicts(said(1, &[("b", "Fail")]), here), some("Pass", "Fail"));
        assert_eq!(verdicts(said(1, &[("a", "Unknown")]), here), some("Unknown", "Pass"));
        // One that passes again is listed until its failure is over.
        assert_eq!(verdicts(said(0, &[("a", "Pass")]), here), some("Pass", "Pass"));
        // More fail than there was room for.
        let one = verdicts(said(2, &[("b", "Fail")]), here);
        assert_eq!(one, [None, Some("Fail".to_owned())]);
        // The document itself could not be had, so neither rule was asked.
        assert_eq!(verdicts(said(1, &[("document", "Unknown")]), here), [None, None]);
        // The status is of other rules, or of none.
        let other = DIGEST.replace("00", "11");
        for (status, digest) in [
            (said(0, &[]), Some(&*other)),
            (said(1, &[("b", "Fail")]), Some(&*other)),
            (said(0, &[]), None),
            (json!({}), here),
            (json!({}), None),
        ] {
            assert_eq!(verdicts(status, digest), [None, None]);
        }
    }

    #[test]
    fn of_a_contract_that_is_stalled_nothing_is_said_to_pass() {
        let was = serde_json::from_value(said(0, &[])).unwrap();
        let stall = Stall::new("ServeConflict", "another one serves there");
        let is = status::stalled(&was, 2, &stall, Timestamp::UNIX_EPOCH);
        assert_eq!(verdicts(json!(is), Some(DIGEST)), [None, None]);
    }
}
