//! The demo, as a newcomer runs it, on a cluster that is there already.

use std::process::Stdio;

use tokio::process::Command;

use crate::support::Cluster;

#[tokio::test]
async fn the_demo_heals_escalates_and_holds_a_storm_on_the_users_own_cluster() {
    let output = Command::new("deploy/demo.sh")
        .env("CLUSTER", "current")
        // A build in the middle of the suite would replace the program that other tests start.
        .env("KINTSUGI_DEMO_OPERATOR", env!("CARGO_BIN_EXE_kintsugi"))
        .env("KUBECONFIG", Cluster::running().admin_kubeconfig())
        .env_remove("HOLD")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let (said, log) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{log}");
    assert!(said.contains("three healed, one escalated"), "{said}");
    assert!(said.contains("the storm was held, and is over"), "{said}");
    for contract in ["uk", "de", "gb", "it"] {
        assert!(said.contains(&format!("{contract}   serves {{")), "{said}");
    }
}
