//! Calls of somebody's service, signed as Standard Webhooks has it.
//!
//! The answer is remembered for the look that follows; where that is lost with the process, the same
//! call is made again with the same key.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use kube::ResourceExt as _;
use moka::sync::Cache;
use ring::hmac;

use super::{Ctx, Error, secret};
use crate::{
    decide::moves::Call,
    domain::{Span, Told},
    outbound::{OutboundError, Request},
};

/// A key as tools for Standard Webhooks write it.
const ENCODED: &str = "whsec_";

/// For how long an answer is remembered: the look that follows comes at once.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Where answers are remembered.
#[must_use]
pub fn memory() -> Cache<String, Told> {
    Cache::builder().max_capacity(10_000).time_to_live(REMEMBERED).build()
}

/// Makes the call, and remembers what came of it.
///
/// # Errors
/// Only what concerns the API server as a whole, or the lease.
pub async fn call(ctx: &Ctx, namespace: &str, id: &str, call: &Call) -> Result<(), Error> {
    let told = match request(ctx, namespace, call).await? {
        Err(why) => Told::NotSent(why),
        Ok(request) => {
            // Right before it is sent; its time is shorter than what is left of the lease.
            if !ctx.leader.may_write() {
                return Err(Error::NotLeader { attempted: "calling a webhook".to_owned() });
            }
            told_by(ctx.outbound.tell(request).await, ctx.now())
        }
    };
    remember(ctx, namespace, id, told);
    Ok(())
}

/// Remembers what came of an act, for the look that follows.
pub fn remember(ctx: &Ctx, namespace: &str, id: &str, told: Told) {
    ctx.told.insert(remembered_as(namespace, id), told);
}

/// What came of that act, as far as this process knows.
#[must_use]
pub fn told(ctx: &Ctx, namespace: &str, id: &str) -> Option<Told> {
    ctx.told.get(&remembered_as(namespace, id))
}

fn remembered_as(namespace: &str, id: &str) -> String {
    format!("{namespace}/{id}")
}

/// What came of it, told at `now`.
fn told_by(answer: Result<(u16, Option<Span>), OutboundError>, now: Timestamp) -> Told {
    match answer {
        Ok((status, retry_after)) => Told::Answered { status, retry_after },
        Err(error @ OutboundError::Busy(_)) => Told::NoRoom { why: error.to_string(), at: now },
        Err(error) if may_pass(&error) => Told::Unheard(error.to_string()),
        Err(error) => Told::NotSent(error.to_string()),
    }
}

/// Can it end by itself?
fn may_pass(error: &OutboundError) -> bool {
    match error {
        OutboundError::Dns(_)
        | OutboundError::Connect(_)
        | OutboundError::Tls(_)
        | OutboundError::Broken(_)
        | OutboundError::Deadline { .. }
        | OutboundError::TooLarge { .. } => true,
        OutboundError::Busy(_)
        | OutboundError::Setup(_)
        | OutboundError::Url(_)
        | OutboundError::Header(_)
        | OutboundError::PlainHttp(_)
        | OutboundError::AddressRefused { .. }
        | OutboundError::Redirect { .. } => false,
    }
}

