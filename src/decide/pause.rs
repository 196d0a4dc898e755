//! A pause that a person asked for: until a given time nothing is repaired on what it is about, and who
//! asked and why is said wherever it holds something. It is on a contract, on its class for all of its
//! contracts, or on a policy for all that it repairs. Publishing and withholding go on.
//!
//! Must not know: which other gates there are.

use jiff::Timestamp;

use crate::{
    api::{PAUSE, incident::Segment},
    domain::text,
};

use super::{Held, requests::Annotations, view::View};

/// The reason of what is held by it.
pub const PAUSED: &str = "Paused";
/// Most of who asked and why that a message shows.
const SHOWN: usize = 200;

/// What is paused, until when, by whom and why; until nothing is known of when it ends, where it cannot
/// be read: whoever wrote that wanted nothing to be done.
#[must_use]
pub fn of(what: &str, annotations: &Annotations, now: Timestamp) -> Option<Held> {
    let text = annotations.get(PAUSE)?;
    let (until, message) = match parse(text) {
        Ok((until, _)) if until <= now => return None,
        Ok((until, said)) => {
            let said = text::bounded(said, SHOWN);
            let message = format!(
                "{what} is paused until {until} by {said}; remove annotation {PAUSE} to end it"
            );
            (Some(until), message)
        }
        Err(why) => {
            let message = format!(
                "annotation {PAUSE} of {what}: {why}; write <until>/<who>: <why>, such as \
                 2026-12-31T18:00:00Z/ann: the CDN moves, or remove it; nothing is repaired before"
            );
            (None, message)
        }
    };
    Some(Held { reason: PAUSED, message, until })
}

/// The end of a pause, and who asked for it and why.
fn parse(text: &str) -> Result<(Timestamp, &str), &'static str> {
    let (until, said) = text.split_once('/').ok_or("it has no slash")?;
    let until = until.trim().parse().map_err(|_| "the time is not RFC 3339")?;
    let (who, why) = said.split_once(':').ok_or("it does not say who asks and why")?;
    if who.trim().is_empty() || why.trim().is_empty() {
        return Err("it does not say who asks and why");
    }
    Ok((until, said.trim()))
}

/// What is paused of the contract itself: it, or its class.
///
/// # Errors
/// The pause.
pub fn pass_contract(view: &View, now: Timestamp) -> Result<(), Held> {
    let own = of(&format!("contract {}", view.subject.name), &view.annotations, now);
    let of_class = || {
        let (name, annotations) = view.class.as_ref()?;
        of(&format!("class {name}"), annotations, now)
    };
    own.or_else(of_class).map_or(Ok(()), Err)
}

/// The same, and the policies of `segments`.
///
/// # Errors
/// The first pause in this order.
pub fn pass(view: &View, segments: &[Segment], now: Timestamp) -> Result<(), Held> {
    pass_contract(view, now)?;
    let named = segments.iter().filter_map(|segment| segment.policy_ref.as_ref());
    let policies =
        named.filter_map(|named| view.policies.iter().find(|policy| policy.name == named.name));
    for policy in policies {
        let what = format!("RemediationPolicy {}", policy.name);
        if let Some(held) = of(&what, &policy.annotations, now) {
            return Err(held);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_says_until_when_who_and_why_and_one_that_cannot_be_read_holds_too() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let held = |text: &str| {
            let annotations = [(PAUSE.to_owned(), text.to_owned())].into();
            of("contract uk", &annotations, now)
        };
        assert_eq!(held("2026-11-28T12:00:00Z/ann: the CDN moves"), None, "it is over");
        let paused = held("2026-11-28T13:00:00Z/ann: the CDN moves / twice").unwrap();
        assert_eq!(paused.until, Some("2026-11-28T13:00:00Z".parse().unwrap()));
        let says = "contract uk is paused until 2026-11-28T13:00:00Z by ann: the CDN moves / twice";
        assert!(paused.message.starts_with(says), "{}", paused.message);
        for (text, why) in [
            ("yes", "it has no slash"),
            ("tomorrow/ann: the CDN moves", "the time is not RFC 3339"),
            ("2026-11-28T13:00:00Z/ann", "it does not say who asks and why"),
            ("2026-11-28T13:00:00Z/: the CDN moves", "it does not say who asks and why"),
            ("2026-11-28T11:00:00Z/ann: ", "it does not say who asks and why"),
        ] {
            let held = held(text).unwrap();
            assert_eq!((held.reason, held.until), (PAUSED, None));
            assert!(held.message.contains(why), "{}", held.message);
        }
        let long = held(&format!("2026-11-28T13:00:00Z/ann: {}", "é".repeat(10_000))).unwrap();
        assert_eq!(text::message(&long.message), long.message, "the way out is never cut");
    }
}
