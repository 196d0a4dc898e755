//! The house rules that no compiler knows: who may know whom, and what stays pure.

#![allow(clippy::unwrap_used, clippy::panic)]
#![allow(missing_docs, reason = "a test's name is its documentation")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each room and the rooms that it may know; nothing else.
const ROOMS: [(&str, &[&str]); 12] = [
    ("domain", &[]),
    ("rules", &["domain"]),
    ("steps", &["domain"]),
    ("api", &["domain", "rules", "steps"]),
    ("decide", &["domain", "rules", "steps", "api"]),
    ("outbound", &["domain"]),
    ("config", &["domain", "outbound"]),
    ("telemetry", &["config"]),
    ("metrics", &["domain"]),
    (
        "controllers",
        &[
            "domain",
            "rules",
            "steps",
            "api",
            "decide",
            "outbound",
            "config",
            "telemetry",
            "metrics",
        ],
    ),
    ("http", &["domain", "api", "decide", "config", "metrics", "controllers"]),
    ("cli", &["api", "config", "controllers", "http", "metrics", "telemetry"]),
];

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
fn a_room_knows_only_the_rooms_before_it() {
    for (at, (room, may_know)) in ROOMS.iter().enumerate() {
        let before: Vec<&str> = ROOMS[..at].iter().map(|(room, _)| *room).collect();
        assert!(may_know.iter().all(|known| before.contains(known)), "{room} looks outwards");
        for (path, code) in sources(room) {
            for (other, _) in ROOMS.iter().filter(|(other, _)| other != room) {
                let allowed = may_know.contains(other);
                assert!(allowed || !uses(&code, other), "{} must not know {other}", path.display());
            }
        }
    }
}

#[test]
fn every_source_is_in_a_room_and_every_folder_has_its_purpose() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(root.join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_room = ROOMS.iter().any(|(room, _)| *room == name);
        assert!(is_room || ["lib", "main"].contains(&name), "src/{name} is no room");
    }
    // `target` and `proptest-regressions` are made by the tools, and ignored by git.
    let made = ["target", "proptest-regressions"];
    let folders = ["benches", "charts", "crds", "deploy", "docs", "src", "tests"];
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let is_seen = entry.path().is_dir() && !name.starts_with('.');
        let is_known = folders.iter().chain(&made).any(|known| *known == name);
        assert!(!is_seen || is_known, "what is the folder {name} for?");
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
        "std::thread",
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
                // Deep expressions are parsed on a thread for its stack; it is joined at once.
                if word == "std::thread" && path.ends_with("rules/cel.rs") {
                    continue;
                }
                assert!(!code.contains(word), "{} must not use {word}", path.display());
            }
        }
    }
}

#[test]
fn only_the_controllers_talk_to_the_api_server() {
    for (room, _) in ROOMS.iter().filter(|(room, _)| *room != "controllers") {
        for (path, code) in sources(room) {
            let used = parts_of_kube(&code);
            let client = used.iter().find(|part| {
                ["Api", "Client", "Config", "api", "client", "config", "runtime"]
                    .contains(&part.as_str())
            });
            assert_eq!(client, None, "{} must not use kube's client", path.display());
        }
    }
}

/// What is taken from the crate `kube`, by its first name: alone or in a `use kube::{..}` tree.
fn parts_of_kube(code: &str) -> Vec<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let first = |text: &str| text.chars().take_while(|c| is_name(*c)).collect::<String>();
    let uses = code.match_indices("kube::").filter(|(at, _)| !code[..*at].ends_with(is_name));
    let mut parts = Vec::new();
    for rest in uses.map(|(at, word)| &code[at + word.len()..]) {
        let Some(tree) = rest.strip_prefix('{') else {
            parts.push(first(rest));
            continue;
        };
        let mut depth = 0;
        let mut is_first = true;
        for (at, c) in tree.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => is_first = true,
                _ if is_first && is_name(c) => {
                    parts.push(first(&tree[at..]));
                    is_first = false;
                }
                _ => {}
            }
        }
    }
    parts
}

#[test]
fn what_is_taken_from_kube_is_found_in_every_way_to_write_it() {
    let code = "use kube::{\n    Api, Client,\n    core::{cel, Api2}, runtime::watcher,\n};\n\
                use kube::CustomResource;\nlet x = kube::Client::try_default();\nmy_kube::no();";
    let expected = ["Api", "Client", "core", "runtime", "CustomResource", "Client"];
    assert_eq!(parts_of_kube(code), expected);
}

#[test]
fn every_module_says_what_it_knows() {
    for (room, _) in ROOMS {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for (path, _) in sources(room) {
            let text = fs::read_to_string(&path).unwrap();
            let short = path.strip_prefix(&src).unwrap().display();
            assert!(text.starts_with("//! "), "{short} has no module doc");
        }
    }
}