/// The request, or what a person has to change.
async fn request(
    ctx: &Ctx,
    namespace: &str,
    call: &Call,
) -> Result<Result<Request, String>, Error> {
    // Whatever is sent under the lease ends before the lease does.
    let within = ctx.config.fetch_timeout.min(ctx.config.api_timeout);
    let timeout = call.timeout.unwrap_or(within).min(within).to_std();
    let request = Request::post(&call.url, call.body.clone(), 0, timeout);
    let mut request = match request {
        Ok(request) => request,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if let Some(name) = &call.headers {
        let found = secret::for_origin(ctx, namespace, name, &call.url).await?;
        let with = found
            .and_then(|found| secret::headers(found, request).map_err(|error| error.to_string()));
        request = match with {
            Ok(request) => request,
            Err(why) => return Ok(Err(format!("headersSecretRef: {why}"))),
        };
    }
    let mut key = None;
    if let Some(named) = &call.signing_key {
        let found = secret::for_origin(ctx, namespace, &named.name, &call.url).await?;
        let entry = found.and_then(|found| {
            let name = found.name_any();
            let entry = found.data.and_then(|mut data| data.remove(&named.key));
            let missing = || format!("Secret {name} has no key {}; add it there", named.key);
            signing_key(&entry.ok_or_else(missing)?.0)
        });
        key = match entry {
            Ok(key) => Some(key),
            Err(why) => return Ok(Err(format!("signingKeyRef: {why}"))),
        };
    }
    let headers = headers(call, key.as_deref(), ctx.now().as_second());
    let with = headers.into_iter().try_fold(request, |request, (name, value)| {
        request.header(name, &value).map_err(|error| error.to_string())
    });
    Ok(with)
}

fn headers(call: &Call, key: Option<&[u8]>, now: i64) -> Vec<(&'static str, String)> {
    // A full stop parts what is signed, and cannot stand in the id; names have no underscore.
    let id = call.key.replace('.', "_");
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        ("idempotency-key", call.key.clone()),
        ("webhook-id", id.clone()),
        ("webhook-timestamp", now.to_string()),
    ];
    if let Some(key) = key {
        let signed = format!("{id}.{now}.{}", call.body);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
        headers.push(("webhook-signature", format!("v1,{}", BASE64_STANDARD.encode(tag))));
    }
    headers
}

/// The key that is written so.
fn signing_key(text: &[u8]) -> Result<Vec<u8>, String> {
    let text = text.trim_ascii();
    let key = match text.strip_prefix(ENCODED.as_bytes()) {
        None => text.to_vec(),
        Some(encoded) => BASE64_STANDARD
            .decode(encoded)
            .map_err(|_| format!("what follows {ENCODED} is not base64; write the key anew"))?,
    };
    if key.is_empty() { Err("the key is empty; write one".to_owned()) } else { Ok(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_signed_as_the_specification_has_it() {
        // The example of the specification, https://www.standardwebhooks.com.
        let key = signing_key(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let call = Call {
            key: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            url: String::new(),
            headers: None,
            signing_key: None,
            body: "{\"test\": 2432232314}".to_owned(),
            timeout: None,
        };
        let signature = |headers: Vec<(&str, String)>| headers.last().unwrap().1.clone();
        let signed = headers(&call, Some(&key), 1_614_265_330);
        assert_eq!(signature(signed), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let unsigned = headers(&call, None, 1_614_265_330);
        assert!(unsigned.iter().all(|(name, _)| *name != "webhook-signature"));
        let dotted = Call { key: "shop.uk-1/1/heal/call".to_owned(), ..call };
        let headers = headers(&dotted, None, 1);
        assert_eq!(headers[1].1, "shop.uk-1/1/heal/call");
        assert_eq!(headers[2].1, "shop_uk-1/1/heal/call");
    }

    #[test]
    fn what_waited_in_our_own_queue_is_not_taken_for_a_call_that_may_have_arrived() {
        let origin = || "https://hooks.test".to_owned();
        let told = |error: OutboundError| {
            let why = error.to_string();
            (told_by(Err(error), Timestamp::UNIX_EPOCH), why)
        };
        let (busy, why) = told(OutboundError::Busy(origin()));
        assert_eq!(busy, Told::NoRoom { why, at: Timestamp::UNIX_EPOCH });
        let (late, why) = told(OutboundError::Deadline { origin: origin(), after: REMEMBERED });
        assert_eq!(late, Told::Unheard(why));
        let (refused, why) = told(OutboundError::PlainHttp(origin()));
        assert_eq!(refused, Told::NotSent(why));
    }

    #[test]
    fn a_key_is_taken_as_it_is_or_decoded_and_never_empty() {
        assert_eq!(signing_key(b"plain\n").unwrap(), b"plain");
        assert_eq!(signing_key(b"whsec_YWJj").unwrap(), b"abc");
        for (text, says) in [("whsec_!", "not base64"), ("", "empty"), ("whsec_", "empty")] {
            assert!(signing_key(text.as_bytes()).unwrap_err().contains(says), "{text}");
        }
    }
}
