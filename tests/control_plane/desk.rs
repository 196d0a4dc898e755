//! What people see over the JSON API: by their own rights, and by nobody else's.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    events::v1::Event,
};
use kintsugi::api::WidgetContract;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use ring::{rand::SystemRandom, signature};
use serde_json::{Value, json};

use crate::{
    healing::{edit, incident_when, policy, shop},
    support::{
        Cluster, Namespace, Operator, PATIENCE,
        desk::{self, Answer, DESK, Visitor},
        has, people, storefinder,
    },
};

/// All that there is to see.
pub fn sees_all() -> Value {
    let ours = ["widgetcontracts", "incidents", "remediationpolicies"];
    json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
           {"apiGroups": ["kintsugi.dev"], "resources": ours, "verbs": ["get", "list"]}])
}

async fn world(prefix: &str) -> (Cluster, Namespace, Operator) {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, prefix).await;
    let operator = Operator::start(&cluster, &namespace, &[DESK]);
    (cluster, namespace, operator)
}

/// A contract that is served, and held in a trouble that a policy could mend.
pub async fn trouble(namespace: &Namespace) -> String {
    let restore = json!([{"name": "restore", "restoreRevision": {}}]);
    policy(namespace, &restore, &json!({"mode": "Observe"})).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let bad = edit(&shop(), |document: &mut Value| document["title"] = json!(7));
    namespace.apply(&storefinder("uk", &bad)).await;
    incident_when(namespace, "uk", "Held").await.metadata.name.unwrap()
}

