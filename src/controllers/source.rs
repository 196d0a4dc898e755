//! The system of record: asked for a document, with headers from a Secret where one is named.
//!
//! A header never goes to an origin that the Secret's own annotation does not name: whoever may
//! write contracts must not be able to send somebody else's token to a server of theirs.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use url::Url;

use super::{Ctx, Error};
use crate::{
    api::{
        ALLOWED_ORIGINS,
        contract::{Method, Source},
    },
    domain::{Document, Doubt, DoubtReason, document::MAX_BYTES},
    outbound::Request,
};

/// Asks the source. Err(Doubt) says why there is no document, without anything secret.
///
/// # Errors
/// Only what concerns the API server as a whole.
pub async fn fetch(
    ctx: &Ctx,
    namespace: &str,
    source: &Source,
    effect: &str,
) -> Result<Result<Arc<Document>, Doubt>, Error> {
    let unavailable = |message: &str| {
        Ok(Err(Doubt::new(DoubtReason::ReferenceUnavailable, &format!("spec.source: {message}"))))
    };
    // A POST is an effect, and effects are the leader's.
    if source.method == Some(Method::Post) && !ctx.leader.may_write() {
        return Err(Error::NotLeader { attempted: "asking the source".to_owned() });
    }
    let timeout = ctx.config.fetch_timeout.to_std();
    let url = &source.url.0;
    let request = match source.method.unwrap_or(Method::Get) {
        Method::Get => Request::get(url, MAX_BYTES + 1, timeout),
        // The key lets the source recognise a request that is repeated after a lost answer.
        Method::Post => Request::post(url, "", MAX_BYTES + 1, timeout)
            .and_then(|request| request.header("idempotency-key", effect)),
    };
    let mut request = match request {
        Ok(request) => request,
        Err(error) => return unavailable(&error.to_string()),
    };
    if let Some(named) = &source.headers_secret_ref {
        let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
        let attempted = format!("reading Secret {namespace}/{}", named.name);
        let Some(secret) = ctx.find(&attempted, secrets.get(&named.name)).await? else {
            return unavailable(&format!(
                "headersSecretRef: Secret {} does not exist; create it, or name another",
                named.name
            ));
        };
        if !allows(&secret, url) {
            return unavailable(&format!(
                "headersSecretRef: annotation {ALLOWED_ORIGINS} of Secret {} does not name the \
                 origin of the URL; add it there",
                named.name
            ));
        }
        for (name, value) in secret.data.into_iter().flatten() {
            let text = String::from_utf8(value.0).unwrap_or_default();
            request = match request.secret_header(&name, text.trim_end_matches('\n')) {
                Ok(request) => request,
                Err(error) => return unavailable(&format!("headersSecretRef: {error}")),
            };
        }
    }
    Ok(match ctx.outbound.fetch(request).await {
        Ok(response) if response.status == 200 => match Document::parse(response.body) {
            Ok(document) if document.is_exact() => Ok(Arc::new(document)),
            Ok(_) => Err(Doubt::new(
                DoubtReason::HttpUnclear,
                "spec.source: its document holds a number that would be changed by being taken over; send it as text",
            )),
            Err(malformed) => {
                Err(Doubt::new(DoubtReason::HttpUnclear, &format!("spec.source: {malformed}")))
            }
        },
        Ok(response) => Err(Doubt::new(
            DoubtReason::HttpUnclear,
            &format!(
                "spec.source answered with status {}, not 200; see why in its own log",
                response.status
            ),
        )),
        Err(error) => Err(Doubt::new(error.reason(), &format!("spec.source: {error}"))),
    })
}

fn allows(secret: &Secret, url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let origin = url.origin().ascii_serialization();
    let allowed = secret.annotations().get(ALLOWED_ORIGINS);
    allowed.is_some_and(|list| list.split(',').any(|allowed| allowed.trim() == origin))
}
