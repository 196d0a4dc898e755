//! The breakers: what did not answer last, and who may ask it now.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use jiff::Timestamp;

use super::{
    Frame, List, Or, Page, Part, Refusal,
    mark::{Mark, Tone},
    said::Said,
    when::When,
};
use crate::controllers::desk::{
    Desk,
    shown::{BreakerIs, BreakerRow},
};

const SHOWN: usize = 200;

#[derive(Template)]
#[template(path = "breakers.html")]
struct Breakers {
    frame: Frame,
    namespace: Said,
    items: Vec<BreakerItem>,
    next: Option<String>,
}

/// A breaker.
struct BreakerItem {
    dependency: Said,
    namespace: Said,
    mark: Mark,
    failures: u32,
    since: When,
    next_probe: Option<When>,
    policies: Said,
}

/// The page.
pub async fn page(
    Or(list): Or<List>,
    State(desk): State<Arc<Desk>>,
) -> Result<Page<impl Template>, Refusal> {
    let scope = list.scope(&desk, "remediationpolicies").await?;
    let contracts = Part::of(list.scope(&desk, "widgetcontracts").await)?;
    let found = desk.lately().await?.breakers(&scope, contracts.seen(), list.after, SHOWN);
    let (frame, namespace) = list.head("Breakers", "breakers");
    Ok(Page(Breakers {
        frame,
        namespace,
        items: found.items.iter().map(|row| BreakerItem::of(row, list.now)).collect(),
        next: found.r#continue.map(|after| list.next("/breakers", &after)),
    }))
}

impl BreakerItem {
    fn of(row: &BreakerRow, now: Timestamp) -> Self {
        let mark = match row.state {
            BreakerIs::Closed => Mark::new(Tone::Warn, "Closed"),
            BreakerIs::HalfOpen => Mark::new(Tone::Busy, "Half open"),
            BreakerIs::Open => Mark::new(Tone::Bad, "Open"),
        };
        Self {
            dependency: Said::of(&row.dependency),
            namespace: Said::of(row.namespace.as_deref().unwrap_or_default()),
            mark,
            failures: row.failures,
            since: When::of(row.since, now),
            next_probe: row.next_probe.map(|at| When::of(at, now)),
            policies: Said::of(row.policies.join(", ")),
        }
    }
}
