//! What the schema objects of one place say together.
//!
//! Only what can be told from the value alone is asked here; it is a sieve for repairs that
//! cannot be right, and no validator.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::Subschema;

/// The end of a range of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::steps) struct Bound<'a> {
    /// Where it lies.
    pub(in crate::steps) at: &'a Number,
    /// Is the end itself outside?
    pub(in crate::steps) is_exclusive: bool,
}

impl<'a> Subschema<'a> {
    /// Is nothing said about this place?
    pub(in crate::steps) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The default that is said nearest to the place; None when two are as near.
    pub(in crate::steps) fn default_value(&self) -> Option<&'a Value> {
        let said = |found: &super::Found<'a>| Some((found.hops, found.keywords.get("default")?));
        let (nearest, default) = self.found.iter().find_map(said)?;
        let as_near = self.found.iter().filter_map(said).filter(|(hops, _)| *hops == nearest);
        as_near.map(|(_, other)| other).all(|other| other == default).then_some(default)
    }

    /// The values that `enum` and `const` leave; None when neither says anything.
    pub(in crate::steps) fn members(&self) -> Option<Vec<&'a Value>> {
        let lists = self.all("enum").filter_map(Value::as_array).map(|list| list.iter().collect());
        let constants = self.all("const").map(|constant| vec![constant]);
        lists.chain(constants).reduce(|left: Vec<&Value>, right| {
            left.into_iter().filter(|one| right.iter().any(|other| alike(one, other))).collect()
        })
    }

    /// Is the type of `value` one of those allowed?
    pub(in crate::steps) fn allows_type_of(&self, value: &Value) -> bool {
        type_names(value).iter().any(|name| self.allows_type(name))
    }

    /// Is it said that values of the type `name` are allowed, or nothing about types at all?
    pub(in crate::steps) fn allows_type(&self, name: &str) -> bool {
        let is = |allowed: &Value| allowed == name || (allowed == "number" && name == "integer");
        self.all("type").all(|allowed| match allowed {
            Value::Array(several) => several.iter().any(is),
            one => is(one),
        })
    }

    /// Is a type named at all?
    pub(in crate::steps) fn names_type(&self) -> bool {
        self.all("type").next().is_some()
    }

    /// Can only null be right here?
    pub(super) fn allows_only_null(&self) -> bool {
        self.all("type").any(|allowed| allowed == "null")
            || self.members().is_some_and(|members| members.into_iter().all(Value::is_null))
    }

    /// Must an object here have the member `key`?
    pub(in crate::steps) fn requires(&self, key: &str) -> bool {
        self.required().any(|required| required == key)
    }

    /// The members that an object here must have.
    pub(in crate::steps) fn required(&self) -> impl Iterator<Item = &'a str> {
        self.all("required").filter_map(Value::as_array).flatten().filter_map(Value::as_str)
    }

    /// The members that an object here may have by name.
    pub(in crate::steps) fn properties(&self) -> impl Iterator<Item = &'a str> {
        self.objects("properties").flat_map(|map| map.keys().map(String::as_str))
    }

    /// Is the member `key` spoken of, by name or by pattern?
    pub(in crate::steps) fn knows(&self, key: &str) -> bool {
        // A pattern that this engine does not know may be one that knows the key.
        let has_pattern = |map: &Map<String, Value>| {
            map.keys().any(|one| self.patterns.matches(one, key).unwrap_or(true))
        };
        self.objects("properties").any(|map| map.contains_key(key))
            || self.objects("patternProperties").any(has_pattern)
    }

    /// Is a text here an address, a date, encoded bytes: something that a part of it is not?
    pub(in crate::steps) fn names_format(&self) -> bool {
        ["format", "contentEncoding", "contentMediaType"]
            .into_iter()
            .any(|keyword| self.all(keyword).next().is_some())
    }

    /// The lowest number allowed.
    pub(in crate::steps) fn lower(&self) -> Option<Bound<'a>> {
        self.bound("minimum", "exclusiveMinimum", Ordering::Greater)
    }

    /// The highest number allowed.
    pub(in crate::steps) fn upper(&self) -> Option<Bound<'a>> {
        self.bound("maximum", "exclusiveMaximum", Ordering::Less)
    }

    /// The least that `keyword`, such as `maxLength`, is said to be.
    pub(in crate::steps) fn least(&self, keyword: &str) -> Option<usize> {
        self.counts(keyword).min()
    }

    /// Can `value` be right, as far as that is known here?
    pub(in crate::steps) fn admits(&self, value: &Value) -> bool {
        let is_member =
            self.members().is_none_or(|all| all.into_iter().any(|one| alike(one, value)));
        let fits = match value {
            Value::Number(number) => self.admits_number(number),
            Value::String(text) => self.admits_text(text),
            Value::Array(items) => self.admits_count(items.len(), "minItems", "maxItems"),
            Value::Object(map) => {
                self.admits_count(map.len(), "minProperties", "maxProperties")
                    && self.required().all(|key| map.contains_key(key))
            }
            Value::Null | Value::Bool(_) => true,
        };
        is_member && fits && self.allows_type_of(value)
    }

    fn admits_number(&self, number: &Number) -> bool {
        let is_beyond = |bound: Option<Bound<'_>>, side: Ordering| {
            bound.is_some_and(|bound| bound.is_crossed_by(number, side))
        };
        // With fractions, whether it is a multiple is a question of rounding: for the validator.
        let mut steps = self.all("multipleOf").filter_map(Value::as_i64).filter(|step| *step > 0);
        let is_multiple = |step: i64| number.as_i64().is_none_or(|number| number % step == 0);
        !is_beyond(self.lower(), Ordering::Less)
            && !is_beyond(self.upper(), Ordering::Greater)
            && steps.all(is_multiple)
    }

    fn admits_text(&self, text: &str) -> bool {
        let mut patterns = self.all("pattern").filter_map(Value::as_str);
        self.admits_count(text.chars().count(), "minLength", "maxLength")
            // A pattern that this engine does not know is for the validator to judge.
            && patterns.all(|pattern| self.patterns.matches(pattern, text).unwrap_or(true))
    }

    fn admits_count(&self, count: usize, least: &str, most: &str) -> bool {
        self.counts(least).all(|least| count >= least)
            && self.counts(most).all(|most| count <= most)
    }

    /// The tightest bound. Before draft 6, `exclusiveMinimum` was a bool beside `minimum`.
    fn bound(&self, inclusive: &str, exclusive: &str, tighter: Ordering) -> Option<Bound<'a>> {
        let bounds = self.found.iter().flat_map(|found| {
            let number = |keyword: &str| found.keywords.get(keyword).and_then(Value::as_number);
            let is_exclusive = found.keywords.get(exclusive) == Some(&Value::Bool(true));
            let inclusive = number(inclusive).map(|at| Bound { at, is_exclusive });
            let exclusive = number(exclusive).map(|at| Bound { at, is_exclusive: true });
            [inclusive, exclusive]
        });
        bounds.flatten().reduce(|left, right| match compare(right.at, left.at) {
            order if order == tighter => right,
            Ordering::Equal if right.is_exclusive => right,
            _ => left,
        })
    }

    fn counts(&self, keyword: &str) -> impl Iterator<Item = usize> {
        self.all(keyword).filter_map(Value::as_u64).filter_map(|count| usize::try_from(count).ok())
    }

    pub(super) fn objects(&self, keyword: &str) -> impl Iterator<Item = &'a Map<String, Value>> {
        self.all(keyword).filter_map(Value::as_object)
    }

    fn all(&self, keyword: &str) -> impl Iterator<Item = &'a Value> {
        self.found.iter().filter_map(move |found| found.keywords.get(keyword))
    }
}

