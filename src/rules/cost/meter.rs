//! What evaluating a CEL expression costs on one document, estimated from above without doing it.

use std::collections::HashMap;

use kube::core::cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators,
};
use serde_json::Value;

use super::expression::{MAX_COST, children, costly, literal_text};
use crate::domain::Doubt;

/// The function that `map` and `filter` become: list, name of the variable, condition, result.
pub(crate) const EACH: &str = "@each";

/// What compiling a regular expression costs at least, and more per byte of it.
const PATTERN_UNITS: (u64, u64) = (1_000, 50);

/// Checks what evaluating `expression` on `document` will cost.
///
/// # Errors
/// [`crate::domain::DoubtReason::ExpressionTooCostly`] names the estimate and the limit.
pub fn check_cost(field: &str, expression: &IdedExpr, document: &Value) -> Result<(), Doubt> {
    let cost = estimate(expression, document);
    if cost <= MAX_COST {
        return Ok(());
    }
    Err(costly(
        field,
        &format!(
            "would cost about {cost} units on this document; at most {MAX_COST} are allowed: loop \
             over less, or state the rule in the schema"
        ),
    ))
}

/// An upper bound, in units of [`MAX_COST`], of what evaluating `expression` on `document` costs.
#[must_use]
pub fn estimate(expression: &IdedExpr, document: &Value) -> u64 {
    let mut meter = Meter { units: 0, variables: HashMap::new() };
    meter.variables.insert("self", Reach { values: vec![document], made: (0, 0), times: 1 });
    // The document is copied into the interpreter's own form first.
    meter.units = weight(document);
    meter.measure(expression, 1);
    meter.units
}

/// What an expression can evaluate to, over all `times` that it is evaluated.
#[derive(Clone)]
struct Reach<'d> {
    /// The parts of the document that it selects.
    values: Vec<&'d Value>,
    /// What it makes: number of elements, and weight.
    made: (u64, u64),
    times: u64,
}

impl<'d> Reach<'d> {
    /// A number, a bool: nothing that could be long.
    fn scalar() -> Self {
        Self { values: Vec::new(), made: (0, 0), times: 1 }
    }

    fn made(elements: u64, weight: u64, times: u64) -> Self {
        Self { values: Vec::new(), made: (elements, weight), times }
    }

    /// The weight of what is handled when it is evaluated `times`.
    fn weight(&self, times: u64) -> u64 {
        let own =
            self.values.iter().map(|value| weight(value)).fold(self.made.1, u64::saturating_add);
        own.saturating_mul(times).div_ceil(self.times)
    }

    fn elements(&self, times: u64) -> u64 {
        let own =
            self.values.iter().map(|value| elements(value)).fold(self.made.0, u64::saturating_add);
        own.saturating_mul(times).div_ceil(self.times)
    }

    fn longest(&self) -> u64 {
        self.values.iter().map(|value| elements(value)).max().unwrap_or(0).max(self.made.0)
    }

    /// What the variable of a loop over this stands for.
    fn items(&self) -> Self {
        Self {
            values: self.values.iter().filter_map(|value| value.as_array()).flatten().collect(),
            made: self.made,
            times: self.elements(self.times).max(1),
        }
    }

