//! What happens, as server-sent events.
//!
//! Knows: the format, and when whoever follows is asked again who they are. Must not know: what happens.
//!
//! Own code, because a stream has to go on with its id where nothing was said (what somebody may not see
//! has moved their place on), and because each block is made only when the connection has room for it: a
//! client that does not read holds a handful of them and nothing more.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequestParts as _, State},
    http::{
        HeaderName, HeaderValue,
        header::{CONNECTION, CONTENT_TYPE},
        request::Parts,
    },
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures::{Stream, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::{
    super::{caller::Caller, name::Name, problem::Problem},
    Asked, Operation, schema,
};
use crate::{
    controllers::{
        desk::{Desk, Person, watch::Watching},
        live::News,
    },
    decide::live::Happening,
};

/// The media type of what is answered.
pub const MEDIA_TYPE: &str = "text/event-stream";

/// Where it is.
pub const PATH: &str = "/api/v1/stream";
/// Where somebody goes on.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// For nginx, which would hold back what it thinks too little to pass on.
const NO_BUFFER: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
/// Nothing else is asked for over a connection whose stream has ended.
const CLOSE: (HeaderName, HeaderValue) = (CONNECTION, HeaderValue::from_static("close"));
/// After how long something is sent though nothing happens.
const ALIVE: Duration = Duration::from_secs(15);
/// After how long whoever follows is asked again who they are and what they may see. With what is
/// remembered of both, less than a minute.
const AGAIN: Duration = Duration::from_secs(30);
/// Up to so much later: those who came at once are not asked at once.
const SPREAD_MILLIS: u64 = 15_000;

/// The stream.
pub const OPERATIONS: [Operation; 1] = [Operation {
    method: "get",
    path: PATH,
    id: "stream",
    summary: "What happens in Incidents as it happens, from now on or after the header Last-Event-ID",
    right: "list incidents",
    query: schema::<Followed>,
    body: None,
    answer: schema::<Happening>,
    handler: || get(follow),
}];

/// What is followed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Followed {
    /// Only this namespace; by default all that you may look into.
    namespace: Option<Name>,
}

/// The media type of what an operation answers.
#[must_use]
pub fn media_type(operation: &Operation) -> &'static str {
    if operation.path == PATH { MEDIA_TYPE } else { "application/json" }
}

async fn follow(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Asked(asked): Asked<Followed>,
    parts: Parts,
) -> Result<Response, Problem> {
    let last = parts.headers.get(LAST_EVENT_ID).map(|last| last.to_str().unwrap_or_default());
    let namespace = asked.namespace.as_ref().map(Name::as_str);
    let watching = desk.watch(&person, namespace, last).await?;
    let following = Following::new(watching, desk, parts);
    let body = Body::from_stream(following.blocks());
    let media_type = (CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Ok(([media_type, NO_BUFFER, CLOSE], body).into_response())
}

/// Somebody who follows.
struct Following {
    watching: Watching,
    desk: Arc<Desk>,
    /// What they have sent: by that they are known again.
    parts: Parts,
    is_greeted: bool,
    again: Instant,
}

/// One block of the stream, and whether another one follows.
type Block = (String, bool);

impl Following {
    fn new(watching: Watching, desk: Arc<Desk>, parts: Parts) -> Self {
        Self { watching, desk, parts, is_greeted: false, again: again() }
    }

    fn blocks(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(Some(self), |following| async {
            let mut following = following?;
            let (block, goes_on) = following.block().await;
            Some((Ok(Bytes::from(block)), goes_on.then_some(following)))
        })
    }

    async fn block(&mut self) -> Block {
        if !std::mem::replace(&mut self.is_greeted, true) {
            // At once, so that whoever connects knows that they are, and where they are.
            return (format!("retry: 2000\nid: {}\n\n", self.watching.id()), true);
        }
        let alive = Instant::now() + ALIVE;
        loop {
            // The clock first: a stream that is never at rest must not outlive a right.
            tokio::select! {
                biased;
                () = sleep_until(self.again) => {
                    if let Err(why) = self.look_again().await {
                        return (last("end", &why), false);
                    }
                    self.again = again();
                }
                news = self.watching.next() => match news {
                    Some(news) => return self.told(news),
                    None => match self.judged().await {
                        Ok(Some(news)) => return self.told(news),
                        Ok(None) => {}
                        Err(why) => return (last("end", &why), false),
                    },
                },
                () = sleep_until(alive) => {
                    return (format!(":\nid: {}\n\n", self.watching.id()), true);
                }
            }
        }
    }

    fn told(&self, news: News) -> Block {
        match news {
            News::Said(said) => {
                let id = self.watching.id();
                (format!("id: {id}\nevent: {}\ndata: {}\n\n", said.kind, said.json), true)
            }
            News::Resync => {
                let why = "what happened before is not known here: read the lists anew";
                (format!("id: {}\n{}", self.watching.id(), last("resync", why)), true)
            }
            News::Dropped => {
                (last("dropped", "you read too slowly, and have missed something"), false)
            }
            News::Ended => (last("end", "this replica stops, or leads no more"), false),
        }
    }

    /// Who are they now, and what may they see?
    async fn look_again(&mut self) -> Result<(), String> {
        let person = self.person().await?;
        let looked = self.watching.look_again(&self.desk, &person).await;
        looked.map_err(|refused| refused.to_string())
    }

    /// What happened where nobody has asked yet whether they may see it, if they may.
    async fn judged(&mut self) -> Result<Option<News>, String> {
        let person = self.person().await?;
        let judged = self.watching.judge(&self.desk, &person).await;
        judged.map_err(|refused| refused.to_string())
    }

    async fn person(&mut self) -> Result<Arc<Person>, String> {
        let caller = Caller::from_request_parts(&mut self.parts, &self.desk).await;
        let Caller(person) = caller.map_err(|problem| problem.detail().to_owned())?;
        Ok(person)
    }
}

fn again() -> Instant {
    Instant::now() + AGAIN + Duration::from_millis(rand::random_range(0..SPREAD_MILLIS))
}

/// A block that tells of the stream itself.
fn last(event: &str, why: &str) -> String {
    format!("event: {event}\ndata: {}\n\n", serde_json::json!({"message": why}))
}
