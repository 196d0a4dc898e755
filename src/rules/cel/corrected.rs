//! Changes to a parsed expression where the interpreter would give another answer than CEL does:
//! see the documentation of [`super`].

use kube::core::cel::cel::{
    IdedExpr,
    common::ast::{CallExpr, EntryExpr, Expr, ListExpr, LiteralValue, operators},
};

use super::each;

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
    let negated = match call.func_name.as_str() {
        operators::EQUALS => false,
        operators::NOT_EQUALS => true,
        operators::IN => {
            if let Some(IdedExpr { expr: Expr::List(list), .. }) = call.args.get_mut(1) {
                let elements = std::mem::take(&mut list.elements);
                list.elements = elements.into_iter().flat_map(both_types).collect();
            }
            return Expr::Call(call);
        }
        _ => return Expr::Call(call),
    };
    let Some(literal) = call.args.iter().position(|side| twin(side).is_some()) else {
        return Expr::Call(call);
    };
    let numbers = both_types(call.args.remove(literal));
    call.args.push(IdedExpr { id, expr: Expr::List(ListExpr::new(numbers)) });
    let is_one = operation(operators::IN, call.args);
    if negated {
        operation(operators::LOGICAL_NOT, vec![IdedExpr { id, expr: is_one }])
    } else {
        is_one
    }
}

fn operation(name: &str, args: Vec<IdedExpr>) -> Expr {
    Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args })
}

fn both_types(side: IdedExpr) -> Vec<IdedExpr> {
    let other = twin(&side).map(|expr| IdedExpr { id: side.id, expr: Expr::Literal(expr) });
    std::iter::once(side).chain(other).collect()
}

/// The same number as a literal of the other type.
fn twin(side: &IdedExpr) -> Option<LiteralValue> {
    // Integers beyond this are not all doubles.
    const EXACT: i64 = 1 << 53;
    match &side.expr {
        Expr::Literal(LiteralValue::Int(number)) if (-EXACT..=EXACT).contains(number.inner()) => {
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
            let double = *number.inner() as f64;
            Some(LiteralValue::Double(double.into()))
        }
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
        Expr::Literal(LiteralValue::Double(number))
            if number.inner().fract() == 0.0 && number.inner().abs() <= EXACT as f64 =>
        {
            #[expect(clippy::cast_possible_truncation, reason = "whole and bounded")]
            let int = *number.inner() as i64;
            Some(LiteralValue::Int(int.into()))
        }
        _ => None,
    }
}
