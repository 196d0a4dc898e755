//! What a RemediationPolicy says of itself: whether it can be used, and what to mend.

use std::process::Command;

use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRole, Role, RoleBinding},
};
use kintsugi::api::{Incident, RemediationPolicy};
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};

use crate::{
    chart,
    support::{Cluster, Namespace, Operator, PATIENCE, has, storefinder},
};

fn policy_says(
    status: &'static str,
    reason: &'static str,
) -> impl Fn(Option<&DynamicObject>) -> bool {
    move |policy| {
        let conditions = policy.map(|policy| policy.data["status"]["conditions"].clone());
        let ready = conditions.as_ref().and_then(Value::as_array).and_then(|conditions| {
            conditions.iter().find(|condition| condition["type"] == "Ready").cloned()
        });
        ready.is_some_and(|ready| {
            let current = &policy.unwrap().metadata.generation;
            ready["status"] == status
                && ready["reason"] == reason
                && ready["observedGeneration"].as_i64() == *current
        })
    }
}

async fn policy_when(
    namespace: &Namespace,
    name: &str,
    condition: impl Fn(Option<&DynamicObject>) -> bool,
) -> DynamicObject {
    let resource = kube::core::ApiResource::erase::<RemediationPolicy>(&());
    let api = kube::Api::namespaced_with(namespace.client.clone(), &namespace.name, &resource);
    let waiting = kube::runtime::wait::await_condition(api, name, condition);
    tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap()
}

fn policy(name: &str, steps: &Value) -> String {
    json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": {"name": name},
        "spec": {"default": true, "mode": "DryRun", "steps": steps},
    })
    .to_string()
}

#[tokio::test]
async fn a_policy_says_whether_it_can_be_used_once_for_each_generation() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "policies").await;
    let good = json!([{"name": "wait", "wait": {"for": "1s"}}]);
    // Within the CRD's pattern, and still no duration.
    let unreadable = json!([{"name": "wait", "wait": {"for": "1s1h"}}]);
    let faulty = json!([{"name": "patch", "patch": {"ops": [{"op": "add", "path": "/a"}]}}]);
    // Each for a rule of its own: equal ones would have more to say.
    let policy = |name: &str, steps: &Value| {
        let own = json!({"rules": [name]}).to_string();
        policy(name, steps).replace("\"default\":true", &format!("\"match\":{own}"))
    };
    for (name, steps) in [("good", &good), ("unreadable", &unreadable), ("faulty", &faulty)] {
        namespace.apply(&policy(name, steps)).await;
    }
    let operator = Operator::start(&cluster, &namespace, &[]);
    policy_when(&namespace, "good", policy_says("True", "Usable")).await;
    policy_when(&namespace, "faulty", policy_says("False", "StepInvalid")).await;
    policy_when(&namespace, "unreadable", policy_says("False", "SpecInvalid")).await;
    let shown = Command::new(format!("{}/kubectl", std::env::var("KINTSUGI_TEST_BIN").unwrap()))
        .args(["get", "rpol", "-o", "wide", "-n", &namespace.name])
        .env("KUBECONFIG", cluster.admin_kubeconfig())
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let row = |name: &str| shown.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(row("good").contains(" True "), "{shown}");
    let told = row("unreadable");
    assert!(told.contains(" False ") && told.contains("spec.steps[0].wait.for"), "{shown}");
    assert!(row("faulty").contains("spec.steps[0].patch.ops[0]"), "{shown}");

    // Another process has nothing to add.
    drop(operator);
    let _operator = Operator::start_as(&cluster, &namespace, "operator", &[]);
    namespace.apply(&policy("unreadable", &good)).await;
    let mended = policy_when(&namespace, "unreadable", policy_says("True", "Usable")).await;
    assert!(!mended.data["status"].to_string().contains("Stalled"), "{:?}", mended.data["status"]);
    let requests = cluster.requests(&namespace).await;
    let writes = |name: &str| {
        let write = format!("patch remediationpolicies/status {name}");
        requests.iter().filter(|request| **request == write).count()
    };
    assert_eq!(["good", "faulty", "unreadable"].map(writes), [1, 1, 2], "{requests:?}");
}