/// Asks until the answer is as expected: what is remembered follows the watch.
pub async fn until(visitor: &Visitor, path: &str, is_it: impl Fn(&Answer) -> bool) -> Answer {
    let mut last = None;
    let asking = async {
        loop {
            let answer = visitor.get(path).await;
            if is_it(&answer) {
                return answer;
            }
            last = Some(answer);
            // There is nothing to watch that would tell when to ask again.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let came = tokio::time::timeout(PATIENCE, asking).await.ok();
    came.unwrap_or_else(|| panic!("{path} answers {last:?}"))
}

pub fn refused(answer: &Answer, status: u16, says: &str) {
    assert_eq!(
        (answer.status, &*answer.media_type),
        (status, "application/problem+json"),
        "{answer:?}"
    );
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(answer.body["status"] == status && detail.contains(says), "{answer:?}");
}

/// How many contracts and Incidents of each state an answer about health counts.
fn counts(answer: &Answer) -> (Value, Value) {
    (answer.body["contracts"].clone(), answer.body["incidents"].clone())
}

#[tokio::test]
async fn whoever_may_see_finds_what_is_broken_why_and_what_it_waits_for() {
    let (cluster, namespace, operator) = world("desk").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &sees_all()).await;
    let incident = trouble(&namespace).await;
    let name = &namespace.name;

    let is_all = |answer: &Answer| counts(answer) == (json!({"Degraded": 1}), json!({"Held": 1}));
    let health = until(&ann, "/api/v1/health", is_all).await;
    assert_eq!(health.body["state"], "degraded", "{health:?}");
    assert_eq!(health.body["why"][0], "1 contract: not served as asked for");
    let parts = health.body["parts"].as_array().unwrap();
    let kinds: Vec<_> = parts.iter().map(|part| (&part["kind"], &part["state"])).collect();
    for kind in ["ApiServer", "Watches", "Lease", "Network", "Dns", "Webhooks"] {
        assert!(kinds.contains(&(&json!(kind), &json!("healthy"))), "{kinds:?}");
    }
    let listed = ann.get("/api/v1/contracts").await;
    let row = json!({"namespace": name, "name": "uk", "widget": "storefinder",
        "health": "Degraded", "serving": "Withheld", "incident": incident});
    assert_eq!(listed.body, json!({"items": [row]}));
    assert_eq!(ann.get("/api/v1/contracts?health=Healthy").await.body, json!({"items": []}));

    let listed = ann.get("/api/v1/incidents?state=Held&waitsForPeople=false").await;
    let row = &listed.body["items"][0];
    assert_eq!((&row["name"], &row["waiting"]), (&json!(incident), &json!("ObserveOnly")), "{row}");
    let one = ann.get(&format!("/api/v1/namespaces/{name}/incidents/{incident}")).await;
    assert_eq!(one.body["spec"]["violations"][0]["path"], "/title", "{one:?}");
    let one = ann.get(&format!("/api/v1/namespaces/{name}/contracts/uk")).await;
    assert_eq!(one.body["status"]["health"], "Degraded", "{one:?}");
    refused(
        &ann.get(&format!("/api/v1/namespaces/{name}/contracts/fr")).await,
        404,
        "WidgetContract",
    );
    assert!(!format!("{health:?} {listed:?} {one:?}").contains("Shops"), "no value of a document");
}

#[tokio::test]
async fn nobody_sees_more_than_their_own_rights_allow() {
    let (cluster, namespace, operator) = world("deskrights").await;
    let incident = trouble(&namespace).await;
    let name = &namespace.name;
    let only = |resource: &str, verb: &str| json!([{"apiGroups": ["kintsugi.dev"], "resources": [resource], "verbs": [verb]}]);
    let bob =
        desk::visitor(&cluster, &namespace, &operator, "bob", &only("incidents", "get")).await;
    let one = bob.get(&format!("/api/v1/namespaces/{name}/incidents/{incident}")).await;
    assert_eq!(one.status, 200, "{one:?}");
    for (path, right) in [
        ("/api/v1/incidents".to_owned(), "list incidents.kintsugi.dev in all namespaces"),
        (format!("/api/v1/incidents?namespace={name}"), "list incidents.kintsugi.dev in namespace"),
        ("/api/v1/health".to_owned(), "list widgetcontracts"),
        ("/api/v1/contracts".to_owned(), "list widgetcontracts"),
        (format!("/api/v1/namespaces/{name}/contracts/uk"), "get widgetcontracts.kintsugi.dev uk"),
        // Whether there is one is not told either.
        (format!("/api/v1/namespaces/{name}/contracts/none"), "get widgetcontracts"),
        ("/api/v1/namespaces/kube-system/incidents/x".to_owned(), "in namespace kube-system"),
    ] {
        refused(&bob.get(&path).await, 403, right);
    }
    refused(&bob.get("/api/v1/incidents").await, 403, &bob.name);
    // Of Incidents nothing is told to whoever may list contracts alone, also not how many there are.
    let contracts = only("widgetcontracts", "list");
    let eve = desk::visitor(&cluster, &namespace, &operator, "eve", &contracts).await;
    let health =
        until(&eve, "/api/v1/health", |answer| answer.body["contracts"]["Degraded"] == 1).await;
    assert!(health.body.get("incidents").is_none(), "{health:?}");
    assert!(health.body.get("waitingForPeople").is_none(), "{health:?}");
    assert!(!health.body["why"].to_string().contains("Incident"), "{health:?}");
}

#[tokio::test]
async fn a_forged_token_is_refused() {
    let (cluster, namespace, operator) = world("forged").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &sees_all()).await;
    let (signed, _) = ann.token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode([7; 256]));
    let long = "x".repeat(20_000);
    for token in [&forged, "abc", "", "a b", &long] {
        refused(&ann.with(token).get("/api/v1/health").await, 401, "token");
    }
    let anonymous = reqwest::Client::new().get(format!("{}/api/v1/health", ann.url));
    refused(&ann.send(anonymous).await, 401, "no token");
    assert!(!operator.log().contains(&forged), "no token is logged");
}

/// The claims of a token, changed, and signed with the cluster's own key.
fn signed(cluster: &Cluster, token: &str, change: impl Fn(&mut Value)) -> String {
    let (header, rest) = token.split_once('.').unwrap();
    let claims = rest.split('.').next().unwrap();
    let mut claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    change(&mut claims);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let pem = std::fs::read_to_string(cluster.signing_key()).unwrap();
    let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(der).unwrap();
    let key = signature::RsaKeyPair::from_der(&der).unwrap();
    let mut bytes = vec![0; key.public().modulus_len()];
    let random = SystemRandom::new();
    key.sign(&signature::RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut bytes).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let (cluster, namespace, operator) = world("expired").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &sees_all()).await;
    let health = "/api/v1/health";
    let again = signed(&cluster, &ann.token, |_| {});
    // Signed as the API server does it.
    until(&ann.with(&again), health, |answer| answer.status == 200).await;
    let expired = signed(&cluster, &ann.token, |claims| {
        let ended = claims["iat"].as_i64().unwrap() - 60;
        (claims["exp"], claims["iat"]) = (json!(ended), json!(ended - 600));
        claims["nbf"] = json!(ended - 600);
    });
    refused(&ann.with(&expired).get(health).await, 401, "expired");
}

