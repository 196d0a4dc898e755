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
    namespace.apply(&incident(&whole_incident())).await;
    let contracts = bad_contracts().into_iter().chain(bad_sources()).chain(out_of_bounds());
    let policies = bad_policies().into_iter().chain(bad_selectors());
    let cases = contracts.chain(bad_classes()).chain(policies).chain(bad_incidents());
    let mut refusals = Vec::new();
    for (manifest, expected) in cases {
        let message = namespace.refusal(&manifest).await;
        assert!(message.contains(expected), "{message:?}\nshould contain {expected:?}\n{manifest}");
        refusals.push(message);
    }
    for (kind, at, message) in rules_of_the_crds() {
        let refuses = |refusal: &String| {
            refusal.starts_with(&kind)
                && refusal.contains(&message)
                && refusal.replace(|c: char| c.is_ascii_digit(), "").contains(&at)
        };
        assert!(refusals.iter().any(refuses), "nothing was refused by {kind} {at}: {message}");
    }
}

/// Kind, place (`spec.rules[]`) and message of each CEL rule in the CRDs.
fn rules_of_the_crds() -> Vec<(String, String, String)> {
    fn walk(schema: &Value, at: &str, rules: &mut Vec<(String, String)>) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            rules.push((at.to_owned(), rule["message"].as_str().unwrap().to_owned()));
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let dot = if at.is_empty() { "" } else { "." };
            walk(property, &format!("{at}{dot}{name}"), rules);
        }
        if let Some(items) = schema.get("items") {
            walk(items, &format!("{at}[]"), rules);
        }
    }
    let mut all = Vec::new();
    for crd in kintsugi::api::crd::all().unwrap() {
        let json = serde_json::to_value(&crd).unwrap();
        let mut rules = Vec::new();
        walk(&json["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &mut rules);
        assert!(!rules.is_empty(), "{}", crd.spec.names.kind);
        let kind = |(at, message)| (crd.spec.names.kind.clone(), at, message);
        all.extend(rules.into_iter().map(kind));
    }
    all
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
            contract(|m| {
                let elsewhere = json!({"name": "../../other/configmaps/a", "key": "a.json"});
                m["spec"]["document"] = json!({"configMapKeyRef": elsewhere});
            }),
            "spec.document.configMapKeyRef.name in body should match",
        ),
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
        (
            contract(|m| {
                m["spec"]["serve"] = json!({"none": {}, "probe": {"url": "https://cdn.test/a"}});
            }),
            "at most one of none, probe may be set",
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

fn bad_sources() -> Vec<(String, &'static str)> {
    let at = |service: &Value| contract_with("source", &json!({"serviceRef": service}));
    let (one, url) = ("exactly one of url, serviceRef", "https://a.test");
    let both = json!({"url": url, "serviceRef": {"name": "a", "port": 80}});
    let daemons = json!({"url": url, "workloadRef": {"kind": "DaemonSet", "name": "a"}});
    vec![
        (contract_with("source", &json!({})), one),
        (contract_with("source", &both), one),
        (at(&json!({"name": "a.other-ns", "port": 80})), "serviceRef.name in body should match"),
        (at(&json!({"name": "a", "port": 0})), "should be greater than or equal to 1"),
        (at(&json!({"name": "a", "port": 65_536})), "should be less than or equal to 65535"),
        (
            at(&json!({"name": "a", "port": 80, "path": "@b.test/"})),
            "serviceRef.path in body should match",
        ),
        (contract_with("source", &daemons), "Unsupported value: \"DaemonSet\""),
    ]
}

fn contract_with(field: &str, value: &Value) -> String {
    contract(|m| m["spec"][field] = value.clone())
}

fn contract_with_rule(rule: &Value) -> String {
    let mut named = json!({"name": "rule"});
    named.as_object_mut().unwrap().append(&mut rule.as_object().unwrap().clone());
    contract_with("rules", &json!([named]))
}

fn out_of_bounds() -> Vec<(String, &'static str)> {
    let cel = json!({"name": "twice", "cel": {"expression": "true"}});
    let serve = json!({"onDelete": "Delete", "configMapKeyRef": {"name": "cdn", "key": "a.json"}});
    let (least, most) = ("should be greater than or equal to", "should be less than or equal to");
    vec![
        (contract_with("serve", &serve), "leave out configMapKeyRef, or Retain"),
        (contract_with("rules", &json!([cel, cel])), "duplicate entries for key [name=\"twice\"]"),
        (contract_with_rule(&json!({"failureThreshold": 0, "schema": {}})), least),
        (contract_with_rule(&json!({"failureThreshold": 101, "schema": {}})), most),
        (contract_with_rule(&json!({"successThreshold": 0, "schema": {}})), least),
        (contract_with_rule(&json!({"successThreshold": 101, "schema": {}})), most),
        (contract_with_rule(&json!({"asset": {"paths": []}})), "should have at least 1 items"),
        (
            contract_with_rule(&json!({"asset": {"paths": ["$.a"], "maxBytes": "5 MB"}})),
            "maxBytes in body should match",
        ),
        (
            contract_with_rule(&json!({"asset": {"paths": ["$.a"], "missingStatus": [99]}})),
            "missingStatus[0] in body should be greater than or equal to 100",
        ),
        (
            contract_with_rule(&json!({"asset": {"paths": ["$.a"], "missingStatus": [600]}})),
            "missingStatus[0] in body should be less than or equal to 599",
        ),
        (
            contract_with_rule(&json!({"freshness": {"path": "publishedAt", "maxAge": "1h"}})),
            "path in body should match '^/'",
        ),
        (
            contract_with_rule(&json!({"metadata": {"required": ["version"]}})),
            "required[0] in body should match '^(/.*)?$'",
        ),
        (contract_with("history", &json!({"limit": 101})), most),
        (
            contract_with("fallbackAssets", &json!([{"url": "/placeholder.png"}])),
            "url in body should match '^https?:",
        ),
    ]
}

fn bad_classes() -> Vec<(String, &'static str)> {
    let class = |name: &str, spec: &str| {
        format!(
            "{{apiVersion: kintsugi.dev/v1alpha1, kind: WidgetClass, metadata: {{name: {name}}}, \
             spec: {{{spec}}}}}"
        )
    };
    vec![
        (class(&"n".repeat(53), ""), "metadata.name must be at most 52 characters"),
        (class("c", "schema: {}"), "exactly one of inline, configMapKeyRef must be set"),
        (
            class("c", "schema: {inline: {}, configMapKeyRef: {name: a, key: b}}"),
            "exactly one of inline, configMapKeyRef must be set",
        ),
        (
            class("c", "source: {url: 'https://a.test', serviceRef: {name: a, port: 80}}"),
            "exactly one of url, serviceRef",
        ),
        (
            class("c", "rules: [{name: a}]"),
            "exactly one of schema, cel, asset, metadata, freshness",
        ),
        (
            class("c", "rules: [{name: a, schema: {}}, {name: a, schema: {}}]"),
            "duplicate entries for key [name=\"a\"]",
        ),
    ]
}

fn bad_incidents() -> Vec<(String, &'static str)> {
    let with = |field: &str, value: Value| {
        let mut spec = whole_incident();
        *spec.pointer_mut(field).unwrap() = value;
        incident(&spec)
    };
    let two = json!({"policy": {"name": "heal"}, "class": {"name": "storefinder"}});
    let and = |field: &str, value: Value| {
        let mut spec = whole_incident();
        spec[field] = value;
        incident(&spec)
    };
    vec![
        (with("/cause", json!("AssetMissing")), "only approval, close, undo may change"),
        (
            and("about", json!({"policy": {"name": "heal"}})),
            "exactly one of contractName, about must be set",
        ),
        (
            and("about", two.clone()),
            "exactly one of policy, class, schema, host, egress must be set",
        ),
        (and("blames", two), "exactly one of policy, class, schema, host, egress must be set"),
        (
            with("/plan/0/steps/0", json!({"name": "none"})),
            "exactly one of restoreRevision, refetchSource, repairDocument",
        ),
        (approved(&json!({"decision": "Reject"})), "a rejection needs a reason"),
        (approved(&json!({"planDigest": "sha256:1"})), "should match '^sha256:[0-9a-f]{64}$'"),
        (approved(&json!({"by": ""})), "by in body should be at least 1 chars long"),
        (approved(&json!({"reason": "a".repeat(257)})), "may not be more than 256"),
        (approved(&json!({"decision": "Maybe"})), "supported values: \"Approve\", \"Reject\""),
    ]
}

/// An approval with these fields instead of good ones.
fn approved(with: &Value) -> String {
    let mut spec = whole_incident();
    spec["approval"] = json!({
        "planDigest": format!("sha256:{}", "0".repeat(64)), "decision": "Approve", "by": "admin",
    });
    json_patch::merge(&mut spec["approval"], with);
    incident(&spec)
}

fn hundred_steps() -> String {
    let steps: Vec<String> =
        (0..100).map(|n| format!("{{name: step-{n}, wait: {{for: 1s}}}}")).collect();
    steps.join(", ")
}

/// A selector is written by hand: what says nothing must not select everything.
fn bad_selectors() -> Vec<(String, &'static str)> {
    vec![
        (
            policy("match: {selector: {}}, steps: [{name: a, wait: {for: 1s}}]"),
            "selector is empty and selects every contract",
        ),
        (
            policy(
                "match: {widgets: [a], selector: {matchLabels: {}}}, \
                 steps: [{name: a, wait: {for: 1s}}]",
            ),
            "selector is empty and selects every contract",
        ),
        (
            policy(
                "match: {selector: {matchExpressions: [{key: shop, operator: NotIn}]}}, \
                 steps: [{name: a, wait: {for: 1s}}]",
            ),
            "operator must be In or NotIn with values",
        ),
        (
            policy(
                "match: {selector: {matchExpressions: [{key: shop, operator: Like, values: [a]}]}}, \
                 steps: [{name: a, wait: {for: 1s}}]",
            ),
            "operator must be In or NotIn with values",
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
            policy(&format!("default: true, steps: [{}]", hundred_steps())),
            "must have at most 20 items",
        ),
        (
            policy("default: true, steps: [{name: a, webhook: {url: 'ftp://hooks.test'}}]"),
            "url in body should match",
        ),
        (policy("default: true, steps: [{name: a, webhook: {}}]"), "webhook.url: Required value"),
        (
            policy("default: true, steps: [{name: a, job: {templateConfigMapRef: {name: a}}}]"),
            "templateConfigMapRef.key: Required value",
        ),
        (
            policy("default: true, steps: [{name: a, scaleWorkload: {minReplicas: 0}}]"),
            "minReplicas in body should be greater than or equal to 1",
        ),
        (
            policy("default: true, steps: [{name: a, scaleWorkload: {minReplicas: 101}}]"),
            "minReplicas in body should be less than or equal to 100",
        ),
        (
            policy("default: true, steps: [{name: a, restartWorkload: {waitFor: Luck}}]"),
            "supported values: \"Available\", \"Nothing\"",
        ),
        (
            policy("default: true, steps: [{name: a}]"),
            "exactly one of restoreRevision, refetchSource, repairDocument",
        ),
        (
            policy("default: true, steps: [{name: a, patch: {ops: [{op: move, path: /a}]}}]"),
            "supported values: \"add\", \"replace\", \"remove\"",
        ),
        (
            policy("default: true, steps: [{name: a, wait: {for: 1s}}]")
                .replace("name: p", &format!("name: {}", "n".repeat(53))),
            "metadata.name must be at most 52 characters",
        ),
        (
            policy(
                "default: true, steps: [{name: a, wait: {for: 1s}}, {name: a, restoreRevision: {}}]",
            ),
            "duplicate entries for key [name=\"a\"]",
        ),
        (
            policy("default: true, steps: [{name: a, patch: {ops: [{op: remove, path: a}]}}]"),
            "path in body should match '^/'",
        ),
        (
            policy("default: true, steps: [{name: a, replaceAsset: {url: placeholder.png}}]"),
            "url in body should match",
        ),
        (
            policy("default: true, steps: [{name: a, regenerateMetadata: {set: {}}}]"),
            "should have at least 1 properties",
        ),
        (good_policy_with("priority: 1001"), "should be less than or equal to 1000"),
        (good_policy_with("priority: -1001"), "should be greater than or equal to -1000"),
        (good_policy_with("retry: {maxAttempts: 0}"), "should be greater than or equal to 1"),
        (good_policy_with("retry: {maxAttempts: 21}"), "should be less than or equal to 20"),
        (good_policy_with("retry: {backoff: {factor: 0}}"), "should be greater than or equal to 1"),
        (good_policy_with("retry: {backoff: {factor: 11}}"), "should be less than or equal to 10"),
        (good_policy_with("incidents: {keepResolved: 101}"), "should be less than or equal to 100"),
        (good_policy_with("incidents: {keepResolved: -1}"), "should be greater than or equal to 0"),
    ]
}

fn good_policy_with(field: &str) -> String {
    policy(&format!("default: true, steps: [{{name: a, wait: {{for: 1s}}}}], {field}"))
}

fn policy(spec: &str) -> String {
    format!(
        "{{apiVersion: kintsugi.dev/v1alpha1, kind: RemediationPolicy, metadata: {{name: p}}, \
         spec: {{{spec}}}}}"
    )
}

fn incident(spec: &Value) -> String {
    json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "uk-0123456789"}, "spec": spec,
    })
    .to_string()
}

