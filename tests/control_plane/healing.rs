//! The heal loop: broken, recorded, repaired, verified, and escalated when it cannot be healed.

use k8s_openapi::api::events::v1::Event;
use kintsugi::api::{Incident, WidgetContract};
use kube::{
    ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::support::{Cluster, Namespace, Operator, condition, has, storefinder, web::Web};

const LOCAL: [&str; 2] = ["--allow-cidrs=127.0.0.0/8", "--allow-http"];

pub async fn world(prefix: &str) -> (Cluster, Namespace, Operator) {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, prefix).await;
    let operator = Operator::start(&cluster, &namespace, &LOCAL);
    (cluster, namespace, operator)
}

pub async fn policy(namespace: &Namespace, steps: &Value, more: &Value) {
    let mut spec = json!({
        "default": true,
        "steps": steps,
        "retry": {"maxAttempts": 2, "backoff": {"initial": "1s"}, "minHealthyPeriod": "1s"},
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let manifest = json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": {"name": "heal"}, "spec": spec,
    });
    namespace.apply(&manifest.to_string()).await;
}

/// The contract's Incidents, the newest last.
pub async fn incidents(namespace: &Namespace) -> Vec<Incident> {
    let list = namespace.api::<Incident>().list(&ListParams::default()).await.unwrap();
    let mut incidents = list.items;
    incidents.sort_by_key(|incident| incident.spec.ordinal);
    incidents
}

/// Waits until the contract names an Incident, and that one has the state.
pub async fn incident_when(namespace: &Namespace, contract: &str, state: &'static str) -> Incident {
    let named = |contract: Option<&WidgetContract>| {
        contract.and_then(|c| c.status.as_ref()?.incident_ref.as_ref()).is_some()
    };
    let contract = namespace.contract_when(contract, "names an Incident", named).await;
    let name = contract.status.unwrap().incident_ref.unwrap().name;
    incident_is(namespace, &name, state).await
}

pub async fn incident_is(namespace: &Namespace, name: &str, state: &'static str) -> Incident {
    let reached = move |incident: Option<&Incident>| {
        let is = incident.and_then(|incident| incident.status.as_ref()?.state);
        is.is_some_and(|is| is.to_string() == state)
    };
    namespace.when::<Incident>(name, state, reached).await
}

pub fn edit(good: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut edited = good.clone();
    change(&mut edited);
    edited
}

pub fn shop() -> Value {
    json!({"title": "Shops", "stores": [{"id": "a"}, {"id": "b"}]})
}

#[tokio::test]
async fn the_good_part_of_a_broken_edit_is_served_and_the_incident_waits_for_the_owner() {
    let (_cluster, namespace, operator) = world("subtree").await;
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;

    let broken = edit(&shop(), |document| {
        document["title"] = json!("far too long to be a title");
        document["stores"][1]["name"] = json!("new, and good");
    });
    namespace.apply(&storefinder("uk", &broken)).await;
    let incident = incident_when(&namespace, "uk", "Mitigated").await;
    let served = namespace.served_when("uk", |_| true).await;
    let expected = edit(&shop(), |document| document["stores"][1]["name"] = json!("new, and good"));
    assert_eq!(served, expected, "the good part of the edit survives");

    let status = incident.status.unwrap();
    assert_eq!((status.tries, status.step.as_str()), (Some(1), "restore"));
    assert_eq!(status.waiting, "AwaitingOwner");
    assert_eq!(incident.spec.cause.to_string(), "DocumentChanged");
    assert_eq!(incident.spec.plan[0].policy_ref.as_ref().unwrap().name, "heal");
    let contract =
        namespace.contract_when("uk", "mitigated", has("Serving", "True", "Repaired")).await;
    assert_eq!(condition(&contract, "Stalled").0, "True");
    let documents = contract.status.unwrap().document.unwrap();
    assert_eq!(documents.served.unwrap().revision, Some(2), "the repair is a revision, too");

    // The owner mends the document: the Incident is over once it has passed for long enough.
    namespace.apply(&storefinder("uk", &expected)).await;
    incident_is(&namespace, &incident.metadata.name.unwrap(), "Resolved").await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let said = events_until(&namespace, "Resolved").await;
    for reason in [
        "ValidationFailed",
        "IncidentOpened",
        "StepSucceeded",
        "Mitigated",
        "Resolved",
        "ValidationRecovered",
    ] {
        assert_eq!(said.iter().filter(|said| *said == reason).count(), 1, "{reason} in {said:?}");
    }
    assert!(
        operator.log().contains(&incident.spec.traceparent.unwrap()[3..35]),
        "the trace id is logged"
    );
}

