//! Whoever may look into some namespaces only, of an operator that works in all.

use kintsugi::api::{RemediationPolicy, WidgetContract};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::{
    desk::{refused, sees_all, until},
    healing::{edit, policy, shop},
    support::{
        Cluster, Namespace, Operator,
        desk::{self, DESK},
        has, people, storefinder,
    },
};

/// An operator without `--namespaces`, which needs a cluster of its own.
fn everywhere(cluster: &Cluster, home: &Namespace) -> Operator {
    let lease = format!("--lease-namespace={}", home.name);
    let args = ["run", "--listen=127.0.0.1:0", "--log-format=json", "--identity=operator"];
    let args = args.into_iter().chain([DESK, "--validation-timeout=60s", &*lease]);
    let args: Vec<String> = args.map(str::to_owned).collect();
    Operator::run(&cluster.operator_kubeconfig(), &args)
}

#[tokio::test]
async fn whoever_has_a_role_in_a_namespace_without_a_contract_is_answered_for_it() {
    let cluster = Cluster::alone("scope");
    let (home, later) =
        (Namespace::new(&cluster, "shop").await, Namespace::new(&cluster, "later").await);
    let operator = everywhere(&cluster, &home);
    let ann = desk::visitor(&cluster, &home, &operator, "ann", &sees_all()).await;
    people::person(&cluster, &later, &ann.name, &sees_all()).await;
    operator.answers("/readyz", (200, "leading: every list is in")).await;

    // Nothing is known of any namespace: she has to name hers, and is told so.
    let one = format!("?namespace={}", home.name);
    for list in ["contracts", "incidents", "policies"] {
        refused(&ann.get(&format!("/api/v1/{list}")).await, 403, "?namespace=NAME asks about one");
        let own = ann.get(&format!("/api/v1/{list}{one}")).await;
        assert_eq!((own.status, &own.body["items"]), (200, &json!([])), "{own:?}");
    }
    refused(&ann.get("/api/v1/stream").await, 403, "?namespace=NAME asks about one");
    drop(ann.follow(&one, None).await);
    for page in ["/", "/contracts", "/incidents", "/policies"] {
        assert_eq!(ann.get_status(&format!("{page}{one}")).await, 200, "{page}");
    }

    // A policy is something.
    let steps = json!([{"name": "restore", "restoreRevision": {}}]);
    policy(&home, &steps, &json!({})).await;
    let is_listed = |answer: &desk::Answer| answer.body["items"][0]["namespace"] == home.name;
    until(&ann, "/api/v1/policies", is_listed).await;

    // What begins in another namespace while she follows is told from its beginning.
    let mut follower = ann.follow("", None).await;
    policy(&later, &steps, &json!({})).await;
    later.apply(&storefinder("uk", &shop())).await;
    later.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    let bad = edit(&shop(), |document: &mut Value| document["title"] = json!(7));
    later.apply(&storefinder("uk", &bad)).await;
    let told = follower.until(|told| told.event == "healing_complete").await;
    assert_eq!(told[0].words(), "healing_start restore DocumentChanged");
    assert!(told.iter().all(|told| told.data["namespace"] == later.name), "{told:?}");

    // And a stream does not end because nothing is left where she may look.
    let gone = DeleteParams::default();
    for namespace in [&home, &later] {
        namespace.api::<RemediationPolicy>().delete("heal", &gone).await.unwrap();
    }
    later.contracts().delete("uk", &gone).await.unwrap();
    later.gone::<WidgetContract>("uk").await;
    let nothing_is_known = |answer: &desk::Answer| answer.status == 403;
    until(&ann, "/api/v1/contracts", nothing_is_known).await;
    let mut quiet = 0;
    // By then she has been asked about anew.
    while quiet < 4 {
        let block = follower.block().await.expect("it goes on");
        assert_ne!(block.event, "end", "{block:?}");
        quiet += usize::from(block.event.is_empty());
    }
}
