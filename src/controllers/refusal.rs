//! What it means for people that the API server refused a request.
//!
//! Its words may quote what was written, so only names of fields and reasons are passed on.

use kube::core::Status;

use super::desk::Refused;
use crate::{decide::Stall, domain::text};

/// Longest list of fields that is passed on, in bytes.
const FIELDS_MAX: usize = 200;

/// What a person has to do; None when it is no refusal, or one that passes by itself.
#[must_use]
pub fn stall(attempted: &str, status: &Status) -> Option<Stall> {
    let (reason, why) = match status.code {
        403 => forbidden(status),
        413 | 422 => ("Rejected", "the API server refused the object"),
        _ => return None,
    };
    Some(Stall::new(reason, &format!("{attempted}: {why}{}", at(status))))
}

/// The fields, in brackets.
fn at(status: &Status) -> String {
    let fields = text::bounded(&fields(status).join(", "), FIELDS_MAX);
    if fields.is_empty() { String::new() } else { format!(" ({fields})") }
}

/// What it means for the person in whose place the request was made; None when it is about the operator, or
/// passes by itself.
///
/// What admission says is said to them as `kubectl` would: they might have written the same. Of what does
/// not fit the schema only the names of fields are, since those words quote what stands in the object.
#[must_use]
pub fn of_asked(attempted: &str, status: &Status) -> Option<Refused> {
    let words = || format!("{attempted}: {}", text::message(&status.message));
    match status.code {
        403 if is_about_rights(status) => None,
        403 => Some(Refused::Forbidden(words())),
        409 => {
            let why =
                "the object has changed meanwhile, or is in the way; look at it and ask again";
            Some(Refused::Conflict(format!("{attempted}: {why}")))
        }
        400 | 413 | 422 if is_denied(status) => Some(Refused::Invalid(words())),
        400 | 413 | 422 => {
            let why = "the API server refused the object";
            let rules = text::message(&rules(status).join("; "));
            let says = if rules.is_empty() { String::new() } else { format!(": {rules}") };
            Some(Refused::Invalid(format!("{attempted}: {why}{}{says}", at(status))))
        }
        _ => None,
    }
}

/// What the rules of the schema say: behind the type of what they are about, which stands for its value.
fn rules(status: &Status) -> Vec<&str> {
    let types = ["object", "array", "string", "integer", "number", "boolean"];
    let said = |message| {
        let (kind, says) = str::strip_prefix(message, "Invalid value: \"")?.split_once("\": ")?;
        types.contains(&kind).then_some(says)
    };
    causes(status).filter_map(|cause| said(cause.message.as_str())).collect()
}

/// Did an authorizer say it?
fn is_about_rights(status: &Status) -> bool {
    status.message.contains("User \"") && status.message.contains("\" cannot ")
}

/// Did an admission policy or a webhook say it? By default those of policies have the code of what does not fit
/// the schema.
fn is_denied(status: &Status) -> bool {
    let says = |words: &str| status.message.contains(words);
    (says("ValidatingAdmissionPolicy '") && says(" denied request: "))
        || (says("admission webhook \"") && says("\" denied the request"))
}

/// Only an authorizer's «no» is about rights: the rest is said by admission.
fn forbidden(status: &Status) -> (&'static str, &'static str) {
    let says = |words: &str| status.message.contains(words);
    if is_about_rights(status) {
        (
            "PermissionDenied",
            "the API server does not allow it; grant the right to the operator's ServiceAccount",
        )
    } else if says("exceeded quota") {
        (
            "QuotaExceeded",
            "a ResourceQuota of the namespace is used up; raise it, or delete what nobody needs",
        )
    } else if causes(status).any(|cause| cause.reason == "NamespaceTerminating") {
        ("NamespaceTerminating", "the namespace is being deleted, nothing new can be made in it")
    } else {
        (
            "Rejected",
            "admission refused the object; see the cluster's admission policies and webhooks",
        )
    }
}

fn fields(status: &Status) -> Vec<String> {
    let named = causes(status).filter(|cause| !cause.field.is_empty());
    named.map(|cause| format!("{}: {}", cause.field, cause.reason)).collect()
}

fn causes(status: &Status) -> impl Iterator<Item = &kube::core::response::StatusCause> {
    status.details.iter().flat_map(|details| &details.causes)
}

#[cfg(test)]
mod tests {
    use super::{super::Error, *};
    use serde_json::json;

    fn refused(code: u16, message: &str, causes: &serde_json::Value) -> Option<(String, String)> {
        let status = json!({"code": code, "message": message, "details": {"causes": causes}});
        let status: Status = serde_json::from_value(status).unwrap();
        stall("serving uk", &status).map(|stall| (stall.reason.to_owned(), stall.message))
    }

