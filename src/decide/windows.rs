//! The windows of a policy: when its repairs may act.
//!
//! A window opens whenever its schedule says so and stays open for its duration, measured in
//! elapsed time: an hour is an hour, also when the clocks change. The time zones are those built
//! into the binary, so that the answer does not depend on the machine.

use std::{fmt, str::FromStr as _};

use croner::{Cron, errors::CronError};
use jiff::{
    Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};

use crate::{
    api::policy::{Window, WindowKind},
    domain::Span,
};

/// Openings and closings that are followed at most to find when a policy may act next.
const MOST_CHANGES: usize = 200;

/// A policy may not act now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shut {
    /// When it may next; None when that never comes, as far as was looked ahead.
    pub until: Option<Timestamp>,
}

/// The first window that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    at: usize,
    why: String,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spec.windows[{}].{}", self.at, self.why)
    }
}

struct Schedule {
    kind: WindowKind,
    cron: Cron,
    zone: TimeZone,
    duration: Span,
}

/// Can each of `windows` be used?
///
/// # Errors
/// The first that cannot, with the field and the fix.
pub fn check(windows: &[Window]) -> Result<(), Unusable> {
    schedules(windows).map(drop)
}

fn schedules(windows: &[Window]) -> Result<Vec<Schedule>, Unusable> {
    let numbered = windows.iter().enumerate();
    numbered.map(|(at, window)| Schedule::of(window).map_err(|why| Unusable { at, why })).collect()
}

/// Do `windows` keep a policy from acting at `now`?
///
/// # Errors
/// A window that cannot be used, with the field and the fix.
pub fn shut(windows: &[Window], now: Timestamp) -> Result<Option<Shut>, Unusable> {
    let schedules = schedules(windows)?;
    let mut at = now;
    for _ in 0..MOST_CHANGES {
        match opens(&schedules, at) {
            Opens::Now if at == now => return Ok(None),
            Opens::Now => return Ok(Some(Shut { until: Some(at) })),
            Opens::NotBefore(later) if later > at => at = later,
            Opens::NotBefore(_) | Opens::Never => break,
        }
    }
    Ok(Some(Shut { until: None }))
}

enum Opens {
    Now,
    NotBefore(Timestamp),
    Never,
}

fn opens(schedules: &[Schedule], at: Timestamp) -> Opens {
    let of = |kind| schedules.iter().filter(move |schedule| schedule.kind == kind);
    if let Some(end) = of(WindowKind::Deny).filter_map(|deny| deny.open_until(at)).max() {
        return Opens::NotBefore(end);
    }
    if of(WindowKind::Allow).next().is_none()
        || of(WindowKind::Allow).any(|allow| allow.open_until(at).is_some())
    {
        return Opens::Now;
    }
    let next = of(WindowKind::Allow).filter_map(|allow| allow.next_opening(at)).min();
    next.map_or(Opens::Never, Opens::NotBefore)
}

impl Schedule {
    fn of(window: &Window) -> Result<Self, String> {
        let cron = Cron::from_str(&window.schedule)
            .ok()
            .filter(|_| window.schedule.split_whitespace().count() == 5)
            .ok_or_else(|| {
                "schedule is not five cron fields; write it like \"0 8 * * 1-5\"".to_owned()
            })?;
        let name = window.time_zone.as_deref().unwrap_or("UTC");
        let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| {
            "timeZone is not the IANA name of a time zone; write it like Europe/London".to_owned()
        })?;
        if window.duration <= Span::ZERO {
            return Err("duration is not longer than nothing; give one like 10h".to_owned());
        }
        Ok(Self { kind: window.kind, cron, zone, duration: window.duration })
    }

    /// When it closes, if it is open at `at`.
    fn open_until(&self, at: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_previous_occurrence(&at.to_zoned(self.zone.clone()), true);
        let end = self.duration.after(occurrence(found)?);
        (end > at).then_some(end)
    }

    fn next_opening(&self, after: Timestamp) -> Option<Timestamp> {
        occurrence(self.cron.find_next_occurrence(&after.to_zoned(self.zone.clone()), false))
    }
}

