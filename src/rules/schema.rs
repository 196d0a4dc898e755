//! The `schema` rule: JSON Schema, draft 4 to 2020-12.
//!
//! Knows: `jsonschema`, and how to make it safe and its verdicts useful. Must not know: where a
//! schema or a document comes from. No other module names `jsonschema`, whose interface changes
//! every few weeks. Nothing is ever fetched: a `$ref` that leads out of the schema makes the
//! schema unusable, not the document bad.
//!
//! A verdict comes in two halves. *Whether* a document is valid is asked of a plain validator,
//! which takes microseconds. *What is wrong* is only asked of an invalid one, and of another
//! validator (`explain.rs`), since the plain one's list of errors is exponential: it gathers the
//! errors of every alternative of every union, so a tree of widgets of five kinds with one bad
//! leaf eight levels down takes it half a minute.

mod explain;
mod formats;
mod numbers;
mod pattern;

use std::sync::{Arc, OnceLock};

use jsonschema::PatternCache;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::explain::Explainer;
use super::cost;
use crate::domain::{Doubt, DoubtReason, Verdict, text};

/// Checks the document against the contract's (or its class's) schema. Has no settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchemaRule {}

/// A schema that passed the cost gate and compiled.
#[derive(Debug)]
pub struct CompiledSchema {
    /// As its author wrote it.
    schema: Value,
    /// What is compiled: see [`pattern::made_linear`].
    compiled: Arc<Value>,
    validator: jsonschema::Validator,
    /// Each regular expression once, however many validators use it.
    patterns: PatternCache,
    /// Made when the first document fails: most schemas never need it.
    explainer: OnceLock<Result<Explainer, String>>,
}

/// Compiles `schema`, of the draft that its `$schema` names (4, 6, 7, 2019-09, 2020-12; the last
/// where it names none). Formats are checked.
///
/// # Errors
/// [`DoubtReason::SchemaTooCostly`] from the cost gate, [`DoubtReason::SchemaInvalid`] where the
/// schema is not one, or uses what is not supported (a `$ref` that leads out of it, a regular
/// expression that cannot be matched in linear time).
pub fn compile(schema: &Value) -> Result<CompiledSchema, Doubt> {
    if !(schema.is_object() || schema.is_boolean()) {
        return Err(invalid("spec.schema is neither an object nor a boolean; give a JSON Schema"));
    }
    cost::schema::check_size(schema)?;
    let graph = cost::Graph::of(schema).map_err(|why| invalid(&format!("spec.schema: {why}")))?;
    cost::schema::check(&graph)?;
    let compiled = Arc::new(pattern::made_linear(schema, &graph).map_err(|why| invalid(&why))?);
    let patterns = PatternCache::new();
    let validator =
        options(&patterns).build(&compiled).map_err(|error| invalid(&described(&error)))?;
    let explainer = OnceLock::new();
    Ok(CompiledSchema { schema: schema.clone(), compiled, validator, patterns, explainer })
}

impl CompiledSchema {
    /// What the schema says of `document`. The violations of a Fail are sorted, without doubles,
    /// and at most two hundred; when there are more, the last one's message says how many.
    ///
    /// The path of `required` is the pointer of the *missing* key, and that of
    /// `additionalProperties` and `unevaluatedProperties` the pointer of the *unknown* key, one
    /// violation for each, so that a repair need not read messages. Every other path is that of
    /// the value at fault. The keyword `dependentRequired` is reported as `required`.
    #[must_use]
    pub fn check(&self, document: &Value) -> Verdict {
        if self.validator.is_valid(document) {
            return Verdict::Pass;
        }
        let make = || Explainer::new(Arc::clone(&self.compiled), self.patterns.clone());
        match self.explainer.get_or_init(make) {
            Ok(explainer) => Verdict::Fail(explainer.explain(document)),
            // The same text compiled a moment ago, so this is out of reach; but if it is reached,
            // a document that nobody can explain is still not a repairable one.
            Err(why) => Verdict::Unknown(invalid(why)),
        }
    }

    /// The schema itself, for those who repair by it.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.schema
    }
}

/// How every validator of this module is built: offline, linear regular expressions of bounded
/// size, formats checked.
fn options(patterns: &PatternCache) -> jsonschema::ValidationOptions<'static> {
    let options = jsonschema::options()
        .offline()
        .with_pattern_options(engine())
        .with_pattern_cache(patterns.clone())
        .should_validate_formats(true);
    pattern::register(patterns, numbers::register(formats::register(options)))
}

fn engine() -> jsonschema::PatternOptions<jsonschema::Regex> {
    jsonschema::PatternOptions::regex().size_limit(cost::schema::PATTERN_MEMORY)
}

fn described(error: &jsonschema::ValidationError<'_>) -> String {
    let place = error.instance_path().as_str();
    // Text of the schema, not of a document: it may be shown.
    let what = text::bounded(&error.to_string(), 300);
    if error.kind().keyword() == "format" && what.ends_with("is not a \"regex\"") {
        return format!(
            "spec.schema has a regular expression at {place:?} that is not valid, is too large, or \
             needs look-around or back-references, which cannot be matched in linear time; \
             write it without: {what}"
        );
    }
    format!("spec.schema does not compile at {place:?}: {what}; correct it there")
}

fn invalid(message: &str) -> Doubt {
    Doubt::new(DoubtReason::SchemaInvalid, message)
}

#[cfg(test)]
mod tests;
