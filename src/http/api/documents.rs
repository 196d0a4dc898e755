//! Documents, revisions and plans: the only answers that have values of documents in them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    http::request::Parts,
    routing::get,
};

use super::{Asked, Named, Nothing, Operation, schema};
use crate::{
    controllers::{
        Key,
        desk::{
            Ask, Desk,
            shown::{DocumentsShown, PlanShown, RevisionShown},
        },
    },
    http::{caller::Caller, name::Name, problem::Problem},
};

/// The operations of this file.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        method: "get",
        path: "/api/v1/namespaces/{namespace}/contracts/{name}/documents",
        id: "getDocuments",
        summary: "What is served and what was asked for, what lies between, and the revisions",
        right: RIGHT,
        query: schema::<Nothing>,
        body: None,
        answer: schema::<DocumentsShown>,
        handler: || get(documents),
    },
    Operation {
        method: "get",
        path: "/api/v1/namespaces/{namespace}/contracts/{name}/revisions/{number}",
        id: "getRevision",
        summary: "One revision, and what it would change of what is served",
        right: RIGHT,
        query: schema::<Nothing>,
        body: None,
        answer: schema::<RevisionShown>,
        handler: || get(revision),
    },
    Operation {
        method: "get",
        path: "/api/v1/namespaces/{namespace}/incidents/{name}/plan",
        id: "getPlan",
        summary: "The plan of an Incident with its values, and what it would change of what was asked for",
        right: "get incidents, and to get the configmap <name>-candidate; what was asked for is there with \
                the right to get widgetcontracts, and the configmap that it is in",
        query: schema::<Nothing>,
        body: None,
        answer: schema::<PlanShown>,
        handler: || get(plan),
    },
];

const RIGHT: &str = "get widgetcontracts, and to get the configmaps that the documents are in";

/// Extractor of a revision in the path.
struct Numbered(Key, u32);

impl FromRequestParts<Arc<Desk>> for Numbered {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Problem> {
        let path = Path::<(Name, Name, u32)>::from_request_parts(parts, desk).await?;
        let Path((namespace, name, number)) = path;
        let _: Asked<Nothing> = Asked::from_request_parts(parts, desk).await?;
        if number == 0 {
            return Err(Problem::invalid("number: the first revision is 1"));
        }
        Ok(Self(Key::new(namespace.as_str(), name.as_str()), number))
    }
}

async fn documents(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Named(key): Named,
) -> Result<Json<DocumentsShown>, Problem> {
    desk.shows(&person, Ask::of("get", "widgetcontracts", &key)).await?;
    Ok(Json(desk.documents(&person, &key).await?))
}

async fn revision(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Numbered(key, number): Numbered,
) -> Result<Json<RevisionShown>, Problem> {
    desk.shows(&person, Ask::of("get", "widgetcontracts", &key)).await?;
    Ok(Json(desk.revision(&person, &key, number).await?))
}

async fn plan(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Named(key): Named,
) -> Result<Json<PlanShown>, Problem> {
    desk.shows(&person, Ask::of("get", "incidents", &key)).await?;
    let incident = desk.incident(&person, &key).await?;
    Ok(Json(desk.plan(&person, &key, &incident).await?))
}
