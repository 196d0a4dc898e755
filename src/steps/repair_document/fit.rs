//! Making a value fit what its schema says.
//!
//! Knows: one value and what is said about its place. Must not know: the document around it.

use std::{cmp::Ordering, collections::BTreeSet};

use serde_json::{Number, Value};
use unicode_segmentation::UnicodeSegmentation as _;

use super::{
    super::{
        spelling,
        subschema::{Bound, Subschema},
    },
    Repair,
};
use crate::domain::ValueFrom;

/// 2^53: up to here every whole number is a double of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What one repair makes of a value; None when it has nothing to do or does not know how.
type Fit = fn(&Value, &Subschema<'_>) -> Option<Value>;

/// `value` after the allowed repairs, each on what the one before it made of it, and where the
/// result comes from; None when they change nothing or their result cannot be right.
pub(super) fn fitted(
    value: &Value,
    says: &Subschema<'_>,
    keywords: &BTreeSet<&str>,
    allows: impl Fn(Repair) -> bool,
) -> Option<(Value, ValueFrom)> {
    // What can be right is left alone: it fails for a reason that is not looked at here. But
    // whether 1.0 is an integer depends on the draft, so there the validator has the last word.
    if says.admits(value) && !keywords.contains("type") {
        return None;
    }
    let repairs: [(Repair, ValueFrom, Fit); 4] = [
        (Repair::Coerce, ValueFrom::Document, coerced),
        (Repair::NearestEnum, ValueFrom::Schema, nearest_member),
        (Repair::Clamp, ValueFrom::Schema, clamped),
        (Repair::Truncate, ValueFrom::Document, truncated),
    ];
    let mut fitted = None;
    for (repair, from, apply) in repairs.into_iter().filter(|(repair, ..)| allows(*repair)) {
        // The first digits of a number are another number.
        if repair == Repair::Truncate && fitted.is_some() {
            continue;
        }
        let so_far = fitted.as_ref().map_or(value, |(so_far, _)| so_far);
        if let Some(better) = apply(so_far, says) {
            fitted = Some((better, from));
        }
    }
    fitted.filter(|(fitted, _)| fitted != value && says.admits(fitted))
}

/// The same value as another type, when it is of none that is allowed and prints back as it was.
/// Null spells nothing and nothing spells null. A number with a fraction becomes no text: the
/// version 1.10 was read as 1.1.
fn coerced(value: &Value, says: &Subschema<'_>) -> Option<Value> {
    let others = match value {
        Value::String(text) => {
            let number = spelling::number(text).map(Value::Number);
            vec![number, spelling::boolean(text).map(Value::Bool)]
        }
        Value::Number(number) if number.is_f64() => vec![whole(number).map(Value::Number)],
        Value::Number(number) => vec![Some(Value::String(number.to_string()))],
        Value::Bool(truth) => vec![Some(Value::String(truth.to_string()))],
        Value::Null | Value::Array(_) | Value::Object(_) => Vec::new(),
    };
    let is_own_type_right = match value {
        // 1.0 is an integer to some drafts, and 1 to all.
        Value::Number(number) if number.is_f64() => says.allows_type("number"),
        _ => says.allows_type_of(value),
    };
    let members = says.members();
    let is_wanted = |other: &Value| match &members {
        Some(members) => !members.contains(&value) && members.contains(&other),
        None => !is_own_type_right && says.names_type() && says.allows_type_of(other),
    };
    let mut wanted = others.into_iter().flatten().filter(is_wanted);
    wanted.next().filter(|_| wanted.next().is_none())
}

/// `number` without a fraction that says nothing. Not -0.0, which is no whole number of its own.
fn whole(number: &Number) -> Option<Number> {
    let float = number.as_f64().filter(|_| number.is_f64())?;
    let is_exact = float.fract() == 0.0 && float.abs() <= EXACT;
    is_exact.then(|| format!("{float:.0}")).and_then(|text| spelling::number(&text))
}

/// The member of the `enum` that a text nearly spells.
fn nearest_member(value: &Value, says: &Subschema<'_>) -> Option<Value> {
    let members = says.members()?;
    let text = value.as_str().filter(|_| !members.contains(&value))?;
    let member = spelling::nearest(text, members.into_iter().filter_map(Value::as_str))?;
    Some(Value::from(member))
}

/// The bound that a number crosses. Inside an exclusive bound the nearest number is only known
/// where whole ones are asked for. Nothing is rounded to a `multipleOf`: that would be nobody's number.
fn clamped(value: &Value, says: &Subschema<'_>) -> Option<Value> {
    let number = value.as_number()?;
    let is_whole = says.names_type() && !says.allows_type("number");
    let inside = |bound: Option<Bound<'_>>, side: Ordering, step: i64| {
        let bound = bound.filter(|bound| bound.is_crossed_by(number, side))?;
        if !bound.is_exclusive {
            return Some(bound.at.clone());
        }
        let next = bound.at.as_i64().filter(|_| is_whole)?.checked_add(step)?;
        Some(Number::from(next))
    };
    let lowest = inside(says.lower(), Ordering::Less, 1);
    lowest.or_else(|| inside(says.upper(), Ordering::Greater, -1)).map(Value::Number)
}

