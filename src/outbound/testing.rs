//! Real HTTP servers on loopback, and names that lead to them.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::Response};
use futures::future::{BoxFuture, FutureExt as _};
use http::{HeaderMap, Method};

use super::{Config, Lookup, Outbound};

/// A server that runs until the test ends, and what it was asked.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
}

impl Server {
    /// Answers every request with `answer`.
    pub(super) async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(Asked) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        Self::start_at([127, 0, 0, 1].into(), 0, answer).await
    }

    pub(super) async fn start_at<F, R>(ip: IpAddr, port: u16, answer: F) -> Self
    where
        F: Fn(Asked) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let app = Router::new().fallback(move |request: Request| {
            let one = Asked {
                method: request.method().clone(),
                path: request.uri().to_string(),
                headers: request.headers().clone(),
            };
            log.lock().unwrap().push(one.clone());
            answer(one)
        });
        let listener = tokio::net::TcpListener::bind((ip, port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, asked }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// `HEAD /a`, `GET /a`, ...
    pub(super) fn lines(&self) -> Vec<String> {
        self.asked().iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }
}

/// An answer with that status, those headers and that body.
pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let builder = Response::builder().status(status);
    let builder = headers.iter().fold(builder, |b, (name, value)| b.header(*name, *value));
    builder.body(body.into()).unwrap()
}

/// A body that never ends: `chunk` over and over, each after `pause`.
pub(super) fn endless(chunk: Vec<u8>, pause: Duration) -> Body {
    Body::from_stream(futures::stream::unfold(chunk, move |chunk| async move {
        tokio::time::sleep(pause).await;
        Some((Ok::<_, Infallible>(chunk.clone()), chunk))
    }))
}

/// Names and, for each look-up in turn, their addresses (the last one stays).
#[derive(Default)]
pub(super) struct Names {
    answers: HashMap<String, Vec<Vec<IpAddr>>>,
    lookups: Mutex<HashMap<String, usize>>,
}

impl Names {
    pub(super) fn new(names: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let ips = |ips: &[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect();
        let answers = names
            .iter()
            .map(|(name, answers)| ((*name).to_owned(), answers.iter().map(|a| ips(a)).collect()))
            .collect();
        Arc::new(Self { answers, lookups: Mutex::default() })
    }

    pub(super) fn lookups(&self, name: &str) -> usize {
        self.lookups.lock().unwrap().get(name).copied().unwrap_or(0)
    }
}

impl Lookup for Names {
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let mut lookups = self.lookups.lock().unwrap();
        let count = lookups.entry(name.clone()).or_default();
        let answer =
            self.answers.get(&name).map(|answers| answers[(*count).min(answers.len() - 1)].clone());
        *count += 1;
        async move { answer.ok_or_else(|| io::ErrorKind::NotFound.into()) }.boxed()
    }
}

/// Loopback at 127.0.0.1 alone and plain http are let through; times are short.
pub(super) fn config() -> Config {
    Config {
        allow_cidrs: vec!["127.0.0.1/32".parse().unwrap()],
        allow_http: true,
        probe_deadline: Duration::from_secs(20),
        ..Config::default()
    }
}

pub(super) fn outbound(config: Config, names: Arc<Names>) -> Arc<Outbound> {
    // Every test may be the first; the others find it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Arc::new(Outbound::with_lookup(config, names).unwrap())
}
