//! Bad input: each gives a condition that names the field and the fix, nothing crashes, and what
//! is served stays served.

use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kintsugi::api::WidgetContract;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{
    Cluster, Namespace, Operator, condition, has, storefinder,
    web::{Answer, Web},
};

const FROM_CONFIG_MAP: &str = "{apiVersion: kintsugi.dev/v1alpha1, kind: WidgetContract, \
    metadata: {name: uk}, spec: {widget: storefinder, \
    document: {configMapKeyRef: {name: contracts, key: uk.json}}, \
    schema: {inline: {required: [title]}}}}";

async fn serving_from_config_map(prefix: &str) -> (Namespace, Operator) {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, prefix).await;
    let operator = Operator::start(&cluster, &namespace, &[]);
    namespace.config_map("contracts", &[("uk.json", "{\"title\": \"good\"}")]).await;
    namespace.apply(FROM_CONFIG_MAP).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    (namespace, operator)
}

fn says(
    type_: &'static str,
    status: &'static str,
    text: &'static str,
) -> impl Fn(Option<&WidgetContract>) -> bool {
    move |contract| {
        contract.is_some_and(|contract| {
            let (is, _, message) = condition(contract, type_);
            is == status && message.contains(text)
        })
    }
}

#[tokio::test]
async fn a_document_that_is_not_usable_json_says_what_is_wrong_and_the_good_one_stays() {
    let (namespace, _operator) = serving_from_config_map("notjson").await;
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let cases: [(&str, &'static str); 5] = [
        ("<html></html>", "not JSON"),
        ("{\"title\": \"a\", \"title\": \"b\"}", "has the key \"title\" twice"),
        ("{\"title\": NaN}", "not JSON"),
        (&deep, "deeper than 128 levels"),
        ("{\"title\": 7.0, \"headline\": \"canary-4711\"", "not JSON"),
    ];
    for (bytes, expected) in cases {
        namespace.config_map("contracts", &[("uk.json", bytes)]).await;
        let contract =
            namespace.contract_when("uk", expected, says("Valid", "False", expected)).await;
        let status = serde_json::to_string(&contract.status).unwrap();
        assert!(!status.contains("canary"), "{status}");
        assert_eq!(namespace.served_when("uk", |_| true).await["title"], "good");
        namespace.config_map("contracts", &[("uk.json", "{\"title\": \"good\"}")]).await;
        namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    }
}

#[tokio::test]
async fn bytes_that_are_not_utf8_say_so() {
    let (namespace, _operator) = serving_from_config_map("utf8").await;
    let bad = ConfigMap {
        binary_data: Some(
            [("uk.json".into(), ByteString(b"{\"title\": \"\xff\"}".to_vec()))].into(),
        ),
        ..ConfigMap::default()
    };
    let patch = json!({"data": null, "binaryData": bad.binary_data});
    let config_maps = namespace.api::<ConfigMap>();
    config_maps.patch("contracts", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    namespace.contract_when("uk", "utf8", says("Valid", "False", "not valid UTF-8")).await;
    assert_eq!(namespace.served_when("uk", |_| true).await["title"], "good");
}

#[tokio::test]
async fn a_document_of_900_kib_is_served_and_stored_and_a_larger_one_says_so() {
    let (namespace, _operator) = serving_from_config_map("large").await;
    let sized = |bytes: usize| {
        let empty = json!({"title": ""}).to_string().len();
        json!({"title": "x".repeat(bytes - empty)}).to_string()
    };
    namespace.config_map("contracts", &[("uk.json", &sized(900 * 1024))]).await;
    let large = |contract: Option<&WidgetContract>| {
        let served = contract.and_then(|c| c.status.as_ref()?.document.as_ref()?.served.as_ref());
        served.is_some_and(|served| served.revision == Some(2))
    };
    namespace.contract_when("uk", "serves it", large).await;
    namespace.served_when("uk", |value| value["title"].as_str().unwrap().len() > 900_000).await;
    namespace.config_map("contracts", &[("uk.json", &sized(900 * 1024 + 1))]).await;
    namespace.contract_when("uk", "too large", says("Valid", "False", "at most 921600")).await;
}

#[tokio::test]
async fn a_schema_that_cannot_be_used_leaves_the_verdict_unknown_and_the_good_document_served() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "badschema").await;
    let _operator = Operator::start(&cluster, &namespace, &[]);
    let with_schema = |schema: Value| {
        let mut manifest: Value =
            serde_json::from_str(&storefinder("uk", &json!({"title": "good"}))).unwrap();
        manifest["spec"]["schema"]["inline"] = schema;
        manifest.to_string()
    };
    let mut fan_out = json!({"$defs": {"d0": {"type": "object"}}, "$ref": "#/$defs/d30"});
    for n in 1..=30 {
        let below = json!({"$ref": format!("#/$defs/d{}", n - 1)});
        fan_out["$defs"][format!("d{n}")] = json!({"allOf": [below, below]});
    }
    let cases: Vec<(Value, &'static str)> = vec![
        (json!({"type": "strnig"}), "SchemaInvalid"),
        (json!({"$ref": "https://example.com/schema.json"}), "SchemaInvalid"),
        (json!({"$ref": "file:///etc/passwd"}), "SchemaInvalid"),
        (json!({"pattern": "((a{1,1000}){1,1000}){1,1000}"}), "SchemaInvalid"),
        (fan_out, "SchemaTooCostly"),
    ];
    for (schema, reason) in cases {
        namespace.apply(&with_schema(json!({}))).await;
        namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
        namespace.apply(&with_schema(schema.clone())).await;
        let unknown = move |contract: Option<&WidgetContract>| {
            contract.is_some_and(|c| {
                let (status, why, _) = condition(c, "Valid");
                status == "Unknown" && why.starts_with("Schema")
            })
        };
        let contract = namespace.contract_when("uk", reason, unknown).await;
        let (_, why, message) = condition(&contract, "Valid");
        let costly_or_invalid = [reason, "SchemaTooCostly"];
        assert!(costly_or_invalid.contains(&why), "{why}: {message} for {schema}");
        assert_eq!(namespace.served_when("uk", |_| true).await["title"], "good");
    }
    // Recursion in the data is not a fault of the schema.
    let tree = json!({"$defs": {"node": {"properties": {"child": {"$ref": "#/$defs/node"}}}},
                      "$ref": "#/$defs/node"});
    namespace.apply(&with_schema(tree)).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
}

