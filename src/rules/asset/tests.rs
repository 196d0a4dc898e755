//! What the rule makes of answers, and of its own fields.

use serde_json::json;

use super::*;
use crate::domain::{Answer, Probe, Span};

pub(super) fn rule() -> AssetRule {
    AssetRule { paths: vec!["$..src".to_owned()], ..AssetRule::default() }
}

pub(super) fn images() -> AssetRule {
    AssetRule {
        content_types: vec!["image/*".to_owned()],
        allowed_hosts: vec!["cdn.example.com".to_owned(), "*.img.example.com".to_owned()],
        max_bytes: Some("1Ki".parse().unwrap()),
        ..rule()
    }
}

fn answered(status: u16, content_type: &str, length: u64) -> Probe {
    Probe::Answered(Answer {
        status,
        content_type: Some(content_type.to_owned()),
        length: Some(length),
        retry_after: None,
    })
}

/// The verdict on a document with one URL, of which `probe` was seen.
fn verdict_of(rule: &AssetRule, url: &str, probe: Probe) -> Verdict {
    let probes = Probes::from([(url.to_owned(), probe)]);
    rule.compile().unwrap().check(&json!({"src": url}), &probes)
}

fn violation_message(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Fail(violations) => &violations[0].message,
        other => panic!("not a Fail: {other:?}"),
    }
}

fn doubt(verdict: Verdict) -> Doubt {
    match verdict {
        Verdict::Unknown(doubt) => doubt,
        other => panic!("not Unknown: {other:?}"),
    }
}

pub(super) const URL: &str = "https://cdn.example.com/a.png";

#[test]
fn an_asset_that_is_there_and_is_right_passes() {
    for status in [200, 203, 206] {
        assert_eq!(verdict_of(&images(), URL, answered(status, "image/png", 1024)), Verdict::Pass);
    }
}

#[test]
fn a_missing_asset_fails_and_names_place_and_url_without_its_query() {
    let url = "https://cdn.example.com/a.png?token=canary";
    for status in [404, 410] {
        let verdict = verdict_of(&images(), url, answered(status, "text/html", 9));
        let Verdict::Fail(violations) = &verdict else { panic!("{verdict:?}") };
        assert_eq!(
            (violations[0].path.as_str(), violations[0].keyword.as_str()),
            ("/src", "asset")
        );
        assert!(violations[0].message.contains(URL), "{}", violations[0].message);
        assert!(!violations[0].message.contains("canary"), "{}", violations[0].message);
    }
}

#[test]
fn a_wrong_media_type_and_too_many_bytes_fail() {
    let wrong = verdict_of(&images(), URL, answered(200, "text/html", 9));
    assert!(violation_message(&wrong).contains("asset.contentTypes"));
    let large = verdict_of(&images(), URL, answered(200, "image/png", 1025));
    assert!(violation_message(&large).contains("asset.maxBytes"));
}

#[test]
fn an_answer_that_says_nothing_about_the_asset_is_unknown() {
    for status in [204, 301, 304, 400, 401, 403, 405, 408, 416, 429, 451, 500, 502, 503, 504] {
        let doubt = doubt(verdict_of(&images(), URL, answered(status, "image/png", 9)));
        assert_eq!(doubt.reason, DoubtReason::HttpUnclear, "{status}");
    }
    let silent = Answer { status: 200, ..Answer::default() };
    let doubt = doubt(verdict_of(&images(), URL, Probe::Answered(silent)));
    assert!(doubt.message.contains("Content-Type"), "{}", doubt.message);
}

#[test]
fn a_size_that_is_not_told_is_unknown_only_where_a_rule_limits_it() {
    let unsized_answer = || {
        Probe::Answered(Answer {
            status: 200,
            content_type: Some("image/png".to_owned()),
            ..Answer::default()
        })
    };
    let doubt = doubt(verdict_of(&images(), URL, unsized_answer()));
    assert!(doubt.message.contains("asset.maxBytes"), "{}", doubt.message);
    assert_eq!(verdict_of(&rule(), URL, unsized_answer()), Verdict::Pass);
}

#[test]
fn a_failed_probe_keeps_its_reason_and_a_busy_host_its_retry_after() {
    let failed = Probe::Failed {
        reason: DoubtReason::DnsFailed,
        message: "no such host".to_owned(),
        host: Some("dead.test".to_owned()),
    };
    assert_eq!(doubt(verdict_of(&rule(), URL, failed)).reason, DoubtReason::DnsFailed);
    let busy = Answer { status: 429, retry_after: Some(Span::secs(30)), ..Answer::default() };
    let doubt = doubt(verdict_of(&rule(), URL, Probe::Answered(busy)));
    assert_eq!(doubt.retry_after, Some(Span::secs(30)));
}

