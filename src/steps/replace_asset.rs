//! The `replaceAsset` step: put another URL in the place of one that points at nothing.
//!
//! What comes first and is neither the dead URL nor another that is known to be dead: the URL of
//! the step, a fallback of the rule, a fallback for every rule, and what stood there in the newest
//! revision that had something else. «There» is the same thing, not the same index, as the module
//! `twins` has it.
//!
//! In a text with several URLs (a `srcset`) only the dead one is replaced.
//!
//! Knows: which URLs fail, and URLs that may stand there instead. Must not know: whether those are
//! there: the candidate is judged like every other.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Proposal, View,
    draft::Draft,
    place,
    twins::{Found, Twins},
};
use crate::domain::{
    ValueFrom,
    patch::tokens,
    srcset::{self, Candidate},
};

/// Put another URL in the place of one that points at nothing: the one given here, else the
/// contract's fallback, else what was there in the newest good revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplaceAsset {
    /// The URL to put in.
    #[schemars(length(max = 2048), regex(pattern = r"^((https?:)?//[^/?#@\s]+|data:)\S*$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// One URL that is dead.
struct Dead<'a> {
    rule: &'a str,
    url: &'a str,
    descriptors: &'a str,
    /// Is it all that the text holds?
    is_alone: bool,
}

/// The dead URLs by their place and their number in the text there.
type AllDead<'a> = BTreeMap<(&'a str, usize), Dead<'a>>;

impl ReplaceAsset {
    /// See [`super::StepKind::plan`].
    #[must_use]
    pub fn plan(&self, view: &View<'_>) -> Proposal {
        if let Err(why) = self.validate() {
            return Proposal::Nothing(why);
        }
        let (dead, mut left) = dead_urls(view);
        let urls: BTreeSet<&str> = dead.values().map(|dead| dead.url).collect();
        let twins = Twins::default();
        let mut draft = Draft::of(view.document);
        for ((place, nth), dead) in &dead {
            let named = self.named(dead, view).map(|url| (url, ValueFrom::Spec));
            let earlier = earlier(&twins, dead, view, place);
            let is_good = |url: &str| {
                let held = srcset::urls(place, url, usize::MAX);
                !held.is_empty() && held.iter().all(|one| !urls.contains(one.url))
            };
            let instead = named.chain(earlier).find(|(url, _)| is_good(url));
            let text = draft.value().pointer(place).and_then(Value::as_str);
            let replaced = instead.zip(text).and_then(|((url, from), text)| {
                Some((with(text, &nth_url(place, text, *nth)?, url), from))
            });
            match replaced {
                Some((text, from)) => {
                    draft.put(place, &Value::String(text), from);
                }
                None => left.push((*place).to_owned()),
            }
        }
        left.dedup();
        draft.propose(|| match left.as_slice() {
            [] => "no asset fails".to_owned(),
            _ => format!(
                "no other URL is known for {}; give one in replaceAsset.url or in the contract's \
                 fallbackAssets",
                place::listed(&left)
            ),
        })
    }

    /// Asks what the CRD's schema cannot express.
    pub(super) fn validate(&self) -> Result<(), String> {
        match &self.url {
            Some(url) if !srcset::is_one_url(url) => Err("replaceAsset.url is not one URL; write \
                 one without spaces around it or in it, and no comma at its end"
                .to_owned()),
            _ => Ok(()),
        }
    }

    /// The URLs that the policy and the contract name for a dead one.
    fn named<'a>(&'a self, dead: &Dead<'_>, view: &View<'a>) -> impl Iterator<Item = &'a str> {
        let of_rule = |rule: Option<&str>| -> Vec<&'a str> {
            let fallbacks = view.fallbacks.iter().filter(|one| one.rule.as_deref() == rule);
            fallbacks.map(|one| one.url.as_str()).collect()
        };
        let fallbacks = of_rule(Some(dead.rule)).into_iter().chain(of_rule(None));
        self.url.as_deref().into_iter().chain(fallbacks).filter(|url| srcset::is_one_url(url))
    }
}

/// What stood in the place of a dead URL before, the newest first.
fn earlier<'a>(
    twins: &Twins<'a>,
    dead: &Dead<'_>,
    view: &View<'a>,
    place: &str,
) -> impl Iterator<Item = (&'a str, ValueFrom)> {
    let path: Vec<String> = tokens(place).collect();
    view.revisions.iter().filter_map(move |revision| {
        let Found::There(there) = twins.find(view.document, &revision.value, &path) else {
            return None;
        };
        let url = corresponding(dead, place, there.as_str()?)?;
        Some((url, ValueFrom::Revision(revision.number)))
    })
}

