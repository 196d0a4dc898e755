//! A JSON document as it arrived: its bytes, its value, its digests, and whether it can be
//! edited without touching what the edit is not about.
//!
//! Strict on purpose: a duplicate key means that two readers can see two documents, so it is an
//! error here and not «the last one wins». JSON is read as RFC 8259 has it, UTF-8 without a byte
//! order mark.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{
    digest::{Digest, canonical},
    patch::escape,
};

/// The largest document that is read, in bytes. A served ConfigMap holds at most 900 KiB.
pub const MAX_BYTES: usize = 900 * 1024;

/// The deepest nesting that is read: what `serde_json` allows by default.
pub const MAX_DEPTH: usize = 128;

/// A well-formed JSON document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    bytes: Vec<u8>,
    value: Value,
    digest: Digest,
    raw_digest: Digest,
    exact: bool,
}

/// Why bytes are not a document. The message names no payload value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// More than [`MAX_BYTES`].
    #[error("the document has {0} bytes; at most {MAX_BYTES} can be served from a ConfigMap")]
    TooLarge(usize),
    /// Not UTF-8.
    #[error(
        "the document is not valid UTF-8 (first bad byte at offset {0}); store it as UTF-8 text"
    )]
    NotUtf8(usize),
    /// Starts with a byte order mark.
    #[error("the document starts with a byte order mark; store it without one")]
    ByteOrderMark,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the document nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The same key twice in one object.
    #[error("the object at {path:?} has the key {key:?} twice; keep one of them")]
    DuplicateKey {
        /// JSON Pointer of the object.
        path: String,
        /// The key.
        key: String,
    },
    /// Anything else that RFC 8259 forbids.
    #[error("the document is not JSON: {what} at line {line} column {column}")]
    Syntax {
        /// What the parser expected or met, without payload text.
        what: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
}

impl Document {
    /// Reads `bytes`; they are kept and served as they are.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Malformed> {
        if bytes.len() > MAX_BYTES {
            return Err(Malformed::TooLarge(bytes.len()));
        }
        if bytes.starts_with(b"\xef\xbb\xbf") {
            return Err(Malformed::ByteOrderMark);
        }
        let text = std::str::from_utf8(&bytes).map_err(|e| Malformed::NotUtf8(e.valid_up_to()))?;
        let value = parse_strict(text)?;
        let exact = numbers_survive(text);
        let raw_digest = Digest::of_bytes(&bytes);
        // Two documents whose numbers differ past a double's precision must not share a digest.
        let digest = if exact { Digest::of_value(&value) } else { raw_digest.clone() };
        Ok(Self { bytes, value, digest, raw_digest, exact })
    }

    /// A document that we made, in canonical form.
    ///
    /// # Errors
    /// [`Malformed::TooLarge`].
    pub fn from_value(value: Value) -> Result<Self, Malformed> {
        let bytes = canonical(&value);
        if bytes.len() > MAX_BYTES {
            return Err(Malformed::TooLarge(bytes.len()));
        }
        let digest = Digest::of_bytes(&bytes);
        Ok(Self { bytes, value, raw_digest: digest.clone(), digest, exact: true })
    }

    /// The bytes to serve.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes as text: a document is always UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }

    /// The value to judge.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The digest of the canonical form: what «the same document» means.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The digest of the bytes: what a served key must hold.
    #[must_use]
    pub fn raw_digest(&self) -> &Digest {
        &self.raw_digest
    }

    /// Can the value be written out again without changing any number? When not, an edit of one
    /// field would change another, so such a document is never edited.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.exact
    }
}