    fn selected(&self, part: impl Fn(&'d Value) -> Vec<&'d Value>) -> Self {
        let values = self.values.iter().copied().flat_map(part).collect();
        Self { values, made: self.made, times: self.times }
    }
}

/// Values to copy, and their text by the line.
fn weight(value: &Value) -> u64 {
    match value {
        Value::Object(map) => map.values().map(weight).fold(1, |sum, more| sum + more + 1),
        Value::Array(list) => list.iter().map(weight).fold(1, |sum, more| sum + more),
        Value::String(text) => 1 + text.len() as u64 / 64,
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

fn elements(value: &Value) -> u64 {
    match value {
        Value::Object(map) => map.len() as u64,
        Value::Array(list) => list.len() as u64,
        Value::String(text) => text.len() as u64,
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

struct Meter<'e, 'd> {
    units: u64,
    variables: HashMap<&'e str, Reach<'d>>,
}

impl<'e, 'd> Meter<'e, 'd> {
    fn pay(&mut self, units: u64) {
        self.units = self.units.saturating_add(units);
    }

    /// Pays for evaluating `expression` so many `times` (one at least); says what it evaluates to.
    fn measure(&mut self, expression: &'e IdedExpr, times: u64) -> Reach<'d> {
        self.pay(times);
        match &expression.expr {
            Expr::Ident(name) => {
                self.variables.get(name.as_str()).cloned().unwrap_or_else(Reach::scalar)
            }
            Expr::Select(select) => {
                let from = self.measure(&select.operand, times);
                from.selected(|value| value.get(&select.field).into_iter().collect())
            }
            Expr::Call(call) => self.measure_call(call, times),
            Expr::Comprehension(loop_) => self.measure_loop(loop_, times),
            Expr::Literal(LiteralValue::String(text)) => {
                let length = text.inner().len() as u64;
                Reach::made(length, 1 + length / 64, 1)
            }
            _ => {
                let inner = children(expression);
                let count = inner.len() as u64;
                let made = inner
                    .into_iter()
                    .map(|inner| self.measure(inner, times).weight(times))
                    .fold(times, u64::saturating_add);
                Reach::made(count.saturating_mul(times), made, times)
            }
        }
    }

    fn measure_call(&mut self, call: &'e CallExpr, times: u64) -> Reach<'d> {
        if let (EACH, [list, name, condition, made]) = (call.func_name.as_str(), &call.args[..]) {
            return self.measure_each([list, name, condition, made], times);
        }
        let operands = call.target.iter().map(AsRef::as_ref).chain(&call.args);
        let reached: Vec<Reach<'d>> = operands.map(|inner| self.measure(inner, times)).collect();
        let total = sum(reached.iter().map(|reach| reach.weight(times)));
        let whole = times.saturating_add(sum(reached.iter().map(|reach| reach.elements(times))));
        match call.func_name.as_str() {
            operators::INDEX => {
                let key = call.args.get(1).and_then(literal_text);
                reached.first().map_or_else(Reach::scalar, |from| {
                    from.selected(|value| match (value, key) {
                        (value, Some(key)) => value.get(key).into_iter().collect(),
                        (Value::Array(list), None) => list.iter().collect(),
                        (Value::Object(map), None) => map.values().collect(),
                        _ => Vec::new(),
                    })
                })
            }
            operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::NOT_STRICTLY_FALSE => Reach::scalar(),
            operators::CONDITIONAL => Reach::made(whole, total, times),
            "matches" | "find" | "findAll" => {
                let pattern = call.args.last().and_then(literal_text).map_or(0, str::len) as u64;
                let compiled = PATTERN_UNITS.0 + pattern.saturating_mul(PATTERN_UNITS.1);
                self.pay(times.saturating_mul(compiled).saturating_add(total.saturating_mul(8)));
                Reach::made(whole, total, times)
            }
            // These look at each element, or each character, for each other one.
            "distinct" | "sort" | "contains" | "equivalent" | "intersects" | "replace" | "join" => {
                let longest = reached.iter().map(Reach::longest).max().unwrap_or(0).max(1);
                let made = reached
                    .iter()
                    .map(|reach| reach.elements(times).max(1))
                    .fold(longest, u64::saturating_mul);
                self.pay(made.saturating_add(total));
                Reach::made(made, made.saturating_add(total), times)
            }
            _ => {
                self.pay(total);
                Reach::made(whole, total, times)
            }
        }
    }

    /// `all`, `exists` and `exists_one`.
    fn measure_loop(&mut self, loop_: &'e ComprehensionExpr, times: u64) -> Reach<'d> {
        let range = self.measure(&loop_.iter_range, times);
        let turns = range.elements(times).max(1);
        // Each element is copied into the variable.
        self.pay(range.weight(times));
        let hidden = self.variables.insert(&loop_.iter_var, range.items());
        let _ = self.measure(&loop_.loop_step, turns);
        self.leave(&loop_.iter_var, hidden);
        Reach::scalar()
    }

    fn measure_each(&mut self, parts: [&'e IdedExpr; 4], times: u64) -> Reach<'d> {
        let [list, name, condition, made] = parts;
        let range = self.measure(list, times);
        let turns = range.elements(times).max(1);
        // The list is copied to go over it, and each element into the variable.
        self.pay(range.weight(times).saturating_mul(2));
        let name = literal_text(name).unwrap_or_default();
        let hidden = self.variables.insert(name, range.items());
        let _ = self.measure(condition, turns);
        let made = self.measure(made, turns).weight(turns).max(turns);
        self.leave(name, hidden);
        self.pay(made);
        Reach::made(turns, made, times)
    }

    fn leave(&mut self, variable: &'e str, hidden: Option<Reach<'d>>) {
        match hidden {
            Some(outer) => drop(self.variables.insert(variable, outer)),
            None => drop(self.variables.remove(variable)),
        }
    }
}

fn sum(parts: impl Iterator<Item = u64>) -> u64 {
    parts.fold(0, u64::saturating_add)
}
