//! Pages for people: each is a view made of what the desk shows, and a template beside it.
//!
//! Knows: how things look, and which right shows which part. Must not know: what any of it means to the
//! operator; nothing is decided here. All text that comes from outside is [`said::Said`], is escaped by
//! the template, and needs no script to be read.
//!
//! ```text
//! overview.rs   what is broken, what is being healed, what needs a person
//! incidents.rs  the open Incidents         incident.rs   one of them
//! contracts.rs  the contracts              contract.rs   one of them
//! timeline.rs   an episode as a picture    documents.rs  what documents are to each other
//! breakers.rs   what did not answer        policies.rs   what came of which step
//! log.rs        what was done
//! assets.rs     stylesheet and script      said.rs, when.rs, mark.rs   text, times, states
//! ```

mod assets;
mod breakers;
mod contract;
mod contracts;
mod documents;
mod incident;
mod incidents;
mod log;
mod mark;
mod overview;
mod policies;
mod said;
mod timeline;
mod when;

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::{FromRequestParts, Path},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{ACCEPT, AUTHORIZATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER},
        request::Parts,
    },
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use jiff::Timestamp;
use serde::Deserialize;

pub(super) use self::assets::{icon, style};
use self::{said::Said, when::When};
use super::{api::Asked, caller::Caller, name::Name, problem::Problem};
use crate::controllers::{
    Key,
    desk::{Desk, Person, Refused, act::About, rights::Scope},
};

/// What a page may do: nothing but show what this very server sends.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
);
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// The routes of all pages.
pub fn router() -> Router<Arc<Desk>> {
    Router::new()
        .route("/", get(overview::page))
        .route("/contracts", get(contracts::page))
        .route("/namespaces/{namespace}/contracts/{name}", get(contract::page))
        .route("/incidents", get(incidents::page))
        .route("/namespaces/{namespace}/incidents/{name}", get(incident::page))
        .route("/breakers", get(breakers::page))
        .route("/policies", get(policies::page))
        .route("/log", get(log::page))
        .route("/assets/{name}", get(assets::asset))
}

/// What pages, their forms and the login are below; and the first page itself.
const BELOW: [&str; 8] = [
    "/contracts",
    "/namespaces",
    "/incidents",
    "/breakers",
    "/policies",
    "/log",
    "/login",
    "/logout",
];

fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Is it a person who asks, to be answered with a page? Programs are told what is wrong as they can read it.
pub(super) fn is_asked_for(path: &str, headers: &HeaderMap) -> bool {
    let is_page = path == "/" || BELOW.iter().any(|root| is_below(path, root));
    let accepted = headers.get(ACCEPT).and_then(|accepted| accepted.to_str().ok());
    let wants_page = accepted.is_some_and(|accepted| accepted.contains("text/html"));
    !is_below(path, "/api") && (is_page || wants_page)
}

/// The page that `path` would be without the slash that it ends with. A path of ours begins with one slash: after
/// two of them browsers look for a host.
pub(super) fn without_slash(path: &str) -> Option<&str> {
    let page = path.trim_end_matches('/');
    (page != path && BELOW.iter().any(|root| is_below(page, root))).then_some(page)
}

/// What all pages have.
struct Frame {
    title: Said,
    /// The entry of the navigation that this page belongs to.
    here: &'static str,
    /// Who looks; empty where nobody is known.
    person: Said,
    now: Option<When>,
    style: String,
    script: String,
    icon: String,
}

impl Frame {
    fn new(title: impl AsRef<str>, here: &'static str) -> Self {
        Self {
            title: Said::of(title),
            here,
            person: Said::default(),
            now: None,
            style: assets::style(),
            script: assets::script(),
            icon: assets::icon(),
        }
    }

    fn of(title: impl AsRef<str>, here: &'static str, person: &Person, now: Timestamp) -> Self {
        Self {
            person: Said::of(&person.name),
            now: Some(When::of(now, now)),
            ..Self::new(title, here)
        }
    }
}

