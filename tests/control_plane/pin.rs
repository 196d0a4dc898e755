//! A document that a person pins.

use jiff::{Timestamp, ToSpan as _};
use serde_json::json;

use crate::{
    healing::{edit, shop, world},
    requests::kubectl,
    support::{condition, has, storefinder},
};

#[tokio::test]
async fn a_person_pins_an_older_document_and_it_ends_by_time_or_by_hand() {
    let (cluster, namespace, _operator) = world("pin").await;
    let newer = edit(&shop(), |document| document["title"] = json!("Newer"));
    for document in [shop(), newer.clone()] {
        namespace.apply(&storefinder("uk", &document)).await;
        namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    }
    let contract = namespace.contracts().get("uk").await.unwrap();
    let revisions = contract.status.unwrap().document.unwrap().revisions;
    let older = revisions.last().unwrap().digest.short().to_owned();
    let pin = |until: &str| format!("kintsugi.dev/pin={older}/{until}");
    let annotate = |annotation: &str| {
        kubectl(&cluster, &namespace, &["annotate", "wc/uk", annotation, "--overwrite"]);
    };

    annotate(&pin("2099-01-01T00:00:00Z"));
    namespace.served_when("uk", |document| document["title"] == "Shops").await;
    let contract = namespace.contract_when("uk", "pinned", has("Serving", "True", "Pinned")).await;
    assert_eq!(condition(&contract, "Pinned").0, "True");
    annotate("kintsugi.dev/pin-");
    namespace.served_when("uk", |document| document["title"] == "Newer").await;

    annotate(&pin("2099-01-01T00:00:00Z"));
    namespace.served_when("uk", |document| document["title"] == "Shops").await;
    #[expect(clippy::disallowed_methods, reason = "a pin ends by the clock")]
    let soon = (Timestamp::now() + 3.seconds()).to_string();
    annotate(&pin(&soon));
    namespace.served_when("uk", |document| document["title"] == "Newer").await;
    namespace.contract_when("uk", "over", has("Pinned", "False", "PinOver")).await;
    annotate("kintsugi.dev/pin=Newer");
    let contract =
        namespace.contract_when("uk", "refused", has("Pinned", "False", "PinInvalid")).await;
    assert!(
        condition(&contract, "Pinned")
            .2
            .starts_with("annotation kintsugi.dev/pin: it has no slash")
    );
}
