//! The static cost gate of schemas: refuses what would run for ever before it is compiled.
//!
//! A schema is read as a graph of subschemas. Two kinds of edges lead out of one: those that look
//! at the *same* value (`$ref`, `allOf`, `anyOf`, `oneOf`, `not`, `if`..) and those that look at a
//! *child* of it (`properties`, `items`..). What is refused, and why:
//!
//! | refused | since |
//! |---|---|
//! | more than 10,000 subschemas | 20,000 chained `$ref` take 0.75 s to compile, 100,000 over 20 s |
//! | a cycle of same-value edges | it never comes to an end, whatever the document |
//! | a chain of more than 200 same-value edges | each is a frame on the validator's stack |
//! | more than 10,000 same-value paths from one subschema | `allOf` of twice the same `$ref`, n levels deep, doubles with each level: 24 levels take 188 ms |
//! | more than 10,000 visits of one value of the document by rules that must all hold | the same through `properties`, where a recursion turns depth into doublings |
//!
//! A recursion through children is fine: the document's depth ends it. Branches of `anyOf` and
//! `oneOf` are not multiplied along children, since most end at once at a discriminator; what is
//! slow all the same meets the validation's deadline.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::domain::{Doubt, DoubtReason, patch::escape};

const MOST_NODES: usize = 10_000;
const LONGEST_CHAIN: u32 = 200;
const MOST_PATHS: u64 = 10_000;
/// Levels of the document that doublings are followed through: enough for any real product to
/// pass [`MOST_PATHS`].
const LEVELS: usize = 32;

/// One subschema.
#[derive(Debug, Default)]
struct Node {
    pointer: String,
    /// Subschemas that look at the same value; true where all of them must hold.
    same: Vec<(usize, bool)>,
    /// Subschemas that look at a child, by which child.
    children: Vec<(String, usize)>,
}

/// Refuses `schema` when it costs too much to compile or to run, or leads out of itself.
///
/// # Errors
/// A doubt that names the place.
pub fn gate(schema: &Value) -> Result<(), Doubt> {
    let graph = Graph::of(schema)?;
    let order = graph.order()?;
    graph.refuse_many_paths(&order)?;
    graph.refuse_many_visits(&order)
}

struct Graph {
    nodes: Vec<Node>,
}

impl Graph {
    fn of(schema: &Value) -> Result<Self, Doubt> {
        let mut reader = Reader::default();
        reader.read(schema, "")?;
        reader.resolve()
    }

    /// The nodes, each after those that its same-value edges lead to.
    fn order(&self) -> Result<Vec<usize>, Doubt> {
        let mut waiting: Vec<usize> = self.nodes.iter().map(|node| node.same.len()).collect();
        let mut sources: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (from, node) in self.nodes.iter().enumerate() {
            for (to, _) in &node.same {
                sources[*to].push(from);
            }
        }
        let mut chain = vec![0_u32; self.nodes.len()];
        let mut order: Vec<usize> = (0..self.nodes.len()).filter(|n| waiting[*n] == 0).collect();
        let mut at = 0;
        while at < order.len() {
            let node = order[at];
            at += 1;
            for source in &sources[node] {
                chain[*source] = chain[*source].max(chain[node] + 1);
                if chain[*source] > LONGEST_CHAIN {
                    let what = format!(
                        "a chain of more than {LONGEST_CHAIN} references and combinations starts here"
                    );
                    return Err(too_costly(&self.nodes[*source].pointer, &what));
                }
                waiting[*source] -= 1;
                if waiting[*source] == 0 {
                    order.push(*source);
                }
            }
        }
        match waiting.iter().position(|left| *left > 0) {
            Some(node) => Err(Doubt::new(
                DoubtReason::SchemaInvalid,
                &format!(
                    "schema at {}: it refers to itself without looking at a part of the document, \
                     so it never comes to an end; break the cycle of $ref",
                    place(&self.nodes[node].pointer)
                ),
            )),
            None => Ok(order),
        }
    }

