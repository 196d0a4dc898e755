//! Zod users get Zod's verdicts: the real `zod` converts its schemas to JSON Schema and judges
//! documents, and what we say of the same documents is compared.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(missing_docs, reason = "a test's name is its documentation")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use kintsugi::{
    domain::{Digest, Verdict},
    rules::schema,
};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Converted {
    name: String,
    schema: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    document: Value,
    valid: bool,
}

/// The folder with zod in it, installed once for each version of the lock file.
fn installed(source: &Path) -> PathBuf {
    let lock = fs::read(source.join("package-lock.json")).unwrap();
    let cache = std::env::var_os("KINTSUGI_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/kintsugi"),
        PathBuf::from,
    );
    let folder = cache.join(format!("zod-{}", Digest::of_bytes(&lock).short()));
    if !folder.join("node_modules/zod/package.json").exists() {
        fs::create_dir_all(&folder).unwrap();
        for file in ["package.json", "package-lock.json"] {
            fs::copy(source.join(file), folder.join(file)).unwrap();
        }
        let installed = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(&folder)
            .status()
            .expect("npm: install Node.js");
        assert!(installed.success(), "npm ci failed in {}", folder.display());
    }
    folder
}

#[test]
fn a_schema_converted_by_zod_gives_zods_verdicts() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zod");
    let folder = installed(&source);
    let output = Command::new("node").arg(source.join("cases.mjs")).arg(&folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let schemas: Vec<Converted> = serde_json::from_slice(&output.stdout).unwrap();
    let mut different = Vec::new();
    let (mut judged, mut valid) = (0, 0);
    for Converted { name, schema, cases } in &schemas {
        let compiled = schema::compile(schema).unwrap_or_else(|doubt| panic!("{name}: {doubt:?}"));
        for Case { document, valid: zod } in cases {
            let ours = compiled.check(document) == Verdict::Pass;
            judged += 1;
            valid += usize::from(*zod);
            if ours != *zod {
                different.push(format!("{name}: zod says {zod}, we say {ours}: {document}"));
            }
        }
    }
    eprintln!("zod: {} schemas, {judged} documents, {valid} of them valid", schemas.len());
    assert!(schemas.len() >= 12 && judged >= 12 * 500);
    assert!(valid * 20 > judged, "too few valid documents to tell anything: {valid}");
    assert!(
        different.is_empty(),
        "{} differ:\n{}",
        different.len(),
        different[..different.len().min(40)].join("\n")
    );
}