#[tokio::test]
async fn a_token_for_somebody_else_is_refused() {
    let (cluster, namespace, operator) = world("audience").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &sees_all()).await;
    for audience in ["https://kubernetes.default.svc", "vault"] {
        let token = desk::token(&namespace, "ann", audience).await;
        refused(&ann.with(&token).get("/api/v1/health").await, 401, "audience");
    }
    drop(operator);
    let api_server = Operator::start(&cluster, &namespace, &[DESK, "--dashboard-audience="]);
    let direct = Visitor { url: desk::address(&api_server), ..ann.with(&ann.token) };
    refused(&direct.get("/api/v1/health").await, 401, "audience");
    let token = desk::token(&namespace, "ann", "https://kubernetes.default.svc").await;
    until(&direct.with(&token), "/api/v1/health", |answer| answer.status == 200).await;
}

#[tokio::test]
async fn a_path_that_leads_elsewhere_is_refused() {
    let (cluster, namespace, operator) = world("traversal").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &sees_all()).await;
    let name = &namespace.name;
    for path in [
        format!("/api/v1/namespaces/{name}/contracts/..%2F..%2Fsecrets"),
        format!("/api/v1/namespaces/{name}%2Fsecrets/contracts/uk"),
        format!("/api/v1/namespaces/{name}/contracts/.%2e%2fuk"),
        format!("/api/v1/namespaces/{name}/contracts/uk%3Fwatch=1"),
        format!("/api/v1/namespaces/{name}/contracts/uk%00"),
    ] {
        refused(&ann.get(&path).await, 400, "name");
    }
    for path in ["/../etc/passwd", "/api/v1/../../metrics", "/metrics", "/api/v1/secrets"] {
        refused(&ann.get(path).await, 404, "nothing at this path");
    }
    let asked = cluster.requests(&namespace).await;
    assert!(!asked.iter().any(|request| request.contains("secrets")), "{asked:?}");
}

#[tokio::test]
async fn a_request_that_is_too_large_or_cannot_be_read_is_refused() {
    let (cluster, namespace, operator) = world("oversized").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &sees_all()).await;
    // Until it leads, it has no other answer than that.
    until(&ann, "/api/v1/health", |answer| answer.status == 200).await;
    for (path, says) in [
        ("/api/v1/contracts?limit=0", "limit"),
        ("/api/v1/contracts?limit=100000", "limit"),
        ("/api/v1/contracts?limit=many", "limit"),
        ("/api/v1/contracts?colour=red", "colour"),
        (&format!("/api/v1/contracts?widget={}", "x".repeat(64)), "widget"),
        ("/api/v1/contracts?continue=nowhere", "continue"),
        ("/api/v1/contracts?health=Sick", "Sick"),
        ("/api/v1/incidents?continue=nowhere", "continue"),
        ("/api/v1/incidents?namespace=..", "name"),
        ("/api/v1/incidents?state=Resolved", "over"),
        ("/api/v1/health?namespace=a/b", "name"),
    ] {
        refused(&ann.get(path).await, 400, says);
    }
    // Also to who lacks every right: what cannot be asked for costs the API server nothing.
    let none = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]);
    let bob = desk::visitor(&cluster, &namespace, &operator, "bob", &none).await;
    let long = format!("/api/v1/contracts?widget={}", "x".repeat(64));
    refused(&bob.get(&long).await, 400, "widget");
    refused(&ann.send(ann.request("DELETE", "/api/v1/health")).await, 405, "method");
    let long = format!("/api/v1/contracts?widget={}", "x".repeat(60_000));
    refused(&ann.get(&long).await, 414, "bytes");
    let crowded = ann.request("GET", "/api/v1/health").header("x-long", "y".repeat(40_000));
    refused(&ann.send(crowded).await, 431, "headers");
    assert_eq!(ann.get("/api/v1/health").await.status, 200, "and it goes on");
}

