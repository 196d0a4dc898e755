//! Events (events.k8s.io): what happened, beside the object that it happened to.
//!
//! Own code instead of kube's recorder: that one folds Events that differ only in their note, and
//! names them by the clock. Here the name says what happened in which Incident, so a look that is
//! repeated after a crash says it once; at most a handful for each Incident.

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Resource as _, ResourceExt as _, api::PostParams};
use tracing::{debug, info, warn};

use super::{Ctx, Error, Seen};
use crate::{
    api::{Incident, WidgetContract},
    decide::{signal::Signal, view::View},
    domain::Digest,
};

/// Says it in the log and as an Event. An Event that cannot be written is not worth a retry: the
/// Incident is the record.
pub async fn say(ctx: &Ctx, seen: &Seen, view: &View, signal: &Signal) {
    let trace = view.incident.as_ref().and_then(|open| open.spec.traceparent.as_deref());
    let trace_id = trace.and_then(|trace| trace.split('-').nth(1)).unwrap_or_default();
    if signal.reason.is_warning() {
        warn!(contract = %seen.key, incident = signal.incident, trace_id, reason = %signal.reason, "{}", signal.note);
    } else {
        info!(contract = %seen.key, incident = signal.incident, trace_id, reason = %signal.reason, "{}", signal.note);
    }
    if let (Some(open), Some(_)) = (&view.incident, &signal.incident) {
        ctx.traces.say(open, signal, ctx.now());
    }
    let event = event(ctx, seen, signal);
    let attempted = format!("writing Event {}", event.metadata.name.clone().unwrap_or_default());
    let events: Api<Event> = Api::namespaced(ctx.client.clone(), &seen.key.namespace);
    match ctx.write(&attempted, events.create(&PostParams::default(), &event)).await {
        Ok(_) | Err(Error::Conflict { .. }) => {}
        Err(error) => debug!(%error, "an Event was dropped"),
    }
}

fn event(ctx: &Ctx, seen: &Seen, signal: &Signal) -> Event {
    let contract = ObjectReference {
        api_version: Some(WidgetContract::api_version(&()).into_owned()),
        kind: Some(WidgetContract::kind(&()).into_owned()),
        namespace: Some(seen.key.namespace.to_string()),
        name: Some(seen.key.name.to_string()),
        uid: seen.object.uid(),
        ..ObjectReference::default()
    };
    let incident = signal.incident.as_ref().map(|name| ObjectReference {
        api_version: Some(Incident::api_version(&()).into_owned()),
        kind: Some(Incident::kind(&()).into_owned()),
        namespace: Some(seen.key.namespace.to_string()),
        name: Some(name.clone()),
        ..ObjectReference::default()
    });
    let mut event = Event {
        action: Some(signal.reason.to_string()),
        event_time: Some(MicroTime(ctx.now())),
        note: Some(signal.note.clone()),
        reason: Some(signal.reason.to_string()),
        regarding: Some(contract),
        related: incident,
        reporting_controller: Some("kintsugi.dev/kintsugi".to_owned()),
        reporting_instance: Some(ctx.config.identity.clone()),
        type_: Some(if signal.reason.is_warning() { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    };
    event.metadata.name = Some(name(seen, signal));
    event.metadata.namespace = Some(seen.key.namespace.to_string());
    event
}

/// `<contract>.<16 hex>`: one name for one thing that happened.
fn name(seen: &Seen, signal: &Signal) -> String {
    // Without an Incident it is the contract's version that tells two of a kind apart.
    let which = signal.incident.clone().unwrap_or_else(|| {
        format!(
            "{}/{}",
            seen.object.uid().unwrap_or_default(),
            seen.object.resource_version().unwrap_or_default()
        )
    });
    let after = signal.after.map_or(0, jiff::Timestamp::as_second);
    let what = format!("{which}/{}/{}/{after}", signal.reason, signal.attempt);
    let hash = Digest::of_bytes(what.as_bytes());
    let hex = hash.as_str().trim_start_matches("sha256:");
    format!("{}.{}", seen.key.name, &hex[..16])
}
