//! Documents side by side, and what would be served with an older one: each change as two lines.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Part, said::Said, when::When};
use crate::{
    api::PIN,
    controllers::{
        Key,
        desk::{
            Desk, Person, Refused,
            shown::{Difference, DocumentShown, PlanShown},
        },
    },
    domain::{Digest, OpKind, patch::OpSummary},
};

/// Most changes that a page shows.
const MOST: usize = 200;
/// As many places of a plan are in status, at most.
const PLACES: usize = 20;
/// Most characters of one value.
const LONGEST: usize = 600;

/// What a contract's documents are to each other.
pub struct Documents {
    pub difference: Compared,
    pub revisions: Vec<Revision>,
    /// The revision that is looked at.
    pub preview: Option<Preview>,
}

/// A revision, as it would be served.
pub struct Preview {
    pub number: u32,
    /// What makes it of the served document.
    pub changes: Compared,
    /// The command that serves it; none where it is served.
    pub pin: Option<Said>,
}

/// One document beside another.
pub enum Compared {
    /// They are the same.
    Same,
    /// These changes make one of the other; how many there are in all, where all are known.
    Changes(Vec<Line>, bool),
    /// One of them is not here.
    Missing(Said),
}

/// A plan with its values.
pub struct Planned {
    pub changes: Compared,
    /// Why it is not told what was there before; empty where it is.
    pub without: Said,
}

/// One change.
pub struct Line {
    pub sign: &'static str,
    pub op: &'static str,
    pub path: Said,
    /// Where the new value comes from.
    pub from: Said,
    pub old: Option<Said>,
    pub new: Option<Said>,
}

/// A stored revision.
pub struct Revision {
    pub number: u32,
    pub digest: String,
    pub recorded: Option<When>,
    pub is_served: bool,
    pub is_good: bool,
}

impl Documents {
    /// Those of the contract `key`, with the revision `number` where one is looked at.
    pub async fn of(
        desk: &Desk,
        person: &Arc<Person>,
        key: &Key,
        number: Option<u32>,
        now: Timestamp,
    ) -> Result<Part<Self>, Refused> {
        let found = match Part::of(desk.documents(person, key).await)? {
            Part::Seen(found) => found,
            Part::Missing(why) => return Ok(Part::Missing(why)),
        };
        let mut preview = None;
        if let Some(number) = number {
            let looked = desk.revision(person, key, number).await;
            // A link to what history has let go of is no reason to show nothing of the contract.
            let looked = match looked {
                Err(Refused::NotFound(why) | Refused::Unavailable { why, .. }) => {
                    Part::Missing(Said::of(why))
                }
                looked => Part::of(looked)?,
            };
            preview = match looked {
                Part::Seen(shown) => {
                    let to = (&found.served, &shown.document);
                    let changes = Compared::of(shown.difference.as_ref(), to);
                    let stored = found.revisions.iter().find(|one| one.number == number);
                    let pin = stored.filter(|one| !one.served);
                    let pin = pin.map(|one| Said::cut(&pin_to(key, &one.digest, now), 1_000));
                    Some(Preview { number, changes, pin })
                }
                Part::Missing(why) => {
                    Some(Preview { number, changes: Compared::Missing(why), pin: None })
                }
            };
        }
        let revisions = found.revisions.iter().map(|revision| Revision {
            number: revision.number,
            digest: revision.digest.short().to_owned(),
            recorded: revision.recorded_at.map(|at| When::of(at, now)),
            is_served: revision.served,
            is_good: revision.last_known_good,
        });
        Ok(Part::Seen(Self {
            difference: Compared::of(found.difference.as_ref(), (&found.served, &found.assigned)),
            revisions: revisions.collect(),
            preview,
        }))
    }
}

/// The command that serves a stored document for an hour, whatever the rules say.
fn pin_to(key: &Key, digest: &Digest, now: Timestamp) -> String {
    let (Key { namespace, name, .. }, digest) = (key, digest.short());
    let until = now.saturating_add(SignedDuration::from_hours(1)).unwrap_or(now);
    format!(
        "kubectl --namespace {namespace} annotate wc {name} {PIN}={digest}/{until:.0} --overwrite"
    )
}

impl Compared {
    fn of(difference: Option<&Difference>, (old, new): (&DocumentShown, &DocumentShown)) -> Self {
        let Some(difference) = difference else {
            let why = old.missing.as_ref().or(new.missing.as_ref());
            return Self::Missing(Said::of(why.map_or("it took too long to compare", |why| why)));
        };
        if difference.changes.is_empty() {
            return Self::Same;
        }
        let lines = difference.changes.iter().take(MOST).map(|change| {
            // Once something was put into or taken out of an array, places in it are others.
            let before = old.value.as_ref().and_then(|value| value.pointer(&change.path));
            let before = before.filter(|_| change.op != OpKind::Add);
            Line::new(change.op, &change.path, before, change.value.as_ref())
        });
        let complete = difference.complete && difference.changes.len() <= MOST;
        Self::Changes(lines.collect(), complete)
    }
}

