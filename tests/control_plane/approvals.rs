//! Mode Approve: who may approve is seen to by admission, and what was approved is what is done.

use std::process::Command;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap, events::v1::Event};
use kintsugi::api::Incident;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    effects,
    healing::{edit, incident_when, policy, shop, world},
    support::{
        Cluster, Namespace, Operator, has,
        people::person,
        storefinder,
        workload::{may_patch, workload},
    },
};

/// `user`, who may do `verbs` to Incidents.
async fn who_may(cluster: &Cluster, namespace: &Namespace, user: &str, verbs: &[&str]) -> Client {
    let rule = json!({"apiGroups": ["kintsugi.dev"], "resources": ["incidents"], "verbs": verbs});
    person(cluster, namespace, user, &json!([rule])).await.client
}

fn broken() -> Value {
    edit(&shop(), |document| {
        document["title"] = json!(7);
        document["new"] = json!("and good");
    })
}

/// A contract that is served, and in trouble that a policy of mode Approve can mend.
async fn ask(namespace: &Namespace) -> Incident {
    let steps = json!([{"name": "restore", "restoreRevision": {}}]);
    policy(namespace, &steps, &json!({"mode": "Approve"})).await;
    namespace.apply(&storefinder("uk", &shop())).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.apply(&storefinder("uk", &broken())).await;
    incident_when(namespace, "uk", "Held").await
}

fn plan_of(incident: &Incident) -> String {
    incident.status.as_ref().unwrap().plan_digest.clone().unwrap().to_string()
}

/// The condition Approved: status, reason, message.
fn approved(incident: &Incident) -> (&str, &str, &str) {
    let conditions = incident.status.iter().flat_map(|status| &status.conditions);
    conditions
        .into_iter()
        .find(|condition| condition.type_ == "Approved")
        .map_or(("", "", ""), |c| (c.status.as_str(), c.reason.as_str(), c.message.as_str()))
}

fn approval(plan: &str, by: &str) -> Value {
    json!({"spec": {"approval": {"planDigest": plan, "decision": "Approve", "by": by}}})
}

async fn patch_as(
    client: &Client,
    namespace: &Namespace,
    name: &str,
    patch: &Value,
) -> Result<Incident, String> {
    let incidents: Api<Incident> = Api::namespaced(client.clone(), &namespace.name);
    let patched = incidents.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map_err(|error| error.to_string())
}

