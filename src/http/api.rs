//! The JSON API: each operation once, for the router and for the document that describes it.
//!
//! Knows: paths, parameters, and which right each asks for. Must not know: what is behind the desk.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, Query, State},
    http::request::Parts,
    routing::{MethodRouter, get},
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, de::DeserializeOwned};

use super::{caller::Caller, name::Name, openapi, problem::Problem};
use crate::{
    api::{contract::Health, incident::State as IncidentState},
    controllers::{
        Key,
        desk::{
            Ask, Desk,
            shown::{
                ContractFilter, ContractRow, ContractShown, IncidentFilter, IncidentRow,
                IncidentShown, Page, Platform,
            },
        },
    },
    domain::Severity,
};

/// What is asked for at one path.
pub struct Operation {
    /// The path; what is in braces is the name of a namespace or an object.
    pub path: &'static str,
    /// Its name in the document.
    pub id: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// The right that it asks for.
    pub right: &'static str,
    /// The query's parameters.
    pub query: fn(&mut SchemaGenerator) -> Schema,
    /// What is answered.
    pub answer: fn(&mut SchemaGenerator) -> Schema,
    handler: fn() -> MethodRouter<Arc<Desk>>,
}

const MOST: usize = 500;
const USUAL: usize = 100;
const LONGEST_WIDGET: usize = 63;

/// All of them.
pub const OPERATIONS: [Operation; 5] = [
    Operation {
        path: "/api/v1/health",
        id: "health",
        summary: "How all of it stands, why, and what the operator works with",
        right: "list widgetcontracts",
        query: schema::<Where>,
        answer: schema::<Platform>,
        handler: || get(health),
    },
    Operation {
        path: "/api/v1/contracts",
        id: "listContracts",
        summary: "Contracts, by namespace and name",
        right: "list widgetcontracts",
        query: schema::<Contracts>,
        answer: schema::<Page<ContractRow>>,
        handler: || get(contracts),
    },
    Operation {
        path: "/api/v1/namespaces/{namespace}/contracts/{name}",
        id: "getContract",
        summary: "One contract with its status",
        right: "get widgetcontracts",
        query: schema::<Nothing>,
        answer: schema::<ContractShown>,
        handler: || get(contract),
    },
    Operation {
        path: "/api/v1/incidents",
        id: "listIncidents",
        summary: "Open Incidents: those that wait for a person first, then the worst, then the oldest",
        right: "list incidents",
        query: schema::<Incidents>,
        answer: schema::<Page<IncidentRow>>,
        handler: || get(incidents),
    },
    Operation {
        path: "/api/v1/namespaces/{namespace}/incidents/{name}",
        id: "getIncident",
        summary: "One Incident with its plan and attempts, open or over",
        right: "get incidents",
        query: schema::<Nothing>,
        answer: schema::<IncidentShown>,
        handler: || get(incident),
    },
];

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The routes of all operations, and of the document.
pub fn router() -> Router<Arc<Desk>> {
    let document = Router::new().route("/api/v1/openapi.json", get(document));
    OPERATIONS
        .iter()
        .fold(document, |router, operation| router.route(operation.path, (operation.handler)()))
}

/// Says nothing about the cluster, so it needs no token.
async fn document() -> Json<serde_json::Value> {
    Json(openapi::document())
}

/// No parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Which namespace.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Where {
    /// Only this namespace; by default all that you may look into.
    namespace: Option<Name>,
}

/// Which contracts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contracts {
    /// Only of this namespace; by default of all that you may look into.
    namespace: Option<Name>,
    /// Only those with this health.
    health: Option<Health>,
    /// Only those of this widget.
    #[schemars(length(max = 63))]
    widget: Option<String>,
    /// How many at most.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
    /// What the answer before gave as `continue`.
    #[schemars(length(max = 512))]
    r#continue: Option<String>,
}

