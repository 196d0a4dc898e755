//! The table and `summary.json`: each figure beside its target, and whether it was reached.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    fs,
    path::Path,
};

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::{
    broken::{Broken, STILL, Stored},
    cluster::{Cluster, Memory},
    heal::Case,
    memory,
    requests::{self, Requests},
    rounds::{Heals, Ratio},
    scrape, streams, validation,
};

/// All that was measured; None where it was not.
#[derive(Debug)]
pub struct Summary {
    fsync: bool,
    binary_mib: f64,
    /// Memory before there is any contract.
    pub idle: Option<Memory>,
    /// Times.
    pub heals: Option<Heals>,
    /// Requests, by case.
    pub requests: BTreeMap<Case, Requests>,
    /// Memory with many contracts.
    pub memory: Option<memory::Measured>,
    /// What it takes when they all break.
    pub broken: Option<Broken>,
    /// Memory with many who follow what happens.
    pub streams: Option<streams::Measured>,
    /// Validations.
    pub validation: Option<validation::Measured>,
    /// What a scrape costs.
    pub scrape: Option<scrape::Measured>,
}

/// One line of the table.
struct Row {
    what: String,
    reached: f64,
    /// The bound, and whether it is the most or the least.
    target: Option<(Bound, f64)>,
    unit: &'static str,
    note: String,
}

#[derive(Clone, Copy)]
enum Bound {
    Most,
    Least,
}

impl Row {
    fn new(what: impl Into<String>, reached: f64, unit: &'static str) -> Self {
        Self { what: what.into(), reached, target: None, unit, note: String::new() }
    }

    fn at_most(mut self, target: f64) -> Self {
        self.target = Some((Bound::Most, target));
        self
    }

    fn at_least(mut self, target: f64) -> Self {
        self.target = Some((Bound::Least, target));
        self
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (target, verdict) = match self.target {
            None => (String::new(), ""),
            Some((bound, target)) => {
                let (sign, reached) = match bound {
                    Bound::Most => ("<=", self.reached <= target),
                    Bound::Least => (">=", self.reached >= target),
                };
                let verdict = if reached { "reached" } else { "NOT reached" };
                (format!("{sign} {target}"), verdict)
            }
        };
        let Self { what, reached, unit, note, target: _ } = self;
        let decimals = if *reached >= 1000.0 { 0 } else { 2 };
        let line =
            format!("{what:46} {reached:>10.decimals$} {unit:5} {target:>7}  {verdict:11}  {note}");
        f.write_str(line.trim_end())
    }
}

impl Summary {
    /// Nothing but what can be read off the binary.
    pub fn new(cluster: &Cluster) -> anyhow::Result<Self> {
        let binary = fs::metadata(&cluster.binary).context("no release binary")?;
        #[expect(clippy::cast_precision_loss, reason = "a size in MiB, to two decimals")]
        let binary_mib = binary.len() as f64 / f64::from(1 << 20);
        Ok(Self {
            fsync: Cluster::flushes(),
            binary_mib,
            idle: None,
            heals: None,
            requests: BTreeMap::new(),
            memory: None,
            broken: None,
            streams: None,
            validation: None,
            scrape: None,
        })
    }

    /// Writes `summary.json`.
    pub fn write(&self, results: &Path) -> anyhow::Result<()> {
        let path = results.join("summary.json");
        let text = serde_json::to_string_pretty(&self.json())?;
        fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }

