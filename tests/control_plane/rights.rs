//! What the chart's admission policies ask of whoever names what the operator then reads or acts on.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kintsugi::api::Incident;
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Cluster, Namespace, PATIENCE, people::person, storefinder};

fn contract(name: &str, spec: &Value) -> String {
    let mut manifest: Value =
        serde_json::from_str(&storefinder(name, &json!({"title": "Shops"}))).unwrap();
    json_patch::merge(&mut manifest["spec"], spec);
    manifest.to_string()
}

fn class(name: &str, spec: &Value) -> String {
    let mut manifest = json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "WidgetClass",
        "metadata": {"name": name}, "spec": {},
    });
    json_patch::merge(&mut manifest["spec"], spec);
    manifest.to_string()
}

fn source(more: &Value) -> Value {
    let mut source = json!({"url": "https://cms.example.com/a.json"});
    json_patch::merge(&mut source, more);
    json!({"source": source})
}

/// Specs that name this object, as both kinds can, and what whoever names `theirs` is told.
fn sources(object: &str) -> Vec<(Value, &'static str)> {
    let workload = |kind: &str| source(&json!({"workloadRef": {"kind": kind, "name": object}}));
    vec![
        (
            workload("Deployment"),
            "spec.source.workloadRef: whoever names it must be allowed to patch Deployment theirs",
        ),
        (workload("StatefulSet"), "must be allowed to patch StatefulSet theirs"),
        (
            source(&json!({"headersSecretRef": {"name": object}})),
            "spec.source.headersSecretRef: whoever names it must be allowed to get Secret theirs",
        ),
        (
            json!({"schema": {"inline": null, "configMapKeyRef": {"name": object, "key": "a.json"}}}),
            "spec.schema.configMapKeyRef: whoever names it must be allowed to get ConfigMap theirs",
        ),
    ]
}

/// The same of contracts alone.
fn documents(object: &str) -> Vec<(Value, &'static str)> {
    vec![
        (
            json!({"document": {"inline": null, "configMapKeyRef": {"name": object, "key": "in.json"}}}),
            "spec.document.configMapKeyRef: whoever names it must be allowed to get ConfigMap theirs",
        ),
        (
            json!({"serve": {"configMapKeyRef": {"name": object, "key": "a.json"}, "adopt": true}}),
            "spec.serve.adopt: whoever has ConfigMap theirs taken over must be allowed to update it",
        ),
    ]
}

/// Who writes contracts and classes, and has every right to what is called `mine`.
async fn author(cluster: &Cluster, namespace: &Namespace) -> Namespace {
    let mine = |group: &str, resources: Value, verbs: Value| json!({"apiGroups": [group], "resources": resources, "resourceNames": ["mine"], "verbs": verbs});
    let rules = json!([
        {"apiGroups": ["kintsugi.dev"], "resources": ["widgetcontracts", "widgetclasses", "remediationpolicies"],
         "verbs": ["create", "patch"]},
        mine("apps", json!(["deployments", "statefulsets"]), json!(["patch"])),
        mine("", json!(["secrets"]), json!(["get"])),
        mine("", json!(["configmaps"]), json!(["get", "update"])),
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["read"], "verbs": ["get"]},
    ]);
    person(cluster, namespace, "author", &rules).await
}

#[tokio::test]
async fn whoever_names_what_the_operator_uses_has_the_right_to_it() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "rights").await;
    let author = author(&cluster, &namespace).await;
    let contracts = |object| [sources(object), documents(object)].concat();
    let cases = contracts("mine").into_iter().zip(contracts("theirs"));
    for (number, ((mine, _), (theirs, says))) in cases.enumerate() {
        let name = format!("c{number}");
        let refused = author.refusal(&contract(&name, &theirs)).await;
        assert!(refused.contains(says), "{refused}\nshould contain {says:?}");
        author.apply(&contract(&name, &mine)).await;
        // Nor later, where the right is to what was named before.
        let refused = author.refusal(&contract(&name, &theirs)).await;
        assert!(refused.contains(says), "{refused}\nshould contain {says:?}");
    }
    let cases = sources("mine").into_iter().zip(sources("theirs"));
    for (number, ((mine, _), (theirs, says))) in cases.enumerate() {
        let name = format!("c{number}");
        let refused = author.refusal(&class(&name, &theirs)).await;
        assert!(refused.contains(says), "{refused}\nshould contain {says:?}");
        author.apply(&class(&name, &mine)).await;
    }
}

#[tokio::test]
async fn whoever_has_repairs_written_into_a_config_map_has_the_right_to_update_it() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "rights").await;
    let author = author(&cluster, &namespace).await;
    let contract = |object: &str, write_back: &str| {
        let at = json!({"name": object, "key": "a.json"});
        let document = json!({"inline": null, "configMapKeyRef": at});
        contract("uk", &json!({"document": document, "healing": {"writeBack": write_back}}))
    };
    author.apply(&contract("read", "Served")).await;
    let refused = author.refusal(&contract("read", "Document")).await;
    let says = "spec.healing.writeBack: whoever has repairs written into ConfigMap read must be \
                allowed to update it";
    assert!(refused.contains(says), "{refused}");
    author.apply(&contract("mine", "Document")).await;
    let refused = author.refusal(&contract("read", "Document")).await;
    assert!(refused.contains(says), "{refused}");
    let refused = author.refusal(&class("c", &json!({"healing": {"writeBack": "Document"}}))).await;
    assert!(
        refused.contains("must be allowed to update every ConfigMap of this namespace"),
        "{refused}"
    );
}

