//! The facts that a decision about one contract is made from, and the ones it may ask for.
//!
//! A [`View`] is a value: two equal views and one `now` give one decision, which is what the
//! property tests and the offline commands rely on.

mod note;

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::Timestamp;

use crate::{
    api::{
        contract::{EffectiveRef, Mode, NeverAgain, WidgetContractStatus},
        incident::{About, Cause, Incident, IncidentSpec, IncidentStatus, RuleViolation, State},
        refs::LocalRef,
    },
    domain::{
        Digest, Document, Doubt, Heard, JobSeen, Probes, Severity, SourceState, Symptoms, Told,
        Verdict, Violation,
    },
    rules::schema::CompiledSchema,
    steps::{Revision, job::TemplateRef},
};

pub use self::note::{Effect, Note, WrittenBack};
use super::{
    breakers,
    effective::{DOCUMENT_RULE, Effective},
    effects,
    fleet::{Fleet, Trouble},
    ownership::ServedIn,
    requests::Annotations,
    select::Policy,
    undo,
    validate::{Judged, RuleResult, Rulebook},
};

/// All that is known about one contract at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// Which contract.
    pub subject: Subject,
    /// Its status as stored.
    pub status: WidgetContractStatus,
    /// Its annotations, as far as they are ours.
    pub annotations: Annotations,
    /// The name and the annotations of its class.
    pub class: Option<(String, Annotations)>,
    /// Its spec, merged with its class's.
    pub effective: Effective,
    /// What the merged spec was made from.
    pub effective_ref: EffectiveRef,
    /// The document that was asked for, judged.
    pub assigned: Assigned,
    /// The object that holds the assigned document, where it is one that can be written.
    pub holder: Option<Holder>,
    /// What the served key holds.
    pub served: Served,
    /// The ConfigMap of the served key; None when there is none.
    pub served_in: Option<ServedIn>,
    /// The document in the served key, judged; only when it is not the assigned one and somebody asked ([`Need::ServedDocument`]).
    pub served_document: Option<Judged>,
    /// The stored revisions that somebody asked for ([`Need::Revision`]); Err says why not.
    pub revisions: BTreeMap<u32, Result<Arc<Document>, Doubt>>,
    /// The rules, ready to judge candidates with.
    pub book: Arc<Rulebook>,
    /// The schema, where there is one that compiles.
    pub schema: Option<Arc<CompiledSchema>>,
    /// What was seen of assets.
    pub probes: Probes,
    /// The policies of the namespace.
    pub policies: Vec<Policy>,
    /// The strictest mode that the operator itself is run with.
    pub strictest: Mode,
    /// Is no Incident written about what several contracts share, so that each of them calls?
    pub each_calls: bool,
    /// What the open Incidents about what several contracts share are about, while this one has one.
    pub shared: Vec<About>,
    /// The other contracts of the namespace, when somebody asked ([`Need::Fleet`]).
    pub fleet: Option<Fleet>,
    /// The furthest mode that the namespace allows, when somebody asked ([`Need::MaxMode`]).
    pub max_mode: Option<Mode>,
    /// Does admission see to who approves plans; if not, why ([`Need::ApprovalGuard`])?
    pub approval_guard: Option<Result<(), String>>,
    /// The open Incident of this contract.
    pub incident: Option<OpenIncident>,
    /// The Incidents of this contract that are over, newest first.
    pub ended: Vec<EndedIncident>,
    /// The newest stored revision that passes today's rules, if any does ([`Need::History`]); the doubt
    /// where there was no room to find out.
    pub history: Option<Result<Vec<Revision>, Doubt>>,
    /// What the system of record answered ([`Need::Source`]).
    pub source: Option<Result<Arc<Document>, Doubt>>,
    /// The source inside the cluster ([`Need::State`]).
    pub state: Option<SourceState>,
    /// What is seen around its workload, where it is down ([`Need::Symptoms`]).
    pub symptoms: Option<Box<Symptoms>>,
    /// The document that the edge shows, by its digest ([`Need::Edge`]).
    pub edge: Option<Result<Digest, Doubt>>,
    /// What each ServiceAccount of the namespace, and the operator itself, may do, as far as somebody
    /// asked ([`Need::Right`]).
    pub rights: BTreeMap<Right, bool>,
    /// What came of each act that somebody asked about; None where nobody knows ([`Need::Told`]).
    pub told: BTreeMap<String, Option<Told>>,
    /// What came of asking each host outside last, when somebody asked ([`Need::Heard`]).
    pub heard: Option<Vec<Heard>>,
    /// Is this contract the one that tries, of each dependency that may be tried ([`Need::Probe`])?
    pub probing: BTreeMap<String, bool>,
    /// The templates of Jobs ([`Need::Template`]); Err says why there is none.
    pub templates: BTreeMap<TemplateRef, Result<String, String>>,
    /// The Jobs that somebody asked about, by name ([`Need::Job`]); Err where one may not be read.
    pub jobs: BTreeMap<String, Result<Option<JobSeen>, String>>,
    /// The Jobs of this contract that have not ended, by name, of whichever Incident
    /// ([`Need::RunningJobs`]); Err where that cannot be known.
    pub running_jobs: Option<Result<BTreeMap<String, JobSeen>, String>>,
}

