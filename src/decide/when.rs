//! Is it a step's turn, by what its `when` says of the Incident?
//!
//! Knows: what an expression can ask of an Incident. Must not know: what a step does.

use serde_json::{Value, json};

use crate::{
    api::{
        incident::{Cause, Segment},
        policy::Step,
    },
    domain::Severity,
    rules::cel::{self, Root},
};

use super::{diagnose, plan::Attempting, view::View};

/// What an expression knows the Incident by.
static INCIDENT: Root = Root { name: "incident", is: "the Incident" };
/// The field, as messages name it.
const FIELD: &str = "when";

/// What is wrong with a `when`, whatever the Incident is.
#[must_use]
pub fn fault(when: &str) -> Option<String> {
    let facts = facts(Cause::DocumentChanged, Severity::Critical, &["schema"], 0, "widget", "");
    holds(when, &facts).err()
}

/// What the Incident that a plan is made for looks like to its steps.
#[must_use]
pub fn of(view: &View, segments: &[Segment], attempting: Attempting) -> Value {
    let open = view.incident.as_ref();
    let opening = match attempting {
        Attempting::First(cause) => cause,
        Attempting::Nothing | Attempting::Again(_) | Attempting::Asking(_) => {
            Cause::DocumentChanged
        }
    };
    let cause = open.map_or(opening, |open| open.spec.cause);
    let rules: Vec<&str> =
        segments.iter().flat_map(|segment| &segment.rules).map(String::as_str).collect();
    let worst = rules.iter().filter_map(|rule| Some(view.effective.rule(rule)?.severity)).max();
    let severity = open.map_or(worst.unwrap_or(Severity::Critical), |open| open.spec.severity);
    let tries = open.and_then(|open| open.status.tries).unwrap_or(0);
    let stored = open.and_then(|open| open.status.diagnosis.as_ref()).map(|known| known.cause);
    let found = match &view.state {
        Some(state) => Some(diagnose::of(state, view.source.as_ref(), cause).cause),
        None => stored,
    };
    let diagnosis = found.map_or_else(String::new, |cause| cause.to_string());
    facts(cause, severity, &rules, tries, &view.effective.widget, &diagnosis)
}

fn facts(
    cause: Cause,
    severity: Severity,
    rules: &[&str],
    tries: u32,
    widget: &str,
    diagnosis: &str,
) -> Value {
    json!({
        "cause": cause.as_ref(),
        "severity": severity.to_string(),
        "rules": rules,
        "tries": tries,
        "widget": widget,
        "diagnosis": diagnosis,
    })
}

/// Does the step ask for what is wrong with the source?
#[must_use]
pub fn asks_for_diagnosis(step: &Step) -> bool {
    step.when.as_ref().is_some_and(|when| when.contains("diagnosis"))
}

/// Why it is not the step's turn in an Incident with these facts.
#[must_use]
pub fn passes_over(step: &Step, facts: &Value) -> Option<String> {
    match holds(step.when.as_deref()?, facts) {
        Ok(true) => None,
        Ok(false) => Some("its when is false".to_owned()),
        Err(why) => Some(why),
    }
}

fn holds(when: &str, facts: &Value) -> Result<bool, String> {
    cel::condition(FIELD, &INCIDENT, when)
        .and_then(|condition| condition.holds(facts))
        .map_err(|doubt| doubt.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_when_is_asked_of_what_the_docs_name_and_of_nothing_else() {
        let facts =
            facts(Cause::AssetMissing, Severity::Warning, &["a", "b"], 2, "w", "SourceDown");
        for (when, expected) in [
            ("incident.cause == 'AssetMissing'", Ok(true)),
            ("incident.severity == 'Critical'", Ok(false)),
            ("'b' in incident.rules && incident.tries >= 2", Ok(true)),
            ("incident.widget == 'w' && incident.diagnosis == 'SourceDown'", Ok(true)),
            ("incident.weather == 'fine'", Err("the key \"weather\" is missing")),
            (
                "self.cause == 'x'",
                Err("names \"self\", which is not there; incident is the Incident"),
            ),
            ("incident.tries", Err("did not return a bool")),
            ("'yes'", Err("when returns a string; it must return a bool")),
            ("incident.cause ==", Err("when does not compile, line 1 column")),
        ] {
            match (holds(when, &facts), expected) {
                (Ok(is), Ok(expected)) => assert_eq!(is, expected, "{when}"),
                (Err(is), Err(expected)) => assert!(is.contains(expected), "{when}: {is}"),
                (is, _) => panic!("{when}: {is:?}"),
            }
        }
    }
}
