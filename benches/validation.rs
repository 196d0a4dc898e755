//! Validations per second: the operator's own schema rule, Ajv and Zod, one thread each, on the
//! same documents. What each does is also compared: a validator that lets everything pass is fast.

use std::{
    fs,
    hint::black_box,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use kintsugi::{
    domain::{Document, Verdict},
    rules::schema::{self, CompiledSchema},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{cluster::say, documents, stats::median};

const DOCUMENTS: usize = 200;
const ROUNDS: usize = 3;
/// How long each is measured, in each round.
const SPELL: Duration = Duration::from_millis(700);

/// Validations per second.
#[derive(Debug)]
pub struct Measured {
    /// Bytes of a document, on average.
    pub bytes: usize,
    /// Which versions were compared with.
    pub versions: String,
    /// Of documents that are parsed already.
    pub validate: PerSecond,
    /// From bytes: as the operator parses (duplicate keys, digests), and as JSON.parse does.
    pub parse: PerSecond,
    /// From bytes to JSON by `serde_json` alone, validated.
    pub bare_parse: f64,
}

/// One figure for each.
#[derive(Debug)]
pub struct PerSecond {
    /// The operator's.
    pub kintsugi: f64,
    /// Ajv's.
    pub ajv: f64,
    /// Zod's.
    pub zod: f64,
}

/// What `validate.mjs` says.
#[derive(Deserialize)]
struct Node {
    versions: String,
    ajv: Spells,
    zod: Spells,
}

#[derive(Deserialize)]
struct Spells {
    validate: f64,
    parse: f64,
}

/// Measures in turn, three rounds.
pub fn measure(results: &Path) -> anyhow::Result<Measured> {
    say("validations per second");
    let schema =
        schema::compile(&documents::schema()).map_err(|doubt| anyhow::anyhow!(doubt.message))?;
    let valid: Vec<Value> = (0..DOCUMENTS).map(documents::document).collect();
    let invalid: Vec<Value> = (0..DOCUMENTS).map(documents::invalid).collect();
    ensure!(valid.iter().all(|one| schema.check(one) == Verdict::Pass), "a document is not valid");
    ensure!(
        invalid.iter().all(|one| matches!(schema.check(one), Verdict::Fail(_))),
        "a broken document is valid"
    );
    let input = results.join("documents.json");
    let contents = json!({"schema": documents::schema(), "valid": valid, "invalid": invalid});
    fs::write(&input, contents.to_string())?;

    let texts: Vec<String> = valid.iter().map(Value::to_string).collect();
    let (mut validate, mut parse, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let mut nodes = Vec::new();
    for _ in 0..ROUNDS {
        validate.push(per_second(&valid, |document| passes(&schema, document)));
        parse.push(per_second(&texts, |text| {
            Document::parse(text.clone().into_bytes())
                .is_ok_and(|document| passes(&schema, document.value()))
        }));
        bare.push(per_second(&texts, |text| {
            serde_json::from_str(text).is_ok_and(|document| passes(&schema, &document))
        }));
        nodes.push(node(&input)?);
    }
    let of = |each: fn(&Node) -> f64| median(&nodes.iter().map(each).collect::<Vec<_>>());
    Ok(Measured {
        bytes: texts.iter().map(String::len).sum::<usize>() / DOCUMENTS,
        versions: nodes.first().map(|node| node.versions.clone()).unwrap_or_default(),
        validate: PerSecond {
            kintsugi: median(&validate),
            ajv: of(|node| node.ajv.validate),
            zod: of(|node| node.zod.validate),
        },
        parse: PerSecond {
            kintsugi: median(&parse),
            ajv: of(|node| node.ajv.parse),
            zod: of(|node| node.zod.parse),
        },
        bare_parse: median(&bare),
    })
}

fn passes(schema: &CompiledSchema, document: &Value) -> bool {
    schema.check(document) == Verdict::Pass
}

/// How often a second `work` is done, one input after the other.
fn per_second<T>(inputs: &[T], work: impl Fn(&T) -> bool) -> f64 {
    let spell = || {
        let (started, mut done) = (Instant::now(), 0_u32);
        while started.elapsed() < SPELL {
            for input in inputs {
                black_box(work(black_box(input)));
                done += 1;
            }
        }
        f64::from(done) / started.elapsed().as_secs_f64()
    };
    spell().max(spell())
}

fn node(input: &Path) -> anyhow::Result<Node> {
    let modules = std::env::var_os("KINTSUGI_BENCH_NODE").context("run `make bench`")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/validate.mjs");
    let output = Command::new("node")
        .arg(script)
        .args([modules.as_os_str(), input.as_os_str()])
        .arg(SPELL.as_millis().to_string())
        .stdin(Stdio::null())
        .output()
        .context("Node.js 20 or newer is needed")?;
    if !output.status.success() {
        bail!("validate.mjs: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("what validate.mjs says")
}
