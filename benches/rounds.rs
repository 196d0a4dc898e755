//! The rounds: everything that is compared is measured in turn, with `w` before and after each,
//! so that a machine that becomes slower in between is noticed.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{
    RESULTS,
    cluster::{Cluster, apply, say},
    documents, floor,
    heal::{BREAK, Case, Healing, WARM_UP},
    patches::Patches,
    stats::{median, millis, percentile},
};

/// Where all heals happen.
pub const NAMESPACE: &str = "bench-heal";

const ROUNDS: usize = 3;
/// Rounds that may be dropped and run again.
const SPARE: usize = 3;
/// Heals before those that count, of each kind and in each round.
const WARM_UPS: usize = 10;
/// How many times one PATCH is sent each time that `w` is taken.
const PATCHES: usize = 150;
/// How far `w` may move within a round.
const STEADY: f64 = 1.25;

/// What was measured, as multiples of `w`.
#[derive(Debug)]
pub struct Heals {
    /// `w` in milliseconds, and `W` per second.
    pub w: f64,
    /// See `w`.
    pub at_once: f64,
    /// Rounds that count.
    pub kept: usize,
    /// Rounds in which `w` moved too far. When no round counts, all are shown.
    pub dropped: usize,
    /// The bare healer.
    pub floor: Ratio,
    /// Until healed, by case.
    pub healed: BTreeMap<Case, Ratio>,
    /// Until recorded, by case.
    pub recorded: BTreeMap<Case, Ratio>,
}

/// Percentiles of a time, as multiples of `w`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ratio {
    /// Half were faster.
    pub p50: f64,
    /// All but one in a hundred were faster.
    pub p99: f64,
    /// How many.
    pub count: usize,
}

impl Ratio {
    fn of(values: &[f64]) -> Self {
        Self { p50: percentile(values, 50), p99: percentile(values, 99), count: values.len() }
    }
}

/// What one round measured, in milliseconds.
#[derive(Debug, Default)]
struct Round {
    /// `w` each time it was taken.
    units: Vec<f64>,
    at_once: f64,
    floor: Vec<f64>,
    healed: BTreeMap<Case, Vec<f64>>,
    recorded: BTreeMap<Case, Vec<f64>>,
}

impl Round {
    fn w(&self) -> f64 {
        median(&self.units)
    }

    /// The largest `w` by the smallest.
    fn drift(&self) -> f64 {
        percentile(&self.units, 100) / percentile(&self.units, 1)
    }

    fn ratios<'a>(&self, times: &'a [f64]) -> impl Iterator<Item = f64> + use<'a> {
        let w = self.w();
        times.iter().map(move |time| time / w)
    }
}

/// Runs rounds until three count.
pub async fn measure(cluster: &Cluster, cases: &[Case], heals: usize) -> anyhow::Result<Heals> {
    let mut bench = Bench::start(cluster, cases, heals.div_ceil(ROUNDS)).await?;
    let mut rounds = Vec::new();
    while rounds.len() < ROUNDS + SPARE {
        let round = bench.round(rounds.len()).await?;
        let (number, w, drift) = (rounds.len(), round.w(), round.drift());
        say(&format!("round {number}: w = {w:.2} ms, its largest by its smallest {drift:.2}"));
        rounds.push(round);
        if rounds.iter().filter(|round| round.drift() <= STEADY).count() == ROUNDS {
            break;
        }
    }
    bench.raw.flush()?;
    Ok(summary(&rounds, cases))
}

fn summary(rounds: &[Round], cases: &[Case]) -> Heals {
    let steady: Vec<&Round> = rounds.iter().filter(|round| round.drift() <= STEADY).collect();
    let (kept, dropped) = (steady.len(), rounds.len() - steady.len());
    let rounds: Vec<&Round> = if kept == 0 { rounds.iter().collect() } else { steady };
    let ratio = |times: &dyn Fn(&Round) -> Vec<f64>| {
        let ratios = rounds.iter().flat_map(|round| {
            let times = times(round);
            round.ratios(&times).collect::<Vec<_>>()
        });
        Ratio::of(&ratios.collect::<Vec<_>>())
    };
    let by_case = |of: fn(&Round) -> &BTreeMap<Case, Vec<f64>>| {
        let times = |case: Case| {
            ratio(&move |round: &Round| of(round).get(&case).cloned().unwrap_or_default())
        };
        cases.iter().map(|case| (*case, times(*case))).collect()
    };
    Heals {
        w: median(&rounds.iter().map(|round| round.w()).collect::<Vec<_>>()),
        at_once: median(&rounds.iter().map(|round| round.at_once).collect::<Vec<_>>()),
        kept,
        dropped,
        floor: ratio(&|round: &Round| round.floor.clone()),
        healed: by_case(|round| &round.healed),
        recorded: by_case(|round| &round.recorded),
    }
}

