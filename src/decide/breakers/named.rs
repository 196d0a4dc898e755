//! What steps depend on, by its name.
//!
//! Knows: that all that is asked of one server is one, whatever its path. Must not know: what it answered,
//! and what follows. Names are shown in status, Events, pages and metrics: nothing of a URL but its server.

use std::collections::BTreeMap;

use url::Url;

use crate::{
    api::{
        contract::Source,
        incident::{Segment, StepEffect},
        policy::Step,
    },
    decide::view::View,
    domain::text,
    steps::{StepKind, Webhook},
};

/// The longest name of something that steps depend on.
const MAX_NAME: usize = 320;

/// The name of a source as something that steps depend on: all that is asked of one server is one.
#[must_use]
pub fn source(source: &Source) -> String {
    let at = match (&source.service_ref, &source.url) {
        (Some(service), _) => format!("Service {}:{}", service.name, service.port),
        (None, Some(url)) => match Url::parse(&url.0) {
            Ok(url) => url.origin().ascii_serialization(),
            Err(_) => "a URL".to_owned(),
        },
        (None, None) => "none".to_owned(),
    };
    text::bounded(&format!("source {at}"), MAX_NAME)
}

/// What `step` depends on, where that can be left alone.
#[must_use]
pub fn dependency(view: &View, step: &Step) -> Option<String> {
    let known = view.effective.source.as_ref();
    match &step.kind {
        StepKind::RefetchSource(_) => known.map(source),
        StepKind::RestartWorkload(_)
        | StepKind::ScaleWorkload(_)
        | StepKind::DeleteFailedPods(_) => {
            let named = known.and_then(|source| source.workload_ref.as_ref())?;
            Some(workload(&format!("{} {}", named.kind, named.name)))
        }
        StepKind::Webhook(webhook) => receiver(webhook),
        StepKind::RestoreRevision(_)
        | StepKind::RepairDocument(_)
        | StepKind::ReplaceAsset(_)
        | StepKind::RegenerateMetadata(_)
        | StepKind::Patch(_)
        // Each is another one, of which nothing is known before.
        | StepKind::Job(_)
        | StepKind::Wait(_) => None,
    }
}

/// What `effect` of `step` acted on: the same, from what is on record alone.
#[must_use]
pub fn acted_on(step: &Step, effect: &StepEffect) -> Option<String> {
    match &step.kind {
        StepKind::RestartWorkload(_) | StepKind::ScaleWorkload(_) => Some(workload(&effect.target)),
        StepKind::DeleteFailedPods(_) => {
            effect.target.split_once(" of ").map(|(_, target)| workload(target))
        }
        StepKind::Webhook(webhook) => receiver(webhook),
        StepKind::RefetchSource(_)
        | StepKind::RestoreRevision(_)
        | StepKind::RepairDocument(_)
        | StepKind::ReplaceAsset(_)
        | StepKind::RegenerateMetadata(_)
        | StepKind::Patch(_)
        | StepKind::Job(_)
        | StepKind::Wait(_) => None,
    }
}

/// The name of a server of assets, as something that checks depend on.
#[must_use]
pub fn assets(server: &str) -> String {
    text::bounded(&format!("assets {server}"), MAX_NAME)
}

fn workload(named: &str) -> String {
    text::bounded(&format!("workload {named}"), MAX_NAME)
}

fn receiver(webhook: &Webhook) -> Option<String> {
    let url = Url::parse(&webhook.url).ok()?;
    let named = format!("webhook {}", url.origin().ascii_serialization());
    Some(text::bounded(&named, MAX_NAME))
}

/// What the effect steps of a plan depend on, by segment and step.
pub(in crate::decide) fn of_effects(
    view: &View,
    plan: &[Segment],
) -> BTreeMap<(usize, String), String> {
    let steps = plan.iter().enumerate().flat_map(|(nth, segment)| {
        segment.steps.iter().filter(|step| step.kind.is_effect()).map(move |step| (nth, step))
    });
    steps
        .filter_map(|(nth, step)| Some(((nth, step.name.clone()), dependency(view, step)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_named_by_its_server_and_nothing_else_of_it() {
        for (text, expected) in [
            ("url: https://cms.test:8443/shops/uk?token=canary", "source https://cms.test:8443"),
            ("url: https://cms.test/a", "source https://cms.test"),
            ("serviceRef: {name: catalog, port: 80, path: /uk}", "source Service catalog:80"),
        ] {
            let known: Source = serde_saphyr::from_str(text).unwrap();
            assert_eq!(source(&known), expected);
        }
    }
}
