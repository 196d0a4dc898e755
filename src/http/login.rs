//! Logging in and out: a token is shown once, and a cookie stands for it from then on.

use std::sync::Arc;

use axum::{
    Form, Router,
    extract::{FromRequest, Query, Request, State, rejection::QueryRejection},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_SECURITY_POLICY, SET_COOKIE},
    },
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tracing::info;

use super::{
    caller::{COOKIE_NAME, anybody, is_silent, logged_in, of_our_own, peer},
    pages,
    problem::Problem,
};
use crate::controllers::desk::{Desk, Refused};

const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// What whoever cannot log in is told whose browser does not say which page sends the token.
const NOT_SAID: &str = "This browser does not say which page sent the token, so it was not looked at: browsers \
                        say so, and keep a login, only over https or from this very machine. Open the dashboard by \
                        https://, or run <code>kubectl port-forward</code> and open it as http://localhost.";
/// What whoever has logged in is told whose browser did not keep the cookie.
const NOT_KEPT: &str = "The token was accepted, but this browser did not keep the login: it does so only over \
                        https, or from this very machine. Open the dashboard by https://, or run <code>kubectl \
                        port-forward</code> and open it as http://localhost. Some browsers, such as Safari, keep \
                        it over https alone.";

/// Where the browser was going.
#[derive(Debug, Default, Deserialize)]
struct Going {
    next: Option<String>,
    /// There where it has just logged in.
    done: Option<String>,
}

#[derive(Deserialize)]
struct Shown {
    token: String,
    next: Option<String>,
}

/// Its routes.
pub fn router() -> Router<Arc<Desk>> {
    Router::new().route("/login", get(ask).post(log_in)).route("/logout", post(log_out))
}

async fn ask(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    going: Result<Query<Going>, QueryRejection>,
) -> Response {
    let going = going.map(|Query(going)| going).unwrap_or_default();
    let next = ours(going.next.as_deref());
    if going.done.is_some() {
        // Whoever writes such a link leads nobody elsewhere and makes nobody known.
        return match logged_in(&desk, &headers) {
            Some(_) => Redirect::to(&next).into_response(),
            None => page(StatusCode::OK, NOT_KEPT, &next),
        };
    }
    // By another name nobody would have to log in.
    let by_name = anybody(&desk, &headers).err();
    let by_name = by_name.filter(|why| why.status() == StatusCode::MISDIRECTED_REQUEST);
    let why = by_name.as_ref().map_or("", Problem::detail);
    page(StatusCode::OK, why, &next)
}

async fn log_in(State(desk): State<Arc<Desk>>, request: Request) -> Result<Response, Problem> {
    if let Err(problem) = of_our_own(request.headers()) {
        let is_silent = is_silent(request.headers());
        let told = is_silent.then(|| page(problem.status(), NOT_SAID, "/"));
        return told.ok_or(problem);
    }
    let (parts, body) = request.into_parts();
    let from = peer(&parts);
    let Form(shown) = Form::<Shown>::from_request(Request::from_parts(parts, body), &()).await?;
    let next = ours(shown.next.as_deref());
    let token = shown.token.trim();
    let person = match desk.person(token, from).await {
        Ok(person) => person,
        Err(refused @ (Refused::Unknown(_) | Refused::TooMany { .. })) => {
            info!(%from, "somebody could not log in: {refused}");
            let problem = Problem::from(refused);
            return Ok(page(problem.status(), problem.detail(), &next));
        }
        Err(refused) => return Err(refused.into()),
    };
    let (pass, lasts) = desk.pass(&person, token)?;
    info!(by = person.name, %from, "somebody logged in");
    // Browsers say nothing of a cookie that they do not keep: whether this one did is seen by what it asks next.
    let seen = format!("/login?done=&next={next}");
    Ok((cookie(&pass, lasts.as_secs()), Redirect::to(&seen)).into_response())
}

async fn log_out(request: Request) -> Result<Response, Problem> {
    of_our_own(request.headers())?;
    Ok((cookie("", 0), Redirect::to("/login")).into_response())
}

fn cookie(pass: &str, seconds: u64) -> [(axum::http::HeaderName, String); 1] {
    let attributes = "Path=/; Secure; HttpOnly; SameSite=Lax";
    [(SET_COOKIE, format!("{COOKIE_NAME}={pass}; {attributes}; Max-Age={seconds}"))]
}

/// A path of ours: whoever writes a link to the login must not choose where it leads.
fn ours(next: Option<&str>) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    let is_ours = |next: &&str| {
        next.starts_with('/') && !next.starts_with("//") && next.chars().all(is_plain)
    };
    next.filter(is_ours).unwrap_or("/").to_owned()
}

/// `said` and `next` are our own words and a path of ours: nothing in them can be HTML.
fn page(status: StatusCode, said: &str, next: &str) -> Response {
    let said = if said.is_empty() {
        String::new()
    } else {
        format!("<p class=\"missing\" role=\"alert\">{said}</p>")
    };
    let (style, icon) = (pages::style(), pages::icon());
    let text = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Log in · Kintsugi</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <link rel=\"icon\" href=\"{icon}\"><link rel=\"stylesheet\" href=\"{style}\"></head>\
         <body><main class=\"login\"><h1><img src=\"{icon}\" alt=\"\"> Kintsugi</h1>{said}\
         <form method=\"post\" action=\"/login\"><label for=\"token\">Token</label>\
         <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"off\" \
         aria-describedby=\"how\" required autofocus>\
         <p id=\"how\"><small>Such as <code>kubectl create token ann --audience kintsugi</code> \
         prints</small></p>\
         <input type=\"hidden\" name=\"next\" value=\"{next}\">\
         <button class=\"first\">Log in</button></form></main></body></html>"
    );
    let policy = [(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY))];
    (status, policy, Html(text)).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::header::HOST;

    use super::*;
    use crate::controllers::desk::tests::desk;

    #[tokio::test]
    async fn by_a_name_by_which_anybody_is_nobody_the_login_says_so() {
        let open = desk(&["--dashboard-anonymous", "--dashboard-host=k.shop"]);
        let (open, closed) = (Arc::new(open), Arc::new(desk(&[])));
        for (desk, host, says) in
            [(&open, "k.example", true), (&open, "k.shop", false), (&closed, "k.example", false)]
        {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            let answer = ask(State(Arc::clone(desk)), headers, Ok(Query(Going::default()))).await;
            assert_eq!(answer.status(), StatusCode::OK);
            let text = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            let text = String::from_utf8(text.to_vec()).unwrap();
            assert!(text.contains("name=\"token\""), "{text}");
            assert_eq!(text.contains("--dashboard-host"), says, "{host}: {text}");
        }
    }

    #[tokio::test]
    async fn whose_browser_keeps_no_login_is_told_why_and_what_to_do() {
        let desk = Arc::new(desk(&[]));
        let going = Going { next: Some("/log".to_owned()), done: Some(String::new()) };
        let answer = ask(State(desk), HeaderMap::new(), Ok(Query(going))).await;
        let text = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.contains("did not keep") && text.contains("port-forward"), "{text}");
        assert!(text.contains("name=\"next\" value=\"/log\""), "{text}");
    }

    #[test]
    fn a_link_to_the_login_leads_nowhere_else_afterwards() {
        assert_eq!(ours(Some("/namespaces/shop/contracts/uk")), "/namespaces/shop/contracts/uk");
        for bad in ["https://evil", "//evil", "/\\evil", "evil", "/a\"onload=", "/%2f/evil", ""] {
            assert_eq!(ours(Some(bad)), "/", "{bad}");
        }
        assert_eq!(ours(None), "/");
    }
}
