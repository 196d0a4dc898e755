//! The contracts, by namespace and name.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use super::{Frame, Or, Page, Refusal, mark::Mark, name_in, said::Said};
use crate::{
    api::contract::Health,
    controllers::desk::{
        Desk,
        shown::{ContractFilter, ContractRow},
    },
    http::{api::Asked, caller::Caller, name::Name, problem::Problem},
};

const SHOWN: usize = 100;
/// The worst first.
pub(super) const HEALTHS: [Health; 7] = [
    Health::Critical,
    Health::Degraded,
    Health::Recovering,
    Health::Unknown,
    Health::Healthy,
    Health::Pending,
    Health::Suspended,
];

/// A contract in a list.
pub struct ContractItem {
    pub href: String,
    pub name: Said,
    pub namespace: Said,
    pub widget: Said,
    pub health: Mark,
    pub serving: &'static str,
    pub incident: Option<String>,
}

impl ContractItem {
    pub fn of(row: &ContractRow) -> Self {
        Self {
            href: format!("/namespaces/{}/contracts/{}", row.namespace, row.name),
            name: Said::of(&row.name),
            namespace: Said::of(&row.namespace),
            widget: Said::of(&row.widget),
            health: row.health.into(),
            serving: row.serving,
            incident: row
                .incident
                .as_ref()
                .map(|name| format!("/namespaces/{}/incidents/{name}", row.namespace)),
        }
    }
}

/// Which of them.
#[derive(Deserialize)]
pub struct Query {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    health: String,
    #[serde(default)]
    after: String,
}

#[derive(Template)]
#[template(path = "contracts.html")]
struct Contracts {
    frame: Frame,
    namespace: Said,
    health: String,
    healths: Vec<String>,
    items: Vec<ContractItem>,
    next: Option<String>,
}

/// The page.
pub async fn page(
    Or(Caller(person)): Or<Caller>,
    State(desk): State<Arc<Desk>>,
    Or(Asked(query)): Or<Asked<Query>>,
) -> Result<Page<impl Template>, Refusal> {
    let only = name_in("namespace", &query.namespace)?;
    let health = HEALTHS.into_iter().find(|health| health.as_ref() == query.health);
    if health.is_none() && !query.health.is_empty() {
        return Err(Problem::invalid("health: there is no such one").into());
    }
    let scope = desk.scope(&person, "widgetcontracts", only.as_ref().map(Name::as_str)).await?;
    let filter = ContractFilter { health, widget: None };
    let after = (!query.after.is_empty()).then_some(&*query.after);
    let found = desk.contracts(&scope, &filter, after, SHOWN)?;
    let next = found.r#continue.map(|after| {
        format!("/contracts?namespace={}&health={}&after={after}", query.namespace, query.health)
    });
    Ok(Page(Contracts {
        frame: Frame::of("Contracts", "contracts", &person, desk.now()),
        namespace: Said::of(&query.namespace),
        health: query.health,
        healths: HEALTHS.iter().map(ToString::to_string).collect(),
        items: found.items.iter().map(ContractItem::of).collect(),
        next,
    }))
}