fn parse_strict(text: &str) -> Result<Value, Malformed> {
    let mut duplicate = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let seed = Strict { path: &mut String::new(), duplicate: &mut duplicate };
    let parsed = seed.deserialize(&mut deserializer).and_then(|v| deserializer.end().map(|()| v));
    match (parsed, duplicate) {
        (_, Some((path, key))) => Err(Malformed::DuplicateKey { path, key }),
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

/// Builds a [`Value`] and stops at the first duplicate key.
struct Strict<'a> {
    path: &'a mut String,
    duplicate: &'a mut Option<(String, String)>,
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

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let length = self.path.len();
        loop {
            self.path.push('/');
            self.path.push_str(&items.len().to_string());
            let seed = Strict { path: self.path, duplicate: self.duplicate };
            let item = access.next_element_seed(seed)?;
            self.path.truncate(length);
            match item {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let length = self.path.len();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                *self.duplicate = Some((self.path.clone(), key));
                return Err(de::Error::custom("duplicate key"));
            }
            self.path.push('/');
            self.path.push_str(&escape(&key));
            let seed = Strict { path: self.path, duplicate: self.duplicate };
            let value = access.next_value_seed(seed)?;
            self.path.truncate(length);
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Does every number of this (well-formed) JSON text print again as the same number?
///
/// `serde_json` could keep the text of numbers (`arbitrary_precision`), but that feature breaks
/// every flattened field of the Kubernetes types, so the question is asked of the text instead.
fn numbers_survive(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = after_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let end = bytes[at..]
                    .iter()
                    .position(|b| !matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
                    .map_or(bytes.len(), |length| at + length);
                if !number_survives(&text[at..end]) {
                    return false;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    true
}

fn after_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn number_survives(text: &str) -> bool {
    // Up to 15 significant digits and a small exponent always fit a double: the common case.
    if text.len() <= 15 && !text.contains(['e', 'E']) {
        return true;
    }
    serde_json::from_str::<Number>(text)
        .is_ok_and(|number| decimal(&number.to_string()) == decimal(text))
}

/// A number's sign, significant digits and exponent: equal for equal numbers, however written.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (negative, unsigned) =
        text.strip_prefix('-').map_or((false, text), |unsigned| (true, unsigned));
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some((negative, String::new(), 0));
    }
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    let scale = i64::try_from(trailing).ok()? - i64::try_from(fraction.len()).ok()?;
    Some((negative, significant.to_owned(), exponent.checked_add(scale)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Document, Malformed> {
        Document::parse(text.as_bytes().to_vec())
    }

    #[test]
    fn bad_bytes_are_refused_with_what_is_wrong_and_where() {
        let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
        let large = format!("\"{}\"", "x".repeat(MAX_BYTES));
        let cases: [(&[u8], &str); 9] = [
            (b"{\"a\": 1,, }", "line 1 column 9"),
            (b"<html></html>", "not JSON"),
            (b"{\"n\": NaN}", "not JSON"),
            (b"{\"n\": Infinity}", "not JSON"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (b"{\"a\": \"\xff\"}", "offset 7"),
            (b"{\"a\": {\"b\": 1, \"b\": 2}}", "\"/a\" has the key \"b\" twice"),
            (deep.as_bytes(), "deeper than 128"),
            (large.as_bytes(), "at most 921600"),
        ];
        for (bytes, expected) in cases {
            let message = Document::parse(bytes.to_vec()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} should contain {expected:?}");
        }
    }

    #[test]
    fn a_syntax_error_does_not_quote_the_payload() {
        let message = parse(r#"{"card": 4111-canary}"#).unwrap_err().to_string();
        assert!(!message.contains("canary"), "{message}");
    }

    #[test]
    fn bytes_are_kept_and_the_digest_ignores_their_layout() {
        let spaced = parse("{ \"b\": 1,\n \"a\": 2 }").unwrap();
        let dense = parse(r#"{"a":2,"b":1}"#).unwrap();
        assert_eq!(spaced.digest(), dense.digest());
        assert_ne!(spaced.raw_digest(), dense.raw_digest());
        assert_eq!(spaced.text(), "{ \"b\": 1,\n \"a\": 2 }");
    }

    #[test]
    fn a_document_with_a_number_that_a_double_cannot_hold_is_not_editable() {
        for kept in ["1", "-0", "1.50", "1e2", "9007199254740993", "0.1", "123456789.123456"] {
            assert!(parse(kept).unwrap().is_exact(), "{kept}");
        }
        for lost in ["12345678901234567890123", "0.12345678901234567891", "1e400000", "1e-400"] {
            assert!(parse(lost).is_ok_and(|d| !d.is_exact()) || parse(lost).is_err(), "{lost}");
        }
        let a = parse("0.1000000000000000055").unwrap();
        let b = parse("0.1").unwrap();
        assert_ne!(a.digest(), b.digest());
    }

    proptest! {
        #[test]
        fn whatever_serde_json_reads_we_read_alike(text in r#"[\[\]{}:,"a-c0-9.eE\\ -]{0,24}"#) {
            let ours = parse(&text);
            match serde_json::from_str::<Value>(&text) {
                Ok(value) => match ours {
                    Ok(document) => prop_assert_eq!(document.value(), &value),
                    Err(Malformed::DuplicateKey { .. }) => {}
                    Err(other) => prop_assert!(false, "refused {:?}: {}", text, other),
                },
                Err(_) => prop_assert!(ours.is_err()),
            }
        }

        #[test]
        fn any_64_bit_number_is_editable(integer in any::<i64>(), float in any::<f64>()) {
            prop_assume!(float.is_finite());
            prop_assert!(parse(&integer.to_string()).unwrap().is_exact());
            let printed = serde_json::Number::from_f64(float).unwrap().to_string();
            prop_assert!(parse(&printed).unwrap().is_exact());
        }
    }
}
