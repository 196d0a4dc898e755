//! Does an expression name only metrics, labels and values that there are?

use std::{collections::BTreeSet, fs, path::Path, sync::LazyLock};

use kintsugi::{
    api::{contract::Health, incident::State},
    decide::signal::Reason,
    metrics::table::{self, Described, Kind},
};
use regex::Regex;
use strum::IntoEnumIterator as _;

use crate::rules;

/// The family that a name of a sample belongs to.
fn family(sample: &str) -> Option<&'static Described> {
    table::ALL.into_iter().find(|family| {
        let name = family.full_name();
        let parts: &[&str] = match family.kind {
            Kind::Seconds => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        sample.strip_prefix(&name).is_some_and(|rest| parts.contains(&rest))
    })
}

/// Is it a value that the label can have? One that nobody writes would keep an alert silent for ever.
fn is_value(label: &str, value: &str) -> bool {
    let one_of = |names: Vec<String>| names.iter().any(|name| name == value);
    let listed = table::ALL
        .into_iter()
        .flat_map(|family| family.labels)
        .any(|(name, values)| *name == label && values.contains(&format!("`{value}`")));
    let is_known = match label {
        "health" => one_of(Health::iter().map(|health| health.to_string()).collect()),
        "state" => one_of(State::iter().map(|state| state.to_string()).collect()),
        // The page lists some; these words are no enumeration.
        "waiting" => return value == "other" || is_said(value),
        "reason" => one_of(Reason::iter().map(|reason| reason.to_string()).collect()),
        _ => false,
    };
    // What these hold is made by users, or a pattern of numbers.
    let is_free = ["namespace", "code"].contains(&label);
    listed || is_known || is_free || value == "other"
}

/// Does any decision say this word?
fn is_said(word: &str) -> bool {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/decide")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Simulations only say what they expect.
                folders.extend((!path.ends_with("sim")).then_some(path));
            } else if fs::read_to_string(&path).unwrap().contains(&format!("\"{word}\"")) {
                return true;
            }
        }
    }
    false
}

/// Everything that an expression names is counted, with these labels and values.
pub fn names_only_what_is(expr: &str) {
    static SAMPLE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(kintsugi[_:][a-zA-Z0-9_:]+)\s*(\{[^}]*\})?").unwrap());
    static MATCHER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)""#).unwrap());
    let recorded = recorded();
    for sample in SAMPLE.captures_iter(expr) {
        let name = &sample[1];
        let matchers = sample.get(2).map_or("", |matchers| matchers.as_str());
        let family = family(name);
        assert!(family.is_some() || recorded.contains(name), "{name} is not counted: {expr}");
        for matcher in MATCHER.captures_iter(matchers) {
            let label = &matcher[1];
            let has = |family: &Described| family.labels.iter().any(|(name, _)| *name == label);
            assert!(family.is_none_or(has) || label == "job", "{name} has no {label}: {expr}");
            for value in matcher[2].split('|') {
                assert!(is_value(label, value), "{label} is never {value}: {expr}");
            }
        }
    }
}

fn recorded() -> BTreeSet<String> {
    rules().iter().filter_map(|rule| rule["record"].as_str()).map(str::to_owned).collect()
}
