//! Is the admission policy in force that sees to who approves plans?
//!
//! It is, when both of its objects say exactly what the chart installs: a policy that was changed
//! may let through what ours refuses, and to tell better from worse is no machine's business.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicySpec,
};

/// The policy's spec, which the chart installs from the same file.
const SPEC: &str = include_str!("../../charts/kintsugi/files/approvals.yaml");

/// Whether the policy and its binding, both called `name`, are in force.
///
/// # Errors
/// Says which of the two is not, and why.
pub fn in_force(
    name: &str,
    policy: Option<&ValidatingAdmissionPolicy>,
    binding: Option<&ValidatingAdmissionPolicyBinding>,
) -> Result<(), String> {
    let Some(policy) = policy else {
        return Err(format!("there is no ValidatingAdmissionPolicy {name}"));
    };
    let expected: ValidatingAdmissionPolicySpec = serde_saphyr::from_str(SPEC)
        .map_err(|error| format!("this build's own ValidatingAdmissionPolicy is bad: {error}"))?;
    if policy.spec.as_ref() != Some(&expected) {
        return Err(format!("ValidatingAdmissionPolicy {name} is not what this version installs"));
    }
    let binding = binding.and_then(|binding| binding.spec.as_ref());
    let Some(binding) = binding else {
        return Err(format!("there is no ValidatingAdmissionPolicyBinding {name}"));
    };
    let denies = binding.validation_actions.iter().flatten().any(|action| action == "Deny");
    let everywhere = binding.match_resources.is_none() && binding.param_ref.is_none();
    if binding.policy_name.as_deref() != Some(name) || !denies || !everywhere {
        return Err(format!(
            "ValidatingAdmissionPolicyBinding {name} does not deny everywhere by policy {name}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(change: impl FnOnce(&mut Value, &mut Value)) -> Result<(), String> {
        let spec: Value = serde_saphyr::from_str(SPEC).unwrap();
        let mut policy = json!({"metadata": {"name": "a"}, "spec": spec});
        let mut binding = json!({
            "metadata": {"name": "a"},
            "spec": {"policyName": "a", "validationActions": ["Deny"]},
        });
        change(&mut policy, &mut binding);
        let policy = (!policy.is_null()).then(|| serde_json::from_value(policy).unwrap());
        let binding = (!binding.is_null()).then(|| serde_json::from_value(binding).unwrap());
        in_force("a", policy.as_ref(), binding.as_ref())
    }

    #[test]
    fn it_is_in_force_when_it_is_what_the_chart_installs_and_denies_everywhere() {
        assert_eq!(check(|_, _| {}), Ok(()));
        assert_eq!(
            check(|_, binding| binding["spec"]["validationActions"] = json!(["Audit", "Deny"])),
            Ok(())
        );
    }

    #[test]
    fn whatever_is_missing_or_was_loosened_is_named() {
        type Change = fn(&mut Value, &mut Value);
        let table: [(Change, &str); 9] = [
            (|policy, _| *policy = Value::Null, "no ValidatingAdmissionPolicy a"),
            (|_, binding| *binding = Value::Null, "no ValidatingAdmissionPolicyBinding a"),
            (|policy, _| policy["spec"]["failurePolicy"] = json!("Ignore"), "is not what"),
            (|policy, _| policy["spec"]["validations"] = json!([]), "is not what"),
            (
                |policy, _| {
                    policy["spec"]["matchConstraints"]["namespaceSelector"] =
                        json!({"matchLabels": {"guarded": "yes"}});
                },
                "is not what",
            ),
            (|_, binding| binding["spec"]["policyName"] = json!("b"), "does not deny"),
            (|_, binding| binding["spec"]["validationActions"] = json!(["Warn"]), "does not deny"),
            (|_, binding| binding["spec"]["matchResources"] = json!({}), "does not deny"),
            (|_, binding| binding["spec"]["paramRef"] = json!({"name": "p"}), "does not deny"),
        ];
        for (change, expected) in table {
            let why = check(change).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }
}
