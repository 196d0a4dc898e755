//! Which stored revision repairs start from: the newest that is good by the rules of today, since
//! «previous» is not «last good».
//!
//! Revisions are asked newest first. Must not know: how they are stored and read.

use crate::{
    domain::{Doubt, Verdict},
    steps::Revision,
};

use super::{busy, validate::Judged};

/// What a stored revision is worth.
#[derive(Clone, Debug, PartialEq)]
pub enum Worth {
    /// Repairs start from it; nobody asks for an older one.
    Good(Revision),
    /// It fails, or holds a number that would be changed by being taken over: ask an older one.
    Bad,
    /// It may be good: asking an older one would take Unknown for Fail.
    Unclear,
    /// The same, and nothing but our own queue is why: there was no room to look.
    Unasked(Doubt),
}

/// What the revision of that number is worth, as the rules of today judge its document.
#[must_use]
pub fn worth(number: u32, judged: &Judged) -> Worth {
    let document = &judged.document;
    let fails = judged.critical().any(|result| matches!(result.verdict, Verdict::Fail(_)));
    if fails || !document.is_exact() {
        Worth::Bad
    } else if judged.is_good() {
        let (digest, value) = (document.digest().clone(), document.value().clone());
        Worth::Good(Revision { number, digest, value })
    } else {
        busy::unjudged(judged).map_or(Worth::Unclear, |doubt| Worth::Unasked(doubt.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        decide::validate::RuleResult,
        domain::{Document, Doubt, DoubtReason, Severity, Violation},
    };

    #[test]
    fn only_a_revision_that_is_good_beyond_doubt_is_taken_and_only_a_bad_one_passed_over() {
        let fail = || Verdict::Fail(vec![Violation::new("/a", "required", "is missing")]);
        let unknown = || Verdict::Unknown(Doubt::new(DoubtReason::DnsFailed, "no host"));
        let busy = || Verdict::Unknown(Doubt::new(DoubtReason::Busy, "no room"));
        let critical = Severity::Critical;
        let table = [
            ("{\"a\": 1}", vec![(critical, Verdict::Pass)], "good"),
            ("{\"a\": 1}", vec![(Severity::Warning, fail()), (critical, Verdict::Pass)], "good"),
            ("{\"a\": 1}", vec![(critical, Verdict::Pass), (critical, fail())], "bad"),
            ("{\"a\": 1}", vec![(critical, unknown()), (critical, fail())], "bad"),
            ("{\"a\": 1}", vec![(critical, unknown()), (critical, Verdict::Pass)], "unclear"),
            ("{\"a\": 1}", vec![(critical, Verdict::Pass), (critical, busy())], "unasked"),
            ("{\"a\": 1}", vec![(critical, busy()), (critical, unknown())], "unclear"),
            ("{\"a\": 1}", vec![(critical, busy()), (critical, fail())], "bad"),
            ("{\"a\": 1.00000000000000000001}", vec![(critical, Verdict::Pass)], "bad"),
        ];
        for (text, verdicts, expected) in table {
            let document = Arc::new(Document::parse(text.as_bytes().to_vec()).unwrap());
            let result = |(severity, verdict)| RuleResult {
                rule: "r".to_owned(),
                severity,
                world: false,
                verdict,
            };
            let results: Vec<_> = verdicts.into_iter().map(result).collect();
            let said = format!("{text} {results:?}");
            let is = match worth(3, &Judged { document, results }) {
                Worth::Good(revision) => {
                    assert_eq!(revision.number, 3);
                    "good"
                }
                Worth::Bad => "bad",
                Worth::Unclear => "unclear",
                Worth::Unasked(_) => "unasked",
            };
            assert_eq!(is, expected, "{said}");
        }
    }
}
