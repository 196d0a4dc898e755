//! Paths (RFC 9535) behind a cost gate, and where in a document it leads.
//!
//! The parser and the evaluator have no budget of their own: nested filters are parsed twice per
//! level, lists of selectors multiply what they select, and each `..` after the first visits a
//! value once per ancestor. So a path's text bounds what it may do before it is parsed, and the
//! document's size and depth bound it again before it runs.
//!
//! `match()` and `search()` are not offered: their pattern would be compiled anew for every value.

use std::{collections::HashSet, fmt::Write as _, ptr};

use serde_json::Value;
use serde_json_path::JsonPath;

use crate::domain::{Doubt, DoubtReason, patch::escape};

/// Deepest nesting of brackets and parentheses in a path.
const MAX_NESTING: usize = 6;
/// Most filters (`?`) in a path.
const MAX_FILTERS: usize = 3;
/// Most visits of a value that a path may cost on one document.
const MAX_VISITS: u64 = 4_000_000;

/// A compiled path and what its text says about its cost.
#[derive(Clone, Debug)]
pub(super) struct Path {
    query: JsonPath,
    shape: Shape,
}

/// What bounds the cost of a path, counted outside its string literals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shape {
    nesting: usize,
    filters: usize,
    roots: usize,
    descents: u32,
    /// The product of the lengths of all lists of selectors.
    branches: u64,
}

/// One value that the paths select.
pub(super) struct Selected<'a> {
    /// JSON Pointer.
    pub(super) pointer: String,
    pub(super) value: &'a Value,
}

impl Path {
    /// Compiles `paths[index]`.
    pub(super) fn compile(index: usize, text: &str) -> Result<Self, Doubt> {
        let shape = Shape::of(text);
        if let Some(limit) = shape.broken_limit() {
            return Err(invalid(&format!("asset.paths[{index}] {limit}")));
        }
        let query = JsonPath::parse(text).map_err(|error| {
            invalid(&format!(
                "asset.paths[{index}] is not a JSONPath (RFC 9535): {} at position {}; write it \
                 like $..image.src",
                error.message(),
                error.position()
            ))
        })?;
        Ok(Self { query, shape })
    }
}

/// The values that `paths` select, each once and in the document's order, and a doubt for each
/// path that selects nothing or costs too much.
pub(super) fn select<'a>(paths: &[Path], document: &'a Value) -> (Vec<Selected<'a>>, Vec<Doubt>) {
    let (values, depth) = measure(document);
    let mut doubts = Vec::new();
    // The evaluator's own locations cost one allocation per ancestor of every match; the address
    // of a value within the document says as much.
    let mut wanted: HashSet<*const Value> = HashSet::new();
    for (index, path) in paths.iter().enumerate() {
        if path.shape.visits(values, depth) > MAX_VISITS {
            doubts.push(invalid(&format!(
                "asset.paths[{index}] is too costly for a document of {values} values; use fewer \
                 .. and shorter lists of selectors"
            )));
            continue;
        }
        let matched = path.query.query(document);
        if matched.is_empty() {
            doubts.push(invalid(&format!(
                "asset.paths[{index}] matched nothing in the document; correct the path, or drop \
                 it if the document need not have such a place"
            )));
        }
        wanted.extend(matched.iter().map(|value| ptr::from_ref(*value)));
    }
    let mut selected = Vec::with_capacity(wanted.len());
    if !wanted.is_empty() {
        locate(document, &mut String::new(), &wanted, &mut selected);
    }
    (selected, doubts)
}

fn locate<'a>(
    value: &'a Value,
    pointer: &mut String,
    wanted: &HashSet<*const Value>,
    selected: &mut Vec<Selected<'a>>,
) {
    if wanted.contains(&ptr::from_ref(value)) {
        selected.push(Selected { pointer: pointer.clone(), value });
    }
    let length = pointer.len();
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let _ = write!(pointer, "/{index}");
                locate(item, pointer, wanted, selected);
                pointer.truncate(length);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                pointer.push('/');
                pointer.push_str(&escape(key));
                locate(member, pointer, wanted, selected);
                pointer.truncate(length);
            }
        }
        _ => {}
    }
}

/// How many values a document has, and how deep the deepest lies.
fn measure(value: &Value) -> (u64, u64) {
    let children: (u64, u64) = match value {
        Value::Array(items) => items.iter().map(measure).fold((0, 0), sum_and_deepest),
        Value::Object(members) => members.values().map(measure).fold((0, 0), sum_and_deepest),
        _ => (0, 0),
    };
    (children.0 + 1, children.1 + 1)
}

fn sum_and_deepest(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    (a.0 + b.0, a.1.max(b.1))
}

