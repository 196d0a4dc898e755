//! Documents side by side, and what would be served with an older one: each change as two lines.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::{Part, said::Said, when::When};
use crate::{
    controllers::{
        Key,
        desk::{
            Desk, Person, Refused,
            shown::{Difference, DocumentShown},
        },
    },
    domain::OpKind,
};

/// Most changes that a page shows.
const MOST: usize = 200;
/// Most characters of one value.
const LONGEST: usize = 600;

/// What a contract's documents are to each other.
pub struct Documents {
    pub difference: Compared,
    pub revisions: Vec<Revision>,
    /// The revision that is looked at, with what makes it of the served document.
    pub preview: Option<(u32, Compared)>,
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

/// One change.
pub struct Line {
    pub sign: &'static str,
    pub op: &'static str,
    pub path: Said,
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
            preview = match Part::of(looked)? {
                Part::Seen(shown) => {
                    let to = (&found.served, &shown.document);
                    Some((number, Compared::of(shown.difference.as_ref(), to)))
                }
                Part::Missing(why) => Some((number, Compared::Missing(why))),
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
            let (sign, op, old) = match change.op {
                OpKind::Add => ("+", "add", None),
                OpKind::Replace => ("~", "replace", before),
                OpKind::Remove => ("−", "remove", before),
            };
            let path = if change.path.is_empty() { "(the whole document)" } else { &change.path };
            Line {
                sign,
                op,
                path: Said::of(path),
                old: old.map(text),
                new: change.value.as_ref().map(text),
            }
        });
        let complete = difference.complete && difference.changes.len() <= MOST;
        Self::Changes(lines.collect(), complete)
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
