//! The same acts as forms of our pages send them, without a script: each leads back to the page that it is on.

use std::sync::Arc;

use axum::{
    Form, Router,
    extract::{FromRequest, Path, Request, State},
    response::Redirect,
    routing::post,
};
use serde::de::DeserializeOwned;

use super::{
    caller::Caller,
    name::Name,
    pages::{Or, Refusal},
    problem::Problem,
};
use crate::controllers::{
    Key,
    desk::{
        Desk,
        act::{Decision, Suspension, TakeBack},
    },
};

/// Their routes.
pub fn router() -> Router<Arc<Desk>> {
    Router::new()
        .route("/namespaces/{namespace}/contracts/{name}/heal", post(heal))
        .route("/namespaces/{namespace}/contracts/{name}/suspension", post(suspend))
        .route("/namespaces/{namespace}/incidents/{name}/decision", post(decide))
        .route("/namespaces/{namespace}/incidents/{name}/undo", post(undo))
}

/// Extractor of a form, whose refusal is a [`Problem`].
struct Filled<T>(T);

impl<T: DeserializeOwned> FromRequest<Arc<Desk>> for Filled<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, Problem> {
        let Form(filled) = Form::<T>::from_request(request, desk).await?;
        Ok(Self(filled))
    }
}

type At = Path<(Name, Name)>;

fn key(Path((namespace, name)): &At) -> Key {
    Key::new(namespace.as_str(), name.as_str())
}

fn back(kind: &str, Path((namespace, name)): &At) -> Redirect {
    Redirect::to(&format!("/namespaces/{}/{kind}/{}", namespace.as_str(), name.as_str()))
}

async fn heal(
    Or(Caller(person)): Or<Caller>,
    State(desk): State<Arc<Desk>>,
    at: At,
) -> Result<Redirect, Refusal> {
    desk.heal(&person, &key(&at)).await?;
    Ok(back("contracts", &at))
}

async fn suspend(
    Or(Caller(person)): Or<Caller>,
    State(desk): State<Arc<Desk>>,
    at: At,
    Filled(Suspension { suspend }): Filled<Suspension>,
) -> Result<Redirect, Refusal> {
    desk.suspend(&person, &key(&at), suspend).await?;
    Ok(back("contracts", &at))
}

async fn decide(
    Or(Caller(person)): Or<Caller>,
    State(desk): State<Arc<Desk>>,
    at: At,
    Filled(word): Filled<Decision>,
) -> Result<Redirect, Refusal> {
    desk.decide(&person, &key(&at), word).await?;
    Ok(back("incidents", &at))
}

async fn undo(
    Or(Caller(person)): Or<Caller>,
    State(desk): State<Arc<Desk>>,
    at: At,
    Filled(word): Filled<TakeBack>,
) -> Result<Redirect, Refusal> {
    desk.undo(&person, &key(&at), word).await?;
    Ok(back("incidents", &at))
}
