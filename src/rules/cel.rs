//! The `cel` rule: a Common Expression Language expression over the document.
//!
//! Knows: `kube::core::cel`, the one interpreter of the house, and where it has to be helped. Must
//! not know: where expressions and documents come from. What may cost how much is said in
//! [`super::cost`].
//!
//! Integers of a document are `int`, other numbers `double`, as in kube-apiserver. Where the
//! interpreter (`cel` 0.13) gives another answer than the language does, the expression is changed
//! before it is kept:
//! - `a.b` is written `a["b"]`: selecting a field of what is no map is an error, and not `false`;
//! - `==`, `!=`, `in` and `size` are functions of `equal.rs`;
//! - `map`, `filter`, `all` and `exists` are functions of `each.rs`.

mod checks;
mod condition;
mod corrected;
mod each;
mod equal;

use std::sync::LazyLock;

use kube::core::cel::{
    KubeCelExt as _,
    cel::{
        Context, ExecutionError, IdedExpr, Value as CelValue, objects::Map as CelMap,
        parser::Parser,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::condition::{Condition, condition};
use self::{
    checks::{check_names, evidently_not_bool},
    corrected::corrected,
};
use super::cost::{expression as cost, meter, source};
use crate::domain::{Doubt, DoubtReason, Verdict, Violation, text};

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

/// What an expression is about.
#[derive(Debug)]
pub struct Root {
    /// What it is called in the expression.
    pub name: &'static str,
    /// What that is, for people.
    pub is: &'static str,
}

static DOCUMENT: Root = Root { name: "self", is: "the document" };

/// A rule whose expressions passed the cost gate and compiled.
#[derive(Debug)]
pub struct Expression {
    rule: CelRule,
    condition: Program,
    message: Option<Program>,
}

/// Functions of the language and of Kubernetes' libraries.
static FUNCTIONS: LazyLock<Context<'static>> = LazyLock::new(|| {
    let mut context = Context::default().with_all();
    each::register(&mut context);
    equal::register(&mut context);
    context
});

/// Compiles the expressions of `rule`.
///
/// # Errors
/// [`DoubtReason::ExpressionTooCostly`] from the cost gate; [`DoubtReason::ExpressionInvalid`]
/// where an expression does not parse, names what is not there, or cannot return what it must.
pub fn compile(rule: &CelRule) -> Result<Expression, Doubt> {
    let condition = Program::compile("cel.expression", &DOCUMENT, &rule.expression)?;
    if let Some(what) = evidently_not_bool(&condition.expression) {
        return Err(invalid(&format!("cel.expression returns {what}; it must return a bool")));
    }
    let message = rule
        .message_expression
        .as_deref()
        .map(|source| Program::compile("cel.messageExpression", &DOCUMENT, source))
        .transpose()?;
    Ok(Expression { rule: rule.clone(), condition, message })
}

impl Expression {
    /// What the expression says of `document`.
    ///
    /// An expression that *errs* on a document fails, as in kube-apiserver: a key that it reads is
    /// not there, or a value has a type or size that it does not expect. This is a statement about
    /// the document (write `has(…)` where a key is optional), and the document is the same at each
    /// repetition. An error that no document could avoid is the author's, and Unknown: a result
    /// that is no bool, a function called with the wrong number of arguments. So is an expression
    /// that would cost too much on this document.
    #[must_use]
    pub fn check(&self, document: &Value) -> Verdict {
        match self.condition.run(document) {
            Ok(CelValue::Bool(true)) => Verdict::Pass,
            Ok(CelValue::Bool(false)) => failed(&self.told(document)),
            Ok(_) => Verdict::Unknown(invalid(
                "cel.expression did not return a bool on this document; compare its result",
            )),
            Err(Stop::Doubt(doubt)) => Verdict::Unknown(doubt),
            Err(Stop::Document(why)) => failed(&format!(
                "the expression cannot be evaluated on this document: {why} ({})",
                self.shortened()
            )),
        }
    }

    fn told(&self, document: &Value) -> String {
        let made = self.message.as_ref().and_then(|program| match program.run(document) {
            Ok(CelValue::String(made)) if !made.trim().is_empty() => Some(made.to_string()),
            // A message that cannot be made must not hide that the rule fails.
            _ => None,
        });
        made.or_else(|| self.rule.message.clone())
            .unwrap_or_else(|| format!("the expression is false: {}", self.shortened()))
    }

    fn shortened(&self) -> String {
        text::bounded(&self.rule.expression, 120)
    }
}

fn failed(message: &str) -> Verdict {
    Verdict::Fail(vec![Violation::new("", "cel", message)])
}