impl Shape {
    fn of(text: &str) -> Self {
        let mut shape = Self { branches: 1, ..Self::default() };
        let mut open: Vec<u64> = Vec::new();
        let mut quote = None;
        let mut previous = ' ';
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match (quote, c) {
                (Some(_), '\\') => {
                    chars.next();
                }
                (Some(q), c) if c == q => quote = None,
                (None, '\'' | '"') => quote = Some(c),
                (None, '[' | '(') => {
                    open.push(1);
                    shape.nesting = shape.nesting.max(open.len());
                }
                (None, ']' | ')') => {
                    shape.branches = shape.branches.saturating_mul(open.pop().unwrap_or(1));
                }
                (None, ',') => {
                    if let Some(selectors) = open.last_mut() {
                        *selectors += 1;
                    }
                }
                (None, '?') => shape.filters += 1,
                (None, '$') => shape.roots += 1,
                (None, '.') if previous == '.' => shape.descents += 1,
                _ => {}
            }
            previous = c;
        }
        shape
    }

    /// The limit that a path of this shape breaks on every document.
    fn broken_limit(&self) -> Option<String> {
        if self.nesting > MAX_NESTING {
            Some(format!("nests brackets deeper than {MAX_NESTING} levels; write a flatter path"))
        } else if self.filters > MAX_FILTERS {
            Some(format!("has more than {MAX_FILTERS} filters; split it into several paths"))
        } else if self.roots > 1 {
            // A filter that starts at the root reads the whole document once per value.
            Some("uses $ inside a filter; use @ there".to_owned())
        } else {
            None
        }
    }

    /// An upper bound on the visits of a value in a document of that many values and that depth.
    fn visits(&self, values: u64, depth: u64) -> u64 {
        let per_ancestor = depth.saturating_pow(self.descents.saturating_sub(1));
        values.saturating_mul(self.branches).saturating_mul(per_ancestor)
    }
}

fn invalid(message: &str) -> Doubt {
    Doubt::new(DoubtReason::RuleInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointers(paths: &[&str], document: &Value) -> (Vec<String>, Vec<Doubt>) {
        let paths: Vec<_> =
            paths.iter().enumerate().map(|(i, text)| Path::compile(i, text).unwrap()).collect();
        let (selected, doubts) = select(&paths, document);
        (selected.into_iter().map(|s| s.pointer).collect(), doubts)
    }

    #[test]
    fn each_place_is_found_once_and_named_by_its_pointer() {
        let document = json!({"a/b": {"src": "x"}, "m~n": [{"src": "x"}, {"src": "y"}]});
        let (found, doubts) = pointers(&["$..src", "$['m~n'][0,0].src"], &document);
        assert_eq!(found, ["/a~1b/src", "/m~0n/0/src", "/m~0n/1/src"]);
        assert!(doubts.is_empty());
    }

    #[test]
    fn a_path_that_matches_nothing_is_named_with_the_fix() {
        let (found, doubts) = pointers(&["$.a", "$.b"], &json!({"a": "x"}));
        assert_eq!(found, ["/a"]);
        assert_eq!(doubts.len(), 1);
        assert_eq!(doubts[0].reason, DoubtReason::RuleInvalid);
        assert!(doubts[0].message.contains("paths[1] matched nothing"), "{}", doubts[0].message);
    }

    #[test]
    fn a_bad_path_is_named_with_the_position_and_the_fix() {
        let doubt = Path::compile(2, "$.a[").unwrap_err();
        assert!(doubt.message.contains("asset.paths[2]"), "{}", doubt.message);
        assert!(doubt.message.contains("$..image.src"), "{}", doubt.message);
    }

    #[test]
    fn paths_that_would_blow_up_are_refused_before_they_are_parsed() {
        let nested = format!("${}@{}", "[?@".repeat(100), "]".repeat(100));
        for (path, limit) in [
            (nested.as_str(), "nests"),
            ("$[?@.a][?@.b][?@.c][?@.d]", "filters"),
            ("$..[?$..x]", "$ inside a filter"),
            (&format!("$[?{}@.a{}]", "(".repeat(200), ")".repeat(200)), "nests"),
        ] {
            let doubt = Path::compile(0, path).unwrap_err();
            assert!(doubt.message.contains(limit), "{path}: {}", doubt.message);
        }
    }

    #[test]
    fn marks_inside_string_literals_do_not_count() {
        let shape = Shape::of(r#"$['a..b','$?\'[',"]"].c"#);
        assert_eq!(shape, Shape { nesting: 1, filters: 0, roots: 1, descents: 0, branches: 3 });
    }

    #[test]
    fn a_path_that_multiplies_is_refused_on_the_document_where_it_would() {
        let mut document = json!({"src": "x"});
        for _ in 0..60 {
            document = json!({ "a": document });
        }
        let (found, doubts) = pointers(&[&format!("${}", "['a','a']".repeat(50))], &document);
        assert!(found.is_empty() && doubts[0].message.contains("too costly"), "{doubts:?}");
        let (found, doubts) = pointers(&["$..a..a..src"], &document);
        assert!(found.len() == 1 && doubts.is_empty(), "{doubts:?}");
    }
}