/// The right to do one thing in the contract's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The ServiceAccount whose right it is; None for the operator's own.
    pub service_account: Option<String>,
    /// The verb.
    pub verb: &'static str,
    /// The API group; empty for the core one.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// The object; empty for any.
    pub name: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if self.name.is_empty() { Ok(()) } else { write!(f, " {}", self.name) }
    }
}

/// An Incident that is not over.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenIncident {
    /// Its name.
    pub name: String,
    /// Its spec.
    pub spec: IncidentSpec,
    /// Its status as stored.
    pub status: IncidentStatus,
    /// Its generation: more than 1 when a person has changed a field that is for people.
    pub generation: i64,
    /// Its resourceVersion.
    pub version: String,
}

impl OpenIncident {
    /// What is known of an Incident that is not over.
    #[must_use]
    pub fn of(object: &Incident) -> Self {
        Self {
            name: object.metadata.name.clone().unwrap_or_default(),
            spec: object.spec.clone(),
            status: object.status.clone().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or(1),
            version: object.metadata.resource_version.clone().unwrap_or_default(),
        }
    }

    /// Is the rule one of those that it was opened for?
    #[must_use]
    pub fn is_about(&self, rule: &str) -> bool {
        self.spec.plan.iter().any(|segment| segment.rules.iter().any(|known| known == rule))
    }
}

/// What is remembered of an Incident that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedIncident {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its ordinal.
    pub ordinal: u32,
    /// Why it was opened.
    pub cause: Cause,
    /// What it was about.
    pub fingerprint: Digest,
    /// The last document that it was about.
    pub digest: Digest,
    /// The places that it was opened for, where a person closed it: it is not opened again for them, or
    /// for some of them.
    pub closed: Option<Box<[RuleViolation]>>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// It was healed, and not only superseded.
    pub resolved: bool,
    /// What a person took back of it.
    pub never: Option<NeverAgain>,
    /// The policies that its plan came from.
    pub policies_summary: String,
    /// What counts of it for the limits of its policies.
    pub trouble: Arc<Trouble>,
    /// When something that it depended on did not answer last, and never again as far as it knows.
    pub unanswered: Option<Timestamp>,
    /// Until when a Job of it may run at most.
    pub jobs_until: Option<Timestamp>,
}

impl EndedIncident {
    /// What is kept of an Incident that is over.
    #[must_use]
    pub fn of(name: &str, uid: &str, spec: &IncidentSpec, status: &IncidentStatus) -> Self {
        Self {
            name: name.to_owned(),
            uid: uid.to_owned(),
            ordinal: spec.ordinal,
            cause: spec.cause,
            fingerprint: spec.fingerprint.clone(),
            digest: status.document(spec).clone(),
            closed: spec.close.then(|| spec.violations.clone().into_boxed_slice()),
            never: undo::never(name, spec, status),
            resolved: status.state == Some(State::Resolved),
            ended_at: status.resolved_at.as_ref().map(|time| time.0),
            policies_summary: spec.policies_summary.clone(),
            trouble: Arc::new(Trouble::of(spec, status)),
            unanswered: breakers::unanswered(&status.calls),
            jobs_until: effects::jobs_until(spec, status),
        }
    }
}

/// Which contract a view is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The document that was asked for.
#[derive(Clone, Debug)]
pub enum Assigned {
    /// It is there and is JSON.
    Judged(Judged),
    /// It is there and is not JSON.
    Malformed {
        /// Digest of its bytes.
        raw_digest: Digest,
        /// What is wrong.
        violation: Violation,
    },
    /// It could not be had.
    Unavailable(Doubt),
}

