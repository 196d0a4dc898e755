//! Durations as people write them in manifests: `60s`, `5m`, `1h30m`.

use std::{borrow::Cow, fmt, str::FromStr};

use jiff::{SignedDuration, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A non-negative length of time, written like `500ms`, `60s`, `5m`, `24h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(SignedDuration);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(SignedDuration::ZERO);

    /// `seconds` seconds.
    #[must_use]
    pub const fn secs(seconds: u32) -> Self {
        Self(SignedDuration::from_secs(seconds as i64))
    }

    /// `millis` milliseconds.
    #[must_use]
    pub const fn millis(millis: u32) -> Self {
        Self(SignedDuration::from_millis(millis as i64))
    }

    /// `minutes` minutes.
    #[must_use]
    pub const fn mins(minutes: u32) -> Self {
        Self::secs(minutes * 60)
    }

    /// The time that has passed from `earlier` to `later`; zero when `later` is the earlier one.
    #[must_use]
    pub fn between(earlier: Timestamp, later: Timestamp) -> Self {
        Self(later.duration_since(earlier).max(SignedDuration::ZERO))
    }

    /// The instant this long after `start` (the end of time when that is out of range).
    #[must_use]
    pub fn after(self, start: Timestamp) -> Timestamp {
        start.checked_add(self.0).unwrap_or(Timestamp::MAX)
    }

    /// Whole milliseconds.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// The standard library's form, for timers.
    #[must_use]
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.as_millis())
    }

    /// A part of it that is this key's own: what would all come at once is spread over it, and in the
    /// same way after a restart.
    #[must_use]
    pub fn spread(self, key: &str) -> Self {
        let hash = key.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31) ^ u32::from(byte));
        self.times(f64::from(hash % 1024) / 1024.0, self)
    }

    /// `end` less this span, clamped.
    #[must_use]
    pub fn before(self, end: Timestamp) -> Timestamp {
        end.checked_sub(self.0).unwrap_or(Timestamp::MIN)
    }

    /// This span and then `other`.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// This span times `factor`, at most `max`.
    #[must_use]
    pub fn times(self, factor: f64, max: Self) -> Self {
        let millis = self.0.as_secs_f64() * factor * 1000.0;
        let max_millis = max.0.as_secs_f64() * 1000.0;
        #[expect(clippy::cast_possible_truncation, reason = "bounded by max just before the cast")]
        Self(SignedDuration::from_millis(millis.clamp(0.0, max_millis) as i64))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: SignedDuration = text
            .parse()
            .map_err(|_| format!("{text:?} is not a duration such as 500ms, 60s, 5m or 24h"))?;
        if span.is_negative() {
            return Err(format!("{text:?} is negative; a duration here is zero or more"));
        }
        Ok(Self(span))
    }
}

impl fmt::Display for Span {
    /// The largest units first, without spaces: `1h30m`, `45s`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.as_millis();
        if total == 0 {
            return f.write_str("0s");
        }
        let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
        let mut rest = total;
        for (size, unit) in units {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 32,
            "pattern": "^([0-9]+(ms|s|m|h))+$"
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_as_people_write_them() {
        for text in ["500ms", "60s", "5m", "24h", "1h30m", "0s"] {
            let span: Span = text.parse().unwrap();
            let back: Span = span.to_string().parse().unwrap();
            assert_eq!(back, span, "{text} printed as {span}");
        }
        assert_eq!(Span::secs(5400).to_string(), "1h30m");
    }

    #[test]
    fn a_negative_or_bare_number_is_refused_with_the_reason() {
        assert!("-5s".parse::<Span>().unwrap_err().contains("negative"));
        assert!("60".parse::<Span>().unwrap_err().contains("not a duration"));
    }
}
