//! Which replica answers: the one that leads, since it alone knows all of it. The others send people on to it,
//! so that whatever is in front of them need not know who leads.
//!
//! Its address is in the Lease, which only the operator's own role may write, and is an address and no name: so
//! there is nothing to look up, and nothing for the guard of outgoing requests to judge.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
        header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tracing::debug;

use super::problem::Problem;
use crate::controllers::desk::Desk;

/// Marks what was sent on once: two replicas that take each other for the leader must not play ball with it.
const SENT_ON: HeaderName = HeaderName::from_static("x-kintsugi-sent-on");
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// What is about one connection only, whether the header Connection names it or not (RFC 9110, section 7.6.1).
const OF_A_CONNECTION: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Answers here, or where the leader is.
pub async fn to_the_leader(
    State(desk): State<Arc<Desk>>,
    mut request: Request,
    next: Next,
) -> Response {
    let was_sent_on = request.headers_mut().remove(SENT_ON).is_some();
    let Some(leader) = desk.health.leader_elsewhere().filter(|_| !was_sent_on) else {
        return next.run(request).await;
    };
    send_on(request, leader).await.unwrap_or_else(|error| {
        debug!(%leader, %error, "the leader did not answer");
        let why = "the replica that leads does not answer; another one takes over soon";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)
            .after(Duration::from_secs(2))
            .into_response()
    })
}

async fn send_on(mut request: Request, leader: SocketAddr) -> anyhow::Result<Response> {
    let stream = timeout(CONNECT_WITHIN, TcpStream::connect(leader)).await??;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer, or when nobody waits for that any more.
    tokio::spawn(connection);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::try_from(path)?;
    drop_those_of_a_connection(request.headers_mut());
    request.headers_mut().insert(SENT_ON, HeaderValue::from_static("1"));
    let mut response = sender.send_request(request).await?;
    drop_those_of_a_connection(response.headers_mut());
    Ok(response.map(Body::new))
}

fn drop_those_of_a_connection(headers: &mut HeaderMap) {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let options = values.flat_map(|value| value.split(','));
    // An option that is no name of a header stands for none.
    let named: Vec<HeaderName> = options.filter_map(|option| option.trim().parse().ok()).collect();
    for name in named.into_iter().chain(OF_A_CONNECTION) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_one_connection_goes_no_further_also_where_only_the_header_connection_says_so()
    {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Hop"),
            ("connection", "close,, x-other ,a b"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-hop", "1"),
            ("x-hop", "2"),
            ("x-other", "3"),
            ("x-end", "4"),
            ("cookie", "a=b"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        drop_those_of_a_connection(&mut headers);
        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-end", "cookie"]);
    }
}