#[tokio::test]
async fn an_expression_that_cannot_be_used_leaves_the_verdict_unknown() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "badcel").await;
    let _operator = Operator::start(&cluster, &namespace, &[]);
    let nested = "self.l.all(a, self.l.all(b, self.l.all(c, self.l.all(d, a == d))))";
    for (expression, reason) in [
        ("self.title ==", "ExpressionInvalid"),
        ("size(self.title)", "ExpressionInvalid"),
        (nested, "ExpressionTooCostly"),
    ] {
        let mut manifest: Value =
            serde_json::from_str(&storefinder("uk", &json!({"title": "good"}))).unwrap();
        manifest["spec"]["rules"] = json!([{"name": "cel", "cel": {"expression": expression}}]);
        namespace.apply(&manifest.to_string()).await;
        let unknown = move |contract: Option<&WidgetContract>| {
            contract.is_some_and(|c| {
                let (status, why, _) = condition(c, "Valid");
                status == "Unknown" && why == reason
            })
        };
        let contract = namespace.contract_when("uk", reason, unknown).await;
        assert!(condition(&contract, "Valid").2.contains("rule cel"), "{expression}");
    }
}

#[tokio::test]
async fn a_url_that_answers_badly_is_unknown_or_fails_and_the_good_document_stays() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "badurl").await;
    let args = ["--allow-cidrs=127.0.0.0/8", "--allow-http", "--fetch-timeout=500ms"];
    let _operator = Operator::start(&cluster, &namespace, &args);
    let web = Web::start().await;
    let good = "{\"title\": \"good\"}";
    web.answer("/uk.json", 200, "application/json", good);
    let manifest = json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "WidgetContract", "metadata": {"name": "uk"},
        "spec": {"widget": "storefinder", "interval": "1s", "document": {"url": web.url("/uk.json")},
                 "schema": {"inline": {"required": ["title"]}}},
    });
    namespace.apply(&manifest.to_string()).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let html = Answer::Text(200, "text/html".to_owned(), "<html>canary</html>".to_owned());
    let error = Answer::Text(503, "text/plain".to_owned(), "busy".to_owned());
    let cases = [
        (html, "False", "not JSON"),
        (error, "Unknown", "spec.document.url answered with status 503"),
        (Answer::Redirect("/uk.json".to_owned()), "Unknown", "spec.document.url"),
        (
            Answer::Redirect("http://169.254.169.254/latest".to_owned()),
            "Unknown",
            "spec.document.url",
        ),
        (Answer::Endless, "Unknown", "spec.document.url"),
        (Answer::Silence, "Unknown", "spec.document.url"),
    ];
    for (answer, verdict, text) in cases {
        web.set("/uk.json", answer.clone());
        let contract = namespace.contract_when("uk", text, says("Valid", verdict, text)).await;
        assert!(!condition(&contract, "Valid").2.contains("canary"), "{answer:?}");
        assert_eq!(namespace.served_when("uk", |_| true).await["title"], "good", "{answer:?}");
        web.answer("/uk.json", 200, "application/json", good);
        namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    }
    // Once a second at most: an answer that is bad is no reason to ask faster.
    assert!(web.asked("/uk.json").len() < 100, "{}", web.asked("/uk.json").len());
}

#[tokio::test]
async fn a_private_address_is_refused_unless_a_flag_allows_it() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "guard").await;
    let _operator = Operator::start(&cluster, &namespace, &["--allow-http"]);
    let web = Web::start().await;
    web.answer("/uk.json", 200, "application/json", "{}");
    let manifest = json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "WidgetContract", "metadata": {"name": "uk"},
        "spec": {"widget": "storefinder", "document": {"url": web.url("/uk.json")}},
    });
    namespace.apply(&manifest.to_string()).await;
    namespace.contract_when("uk", "refused", has("Valid", "Unknown", "AddressRefused")).await;
    assert!(web.asked("/uk.json").is_empty());
}

