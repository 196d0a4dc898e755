//! Bad input: each gives a condition that names the field and the fix, nothing crashes, and what
//! is served stays served.

use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kintsugi::api::WidgetContract;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{
    Cluster, Namespace, Operator, PATIENCE, condition, has, storefinder,
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
    let cases: [(&str, &'static str); 6] = [
        ("<html></html>", "is not JSON: expected value at line 1 column 1; correct it there"),
        (
            "{\"title\": \"a\", \"title\": \"b\"}",
            "the object at \"\" has the key \"title\" twice; keep one of them",
        ),
        ("{\"title\": NaN}", "is not JSON: expected value at line 1 column 11; correct it there"),
        ("{\"title\": 1e999}", "is not JSON: number out of range at line 1 column 15"),
        (&deep, "nests deeper than 128 levels; flatten it"),
        ("{\"title\": 7.0, \"headline\": \"canary-4711\"", "is not JSON: EOF"),
    ];
    for (bytes, expected) in cases {
        namespace.config_map("contracts", &[("uk.json", bytes)]).await;
        let contract =
            namespace.contract_when("uk", expected, says("Valid", "False", expected)).await;
        let (_, _, message) = condition(&contract, "Valid");
        assert!(message.contains("spec.document.configMapKeyRef: "), "{message}");
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
    namespace
        .contract_when(
            "uk",
            "too large",
            says(
                "Valid",
                "False",
                "at most 921600 can be served from a ConfigMap: make it smaller",
            ),
        )
        .await;
}

/// A contract whose good document is served, and whose schema then becomes `schema` (what stands
/// under `spec.schema`): what the condition Valid says then, with the good document still served.
async fn with_bad_schema(prefix: &str, schema: Value) -> (Namespace, Operator, String, String) {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, prefix).await;
    let operator = Operator::start(&cluster, &namespace, &[]);
    let manifest = |schema: Value| {
        let mut manifest: Value =
            serde_json::from_str(&storefinder("uk", &json!({"title": "good"}))).unwrap();
        manifest["spec"]["schema"] = schema;
        manifest.to_string()
    };
    namespace.apply(&manifest(json!({"inline": {}}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.apply(&manifest(schema)).await;
    let unknown = |contract: Option<&WidgetContract>| {
        contract.is_some_and(|contract| condition(contract, "Valid").0 == "Unknown")
    };
    let contract = namespace.contract_when("uk", "unknown", unknown).await;
    let (_, reason, message) = condition(&contract, "Valid");
    assert_eq!(namespace.served_when("uk", |_| true).await["title"], "good");
    assert_eq!(contract.status.as_ref().unwrap().incident_ref, None, "Unknown is not Fail");
    let said = (reason.to_owned(), message.to_owned());
    (namespace, operator, said.0, said.1)
}

async fn bad_schema_says(prefix: &str, schema: Value, reason: &str, words: &[&str]) {
    let (_namespace, _operator, is, message) = with_bad_schema(prefix, schema).await;
    assert_eq!(is, reason, "{message}");
    for words in words {
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test]
async fn a_schema_that_does_not_compile_names_the_place() {
    let schema = json!({"inline": {"properties": {"title": {"type": "strnig"}}}});
    let words = ["spec.schema does not compile at \"/properties/title/type\"", "correct it there"];
    bad_schema_says("strnig", schema, "SchemaInvalid", &words).await;
}

#[tokio::test]
async fn a_schema_that_leads_out_of_itself_is_refused_and_nothing_is_fetched() {
    let web = Web::start().await;
    let schema = json!({"inline": {"$ref": web.url("/schema.json")}});
    bad_schema_says("remoteref", schema, "SchemaInvalid", &["spec.schema", "$ref"]).await;
    assert!(web.asked("/schema.json").is_empty());
    let schema = json!({"inline": {"$ref": "file:///etc/passwd"}});
    bad_schema_says("fileref", schema, "SchemaInvalid", &["spec.schema", "$ref"]).await;
}

#[tokio::test]
async fn a_schema_that_refers_to_itself_without_end_is_refused() {
    let schema = json!({"inline": {"$ref": "#"}});
    bad_schema_says(
        "selfref",
        schema,
        "SchemaInvalid",
        &["spec.schema", "following $ref", "leads back to it"],
    )
    .await;
}

#[tokio::test]
async fn a_pattern_too_large_to_match_is_refused_and_says_how_to_write_it() {
    let schema = json!({"inline": {"pattern": "((a{1,1000}){1,1000}){1,1000}"}});
    let words = ["spec.schema has a regular expression at \"/pattern\"", "write it without"];
    bad_schema_says("pattern", schema, "SchemaInvalid", &words).await;
}

#[tokio::test]
async fn a_schema_that_fans_out_is_refused_before_it_runs() {
    let mut fan_out = json!({"$defs": {"d0": {"type": "object"}}, "$ref": "#/$defs/d30"});
    for n in 1..=30 {
        let below = json!({"$ref": format!("#/$defs/d{}", n - 1)});
        fan_out["$defs"][format!("d{n}")] = json!({"allOf": [below, below]});
    }
    let words = ["spec.schema fans out", "refer to each definition once"];
    bad_schema_says("fanout", json!({"inline": fan_out}), "SchemaTooCostly", &words).await;
}

#[tokio::test]
async fn a_chain_of_refs_as_long_as_an_object_can_hold_is_refused() {
    // 100,000 links do not fit into an object of the API server; the unit tests have them.
    let mut chain = json!({"$defs": {"d0": {}}, "$ref": "#/$defs/d10000"});
    for n in 1..=10_000 {
        chain["$defs"][format!("d{n}")] = json!({"$ref": format!("#/$defs/d{}", n - 1)});
    }
    let words = ["more than 500 $refs one after the other", "refer to the last one directly"];
    bad_schema_says("chain", json!({"inline": chain}), "SchemaTooCostly", &words).await;
}

#[tokio::test]
async fn a_schema_config_map_or_key_that_is_missing_is_named_and_found_when_it_comes() {
    let schema = json!({"configMapKeyRef": {"name": "schemas", "key": "v1.json"}});
    let (namespace, _operator, reason, message) = with_bad_schema("noschema", schema).await;
    assert_eq!(reason, "SchemaNotFound");
    let field = "spec.schema.configMapKeyRef: ConfigMap";
    assert!(message.contains(field) && message.contains("does not exist; create it"), "{message}");
    namespace.config_map("schemas", &[("v2.json", "{}")]).await;
    let says_key = says("Valid", "Unknown", "has no key \"v1.json\"; add it, or name another");
    namespace.contract_when("uk", "the key is missing", says_key).await;
    namespace.config_map("schemas", &[("v1.json", "{\"required\": [\"title\"]}")]).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
}

#[tokio::test]
async fn recursion_in_the_data_and_a_pattern_that_explodes_elsewhere_are_no_faults() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "goodschema").await;
    let _operator = Operator::start(&cluster, &namespace, &[]);
    let mut manifest: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": "a".repeat(5_000)}))).unwrap();
    manifest["spec"]["schema"]["inline"] = json!({
        "$defs": {"node": {"properties": {"child": {"$ref": "#/$defs/node"}}}},
        "$ref": "#/$defs/node",
        "properties": {"title": {"pattern": "^(a+)+$"}},
    });
    namespace.apply(&manifest.to_string()).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    manifest["spec"]["document"]["inline"] = json!({"title": format!("{}!", "a".repeat(5_000))});
    namespace.apply(&manifest.to_string()).await;
    namespace.contract_when("uk", "fails", has("Valid", "False", "RulesFail")).await;
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

/// A contract whose good document comes from a URL, which then answers with `answer`: the condition
/// Valid has this status and says these words, nothing of the answer is shown, what is served
/// stays, and a bad answer is no reason to ask faster.
async fn url_says(prefix: &str, answer: Answer, status: &'static str, words: &'static str) {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, prefix).await;
    let args = ["--allow-cidrs=127.0.0.0/8", "--allow-http", "--fetch-timeout=500ms"];
    let _operator = Operator::start(&cluster, &namespace, &args);
    let web = Web::start().await;
    let good = "{\"title\": \"good\"}";
    web.answer("/uk.json", 200, "application/json", good);
    web.answer("/wakes", 200, "application/json", good);
    let manifest = |name: &str, path: &str, interval: &str| {
        json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "WidgetContract",
            "metadata": {"name": name},
            "spec": {"widget": "storefinder", "interval": interval,
                     "document": {"url": web.url(path)},
                     "schema": {"inline": {"required": ["title"]}}},
        })
        .to_string()
    };
    namespace.apply(&manifest("uk", "/uk.json", "1s")).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    web.set("/uk.json", answer);
    let before = web.asked("/uk.json").len();
    let contract = namespace.contract_when("uk", words, says("Valid", status, words)).await;
    let (_, _, message) = condition(&contract, "Valid");
    assert!(message.contains("spec.document.url"), "{message}");
    assert!(!message.contains("canary"), "{message}");
    // Another contract that looks as often is the clock: a hot loop would ask thousands of times.
    namespace.apply(&manifest("clock", "/wakes", "1s")).await;
    namespace.contract_when("clock", "Ready", has("Ready", "True", "Assigned")).await;
    web.asked_again("/wakes", 3).await;
    let asked = web.asked("/uk.json").len() - before;
    assert!(asked < 100, "asked {asked} times while another URL was asked a few times");
    assert_eq!(namespace.served_when("uk", |_| true).await["title"], "good");
    web.answer("/uk.json", 200, "application/json", good);
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
}

#[tokio::test]
async fn a_url_that_answers_html_fails_and_the_good_document_stays() {
    let html = Answer::Text(200, "text/html".to_owned(), "<html>canary</html>".to_owned());
    url_says("html", html, "False", "is not JSON").await;
}

#[tokio::test]
async fn a_url_that_answers_an_error_is_unknown_and_says_the_status() {
    let error = Answer::Text(503, "text/plain".to_owned(), "canary".to_owned());
    url_says("error", error, "Unknown", "answered with status 503, not 200").await;
}

#[tokio::test]
async fn a_url_that_redirects_in_a_circle_is_unknown_and_says_so() {
    let circle = Answer::Redirect("/uk.json".to_owned());
    url_says("circle", circle, "Unknown", "give the URL that it should end at").await;
}

#[tokio::test]
async fn a_url_that_redirects_to_the_cloud_s_metadata_is_refused() {
    let inside = Answer::Redirect("http://169.254.169.254/latest".to_owned());
    url_says("inside", inside, "Unknown", "http://169.254.169.254 has a").await;
}

#[tokio::test]
async fn a_url_whose_body_never_ends_is_cut_at_the_largest_document() {
    url_says("endless", Answer::Endless, "Unknown", "sends more than 921601 bytes").await;
}

#[tokio::test]
async fn a_url_that_never_answers_is_given_up_at_its_time_limit() {
    url_says("silent", Answer::Silence, "Unknown", "did not answer completely within 500ms").await;
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
    let raw: kube::Api<DynamicObject> =
        kube::Api::namespaced_with(namespace.client.clone(), &namespace.name, &raw);
    let says = |object: Option<&DynamicObject>| {
        object.is_some_and(|object| object.data["status"]["reason"] == "SpecInvalid")
    };
    let waiting = kube::runtime::wait::await_condition(raw.clone(), "bad", says);
    tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
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
    let args = ["--allow-cidrs=127.0.0.0/8", "--allow-http", "--fetch-timeout=5s"];
    let _operator = Operator::start(&cluster, &namespace, &args);
    let policy = json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy", "metadata": {"name": "heal"},
        "spec": {"default": true, "steps": [{"name": "refetch", "refetchSource": {"scope": "Document"}}],
                 "retry": {"maxAttempts": 1},
                 // One after the other they are all in trouble, which would be a storm.
                 "storm": {"maxUnhealthy": "100%"}},
    });
    namespace.apply(&policy.to_string()).await;
    let web = Web::start().await;
    let text = |status, body: &str| Answer::Text(status, "text/html".to_owned(), body.to_owned());
    let cases = [
        ("html", text(200, "<html>canary</html>"), "spec.source: the document is not JSON"),
        ("error", text(500, "canary"), "spec.source answered with status 500"),
        ("invalid", text(200, "{\"title\": true}"), "makes nothing better"),
        ("loop", Answer::Redirect("/loop".to_owned()), "give the URL that it should end at"),
        ("endless", Answer::Endless, "sends more than 921601 bytes"),
        ("silent", Answer::Silence, "did not answer completely within 5s"),
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
