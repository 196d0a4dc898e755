//! Where a repair is written: into the served key, or back into the assigned document.
//!
//! A document is written back only where its owner asked for it and nobody will put the fault back:
//! not where a GitOps tool applies it from elsewhere, and not when the same fault has come back
//! soon after it was mended. Then the repair goes into the served key, and the Incident says why.

use jiff::Timestamp;

use crate::{
    api::{
        contract::{DocumentSource, WriteBack},
        incident::{Intent, Segment},
    },
    domain::Digest,
};

use super::{
    select,
    view::{Effect, OpenIncident, View},
};

/// Where a repair is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Into the assigned document.
    Assigned,
    /// Into the served key; says why not into the assigned document, where that was asked for.
    Served {
        /// A sentence for people.
        refused: Option<String>,
    },
}

/// Where a repair of the trouble with this fingerprint is written.
#[must_use]
pub fn place(view: &View, plan: &[Segment], fingerprint: &Digest, now: Timestamp) -> Place {
    match (view.effective.write_back, refused(view, plan, fingerprint, now)) {
        (WriteBack::Served, _) => Place::Served { refused: None },
        (WriteBack::Document, None) => Place::Assigned,
        (WriteBack::Document, refused) => Place::Served { refused },
    }
}

fn refused(view: &View, plan: &[Segment], fingerprint: &Digest, now: Timestamp) -> Option<String> {
    if matches!(view.effective.document, DocumentSource::Url(_)) {
        return Some("a URL is never written".to_owned());
    }
    let Some(holder) = &view.holder else {
        return Some("what holds the document could not be read".to_owned());
    };
    if let Some(tool) = &holder.gitops {
        return Some(format!("{tool} applies the document; mend it where {tool} takes it from"));
    }
    let patience = select::min_healthy_period(&view.policies, plan);
    let came_back = view.ended.iter().any(|ended| {
        ended.fingerprint == *fingerprint
            && ended.ended_at.is_some_and(|at| patience.after(at) > now)
    });
    came_back.then(|| format!("the same fault was mended less than {patience} ago and came back"))
}

/// The attempt of this Incident that wrote the assigned document as it is now.
#[must_use]
pub fn attempt<'a>(view: &'a View, incident: &OpenIncident) -> Option<&'a Effect> {
    let written = view.holder.as_ref()?.written_back.as_ref()?;
    let is_there = view.assigned_document().is_some_and(|d| *d.digest() == written.digest);
    (is_there && written.effect.incident == incident.name).then_some(&written.effect)
}

/// What the attempt was about to do, as it was stored before.
#[must_use]
pub fn intent(incident: &OpenIncident, attempt: u32) -> Option<&Intent> {
    let stored = incident.status.intent.iter().chain(&incident.spec.intent);
    stored.into_iter().find(|intent| intent.attempt == attempt)
}
