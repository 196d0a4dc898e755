//! Which values are read as which URLs.

use serde_json::json;

use super::{
    super::tests::{URL, images, rule},
    *,
};
use crate::rules::AssetRule;

fn found(rule: &AssetRule, src: &Value) -> Found {
    rule.compile().unwrap().targets(&json!({ "src": src }))
}

#[test]
fn values_that_are_no_usable_urls_fail_with_the_reason() {
    let table = [
        (json!(""), "is empty"),
        (json!("  "), "is empty"),
        (json!(null), "is null"),
        (json!(7), "is a number"),
        (json!([URL]), "[*]"),
        (json!({}), "an object"),
        (json!("javascript:alert(1)"), "scheme \"javascript\""),
        (json!("ftp://cdn.example.com/a"), "scheme \"ftp\""),
        (json!("file:///etc/passwd"), "scheme \"file\""),
        (json!("https://user:canary@cdn.example.com/a"), "user name or password"),
        (json!("https://evil.example/a"), "asset.allowedHosts"),
        (json!("https://cdn.example.com.evil.example/a"), "asset.allowedHosts"),
        (json!("https://img.example.com/a"), "asset.allowedHosts"),
        (json!("//evil.example/a"), "asset.allowedHosts"),
        (json!("https://[::zz]/"), "is not a URL"),
    ];
    for (value, expected) in table {
        let found = found(&images(), &value);
        assert_eq!((found.targets.len(), found.violations.len()), (0, 1), "{value}: {found:?}");
        let message = &found.violations[0].message;
        assert!(message.contains(expected) && !message.contains("canary"), "{value}: {message}");
    }
}

#[test]
fn urls_are_probed_in_the_form_that_every_place_shares() {
    let table = [
        ("//cdn.example.com/a.png", "https://cdn.example.com/a.png"),
        (" HTTPS://CDN.Example.com/a.png#top ", "https://cdn.example.com/a.png"),
        ("http://x.y.img.example.com./a?b=c", "http://x.y.img.example.com./a?b=c"),
    ];
    for (text, expected) in table {
        let found = found(&images(), &json!(text));
        assert_eq!(
            found.targets,
            [Target { path: "/src".to_owned(), nth: 0, url: expected.to_owned() }]
        );
    }
}

#[test]
fn every_url_of_a_srcset_is_probed_under_its_own_and_other_names() {
    let list =
        "https://a.example/1,2.jpg 1x, data:image/png;base64,AA== 2x,https://a.example/b.jpg 3x";
    for (path, document) in [
        ("$.srcSet", json!({"srcSet": list})),
        ("$.picture.srcset[*]", json!({"picture": {"srcset": [list]}})),
        ("$.image", json!({"image": list})),
    ] {
        let rule = AssetRule { paths: vec![path.to_owned()], ..AssetRule::default() };
        let found = rule.compile().unwrap().targets(&document);
        let urls: Vec<_> = found.targets.iter().map(|target| target.url.as_str()).collect();
        assert_eq!(urls, ["https://a.example/1,2.jpg", "https://a.example/b.jpg"], "{path}");
        assert!(found.violations.is_empty() && found.doubts.is_empty(), "{found:?}");
    }
    let spaced = found(&rule(), &json!("https://a.example/my photo.jpg"));
    assert_eq!(spaced.targets[0].url, "https://a.example/my%20photo.jpg");
}

#[test]
fn a_srcset_without_any_url_fails() {
    let rule = AssetRule { paths: vec!["$.srcset".to_owned()], ..AssetRule::default() };
    let found = rule.compile().unwrap().targets(&json!({"srcset": ", ,"}));
    assert!(found.violations[0].message.contains("no URL"), "{found:?}");
}

#[test]
fn data_urls_are_judged_as_they_stand() {
    let big = format!("data:image/png;base64,{}", "A".repeat(1400));
    for (url, expected) in [
        ("data:image/svg+xml,%3Csvg?/%3E", None),
        ("data:IMAGE/PNG;base64,AAAA", None),
        ("data:,hello", Some("text/plain")),
        ("data:text/html;charset=utf-8,x", Some("text/html")),
        ("data:image/png;base64", Some("without a comma")),
        (&big, Some("1050 bytes")),
    ] {
        let found = found(&images(), &json!(url));
        assert!(found.targets.is_empty() && found.doubts.is_empty(), "{found:?}");
        match (found.violations.first(), expected) {
            (None, None) => {}
            (Some(violation), Some(expected)) if violation.message.contains(expected) => {}
            other => panic!("{url}: {other:?}"),
        }
    }
}

#[test]
fn an_unresolved_placeholder_is_neither_probed_nor_dead() {
    for text in [
        "{{HERO_IMAGE}}",
        "${cdn}/a.png",
        "https://{{host}}/a.png",
        "https://cdn.example.com/{{size}}/a.png",
        "https://cdn.{{tld}}/a.png",
    ] {
        assert_eq!(found(&images(), &json!(text)), Found::default(), "{text}");
    }
    for text in ["https://evil.example/{{size}}", "https:/evil.example/${x}", "javascript:{{x}}"] {
        assert_eq!(found(&images(), &json!(text)).violations.len(), 1, "{text}");
    }
    let open = found(&rule(), &json!("https://a.example/{{size"));
    assert_eq!(open.targets.len(), 1, "an unclosed brace is no placeholder");
}

#[test]
fn one_huge_srcset_is_read_only_to_the_limit() {
    let rule = AssetRule { paths: vec!["$.srcset".to_owned()], ..AssetRule::default() };
    let found = rule.compile().unwrap().targets(&json!({"srcset": "a ,".repeat(100_000)}));
    assert!(found.doubts.len() <= MAX_PLACES + 2, "{}", found.doubts.len());
    assert!(found.doubts.iter().any(|doubt| doubt.message.contains("512")));
}

#[test]
fn hosts_compare_as_the_url_standard_writes_them() {
    let rule = AssetRule { allowed_hosts: vec!["BÜCHER.example".to_owned()], ..rule() };
    assert_eq!(found(&rule, &json!("https://bücher.example/a")).violations, []);
    assert_eq!(found(&rule, &json!("https://xn--bcher-kva.example./a")).violations, []);
}
