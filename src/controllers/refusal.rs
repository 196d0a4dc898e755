//! What it means for people that the API server refused a request.
//!
//! Its words may quote what was written, so only names of fields and reasons are passed on.

use kube::core::Status;

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
    let fields = text::bounded(&fields(status).join(", "), FIELDS_MAX);
    let at = if fields.is_empty() { String::new() } else { format!(" ({fields})") };
    Some(Stall::new(reason, &format!("{attempted}: {why}{at}")))
}

/// Only an authorizer's «no» is about rights: the rest is said by admission.
fn forbidden(status: &Status) -> (&'static str, &'static str) {
    let says = |words: &str| status.message.contains(words);
    if says("User \"") && says("\" cannot ") {
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
