//! Times as a page shows them: exact for machines, in UTC for people, and how long ago beside it.

use jiff::{Timestamp, tz::TimeZone};

/// A moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    /// For machines.
    pub datetime: String,
    /// For people.
    pub text: String,
    /// `3m ago`, `in 20s`.
    pub age: String,
}

impl When {
    /// `at`, seen from `now`.
    pub fn of(at: Timestamp, now: Timestamp) -> Self {
        let seconds = now.as_second() - at.as_second();
        Self {
            datetime: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            text: at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            age: match seconds {
                0 => "now".to_owned(),
                1.. => format!("{} ago", length(seconds)),
                _ => format!("in {}", length(-seconds)),
            },
        }
    }
}

/// The two largest units of a time: `42s`, `3m 5s`, `2h`, `4d 3h`.
pub fn length(seconds: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let largest = UNITS.iter().position(|(size, _)| seconds >= *size).unwrap_or(3);
    let (size, unit) = UNITS[largest];
    let (whole, rest) = (seconds / size, seconds % size);
    match UNITS.get(largest + 1) {
        Some((next, name)) if rest / next > 0 => format!("{whole}{unit} {}{name}", rest / next),
        _ => format!("{whole}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_utc_and_its_age_in_its_two_largest_units() {
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        let cases = [
            ("2026-11-29T12:00:00.4Z", "now"),
            ("2026-11-29T11:59:18Z", "42s ago"),
            ("2026-11-29T11:56:55Z", "3m 5s ago"),
            ("2026-11-29T10:00:59Z", "1h 59m ago"),
            ("2026-11-25T09:00:00Z", "4d 3h ago"),
            ("2026-11-28T12:00:00Z", "1d ago"),
            ("2026-11-29T12:00:20Z", "in 20s"),
        ];
        for (at, age) in cases {
            assert_eq!(When::of(at.parse().unwrap(), now).age, age, "{at}");
        }
        let when = When::of("2026-11-29T13:00:00+02:00".parse().unwrap(), now);
        let shown = ("2026-11-29T11:00:00Z", "2026-11-29 11:00:00 UTC", "1h ago");
        assert_eq!((&*when.datetime, &*when.text, &*when.age), shown);
    }
}
