//! The `schema` rule: JSON Schema, draft 4 to 2020-12.
//!
//! Knows: the schema and the document. Must not know: where either came from. Nothing is ever
//! fetched: a `$ref` that leads out of the schema makes the schema unusable, not the document bad.
//!
//! How a violation points at its place, so that a repair can act on it: at the failing value; for
//! `required` at the missing key itself, one violation for each; for `additionalProperties` and
//! `unevaluatedProperties` at the unknown key, one for each.

use jsonschema::{
    Draft, PatternOptions, ValidationError, Validator, error::ValidationErrorKind as Kind,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cost;
use crate::domain::{Doubt, DoubtReason, Verdict, Violation, patch::escape};

/// Checks the document against the contract's (or its class's) schema. Has no settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchemaRule {}

/// Most violations that one check tells; the last one says how many more there are.
const MOST_VIOLATIONS: usize = 20;
/// Most violations that are looked at to choose those: a document can have as many as values.
const MOST_LOOKED_AT: usize = 1_000;
/// Largest compiled size of one `pattern`, in bytes.
const PATTERN_BYTES: usize = 1 << 20;

/// A schema that is ready to check documents.
pub struct CompiledSchema {
    validator: Validator,
    value: Value,
}

impl std::fmt::Debug for CompiledSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompiledSchema").finish_non_exhaustive()
    }
}

/// Compiles `schema`, after the cost gate has let it through.
///
/// # Errors
/// A doubt that names the place and the fix.
pub fn compile(schema: &Value) -> Result<CompiledSchema, Doubt> {
    if !(schema.is_object() || schema.is_boolean()) {
        return Err(invalid("the schema is neither an object nor a boolean"));
    }
    cost::gate(schema)?;
    let draft = draft_of(schema)?;
    // The regex engine is linear: no pattern can be catastrophic, and one that needs
    // backtracking (a look-around, a back-reference) is refused.
    let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
    let validator = jsonschema::options()
        .with_draft(draft)
        .offline()
        .should_validate_formats(true)
        .should_ignore_unknown_formats(true)
        .with_pattern_options(patterns)
        .build(schema)
        .map_err(|error| {
            let at = error.instance_path().as_str().to_owned();
            let at = if at.is_empty() { String::new() } else { format!(" at {at:?}") };
            invalid(&format!("the schema does not compile{at}: {error}"))
        })?;
    Ok(CompiledSchema { validator, value: schema.clone() })
}

fn draft_of(schema: &Value) -> Result<Draft, Doubt> {
    let Some(named) = schema.get("$schema") else { return Ok(Draft::Draft202012) };
    let Value::String(uri) = named else {
        return Err(invalid("$schema is not a text"));
    };
    let known = [
        ("json-schema.org/draft-04/schema", Draft::Draft4),
        ("json-schema.org/draft-06/schema", Draft::Draft6),
        ("json-schema.org/draft-07/schema", Draft::Draft7),
        ("json-schema.org/draft/2019-09/schema", Draft::Draft201909),
        ("json-schema.org/draft/2020-12/schema", Draft::Draft202012),
    ];
    let bare = uri.trim_end_matches('#');
    let bare =
        bare.strip_prefix("https://").or_else(|| bare.strip_prefix("http://")).unwrap_or(bare);
    known.iter().find(|(name, _)| *name == bare).map(|(_, draft)| *draft).ok_or_else(|| {
        invalid(&format!(
            "$schema {uri:?} is not known; known are draft-04, draft-06, draft-07, 2019-09 and \
             2020-12 of json-schema.org"
        ))
    })
}

fn invalid(message: &str) -> Doubt {
    Doubt::new(DoubtReason::SchemaInvalid, message)
}

