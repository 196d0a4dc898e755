//! The step `webhook`: what its receiver hears, and what comes of receivers that do not play along.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::Secret;
use kintsugi::api::incident::EffectOutcome;
use kube::{ResourceExt as _, api::PostParams};
use ring::hmac;
use serde_json::{Value, json};

use crate::{
    healing::{incident_when, policy},
    support::{
        Cluster, Namespace, Operator, storefinder,
        web::{Answer, Web},
    },
};

const KEY: &[u8] = b"canary-of-the-signing-key";

async fn world(prefix: &str, fetch_timeout: &str) -> (Namespace, Web, Operator) {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, prefix).await;
    let timeout = format!("--fetch-timeout={fetch_timeout}");
    let flags = ["--allow-cidrs=127.0.0.0/8", "--allow-http", &timeout];
    let operator = Operator::start(&cluster, &namespace, &flags);
    let web = Web::start().await;
    web.answer("/export", 200, "application/json", "{\"title\": \"From the source\"}");
    (namespace, web, operator)
}

async fn secret(namespace: &Namespace, name: &str, origins: &str) {
    let encoded = format!("whsec_{}", BASE64_STANDARD.encode(KEY));
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": {"kintsugi.dev/allowed-origins": origins}},
        "stringData": {"x-token": "canary-of-the-header", "signing-key": encoded},
    }))
    .unwrap();
    namespace.api().create(&PostParams::default(), &secret).await.unwrap();
}

/// A contract whose document is broken, healed by the policy of its name.
fn contract(name: &str, web: &Web) -> String {
    let mut manifest: Value =
        serde_json::from_str(&storefinder(name, &json!({"title": 7}))).unwrap();
    manifest["spec"]["source"] = json!({"url": web.url("/export")});
    manifest["spec"]["healing"] = json!({"policyRef": {"name": name}});
    manifest.to_string()
}

#[tokio::test]
async fn whoever_is_told_can_check_who_tells_and_the_step_behind_looks_whether_it_helped() {
    let (namespace, web, operator) = world("told", "60s").await;
    // An error in the body of a 200 is for whoever reads it: the call was taken.
    web.answer("/hook", 200, "application/json", "{\"error\": \"canary-of-the-answer\"}");
    secret(&namespace, "hook", &web.url("")).await;
    let steps = json!([
        {"name": "tell", "webhook": {
            "url": web.url("/hook?canary-of-the-query"), "headersSecretRef": {"name": "hook"},
            "signingKeyRef": {"name": "hook", "key": "signing-key"},
        }},
        {"name": "refetch", "refetchSource": {}},
    ]);
    policy(&namespace, &steps, &json!({})).await;
    let mut manifest: Value = serde_json::from_str(&contract("uk", &web)).unwrap();
    manifest["spec"]["healing"] = json!({});
    namespace.apply(&manifest.to_string()).await;

    let incident = incident_when(&namespace, "uk", "Mitigated").await;
    let served = namespace.served_when("uk", |_| true).await;
    assert_eq!(served, json!({"title": "From the source"}));
    let key = format!("{}/1/heal/tell", incident.name_any());
    let asked = web.asked("/hook");
    let [told] = asked.as_slice() else { panic!("told {} times", asked.len()) };
    let header = |name: &str| told.headers.get(name).cloned().unwrap_or_default();
    assert_eq!((told.method.as_str(), header("x-token")), ("POST", "canary-of-the-header".into()));
    assert_eq!((header("idempotency-key"), header("webhook-id")), (key.clone(), key.clone()));
    assert_eq!(header("content-type"), "application/json");
    let signed = format!("{key}.{}.{}", header("webhook-timestamp"), told.body);
    let signature = header("webhook-signature");
    let tag = BASE64_STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
    let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
    hmac::verify(&hmac_key, signed.as_bytes(), &tag).expect("a good signature");
    let body: Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!(body["data"]["namespace"], namespace.name);
    assert_eq!(body["data"]["rules"], json!(["schema"]));
    let status = incident.status.unwrap();
    assert_eq!(status.effects[0].outcome, Some(EffectOutcome::Done));
    let shown = format!("{:?} {:?} {}", incident.spec.violations, status, operator.log());
    assert!(!shown.contains("canary") && !told.body.contains("canary"), "{shown}");
}

#[tokio::test]
async fn a_receiver_that_hangs_redirects_refuses_or_may_not_be_told_is_named_with_why() {
    let (namespace, web, _operator) = world("untold", "5s").await;
    web.set("/hangs", Answer::Silence);
    web.set("/redirects", Answer::Redirect("http://10.0.0.1/private".to_owned()));
    web.set("/nearby", Answer::Redirect(web.url("/elsewhere")));
    web.answer("/refuses", 410, "text/plain", "gone");
    web.answer("/fails", 500, "text/plain", "no");
    secret(&namespace, "others", "https://others.test").await;
    let hook = |path: &str| json!({"url": web.url(path)});
    let with_secret = |name: &str| {
        let mut hook = hook("/secret");
        hook["headersSecretRef"] = json!({"name": name});
        hook
    };
    let cases = [
        ("hangs", hook("/hangs"), "(sent 2 times): ", "did not answer completely within 5s"),
        ("redirects", hook("/redirects"), "it answered 302", "a POST does not follow"),
        ("nearby", hook("/nearby"), "it answered 302", "give the URL that it should end at"),
        ("refuses", hook("/refuses"), "it answered 410", "its own log"),
        ("fails", hook("/fails"), "(sent 2 times): ", "it answered 500"),
        ("private", json!({"url": "http://10.0.0.1/x"}), "http://10.0.0.1", "address"),
        ("missing", with_secret("none"), "headersSecretRef", "Secret none does not exist"),
        ("others", with_secret("others"), "headersSecretRef", "does not name the origin"),
    ];
    for (name, hook, ..) in &cases {
        let spec = json!({
            "match": {"widgets": ["none"]}, "retry": {"maxAttempts": 1},
            "steps": [{"name": "tell", "retries": 1, "webhook": hook}],
        });
        let manifest = json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy",
            "metadata": {"name": name}, "spec": spec,
        });
        namespace.apply(&manifest.to_string()).await;
        namespace.apply(&contract(name, &web)).await;
    }
    for (name, _, how, why) in &cases {
        let incident = incident_when(&namespace, name, "Escalated").await;
        let status = incident.status.unwrap();
        let effect = &status.effects[0];
        let outcome = match *name {
            "hangs" | "fails" => EffectOutcome::NoAnswer,
            "private" | "missing" | "others" => EffectOutcome::NotDone,
            _ => EffectOutcome::Failed,
        };
        assert_eq!(effect.outcome, Some(outcome), "{name}");
        assert!(effect.message.contains(how) && effect.message.contains(why), "{}", effect.message);
        assert_eq!(status.tries, Some(1));
    }
    assert!(web.asked("/elsewhere").is_empty() && web.asked("/secret").is_empty());
    let hung = web.asked("/hangs");
    assert_eq!(hung.len(), 2);
    let key = |nth: usize| hung[nth].headers["idempotency-key"].clone();
    assert_eq!((key(0), &hung[0].body), (key(1), &hung[1].body), "the same call");
}
