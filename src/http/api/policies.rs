//! Policies, and what is left alone by their breakers.

use std::sync::Arc;

use axum::{Json, extract::State, routing::get};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Asked, Named, Nothing, Operation, begins, bounded, schema};
use crate::{
    controllers::desk::{
        Ask, Desk, Refused,
        shown::{BreakerRow, Page, PolicyRow, PolicyShown},
    },
    http::{caller::Caller, name::Name, problem::Problem},
};

/// The operations of this file.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        method: "get",
        path: "/api/v1/policies",
        id: "listPolicies",
        summary: "Policies with what came of their steps, by namespace and name",
        right: "list remediationpolicies",
        query: schema::<Listing>,
        body: None,
        answer: schema::<Page<PolicyRow>>,
        handler: || get(policies),
    },
    Operation {
        method: "get",
        path: "/api/v1/namespaces/{namespace}/policies/{name}",
        id: "getPolicy",
        summary: "One policy with its status",
        right: "get remediationpolicies",
        query: schema::<Nothing>,
        body: None,
        answer: schema::<PolicyShown>,
        handler: || get(policy),
    },
    Operation {
        method: "get",
        path: "/api/v1/breakers",
        id: "listBreakers",
        summary: "What did not answer last: what is left alone first. Servers of assets are of no \
                  namespace: who may list widgetcontracts of some is shown those that these had no answer from",
        right: "list remediationpolicies",
        query: schema::<Listing>,
        body: None,
        answer: schema::<Page<BreakerRow>>,
        handler: || get(breakers),
    },
];

/// Which ones.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Only of this namespace; by default of all that you may look into.
    namespace: Option<Name>,
    /// How many at most.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
    /// What the answer before gave as `continue`.
    #[schemars(length(max = 512))]
    r#continue: Option<String>,
}

async fn policies(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Asked(asked): Asked<Listing>,
) -> Result<Json<Page<PolicyRow>>, Problem> {
    let limit = bounded(asked.limit)?;
    let after = begins(asked.r#continue.as_deref())?;
    let namespace = asked.namespace.as_ref().map(Name::as_str);
    let scope = desk.scope(&person, "remediationpolicies", namespace).await?;
    Ok(Json(desk.policies(&scope, after, limit)?))
}

async fn policy(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Named(key): Named,
) -> Result<Json<PolicyShown>, Problem> {
    desk.shows(&person, Ask::of("get", "remediationpolicies", &key)).await?;
    Ok(Json(desk.policy(&key)?))
}

async fn breakers(
    Caller(person): Caller,
    State(desk): State<Arc<Desk>>,
    Asked(asked): Asked<Listing>,
) -> Result<Json<Page<BreakerRow>>, Problem> {
    let limit = bounded(asked.limit)?;
    let after = begins(asked.r#continue.as_deref())?;
    let namespace = asked.namespace.as_ref().map(Name::as_str);
    let scope = desk.scope(&person, "remediationpolicies", namespace).await?;
    let contracts = Refused::or_gap(desk.scope(&person, "widgetcontracts", namespace).await)?.ok();
    Ok(Json(desk.lately().await?.breakers(&scope, contracts.as_ref(), after, limit)))
}
