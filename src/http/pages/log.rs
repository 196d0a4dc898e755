//! The healing log: what was done, the newest first.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Frame, Or, Page, Refusal,
    mark::{Mark, Tone},
    name_in,
    said::Said,
    when::When,
};
use crate::{
    controllers::desk::{Desk, shown::MOST_ACTIONS},
    decide::log::{Action, Filter, What},
    http::{api::Asked, caller::Caller, name::Name, problem::Problem},
};

/// Which actions; what is empty is not asked about.
#[derive(Deserialize)]
pub struct Query {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    contract: String,
    #[serde(default)]
    policy: String,
    #[serde(default)]
    step: String,
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    incident: String,
}

#[derive(Template)]
#[template(path = "log.html")]
struct Log {
    frame: Frame,
    fields: [Field; 6],
    is_filtered: bool,
    items: Vec<Entry>,
    most: usize,
    is_complete: bool,
}

/// One of the filters.
struct Field {
    name: &'static str,
    value: Said,
}

/// What was done.
struct Entry {
    at: When,
    mark: Mark,
    subject: Said,
    namespace: Said,
    href: String,
    step: Said,
    outcome: Said,
    by: Said,
    message: Said,
}

/// The page.
pub async fn page(
    Or(Caller(person)): Or<Caller>,
    State(desk): State<Arc<Desk>>,
    Or(Asked(query)): Or<Asked<Query>>,
) -> Result<Page<impl Template>, Refusal> {
    let now = desk.now();
    let only = name_in("namespace", &query.namespace)?;
    let filter = query.filter()?;
    let scope = desk.scope(&person, "incidents", only.as_ref().map(Name::as_str)).await?;
    let found = desk.log(&person, &scope, &filter, MOST_ACTIONS).await?;
    let fields = query.fields();
    Ok(Page(Log {
        frame: Frame::of("Healing log", "log", &person, now),
        is_filtered: fields.iter().any(|field| !field.value.is_empty()),
        fields,
        items: found.items.iter().map(|action| Entry::of(action, now)).collect(),
        most: MOST_ACTIONS,
        is_complete: found.complete,
    }))
}

impl Query {
    fn filter(&self) -> Result<Filter, Problem> {
        let name =
            |field: &str, text: &str| name_in(field, text).map(|name| name.map(String::from));
        Ok(Filter {
            contract: name("contract", &self.contract)?,
            incident: name("incident", &self.incident)?,
            policy: name("policy", &self.policy)?,
            step: name("step", &self.step)?,
            outcome: (!self.outcome.is_empty()).then(|| self.outcome.clone()),
        })
    }

    fn fields(&self) -> [Field; 6] {
        [
            ("namespace", &self.namespace),
            ("contract", &self.contract),
            ("policy", &self.policy),
            ("step", &self.step),
            ("outcome", &self.outcome),
            ("incident", &self.incident),
        ]
        .map(|(name, value)| Field { name, value: Said::of(value) })
    }
}

impl Entry {
    fn of(action: &Action, now: Timestamp) -> Self {
        let (tone, word) = match (action.what, &*action.outcome) {
            (What::Opened, _) => (Tone::Bad, "Opened"),
            (What::Approved, _) => (Tone::Good, "Approved"),
            (What::Rejected, _) => (Tone::Warn, "Rejected"),
            (What::Acted, "Done") => (Tone::Good, "Acted"),
            (What::Acted, _) => (Tone::Warn, "Acted"),
            (What::Attempted, "Succeeded") => (Tone::Good, "Attempted"),
            (What::Attempted, _) => (Tone::Bad, "Attempted"),
            (What::Mitigated, _) => (Tone::Good, "Mitigated"),
            (What::Escalated, _) => (Tone::Bad, "Escalated"),
            (What::Undone, _) => (Tone::Warn, "Undone"),
            (What::Resolved, _) => (Tone::Good, "Resolved"),
            (What::Superseded, _) => (Tone::Quiet, "Superseded"),
        };
        Self {
            at: When::of(action.at, now),
            mark: Mark::new(tone, word),
            subject: Said::of(&action.subject),
            namespace: Said::of(&action.namespace),
            href: format!("/namespaces/{}/incidents/{}", action.namespace, action.incident),
            step: Said::of(&action.step),
            outcome: Said::of(&action.outcome),
            by: Said::of(&action.by),
            message: Said::cut(&action.message, 300),
        }
    }
}
