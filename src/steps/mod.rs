//! One file per step kind: its spec and what it proposes for a broken document. Pure.
//!
//! Knows: a [`View`] of the document, what is wrong with it, and facts that somebody else
//! fetched. Must not know: Kubernetes, clients, incidents, other steps. A step never writes: a
//! document step proposes [`Op`]s, and what all of them propose together is validated before one
//! write; an effect step proposes an [`Act`] on something else, after which everything is looked at
//! again.
//!
//! Whether an act has taken place is read from the key that it leaves on its object, and nowhere
//! else: [`Proposal::Done`] is how a lost answer and a crash are made good without a repetition.
//!
//! A new kind is one file and one variant of [`StepKind`]; the compiler asks for the rest.

pub mod delete_failed_pods;
mod draft;
mod graft;
pub mod job;
pub mod patch;
mod place;
pub mod refetch_source;
pub mod regenerate_metadata;
pub mod repair_document;
pub mod replace_asset;
pub mod restart_workload;
pub mod restore_revision;
pub mod scale_workload;
mod spelling;
mod subschema;
mod twins;
pub mod wait;
pub mod webhook;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{Digest, FailedPod, Op, SourceState, Span, Violation, Workload};

pub use delete_failed_pods::DeleteFailedPods;
pub use job::Job;
pub use patch::Patch;
pub use refetch_source::RefetchSource;
pub use regenerate_metadata::RegenerateMetadata;
pub use repair_document::RepairDocument;
pub use replace_asset::ReplaceAsset;
pub use restart_workload::RestartWorkload;
pub use restore_revision::RestoreRevision;
pub use scale_workload::ScaleWorkload;
pub use wait::Wait;
pub use webhook::Webhook;

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StepKind {
    /// Take what is broken, or all, from a stored revision that passes today's rules.
    RestoreRevision(RestoreRevision),
    /// Take what is broken, or all, from the system of record.
    RefetchSource(RefetchSource),
    /// Repair the document by what its schema says.
    RepairDocument(RepairDocument),
    /// Put another URL in the place of one that points at nothing.
    ReplaceAsset(ReplaceAsset),
    /// Set values at given places.
    RegenerateMetadata(RegenerateMetadata),
    /// Apply a JSON Patch (RFC 6902).
    Patch(Patch),
    /// Restart the source's workload, and go on when it is available.
    RestartWorkload(RestartWorkload),
    /// Scale the source's workload up from zero, and go on when it is available.
    ScaleWorkload(ScaleWorkload),
    /// Delete the pods of the source's workload that have failed, and go on when it is available.
    DeleteFailedPods(DeleteFailedPods),
    /// Tell somebody's service, so that it acts.
    Webhook(Webhook),
    /// Run a Job from a template, and go on when it is complete.
    Job(Job),
    /// Wait, then look again.
    Wait(Wait),
}

/// How much of another document a step takes over.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::Display,
)]
pub enum Scope {
    /// Only the smallest parts that fail, so that the good part of an edit survives.
    #[default]
    Subtree,
    /// The whole document.
    Document,
}

/// A stored revision whose document passes today's rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Its number.
    pub number: u32,
    /// Its digest.
    pub digest: Digest,
    /// Its document.
    pub value: Value,
}

/// One failing rule and what it objects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// The rule's name.
    pub rule: String,
    /// What it objects to; never empty.
    pub violations: Vec<Violation>,
}

/// A fallback URL for the assets of one rule (of every asset rule when `rule` is None).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The rule that it is for.
    pub rule: Option<String>,
    /// The URL to put in.
    pub url: String,
}

/// All that a step may look at.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The candidate so far.
    pub document: &'a Value,
    /// What fails in it, within the step's policy.
    pub failing: &'a [Failing],
    /// The schema, where there is one that compiles.
    pub schema: Option<&'a Value>,
    /// Revisions that pass today's rules, newest first; never the broken document itself.
    pub revisions: &'a [Revision],
    /// What the system of record answered; None when it was not asked or did not answer.
    pub source: Option<&'a Value>,
    /// Fallback URLs of the contract, in order.
    pub fallbacks: &'a [Fallback],
    /// Values for `{{name}}` in texts of the spec: `revision`, `now`, `contract`, `widget`.
    pub variables: &'a [(&'a str, String)],
    /// The source inside the cluster; only for effect steps.
    pub state: Option<&'a SourceState>,
    /// What an effect of this attempt leaves on its object: `<incident>/<attempt>`.
    pub key: &'a str,
}

impl View<'_> {
    /// The source's workload.
    ///
    /// # Errors
    /// Why there is none to act on.
    fn workload(&self) -> Result<&Workload, String> {
        match self.state.and_then(|state| state.workload.as_ref()) {
            Some(known) => known.as_ref().map_err(Clone::clone),
            None => Err("spec.source.workloadRef names no workload; name one".to_owned()),
        }
    }
}