/// The reasons of all Events, once one of them is `reason`.
pub async fn events_until(namespace: &Namespace, reason: &str) -> Vec<String> {
    namespace.any(reason, |event: &Event| event.reason.as_deref() == Some(reason)).await;
    events(namespace).await
}

/// The reasons of the Events that there are.
pub async fn events(namespace: &Namespace) -> Vec<String> {
    let list = namespace.api::<Event>().list(&ListParams::default()).await.unwrap();
    list.items.into_iter().filter_map(|event| event.reason).collect()
}

#[tokio::test]
async fn a_missing_required_field_gets_the_schemas_default() {
    let (_cluster, namespace, _operator) = world("default").await;
    policy(&namespace, &json!([{"name": "repair", "repairDocument": {}}]), &json!({})).await;
    let contract = |document: Value| {
        let mut manifest: Value = serde_json::from_str(&storefinder("uk", &document)).unwrap();
        let schema = &mut manifest["spec"]["schema"]["inline"];
        schema["required"] = json!(["title", "layout"]);
        schema["properties"]["layout"] = json!({"enum": ["grid", "list"], "default": "grid"});
        manifest.to_string()
    };
    namespace.apply(&contract(json!({"title": "Shops", "layout": "list"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.apply(&contract(json!({"title": "Edited"}))).await;
    incident_when(&namespace, "uk", "Mitigated").await;
    let served = namespace.served_when("uk", |value| value["title"] == "Edited").await;
    assert_eq!(served, json!({"title": "Edited", "layout": "grid"}));
}

#[tokio::test]
async fn a_dead_asset_is_replaced_and_the_live_one_comes_back_with_its_owner() {
    let (_cluster, namespace, _operator) = world("asset").await;
    let web = Web::start().await;
    web.answer("/hero.png", 200, "image/png", "png");
    web.answer("/placeholder.png", 200, "image/png", "png");
    let mut manifest: Value = serde_json::from_str(&storefinder(
        "uk",
        &json!({"title": "Shops", "hero": web.url("/hero.png")}),
    ))
    .unwrap();
    manifest["spec"]["rules"] =
        json!([{"name": "images", "asset": {"paths": ["$.hero"], "contentTypes": ["image/*"]}}]);
    manifest["spec"]["fallbackAssets"] =
        json!([{"rule": "images", "url": web.url("/placeholder.png")}]);
    manifest["spec"]["interval"] = json!("1s");
    namespace.apply(&manifest.to_string()).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;

    // No policy at all: declared fallback assets are the built-in behaviour.
    web.answer("/hero.png", 404, "text/plain", "gone");
    let incident = incident_when(&namespace, "uk", "Mitigated").await;
    assert_eq!(incident.spec.cause.to_string(), "AssetMissing");
    let placeholder = web.url("/placeholder.png");
    let served = namespace
        .served_when("uk", |value| value["hero"].as_str().unwrap().contains("placeholder"))
        .await;
    assert_eq!(served["hero"], json!(placeholder));

    web.answer("/hero.png", 200, "image/png", "png");
    namespace.served_when("uk", |value| value["hero"].as_str().unwrap().contains("hero")).await;
}

#[tokio::test]
async fn an_asset_that_cannot_be_asked_for_is_unknown_and_nothing_is_done() {
    let (_cluster, namespace, _operator) = world("unknown").await;
    let web = Web::start().await;
    web.answer("/hero.png", 200, "image/png", "png");
    let mut manifest: Value = serde_json::from_str(&storefinder(
        "uk",
        &json!({"title": "Shops", "hero": web.url("/hero.png")}),
    ))
    .unwrap();
    manifest["spec"]["rules"] = json!([{"name": "images", "asset": {"paths": ["$.hero"]}}]);
    manifest["spec"]["fallbackAssets"] = json!([{"url": web.url("/placeholder.png")}]);
    manifest["spec"]["interval"] = json!("1s");
    namespace.apply(&manifest.to_string()).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    web.answer("/hero.png", 503, "text/plain", "busy");
    let contract =
        namespace.contract_when("uk", "unknown", has("Valid", "Unknown", "HttpUnclear")).await;
    assert_eq!(contract.status.unwrap().incident_ref, None);
    assert!(incidents(&namespace).await.is_empty(), "Unknown is not Fail");
    assert_eq!(namespace.served_when("uk", |_| true).await["hero"], json!(web.url("/hero.png")));
    web.answer("/hero.png", 200, "image/png", "png");
    namespace.contract_when("uk", "valid again", has("Valid", "True", "RulesPass")).await;
}

#[tokio::test]
async fn metadata_is_regenerated() {
    let (_cluster, namespace, _operator) = world("metadata").await;
    let steps = json!([{"name": "stamp", "regenerateMetadata": {"set": {"/locale": "en-GB", "/rev": "{{revision}}"}}}]);
    policy(&namespace, &steps, &json!({})).await;
    let contract = |document: Value| {
        let mut manifest: Value = serde_json::from_str(&storefinder("uk", &document)).unwrap();
        manifest["spec"]["rules"] =
            json!([{"name": "envelope", "metadata": {"expected": {"/locale": "en-GB"}}}]);
        manifest.to_string()
    };
    namespace.apply(&contract(json!({"title": "Shops", "locale": "en-GB"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.apply(&contract(json!({"title": "Shops", "locale": "fr"}))).await;
    incident_when(&namespace, "uk", "Mitigated").await;
    let served = namespace.served_when("uk", |value| value["rev"].is_string()).await;
    assert_eq!((&served["locale"], &served["rev"]), (&json!("en-GB"), &json!("2")));
}

#[tokio::test]
async fn what_no_step_can_heal_is_retried_and_then_escalated_and_heals_when_its_owner_acts() {
    let (_cluster, namespace, _operator) = world("escalate").await;
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    namespace.apply(&storefinder("uk", &json!({}))).await;
    let incident = incident_when(&namespace, "uk", "Escalated").await;
    let status = incident.status.clone().unwrap();
    assert_eq!(status.tries, Some(2));
    assert_eq!(status.attempts.len(), 2);
    assert!(status.message.contains("no stored revision"), "{}", status.message);
    let escalated = status.conditions.iter().find(|c| c.type_ == "Escalated").unwrap();
    assert!(escalated.message.contains("2 of 2 attempts failed"), "{}", escalated.message);
    assert_eq!(namespace.config_map_key("uk-served", "contract.json").await, None);
    // Said after it was written down.
    let said = events_until(&namespace, "Escalated").await;
    assert_eq!(said.iter().filter(|said| *said == "StepFailed").count(), 2, "{said:?}");
    assert_eq!(said.iter().filter(|said| *said == "Escalated").count(), 1, "{said:?}");

    namespace.apply(&storefinder("uk", &shop())).await;
    incident_is(&namespace, &incident.metadata.name.unwrap(), "Resolved").await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
}

#[tokio::test]
async fn a_rejected_document_applied_fifty_times_is_one_incident_and_no_further_attempt() {
    let (_cluster, namespace, _operator) = world("fifty").await;
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let broken = storefinder("uk", &edit(&shop(), |document| document["title"] = json!(7)));
    namespace.apply(&broken).await;
    let before = incident_when(&namespace, "uk", "Mitigated").await;
    for n in 0..50 {
        let mut manifest: Value = serde_json::from_str(&broken).unwrap();
        manifest["metadata"]["labels"] = json!({"applied": n.to_string()});
        namespace.apply(&manifest.to_string()).await;
    }
    // A second contract that heals after the fiftieth shows that all of them were looked at.
    namespace.apply(&storefinder("last", &shop())).await;
    namespace.contract_when("last", "Ready", has("Ready", "True", "Assigned")).await;
    let after = incidents(&namespace).await;
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].resource_version(), before.resource_version());
}

#[tokio::test]
async fn another_kind_of_trouble_supersedes_the_incident() {
    let (_cluster, namespace, _operator) = world("supersede").await;
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.apply(&storefinder("uk", &edit(&shop(), |d| d["title"] = json!(7)))).await;
    let first = incident_when(&namespace, "uk", "Mitigated").await;
    namespace.apply(&storefinder("uk", &edit(&shop(), |d| d["stores"] = json!("none")))).await;
    let first = first.metadata.name.unwrap();
    incident_is(&namespace, &first, "Superseded").await;
    let other = move |contract: Option<&WidgetContract>| {
        contract
            .and_then(|c| c.status.as_ref()?.incident_ref.as_ref())
            .is_some_and(|reference| reference.name != first)
    };
    namespace.contract_when("uk", "another Incident", other).await;
    incident_when(&namespace, "uk", "Mitigated").await;
    let ordinals: Vec<u32> = incidents(&namespace).await.iter().map(|i| i.spec.ordinal).collect();
    assert_eq!(ordinals, [1, 2]);
}

#[tokio::test]
async fn modes_below_auto_record_and_repair_nothing() {
    let (_cluster, namespace, _operator) = world("modes").await;
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    let contract = |name: &str, mode: &str, document: &Value| {
        let mut manifest: Value = serde_json::from_str(&storefinder(name, document)).unwrap();
        manifest["spec"]["healing"] = json!({"mode": mode});
        manifest.to_string()
    };
    for (name, mode) in
        [("off", "Off"), ("observe", "Observe"), ("dry", "DryRun"), ("approve", "Approve")]
    {
        namespace.apply(&contract(name, mode, &shop())).await;
        namespace.contract_when(name, "Ready", has("Ready", "True", "Assigned")).await;
    }
    let broken = edit(&shop(), |document| {
        document["title"] = json!(7);
        document["new"] = json!("and good");
    });
    for (name, mode, waiting) in [
        ("observe", "Observe", "ObserveOnly"),
        ("dry", "DryRun", "DryRun"),
        ("approve", "Approve", "AwaitingApproval"),
    ] {
        namespace.apply(&contract(name, mode, &broken)).await;
        let incident = incident_when(&namespace, name, "Held").await;
        let status = incident.status.unwrap();
        assert_eq!((status.waiting.as_str(), status.tries), (waiting, None), "{mode}");
        if mode == "DryRun" {
            assert_eq!(
                (status.plan[0].op.to_string().as_str(), status.plan[0].path.as_str()),
                ("replace", "/title")
            );
        }
        assert_eq!(namespace.served_when(name, |_| true).await, shop(), "{mode}");
    }
    namespace.apply(&contract("off", "Off", &broken)).await;
    let off = namespace.contract_when("off", "invalid", has("Ready", "False", "Invalid")).await;
    assert_eq!(off.status.unwrap().incident_ref, None);
}

#[tokio::test]
async fn a_suspended_policy_holds_its_incidents_and_lets_them_go() {
    let (_cluster, namespace, _operator) = world("held").await;
    let steps = json!([{"name": "restore", "restoreRevision": {}}]);
    policy(&namespace, &steps, &json!({"suspend": true})).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let broken = edit(&shop(), |document| {
        document["title"] = json!(7);
        document["new"] = json!("and good");
    });
    namespace.apply(&storefinder("uk", &broken)).await;
    let incident = incident_when(&namespace, "uk", "Held").await;
    assert_eq!(incident.status.unwrap().waiting, "Suspended");
    policy(&namespace, &steps, &json!({"suspend": false})).await;
    incident_is(&namespace, &incident.metadata.name.unwrap(), "Mitigated").await;
    namespace.served_when("uk", |value| value["new"] == "and good").await;
}

#[tokio::test]
async fn a_person_can_close_an_incident_and_it_stays_closed() {
    let (_cluster, namespace, _operator) = world("close").await;
    namespace.apply(&storefinder("uk", &json!({}))).await;
    let incident = incident_when(&namespace, "uk", "Open").await;
    assert_eq!(incident.status.unwrap().waiting, "AwaitingOwner", "there is no step to try");
    let name = incident.metadata.name.unwrap();
    let close = json!({"spec": {"close": true}});
    let incidents_api = namespace.api::<Incident>();
    incidents_api.patch(&name, &PatchParams::default(), &Patch::Merge(&close)).await.unwrap();
    incident_is(&namespace, &name, "Resolved").await;
    let let_go = |contract: Option<&WidgetContract>| {
        contract.is_some_and(|c| c.status.as_ref().is_some_and(|s| s.incident_ref.is_none()))
    };
    namespace.contract_when("uk", "let go", let_go).await;
    assert_eq!(incidents(&namespace).await.len(), 1, "the same trouble is not opened again");
}

#[tokio::test]
async fn a_killed_operator_goes_on_where_it_was() {
    let (cluster, namespace, operator) = world("killed").await;
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.apply(&storefinder("uk", &edit(&shop(), |d| d["title"] = json!(7)))).await;
    let opened = |incident: Option<&Incident>| incident.is_some();
    let uid = namespace.contracts().get("uk").await.unwrap().uid().unwrap();
    let name = kintsugi::decide::episode::name("uk", &uid, 1);
    namespace.when::<Incident>(&name, "is opened", opened).await;
    operator.signal("KILL");
    drop(operator);
    let short = [&LOCAL[..], &["--lease-duration=5s", "--api-timeout=1s"]].concat();
    let _operator = Operator::start_as(&cluster, &namespace, "operator", &short);
    incident_is(&namespace, &name, "Mitigated").await;
    let all = incidents(&namespace).await;
    assert_eq!((all.len(), all[0].status.as_ref().unwrap().tries), (1, Some(1)));
}

#[tokio::test]
async fn what_is_restored_passes_the_rules_of_today_however_old_it_is() {
    let (_cluster, namespace, _operator) = world("today").await;
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    let titles = (2..9).map(|n| format!("Longer, number {n}"));
    for title in std::iter::once("Short".to_owned()).chain(titles) {
        namespace.apply(&storefinder("uk", &json!({"title": title}))).await;
        namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    }
    let mut manifest: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": 7, "new": "and good"}))).unwrap();
    manifest["spec"]["schema"]["inline"]["properties"]["title"]["maxLength"] = json!(10);
    namespace.apply(&manifest.to_string()).await;
    // The newest good document fails the new schema: somebody has to want that.
    let held = |contract: Option<&WidgetContract>| {
        contract.and_then(|c| c.status.as_ref()?.incident_ref.as_ref()).is_some()
    };
    let contract = namespace.contract_when("uk", "an Incident", held).await;
    let digest = contract.status.unwrap().effective.unwrap().digest;
    manifest["metadata"]["annotations"] = json!({"kintsugi.dev/accept-schema": digest.short()});
    namespace.apply(&manifest.to_string()).await;
    let served = namespace.served_when("uk", |value| value["new"] == "and good").await;
    assert_eq!(served["title"], "Short");
}

#[tokio::test]
async fn an_overwritten_key_is_one_incident_that_names_who_did_it() {
    let (_cluster, namespace, _operator) = world("overwritten").await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let overwrite = json!({"data": {"contract.json": "{\"title\": \"Valid, but not ours\"}"}});
    let params = PatchParams { field_manager: Some("vandal".into()), ..PatchParams::default() };
    let config_maps = namespace.api::<k8s_openapi::api::core::v1::ConfigMap>();
    config_maps.patch("uk-served", &params, &Patch::Merge(&overwrite)).await.unwrap();
    let uid = namespace.contracts().get("uk").await.unwrap().uid().unwrap();
    let name = kintsugi::decide::episode::name("uk", &uid, 1);
    let incident = incident_is(&namespace, &name, "Resolved").await;
    assert_eq!(incident.spec.cause.to_string(), "Overwritten");
    assert!(incident.spec.violations[0].message.contains("vandal"));
    assert_eq!(incident.status.unwrap().step, "put-back");
    assert_eq!(namespace.served_when("uk", |_| true).await, shop());
    assert_eq!(incidents(&namespace).await.len(), 1);
}

#[tokio::test]
async fn ended_incidents_are_kept_up_to_the_limit() {
    let (_cluster, namespace, _operator) = world("limit").await;
    // By the defaults the first would count for the budget for an hour, and be kept.
    let limits = json!({
        "incidents": {"keepResolved": 1},
        "budget": {"window": "1s"},
        "storm": {"cooldown": "0s"},
    });
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &limits).await;
    for n in 1..=3 {
        namespace.apply(&storefinder("uk", &shop())).await;
        namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
        if n > 1 {
            let over = |contract: Option<&WidgetContract>| {
                contract
                    .is_some_and(|c| c.status.as_ref().is_some_and(|s| s.incident_ref.is_none()))
            };
            namespace.contract_when("uk", "its Incident is over", over).await;
        }
        if n < 3 {
            namespace.apply(&storefinder("uk", &edit(&shop(), |d| d["title"] = json!(7)))).await;
            incident_when(&namespace, "uk", "Mitigated").await;
        }
    }
    let uid = namespace.contracts().get("uk").await.unwrap().uid().unwrap();
    let first = kintsugi::decide::episode::name("uk", &uid, 1);
    namespace.gone::<Incident>(&first).await;
    let kept: Vec<u32> = incidents(&namespace).await.iter().map(|i| i.spec.ordinal).collect();
    assert_eq!(kept, [2]);
}

#[tokio::test]
async fn a_heal_is_five_writes_one_read_and_no_list() {
    let (cluster, namespace, _operator) = world("cost").await;
    policy(&namespace, &json!([{"name": "restore", "restoreRevision": {}}]), &json!({})).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let before = cluster.requests(&namespace).await.len();
    let broken = edit(&shop(), |document| {
        document["title"] = json!(7);
        document["new"] = json!("and good");
    });
    namespace.apply(&storefinder("uk", &broken)).await;
    incident_when(&namespace, "uk", "Mitigated").await;
    namespace.contract_when("uk", "repaired", has("Serving", "True", "Repaired")).await;
    // Another contract that is served after it shows that this one has come to rest.
    namespace.apply(&storefinder("rest", &shop())).await;
    namespace.contract_when("rest", "Ready", has("Ready", "True", "Assigned")).await;
    let requests = cluster.requests(&namespace).await.split_off(before);
    let heal: Vec<&str> = requests
        .iter()
        .map(String::as_str)
        .filter(|request| !request.contains(" rest") && !request.contains(" events"))
        // The namespace's label, at most every ten seconds for all its contracts.
        .filter(|request| !request.starts_with("get namespaces"))
        // What a policy counts, at most every five seconds.
        .filter(|request| !request.contains("remediationpolicies"))
        .collect();
    let writes = heal.iter().filter(|request| !request.starts_with("get")).count();
    // The Incident, the served key, the revision, both statuses.
    assert_eq!(writes, 5, "{heal:#?}");
    // What was published is read again before it counts as served.
    let reads: Vec<_> = heal.iter().filter(|request| request.starts_with("get")).collect();
    assert_eq!(reads.len(), 1, "{heal:#?}");
    assert!(!heal.iter().any(|request| request.starts_with("list")), "{heal:#?}");
}