impl Bound<'_> {
    /// Is `number` on the wrong side, which is `side`?
    pub(in crate::steps) fn is_crossed_by(&self, number: &Number, side: Ordering) -> bool {
        match compare(number, self.at) {
            Ordering::Equal => self.is_exclusive,
            order => order == side,
        }
    }
}

/// The names of a value's type: a whole number is also a number.
fn type_names(value: &Value) -> &'static [&'static str] {
    match value {
        Value::Null => &["null"],
        Value::Bool(_) => &["boolean"],
        Value::Number(number) if is_whole(number) => &["integer", "number"],
        Value::Number(_) => &["number"],
        Value::String(_) => &["string"],
        Value::Array(_) => &["array"],
        Value::Object(_) => &["object"],
    }
}

fn is_whole(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|float| float.fract() == 0.0)
}

/// Equal as JSON Schema has it: 1 and 1.0 are one number.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => compare(one, other) == Ordering::Equal,
        _ => one == other,
    }
}

/// The order of two numbers; whole ones are compared without going through a double.
fn compare(one: &Number, other: &Number) -> Ordering {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => one.cmp(&other),
        // A number of JSON is never NaN.
        _ => one.as_f64().partial_cmp(&other.as_f64()).unwrap_or(Ordering::Equal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::subschema::Schema;
    use serde_json::json;

    #[test]
    fn a_value_is_admitted_as_the_schema_says() {
        let cases = [
            (json!({"type": "integer"}), vec![json!(1), json!(1.0)], vec![json!(1.5), json!("1")]),
            (json!({"type": ["number", "null"]}), vec![json!(1), json!(null)], vec![json!([])]),
            (json!({"enum": [1, "a"]}), vec![json!(1.0), json!("a")], vec![json!("b")]),
            (
                json!({"minimum": 1, "exclusiveMaximum": 3}),
                vec![json!(1), json!(2.9)],
                vec![json!(0.9), json!(3)],
            ),
            (
                json!({"minimum": 1, "exclusiveMinimum": true}),
                vec![json!(1.1)],
                vec![json!(1), json!(0)],
            ),
            (json!({"multipleOf": 5}), vec![json!(10)], vec![json!(11)]),
            (
                json!({"minLength": 2, "maxLength": 3, "pattern": "^é"}),
                vec![json!("éé"), json!("é😀😀")],
                vec![json!("é"), json!("ab"), json!("éééé")],
            ),
            (json!({"pattern": "(?=unknown)"}), vec![json!("x")], vec![]),
            (json!({"minItems": 1, "maxItems": 1}), vec![json!([1])], vec![json!([])]),
            (json!({"required": ["a"]}), vec![json!({"a": 1}), json!(1)], vec![json!({})]),
            (
                json!({"allOf": [{"maximum": 9}, {"maximum": 5}, {"enum": [5, 7]}]}),
                vec![json!(5)],
                vec![json!(7), json!(4)],
            ),
        ];
        for (written, right, wrong) in cases {
            let schema = Schema::of(&written);
            let says = schema.at(&json!(null), "");
            for value in right {
                assert!(says.admits(&value), "{value} by {written}");
            }
            for value in wrong {
                assert!(!says.admits(&value), "{value} by {written}");
            }
        }
    }

    #[test]
    fn the_tightest_bound_counts() {
        let schema = json!({"allOf": [{"minimum": 2}, {"exclusiveMinimum": 2}, {"minimum": 1.5}]});
        let schema = Schema::of(&schema);
        let says = schema.at(&json!(null), "");
        let lower = says.lower().unwrap();
        assert_eq!((lower.at, lower.is_exclusive), (&Number::from(2), true));
        assert_eq!(says.upper(), None);
    }

    #[test]
    fn of_two_defaults_the_nearer_counts_and_none_when_they_are_as_near() {
        let cases = [
            (json!({"default": 1, "allOf": [{"default": 2}]}), Some(json!(1))),
            (json!({"allOf": [{"default": 2}, {"default": 2}]}), Some(json!(2))),
            (json!({"allOf": [{"default": 1}, {"default": 2}]}), None),
            (json!({"allOf": [{"allOf": [{"default": 1}]}, {"default": 2}]}), Some(json!(2))),
        ];
        for (written, expected) in cases {
            let schema = Schema::of(&written);
            let says = schema.at(&json!(null), "");
            assert_eq!(says.default_value(), expected.as_ref(), "{written}");
        }
    }

    #[test]
    fn whole_numbers_past_a_doubles_precision_are_told_apart() {
        let schema = json!({"maximum": 9_007_199_254_740_992_u64});
        let schema = Schema::of(&schema);
        let says = schema.at(&json!(null), "");
        assert!(!says.admits(&json!(9_007_199_254_740_993_u64)));
    }
}
