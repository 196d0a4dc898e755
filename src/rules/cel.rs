//! The `cel` rule: a Common Expression Language expression over the document.
//!
//! Knows: the expression and the document. Must not know: where either came from.
//!
//! The interpreter has no budget of its own, so cost is bounded before it runs: an expression is
//! refused when it nests more than three comprehensions (`all`, `exists`, `map`, `filter`..), and
//! a document is not judged when its largest list or object, to the power of that nesting, times
//! the size of the expression, passes two million. Measured with the interpreter in use, three
//! nested `all` over 100 items take about a quarter of a second; the API server's own limit for an
//! expression is a tenth of a second (a million cost units).
//!
//! An expression that fails to evaluate on a document, say because a key is missing, Fails: it
//! says what the document must be like, and the document is not like that. (The API server treats
//! its validation rules alike.) An expression that is wrong for *every* document is Unknown.

use kube::core::cel::{
    KubeCelExt as _,
    cel::{
        Context, ExecutionError, Program, Value as CelValue,
        common::ast::{EntryExpr, Expr, IdedExpr},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{Doubt, DoubtReason, Verdict, Violation, text};

/// Longest expression, in bytes: the CRD's bound, for those that come another way.
const LONGEST: usize = 4096;
/// Deepest nesting of comprehensions.
const DEEPEST: u32 = 3;
/// Most steps that one evaluation may take, by estimate.
const MOST_STEPS: u64 = 2_000_000;

/// A CEL expression that must be true. `self` is the root of the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CelRule {
    /// The expression; must return a bool.
    #[schemars(length(min = 1, max = 4096))]
    pub expression: String,
    /// What to tell people when it is false.
    #[schemars(length(max = 512))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// A CEL expression that returns what to tell people; wins over `message`. Its result is
    /// shown in status, so it should not repeat payload values.
    #[schemars(length(max = 4096))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_expression: Option<String>,
}

/// A [`CelRule`] that is ready to judge.
pub struct Expression {
    condition: Compiled,
    message: Option<Compiled>,
    plain: String,
}

struct Compiled {
    program: Program,
    depth: u32,
    size: u64,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expression").field("plain", &self.plain).finish_non_exhaustive()
    }
}

/// Compiles the rule.
///
/// # Errors
/// A doubt that names the field and the fix.
pub fn compile(rule: &CelRule) -> Result<Expression, Doubt> {
    let condition = compile_one("expression", &rule.expression)?;
    let message = rule.message_expression.as_deref();
    let message = message.map(|source| compile_one("messageExpression", source)).transpose()?;
    let plain = rule
        .message
        .clone()
        .unwrap_or_else(|| format!("{} is false", text::bounded(&rule.expression, 200)));
    Ok(Expression { condition, message, plain })
}

fn compile_one(field: &str, source: &str) -> Result<Compiled, Doubt> {
    if source.len() > LONGEST {
        return Err(Doubt::new(
            DoubtReason::ExpressionTooCostly,
            &format!("cel.{field} has {} bytes; at most {LONGEST} are allowed", source.len()),
        ));
    }
    let program = Program::compile(source).map_err(|error| {
        Doubt::new(
            DoubtReason::ExpressionInvalid,
            &format!("cel.{field} does not compile: {error}"),
        )
    })?;
    let mut measure = Measure::default();
    measure.visit(program.expression(), 0);
    if measure.depth > DEEPEST {
        return Err(Doubt::new(
            DoubtReason::ExpressionTooCostly,
            &format!(
                "cel.{field} nests {} comprehensions (all, exists, map, filter..); at most \
                 {DEEPEST} are allowed",
                measure.depth
            ),
        ));
    }
    Ok(Compiled { program, depth: measure.depth, size: measure.size })
}

/// The size of an expression and how deep its comprehensions nest.
#[derive(Default)]
struct Measure {
    depth: u32,
    size: u64,
}

