//! Each alert fires when it should, not otherwise, and says what to do.

use std::{collections::BTreeSet, sync::LazyLock};

use regex::Regex;
use serde_json::Value;

use crate::{RULES, counted, list, promtool, rules, str, text, yaml};

const TESTS: &str = "tests/prometheus/rules.test.yaml";

fn alerts() -> Vec<Value> {
    rules().into_iter().filter(|rule| rule["alert"].is_string()).collect()
}

#[test]
fn promtool_takes_the_rules_and_each_alert_fires_when_it_should_and_not_otherwise() {
    let (ok, output) = promtool(&["check", "rules", "--lint=all", "--lint-fatal", RULES]);
    assert!(ok, "{output}");
    let (ok, output) = promtool(&["test", "rules", TESTS]);
    assert!(ok, "{output}");
}

/// Does the query's matcher of `alertname` let this one through?
fn asks_for(query: &str, alert: &str) -> bool {
    static NAMES: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"alertname=~?"([^"]+)""#).unwrap());
    NAMES.captures_iter(query).any(|names| names[1].split('|').any(|name| name == alert))
}

#[test]
fn each_alert_is_tested_firing_and_silent() {
    let tests = yaml(TESTS);
    let queries: Vec<&Value> =
        list(&tests["tests"]).flat_map(|test| list(&test["promql_expr_test"])).collect();
    for alert in alerts() {
        let (name, severity) = (str(&alert["alert"]), str(&alert["labels"]["severity"]));
        let silent = queries.iter().any(|query| {
            asks_for(str(&query["expr"]), name) && list(&query["exp_samples"]).count() == 0
        });
        assert!(silent, "{name} is never shown not to fire");
        let shows = |sample: &Value| {
            let labels = str(&sample["labels"]);
            let has = |label: &str, value: &str| labels.contains(&format!("{label}=\"{value}\""));
            has("alertname", name) && has("severity", severity) && has("alertstate", "firing")
        };
        let fires = queries.iter().flat_map(|query| list(&query["exp_samples"])).any(shows);
        assert!(fires, "{name} with severity {severity} is never shown to fire");
    }
}

#[test]
fn each_alert_says_how_urgent_it_is_and_what_to_do() {
    let runbooks = text("docs/runbooks.md");
    let sections: BTreeSet<&str> =
        runbooks.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let mut named = BTreeSet::new();
    for alert in alerts() {
        let name = str(&alert["alert"]).to_owned();
        let severity = str(&alert["labels"]["severity"]);
        assert!(["info", "warning", "critical"].contains(&severity), "{name}: {severity}");
        let annotations = &alert["annotations"];
        for annotation in ["summary", "description"] {
            assert!(!str(&annotations[annotation]).is_empty(), "{name} has no {annotation}");
        }
        let anchor = format!("docs/runbooks.md#{}", name.to_lowercase());
        assert_eq!(annotations["runbook_url"], anchor.as_str(), "{name}");
        assert!(sections.contains(name.as_str()), "docs/runbooks.md has no section {name}");
        named.insert(name);
    }
    let missing: Vec<_> = sections.iter().filter(|name| !named.contains(**name)).collect();
    assert!(missing.is_empty(), "sections of no alert: {missing:?}");
}

#[test]
fn the_rules_name_only_metrics_labels_and_values_that_there_are() {
    for rule in rules() {
        counted::names_only_what_is(str(&rule["expr"]));
    }
}