#[tokio::test]
async fn whoever_has_a_secret_sent_by_a_step_has_the_right_to_get_it() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "rights").await;
    let author = author(&cluster, &namespace).await;
    let policy = |secrets: &[&str]| {
        let step = |(number, name): (usize, &&str)| {
            let mut webhook = json!({"url": "https://hooks.example.com/a"});
            if number.is_multiple_of(2) {
                webhook["headersSecretRef"] = json!({"name": name});
            } else {
                webhook["signingKeyRef"] = json!({"name": name, "key": "k"});
            }
            json!({"name": format!("s{number}"), "webhook": webhook})
        };
        let steps: Vec<Value> = secrets.iter().enumerate().map(step).collect();
        json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy",
            "metadata": {"name": "p"},
            "spec": {"match": {"widgets": ["none"]}, "steps": steps},
        })
        .to_string()
    };
    author.apply(&policy(&["mine", "mine", "mine"])).await;
    for secrets in [&["theirs"][..], &["mine", "theirs"], &["theirs", "mine", "mine"]] {
        let refused = author.refusal(&policy(secrets)).await;
        assert!(refused.contains("must be allowed to get Secret theirs"), "{refused}");
    }
    let refused = author.refusal(&policy(&["mine", "one", "mine", "two"])).await;
    assert!(refused.contains("must be allowed to get every Secret of this namespace"), "{refused}");
    // Who may get them all may name them all, and so many cost no more than a few to judge.
    let names: Vec<String> = (0..20).map(|number| format!("secret-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    namespace.apply(&policy(&names)).await;
}

#[tokio::test]
async fn what_others_have_named_does_not_keep_anybody_from_the_rest() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "rights").await;
    let author = author(&cluster, &namespace).await;
    let mut manifest: Value = serde_json::from_str(&contract("uk", &json!({}))).unwrap();
    for (named, _) in [sources("theirs"), documents("theirs")].concat() {
        json_patch::merge(&mut manifest["spec"], &named);
    }
    manifest["spec"]["healing"] = json!({"writeBack": "Document"});
    namespace.apply(&manifest.to_string()).await;
    manifest["spec"]["interval"] = json!("30s");
    author.apply(&manifest.to_string()).await;
    manifest["spec"]["source"]["url"] = json!("https://cms.example.com/elsewhere");
    let refused = author.refusal(&manifest.to_string()).await;
    assert!(refused.contains("must be allowed to get Secret theirs"), "{refused}");
    manifest["spec"].as_object_mut().unwrap().remove("source");
    author.apply(&manifest.to_string()).await;
}

#[tokio::test]
async fn nobody_makes_an_incident_whose_plan_is_carried_out_without_the_right_to() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "forged").await;
    let may = |verbs: &[&str]| json!([{"apiGroups": ["kintsugi.dev"], "resources": ["incidents"], "verbs": verbs}]);
    let bob = person(&cluster, &namespace, "bob", &may(&["create", "patch", "update"])).await;
    let ann = person(&cluster, &namespace, "ann", &may(&["create", "open"])).await;
    let incident: Incident = serde_json::from_value(json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": "uk-0123456789"},
        "spec": {
            "subject": "uk", "contractName": "uk", "contractUID": "u", "widget": "storefinder", "ordinal": 1,
            "documentDigest": "sha256:0", "fingerprint": "sha256:1", "rulesSummary": "schema",
            "severity": "Critical", "cause": "DocumentChanged", "openedAt": "2026-01-01T00:00:00Z",
            "plan": [{"why": "none", "rules": ["schema"], "mode": "Auto",
                      "steps": [{"name": "restart", "restartWorkload": {}}]}],
        },
    }))
    .unwrap();
    let create = async |who: &Namespace| {
        let created = who.api::<Incident>().create(&PostParams::default(), &incident).await;
        created.map(|incident| incident.name_any()).map_err(|error| error.to_string())
    };
    let refused = create(&bob).await.unwrap_err();
    assert!(refused.contains("needs the verb open on incidents"), "{refused}");
    assert_eq!(create(&ann).await, Ok("uk-0123456789".to_owned()));
}

#[tokio::test]
async fn the_admission_policies_fail_shut_and_their_expressions_fit_what_they_judge() {
    let cluster = Cluster::running();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(cluster.admin().await);
    let ours = ListParams::default().labels("app.kubernetes.io/instance=kintsugi");
    let listed = policies.list(&ours).await.unwrap();
    let names: Vec<String> = listed.iter().map(ResourceExt::name_any).collect();
    assert_eq!(
        names,
        [
            "kintsugi-approvals",
            "kintsugi-classes",
            "kintsugi-documents",
            "kintsugi-incidents",
            "kintsugi-service-accounts",
            "kintsugi-sources",
            "kintsugi-steps",
        ]
    );
    for name in names {
        let is_checked = |policy: Option<&ValidatingAdmissionPolicy>| {
            policy.and_then(|p| p.status.as_ref()?.type_checking.as_ref()).is_some()
        };
        let checked = await_condition(policies.clone(), &name, is_checked);
        let policy = timeout(PATIENCE, checked).await.unwrap().unwrap().unwrap();
        assert_eq!(policy.spec.unwrap().failure_policy.as_deref(), Some("Fail"));
        let warnings = policy.status.unwrap().type_checking.unwrap().expression_warnings;
        assert_eq!(warnings, None, "{name}");
    }
}
