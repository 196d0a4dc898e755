//! What of one document is the same thing in another.
//!
//! Members are the same by their name, elements of a list by an identity of their own, wherever
//! they stand. Without identities they are the same by index, but only while both lists have one
//! length and nothing shows that an element has moved.
//!
//! Knows: plain JSON. Must not know: which of the two documents is right.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    ptr,
    rc::Rc,
};

use serde_json::Value;

use super::place::{child, index};

/// Members that tell one element of a list from another, the surest first.
const IDENTITIES: [&str; 4] = ["id", "key", "name", "slug"];

/// What another document has for a place.
pub(super) enum Found<'a> {
    /// The same thing.
    There(&'a Value),
    /// What is around it, but not the thing.
    Absent,
    /// The two are not alike up to there, so that nothing corresponds.
    Unclear,
}

/// The lists that were compared so far: reading one through for each place in it would take time
/// that grows with its square.
#[derive(Default)]
pub(super) struct Twins<'a>(RefCell<HashMap<[*const Vec<Value>; 2], Rc<Lists<'a>>>>);

impl<'a> Twins<'a> {
    /// What `theirs` has for the place `path` of `ours`.
    pub(super) fn find(&self, ours: &'a Value, theirs: &'a Value, path: &[String]) -> Found<'a> {
        let Some((last, parents)) = path.split_last() else { return Found::There(theirs) };
        let (mut ours, mut theirs) = (ours, theirs);
        for token in parents {
            let below = match (ours, theirs) {
                (Value::Object(a), Value::Object(b)) => a.get(token).zip(b.get(token)),
                (Value::Array(a), Value::Array(b)) => match self.lists(a, b).twin(token) {
                    Twin::Same(twin) => child(ours, token).zip(Some(twin)),
                    Twin::Instead(_) | Twin::New | Twin::Unclear => None,
                },
                _ => None,
            };
            let Some(below) = below else { return Found::Unclear };
            (ours, theirs) = below;
        }
        match (ours, theirs) {
            (Value::Object(_), Value::Object(theirs)) => {
                theirs.get(last).map_or(Found::Absent, Found::There)
            }
            (Value::Array(a), Value::Array(b)) => match self.lists(a, b).twin(last) {
                Twin::Same(value) | Twin::Instead(value) => Found::There(value),
                Twin::New => Found::Absent,
                Twin::Unclear => Found::Unclear,
            },
            _ => Found::Unclear,
        }
    }

    fn lists(&self, ours: &'a Vec<Value>, theirs: &'a Vec<Value>) -> Rc<Lists<'a>> {
        let both = [ptr::from_ref(ours), ptr::from_ref(theirs)];
        let mut known = self.0.borrow_mut();
        Rc::clone(known.entry(both).or_insert_with(|| Rc::new(Lists::of(ours, theirs))))
    }
}

/// Two lists, compared.
struct Lists<'a> {
    ours: &'a [Value],
    theirs: &'a [Value],
    identities: Option<Identities<'a>>,
    /// One of our elements stands at another index of theirs.
    is_moved: bool,
}

struct Identities<'a> {
    member: &'static str,
    /// How many of our elements have each.
    ours: HashMap<String, usize>,
    theirs: HashMap<String, &'a Value>,
    /// Their elements that we do not have.
    gone: Vec<&'a Value>,
}

/// What another list has for an element.
enum Twin<'a> {
    /// The same element.
    Same(&'a Value),
    /// The one element that the edit took out when it put this one in.
    Instead(&'a Value),
    /// Nothing: the edit put the element in.
    New,
    /// That cannot be told.
    Unclear,
}

impl<'a> Lists<'a> {
    fn of(ours: &'a [Value], theirs: &'a [Value]) -> Self {
        let identities = Identities::of(ours, theirs);
        let is_moved = identities.is_none() && is_moved(ours, theirs);
        Self { ours, theirs, identities, is_moved }
    }

    fn twin(&self, token: &str) -> Twin<'a> {
        let Some((at, element)) = index(token).and_then(|at| Some((at, self.ours.get(at)?))) else {
            return Twin::Unclear;
        };
        let is_one_length = self.ours.len() == self.theirs.len();
        let Some(identities) = &self.identities else {
            let same = self.theirs.get(at).filter(|_| is_one_length && !self.is_moved);
            return same.map_or(Twin::Unclear, Twin::Same);
        };
        let own = id(element, identities.member);
        if let Some(own) = &own {
            if identities.ours.get(own).is_some_and(|count| *count > 1) {
                return Twin::Unclear;
            }
            if let Some(same) = identities.theirs.get(own) {
                return Twin::Same(same);
            }
        }
        match identities.gone.as_slice() {
            [one] if is_one_length => Twin::Instead(one),
            gone if own.is_some() || gone.is_empty() => Twin::New,
            _ => Twin::Unclear,
        }
    }
}

impl<'a> Identities<'a> {
    /// By the member that tells the elements of `theirs` apart (of `ours`, when there are none).
    fn of(ours: &'a [Value], theirs: &'a [Value]) -> Option<Self> {
        let list = if theirs.is_empty() { ours } else { theirs };
        let member = IDENTITIES.into_iter().find(|member| {
            let mut seen = HashSet::new();
            list.iter().all(|element| id(element, member).is_some_and(|id| seen.insert(id)))
        })?;
        let mut counts = HashMap::new();
        for own in ours.iter().filter_map(|element| id(element, member)) {
            *counts.entry(own).or_insert(0) += 1;
        }
        let known = |element: &'a Value| Some((id(element, member)?, element));
        let is_gone =
            |element: &&Value| id(element, member).is_some_and(|id| !counts.contains_key(&id));
        Some(Self {
            member,
            theirs: theirs.iter().filter_map(known).collect(),
            gone: theirs.iter().filter(is_gone).collect(),
            ours: counts,
        })
    }
}

fn is_moved(ours: &[Value], theirs: &[Value]) -> bool {
    let there: HashSet<String> = theirs.iter().map(Value::to_string).collect();
    ours.iter().zip(theirs).any(|(our, their)| our != their && there.contains(&our.to_string()))
}

/// What `member` of an element says, as JSON, so that the text "1" and the number 1 differ.
fn id(element: &Value, member: &str) -> Option<String> {
    element.get(member).filter(|id| id.is_string() || id.is_number()).map(Value::to_string)
}
