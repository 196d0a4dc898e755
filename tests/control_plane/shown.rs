//! What people see over the JSON API of what the operator does: its parts, breakers, policies, its log,
//! and documents.

use serde_json::{Value, json};

use crate::{
    desk::{refused, until},
    healing::{edit, incident_is, incident_when, policy, shop},
    support::{
        Cluster, Namespace, Operator,
        desk::{self, DESK, Visitor},
        has, storefinder,
        web::Web,
    },
};

const LOCAL: [&str; 3] = [DESK, "--allow-cidrs=127.0.0.0/8", "--allow-http"];

struct World {
    cluster: Cluster,
    namespace: Namespace,
    operator: Operator,
}

impl World {
    async fn new(prefix: &str, args: &[&str]) -> Self {
        let cluster = Cluster::running();
        let namespace = Namespace::new(&cluster, prefix).await;
        let operator = Operator::start(&cluster, &namespace, args);
        Self { cluster, namespace, operator }
    }

    /// Somebody who may do these verbs with these resources of ours, and get these ConfigMaps.
    async fn visitor(&self, name: &str, ours: &[&str], config_maps: &[&str]) -> Visitor {
        let mut rules = vec![json!({"apiGroups": ["kintsugi.dev"], "resources": ours,
            "verbs": ["get", "list"]})];
        if !config_maps.is_empty() {
            rules.push(json!({"apiGroups": [""], "resources": ["configmaps"],
                "resourceNames": config_maps, "verbs": ["get"]}));
        }
        let World { cluster, namespace, operator } = self;
        desk::visitor(cluster, namespace, operator, name, &json!(rules)).await
    }

    fn at(&self, path: &str) -> String {
        format!("/api/v1/namespaces/{}/{path}", self.namespace.name)
    }
}

fn items(body: &Value) -> &[Value] {
    body["items"].as_array().unwrap()
}

/// The contract `uk`, healed once: its title is no text, and it is served as it was before.
async fn healed(world: &World) -> String {
    let restore = json!([{"name": "restore", "restoreRevision": {}}]);
    policy(&world.namespace, &restore, &json!({"priority": 7})).await;
    world.namespace.apply(&storefinder("uk", &shop())).await;
    world.namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let broken = edit(&shop(), |document| document["title"] = json!(7));
    world.namespace.apply(&storefinder("uk", &broken)).await;
    incident_when(&world.namespace, "uk", "Mitigated").await.metadata.name.unwrap()
}

#[tokio::test]
async fn a_source_that_is_left_alone_is_a_part_of_the_platform_and_a_breaker_of_its_policies() {
    let world = World::new("shownbreakers", &LOCAL).await;
    let web = Web::start().await;
    web.answer("/shop.json", 503, "text/plain", "down");
    let more = json!({"breaker": {"failureThreshold": 1, "openFor": "1h"}});
    policy(&world.namespace, &json!([{"name": "refetch", "refetchSource": {}}]), &more).await;
    let mut manifest: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": 7}))).unwrap();
    manifest["spec"]["source"] = json!({"url": web.url("/shop.json")});
    world.namespace.apply(&manifest.to_string()).await;

    let sees = ["widgetcontracts", "remediationpolicies", "incidents"];
    let ann = world.visitor("ann", &sees, &[]).await;
    let is_open = |answer: &desk::Answer| answer.body["items"][0]["state"] == "open";
    let found = until(&ann, "/api/v1/breakers", is_open).await;
    let [row] = items(&found.body) else { panic!("{found:?}") };
    let dependency = format!("source {}", web.url(""));
    assert_eq!((&row["dependency"], &row["failures"]), (&json!(dependency), &json!(1)), "{row}");
    assert_eq!(
        (&row["policies"], &row["namespace"]),
        (&json!(["heal"]), &json!(world.namespace.name))
    );
    assert!(row["nextProbe"].as_str() > row["since"].as_str(), "{row}");

    let health = ann.get("/api/v1/health").await.body;
    let parts = health["parts"].as_array().unwrap();
    let source = parts.iter().find(|part| part["kind"] == "Source").unwrap();
    assert_eq!(source["state"], "critical", "{source}");
    assert_eq!(
        (&source["name"], &source["namespace"]),
        (&json!(web.url("")), &json!(world.namespace.name))
    );
    assert_eq!(parts[0], *source, "the worst comes first: {parts:?}");
    let why = health["why"].as_array().unwrap();
    assert!(why.iter().any(|why| why.as_str().unwrap().contains("left alone")), "{why:?}");

    let bob = world.visitor("bob", &["widgetcontracts"], &[]).await;
    refused(&bob.get("/api/v1/breakers").await, 403, "list remediationpolicies.kintsugi.dev");
    refused(&bob.get("/api/v1/policies").await, 403, "list remediationpolicies.kintsugi.dev");
    refused(&bob.get(&world.at("policies/heal")).await, 403, "get remediationpolicies");
}

