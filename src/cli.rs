//! The command line.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::{
    api,
    config::Config,
    controllers::{health::Export, run::Operator},
    http, metrics, telemetry,
};

/// Keeps the JSON documents of UI widgets healthy.
#[derive(Debug, Parser)]
#[command(name = "kintsugi", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator
    Run(Box<Config>),
    /// Print the CustomResourceDefinitions, or write them into a folder
    Crds {
        /// The folder: one file for each kind
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Print a page of the documentation that is made from the code, as Markdown
    Reference {
        /// Which
        #[arg(value_enum, default_value_t)]
        page: Page,
    },
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Page {
    /// The fields of all kinds
    #[default]
    Api,
    /// What is served at /metrics
    Metrics,
}

impl Cli {
    /// Runs the command; says on standard error why it failed.
    #[must_use]
    pub fn execute(self) -> ExitCode {
        let outcome = match self.command {
            Command::Run(config) => run(*config),
            Command::Crds { out } => crds(out.as_deref()),
            Command::Reference { page } => reference(page),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "kintsugi: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    config.check().map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let logs = {
        let _inside = runtime.enter();
        telemetry::init(&config)?
    };
    let outcome = runtime.block_on(operate(config, &logs));
    logs.shutdown();
    // A validation that overran its time must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(2));
    outcome
}

async fn operate(config: Config, logs: &telemetry::Logs) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let operator = Operator::new(config.clone(), shutdown.clone()).await?;
    let health = Arc::clone(&operator.desk().health);
    logs.tell(move |sent| health.exported(Export::Logs, sent));
    // Listening comes first: an address that is taken is found out before anything is done.
    let served = http::serve(&config, &operator.desk(), shutdown.clone()).await?;
    let outcome = operator.run().await;
    shutdown.cancel();
    served.await.context("the HTTP server ended")?;
    outcome
}

fn crds(out: Option<&Path>) -> anyhow::Result<()> {
    for (name, yaml) in api::crd::files()? {
        match out {
            Some(folder) => {
                let path = folder.join(&name);
                std::fs::write(&path, yaml)
                    .with_context(|| format!("writing {}", path.display()))?;
            }
            None => write!(std::io::stdout(), "---\n{yaml}").context("writing")?,
        }
    }
    Ok(())
}

fn reference(page: Page) -> anyhow::Result<()> {
    let text = match page {
        Page::Api => api::reference::markdown()?,
        Page::Metrics => metrics::table::markdown(),
    };
    write!(std::io::stdout(), "{text}").context("writing")
}
