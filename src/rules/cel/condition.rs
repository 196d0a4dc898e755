//! A condition: an expression that is true or false of something else than a document, such as the
//! `when` of a step. It passes the same gates as a rule's.

use serde_json::Value;

use super::{CelValue, Program, Root, Stop, evidently_not_bool, invalid};
use crate::domain::Doubt;

/// A condition that passed the cost gate and compiled.
#[derive(Debug)]
pub struct Condition(Program);

/// Compiles the condition that `field` holds, about a value that it knows as `root`.
///
/// # Errors
/// See [`super::compile`].
pub fn condition(
    field: &'static str,
    root: &'static Root,
    source: &str,
) -> Result<Condition, Doubt> {
    let program = Program::compile(field, root, source)?;
    match evidently_not_bool(&program.expression) {
        Some(what) => Err(invalid(&format!("{field} returns {what}; it must return a bool"))),
        None => Ok(Condition(program)),
    }
}

impl Condition {
    /// Is it true of `value`?
    ///
    /// # Errors
    /// It cannot be evaluated on it, would cost too much, or returns no bool.
    pub fn holds(&self, value: &Value) -> Result<bool, Doubt> {
        let field = self.0.field;
        match self.0.run(value) {
            Ok(CelValue::Bool(holds)) => Ok(holds),
            Ok(_) => Err(invalid(&format!("{field} did not return a bool; compare its result"))),
            Err(Stop::Doubt(doubt)) => Err(doubt),
            Err(Stop::Document(why)) => {
                Err(invalid(&format!("{field} cannot be evaluated: {why}")))
            }
        }
    }
}
