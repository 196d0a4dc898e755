//! Listening: how many may be connected, how long they may take to say what they want, and how it ends.
//!
//! Own loop around hyper, for axum's own has no time-out for headers and waits for ever at the end: whoever
//! connects and says nothing would keep the process from stopping.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::Service as _;
use tracing::{debug, warn};

use super::patient::Connection;
use crate::controllers::desk::shares::{Share, Shares};

/// How long the headers of a request, and the next request of a connection, are waited for.
const HEADERS_WITHIN: Duration = Duration::from_secs(15);
/// More header fields than anybody sends.
const MOST_HEADERS: usize = 100;
/// The buffer of a connection, and so the longest head of a request, in bytes.
const BUFFER: usize = 64 * 1024;
/// How long answers under way may take to end at a shutdown.
const GRACE: Duration = Duration::from_secs(3);
/// After it could not be accepted that somebody connects, as when there are no more files.
const PAUSE: Duration = Duration::from_millis(200);

/// How many may be connected at a time.
#[derive(Clone, Copy, Debug)]
pub struct Seats {
    /// In all; who comes then waits.
    pub most: usize,
    /// From one address, so that nobody takes them all; who comes then is hung up on. What is in front of us,
    /// and a replica that sends people on, are one address, however many stand behind it.
    pub each: usize,
}

/// What a connection takes: one of all seats, and one of its peer's.
type Taken = (Option<OwnedSemaphorePermit>, Share<IpAddr>);

/// Answers until `shutdown`.
pub async fn answer(
    listener: TcpListener,
    router: Router,
    Seats { most, each }: Seats,
    shutdown: CancellationToken,
) {
    let seats = Arc::new(Semaphore::new(most));
    let peers = Shares::new(each);
    let mut connected = JoinSet::new();
    loop {
        let next = async {
            // It is never closed.
            let seat = Arc::clone(&seats).acquire_owned().await.ok();
            (listener.accept().await, seat)
        };
        let (accepted, seat) = tokio::select! {
            () = shutdown.cancelled() => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(share) = peers.take_now(peer.ip().to_canonical()) {
                    let taken = (seat, share);
                    connected.spawn(one(stream, peer, router.clone(), shutdown.clone(), taken));
                } else {
                    debug!(%peer, "one address has as many connections as it may have");
                }
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
        while connected.try_join_next().is_some() {}
    }
    drop(listener);
    let ended = async { while connected.join_next().await.is_some() {} };
    if timeout(GRACE, ended).await.is_err() {
        debug!("connections that did not end are dropped");
        connected.shutdown().await;
    }
}

async fn one(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
    _taken: Taken,
) {
    // What is sent is sent whole: nothing is won by waiting for more. Without it it is slower, no more.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        async move {
            Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {}))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_headers(MOST_HEADERS)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(Connection::new(stream)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpSocket,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn listening(
        most: usize,
        each: usize,
    ) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        // All of 127/8 is this machine: whoever connects has the address that they choose.
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
        let router = Router::new().route("/", get(|| async { "here" }));
        let shutdown = CancellationToken::new();
        let answering =
            tokio::spawn(answer(listener, router, Seats { most, each }, shutdown.clone()));
        (address, shutdown, answering)
    }

    #[tokio::test]
    async fn who_says_only_half_of_what_they_want_does_not_hold_up_the_end() {
        let (address, shutdown, answering) = listening(8, 8).await;
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"GET / HT").await.unwrap();
        let mut whole = TcpStream::connect(address).await.unwrap();
        whole.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        whole.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with("here"), "{text}");
        shutdown.cancel();
        answering.await.unwrap();
        let mut rest = Vec::new();
        // Closed, in one way or the other.
        let closed = half.read_to_end(&mut rest).await;
        assert!(closed.is_err() || rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{rest:?}");
    }

    #[tokio::test]
    async fn no_more_are_answered_at_a_time_than_there_are_seats() {
        let (address, shutdown, answering) = listening(1, 1).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(b"GET / HT").await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        // The first one gives its seat back.
        first.write_all(b"TP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        first.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with("here"), "{text}");
        text.clear();
        second.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with("here"), "{text}");
        shutdown.cancel();
        answering.await.unwrap();
    }

    /// Asks from an address; None where it is hung up on.
    async fn asked(from: [u8; 4], address: SocketAddr) -> Option<String> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut stream = socket.connect(address).await.ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        (!text.is_empty()).then_some(text)
    }

    #[tokio::test]
    async fn one_address_that_takes_all_it_may_have_leaves_room_for_the_others() {
        let (address, shutdown, answering) = listening(8, 2).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut half = TcpStream::connect(address).await.unwrap();
            half.write_all(b"GET / HT").await.unwrap();
            held.push(half);
        }
        assert_eq!(asked([127, 0, 0, 1], address).await, None);
        let other = asked([127, 0, 0, 2], address).await;
        assert!(other.is_some_and(|text| text.ends_with("here")));
        // Who goes leaves room for another of the same address.
        for half in &mut held {
            half.write_all(b"TP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
            half.read_to_end(&mut Vec::new()).await.unwrap();
        }
        drop(held);
        let same = async { while asked([127, 0, 0, 1], address).await.is_none() {} };
        timeout(PATIENCE, same).await.unwrap();
        shutdown.cancel();
        answering.await.unwrap();
    }
}
