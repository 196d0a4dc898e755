//! Is it us? When all hosts that were asked lately cannot be reached, the fault is on our side of the
//! network, and what they do not answer says nothing about them: nothing that needs them is done.
//!
//! A step whose own host was not asked lately is taken all the same, and tells: hosts that are gone for
//! good, and are asked again and again, say nothing about the others.
//!
//! Which hosts those are is known to this process alone, and only for a while: what is held by it is
//! tried again when nobody has asked for so long, so that no timer of its own has to.

use jiff::Timestamp;
use url::Url;

use crate::{
    api::{incident::Segment, policy::Step},
    domain::{Heard, LATELY, Span, unreachable},
    steps::StepKind,
};

use super::{Held, view::View};

/// The reason of an Incident that is held by it.
pub const EGRESS_BROKEN: &str = "EgressBroken";

/// When to look again.
pub(super) const AGAIN: Span = Span::secs(30);

/// Does `step` need what is outside of the cluster?
#[must_use]
pub fn needs(view: &View, step: &Step) -> bool {
    outside(view, step).is_some()
}

/// The hosts that `step` is known to need; None where it needs nothing outside of the cluster.
fn outside(view: &View, step: &Step) -> Option<Vec<String>> {
    let urls: Vec<&str> = match &step.kind {
        StepKind::RefetchSource(_) => vec![&view.effective.source.as_ref()?.url.as_ref()?.0],
        StepKind::Webhook(webhook) => vec![&webhook.url],
        StepKind::ReplaceAsset(replace) => {
            let fallbacks = view.effective.fallback_assets.iter().map(|asset| asset.url.0.as_str());
            replace.url.as_deref().into_iter().chain(fallbacks).collect()
        }
        StepKind::RestoreRevision(_)
        | StepKind::RepairDocument(_)
        | StepKind::RegenerateMetadata(_)
        | StepKind::Patch(_)
        | StepKind::RestartWorkload(_)
        | StepKind::ScaleWorkload(_)
        | StepKind::DeleteFailedPods(_)
        | StepKind::Job(_)
        | StepKind::Wait(_) => return None,
    };
    let urls = urls.into_iter().filter_map(|url| Url::parse(url).ok());
    Some(urls.filter_map(|url| Some(url.host_str()?.to_owned())).collect())
}

/// Is there a host that `step` needs, and that was not asked lately? Others that are gone for good
/// must not speak for it: the step itself is what tells.
fn is_unheard(heard: &[Heard], hosts: &[String]) -> bool {
    let lately = |host: &String| heard.iter().any(|h| h.host == *host && h.ago <= LATELY);
    hosts.iter().any(|host| !lately(host))
}

/// May `step` be taken?
///
/// # Errors
/// It needs what nobody here can reach.
pub fn pass(view: &View, step: &Step, now: Timestamp) -> Result<(), Held> {
    let heard = view.heard.as_deref().unwrap_or_default();
    let is_held = || outside(view, step).is_some_and(|hosts| !is_unheard(heard, &hosts));
    match unreachable(heard).filter(|_| is_held()) {
        None => Ok(()),
        Some(asked) => Err(Held {
            reason: EGRESS_BROKEN,
            message: format!(
                "none of the {asked} hosts that were asked lately could be reached: what is broken is \
                 the network or the DNS of this operator; nothing that needs them is done"
            ),
            until: Some(AGAIN.after(now)),
        }),
    }
}

/// May any step of the plan be taken?
///
/// # Errors
/// All of them need what nobody here can reach.
pub fn all_pass(view: &View, segments: &[Segment], now: Timestamp) -> Result<(), Held> {
    let steps = segments.iter().flat_map(|segment| &segment.steps);
    let mut held = Ok(());
    for step in steps.filter(|step| !matches!(step.kind, StepKind::Wait(_))) {
        held = pass(view, step, now);
        if held.is_ok() {
            return held;
        }
    }
    held
}
