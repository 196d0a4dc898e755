//! The `kintsugi` command; see the library for the map of the house.

use std::process::ExitCode;

use clap::Parser as _;
use kintsugi::cli::Cli;

fn main() -> ExitCode {
    // One TLS provider for the whole process, chosen before anything opens a connection.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    Cli::parse().execute()
}
