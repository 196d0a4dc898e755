//! Is the schema to blame? Then the last good document fails it, too, and repairing one document
//! after the other by it would spread the fault.

use crate::{
    api::{
        ACCEPT_SCHEMA,
        contract::SchemaSource,
        incident::{About, Cause},
        refs::LocalRef,
    },
    domain::{Severity, Verdict},
    rules::RuleType,
};

use super::{
    episode::Episode,
    view::{Need, View},
};

/// The cause of `trouble`, cross-checked where the schema fails: the newest document that was good
/// is judged by today's schema alone.
///
/// # Errors
/// The stored document, which has to be read first.
pub fn cause(view: &View, trouble: &Episode) -> Result<Cause, Need> {
    let by_schema = view.effective.rules.iter().find(|rule| {
        // What a lesser rule says was never a condition of being good.
        rule.kind.rule_type() == RuleType::Schema && rule.severity == Severity::Critical
    });
    let fails = |name: &str| trouble.failing.iter().any(|failing| failing.rule == name);
    let known_good = view.status.document.as_ref().and_then(|d| d.last_known_good.as_ref());
    let (Some(_), Some(good)) = (by_schema.filter(|rule| fails(&rule.name)), known_good) else {
        return Ok(trouble.cause);
    };
    if good.digest == trouble.digest {
        return Ok(Cause::SchemaChanged);
    }
    match view.revisions.get(&good.revision) {
        None => Err(Need::Revision(good.revision)),
        Some(Ok(document)) => {
            let verdict = view.book.schema_says(document.value());
            let is_to_blame = matches!(verdict, Some(Verdict::Fail(_)));
            Ok(if is_to_blame { Cause::SchemaChanged } else { trouble.cause })
        }
        // Nothing can be said against the schema.
        Some(Err(_)) => Ok(trouble.cause),
    }
}

/// What the schema is in, where other contracts may have to fit it, too.
#[must_use]
pub fn shared(view: &View) -> Option<About> {
    match view.effective.schema.as_ref()? {
        SchemaSource::ConfigMapKeyRef(at) => Some(About::Schema(at.clone())),
        SchemaSource::Inline(_) => {
            let (class, _) = view.class.as_ref().filter(|_| view.effective.schema_is_shared)?;
            Some(About::Class(LocalRef { name: class.clone() }))
        }
    }
}

/// Has a person accepted this very version of the rules?
#[must_use]
pub fn is_accepted(view: &View) -> bool {
    let digest = &view.effective_ref.digest;
    let shared = view.class.as_ref().map(|(_, annotations)| annotations);
    std::iter::once(&view.annotations)
        .chain(shared)
        .filter_map(|annotations| annotations.get(ACCEPT_SCHEMA))
        .any(|accepted| accepted == digest.short() || accepted == digest.as_str())
}
