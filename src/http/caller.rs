//! Who calls: nothing is answered before that is known.
//!
//! A token is sent by whoever means to; a cookie, and the right to be nobody, are sent along by any page that a
//! browser has open. So without a token only a page of ours may do something, as browsers say of each request
//! (Fetch Metadata, a W3C draft, and the header Origin, RFC 6454); what says neither may not. With a token
//! neither need be said, but what is said has to be true.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{
        HeaderMap, HeaderName, Method, StatusCode, Uri,
        header::{AUTHORIZATION, COOKIE, HOST, ORIGIN},
        request::Parts,
        uri::Authority,
    },
};

use super::problem::Problem;
use crate::controllers::desk::{Desk, Person};

/// The cookie of a browser that is logged in. By its prefix browsers take it only with `Secure`, for this host
/// alone and for all of its paths (RFC 6265bis).
pub const COOKIE_NAME: &str = "__Host-kintsugi";

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whoever sends a request.
#[derive(Clone, Debug)]
pub struct Caller(pub Arc<Person>);

impl FromRequestParts<Arc<Desk>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Problem> {
        let is_safe = is_safe(&parts.method);
        if parts.headers.contains_key(AUTHORIZATION) {
            // What is in front of us may add the token to whatever a browser sends.
            if !is_safe && says_whence(&parts.headers) {
                of_our_own(&parts.headers)?;
            }
            let token = bearer(&parts.headers).ok_or_else(|| {
                Problem::new(
                    StatusCode::UNAUTHORIZED,
                    "no token: send `Authorization: Bearer <token>`",
                )
            })?;
            return Ok(Self(desk.person(token, peer(parts)).await?));
        }
        let person = match logged_in(desk, &parts.headers) {
            Some(holder) => holder,
            None => anybody(desk, &parts.headers)?,
        };
        if !is_safe {
            of_our_own(&parts.headers)?;
        }
        Ok(Self(person))
    }
}

/// Whoever has logged in with this browser.
pub fn logged_in(desk: &Desk, headers: &HeaderMap) -> Option<Arc<Person>> {
    pass(headers).and_then(|pass| desk.holder(pass))
}

/// Whoever brings nothing, where that is allowed. A page whose name was made to lead here (DNS rebinding) is of
/// the same origin to the browser that has it open: only the name tells it from ours. Who brings a token or a
/// pass has had it from us for another one, so there the name does not matter.
///
/// # Errors
/// Where it is not, or not by that name.
pub fn anybody(desk: &Desk, headers: &HeaderMap) -> Result<Arc<Person>, Problem> {
    let person = desk.anybody().ok_or_else(|| {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "no token: send `Authorization: Bearer <token>`, or log in at /login",
        )
    })?;
    if is_known(headers, &desk.hosts) {
        return Ok(person);
    }
    let detail = "without a token only localhost, a plain address and what --dashboard-host names may be asked";
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail))
}

/// Is the host that is asked this machine, a plain address, or one of `hosts`? Two of them are none.
fn is_known(headers: &HeaderMap, hosts: &[String]) -> bool {
    let mut all = headers.get_all(HOST).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return false };
    let Some(asked) = only.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = asked.host().trim_end_matches('.').to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse::<IpAddr>().is_ok() || hosts.contains(&name)
}

/// Sees to it that a page of ours sends this, and no other that the same browser has open.
///
/// # Errors
/// Where another one does, or nobody says which.
pub fn of_our_own(headers: &HeaderMap) -> Result<(), Problem> {
    let refused = || {
        let detail =
            "another page sent this: a browser does something here only from our own pages";
        Err(Problem::new(StatusCode::FORBIDDEN, detail))
    };
    if let Some(site) = headers.get(FETCH_SITE) {
        return if site == "same-origin" { Ok(()) } else { refused() };
    }
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()?.parse::<Uri>().ok());
    let from = origin.as_ref().and_then(Uri::authority).map(Authority::as_str);
    match (from, headers.get(HOST)) {
        (Some(from), Some(to)) if to.as_bytes() == from.as_bytes() => Ok(()),
        _ => refused(),
    }
}

