//! The only place that talks to the API server: observe, (decide), perform.
//!
//! Knows: clients, watches, the queue, the lease, the clock. Must not know: any business rule. An
//! `if` on what a rule says or on what a status should be is a bug here; it belongs in `decide`.

pub mod candidate;
pub mod contract;
pub mod desk;
pub mod documents;
pub mod echo;
pub mod events;
pub mod export;
pub mod health;
pub mod index;
pub mod job;
pub mod leader;
pub mod live;
pub mod measure;
pub mod names;
pub mod observe;
pub mod parents;
pub mod perform;
pub mod policy;
pub mod pool;
pub mod queue;
pub mod refusal;
pub mod requests;
pub mod run;
pub mod scrape;
pub mod secret;
pub mod serve;
pub mod source;
pub mod symptoms;
pub mod traces;
pub mod watch;
pub mod webhook;
pub mod workload;
pub mod write_back;

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Client, Resource, ResourceExt as _,
    api::{PatchParams, PostParams},
    core::error_boundary::InvalidObject,
};
use moka::sync::Cache;

use crate::{
    api::{MANAGER, WidgetContract, contract::Mode},
    config::Config,
    decide::Stall,
    domain::Told,
    metrics::Metrics,
    outbound::{Outbound, Prober},
};

/// Namespace and name of an object of a kind known from the field.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl Key {
    /// A key.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of something else in the same namespace.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        Self { namespace: Arc::clone(&self.namespace), name: name.into() }
    }

    /// The key of `object`.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self::new(&object.namespace().unwrap_or_default(), &object.name_any())
    }

    /// The key of an object that does not fit its type.
    #[must_use]
    pub fn of_invalid(object: &InvalidObject) -> Self {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        Self::new(&text(&object.metadata.namespace), &text(&object.metadata.name))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A contract as it was when the look began.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its key.
    pub key: Key,
    /// The object.
    pub object: Arc<WidgetContract>,
}

/// What every look needs.
pub struct Ctx {
    /// The API server.
    pub client: Client,
    /// The limits.
    pub config: Config,
    /// What is remembered.
    pub index: index::Index,
    /// The furthest mode of each namespace, for a short while.
    pub max_modes: Cache<Arc<str>, Mode>,
    /// Whether admission sees to who approves plans, and if not, why: for a short while.
    pub approval_guard: Cache<(), Result<(), String>>,
    /// What came of acts, for the look that follows.
    pub told: Cache<String, Told>,
    /// What happens, for those who follow it.
    pub live: Arc<live::Live>,
    /// What is looked at next.
    pub queue: queue::Queue,
    /// The policies whose status is to be looked at.
    pub policies: policy::Policies,
    /// The namespaces to look for what their contracts have in common.
    pub families: queue::Queue,
    /// What is being written.
    pub echoes: echo::Echoes,
    /// Whether we may write.
    pub leader: Arc<leader::Leader>,
    /// Documents, schemas and compiled rules.
    pub documents: documents::Documents,
    /// The HTTP client for everything that is not the API server.
    pub outbound: Arc<Outbound>,
    /// Where spans go.
    pub traces: Arc<traces::Traces>,
    /// Looks at assets through it.
    pub prober: Prober,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What the operator says of itself.
    pub health: Arc<health::Health>,
}

impl Ctx {
    /// The clock: asked here and passed on, so that decisions stay functions.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        now()
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// What went wrong, by what it means for the look at hand.
#[derive(Debug, thiserror::Error, strum::AsRefStr, strum::VariantNames)]
pub enum Error {
    /// A person must act; said in the contract's status.
    #[error(transparent)]
    Stalled(#[from] Stall),
    /// The object changed under us: read it again at once.
    #[error("{attempted}: somebody else wrote it in between")]
    Conflict {
        /// What was being attempted, on which object.
        attempted: String,
    },
    /// Try again later.
    #[error("{attempted}: {source}")]
    Retry {
        /// What was being attempted, on which object.
        attempted: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("{attempted}: no answer within {after:?}")]
    Timeout {
        /// What was being attempted, on which object.
        attempted: String,
        /// How long was waited.
        after: Duration,
    },
    /// Not everything is known yet that was there when we began.
    #[error("{attempted}: the first list is not in yet")]
    Early {
        /// What was being attempted.
        attempted: String,
    },
    /// Another replica leads, or our lease is about to end.
    #[error("{attempted}: not the leader")]
    NotLeader {
        /// What was being attempted, on which object.
        attempted: String,
    },
}

impl Error {
    /// Sorts the API server's answer by consequence.
    fn from_kube(attempted: &str, error: kube::Error) -> Self {
        if let kube::Error::Api(status) = &error {
            if status.is_conflict() || status.is_already_exists() {
                return Self::Conflict { attempted: attempted.to_owned() };
            }
            if let Some(stall) = refusal::stall(attempted, status) {
                return Self::Stalled(stall);
            }
        }
        Self::Retry { attempted: attempted.to_owned(), source: Box::new(error) }
    }

