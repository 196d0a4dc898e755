//! The step `job`: made once, followed to its end, never beside itself, and never made from a template
//! that reaches beyond.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use kintsugi::api::{
    DONE_FOR, Incident, WidgetContract,
    incident::{EffectOutcome, StepEffect},
};
use kube::{
    ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    healing::{incident_when, policy},
    support::{
        Cluster, Namespace, Operator, storefinder,
        web::Web,
        workload::{job_template, may},
    },
};

async fn world(prefix: &str, more: &[&str]) -> (Cluster, Namespace, Web, Operator) {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, prefix).await;
    let flags = [&["--allow-cidrs=127.0.0.0/8", "--allow-http"], more].concat();
    let operator = Operator::start(&cluster, &namespace, &flags);
    let web = Web::start().await;
    web.answer("/export", 200, "application/json", "{\"title\": \"From the source\"}");
    let right = json!({"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]});
    may(&namespace, "healer", &right).await;
    (cluster, namespace, web, operator)
}

fn with(place: &str, value: &Value) -> Value {
    let mut template = job_template();
    let (parent, name) = place.rsplit_once('/').unwrap();
    template.pointer_mut(parent).unwrap()[name] = value.clone();
    template
}

fn step(key: &str) -> Value {
    let template = json!({"name": "jobs", "key": key});
    let timeout = if key == "hangs" { "20s" } else { "2m" };
    json!({"name": "run", "timeout": timeout, "job": {"templateConfigMapRef": template}})
}

#[tokio::test]
async fn a_job_is_made_once_from_its_template_and_followed_to_its_end() {
    let (cluster, namespace, web, operator) = world("job", &["--job-logs"]).await;
    namespace.config_map("jobs", &[("heal", &job_template().to_string())]).await;
    let steps = json!([step("heal"), {"name": "refetch", "refetchSource": {}}]);
    policy(&namespace, &steps, &json!({"serviceAccountName": "healer"})).await;
    let mut manifest: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": 7}))).unwrap();
    manifest["spec"]["source"] = json!({"url": web.url("/export")});
    namespace.apply(&manifest.to_string()).await;

    let incident = incident_when(&namespace, "uk", "Mitigated").await;
    let served = namespace.served_when("uk", |_| true).await;
    assert_eq!(served, json!({"title": "From the source"}));
    let jobs = namespace.api::<Job>().list(&ListParams::default()).await.unwrap().items;
    let [job] = jobs.as_slice() else { panic!("{} Jobs", jobs.len()) };
    let key = format!("{}/1/heal/run", incident.name_any());
    assert_eq!(job.annotations()["kintsugi.dev/done-for"], key);
    let owner = &job.owner_references()[0];
    assert_eq!((owner.kind.as_str(), Some(&owner.uid)), ("Incident", incident.uid().as_ref()));
    let spec = job.spec.as_ref().unwrap();
    assert_eq!(
        (spec.active_deadline_seconds, spec.ttl_seconds_after_finished),
        (Some(120), Some(3600))
    );
    let pod = spec.template.spec.as_ref().unwrap();
    assert_eq!(pod.service_account_name.as_deref(), Some("healer"));
    let status = incident.status.unwrap();
    let effect = &status.effects[0];
    assert_eq!(effect.outcome, Some(EffectOutcome::Done), "{}", effect.message);
    assert_eq!(effect.target, format!("Job {}", job.name_any()));
    assert!(effect.ended_at.is_some());
    assert_eq!(effect.log, "asked for a new export\npassword=***\nmended 12 documents");
    assert!(!operator.log().contains("canary-of-the-log"));
    let made =
        cluster.requests(&namespace).await.into_iter().filter(|r| r.starts_with("create jobs"));
    assert_eq!(made.count(), 1);
}

#[tokio::test]
async fn a_job_that_fails_or_reaches_beyond_its_namespace_is_told_by_field_and_reason() {
    let (cluster, namespace, web, _operator) = world("jobs", &["--diagnosis-logs"]).await;
    let pod = "/spec/template/spec";
    let ends = json!({"annotations": {"test.kintsugi.dev/ends": "Error"}});
    let stays = json!({"annotations": {"test.kintsugi.dev/fault": "CrashLoopBackOff"}});
    let host_path = json!([{"name": "root", "hostPath": {"path": "/"}}]);
    let templates = [
        ("fails", with("/spec/template/metadata", &ends)),
        ("hangs", with("/spec/template/metadata", &stays)),
        ("host-path", with(&format!("{pod}/volumes"), &host_path)),
        ("host-network", with(&format!("{pod}/hostNetwork"), &json!(true))),
        ("account", with(&format!("{pod}/serviceAccountName"), &json!("admin"))),
        ("namespace", with("/metadata", &json!({"namespace": "kube-system"}))),
        (
            "privileged",
            with(&format!("{pod}/containers/0/securityContext"), &json!({"privileged": true})),
        ),
        ("pod", with("/kind", &json!("Pod"))),
        ("large", with("/metadata", &json!({"annotations": {"a": "a".repeat(70_000)}}))),
    ];
    let texts: Vec<_> = templates.iter().map(|(key, value)| (*key, value.to_string())).collect();
    let data: Vec<_> = texts.iter().map(|(key, text)| (*key, text.as_str())).collect();
    namespace.config_map("jobs", &data).await;
    let no_right = json!({"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get"]});
    may(&namespace, "reader", &no_right).await;
    let cases = [
        ("fails", "healer", "failed: BackoffLimitExceeded", true),
        ("hangs", "healer", "failed: DeadlineExceeded", true),
        ("host-path", "healer", "spec.template.spec.volumes[0].hostPath is not allowed", false),
        ("host-network", "healer", "spec.template.spec.hostNetwork is not allowed", false),
        ("account", "healer", "serviceAccountName is not the policy's, healer", false),
        ("namespace", "healer", "metadata.namespace is another namespace", false),
        ("privileged", "healer", "containers[0].securityContext.privileged is not allowed", false),
        ("pod", "healer", "kind: the template is no Job of batch/v1", false),
        ("large", "healer", "the template is larger than 65536 bytes", false),
        ("none", "healer", "ConfigMap jobs has no key none in data", false),
        ("heal", "reader", "ServiceAccount reader may not create jobs.batch", false),
    ];
    for (name, account, ..) in cases {
        let mut step = step(name);
        if name == "hangs" {
            step["timeout"] = json!("2s");
        }
        let spec = json!({
            "match": {"widgets": ["none"]}, "retry": {"maxAttempts": 1}, "steps": [step],
            "serviceAccountName": account,
        });
        let manifest = json!({
            "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy",
            "metadata": {"name": name}, "spec": spec,
        });
        namespace.apply(&manifest.to_string()).await;
        let mut manifest: Value =
            serde_json::from_str(&storefinder(name, &json!({"title": 7}))).unwrap();
        manifest["spec"]["source"] = json!({"url": web.url("/export")});
        manifest["spec"]["healing"] = json!({"policyRef": {"name": name}});
        namespace.apply(&manifest.to_string()).await;
    }
    for (name, _, says, is_made) in cases {
        let incident = incident_when(&namespace, name, "Escalated").await;
        let status = incident.status.unwrap();
        assert!(status.message.contains(says), "{name}: {}", status.message);
        let is_silent = |effect: &StepEffect| effect.log.is_empty();
        assert!(status.effects.iter().all(is_silent), "{name}: a log is shown without --job-logs");
        let failed = |effect: &StepEffect| effect.outcome == Some(EffectOutcome::Failed);
        assert_eq!(
            status.effects.iter().filter(|effect| failed(effect)).count(),
            usize::from(is_made)
        );
    }
    let made =
        cluster.requests(&namespace).await.into_iter().filter(|r| r.starts_with("create jobs"));
    assert_eq!(made.count(), 2, "one for each template that may be run");
}