/// Which Incidents.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Incidents {
    /// Only of this namespace; by default of all that you may look into.
    namespace: Option<Name>,
    /// Only those in this state.
    state: Option<IncidentState>,
    /// Only those of this severity.
    severity: Option<Severity>,
    /// Only those about this contract.
    contract: Option<Name>,
    /// Only those that wait for a person, or only those that do not.
    waits_for_people: Option<bool>,
    /// How many at most.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
    /// What the answer before gave as `continue`.
    #[schemars(length(max = 512))]
    r#continue: Option<String>,
}

/// Extractor of a query, whose refusal is a [`Problem`].
struct Asked<T>(T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Desk>> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Problem> {
        let Query(query) = Query::<T>::from_request_parts(parts, desk).await?;
        Ok(Self(query))
    }
}

/// Extractor of the object in the path.
struct Named(Key);

impl FromRequestParts<Arc<Desk>> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Problem> {
        let Path((namespace, name)) = Path::<(Name, Name)>::from_request_parts(parts, desk).await?;
        let _: Asked<Nothing> = Asked::from_request_parts(parts, desk).await?;
        Ok(Self(Key::new(namespace.as_str(), name.as_str())))
    }
}

fn bounded(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(USUAL) {
        limit @ 1..=MOST => Ok(limit),
        _ => Err(Problem::invalid(format!("limit: must be between 1 and {MOST}"))),
    }
}

async fn health(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Asked(asked): Asked<Where>,
) -> Result<Json<Platform>, Problem> {
    let namespace = asked.namespace;
    let scope =
        desk.scope(&person, "widgetcontracts", namespace.as_ref().map(Name::as_str)).await?;
    Ok(Json(desk.platform(&scope)?))
}

async fn contracts(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Asked(asked): Asked<Contracts>,
) -> Result<Json<Page<ContractRow>>, Problem> {
    let limit = bounded(asked.limit)?;
    let after = asked.r#continue.as_deref();
    if after.is_some_and(|after| !after.contains('/')) {
        return Err(Problem::invalid("continue: is not what an answer gave"));
    }
    let namespace = asked.namespace;
    let scope =
        desk.scope(&person, "widgetcontracts", namespace.as_ref().map(Name::as_str)).await?;
    if asked.widget.as_ref().is_some_and(|widget| widget.len() > LONGEST_WIDGET) {
        return Err(Problem::invalid(format!("widget: has at most {LONGEST_WIDGET} bytes")));
    }
    let filter = ContractFilter { health: asked.health, widget: asked.widget };
    Ok(Json(desk.contracts(&scope, &filter, after, limit)?))
}

async fn contract(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Named(key): Named,
) -> Result<Json<ContractShown>, Problem> {
    desk.shows(&person, see("widgetcontracts", &key)).await?;
    Ok(Json(desk.contract(&key).await?))
}

async fn incidents(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Asked(asked): Asked<Incidents>,
) -> Result<Json<Page<IncidentRow>>, Problem> {
    let limit = bounded(asked.limit)?;
    let after = asked.r#continue.as_deref().map_or(Ok(0), str::parse);
    let after = after.map_err(|_| Problem::invalid("continue: is not what an answer gave"))?;
    let namespace = asked.namespace;
    let scope = desk.scope(&person, "incidents", namespace.as_ref().map(Name::as_str)).await?;
    let filter = IncidentFilter {
        state: asked.state,
        severity: asked.severity,
        contract: asked.contract.map(String::from),
        waits_for_people: asked.waits_for_people,
    };
    Ok(Json(desk.incidents(&scope, &filter, after, limit)?))
}

async fn incident(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Named(key): Named,
) -> Result<Json<IncidentShown>, Problem> {
    desk.shows(&person, see("incidents", &key)).await?;
    Ok(Json(desk.incident(&key).await?))
}

/// The right to see one object.
fn see(resource: &'static str, key: &Key) -> Ask {
    Ask {
        verb: "get",
        resource,
        namespace: Some(Arc::clone(&key.namespace)),
        name: Some(Arc::clone(&key.name)),
    }
}
