//! The same acts as forms of our pages send them, without a script: each leads back to the page that it is on.

use std::sync::Arc;

use axum::{
    Form, Router,
    extract::{FromRequest, Request, State},
    response::Redirect,
    routing::post,
};
use serde::de::DeserializeOwned;

use super::{
    caller::Caller,
    pages::{At, Or, Refusal},
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

fn back(kind: &str, Key { namespace, name, .. }: &Key) -> Redirect {
    Redirect::to(&format!("/namespaces/{namespace}/{kind}/{name}"))
}

async fn heal(
    Or(Caller(person)): Or<Caller>,
    State(desk): State<Arc<Desk>>,
    Or(At(key)): Or<At>,
) -> Result<Redirect, Refusal> {
    desk.heal(&person, &key).await?;
    Ok(back("contracts", &key))
}

async fn suspend(
    Or(Caller(person)): Or<Caller>,
    State(desk): State<Arc<Desk>>,
    Or(At(key)): Or<At>,
    Filled(Suspension { suspend }): Filled<Suspension>,
) -> Result<Redirect, Refusal> {
    desk.suspend(&person, &key, suspend).await?;
    Ok(back("contracts", &key))
}

async fn decide(
    Or(Caller(person)): Or<Caller>,
    State(desk): State<Arc<Desk>>,
    Or(At(key)): Or<At>,
    Filled(word): Filled<Decision>,
) -> Result<Redirect, Refusal> {
    desk.decide(&person, &key, word).await?;
    Ok(back("incidents", &key))
}

async fn undo(
    Or(Caller(person)): Or<Caller>,
    State(desk): State<Arc<Desk>>,
    Or(At(key)): Or<At>,
    Filled(word): Filled<TakeBack>,
) -> Result<Redirect, Refusal> {
    desk.undo(&person, &key, word).await?;
    Ok(back("incidents", &key))
}