#[tokio::test]
async fn a_job_that_the_api_server_refuses_is_sent_once_in_an_attempt_and_told_by_its_field() {
    let (cluster, namespace, web, _operator) = world("refuses", &[]).await;
    let nameless = with("/spec/template/spec/containers/0/name", &json!("Not A Name"));
    namespace.config_map("jobs", &[("nameless", &nameless.to_string())]).await;
    let more = json!({"serviceAccountName": "healer", "retry": {"maxAttempts": 1}});
    policy(&namespace, &json!([step("nameless")]), &more).await;
    let mut manifest: Value =
        serde_json::from_str(&storefinder("uk", &json!({"title": 7}))).unwrap();
    manifest["spec"]["source"] = json!({"url": web.url("/export")});
    namespace.apply(&manifest.to_string()).await;
    let incident = incident_when(&namespace, "uk", "Escalated").await;
    let status = incident.status.unwrap();
    let effect = &status.effects[0];
    assert_eq!(effect.outcome, Some(EffectOutcome::NotDone), "{}", effect.message);
    assert!(effect.message.contains("the API server refused the object"), "{}", effect.message);
    assert!(effect.message.contains("containers[0].name"), "{}", effect.message);
    let made =
        cluster.requests(&namespace).await.into_iter().filter(|r| r.starts_with("create jobs"));
    assert_eq!(made.count(), 1);
}

