//! What is served over HTTP: to machines liveness, readiness and metrics, to people pages and a JSON API.
//!
//! Knows: the router and how it stops. Must not know: the API server; what people see and do goes
//! through [`Desk`]. The two have an address each, since whoever may scrape need not see the rest.
//!
//! ```text
//! listen.rs    how many may be connected, and for how long
//! forward.rs   which replica answers
//! caller.rs    who calls
//! api/         the JSON API
//! patient.rs   what is sent to those who do not read
//! pages/       the dashboard
//! name.rs      names in what is asked for
//! openapi.rs   the document that describes it
//! problem.rs   errors
//! ```

pub mod api;
mod caller;
mod forms;
mod forward;
mod listen;
mod login;
mod name;
mod openapi;
mod pages;
mod patient;
mod problem;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{
            ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
            WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::{listen::Seats, problem::Problem};
use crate::{config::Config, controllers::desk::Desk, metrics::MEDIA_TYPE};

/// What machines ask for: no token, no names but those in metrics.
fn machines(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(desk)
}

/// Those who scrape and probe are few, and have seats of their own: people do not take theirs.
const FOR_MACHINES: Seats = Seats { most: 64, each: 16 };
/// From one address as many as may follow what happens, and so many more to look at the rest.
const MORE: usize = 96;
/// From one address at least so many.
const LEAST: usize = 2_048;
/// The most bytes of a request's body.
const MAX_BODY: usize = 16 * 1024;
/// The longest path with its query, in bytes.
const MAX_URI: usize = 8 * 1024;
/// All headers together, in bytes; a token is in one of them.
const MAX_HEADERS: usize = 32 * 1024;
/// How long somebody may wait for an answer; each request to the API server has its own, shorter time.
const PATIENCE: Duration = Duration::from_secs(30);
/// What each answer says, whatever it is.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    ),
];

/// What people ask for: nothing without a token.
fn people(desk: Arc<Desk>) -> Router {
    let not_so =
        || async { Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path has no such method") };
    api::router()
        .merge(login::router())
        .merge(forms::router())
        .merge(pages::router())
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&desk), forward::to_the_leader))
        .layer(middleware::from_fn(guarded))
        .with_state(desk)
}

/// Nothing is here, but a page may be where the path has a slash too many.
async fn nothing(request: Request) -> Response {
    let uri = request.uri();
    if let Some(page) = pages::without_slash(uri.path()).filter(|_| request.method() == Method::GET)
    {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        return Redirect::permanent(&format!("{page}{query}")).into_response();
    }
    Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path").into_response()
}

/// All of them may come by one address, through what is in front of us, and leave the same to others.
fn for_people(streams: usize) -> Seats {
    let each = streams.saturating_add(MORE).max(LEAST);
    Seats { most: 2 * each, each }
}

/// The HTTP library has limits of its own, which are far above what anybody needs here.
fn oversized(request: &Request) -> Option<Problem> {
    let uri = request.uri().path_and_query().map_or(0, |asked| asked.as_str().len());
    let header = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    let headers: usize = request.headers().iter().map(header).sum();
    if uri > MAX_URI {
        let detail = format!("the path and its query have at most {MAX_URI} bytes");
        return Some(Problem::new(StatusCode::URI_TOO_LONG, detail));
    }
    let detail = format!("all headers have at most {MAX_HEADERS} bytes");
    (headers > MAX_HEADERS)
        .then(|| Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail))
}

/// Ends what takes too long, answers people with a page whatever is wrong, and says to browsers what they must
/// not do.
async fn guarded(request: Request, next: Next) -> Response {
    let late = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "there was no answer in time");
    let is_for_people = pages::is_asked_for(request.uri().path(), request.headers());
    let mut response = if let Some(problem) = oversized(&request) {
        problem.into_response()
    } else {
        let answer = tokio::time::timeout(PATIENCE, next.run(request)).await;
        answer.unwrap_or_else(|_| late().into_response())
    };
    if is_for_people && let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let page = pages::Refusal::Shown(problem).into_response();
        let said = std::mem::replace(&mut response, page).into_parts().0.headers;
        for (name, value) in
            said.iter().filter(|(name, _)| [ALLOW, WWW_AUTHENTICATE].contains(name))
        {
            response.headers_mut().insert(name, value.clone());
        }
    }
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

async fn scrape(State(desk): State<Arc<Desk>>) -> Response {
    match desk.scrapes.text().await {
        Ok(text) => ([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response(),
        Err(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "metrics were not written in time").into_response()
        }
    }
}

async fn readyz(State(desk): State<Arc<Desk>>) -> (StatusCode, &'static str) {
    match desk.health.ready() {
        Ok(why) => (StatusCode::OK, why),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

/// Serves until `shutdown`.
///
/// # Errors
/// When an address cannot be listened on.
pub async fn serve(
    config: &Config,
    desk: &Arc<Desk>,
    shutdown: CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let listener = TcpListener::bind(config.listen).await;
    let (listener, address) = listening("--listen", config.listen, listener)?;
    info!(%address, "serving /livez, /readyz and /metrics");
    let mut servers = JoinSet::new();
    let machines = machines(Arc::clone(desk));
    servers.spawn(listen::answer(listener, machines, FOR_MACHINES, shutdown.clone()));
    if let Some(listen) = config.dashboard_listen {
        let (listener, address) = listening("--dashboard-listen", listen, patient::bind(listen))?;
        info!(%address, "serving people");
        desk.answers_at(address.port());
        let seats = for_people(usize::from(config.dashboard_streams));
        servers.spawn(listen::answer(listener, people(Arc::clone(desk)), seats, shutdown));
    }
    Ok(tokio::spawn(async move { while servers.join_next().await.is_some() {} }))
}

fn listening(
    flag: &str,
    listen: SocketAddr,
    listener: io::Result<TcpListener>,
) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = listener.with_context(|| format!("{flag}: cannot listen on {listen}"))?;
    let address = listener.local_addr().with_context(|| format!("{flag}: no address"))?;
    Ok((listener, address))
}
