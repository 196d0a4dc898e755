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
use tokio::net::TcpListener;

/// Status, media type and body.
type Answer = (u16, String, String);

#[derive(Clone, Default)]
struct Shared {
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// One request that came in.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub headers: HashMap<String, String>,
}

pub struct Web {
    address: SocketAddr,
    shared: Shared,
}

impl Web {
    pub async fn start() -> Self {
        let shared = Shared::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on `path` is answered so.
    pub fn answer(&self, path: &str, status: u16, content_type: &str, body: &str) {
        let answer = (status, content_type.to_owned(), body.to_owned());
        self.shared.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    pub fn asked(&self, path: &str) -> Vec<Asked> {
        let asked = self.shared.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.path == path).cloned().collect()
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
    shared.asked.lock().unwrap().push(Asked { path: path.clone(), headers: headers.collect() });
    let answer = shared.answers.lock().unwrap().get(&path).cloned();
    let (status, content_type, body) = answer.unwrap_or((404, "text/plain".into(), "none".into()));
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Body::from(body))
        .unwrap()
}