#[tokio::test]
async fn a_collector_that_nobody_reaches_is_a_part_of_the_platform() {
    let args = [DESK, "--otlp-endpoint=http://127.0.0.1:1", "--otlp-metrics-interval=100"];
    let world = World::new("shownotlp", &args).await;
    let ann = world.visitor("ann", &["widgetcontracts"], &[]).await;
    let exporter = |answer: &desk::Answer| -> Value {
        let mut parts = answer.body["parts"].as_array().into_iter().flatten();
        parts.find(|part| part["kind"] == "OtlpExporter").cloned().unwrap_or_default()
    };
    let is_critical = |answer: &desk::Answer| exporter(answer)["state"] == "critical";
    let health = until(&ann, "/api/v1/health", is_critical).await;
    assert!(exporter(&health)["message"].as_str().unwrap().contains("metrics"), "{health:?}");
    // Everything else can be done without it.
    assert_eq!(health.body["state"], "degraded");
}

#[tokio::test]
async fn a_policy_shows_how_far_it_goes_and_how_often_its_steps_succeeded() {
    let world = World::new("shownpolicies", &LOCAL).await;
    let ann = world.visitor("ann", &["remediationpolicies"], &[]).await;
    healed(&world).await;
    let is_counted = |answer: &desk::Answer| answer.body["items"][0]["healed"] == 1;
    let listed = until(&ann, "/api/v1/policies", is_counted).await;
    let [row] = items(&listed.body) else { panic!("{listed:?}") };
    let name = &world.namespace.name;
    let expected = json!({
        "namespace": name, "name": "heal", "ready": true, "mode": "Auto", "default": true,
        "priority": 7, "suspend": false, "matched": 1, "unhealthy": 1, "inFlight": 0,
        "storm": false, "healed": 1,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&row[field], value, "{field} of {row}");
    }
    let step = &row["steps"][0];
    assert_eq!(
        (&step["name"], &step["tried"], &step["successRate"]),
        (&json!("restore"), &json!(1), &json!(1.0)),
        "{step}"
    );
    assert!(row.get("paused").is_none(), "{row}");

    let pause = "2126-12-31T18:00:00Z/ann: the CDN moves";
    let manifest = json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": {"name": "heal", "annotations": {"kintsugi.dev/pause": pause}},
        "spec": {"default": true, "suspend": true,
            "steps": [{"name": "restore", "restoreRevision": {}}]},
    });
    world.namespace.apply(&manifest.to_string()).await;
    let is_suspended = |answer: &desk::Answer| answer.body["suspend"] == true;
    let one = until(&ann, &world.at("policies/heal"), is_suspended).await.body;
    assert_eq!(one["status"]["healed"], 1, "{one}");
    assert!(one["paused"].as_str().unwrap().contains("by ann: the CDN moves"), "{one}");
    refused(&ann.get(&world.at("policies/none")).await, 404, "RemediationPolicy");
}

#[tokio::test]
async fn the_log_tells_what_was_done_newest_first_and_of_what_is_over_too() {
    let world = World::new("shownlog", &LOCAL).await;
    let ann = world.visitor("ann", &["incidents"], &[]).await;
    let incident = healed(&world).await;
    let what = |answer: &desk::Answer| -> Vec<String> {
        let items = answer.body["items"].as_array().into_iter().flatten();
        items.map(|action| action["what"].as_str().unwrap().to_owned()).collect()
    };
    let path = format!("/api/v1/log?namespace={}", world.namespace.name);
    let is_mitigated = |answer: &desk::Answer| what(answer).contains(&"Mitigated".to_owned());
    let log = until(&ann, &path, is_mitigated).await;
    assert_eq!(what(&log), ["Mitigated", "Attempted", "Opened"], "{log:?}");
    let attempt = &items(&log.body)[1];
    assert_eq!(
        (&attempt["step"], &attempt["outcome"], &attempt["policies"], &attempt["incident"]),
        (&json!("restore"), &json!("Succeeded"), &json!(["heal"]), &json!(incident)),
    );
    assert_eq!(attempt["steps"][0]["outcome"], "Changed");

    world.namespace.apply(&storefinder("uk", &shop())).await;
    incident_is(&world.namespace, &incident, "Resolved").await;
    let is_over = |answer: &desk::Answer| what(answer).contains(&"Resolved".to_owned());
    let log = until(&ann, "/api/v1/log", is_over).await;
    assert_eq!(what(&log), ["Resolved", "Mitigated", "Attempted", "Opened"], "{log:?}");
    assert_eq!(log.body["complete"], true);
    for (filter, many) in [
        ("contract=uk", 4),
        ("contract=fr", 0),
        ("policy=heal", 4),
        ("policy=other", 0),
        ("step=restore", 1),
        ("outcome=Succeeded", 1),
        ("outcome=Failed", 0),
        (&format!("incident={incident}"), 4),
        ("limit=2", 2),
    ] {
        let found = ann.get(&format!("/api/v1/log?{filter}")).await;
        assert_eq!(items(&found.body).len(), many, "{filter}: {found:?}");
    }
    assert!(!format!("{log:?}").contains("Shops"), "no value of a document");
    refused(&ann.get("/api/v1/log?limit=201").await, 400, "limit");
    let bob = world.visitor("bob", &["widgetcontracts"], &[]).await;
    refused(&bob.get("/api/v1/log").await, 403, "list incidents.kintsugi.dev");
}

