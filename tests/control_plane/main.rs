//! The operator on a real control plane: etcd, kube-apiserver, kube-controller-manager.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(missing_docs, reason = "a test's name is its documentation")]

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod alerting;
mod approvals;
mod assets;
mod bad_input;
mod breakers;
mod browser;
mod chart;
mod demo;
mod desk;
mod diagnosis;
mod documents;
mod effects;
mod fuzz;
mod headers;
mod healing;
mod jobs;
mod leadership;
mod live;
mod metrics;
mod outages;
mod ownership;
mod parents;
mod pin;
mod policies;
mod probes;
mod requests;
mod rights;
mod schema_blame;
mod scope;
mod serving;
mod shown;
mod source;
mod timing;
mod tracing;
mod undo;
mod webhooks;
mod write_back;