    fn json(&self) -> Value {
        let ratios = |of: &BTreeMap<Case, Ratio>| -> Map<String, Value> {
            of.iter().map(|(case, ratio)| (case.to_string(), ratio_json(*ratio))).collect()
        };
        let heals = self.heals.as_ref();
        let requests: Map<String, Value> = self
            .requests
            .iter()
            .map(|(case, requests)| (case.to_string(), requests_json(requests)))
            .collect();
        let validation = self.validation.as_ref();
        let per_second = |of: fn(&validation::Measured) -> &validation::PerSecond| {
            validation.map(of).map(|of| {
                json!({"kintsugi": of.kintsugi.round(), "ajv": of.ajv.round(), "zod": of.zod.round()})
            })
        };
        json!({
            "fsync": self.fsync,
            "w_ms": heals.map(|heals| round(heals.w)),
            "patches_per_s_16_clients": heals.map(|heals| heals.at_once.round()),
            "rounds": heals.map(|heals| json!({"kept": heals.kept, "dropped": heals.dropped})),
            "heal": heals.map(|heals| ratios(&heals.healed)),
            "recorded": heals.map(|heals| ratios(&heals.recorded)),
            "floor_p50_ratio": heals.map(|heals| round(heals.floor.p50)),
            "floor_p99_ratio": heals.map(|heals| round(heals.floor.p99)),
            "writes_per_heal": requests::most(&self.requests, |r| r.writes).map(round),
            "reads_per_heal": requests::most(&self.requests, |r| r.reads).map(round),
            "lists_per_heal": requests::most(&self.requests, |r| r.lists).map(round),
            "requests": requests,
            "contracts": self.memory.as_ref().map(|memory| memory.contracts),
            "rss_mib_10k": self.memory.as_ref().map(|memory| round(memory.memory.now)),
            "peak_rss_mib_10k": self.memory.as_ref().map(|memory| round(memory.memory.peak)),
            "rss_mib_10k_restarted": self.memory.as_ref().map(|memory| round(memory.restarted.now)),
            "broken": self.broken.as_ref().map(broken_json),
            "streams": self.streams.as_ref().map(streams_json),
            "validations_per_s": per_second(|validation| &validation.validate),
            "parsed_and_validated_per_s": per_second(|validation| &validation.parse),
            "scrape": self.scrape.as_ref().map(scrape_json),
            "idle_rss_mib": self.idle.map(|idle| round(idle.now)),
            "binary_mib": round(self.binary_mib),
        })
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        if let Some(heals) = &self.heals {
            rows.extend(times(heals));
        }
        for (case, requests) in &self.requests {
            rows.extend(asked(*case, requests));
        }
        if let Some(memory) = &self.memory {
            rows.extend(weights(memory));
        }
        rows.extend(self.broken.iter().flat_map(flood));
        rows.extend(self.streams.iter().flat_map(crowd));
        if let Some(idle) = self.idle {
            let row = Row::new("memory without a contract", idle.now, "MiB").at_most(10.0);
            rows.push(row.note(split(idle)));
        }
        rows.push(Row::new("binary, stripped", self.binary_mib, "MiB").at_most(12.0));
        if let Some(validation) = &self.validation {
            rows.extend(speeds(validation));
        }
        rows.extend(self.scrape.iter().flat_map(scrapes));
        rows
    }
}

fn times(heals: &Heals) -> Vec<Row> {
    let mut rows = vec![
        Row::new("w: one merge PATCH, p50", heals.w, "ms"),
        Row::new("W: PATCHes a second, 16 clients", heals.at_once, "/s"),
        Row::new("bare healer, healed p50", heals.floor.p50, "w"),
        Row::new("bare healer, healed p99", heals.floor.p99, "w"),
    ];
    for (case, healed) in &heals.healed {
        let (p50, p99) = if *case == Case::Served { (1.8, 4.0) } else { (2.8, 6.0) };
        let count = format!("{} heals", healed.count);
        rows.push(
            Row::new(format!("{case}: healed p50"), healed.p50, "w").at_most(p50).note(count),
        );
        rows.push(Row::new(format!("{case}: healed p99"), healed.p99, "w").at_most(p99));
        if let Some(recorded) = heals.recorded.get(case) {
            let what = format!("{case}: recorded, too");
            rows.push(Row::new(format!("{what}, p50"), recorded.p50, "w").at_most(3.8));
            rows.push(Row::new(format!("{what}, p99"), recorded.p99, "w").at_most(9.0));
        }
    }
    rows
}

fn asked(case: Case, requests: &Requests) -> Vec<Row> {
    let Requests { heals, writes, revisions, reads, lists, events, timeline: _ } = requests;
    let apart = format!("and {revisions:.2} new revisions, {events:.2} Events; of {heals} heals");
    vec![
        Row::new(format!("{case}: writes per heal"), *writes, "").at_most(4.0).note(apart),
        Row::new(format!("{case}: GETs per heal"), *reads, "").at_most(1.0),
        Row::new(format!("{case}: LISTs per heal"), *lists, "").at_most(0.0),
    ]
}

fn weights(memory: &memory::Measured) -> Vec<Row> {
    let memory::Measured { contracts, all_ready_s, memory, restarted } = memory;
    let note = format!("{}; all Ready after {all_ready_s:.0} s", split(*memory));
    let what = format!("memory with {contracts} contracts");
    vec![
        Row::new(what, memory.now, "MiB").at_most(20.0).note(note),
        Row::new("the same after a restart", restarted.now, "MiB").note(split(*restarted)),
    ]
}