#[tokio::test]
async fn each_operation_of_the_document_answers_as_the_document_says() {
    let (cluster, namespace, operator) = world("openapi").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &sees_all()).await;
    let (incident, _) = asked(&namespace).await;
    until(&ann, "/api/v1/incidents", |answer| {
        answer.body["items"].as_array().is_some_and(|all| all.len() == 1)
    })
    .await;
    let document = ann.with("none").get("/api/v1/openapi.json").await.body;
    let conforms = |schema: &Value, body: &Value| {
        let schema = json!({"allOf": [schema], "components": document["components"]});
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let errors: Vec<_> = validator.iter_errors(body).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{body}");
    };
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 11, "{paths:?}");
    for (path, operations) in paths {
        let object = match path {
            path if path.contains("incidents") => &incident,
            path if path.contains("policies") => "heal",
            _ => "uk",
        };
        let path = path.replace("{namespace}", &namespace.name).replace("{name}", object);
        let path = path.replace("{number}", "1");
        // `fuzz` does what there is to do, and looks at what is said of it.
        let Some(operation) = operations.get("get") else { continue };
        let responses = &operation["responses"];
        if responses["200"]["content"]["text/event-stream"].is_object() {
            // It has no end: `live` looks at what it tells.
            continue;
        }
        let answer = ann.get(&path).await;
        assert_eq!(
            (answer.status, &*answer.media_type),
            (200, "application/json"),
            "{path} {answer:?}"
        );
        conforms(&responses["200"]["content"]["application/json"]["schema"], &answer.body);
        let nobody = ann.with("none").get(&path).await;
        let named = responses["401"]["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        let problem = &document["components"]["responses"][named]["content"];
        conforms(&problem["application/problem+json"]["schema"], &nobody.body);
        assert_eq!(nobody.status, 401, "{path}");
    }
}

/// All that there is to do.
pub fn does_all() -> Value {
    json!([{"apiGroups": ["kintsugi.dev"], "resources": ["widgetcontracts", "incidents"],
            "verbs": ["get", "list", "patch", "approve"]}])
}

/// The same, with a plan that waits for a person.
pub async fn asked(namespace: &Namespace) -> (String, String) {
    let restore = json!([{"name": "restore", "restoreRevision": {}}]);
    policy(namespace, &restore, &json!({"mode": "Approve"})).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let bad = edit(&shop(), |document: &mut Value| {
        document["title"] = json!(7);
        document["new"] = json!("and good");
    });
    namespace.apply(&storefinder("uk", &bad)).await;
    let incident = incident_when(namespace, "uk", "Held").await;
    let plan = incident.status.unwrap().plan_digest.unwrap().to_string();
    (incident.metadata.name.unwrap(), plan)
}

/// What Events say that somebody asked for.
pub async fn requested(namespace: &Namespace) -> Vec<String> {
    let events = namespace.api::<Event>().list(&ListParams::default()).await.unwrap();
    let of = events.items.into_iter().filter(|event| event.reason.as_deref() == Some("Requested"));
    of.map(|event| event.note.unwrap()).collect()
}

#[tokio::test]
async fn a_plan_is_approved_and_taken_back_in_the_name_of_whoever_asks() {
    let (cluster, namespace, operator) = world("deskacts").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &does_all()).await;
    let bob = desk::visitor(&cluster, &namespace, &operator, "bob", &sees_all()).await;
    let (name, plan) = asked(&namespace).await;
    let at = format!("/api/v1/namespaces/{}/incidents/{name}", namespace.name);
    let word = json!({"decision": "Approve", "planDigest": plan});

    let decision = format!("{at}/decision");
    refused(&bob.post(&decision, &word).await, 403, "may not approve incidents");
    refused(&ann.post(&decision, &json!({"decision": "Approve"})).await, 422, "planDigest");
    refused(
        &ann.post(&decision, &json!({"decision": "Reject", "planDigest": plan})).await,
        422,
        "reason",
    );
    refused(
        &ann.post(&decision, &json!({"decision": "Approve", "planDigest": "x"})).await,
        422,
        "planDigest",
    );
    let unread = ann.request("POST", &decision).body("decision=Approve");
    refused(&ann.send(unread).await, 415, "Content-Type");
    let long = json!({"decision": "Reject", "planDigest": plan, "reason": "x".repeat(20_000)});
    refused(&ann.post(&decision, &long).await, 413, "length limit");
    assert_eq!(namespace.served_when("uk", |_| true).await, shop(), "nothing was done yet");

    let done = ann.post(&decision, &word).await;
    assert_eq!((done.status, &done.body["by"]), (200, &json!(ann.name)), "{done:?}");
    namespace.served_when("uk", |value| value["new"] == "and good").await;
    let status = incident_when(&namespace, "uk", "Mitigated").await.status.unwrap();
    assert_eq!(status.attempts[0].approved_by.as_deref(), Some(&*ann.name));

    refused(&bob.post(&format!("{at}/undo"), &json!({})).await, 403, "may not update incidents");
    let undone =
        ann.post(&format!("{at}/undo"), &json!({"never": "Step", "reason": "not so"})).await;
    assert_eq!(undone.status, 200, "{undone:?}");
    namespace.served_when("uk", |value| *value == shop()).await;
    let incident = namespace.api::<kintsugi::api::Incident>().get(&name).await.unwrap();
    assert_eq!(incident.spec.undo.unwrap().by, ann.name);
    let said = requested(&namespace).await;
    for what in ["approves its plan", "takes its repair back"] {
        assert!(said.contains(&format!("{} {what}", ann.name)), "{said:?}");
        operator.logs(&format!("somebody {what}"));
    }
}

