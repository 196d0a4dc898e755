//! What was seen when somebody asked for the thing that a URL names.

use std::collections::BTreeMap;

use super::{DoubtReason, Span};

/// What is known of each URL, under the text that [`crate::rules::asset::Target::url`] has.
pub type Probes = BTreeMap<String, Probe>;

/// The outcome of one look at a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The host answered; whether that is good is for a rule to say.
    Answered(Answer),
    /// There was no answer.
    Failed {
        /// The stable reason.
        reason: DoubtReason,
        /// One sentence for a person, without credentials, query or fragment.
        message: String,
        /// The host that was asked and gave no answer; None where none was asked.
        host: Option<String>,
    },
}

/// What was heard longer ago says nothing about now.
pub const LATELY: Span = Span::mins(2);

/// What came of asking a host last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The host.
    pub host: String,
    /// Could it be reached, whatever it answered?
    pub answered: bool,
    /// How long ago.
    pub ago: Span,
}

/// One host that cannot be reached is that host's fault.
const FEWEST_HOSTS: usize = 2;

/// How many hosts were asked lately, where none of them could be reached.
#[must_use]
pub fn unreachable(heard: &[Heard]) -> Option<usize> {
    let lately = || heard.iter().filter(|heard| heard.ago <= LATELY);
    let asked = lately().count();
    (asked >= FEWEST_HOSTS && lately().all(|heard| !heard.answered)).then_some(asked)
}

/// The part of an answer that rules judge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status of the last hop; 200 also where the host said that nothing has changed.
    pub status: u16,
    /// The media type in lower case and without parameters.
    pub content_type: Option<String>,
    /// The size of the whole thing, where the host told it.
    pub length: Option<u64>,
    /// What the host asked us to wait.
    pub retry_after: Option<Span>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_us_when_two_hosts_or_more_were_asked_lately_and_none_could_be_reached() {
        let heard = |hosts: &[(bool, u32)]| -> Vec<Heard> {
            let heard = hosts.iter().enumerate().map(|(nth, (answered, seconds))| Heard {
                host: format!("h{nth}.test"),
                answered: *answered,
                ago: Span::secs(*seconds),
            });
            heard.collect()
        };
        for (hosts, expected) in [
            (&[][..], None),
            (&[(false, 1)], None),
            (&[(false, 1), (false, 100)], Some(2)),
            (&[(false, 1), (false, 1), (true, 60)], None),
            (&[(false, 1), (false, 1), (true, 180)], Some(2)),
            (&[(false, 1), (false, 180)], None),
        ] {
            assert_eq!(unreachable(&heard(hosts)), expected, "{hosts:?}");
        }
    }
}