/// An Incident's spec with every field in it that goes with a contract.
fn whole_incident() -> Value {
    let op =
        json!({"op": "replace", "path": "/title", "valueDigest": "sha256:2", "valueFrom": "spec"});
    json!({
        "subject": "uk", "contractName": "uk", "contractUID": "u", "widget": "storefinder", "ordinal": 1,
        "blames": {"class": {"name": "storefinder"}},
        "documentDigest": "sha256:0", "fingerprint": "sha256:1", "rulesSummary": "schema",
        "violations": [{"rule": "schema", "path": "/title", "keyword": "type", "message": "is not a string"}],
        "severity": "Critical", "cause": "DocumentChanged", "openedAt": "2026-01-01T00:00:00Z",
        "policiesSummary": "heal", "traceparent": "00-1",
        "plan": [{
            "policyRef": {"name": "heal"}, "policyGeneration": 1, "why": "the only one",
            "rules": ["schema"], "mode": "Auto",
            "steps": [
                {"name": "undo", "restoreRevision": {"scope": "Subtree"}},
                {"name": "patch", "patch": {"ops": [{"op": "add", "path": "/a", "value": null}]}},
            ],
        }],
        "intent": {"attempt": 1, "step": "undo", "digest": "sha256:2", "ops": [op]},
    })
}