#[tokio::test]
async fn an_attempt_is_asked_for_and_a_contract_suspended_by_whoever_may_change_it() {
    let (cluster, namespace, operator) = world("deskheal").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &does_all()).await;
    let bob = desk::visitor(&cluster, &namespace, &operator, "bob", &sees_all()).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let at = format!("/api/v1/namespaces/{}/contracts/uk", namespace.name);

    refused(
        &bob.post(&format!("{at}/heal"), &json!({})).await,
        403,
        "may not update widgetcontracts",
    );
    refused(
        &bob.post(&format!("{at}/suspension"), &json!({"suspend": true})).await,
        403,
        "may not",
    );
    assert_eq!(ann.post(&format!("{at}/suspension"), &json!({"suspend": true})).await.status, 200);
    let suspended = |contract: Option<&WidgetContract>| {
        contract.is_some_and(|contract| {
            let health = contract.status.as_ref().and_then(|status| status.health);
            contract.spec.suspend && health.is_some_and(|health| health.to_string() == "Suspended")
        })
    };
    namespace.contract_when("uk", "Suspended", suspended).await;
    assert_eq!(ann.post(&format!("{at}/suspension"), &json!({"suspend": false})).await.status, 200);
    assert_eq!(ann.post(&format!("{at}/heal"), &json!({})).await.status, 200);
    let by = ann.name.clone();
    let handled = move |contract: Option<&WidgetContract>| {
        let handled =
            contract.and_then(|c| c.status.as_ref()?.handled_requests.as_ref()?.heal.clone());
        handled.is_some_and(|heal| heal.split_once('/').is_some_and(|(_, who)| by.starts_with(who)))
    };
    namespace.contract_when("uk", "heal is handled", handled).await;
    let said = requested(&namespace).await;
    for what in ["suspends it", "lets it go on", "asks for an attempt now"] {
        assert!(said.contains(&format!("{} {what}", ann.name)), "{said:?}");
    }
}

#[tokio::test]
async fn an_attempt_that_somebody_asks_for_names_them_in_the_incident_and_in_the_log() {
    let (cluster, namespace, operator) = world("askedby").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &does_all()).await;
    let in_vain = json!({"ops": [{"op": "replace", "path": "/title", "value": 8}]});
    let once = json!({"retry": {"maxAttempts": 1}});
    policy(&namespace, &json!([{"name": "patch", "patch": in_vain}]), &once).await;
    namespace.apply(&storefinder("uk", &json!({"title": 7}))).await;
    let name = incident_when(&namespace, "uk", "Escalated").await.metadata.name.unwrap();
    let at = format!("/api/v1/namespaces/{}/contracts/uk/heal", namespace.name);
    assert_eq!(ann.post(&at, &json!({})).await.status, 200);
    let by = ann.name.clone();
    let names_her = move |incident: Option<&kintsugi::api::Incident>| {
        let last = incident.and_then(|i| i.status.as_ref()?.attempts.last());
        last.is_some_and(|last| last.asked_by.as_ref() == Some(&by))
    };
    namespace.when(&name, "was tried for her", names_her).await;
    let is_told = |answer: &Answer| {
        let mut told = answer.body["items"].as_array().into_iter().flatten();
        told.any(|action| action["what"] == "Attempted" && action["by"] == *ann.name)
    };
    until(&ann, "/api/v1/log", is_told).await;
}

