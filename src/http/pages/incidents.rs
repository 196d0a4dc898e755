//! The open Incidents, those that wait for a person first.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;

use super::{Frame, Or, Page, Refusal, mark::Mark, namespace, said::Said, when::When};
use crate::{
    controllers::desk::{
        Desk,
        shown::{IncidentFilter, IncidentRow, Rank},
    },
    http::{api::Asked, caller::Caller, name::Name, problem::Problem},
};

const SHOWN: usize = 100;

/// An Incident in a list.
pub struct IncidentItem {
    pub href: String,
    pub subject: Said,
    pub namespace: Said,
    pub rules: Said,
    pub state: Mark,
    pub severity: Mark,
    pub cause: String,
    pub waiting: Said,
    pub message: Said,
    pub needs_person: bool,
    pub tries: u32,
    pub opened: When,
    pub next: Option<When>,
}

impl IncidentItem {
    pub fn of(row: &IncidentRow, now: Timestamp) -> Self {
        Self {
            href: format!("/namespaces/{}/incidents/{}", row.namespace, row.name),
            subject: Said::of(&row.subject),
            namespace: Said::of(&row.namespace),
            rules: Said::cut(&row.rules, 120),
            state: row.state.into(),
            severity: row.severity.into(),
            cause: row.cause.to_string(),
            waiting: Said::of(&row.waiting),
            message: Said::cut(&row.message, 180),
            needs_person: row.waits_for_people,
            tries: row.tries,
            opened: When::of(row.opened_at, now),
            next: row.next_attempt_time.map(|at| When::of(at, now)),
        }
    }
}

/// Which of them.
#[derive(Deserialize)]
pub struct Query {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    contract: String,
    #[serde(default)]
    after: String,
}

#[derive(Template)]
#[template(path = "incidents.html")]
struct Incidents {
    frame: Frame,
    namespace: Said,
    contract: Said,
    items: Vec<IncidentItem>,
    next: Option<String>,
}

/// The page.
pub async fn page(
    Or(Caller(person)): Or<Caller>,
    State(desk): State<Arc<Desk>>,
    Or(Asked(query)): Or<Asked<Query>>,
) -> Result<Page<impl Template>, Refusal> {
    let now = desk.now();
    let only = namespace(&query.namespace)?;
    let contract = (!query.contract.is_empty()).then(|| Name::try_from(query.contract.clone()));
    let contract =
        contract.transpose().map_err(|why| Problem::invalid(format!("contract: {why}")))?;
    let scope = desk.scope(&person, "incidents", only.as_ref().map(Name::as_str)).await?;
    let filter =
        IncidentFilter { contract: contract.map(String::from), ..IncidentFilter::default() };
    let after = (!query.after.is_empty()).then(|| query.after.parse::<Rank>()).transpose();
    let after = after.map_err(|()| Problem::invalid("after: is not what the page before gave"))?;
    let open = desk.incidents(&scope, &filter, after.as_ref(), SHOWN)?;
    let next = open.r#continue.map(|after| {
        format!(
            "/incidents?namespace={}&contract={}&after={after}",
            query.namespace, query.contract
        )
    });
    Ok(Page(Incidents {
        frame: Frame::of("Incidents", "incidents", &person, now),
        namespace: Said::of(&query.namespace),
        contract: Said::of(&query.contract),
        items: open.items.iter().map(|row| IncidentItem::of(row, now)).collect(),
        next,
    }))
}