/// The spec of one about what several contracts have in common, likewise.
fn whole_parent() -> Value {
    let mut spec = whole_incident();
    spec.as_object_mut().unwrap().remove("contractName");
    spec["about"] = json!({"policy": {"name": "heal"}});
    spec
}

#[tokio::test]
async fn each_field_of_an_incident_that_is_not_for_people_is_written_once() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "once").await;
    let whole = whole_incident();
    let stored = namespace.apply(&incident(&whole)).await;
    assert_eq!(stored.data["spec"], whole, "what is stored, a null in a patch with it");
    let of_many = Namespace::new(&cluster, "once").await;
    of_many.apply(&incident(&whole_parent())).await;
    let other = [
        ("/subject", json!("de")),
        ("/contractName", json!("de")),
        ("/blames/class/name", json!("menu")),
        ("/contractUID", json!("v")),
        ("/widget", json!("menu")),
        ("/ordinal", json!(2)),
        ("/documentDigest", json!("sha256:9")),
        ("/fingerprint", json!("sha256:9")),
        ("/rulesSummary", json!("images")),
        ("/violations/0/message", json!("is something else")),
        ("/severity", json!("Warning")),
        ("/cause", json!("AssetMissing")),
        ("/openedAt", json!("2026-01-02T00:00:00Z")),
        ("/policiesSummary", json!("other")),
        ("/traceparent", json!("00-2")),
        ("/plan", json!([])),
        ("/plan/0/policyRef/name", json!("other")),
        ("/plan/0/policyGeneration", json!(2)),
        ("/plan/0/why", json!("another reason")),
        ("/plan/0/rules/0", json!("images")),
        ("/plan/0/mode", json!("DryRun")),
        ("/plan/0/steps/0", json!({"name": "undo", "wait": {"for": "1s"}})),
        ("/plan/0/steps/0/restoreRevision/scope", json!("Document")),
        ("/plan/0/steps/1/patch/ops/0/value", json!({"b": 1})),
        ("/intent/attempt", json!(2)),
        ("/intent/step", json!("patch")),
        ("/intent/digest", json!("sha256:9")),
        ("/intent/ops/0/path", json!("/other")),
        ("/about/policy/name", json!("other")),
    ];
    let holding = |field: &str| match field {
        "about" => (whole_parent(), &of_many),
        _ => (whole.clone(), &namespace),
    };
    for (field, value) in &other {
        let (mut changed, namespace) = holding(field.split('/').nth(1).unwrap());
        *changed.pointer_mut(field).unwrap() = value.clone();
        let message = namespace.refusal(&incident(&changed)).await;
        assert!(
            message.contains("spec is written once; only approval, close, undo may change"),
            "{field}: {message}"
        );
    }
    for (field, required) in spec_fields("Incident") {
        if kintsugi::api::crd::FOR_PEOPLE.contains(&field.as_str()) {
            continue;
        }
        let changed = |(at, _): &(&str, Value)| at.split('/').nth(1) == Some(&field);
        assert!(other.iter().any(changed), "no case changes {field}");
        if !required {
            let (mut without, namespace) = holding(&field);
            assert!(without.as_object_mut().unwrap().remove(&field).is_some(), "{field}");
            let message = namespace.refusal(&incident(&without)).await;
            assert!(message.contains("spec is written once"), "without {field}: {message}");
        }
    }
    let mut closed = whole;
    closed["close"] = json!(true);
    namespace.apply(&incident(&closed)).await;
}