/// A schedule that never comes (the 30th of February) has no occurrence.
fn occurrence(found: Result<jiff::Zoned, CronError>) -> Option<Timestamp> {
    found.ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(kind: WindowKind, schedule: &str, duration: &str, zone: Option<&str>) -> Window {
        Window {
            kind,
            schedule: schedule.to_owned(),
            duration: duration.parse().unwrap(),
            time_zone: zone.map(ToOwned::to_owned),
        }
    }

    fn allow(schedule: &str, duration: &str) -> Window {
        window(WindowKind::Allow, schedule, duration, Some("Europe/London"))
    }

    fn deny(schedule: &str, duration: &str) -> Window {
        window(WindowKind::Deny, schedule, duration, Some("Europe/London"))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn windows_open_and_shut_by_the_clock_of_their_zone() {
        let office = || vec![allow("0 8 * * 1-5", "10h")];
        let freeze = || vec![deny("0 0 24 12 *", "72h")];
        let both = || vec![allow("0 8 * * 1-5", "10h"), deny("30 11 * * *", "1h")];
        for (windows, now, until) in [
            (vec![], "2026-07-04T03:00:00Z", None),
            // British Summer Time: eight o'clock is 07:00Z.
            (office(), "2026-07-06T06:59:59Z", Some("2026-07-06T07:00:00Z")),
            (office(), "2026-07-06T07:00:00Z", None),
            (office(), "2026-07-06T16:59:59Z", None),
            (office(), "2026-07-06T17:00:00Z", Some("2026-07-07T07:00:00Z")),
            // A Saturday waits for Monday; the clocks have gone back by then.
            (office(), "2026-10-24T12:00:00Z", Some("2026-10-26T08:00:00Z")),
            (freeze(), "2026-12-25T12:00:00Z", Some("2026-12-27T00:00:00Z")),
            (freeze(), "2026-12-27T00:00:00Z", None),
            (both(), "2026-11-24T11:45:00Z", Some("2026-11-24T12:30:00Z")),
            // The deny window ends when the allow window has closed.
            (
                vec![allow("0 8 * * *", "1h"), deny("30 8 * * *", "2h")],
                "2026-11-24T08:45:00Z",
                Some("2026-11-25T08:00:00Z"),
            ),
        ] {
            let expected = until.map(|until| Shut { until: Some(at(until)) });
            assert_eq!(shut(&windows, at(now)).unwrap(), expected, "{windows:?} at {now}");
        }
    }

    #[test]
    fn windows_that_contradict_each_other_never_open() {
        for windows in [
            vec![allow("0 8 * * *", "1h"), deny("0 0 * * *", "24h")],
            vec![allow("0 0 30 2 *", "1h")],
        ] {
            let now = at("2026-11-24T12:00:00Z");
            assert_eq!(shut(&windows, now).unwrap(), Some(Shut { until: None }), "{windows:?}");
        }
    }

    #[test]
    fn a_window_that_cannot_be_used_names_its_field_and_the_fix() {
        let now = at("2026-11-24T12:00:00Z");
        for (bad, expected) in [
            (allow("0 8 * *", "1h"), "spec.windows[1].schedule is not five cron fields"),
            (allow("61 8 * * *", "1h"), "spec.windows[1].schedule is not five cron fields"),
            (allow("0 0 8 * * *", "1h"), "spec.windows[1].schedule is not five cron fields"),
            (allow("0 8 * * *", "0s"), "spec.windows[1].duration is not longer than nothing"),
            (
                window(WindowKind::Deny, "0 8 * * *", "1h", Some("Europe/Atlantis")),
                "spec.windows[1].timeZone is not the IANA name",
            ),
        ] {
            let said = shut(&[allow("0 8 * * *", "1h"), bad], now).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }

    proptest! {
        #[test]
        fn where_it_says_that_it_opens_it_is_open(
            hour in 0_u32..24, minute in 0_u32..60, hours in 1_u32..30, deny_hour in 0_u32..24,
            now in 1_700_000_000_i64..1_900_000_000,
        ) {
            let windows = [
                allow(&format!("{minute} {hour} * * *"), &format!("{hours}h")),
                deny(&format!("0 {deny_hour} * * *"), "3h"),
            ];
            let now = Timestamp::from_second(now).unwrap();
            if let Some(Shut { until: Some(until) }) = shut(&windows, now).unwrap() {
                prop_assert!(until > now);
                prop_assert_eq!(shut(&windows, until).unwrap(), None);
            }
        }
    }
}