impl Measure {
    fn visit(&mut self, expression: &IdedExpr, depth: u32) {
        self.size += 1;
        self.depth = self.depth.max(depth);
        match &expression.expr {
            Expr::Call(call) => {
                call.target.iter().for_each(|target| self.visit(target, depth));
                call.args.iter().for_each(|argument| self.visit(argument, depth));
            }
            Expr::Comprehension(loop_) => {
                self.visit(&loop_.iter_range, depth);
                self.visit(&loop_.accu_init, depth);
                self.visit(&loop_.result, depth);
                self.visit(&loop_.loop_cond, depth + 1);
                self.visit(&loop_.loop_step, depth + 1);
            }
            Expr::List(list) => list.elements.iter().for_each(|item| self.visit(item, depth)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr, depth)),
            Expr::Struct(fields) => {
                fields.entries.iter().for_each(|entry| self.entry(&entry.expr, depth));
            }
            Expr::Select(select) => self.visit(&select.operand, depth),
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn entry(&mut self, entry: &EntryExpr, depth: u32) {
        match entry {
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key, depth);
                self.visit(&entry.value, depth);
            }
            EntryExpr::StructField(field) => self.visit(&field.value, depth),
        }
    }
}

impl Expression {
    /// What the expression says of `document`.
    #[must_use]
    pub fn check(&self, document: &Value) -> Verdict {
        let widest = widest(document);
        if self.condition.steps(widest) > MOST_STEPS {
            return Verdict::Unknown(Doubt::new(
                DoubtReason::ExpressionTooCostly,
                &format!(
                    "cel.expression would take too many steps on a document with {widest} items in \
                     one place; nest fewer comprehensions"
                ),
            ));
        }
        let mut context = Context::default().with_all();
        if context.add_variable("self", document).is_err() {
            return Verdict::Unknown(Doubt::new(
                DoubtReason::ExpressionInvalid,
                "the document cannot be handed to the expression",
            ));
        }
        match self.condition.program.execute(&context) {
            Ok(CelValue::Bool(true)) => Verdict::Pass,
            Ok(CelValue::Bool(false)) => fail(&self.explain(&context, widest)),
            Ok(_) => Verdict::Unknown(Doubt::new(
                DoubtReason::ExpressionInvalid,
                "cel.expression does not return a bool; compare its result with something",
            )),
            Err(error) => judge_error(&error),
        }
    }

    fn explain(&self, context: &Context<'_>, widest: u64) -> String {
        let computed = self.message.as_ref().filter(|m| m.steps(widest) <= MOST_STEPS);
        match computed.map(|message| message.program.execute(context)) {
            Some(Ok(CelValue::String(text))) if !text.is_empty() => text.to_string(),
            _ => self.plain.clone(),
        }
    }
}

impl Compiled {
    fn steps(&self, widest: u64) -> u64 {
        widest.max(1).saturating_pow(self.depth).saturating_mul(self.size)
    }
}

/// The size of the largest list or object in the document.
fn widest(document: &Value) -> u64 {
    match document {
        Value::Array(items) => items.iter().map(widest).max().unwrap_or(0).max(items.len() as u64),
        Value::Object(map) => map.values().map(widest).max().unwrap_or(0).max(map.len() as u64),
        _ => 0,
    }
}

fn judge_error(error: &ExecutionError) -> Verdict {
    match error {
        // Wrong for every document: a name or function that does not exist.
        ExecutionError::UndeclaredReference(name) => Verdict::Unknown(Doubt::new(
            DoubtReason::ExpressionInvalid,
            &format!("cel.expression uses {name:?}, which does not exist; the document is `self`"),
        )),
        ExecutionError::InvalidArgumentCount { .. }
        | ExecutionError::MissingArgumentOrTarget
        | ExecutionError::UnsupportedFunctionCallIdentifierType(_)
        | ExecutionError::UnsupportedFieldsConstruction(_) => Verdict::Unknown(Doubt::new(
            DoubtReason::ExpressionInvalid,
            "cel.expression calls a function in a way that it does not understand",
        )),
        ExecutionError::NoSuchKey(key) => {
            fail(&format!("the expression needs the key {key:?}, which is missing"))
        }
        // The texts of the others quote values of the document.
        _ => fail(
            "the expression cannot be evaluated on this document: a value has another type than it needs",
        ),
    }
}