/// A text or a list cut at its maximum. A text with a `format` is not cut, and none that holds an
/// address or ends inside a placeholder: a part of an address or of a date is another one.
fn truncated(value: &Value, says: &Subschema<'_>) -> Option<Value> {
    match value {
        Value::String(text) => {
            let most = says.least("maxLength").filter(|_| !says.names_format())?;
            let cut = whole_characters(text, most)?;
            let at_word = last_whole_word(text, cut).filter(|cut| says.admits(&Value::from(*cut)));
            Some(at_word.unwrap_or(cut)).filter(|cut| !is_torn(text, cut)).map(Value::from)
        }
        Value::Array(items) => {
            let most = says.least("maxItems")?;
            (items.len() > most).then(|| Value::from(&items[..most]))
        }
        _ => None,
    }
}

/// The beginning of `text` that has at most `most` code points, which is how `maxLength` counts,
/// without a part of what a reader sees as one character; None when it is all of it or nothing.
fn whole_characters(text: &str, most: usize) -> Option<&str> {
    let (limit, _) = text.char_indices().nth(most)?;
    let ends = text.grapheme_indices(true).map(|(at, _)| at);
    let cut = ends.take_while(|at| *at <= limit).last()?;
    (cut > 0).then(|| &text[..cut])
}

/// `cut`, which is the beginning of `text`, without the beginning of a word that goes on, when at
/// least half stays.
fn last_whole_word<'a>(text: &str, cut: &'a str) -> Option<&'a str> {
    let goes_on = !text[cut.len()..].starts_with(char::is_whitespace);
    let end = if goes_on { cut.rfind(char::is_whitespace)? } else { cut.len() };
    let kept = cut[..end].trim_end();
    (kept.chars().count() * 2 >= cut.chars().count()).then_some(kept)
}

