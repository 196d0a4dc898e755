//! A small web server for assets and sources: what it answers can be changed, and what it was
//! asked is kept.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use tokio::{net::TcpListener, sync::watch};

use super::PATIENCE;

/// What a path is answered with.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Status, media type and body.
    Text(u16, String, String),
    /// Another place.
    Redirect(String),
    /// A body that never ends.
    Endless,
    /// Nothing, ever.
    Silence,
    /// This, once that is true.
    Once(watch::Receiver<bool>, Box<Answer>),
}

#[derive(Clone, Default)]
struct Shared {
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<watch::Sender<Vec<Asked>>>,
}

/// One request that came in.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

pub struct Web {
    address: SocketAddr,
    shared: Shared,
}

impl Web {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1").await
    }

    /// On the machine's own address: an `EndpointSlice` may hold no loopback one.
    pub async fn start_outside() -> Self {
        // Nothing is sent: it only asks which address would be.
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect("192.0.2.1:9").unwrap();
        Self::start_at(&socket.local_addr().unwrap().ip().to_string()).await
    }

    async fn start_at(ip: &str) -> Self {
        Self::start_on(&format!("{ip}:0")).await
    }

    /// An address on this IP at which nobody listens.
    pub async fn nobody_at(ip: &str) -> String {
        let listener = TcpListener::bind(format!("{ip}:0")).await.unwrap();
        listener.local_addr().unwrap().to_string()
    }

    /// On this address, at which nobody listened before.
    pub async fn start_on(address: &str) -> Self {
        let shared = Shared::default();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared }
    }

    pub fn ip(&self) -> String {
        self.address.ip().to_string()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on `path` is answered so.
    pub fn answer(&self, path: &str, status: u16, content_type: &str, body: &str) {
        self.set(path, Answer::Text(status, content_type.to_owned(), body.to_owned()));
    }

    /// From now on `path` is answered so.
    pub fn set(&self, path: &str, answer: Answer) {
        self.shared.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    pub fn asked(&self, path: &str) -> Vec<Asked> {
        self.shared.asked.borrow().iter().filter(|asked| asked.path == path).cloned().collect()
    }

    /// Waits until `path` was asked for `times` more often than now.
    pub async fn asked_again(&self, path: &str, times: usize) {
        self.asked_in_all(path, self.asked(path).len() + times).await;
    }

    /// Waits until `path` was asked for so often in all.
    pub async fn asked_in_all(&self, path: &str, enough: usize) {
        let count = |asked: &Vec<Asked>| asked.iter().filter(|asked| asked.path == path).count();
        let mut asked = self.shared.asked.subscribe();
        let waiting = asked.wait_for(|asked| count(asked) >= enough);
        tokio::time::timeout(PATIENCE, waiting).await.expect("asked in time").unwrap();
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
    let asked = Asked {
        method: parts.method.to_string(),
        path: path.clone(),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    shared.asked.send_modify(|all| all.push(asked));
    let answer = shared.answers.lock().unwrap().get(&path).cloned();
    let none = Answer::Text(404, "text/plain".to_owned(), "none".to_owned());
    let response = Response::builder();
    let answer = match answer.unwrap_or(none) {
        Answer::Once(mut begins, answer) => {
            // Where nobody can say so any more, the test is over.
            let _ = begins.wait_for(|begins| *begins).await;
            *answer
        }
        answer => answer,
    };
    match answer {
        Answer::Text(status, content_type, body) => {
            response.status(status).header("content-type", content_type).body(Body::from(body))
        }
        Answer::Redirect(to) => response.status(302).header("location", to).body(Body::empty()),
        Answer::Endless => {
            let blanks =
                futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 65_536]));
            response.status(200).body(Body::from_stream(blanks))
        }
        Answer::Silence | Answer::Once(..) => std::future::pending().await,
    }
    .unwrap()
}
