//! What the API server admits and refuses, by the CRDs alone.

use serde_json::{Value, json};

use crate::support::{Cluster, Namespace, storefinder};

fn contract(change: impl FnOnce(&mut Value)) -> String {
    let mut manifest: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": "Shops"}))).unwrap();
    change(&mut manifest);
    manifest.to_string()
}

#[tokio::test]
async fn good_manifests_of_every_kind_are_admitted() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "admit").await;
    namespace.apply(&contract(|_| {})).await;
    namespace
        .apply(
            "{apiVersion: kintsugi.dev/v1alpha1, kind: WidgetClass, metadata: {name: storefinder}, \
             spec: {schema: {inline: {type: object}}, overridable: [images], rules: \
             [{name: images, severity: Warning, asset: {paths: ['$..src'], maxBytes: 5Mi}}]}}",
        )
        .await;
    namespace
        .apply(
            "{apiVersion: kintsugi.dev/v1alpha1, kind: RemediationPolicy, metadata: {name: p}, \
             spec: {match: {widgets: [storefinder], types: [Schema, CEL]}, steps: \
             [{name: undo, restoreRevision: {}}, {name: repair, repairDocument: {allow: [Truncate]}}]}}",
        )
        .await;
}

#[tokio::test]
async fn each_rule_of_the_crds_refuses_its_bad_manifest_in_words_that_name_the_fix() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "refuse").await;
    for (manifest, expected) in bad_contracts().into_iter().chain(bad_policies()) {
        let message = namespace.refusal(&manifest).await;
        assert!(message.contains(expected), "{message:?}\nshould contain {expected:?}\n{manifest}");
    }
}

fn bad_contracts() -> Vec<(String, &'static str)> {
    vec![
        (
            contract(|m| m["spec"]["document"] = json!({})),
            "exactly one of inline, configMapKeyRef, url must be set",
        ),
        (
            contract(|m| m["spec"]["document"]["url"] = json!("https://cdn.example.com/a.json")),
            "exactly one of inline, configMapKeyRef, url must be set",
        ),
        (
            contract(|m| {
                m["spec"]["document"] = json!({"url": "https://cdn.example.com/a.json"});
                m["spec"]["healing"] = json!({"writeBack": "Document"});
            }),
            "a URL is never written",
        ),
        (
            contract(|m| m["spec"]["schema"] = json!({})),
            "exactly one of inline, configMapKeyRef must be set",
        ),
        (contract(|m| m["spec"]["document"]["inline"] = json!("text")), "expected map"),
        (
            contract(|m| m["spec"]["rules"] = json!([{"name": "two"}])),
            "exactly one of schema, cel, asset, metadata, freshness must be set",
        ),
        (
            contract(|m| {
                m["spec"]["rules"] =
                    json!([{"name": "two", "cel": {"expression": "true"}, "metadata": {}}]);
            }),
            "exactly one of schema, cel, asset, metadata, freshness must be set",
        ),
        (
            contract(|m| {
                m["spec"]["rules"] =
                    json!([{"name": "long", "cel": {"expression": "x".repeat(4097)}}]);
            }),
            "may not be more than 4096 bytes",
        ),
        (
            contract(|m| {
                let rule =
                    |i: usize| json!({"name": format!("r{i}"), "cel": {"expression": "true"}});
                m["spec"]["rules"] = json!((0..65).map(rule).collect::<Vec<_>>());
            }),
            "must have at most 64 items",
        ),
        (
            contract(|m| m["spec"]["interval"] = json!("soon")),
            "should match '^([0-9]+(ms|s|m|h))+$'",
        ),
        (contract(|m| m["spec"]["source"] = json!({"url": "ftp://x"})), "should match '^https?:"),
        (
            contract(|m| {
                m["spec"]["serve"] =
                    json!({"none": {}, "configMapKeyRef": {"name": "cdn", "key": "a.json"}});
            }),
            "at most one of configMapKeyRef, none may be set",
        ),
        (contract(|m| m["spec"]["serve"] = json!({"adopt": true})), "adopt needs configMapKeyRef"),
        (
            contract(|m| {
                let at = json!({"name": "cdn", "key": "a.json"});
                m["spec"]["document"] = json!({"configMapKeyRef": at});
                m["spec"]["serve"] = json!({"configMapKeyRef": at});
            }),
            "serve.configMapKeyRef must not be document.configMapKeyRef",
        ),
        (
            contract(|m| m["metadata"]["name"] = json!("n".repeat(53))),
            "metadata.name must be at most 52 characters",
        ),
        (
            contract(|m| m["spec"]["history"] = json!({"limit": 1})),
            "should be greater than or equal to 2",
        ),
        (
            contract(|m| m["spec"]["document"] = json!({"url": "file:///etc/passwd"})),
            "should match '^https?:",
        ),
    ]
}

fn bad_policies() -> Vec<(String, &'static str)> {
    vec![
        (
            policy("match: {}, steps: [{name: a, wait: {for: 1s}}]"),
            "match must give at least one of",
        ),
        (policy("steps: [{name: a, wait: {for: 1s}}]"), "exactly one of match, default: true"),
        (
            policy("default: true, match: {widgets: [a]}, steps: [{name: a, wait: {for: 1s}}]"),
            "exactly one of match, default: true",
        ),
        (policy("default: true, steps: []"), "should have at least 1 items"),
        (
            policy("default: true, steps: [{name: a}]"),
            "exactly one of restoreRevision, refetchSource, repairDocument",
        ),
        (
            policy("default: true, steps: [{name: a, patch: {ops: [{op: move, path: /a}]}}]"),
            "supported values: \"add\", \"replace\", \"remove\"",
        ),
    ]
}

fn policy(spec: &str) -> String {
    format!(
        "{{apiVersion: kintsugi.dev/v1alpha1, kind: RemediationPolicy, metadata: {{name: p}}, \
         spec: {{{spec}}}}}"
    )
}

#[tokio::test]
async fn an_incident_is_written_once() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "once").await;
    let incident = |cause: &str, close: bool| {
        json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": "uk-0123456789"},
            "spec": {
                "contractName": "uk", "contractUID": "u", "widget": "storefinder", "ordinal": 1,
                "documentDigest": "sha256:0", "fingerprint": "sha256:1", "rulesSummary": "schema",
                "severity": "Critical", "cause": cause, "openedAt": "2026-01-01T00:00:00Z",
                "close": close,
            },
        })
        .to_string()
    };
    namespace.apply(&incident("DocumentChanged", false)).await;
    let message = namespace.refusal(&incident("AssetMissing", false)).await;
    assert!(message.contains("spec is written once"), "{message}");
    namespace.apply(&incident("DocumentChanged", true)).await;
}