#[tokio::test]
async fn documents_their_difference_and_a_revision_are_shown_to_who_may_read_their_config_maps() {
    let world = World::new("showndocs", &LOCAL).await;
    let contracts = ["widgetcontracts"];
    // Only the served one: what was asked for stands in the contract.
    let ann = world.visitor("ann", &contracts, &["uk-served"]).await;
    let bob = world.visitor("bob", &contracts, &[]).await;
    healed(&world).await;
    let path = world.at("contracts/uk/documents");
    let found = ann.get(&path).await.body;
    assert_eq!(found["served"]["value"], shop(), "{found}");
    assert_eq!(found["assigned"]["value"]["title"], 7);
    let change = json!({"op": "replace", "path": "/title", "value": 7});
    assert_eq!(found["difference"], json!({"changes": [change], "complete": true}));
    let revision = &found["revisions"][0];
    assert_eq!(
        (&revision["number"], &revision["served"], &revision["lastKnownGood"]),
        (&json!(1), &json!(true), &json!(true)),
        "{found}"
    );
    assert!(revision.get("recordedAt").is_none(), "she may not read it: {revision}");
    refused(&bob.get(&path).await, 403, "get configmaps uk-served in namespace");

    let path = world.at("contracts/uk/revisions/1");
    refused(&ann.get(&path).await, 403, "-rev-1 in namespace");
    let uid = world.namespace.contracts().get("uk").await.unwrap().metadata.uid.unwrap();
    let digits: String = uid.chars().filter(char::is_ascii_hexdigit).take(6).collect();
    let stored = format!("uk-{digits}-rev-1");
    let ada = world.visitor("ada", &contracts, &["uk-served", &stored]).await;
    let dated = ada.get(&world.at("contracts/uk/documents")).await.body;
    assert!(dated["revisions"][0]["recordedAt"].is_string(), "{dated}");
    let one = ada.get(&path).await.body;
    assert_eq!(one["document"]["value"], shop(), "{one}");
    assert_eq!(one["difference"], json!({"changes": [], "complete": true}));
    refused(&ada.get(&world.at("contracts/uk/revisions/0")).await, 400, "number");
    refused(&ada.get(&world.at("contracts/uk/revisions/x")).await, 400, "");
    // Whether there is one of that number is told only to who may read it.
    refused(&ada.get(&world.at("contracts/uk/revisions/9")).await, 403, "-rev-9");
}

#[tokio::test]
async fn a_plan_is_shown_with_its_values_to_who_may_read_its_config_map() {
    let world = World::new("shownplan", &LOCAL).await;
    let restore = json!([{"name": "restore", "restoreRevision": {}}]);
    policy(&world.namespace, &restore, &json!({"mode": "Approve"})).await;
    world.namespace.apply(&storefinder("uk", &shop())).await;
    world.namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let broken = edit(&shop(), |document| {
        document["title"] = json!(7);
        document["new"] = json!("and good");
    });
    world.namespace.apply(&storefinder("uk", &broken)).await;
    let incident = incident_when(&world.namespace, "uk", "Held").await;
    let (name, status) = (incident.metadata.name.unwrap(), incident.status.unwrap());
    let path = world.at(&format!("incidents/{name}/plan"));
    let stored = format!("{name}-candidate");

    let bob = world.visitor("bob", &["incidents", "widgetcontracts"], &[]).await;
    refused(&bob.get(&path).await, 403, &format!("get configmaps {stored} in namespace"));
    let eve = world.visitor("eve", &["widgetcontracts"], &[&stored]).await;
    refused(&eve.get(&path).await, 403, "get incidents.kintsugi.dev");
    let ann = world.visitor("ann", &["incidents", "widgetcontracts"], &[&stored]).await;
    let found = ann.get(&path).await.body;
    let candidate = edit(&broken, |document| document["title"] = json!("Shops"));
    assert_eq!(found["planDigest"], json!(status.plan_digest), "{found}");
    assert_eq!(found["assigned"]["value"], broken, "{found}");
    assert_eq!(found["candidate"]["value"], candidate, "{found}");
    assert_eq!(found["candidate"]["digest"], json!(status.candidate_digest), "{found}");
    let change = json!({"op": "replace", "path": "/title", "value": "Shops"});
    assert_eq!(found["difference"], json!({"changes": [change], "complete": true}));
    // What was asked for stands in the contract, which is another right.
    let dan = world.visitor("dan", &["incidents"], &[&stored]).await;
    let found = dan.get(&path).await.body;
    assert_eq!(found["candidate"]["value"], candidate, "{found}");
    let missing = found["assigned"]["missing"].as_str().unwrap();
    assert!(missing.contains("dan may not get widgetcontracts.kintsugi.dev uk"), "{found}");
    assert!(found["assigned"].get("value").is_none() && found.get("difference").is_none());

    world.namespace.apply(&storefinder("uk", &shop())).await;
    incident_is(&world.namespace, &name, "Resolved").await;
    refused(&ann.get(&path).await, 404, "shows no plan");
    assert!(!world.operator.log().contains("and good"), "no value is in the log");
}

