//! The open Incidents, those that wait for a person first.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;

use super::{Frame, Or, Page, Refusal, mark::Mark, name_in, said::Said, when::When};
use crate::{
    controllers::desk::{
        Desk,
        shown::{IncidentFilter, IncidentRow, Rank},
    },
    decide::held::{self, Again},
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
    /// When the operator looks again by itself at what holds it.
    pub again: Option<When>,
    /// Within which time, where it does so every so often.
    pub again_within: String,
}

/// What `message` says without the command that it ends with: that is on the Incident's own page, where
/// nothing is cut out of it.
pub(super) fn in_short(message: &str) -> &str {
    message.split_once(": kubectl ").map_or(message, |(says, _)| says)
}

impl IncidentItem {
    pub fn of(row: &IncidentRow, now: Timestamp) -> Self {
        let (again, again_within) = match held::again(&row.waiting, row.held_until, now) {
            Some(Again::At(at)) => (Some(When::of(at, now)), String::new()),
            Some(Again::Soon) => (None, held::AT_MOST.to_string()),
            None => (None, String::new()),
        };
        Self {
            href: format!("/namespaces/{}/incidents/{}", row.namespace, row.name),
            subject: Said::of(&row.subject),
            namespace: Said::of(&row.namespace),
            rules: Said::cut(&row.rules, 120),
            state: row.state.into(),
            severity: row.severity.into(),
            cause: row.cause.to_string(),
            waiting: Said::of(&row.waiting),
            message: Said::cut(in_short(&row.message), 180),
            needs_person: row.waits_for_people,
            tries: row.tries,
            opened: When::of(row.opened_at, now),
            next: row
                .next_attempt_time
                .filter(|_| row.held_until.is_none())
                .map(|at| When::of(at, now)),
            again,
            again_within,
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
    let only = name_in("namespace", &query.namespace)?;
    let contract = name_in("contract", &query.contract)?;
    let scope = desk.scope(&person, "incidents", only.as_ref().map(Name::as_str)).await?;
    let filter =
        IncidentFilter { contract: contract.map(String::from), ..IncidentFilter::default() };
    let after = (!query.after.is_empty()).then(|| query.after.parse::<Rank>()).transpose();
    let after = after.map_err(|()| Problem::invalid("after: is not what the page before gave"))?;
    let open = desk.lately().await?.incidents(&scope, &filter, after.as_ref(), SHOWN);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(waiting: &str, message: &str, until: Option<&str>) -> IncidentItem {
        let row = json!({
            "namespace": "shop", "name": "uk-1", "subject": "uk", "rules": "schema",
            "severity": "Critical", "state": "Held", "cause": "DocumentChanged", "waiting": waiting,
            "message": message, "waitsForPeople": false, "tries": 1,
            "openedAt": "2026-11-30T12:00:00Z", "nextAttemptTime": "2026-11-30T12:01:00Z",
            "heldUntil": until,
        });
        let row: IncidentRow = serde_json::from_value(row).unwrap();
        IncidentItem::of(&row, "2026-11-30T12:00:30Z".parse().unwrap())
    }

    #[test]
    fn a_list_says_what_a_person_is_asked_and_leaves_the_command_to_the_incidents_page() {
        let command = "kubectl --namespace shop patch incident uk-1 --type=merge -p '{}'";
        let until = "2026-12-01T12:00:00Z";
        for (message, expected) in [
            (
                format!("a person decides until {until}: {command}"),
                "a person decides until 2026-12-01T12:00:00Z",
            ),
            ("it waits: for nobody".to_owned(), "it waits: for nobody"),
        ] {
            let item = item("AwaitingApproval", &message, Some(until));
            assert_eq!(item.message.to_string(), expected);
        }
    }

    #[test]
    fn what_is_held_is_looked_at_again_then_or_within_a_minute_and_no_attempt_comes_before() {
        for (waiting, until, again, within, next) in [
            ("OutsideWindow", Some("2026-11-30T12:05:30Z"), Some("in 5m"), "", None),
            ("Concurrency", Some("2026-11-30T12:00:10Z"), None, "1m", None),
            ("OutsideWindow", Some("2026-11-30T12:00:10Z"), None, "", None),
            ("Backoff", None, None, "", Some("in 30s")),
        ] {
            let item = item(waiting, "", until);
            let age = |when: &Option<When>| when.as_ref().map(|when| when.age.clone());
            let shown = (age(&item.again), &*item.again_within, age(&item.next));
            let expected = (again.map(str::to_owned), within, next.map(str::to_owned));
            assert_eq!(shown, expected, "{waiting} {until:?}");
        }
    }
}
