//! Content addresses: `sha256:` and 64 hex digits, over bytes or over canonical JSON.
//!
//! Knows: the canonical form. Must not know: where bytes come from, what a value is about.

use std::{
    fmt,
    io::{self, BufWriter, Write},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A SHA-256 content address, written `sha256:<64 hex>`.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Digest(#[schemars(length(max = 71))] String);

impl Digest {
    /// The digest of the bytes as they are.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::written(&Sha256::digest(bytes))
    }

    /// The digest of the canonical form: two documents that differ only in white space, in the
    /// order of keys or in how a string is escaped have the same digest.
    #[must_use]
    pub fn of_value(value: &Value) -> Self {
        let mut sha = Sha256::new();
        // JSON is written in pieces of a few bytes; hashing each alone would cost more than it all.
        let mut out = BufWriter::with_capacity(1000, Hashed(&mut sha));
        // Hashing has no way to fail.
        let _ = serde_json::to_writer(&mut out, &Canonical(value));
        let _ = out.flush();
        drop(out);
        Self::written(&sha.finalize())
    }

    fn written(hash: &[u8]) -> Self {
        let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in hash {
            text.push(digit(byte >> 4));
            text.push(digit(byte & 15));
        }
        Self(text)
    }

    /// `sha256:` and the hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve hex digits: enough for a person to tell two documents apart.
    #[must_use]
    pub fn short(&self) -> &str {
        let hex = self.0.strip_prefix("sha256:").unwrap_or(&self.0);
        hex.get(..12).unwrap_or(hex)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Digest {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// The bytes of the canonical form: keys sorted by code point, no white space.
#[must_use]
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    // Writing a `Value` into memory has no way to fail.
    let _ = serde_json::to_writer(&mut out, &Canonical(value));
    out
}

/// A value that serializes with its keys in order.
///
/// Sorted here rather than by trusting `serde_json`'s map, whose order changes when any crate of
/// the build turns on its `preserve_order` feature. Without it the keys are in order already, and
/// to see that is all that it costs.
struct Canonical<'a>(&'a Value);

impl Serialize for Canonical<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) if map.keys().is_sorted() => {
                serializer.collect_map(map.iter().map(|(key, value)| (key, Canonical(value))))
            }
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                serializer
                    .collect_map(entries.into_iter().map(|(key, value)| (key, Canonical(value))))
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Canonical)),
            scalar => scalar.serialize(serializer),
        }
    }
}

/// Is `bytes` the canonical form of `value`? Known without writing that form anywhere.
#[must_use]
pub(super) fn is_canonical(bytes: &[u8], value: &Value) -> bool {
    let mut expected = Expected(bytes);
    serde_json::to_writer(&mut expected, &Canonical(value)).is_ok() && expected.0.is_empty()
}

/// Takes the bytes that it holds, in their order, and fails at any other.
struct Expected<'a>(&'a [u8]);

impl Write for Expected<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hashes what is written to it.
struct Hashed<'a>(&'a mut Sha256);

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn order_of_keys_and_white_space_do_not_change_the_digest() {
        let a: Value =
            serde_json::from_str(r#"{"b": [1, {"y": 2, "x": 1}], "a": "\u0041"}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"a":"A","b":[1,{"x":1,"y":2}]}"#).unwrap();
        assert_eq!(Digest::of_value(&a), Digest::of_value(&b));
    }

    #[test]
    fn one_and_one_point_zero_are_different_documents() {
        assert_ne!(Digest::of_value(&json!({"n": 1})), Digest::of_value(&json!({"n": 1.0})));
    }

    /// Values of every kind, with the strings that are hard to write.
    pub fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(|n| json!(n)),
            any::<u64>().prop_map(|n| json!(n)),
            any::<f64>().prop_map(|n| json!(n)),
            ".*".prop_map(Value::String),
            "[\\x00-\\x20\"\\\\/\\x7f]{0,6}".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::btree_map("[a-c\"/~\\x01-]{0,3}|.*", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The canonical form as one would explain it.
    fn explained(value: &Value) -> String {
        match value {
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                let fields = entries
                    .into_iter()
                    .map(|(key, value)| format!("{}:{}", json!(key), explained(value)));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }
            Value::Array(items) => {
                format!("[{}]", items.iter().map(explained).collect::<Vec<_>>().join(","))
            }
            scalar => scalar.to_string(),
        }
    }

    #[test]
    fn the_digest_is_the_sha256_that_other_tools_print() {
        let expected = "sha256:91aa5ea6ff0b02299b4a3c26822fe5ed895e78f99cd1e54c3ab55ea54342cafa";
        assert_eq!(Digest::of_bytes(br#"{"a":1.5,"b":[null,"\u0001"]}"#).as_str(), expected);
        let value = json!({"b": [null, "\u{1}"], "a": 1.5});
        assert_eq!(Digest::of_value(&value).as_str(), expected);
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_the_same_document(value in any_json()) {
            let back: Value = serde_json::from_slice(&canonical(&value)).unwrap();
            prop_assert_eq!(back, value);
        }

        #[test]
        fn the_canonical_form_is_what_its_explanation_says(value in any_json()) {
            prop_assert_eq!(String::from_utf8(canonical(&value)).unwrap(), explained(&value));
        }

        #[test]
        fn a_value_is_hashed_and_recognised_in_its_canonical_form(
            value in any_json(),
            other in any_json(),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = canonical(&value);
            prop_assert_eq!(Digest::of_value(&value), Digest::of_bytes(&bytes));
            prop_assert!(is_canonical(&bytes, &value));
            prop_assert_eq!(is_canonical(&bytes, &other), canonical(&other) == bytes);
            prop_assert!(!is_canonical(&bytes[..cut.index(bytes.len())], &value));
            prop_assert!(!is_canonical(&[bytes, b" ".to_vec()].concat(), &value));
        }
    }
}
