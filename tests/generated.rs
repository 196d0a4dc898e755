//! Files that are made from the code are what the code makes today.

#![allow(clippy::unwrap_used, clippy::panic)]
#![allow(missing_docs, reason = "a test's name is its documentation")]

use std::{fs, path::Path};

use serde_json::Value;

#[test]
fn the_crds_in_the_repository_and_in_the_chart_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["crds", "charts/kintsugi/files/crds"] {
        let mut expected: Vec<String> = Vec::new();
        for (name, yaml) in kintsugi::api::crd::files().unwrap() {
            let path = root.join(folder).join(&name);
            let stored = fs::read_to_string(&path).unwrap_or_default();
            assert!(stored == yaml, "{} is stale: run `make crds`", path.display());
            expected.push(name);
        }
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(expected.contains(&name), "{folder}/{name} is of no kind: delete it");
        }
    }
}

#[test]
fn the_api_reference_is_fresh() {
    let stored = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md"));
    let fresh = kintsugi::api::reference::markdown().unwrap();
    assert!(stored.unwrap_or_default() == fresh, "docs/api.md is stale: run `make docs`");
}

#[test]
fn the_page_about_metrics_is_fresh() {
    let stored = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md"));
    let fresh = kintsugi::metrics::table::markdown();
    assert!(stored.unwrap_or_default() == fresh, "docs/metrics.md is stale: run `make docs`");
}

/// Whoever reads a reason in a condition finds in the page what to do.
#[test]
fn each_reason_for_which_a_contract_or_a_policy_stalls_is_in_the_operations_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let mut folders = vec![root.join("src")];
    let mut reasons = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            for after in source.split("Stall::new(").skip(1) {
                let Some(literal) = after.trim_start().strip_prefix('"') else { continue };
                let reason = literal.split('"').next().unwrap();
                assert!(page.contains(reason), "{reason} of {} is not there", path.display());
                reasons += 1;
            }
        }
    }
    assert!(reasons > 10, "the reasons are found by their literals");
}

#[test]
fn every_field_of_the_crds_is_described_and_every_text_list_and_map_is_bounded() {
    for crd in kintsugi::api::crd::all().unwrap() {
        let kind = crd.spec.names.kind.clone();
        let json = serde_json::to_value(&crd).unwrap();
        let schema = &json["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            if let Some(schema) = schema["properties"].get(part) {
                walk(schema, &format!("{kind}.{part}"));
            }
        }
    }
}

fn walk(schema: &Value, at: &str) {
    let own = !at.contains(".selector") && !at.contains(".conditions");
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    match schema["type"].as_str() {
        Some("string")
            if own && schema.get("enum").is_none() && schema["format"] != "date-time" =>
        {
            assert!(schema.get("maxLength").is_some(), "{at} has no maxLength");
        }
        Some("array") if own => assert!(schema.get("maxItems").is_some(), "{at} has no maxItems"),
        Some("object") if own && schema.get("additionalProperties").is_some() => {
            assert!(schema.get("maxProperties").is_some(), "{at} has no maxProperties");
        }
        _ => {}
    }
    if let Some(items) = schema.get("items") {
        walk(items, &format!("{at}[]"));
    }
    if let Some(values) = schema.get("additionalProperties").filter(|v| v.is_object()) {
        walk(values, &format!("{at}{{}}"));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        assert!(property["description"].is_string(), "{at} has no description");
        walk(property, &at);
    }
}
