//! What a scrape costs: what is there is counted, and written down for Prometheus and for a collector.
//!
//! The index is filled in this process, so nothing but counting and writing is in the times; the one with
//! a tenth of the contracts tells whether they grow faster than what is counted.

use std::{hint::black_box, sync::Arc, time::Instant};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use kintsugi::{
    api::{Incident, RemediationPolicy, WidgetContract},
    controllers::{Key, index::Index, measure},
    decide::select::Policy,
    domain::Digest,
    metrics::Metrics,
};
use serde_json::{Value, json};

use crate::{
    cluster::say,
    stats::{median, millis},
};

const NAMESPACES: usize = 10;
/// In each namespace.
const POLICIES: usize = 5;
/// One of so many contracts has an open Incident.
const BROKEN: usize = 10;
/// When the Incidents were opened, and when they are counted.
const OPENED: &str = "2026-05-01T10:00:00Z";
const NOW: &str = "2026-05-01T10:05:00Z";
const ROUNDS: usize = 15;

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// How many contracts, and Incidents.
    pub objects: (usize, usize),
    /// With all of them.
    pub all: Cost,
    /// With a tenth of them.
    pub tenth: Cost,
    /// With all of them, and a row for each contract.
    pub each: Cost,
}

/// Medians, in ms.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Counting what is there.
    pub census: f64,
    /// The part of it for which the index is locked, and every look waits.
    pub locked: f64,
    /// Writing the text.
    pub text: f64,
    /// Making of it what a collector is told.
    pub otlp: f64,
    /// Bytes of the text.
    pub bytes: usize,
}

/// Measures all three in turn, so that what else the machine does concerns them alike.
pub fn measure(contracts: usize) -> anyhow::Result<Measured> {
    let contracts = contracts.max(NAMESPACES * BROKEN * 10);
    say(&format!("a scrape with {contracts} contracts"));
    let (all, tenth) = (Arc::new(filled(contracts)?), Arc::new(filled(contracts / 10)?));
    let mut rounds: [Vec<Cost>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (costs, (index, each)) in
            rounds.iter_mut().zip([(&all, false), (&tenth, false), (&all, true)])
        {
            costs.push(scrape(index, each)?);
        }
    }
    let [all, tenth, each] = rounds.map(|costs| Cost {
        census: of(&costs, |cost| cost.census),
        locked: of(&costs, |cost| cost.locked),
        text: of(&costs, |cost| cost.text),
        otlp: of(&costs, |cost| cost.otlp),
        bytes: costs.first().map_or(0, |cost| cost.bytes),
    });
    Ok(Measured { objects: (contracts, contracts / BROKEN), all, tenth, each })
}

fn of(costs: &[Cost], part: fn(&Cost) -> f64) -> f64 {
    median(&costs.iter().map(part).collect::<Vec<_>>())
}

fn scrape(index: &Arc<Index>, each: bool) -> anyhow::Result<Cost> {
    let now: Timestamp = NOW.parse().context("a time")?;
    let began = Instant::now();
    let census = black_box(measure::remembered(index, each, now));
    let counted = began.elapsed();
    let began = Instant::now();
    let taken = black_box(index.taken());
    let locked = began.elapsed();
    drop(taken);
    let metrics = Metrics::default();
    metrics.count_by(Some(Box::new(move || census.clone())));
    // What was counted is told for a while: from now on nothing but writing takes time.
    metrics.text()?;
    let began = Instant::now();
    let text = black_box(metrics.text()?);
    let written = began.elapsed();
    let began = Instant::now();
    black_box(metrics.otlp(Vec::new(), now, now)?);
    let told = began.elapsed();
    ensure!(text.contains("kintsugi_contracts{"), "nothing was counted");
    Ok(Cost {
        census: millis(counted),
        locked: millis(locked),
        text: millis(written),
        otlp: millis(told),
        bytes: text.len(),
    })
}

fn filled(contracts: usize) -> anyhow::Result<Index> {
    let index = Index::default();
    for nth in 0..NAMESPACES * POLICIES {
        let (namespace, name) = (format!("ns-{}", nth % NAMESPACES), policy_name(nth / NAMESPACES));
        let policy = Policy {
            generation: 1,
            created: Timestamp::UNIX_EPOCH,
            annotations: std::collections::BTreeMap::new(),
            spec: policy(&namespace, &name)?.spec,
            name: name.clone(),
        };
        index.saw_policy(&Key::new(&namespace, &name), policy);
    }
    for nth in 0..contracts {
        let namespace = format!("ns-{}", nth % NAMESPACES);
        let is_broken = (nth / NAMESPACES).is_multiple_of(BROKEN);
        index.saw_contract(contract(&namespace, nth, is_broken)?);
        if is_broken {
            index.saw_incident(&incident(&namespace, nth)?);
        }
    }
    index.listed_contracts();
    Ok(index)
}

fn policy_name(nth: usize) -> String {
    format!("heal-{nth}")
}

fn policy(namespace: &str, name: &str) -> anyhow::Result<RemediationPolicy> {
    let object = json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"match": {"widgets": [format!("finder-{name}")]},
            "steps": [{"name": "refetch", "refetchSource": {}}]},
    });
    serde_json::from_value(object).context("a policy")
}

fn name(nth: usize) -> String {
    format!("contract-{nth:05}")
}

fn contract(namespace: &str, nth: usize, is_broken: bool) -> anyhow::Result<WidgetContract> {
    let (health, serving) =
        if is_broken { ("Degraded", "LastGood") } else { ("Healthy", "Assigned") };
    let condition = json!({"type": "Serving", "status": "True", "reason": serving, "message": "",
        "lastTransitionTime": OPENED});
    let widget = format!("finder-{}", policy_name(nth / NAMESPACES % POLICIES));
    let object = json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "WidgetContract",
        "metadata": {"name": name(nth), "namespace": namespace, "uid": name(nth),
            "resourceVersion": "1", "labels": {"app.kubernetes.io/name": "shop"}},
        "spec": {"widget": widget, "document": {"inline": {}}},
        "status": {"health": health, "conditions": [condition]},
    });
    serde_json::from_value(object).context("a contract")
}

/// The open Incident of a contract whose source has not answered twice.
fn incident(namespace: &str, nth: usize) -> anyhow::Result<Incident> {
    let (contract, at) = (name(nth), OPENED);
    let (digest, policy) = (Digest::of_bytes(b"a"), policy_name(nth / NAMESPACES % POLICIES));
    let server = format!("source https://cms-{}.test", nth / NAMESPACES % 20);
    let call = json!({"dependency": server, "answered": false, "at": at});
    let segment: Value = json!({"policyRef": {"name": policy}, "why": "it matches",
        "rules": ["schema"], "mode": "Auto", "steps": []});
    let object = json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": format!("{contract}-1"), "namespace": namespace, "uid": contract,
            "resourceVersion": "1"},
        "spec": {
            "contractName": contract, "contractUID": contract, "widget": "finder", "ordinal": 1,
            "openedAt": at, "cause": "SourceDown", "severity": "Critical", "rulesSummary": "schema",
            "subject": contract, "documentDigest": digest, "fingerprint": digest, "plan": [segment],
        },
        "status": {"state": "Held", "waiting": "BreakerOpen", "tries": 0, "calls": [call, call]},
    });
    serde_json::from_value(object).context("an Incident")
}
