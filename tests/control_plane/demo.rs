//! The demo, as a newcomer runs it, on a cluster that is there already, and what it leaves open to look at.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines},
    process::{ChildStdout, Command},
    time::timeout,
};

use crate::support::{Cluster, desk::Visitor};

/// Four contracts, a storm, and what they wait for.
const PATIENCE: Duration = Duration::from_secs(300);

/// The next line that is not empty; at the end none is.
async fn next(lines: &mut Lines<BufReader<ChildStdout>>, said: &mut String) -> String {
    loop {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("it says nothing").unwrap();
        let line = line.unwrap_or_else(|| panic!("it has ended after {said}"));
        said.push_str(&line);
        said.push('\n');
        if !line.is_empty() {
            return line;
        }
    }
}

#[tokio::test]
async fn the_demo_heals_escalates_and_holds_a_storm_on_the_users_own_cluster_and_shows_it_in_a_dashboard()
 {
    let mut demo = Command::new("deploy/demo.sh")
        .env("CLUSTER", "current")
        // A build in the middle of the suite would replace the program that other tests start.
        .env("KINTSUGI_DEMO_OPERATOR", env!("CARGO_BIN_EXE_kintsugi"))
        .env("KUBECONFIG", Cluster::running().admin_kubeconfig())
        .env("HOLD", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stderr = demo.stderr.take().unwrap();
    let log = tokio::spawn(async move {
        let mut log = String::new();
        stderr.read_to_string(&mut log).await.map(|_| log)
    });
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut said = String::new();
    let url = loop {
        let line = next(&mut lines, &mut said).await;
        if let Some((_, rest)) = line.split_once("The dashboard is ") {
            break rest.split("/ ").next().unwrap().to_owned();
        }
    };
    let token = next(&mut lines, &mut said).await;
    let newcomer = Visitor { url, name: "newcomer".to_owned(), token };
    for path in ["/", "/api/v1/health", "/api/v1/contracts"] {
        assert_eq!(newcomer.get_status(path).await, 200, "{path}");
    }

    // As Ctrl-C does to the demo itself, which is the script's one child by now.
    let script = demo.id().unwrap();
    let children = format!("/proc/{script}/task/{script}/children");
    let child = std::fs::read_to_string(children).unwrap();
    let ended = Command::new("kill").args(["-INT", child.trim()]).status().await.unwrap();
    assert!(ended.success(), "{child}");
    let status = timeout(PATIENCE, demo.wait()).await.expect("it does not end").unwrap();
    let log = log.await.unwrap().unwrap();
    assert!(status.success(), "{said}\n{log}");
    assert!(said.contains("three healed, one escalated"), "{said}");
    assert!(said.contains("the storm was held, and is over"), "{said}");
    for contract in ["uk", "de", "gb", "it"] {
        assert!(said.contains(&format!("{contract}   serves {{")), "{said}");
    }
}
