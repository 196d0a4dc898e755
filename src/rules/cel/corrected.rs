//! Changes to a parsed expression where the interpreter would give another answer than CEL does:
//! see the documentation of [`super`].

use kube::core::cel::cel::{
    IdedExpr,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators},
};

use super::{each, equal};

/// The expression with the changes that the module's documentation lists.
pub(super) fn corrected(expression: IdedExpr) -> IdedExpr {
    let IdedExpr { id, expr } = expression;
    let expr = match expr {
        Expr::Select(mut select) => {
            *select.operand = corrected(*select.operand);
            if select.test {
                Expr::Select(select)
            } else {
                let field = Expr::Literal(LiteralValue::String(select.field.as_str().into()));
                operation(operators::INDEX, vec![*select.operand, IdedExpr { id, expr: field }])
            }
        }
        Expr::Call(call) => corrected_call(id, call),
        Expr::List(mut list) => {
            list.elements = list.elements.into_iter().map(corrected).collect();
            Expr::List(list)
        }
        Expr::Map(mut map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    entry.key = corrected(std::mem::take(&mut entry.key));
                    entry.value = corrected(std::mem::take(&mut entry.value));
                }
            }
            Expr::Map(map)
        }
        Expr::Comprehension(mut loop_) => {
            loop_.iter_range = corrected(loop_.iter_range);
            loop_.loop_step = corrected(loop_.loop_step);
            each::call_of(&loop_).map_or(Expr::Comprehension(loop_), Expr::Call)
        }
        other => other,
    };
    IdedExpr { id, expr }
}

fn corrected_call(id: u64, mut call: CallExpr) -> Expr {
    call.target = call.target.map(|target| Box::new(corrected(*target)));
    call.args = call.args.into_iter().map(corrected).collect();
    match call.func_name.as_str() {
        operators::EQUALS => operation(equal::EQUAL, call.args),
        operators::NOT_EQUALS => {
            let same = operation(equal::EQUAL, call.args);
            operation(operators::LOGICAL_NOT, vec![IdedExpr { id, expr: same }])
        }
        operators::IN => operation(equal::IN, call.args),
        _ => Expr::Call(call),
    }
}

fn operation(name: &str, args: Vec<IdedExpr>) -> Expr {
    Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args })
}
