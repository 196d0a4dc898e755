//! What is served over HTTP: liveness and readiness.
//!
//! Knows: the router and how it stops. Must not know: anything that writes.

use std::{
    net::SocketAddr,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Context as _;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What the operator says of itself.
#[derive(Debug, Default)]
pub struct Health {
    listed: AtomicBool,
    elected: AtomicBool,
}

impl Health {
    /// Whether every first list is in.
    pub fn listed(&self, listed: bool) {
        self.listed.store(listed, Ordering::Relaxed);
    }

    /// Whether the API server has answered about the lease.
    pub fn reached(&self, reached: bool) {
        self.elected.store(reached, Ordering::Relaxed);
    }
}

/// The routes.
pub fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .with_state(health)
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    if health.listed.load(Ordering::Relaxed) {
        (StatusCode::OK, "leading: every list is in")
    } else if health.elected.load(Ordering::Relaxed) {
        (StatusCode::OK, "standing by: another replica leads")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting")
    }
}

/// Serves the routes until `shutdown`.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    listen: SocketAddr,
    health: Arc<Health>,
    shutdown: CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("--listen: cannot listen on {listen}"))?;
    let address = listener.local_addr().context("--listen: no address")?;
    info!(%address, "serving /livez and /readyz");
    Ok(tokio::spawn(async move {
        let server = axum::serve(listener, router(health))
            .with_graceful_shutdown(shutdown.cancelled_owned());
        if let Err(error) = server.await {
            warn!(%error, "the HTTP server failed");
        }
    }))
}
