//! What is counted of the work: plain values for [`crate::metrics`].

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{Ctx, Error};
use crate::{
    decide::{
        signal::{Reason, Signal},
        view::OpenIncident,
    },
    domain::Span,
    metrics::{Census, Took},
};

/// From now on what is there is counted by `ctx`, for as long as it lasts.
pub fn begin(ctx: &Arc<Ctx>) {
    let counting: Weak<Ctx> = Arc::downgrade(ctx);
    let census = move || counting.upgrade().map(|ctx| census(&ctx)).unwrap_or_default();
    ctx.metrics.count_by(Some(Box::new(census)));
}

/// Nothing is there any more, as far as this replica knows.
pub fn end(ctx: &Ctx) {
    ctx.metrics.count_by(None);
}

fn census(ctx: &Ctx) -> Census {
    let waiting = [
        ("contracts", ctx.queue.waiting()),
        ("policies", ctx.policies.waiting()),
        ("namespaces", ctx.families.waiting()),
    ];
    let queued = waiting.into_iter().flat_map(|(name, (now, later))| {
        [("now", now), ("later", later)].map(|(due, waiting)| {
            ([name.to_owned(), due.to_owned()], i64::try_from(waiting).unwrap_or(i64::MAX))
        })
    });
    Census {
        contracts: ctx.index.count_contracts(),
        incidents: ctx.index.count_incidents(),
        queued: queued.collect(),
    }
}

/// A look at a contract ended so after `took`; None where it panicked.
pub fn looked<T>(ctx: &Ctx, took: Duration, outcome: Option<&Result<T, Error>>) {
    let failure = match outcome {
        Some(Ok(_)) => None,
        Some(Err(error)) => Some(error.as_ref()),
        None => Some("Panic"),
    };
    ctx.metrics.looked(took, failure);
}

/// Something happened, in the Incident `open` if in any; its trace is `trace_id`.
pub fn happened(
    ctx: &Ctx,
    namespace: &str,
    open: Option<&OpenIncident>,
    signal: &Signal,
    trace_id: &str,
) {
    ctx.metrics.happened(signal.reason.as_ref());
    let Some(open) = open else { return };
    for tried in &signal.tried {
        let segment = open.spec.plan.get(tried.segment);
        let policy = segment.and_then(|segment| segment.policy_ref.as_ref());
        let policy = policy.map_or("", |policy| policy.name.as_str());
        let outcome = tried.outcome.to_string();
        ctx.metrics.tried(namespace, policy, &tried.step, &outcome, trace_id);
    }
    let opened = open.spec.opened_at.0;
    let since = match signal.reason {
        // Of an Incident that relapses the first time counts.
        Reason::Mitigated if open.status.mitigated_at.is_none() => Some((Took::Mitigate, opened)),
        // One that a person closed was not resolved.
        Reason::Resolved if !open.spec.close => Some((Took::Resolve, opened)),
        Reason::Approved => signal.after.map(|shown| (Took::Approve, shown)),
        _ => None,
    };
    if let Some((what, since)) = since {
        ctx.metrics.took(what, Span::between(since, ctx.now()), trace_id);
    }
}
