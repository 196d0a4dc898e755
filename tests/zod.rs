//! Zod users get Zod's verdicts: schemas written with Zod 4 and converted by `z.toJSONSchema`
//! judge thousands of documents here as Zod itself does.
//!
//! Needs Node 20 or newer and, once, the npm registry; the installed package stays in
//! `${KINTSUGI_CACHE:-~/.cache/kintsugi}`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(missing_docs, reason = "a test's name is its documentation")]

#[path = "support/npm.rs"]
mod npm;

use std::{process::Command, sync::LazyLock};

use kintsugi::{domain::Verdict, rules::schema};
use serde::Deserialize;
use serde_json::Value;

const DOCUMENTS: usize = 500;

#[derive(Deserialize)]
struct Output {
    zod: String,
    results: Vec<Judged>,
    differences: Vec<Judged>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Judged {
    name: String,
    json_schema: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    document: Value,
    valid: bool,
}

static ZOD: LazyLock<Output> = LazyLock::new(|| {
    let node = Command::new("node")
        .arg(npm::sources("zod").join("verdicts.mjs"))
        .args([npm::installed("zod").as_os_str(), DOCUMENTS.to_string().as_ref()])
        .output()
        .expect("node 20 or newer is needed");
    assert!(node.status.success(), "{}", String::from_utf8_lossy(&node.stderr));
    serde_json::from_slice(&node.stdout).unwrap()
});

#[test]
fn documents_are_judged_as_zod_judges_them() {
    let mut different = Vec::new();
    let (mut agreed, mut documents) = (0, 0);
    for judged in &ZOD.results {
        let name = &judged.name;
        let schema = schema::compile(&judged.json_schema)
            .unwrap_or_else(|doubt| panic!("{name}: {}: {}", doubt.message, judged.json_schema));
        let valid = judged.cases.iter().filter(|case| case.valid).count();
        // A schema that took or refused everything would agree without having been tried.
        assert!(valid * 50 > judged.cases.len(), "{name}: only {valid} documents are valid");
        assert!(valid * 20 < judged.cases.len() * 19, "{name}: {valid} documents are valid");
        for case in &judged.cases {
            documents += 1;
            let verdict = schema.check(&case.document);
            match (&verdict, case.valid) {
                (Verdict::Pass, true) | (Verdict::Fail(_), false) => agreed += 1,
                _ => different.push(format!(
                    "{name}: Zod says {}, we say {verdict:?}, of {}",
                    case.valid, case.document
                )),
            }
        }
        println!("{name}: {} documents, {valid} of them valid", judged.cases.len());
    }
    let schemas = ZOD.results.len();
    println!("zod {}: {schemas} schemas, {documents} documents, {agreed} agreed", ZOD.zod);
    assert!(schemas >= 12 && documents >= schemas * DOCUMENTS);
    let shown = different[..different.len().min(40)].join("\n");
    assert!(different.is_empty(), "{} differ:\n{shown}", different.len());
}

/// What Zod and JSON Schema judge differently after the conversion, one document for each reason.
/// When one of these turns out to agree, it belongs among the others.
#[test]
fn known_differences_are_exactly_these() {
    assert!(ZOD.differences.len() >= 5);
    for judged in &ZOD.differences {
        let schema = schema::compile(&judged.json_schema).unwrap();
        for case in &judged.cases {
            let passes = schema.check(&case.document) == Verdict::Pass;
            assert_ne!(passes, case.valid, "{}: {}", judged.name, case.document);
        }
    }
}