#[tokio::test]
async fn an_incident_whose_policy_cannot_be_read_any_more_says_so() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "unreadpol").await;
    let _operator = Operator::start(&cluster, &namespace, &[]);
    let heal = |steps: Value| {
        json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy",
            "metadata": {"name": "heal"},
            "spec": {"default": true, "steps": steps, "retry": {"backoff": {"initial": "5s"}}},
        })
        .to_string()
    };
    let in_vain = json!({"ops": [{"op": "replace", "path": "/title", "value": 8}]});
    namespace.apply(&heal(json!([{"name": "patch", "patch": in_vain}]))).await;
    policy_when(&namespace, "heal", policy_says("True", "Usable")).await;
    namespace.apply(&storefinder("uk", &json!({"title": 7}))).await;
    let uid = namespace.contracts().get("uk").await.unwrap().metadata.uid.unwrap();
    let incident = kintsugi::decide::episode::name("uk", &uid, 1);
    // A plan that was not tried yet is made anew when its policy goes.
    let tried = |incident: Option<&Incident>| {
        incident.is_some_and(|i| i.status.as_ref().is_some_and(|s| s.tries == Some(1)))
    };
    namespace.when(&incident, "was tried", tried).await;
    namespace.apply(&heal(json!([{"name": "wait", "wait": {"for": "1s1h"}}]))).await;
    let held = |incident: Option<&Incident>| {
        let status = incident.and_then(|incident| incident.status.as_ref());
        status.is_some_and(|status| {
            let says = |message: &str| message.contains("heal is gone or cannot be read");
            status.conditions.iter().any(|c| c.type_ == "Held" && says(&c.message))
        })
    };
    namespace.when(&incident, "held, and why", held).await;
}

#[tokio::test]
async fn a_status_that_could_not_be_written_is_written_when_it_may_be() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "denied").await;
    let chart: kube::Api<ClusterRole> = kube::Api::all(namespace.client.clone());
    let mut rules = chart.get("kintsugi").await.unwrap().rules.unwrap();
    let status = "remediationpolicies/status";
    for rule in &mut rules {
        rule.resources.iter_mut().flatten().for_each(|resource| {
            if resource == status {
                "widgetcontracts/status".clone_into(resource);
            }
        });
    }
    grant(&namespace, "chart", &json!(rules)).await;
    let lease =
        json!([{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]}]);
    grant(&namespace, "leases", &lease).await;
    let mut account = ServiceAccount::default();
    account.metadata.name = Some("less".to_owned());
    namespace.api().create(&PostParams::default(), &account).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = chart::kubeconfig_of(&cluster, &namespace.name, "less", &folder);
    let name = &namespace.name;
    let args = [
        "run".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
        format!("--namespaces={name}"),
        format!("--lease-namespace={name}"),
    ];
    let operator = Operator::run(&kubeconfig, &args);
    namespace.apply(&policy("heal", &json!([{"name": "undo", "restoreRevision": {}}]))).await;
    let said = operator.logs("the status of a policy was not written");
    assert!(said["error"].as_str().unwrap().contains("grant the right"), "{said}");
    let patch = json!([{"apiGroups": ["kintsugi.dev"], "resources": [status], "verbs": ["patch"]}]);
    grant(&namespace, "status", &patch).await;
    policy_when(&namespace, "heal", policy_says("True", "Usable")).await;
}

#[tokio::test]
async fn a_policy_says_what_its_steps_came_to_and_a_restart_changes_nothing_of_it() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "measured").await;
    let operator = Operator::start(&cluster, &namespace, &[]);
    let in_vain = json!({"ops": [{"op": "replace", "path": "/title", "value": 8}]});
    let now = "incident.cause == 'DocumentChanged' && incident.tries == 0";
    let steps = json!([
        {"name": "never", "when": "incident.tries > 9", "retries": 2, "refetchSource": {}},
        {"name": "vain", "when": now, "patch": in_vain},
        {"name": "restore", "restoreRevision": {}},
    ]);
    let manifest = policy("heal", &steps).replace("DryRun", "Auto");
    namespace.apply(&manifest).await;
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    namespace.apply(&storefinder("uk", &json!({"title": 7, "new": "and good"}))).await;
    let says = |expected: Value| {
        move |policy: Option<&DynamicObject>| {
            let Some(policy) = policy else { return false };
            let mut status = policy.data["status"].clone();
            let times =
                status["steps"][2].as_object_mut().and_then(|step| step.remove("medianTime"));
            let has_taken =
                times.is_some_and(|time| time.as_str().is_some_and(|time| time != "0s"));
            let healed = expected["healed"] == 1;
            has_taken == healed
                && expected
                    .as_object()
                    .unwrap()
                    .iter()
                    .all(|(field, value)| status[field] == *value)
        }
    };
    let healed = |matched: u32| {
        json!({
            "matched": matched, "unhealthy": 1, "inFlight": 0, "storm": false, "healed": 1,
            "steps": [
                {"name": "never", "kind": "refetchSource", "tried": 0, "succeeded": 0},
                {"name": "vain", "kind": "patch", "tried": 1, "succeeded": 0},
                {"name": "restore", "kind": "restoreRevision", "tried": 1, "succeeded": 1},
            ],
        })
    };
    let before = policy_when(&namespace, "heal", says(healed(1))).await;

    drop(operator);
    let _operator = Operator::start_as(&cluster, &namespace, "operator", &[]);
    namespace.apply(&storefinder("de", &json!({"title": "Filialen"}))).await;
    let after = policy_when(&namespace, "heal", says(healed(2))).await;
    let median = |policy: &DynamicObject| policy.data["status"]["steps"][2]["medianTime"].clone();
    assert_eq!(median(&before), median(&after));

    // What is gone is not counted any more.
    let params = DeleteParams::default();
    namespace.contracts().delete("uk", &params).await.unwrap();
    let all = ListParams::default();
    namespace.api::<Incident>().delete_collection(&params, &all).await.unwrap();
    let none = json!({"matched": 1, "unhealthy": 0, "healed": 0});
    policy_when(&namespace, "heal", says(none)).await;
}