    #[test]
    fn a_refusal_says_what_to_do_and_never_what_was_written() {
        let none = json!([]);
        let field = |field: &str, reason: &str| json!([{"field": field, "reason": reason, "message": "Invalid value: \"SECRET\""}]);
        let table = [
            (
                403,
                "configmaps is forbidden: User \"sa\" cannot create resource",
                none.clone(),
                "PermissionDenied",
                "grant the right",
            ),
            (
                403,
                "configmaps \"a\" is forbidden: exceeded quota: q",
                none.clone(),
                "QuotaExceeded",
                "raise it",
            ),
            (
                403,
                "configmaps \"a\" is forbidden: unable to create new content in namespace n",
                field("metadata.namespace", "NamespaceTerminating"),
                "NamespaceTerminating",
                "deleted",
            ),
            (
                403,
                "admission webhook \"w\" denied the request: SECRET",
                none.clone(),
                "Rejected",
                "webhooks",
            ),
            (
                422,
                "ConfigMap \"a\" is invalid: data: Forbidden: SECRET",
                field("data[uk.json]", "FieldValueForbidden"),
                "Rejected",
                "(data[uk.json]: FieldValueForbidden)",
            ),
            (
                413,
                "Request entity too large: limit is 3145728",
                none.clone(),
                "Rejected",
                "refused",
            ),
        ];
        for (code, message, causes, reason, says) in table {
            let (is, text) = refused(code, message, &causes).unwrap();
            assert_eq!(is, reason, "{message}");
            assert!(text.contains(says) && !text.contains("SECRET"), "{text}");
            assert_eq!(text.contains("grant the right"), reason == "PermissionDenied", "{text}");
        }
        assert_eq!(refused(500, "SECRET", &none), None);
        let (_, text) = refused(422, "", &field(&"a".repeat(900), "x")).unwrap();
        assert!(text.len() < 300, "{text}");
    }

    #[test]
    fn a_person_is_told_what_admission_says_of_what_they_asked_for_and_no_value_of_the_object() {
        let said = |code: u16, message: &str| {
            let cause =
                json!({"field": "spec.widget", "reason": "FieldValueInvalid", "message": "SECRET"});
            let status = json!({"code": code, "message": message, "details": {"causes": [cause]}});
            let status: Status = serde_json::from_value(status).unwrap();
            of_asked("writing", &status)
        };
        let policy = "widgetcontracts \"uk\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not\non Fridays";
        let hook = "admission webhook \"w\" denied the request: not on Fridays";
        for words in [policy, hook] {
            let forbidden = said(403, words);
            assert!(
                matches!(&forbidden, Some(Refused::Forbidden(why)) if why.contains("not on Fridays")),
                "{forbidden:?}"
            );
            for code in [400, 422] {
                let invalid = said(code, words);
                assert!(
                    matches!(&invalid, Some(Refused::Invalid(why)) if why.contains("not on Fridays")),
                    "{invalid:?}"
                );
            }
        }
        for code in [400, 413, 422] {
            let why = said(code, "is invalid: spec.widget: Invalid value: \"SECRET\"").unwrap();
            assert!(matches!(why, Refused::Invalid(_)), "{why:?}");
            let why = why.to_string();
            assert!(
                why.contains("(spec.widget: FieldValueInvalid)") && !why.contains("SECRET"),
                "{why}"
            );
        }
        assert!(
            matches!(said(409, "SECRET"), Some(Refused::Conflict(why)) if !why.contains("SECRET"))
        );
        let rule = json!({"code": 422, "message": "", "details": {"causes": [
            {"field": "spec", "reason": "FieldValueInvalid", "message": "Invalid value: \"object\": it stays so"},
        ]}});
        let rule = of_asked("writing", &serde_json::from_value(rule).unwrap()).unwrap().to_string();
        assert!(rule.ends_with("(spec: FieldValueInvalid): it stays so"), "{rule}");
        let long = said(403, &"x".repeat(100_000)).unwrap().to_string();
        assert!(long.len() < 600, "{}", long.len());
        // That is about the operator, and the rest passes.
        assert!(said(403, "uk is forbidden: User \"sa\" cannot patch resource").is_none());
        for code in [401, 404, 429, 500, 503] {
            assert!(said(code, policy).is_none(), "{code}");
        }
    }

    #[test]
    fn a_refusal_is_the_answer_and_what_may_pass_is_not() {
        let error = |code: u16| {
            let status = json!({"code": code, "message": "SECRET", "reason": "x"});
            let status: Status = serde_json::from_value(status).unwrap();
            Error::from_kube("making Job n/a", kube::Error::Api(Box::new(status)))
        };
        for code in [400, 403, 413, 422] {
            let why = error(code).refused().unwrap();
            assert!(why.starts_with("making Job n/a: ") && !why.contains("SECRET"), "{why}");
        }
        for code in [404, 409, 429, 500, 503, 504] {
            assert!(error(code).refused().is_err(), "{code}");
        }
    }
}
