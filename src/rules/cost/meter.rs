//! What evaluating a CEL expression costs on one document, estimated from above without doing it.

use std::collections::HashMap;

use kube::core::cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators,
};
use serde_json::Value;

use super::expression::{MAX_COST, PATTERN_MEMORY, children, costly, literal_text};
use crate::domain::Doubt;

/// The function that `map` and `filter` become: list, name of the variable, condition, result.
pub(crate) const EACH: &str = "@each";
/// The function that `all` becomes: list, name of the variable, condition.
pub(crate) const ALL: &str = "@all";
/// The function that `exists` becomes: as [`ALL`].
pub(crate) const EXISTS: &str = "@exists";

/// What compiling a regular expression costs at least, and more per byte of it.
const PATTERN_UNITS: (u64, u64) = (1_000, 50);

/// Checks what evaluating `expression` on `document`, which it knows as `root`, will cost.
///
/// # Errors
/// [`crate::domain::DoubtReason::ExpressionTooCostly`] names the estimate and the limit.
pub fn check_cost(
    field: &str,
    root: &'static str,
    expression: &IdedExpr,
    document: &Value,
) -> Result<(), Doubt> {
    let cost = estimate(root, expression, document);
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
pub fn estimate(root: &'static str, expression: &IdedExpr, document: &Value) -> u64 {
    let mut meter = Meter { units: 0, variables: HashMap::new(), loops: 0 };
    let whole = Reach { values: vec![document], ..Reach::scalar() };
    meter.variables.insert(root, (whole, 0));
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
    /// It is read in a loop inside the one that it is the variable of, so more than once.
    repeated: bool,
}

impl<'d> Reach<'d> {
    /// A number, a bool: nothing that could be long.
    fn scalar() -> Self {
        Self { values: Vec::new(), made: (0, 0), times: 1, repeated: false }
    }

    fn made(elements: u64, weight: u64, times: u64) -> Self {
        Self { values: Vec::new(), made: (elements, weight), times, repeated: false }
    }

    /// The weight of what is handled when it is evaluated `times`.
    fn weight(&self, times: u64) -> u64 {
        self.measured(times, self.made.1, weight)
    }

    fn elements(&self, times: u64) -> u64 {
        self.measured(times, self.made.0, elements)
    }

    /// Read more than once, it may be the largest each time: nothing says that an inner loop is
    /// short where the value is large.
    fn measured(&self, times: u64, made: u64, of: fn(&Value) -> u64) -> u64 {
        let sizes = || self.values.iter().map(|value| of(value));
        let at_most = sizes().max().unwrap_or(0).saturating_mul(times);
        if !self.repeated && times <= self.times {
            sum(sizes()).min(at_most).saturating_add(made)
        } else {
            at_most.saturating_add(made.saturating_mul(times))
        }
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
            repeated: false,
        }
    }

    /// Texts of the document, and nothing else.
    fn is_text(&self) -> bool {
        self.made == (0, 0)
            && !self.values.is_empty()
            && self.values.iter().all(|value| value.is_string())
    }

    fn selected(&self, part: impl Fn(&'d Value) -> Vec<&'d Value>) -> Self {
        let values = self.values.iter().copied().flat_map(part).collect();
        Self { values, made: self.made, times: self.times, repeated: self.repeated }
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
    /// And in how many loops each is bound.
    variables: HashMap<&'e str, (Reach<'d>, usize)>,
    loops: usize,
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
                let variable = self.variables.get(name.as_str()).cloned();
                variable.map_or_else(Reach::scalar, |(mut reach, bound)| {
                    reach.repeated = bound < self.loops;
                    reach
                })
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
            return self.measure_each([list, name, condition], Some(made), times);
        }
        if let (ALL | EXISTS, [list, name, condition]) = (call.func_name.as_str(), &call.args[..]) {
            let _ = self.measure_each([list, name, condition], None, times);
            return Reach::scalar();
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
            "matches" | "find" => {
                let pattern = Self::pattern(call, times);
                let size = call.args.last().and_then(literal_text).map_or(1, pattern_kib);
                self.pay(pattern.saturating_add(total.saturating_mul(100 * size)));
                Reach::made(whole, total, times)
            }
            "sort" => {
                self.pay(total.saturating_mul(32));
                Reach::made(whole, total, times)
            }
            "distinct" | "contains" | "equivalent" | "intersects" => {
                // Of lists, each element is compared with each other one.
                let is_text = reached.first().is_some_and(Reach::is_text);
                let others = if is_text { 8 } else { longest(&reached) };
                self.pay(total.saturating_mul(others.max(8)));
                Reach::made(whole, total, times)
            }
            "replace" | "join" => {
                // The second text stands between all characters or elements of the first.
                let text = whole.saturating_add(total.saturating_mul(64));
                let between = reached.iter().skip(1).map(Reach::longest).max().unwrap_or(0);
                let made = text.saturating_mul(between.saturating_add(1));
                self.pay(made / 16);
                Reach::made(made, made / 64, times)
            }
            "indexOf" | "lastIndexOf" | "split" | "findAll" => {
                // From each character on, each is looked for, or the rest is read.
                let again = match call.func_name.as_str() {
                    "split" => 0,
                    "findAll" => reached.first().map_or(0, Reach::longest),
                    _ => longest(&reached[1..]),
                };
                let pattern =
                    if call.func_name == "findAll" { Self::pattern(call, times) } else { 0 };
                self.pay(sum([pattern, total, whole.saturating_mul(1 + again / 64)].into_iter()));
                Reach::made(whole, total.saturating_add(whole), times)
            }
            _ => {
                self.pay(total);
                Reach::made(whole, total, times)
            }
        }
    }

    /// What compiling the pattern that `call` ends with costs.
    fn pattern(call: &CallExpr, times: u64) -> u64 {
        let bytes = call.args.last().and_then(literal_text).map_or(0, str::len) as u64;
        times.saturating_mul(PATTERN_UNITS.0 + bytes.saturating_mul(PATTERN_UNITS.1))
    }

    /// `exists_one`.
    fn measure_loop(&mut self, loop_: &'e ComprehensionExpr, times: u64) -> Reach<'d> {
        let range = self.measure(&loop_.iter_range, times);
        let turns = range.elements(times).max(1);
        // Each element is copied into the variable.
        self.pay(range.weight(times));
        let hidden = self.enter(&loop_.iter_var, &range);
        let _ = self.measure(&loop_.loop_step, turns);
        self.leave(&loop_.iter_var, hidden);
        Reach::scalar()
    }

    /// The loops of our own; `made` is what `map` and `filter` make of each element.
    fn measure_each(
        &mut self,
        [list, name, condition]: [&'e IdedExpr; 3],
        made: Option<&'e IdedExpr>,
        times: u64,
    ) -> Reach<'d> {
        let range = self.measure(list, times);
        let turns = range.elements(times).max(1);
        // The list is copied to go over it, and each element into the variable.
        self.pay(range.weight(times).saturating_mul(2));
        let name = literal_text(name).unwrap_or_default();
        let hidden = self.enter(name, &range);
        let _ = self.measure(condition, turns);
        let made = made.map_or(0, |made| self.measure(made, turns).weight(turns)).max(turns);
        self.leave(name, hidden);
        self.pay(made);
        Reach::made(turns, made, times)
    }

    fn enter(&mut self, variable: &'e str, range: &Reach<'d>) -> Option<(Reach<'d>, usize)> {
        self.loops += 1;
        self.variables.insert(variable, (range.items(), self.loops))
    }

    fn leave(&mut self, variable: &'e str, hidden: Option<(Reach<'d>, usize)>) {
        self.loops -= 1;
        match hidden {
            Some(outer) => drop(self.variables.insert(variable, outer)),
            None => drop(self.variables.remove(variable)),
        }
    }
}

fn longest(reached: &[Reach<'_>]) -> u64 {
    reached.iter().map(Reach::longest).max().unwrap_or(0)
}

/// Kilobytes of a compiled pattern, rounded up to a power of two: in the worst case, all of its
/// states are looked at for each byte of the text.
fn pattern_kib(pattern: &str) -> u64 {
    let fits =
        |kib: usize| regex::RegexBuilder::new(pattern).size_limit(kib * 1024).build().is_ok();
    let mut sizes =
        (0..).map(|power| 1_usize << power).take_while(|kib| kib * 1024 < PATTERN_MEMORY);
    sizes.find(|kib| fits(*kib)).unwrap_or(PATTERN_MEMORY / 1024) as u64
}

fn sum(parts: impl Iterator<Item = u64>) -> u64 {
    parts.fold(0, u64::saturating_add)
}
