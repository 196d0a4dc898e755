//! What is asked for.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequest, Request, State},
    routing::post,
};
use serde::de::DeserializeOwned;

use super::{Named, Nothing, Operation, schema};
use crate::{
    controllers::desk::{
        Desk,
        act::{Decision, Done, Suspension, TakeBack},
    },
    http::{caller::Caller, problem::Problem},
};

/// All of them.
pub const OPERATIONS: [Operation; 4] = [
    Operation {
        method: "post",
        path: "/api/v1/namespaces/{namespace}/contracts/{name}/heal",
        id: "healContract",
        summary: "Ask for an attempt now, as the annotation kintsugi.dev/heal does",
        right: "patch or update widgetcontracts",
        query: schema::<Nothing>,
        body: None,
        answer: schema::<Done>,
        handler: || post(heal),
    },
    Operation {
        method: "post",
        path: "/api/v1/namespaces/{namespace}/contracts/{name}/suspension",
        id: "suspendContract",
        summary: "Suspend a contract, or let it go on",
        right: "patch or update widgetcontracts",
        query: schema::<Nothing>,
        body: Some(schema::<Suspension>),
        answer: schema::<Done>,
        handler: || post(suspend),
    },
    Operation {
        method: "post",
        path: "/api/v1/namespaces/{namespace}/incidents/{name}/decision",
        id: "decideOnPlan",
        summary: "Approve or reject the plan of an Incident",
        right: "approve incidents, and to patch or update them",
        query: schema::<Nothing>,
        body: Some(schema::<Decision>),
        answer: schema::<Done>,
        handler: || post(decide),
    },
    Operation {
        method: "post",
        path: "/api/v1/namespaces/{namespace}/incidents/{name}/undo",
        id: "undoIncident",
        summary: "Take back what was repaired in an Incident",
        right: "patch or update incidents",
        query: schema::<Nothing>,
        body: Some(schema::<TakeBack>),
        answer: schema::<Done>,
        handler: || post(undo),
    },
];

/// Extractor of a body, whose refusal is a [`Problem`].
struct Body<T>(T);

impl<T: DeserializeOwned> FromRequest<Arc<Desk>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, Problem> {
        let Json(body) = Json::<T>::from_request(request, desk).await?;
        Ok(Self(body))
    }
}

async fn heal(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Named(key): Named,
) -> Result<Json<Done>, Problem> {
    Ok(Json(desk.heal(&person, &key).await?))
}

async fn suspend(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Named(key): Named,
    Body(Suspension { suspend }): Body<Suspension>,
) -> Result<Json<Done>, Problem> {
    Ok(Json(desk.suspend(&person, &key, suspend).await?))
}

async fn decide(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Named(key): Named,
    Body(word): Body<Decision>,
) -> Result<Json<Done>, Problem> {
    Ok(Json(desk.decide(&person, &key, word).await?))
}

async fn undo(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Named(key): Named,
    Body(word): Body<TakeBack>,
) -> Result<Json<Done>, Problem> {
    Ok(Json(desk.undo(&person, &key, word).await?))
}
