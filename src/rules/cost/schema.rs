//! What a JSON Schema may cost.
//!
//! The validator's time is the number of (subschema, place) pairs that it evaluates. It remembers
//! the outcome of a recursive `$ref` at a place, so recursion through data is bounded by the
//! document; but it does not remember others, so two `$ref`s beside each other double the work at
//! every level. Measured with `jsonschema` 0.61: 20 such levels take 11 ms, 24 take 188 ms, and
//! each level doubles that. Compiling follows each chain of `$ref`s on the stack: 20,000 links
//! compile in 0.75 s, 100,000 not in 20 s.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use super::graph::{Counts, Graph, Step, Via, components};
use crate::domain::{Doubt, DoubtReason};

/// JSON values that a schema may have, itself included: some fifty times a large honest schema.
pub const MAX_VALUES: usize = 50_000;
/// Bytes of text in a schema: what a ConfigMap can hold.
pub const MAX_BYTES: usize = 1024 * 1024;
/// How deep a schema may nest: what a JSON parser reads by default.
pub const MAX_DEPTH: usize = 128;
/// How many `$ref`s may follow each other: compiling four times as many fits a stack of 2 MiB.
pub const MAX_REF_CHAIN: usize = 500;
/// How many subschemas may be evaluated at one place of a document: a union of two hundred forms
/// takes a few hundred; eleven levels of doubling take two thousand.
pub const MAX_EVALUATIONS: u64 = 2_000;
/// Steps that this gate itself may take: some tens of milliseconds.
const MAX_WORK: u64 = 500_000;
/// Bytes of one regular expression.
pub const MAX_PATTERN_BYTES: usize = 4_096;
/// Different regular expressions of a schema: each may take [`PATTERN_MEMORY`] when compiled.
pub const MAX_PATTERNS: usize = 250;
/// Bytes that one compiled regular expression may take. Repetitions of repetitions
/// (`(a{1000}){1000}`) grow past any length of text; Zod's pattern for host names, with `.{1,253}`,
/// takes more than a half of this.
pub const PATTERN_MEMORY: usize = 512 * 1024;