/// A part of a page that is there only for who may see it.
enum Part<T> {
    Seen(T),
    /// The right that is missing.
    Missing(Said),
}

impl<T> Part<T> {
    /// A missing right leaves a gap; anything else is an answer for the whole page.
    fn of(answer: Result<T, Refused>) -> Result<Self, Refused> {
        let seen = Refused::or_gap(answer)?;
        Ok(seen.map_or_else(|why| Self::Missing(Said::of(why)), Self::Seen))
    }

    fn seen(&self) -> Option<&T> {
        match self {
            Self::Seen(seen) => Some(seen),
            Self::Missing(_) => None,
        }
    }

    fn as_ref(&self) -> Part<&T> {
        match self {
            Self::Seen(seen) => Part::Seen(seen),
            Self::Missing(why) => Part::Missing(why.clone()),
        }
    }

    fn map<U>(self, next: impl FnOnce(T) -> U) -> Part<U> {
        match self {
            Self::Seen(seen) => Part::Seen(next(seen)),
            Self::Missing(why) => Part::Missing(why),
        }
    }
}

/// An answer as a page.
struct Page<T>(T);

impl<T: Template> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            Ok(html) => {
                ([(CONTENT_TYPE, HTML), (CONTENT_SECURITY_POLICY, POLICY)], html).into_response()
            }
            Err(error) => {
                tracing::error!(%error, "a page could not be written");
                let detail = "the page could not be written";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
            }
        }
    }
}

/// A problem as a page, or the way to the login where nobody is known yet.
pub(super) enum Refusal {
    Shown(Problem),
    LogIn(String),
}

#[derive(Template)]
#[template(path = "refusal.html")]
struct RefusalPage {
    frame: Frame,
    detail: Said,
}

impl<P: Into<Problem>> From<P> for Refusal {
    fn from(problem: P) -> Self {
        Self::Shown(problem.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Shown(problem) => problem,
            Self::LogIn(next) => {
                return Redirect::to(&format!("/login?next={next}")).into_response();
            }
        };
        let frame = Frame::new(problem.title(), "");
        let page = Page(RefusalPage { frame, detail: Said::of(problem.detail()) });
        let mut response = (problem.status(), page).into_response();
        if let Some(after) = problem.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        response
    }
}

/// Extractor whose refusal is a page.
pub(super) struct Or<E>(pub E);

impl<E> FromRequestParts<Arc<Desk>> for Or<E>
where
    E: FromRequestParts<Arc<Desk>, Rejection = Problem>,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Refusal> {
        let taken = E::from_request_parts(parts, desk).await;
        taken.map(Self).map_err(|problem| {
            let has_token = parts.headers.contains_key(AUTHORIZATION);
            // By a name that nobody gave us anybody is nobody, and whoever has logged in is somebody.
            let is_nobody = matches!(
                problem.status(),
                StatusCode::UNAUTHORIZED | StatusCode::MISDIRECTED_REQUEST
            );
            if is_nobody && !has_token {
                // What a form was sent to is no page to come back to.
                let is_page = parts.method == Method::GET;
                return Refusal::LogIn(if is_page { parts.uri.path() } else { "/" }.to_owned());
            }
            problem.into()
        })
    }
}

/// Extractor of the object in the path.
pub(super) struct At(pub Key);

impl FromRequestParts<Arc<Desk>> for At {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Problem> {
        let Path((namespace, name)) = Path::<(Name, Name)>::from_request_parts(parts, desk).await?;
        Ok(Self(Key::new(namespace.as_str(), name.as_str())))
    }
}

/// Which part of a list.
#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    after: usize,
}

/// Extractor of what a page begins with that lists what is in one namespace, or in all.
struct List {
    person: Arc<Person>,
    namespace: Option<Name>,
    after: usize,
    now: Timestamp,
}

