//! The `freshness` rule: the document says when it was made, and that is not too long ago.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{Span, Verdict, Violation};

/// How far in the future a time stamp may lie: clocks differ. Further ahead it would hide for
/// long that the document grows old.
const CLOCK_SKEW: Span = Span::mins(5);

/// Checks a time stamp in the document against the clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FreshnessRule {
    /// JSON Pointer of the time stamp: RFC 3339 text, or seconds since 1970 as a number.
    #[schemars(length(min = 1, max = 512), regex(pattern = "^/"))]
    pub path: String,
    /// The greatest age.
    pub max_age: Span,
}

impl FreshnessRule {
    /// What the rule says of `document` at `now`. A document without a usable time stamp fails:
    /// that is a fact about the document, not a check that could not be made.
    #[must_use]
    pub fn check(&self, document: &Value, now: Timestamp) -> Verdict {
        let fail =
            |message: &str| Verdict::Fail(vec![Violation::new(&self.path, "freshness", message)]);
        let Some(value) = document.pointer(&self.path) else {
            return fail(&format!(
                "{:?} should say when the document was made, and is missing",
                self.path
            ));
        };
        let Some(made) = timestamp(value) else {
            return fail(&format!(
                "{:?} is neither a time like 2026-01-31T12:00:00Z nor seconds since 1970",
                self.path
            ));
        };
        if made > CLOCK_SKEW.after(now) {
            return fail(&format!("{:?} lies in the future", self.path));
        }
        if self.max_age.after(made) < now {
            return fail(&format!("the document is older than {}", self.max_age));
        }
        Verdict::Pass
    }

    /// When `document` will be too old; None when it has no usable time stamp.
    #[must_use]
    pub fn stale_at(&self, document: &Value) -> Option<Timestamp> {
        let made = timestamp(document.pointer(&self.path)?)?;
        Some(Span::millis(1).after(self.max_age.after(made)))
    }
}

fn timestamp(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => {
            let whole = number.as_i64().map(Timestamp::from_second);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "milliseconds are enough, and a cast of a float saturates"
            )]
            let parts = || Timestamp::from_millisecond((number.as_f64()? * 1000.0) as i64).ok();
            whole.map_or_else(parts, Result::ok)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_is_fresh_until_it_is_older_than_allowed() {
        let rule: FreshnessRule = serde_saphyr::from_str("{path: /at, maxAge: 24h}").unwrap();
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let passes = |at: Value| rule.check(&json!({"at": at}), now) == Verdict::Pass;
        assert!(passes(json!("2026-01-01T00:00:00Z")) && passes(json!(1_767_225_600)));
        assert!(passes(json!(1_767_225_600.5)) && passes(json!("2026-01-02T00:04:00Z")));
        for stale in [
            json!("2025-12-31T23:59:59Z"),
            json!("2026-01-03T00:00:00Z"),
            json!("soon"),
            json!(null),
        ] {
            assert!(!passes(stale.clone()), "{stale}");
        }
        assert_ne!(rule.check(&json!({}), now), Verdict::Pass);
    }

    #[test]
    fn it_is_known_beforehand_when_a_document_turns_stale() {
        let rule: FreshnessRule = serde_saphyr::from_str("{path: /at, maxAge: 24h}").unwrap();
        let document = json!({"at": "2026-01-01T00:00:00Z"});
        let stale = rule.stale_at(&document).unwrap();
        assert_ne!(rule.check(&document, stale), Verdict::Pass);
        assert_eq!(rule.check(&document, "2026-01-02T00:00:00Z".parse().unwrap()), Verdict::Pass);
    }
}