/// What a step proposes.
#[derive(Clone, Debug, PartialEq)]
pub enum Proposal {
    /// Change the candidate so. Never empty.
    Change(Vec<Op>),
    /// This step has nothing to offer here; a sentence for the Incident.
    Nothing(String),
    /// Look again after this time.
    Wait(Span),
    /// Do this to something else than the document.
    Act(Act),
    /// The act of the view's key has taken place.
    Done,
}

/// What an effect step does to something else than the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Change the source's workload.
    Change(Change),
    /// Delete these pods of it, which have failed.
    DeletePods(Vec<FailedPod>),
    /// Tell somebody's service.
    Tell,
    /// Run a Job.
    Run,
}

/// A change of a workload's spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Have its pods replaced.
    Restart,
    /// Have it run this many pods.
    Scale(i32),
}

/// A fact that a step cannot do without and that costs a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Stored revisions.
    Revisions,
    /// The system of record's answer.
    Source,
    /// The source inside the cluster.
    State,
}

impl StepKind {
    /// What this step proposes for the document in `view`.
    #[must_use]
    pub fn plan(&self, view: &View<'_>) -> Proposal {
        match self {
            Self::RestoreRevision(step) => step.plan(view),
            Self::RefetchSource(step) => step.plan(view),
            Self::RepairDocument(step) => step.plan(view),
            Self::ReplaceAsset(step) => step.plan(view),
            Self::RegenerateMetadata(step) => step.plan(view),
            Self::Patch(step) => step.plan(view),
            Self::RestartWorkload(step) => step.plan(view),
            Self::ScaleWorkload(step) => step.plan(view),
            Self::DeleteFailedPods(step) => step.plan(view),
            // Nothing is to be seen of who is told: see `webhook::means`.
            Self::Webhook(_) => Proposal::Act(Act::Tell),
            Self::Job(_) => Proposal::Act(Act::Run),
            Self::Wait(step) => step.plan(view),
        }
    }