#[test]
fn what_was_not_probed_yet_is_unknown() {
    let verdict = rule().compile().unwrap().check(&json!({"src": URL}), &Probes::new());
    assert!(doubt(verdict).message.contains("not probed yet"));
}

#[test]
fn missing_status_says_which_codes_mean_not_there() {
    let rule = AssetRule { missing_status: vec![403], ..rule() };
    assert!(matches!(verdict_of(&rule, URL, answered(403, "x/y", 1)), Verdict::Fail(_)));
    assert!(matches!(verdict_of(&rule, URL, answered(404, "x/y", 1)), Verdict::Unknown(_)));
}

#[test]
fn all_violations_are_told_even_where_another_url_cannot_be_checked() {
    let document = json!([{"src": URL}, {"src": "https://cdn.example.com/b.png"}, {"src": ""}]);
    let probes = Probes::from([(URL.to_owned(), answered(404, "x/y", 1))]);
    let verdict = rule().compile().unwrap().check(&document, &probes);
    let Verdict::Fail(violations) = verdict else { panic!("{verdict:?}") };
    let paths: Vec<_> = violations.iter().map(|v| v.path.as_str()).collect();
    assert_eq!(paths, ["/2/src", "/0/src"]);
}

#[test]
fn a_relative_url_is_unknown_and_says_what_to_do() {
    for text in ["/img/a.png", "img/a.png", "?a"] {
        let verdict = rule().compile().unwrap().check(&json!({"src": text}), &Probes::new());
        let doubt = doubt(verdict);
        assert_eq!(doubt.reason, DoubtReason::RuleInvalid);
        assert!(doubt.message.contains("at /src is relative"), "{}", doubt.message);
    }
}

#[test]
fn a_path_that_matches_nothing_is_unknown_unless_something_fails() {
    let mut rule = rule();
    rule.paths.push("$.gone".to_owned());
    let rule = rule.compile().unwrap();
    let probes = Probes::from([(URL.to_owned(), answered(200, "image/png", 1))]);
    let doubt = doubt(rule.check(&json!({"src": URL}), &probes));
    assert!(doubt.message.contains("asset.paths[1] matched nothing"), "{}", doubt.message);
    assert!(matches!(rule.check(&json!({"src": ""}), &probes), Verdict::Fail(_)));
}

#[test]
fn more_urls_than_the_limit_are_unknown_and_the_limit_is_named() {
    let urls = |count: usize| -> Vec<_> {
        (0..count).map(|i| json!({"src": format!("https://a.example/{i}")})).collect()
    };
    let compiled = rule().compile().unwrap();
    let all = |count| {
        let document = json!([urls(count), {"src": "https://a.example/0"}]);
        let found = compiled.targets(&document);
        let probes =
            found.targets.iter().map(|t| (t.url.clone(), answered(200, "a/b", 1))).collect();
        (found.targets.len(), compiled.check(&document, &probes))
    };
    assert_eq!(all(64), (65, Verdict::Pass));
    let (targets, verdict) = all(65);
    assert_eq!(targets, 65);
    assert!(doubt(verdict).message.contains("64"));
}

#[test]
fn a_field_that_is_not_usable_is_named_with_the_fix() {
    let bad = |change: fn(&mut AssetRule)| {
        let mut rule = images();
        change(&mut rule);
        let doubt = rule.compile().unwrap_err();
        assert_eq!(doubt.reason, DoubtReason::RuleInvalid);
        doubt.message
    };
    assert!(bad(|rule| rule.paths = vec!["image.src".into()]).contains("asset.paths[0]"));
    assert!(bad(|rule| rule.paths.clear()).contains("asset.paths is empty"));
    for media_type in ["image", "image/", "*/png", "image/png; q=1", "image/*/x"] {
        let rule = AssetRule { content_types: vec![media_type.to_owned()], ..rule() };
        assert!(
            rule.compile().unwrap_err().message.contains("asset.contentTypes[0]"),
            "{media_type}"
        );
    }
    for host in
        ["https://a.example", "a.example:80", "a.example/x", "*", "a.*.example", "*.10.0.0.1"]
    {
        let rule = AssetRule { allowed_hosts: vec![host.to_owned()], ..rule() };
        assert!(rule.compile().unwrap_err().message.contains("asset.allowedHosts[0]"), "{host}");
    }
    for status in [200, 304, 408, 429, 503] {
        let rule = AssetRule { missing_status: vec![404, status], ..rule() };
        assert!(rule.compile().unwrap_err().message.contains("asset.missingStatus[1]"), "{status}");
    }
}