/// Checks the size of `schema`, before anything that walks it recursively.
///
/// # Errors
/// Names the limit that is passed.
pub fn check_size(schema: &Value) -> Result<(), Doubt> {
    let (mut values, mut bytes) = (0_usize, 0_usize);
    let mut open = vec![(schema, 0_usize)];
    while let Some((value, depth)) = open.pop() {
        values += 1;
        match value {
            Value::Object(map) => {
                bytes += map.keys().map(String::len).sum::<usize>();
                open.extend(map.values().map(|inner| (inner, depth + 1)));
            }
            Value::Array(list) => open.extend(list.iter().map(|inner| (inner, depth + 1))),
            Value::String(text) => bytes += text.len(),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        // Asked at each value, so that a huge schema is left at the limit and not at its end.
        if values + open.len() > MAX_VALUES {
            return Err(too_costly(&format!(
                "has more than {MAX_VALUES} values; split it, or leave out what no document needs"
            )));
        }
        if bytes > MAX_BYTES {
            return Err(too_costly(&format!(
                "has more than {MAX_BYTES} bytes of text; shorten its descriptions"
            )));
        }
        if depth > MAX_DEPTH {
            return Err(too_costly(&format!(
                "nests deeper than {MAX_DEPTH} levels; move inner parts into $defs"
            )));
        }
    }
    Ok(())
}

/// Checks what evaluating the schema of `graph` could cost.
///
/// # Errors
/// [`DoubtReason::SchemaTooCostly`] names the place and the limit; a `$ref` that leads back to
/// itself is [`DoubtReason::SchemaInvalid`]. (The validator would take it for one that always
/// holds; what its author meant by it, nobody knows.)
pub fn check(graph: &Graph<'_>) -> Result<(), Doubt> {
    check_patterns(graph)?;
    let ranks = ranks_in_place(graph)?;
    let (recursive, groups) = recursion(graph, |_| true);
    check_ref_chains(graph, &groups)?;
    let whole = Walk { graph, ranks: &ranks, capped: &recursive, with_alternatives: true };
    whole.check_from(0)?;
    // To say what is wrong with a document takes all objections and not only the first, and there
    // the validator remembers nothing. Objections inside alternatives are gathered one alternative
    // at a time, so only conjunctions multiply; and only in recursion, else `whole` found them.
    let (_, groups) = recursion(graph, |via| via == Via::Conjunct);
    let nothing = vec![false; graph.nodes.len()];
    let objecting = Walk { graph, ranks: &ranks, capped: &nothing, with_alternatives: false };
    groups
        .iter()
        .filter(|group| group.recursive)
        .filter_map(|group| group.members.first())
        .try_for_each(|start| objecting.check_from(*start))
}

/// The most objections that one value can meet with, those inside alternatives apart; without
/// bound where counting them takes too long.
#[must_use]
pub fn most_objections(graph: &Graph<'_>) -> usize {
    let Ok(ranks) = ranks_in_place(graph) else { return usize::MAX };
    let nothing = vec![false; graph.nodes.len()];
    let walk = Walk { graph, ranks: &ranks, capped: &nothing, with_alternatives: false };
    let alternatives = graph.nodes.iter().flat_map(|node| &node.in_place);
    let alternatives = alternatives.filter(|(via, _)| *via == Via::Alternative).map(|(_, to)| *to);
    let mut work = MAX_WORK;
    [0].into_iter()
        .chain(alternatives)
        .try_fold(0, |most, start| Ok::<_, Doubt>(walk.heaviest(start, &mut work)?.max(most)))
        .ok()
        .and_then(|most| usize::try_from(most).ok())
        .unwrap_or(usize::MAX)
}

fn check_patterns(graph: &Graph<'_>) -> Result<(), Doubt> {
    let mut different = HashSet::new();
    for node in &graph.nodes {
        let named = node.schema.get("patternProperties").and_then(Value::as_object);
        let named = named.into_iter().flat_map(|map| map.keys().map(String::as_str));
        for pattern in node.schema.get("pattern").and_then(Value::as_str).into_iter().chain(named) {
            different.insert(pattern);
            if pattern.len() > MAX_PATTERN_BYTES {
                return Err(too_costly(&format!(
                    "has a pattern at {:?} of {} bytes; at most {MAX_PATTERN_BYTES} are \
                     allowed: shorten it",
                    node.pointer,
                    pattern.len()
                )));
            }
        }
    }
    let count = different.len();
    if count > MAX_PATTERNS {
        return Err(too_costly(&format!(
            "has {count} different patterns; at most {MAX_PATTERNS} are allowed: reuse some"
        )));
    }
    Ok(())
}

/// Each subschema's position in an order in which whoever judges a place comes before whom it
/// asks about that same place.
fn ranks_in_place(graph: &Graph<'_>) -> Result<Vec<usize>, Doubt> {
    let asked = |node: usize| graph.nodes[node].in_place.iter().map(|(_, to)| *to).collect();
    let order = components(graph.nodes.len(), asked);
    let mut ranks = vec![0; graph.nodes.len()];
    for (rank, component) in order.iter().rev().enumerate() {
        let asks_itself = component.len() > 1
            || component
                .iter()
                .any(|node| graph.nodes[*node].in_place.iter().any(|(_, to)| to == node));
        if asks_itself {
            let place = component.iter().map(|node| &graph.nodes[*node].pointer).min();
            return Err(Doubt::new(
                DoubtReason::SchemaInvalid,
                &format!(
                    "spec.schema recurses without end: following $ref from {:?} leads back to it \
                     before any property or item; put the $ref under properties or items",
                    place.map_or("", String::as_str)
                ),
            ));
        }
        for node in component {
            ranks[*node] = rank;
        }
    }
    Ok(ranks)
}

/// Subschemas that lead back to each other, or one that leads to no one that leads back.
struct Group {
    members: Vec<usize>,
    recursive: bool,
}

/// Which subschemas recurse, and all groups, each after those that it leads to.
fn recursion(graph: &Graph<'_>, counts: impl Fn(Via) -> bool) -> (Vec<bool>, Vec<Group>) {
    let next = |node: usize| {
        let node = &graph.nodes[node];
        let here = node.in_place.iter().filter(|(via, _)| counts(*via)).map(|(_, to)| *to);
        here.chain(node.parts.iter().map(|(_, to)| *to)).collect::<Vec<usize>>()
    };
    let mut recurses = vec![false; graph.nodes.len()];
    let groups = components(graph.nodes.len(), next)
        .into_iter()
        .map(|members| {
            let recursive =
                members.len() > 1 || members.iter().any(|node| next(*node).contains(node));
            for node in &members {
                recurses[*node] = recursive;
            }
            Group { members, recursive }
        })
        .collect();
    (recurses, groups)
}

fn check_ref_chains(graph: &Graph<'_>, groups: &[Group]) -> Result<(), Doubt> {
    let mut length = vec![0_usize; graph.nodes.len()];
    for group in groups {
        let own = group.members.iter().filter(|node| graph.nodes[**node].is_ref_target).count();
        let beyond = group
            .members
            .iter()
            .flat_map(|node| {
                let node = &graph.nodes[*node];
                node.in_place.iter().map(|(_, to)| *to).chain(node.parts.iter().map(|(_, to)| *to))
            })
            .map(|to| length[to])
            .max()
            .unwrap_or(0);
        for node in &group.members {
            length[*node] = own + beyond;
        }
        if own + beyond > MAX_REF_CHAIN {
            let place = group.members.first().map_or("", |node| &graph.nodes[*node].pointer);
            return Err(too_costly(&format!(
                "has more than {MAX_REF_CHAIN} $refs one after the other, from {place:?} on; refer \
                 to the last one directly"
            )));
        }
    }
    Ok(())
}

/// Follows all documents down from the root, and counts the evaluations at each kind of place.
struct Walk<'a> {
    graph: &'a Graph<'a>,
    ranks: &'a [usize],
    /// Those that the validator evaluates once per place, since it remembers the outcome.
    capped: &'a [bool],
    with_alternatives: bool,
}

