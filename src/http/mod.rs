//! What is served over HTTP: liveness, readiness, metrics.
//!
//! Knows: the router and how it stops. Must not know: anything that writes.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::metrics::{MEDIA_TYPE, Metrics};

/// How the last round of the election ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Election {
    /// There was none yet.
    #[default]
    Starting,
    /// The API server did not answer, or refused.
    Failed,
    /// Another replica leads.
    Follows,
    /// This one does.
    Leads,
}

/// What the operator says of itself.
#[derive(Debug, Default)]
pub struct Health(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    election: Election,
    listed: bool,
}

impl Health {
    /// Whether every first list is in, while this replica leads.
    pub fn listed(&self, listed: bool) {
        self.lock().listed = listed;
    }

    /// How a round of the election ended.
    pub fn election(&self, election: Election) {
        self.lock().election = election;
    }

    /// Ready or not, and why.
    fn ready(&self) -> (StatusCode, &'static str) {
        let Known { election, listed } = *self.lock();
        let not_ready = StatusCode::SERVICE_UNAVAILABLE;
        match (election, listed) {
            (Election::Starting, _) => (not_ready, "starting"),
            (Election::Failed, _) => {
                (not_ready, "the lease cannot be claimed or renewed; see the log")
            }
            (Election::Follows, _) => (StatusCode::OK, "standing by: another replica leads"),
            (Election::Leads, false) => (not_ready, "leading: the first lists are not in yet"),
            (Election::Leads, true) => (StatusCode::OK, "leading: every list is in"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // No code that can panic runs under this lock, so poison carries no broken state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The routes.
pub fn router(health: Arc<Health>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .with_state(health)
        .merge(Router::new().route("/metrics", get(scrape)).with_state(metrics))
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    health.ready()
}

/// Serves the routes until `shutdown`.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    listen: SocketAddr,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("--listen: cannot listen on {listen}"))?;
    let address = listener.local_addr().context("--listen: no address")?;
    info!(%address, "serving /livez, /readyz and /metrics");
    Ok(tokio::spawn(async move {
        let server = axum::serve(listener, router(health, metrics))
            .with_graceful_shutdown(shutdown.cancelled_owned());
        if let Err(error) = server.await {
            warn!(%error, "the HTTP server failed");
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_another_leads_or_when_it_leads_with_every_list_in() {
        let cases = [
            (Election::Starting, false, false),
            (Election::Failed, false, false),
            (Election::Failed, true, false),
            (Election::Follows, false, true),
            (Election::Leads, false, false),
            (Election::Leads, true, true),
        ];
        for (election, listed, is_ready) in cases {
            let health = Health::default();
            health.election(election);
            health.listed(listed);
            assert_eq!(health.ready().0.is_success(), is_ready, "{election:?} {listed}");
        }
    }
}
