//! Secrets that go along with a request to somebody else.
//!
//! Nothing of one ever goes to an origin that the Secret's own annotation does not name: whoever may
//! write contracts or policies must not be able to send somebody else's token to a server of theirs.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use url::Url;

use super::{Ctx, Error};
use crate::{
    api::ALLOWED_ORIGINS,
    outbound::{OutboundError, Request},
};

/// The Secret, where it may be used for the origin of `url`; else what a person has to change.
///
/// # Errors
/// Only what concerns the API server as a whole.
pub async fn for_origin(
    ctx: &Ctx,
    namespace: &str,
    name: &str,
    url: &str,
) -> Result<Result<Secret, String>, Error> {
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    let attempted = format!("reading Secret {namespace}/{name}");
    let Some(secret) = ctx.find(&attempted, secrets.get(name)).await? else {
        return Ok(Err(format!("Secret {name} does not exist; create it, or name another")));
    };
    if !allows(&secret, url) {
        return Ok(Err(format!(
            "annotation {ALLOWED_ORIGINS} of Secret {name} does not name the origin of the URL; add \
             it there"
        )));
    }
    Ok(Ok(secret))
}

/// `request` with each entry of the Secret as a header.
///
/// # Errors
/// See [`Request::secret_header`].
pub fn headers(secret: Secret, request: Request) -> Result<Request, OutboundError> {
    secret.data.into_iter().flatten().try_fold(request, |request, (name, value)| {
        let text = String::from_utf8(value.0).unwrap_or_default();
        request.secret_header(&name, text.trim_end_matches('\n'))
    })
}

fn allows(secret: &Secret, url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let origin = url.origin().ascii_serialization();
    let allowed = secret.annotations().get(ALLOWED_ORIGINS);
    allowed.is_some_and(|list| list.split(',').any(|allowed| allowed.trim() == origin))
}