#[tokio::test]
async fn each_rule_in_force_has_its_verdict_and_one_that_was_not_asked_has_none() {
    let world = World::new("shownrules", &LOCAL).await;
    let ann = world.visitor("ann", &["widgetcontracts"], &[]).await;
    let mut manifest: Value = serde_json::from_str(&storefinder("uk", &shop())).unwrap();
    manifest["spec"]["rules"] = json!([
        {"name": "locale", "severity": "Warning", "metadata": {"required": ["/locale"]}},
        {"name": "short", "cel": {"expression": "size(self) < 20", "message": "too long"}},
    ]);
    world.namespace.apply(&manifest.to_string()).await;
    world.namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let rules = |answer: &desk::Answer| -> Vec<String> {
        let text = |rule: &Value, field: &str| rule[field].as_str().unwrap_or("-").to_owned();
        let row = |rule: &Value| {
            ["name", "type", "severity", "verdict"].map(|field| text(rule, field)).join(" ")
        };
        answer.body["rules"].as_array().unwrap().iter().map(row).collect()
    };
    let path = world.at("contracts/uk");
    let mut found = rules(&ann.get(&path).await);
    found.sort();
    let wanted =
        ["locale Metadata Warning Fail", "schema Schema Critical Pass", "short CEL Critical Pass"];
    assert_eq!(found, wanted);

    // What was asked for is not there any more: what it was is known no longer.
    manifest["spec"]["document"] = json!({"configMapKeyRef": {"name": "none", "key": "uk.json"}});
    world.namespace.apply(&manifest.to_string()).await;
    let unknown = has("Valid", "Unknown", "ReferenceUnavailable");
    world.namespace.contract_when("uk", "unknown", unknown).await;
    let found = rules(&ann.get(&path).await);
    assert!(found.len() == 3 && found.iter().all(|rule| rule.ends_with(" -")), "{found:?}");

    // The rules of a class are for who may see that.
    manifest["spec"]["classRef"] = json!({"name": "finder"});
    world.namespace.apply(&manifest.to_string()).await;
    let found = ann.get(&path).await.body;
    let why = found["rulesMissing"].as_str().unwrap();
    assert!(why.contains("ann may not get widgetclasses.kintsugi.dev finder"), "{found}");
    assert_eq!(found["rules"], json!([]));
}

#[tokio::test]
async fn of_a_document_behind_a_url_only_the_digest_is_told() {
    let world = World::new("shownurl", &LOCAL).await;
    let ann = world.visitor("ann", &["widgetcontracts"], &["uk-served"]).await;
    let web = Web::start().await;
    web.answer("/shop.json", 200, "application/json", &shop().to_string());
    let mut manifest: Value = serde_json::from_str(&storefinder("uk", &shop())).unwrap();
    manifest["spec"]["document"] = json!({"url": web.url("/shop.json")});
    manifest["spec"]["interval"] = json!("1h");
    world.namespace.apply(&manifest.to_string()).await;
    world.namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let found = ann.get(&world.at("contracts/uk/documents")).await.body;
    assert_eq!(found["served"]["value"], shop(), "{found}");
    assert!(found["assigned"].get("value").is_none(), "{found}");
    assert!(found["assigned"]["missing"].as_str().unwrap().contains("not stored"), "{found}");
    assert_eq!(found["assigned"]["digest"], found["served"]["digest"]);
    assert!(found.get("difference").is_none(), "{found}");
}
