//! Requests to the API server, each counted once where all of them pass.
//!
//! Knows: the form of paths of the Kubernetes API. Must not know: who asks for what, and why.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Method, Request, Response, StatusCode};
use tower::{Layer, Service};

use crate::metrics::Metrics;

/// What is asked for in another form than an object of Kubernetes.
const OTHER: &str = "other";

/// Counts the requests of a client.
#[derive(Clone)]
pub struct Requests(pub Arc<Metrics>);

impl<S> Layer<S> for Requests {
    type Service = Counting<S>;

    fn layer(&self, service: S) -> Counting<S> {
        Counting { service, metrics: Arc::clone(&self.0) }
    }
}

/// A client whose requests are counted.
#[derive(Clone)]
pub struct Counting<S> {
    service: S,
    metrics: Arc<Metrics>,
}

impl<S, A, B> Service<Request<A>> for Counting<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let mut asked = Asked {
            metrics: Arc::clone(&self.metrics),
            method: request.method().clone(),
            resource: resource(request.uri().path()),
            code: None,
        };
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await;
            asked.came_to(answer.as_ref().ok().map(Response::status));
            answer
        })
    }
}

/// A request under way: counted when it ends, or when nobody waits for its answer any more.
struct Asked {
    metrics: Arc<Metrics>,
    method: Method,
    resource: String,
    code: Option<StatusCode>,
}

impl Asked {
    fn came_to(&mut self, code: Option<StatusCode>) {
        self.code = code;
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let code = self.code.as_ref().map_or("none", StatusCode::as_str);
        self.metrics.asked(self.method.as_str(), &self.resource, code);
    }
}

/// The resource in a path of the API, with its subresource; never the name of an object.
fn resource(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let of_version = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => &[],
    };
    let found = match of_version {
        ["namespaces", _, sub @ ("status" | "finalize")] => ["namespaces", sub],
        ["namespaces", _, resource, rest @ ..] | [resource, rest @ ..] => {
            [*resource, rest.get(1).copied().unwrap_or_default()]
        }
        [] => [OTHER, ""],
    };
    // What is no word is none that the API has: nobody can fill the rows by it.
    let is_word = |part: &str| part.len() <= 63 && part.bytes().all(|c| c.is_ascii_lowercase());
    match found {
        [resource, sub] if !is_word(resource) || !is_word(sub) => OTHER.to_owned(),
        [resource, ""] => resource.to_owned(),
        [resource, sub] => format!("{resource}/{sub}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_by_its_resource_and_never_by_a_name() {
        for (path, expected) in [
            ("/apis/kintsugi.dev/v1alpha1/namespaces/shop/widgetcontracts/uk", "widgetcontracts"),
            (
                "/apis/kintsugi.dev/v1alpha1/namespaces/shop/widgetcontracts/uk/status",
                "widgetcontracts/status",
            ),
            ("/apis/kintsugi.dev/v1alpha1/widgetcontracts", "widgetcontracts"),
            ("/apis/kintsugi.dev/v1alpha1/namespaces/shop/incidents", "incidents"),
            ("/api/v1/namespaces/shop/configmaps/secret-name", "configmaps"),
            ("/api/v1/namespaces/shop/pods/web-1/log", "pods/log"),
            ("/api/v1/namespaces/shop", "namespaces"),
            ("/api/v1/namespaces/shop/status", "namespaces/status"),
            ("/api/v1/namespaces", "namespaces"),
            ("/apis/apps/v1/namespaces/shop/deployments/web/scale", "deployments/scale"),
            ("/apis/coordination.k8s.io/v1/namespaces/system/leases/kintsugi", "leases"),
            ("/api/v1/namespaces/status/configmaps", "configmaps"),
            ("/api/v1/configmaps/NOT-A-RESOURCE/proxy", "configmaps/proxy"),
            ("/api/v1/namespaces/shop/Secret%20Name", "other"),
            ("/version", "other"),
            ("/api", "other"),
            ("/apis/kintsugi.dev", "other"),
            ("/", "other"),
            ("", "other"),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }

    #[tokio::test]
    async fn a_request_counts_once_by_its_answer_or_by_having_none() {
        let metrics = Arc::new(Metrics::default());
        let layer = Requests(Arc::clone(&metrics));
        let request = || Request::get("/api/v1/namespaces/shop/pods/web-1").body(()).unwrap();
        let answer = |status: u16| {
            tower::service_fn(move |_: Request<()>| async move {
                let answer = Response::builder().status(status).body(());
                Ok::<_, std::convert::Infallible>(answer.unwrap())
            })
        };
        layer.layer(answer(200)).call(request()).await.unwrap();
        layer.layer(answer(409)).call(request()).await.unwrap();
        let fails = tower::service_fn(|_: Request<()>| async { Err::<Response<()>, _>("gone") });
        layer.layer(fails).call(request()).await.unwrap_err();
        let silent = tower::service_fn(|_: Request<()>| {
            std::future::pending::<Result<Response<()>, std::convert::Infallible>>()
        });
        drop(layer.layer(silent).call(request()));
        let text = metrics.text().unwrap();
        for (code, count) in [("200", 1), ("409", 1), ("none", 2)] {
            let row = format!("{{method=\"GET\",resource=\"pods\",code=\"{code}\"}} {count}");
            assert!(text.contains(&row), "{row}\n{text}");
        }
    }
}
