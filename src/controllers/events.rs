//! Events (events.k8s.io): what happened, beside the object that it happened to.
//!
//! Own code instead of kube's recorder: that one folds Events that differ only in their note, and
//! names them by the clock. Here the name says what happened in which Incident, so a look that is
//! repeated after a crash says it once; at most a handful for each Incident.

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Resource, ResourceExt as _, api::PostParams};
use tracing::{debug, info, warn};

use super::{Ctx, Error, Key, Seen, measure};
use crate::{
    api::Incident,
    decide::{signal::Signal, view::View},
    domain::{Digest, text},
};

/// As long a note may be, by the API server's own rule.
const NOTE_MAX: usize = 1_024;

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
    let open = view.incident.as_ref().filter(|_| signal.incident.is_some());
    if let Some(open) = open {
        ctx.traces.say(open, signal, ctx.now());
    }
    let written_at = view.holder.as_ref().and_then(|holder| holder.written_at);
    measure::happened(ctx, &seen.key.namespace, open, written_at, signal, trace_id);
    let incident = signal.incident.as_ref().map(|name| ObjectReference {
        name: Some(name.clone()),
        ..reference_to_kind::<Incident>(&seen.key.namespace)
    });
    let mut event = event(ctx, reference(&*seen.object), signal);
    event.related = incident;
    event.metadata.name = Some(name(seen, signal));
    write(ctx, &seen.key.namespace, &event).await;
}

/// The same, of an Incident about what several contracts have in common.
pub async fn say_of_incident(ctx: &Ctx, incident: &Incident, signal: &Signal) {
    let key = Key::of(incident);
    if signal.reason.is_warning() {
        warn!(incident = %key, reason = %signal.reason, "{}", signal.note);
    } else {
        info!(incident = %key, reason = %signal.reason, "{}", signal.note);
    }
    measure::happened(ctx, &key.namespace, None, None, signal, "");
    let mut event = event(ctx, reference(incident), signal);
    event.metadata.name = Some(name_in(&key.name, &incident.uid().unwrap_or_default(), signal));
    write(ctx, &key.namespace, &event).await;
}

/// A person asked for something of an object, whose version now is `object`.
pub async fn say_asked<K: Resource<DynamicType = ()>>(ctx: &Ctx, object: &K, by: &str, what: &str) {
    let note = text::bounded(&format!("{by} {what}"), NOTE_MAX);
    let version = object.resource_version().unwrap_or_default();
    let hash = Digest::of_bytes(format!("{version}/{note}").as_bytes());
    let hex = hash.as_str().trim_start_matches("sha256:");
    let mut event = plain(ctx, reference(object), "Requested", &note);
    event.metadata.name = Some(format!("{}.{}", object.name_any(), &hex[..16]));
    let namespace = object.namespace().unwrap_or_default();
    write(ctx, &namespace, &event).await;
}

async fn write(ctx: &Ctx, namespace: &str, event: &Event) {
    let attempted = format!("writing Event {}", event.metadata.name.clone().unwrap_or_default());
    let events: Api<Event> = Api::namespaced(ctx.client.clone(), namespace);
    match ctx.write(&attempted, events.create(&PostParams::default(), event)).await {
        Ok(_) | Err(Error::Conflict { .. }) => {}
        Err(error) => {
            ctx.metrics.event_dropped();
            debug!(%error, "an Event was dropped");
        }
    }
}

fn event(ctx: &Ctx, regarding: ObjectReference, signal: &Signal) -> Event {
    let mut event = plain(ctx, regarding, signal.reason.as_ref(), &signal.note);
    if signal.reason.is_warning() {
        event.type_ = Some("Warning".to_owned());
    }
    event
}

fn plain(ctx: &Ctx, regarding: ObjectReference, reason: &str, note: &str) -> Event {
    let mut event = Event {
        action: Some(reason.to_owned()),
        event_time: Some(MicroTime(ctx.now())),
        note: Some(note.to_owned()),
        reason: Some(reason.to_owned()),
        reporting_controller: Some("kintsugi.dev/kintsugi".to_owned()),
        reporting_instance: Some(ctx.config.identity.clone()),
        type_: Some("Normal".to_owned()),
        ..Event::default()
    };
    event.metadata.namespace.clone_from(&regarding.namespace);
    event.regarding = Some(regarding);
    event
}

fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    ObjectReference {
        name: Some(object.name_any()),
        uid: object.uid(),
        ..reference_to_kind::<K>(&object.namespace().unwrap_or_default())
    }
}

fn reference_to_kind<K: Resource<DynamicType = ()>>(namespace: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    }
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
    name_in(&seen.key.name, &which, signal)
}

fn name_in(object: &str, which: &str, signal: &Signal) -> String {
    let after = signal.after.map_or(0, jiff::Timestamp::as_second);
    let what = format!("{which}/{}/{}/{after}", signal.reason, signal.attempt);
    let hash = Digest::of_bytes(what.as_bytes());
    let hex = hash.as_str().trim_start_matches("sha256:");
    format!("{object}.{}", &hex[..16])
}