/// What contracts that all break at once put into etcd.
#[expect(clippy::cast_precision_loss, reason = "far fewer objects and bytes than 2^52")]
fn flood(broken: &Broken) -> Vec<Row> {
    let Broken { settled_s, objects, etcd_mib, memory, writes, still } = broken;
    let mib = |stored: &Stored| stored.bytes as f64 / f64::from(1 << 20);
    let mut rows = vec![
        Row::new("all broken: writes", writes.values().sum::<usize>() as f64, "")
            .note(format!("the last after {settled_s:.0} s")),
    ];
    let each = writes.iter().map(|(what, times)| Row::new(format!("  {what}"), *times as f64, ""));
    rows.extend(each);
    for (kind, (before, after)) in objects {
        let note =
            format!("{} before; {:.1} MiB, {:.1} before", before.count, mib(after), mib(before));
        rows.push(Row::new(format!("  {kind} objects then"), after.count as f64, "").note(note));
    }
    let (before, after) = etcd_mib;
    rows.push(Row::new("  in etcd", *after, "MiB").note(format!("{before:.1} before")));
    rows.push(Row::new("  memory", memory.now, "MiB").note(split(*memory)));
    let what = format!("  writes in the {} s after", STILL.as_secs());
    rows.push(Row::new(what, *still as f64, "").at_most(0.0));
    rows
}

fn broken_json(broken: &Broken) -> Value {
    let Broken { settled_s, objects, etcd_mib, memory, writes, still } = broken;
    let stored = |stored: &Stored| json!({"count": stored.count, "bytes": stored.bytes});
    let objects: Map<String, Value> = objects
        .iter()
        .map(|(kind, (before, after))| {
            ((*kind).to_owned(), json!({"before": stored(before), "after": stored(after)}))
        })
        .collect();
    json!({
        "settled_s": round(*settled_s), "objects": objects, "writes": writes,
        "etcd_mib": {"before": round(etcd_mib.0), "after": round(etcd_mib.1)},
        "rss_mib": round(memory.now), "peak_rss_mib": round(memory.peak),
        "writes_while_still": still,
    })
}

/// What those who follow what happens cost.
#[expect(clippy::cast_precision_loss, reason = "some thousands at most")]
fn crowd(measured: &streams::Measured) -> Vec<Row> {
    let streams::Measured { clients, before, connected, most, after, happened, heard, .. } =
        measured;
    let lost = happened.saturating_sub(*heard);
    vec![
        Row::new("memory with one who follows", before.now, "MiB").note(split(*before)),
        Row::new(format!("with {clients} more"), connected.now, "MiB").note(split(*connected)),
        Row::new("the same after a minute", after.now, "MiB").note(split(*after)),
        Row::new("the most in between", *most, "MiB"),
        Row::new("each of them", measured.each_kib(), "KiB").at_most(streams::MOST_KIB),
        Row::new("growth for each of them", measured.grown_kib(), "KiB")
            .at_most(streams::MOST_GROWN_KIB),
        Row::new("events told a second", measured.told_per_s, "/s")
            .note(format!("{happened} events, to all of them")),
        Row::new("events that somebody missed", lost as f64, "").at_most(0.0),
    ]
}

fn streams_json(measured: &streams::Measured) -> Value {
    let streams::Measured { clients, before, connected, most, after, happened, heard, .. } =
        measured;
    json!({
        "clients": clients, "rss_mib_before": round(before.now),
        "rss_mib_connected": round(connected.now), "rss_mib_after": round(after.now),
        "most_rss_mib": round(*most), "each_kib": round(measured.each_kib()),
        "events": happened, "heard_by_each": heard, "told_per_s": round(measured.told_per_s),
    })
}

/// What a scrape costs. A ratio of 1 is a cost that grows as the contracts do.
#[expect(clippy::cast_precision_loss, reason = "some millions at most")]
fn scrapes(measured: &scrape::Measured) -> Vec<Row> {
    let scrape::Measured { objects: (contracts, incidents), all, tenth, each } = measured;
    let what = format!("a scrape of {contracts} contracts: counting");
    let ratio = all.census / (10.0 * tenth.census);
    let size = format!("{:.0} KiB", all.bytes as f64 / 1024.0);
    let with_each = format!("{:.2} for counting, {:.2} for a collector", each.census, each.otlp);
    vec![
        Row::new(what, all.census, "ms").note(format!("and {incidents} open Incidents")),
        Row::new("  for each, by comparison with a tenth", ratio, "x").at_most(2.0),
        Row::new("  of it while every look waits", all.locked / all.census, "x")
            .at_most(0.5)
            .note(format!("{:.2} ms", all.locked)),
        Row::new("  writing the text", all.text, "ms").note(size),
        Row::new("  writing it for a collector", all.otlp, "ms"),
        Row::new("  the text with a row for each contract", each.text, "ms").note(with_each),
    ]
}