#[tokio::test]
async fn a_path_that_matches_nothing_is_unknown_and_named() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "nopath").await;
    let _operator = Operator::start(&cluster, &namespace, &[]);
    let mut manifest: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": "good"}))).unwrap();
    manifest["spec"]["rules"] = json!([{"name": "images", "asset": {"paths": ["$..nothing"]}}]);
    namespace.apply(&manifest.to_string()).await;
    let contract =
        namespace.contract_when("uk", "unknown", has("Valid", "Unknown", "RuleInvalid")).await;
    assert!(condition(&contract, "Valid").2.contains("paths[0]"));
    assert_eq!(condition(&contract, "Serving").1, "AssignedUnverified");
}

#[tokio::test]
async fn a_contract_that_cannot_be_read_says_so_and_stops_nobody_else() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "unreadable").await;
    let mut manifest: Value =
        serde_json::from_str(&storefinder("bad", &json!({"title": "good"}))).unwrap();
    // Within the CRD's pattern, and still no duration.
    manifest["spec"]["interval"] = json!("1s1h");
    namespace.apply(&manifest.to_string()).await;
    let _operator = Operator::start(&cluster, &namespace, &[]);
    namespace.apply(&storefinder("uk", &json!({"title": "good"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let raw = kube::core::ApiResource::erase::<WidgetContract>(&());
    let raw: kube::Api<kube::core::DynamicObject> =
        kube::Api::namespaced_with(namespace.client.clone(), &namespace.name, &raw);
    let says = |object: Option<&kube::core::DynamicObject>| {
        object.is_some_and(|object| object.data["status"]["reason"] == "SpecInvalid")
    };
    let waiting = kube::runtime::wait::await_condition(raw.clone(), "bad", says);
    tokio::time::timeout(crate::support::PATIENCE, waiting).await.unwrap().unwrap();
    let status = raw.get("bad").await.unwrap().data["status"].to_string();
    assert!(status.contains("1s1h") && status.contains("not a duration"), "{status}");
    namespace.apply(&storefinder("bad", &json!({"title": "good"}))).await;
    let mut mended: Value =
        serde_json::from_str(&storefinder("bad", &json!({"title": "good"}))).unwrap();
    mended["spec"]["interval"] = json!("5s");
    namespace.apply(&mended.to_string()).await;
    namespace.contract_when("bad", "Ready", has("Ready", "True", "Assigned")).await;
}

#[tokio::test]
async fn a_source_that_answers_badly_is_told_by_its_field_and_never_served() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "badsource").await;
    let args = ["--allow-cidrs=127.0.0.0/8", "--allow-http", "--fetch-timeout=500ms"];
    let _operator = Operator::start(&cluster, &namespace, &args);
    let policy = json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy", "metadata": {"name": "heal"},
        "spec": {"default": true, "steps": [{"name": "refetch", "refetchSource": {"scope": "Document"}}],
                 "retry": {"maxAttempts": 1}},
    });
    namespace.apply(&policy.to_string()).await;
    let web = Web::start().await;
    let text = |status, body: &str| Answer::Text(status, "text/html".to_owned(), body.to_owned());
    let cases = [
        ("html", text(200, "<html>canary</html>"), "spec.source: the document is not JSON"),
        ("error", text(500, "canary"), "spec.source answered with status 500"),
        ("invalid", text(200, "{\"title\": true}"), "makes nothing better"),
        ("loop", Answer::Redirect("/loop".to_owned()), "spec.source"),
        ("endless", Answer::Endless, "spec.source"),
        ("silent", Answer::Silence, "spec.source"),
        ("secret", text(200, "{\"title\": \"x\"}"), "Secret absent does not exist"),
    ];
    for (name, answer, expected) in cases {
        web.set(&format!("/{name}"), answer);
        let mut manifest: Value =
            serde_json::from_str(&storefinder(name, &json!({"title": 7}))).unwrap();
        manifest["spec"]["source"] = json!({"url": web.url(&format!("/{name}"))});
        if name == "secret" {
            manifest["spec"]["source"]["headersSecretRef"] = json!({"name": "absent"});
        }
        namespace.apply(&manifest.to_string()).await;
        let named = |contract: Option<&WidgetContract>| {
            contract.and_then(|c| c.status.as_ref()?.incident_ref.as_ref()).is_some()
        };
        let contract = namespace.contract_when(name, "has an Incident", named).await;
        let incident = contract.status.unwrap().incident_ref.unwrap().name;
        let escalated = |incident: Option<&kintsugi::api::Incident>| {
            let state = incident.and_then(|i| i.status.as_ref()?.state);
            state.is_some_and(|state| state.to_string() == "Escalated")
        };
        let incident = namespace.when(&incident, "Escalated", escalated).await;
        let message = incident.status.unwrap().message;
        assert!(message.contains(expected), "{name}: {message}");
        assert!(!message.contains("canary"), "{name}: {message}");
        assert_eq!(
            namespace.config_map_key(&format!("{name}-served"), "contract.json").await,
            None
        );
    }
}
