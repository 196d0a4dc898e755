//! Kintsugi keeps the JSON documents of UI widgets healthy: it watches `WidgetContract`s, judges
//! the document that was asked for, serves the last good one, and repairs what breaks.
//!
//! # The house, from the innermost room outwards
//!
//! ```text
//! domain        documents, digests, verdicts, violations, patches: plain data
//! rules  steps  one file for each rule kind and each step kind: specs and what they do; pure
//! api           the four custom resources: shapes and bounds, no behaviour
//! decide        all decisions, pure: merge, judge, publish, plan, Incidents, status
//! outbound      the only HTTP client for what is not the API server: guard, limits, probes
//! config  telemetry   settings and logs; traces are in `controllers`
//! metrics       what is counted, for Prometheus and for OpenTelemetry
//! controllers   observe -> decide -> perform: the only room that talks to the API server
//! http          liveness, readiness, metrics; pages and a JSON API for people
//! cli  main     the command line
//! ```
//!
//! Dependencies point from each room to those above it and never back; `domain`, `rules`,
//! `steps`, `api` and `decide` do no I/O and read no clock. `tests/architecture.rs` holds the
//! house to both.
//!
//! # Where to find
//!
//! - when a document may be served: [`decide::publish`]
//! - what status says: [`decide::status`]
//! - what an Incident does next, as a table: [`decide::incident`]
//! - how a candidate is made from steps: [`decide::plan`]; what holds it back: [`decide::gates`]
//! - what a step does to a workload, and how it is done once: [`decide::effects`]
//! - what is wrong with a source: [`decide::diagnose`]; where its Service is: [`decide::endpoints`]
//! - whether it is us who reach nothing: [`decide::hosts`]; who have no room to ask: [`decide::busy`]
//! - what is left alone because it does not answer: [`decide::breakers`]; by which laws:
//!   [`domain::breaker`]
//! - who approves, and what: [`decide::gates::approval`]; whether that is safe: [`decide::guard`]
//! - where a repair goes: [`decide::write_back`]; drift: [`decide::drift`]
//! - which policy wins: [`decide::select`]; which of them only their age tells apart:
//!   [`decide::conflicts`]
//! - what several contracts have in common: [`decide::parents`]; what one policy may do to all of
//!   them: [`decide::limits`]
//! - what is written, in which order: [`decide::contract`]
//! - class and contract merged: [`decide::effective`]
//! - the cost gates: [`rules::cost`], [`rules::cel`]
//! - what may be connected to: [`outbound`]
//! - who leads: [`controllers::leader`]
//! - what is counted: [`metrics::table`]
//! - how all of it stands, in one word: [`decide::platform`]
//! - what was done, as a list: [`decide::log`]
//! - who sees what: [`controllers::desk`]; at which paths: [`http::api`]
//! - what is told as it happens: [`decide::live`]; to those who follow: [`controllers::live`]

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod api;
pub mod cli;
pub mod config;
pub mod controllers;
pub mod decide;
pub mod domain;
pub mod http;
pub mod metrics;
pub mod outbound;
pub mod rules;
pub mod steps;
pub mod telemetry;