    fn refuse_many_paths(&self, order: &[usize]) -> Result<(), Doubt> {
        let mut paths = vec![1_u64; self.nodes.len()];
        for node in order {
            for (to, _) in &self.nodes[*node].same {
                paths[*node] = paths[*node].saturating_add(paths[*to]);
            }
            if paths[*node] > MOST_PATHS {
                let what = format!("it checks one value along more than {MOST_PATHS} paths");
                return Err(too_costly(&self.nodes[*node].pointer, &what));
            }
        }
        Ok(())
    }

    fn refuse_many_visits(&self, order: &[usize]) -> Result<(), Doubt> {
        let mut visits = vec![1_u64; self.nodes.len()];
        for _ in 0..LEVELS {
            let mut by_child: Vec<BTreeMap<&str, u64>> = vec![BTreeMap::new(); self.nodes.len()];
            for node in order {
                let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
                for (child, to) in &self.nodes[*node].children {
                    let sum = sums.entry(child.as_str()).or_default();
                    *sum = sum.saturating_add(visits[*to]);
                }
                for (to, all_must_hold) in &self.nodes[*node].same {
                    for (child, more) in &by_child[*to] {
                        let sum = sums.entry(child).or_default();
                        *sum = if *all_must_hold {
                            sum.saturating_add(*more)
                        } else {
                            (*sum).max(*more)
                        };
                    }
                }
                by_child[*node] = sums;
            }
            for (node, sums) in by_child.iter().enumerate() {
                visits[node] = sums.values().copied().max().unwrap_or(1).max(1);
                if visits[node] > MOST_PATHS {
                    let what =
                        format!("it checks one part of a document more than {MOST_PATHS} times");
                    return Err(too_costly(&self.nodes[node].pointer, &what));
                }
            }
        }
        Ok(())
    }
}

/// Reads a schema into nodes whose references are still texts.
#[derive(Default)]
struct Reader {
    nodes: Vec<Node>,
    by_pointer: HashMap<String, usize>,
    /// `$anchor`, `$dynamicAnchor`, `$id` and draft 4's `id`, as references write them.
    by_name: HashMap<String, usize>,
    references: Vec<(usize, String)>,
}

/// Keywords whose value is one subschema that looks at the same value.
const SAME_ONE: [(&str, bool); 5] =
    [("not", false), ("if", true), ("then", true), ("else", true), ("$recursiveRef", true)];
/// Keywords whose value is a list of them.
const SAME_LIST: [(&str, bool); 3] = [("allOf", true), ("anyOf", false), ("oneOf", false)];
/// Keywords whose value maps names to them.
const SAME_MAP: [(&str, bool); 2] = [("dependentSchemas", true), ("dependencies", true)];
/// Keywords whose value is one subschema that looks at each child.
const CHILD_ONE: [&str; 8] = [
    "additionalProperties",
    "unevaluatedProperties",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "propertyNames",
    "items",
    "contentSchema",
];

