//! Reads JSON text into a value and stops at the first key that an object has twice.
//!
//! Where that object is must be said in the error and is of no interest before: so the path is not
//! carried along, it is gathered on the way out, from the innermost segment to the outermost.
//!
//! Knows: how `serde_json` reads. Must not know: bytes, digests, what becomes of the value.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, map::Entry};

use super::Malformed;
use crate::domain::patch::escape;

/// The value that `text` is.
pub(super) fn read(text: &str) -> Result<Value, Malformed> {
    let mut duplicate = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let seed = Strict { duplicate: &mut duplicate };
    let parsed = seed.deserialize(&mut deserializer).and_then(|v| deserializer.end().map(|()| v));
    match (parsed, duplicate) {
        (_, Some(duplicate)) => Err(duplicate.into()),
        (Ok(value), None) => Ok(value),
        (Err(error), None) => Err(syntax(&error)),
    }
}

/// A syntax error without the parser's quotation of what it met.
fn syntax(error: &serde_json::Error) -> Malformed {
    let text = error.to_string();
    if text.starts_with("recursion limit exceeded") {
        return Malformed::TooDeep;
    }
    let what = text.split(" at line ").next().unwrap_or("syntax error").to_owned();
    Malformed::Syntax { what, line: error.line(), column: error.column() }
}

/// A key that an object has twice.
struct Duplicate {
    key: String,
    /// Segments of the object's path, the innermost first.
    inside: Vec<String>,
}

impl From<Duplicate> for Malformed {
    fn from(Duplicate { key, inside }: Duplicate) -> Self {
        let path = inside.iter().rev().fold(String::new(), |path, segment| path + "/" + segment);
        Self::DuplicateKey { path, key }
    }
}

/// Builds a [`Value`] and stops at the first duplicate key.
struct Strict<'a> {
    duplicate: &'a mut Option<Duplicate>,
}

impl Strict<'_> {
    /// The seed of something inside.
    fn inner(&mut self) -> Strict<'_> {
        Strict { duplicate: self.duplicate }
    }

    /// What stopped the reading was inside `segment`.
    fn came_through(&mut self, segment: impl FnOnce() -> String) {
        if let Some(duplicate) = self.duplicate {
            duplicate.inside.push(segment());
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            match access.next_element_seed(self.inner()) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => return Ok(Value::Array(items)),
                Err(error) => {
                    self.came_through(|| items.len().to_string());
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            match map.entry(key) {
                // Before the value is read: what is wrong with that is said when there is one key.
                Entry::Occupied(first) => {
                    let key = first.key().clone();
                    *self.duplicate = Some(Duplicate { key, inside: Vec::new() });
                    return Err(de::Error::custom("duplicate key"));
                }
                Entry::Vacant(place) => match access.next_value_seed(self.inner()) {
                    Ok(value) => {
                        place.insert(value);
                    }
                    Err(error) => {
                        self.came_through(|| escape(place.key()));
                        return Err(error);
                    }
                },
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_twice_is_named_with_the_path_of_its_object() {
        let cases = [
            (r#"{"a":1,"a":1}"#, "", "a"),
            (r#"{"":{"":1,"":2}}"#, "/", ""),
            (r#"{"a":{"b":1,"b":2}}"#, "/a", "b"),
            (r#"[0,[1,{"x":1,"y":{},"x":2}]]"#, "/1/1", "x"),
            (r#"{"a~/b":[{"c/d":{"e~":1,"e~":2}}]}"#, "/a~0~1b/0/c~1d", "e~"),
            (r#"{"p":{"q":1},"r":[[],[{"s":{"t":1,"t":1}}]]}"#, "/r/1/0/s", "t"),
            ("{\"\\u0061\":1,\"a\":2}", "", "a"),
            ("{\"\\ud83d\\ude00\":[{\"k\":1,\"k\":2}]}", "/\u{1f600}/0", "k"),
            // The outer one comes first, whatever is wrong with its second value.
            (r#"{"a":1,"a":{"b":1,"b":2}}"#, "", "a"),
            (r#"{"a":1,"a":nonsense"#, "", "a"),
            (r#"{"a":1,"a""#, "", "a"),
            (r#"[{"a":1,"a":1},{"b":1,"b":1}]"#, "/0", "a"),
        ];
        for (text, path, key) in cases {
            let expected = Malformed::DuplicateKey { path: path.into(), key: key.into() };
            assert_eq!(read(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_before_the_second_key_is_said_first() {
        for (text, column) in [(r#"{"a":1,"b":x,"a":1}"#, 12), (r#"[{"a":1 "a":1}]"#, 9)] {
            let error = read(text).unwrap_err();
            assert!(
                matches!(error, Malformed::Syntax { column: at, .. } if at == column),
                "{error}"
            );
        }
    }

    #[test]
    fn the_deepest_nesting_that_is_read_is_127_arrays_in_each_other() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(127)).is_ok());
        assert_eq!(read(&nested(128)).unwrap_err(), Malformed::TooDeep);
        let twice = format!("{}{{\"a\":1,\"a\":1}}", "[".repeat(126));
        let expected = Malformed::DuplicateKey { path: "/0".repeat(126), key: "a".into() };
        assert_eq!(read(&twice).unwrap_err(), expected);
    }
}