impl CompiledSchema {
    /// What the schema says of `document`.
    #[must_use]
    pub fn check(&self, document: &Value) -> Verdict {
        let mut violations = Vec::new();
        for error in self.validator.iter_errors(document).take(MOST_LOOKED_AT) {
            tell(&error, &mut violations);
        }
        violations.sort();
        violations.dedup();
        if violations.len() > MOST_VIOLATIONS {
            let more = violations.len() - MOST_VIOLATIONS;
            violations.truncate(MOST_VIOLATIONS);
            if let Some(last) = violations.last_mut() {
                *last = Violation::new(
                    &last.path,
                    &last.keyword,
                    &format!("{} (and {more} more)", last.message),
                );
            }
        }
        Verdict::from_violations(violations)
    }

    /// The schema itself, for those who repair by it.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }
}

fn tell(error: &ValidationError<'_>, violations: &mut Vec<Violation>) {
    let path = error.instance_path().as_str();
    let keyword = error.kind().keyword();
    match error.kind() {
        Kind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            violations.push(Violation::new(
                &format!("{path}/{}", escape(key)),
                keyword,
                &format!("{key:?} is required and missing"),
            ));
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            for key in unexpected {
                violations.push(Violation::new(
                    &format!("{path}/{}", escape(key)),
                    keyword,
                    &format!("{key:?} is not a key that the schema knows"),
                ));
            }
        }
        // Of several alternatives the one that fits best says most: the deepest, then the one
        // with the fewest objections.
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            let nearest = context.iter().filter(|branch| !branch.is_empty()).min_by_key(|branch| {
                let depth = branch.iter().map(|e| e.instance_path().as_str().len()).max();
                (std::cmp::Reverse(depth), branch.len())
            });
            match nearest {
                Some(branch)
                    if branch.iter().any(|e| e.instance_path().as_str().len() > path.len()) =>
                {
                    for error in branch {
                        tell(error, violations);
                    }
                }
                _ => violations.push(plain(error, path, keyword)),
            }
        }
        _ => violations.push(plain(error, path, keyword)),
    }
}

