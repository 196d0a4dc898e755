//! The breakers: what did not answer last, and who may ask it now.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use jiff::Timestamp;

use super::{
    Frame, Or, Page, Part, Refusal,
    mark::{Mark, Tone},
    said::Said,
    when::When,
};
use crate::{
    controllers::desk::{
        Desk,
        shown::{BreakerIs, BreakerRow},
    },
    http::{api::Asked, caller::Caller, name::Name},
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
    Or(Caller(person)): Or<Caller>,
    State(desk): State<Arc<Desk>>,
    Or(Asked(query)): Or<Asked<super::Listing>>,
) -> Result<Page<impl Template>, Refusal> {
    let now = desk.now();
    let only = super::namespace(&query.namespace)?;
    let only = only.as_ref().map(Name::as_str);
    let scope = desk.scope(&person, "remediationpolicies", only).await?;
    // Servers of assets are of no namespace: whoever sees any contract may know of them.
    let assets = match only {
        Some(_) => false,
        None => {
            matches!(Part::of(desk.scope(&person, "widgetcontracts", None).await)?, Part::Seen(_))
        }
    };
    let found = desk.breakers(&scope, assets, query.after, SHOWN)?;
    let next = found.r#continue.map(|after| query.next("/breakers", &after));
    Ok(Page(Breakers {
        frame: Frame::of("Breakers", "breakers", &person, now),
        namespace: Said::of(&query.namespace),
        items: found.items.iter().map(|row| BreakerItem::of(row, now)).collect(),
        next,
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
