//! Hosts that give no answer: Unknown, no Incident of a contract, nothing done, and one Incident about the
//! host, or about the operator's own network, once it lasts.

use kintsugi::api::{
    Incident, WidgetContract,
    incident::{About, Cause, HostRef},
};
use serde_json::{Value, json};

use crate::{
    healing::{events, events_until, incident_when, incidents, policy},
    parents::{about, is},
    support::{Cluster, Namespace, Operator, condition, has, storefinder, web::Web},
};

const ARGS: [&str; 3] =
    ["--allow-cidrs=127.0.0.0/8", "--allow-http", "--asset-breaker-open-for=2s"];

/// A contract that shows these assets, and is looked at each second.
async fn shows(namespace: &Namespace, name: &str, assets: &[String]) {
    let document = json!({"title": "Shops", "images": assets});
    let mut manifest: Value = serde_json::from_str(&storefinder(name, &document)).unwrap();
    manifest["spec"]["interval"] = json!("1s");
    manifest["spec"]["rules"] = json!([{"name": "images", "asset": {"paths": ["$.images[*]"]}}]);
    namespace.apply(&manifest.to_string()).await;
}

fn says(text: &'static str) -> impl Fn(&Incident) -> bool {
    move |incident| incident.status.as_ref().is_some_and(|status| status.message.contains(text))
}

/// How often a person was called.
async fn calls(namespace: &Namespace) -> usize {
    events(namespace).await.into_iter().filter(|said| said == "Escalated").count()
}

#[tokio::test]
async fn a_host_that_gives_no_answer_is_unknown_and_one_incident_once_it_lasts() {
    const SHOPS: [&str; 5] = ["at", "be", "cz", "de", "ee"];
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "outage").await;
    let mut operator = Operator::start(&cluster, &namespace, &ARGS);
    let web = Web::start().await;
    web.answer("/a.png", 200, "image/png", "png");
    let replace = json!([{"name": "asset", "replaceAsset": {"url": web.url("/a.png")}}]);
    policy(&namespace, &replace, &json!({"escalation": {"unknownAfter": "1s"}})).await;
    // What is asked all the while tells that it is not us.
    shows(&namespace, "well", &[web.url("/a.png")]).await;
    namespace.contract_when("well", "Ready", has("Ready", "True", "Assigned")).await;
    let address = Web::nobody_at("127.0.0.9").await;
    for name in SHOPS {
        shows(&namespace, name, &[format!("http://{address}/a.png?canary")]).await;
    }
    for name in SHOPS {
        let unknown = has("Escalated", "True", "ConnectionFailed");
        let contract = namespace.contract_when(name, "stays Unknown", unknown).await;
        let message = condition(&contract, "Escalated").2;
        assert!(message.contains("by the Incident about host/127.0.0.9"), "{message}");
        assert_eq!(condition(&contract, "Valid").0, "Unknown");
        assert_eq!(condition(&contract, "Serving").1, "AssignedUnverified");
        let status = contract.status.unwrap();
        assert_eq!((status.checks[0].host.as_str(), status.incident_ref), ("127.0.0.9", None));
    }
    let of_all = says("host 127.0.0.9 gives no answer (ConnectionFailed): 5 contracts");
    let outage = about(&namespace, "host/127.0.0.9", of_all).await;
    let host = About::Host(HostRef { name: "127.0.0.9".to_owned() });
    assert_eq!(
        (outage.spec.about.as_ref(), outage.spec.cause),
        (Some(&host), Cause::AssetHostDown)
    );
    assert!(is("Escalated")(&outage), "{outage:?}");
    assert_eq!(outage.metadata.owner_references, None);
    assert!(!serde_json::to_string(&outage).unwrap().contains("canary"), "{outage:?}");

    // Another process goes on with it, and calls nobody again.
    events_until(&namespace, "Escalated").await;
    operator.signal("KILL");
    operator.wait();
    let _operator = Operator::start(&cluster, &namespace, &ARGS);
    let back = Web::start_on(&address).await;
    back.answer("/a.png", 200, "image/png", "png");
    for name in SHOPS {
        let passes = |contract: Option<&WidgetContract>| {
            contract.is_some_and(|contract| condition(contract, "Escalated").0.is_empty())
        };
        namespace.contract_when(name, "passes", passes).await;
    }
    about(&namespace, "host/127.0.0.9", is("Resolved")).await;
    let all = incidents(&namespace).await;
    let [outage] = &all[..] else { panic!("what is Unknown opens none: {all:#?}") };
    assert_eq!(outage.status.as_ref().unwrap().tries, None);
    assert_eq!(calls(&namespace).await, 1, "one call for a person");
    let done = cluster
        .requests(&namespace)
        .await
        .into_iter()
        .filter(|r| r.starts_with("patch configmaps"));
    assert_eq!(done.collect::<Vec<_>>(), Vec::<String>::new(), "what was served stays as it was");
}

