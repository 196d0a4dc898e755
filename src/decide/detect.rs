//! How long what broke a contract was there before it was found.

use jiff::Timestamp;

use crate::{
    api::incident::{Cause, IncidentSpec},
    domain::Span,
};

/// From the last write of the document until the first check that failed, in the Incident that it led to.
/// None where that write did not break it, or nobody knows when it was: a guess would be worse than none.
#[must_use]
pub fn took(spec: &IncidentSpec, written_at: Option<Timestamp>) -> Option<Span> {
    let (written, failed) = (written_at?, spec.opened_at.0);
    // What was written after the failure is another document, or another clock.
    let led_to_it = spec.cause == Cause::DocumentChanged && written <= failed;
    led_to_it.then(|| Span::between(written, failed))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_is_told_only_of_a_known_write_that_broke_the_document() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        for (cause, written, expected) in [
            ("DocumentChanged", Some(40), Some(20)),
            ("DocumentChanged", Some(60), Some(0)),
            ("DocumentChanged", Some(61), None),
            ("DocumentChanged", None, None),
            // The document was there before, and was good.
            ("SchemaChanged", Some(40), None),
            ("AssetMissing", Some(40), None),
            // Nobody knows whether it was ever good.
            ("NeverValid", Some(40), None),
        ] {
            let digest = crate::domain::Digest::of_bytes(b"a");
            let spec: IncidentSpec = serde_json::from_value(json!({
                "contractName": "uk", "contractUID": "u", "widget": "w", "ordinal": 1,
                "openedAt": at(60), "cause": cause, "severity": "Critical", "rulesSummary": "a",
                "subject": "contract/uk", "documentDigest": digest, "fingerprint": digest,
            }))
            .unwrap();
            let told = took(&spec, written.map(at));
            assert_eq!(told, expected.map(Span::secs), "{cause} {written:?}");
        }
    }
}
