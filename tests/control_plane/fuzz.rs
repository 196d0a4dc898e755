//! Requests that nobody would write, made by Schemathesis from the `OpenAPI` document.

use std::process::Command;

use crate::{
    desk::{sees_all, trouble, until},
    support::{
        Cluster, Namespace, Operator,
        desk::{self, DESK},
    },
};

/// How many requests of each operation, beside those at the bounds of each parameter.
const EXAMPLES: &str = "--max-examples=20";
/// The same requests each time.
const SEED: &str = "--seed=1";

#[tokio::test]
async fn whatever_is_asked_has_an_answer_as_the_document_says_and_none_is_an_error_of_ours() {
    let cluster = Cluster::running();
    let namespace = Namespace::new(&cluster, "fuzz").await;
    let operator = Operator::start(&cluster, &namespace, &[DESK]);
    let ann = desk::visitor(&cluster, &namespace, &operator, "ann", &sees_all()).await;
    trouble(&namespace).await;
    until(&ann, "/api/v1/incidents", |answer| answer.body["items"][0].is_object()).await;
    let program = std::env::var_os("KINTSUGI_TEST_SCHEMATHESIS").expect("run `make test`");
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new("timeout")
        .args(["--kill-after=5", "600"])
        .arg(program)
        .args(["run", &format!("{}/api/v1/openapi.json", ann.url), "--url", &ann.url])
        .args(["--header", &format!("Authorization: Bearer {}", ann.token)])
        .args(["--checks", "not_a_server_error,response_schema_conformance"])
        // It has no end.
        .args(["--exclude-path", "/api/v1/stream"])
        .args(["--phases", "examples,coverage,fuzzing", EXAMPLES, SEED])
        .args(["--continue-on-failure", "--warnings=off"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    let all = said.lines().find(|line| line.contains(" generated, ")).unwrap_or_default();
    let many: usize = all.split_whitespace().next().unwrap_or_default().parse().unwrap();
    assert!(many > 500, "{said}");
    assert_eq!(ann.get("/api/v1/health").await.status, 200, "the token was good all the time");
}
