//! The board for Grafana.

use std::collections::BTreeSet;

use kintsugi::metrics::table::{self, Described};
use serde_json::{Value, json};

use crate::{BOARD, are_rules, counted, list, str, text};

fn board() -> Value {
    serde_json::from_str(&text(BOARD)).unwrap()
}

/// Each expression of the board, with what Grafana puts in the place of its variables.
fn shown() -> Vec<String> {
    let board = board();
    let targets = list(&board["panels"]).flat_map(|panel| list(&panel["targets"]));
    let filled = |target: &Value| {
        let expr = str(&target["expr"]).replace("$__rate_interval", "2m");
        expr.replace("$__range", "6h").replace("$namespace", "shop|news")
    };
    targets.map(filled).collect()
}

#[test]
fn the_board_shows_what_is_counted_in_expressions_that_promtool_takes() {
    let shown = shown();
    assert!(shown.len() > 20);
    for expr in &shown {
        counted::names_only_what_is(expr);
    }
    let rules: Vec<Value> = shown
        .iter()
        .enumerate()
        .map(|(nth, expr)| json!({"record": format!("board:{nth}"), "expr": expr}))
        .collect();
    are_rules(&json!({"groups": [{"name": "board", "rules": rules}]}));
}

#[test]
fn each_family_that_is_counted_by_default_is_on_the_board() {
    let shown = shown().join("\n");
    // Rows of single contracts are asked for by a flag.
    let by_default = |family: &&Described| family.name != table::CONTRACT.name;
    for family in table::ALL.into_iter().filter(by_default) {
        let name = family.full_name();
        assert!(shown.contains(&name), "{name} is on no panel");
    }
}

#[test]
fn the_panels_of_the_board_lie_side_by_side() {
    let board = board();
    let number = |panel: &Value, side: &str| panel["gridPos"][side].as_u64().unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in list(&board["panels"]) {
        let title = str(&panel["title"]);
        assert!(!title.is_empty() && ids.insert(panel["id"].as_u64()), "{panel}");
        let (x, y) = (number(panel, "x"), number(panel, "y"));
        let (w, h) = (number(panel, "w"), number(panel, "h"));
        assert!(x + w <= 24, "{title} is too wide");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title} lies on another panel");
        }
    }
}