/// Logs in as a browser does, and returns its cookie.
async fn logged_in(ann: &Visitor) -> String {
    let form = [("token", &*ann.token), ("next", "/")];
    let request = ann.bare("POST", "/login").header("sec-fetch-site", "same-origin").form(&form);
    let response = request.send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["location"].as_bytes()),
        (303, &b"/login?done=&next=/"[..])
    );
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    for attribute in ["__Host-kintsugi=", "HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains(&ann.token), "the token itself stays where it is");
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_browser_that_is_logged_in_does_what_its_user_may_but_not_for_another_page() {
    let (cluster, namespace, operator) = world("csrf").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &does_all()).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let cookie = logged_in(&ann).await;
    let browser = |method: &str, path: &str| ann.bare(method, path).header("cookie", &cookie);
    let listed = ann.send(browser("GET", "/api/v1/contracts")).await;
    assert_eq!(listed.status, 200, "{listed:?}");

    // After a login it is seen whether the browser has kept it.
    let seen = "/login?done=&next=/log";
    let kept = browser("GET", seen).send().await.unwrap();
    assert_eq!(
        (kept.status().as_u16(), kept.headers()["location"].as_bytes()),
        (303, &b"/log"[..])
    );
    let dropped = ann.send(ann.bare("GET", seen)).await;
    assert_eq!((dropped.status, &*dropped.media_type), (200, "text/html; charset=utf-8"));

    let heal = format!("/namespaces/{}/contracts/uk/heal", namespace.name);
    for (header, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("x-none", "none"),
    ] {
        let sent = ann.send(browser("POST", &format!("/api/v1{heal}")).header(header, value)).await;
        refused(&sent, 403, "another page");
        // Whoever sends a form is answered with a page.
        let sent = ann.send(browser("POST", &heal).header(header, value)).await;
        assert_eq!((sent.status, &*sent.media_type), (403, "text/html; charset=utf-8"));
    }
    // Not either where something in front adds the token to whatever a browser sends.
    let added =
        ann.request("POST", &format!("/api/v1{heal}")).header("sec-fetch-site", "cross-site");
    refused(&ann.send(added).await, 403, "another page");
    let form = [("token", &*ann.token)];
    let foreign = ann.bare("POST", "/login").header("sec-fetch-site", "cross-site").form(&form);
    let sent = ann.send(foreign).await;
    assert_eq!((sent.status, &*sent.media_type), (403, "text/html; charset=utf-8"));
    assert_eq!(requested(&namespace).await, Vec::<String>::new());

    let sent = browser("POST", &heal).header("sec-fetch-site", "same-origin").send().await.unwrap();
    assert_eq!(sent.status().as_u16(), 303);
    assert_eq!(requested(&namespace).await, [format!("{} asks for an attempt now", ann.name)]);
    let changed = format!("{cookie}x");
    let forged = ann.bare("GET", "/api/v1/contracts").header("cookie", changed);
    refused(&ann.send(forged).await, 401, "log in");
    let bad =
        ann.bare("POST", "/login").header("sec-fetch-site", "same-origin").form(&[("token", "x")]);
    assert_eq!(ann.send(bad).await.status, 401);
    let out =
        browser("POST", "/logout").header("sec-fetch-site", "same-origin").send().await.unwrap();
    assert!(out.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
}

#[tokio::test]
async fn who_tries_one_token_after_the_other_is_refused_before_the_api_server_is_asked() {
    let (cluster, namespace, operator) = world("guessing").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &sees_all()).await;
    let mut answers = Vec::new();
    for nth in 0..40 {
        answers.push(ann.with(&format!("guess-{nth}")).get("/api/v1/health").await.status);
    }
    assert_eq!((answers[0], answers[39]), (401, 429), "{answers:?}");
    let login = ann.bare("POST", "/login").header("sec-fetch-site", "same-origin");
    assert_eq!(ann.send(login.form(&[("token", "guess")])).await.status, 429);
}

#[tokio::test]
async fn whoever_brings_no_token_is_nobody_unless_a_flag_lets_kubernetes_decide() {
    let (cluster, namespace, operator) = world("anonymous").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &sees_all()).await;
    refused(&ann.send(ann.bare("GET", "/api/v1/contracts")).await, 401, "no token");
    drop(operator);
    let open = Operator::start(&cluster, &namespace, &[DESK, "--dashboard-anonymous"]);
    let anybody = Visitor { url: desk::address(&open), ..ann.with(&ann.token) };
    let at = format!("/api/v1/contracts?namespace={}", namespace.name);
    until(&anybody, &at, |answer| answer.status == 200).await;
    let nobody = anybody.bare("GET", &at);
    refused(&anybody.send(nobody).await, 403, "system:anonymous may not list");
    // A page from elsewhere whose name leads here is not answered: to its browser we would be the same origin.
    let rebound = |request: reqwest::RequestBuilder| request.header("host", "evil.example");
    refused(&anybody.send(rebound(anybody.bare("GET", &at))).await, 421, "--dashboard-host");
    // There a token is good as elsewhere.
    let page = rebound(anybody.bare("GET", "/contracts")).send().await.unwrap();
    assert_eq!(page.status().as_u16(), 303);
    assert_eq!(page.headers()["location"], "/login?next=/contracts");
    assert_eq!(anybody.send(rebound(anybody.request("GET", &at))).await.status, 200, "by a token");
    drop(open);
    let args = [DESK, "--dashboard-anonymous", "--dashboard-host=k.shop,evil.example"];
    let named = Operator::start(&cluster, &namespace, &args);
    let anybody = Visitor { url: desk::address(&named), ..ann.with(&ann.token) };
    until(&anybody, &at, |answer| answer.status == 200).await;
    refused(&anybody.send(rebound(anybody.bare("GET", &at))).await, 403, "may not list");
}