impl Reader {
    fn read(&mut self, schema: &Value, pointer: &str) -> Result<usize, Doubt> {
        if self.nodes.len() >= MOST_NODES {
            return Err(too_costly("", &format!("it has more than {MOST_NODES} subschemas")));
        }
        let node = self.nodes.len();
        self.nodes.push(Node { pointer: pointer.to_owned(), ..Node::default() });
        self.by_pointer.insert(pointer.to_owned(), node);
        let Value::Object(map) = schema else { return Ok(node) };
        for (keyword, value) in map {
            let at = format!("{pointer}/{}", escape(keyword));
            match (keyword.as_str(), value) {
                ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                    self.references.push((node, reference.clone()));
                }
                ("$id" | "id", Value::String(id)) => {
                    self.by_name.insert(id.trim_end_matches('#').to_owned(), node);
                }
                ("$anchor" | "$dynamicAnchor", Value::String(anchor)) => {
                    self.by_name.insert(format!("#{anchor}"), node);
                }
                ("$defs" | "definitions", Value::Object(parts)) => {
                    for (name, part) in parts {
                        self.read(part, &format!("{at}/{}", escape(name)))?;
                    }
                }
                ("properties" | "patternProperties", Value::Object(parts)) => {
                    for (name, part) in parts {
                        let to = self.read(part, &format!("{at}/{}", escape(name)))?;
                        self.nodes[node].children.push((name.clone(), to));
                    }
                }
                ("prefixItems" | "items", Value::Array(parts)) => {
                    for (index, part) in parts.iter().enumerate() {
                        let to = self.read(part, &format!("{at}/{index}"))?;
                        self.nodes[node].children.push((index.to_string(), to));
                    }
                }
                (other, Value::Array(parts)) => {
                    if let Some((_, all)) = SAME_LIST.iter().find(|(known, _)| *known == other) {
                        for (index, part) in parts.iter().enumerate() {
                            let to = self.read(part, &format!("{at}/{index}"))?;
                            self.nodes[node].same.push((to, *all));
                        }
                    }
                }
                (other, Value::Object(parts)) => {
                    if let Some((_, all)) = SAME_ONE.iter().find(|(known, _)| *known == other) {
                        let to = self.read(value, &at)?;
                        self.nodes[node].same.push((to, *all));
                    } else if let Some((_, all)) =
                        SAME_MAP.iter().find(|(known, _)| *known == other)
                    {
                        for (name, part) in parts.iter().filter(|(_, part)| part.is_object()) {
                            let to = self.read(part, &format!("{at}/{}", escape(name)))?;
                            self.nodes[node].same.push((to, *all));
                        }
                    } else if CHILD_ONE.contains(&other) {
                        let to = self.read(value, &at)?;
                        self.nodes[node].children.push(("*".to_owned(), to));
                    }
                }
                _ => {}
            }
        }
        Ok(node)
    }

    fn resolve(mut self) -> Result<Graph, Doubt> {
        for (from, reference) in std::mem::take(&mut self.references) {
            let to = self.target(&reference);
            let inside = reference.is_empty() || reference.starts_with('#');
            match to {
                Some(to) => self.nodes[from].same.push((to, true)),
                // Somewhere inside that is no subschema by the keywords above: the compiler
                // judges it, and it cannot fan out.
                None if inside => {}
                None => {
                    return Err(Doubt::new(
                        DoubtReason::SchemaInvalid,
                        &format!(
                            "schema at {}: $ref {reference:?} leads out of the schema, and \
                             nothing is fetched for it; put that schema under $defs and refer to \
                             it there",
                            place(&self.nodes[from].pointer)
                        ),
                    ));
                }
            }
        }
        Ok(Graph { nodes: self.nodes })
    }

    fn target(&self, reference: &str) -> Option<usize> {
        if reference == "#" || reference.is_empty() {
            return Some(0);
        }
        if let Some(node) = self.by_name.get(reference) {
            return Some(*node);
        }
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let root = if base.is_empty() { 0 } else { *self.by_name.get(base)? };
        if fragment.is_empty() {
            return Some(root);
        }
        let decoded = percent_decoded(fragment);
        self.by_pointer
            .get(&format!("{}{decoded}", self.nodes[root].pointer))
            .or_else(|| self.by_name.get(&format!("#{fragment}")))
            .copied()
            // A base that is known but not this part of it: inside all the same.
            .or((!base.is_empty()).then_some(root))
    }
}

