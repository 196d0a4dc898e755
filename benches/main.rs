//! `make bench`: how long a heal takes, what it asks of the API server, and what the operator
//! weighs. Every time is given as a multiple of `w`, one merge PATCH of one object in the same
//! run, because the API server is most of it and machines differ.
//!
//! ```text
//! w | bare healer | w | document | w | drift | w | served | w      one round; three that count
//! ```
//!
//! Nothing here is a test: a target that is not reached is printed, and the run still succeeds.

#![allow(clippy::print_stdout, reason = "the table is for a person")]

mod broken;
mod cluster;
mod documents;
mod floor;
mod heal;
mod memory;
mod patches;
mod report;
mod requests;
mod rounds;
mod scrape;
mod stats;
mod streams;
mod validation;
mod watch;

use std::{fs, path::Path};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};

use crate::{
    cluster::{Cluster, Memory, Operator, say},
    heal::Case,
    report::Summary,
};

/// Where the results go.
const RESULTS: &str = "target/bench";

/// Measures how fast the operator heals, and what it costs.
#[derive(Debug, Parser)]
struct Args {
    /// Which ways of breaking are measured
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Case::ALL)]
    cases: Vec<Case>,
    /// Which parts run
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::ALL)]
    parts: Vec<Part>,
    /// How many heals of each case, over all rounds
    #[arg(long, default_value_t = 200)]
    heals: usize,
    /// How many contracts the memory is measured with
    #[arg(long, default_value_t = 10_000)]
    contracts: usize,
    /// How many follow what happens for a minute
    #[arg(long, default_value_t = 1_000)]
    streams: usize,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Time and requests of a heal.
    Heal,
    /// Memory with many contracts.
    Memory,
    /// The same contracts, all broken at once; needs `memory`.
    Broken,
    /// Memory with many who follow what happens.
    Streams,
    /// Validations per second.
    Validation,
    /// What a scrape costs; with as many contracts as `memory`.
    Scrape,
}

impl Part {
    const ALL: [Self; 6] =
        [Self::Heal, Self::Memory, Self::Broken, Self::Streams, Self::Validation, Self::Scrape];
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    fs::create_dir_all(RESULTS).with_context(|| format!("making {RESULTS}"))?;
    let cluster = Cluster::running()?;
    let mut summary = Summary::new(&cluster)?;
    if args.parts.contains(&Part::Validation) {
        summary.validation = Some(validation::measure(Path::new(RESULTS))?);
    }
    if args.parts.contains(&Part::Scrape) {
        summary.scrape = Some(scrape::measure(args.contracts)?);
    }
    if args.parts.contains(&Part::Heal) {
        let (operator, idle) = start(&cluster, rounds::NAMESPACE).await?;
        summary.idle = Some(idle);
        let rounds = rounds::measure(&cluster, &args.cases, args.heals).await?;
        operator.stop().await?;
        summary.requests = requests::count(&cluster, &args.cases).await?;
        summary.heals = Some(rounds);
    }
    if args.parts.contains(&Part::Memory) {
        let (operator, idle) = start(&cluster, memory::NAMESPACE).await?;
        summary.idle.get_or_insert(idle);
        summary.memory = Some(memory::measure(&cluster, operator, args.contracts).await?);
        if args.parts.contains(&Part::Broken) {
            summary.broken = Some(broken::measure(&cluster, args.contracts).await?);
        }
    }
    if args.parts.contains(&Part::Streams) {
        summary.streams = Some(streams::measure(&cluster, args.streams).await?);
    }
    summary.write(Path::new(RESULTS))?;
    print!("{summary}");
    summary.streams.as_ref().map_or(Ok(()), streams::Measured::holds)
}

/// The operator for one new namespace, at rest, and its memory before there is any contract.
async fn start(cluster: &Cluster, namespace: &str) -> anyhow::Result<(Operator, Memory)> {
    let client = cluster.client().await?;
    cluster::new_namespace(&client, namespace).await?;
    let operator = Operator::start(cluster, namespace)?;
    operator.leads(&client).await?;
    operator.quiet().await?;
    let idle = operator.memory()?;
    say(&format!("the operator leads, and rests with {:.1} MiB", idle.now));
    Ok((operator, idle))
}
