//! What is counted of the work: plain values for [`crate::metrics`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use jiff::Timestamp;
use strum::{IntoEnumIterator as _, VariantNames as _};

use super::{Ctx, Error, index::Index};
use crate::{
    decide::{
        breakers, detect,
        effective::Rule,
        signal::{Reason, Signal},
        validate::Judged,
        view::OpenIncident,
    },
    domain::{Span, Verdict},
    metrics::{Census, Metrics, Took},
};

/// A look that ended in no error but in a panic.
const PANIC: &str = "Panic";

/// What alerts ask for the increase of is there before it happens.
pub fn prepare(metrics: &Metrics) {
    let reasons: Vec<Reason> = Reason::iter().collect();
    let failures = Error::VARIANTS.iter().copied().chain([PANIC]);
    metrics.may_happen(reasons.iter().map(AsRef::as_ref), failures);
}

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
    let lanes = [
        ("contracts", ctx.queue.waiting()),
        ("policies", ctx.policies.waiting()),
        ("namespaces", ctx.families.waiting()),
    ];
    let queued = lanes.into_iter().flat_map(|(name, (now, later))| {
        [("now", now), ("later", later)].map(|(due, waiting)| {
            ([name.to_owned(), due.to_owned()], i64::try_from(waiting).unwrap_or(i64::MAX))
        })
    });
    let servers = ctx.outbound.left_alone().into_iter().map(|left| {
        ([String::new(), breakers::assets(&left.server), left.state.as_str().to_owned()], 1)
    });
    let mut census = remembered(&ctx.index, ctx.config.contract_metrics, ctx.now());
    census.breakers.extend(servers);
    census.queued.extend(queued);
    census
}

/// What is remembered of the cluster at `now`; `each` asks for a row of each contract, too.
pub fn remembered(index: &Index, each: bool, now: Timestamp) -> Census {
    let taken = index.taken();
    let limits = taken.limits(now);
    Census {
        contracts: taken.contracts(),
        contract: if each { taken.each_contract() } else { BTreeMap::new() },
        incidents: taken.incidents(),
        waiting: taken.waiting(),
        breakers: limits.breakers,
        storms: limits.storms,
        budget_left: limits.budget_left,
        ..Census::default()
    }
}

/// A document was judged by `rules`; `looked` says whether at what it points at, too: a rule about that had
/// no chance to come to a verdict where nobody looked.
pub fn judged(ctx: &Ctx, rules: &[Rule], judged: &Judged, looked: bool) {
    for (rule, result) in rules.iter().zip(&judged.results).filter(|(_, r)| looked || !r.world) {
        let verdict = match result.verdict {
            Verdict::Pass => "Pass",
            Verdict::Fail(_) => "Fail",
            Verdict::Unknown(_) => "Unknown",
        };
        ctx.metrics.judged(rule.kind.rule_type().as_ref(), verdict);
    }
}

/// A look at a contract ended so after `took`; None where it panicked.
pub fn looked<T>(ctx: &Ctx, took: Duration, outcome: Option<&Result<T, Error>>) {
    let failure = match outcome {
        Some(Ok(_)) => None,
        Some(Err(error)) => Some(error.as_ref()),
        None => Some(PANIC),
    };
    ctx.metrics.looked(took, failure);
}

/// Something happened, in the Incident `open` if in any, about a document that was written so; its trace
/// is `trace_id`.
pub fn happened(
    ctx: &Ctx,
    namespace: &str,
    open: Option<&OpenIncident>,
    written_at: Option<Timestamp>,
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
        ctx.metrics.tried(namespace, policy, &tried.step, &outcome, trace_id, ctx.now());
    }
    if signal.reason == Reason::IncidentOpened
        && let Some(took) = detect::took(&open.spec, written_at)
    {
        ctx.metrics.took(Took::Detect, took, trace_id, ctx.now());
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
        ctx.metrics.took(what, Span::between(since, ctx.now()), trace_id, ctx.now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_alerts_count_is_there_before_it_happens() {
        let metrics = Metrics::default();
        prepare(&metrics);
        let text = metrics.text().unwrap();
        for row in [
            "happenings_total{reason=\"StepFailed\"} 0",
            "happenings_total{reason=\"StepSucceeded\"} 0",
            "look_errors_total{error=\"Panic\"} 0",
            "look_errors_total{error=\"Timeout\"} 0",
        ] {
            assert!(text.contains(row), "{row}\n{text}");
        }
    }
}