impl Planned {
    /// A plan; `places` is what status says of it. That it cannot be read just now is no reason to show
    /// nothing else of its Incident.
    pub fn of(
        answer: Result<PlanShown, Refused>,
        places: &[OpSummary],
    ) -> Result<Part<Self>, Refused> {
        if let Err(Refused::Unavailable { why, .. }) = answer {
            let changes = Compared::Missing(Said::of(why));
            return Ok(Part::Seen(Self { changes, without: Said::default() }));
        }
        Ok(Part::of(answer)?.map(|shown| Self::with_values(&shown, places)))
    }

    fn with_values(shown: &PlanShown, places: &[OpSummary]) -> Self {
        let (assigned, candidate) = (&shown.assigned, &shown.candidate);
        let mut changes = Compared::of(shown.difference.as_ref(), (assigned, candidate));
        let mut without = Said::default();
        if let Compared::Missing(why) = &changes
            && let Some(value) = &candidate.value
        {
            without = why.clone();
            let lines = places.iter().map(|place| Line::of_place(place, value)).collect();
            changes = Compared::Changes(lines, places.len() < PLACES);
        }
        if let Compared::Changes(lines, _) = &mut changes {
            for line in lines {
                let place = places.iter().find(|place| Said::of(&place.path) == line.path);
                line.from =
                    Said::of(place.and_then(|place| place.value_from.as_deref()).unwrap_or(""));
            }
        }
        Self { changes, without }
    }
}

impl Line {
    fn new(kind: OpKind, path: &str, old: Option<&Value>, new: Option<&Value>) -> Self {
        let (sign, op) = sign(kind);
        // The empty JSON Pointer is the whole document.
        let path = if path.is_empty() { "(the whole document)" } else { path };
        let from = Said::default();
        Self { sign, op, path: Said::of(path), from, old: old.map(text), new: new.map(text) }
    }

    /// What comes into one place of a plan, as far as it can be found in the document that the plan comes
    /// to: where an array has moved, another value is there.
    fn of_place(place: &OpSummary, document: &Value) -> Self {
        let there = document.pointer(&place.path);
        let is_it = |value: &&Value| place.value_digest == Some(Digest::of_value(value));
        Self::new(place.op, &place.path, None, there.filter(is_it))
    }
}

/// An operation as a sign and as a word.
pub fn sign(kind: OpKind) -> (&'static str, &'static str) {
    match kind {
        OpKind::Add => ("+", "add"),
        OpKind::Replace => ("~", "replace"),
        OpKind::Remove => ("−", "remove"),
    }
}

/// A value as JSON, cut.
fn text(value: &Value) -> Said {
    Said::cut(&value.to_string(), LONGEST)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controllers::desk::shown::Change;

    #[test]
    fn a_plan_for_a_document_that_is_not_here_shows_what_comes_where_it_can_be_told() {
        let place = |path: &str, value: &Value| OpSummary {
            op: OpKind::Replace,
            path: path.to_owned(),
            value_digest: Some(Digest::of_value(value)),
            value_from: Some("revision 3".to_owned()),
        };
        let value = |value| DocumentShown { value, ..DocumentShown::default() };
        let away =
            || DocumentShown { missing: Some("away".to_owned()), ..DocumentShown::default() };
        let plan = |candidate| PlanShown {
            plan_digest: None,
            assigned: away(),
            candidate,
            difference: None,
        };
        let document = json!({"title": "b", "list": [1, 2]});
        let places = [place("/title", &json!("b")), place("/list/1", &json!(1))];
        let planned = Planned::with_values(&plan(value(Some(document))), &places);
        let Compared::Changes(lines, true) = &planned.changes else { panic!("no changes") };
        let new = |line: &Line| line.new.as_ref().map(ToString::to_string);
        assert_eq!(planned.without.to_string(), "away");
        assert_eq!(new(&lines[0]).unwrap(), "\"b\"");
        assert_eq!((new(&lines[1]), lines[1].from.to_string()), (None, "revision 3".to_owned()));
        // Without the document that it comes to there is nothing to tell.
        let planned = Planned::with_values(&plan(away()), &places);
        assert!(matches!(planned.changes, Compared::Missing(_)) && planned.without.is_empty());
    }

    #[test]
    fn a_change_shows_what_was_there_and_what_comes() {
        let shown = |value: Value| DocumentShown { value: Some(value), ..DocumentShown::default() };
        let change = |op, path: &str, value| Change { op, path: path.to_owned(), value };
        let difference = Difference {
            changes: vec![
                change(OpKind::Replace, "/title", Some(json!("b\u{202e}"))),
                change(OpKind::Remove, "/old", None),
                change(OpKind::Add, "/new", Some(json!(["x".repeat(5000)]))),
            ],
            complete: true,
        };
        let (old, new) = (shown(json!({"title": "a", "old": 7})), shown(json!({})));
        let Compared::Changes(lines, true) = Compared::of(Some(&difference), (&old, &new)) else {
            panic!("no changes");
        };
        let said = |said: &Option<Said>| said.as_ref().map(ToString::to_string);
        assert_eq!(said(&lines[0].old).unwrap(), "\"a\"");
        assert_eq!(said(&lines[0].new).unwrap(), "\"b\\u{202e}\"");
        assert_eq!((said(&lines[1].old).unwrap(), lines[1].op), ("7".to_owned(), "remove"));
        assert!(said(&lines[2].old).is_none() && said(&lines[2].new).unwrap().len() < 700);
    }
}
