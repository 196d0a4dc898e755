//! The facts that a decision about one contract is made from, and the ones it may ask for.
//!
//! A [`View`] is a value: two equal views and one `now` give one decision, which is what the
//! property tests and the offline commands rely on.

use std::{fmt, str::FromStr, sync::Arc};

use jiff::Timestamp;

use crate::{
    api::contract::{EffectiveRef, Origin, WidgetContractStatus},
    domain::{Digest, Document, Doubt, Severity, Verdict, Violation},
};

use super::effective::{DOCUMENT_RULE, Effective};

/// All that is known about one contract at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// Which contract.
    pub subject: Subject,
    /// Its status as stored.
    pub status: WidgetContractStatus,
    /// Its spec, merged with its class's.
    pub effective: Effective,
    /// What the merged spec was made from.
    pub effective_ref: EffectiveRef,
    /// The document that was asked for, judged.
    pub assigned: Assigned,
    /// What the served key holds.
    pub served: Served,
    /// The document in the served key, judged by the rules about the world; only when it is not
    /// the assigned one and somebody asked ([`Need::ServedDocument`]).
    pub served_document: Option<Judged>,
    /// The document to put back, when somebody asked ([`Need::Revision`]); Err says why not.
    pub revision: Option<(u32, Result<Arc<Document>, Doubt>)>,
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
}

/// A document and what each rule says of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The document.
    pub document: Arc<Document>,
    /// One result for each rule in force that was asked, in the order of the rules.
    pub results: Vec<RuleResult>,
}

/// What one rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleResult {
    /// The rule's name.
    pub rule: String,
    /// How much a failure matters.
    pub severity: Severity,
    /// Does the rule judge the world rather than the document?
    pub world: bool,
    /// What it says.
    pub verdict: Verdict,
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

/// What is noted on the served object beside the bytes, so that a fresh process knows what an
/// unfinished one has done: written `<origin>` or `<origin>/<revision>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where the document came from.
    pub origin: Origin,
    /// The revision that stores it.
    pub revision: Option<u32>,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision {
            Some(revision) => write!(f, "{}/{revision}", self.origin),
            None => write!(f, "{}", self.origin),
        }
    }
}

impl FromStr for Note {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (origin, revision) = match text.split_once('/') {
            Some((origin, revision)) => (origin, Some(revision.parse().map_err(|_| ())?)),
            None => (text, None),
        };
        Ok(Self { origin: origin.parse().map_err(|_| ())?, revision })
    }
}

/// A fact that costs a request, so it is gathered only when a decision hangs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The document in the served key, judged by the rules about the world.
    ServedDocument,
    /// The stored revision of that number.
    Revision(u32),
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

impl Judged {
    /// Does every Critical rule pass?
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.critical().all(|result| result.verdict == Verdict::Pass)
    }

    /// The results of Critical rules.
    pub fn critical(&self) -> impl Iterator<Item = &RuleResult> {
        self.results.iter().filter(|result| result.severity == Severity::Critical)
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
