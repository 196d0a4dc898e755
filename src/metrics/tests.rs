use std::collections::BTreeSet;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const AT: Timestamp = Timestamp::UNIX_EPOCH;

/// Each family has been counted once.
pub(super) fn counted() -> Metrics {
    let metrics = Metrics::default();
    metrics.count_by(Some(Box::new(|| Census {
        contracts: [(["shop", "Healthy", "Assigned"].map(str::to_owned), 3)].into(),
        contract: [(["shop", "uk", "finder", "Healthy", "Assigned"].map(str::to_owned), 1)].into(),
        incidents: [(["shop", "Held", "Critical"].map(str::to_owned), 2)].into(),
        waiting: [(["shop", "AwaitingApproval"].map(str::to_owned), 2)].into(),
        breakers: [(["shop", "source https://cms.test", "open"].map(str::to_owned), 1)].into(),
        storms: [(["shop", "heal"].map(str::to_owned), 1)].into(),
        budget_left: [(["shop", "heal"].map(str::to_owned), 99)].into(),
        queued: [(["contracts", "now"].map(str::to_owned), 1)].into(),
    })));
    metrics.looked(Duration::from_millis(7), None);
    metrics.looked(Duration::from_millis(7), Some("Timeout"));
    metrics.happened("IncidentOpened");
    metrics.tried("shop", "heal", "restore", "Changed", TRACE, AT);
    metrics.event_dropped();
    metrics.judged("CEL", "Fail");
    metrics.asked("GET", "widgetcontracts", "200");
    for what in [Took::Detect, Took::Mitigate, Took::Resolve, Took::Approve] {
        metrics.took(what, Span::secs(20), TRACE, AT);
    }
    metrics
}

/// The samples: name and names of labels.
fn samples(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let line = line.split(" # ").next().unwrap();
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let labels = rest.split_once('}').map_or("", |(labels, _)| labels);
        let names = labels.split("\",").filter(|label| !label.is_empty());
        (name.to_owned(), names.map(|label| label.split('=').next().unwrap().to_owned()).collect())
    };
    lines.map(sample).collect()
}

#[test]
fn what_is_scraped_is_what_the_page_describes() {
    let text = counted().text().unwrap();
    let samples = samples(&text);
    for described in table::ALL {
        let name = described.full_name();
        let labels: BTreeSet<String> =
            described.labels.iter().map(|(label, _)| (*label).to_owned()).collect();
        let parts: &[&str] = match described.kind {
            table::Kind::Seconds => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        for part in parts {
            let full = format!("{name}{part}");
            let found = samples.iter().filter(|(sample, _)| *sample == full);
            let found: Vec<_> = found.map(|(_, labels)| labels).collect();
            assert!(!found.is_empty(), "{full} is not there:\n{text}");
            for has in found {
                let own: BTreeSet<String> = has.iter().filter(|l| *l != "le").cloned().collect();
                assert_eq!(own, labels, "{full}");
            }
        }
        assert!(text.contains(&format!(" {}.\n", described.help)), "help of {name}:\n{text}");
    }
    let known = |sample: &str| {
        table::ALL.iter().any(|described| {
            let name = described.full_name();
            sample
                .strip_prefix(&name)
                .is_some_and(|end| end.is_empty() || ["_bucket", "_sum", "_count"].contains(&end))
        })
    };
    for (sample, _) in &samples {
        assert!(known(sample), "{sample} is not described");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_step_and_a_time_lead_to_the_trace_of_their_incident() {
    let text = counted().text().unwrap();
    let of =
        |name: &str| text.lines().find(|line| line.contains(name) && line.contains(" # ")).unwrap();
    assert!(
        of("kintsugi_steps_total").ends_with(&format!(" # {{trace_id=\"{TRACE}\"}} 1.0 0.0")),
        "{text}"
    );
    assert!(
        of("time_to_resolve_seconds_bucket{le=\"30.0\"}")
            .contains(&format!("trace_id=\"{TRACE}\"}} 20.0 0.0"))
    );
}

#[test]
fn names_of_objects_fill_no_more_than_so_many_rows() {
    let metrics = Metrics::default();
    for nth in 0..MOST_ROWS + 50 {
        metrics.tried("shop", &format!("policy-{nth}"), "restore", "Changed", "", AT);
    }
    metrics.tried("shop", "policy-3", "restore", "Changed", "", AT);
    let contracts = (0..MOST_ROWS + 50)
        .map(|nth| ([format!("shop-{nth}"), "Healthy".to_owned(), "Assigned".to_owned()], 1));
    let contracts: std::collections::BTreeMap<_, _> = contracts.collect();
    metrics.count_by(Some(Box::new(move || Census {
        contracts: contracts.clone(),
        ..Census::default()
    })));
    let text = metrics.text().unwrap();
    let rows = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(rows("kintsugi_steps_total{"), MOST_ROWS + 1);
    assert_eq!(rows("kintsugi_contracts{"), MOST_ROWS + 1);
    let has = |row: &str| assert!(text.contains(row), "{row}");
    has("policy=\"policy-3\",step=\"restore\",outcome=\"Changed\"} 2");
    has(
        "kintsugi_steps_total{namespace=\"other\",policy=\"other\",step=\"other\",outcome=\"other\"} 50",
    );
    has("kintsugi_contracts{namespace=\"other\",health=\"other\",serving=\"other\"} 50");
}

#[test]
fn a_replica_that_does_not_lead_counts_nothing_that_is_there() {
    let metrics = counted();
    let leads =
        |text: &str| text.lines().find(|l| l.starts_with("kintsugi_leader")).unwrap().to_owned();
    let text = metrics.text().unwrap();
    assert!(leads(&text).ends_with(" 1") && text.contains("kintsugi_contracts{"));
    metrics.count_by(None);
    let text = metrics.text().unwrap();
    assert!(leads(&text).ends_with(" 0") && !text.contains("kintsugi_contracts{"), "{text}");
}
