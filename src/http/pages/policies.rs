//! The policies: how far each goes, and how often its steps have led to a repair that passed.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::{
    Frame, List, Or, Page, Refusal,
    mark::{Mark, Tone},
    said::Said,
};
use crate::controllers::desk::{
    Desk,
    shown::{PolicyRow, StepRow},
};

const SHOWN: usize = 100;

#[derive(Template)]
#[template(path = "policies.html")]
struct Policies {
    frame: Frame,
    namespace: Said,
    items: Vec<PolicyItem>,
    next: Option<String>,
}

/// A policy.
struct PolicyItem {
    name: Said,
    namespace: Said,
    mark: Mark,
    mode: String,
    paused: Said,
    is_default: bool,
    matched: u32,
    unhealthy: u32,
    in_flight: u32,
    storm: bool,
    healed: u32,
    steps: Vec<Measured>,
}

/// What a step came to.
struct Measured {
    name: Said,
    kind: Said,
    succeeded: u32,
    tried: u32,
    rate: String,
    took: String,
}

/// The page.
pub async fn page(
    Or(list): Or<List>,
    State(desk): State<Arc<Desk>>,
) -> Result<Page<impl Template>, Refusal> {
    let scope = list.scope(&desk, "remediationpolicies").await?;
    let found = desk.policies(&scope, list.after, SHOWN)?;
    let (frame, namespace) = list.head("Policies", "policies");
    Ok(Page(Policies {
        frame,
        namespace,
        items: found.items.iter().map(PolicyItem::of).collect(),
        next: found.r#continue.map(|after| list.next("/policies", &after)),
    }))
}

impl PolicyItem {
    fn of(row: &PolicyRow) -> Self {
        let mark = match (row.ready, row.suspend || row.paused.is_some()) {
            (_, true) => Mark::new(Tone::Quiet, "Suspended"),
            (false, _) => Mark::new(Tone::Bad, "Not usable"),
            (true, _) => Mark::new(Tone::Good, "Ready"),
        };
        Self {
            name: Said::of(&row.name),
            namespace: Said::of(&row.namespace),
            mark,
            mode: row.mode.to_string(),
            paused: Said::of(row.paused.as_deref().unwrap_or_default()),
            is_default: row.default,
            matched: row.matched,
            unhealthy: row.unhealthy,
            in_flight: row.in_flight,
            storm: row.storm,
            healed: row.healed,
            steps: row.steps.iter().map(Measured::of).collect(),
        }
    }
}

impl Measured {
    fn of(row: &StepRow) -> Self {
        let StepRow { measured, success_rate } = row;
        Self {
            name: Said::of(&measured.name),
            kind: Said::of(&measured.kind),
            succeeded: measured.succeeded,
            tried: measured.tried,
            rate: success_rate.map(|rate| format!("{:.0}%", rate * 100.0)).unwrap_or_default(),
            took: measured.median_time.map(|took| took.to_string()).unwrap_or_default(),
        }
    }
}