fn waits_for(what: &'static str) -> impl Fn(Option<&Incident>) -> bool {
    move |incident| {
        let status = incident.and_then(|incident| incident.status.as_ref());
        status.is_some_and(|status| status.waiting == what)
    }
}

/// The Incident that the contract names, if that is not `before`.
async fn incident_after(namespace: &Namespace, before: &str) -> String {
    let named = |contract: Option<&WidgetContract>| {
        contract?.status.as_ref()?.incident_ref.as_ref().map(|named| named.name.clone())
    };
    let before = before.to_owned();
    let another =
        move |contract: Option<&WidgetContract>| named(contract).is_some_and(|name| name != before);
    let contract = namespace.contract_when("uk", "names another Incident", another).await;
    named(Some(&contract)).unwrap()
}

#[tokio::test]
async fn the_job_of_an_incident_that_is_superseded_is_waited_for_before_another_one_is_made() {
    let (cluster, namespace, _web, _operator) = world("beside", &[]).await;
    let stays = json!({"annotations": {"test.kintsugi.dev/fault": "CrashLoopBackOff"}});
    let hangs = with("/spec/template/metadata", &stays);
    namespace.config_map("jobs", &[("hangs", &hangs.to_string())]).await;
    let mut step = step("hangs");
    step["timeout"] = json!("30m");
    policy(&namespace, &json!([step]), &json!({"serviceAccountName": "healer"})).await;

    namespace.apply(&storefinder("uk", &json!({"title": 7}))).await;
    let first = incident_after(&namespace, "").await;
    namespace.when::<Incident>(&first, "runs its Job", waits_for("Job")).await;
    namespace.apply(&storefinder("uk", &json!({"stores": []}))).await;
    let second = incident_after(&namespace, &first).await;
    let waits = waits_for("JobRunning");
    let waiting = namespace.when::<Incident>(&second, "waits for the first Job", waits).await;
    let status = waiting.status.as_ref().unwrap();
    let jobs = namespace.api::<Job>();
    let made = || async { jobs.list(&ListParams::default()).await.unwrap().items };
    let [running] = made().await.try_into().unwrap_or_else(|jobs| panic!("{jobs:?}"));
    let expected =
        format!("Job {} of attempt 1 of Incident {first} has not ended", running.name_any());
    assert!(status.message.starts_with(&expected), "{}", status.message);
    assert_eq!((status.tries, status.effects.len()), (None, 0));
    assert_eq!(status.state.unwrap().to_string(), "Held");

    let ends = json!({"spec": {"activeDeadlineSeconds": 1}});
    let ends = Patch::Merge(&ends);
    jobs.patch(&running.name_any(), &PatchParams::default(), &ends).await.unwrap();
    namespace.when::<Incident>(&second, "runs its own Job", waits_for("Job")).await;
    let of = |incident: &str| format!("{incident}/1/heal/run");
    let by_key = made().await.into_iter().map(|job| (job.annotations()[DONE_FOR].clone(), job));
    let by_key: BTreeMap<String, Job> = by_key.collect();
    let (ended, another) = (&by_key[&of(&first)], &by_key[&of(&second)]);
    let conditions = ended.status.as_ref().unwrap().conditions.iter().flatten();
    let failed = conditions.into_iter().find(|condition| condition.type_ == "Failed").unwrap();
    assert!(failed.last_transition_time <= another.creation_timestamp(), "it ran beside another");
    let made =
        cluster.requests(&namespace).await.into_iter().filter(|r| r.starts_with("create jobs"));
    assert_eq!(made.count(), 2);
}
