//! Names of objects in what somebody asks for.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

const LONGEST: usize = 253;

/// The name of an object, as Kubernetes has them (RFC 1123): it gets into the path of a request to the
/// API server, so nothing else may pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

impl Name {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        let ends_well = ends.iter().all(|end| end.is_some_and(|byte| is_plain(*byte)));
        let is_whole = bytes.iter().all(|byte| is_plain(*byte) || matches!(byte, b'-' | b'.'));
        if ends_well && is_whole && bytes.len() <= LONGEST {
            return Ok(Self(text));
        }
        Err(
            "a name has lower case letters, digits, `-` and `.`, and begins and ends with one of the first two",
        )
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": LONGEST,
            "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_kubernetes_knows_get_into_a_path() {
        for good in ["uk", "storefinder-uk.v2", "0"] {
            assert!(Name::try_from(good.to_owned()).is_ok(), "{good}");
        }
        let long = "a".repeat(254);
        for bad in ["", "..", "../x", "a/b", "a%2fb", "-a", "a.", "A", "a b", "a?b", "ü", &long] {
            assert!(Name::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