#[tokio::test]
async fn a_replica_that_stands_by_answers_as_the_one_that_leads() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "standby").await;
    let args = [DESK, "--pod-ip=127.0.0.1", "--lease-duration=13s", "--api-timeout=3s"];
    let leads = Operator::start_as(&cluster, &namespace, "first", &args);
    leads.logs("every list is in");
    let stands_by = Operator::start_as(&cluster, &namespace, "second", &args);
    let ann = desk::visitor(&cluster, &namespace, &stands_by, "ann", &does_all()).await;
    let incident = trouble(&namespace).await;
    let is_listed = |answer: &Answer| answer.body["items"][0]["name"] == incident;
    until(&ann, "/api/v1/incidents", is_listed).await;
    let heal = format!("/api/v1/namespaces/{}/contracts/uk/heal", namespace.name);
    assert_eq!(ann.post(&heal, &json!({})).await.status, 200);
    // The leader did it.
    leads.logs("somebody asks for an attempt now");
    let nobody = ann.with("none").get("/api/v1/incidents").await;
    refused(&nobody, 401, "token");
    // The other one takes over, and answers by itself.
    drop(leads);
    stands_by.logs("every list is in");
    until(&ann, "/api/v1/incidents", is_listed).await;
    let loops = ann.request("GET", "/api/v1/incidents").header("x-kintsugi-sent-on", "1");
    assert_eq!(ann.send(loops).await.status, 200);
}