/// Does the cut take away a part of what only means something whole?
fn is_torn(text: &str, cut: &str) -> bool {
    let is_open = |opening: &str, closing: &str| {
        let opened = cut.rfind(opening);
        opened.is_some_and(|opened| cut.rfind(closing).is_none_or(|closed| closed < opened))
    };
    let of_markup = |name: char| name.is_ascii_alphabetic() || name == '/';
    let in_tag = cut
        .rsplit_once('<')
        .is_some_and(|(_, tag)| !tag.contains('>') && tag.chars().next().is_none_or(of_markup));
    text.contains("://") || is_open("{{", "}}") || is_open("${", "}") || in_tag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::subschema::Schema;
    use serde_json::json;

    const ALL: [Repair; 4] = [Repair::Coerce, Repair::NearestEnum, Repair::Clamp, Repair::Truncate];

    fn fit(value: &Value, schema: &Value, allowed: &[Repair]) -> Option<(Value, ValueFrom)> {
        let schema = Schema::of(schema);
        let says = schema.at(value, "");
        fitted(value, &says, &BTreeSet::from(["type"]), |repair| allowed.contains(&repair))
    }

    /// Each case: value, schema, expected result.
    fn check(repair: Repair, cases: &[(Value, Value, Option<Value>)]) {
        for (value, schema, expected) in cases {
            let fitted = fit(value, schema, &[repair]).map(|(value, _)| value);
            assert_eq!(fitted.as_ref(), expected.as_ref(), "{repair}: {value} by {schema}");
            assert_eq!(fit(value, schema, &[]), None);
        }
    }

    #[test]
    fn a_value_is_coerced_only_when_it_prints_back() {
        let integer = json!({"type": "integer"});
        let number = json!({"type": "number"});
        let string = json!({"type": "string"});
        let boolean = json!({"type": "boolean"});
        let nullable = json!({"type": ["integer", "null"]});
        let cases = [
            (json!("12"), integer.clone(), Some(json!(12))),
            (json!("-12"), integer.clone(), Some(json!(-12))),
            (json!("12"), nullable.clone(), Some(json!(12))),
            (json!("1.5"), number.clone(), Some(json!(1.5))),
            (json!("1.5"), integer.clone(), None),
            (json!("012"), integer.clone(), None),
            (json!("1e3"), number, None),
            (json!(" 12"), integer.clone(), None),
            (json!(1.0), integer.clone(), Some(json!(1))),
            (json!(-3.0), integer.clone(), Some(json!(-3))),
            (json!(-0.0), integer.clone(), None),
            (json!(1e300), integer.clone(), None),
            (json!(1.5), integer, None),
            (json!(12), string.clone(), Some(json!("12"))),
            (json!(1.5), string.clone(), None),
            (json!(1.0), string.clone(), None),
            (json!(true), string.clone(), Some(json!("true"))),
            (json!("true"), boolean.clone(), Some(json!(true))),
            (json!("True"), boolean.clone(), None),
            (json!(1), boolean, None),
            (json!(null), string.clone(), None),
            (json!("null"), json!({"type": "null"}), None),
            (json!(""), nullable, None),
            (json!([1]), string, None),
            (json!("2"), json!({"enum": [1, 2]}), Some(json!(2))),
            (json!("2"), json!({"enum": [1, 2, "2"]}), None),
            (json!("3"), json!({"enum": [1, 2]}), None),
            (json!("9"), json!({"type": "integer", "maximum": 5}), None),
            (json!("9"), json!({}), None),
        ];
        check(Repair::Coerce, &cases);
    }

    #[test]
    fn the_nearest_member_is_taken_when_there_is_one() {
        let sizes = json!({"enum": ["small", "medium", "large", 4, null]});
        let cases = [
            (json!("Small"), sizes.clone(), Some(json!("small"))),
            (json!("meduim"), sizes.clone(), Some(json!("medium"))),
            (json!("huge"), sizes.clone(), None),
            (json!(5), sizes.clone(), None),
            (json!("large"), sizes, None),
            (json!("card1"), json!({"enum": ["card2", "card3"]}), None),
            (json!("HERO"), json!({"const": "hero"}), Some(json!("hero"))),
        ];
        check(Repair::NearestEnum, &cases);
    }

    #[test]
    fn a_number_is_clamped_to_the_bound_that_it_crosses() {
        let range = json!({"minimum": 1, "maximum": 5});
        let inside = json!({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 5});
        let cases = [
            (json!(0), range.clone(), Some(json!(1))),
            (json!(5.5), range.clone(), Some(json!(5))),
            (json!(3), range.clone(), None),
            (json!("9"), range, None),
            (json!(1), inside.clone(), Some(json!(2))),
            (json!(9), inside.clone(), Some(json!(4))),
            (json!(9.5), inside, Some(json!(4))),
            (json!(9), json!({"exclusiveMaximum": 1.5}), None),
            (json!(9), json!({"exclusiveMaximum": 5}), None),
            (json!(9), json!({"type": "number", "exclusiveMaximum": 5}), None),
            (
                json!(9),
                json!({"type": "integer", "maximum": 5, "exclusiveMaximum": true}),
                Some(json!(4)),
            ),
            (json!(9), json!({"type": "integer", "maximum": 1.5}), None),
            (json!(9), json!({"maximum": 7, "multipleOf": 5}), None),
            (json!(9), json!({"minimum": 5, "maximum": 1}), None),
        ];
        check(Repair::Clamp, &cases);
    }

    #[test]
    fn a_text_is_cut_at_a_character_and_best_at_a_word() {
        let ten = json!({"maxLength": 10});
        let at_least_nine = json!({"maxLength": 10, "minLength": 9});
        let cases = [
            (json!("spring sale"), ten.clone(), Some(json!("spring"))),
            (json!("springtime sale"), ten.clone(), Some(json!("springtime"))),
            (json!("a springtimesale"), ten.clone(), Some(json!("a springti"))),
            (json!("spring    sale"), ten.clone(), Some(json!("spring"))),
            (json!("ééééé😀😀😀😀😀😀"), ten.clone(), Some(json!("ééééé😀😀😀😀😀"))),
            (json!("short"), ten, None),
            (json!("spring sale"), at_least_nine, Some(json!("spring sal"))),
            (json!("x"), json!({"maxLength": 0}), None),
            (json!("https://a.test/b"), json!({"maxLength": 10, "format": "uri"}), None),
            (json!("see https://a.test/b"), json!({"maxLength": 15}), None),
            (json!("Hello {{user.name}}"), json!({"maxLength": 15}), None),
            (json!("a <b>bold</b> word"), json!({"maxLength": 10}), None),
            (json!("1 < 2 and so on"), json!({"maxLength": 10}), Some(json!("1 < 2 and"))),
            (json!("12345-x"), json!({"maxLength": 6, "pattern": "x$"}), None),
            (json!([1, 2, 3]), json!({"maxItems": 2}), Some(json!([1, 2]))),
            (json!([1]), json!({"maxItems": 2}), None),
        ];
        check(Repair::Truncate, &cases);
    }

    #[test]
    fn a_text_is_never_cut_inside_what_is_seen_as_one_character() {
        let family = "👨\u{200d}👩\u{200d}👧";
        let cases = [
            (format!("ab{family}"), 4, Some("ab")),
            (format!("a{family}b"), 6, Some("a👨\u{200d}👩\u{200d}👧")),
            (family.to_owned(), 3, None),
            ("cafe\u{301}s".to_owned(), 4, Some("caf")),
            ("🇩🇪🇫🇷".to_owned(), 3, Some("🇩🇪")),
            ("👍🏽👍🏽".to_owned(), 3, Some("👍🏽")),
            ("line\r\nnext".to_owned(), 5, Some("line")),
        ];
        for (text, most, expected) in cases {
            let schema = json!({ "maxLength": most });
            let fitted = fit(&json!(text), &schema, &[Repair::Truncate]);
            assert_eq!(fitted.map(|(value, _)| value), expected.map(Value::from), "{text}");
        }
        // What stays may then be too short.
        let narrow = json!({"minLength": 4, "maxLength": 4});
        assert_eq!(fit(&json!("cafe\u{301}s"), &narrow, &[Repair::Truncate]), None);
    }

    #[test]
    fn repairs_build_on_each_other_and_say_where_the_value_comes_from() {
        let schema = json!({"type": "integer", "maximum": 5});
        assert_eq!(fit(&json!("9"), &schema, &ALL), Some((json!(5), ValueFrom::Schema)));
        assert_eq!(fit(&json!("4"), &schema, &ALL), Some((json!(4), ValueFrom::Document)));
        let short = json!({"type": "string", "maxLength": 2});
        assert_eq!(fit(&json!(123), &short, &ALL), None, "12 is another number");
    }
}