impl<'a> Walk<'a> {
    fn check_from(&self, start: usize) -> Result<(), Doubt> {
        let mut work = MAX_WORK;
        self.heaviest(start, &mut work).map(drop)
    }

    /// The most objections that the subschemas at one place can have together.
    fn heaviest(&self, start: usize, work: &mut u64) -> Result<u64, Doubt> {
        let mut most = 0;
        let mut seen = HashSet::new();
        let mut open = vec![(self.settled(&Counts::from([(start, 1)]), work)?, 0)];
        while let Some((place, depth)) = open.pop() {
            if depth >= MAX_DEPTH || seen.contains(&place) {
                continue;
            }
            let of_node = |(node, count): (&usize, &u64)| count.saturating_mul(self.own(*node));
            most = place.iter().map(of_node).fold(0, u64::saturating_add).max(most);
            for entered in self.parts_of(&place) {
                open.push((self.settled(&entered, work)?, depth + 1));
            }
            seen.insert(place);
        }
        Ok(most)
    }

    /// The most objections that one subschema can have by itself: one for each of its keywords, and
    /// for each name that it requires.
    fn own(&self, node: usize) -> u64 {
        let schema = self.graph.nodes[node].schema;
        let required = schema.get("required").and_then(Value::as_array).map_or(0, Vec::len);
        (schema.as_object().map_or(1, Map::len) + required) as u64
    }

    /// Who is evaluated at a place when `entered` are: they, and whom they ask about that place.
    fn settled(&self, entered: &Counts, work: &mut u64) -> Result<Counts, Doubt> {
        let mut waiting: BTreeMap<usize, (usize, u64)> =
            entered.iter().map(|(node, count)| (self.ranks[*node], (*node, *count))).collect();
        let mut settled = Counts::new();
        let mut total = 0_u64;
        while let Some((_, (node, count))) = waiting.pop_first() {
            let count = if self.capped[node] { count.min(1) } else { count };
            settled.insert(node, count);
            total = total.saturating_add(count);
            if total > MAX_EVALUATIONS {
                return Err(too_costly(&format!(
                    "fans out: at {:?} more than {MAX_EVALUATIONS} subschemas judge one and the \
                     same place of a document; refer to each definition once",
                    self.graph.nodes[node].pointer
                )));
            }
            *work = work.checked_sub(1).ok_or_else(|| {
                too_costly("combines its definitions in too many ways; refer to each only once")
            })?;
            let asked = count.saturating_mul(self.times_asked(node));
            for (via, to) in &self.graph.nodes[node].in_place {
                if self.with_alternatives || *via == Via::Conjunct {
                    let entry = waiting.entry(self.ranks[*to]).or_insert((*to, 0));
                    entry.1 = entry.1.saturating_add(asked);
                }
            }
        }
        Ok(settled)
    }

    /// `unevaluated…` asks all that stand beside it a second time.
    fn times_asked(&self, node: usize) -> u64 {
        let schema = self.graph.nodes[node].schema;
        let twice = ["unevaluatedProperties", "unevaluatedItems"];
        if twice.iter().any(|keyword| schema.get(keyword).is_some()) { 2 } else { 1 }
    }

    /// For each part that a value at `place` can have, who is entered there.
    fn parts_of(&self, place: &Counts) -> Vec<Counts> {
        let mut by_step: BTreeMap<Step<'a>, Counts> = BTreeMap::new();
        for (node, count) in place {
            for (step, to) in &self.graph.nodes[*node].parts {
                add(by_step.entry(*step).or_default(), *to, *count);
            }
        }
        let any_key = by_step.remove(&Step::AnyKey).unwrap_or_default();
        for (step, counts) in &mut by_step {
            if matches!(step, Step::Key(_)) {
                for (node, count) in &any_key {
                    add(counts, *node, *count);
                }
            }
        }
        by_step.into_values().chain((!any_key.is_empty()).then_some(any_key)).collect()
    }
}

fn add(counts: &mut Counts, node: usize, count: u64) {
    let entry = counts.entry(node).or_insert(0);
    *entry = entry.saturating_add(count);
}

fn too_costly(what: &str) -> Doubt {
    Doubt::new(DoubtReason::SchemaTooCostly, &format!("spec.schema {what}"))
}

#[cfg(test)]
mod tests;
