//! The healing log.

use std::sync::Arc;

use axum::{Json, extract::State, routing::get};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Asked, Operation, schema};
use crate::{
    controllers::desk::{
        Desk,
        shown::{Log, MOST_ACTIONS},
    },
    decide::log::Filter,
    http::{caller::Caller, name::Name, problem::Problem},
};

/// The operations of this file.
pub(super) const OPERATIONS: &[Operation] = &[Operation {
    method: "get",
    path: "/api/v1/log",
    id: "log",
    summary: "The last actions, the newest first, as the Incidents that exist tell of them",
    right: "list incidents",
    query: schema::<Actions>,
    body: None,
    answer: schema::<Log>,
    handler: || get(log),
}];

/// Which actions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Actions {
    /// Only of this namespace; by default of all that you may look into.
    namespace: Option<Name>,
    /// Only of this contract.
    contract: Option<Name>,
    /// Only under this policy.
    policy: Option<Name>,
    /// Only those in which this step had its turn.
    step: Option<Name>,
    /// Only those with this outcome, such as `Failed`.
    #[schemars(length(max = 63))]
    outcome: Option<String>,
    /// Only of this Incident.
    incident: Option<Name>,
    /// How many at most.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<usize>,
}

async fn log(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Asked(asked): Asked<Actions>,
) -> Result<Json<Log>, Problem> {
    let limit = asked.limit.unwrap_or(MOST_ACTIONS);
    if !(1..=MOST_ACTIONS).contains(&limit) {
        return Err(Problem::invalid(format!("limit: must be between 1 and {MOST_ACTIONS}")));
    }
    let namespace = asked.namespace.as_ref().map(Name::as_str);
    let scope = desk.scope(&person, "incidents", namespace).await?;
    let filter = Filter {
        contract: asked.contract.map(String::from),
        incident: asked.incident.map(String::from),
        policy: asked.policy.map(String::from),
        step: asked.step.map(String::from),
        outcome: asked.outcome,
    };
    Ok(Json(desk.log(&person, &scope, &filter, limit).await?))
}
