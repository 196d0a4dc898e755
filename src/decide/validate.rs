//! The rules of a contract, compiled once, and what they say of a document.
//!
//! A rule that cannot be compiled is not a failing rule: it is Unknown for every document until
//! somebody mends it.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    domain::{Document, Doubt, DoubtReason, Probes, Severity, Span, Verdict},
    rules::{
        FreshnessRule, MetadataRule, RuleKind,
        asset::CompiledAsset,
        cel::{self, Expression},
        schema::CompiledSchema,
    },
};

use super::effective::{Effective, Rule};

/// The schema of a contract, or why there is none to check with.
pub type Schema = Result<Arc<CompiledSchema>, Doubt>;

/// The rules of a contract, in order, ready to judge.
#[derive(Debug)]
pub struct Rulebook {
    rules: Vec<Compiled>,
}

#[derive(Debug)]
enum Compiled {
    Schema(Arc<CompiledSchema>),
    Cel(Expression),
    Asset(CompiledAsset),
    Metadata(MetadataRule),
    Freshness(FreshnessRule),
    /// It cannot be checked, for this reason.
    Broken(Doubt),
}

/// Something outside that a document points at, and that a rule judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// What is asked for.
    pub url: String,
    /// Does the size have to be known?
    pub sized: bool,
    /// How often it is looked at.
    pub interval: Span,
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

impl Rulebook {
    /// Compiles the rules of `effective`, with `schema` for its schema rule.
    #[must_use]
    pub fn compile(effective: &Effective, schema: Option<&Schema>) -> Self {
        Self { rules: effective.rules.iter().map(|rule| compile(&rule.kind, schema)).collect() }
    }

    /// What the rules say of `document`. `rules` are the ones that this book was compiled from.
    #[must_use]
    pub fn judge(
        &self,
        rules: &[Rule],
        document: Arc<Document>,
        probes: &Probes,
        now: Timestamp,
    ) -> Judged {
        let results = rules
            .iter()
            .zip(&self.rules)
            .map(|(rule, compiled)| result(rule, compiled.check(document.value(), probes, now)))
            .collect();
        Judged { document, results }
    }

    /// What the schema alone says of `document`; None where there is no schema rule.
    #[must_use]
    pub fn schema_says(&self, document: &Value) -> Option<Verdict> {
        self.rules.iter().find_map(|rule| match rule {
            Compiled::Schema(schema) => Some(schema.check(document)),
            _ => None,
        })
    }

    /// Every rule Unknown, for one reason: the judging itself did not come to an end.
    #[must_use]
    pub fn doubt(rules: &[Rule], document: Arc<Document>, doubt: &Doubt) -> Judged {
        let results =
            rules.iter().map(|rule| result(rule, Verdict::Unknown(doubt.clone()))).collect();
        Judged { document, results }
    }

    /// The assets that `document` points at. `rules` are the ones that this book was compiled from.
    #[must_use]
    pub fn assets(&self, rules: &[Rule], document: &Value) -> Vec<Asset> {
        let of = |(rule, compiled): (&Rule, &Compiled)| match compiled {
            Compiled::Asset(asset) => {
                let (sized, interval) = (asset.needs_length(), rule.interval);
                let targets = asset.targets(document).targets.into_iter();
                targets.map(|target| Asset { url: target.url, sized, interval }).collect()
            }
            _ => Vec::new(),
        };
        rules.iter().zip(&self.rules).flat_map(of).collect()
    }

    /// When `document` will be too old for one of the rules, if nothing changes.
    #[must_use]
    pub fn stale_at(&self, document: &Value) -> Option<Timestamp> {
        self.rules
            .iter()
            .filter_map(|rule| match rule {
                Compiled::Freshness(freshness) => freshness.stale_at(document),
                _ => None,
            })
            .min()
    }
}

fn result(rule: &Rule, verdict: Verdict) -> RuleResult {
    RuleResult {
        rule: rule.name.clone(),
        severity: rule.severity,
        world: rule.kind.rule_type().judges_world(),
        verdict,
    }
}

fn compile(kind: &RuleKind, schema: Option<&Schema>) -> Compiled {
    match kind {
        RuleKind::Schema(_) => match schema {
            Some(Ok(schema)) => Compiled::Schema(Arc::clone(schema)),
            Some(Err(doubt)) => Compiled::Broken(doubt.clone()),
            None => Compiled::Broken(Doubt::new(
                DoubtReason::SchemaNotFound,
                "there is no schema to check with; give spec.schema",
            )),
        },
        RuleKind::Cel(rule) => cel::compile(rule).map_or_else(Compiled::Broken, Compiled::Cel),
        RuleKind::Asset(rule) => rule.compile().map_or_else(Compiled::Broken, Compiled::Asset),
        RuleKind::Metadata(rule) => Compiled::Metadata(rule.clone()),
        RuleKind::Freshness(rule) => Compiled::Freshness(rule.clone()),
    }
}

impl Compiled {
    fn check(&self, document: &Value, probes: &Probes, now: Timestamp) -> Verdict {
        match self {
            Self::Schema(schema) => schema.check(document),
            Self::Cel(expression) => expression.check(document),
            Self::Asset(asset) => asset.check(document, probes),
            Self::Metadata(rule) => rule.check(document),
            Self::Freshness(rule) => rule.check(document, now),
            Self::Broken(doubt) => Verdict::Unknown(doubt.clone()),
        }
    }
}