fn plain(error: &ValidationError<'_>, path: &str, keyword: &str) -> Violation {
    Violation::new(path, keyword, &error.masked().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: &Value, document: &Value) -> Vec<(String, String)> {
        match compile(schema).unwrap().check(document) {
            Verdict::Pass => Vec::new(),
            Verdict::Fail(violations) => {
                violations.into_iter().map(|v| (v.path, v.keyword)).collect()
            }
            Verdict::Unknown(doubt) => panic!("{doubt:?}"),
        }
    }

    fn at(path: &str, keyword: &str) -> (String, String) {
        (path.to_owned(), keyword.to_owned())
    }

    #[test]
    fn each_violation_points_at_its_place() {
        let schema = json!({
            "type": "object", "required": ["title", "id"], "additionalProperties": false,
            "properties": {"title": {"type": "string", "maxLength": 3}, "id": {"type": "integer"},
                           "tags": {"items": {"enum": ["a", "b"]}}},
        });
        let document = json!({"title": "long", "tags": ["a", "c"], "extra": 1, "more/x": 2});
        assert_eq!(
            check(&schema, &document),
            [
                at("/extra", "additionalProperties"),
                at("/id", "required"),
                at("/more~1x", "additionalProperties"),
                at("/tags/1", "enum"),
                at("/title", "maxLength"),
            ]
        );
    }

    #[test]
    fn each_draft_has_its_own_meaning() {
        let tuple = json!([1, "x"]);
        let items = json!({"items": [{"type": "string"}]});
        for draft in [
            "http://json-schema.org/draft-04/schema#",
            "http://json-schema.org/draft-07/schema#",
            "https://json-schema.org/draft/2019-09/schema",
        ] {
            let mut schema = items.clone();
            schema["$schema"] = json!(draft);
            assert_eq!(check(&schema, &tuple), [at("/0", "type")], "{draft}");
        }
        let prefix = json!({"prefixItems": [{"type": "string"}]});
        assert_eq!(check(&prefix, &tuple), [at("/0", "type")]);
        let four = json!({"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 5, "exclusiveMaximum": true});
        assert_eq!(check(&four, &json!(5)), [at("", "exclusiveMaximum")]);
        let unknown = compile(&json!({"$schema": "https://example.com/mine"})).unwrap_err();
        assert!(unknown.message.contains("draft-07"), "{}", unknown.message);
    }

    #[test]
    fn formats_are_checked() {
        for (format, good, bad) in [
            ("email", "a@example.com", "nobody"),
            ("uri", "https://example.com/a", "not a uri"),
            ("date-time", "2026-01-01T00:00:00Z", "yesterday"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
            ("ipv4", "192.0.2.1", "192.0.2.256"),
        ] {
            let schema = json!({"format": format});
            assert!(check(&schema, &json!(good)).is_empty(), "{format}: {good}");
            assert_eq!(check(&schema, &json!(bad)), [at("", "format")]);
        }
    }

    #[test]
    fn a_schema_that_cannot_be_used_says_why() {
        for (schema, text) in [
            (json!({"type": "strnig"}), "does not compile"),
            (json!("text"), "neither an object nor a boolean"),
            (json!({"pattern": "((a{1,1000}){1,1000}){1,1000}"}), "does not compile"),
            (json!({"pattern": "(a)\\1"}), "does not compile"),
            (json!({"$ref": "#/$defs/missing"}), "does not compile"),
        ] {
            let doubt = compile(&schema).unwrap_err();
            assert_eq!(doubt.reason, DoubtReason::SchemaInvalid, "{schema}");
            assert!(doubt.message.contains(text), "{}", doubt.message);
        }
    }

    #[test]
    fn a_pattern_that_would_backtrack_for_ever_elsewhere_is_linear_here() {
        let schema = json!({"pattern": "^(a+)+$"});
        let document = json!(format!("{}!", "a".repeat(100_000)));
        assert_eq!(check(&schema, &document), [at("", "pattern")]);
    }

    #[test]
    fn no_message_shows_a_value_of_the_document() {
        let schema = json!({
            "properties": {"a": {"type": "integer"}, "b": {"enum": [1]}, "c": {"const": 2}, "d": {"pattern": "^x$"},
                           "e": {"format": "email"}, "f": {"maxLength": 1}, "g": {"anyOf": [{"type": "null"}]},
                           "h": {"not": {}}, "i": {"oneOf": [{"type": "null"}, {"type": "integer"}]},
                           "j": {"uniqueItems": true}, "k": {"contains": {"type": "integer"}}},
        });
        let canary = "canary-4711";
        let list = json!([canary, canary]);
        let document = json!({"a": canary, "b": canary, "c": canary, "d": canary, "e": canary, "f": canary,
                              "g": canary, "h": canary, "i": canary, "j": list, "k": list});
        let Verdict::Fail(violations) = compile(&schema).unwrap().check(&document) else {
            panic!()
        };
        assert_eq!(violations.len(), 11);
        for violation in violations {
            assert!(!violation.message.contains("canary"), "{violation:?}");
        }
    }

    #[test]
    fn of_many_violations_the_first_are_told_and_the_rest_counted() {
        let schema = json!({"items": {"type": "string"}});
        let document = json!((0..100).collect::<Vec<_>>());
        let Verdict::Fail(violations) = compile(&schema).unwrap().check(&document) else {
            panic!()
        };
        assert_eq!(violations.len(), MOST_VIOLATIONS);
        assert!(violations[19].message.ends_with("(and 80 more)"), "{:?}", violations[19]);
    }

    #[test]
    fn of_several_alternatives_the_nearest_one_explains() {
        let schema = json!({"oneOf": [
            {"type": "null"},
            {"type": "object", "properties": {"src": {"type": "string"}}, "required": ["src"]},
        ]});
        assert_eq!(check(&schema, &json!({"src": 7})), [at("/src", "type")]);
    }
}
