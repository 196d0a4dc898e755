//! The healing log: what was done, the newest first.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use jiff::Timestamp;

use super::{
    Frame, List, Or, Page, Refusal,
    mark::{Mark, Tone},
    said::Said,
    when::When,
};
use crate::{
    controllers::desk::Desk,
    decide::log::{Action, Filter, What},
};

const SHOWN: usize = 100;

#[derive(Template)]
#[template(path = "log.html")]
struct Log {
    frame: Frame,
    namespace: Said,
    items: Vec<Entry>,
    is_complete: bool,
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
    Or(list): Or<List>,
    State(desk): State<Arc<Desk>>,
) -> Result<Page<impl Template>, Refusal> {
    let scope = list.scope(&desk, "incidents").await?;
    let found = desk.log(&list.person, &scope, &Filter::default(), SHOWN).await?;
    let (frame, namespace) = list.head("Healing log", "log");
    Ok(Page(Log {
        frame,
        namespace,
        items: found.items.iter().map(|action| Entry::of(action, list.now)).collect(),
        is_complete: found.complete,
    }))
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
