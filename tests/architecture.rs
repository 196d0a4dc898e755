//! The house rules that no compiler knows: who may know whom, and what stays pure.

#![allow(clippy::unwrap_used, clippy::panic)]
#![allow(missing_docs, reason = "a test's name is its documentation")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// From the innermost room outwards: a room may use those before it, never those after it.
/// `rules` and `steps` are side by side and do not know each other.
const ROOMS: [&str; 8] =
    ["domain", "rules", "steps", "api", "decide", "controllers", "http", "cli"];

const PURE: [&str; 5] = ["domain", "rules", "steps", "api", "decide"];

fn sources(room: &str) -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![src.join(room)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && path.file_name().is_some_and(|name| name != "tests.rs")
            {
                found.push((path.clone(), production_code(&fs::read_to_string(&path).unwrap())));
            }
        }
    }
    for file in [src.join(format!("{room}.rs"))] {
        if let Ok(text) = fs::read_to_string(&file) {
            found.push((file, production_code(&text)));
        }
    }
    assert!(!found.is_empty(), "no source in {room}");
    found
}

/// Without comments and without the tests at the end of a file.
fn production_code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Does `code` name `crate::<room>`, alone or in a `use crate::{..}` tree?
fn uses(code: &str, room: &str) -> bool {
    let alone = format!("crate::{room}");
    let in_tree = |part: &str| {
        part.split(['{', ',', '\n', ' '])
            .any(|word| word == room || word.starts_with(&format!("{room}::")))
    };
    code.match_indices(&alone).any(|(at, _)| {
        !code[at + alone.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
    }) || code.split("use crate::{").skip(1).any(|rest| in_tree(top_level(rest)))
}

/// What stands in a `use crate::{..}` tree, up to its closing brace.
fn top_level(tree: &str) -> &str {
    let end = tree.find("};").unwrap_or(tree.len());
    &tree[..end]
}

#[test]
fn dependencies_point_one_way() {
    for (at, room) in ROOMS.iter().enumerate() {
        let mut forbidden: Vec<&str> = ROOMS[at + 1..].to_vec();
        match *room {
            "steps" => forbidden.push("rules"),
            // Plain settings, read by those who are given them.
            "controllers" => forbidden.retain(|other| *other != "http"),
            _ => {}
        }
        for (path, code) in sources(room) {
            for other in &forbidden {
                assert!(!uses(&code, other), "{} must not know {other}", path.display());
            }
        }
    }
}

#[test]
fn the_core_does_no_io_and_reads_no_clock() {
    let impure = [
        "tokio",
        "reqwest",
        "kube::Client",
        "kube_client",
        "rand::",
        "Timestamp::now",
        "SystemTime",
        "Instant",
        "std::fs",
        "std::net",
        "std::env",
        "async fn",
        ".await",
        "Zoned::now",
        "crate::outbound",
        "crate::telemetry",
        "tracing::",
    ];
    for room in PURE {
        for (path, code) in sources(room) {
            for word in impure {
                assert!(!code.contains(word), "{} must not use {word}", path.display());
            }
        }
    }
}

#[test]
fn only_the_controllers_talk_to_the_api_server() {
    for room in ["domain", "rules", "steps", "decide", "http", "outbound"] {
        for (path, code) in sources(room) {
            let words = ["kube::Api", "kube::Client", "Api::namespaced", "Client::try"];
            for word in words {
                assert!(!code.contains(word), "{} must not use {word}", path.display());
            }
        }
    }
}

#[test]
fn every_module_says_what_it_knows() {
    for room in ROOMS.iter().chain(&["outbound"]) {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for (path, _) in sources(room) {
            let text = fs::read_to_string(&path).unwrap();
            let short = path.strip_prefix(&src).unwrap().display();
            assert!(text.starts_with("//! "), "{short} has no module doc");
        }
    }
}