/// What of `there`, which is an earlier text of the place, stands for the dead URL: all of it
/// where the dead URL is all there is, else the only URL, or the only one with its descriptors.
fn corresponding<'a>(dead: &Dead<'_>, place: &str, there: &'a str) -> Option<&'a str> {
    if dead.is_alone && dead.descriptors.is_empty() {
        return Some(there.trim());
    }
    let earlier = srcset::urls(place, there, usize::MAX);
    let is_alike = |one: &&Candidate<'_>| one.descriptors == dead.descriptors;
    let mut alike = earlier.iter().filter(|one| earlier.len() == 1 || is_alike(one));
    let only = alike.next().filter(|_| alike.next().is_none())?;
    Some(only.url).filter(|url| srcset::is_one_url(url))
}

/// The dead URLs, each with the first rule that says so; and the places where it is not a URL that
/// fails.
fn dead_urls<'a>(view: &View<'a>) -> (AllDead<'a>, Vec<String>) {
    let mut all = AllDead::new();
    let mut left = Vec::new();
    for failing in view.failing {
        for violation in failing.violations.iter().filter(|one| one.keyword == "asset") {
            let found = violation.place().zip(violation.url).and_then(|(place, nth)| {
                let text = view.document.pointer(place)?.as_str()?;
                Some((place, nth, text, nth_url(place, text, nth)?))
            });
            let Some((place, nth, text, Candidate { url, descriptors, .. })) = found else {
                left.push(violation.path.clone());
                continue;
            };
            let is_alone = srcset::urls(place, text, 2).len() == 1;
            let dead = Dead { rule: &failing.rule, url, descriptors, is_alone };
            all.entry((place, nth)).or_insert(dead);
        }
    }
    (all, left)
}

fn nth_url<'a>(place: &str, text: &'a str, nth: usize) -> Option<Candidate<'a>> {
    srcset::urls(place, text, nth.saturating_add(1)).into_iter().nth(nth)
}

