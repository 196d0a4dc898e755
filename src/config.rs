//! Every limit, duration and switch of `kintsugi run`, from flags and environment, checked once.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use crate::{domain::Span, outbound};

/// What `kintsugi run` can be told. Each flag has an environment variable.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
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

    /// How long one connection to a source or an asset may take to open, TLS included
    #[arg(long, env = "KINTSUGI_CONNECT_TIMEOUT", default_value = "3s")]
    pub connect_timeout: Span,

    /// How many requests to sources and assets are under way at the same time
    #[arg(long, env = "KINTSUGI_FETCHES", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub fetches: u16,

    /// How many of them go to one host
    #[arg(long, env = "KINTSUGI_FETCHES_PER_HOST", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub fetches_per_host: u16,

    /// How long a server of assets that could not be reached five times in a row is left alone
    #[arg(long, env = "KINTSUGI_ASSET_BREAKER_OPEN_FOR", default_value = "60s")]
    pub asset_breaker_open_for: Span,

    /// Address blocks that may be connected to although they are private, loopback or the like
    #[arg(long, env = "KINTSUGI_ALLOW_CIDRS", value_delimiter = ',')]
    pub allow_cidrs: Vec<IpNet>,

    /// Allow plain http for documents, sources and assets
    #[arg(long, env = "KINTSUGI_ALLOW_HTTP")]
    pub allow_http: bool,

    /// Where traces, metrics and logs go, by OTLP over gRPC, such as <https://collector:4317>, whose certificate
    /// the system must trust; nowhere by default
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,

    /// How often metrics go there, in milliseconds
    #[arg(long, env = "OTEL_METRIC_EXPORT_INTERVAL", default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(100..=3_600_000))]
    pub otlp_metrics_interval: u32,

    /// Count each contract by its name at /metrics, too, with its widget, health and what is served
    #[arg(long, env = "KINTSUGI_CONTRACT_METRICS")]
    pub contract_metrics: bool,

    /// Repair nothing anywhere: open Incidents with their cause, and no more
    #[arg(long, env = "KINTSUGI_OBSERVE_ONLY")]
    pub observe_only: bool,

    /// Look through the end of a log of a source's workload that is down, and tell of patterns in it
    #[arg(long, env = "KINTSUGI_DIAGNOSIS_LOGS")]
    pub diagnosis_logs: bool,

    /// Show the last lines of a Job's log in its Incident, what looks like a secret masked
    #[arg(long, env = "KINTSUGI_JOB_LOGS")]
    pub job_logs: bool,

    /// Name of the ValidatingAdmissionPolicy, and of its binding, that see to who approves plans
    #[arg(long, env = "KINTSUGI_APPROVAL_POLICY", default_value = "kintsugi-approvals")]
    pub approval_policy: String,

    /// How long work that is under way at a shutdown may take to end; the pod's grace period must
    /// be longer, so that the lease can be given up
    #[arg(long, env = "KINTSUGI_DRAIN_TIMEOUT", default_value = "10s")]
    pub drain_timeout: Span,

    /// Where /livez and /readyz are served
    #[arg(long, env = "KINTSUGI_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// Where the dashboard and its JSON API are served, such as 0.0.0.0:8081; nowhere by default
    #[arg(long, env = "KINTSUGI_DASHBOARD_LISTEN")]
    pub dashboard_listen: Option<SocketAddr>,

    /// Which audience the tokens of its users must be for; empty: the API server's own
    #[arg(long, env = "KINTSUGI_DASHBOARD_AUDIENCE", default_value = "kintsugi")]
    pub dashboard_audience: String,

    /// A file of at least 32 random bytes that all replicas share, to sign what logged-in browsers carry;
    /// without it each process has its own
    #[arg(long, env = "KINTSUGI_DASHBOARD_KEY_FILE")]
    pub dashboard_key_file: Option<PathBuf>,

    /// Show whoever brings no token what Kubernetes' own user system:anonymous may see
    #[arg(long, env = "KINTSUGI_DASHBOARD_ANONYMOUS")]
    pub dashboard_anonymous: bool,

    /// The hosts by whose name whoever brings no token may ask, separated by commas, besides localhost and plain
    /// addresses: else a page from elsewhere whose name leads here (DNS rebinding) would be shown the same
    #[arg(long, env = "KINTSUGI_DASHBOARD_HOST", value_delimiter = ',', value_parser = host)]
    pub dashboard_host: Vec<String>,

    /// Where an Incident's trace is looked at, with {trace} in the place of its id, such as
    /// <https://tempo.example/trace/{trace}>
    #[arg(long, env = "KINTSUGI_DASHBOARD_TRACES", value_parser = traces)]
    pub dashboard_traces: Option<String>,

    /// How many people may follow what happens at the same time
    #[arg(long, env = "KINTSUGI_DASHBOARD_STREAMS", default_value_t = 2000, value_parser = clap::value_parser!(u16).range(1..=4_000))]
    pub dashboard_streams: u16,

    /// How many of these streams one person may have open, by whatever token; a quarter of them by default, as
    /// also all who bring none
    #[arg(long, env = "KINTSUGI_DASHBOARD_STREAMS_PER_PERSON", value_parser = clap::value_parser!(u16).range(1..=4_000))]
    pub dashboard_streams_per_person: Option<u16>,

    /// This replica's address: while another one leads it sends people on to that one, and so do the others
    #[arg(long, env = "POD_IP")]
    pub pod_ip: Option<IpAddr>,

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
            connect_timeout: self.connect_timeout.to_std(),
            probe_deadline: self.fetch_timeout.to_std(),
            total: usize::from(self.fetches),
            open_for: self.asset_breaker_open_for.to_std(),
            per_host: usize::from(self.fetches_per_host),
            ..outbound::Config::default()
        }
    }

    /// How many streams one person may have open.
    #[must_use]
    pub fn streams_of_one(&self) -> u16 {
        self.dashboard_streams_per_person.unwrap_or(self.dashboard_streams.div_ceil(4))
    }

    /// Is `namespace` one of those that are watched?
    #[must_use]
    pub fn watches(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|watched| watched == namespace)
    }

    /// How long before the lease's end the last write may be sent.
    #[must_use]
    pub fn lease_margin(&self) -> Duration {
        self.api_timeout.to_std() + Duration::from_secs(2)
    }
}