#[tokio::test]
async fn an_operator_that_reaches_no_host_says_so_and_does_nothing_that_needs_one() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "egress").await;
    // Servers that are back are left alone for longer than the network is out for them.
    let wary = ["--allow-cidrs=127.0.0.0/8", "--allow-http", "--asset-breaker-open-for=20s"];
    let _operator = Operator::start(&cluster, &namespace, &wary);
    let refetch = json!([{"name": "refetch", "refetchSource": {}}]);
    let patient = json!({"breaker": {"failureThreshold": 100}});
    policy(&namespace, &refetch, &patient).await;
    // One has no address, and nobody listens at those of the others.
    let (address, third) = (Web::nobody_at("127.0.0.2").await, Web::nobody_at("127.0.0.3").await);
    for (name, host) in [("one", "cdn.invalid"), ("two", &address), ("three", &third)] {
        let assets = ["a", "b"].map(|asset| format!("http://{host}/{asset}.png"));
        shows(&namespace, name, &assets).await;
        let unknown = has("Valid", "Unknown", "AssetHostDown");
        let contract = namespace.contract_when(name, "is Unknown", unknown).await;
        let message = condition(&contract, "Valid").2;
        assert!(message.contains("none of the 2 assets"), "{message}");
    }
    let mut manifest: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": 7}))).unwrap();
    manifest["spec"]["source"] = json!({"url": format!("http://{address}/uk.json")});
    namespace.apply(&manifest.to_string()).await;
    let incident = incident_when(&namespace, "uk", "Held").await;
    let status = incident.status.unwrap();
    assert_eq!((status.waiting.as_str(), status.tries), ("EgressBroken", None));
    assert!(status.message.contains("none of the 3 hosts"), "{}", status.message);
    assert_eq!(incidents(&namespace).await.len(), 1, "what is Unknown opens none");

    // It lasts.
    let hasty = json!({"breaker": {"failureThreshold": 100}, "escalation": {"unknownAfter": "1s"}});
    policy(&namespace, &refetch, &hasty).await;
    let of_both =
        says("no host that was asked lately can be reached: 3 contracts, such as one, three, two,");
    let outage = about(&namespace, "egress", of_both).await;
    assert_eq!((outage.spec.cause, outage.spec.violations.len()), (Cause::EgressBroken, 1));
    assert!(is("Escalated")(&outage), "{outage:?}");
    let all = incidents(&namespace).await;
    assert_eq!(all.len(), 2, "one instead of one for each host: {all:#?}");
    events_until(&namespace, "Escalated").await;
    assert_eq!(calls(&namespace).await, 1);

    // Two of them are back: the other is down itself.
    let back = [Web::start_on(&address).await, Web::start_on(&third).await];
    for (web, asset) in back.iter().flat_map(|web| [(web, "/a.png"), (web, "/b.png")]) {
        web.answer(asset, 200, "image/png", "png");
    }
    about(&namespace, "egress", is("Resolved")).await;
    let outage = about(&namespace, "host/cdn.invalid", is("Escalated")).await;
    assert_eq!(outage.spec.cause, Cause::AssetHostDown);
    let all = incidents(&namespace).await;
    let subjects: Vec<_> = all.iter().map(|incident| incident.spec.subject.as_str()).collect();
    assert!(!subjects.iter().any(|subject| subject.starts_with("host/127")), "{subjects:?}");
}
