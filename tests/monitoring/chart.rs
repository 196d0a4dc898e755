//! What the chart installs for those who scrape, alarm and look, rendered by the real helm.

use serde_json::{Value, json};

use crate::{BOARD, RULES, are_rules, program, str, text, yaml};

/// What the chart renders with these values, or why it does not.
fn template(values: &[&str]) -> Result<Vec<Value>, String> {
    let sets = values.iter().flat_map(|value| ["--set", value]);
    let base = ["template", "k", "charts/kintsugi", "--namespace", "ops"];
    let args: Vec<&str> = base.into_iter().chain(sets).collect();
    let (ok, text) = program("KINTSUGI_TEST_BIN", "helm", &args);
    if !ok {
        return Err(text);
    }
    let documents = text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap());
    Ok(documents.collect())
}

/// The object of this kind and name that is rendered with these values.
fn rendered(values: &[&str], kind: &str, name: &str) -> Option<Value> {
    let is_it = |object: &Value| object["kind"] == kind && object["metadata"]["name"] == name;
    template(values).unwrap().into_iter().find(is_it)
}

/// Do the labels hold all that the selector asks for?
fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().unwrap();
    !selector.is_empty() && selector.iter().all(|(label, value)| labels[label] == *value)
}

fn pod() -> Value {
    rendered(&[], "Deployment", "k").unwrap()["spec"]["template"].clone()
}

#[test]
fn by_default_nothing_is_rendered_that_other_operators_have_to_know() {
    let all = template(&[]).unwrap();
    let foreign = |object: &&Value| str(&object["apiVersion"]).starts_with("monitoring.coreos.com");
    assert_eq!(all.iter().filter(foreign).collect::<Vec<_>>(), Vec::<&Value>::new());
    assert_eq!(rendered(&[], "ConfigMap", "k-dashboard"), None);
    let without = ["metrics.service=false"];
    assert_eq!(rendered(&without, "Service", "k-metrics"), None);
}

#[test]
fn the_service_finds_each_replica_by_itself() {
    let service = rendered(&[], "Service", "k-metrics").unwrap();
    let spec = &service["spec"];
    assert_eq!(
        (&spec["clusterIP"], &spec["publishNotReadyAddresses"]),
        (&json!("None"), &json!(true))
    );
    assert!(selects(&spec["selector"], &pod()["metadata"]["labels"]), "{service}");
    let target = &spec["ports"][0]["targetPort"];
    assert_eq!(*target, pod()["spec"]["containers"][0]["ports"][0]["name"]);
}

#[test]
fn the_pod_monitor_scrapes_each_replica_and_keeps_the_namespace_of_the_contracts() {
    let values = ["metrics.podMonitor.install=true", "metrics.podMonitor.labels.release=prom"];
    let monitor = rendered(&values, "PodMonitor", "k").unwrap();
    assert_eq!(monitor["metadata"]["namespace"], "ops");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prom");
    let selector = &monitor["spec"]["selector"]["matchLabels"];
    assert!(selects(selector, &pod()["metadata"]["labels"]), "{monitor}");
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!(endpoint["port"], pod()["spec"]["containers"][0]["ports"][0]["name"]);
    let expected = (&json!("/metrics"), &json!(true), &json!("30s"));
    assert_eq!((&endpoint["path"], &endpoint["honorLabels"], &endpoint["interval"]), expected);
}

#[test]
fn the_prometheus_rule_is_the_tested_rules_with_links_to_where_the_runbooks_are() {
    let base = "https://docs.example.com/kintsugi/runbooks";
    let runbooks = format!("alerts.runbooks={base}");
    let values = ["alerts.install=true", "alerts.labels.release=prom", &runbooks];
    let rule = rendered(&values, "PrometheusRule", "k").unwrap();
    assert_eq!(rule["metadata"]["labels"]["release"], "prom");
    let mut expected = yaml(RULES);
    for group in expected["groups"].as_array_mut().unwrap() {
        for rule in group["rules"].as_array_mut().unwrap() {
            if let Some(link) = rule["annotations"]["runbook_url"].as_str() {
                rule["annotations"]["runbook_url"] = json!(link.replace("docs/runbooks.md", base));
            }
        }
    }
    are_rules(&rule["spec"]);
    assert_eq!(rule["spec"], expected);
    let unchanged = rendered(&["alerts.install=true"], "PrometheusRule", "k").unwrap();
    assert_eq!(unchanged["spec"], yaml(RULES));
}

#[test]
fn the_board_is_rendered_as_it_was_tested_for_the_sidecar_to_find() {
    let values = ["grafana.install=true", "grafana.annotations.grafana_folder=Widgets"];
    let object = rendered(&values, "ConfigMap", "k-dashboard").unwrap();
    assert_eq!(object["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(object["metadata"]["annotations"]["grafana_folder"], "Widgets");
    assert_eq!(str(&object["data"]["kintsugi.json"]), text(BOARD));
}

/// As when somebody has changed the files of the chart, too.
#[test]
fn rules_that_are_no_yaml_with_the_place_of_the_runbooks_are_not_installed_as_something_else() {
    let chart = tempfile::tempdir().unwrap();
    let copy = chart.path().join("kintsugi");
    let copied = std::process::Command::new("cp")
        .args(["-r", "charts/kintsugi", &copy.display().to_string()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(copied.unwrap().success());
    std::fs::write(copy.join("files/rules.yaml"), "groups: [docs/runbooks.md: a: b]").unwrap();
    let copy = copy.display().to_string();
    let args = ["template", "k", &copy, "--set", "alerts.install=true"];
    let (ok, said) = program("KINTSUGI_TEST_BIN", "helm", &args);
    assert!(!ok && said.contains("alerts.runbooks makes no YAML of the rules"), "{said}");
}

#[test]
fn flags_arrive_as_they_are_given() {
    let values = [
        "dashboard.enabled=true",
        "dashboard.audience=https://kintsugi.test:8443/\\,a#b",
        "log.filter=info\\,kube=error # all",
        "otlpEndpoint=http://collector:4317",
    ];
    let deployment = rendered(&values, "Deployment", "k").unwrap();
    let args = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    for flag in [
        "--dashboard-audience=https://kintsugi.test:8443/,a#b",
        "--log=info,kube=error # all",
        "--otlp-endpoint=http://collector:4317",
    ] {
        assert!(args.as_array().unwrap().contains(&json!(flag)), "{flag}: {args}");
    }
}

#[test]
fn the_pod_is_given_longer_to_end_than_the_operator_takes() {
    let grace = &pod()["spec"]["terminationGracePeriodSeconds"];
    assert!(grace.as_u64().is_some_and(|seconds| seconds > 30), "{grace}");
}

#[test]
fn a_wrong_value_is_refused_with_its_name() {
    for (value, named) in [
        ("alerts.instal=true", "instal"),
        ("metrics.podMonitor.interval=soon", "interval"),
        ("grafana.labels.x.y=1", "labels/x"),
        ("alerts.runbooks=see: here", "runbooks"),
        ("alerts.runbooks=https://docs.test/a #b", "runbooks"),
        ("alerts.runbooks={}", "runbooks"),
        ("dashboard.audience=a #b", "audience"),
        ("otlpEndpoint=http://a #b", "otlpEndpoint"),
    ] {
        let refused = template(&[value]).unwrap_err();
        assert!(refused.contains(named), "{value}: {refused}");
    }
    assert!(template(&["metrics.podMonitor.interval=1m30s"]).is_ok());
}
