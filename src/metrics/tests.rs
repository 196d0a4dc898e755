use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

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
    for nth in 0..=MOST_ROWS {
        metrics.asked("GET", &format!("resource-{nth}"), "404");
    }
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

/// Many rows, each with a name of its own.
fn many<const LABELS: usize>(
    row: impl Fn(usize) -> ([String; LABELS], i64),
) -> BTreeMap<[String; LABELS], i64> {
    (0..MOST_ROWS + 50).map(row).collect()
}

fn rows(text: &str, name: &str) -> usize {
    text.lines().filter(|line| line.starts_with(name)).count()
}

#[test]
fn names_of_objects_fill_no_more_than_so_many_rows_and_it_is_said() {
    let metrics = Metrics::default();
    for nth in 0..MOST_ROWS + 50 {
        metrics.tried("shop", &format!("policy-{nth}"), "restore", "Changed", "", AT);
    }
    metrics.tried("shop", "policy-3", "restore", "Changed", "", AT);
    let each = many(|nth| {
        let name = format!("c-{nth}");
        (["shop", &name, "finder", "Healthy", "Assigned"].map(str::to_owned), 1)
    });
    metrics
        .count_by(Some(Box::new(move || Census { contract: each.clone(), ..Census::default() })));
    let text = metrics.text().unwrap();
    assert_eq!(rows(&text, "kintsugi_steps_total{"), MOST_ROWS + 1);
    assert_eq!(rows(&text, "kintsugi_contract{"), MOST_ROWS + 1);
    let has = |row: &str| assert!(text.contains(row), "{row}");
    has("policy=\"policy-3\",step=\"restore\",outcome=\"Changed\"} 2");
    has(
        "kintsugi_steps_total{namespace=\"other\",policy=\"other\",step=\"other\",outcome=\"Changed\"} 50",
    );
    has(
        "kintsugi_contract{namespace=\"other\",contract=\"other\",widget=\"other\",health=\"Healthy\",serving=\"Assigned\"} 50",
    );
    has("kintsugi_rows_cut{family=\"kintsugi_steps_total\"} 1");
    has("kintsugi_rows_cut{family=\"kintsugi_contract\"} 1");
    assert_eq!(rows(&text, "kintsugi_rows_cut{"), 2);
}

#[test]
fn what_alerts_are_about_is_shown_by_itself_or_at_least_without_its_name() {
    let metrics = Metrics::default();
    // The last ten namespaces are in trouble, in which there is little, and the others are large.
    let is_bad = |nth: usize| nth >= MOST_ROWS + 40;
    let row = move |nth: usize, good: [&str; 2], bad: [&str; 2]| {
        let [one, two] = if is_bad(nth) { bad } else { good };
        let count = if is_bad(nth) { 1 } else { 100 };
        ([format!("ns-{nth:04}"), one.to_owned(), two.to_owned()], count)
    };
    let census = Census {
        contracts: many(|nth| row(nth, ["Healthy", "Assigned"], ["Critical", "None"])),
        incidents: many(|nth| row(nth, ["Verifying", "Critical"], ["Escalated", "Critical"])),
        breakers: many(|nth| row(nth, ["source a", "closed"], ["source a", "open"])),
        waiting: many(|nth| {
            let waiting = if is_bad(nth) { "AwaitingApproval" } else { "Backoff" };
            ([format!("ns-{nth:04}"), waiting.to_owned()], 1)
        }),
        budget_left: many(|nth| {
            ([format!("ns-{nth:04}"), "heal".to_owned()], i64::from(!is_bad(nth)) * 100)
        }),
        // All are equally bad.
        storms: many(|nth| ([format!("ns-{nth:04}"), "heal".to_owned()], 1)),
        ..Census::default()
    };
    metrics.count_by(Some(Box::new(move || census.clone())));
    let text = metrics.text().unwrap();
    let count = |row: &str| text.lines().filter(|line| line.contains(row)).count();
    for (row, shown) in [
        ("health=\"Critical\",serving=\"None\"} 1", 10),
        ("state=\"Escalated\",severity=\"Critical\"} 1", 10),
        ("dependency=\"source a\",state=\"open\"} 1", 10),
        ("waiting=\"AwaitingApproval\"} 1", 10),
        ("policy=\"heal\"} 0", 10),
        ("kintsugi_contracts{namespace=\"other\",health=\"Healthy\",serving=\"Assigned\"} 5000", 1),
        ("kintsugi_storms{namespace=\"other\",policy=\"other\"} 50", 1),
        ("kintsugi_budget_left{namespace=\"other\",policy=\"other\"} 100", 1),
    ] {
        assert_eq!(count(row), shown, "{row}\n{text}");
    }
    assert_eq!(rows(&text, "kintsugi_rows_cut{"), 6);
}

#[test]
fn values_that_nobody_foresaw_fill_no_more_than_so_many_rows_either() {
    let metrics = Metrics::default();
    for nth in 0..MOST_ROWS * 2 {
        metrics.happened(&format!("reason-{nth}"));
    }
    let waiting = (0..MOST_ROWS * 2)
        .map(|nth| (["shop".to_owned(), format!("waiting-{nth}")], 1))
        .collect::<BTreeMap<_, _>>();
    metrics
        .count_by(Some(Box::new(move || Census { waiting: waiting.clone(), ..Census::default() })));
    let text = metrics.text().unwrap();
    for name in ["kintsugi_happenings_total{", "kintsugi_waiting{"] {
        assert_eq!(rows(&text, name), MOST_ROWS + MOST_FOLDED + 1, "{name}");
    }
}

#[test]
fn what_may_happen_is_counted_from_zero_on() {
    let metrics = Metrics::default();
    metrics.may_happen(["StepFailed"], ["Panic"]);
    let text = metrics.text().unwrap();
    assert!(text.contains("kintsugi_happenings_total{reason=\"StepFailed\"} 0"), "{text}");
    assert!(text.contains("kintsugi_look_errors_total{error=\"Panic\"} 0"), "{text}");
}

#[test]
fn whoever_asks_shortly_after_another_is_told_what_was_counted_for_that_one() {
    let source = Source::default();
    let counted = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&counted);
    source.set(Some(Box::new(move || {
        counting.fetch_add(1, Ordering::Relaxed);
        Census::default()
    })));
    let began = Instant::now();
    for (millis, times) in [(0, 1), (999, 1), (1_000, 2), (1_500, 2), (2_000, 3)] {
        assert!(source.count(began + Duration::from_millis(millis)).is_some());
        assert_eq!(counted.load(Ordering::Relaxed), times, "after {millis} ms");
    }
    source.set(None);
    assert!(source.count(began + Duration::from_millis(2_001)).is_none(), "nobody leads any more");
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
