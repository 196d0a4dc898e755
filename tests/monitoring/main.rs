//! What people are alarmed by and look at, and how the chart installs it: the rules and the board name
//! only what is counted, promtool takes both, and each alert fires when it should.
//!
//! `tests/run.sh` builds promtool and helm and says where they are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs, reason = "a test's name is its documentation")]

mod board;
mod chart;
mod counted;
mod rules;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

const RULES: &str = "charts/kintsugi/files/rules.yaml";
const BOARD: &str = "charts/kintsugi/files/dashboard.json";

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap()
}

/// Runs a program of the folder that a variable names: did it succeed, and what did it say?
fn program(variable: &str, name: &str, args: &[&str]) -> (bool, String) {
    let folder =
        std::env::var_os(variable).expect("no programs: run `make test`, which builds them");
    let output = Command::new(PathBuf::from(folder).join(name))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn promtool(args: &[&str]) -> (bool, String) {
    program("KINTSUGI_TEST_PROMETHEUS", "promtool", args)
}

/// Promtool takes these groups of rules.
fn are_rules(groups: &Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.json");
    // JSON is YAML, too.
    fs::write(&file, groups.to_string()).unwrap();
    let (ok, output) = promtool(&["check", "rules", file.to_str().unwrap()]);
    assert!(ok, "{output}");
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn str(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The rules of all groups.
fn rules() -> Vec<Value> {
    list(&yaml(RULES)["groups"]).flat_map(|group| list(&group["rules"])).cloned().collect()
}
