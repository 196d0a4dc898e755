//! Two replicas: one works, and the other takes over.

use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap};
use kintsugi::api::WidgetContract;
use kube::ResourceExt as _;
use serde_json::json;

use crate::{
    chart,
    support::{Cluster, Namespace, Operator, PATIENCE, has, people, storefinder},
};

pub const SHORT_LEASE: [&str; 2] = ["--lease-duration=5s", "--api-timeout=1s"];

pub fn held_by(identity: &'static str) -> impl Fn(Option<&Lease>) -> bool {
    move |lease| {
        lease
            .and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref())
            .is_some_and(|holder| holder == identity)
    }
}

#[tokio::test]
async fn a_stopped_leader_gives_the_lease_up_and_the_other_replica_works_on() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "handover").await;
    let mut first = Operator::start_as(&cluster, &namespace, "first", &[]);
    namespace.when("kintsugi", "first leads", held_by("first")).await;
    let second = Operator::start_as(&cluster, &namespace, "second", &SHORT_LEASE);
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    first.signal("TERM");
    assert!(first.wait().success(), "{}", first.log());
    assert!(first.log().contains("the lease was given up"), "{}", first.log());
    namespace.when("kintsugi", "second leads", held_by("second")).await;
    namespace.apply(&storefinder("uk", &json!({"title": "By second"}))).await;
    namespace.served_when("uk", |value| value["title"] == "By second").await;
    assert!(!second.log().contains("\"title\""), "no payload in the log");
}

#[tokio::test]
async fn two_replicas_hand_over_under_the_rights_to_the_lease_that_the_chart_gives() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "charts").await;
    let leases: kube::Api<Lease> =
        kube::Api::namespaced(namespace.client.clone(), "kintsugi-system");
    let deployed = chart::installed(&cluster, "kintsugi-system", "kintsugi").await;
    let start = |identity: &str| {
        let more = [format!("--namespaces={}", namespace.name), format!("--identity={identity}")];
        let short = SHORT_LEASE.map(str::to_owned);
        let args = [&deployed[..], &more, &short].concat();
        Operator::run(&cluster.operator_kubeconfig(), &args)
    };
    let leads = async |identity: &'static str| {
        let waiting =
            kube::runtime::wait::await_condition(leases.clone(), "kintsugi", held_by(identity));
        tokio::time::timeout(PATIENCE, waiting).await.expect(identity).unwrap();
    };
    let mut first = start("first");
    leads("first").await;
    let _second = start("second");
    first.signal("TERM");
    assert!(first.wait().success(), "{}", first.log());
    leads("second").await;
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
}

#[tokio::test]
async fn a_killed_leader_is_replaced_and_what_it_began_is_ended_once() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "takeover").await;
    let first = Operator::start_as(&cluster, &namespace, "first", &SHORT_LEASE);
    namespace.when("kintsugi", "first leads", held_by("first")).await;
    let _second = Operator::start_as(&cluster, &namespace, "second", &SHORT_LEASE);
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let before = namespace.api::<ConfigMap>().get("uk-served").await.unwrap();
    first.signal("KILL");
    let lost = namespace.api::<Lease>().get("kintsugi").await.unwrap().spec.unwrap();
    let taken = namespace.when("kintsugi", "second leads", held_by("second")).await.spec.unwrap();
    // By what the Leases say: after the lease is over and not before, and not a second lease later.
    let renewed = lost.renew_time.unwrap().0;
    let gap = taken.acquire_time.unwrap().0.duration_since(renewed).as_secs();
    assert!((5..=10).contains(&gap), "taken over {gap} s after the last renewal");
    namespace.apply(&storefinder("de", &json!({"title": "Filialen"}))).await;
    namespace.contract_when("de", "Ready", has("Ready", "True", "Assigned")).await;
    let after = namespace.api::<ConfigMap>().get("uk-served").await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version(), "nothing was written twice");
}

#[tokio::test]
async fn a_leader_that_was_paused_past_its_lease_writes_nothing_when_it_wakes() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "paused").await;
    let first = Operator::start_as(&cluster, &namespace, "first", &SHORT_LEASE);
    namespace.when("kintsugi", "first leads", held_by("first")).await;
    let _second = Operator::start_as(&cluster, &namespace, "second", &SHORT_LEASE);
    first.signal("STOP");
    namespace.when("kintsugi", "second leads", held_by("second")).await;
    first.signal("CONT");
    namespace.apply(&storefinder("uk", &json!({"title": "Shops"}))).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let served = namespace.api::<ConfigMap>().get("uk-served").await.unwrap();
    assert_eq!(served.managed_fields().len(), 1);
    assert!(!first.log().contains("\"served\""), "the one that was paused served: {}", first.log());
    namespace.when("kintsugi", "second still leads", held_by("second")).await;
}

#[tokio::test]
async fn a_leader_that_may_not_list_one_kind_does_not_say_that_it_leads() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "half").await;
    let rules = |of_incidents: &[&str]| {
        json!([
            {"apiGroups": ["kintsugi.dev"], "resources": ["incidents"], "verbs": of_incidents},
            {"apiGroups": ["kintsugi.dev"],
             "resources": ["widgetcontracts", "widgetclasses", "remediationpolicies"],
             "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
             "verbs": ["get", "create", "update"]},
        ])
    };
    people::person(&cluster, &namespace, "half", &rules(&["get"])).await;
    let kubeconfig = people::kubeconfig_of(&cluster, "half");
    let operator = Operator::start_with(&kubeconfig, &namespace, "operator", &[]);
    namespace.when("kintsugi", "it has the lease", held_by("operator")).await;
    operator.logs("\"kind\":\"Incident\"");
    operator.answers("/readyz", (503, "leading: the first lists are not in yet")).await;
    operator.scrape(&["\nkintsugi_leader{} 0\n"]).await;
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "half"},
        "rules": rules(&["get", "list", "watch"]),
    });
    namespace.apply(&role.to_string()).await;
    operator.scrape(&["\nkintsugi_leader{} 1\n"]).await;
}

/// Nobody works before all Incidents are listed, so their list must not wait for anybody's work.
#[tokio::test]
async fn an_operator_that_starts_among_more_incidents_than_may_wait_for_work_begins_to_work() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "many").await;
    let first = Operator::start_as(&cluster, &namespace, "operator", &[]);
    let names: Vec<String> = (0..120).map(|nth| format!("c-{nth:03}")).collect();
    for name in &names {
        namespace.apply(&storefinder(name, &json!({"title": 7}))).await;
    }
    let in_trouble = |contract: Option<&WidgetContract>| {
        let status = contract.and_then(|contract| contract.status.as_ref());
        status.is_some_and(|status| status.incident_ref.is_some())
    };
    for name in &names {
        namespace.contract_when(name, "in trouble", in_trouble).await;
    }
    drop(first);
    let _second = Operator::start_as(&cluster, &namespace, "operator", &[]);
    namespace.apply(&storefinder("c-119", &json!({"title": "Shops"}))).await;
    namespace.contract_when("c-119", "Ready", has("Ready", "True", "Assigned")).await;
}