fn scrape_json(measured: &scrape::Measured) -> Value {
    let cost = |of: &scrape::Cost| {
        json!({"census_ms": round(of.census), "locked_ms": round(of.locked), "text_ms": round(of.text),
            "otlp_ms": round(of.otlp), "bytes": of.bytes})
    };
    let scrape::Measured { objects: (contracts, incidents), all, tenth, each } = measured;
    json!({"contracts": contracts, "incidents": incidents, "all": cost(all),
        "tenth": cost(tenth), "each": cost(each)})
}

fn split(memory: Memory) -> String {
    format!("{:.1} of it anonymous; peak {:.1}", memory.anonymous, memory.peak)
}

fn speeds(measured: &validation::Measured) -> Vec<Row> {
    let (own, parsed) = (&measured.validate, &measured.parse);
    let size = format!("{} bytes each; {}", measured.bytes, measured.versions);
    vec![
        Row::new("validations a second", own.kintsugi, "/s").note(size),
        Row::new("the same, Ajv", own.ajv, "/s"),
        Row::new("the same, Zod", own.zod, "/s"),
        Row::new("by comparison with Ajv", own.kintsugi / own.ajv, "x").at_least(2.0),
        Row::new("by comparison with Zod", own.kintsugi / own.zod, "x").at_least(7.0),
        Row::new("parsed and validated a second", parsed.kintsugi, "/s")
            .note(format!("digests included; {:.0}/s without", measured.bare_parse)),
        Row::new("the same, JSON.parse and Ajv", parsed.ajv, "/s"),
        Row::new("by comparison", parsed.kintsugi / parsed.ajv, "x").at_least(2.0),
    ]
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nTimes are multiples of w, from the acknowledgement of the breaking write.")?;
        let disk = if self.fsync { "flushes" } else { "does not flush" };
        writeln!(f, "etcd {disk} each write to the disk; everything runs on this machine.")?;
        if let Some(heals) = &self.heals {
            writeln!(f, "{}", steadiness(heals))?;
        }
        writeln!(f)?;
        for row in self.rows() {
            writeln!(f, "{row}")?;
        }
        for (case, requests) in &self.requests {
            f.write_str(&timeline(*case, requests)?)?;
        }
        Ok(())
    }
}

fn steadiness(heals: &Heals) -> String {
    let Heals { kept, dropped, .. } = heals;
    if *kept == 0 {
        return format!(
            "NOISY: in all {dropped} rounds w moved by more than 25 %; they are shown all the same."
        );
    }
    format!("{kept} rounds count; {dropped} were dropped, because w moved by more than 25 %.")
}

/// Where the time goes: the operator's requests of a usual heal.
fn timeline(case: Case, requests: &Requests) -> Result<String, fmt::Error> {
    let (moments, alike) = &requests.timeline;
    let mut text = String::new();
    let heals = requests.heals;
    writeln!(
        text,
        "\n{case}: the requests of {alike} of {heals} heals, median ms after the break"
    )?;
    for moment in moments {
        let crate::requests::Moment { what, came, answered } = moment;
        writeln!(text, "  {came:>8.2} to {answered:>8.2}  {what}")?;
    }
    Ok(text)
}

fn ratio_json(ratio: Ratio) -> Value {
    json!({"p50_ratio": round(ratio.p50), "p99_ratio": round(ratio.p99), "heals": ratio.count})
}

fn requests_json(requests: &Requests) -> Value {
    let Requests { heals, writes, revisions, reads, lists, events, timeline: (moments, _) } =
        requests;
    let timeline: Vec<Value> = moments
        .iter()
        .map(|moment| {
            json!({"what": moment.what, "came_ms": round(moment.came), "answered_ms": round(moment.answered)})
        })
        .collect();
    json!({
        "heals": heals, "writes": round(*writes), "revisions": round(*revisions),
        "reads": round(*reads), "lists": round(*lists), "events": round(*events),
        "timeline": timeline,
    })
}

/// To three decimals.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