/// What all rounds share.
struct Bench {
    client: kube::Client,
    healing: Healing,
    patches: Patches,
    cases: Vec<Case>,
    heals: usize,
    raw: BufWriter<File>,
}

impl Bench {
    async fn start(cluster: &Cluster, cases: &[Case], heals: usize) -> anyhow::Result<Self> {
        let client = cluster.client().await?;
        apply(&client, NAMESPACE, &documents::class()).await?;
        apply(&client, NAMESPACE, &documents::policy()).await?;
        floor::start(cluster.clone(), NAMESPACE);
        let path = Path::new(RESULTS).join("raw.jsonl");
        let raw = File::create(&path).with_context(|| format!("writing {}", path.display()))?;
        Ok(Self {
            healing: Healing::start(cluster, NAMESPACE).await?,
            patches: Patches::prepare(&client, NAMESPACE).await?,
            client,
            cases: cases.to_vec(),
            heals,
            raw: BufWriter::new(raw),
        })
    }

    async fn round(&mut self, number: usize) -> anyhow::Result<Round> {
        let count = WARM_UPS + self.heals;
        let plain = floor::prepare(&self.client, NAMESPACE, number, count).await?;
        let mut contracts = Vec::new();
        for case in self.cases.clone() {
            contracts.push((case, self.healing.prepare(case, number, count).await?));
        }
        let mut round = Round::default();
        self.patches.one_by_one(PATCHES).await?;
        self.unit(number, &mut round).await?;
        round.floor = self.floor(number, &plain).await?;
        self.unit(number, &mut round).await?;
        for (case, names) in contracts {
            let (healed, recorded) = self.heals(number, case, &names).await?;
            round.healed.insert(case, healed);
            round.recorded.insert(case, recorded);
            self.unit(number, &mut round).await?;
        }
        round.at_once = self.patches.at_once(2_000).await?;
        self.note(&json!({"round": number, "what": "W", "patches_per_s": round.at_once}))?;
        Ok(round)
    }

    async fn unit(&mut self, number: usize, round: &mut Round) -> anyhow::Result<()> {
        let times = self.patches.one_by_one(PATCHES).await?;
        for ms in &times {
            self.note(&json!({"round": number, "what": "w", "ms": ms}))?;
        }
        round.units.push(median(&times));
        Ok(())
    }

    async fn floor(&mut self, number: usize, names: &[String]) -> anyhow::Result<Vec<f64>> {
        let mut times = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let ms = millis(self.healing.floor(name).await?);
            let warm_up = at < WARM_UPS;
            self.note(&json!({"round": number, "what": "floor", "name": name, "ms": ms, "warm_up": warm_up}))?;
            if !warm_up {
                times.push(ms);
            }
        }
        Ok(times)
    }

    async fn heals(
        &mut self,
        number: usize,
        case: Case,
        names: &[String],
    ) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
        let (mut healed, mut recorded) = (Vec::new(), Vec::new());
        for (at, name) in names.iter().enumerate() {
            let warm_up = at < WARM_UPS;
            let manager = if warm_up { WARM_UP } else { BREAK };
            let heal = self.healing.heal(case, name, manager).await?;
            let (ms, recorded_ms) = (millis(heal.healed), millis(heal.recorded));
            self.note(&json!({
                "round": number, "what": case.to_string(), "name": name, "ms": ms,
                "recorded_ms": recorded_ms, "warm_up": warm_up,
            }))?;
            if !warm_up {
                healed.push(ms);
                recorded.push(recorded_ms);
            }
        }
        Ok((healed, recorded))
    }

    fn note(&mut self, line: &Value) -> anyhow::Result<()> {
        writeln!(self.raw, "{line}").context("writing raw.jsonl")
    }
}
