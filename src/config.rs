//! Every limit, duration and switch of `kintsugi run`, from flags and environment, checked once.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use crate::{domain::Span, outbound};

/// What `kintsugi run` can be told. Each flag has an environment variable.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Namespaces to watch, separated by commas; all when empty
    #[arg(long, env = "KINTSUGI_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,

    /// How many contracts are worked on at the same time
    #[arg(long, env = "KINTSUGI_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,

    /// How many documents are validated at the same time
    #[arg(long, env = "KINTSUGI_VALIDATORS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub validators: u16,

    /// How long one validation may take before its verdict is Unknown
    #[arg(long, env = "KINTSUGI_VALIDATION_TIMEOUT", default_value = "2s")]
    pub validation_timeout: Span,

    /// How long one request to the API server may take
    #[arg(long, env = "KINTSUGI_API_TIMEOUT", default_value = "10s")]
    pub api_timeout: Span,

    /// After how long a silent watch is opened anew
    #[arg(long, env = "KINTSUGI_WATCH_TIMEOUT", default_value = "45s")]
    pub watch_timeout: Span,

    /// How long one request to a source or an asset may take, redirects and body included
    #[arg(long, env = "KINTSUGI_FETCH_TIMEOUT", default_value = "10s")]
    pub fetch_timeout: Span,

    /// Address blocks that may be connected to although they are private, loopback or the like
    #[arg(long, env = "KINTSUGI_ALLOW_CIDRS", value_delimiter = ',')]
    pub allow_cidrs: Vec<IpNet>,

    /// Allow plain http for documents, sources and assets
    #[arg(long, env = "KINTSUGI_ALLOW_HTTP")]
    pub allow_http: bool,

    /// Where traces go, by OTLP over gRPC, such as <http://collector:4317>; nowhere by default
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,

    /// Repair nothing anywhere: open Incidents with their cause, and no more
    #[arg(long, env = "KINTSUGI_OBSERVE_ONLY")]
    pub observe_only: bool,

    /// Where /livez and /readyz are served
    #[arg(long, env = "KINTSUGI_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// Namespace of the Lease that elects the leader
    #[arg(long, env = "KINTSUGI_LEASE_NAMESPACE", default_value = "kintsugi-system")]
    pub lease_namespace: String,

    /// Name of the Lease that elects the leader
    #[arg(long, env = "KINTSUGI_LEASE_NAME", default_value = "kintsugi")]
    pub lease_name: String,

    /// How long a leader that fell silent is waited for
    #[arg(long, env = "KINTSUGI_LEASE_DURATION", default_value = "30s")]
    pub lease_duration: Span,

    /// This replica's name in the Lease; the pod's name by default
    #[arg(long, env = "POD_NAME", default_value = "kintsugi")]
    pub identity: String,

    /// Whether logs are for people or for machines
    #[arg(long, env = "KINTSUGI_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,

    /// Which logs, such as `info` or `kintsugi=debug,warn`
    #[arg(long, env = "KINTSUGI_LOG", default_value = "info,kube=error")]
    pub log: String,
}

/// Whether logs are for people or for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// One line of text.
    Text,
}

impl Config {
    /// What flags alone cannot rule out.
    ///
    /// # Errors
    /// Names the flags that contradict each other.
    pub fn check(&self) -> Result<(), String> {
        let margin = self.lease_margin();
        if self.lease_duration.to_std() <= margin {
            return Err(format!(
                "--lease-duration {} must be longer than --api-timeout {} and 2s more: a request \
                 sent under the lease has to end before the lease does",
                self.lease_duration, self.api_timeout
            ));
        }
        if self.watch_timeout < Span::secs(5) || self.watch_timeout > Span::mins(4) {
            return Err("--watch-timeout must be between 5s and 4m".to_owned());
        }
        Ok(())
    }

    /// The limits of requests to documents, sources and assets.
    #[must_use]
    pub fn outbound(&self) -> outbound::Config {
        outbound::Config {
            allow_cidrs: self.allow_cidrs.clone(),
            allow_http: self.allow_http,
            probe_deadline: self.fetch_timeout.to_std(),
            ..outbound::Config::default()
        }
    }

    /// How long before the lease's end the last write may be sent.
    #[must_use]
    pub fn lease_margin(&self) -> Duration {
        self.api_timeout.to_std() + Duration::from_secs(2)
    }
}
