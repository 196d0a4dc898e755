//! One contract: what was asked for, what is served, and which rules do not pass.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    At, Frame, Or, Page, Part, Refusal,
    documents::{Compared, Documents},
    incident::ConditionRow,
    mark::{Mark, Tone},
    offers,
    said::Said,
    when::When,
};
use crate::{
    api::contract::{Check, DocumentStatus, WidgetContractStatus},
    controllers::desk::{
        Ask, Desk,
        act::About,
        shown::{ContractShown, RuleRow},
    },
    http::{api::Asked, caller::Caller},
};

/// Which revision is looked at.
#[derive(Deserialize)]
pub struct Query {
    revision: Option<u32>,
}

#[derive(Template)]
#[template(path = "contract.html")]
struct Shown {
    frame: Frame,
    name: Said,
    namespace: Said,
    widget: Said,
    class: Option<Said>,
    suspended: bool,
    health: Option<Mark>,
    incident: Option<String>,
    policy: Said,
    rules_summary: Said,
    rules_missing: Option<Said>,
    checks: Vec<CheckRow>,
    rules: Vec<RuleItem>,
    documents: Vec<DocumentRow>,
    stored: Part<Documents>,
    may_act: Part<()>,
    path: String,
    conditions: Vec<ConditionRow>,
    next: Option<When>,
    news: String,
}

/// A rule that does not pass.
struct CheckRow {
    rule: Said,
    target: String,
    mark: Mark,
    severity: Mark,
    path: Said,
    message: Said,
    since: When,
}

/// A rule in force.
struct RuleItem {
    name: Said,
    kind: String,
    severity: Mark,
    verdict: Mark,
}

/// One of the contract's documents.
struct DocumentRow {
    name: &'static str,
    digest: String,
    said: Said,
    since: Option<When>,
}

/// The page.
pub async fn page(
    Or(Caller(person)): Or<Caller>,
    State(desk): State<Arc<Desk>>,
    Or(At(key)): Or<At>,
    Or(Asked(query)): Or<Asked<Query>>,
) -> Result<Page<impl Template>, Refusal> {
    desk.shows(&person, Ask::of("get", "widgetcontracts", &key)).await?;
    let now = desk.now();
    let found = desk.contract(&person, &key).await?;
    let stored = Documents::of(&desk, &person, &key, query.revision, now).await?;
    let may_act = offers(&desk, &person, About::Contract, &key).await?;
    let frame = Frame::of(format!("Contract {}", key.name), "contracts", &person, now);
    Ok(Page(shown(frame, found, stored, may_act, now)))
}

fn shown(
    frame: Frame,
    found: ContractShown,
    stored: Part<Documents>,
    may_act: Part<()>,
    now: Timestamp,
) -> Shown {
    let status: WidgetContractStatus = found.status.unwrap_or_default();
    let health = status.health.map(Mark::from);
    let documents = status.document.unwrap_or_default();
    let word = health.as_ref().map_or("not looked at yet", |mark| &*mark.word).to_owned();
    let rules_summary = match &*status.rules_summary {
        "" => "not checked",
        summary => summary,
    };
    Shown {
        news: format!("Contract {}: {word}, {rules_summary}", found.name),
        name: Said::of(&found.name),
        widget: Said::of(&found.widget),
        class: found.class.map(Said::of),
        suspended: found.suspend,
        health,
        incident: status
            .incident_ref
            .map(|incident| format!("/namespaces/{}/incidents/{}", found.namespace, incident.name)),
        namespace: Said::of(&found.namespace),
        policy: Said::of(status.policy.unwrap_or_default()),
        rules_summary: Said::of(rules_summary),
        rules_missing: found.rules_missing.map(Said::of),
        rules: found.rules.iter().map(RuleItem::of).collect(),
        checks: status.checks.iter().map(|check| CheckRow::of(check, now)).collect(),
        path: format!("/namespaces/{}/contracts/{}", found.namespace, found.name),
        stored,
        may_act,
        documents: rows(&documents, now),
        conditions: ConditionRow::all(&status.conditions, now),
        next: status.next_check_time.map(|at| When::of(at.0, now)),
        frame,
    }
}

fn rows(documents: &DocumentStatus, now: Timestamp) -> Vec<DocumentRow> {
    let mut rows = Vec::new();
    if let Some(assigned) = &documents.assigned {
        rows.push(DocumentRow {
            name: "Asked for",
            digest: assigned.digest.short().to_owned(),
            said: Said::of(match assigned.valid_since {
                Some(_) => "passes every Critical rule",
                None => "does not pass every Critical rule",
            }),
            since: assigned.valid_since.as_ref().map(|at| When::of(at.0, now)),
        });
    }
    if let Some(served) = &documents.served {
        let place = format!(
            "{}, from ConfigMap {} key {}",
            served.origin, served.r#ref.name, served.r#ref.key
        );
        rows.push(DocumentRow {
            name: "Served",
            digest: served.digest.short().to_owned(),
            said: Said::of(place),
            since: None,
        });
    }
    if let Some(good) = &documents.last_known_good {
        rows.push(DocumentRow {
            name: "Last known good",
            digest: good.digest.short().to_owned(),
            said: Said::of(format!("revision {}", good.revision)),
            since: Some(When::of(good.since.0, now)),
        });
    }
    rows
}

impl RuleItem {
    fn of(rule: &RuleRow) -> Self {
        Self {
            name: Said::of(&rule.name),
            kind: rule.r#type.to_string(),
            severity: rule.severity.into(),
            verdict: rule.verdict.map_or(Mark::new(Tone::Quiet, "NotKnown"), Mark::from),
        }
    }
}

impl CheckRow {
    fn of(check: &Check, now: Timestamp) -> Self {
        Self {
            rule: Said::of(&check.rule),
            target: check.target.to_string(),
            mark: check.result.into(),
            severity: check.severity.into(),
            path: Said::of(&check.path),
            message: Said::cut(&check.message, 600),
            since: When::of(check.since.0, now),
        }
    }
}