/// A URI fragment's `%XX`, as far as JSON Pointers need them.
fn percent_decoded(fragment: &str) -> String {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let decoded = (*first == b'%').then(|| fragment_byte(tail.get(..2)?)).flatten();
        if let Some(byte) = decoded {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn fragment_byte(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn too_costly(pointer: &str, what: &str) -> Doubt {
    Doubt::new(
        DoubtReason::SchemaTooCostly,
        &format!("schema at {}: {what}; simplify it", place(pointer)),
    )
}

fn place(pointer: &str) -> String {
    format!("{:?}", if pointer.is_empty() { "/" } else { pointer })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(schema: &Value) -> Option<DoubtReason> {
        gate(schema).err().map(|doubt| doubt.reason)
    }

    fn levels(count: usize, level: impl Fn(Value) -> Value) -> Value {
        let mut schema =
            json!({"$defs": {"d0": {"type": "object"}}, "$ref": format!("#/$defs/d{count}")});
        for n in 1..=count {
            let below = json!({"$ref": format!("#/$defs/d{}", n - 1)});
            schema["$defs"][format!("d{n}")] = level(below);
        }
        schema
    }

    #[test]
    fn a_schema_that_doubles_with_each_level_is_refused_before_it_runs() {
        let same = levels(30, |below| json!({"allOf": [below, below]}));
        assert_eq!(refused(&same), Some(DoubtReason::SchemaTooCostly));
        let either = levels(30, |below| json!({"anyOf": [below, below]}));
        assert_eq!(refused(&either), Some(DoubtReason::SchemaTooCostly));
        let child = levels(30, |below| json!({"properties": {"a": {"allOf": [below, below]}}}));
        assert_eq!(refused(&child), Some(DoubtReason::SchemaTooCostly));
        let recursive = json!({"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
        assert_eq!(refused(&recursive), Some(DoubtReason::SchemaTooCostly));
    }

    #[test]
    fn a_hundred_thousand_chained_references_are_refused() {
        assert_eq!(refused(&levels(100_000, |below| below)), Some(DoubtReason::SchemaTooCostly));
        assert_eq!(refused(&levels(300, |below| below)), Some(DoubtReason::SchemaTooCostly));
        assert_eq!(refused(&levels(100, |below| below)), None);
    }

    #[test]
    fn a_reference_to_itself_that_looks_at_no_part_is_refused() {
        for endless in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        ] {
            assert_eq!(refused(&endless), Some(DoubtReason::SchemaInvalid), "{endless}");
        }
    }

    #[test]
    fn recursion_in_the_data_is_fine() {
        let tree = json!({"$ref": "#/$defs/node", "$defs": {"node": {
            "type": "object", "properties": {"children": {"items": {"$ref": "#/$defs/node"}}}}}});
        assert_eq!(refused(&tree), None);
        let expression = json!({"$id": "https://example.com/e", "oneOf": [
            {"properties": {"op": {"const": "add"}, "left": {"$ref": "#"}, "right": {"$ref": "#"}}},
            {"properties": {"op": {"const": "mul"}, "left": {"$ref": "#"}, "right": {"$ref": "#"}}},
        ]});
        assert_eq!(refused(&expression), None);
    }

    #[test]
    fn a_reference_that_leads_out_is_named_with_the_fix() {
        for outside in ["https://example.com/s.json", "file:///etc/passwd", "other.json#/a"] {
            let schema = json!({"properties": {"a": {"$ref": outside}}});
            let doubt = gate(&schema).unwrap_err();
            assert_eq!(doubt.reason, DoubtReason::SchemaInvalid);
            assert!(
                doubt.message.contains(outside) && doubt.message.contains("$defs"),
                "{}",
                doubt.message
            );
            assert!(doubt.message.contains("/properties/a"), "{}", doubt.message);
        }
    }

    #[test]
    fn anchors_and_ids_inside_are_found() {
        let schema = json!({"$id": "https://example.com/root.json", "properties": {
            "a": {"$ref": "#part"}, "b": {"$ref": "https://example.com/root.json#/$defs/x"},
            "c": {"$ref": "https://example.com/inner.json"}, "d": {"$ref": "#/$defs/a~1b%20c"}},
            "$defs": {"x": {"$anchor": "part"}, "y": {"$id": "https://example.com/inner.json"}, "a/b c": {}}});
        assert_eq!(refused(&schema), None);
    }
}
