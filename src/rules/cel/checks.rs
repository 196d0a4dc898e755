//! What is wrong with an expression whatever the document is.

use kube::core::cel::cel::{
    ExecutionError, IdedExpr, Value as CelValue,
    common::ast::{CallExpr, Expr, LiteralValue, operators},
};

use super::{FUNCTIONS, Root, each, invalid};
use crate::{domain::Doubt, rules::cost::expression::children};

/// Functions of a time that the language lets take a time zone.
const TIMES: [&str; 10] = [
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];

/// Refuses names that are neither the root's nor a loop's variable nor a function.
pub(super) fn check_names<'e>(
    field: &str,
    root: &Root,
    expression: &'e IdedExpr,
    scope: &mut Vec<&'e str>,
) -> Result<(), Doubt> {
    match &expression.expr {
        Expr::Struct(_) => {
            Err(invalid(&format!("{field} makes a message type; make a map instead")))
        }
        Expr::Ident(name) if !name.starts_with('@') && !scope.contains(&name.as_str()) => {
            let Root { name: known, is } = root;
            Err(invalid(&format!("{field} names {name:?}, which is not there; {known} is {is}")))
        }
        Expr::Comprehension(loop_) => {
            check_names(field, root, &loop_.iter_range, scope)?;
            scope.push(&loop_.iter_var);
            let checked = check_names(field, root, &loop_.loop_step, scope);
            scope.pop();
            checked
        }
        Expr::Call(call) => {
            let library = call.target.as_deref().and_then(|target| match &target.expr {
                Expr::Ident(name) if !scope.contains(&name.as_str()) => Some(name.as_str()),
                _ => None,
            });
            if !is_function(call, library) {
                let name = library.map_or_else(String::new, |library| format!("{library}."));
                let name = format!("{name}{}", call.func_name);
                return Err(invalid(&format!("{field} calls {name:?}, which is not there")));
            }
            // The interpreter ignores the argument and answers for the time's own zone.
            if TIMES.contains(&call.func_name.as_str()) && !call.args.is_empty() {
                let name = &call.func_name;
                return Err(invalid(&format!(
                    "{field} calls {name} with a time zone, which is not supported"
                )));
            }
            let target = call.target.as_deref().filter(|_| library.is_none());
            target
                .into_iter()
                .chain(&call.args)
                .try_for_each(|inner| check_names(field, root, inner, scope))
        }
        _ => children(expression)
            .into_iter()
            .try_for_each(|inner| check_names(field, root, inner, scope)),
    }
}

/// Asked of the interpreter itself, by a call without arguments, so that no list of its functions
/// can fall behind: it only says that a reference is undeclared when there is no such function.
fn is_function(call: &CallExpr, library: Option<&str>) -> bool {
    let is_operator = !call.func_name.starts_with(char::is_alphabetic);
    let target =
        library.map(|name| Box::new(IdedExpr { id: 0, expr: Expr::Ident(name.to_owned()) }));
    let bare = CallExpr { func_name: call.func_name.clone(), target, args: Vec::new() };
    let bare = IdedExpr { id: 0, expr: Expr::Call(bare) };
    is_operator
        || !matches!(
            CelValue::resolve(&bare, &FUNCTIONS),
            Err(ExecutionError::UndeclaredReference(_))
        )
}

/// What the expression returns, where that can be seen and is not a bool.
pub(super) fn evidently_not_bool(expression: &IdedExpr) -> Option<&'static str> {
    match &expression.expr {
        Expr::Literal(LiteralValue::Boolean(_)) => None,
        Expr::Literal(LiteralValue::String(_)) => Some("a string"),
        Expr::Literal(LiteralValue::Null) => Some("null"),
        Expr::Literal(LiteralValue::Bytes(_)) => Some("bytes"),
        Expr::Literal(_) => Some("a number"),
        Expr::List(_) => Some("a list"),
        Expr::Map(_) => Some("a map"),
        Expr::Ident(name) if name == "self" => Some("the document"),
        Expr::Call(call) => match call.func_name.as_str() {
            each::NAME => Some("a list"),
            "size"
            | "int"
            | "uint"
            | "double"
            | "indexOf"
            | "lastIndexOf"
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
            | operators::NEGATE => Some("a number"),
            "string" | "lowerAscii" | "upperAscii" | "trim" | "join" | "replace" => {
                Some("a string")
            }
            operators::ADD => Some("a sum"),
            operators::CONDITIONAL => call.args.get(1..)?.iter().find_map(evidently_not_bool),
            _ => None,
        },
        _ => None,
    }
}
