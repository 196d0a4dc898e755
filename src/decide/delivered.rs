//! Does the edge really show what is served?
//!
//! Between the served key and a widget stand a gateway, a cache, a CDN. Where the contract names the
//! URL that widgets read (`serve.probe`), what is served counts as delivered once the answer there is
//! that document. Status remembers since when it is waited for and when it was seen, so a restart
//! asks no more and no less. Must not know: how the edge is asked.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        condition::{ConditionType, Conditions, whole_seconds},
        contract::{Delivered, ServedDocument, WidgetContractStatus},
        refs::WebUrl,
    },
    domain::Span,
};

use super::{busy, view::View};

/// How often the edge is asked while it may still be on its way, from the first time to the last.
const SHORTEST_POLL: Span = Span::secs(1);
const LONGEST_POLL: Span = Span::secs(10);

/// What is known of the edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Edge {
    /// There is nothing to ask, or nothing to ask for.
    #[default]
    NotAsked,
    /// It has shown what is served.
    Seen,
    /// It has not yet, and still may.
    Awaited {
        /// When it is asked next.
        ask_at: Timestamp,
    },
    /// It has not for longer than it may take.
    Stale {
        /// When it is asked next.
        ask_at: Timestamp,
        /// For people.
        why: String,
    },
}

impl Edge {
    /// Is what is served not known to be there?
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Awaited { .. } | Self::Stale { .. })
    }

    /// When it is asked next.
    #[must_use]
    pub fn ask_at(&self) -> Option<Timestamp> {
        match self {
            Self::NotAsked | Self::Seen => None,
            Self::Awaited { ask_at } | Self::Stale { ask_at, .. } => Some(*ask_at),
        }
    }
}

/// What status remembers of the edge, with what was seen in this look.
#[must_use]
pub fn of(
    view: &View,
    served: Option<&ServedDocument>,
    before: Option<&Delivered>,
    now: Timestamp,
) -> Option<Delivered> {
    let url = &view.effective.probe.as_ref()?.url;
    let served = served?;
    let is_same = |before: &&Delivered| before.digest == served.digest && before.url.0 == *url;
    let known = before.filter(is_same).cloned();
    let mut delivered = known.unwrap_or_else(|| Delivered {
        digest: served.digest.clone(),
        url: WebUrl(url.clone()),
        published_at: Time(whole_seconds(now)),
        seen_at: None,
    });
    let is_there = matches!(&view.edge, Some(Ok(shown)) if *shown == served.digest);
    if delivered.seen_at.is_none() && is_there {
        delivered.seen_at = Some(Time(whole_seconds(now)));
    }
    Some(delivered)
}

/// Is it time to ask the edge? `status` is the one that follows from what is known without that.
#[must_use]
pub fn is_asked(view: &View, status: &WidgetContractStatus, now: Timestamp) -> bool {
    let delivered = delivered(status).filter(|_| view.effective.probe.is_some());
    delivered.is_some_and(|delivered| {
        view.edge.is_none()
            && delivered.seen_at.is_none()
            // Not in the look that has just published: nothing must wait for the edge then.
            && SHORTEST_POLL.after(delivered.published_at.0) <= now
    })
}

fn delivered(status: &WidgetContractStatus) -> Option<&Delivered> {
    status.document.as_ref()?.delivered.as_ref()
}

/// What `status` says of the edge.
#[must_use]
pub fn edge(view: &View, status: &WidgetContractStatus, now: Timestamp) -> Edge {
    let (Some(probe), Some(delivered)) = (&view.effective.probe, delivered(status)) else {
        return Edge::NotAsked;
    };
    if delivered.seen_at.is_some() {
        return Edge::Seen;
    }
    let since = delivered.published_at.0;
    let until = probe.within.after(since);
    // Where nobody has asked the edge, it may show by now what is served; what is said already stays said.
    let is_said = || {
        let known = Conditions::of(Some(&view.status.conditions));
        known.get(ConditionType::Delivered).is_some_and(|known| known.status == "False")
    };
    if now < until || (busy::unasked(view.edge.as_ref()).is_some() && !is_said()) {
        let poll = Span::between(since, now).times(0.25, LONGEST_POLL).max(SHORTEST_POLL);
        let ask_at = poll.after(now);
        return Edge::Awaited { ask_at: if now < until { ask_at.min(until) } else { ask_at } };
    }
    let digest = delivered.digest.short();
    let shows = match &view.edge {
        Some(Err(doubt)) => doubt.message.clone(),
        Some(Ok(_)) | None => "it shows another".to_owned(),
    };
    Edge::Stale {
        ask_at: view.effective.interval.after(now),
        why: format!(
            "serve.probe.url did not show document {digest} within {}: {shows}; see what keeps the \
             old one there, or give it more time by serve.probe.within",
            probe.within
        ),
    }
}