/// The address that a request comes from; what is in front of us, where there is something.
pub fn peer(parts: &Parts) -> IpAddr {
    let known = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    known.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip())
}

/// Is nothing said of the page that sends this, as by browsers over plain http to another machine?
pub fn is_silent(headers: &HeaderMap) -> bool {
    let origin = headers.get(ORIGIN);
    !headers.contains_key(FETCH_SITE) && origin.is_none_or(|origin| origin == "null")
}

/// Does a browser say which page sends this?
fn says_whence(headers: &HeaderMap) -> bool {
    headers.contains_key(FETCH_SITE) || headers.contains_key(ORIGIN)
}

fn is_safe(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// The token of the one Authorization header. Two of them are none: a proxy may judge the other one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The pass in our cookie; two of them are none.
fn pass(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let pairs =
        all.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(name, _)| *name == COOKIE_NAME).map(|(_, pass)| pass);
    let (only, None) = (ours.next()?, ours.next()) else { return None };
    Some(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(name.clone(), value.parse().unwrap());
        }
        headers
    }

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
        for (values, expected) in cases {
            let all: Vec<_> = values.iter().map(|value| (AUTHORIZATION, *value)).collect();
            assert_eq!(bearer(&headers(&all)), expected, "{values:?}");
        }
    }

    #[test]
    fn a_pass_is_read_from_our_own_cookie_among_others() {
        let cases: [(&[&str], Option<&str>); 5] = [
            (&["a=b; __Host-kintsugi=abc.def; c=d"], Some("abc.def")),
            (&["a=b", "__Host-kintsugi=abc"], Some("abc")),
            (&["kintsugi=abc"], None),
            (&["__Host-kintsugi=abc; __Host-kintsugi=def"], None),
            (&[], None),
        ];
        for (values, expected) in cases {
            let all: Vec<_> = values.iter().map(|value| (COOKIE, *value)).collect();
            assert_eq!(pass(&headers(&all)), expected, "{values:?}");
        }
    }

    #[test]
    fn without_a_token_only_this_machine_a_plain_address_and_hosts_that_were_named_are_asked() {
        let table = [
            (vec!["localhost"], true),
            (vec!["LocalHost:8081"], true),
            (vec!["127.0.0.1:8081"], true),
            (vec!["10.1.2.3"], true),
            (vec!["[::1]:8081"], true),
            (vec!["k.shop"], true),
            (vec!["K.Shop.:443"], true),
            (vec!["k.shop.evil"], false),
            (vec!["evil"], false),
            (vec!["localhost.evil"], false),
            (vec!["127.0.0.1.evil"], false),
            (vec!["evil", "localhost"], false),
            (vec!["a b"], false),
            (vec![""], false),
            (vec![], false),
        ];
        for (values, expected) in table {
            let all: Vec<_> = values.iter().map(|value| (HOST, *value)).collect();
            assert_eq!(is_known(&headers(&all), &["k.shop".to_owned()]), expected, "{values:?}");
        }
    }

    #[test]
    fn only_a_page_of_ours_does_something_without_a_token() {
        let table = [
            (vec![(FETCH_SITE, "same-origin")], true),
            (vec![(FETCH_SITE, "same-site")], false),
            (vec![(FETCH_SITE, "cross-site")], false),
            (vec![(FETCH_SITE, "none")], false),
            (vec![(FETCH_SITE, "cross-site"), (ORIGIN, "https://k.shop"), (HOST, "k.shop")], false),
            (vec![(ORIGIN, "https://k.shop"), (HOST, "k.shop")], true),
            (vec![(ORIGIN, "http://127.0.0.1:8081"), (HOST, "127.0.0.1:8081")], true),
            (vec![(ORIGIN, "https://k.shop.evil"), (HOST, "k.shop")], false),
            (vec![(ORIGIN, "https://k.shop:444"), (HOST, "k.shop")], false),
            (vec![(ORIGIN, "null"), (HOST, "k.shop")], false),
            (vec![(HOST, "k.shop")], false),
            (vec![], false),
        ];
        for (all, expected) in table {
            assert_eq!(of_our_own(&headers(&all)).is_ok(), expected, "{all:?}");
        }
    }
}