/// An expression that can be run.
#[derive(Debug)]
struct Program {
    field: &'static str,
    root: &'static Root,
    source: String,
    expression: IdedExpr,
}

/// Why there is no result.
enum Stop {
    /// It would be the same on every document, or was not tried.
    Doubt(Doubt),
    /// Because of what the document is; without its values.
    Document(String),
}

impl Program {
    fn compile(field: &'static str, root: &'static Root, source: &str) -> Result<Self, Doubt> {
        source::check_source(field, source)?;
        let expression = with_deep_stack(field, || Self::parsed(field, root, source))??;
        Ok(Self { field, root, source: source.to_owned(), expression })
    }

    fn parsed(field: &str, root: &'static Root, source: &str) -> Result<IdedExpr, Doubt> {
        let nesting = u16::try_from(cost::MAX_NESTING + 4).unwrap_or(u16::MAX);
        let parsed =
            Parser::new().max_recursion_depth(nesting).parse(source).map_err(|errors| {
                let first = errors.errors.first();
                let (line, column) = first.map_or((0, 0), |error| error.pos);
                let what = first.map_or("", |error| error.msg.as_str());
                invalid(&format!("{field} does not compile, line {line} column {column}: {what}"))
            })?;
        cost::check_shape(field, &parsed)?;
        check_names(field, root, &parsed, &mut vec![root.name])?;
        Ok(corrected(parsed))
    }

    fn run(&self, document: &Value) -> Result<CelValue, Stop> {
        meter::check_cost(self.field, self.root.name, &self.expression, document)
            .map_err(Stop::Doubt)?;
        let value = to_cel(document);
        let result = with_deep_stack(self.field, || {
            let mut context = FUNCTIONS.new_inner_scope();
            context.add_variable_from_value(self.root.name, value);
            CelValue::resolve(&self.expression, &context)
        });
        result.map_err(Stop::Doubt)?.map_err(|error| self.stop(&error))
    }

    /// An error without the values that the interpreter puts into its words.
    fn stop(&self, error: &ExecutionError) -> Stop {
        let authors = |what: &str| Stop::Doubt(invalid(&format!("{} {what}", self.field)));
        Stop::Document(match error {
            // A key may itself be a value of the document: `self.prices[self.name]`.
            ExecutionError::NoSuchKey(key) if self.source.contains(key.as_str()) => {
                format!("the key {key:?} is missing")
            }
            ExecutionError::NoSuchKey(_) => "a key is missing".to_owned(),
            ExecutionError::IndexOutOfBounds(_) => "a list is too short".to_owned(),
            ExecutionError::Overflow(..) => "a number overflows".to_owned(),
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                "it divides by zero".to_owned()
            }
            ExecutionError::FunctionError { function, .. } => {
                format!("{function} cannot take what it is given")
            }
            ExecutionError::InvalidArgumentCount { expected, actual } => {
                return authors(&format!(
                    "calls a function with {actual} arguments that takes {expected}"
                ));
            }
            ExecutionError::UndeclaredReference(name) => {
                return authors(&format!("names {name:?}, which is not there"));
            }
            ExecutionError::MissingArgumentOrTarget => {
                return authors("calls a function without what it works on");
            }
            _ => "a value has a type that it does not expect".to_owned(),
        })
    }
}

/// Runs `work` on a stack that no expression within the limits overflows.
fn with_deep_stack<T: Send>(field: &str, work: impl FnOnce() -> T + Send) -> Result<T, Doubt> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(cost::STACK_BYTES);
        let thread = thread.spawn_scoped(scope, work).map_err(|error| {
            // Nobody's fault, and over in a moment.
            let message = format!("{field} waits for a thread to run on: {}", error.kind());
            Doubt::new(DoubtReason::DeadlineExceeded, &message)
        })?;
        thread.join().map_err(|_| invalid(&format!("{field} ended the interpreter")))
    })
}

fn to_cel(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(bool) => CelValue::Bool(*bool),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => CelValue::Int(int),
            // Beyond 64 bits with a sign it is a double, as it is to kube-apiserver.
            (None, Some(double)) => CelValue::Float(double),
            (None, None) => CelValue::Null,
        },
        Value::String(text) => CelValue::String(text.clone().into()),
        Value::Array(list) => CelValue::List(list.iter().map(to_cel).collect::<Vec<_>>().into()),
        Value::Object(map) => {
            let entries: std::collections::HashMap<String, CelValue> =
                map.iter().map(|(key, value)| (key.clone(), to_cel(value))).collect();
            CelValue::Map(CelMap::from(entries))
        }
    }
}

fn invalid(message: &str) -> Doubt {
    Doubt::new(DoubtReason::ExpressionInvalid, message)
}

#[cfg(test)]
mod tests;
