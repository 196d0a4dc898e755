//! A JSON document as it arrived: its bytes, its value, its digests, and whether it can be
//! edited without touching what the edit is not about.
//!
//! Strict on purpose: a duplicate key means that two readers can see two documents, so it is an
//! error here and not «the last one wins». JSON is read as RFC 8259 has it, UTF-8 without a byte
//! order mark.

mod numbers;
mod strict;

use serde_json::Value;

use super::digest::{self, Digest};

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
    #[error(
        "the document has {0} bytes; at most {MAX_BYTES} can be served from a ConfigMap: make it smaller"
    )]
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
    #[error("the document nests deeper than {MAX_DEPTH} levels; flatten it")]
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
    #[error("the document is not JSON: {what} at line {line} column {column}; correct it there")]
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
        let value = strict::read(text)?;
        let raw_digest = Digest::of_bytes(&bytes);
        if digest::is_canonical(&bytes, &value) {
            // Written out again it is itself, so every number of it survives.
            return Ok(Self { bytes, value, digest: raw_digest.clone(), raw_digest, exact: true });
        }
        let exact = numbers::survive(text);
        // Two documents whose numbers differ past a double's precision must not share a digest.
        let digest = if exact { Digest::of_value(&value) } else { raw_digest.clone() };
        Ok(Self { bytes, value, digest, raw_digest, exact })
    }

    /// A document that we made, in canonical form.
    ///
    /// # Errors
    /// [`Malformed::TooLarge`].
    pub fn from_value(value: Value) -> Result<Self, Malformed> {
        let bytes = digest::canonical(&value);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::digest::tests::any_json;
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
        fn a_document_is_the_same_however_it_is_laid_out(value in any_json()) {
            let made = Document::from_value(value.clone()).unwrap();
            prop_assert_eq!(&Document::parse(made.bytes().to_vec()).unwrap(), &made);
            prop_assert_eq!(made.digest(), &Digest::of_value(&value));
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let laid_out = parse(&pretty).unwrap();
            prop_assert_eq!(laid_out.value(), &value);
            prop_assert_eq!(laid_out.digest(), made.digest());
            prop_assert_eq!(laid_out.raw_digest(), &Digest::of_bytes(pretty.as_bytes()));
            prop_assert!(laid_out.is_exact());
        }

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
