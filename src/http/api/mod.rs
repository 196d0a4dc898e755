//! The JSON API: each operation once, for the router and for the document that describes it.
//!
//! Knows: paths, parameters, and which right each asks for. Must not know: what is behind the desk.
//!
//! ```text
//! reads.rs       health, contracts, Incidents
//! policies.rs    policies and breakers
//! log.rs         the healing log
//! documents.rs   documents and revisions
//! acts.rs        what is asked for
//! stream.rs      what happens, as it happens
//! ```

pub mod acts;
pub mod documents;
pub mod log;
pub mod policies;
pub mod reads;
pub mod stream;

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    body::Bytes,
    extract::{FromRequestParts, Path, Query},
    http::{HeaderName, header::CONTENT_TYPE, request::Parts},
    routing::{MethodRouter, get},
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, de::DeserializeOwned};

use super::{name::Name, openapi, problem::Problem};
use crate::controllers::{Key, desk::Desk};

/// A type, as the document has it.
type Described = fn(&mut SchemaGenerator) -> Schema;

/// What is asked for at one path.
pub struct Operation {
    /// The method, as the document has it: `get` or `post`.
    pub method: &'static str,
    /// The path; what is in braces is the name of a namespace or an object.
    pub path: &'static str,
    /// Its name in the document.
    pub id: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// The right that it asks for.
    pub right: &'static str,
    /// The query's parameters.
    pub query: Described,
    /// The body, for those that take one.
    pub body: Option<Described>,
    /// What is answered.
    pub answer: Described,
    handler: fn() -> MethodRouter<Arc<Desk>>,
}

const MOST: usize = 500;
const USUAL: usize = 100;

/// All of them.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    let reads = [reads::OPERATIONS, policies::OPERATIONS, log::OPERATIONS, documents::OPERATIONS];
    reads.into_iter().flatten().chain(&acts::OPERATIONS).chain(&stream::OPERATIONS)
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The routes of all operations, and of the document.
pub fn router() -> Router<Arc<Desk>> {
    let document = Router::new().route("/api/v1/openapi.json", get(document));
    operations()
        .fold(document, |router, operation| router.route(operation.path, (operation.handler)()))
}

/// Says nothing about the cluster, so it needs no token.
async fn document() -> ([(HeaderName, &'static str); 1], Bytes) {
    static DOCUMENT: LazyLock<Bytes> =
        LazyLock::new(|| openapi::document().to_string().into_bytes().into());
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone())
}

/// No parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Extractor of a query, whose refusal is a [`Problem`].
pub(super) struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Desk>> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Problem> {
        let Query(query) = Query::<T>::from_request_parts(parts, desk).await?;
        Ok(Self(query))
    }
}

/// Extractor of the object in the path.
pub(super) struct Named(pub Key);

impl FromRequestParts<Arc<Desk>> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Problem> {
        let Path((namespace, name)) = Path::<(Name, Name)>::from_request_parts(parts, desk).await?;
        let _: Asked<Nothing> = Asked::from_request_parts(parts, desk).await?;
        Ok(Self(Key::new(namespace.as_str(), name.as_str())))
    }
}

/// Where a list goes on, by what the answer before gave.
fn begins(after: Option<&str>) -> Result<usize, Problem> {
    let after = after.map_or(Ok(0), str::parse);
    after.map_err(|_| Problem::invalid("continue: is not what an answer gave"))
}

fn bounded(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(USUAL) {
        limit @ 1..=MOST => Ok(limit),
        _ => Err(Problem::invalid(format!("limit: must be between 1 and {MOST}"))),
    }
}
