//! Who calls: nothing is answered before that is known.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, header::AUTHORIZATION, request::Parts},
};

use super::problem::Problem;
use crate::controllers::desk::{Desk, Person};

/// Whoever sends a request.
#[derive(Clone, Debug)]
pub struct Caller(pub Arc<Person>);

impl FromRequestParts<Arc<Desk>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Problem> {
        let token = bearer(parts).ok_or_else(|| {
            Problem::new(StatusCode::UNAUTHORIZED, "no token: send `Authorization: Bearer <token>`")
        })?;
        Ok(Self(desk.person(token).await?))
    }
}

/// The token of the one Authorization header. Two of them are none: a proxy may judge the other one.
fn bearer(parts: &Parts) -> Option<&str> {
    let mut all = parts.headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn a_token_is_read_from_one_bearer_header_and_nothing_else() {
        let cases: [(&[&str], Option<&str>); 6] = [
            (&["Bearer abc"], Some("abc")),
            (&["bearer  abc "], Some("abc")),
            (&["Basic abc"], None),
            (&["abc"], None),
            (&["Bearer abc", "Bearer def"], None),
            (&[], None),
        ];
        for (headers, expected) in cases {
            let request = headers
                .iter()
                .fold(Request::builder(), |request, header| request.header(AUTHORIZATION, *header));
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(bearer(&parts), expected, "{headers:?}");
        }
    }
}
