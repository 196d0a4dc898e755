//! The system of record: asked for a document, with headers from a Secret where one is named.
//!
//! A Service is asked at the endpoints that are ready, and not by its name: no DNS and no other
//! namespace can come in between.

use std::{net::IpAddr, sync::Arc};

use super::{Ctx, Error, secret, workload};
use crate::{
    api::contract::{Method, Source},
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
    let at = match address(ctx, namespace, source).await? {
        Ok(at) => at,
        Err(doubt) => return Ok(Err(doubt)),
    };
    let url = &at.url;
    let request = match source.method.unwrap_or(Method::Get) {
        Method::Get => Request::get(url, MAX_BYTES + 1, timeout),
        // The key lets the source recognise a request that is repeated after a lost answer.
        Method::Post => Request::post(url, "", MAX_BYTES + 1, timeout)
            .and_then(|request| request.header("idempotency-key", effect)),
    };
    let to_service = |request: Request| match &at.host {
        Some(host) => request.to_service(at.endpoints.clone(), host),
        None => Ok(request),
    };
    let mut request = match request.and_then(to_service) {
        Ok(request) => request,
        Err(error) => return unavailable(&error.to_string()),
    };
    if let Some(named) = &source.headers_secret_ref {
        let found = secret::for_origin(ctx, namespace, &named.name, &at.origin).await?;
        let with = found
            .and_then(|found| secret::headers(found, request).map_err(|error| error.to_string()));
        request = match with {
            Ok(request) => request,
            Err(why) => return unavailable(&format!("headersSecretRef: {why}")),
        };
    }
    Ok(match ctx.outbound.fetch(request).await {
        Ok(response) if response.status == 200 => match Document::parse(response.body) {
            Ok(document) if document.is_exact() => Ok(Arc::new(document)),
            Ok(_) => Err(Doubt::new(
                DoubtReason::SourceInvalid,
                "spec.source: its document holds a number that would be changed by being taken over; send it as text",
            )),
            Err(malformed) => {
                Err(Doubt::new(DoubtReason::SourceInvalid, &format!("spec.source: {malformed}")))
            }
        },
        Ok(response) => Err(Doubt::new(
            if says_it_is_down(response.status) {
                DoubtReason::HttpUnclear
            } else {
                DoubtReason::SourceInvalid
            },
            &format!(
                "spec.source answered with status {}, not 200; see why in its own log",
                response.status
            ),
        )),
        Err(error) => Err(Doubt::new(error.reason(), &format!("spec.source: {error}"))),
    })
}

/// Does an answer say of the source as a whole that it cannot answer now? 404 is about one document.
fn says_it_is_down(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..)
}

/// Where a source is asked.
struct Address {
    /// What is asked for.
    url: String,
    /// The URL whose origin a Secret has to name.
    origin: String,
    /// The name of the Service that is meant, with its port; None for a URL.
    host: Option<String>,
    /// The Service's endpoints.
    endpoints: Vec<IpAddr>,
}

async fn address(
    ctx: &Ctx,
    namespace: &str,
    source: &Source,
) -> Result<Result<Address, Doubt>, Error> {
    let Some(service) = &source.service_ref else {
        let url = source.url.as_ref().map(|url| url.0.clone()).unwrap_or_default();
        let origin = url.clone();
        return Ok(Ok(Address { url, origin, host: None, endpoints: Vec::new() }));
    };
    let ready = match workload::endpoints(ctx, namespace, service).await? {
        Ok(ready) => ready,
        Err(doubt) => return Ok(Err(doubt)),
    };
    let name = format!("{}.{namespace}.svc", service.name);
    let host = if service.port == 80 { name.clone() } else { format!("{name}:{}", service.port) };
    let path = service.path.as_deref().unwrap_or("/");
    Ok(Ok(Address {
        url: format!("http://{name}:{}{path}", ready.port),
        origin: format!("http://{host}"),
        host: Some(host),
        endpoints: ready.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
    }))
}