    /// Why the API server will not do what was asked; Err with any other error.
    ///
    /// # Errors
    /// Itself, where it is no refusal.
    fn refused(self) -> Result<String, Self> {
        match self {
            Self::Stalled(stall) => Ok(stall.message),
            Self::Retry { attempted, source } => match &*source {
                kube::Error::Api(status) if status.code == 400 => {
                    Ok(format!("{attempted}: the API server could not use the request"))
                }
                _ => Err(Self::Retry { attempted, source }),
            },
            other => Err(other),
        }
    }

    /// Is it an answer that says «there is none»?
    fn is_not_found(&self) -> bool {
        matches!(self, Self::Retry { source, .. } if matches!(&**source, kube::Error::Api(s) if s.is_not_found()))
    }
}

impl Ctx {
    /// One request that reads: bounded in time, its error sorted by consequence.
    async fn read<T>(
        &self,
        attempted: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        let after = self.config.api_timeout.to_std();
        let outcome = tokio::time::timeout(after, request).await;
        self.health.api_server(answered(&outcome));
        match outcome {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Error::from_kube(attempted, error)),
            Err(_) => Err(Error::Timeout { attempted: attempted.to_owned(), after }),
        }
    }

    /// [`Ctx::read`], with «not found» as None.
    async fn find<T>(
        &self,
        attempted: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<Option<T>, Error> {
        match self.read(attempted, request).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One request that writes: sent only under a lease that outlives it.
    async fn write<T>(
        &self,
        attempted: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        if !self.leader.may_write() {
            return Err(Error::NotLeader { attempted: attempted.to_owned() });
        }
        self.read(attempted, request).await
    }

    /// [`Ctx::write`] of an object whose events make `contract` be looked at: not this one's.
    async fn write_watched<K: Resource>(
        &self,
        contract: &Key,
        object: echo::Object,
        attempted: &str,
        request: impl Future<Output = Result<K, kube::Error>>,
    ) -> Result<K, Error> {
        let writing = self.echoes.writing(object, || self.queue.now(contract.clone()));
        let written = self.write(attempted, request).await?;
        writing.answered(index::version_of(written.resource_version().as_deref()));
        Ok(written)
    }
}

/// Did the API server answer, whatever it said? That it has too much to do is no answer.
fn answered<T>(outcome: &Result<Result<T, kube::Error>, tokio::time::error::Elapsed>) -> bool {
    match outcome {
        // An answer that cannot be read is one, too.
        Ok(Ok(_) | Err(kube::Error::SerdeError(_))) => true,
        Ok(Err(kube::Error::Api(status))) => match status.code {
            // It works, but not with this object, as when a webhook of one namespace is down: that must
            // not be told as a fault of all. What fails inside it, such as its store, has no such reason.
            500 => status.reason == "InternalError",
            code => code < 500 && code != 429,
        },
        Ok(Err(_)) | Err(_) => false,
    }
}

/// The parameters of a merge patch under our own name, never forced.
fn patch_as_us() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

fn create_as_us() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[tokio::test]
    async fn only_what_concerns_all_requests_is_no_answer_of_the_api_server() {
        let api = |code, reason: &str, message: &str| {
            let status = Status { code, ..Status::failure(message, reason) };
            Ok(Err::<(), _>(kube::Error::Api(Box::new(status))))
        };
        let webhook =
            "Internal error occurred: failed calling webhook \"shop.test\": connection refused";
        let unread = serde_json::from_str::<()>("{").unwrap_err();
        for (outcome, expected) in [
            (Ok(Ok(())), true),
            (api(404, "NotFound", ""), true),
            (api(403, "Forbidden", ""), true),
            (api(409, "Conflict", ""), true),
            (api(500, "InternalError", webhook), true),
            (Ok(Err(kube::Error::SerdeError(unread))), true),
            (api(500, "", "etcdserver: request timed out"), false),
            (api(429, "TooManyRequests", ""), false),
            (api(502, "", "bad gateway"), false),
            (api(503, "ServiceUnavailable", ""), false),
            (api(504, "Timeout", ""), false),
            (Ok(Err(kube::Error::Service("connection refused".into()))), false),
        ] {
            assert_eq!(answered(&outcome), expected, "{outcome:?}");
        }
        let late = tokio::time::timeout(Duration::ZERO, std::future::pending()).await;
        assert!(!answered::<()>(&late));
    }
}
