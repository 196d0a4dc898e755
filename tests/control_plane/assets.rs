//! How often assets are asked for.

use serde_json::{Value, json};

use crate::support::{Cluster, Namespace, Operator, has, storefinder, web::Web};

#[tokio::test]
async fn an_asset_is_asked_for_as_often_as_its_own_rule_says() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "often").await;
    let args = ["--allow-cidrs=127.0.0.0/8", "--allow-http"];
    let _operator = Operator::start(&cluster, &namespace, &args);
    let web = Web::start().await;
    web.answer("/hourly.png", 200, "image/png", "png");
    web.answer("/often.png", 200, "image/png", "png");
    let document = json!({
        "title": "Shops", "hourly": web.url("/hourly.png"), "often": web.url("/often.png"),
    });
    let mut manifest: Value = serde_json::from_str(&storefinder("uk", &document)).unwrap();
    manifest["spec"]["rules"] = json!([
        {"name": "hourly", "asset": {"paths": ["$.hourly"]}, "interval": "1h"},
        {"name": "often", "asset": {"paths": ["$.often"]}, "interval": "1s"},
    ]);
    namespace.apply(&manifest.to_string()).await;
    namespace.contract_when("uk", "Ready", has("Ready", "True", "Assigned")).await;
    web.asked_again("/often.png", 3).await;
    assert_eq!(web.asked("/hourly.png").len(), 1);

    // What fails is asked for again before anything is done about it, and so is all beside it.
    web.answer("/often.png", 404, "text/plain", "gone");
    namespace.contract_when("uk", "fails", has("Valid", "False", "RulesFail")).await;
    assert!(web.asked("/hourly.png").len() > 1);
}