#[tokio::test]
async fn whoever_may_look_into_one_namespace_sees_nothing_of_the_other() {
    let cluster = Cluster::running();
    let own = Namespace::new(&cluster, "own").await;
    let other = Namespace::new(&cluster, "other").await;
    let both = format!("--namespaces={}", other.name);
    let operator = Operator::start(&cluster, &own, &[DESK, &both]);
    let ann = desk::visitor(&cluster, &own, &operator, "ann", &sees_all()).await;
    let bob = desk::visitor(&cluster, &own, &operator, "bob", &sees_all()).await;
    people::person(&cluster, &other, &bob.name, &sees_all()).await;
    let (here, there) = (trouble(&own).await, trouble(&other).await);

    let names = |answer: &Answer| {
        let items = answer.body["items"].as_array().unwrap().iter();
        items.map(|item| item["name"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let of_both: BTreeSet<_> = [here.clone(), there].into();
    until(&bob, "/api/v1/incidents", |answer| names(answer) == of_both).await;
    assert_eq!(names(&ann.get("/api/v1/incidents").await), [here].into());
    let spaces = |answer: &Answer| {
        let items = answer.body["items"].as_array().unwrap().iter();
        items.map(|item| item["namespace"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(spaces(&ann.get("/api/v1/contracts").await), [&*own.name]);
    assert_eq!(spaces(&bob.get("/api/v1/contracts").await).len(), 2);
    for (person, many) in [(&ann, 1), (&bob, 2)] {
        let wanted = (json!({"Degraded": many}), json!({"Held": many}));
        until(person, "/api/v1/health", |answer| counts(answer) == wanted).await;
    }
    refused(
        &ann.get(&format!("/api/v1/health?namespace={}", other.name)).await,
        403,
        "may not list",
    );
    refused(&bob.get("/api/v1/health?namespace=kube-system").await, 403, "may not list");
}

#[tokio::test]
async fn a_long_list_is_read_in_parts_without_a_gap_also_when_something_in_it_ends() {
    let (cluster, namespace, operator) = world("pages").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &sees_all()).await;
    let restore = json!([{"name": "restore", "restoreRevision": {}}]);
    policy(&namespace, &restore, &json!({"mode": "Observe"})).await;
    let bad = edit(&shop(), |document: &mut Value| document["title"] = json!(7));
    for name in ["a", "b", "c", "d", "e"] {
        namespace.apply(&storefinder(name, &shop())).await;
        namespace.contract_when(name, "Ready", has("Ready", "True", "Assigned")).await;
        namespace.apply(&storefinder(name, &bad)).await;
        incident_when(&namespace, name, "Held").await;
    }
    let all = |answer: &Answer| answer.body["items"].as_array().is_some_and(|all| all.len() == 5);
    until(&ann, "/api/v1/incidents", all).await;
    let mut contracts = Vec::new();
    let mut next = Some(String::new());
    while let Some(after) = next {
        let after = if after.is_empty() { after } else { format!("&continue={after}") };
        let part = ann.get(&format!("/api/v1/contracts?limit=2{after}")).await.body;
        let names = part["items"].as_array().unwrap().iter();
        contracts.extend(names.map(|item| item["name"].as_str().unwrap().to_owned()));
        next = part["continue"].as_str().map(str::to_owned);
    }
    assert_eq!(contracts, ["a", "b", "c", "d", "e"]);

    let of = |answer: &Answer| {
        let items = answer.body["items"].as_array().unwrap().iter();
        items.map(|item| item["contract"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = ann.get("/api/v1/incidents?limit=2").await;
    let gone = of(&first)[0].clone();
    namespace.apply(&storefinder(&gone, &shop())).await;
    until(&ann, "/api/v1/incidents", |answer| of(answer).len() == 4).await;
    let after = first.body["continue"].as_str().unwrap();
    let rest = ann.get(&format!("/api/v1/incidents?continue={after}")).await;
    let seen: BTreeSet<_> = of(&first).into_iter().chain(of(&rest)).collect();
    assert_eq!((of(&rest).len(), seen.len()), (3, 5), "{first:?} {rest:?}");
}

/// A policy of the site that no contract of the namespace may be suspended.
async fn forbids_suspension(cluster: &Cluster, namespace: &Namespace, reason: &str) -> Vec<String> {
    let name = format!("no-suspension-{}-{}", namespace.name, reason.to_lowercase());
    let says = "contracts of this shop are not suspended";
    let selects = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace.name}});
    let rule = json!({"apiGroups": ["kintsugi.dev"], "apiVersions": ["*"], "operations": ["UPDATE"],
        "resources": ["widgetcontracts"]});
    let policy = json!({
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selects},
            "validations": [{"expression": "!(has(object.spec.suspend) && object.spec.suspend)",
                "message": says, "reason": reason}],
        },
    });
    let binding = json!({
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    let client = cluster.admin().await;
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client);
    let params = PostParams::default();
    policies.create(&params, &serde_json::from_value(policy).unwrap()).await.unwrap();
    bindings.create(&params, &serde_json::from_value(binding).unwrap()).await.unwrap();
    vec![name, says.to_owned()]
}

#[tokio::test]
async fn what_a_policy_of_the_site_forbids_is_refused_in_its_words() {
    let (cluster, namespace, operator) = world("deskdenied").await;
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &does_all()).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let at = format!("/api/v1/namespaces/{}/contracts/uk", namespace.name);
    for (reason, status) in [("Forbidden", 403), ("Invalid", 422)] {
        let said = forbids_suspension(&cluster, &namespace, reason).await;
        let client = cluster.admin().await;
        // The API server learns of the policy a moment later, and tells nobody.
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let suspends = Patch::Merge(json!({"spec": {"suspend": true}}));
        let denied = async {
            while namespace.contracts().patch("uk", &dry, &suspends).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, denied).await.expect("the policy is in force");
        let answer = ann.post(&format!("{at}/suspension"), &json!({"suspend": true})).await;
        refused(&answer, status, &said[1]);
        assert_eq!(answer.retry_after, None, "it is the same again");
        assert_eq!(ann.post(&format!("{at}/heal"), &json!({})).await.status, 200);
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client);
        bindings.delete(&said[0], &DeleteParams::default()).await.unwrap();
        policies.delete(&said[0], &DeleteParams::default()).await.unwrap();
        let allowed = async {
            while namespace.contracts().patch("uk", &dry, &suspends).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, allowed).await.expect("the policy is gone");
    }
    assert!(!namespace.contracts().get("uk").await.unwrap().spec.suspend);
}