/// `text` with `url` in the place of the candidate.
fn with(text: &str, candidate: &Candidate<'_>, url: &str) -> String {
    [&text[..candidate.at.start], url, &text[candidate.at.end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Digest, Op, Violation, patch::apply},
        steps::{Failing, Fallback, Revision, tests::view_of},
    };
    use serde_json::json;

    const DEAD: &str = "https://cdn.test/dead.png";

    fn violation(path: &str, nth: usize) -> Violation {
        Violation::new(path, "asset", "is not there").about_url(nth)
    }

    fn revision(number: u32, value: Value) -> Revision {
        Revision { number, digest: Digest::of_value(&value), value }
    }

    fn fallback(rule: Option<&str>, url: &str) -> Fallback {
        Fallback { rule: rule.map(str::to_owned), url: url.to_owned() }
    }

    fn with_url(url: Option<&str>) -> ReplaceAsset {
        ReplaceAsset { url: url.map(str::to_owned) }
    }

    fn only_op(proposal: Proposal) -> Op {
        match proposal {
            Proposal::Change(ops) if ops.len() == 1 => ops.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_steps_url_wins_over_fallbacks_and_those_over_history() {
        let document = json!({"hero": DEAD});
        let revisions =
            [revision(4, json!({"hero": DEAD})), revision(3, json!({"hero": "/old.png"}))];
        let fallbacks = [
            fallback(Some("other"), "/others.png"),
            fallback(None, "/any.png"),
            fallback(Some("schema"), "/own.png"),
        ];
        let cases = [
            (Some("/step.png"), 3, "/step.png", ValueFrom::Spec),
            (Some(DEAD), 3, "/own.png", ValueFrom::Spec),
            (None, 3, "/own.png", ValueFrom::Spec),
            (None, 2, "/any.png", ValueFrom::Spec),
            (None, 1, "/old.png", ValueFrom::Revision(3)),
        ];
        for (url, known, expected, from) in cases {
            let mut view = view_of(&document, vec![violation("/hero", 0)]);
            view.revisions = &revisions;
            view.fallbacks = &fallbacks[..known];
            let op = Op::replace("/hero", json!(expected), from);
            assert_eq!(only_op(with_url(url).plan(&view)), op);
        }
    }

    #[test]
    fn a_dead_url_never_takes_the_place_of_a_dead_one() {
        let too = "https://cdn.test/too.png";
        let document = json!({"a": DEAD, "b": too});
        let mut view = view_of(&document, vec![violation("/a", 0), violation("/b", 0)]);
        let fallbacks = [fallback(None, DEAD), fallback(None, too)];
        view.fallbacks = &fallbacks;
        let Proposal::Nothing(why) = ReplaceAsset::default().plan(&view) else { panic!() };
        assert!(why.contains("/a, /b") && !why.contains("dead.png"), "{why}");
    }

    #[test]
    fn only_the_dead_url_of_a_srcset_is_replaced() {
        // Without their queries, which no message shows, the first two are one URL.
        let document = json!({"srcset": "/a.png?w=1 1x,  /a.png?w=2 2x, /b.png 3x"});
        let revisions = [revision(2, json!({"srcset": "/3.png 3x, /1.png 1x, /2.png 2x"}))];
        let cases = [
            (0, None, "/1.png 1x,  /a.png?w=2 2x, /b.png 3x"),
            (1, None, "/a.png?w=1 1x,  /2.png 2x, /b.png 3x"),
            (2, Some("/n.png"), "/a.png?w=1 1x,  /a.png?w=2 2x, /n.png 3x"),
        ];
        for (nth, url, expected) in cases {
            let mut view = view_of(&document, vec![violation("/srcset", nth)]);
            view.revisions = &revisions;
            assert_eq!(only_op(with_url(url).plan(&view)).value, Some(json!(expected)));
        }
        let both = vec![violation("/srcset", 2), violation("/srcset", 0)];
        let mut view = view_of(&document, both);
        view.revisions = &revisions;
        let Proposal::Change(ops) = ReplaceAsset::default().plan(&view) else { panic!() };
        let healed = json!({"srcset": "/1.png 1x,  /a.png?w=2 2x, /3.png 3x"});
        assert_eq!(apply(&document, &ops).unwrap(), healed);
    }

    #[test]
    fn an_earlier_url_is_taken_only_when_one_alone_corresponds() {
        let document = json!({"srcset": "/a.png, /b.png 2x"});
        for (earlier, expected) in [
            ("/1.png, /2.png 2x", Some("/1.png, /b.png 2x")),
            ("/1.png", Some("/1.png, /b.png 2x")),
            ("/1.png, /2.png", None),
            (",", None),
            ("/1.png 3x, /2.png 2x", None),
        ] {
            let mut view = view_of(&document, vec![violation("/srcset", 0)]);
            let revisions = [revision(1, json!({"srcset": earlier}))];
            view.revisions = &revisions;
            let op = match ReplaceAsset::default().plan(&view) {
                Proposal::Change(ops) => ops[0].value.clone(),
                _ => None,
            };
            assert_eq!(op, expected.map(Value::from), "{earlier}");
        }
    }

    #[test]
    fn a_fallback_that_is_not_one_url_is_passed_over() {
        let document = json!({"hero": DEAD});
        let mut view = view_of(&document, vec![violation("/hero", 0)]);
        let fallbacks = [fallback(None, "/a.png /b.png"), fallback(None, "/c.png")];
        view.fallbacks = &fallbacks;
        assert_eq!(only_op(ReplaceAsset::default().plan(&view)).value, Some(json!("/c.png")));
    }

    #[test]
    fn the_earlier_url_is_that_of_the_same_thing_and_not_of_the_same_index() {
        let document = json!([{"id": "b", "src": DEAD}, {"id": "a", "src": "/a.png"}]);
        let earlier = json!([{"id": "a", "src": "/a.png"}, {"id": "b", "src": "/b.png"}]);
        let revisions = [revision(1, earlier)];
        let mut view = view_of(&document, vec![violation("/0/src", 0)]);
        view.revisions = &revisions;
        let op = Op::replace("/0/src", json!("/b.png"), ValueFrom::Revision(1));
        assert_eq!(only_op(ReplaceAsset::default().plan(&view)), op);
    }

    #[test]
    fn what_is_no_text_or_no_asset_is_left() {
        let document = json!({"a": 1, "b": DEAD, "c": ""});
        for (path, keyword) in [("/a", "asset"), ("/x", "asset"), ("/c", "asset"), ("/b", "type")] {
            let violation = Violation::new(path, keyword, "is wrong").about_url(0);
            let view = view_of(&document, vec![violation]);
            let proposal = with_url(Some("/n.png")).plan(&view);
            assert!(matches!(proposal, Proposal::Nothing(_)), "{path}");
        }
    }

    #[test]
    fn each_rule_has_its_own_fallback() {
        let document = json!({"a": DEAD, "b": DEAD});
        let failing = [("one", "/a"), ("two", "/b")].map(|(rule, path)| Failing {
            rule: rule.to_owned(),
            violations: vec![violation(path, 0)],
        });
        let fallbacks = [fallback(Some("two"), "/2.png"), fallback(Some("one"), "/1.png")];
        let mut view = view_of(&document, Vec::new());
        view.failing = &failing;
        view.fallbacks = &fallbacks;
        let Proposal::Change(ops) = ReplaceAsset::default().plan(&view) else { panic!() };
        assert_eq!(apply(&document, &ops).unwrap(), json!({"a": "/1.png", "b": "/2.png"}));
    }

    #[test]
    fn a_url_of_the_step_that_is_not_one_is_named() {
        let document = json!({"hero": DEAD});
        let view = view_of(&document, vec![violation("/hero", 0)]);
        for bad in ["", "a b", " /a.png"] {
            let Proposal::Nothing(why) = with_url(Some(bad)).plan(&view) else { panic!() };
            assert!(why.starts_with("replaceAsset.url"), "{why}");
        }
    }
}
