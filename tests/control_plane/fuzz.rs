//! Requests that nobody would write, made by Schemathesis from the `OpenAPI` document.

use std::{collections::BTreeSet, path::Path, process::Command};

use crate::{
    desk::{asked, does_all, requested, sees_all, trouble, until},
    support::{
        Cluster, Namespace, Operator,
        desk::{self, DESK, Visitor},
    },
};

/// How many requests of each operation, beside those at the bounds of each parameter.
const EXAMPLES: &str = "--max-examples=20";
/// The same requests each time.
const SEED: &str = "--seed=1";
/// What each answer has to be.
const CHECKS: &str = "--checks=not_a_server_error,status_code_conformance,\
                      content_type_conformance,response_headers_conformance,response_schema_conformance";

/// Has requests made as whoever asks, and returns how many there were: none was answered otherwise than the
/// document says, and none was our own error.
fn fuzz(who: &Visitor, folder: &Path, which: &[&str]) -> usize {
    let program = std::env::var_os("KINTSUGI_TEST_SCHEMATHESIS").expect("run `make test`");
    let run = Command::new("timeout")
        .args(["--kill-after=5", "600"])
        .arg(program)
        .args(["run", &format!("{}/api/v1/openapi.json", who.url), "--url", &who.url])
        .args(["--header", &format!("Authorization: Bearer {}", who.token), CHECKS])
        .args(["--phases", "examples,coverage,fuzzing", EXAMPLES, SEED])
        .args(["--continue-on-failure", "--warnings=off"])
        .args(which)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    let all = said.lines().find(|line| line.contains(" generated, ")).unwrap_or_default();
    all.split_whitespace().next().unwrap_or_default().parse().unwrap()
}

#[tokio::test]
async fn whatever_is_asked_has_an_answer_as_the_document_says_and_none_is_an_error_of_ours() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "fuzz").await;
    let operator = Operator::start(&cluster, &namespace, &[DESK]);
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &sees_all()).await;
    trouble(&namespace).await;
    until(&ann, "/api/v1/incidents", |answer| answer.body["items"][0].is_object()).await;
    let folder = tempfile::tempdir().unwrap();
    // It has no end.
    let many = fuzz(&ann, folder.path(), &["--exclude-path=/api/v1/stream"]);
    assert!(many > 500, "{many}");
    assert_eq!(ann.get("/api/v1/health").await.status, 200, "the token was good all the time");
    assert!(requested(&namespace).await.is_empty(), "who may only look does nothing");
}

/// Names at random lead to nothing: of a contract and an Incident that are there each act is tried.
fn names(namespace: &str, incident: &str) -> String {
    let of = |kind: &str, name: &str| {
        format!(
            "[[operations]]\ninclude-path-regex = \"/{kind}/\"\n\
             parameters = {{ \"path.namespace\" = \"{namespace}\", \"path.name\" = \"{name}\" }}\n"
        )
    };
    of("contracts", "uk") + &of("incidents", incident)
}

#[tokio::test]
async fn whoever_may_do_all_finds_no_error_of_ours_in_any_act_and_each_is_done() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "fuzzacts").await;
    let operator = Operator::start(&cluster, &namespace, &[DESK]);
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &does_all()).await;
    let (incident, _) = asked(&namespace).await;
    let folder = tempfile::tempdir().unwrap();
    let names = names(&namespace.name, &incident);
    std::fs::write(folder.path().join("schemathesis.toml"), names).unwrap();
    let many = fuzz(&ann, folder.path(), &["--include-method=POST"]);
    assert!(many > 100, "{many}");
    // Which acts were written, by what Events say of them.
    let said: BTreeSet<String> = requested(&namespace).await.into_iter().collect();
    for what in [
        "asks for an attempt now",
        "suspends it",
        "lets it go on",
        "approves its plan",
        "rejects its plan",
        "takes its repair back",
    ] {
        assert!(said.contains(&format!("{} {what}", ann.name)), "{what}: {said:?}");
    }
    assert_eq!(ann.get("/api/v1/health").await.status, 200, "and it goes on");
}