impl FromRequestParts<Arc<Desk>> for List {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Problem> {
        let Caller(person) = Caller::from_request_parts(parts, desk).await?;
        let Asked(listing) = Asked::<Listing>::from_request_parts(parts, desk).await?;
        let namespace = name_in("namespace", &listing.namespace)?;
        Ok(Self { person, namespace, after: listing.after, now: desk.now() })
    }
}

impl List {
    /// The one namespace.
    fn only(&self) -> Option<&str> {
        self.namespace.as_ref().map(Name::as_str)
    }

    /// The namespaces in which whoever looks may list `resource`.
    async fn scope(&self, desk: &Desk, resource: &'static str) -> Result<Scope, Refused> {
        desk.scope(&self.person, resource, self.only()).await
    }

    /// The frame, and the namespace for the form.
    fn head(&self, title: &str, here: &'static str) -> (Frame, Said) {
        let only = Said::of(self.only().unwrap_or_default());
        (Frame::of(title, here, &self.person, self.now), only)
    }

    /// Where the list at `path` goes on.
    fn next(&self, path: &str, after: &str) -> String {
        format!("{path}?namespace={}&after={after}", self.only().unwrap_or_default())
    }
}

/// Whether somebody is offered an act; else the right that is missing.
async fn offers(
    desk: &Desk,
    person: &Arc<Person>,
    about: About,
    key: &Key,
) -> Result<Part<()>, Refused> {
    Part::of(desk.offers(person, about, key).await)
}

/// The name in a field of a form, where an empty one is none.
fn name_in(field: &str, text: &str) -> Result<Option<Name>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = |why: &str| Problem::invalid(format!("{field}: {why}"));
    Name::try_from(text.to_owned()).map(Some).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use axum::http::{Request, header::HOST};

    use super::*;
    use crate::controllers::desk::tests::desk;

    #[test]
    fn people_are_answered_with_pages_and_programs_below_the_api_never() {
        for (path, accepted, is_page) in [
            ("/", "*/*", true),
            ("/namespaces/shop/contracts/uk/heal", "", true),
            ("/login", "", true),
            ("/nothing", "text/html,application/xhtml+xml", true),
            ("/nothing", "*/*", false),
            ("/logs", "", false),
            ("/api/v1/log", "text/html", false),
            ("/api", "text/html", false),
            ("/apis", "text/html", true),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accepted))]);
            assert_eq!(is_asked_for(path, &headers), is_page, "{path} {accepted}");
        }
    }

    #[test]
    fn a_slash_too_many_leads_to_a_page_of_ours_and_nowhere_else() {
        for (path, page) in [
            ("/contracts/", Some("/contracts")),
            ("/namespaces/shop/contracts/uk//", Some("/namespaces/shop/contracts/uk")),
            ("/contracts", None),
            ("/", None),
            ("//", None),
            ("//evil.example/", None),
            ("//contracts/", None),
            ("/evil/", None),
            ("/api/v1/contracts/", None),
        ] {
            assert_eq!(without_slash(path), page, "{path}");
        }
    }

    #[tokio::test]
    async fn whoever_is_nobody_by_the_name_that_they_ask_is_led_to_the_login_and_then_back() {
        let (open, closed) =
            (desk(&["--dashboard-anonymous", "--dashboard-host=k.shop"]), desk(&[]));
        let (open, closed) = (Arc::new(open), Arc::new(closed));
        for (desk, method, host, leads_to) in [
            (&open, "GET", "k.example", Some("/contracts")),
            (&open, "POST", "k.example", Some("/")),
            (&open, "GET", "k.shop", None),
            (&closed, "GET", "k.shop", Some("/contracts")),
        ] {
            let request = Request::builder().method(method).uri("/contracts").header(HOST, host);
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            let next = match Or::<Caller>::from_request_parts(&mut parts, desk).await {
                Ok(_) => None,
                Err(Refusal::LogIn(next)) => Some(next),
                Err(Refusal::Shown(problem)) => panic!("{host}: {problem:?}"),
            };
            assert_eq!(next.as_deref(), leads_to, "{method} {host}");
        }
    }
}
