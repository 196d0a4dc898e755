//! Logs: structured, on standard error, for people or for machines.

use anyhow::Context as _;
use tracing_subscriber::{
    EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::config::{Config, LogFormat};

/// Starts logging.
///
/// # Errors
/// When `--log` is not a filter.
pub fn init(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log)
        .with_context(|| format!("--log: {:?} is not a filter such as info", config.log))?;
    let layer = fmt::layer().with_writer(std::io::stderr);
    let layer = match config.log_format {
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => layer.with_target(false).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(layer).init();
    Ok(())
}
