//! What a CEL expression may cost.
//!
//! The interpreter has no budget at run time, compiles a regular expression at each call, copies
//! what it hands to a function, and recurses on the stack when it parses and when it evaluates (a
//! stack that overflows ends the process). Measured with `cel`
//! 0.13: four nested loops over 100 items do not end in 20 s; thirteen brackets in each other
//! overflow 2 MiB in a debug build. So there are three gates: [`source::check_source`] before it
//! is parsed, [`check_shape`] before it is kept, and [`meter::check_cost`] before it is run on a
//! document, which counts the way kube-apiserver does, but with the sizes that the document has and
//! not with those that a schema allows.

use kube::core::cel::cel::common::ast::{
    CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators,
};

#[cfg(doc)]
use super::{meter, source};
use crate::domain::{Doubt, DoubtReason};

/// Bytes of an expression: what the field allows, and a fiftieth of what takes a second to parse.
pub const MAX_BYTES: usize = 4_096;
/// How deep brackets may stand in each other.
pub const MAX_NESTING: usize = 24;
/// Operators, selections and brackets that depend on each other, such as `a.b.c + d`.
pub const MAX_CHAIN: usize = 160;
/// The stack that parsing and evaluating gets: more than twice what the worst expression at both
/// limits was measured to take in a debug build. Memory is only taken for the part that is used.
pub const STACK_BYTES: usize = 32 * 1024 * 1024;
/// Loops in each other (`all`, `exists`, `exists_one`, `map`, `filter`).
pub const MAX_LOOPS: usize = 3;
/// Loops in each other that go over the whole document again, each multiplying its size.
pub const MAX_FREE_LOOPS: usize = 2;
/// Bytes of a regular expression in `matches`, `find` and `findAll`: it is compiled at each call.
pub const MAX_PATTERN_BYTES: usize = 512;
/// Bytes that such a regular expression may take when compiled.
pub const PATTERN_MEMORY: usize = 64 * 1024;
/// The budget of one evaluation, in units of one small step of the interpreter: 0.1 to 1.1 µs in a
/// debug build by what the step is, so that the dearest expression takes some five seconds there
/// and a fraction of that when optimized. (kube-apiserver allows a tenth of a second.)
pub const MAX_COST: u64 = 5_000_000;

/// Checks what an expression is made of: loops in each other, and calls that a document could
/// make arbitrarily costly.
///
/// # Errors
/// [`DoubtReason::ExpressionTooCostly`] or, for a bad regular expression,
/// [`DoubtReason::ExpressionInvalid`].
pub fn check_shape(field: &str, expression: &IdedExpr) -> Result<(), Doubt> {
    check_loops(field, expression, &mut Vec::new(), 0)
}

/// `variables` are those of the loops around; `free` is how many of these are free.
fn check_loops<'e>(
    field: &str,
    expression: &'e IdedExpr,
    variables: &mut Vec<&'e str>,
    free: usize,
) -> Result<(), Doubt> {
    match &expression.expr {
        Expr::Comprehension(loop_) => {
            check_loops(field, &loop_.iter_range, variables, free)?;
            let bound = root_of(&loop_.iter_range).is_some_and(|root| variables.contains(&root));
            let free = free + usize::from(!bound);
            if variables.len() >= MAX_LOOPS {
                return Err(costly(
                    field,
                    &format!("has more than {MAX_LOOPS} loops in each other"),
                ));
            }
            if free > MAX_FREE_LOOPS {
                return Err(costly(
                    field,
                    &format!(
                        "has more than {MAX_FREE_LOOPS} loops in each other that do not go over \
                         the variable of the loop around them"
                    ),
                ));
            }
            variables.push(&loop_.iter_var);
            let checked = check_loops(field, &loop_.loop_step, variables, free);
            variables.pop();
            checked
        }
        Expr::Call(call) => {
            check_call(field, call)?;
            children(expression)
                .into_iter()
                .try_for_each(|inner| check_loops(field, inner, variables, free))
        }
        _ => children(expression)
            .into_iter()
            .try_for_each(|inner| check_loops(field, inner, variables, free)),
    }
}

fn check_call(field: &str, call: &CallExpr) -> Result<(), Doubt> {
    let text = call.target.as_deref().and_then(literal_text);
    match call.func_name.as_str() {
        "matches" | "find" | "findAll" => check_pattern(field, call),
        "range" => Err(costly(field, "calls lists.range, which makes lists of any length")),
        "format" if text.is_none_or(|text| text.contains("%.")) => Err(costly(
            field,
            "calls format on a text that is not literal or sets a precision (%.)",
        )),
        _ => Ok(()),
    }
}

fn check_pattern(field: &str, call: &CallExpr) -> Result<(), Doubt> {
    // The pattern is the last text that is handed over, whether `matches` is called on the text
    // or with it.
    let pattern = if call.target.is_some() { call.args.first() } else { call.args.get(1) };
    let pattern = pattern.and_then(literal_text).ok_or_else(|| {
        let name = &call.func_name;
        costly(field, &format!("calls {name} with a pattern that is not a literal text"))
    })?;
    if pattern.len() > MAX_PATTERN_BYTES {
        let most = format!("has a pattern of more than {MAX_PATTERN_BYTES} bytes");
        return Err(costly(field, &most));
    }
    let compiled = regex::RegexBuilder::new(pattern).size_limit(PATTERN_MEMORY).build();
    compiled.map(drop).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => costly(
            field,
            &format!("has a pattern that takes more than {PATTERN_MEMORY} bytes compiled"),
        ),
        other => Doubt::new(
            DoubtReason::ExpressionInvalid,
            &format!("{field} has a pattern that is not valid: {other}"),
        ),
    })
}

pub(crate) fn literal_text(expression: &IdedExpr) -> Option<&str> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// The variable that a path such as `a.b[0].c` begins with.
fn root_of(expression: &IdedExpr) -> Option<&str> {
    match &expression.expr {
        Expr::Ident(name) => Some(name),
        Expr::Select(select) => root_of(&select.operand),
        Expr::Call(call) if call.func_name == operators::INDEX => {
            call.args.first().and_then(root_of)
        }
        _ => None,
    }
}

/// The expressions right inside an expression.
pub(crate) fn children(expression: &IdedExpr) -> Vec<&IdedExpr> {
    match &expression.expr {
        Expr::Call(call) => call.target.iter().map(AsRef::as_ref).chain(&call.args).collect(),
        Expr::Select(SelectExpr { operand, .. }) => vec![operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| in_entry(&entry.expr)).collect(),
        Expr::Struct(made) => made.entries.iter().flat_map(|entry| in_entry(&entry.expr)).collect(),
        Expr::Comprehension(loop_) => vec![
            &loop_.iter_range,
            &loop_.accu_init,
            &loop_.loop_cond,
            &loop_.loop_step,
            &loop_.result,
        ],
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}

fn in_entry(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        EntryExpr::StructField(field) => vec![&field.value],
    }
}

pub(super) fn costly(field: &str, what: &str) -> Doubt {
    Doubt::new(DoubtReason::ExpressionTooCostly, &format!("{field} {what}"))
}
