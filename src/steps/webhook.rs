//! The `webhook` step: tell somebody's service that a contract is in trouble, so that it acts.
//!
//! Whoever is told cannot be looked at, so what became of a call is known from its answer alone.
//! When the answer is lost the same call is sent again with the same key, by which the receiver
//! knows that it is no other.
//!
//! Knows: what an answer means. Must not know: how it is sent, signed or kept.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{Span, Told};

/// Send a POST with a JSON body that says which contract is in trouble, which rules fail and why,
/// and no value of the document. `webhook-id`, `webhook-timestamp` and `webhook-signature` are those
/// of Standard Webhooks; `idempotency-key` is the same for all tries of one call, also after a crash.
/// A 2xx is a success, whatever its body says: the step behind looks whether it helped. Anything else
/// than 408, 425, 429, a 5xx and no answer fails at once; these are tried again as often as the
/// step's `retries` say. Redirects are not followed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Where it is sent: https, and a public address, unless the operator's flags let more through.
    /// Put no token into it, since an Incident's plan shows it: use `headersSecretRef`.
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^/?#@\s]+([/?#]\S*)?$"))]
    pub url: String,
    /// A Secret of the same namespace whose entries are sent as headers. Used only if its annotation
    /// `kintsugi.dev/allowed-origins` names the origin of the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_secret_ref: Option<SecretRef>,
    /// The key that the body is signed with: `whsec_` and base64, or any other text as it is. Not
    /// signed where none is named. The Secret needs the same annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key_ref: Option<SecretKeyRef>,
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One entry of a Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// What an answer to a call means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// It was taken.
    Taken,
    /// It may be taken another time, after this wait at the earliest.
    Again {
        /// What went wrong.
        why: String,
        /// What the receiver asked for.
        wait: Span,
    },
    /// It was answered, and will not be taken.
    Refused(String),
    /// It was not sent, and is as soon as there is room.
    NoRoom {
        /// Why.
        why: String,
        /// When it was to be sent.
        at: Timestamp,
    },
    /// It was not sent, and will not be.
    NotSent(String),
}

/// What it means for a call that its answer was `told`.
#[must_use]
pub fn means(told: &Told) -> Means {
    match told {
        Told::Answered { status: 200..=299, .. } => Means::Taken,
        Told::Answered { status: status @ 300..=399, .. } => Means::Refused(format!(
            "it answered {status}, a redirect, which a POST does not follow; give the URL that it \
             should end at"
        )),
        Told::Answered { status: status @ (408 | 425 | 429 | 500..=599), retry_after } => {
            let why = format!("it answered {status}; see why in its own log");
            Means::Again { why, wait: retry_after.unwrap_or(Span::ZERO) }
        }
        Told::Answered { status, .. } => {
            Means::Refused(format!("it answered {status}; see why in its own log"))
        }
        Told::Unheard(why) => Means::Again { why: why.clone(), wait: Span::ZERO },
        Told::NoRoom { why, at } => Means::NoRoom { why: why.clone(), at: *at },
        Told::NotSent(why) => Means::NotSent(why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_tried_again_or_final_by_its_status_alone() {
        let answered = |status, retry_after| means(&Told::Answered { status, retry_after });
        for status in [200, 202, 204, 299] {
            assert_eq!(answered(status, None), Means::Taken);
        }
        for status in [301, 302, 307, 400, 401, 404, 410, 422] {
            assert!(matches!(answered(status, None), Means::Refused(_)), "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            let wait = Span::secs(7);
            let is = answered(status, Some(wait));
            assert!(matches!(is, Means::Again { wait: is, .. } if is == wait), "{status}");
        }
        let late = means(&Told::Unheard("it did not answer within 10s".to_owned()));
        assert!(matches!(late, Means::Again { wait: Span::ZERO, .. }));
        let (why, at) = ("too much is under way".to_owned(), Timestamp::UNIX_EPOCH);
        let unsent = means(&Told::NoRoom { why: why.clone(), at });
        assert_eq!(unsent, Means::NoRoom { why, at });
        let unsafe_address = Told::NotSent("it has a private address".to_owned());
        assert_eq!(means(&unsafe_address), Means::NotSent("it has a private address".to_owned()));
    }
}