fn conflicted(policy: Option<&DynamicObject>) -> Option<String> {
    let conditions = policy?.data["status"]["conditions"].as_array()?.clone();
    let told = conditions.iter().find(|condition| condition["type"] == "Conflicted")?;
    assert_eq!(told["status"], "True");
    Some(told["message"].as_str()?.to_owned())
}

#[tokio::test]
async fn two_equal_policies_are_both_conflicted_and_the_older_one_wins_until_one_has_priority() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "equal").await;
    let operator = Operator::start(&cluster, &namespace, &[]);
    let manifest = |name: &str, priority: i32| {
        let op = json!({"op": "replace", "path": "/title", "value": format!("By {name}")});
        let steps = json!([{"name": format!("step-of-{name}"), "patch": {"ops": [op]}}]);
        json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy",
            "metadata": {"name": name},
            "spec": {"match": {"types": ["Schema"]}, "priority": priority, "steps": steps},
        })
        .to_string()
    };
    // By name it would come last; a creation time has seconds, so the other waits for the next one.
    namespace.apply(&manifest("b-old", 0)).await;
    let old = policy_when(&namespace, "b-old", policy_says("True", "Usable")).await;
    assert_eq!(conflicted(Some(&old)), None);
    let created = old.metadata.creation_timestamp.unwrap().0;
    let says = |part: &'static str| {
        move |policy: Option<&DynamicObject>| conflicted(policy).is_some_and(|m| m.contains(part))
    };
    loop {
        namespace.apply(&manifest("a-young", 0)).await;
        let young = policy_when(&namespace, "a-young", says("b-old")).await;
        if young.metadata.creation_timestamp.unwrap().0 > created {
            break;
        }
        namespace
            .api::<RemediationPolicy>()
            .delete("a-young", &DeleteParams::default())
            .await
            .unwrap();
    }
    policy_when(&namespace, "a-young", says("loses to b-old")).await;
    policy_when(&namespace, "b-old", says("wins over a-young")).await;

    let breaks = |name: &'static str, healed: fn(&Value) -> bool| {
        let namespace = &namespace;
        async move {
            namespace.apply(&storefinder(name, &json!({"title": "Shops"}))).await;
            namespace.contract_when(name, "Ready", has("Ready", "True", "Assigned")).await;
            namespace.apply(&storefinder(name, &json!({"title": 7}))).await;
            namespace.served_when(name, healed).await;
            let uid = namespace.contracts().get(name).await.unwrap().metadata.uid.unwrap();
            let incident = kintsugi::decide::episode::name(name, &uid, 1);
            // It is written beside the repair.
            let is_there = |incident: Option<&Incident>| incident.is_some();
            let incident = namespace.when(&incident, "is there", is_there).await;
            incident.spec.plan[0].why.clone()
        }
    };
    let by_old = |document: &Value| document["title"] == "By b-old";
    let by_young = |document: &Value| document["title"] == "By a-young";
    assert_eq!(breaks("uk", by_old).await, "b-old wins; a-young is younger");

    // Another process says the same.
    let conditions = |policy: &DynamicObject| policy.data["status"]["conditions"].clone();
    let of = |matched: u32| {
        move |policy: Option<&DynamicObject>| {
            policy.is_some_and(|policy| policy.data["status"]["matched"] == matched)
        }
    };
    let before = policy_when(&namespace, "b-old", of(1)).await;
    drop(operator);
    let _operator = Operator::start_as(&cluster, &namespace, "operator", &[]);
    assert_eq!(breaks("de", by_old).await, "b-old wins; a-young is younger");
    let after = policy_when(&namespace, "b-old", of(2)).await;
    assert_eq!(conditions(&before), conditions(&after));

    // With a priority it is a choice.
    namespace.apply(&manifest("a-young", 1)).await;
    let is_over = |policy: Option<&DynamicObject>| {
        let has_status = policy.is_some_and(|p| p.data["status"]["conditions"].is_array());
        has_status && conflicted(policy).is_none()
    };
    policy_when(&namespace, "a-young", is_over).await;
    policy_when(&namespace, "b-old", is_over).await;
    assert_eq!(breaks("fr", by_young).await, "a-young wins; b-old has a lower priority");
}

/// Lets the ServiceAccount `less` do more.
async fn grant(namespace: &Namespace, name: &str, rules: &Value) {
    let role: Role =
        serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules})).unwrap();
    let subject = json!({"kind": "ServiceAccount", "name": "less", "namespace": namespace.name});
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [subject],
    }))
    .unwrap();
    namespace.api::<Role>().create(&PostParams::default(), &role).await.unwrap();
    namespace.api::<RoleBinding>().create(&PostParams::default(), &binding).await.unwrap();
}