/// The object that holds the assigned document: the contract itself, or a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The version of it that was looked at.
    pub version: String,
    /// The GitOps tool that applies the document, when one does.
    pub gitops: Option<String>,
    /// What was written back into it last.
    pub written_back: Option<WrittenBack>,
    /// Is the document in a ConfigMap's `binaryData`?
    pub is_binary: bool,
    /// When the document was written last, or what refers to it, as far as that is known.
    pub written_at: Option<Timestamp>,
}

/// What the served key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// The contract is watch-only.
    NotServed,
    /// There is no such ConfigMap, or it has no such key and is ours to write.
    Absent,
    /// The key is there and is this contract's.
    Ours(ServedKey),
    /// The ConfigMap or key belongs to somebody else.
    Foreign {
        /// Who: the field manager, or the contract.
        owner: String,
    },
    /// It could not be read.
    Unavailable(Doubt),
}

/// A served key that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedKey {
    /// Digest of the bytes in the key.
    pub raw_digest: Digest,
    /// Did we write these bytes, by the object's managed fields?
    pub written_by_us: bool,
    /// The field manager that wrote them.
    pub manager: String,
    /// What we noted when we wrote last; None when the note cannot be read.
    pub note: Option<Note>,
}

/// A fact that costs a request, so it is gathered only when a decision hangs on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The document in the served key, judged.
    ServedDocument,
    /// The stored revision of that number.
    Revision(u32),
    /// The newest stored revision that passes today's rules.
    History,
    /// The system of record's answer.
    Source,
    /// The source inside the cluster.
    State,
    /// What is seen around the source's workload, which is down.
    Symptoms,
    /// Whether somebody has this right.
    Right(Right),
    /// What came of the call of this id.
    Told(String),
    /// The template of a Job.
    Template(TemplateRef),
    /// The Job of this name.
    Job(String),
    /// The Jobs of this contract that have not ended.
    RunningJobs,
    /// The furthest mode that the namespace allows.
    MaxMode,
    /// What these policies, and no others, have to know of the other contracts of the namespace.
    Fleet(Vec<String>),
    /// Whether admission sees to who approves plans.
    ApprovalGuard,
    /// What the edge shows.
    Edge,
    /// What came of asking hosts outside last.
    Heard,
    /// Whether this contract is the one that tries this dependency, which has not answered for long.
    Probe(String),
    /// These assets, and whether their size has to be known.
    Assets(Vec<(String, bool)>),
}

impl View {
    /// The assigned document, when it is JSON.
    #[must_use]
    pub fn assigned_document(&self) -> Option<&Arc<Document>> {
        match &self.assigned {
            Assigned::Judged(judged) => Some(&judged.document),
            Assigned::Malformed { .. } | Assigned::Unavailable(_) => None,
        }
    }

    /// The open Incident, as a status refers to it.
    #[must_use]
    pub fn incident_ref(&self) -> Option<LocalRef> {
        self.incident.as_ref().map(|open| LocalRef { name: open.name.clone() })
    }

    /// The last of its Incidents that was healed.
    #[must_use]
    pub fn last_resolved(&self) -> Option<&EndedIncident> {
        self.ended.iter().find(|ended| ended.resolved)
    }

    /// Does the served key hold the assigned document's bytes?
    #[must_use]
    pub fn serves_assigned(&self) -> bool {
        match (&self.served, self.assigned_document()) {
            (Served::Ours(key), Some(document)) => key.raw_digest == *document.raw_digest(),
            _ => false,
        }
    }

    /// What every rule says of the assigned document; a document that is not JSON fails the
    /// reserved rule `document`, one that could not be had leaves it Unknown.
    #[must_use]
    pub fn assigned_results(&self) -> Vec<RuleResult> {
        let about_the_document = |verdict| RuleResult {
            rule: DOCUMENT_RULE.to_owned(),
            severity: Severity::Critical,
            world: false,
            verdict,
        };
        match &self.assigned {
            Assigned::Judged(judged) => judged.results.clone(),
            Assigned::Malformed { violation, .. } => {
                vec![about_the_document(Verdict::Fail(vec![violation.clone()]))]
            }
            Assigned::Unavailable(doubt) => {
                vec![about_the_document(Verdict::Unknown(doubt.clone()))]
            }
        }
    }
}

/// The earlier of two instants at which to look again; None is «no need to».
#[must_use]
pub fn sooner(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