fn fail(message: &str) -> Verdict {
    Verdict::Fail(vec![Violation::new("", "cel", message)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(expression: &str) -> CelRule {
        CelRule { expression: expression.to_owned(), message: None, message_expression: None }
    }

    fn check(expression: &str, document: &Value) -> Verdict {
        compile(&rule(expression)).unwrap().check(document)
    }

    fn message(verdict: Verdict) -> String {
        match verdict {
            Verdict::Fail(violations) => violations[0].message.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_expression_over_the_document_passes_or_fails() {
        let document = json!({"data": {"country": "gb", "stores": [{"id": 1}, {"id": 2}]}});
        assert_eq!(check("self.data.country == 'gb'", &document), Verdict::Pass);
        assert_eq!(check("self.data.stores.all(s, s.id > 0)", &document), Verdict::Pass);
        assert_eq!(check("self.data.country.matches('^[a-z]{2}$')", &document), Verdict::Pass);
        assert!(message(check("size(self.data.stores) > 2", &document)).contains("is false"));
    }

    #[test]
    fn a_missing_key_fails_and_is_named() {
        assert!(message(check("self.data.country == 'gb'", &json!({}))).contains("\"data\""));
        assert_eq!(check("has(self.data) || true", &json!({})), Verdict::Pass);
    }

    #[test]
    fn an_expression_that_is_wrong_for_every_document_is_unknown() {
        for (expression, document) in
            [("size(self.a)", json!({"a": "x"})), ("nothing == 1", json!({}))]
        {
            match check(expression, &document) {
                Verdict::Unknown(doubt) => assert_eq!(doubt.reason, DoubtReason::ExpressionInvalid),
                other => panic!("{expression}: {other:?}"),
            }
        }
        let doubt = compile(&rule("self.a ==")).unwrap_err();
        assert!(doubt.message.contains("cel.expression does not compile"), "{}", doubt.message);
    }

    #[test]
    fn the_message_expression_wins_over_the_message() {
        let with = CelRule {
            message: Some("plain".to_owned()),
            message_expression: Some("'at most ' + string(2)".to_owned()),
            ..rule("size(self.l) <= 2")
        };
        let document = json!({"l": [1, 2, 3]});
        assert_eq!(message(compile(&with).unwrap().check(&document)), "at most 2");
        let broken = CelRule { message_expression: Some("self.missing".to_owned()), ..with };
        assert_eq!(message(compile(&broken).unwrap().check(&document)), "plain");
    }

    #[test]
    fn cost_is_refused_before_it_is_paid() {
        let nested = "self.l.all(a, self.l.all(b, self.l.all(c, self.l.all(d, a == d))))";
        assert_eq!(compile(&rule(nested)).unwrap_err().reason, DoubtReason::ExpressionTooCostly);
        let long = format!("self.a == '{}'", "x".repeat(65_536));
        assert_eq!(compile(&rule(&long)).unwrap_err().reason, DoubtReason::ExpressionTooCostly);
        let two = "self.l.all(a, self.l.all(b, a == a))";
        let wide = json!({"l": (0..10_000).collect::<Vec<_>>()});
        assert!(
            matches!(check(two, &wide), Verdict::Unknown(d) if d.reason == DoubtReason::ExpressionTooCostly)
        );
        let narrow = json!({"l": (0..50).collect::<Vec<_>>()});
        assert_eq!(check(two, &narrow), Verdict::Pass);
    }

    #[test]
    fn no_message_shows_a_value_of_the_document() {
        let document = json!({"a": "canary-4711", "n": 1});
        for expression in
            ["self.a + self.n == 'x'", "self.a > self.n", "self.n / 0 == 1", "self.a.b.c == 1"]
        {
            assert!(!message(check(expression, &document)).contains("canary"), "{expression}");
        }
    }
}
