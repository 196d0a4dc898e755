//! Equality, membership and the length of a text, as the language defines them.
//!
//! To the interpreter 5 and 5.0 are different, and a text is as long as its UTF-8.

use kube::core::cel::cel::{
    Context, ExecutionError, FunctionContext, ResolveResult, Value as CelValue,
    extractors::This,
    objects::{KeyRef, Map},
};

/// What `==` becomes.
pub(super) const EQUAL: &str = "@equal";
/// What `in` becomes; `@in` is what the parser calls it.
pub(super) const IN: &str = "@contained";

/// Makes `context` know the functions.
pub(super) fn register(context: &mut Context<'_>) {
    context.add_function(EQUAL, |call: &FunctionContext<'_, '_>| -> ResolveResult {
        let (left, right) = both(call)?;
        Ok(CelValue::Bool(equal(&left, &right)))
    });
    context.add_function(IN, |call: &FunctionContext<'_, '_>| -> ResolveResult {
        let (item, container) = both(call)?;
        is_in(&item, &container).map(CelValue::Bool)
    });
    context.add_function("size", size);
}

fn both(call: &FunctionContext<'_, '_>) -> Result<(CelValue, CelValue), ExecutionError> {
    let [left, right] = call.args else {
        return Err(ExecutionError::invalid_argument_count(2, call.args.len()));
    };
    Ok((CelValue::resolve(left, call.ptx)?, CelValue::resolve(right, call.ptx)?))
}

fn equal(left: &CelValue, right: &CelValue) -> bool {
    match (left, right) {
        (CelValue::List(left), CelValue::List(right)) => {
            left.len() == right.len() && left.iter().zip(right.iter()).all(|(l, r)| equal(l, r))
        }
        (CelValue::Map(left), CelValue::Map(right)) => {
            let same = |(key, value)| right.map.get(key).is_some_and(|other| equal(value, other));
            left.map.len() == right.map.len() && left.map.iter().all(same)
        }
        // The interpreter compares as doubles, which is right below 2^53.
        (CelValue::Int(int), CelValue::Float(double))
        | (CelValue::Float(double), CelValue::Int(int)) => whole(*double) == Some(*int),
        _ => left == right,
    }
}

fn is_in(item: &CelValue, container: &CelValue) -> Result<bool, ExecutionError> {
    match container {
        CelValue::List(list) => Ok(list.iter().any(|other| equal(item, other))),
        CelValue::Map(map) => Ok(match item {
            CelValue::Float(double) => whole(*double).is_some_and(|int| has(map, &int.into())),
            item => KeyRef::try_from(item)
                .map_err(ExecutionError::UnsupportedKeyType)
                .map(|key| map.get(&key).is_some())?,
        }),
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

fn has(map: &Map, key: &CelValue) -> bool {
    KeyRef::try_from(key).is_ok_and(|key| map.get(&key).is_some())
}

fn whole(double: f64) -> Option<i64> {
    // 2^63: the first double beyond every i64.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
    (double.fract() == 0.0 && (-BEYOND..BEYOND).contains(&double)).then_some(double as i64)
}

/// Of a text the number of its characters: `self.title.size() <= 20` is about what people see.
fn size(call: &FunctionContext<'_, '_>, This(this): This<CelValue>) -> Result<i64, ExecutionError> {
    let size = match &this {
        CelValue::String(text) => text.chars().count(),
        CelValue::Bytes(bytes) => bytes.len(),
        CelValue::List(list) => list.len(),
        CelValue::Map(map) => map.map.len(),
        _ => return Err(call.error("has no size")),
    };
    i64::try_from(size).map_err(|_| ExecutionError::NoSuchOverload)
}