#[tokio::test]
async fn a_field_that_an_incident_was_opened_without_is_not_added() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "once").await;
    let mut whole = whole_incident();
    let fields = spec_fields("Incident");
    let mut least = json!({"contractName": "uk"});
    for (field, _) in fields.iter().filter(|(_, required)| *required) {
        least[field] = whole[field].clone();
    }
    whole["about"] = whole_parent()["about"].clone();
    namespace.apply(&incident(&least)).await;
    let is_ours = |field: &String| {
        field != "contractName" && !kintsugi::api::crd::FOR_PEOPLE.contains(&field.as_str())
    };
    for (field, _) in fields.iter().filter(|(field, required)| !required && is_ours(field)) {
        let mut with = least.clone();
        with[field] = whole[field].clone();
        let message = namespace.refusal(&incident(&with)).await;
        assert!(message.contains("spec is written once"), "with {field}: {message}");
    }
}

/// The names of the fields in a kind's spec, and whether each is required.
fn spec_fields(kind: &str) -> Vec<(String, bool)> {
    let all = kintsugi::api::crd::all().unwrap();
    let crd = all.iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let crd = serde_json::to_value(crd).unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let required = spec["required"].as_array().unwrap();
    let fields = spec["properties"].as_object().unwrap().keys();
    fields.map(|field| (field.clone(), required.contains(&json!(field)))).collect()
}
