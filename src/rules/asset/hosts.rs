//! A host that is down, told apart from assets that are not there: of several assets of it none could
//! be looked at, for want of any answer.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::Target;
use crate::domain::{Doubt, DoubtReason, Probe, Probes};

/// One asset that cannot be looked at may be about its own address.
const FEWEST_ASSETS: usize = 2;

/// What was seen of one host.
#[derive(Default)]
struct Seen<'a> {
    assets: BTreeSet<&'a str>,
    answered: bool,
    /// Why there was no answer, of the first.
    why: Option<&'a str>,
}

/// The host that gives no answer for any of several assets; of more than one that with the most.
pub(super) fn down(targets: &[Target], probes: &Probes) -> Option<Doubt> {
    let mut hosts: BTreeMap<String, Seen<'_>> = BTreeMap::new();
    for target in targets {
        match probes.get(&target.url) {
            // It may be another than the URL names, to which that one redirects.
            Some(Probe::Failed { host: Some(host), message, .. }) => {
                let seen = hosts.entry(host.clone()).or_default();
                seen.assets.insert(&target.url);
                seen.why.get_or_insert(message);
            }
            // What was not asked, or was refused here, says nothing of the host.
            Some(Probe::Failed { .. }) | None => {}
            Some(Probe::Answered(_)) => {
                let parsed = Url::parse(&target.url).ok();
                let Some(host) = parsed.as_ref().and_then(Url::host_str) else { continue };
                hosts.entry(host.to_owned()).or_default().answered = true;
            }
        }
    }
    let down = hosts.iter().filter(|(_, seen)| !seen.answered);
    let (host, seen) = down.max_by_key(|(_, seen)| seen.assets.len())?;
    let count = seen.assets.len();
    (count >= FEWEST_ASSETS).then(|| {
        let why = seen.why.unwrap_or_default();
        let message = format!(
            "{host} gives no answer: none of the {count} assets of it that were asked for could be \
             looked at, so nothing is said about them: {why}"
        );
        Doubt::new(DoubtReason::AssetHostDown, &message).for_want_of(Some(host))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Answer;

    fn down_of(seen: &[(&str, Option<u16>)]) -> Option<Doubt> {
        down_where(seen, |url| Url::parse(url).unwrap().host_str().map(str::to_owned))
    }

    fn down_where(
        seen: &[(&str, Option<u16>)],
        silent: impl Fn(&str) -> Option<String>,
    ) -> Option<Doubt> {
        let targets: Vec<Target> = seen
            .iter()
            .map(|(url, _)| Target { path: "/a".to_owned(), nth: 0, url: (*url).to_owned() })
            .collect();
        let probe = |url: &str, status: Option<u16>| match status {
            Some(status) => Probe::Answered(Answer { status, ..Answer::default() }),
            None => Probe::Failed {
                reason: DoubtReason::ConnectionFailed,
                message: "no connection".to_owned(),
                host: silent(url),
            },
        };
        let probes =
            seen.iter().map(|(url, status)| ((*url).to_owned(), probe(url, *status))).collect();
        down(&targets, &probes)
    }

    #[test]
    fn a_host_is_down_when_none_of_several_assets_of_it_has_any_answer() {
        let (a, b, c) = ("https://cdn.test/a", "https://cdn.test/b", "https://other.test/c");
        let doubt = down_of(&[(a, None), (b, None), (c, Some(404))]).unwrap();
        assert_eq!(doubt.reason, DoubtReason::AssetHostDown);
        assert_eq!(doubt.host.as_deref(), Some("cdn.test"));
        let says = "cdn.test gives no answer: none of the 2 assets";
        assert!(doubt.message.starts_with(says), "{}", doubt.message);
        for seen in [
            &[(a, None), (b, Some(404))][..],
            &[(a, None), (b, Some(503))],
            &[(a, None), (c, None)],
            &[(a, None), (a, None)],
            &[],
        ] {
            assert_eq!(down_of(seen), None, "{seen:?}");
        }
    }

    #[test]
    fn it_is_the_host_that_was_asked_that_is_down_and_none_where_none_was() {
        let seen = [("https://cdn.test/a", None), ("https://cdn.test/b", None)];
        let doubt = down_where(&seen, |_| Some("behind.test".to_owned())).unwrap();
        assert_eq!(doubt.host.as_deref(), Some("behind.test"));
        assert_eq!(down_where(&seen, |_| None), None);
    }
}
