//! Health, contracts and Incidents.

use std::sync::Arc;

use axum::{Json, extract::State, routing::get};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use strum::IntoEnumIterator as _;

use super::{Asked, Named, Nothing, Operation, bounded, schema};
use crate::{
    api::{contract::Health, incident::State as IncidentState},
    controllers::desk::{
        Ask, Desk, Refused,
        shown::{
            ContractFilter, ContractRow, ContractShown, IncidentFilter, IncidentRow, IncidentShown,
            Page, Platform, Rank,
        },
    },
    domain::Severity,
    http::{caller::Caller, name::Name, problem::Problem},
};

const LONGEST_WIDGET: usize = 63;

/// All of them.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        method: "get",
        path: "/api/v1/health",
        id: "health",
        summary: "How all of it stands, why, and what the operator works with",
        right: "list widgetcontracts, and incidents for what is said of them",
        query: schema::<Where>,
        body: None,
        answer: schema::<Platform>,
        handler: || get(health),
    },
    Operation {
        method: "get",
        path: "/api/v1/contracts",
        id: "listContracts",
        summary: "Contracts, by namespace and name",
        right: "list widgetcontracts",
        query: schema::<Contracts>,
        body: None,
        answer: schema::<Page<ContractRow>>,
        handler: || get(contracts),
    },
    Operation {
        method: "get",
        path: "/api/v1/namespaces/{namespace}/contracts/{name}",
        id: "getContract",
        summary: "One contract with its status",
        right: "get widgetcontracts; its rules are there with the right to get its widgetclass",
        query: schema::<Nothing>,
        body: None,
        answer: schema::<ContractShown>,
        handler: || get(contract),
    },
    Operation {
        method: "get",
        path: "/api/v1/incidents",
        id: "listIncidents",
        summary: "Open Incidents: those that wait for a person first, then the worst, then the oldest",
        right: "list incidents",
        query: schema::<Incidents>,
        body: None,
        answer: schema::<Page<IncidentRow>>,
        handler: || get(incidents),
    },
    Operation {
        method: "get",
        path: "/api/v1/namespaces/{namespace}/incidents/{name}",
        id: "getIncident",
        summary: "One Incident with its plan and attempts, open or over",
        right: "get incidents",
        query: schema::<Nothing>,
        body: None,
        answer: schema::<IncidentShown>,
        handler: || get(incident),
    },
];

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
    #[schemars(schema_with = "states_of_open_ones")]
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

/// Those that are over are not listed, so nobody is offered to ask for them.
fn states_of_open_ones(_: &mut SchemaGenerator) -> Schema {
    let states = IncidentState::iter().filter(|state| !state.is_over());
    json_schema!({"type": "string", "enum": states.collect::<Vec<_>>()})
}

async fn health(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Asked(asked): Asked<Where>,
) -> Result<Json<Platform>, Problem> {
    let namespace = asked.namespace;
    let scope =
        desk.scope(&person, "widgetcontracts", namespace.as_ref().map(Name::as_str)).await?;
    let incidents = desk.scope(&person, "incidents", namespace.as_ref().map(Name::as_str)).await;
    let incidents = Refused::or_gap(incidents)?.ok();
    Ok(Json(desk.lately().await?.platform(&scope, incidents.as_ref())))
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
    if asked.widget.as_ref().is_some_and(|widget| widget.len() > LONGEST_WIDGET) {
        return Err(Problem::invalid(format!("widget: has at most {LONGEST_WIDGET} bytes")));
    }
    let namespace = asked.namespace;
    let scope =
        desk.scope(&person, "widgetcontracts", namespace.as_ref().map(Name::as_str)).await?;
    let filter = ContractFilter { health: asked.health, widget: asked.widget };
    Ok(Json(desk.contracts(&scope, &filter, after, limit)?))
}

async fn contract(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Named(key): Named,
) -> Result<Json<ContractShown>, Problem> {
    desk.shows(&person, Ask::of("get", "widgetcontracts", &key)).await?;
    Ok(Json(desk.contract(&person, &key).await?))
}

async fn incidents(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Asked(asked): Asked<Incidents>,
) -> Result<Json<Page<IncidentRow>>, Problem> {
    let limit = bounded(asked.limit)?;
    let after = asked.r#continue.as_deref().map(str::parse::<Rank>).transpose();
    let after = after.map_err(|()| Problem::invalid("continue: is not what an answer gave"))?;
    if let Some(state) = asked.state.filter(|state| state.is_over()) {
        let detail = format!("state: open Incidents are listed, and one that is {state} is over");
        return Err(Problem::invalid(detail));
    }
    let namespace = asked.namespace;
    let scope = desk.scope(&person, "incidents", namespace.as_ref().map(Name::as_str)).await?;
    let filter = IncidentFilter {
        state: asked.state,
        severity: asked.severity,
        contract: asked.contract.map(String::from),
        waits_for_people: asked.waits_for_people,
    };
    Ok(Json(desk.lately().await?.incidents(&scope, &filter, after.as_ref(), limit)))
}

async fn incident(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Named(key): Named,
) -> Result<Json<IncidentShown>, Problem> {
    desk.shows(&person, Ask::of("get", "incidents", &key)).await?;
    Ok(Json(desk.incident(&person, &key).await?))
}
