//! References and free-form JSON, all within one namespace by their shape: none has a namespace.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};

/// One key of a ConfigMap in the same namespace.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The key, in `data` or `binaryData`.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// An object of a kind known from the field, in the same namespace.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// A JSON object whose members the API server keeps as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AnyObject(pub Map<String, Value>);

impl JsonSchema for AnyObject {
    fn schema_name() -> Cow<'static, str> {
        "AnyObject".into()
    }

    /// `type: object`, since CEL rules cannot see a field without a type; atomic, so that a
    /// server-side apply replaces the whole instead of merging two documents into a third.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-map-type": "atomic"
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// An absolute `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WebUrl(pub String);

impl JsonSchema for WebUrl {
    fn schema_name() -> Cow<'static, str> {
        "WebUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 2048, "pattern": "^https?://[^/?#@]+([/?#].*)?$"})
    }

    fn inline_schema() -> bool {
        true
    }
}

/// A number of things, or a share of all of them such as `40%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// So many.
    Number(u32),
    /// So many of a hundred.
    Percent(u32),
}

impl Share {
    /// How many of `all` that is, rounded down.
    #[must_use]
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Number(number) => usize::try_from(number).unwrap_or(usize::MAX),
            Self::Percent(percent) => {
                all.saturating_mul(usize::try_from(percent).unwrap_or(100)) / 100
            }
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u32(*number),
            Self::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || D::Error::custom("is neither a number nor a share such as 40%");
        let value = Value::deserialize(deserializer)?;
        let whole = |number: u64| u32::try_from(number).map_err(|_| wrong());
        match &value {
            Value::Number(number) => Ok(Self::Number(whole(number.as_u64().ok_or_else(wrong)?)?)),
            Value::String(text) => {
                let percent = text.strip_suffix('%').and_then(|share| share.parse().ok());
                Ok(Self::Percent(percent.filter(|p| *p <= 100).ok_or_else(wrong)?))
            }
            _ => Err(wrong()),
        }
    }
}

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    /// As Kubernetes does it: a whole number, or a text with a percent sign.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "minimum": 0, "maximum": 100_000,
            "maxLength": 4, "pattern": "^(100|[0-9]{1,2})%$"
        })
    }

    fn inline_schema() -> bool {
        true
    }
}