/// A name as requests have it, in small letters.
fn host(text: &str) -> Result<String, &'static str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.is_empty() || !text.chars().all(is_name) {
        return Err("must be the name of a host, without a scheme and a port");
    }
    Ok(text.to_ascii_lowercase())
}

/// An address on the web with a place for the id: it becomes a link, which could be a script otherwise.
fn traces(text: &str) -> Result<String, &'static str> {
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    if is_web && text.contains("{trace}") {
        return Ok(text.to_owned());
    }
    Err("must begin with https:// or http:// and have {trace} in it")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_flag_has_a_help_text_and_an_environment_variable_of_its_own() {
        let cli = Cli::command();
        let run = cli.find_subcommand("run").unwrap();
        let mut variables = BTreeSet::new();
        for flag in run.get_arguments().filter(|flag| flag.get_id() != "help") {
            let name = flag.get_long().unwrap();
            assert!(flag.get_help().is_some_and(|help| !help.to_string().is_empty()), "--{name}");
            let variable = flag.get_env().unwrap_or_else(|| panic!("--{name} has no variable"));
            let variable = variable.to_str().unwrap();
            let expected = format!("KINTSUGI_{}", name.replace('-', "_").to_uppercase());
            let known = [
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "OTEL_METRIC_EXPORT_INTERVAL",
                "POD_IP",
                "POD_NAME",
            ];
            assert!(variable == expected || known.contains(&variable), "--{name}: {variable}");
            assert!(variables.insert(variable.to_owned()), "{variable} is given twice");
        }
        assert!(variables.len() > 10, "{variables:?}");
    }

    fn config(args: &[&str]) -> Config {
        let command = Config::augment_args(clap::Command::new("run"));
        let matches = command.try_get_matches_from([&["run"], args].concat()).unwrap();
        Config::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn the_limits_of_outbound_requests_are_those_of_the_flags() {
        let args = [
            "--connect-timeout=7s",
            "--fetch-timeout=8s",
            "--fetches=9",
            "--fetches-per-host=2",
            "--asset-breaker-open-for=9s",
            "--allow-http",
            "--allow-cidrs=10.0.0.0/8",
        ];
        let outbound = config(&args).outbound();
        let secs = Duration::from_secs;
        assert_eq!((outbound.connect_timeout, outbound.probe_deadline), (secs(7), secs(8)));
        assert_eq!((outbound.total, outbound.per_host, outbound.open_for), (9, 2, secs(9)));
        assert!(outbound.allow_http && outbound.allow_cidrs.len() == 1);
    }

    #[test]
    fn one_person_has_a_quarter_of_all_streams_unless_a_flag_says_otherwise() {
        let table: [(&[&str], u16); 4] = [
            (&[], 500),
            (&["--dashboard-streams=4000"], 1_000),
            (&["--dashboard-streams=1"], 1),
            (&["--dashboard-streams=8", "--dashboard-streams-per-person=8"], 8),
        ];
        for (args, expected) in table {
            assert_eq!(config(args).streams_of_one(), expected, "{args:?}");
        }
    }

    #[test]
    fn the_hosts_that_may_be_asked_without_a_token_are_names() {
        let all = config(&["--dashboard-host=K.Shop,desk", "--dashboard-host=k8s.example"]);
        assert_eq!(all.dashboard_host, ["k.shop", "desk", "k8s.example"]);
        for bad in ["https://k.shop", "k.shop:443", "*", ""] {
            let command = Config::augment_args(clap::Command::new("run"));
            let flag = format!("--dashboard-host={bad}");
            let refused = command.try_get_matches_from(["run", &flag]).unwrap_err().to_string();
            assert!(refused.contains("--dashboard-host"), "{refused}");
        }
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused_by_their_names() {
        assert_eq!(config(&[]).check(), Ok(()));
        for (args, named) in [
            (["--lease-duration=12s", "--api-timeout=10s"], "--lease-duration"),
            (["--watch-timeout=4s", "--api-timeout=10s"], "--watch-timeout"),
            (["--watch-timeout=5m", "--api-timeout=10s"], "--watch-timeout"),
        ] {
            let refusal = config(&args).check().unwrap_err();
            assert!(refusal.starts_with(named), "{args:?}: {refusal}");
        }
    }
}
