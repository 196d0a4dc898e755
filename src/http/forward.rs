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
/// What is about one connection only (RFC 9110, section 7.6.1).
const OF_A_CONNECTION: [HeaderName; 4] = [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE];

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
    for name in OF_A_CONNECTION {
        headers.remove(name);
    }
}