    /// What is wrong with its spec that the CRD cannot express: the field, and the fix. Such a step
    /// proposes nothing.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        match self {
            Self::ReplaceAsset(step) => step.validate().err(),
            Self::RegenerateMetadata(step) => step.validate().err(),
            Self::Patch(step) => step.validate().err(),
            Self::RestoreRevision(_)
            | Self::RefetchSource(_)
            | Self::RepairDocument(_)
            | Self::RestartWorkload(_)
            | Self::ScaleWorkload(_)
            | Self::DeleteFailedPods(_)
            | Self::Webhook(_)
            | Self::Job(_)
            | Self::Wait(_) => None,
        }
    }

    /// Does it act on something else than the document?
    #[must_use]
    pub fn is_effect(&self) -> bool {
        self.has_rights() || matches!(self, Self::Webhook(_))
    }

    /// Does it act in the cluster, with the rights of somebody?
    #[must_use]
    pub fn has_rights(&self) -> bool {
        self.need() == Some(Need::State) || matches!(self, Self::Job(_))
    }

    /// Does it come to another text each time, whatever the document is?
    #[must_use]
    pub fn varies(&self) -> bool {
        matches!(self, Self::RegenerateMetadata(step) if step.varies())
    }

    /// Is an act that has taken place over, so that the next step can use what came of it?
    ///
    /// # Errors
    /// What is missing, for people.
    pub fn settled(&self, state: &SourceState) -> Result<(), String> {
        match self {
            Self::RestartWorkload(step) => step.settled(state),
            Self::ScaleWorkload(_) | Self::DeleteFailedPods(_) => state.available(),
            Self::RestoreRevision(_)
            | Self::RefetchSource(_)
            | Self::RepairDocument(_)
            | Self::ReplaceAsset(_)
            | Self::RegenerateMetadata(_)
            | Self::Patch(_)
            | Self::Webhook(_)
            | Self::Job(_)
            | Self::Wait(_) => Ok(()),
        }
    }

    /// The facts to gather before [`StepKind::plan`] is asked.
    #[must_use]
    pub fn need(&self) -> Option<Need> {
        match self {
            // The previous asset of a dead URL comes from a stored revision.
            Self::RestoreRevision(_) | Self::ReplaceAsset(_) => Some(Need::Revisions),
            Self::RefetchSource(_) => Some(Need::Source),
            Self::RestartWorkload(_) | Self::ScaleWorkload(_) | Self::DeleteFailedPods(_) => {
                Some(Need::State)
            }
            Self::RepairDocument(_)
            | Self::RegenerateMetadata(_)
            | Self::Patch(_)
            | Self::Webhook(_)
            | Self::Job(_)
            | Self::Wait(_) => None,
        }
    }

    /// The kind's name as the manifest writes it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RestoreRevision(_) => "restoreRevision",
            Self::RefetchSource(_) => "refetchSource",
            Self::RepairDocument(_) => "repairDocument",
            Self::ReplaceAsset(_) => "replaceAsset",
            Self::RegenerateMetadata(_) => "regenerateMetadata",
            Self::Patch(_) => "patch",
            Self::RestartWorkload(_) => "restartWorkload",
            Self::ScaleWorkload(_) => "scaleWorkload",
            Self::DeleteFailedPods(_) => "deleteFailedPods",
            Self::Webhook(_) => "webhook",
            Self::Job(_) => "job",
            Self::Wait(_) => "wait",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::{OpKind, patch::apply};

    /// A view of `document` in which the rule `schema` fails at these places.
    pub(crate) fn view<'a>(document: &'a Value, failing: &[(&str, &str)]) -> View<'a> {
        let violations =
            failing.iter().map(|(path, keyword)| Violation::new(path, keyword, "is wrong"));
        view_of(document, violations.collect())
    }

    /// The same, with violations of a real check.
    pub(crate) fn view_of(document: &Value, violations: Vec<Violation>) -> View<'_> {
        let failing = vec![Failing { rule: "schema".to_owned(), violations }];
        View {
            document,
            // A test's few facts live as long as the test.
            failing: failing.leak(),
            schema: None,
            revisions: &[],
            source: None,
            fallbacks: &[],
            variables: &[],
            state: None,
            key: "",
        }
    }

    /// Small documents of few keys, so that two of them have much in common.
    pub(crate) fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (0..3_i32).prop_map(Value::from),
            r"true|1|a|https://cdn\.test/[a-c]\.png( 2x)?".prop_map(Value::String),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map("[a-c]|id", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn every_kind() -> Vec<StepKind> {
        let all = json!([
            {"restoreRevision": {}},
            {"restoreRevision": {"scope": "Document"}},
            {"refetchSource": {}},
            {"refetchSource": {"scope": "Document"}},
            {"repairDocument": {}},
            {"repairDocument": {"allow": ["SetDefault", "DropUnknown", "Rename", "Coerce",
                                          "NearestEnum", "Clamp", "Truncate"]}},
            {"replaceAsset": {"url": "https://cdn.test/new.png"}},
            {"replaceAsset": {}},
            {"regenerateMetadata": {"set": {"/a": "{{revision}}", "/b/a": "true", "/c": "x"}}},
            {"patch": {"ops": [{"op": "add", "path": "/a", "value": null}]}},
            {"patch": {"ops": [{"op": "replace", "path": "/a/0", "value": 1},
                               {"op": "remove", "path": "/b"}]}},
            {"restartWorkload": {}},
            {"scaleWorkload": {}},
            {"deleteFailedPods": {}},
            {"webhook": {"url": "https://hooks.test/heal"}},
            {"job": {"templateConfigMapRef": {"name": "jobs", "key": "heal.yaml"}}},
            {"wait": {"for": "5s"}},
        ]);
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn every_kind_is_written_by_its_name() {
        for step in every_kind() {
            let written = serde_json::to_value(&step).unwrap();
            assert_eq!(written.as_object().unwrap().keys().next().unwrap(), step.name());
        }
    }

    fn failing_places() -> impl Strategy<Value = Vec<(String, String)>> {
        let path = "(/([a-c]|id|[0-2])){0,3}";
        let keyword = "type|required|additionalProperties|maxLength|enum|asset|metadata|cel|\
                       freshness|anyOf";
        prop::collection::vec((path, keyword), 1..5)
    }

    proptest! {
        #[test]
        fn a_plan_always_applies_and_is_the_same_when_made_again(
            document in documents(), good in documents(), source in documents(),
            places in failing_places(),
        ) {
            let places: Vec<(&str, &str)> =
                places.iter().map(|(path, keyword)| (path.as_str(), keyword.as_str())).collect();
            let revisions = [Revision { number: 7, digest: Digest::of_value(&good), value: good }];
            let schema = json!({
                "properties": {"a": {"type": "integer", "default": 1}, "b": {"$ref": "#"},
                               "c": {"enum": ["a", "true"]},
                               "id": {"type": "string", "default": "a"}},
                "required": ["a", "id"], "items": {"$ref": "#"}, "maxLength": 3, "maxItems": 2,
                "additionalProperties": false
            });
            let variables = [("revision", "3".to_owned())];
            let mut view = view(&document, &places);
            view.revisions = &revisions;
            view.source = Some(&source);
            view.schema = Some(&schema);
            view.variables = &variables;
            for step in every_kind() {
                let proposal = step.plan(&view);
                prop_assert_eq!(&proposal, &step.plan(&view));
                if let Proposal::Change(ops) = proposal {
                    let applied = apply(&document, &ops);
                    prop_assert!(applied.is_ok(), "{}: {:?} on {}", step.name(), ops, document);
                    prop_assert_ne!(&applied.unwrap(), &document);
                    for op in &ops {
                        prop_assert_eq!(op.value.is_some(), op.kind != OpKind::Remove);
                        prop_assert_eq!(op.value.is_some(), op.from.is_some());
                    }
                }
            }
        }
    }
}
