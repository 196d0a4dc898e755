//! `multipleOf`, judged as people who write prices mean it.
//!
//! A multiple of 0.01 that was computed is often not one to the last bit: 19.99 * 10 is
//! 199.89999999999998. To `jsonschema` that is no multiple; to Zod it is, within four times the
//! precision of a double. Whole numbers are compared exactly. (Zod judges those by the tolerance
//! too, so that every number beyond 2^51 is a multiple of 2 to it; that is not followed.)

use jsonschema::{Keyword, ValidationError, ValidationOptions, paths::Location};
use serde_json::{Map, Number, Value};

/// Makes `options` check `multipleOf` so.
pub(super) fn register(options: ValidationOptions<'static>) -> ValidationOptions<'static> {
    options.with_keyword("multipleOf", |_: &Map<String, Value>, value: &Value, _: Location| {
        // The meta-schema was checked before: it is a number above zero.
        let step = value.as_number().cloned();
        let step = step.ok_or_else(|| ValidationError::custom("multipleOf must be a number"))?;
        Ok(Box::new(MultipleOf { step }) as Box<dyn for<'i> Keyword<'i>>)
    })
}

struct MultipleOf {
    step: Number,
}

impl<'i> Keyword<'i> for MultipleOf {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if Keyword::is_valid(self, instance) {
            return Ok(());
        }
        Err(ValidationError::custom(format!("is not a multiple of {}", self.step)))
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        instance.as_number().is_none_or(|number| is_multiple(number, &self.step))
    }
}

fn is_multiple(number: &Number, step: &Number) -> bool {
    if let (Some(number), Some(step)) = (whole(number), whole(step)) {
        return step != 0 && number % step == 0;
    }
    let (Some(number), Some(step)) = (number.as_f64(), step.as_f64()) else { return false };
    let ratio = number / step;
    (ratio - ratio.round()).abs() < 4.0 * f64::EPSILON * ratio.abs().max(1.0)
}

fn whole(number: &Number) -> Option<i128> {
    // Every whole number that is written as a double below this is that double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let whole = number.as_f64().filter(|double| double.fract() == 0.0 && double.abs() <= EXACT);
    #[expect(clippy::cast_possible_truncation, reason = "whole and bounded")]
    number
        .as_i64()
        .map(i128::from)
        .or_else(|| number.as_u64().map(i128::from))
        .or_else(|| whole.map(|double| double as i128))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn fractions_are_multiples_within_the_precision_of_a_double_and_whole_numbers_exactly() {
        for (number, step, expected) in [
            (json!(199.899_999_999_999_98), json!(0.01), true),
            (json!(2.03), json!(0.07), true),
            (json!(4.02), json!(0.01), true),
            (json!(0.015), json!(0.01), false),
            (json!(199.899_999), json!(0.01), false),
            (json!(7), json!(2), false),
            (json!(9_007_199_254_740_991_i64), json!(2), false),
            (json!(18_446_744_073_709_551_614_u64), json!(2), true),
            (json!(4.0), json!(2), true),
            (json!(9_007_199_254_740_993_i64), json!(5.0), false),
            (json!(1.5), json!(0.5), true),
            (json!("text"), json!(2), true),
        ] {
            let schema = crate::rules::schema::compile(&json!({"multipleOf": step})).unwrap();
            let passes = schema.check(&number) == crate::domain::Verdict::Pass;
            assert_eq!(passes, expected, "{number} of {step}");
        }
    }
}