#[tokio::test]
async fn only_who_holds_the_verb_approves_and_in_his_own_name() {
    let (cluster, namespace, _operator) = world("approve").await;
    let bob = who_may(&cluster, &namespace, "bob", &["get", "create", "patch", "open"]).await;
    let alice = who_may(&cluster, &namespace, "alice", &["get", "patch", "approve"]).await;
    let incident = ask(&namespace).await;
    let (name, plan) = (incident.name_any(), plan_of(&incident));
    assert_eq!(incident.status.as_ref().unwrap().waiting, "AwaitingApproval");
    assert!(approved(&incident).2.contains(&plan), "{:?}", approved(&incident));

    // What would be done can be read, and only there; nothing was done.
    let candidate = namespace.api::<ConfigMap>().get(&format!("{name}-candidate")).await.unwrap();
    assert_eq!(
        (candidate.immutable, candidate.owner_references()[0].uid.clone()),
        (Some(true), incident.uid().unwrap())
    );
    let shown = candidate.data.unwrap();
    let read = |key: &str| serde_json::from_str::<Value>(&shown[key]).unwrap();
    assert_eq!(read("patch.json"), json!([{"op": "replace", "path": "/title", "value": "Shops"}]));
    assert_eq!(read("contract.json"), edit(&broken(), |mended| mended["title"] = json!("Shops")));
    assert_eq!(namespace.served_when("uk", |_| true).await, shop());

    let refused = async |client: &Client, patch: &Value, expected: &str| {
        let refusal = patch_as(client, &namespace, &name, patch).await.unwrap_err();
        assert!(refusal.contains(expected), "{refusal}");
    };
    refused(&bob, &approval(&plan, "bob"), "needs the verb approve").await;
    refused(&bob, &approval(&plan, "alice"), "you are authenticated with: bob").await;
    refused(&alice, &approval(&plan, "bob"), "you are authenticated with: alice").await;
    // Nor in an Incident that he makes himself.
    let mut own = Incident::new("uk-own", incident.spec.clone());
    own.spec.approval =
        serde_json::from_value(approval(&plan, "bob")["spec"]["approval"].clone()).unwrap();
    let incidents: Api<Incident> = Api::namespaced(bob.clone(), &namespace.name);
    let refusal = incidents.create(&PostParams::default(), &own).await.unwrap_err().to_string();
    assert!(refusal.contains("needs the verb approve"), "{refusal}");
    // What is no approval needs no such right.
    let label = json!({"metadata": {"labels": {"seen": "yes"}}});
    patch_as(&bob, &namespace, &name, &label).await.unwrap();

    patch_as(&alice, &namespace, &name, &approval(&plan, "alice")).await.unwrap();
    namespace.served_when("uk", |value| value["new"] == "and good").await;
    let healed = incident_when(&namespace, "uk", "Mitigated").await;
    assert_eq!(approved(&healed), ("True", "Approved", "approved by alice"));
    let status = healed.status.unwrap();
    assert_eq!(status.attempts[0].approved_by.as_deref(), Some("alice"));
    assert_eq!(status.observed_generation, Some(2));
    // He may not take it back either.
    refused(&bob, &json!({"spec": {"approval": null}}), "needs the verb approve").await;
    let events = namespace.api::<Event>().list(&ListParams::default()).await.unwrap();
    let said = |reason: &str| {
        let of = |event: &&Event| event.reason.as_deref() == Some(reason);
        events.iter().filter(of).map(|event| event.note.clone().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(said("Approved"), ["approved by alice"]);
    assert_eq!(said("PlanReady").len(), 1);
}

#[tokio::test]
async fn who_may_approve_one_incident_by_its_name_approves_that_and_no_other() {
    let (cluster, namespace, _operator) = world("approve-name").await;
    let incident = ask(&namespace).await;
    let (name, plan) = (incident.name_any(), plan_of(&incident));
    let may = |only: &str| {
        let of = |verbs: &[&str]| json!({"apiGroups": ["kintsugi.dev"], "resources": ["incidents"], "verbs": verbs});
        let mut approve = of(&["approve"]);
        approve["resourceNames"] = json!([only]);
        json!([of(&["get", "patch"]), approve])
    };
    let bob = person(&cluster, &namespace, "bob", &may("uk-other")).await.client;
    let refusal = patch_as(&bob, &namespace, &name, &approval(&plan, "bob")).await.unwrap_err();
    assert!(refusal.contains("needs the verb approve"), "{refusal}");
    let alice = person(&cluster, &namespace, "alice", &may(&name)).await.client;
    patch_as(&alice, &namespace, &name, &approval(&plan, "alice")).await.unwrap();
    let healed = incident_when(&namespace, "uk", "Mitigated").await;
    assert_eq!(approved(&healed), ("True", "Approved", "approved by alice"));
}

#[tokio::test]
async fn a_source_is_scaled_only_once_a_person_approved_it_and_its_document_is_asked_about_next() {
    let (cluster, namespace, web, _operator) = effects::world("approve-effect").await;
    let alice = who_may(&cluster, &namespace, "alice", &["get", "patch", "approve"]).await;
    effects::service(&namespace, &web, false).await;
    may_patch(&namespace, "healer", "deployments", "catalog").await;
    namespace.apply(&workload("Deployment", "catalog", 0, "")).await;
    let steps =
        json!([{"name": "scale", "scaleWorkload": {}}, {"name": "again", "refetchSource": {}}]);
    let more = json!({"mode": "Approve", "serviceAccountName": "healer"});
    policy(&namespace, &steps, &more).await;
    namespace.apply(&effects::contract("uk", "Deployment", "catalog", |_| {})).await;

    let incident = incident_when(&namespace, "uk", "Held").await;
    let (name, plan) = (incident.name_any(), plan_of(&incident));
    let planned = |incident: &Incident| {
        let conditions = incident.status.iter().flat_map(|status| status.conditions.clone());
        conditions.into_iter().find(|is| is.type_ == "Planned").map(|is| is.message)
    };
    let said = "step scale would act on Deployment catalog: scaleWorkload";
    assert_eq!(planned(&incident).as_deref(), Some(said));
    let replicas = |deployment: Option<&Deployment>| deployment?.spec.as_ref()?.replicas;
    let catalog = namespace.api::<Deployment>().get("catalog").await.unwrap();
    assert_eq!(replicas(Some(&catalog)), Some(0));

    patch_as(&alice, &namespace, &name, &approval(&plan, "alice")).await.unwrap();
    let is_up = move |deployment: Option<&Deployment>| {
        replicas(deployment) == Some(1)
            && deployment.and_then(|d| d.status.as_ref()?.available_replicas) == Some(1)
    };
    namespace.when::<Deployment>("catalog", "a pod", is_up).await;
    effects::service(&namespace, &web, true).await;
    let asks_anew = move |incident: Option<&Incident>| {
        let status = incident.and_then(|incident| incident.status.as_ref());
        status.is_some_and(|status| {
            status.waiting == "AwaitingApproval"
                && status.plan_digest.as_ref().is_some_and(|next| next.to_string() != plan)
        })
    };
    let incident = namespace.when::<Incident>(&name, "asks about the document", asks_anew).await;
    assert_eq!(planned(&incident).as_deref(), Some("would replace /title"));
    patch_as(&alice, &namespace, &name, &approval(&plan_of(&incident), "alice")).await.unwrap();
    namespace.served_when("uk", |value| value["title"] == "From the source").await;
    let status = incident_when(&namespace, "uk", "Mitigated").await.status.unwrap();
    assert_eq!(status.effects[0].approved_by.as_deref(), Some("alice"));
    assert_eq!(status.attempts[0].approved_by.as_deref(), Some("alice"));
}

#[tokio::test]
async fn only_an_operator_with_a_dashboard_passes_on_what_people_decided() {
    let (cluster, namespace, _operator) = world("passon").await;
    let incident = ask(&namespace).await;
    let (name, plan) = (incident.name_any(), plan_of(&incident));
    // What the chart gives without it.
    let operator =
        who_may(&cluster, &namespace, "plain", &["get", "create", "delete", "open"]).await;
    let given = approval(&plan, "alice");
    let refusal = patch_as(&operator, &namespace, &name, &given).await.unwrap_err();
    assert!(refusal.contains("cannot patch resource \"incidents\""), "{refusal}");
    let mut own = Incident::new("uk-own", incident.spec.clone());
    own.spec.approval = serde_json::from_value(given["spec"]["approval"].clone()).unwrap();
    let incidents: Api<Incident> = Api::namespaced(operator, &namespace.name);
    let refusal = incidents.create(&PostParams::default(), &own).await.unwrap_err();
    assert!(refusal.to_string().contains("you are authenticated with: plain"), "{refusal}");

    let passes = who_may(&cluster, &namespace, "passes", &["get", "patch", "approve-for"]).await;
    patch_as(&passes, &namespace, &name, &given).await.unwrap();
    let healed = incident_when(&namespace, "uk", "Mitigated").await;
    assert_eq!(approved(&healed), ("True", "Approved", "approved by alice"));
}

#[tokio::test]
async fn an_approval_for_a_document_that_has_changed_is_refused_and_the_command_of_the_new_one_works()
 {
    let (cluster, namespace, _operator) = world("changed").await;
    let incident = ask(&namespace).await;
    let (name, plan) = (incident.name_any(), plan_of(&incident));
    let other = edit(&broken(), |document| document["new"] = json!("something else"));
    namespace.apply(&storefinder("uk", &other)).await;
    let earlier = plan.clone();
    let is_new = move |incident: Option<&Incident>| {
        incident.is_some_and(|i| {
            let digest = i.status.as_ref().and_then(|status| status.plan_digest.as_ref());
            digest.is_some_and(|digest| digest.as_str() != earlier)
        })
    };
    namespace.when(&name, "another plan", is_new).await;
    patch_as(&namespace.client, &namespace, &name, &approval(&plan, "admin")).await.unwrap();
    let refused = |incident: Option<&Incident>| {
        incident.is_some_and(|incident| approved(incident).1 == "PlanChanged")
    };
    let incident = namespace.when(&name, "refused", refused).await;
    assert_eq!(namespace.served_when("uk", |_| true).await, shop());
    let candidate = namespace.api::<ConfigMap>().get(&format!("{name}-candidate")).await.unwrap();
    assert_eq!(candidate.annotations()["kintsugi.dev/plan-digest"], plan_of(&incident));

    let message = approved(&incident).2;
    let command = &message[message.find("kubectl").unwrap()..];
    let bin = std::env::var("KINTSUGI_TEST_BIN").unwrap();
    let typed = Command::new("bash")
        .args(["-c", &command.replace("<you>", "admin")])
        .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
        .env("KUBECONFIG", cluster.admin_kubeconfig())
        .output()
        .unwrap();
    assert!(typed.status.success(), "{command}: {}", String::from_utf8_lossy(&typed.stderr));
    namespace.served_when("uk", |value| value["new"] == "something else").await;
}

#[tokio::test]
async fn without_the_admission_policy_nobody_is_asked_and_a_dry_run_still_shows_the_plan() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "unprotected").await;
    let args = ["--approval-policy=none-such"];
    let _operator = Operator::start(&cluster, &namespace, &args);
    let incident = ask(&namespace).await;
    let status = incident.status.as_ref().unwrap();
    assert_eq!((status.waiting.as_str(), &status.plan_digest), ("ApprovalUnprotected", &None));
    let (_, reason, message) = approved(&incident);
    assert_eq!(reason, "ApprovalUnprotected");
    assert!(message.contains("none-such") && message.contains("approvals.install"), "{message}");

    let steps = json!([{"name": "restore", "restoreRevision": {}}]);
    policy(&namespace, &steps, &json!({"mode": "DryRun"})).await;
    let name = incident.name_any();
    let shows = |incident: Option<&Incident>| {
        incident.is_some_and(|i| i.status.as_ref().is_some_and(|s| s.plan_digest.is_some()))
    };
    namespace.when(&name, "a plan", shows).await;
    let patch = namespace.config_map_key(&format!("{name}-candidate"), "patch.json").await.unwrap();
    assert!(patch.contains("\"/title\""), "{patch}");
    assert_eq!(namespace.served_when("uk", |_| true).await, shop());
}
