//! `make crash`: the operator is killed after each of its writes, started again, and must come to
//! the same end as if nothing had happened, with no effect done twice.
//!
//! `tests/run.sh --test crash -- drift` runs the scenarios whose name holds that.
//!
//! A clean run of each scenario says how many writes it takes and what the end looks like. Then,
//! for every write, a run in a namespace of its own: a proxy between the operator and the API server
//! lets the write through, kills the process (SIGKILL) before it can read the answer, and another
//! process takes over. What is compared is in `snapshot.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::print_stderr, missing_docs, reason = "a program for developers")]

mod proxy;
mod scenarios;
mod snapshot;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with the tests on the control plane")]
mod support;

use std::{process::ExitCode, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::time::{sleep, timeout};

use crate::{
    proxy::Proxy,
    scenarios::Scenario,
    snapshot::{Changes, Snapshot},
    support::{Cluster, Namespace, Operator, PATIENCE, web::Web},
};

/// Runs at the same time: each has an operator and a namespace of its own.
const AT_ONCE: usize = 4;
/// After this long without a write it has come to rest.
const QUIET: Duration = Duration::from_millis(1_200);

/// What came of one run.
struct Run {
    writes: usize,
    killed: bool,
    end: Snapshot,
    /// The effects outside of the cluster, by the key that says they are the same.
    effects: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let cluster = Cluster::running();
    let web = Web::start().await;
    let scenarios: Vec<Scenario> = scenarios::all(&web)
        .into_iter()
        .filter(|scenario| {
            wanted.is_empty() || wanted.iter().any(|wanted| scenario.name.contains(wanted))
        })
        .collect();
    let (mut passed, mut all) = (0, 0);
    for scenario in &scenarios {
        let reference = match run(&cluster, &web, scenario, None, None).await {
            Ok(reference) => reference,
            Err(why) => {
                println!("{:<28} the clean run failed: {why}", scenario.name);
                all += 1;
                continue;
            }
        };
        let runs = (1..=reference.writes).map(|nth| {
            let (cluster, web, reference) = (&cluster, &web, &reference);
            async move { (nth, run(cluster, web, scenario, Some(nth), Some(reference)).await) }
        });
        let mut runs: Vec<_> = stream::iter(runs).buffered(AT_ONCE).collect().await;
        // A workload that was quicker than in the clean run is not written down as awaited.
        let fewer =
            runs.iter().filter(|(_, run)| run.as_ref().is_ok_and(|run| !run.killed)).count();
        runs.retain(|(_, run)| run.as_ref().map_or(true, |run| run.killed));
        let failed: Vec<_> =
            runs.iter().filter_map(|(nth, run)| Some((nth, run.as_ref().err()?))).collect();
        all += runs.len();
        passed += runs.len() - failed.len();
        let count = runs.len() - failed.len();
        println!("{:<28} {count} of {}", scenario.name, runs.len());
        if fewer > 0 {
            println!("  not killed, since they came to the same end in fewer writes: {fewer}");
        }
        for (nth, why) in failed {
            println!("  after write {nth}: {why}");
        }
    }
    println!("crash: {passed} of {all}");
    if passed == all && all > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One run, in which the process is killed after its write `nth`.
async fn run(
    cluster: &Cluster,
    web: &Web,
    scenario: &Scenario,
    nth: Option<usize>,
    reference: Option<&Run>,
) -> Result<Run, String> {
    let namespace = Namespace::new(cluster, &format!("crash-{}", scenario.name)).await;
    let proxy = Proxy::start(cluster).await;
    let operator = start(&proxy, &namespace);
    scenario.prepare(&namespace).await;
    rest(&proxy).await?;
    let before = proxy.writes();
    proxy.kill_after(nth.map(|nth| before + nth), operator.id());
    let mut changes = Changes::watch(&namespace).await;
    scenario.begin(&namespace).await;
    let is_killed = nth.is_some() && timeout(PATIENCE, proxy.killed()).await.is_ok();
    if nth.is_some() && !is_killed && !scenario.waits_for_others() {
        return Err("the write never came".to_owned());
    }
    let operator = if is_killed {
        drop(operator);
        start(&proxy, &namespace)
    } else {
        operator
    };
    let is_end = |now: &Snapshot| match reference {
        Some(reference) => *now == reference.end,
        None => scenario.is_over(now),
    };
    let mut last = None;
    let reached = timeout(PATIENCE, async {
        loop {
            let now = Snapshot::of(&namespace, web).await;
            if is_end(&now) {
                break;
            }
            last = Some(now);
            changes.next().await;
        }
    });
    if reached.await.is_err() {
        let expected = reference.map(|reference| &reference.end);
        return Err(format!(
            "another end: {}\n{}{}",
            snapshot::difference(expected, last.as_ref()),
            scenario.workload(&namespace).await,
            operator.log().lines().rev().take(5).collect::<Vec<_>>().join("\n")
        ));
    }
    rest(&proxy).await?;
    let end = Snapshot::of(&namespace, web).await;
    if !is_end(&end) {
        let expected = reference.map(|reference| &reference.end);
        return Err(format!("it does not stay so: {}", snapshot::difference(expected, Some(&end))));
    }
    let effects = scenario.effects(cluster, &namespace, web).await;
    if let Some(reference) = reference
        && effects.len() != reference.effects.len()
    {
        return Err(format!("effects {effects:?}, in the clean run {:?}", reference.effects));
    }
    Ok(Run { writes: proxy.writes() - before, killed: is_killed, end, effects })
}

fn start(proxy: &Proxy, namespace: &Namespace) -> Operator {
    // The same identity, as of a container that is started again: it need not wait for its own lease.
    let args = [
        "run".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
        "--identity=operator".to_owned(),
        format!("--namespaces={}", namespace.name),
        format!("--lease-namespace={}", namespace.name),
        "--allow-cidrs=127.0.0.0/8".to_owned(),
        "--allow-http".to_owned(),
    ];
    Operator::run(proxy.kubeconfig(), &args)
}

/// Waits until nothing is written any more.
async fn rest(proxy: &Proxy) -> Result<(), String> {
    let resting = async {
        loop {
            let before = proxy.writes();
            sleep(QUIET).await;
            if proxy.writes() == before && before > 0 {
                return;
            }
        }
    };
    timeout(PATIENCE, resting).await.map_err(|_| "it does not come to rest".to_owned())
}
