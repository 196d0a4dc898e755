//! A schema as a graph: its subschemas, and which of them judge the same place or a part of it.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use crate::domain::patch::escape;

/// The drafts of JSON Schema that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Draft {
    /// Draft 4.
    Draft4,
    /// Draft 6.
    Draft6,
    /// Draft 7.
    Draft7,
    /// Draft 2019-09.
    Draft201909,
    /// Draft 2020-12.
    Draft202012,
}

const DRAFTS: [(&str, Draft); 5] = [
    ("json-schema.org/draft-04/schema", Draft::Draft4),
    ("json-schema.org/draft-06/schema", Draft::Draft6),
    ("json-schema.org/draft-07/schema", Draft::Draft7),
    ("json-schema.org/draft/2019-09/schema", Draft::Draft201909),
    ("json-schema.org/draft/2020-12/schema", Draft::Draft202012),
];

impl Draft {
    /// The draft that `$schema` names; the newest when it names none.
    ///
    /// # Errors
    /// Says which drafts are known.
    pub fn of(schema: &Value) -> Result<Self, String> {
        let Some(named) = schema.get("$schema") else { return Ok(Self::Draft202012) };
        let text = named.as_str().unwrap_or_default();
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let bare = bare.unwrap_or(text).trim_end_matches('#');
        DRAFTS.iter().find(|(uri, _)| *uri == bare).map(|(_, draft)| *draft).ok_or_else(|| {
            format!(
                "$schema {named} is not known; use http://json-schema.org/draft-04/schema#, \
                 draft-06 or draft-07, or https://json-schema.org/draft/2019-09/schema or 2020-12"
            )
        })
    }

    /// Drafts 4 to 7 ignore everything next to `$ref`.
    fn ref_stands_alone(self) -> bool {
        self <= Self::Draft7
    }

    fn id_keyword(self) -> &'static str {
        if self == Self::Draft4 { "id" } else { "$id" }
    }
}

/// How a subschema that judges the same place takes part in the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// Its objections are ours: `$ref`, `allOf`, `then`.
    Conjunct,
    /// Only whether it holds matters: `anyOf`, `oneOf`, `not`, `if`.
    Alternative,
}

/// Which part of a value a subschema judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step<'a> {
    /// The property of that name.
    Key(&'a str),
    /// Any property.
    AnyKey,
    /// The names of the properties.
    Name,
    /// An item of an array.
    Item,
}

/// One subschema.
#[derive(Debug)]
pub struct Node<'a> {
    /// Its JSON Pointer.
    pub pointer: String,
    /// Itself.
    pub schema: &'a Value,
    pub(super) in_place: Vec<(Via, usize)>,
    pub(super) parts: Vec<(Step<'a>, usize)>,
    pub(super) is_ref_target: bool,
}

/// A schema's subschemas; the first is the whole schema.
#[derive(Debug)]
pub struct Graph<'a> {
    root: &'a Value,
    draft: Draft,
    anchors: HashMap<&'a str, String>,
    by_pointer: HashMap<String, usize>,
    /// All subschemas that a keyword or a `$ref` of the schema leads to.
    pub nodes: Vec<Node<'a>>,
}

impl<'a> Graph<'a> {
    /// The graph of `schema`, whose size and nesting were checked before.
    ///
    /// # Errors
    /// Names a `$ref` that leads out of the schema or nowhere, or another keyword that would make
    /// the meaning of a `$ref` depend on something else than its text.
    pub fn of(schema: &'a Value) -> Result<Self, String> {
        let draft = Draft::of(schema)?;
        let mut graph = Self {
            root: schema,
            draft,
            anchors: HashMap::new(),
            by_pointer: HashMap::new(),
            nodes: Vec::new(),
        };
        graph.node_at(String::new(), schema);
        graph.link_keywords(0)?;
        graph.link_refs()?;
        Ok(graph)
    }

    fn node_at(&mut self, pointer: String, schema: &'a Value) -> usize {
        if let Some(known) = self.by_pointer.get(&pointer) {
            return *known;
        }
        let index = self.nodes.len();
        self.by_pointer.insert(pointer.clone(), index);
        let (in_place, parts) = (Vec::new(), Vec::new());
        self.nodes.push(Node { pointer, schema, in_place, parts, is_ref_target: false });
        index
    }

    /// Links the subschemas that keywords hold, for all nodes from `first` on.
    fn link_keywords(&mut self, first: usize) -> Result<(), String> {
        let mut index = first;
        while index < self.nodes.len() {
            if let Value::Object(keywords) = self.nodes[index].schema {
                self.note_names(index, keywords)?;
                let alone = self.draft.ref_stands_alone() && keywords.contains_key("$ref");
                for (keyword, value) in keywords {
                    if !alone || matches!(keyword.as_str(), "$defs" | "definitions") {
                        self.link_keyword(index, keyword, value);
                    }
                }
            }
            index += 1;
        }
        Ok(())
    }

    /// Remembers anchors, and refuses what would rebase the `$ref`s below it.
    fn note_names(&mut self, index: usize, keywords: &'a Map<String, Value>) -> Result<(), String> {
        let pointer = self.nodes[index].pointer.clone();
        for refused in ["$dynamicRef", "$recursiveRef"] {
            if let Some(Value::String(target)) = keywords.get(refused) {
                return Err(format!(
                    "{refused} {target:?} at {pointer:?} is not supported; use $ref"
                ));
            }
        }
        if let Some(Value::String(anchor)) = keywords.get("$anchor") {
            self.anchors.insert(anchor, pointer.clone());
        }
        let id = self.draft.id_keyword();
        match keywords.get(id).and_then(Value::as_str) {
            Some(name) if name.starts_with('#') => {
                self.anchors.insert(&name[1..], pointer);
                Ok(())
            }
            Some(name) if index > 0 => Err(format!(
                "{id} {name:?} at {pointer:?} starts another schema inside this one; remove it \
                 and refer to its parts by #/…"
            )),
            _ => Ok(()),
        }
    }

    fn link_keyword(&mut self, from: usize, keyword: &str, value: &'a Value) {
        let base = format!("{}/{}", self.nodes[from].pointer, escape(keyword));
        for (place, name, schema) in held_by(keyword, value) {
            let pointer =
                name.map_or_else(|| base.clone(), |name| format!("{base}/{}", escape(&name)));
            let to = self.node_at(pointer, schema);
            match place {
                Place::Here(via) => self.nodes[from].in_place.push((via, to)),
                Place::Part(step) => self.nodes[from].parts.push((step, to)),
                Place::Nowhere => {}
            }
        }
    }

    fn link_refs(&mut self) -> Result<(), String> {
        let mut index = 0;
        while index < self.nodes.len() {
            if let Some(Value::String(reference)) = self.nodes[index].schema.get("$ref") {
                let (pointer, target) = self.resolve(reference).map_err(|why| {
                    format!("$ref {reference:?} at {:?} {why}", self.nodes[index].pointer)
                })?;
                let known = self.nodes.len();
                let to = self.node_at(pointer, target);
                // A target that no keyword holds (`#/components/…`) brings its own subschemas.
                self.link_keywords(known)?;
                self.nodes[to].is_ref_target = true;
                self.nodes[index].in_place.push((Via::Conjunct, to));
            }
            index += 1;
        }
        Ok(())
    }

    fn resolve(&self, reference: &str) -> Result<(String, &'a Value), String> {
        let own = self.root.get(self.draft.id_keyword()).and_then(Value::as_str).unwrap_or("");
        let own = own.strip_suffix('#').unwrap_or(own);
        let local = reference.strip_prefix(own).unwrap_or(reference);
        let fragment = match local.strip_prefix('#') {
            Some(fragment) => fragment,
            None if local.is_empty() => "",
            None => {
                return Err("leads out of the schema, and nothing is fetched; inline it under \
                            $defs and refer to #/$defs/…"
                    .to_owned());
            }
        };
        let decoded = percent_decoded(fragment);
        let pointer = if decoded.is_empty() || decoded.starts_with('/') {
            decoded
        } else {
            self.anchors.get(decoded.as_str()).cloned().ok_or("names no $anchor of the schema")?
        };
        let target = self.root.pointer(&pointer).ok_or("leads to nothing in the schema")?;
        Ok((pointer, target))
    }
}

enum Place<'a> {
    Here(Via),
    Part(Step<'a>),
    Nowhere,
}

/// The subschemas that `keyword` holds: where they apply, and their name or index under it.
fn held_by<'a>(keyword: &str, value: &'a Value) -> Vec<(Place<'a>, Option<String>, &'a Value)> {
    let one = |place: Place<'a>| vec![(place, None, value)];
    let all = |place: fn(&'a str) -> Place<'a>| match value {
        Value::Object(map) => {
            map.iter().map(|(name, schema)| (place(name), Some(name.clone()), schema)).collect()
        }
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, schema)| (place(""), Some(index.to_string()), schema))
            .collect(),
        _ => Vec::new(),
    };
    match keyword {
        "not" | "if" => one(Place::Here(Via::Alternative)),
        "then" | "else" => one(Place::Here(Via::Conjunct)),
        "anyOf" | "oneOf" => all(|_| Place::Here(Via::Alternative)),
        "allOf" | "dependentSchemas" | "dependencies" => all(|_| Place::Here(Via::Conjunct)),
        "properties" => all(|name| Place::Part(Step::Key(name))),
        "patternProperties" => all(|_| Place::Part(Step::AnyKey)),
        "additionalProperties" | "unevaluatedProperties" => one(Place::Part(Step::AnyKey)),
        "propertyNames" => one(Place::Part(Step::Name)),
        "items" if value.is_array() => all(|_| Place::Part(Step::Item)),
        "prefixItems" => all(|_| Place::Part(Step::Item)),
        "items" | "additionalItems" | "unevaluatedItems" | "contains" => {
            one(Place::Part(Step::Item))
        }
        "$defs" | "definitions" => all(|_| Place::Nowhere),
        _ => Vec::new(),
    }
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The strongly connected components of a graph, each after all that it leads to.
///
/// Tarjan's algorithm with its own stack: a schema of a long chain must not overflow ours.
pub(super) fn components(count: usize, next: impl Fn(usize) -> Vec<usize>) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let (mut order, mut low, mut on_path) =
        (vec![NEW; count], vec![NEW; count], vec![false; count]);
    let (mut path, mut found, mut clock) = (Vec::new(), Vec::new(), 0);
    for start in 0..count {
        if order[start] != NEW {
            continue;
        }
        let mut calls = vec![(start, next(start), 0)];
        while let Some((node, targets, done)) = calls.last_mut() {
            let node = *node;
            if *done == 0 && order[node] == NEW {
                (order[node], low[node], on_path[node]) = (clock, clock, true);
                clock += 1;
                path.push(node);
            }
            if let Some(&target) = targets.get(*done) {
                *done += 1;
                if order[target] == NEW {
                    calls.push((target, next(target), 0));
                } else if on_path[target] {
                    low[node] = low[node].min(order[target]);
                }
                continue;
            }
            calls.pop();
            if let Some((caller, ..)) = calls.last() {
                low[*caller] = low[*caller].min(low[node]);
            }
            if low[node] == order[node] {
                let at = path.iter().rposition(|on| *on == node).unwrap_or(0);
                let component = path.split_off(at);
                for member in &component {
                    on_path[*member] = false;
                }
                found.push(component);
            }
        }
    }
    found
}

/// Counts per subschema: how often each is evaluated at one place of a document.
pub(super) type Counts = BTreeMap<usize, u64>;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn components_come_after_all_that_they_lead_to() {
        // 0 -> 1 <-> 2 -> 3, 4 alone.
        let edges = [vec![1], vec![2], vec![1, 3], vec![], vec![]];
        let mut found = components(5, |node| edges[node].clone());
        for component in &mut found {
            component.sort_unstable();
        }
        assert_eq!(found, [vec![3], vec![1, 2], vec![0], vec![4]]);
    }

    #[test]
    fn a_chain_of_a_million_nodes_does_not_overflow_the_stack() {
        let found =
            components(1_000_000, |node| if node < 999_999 { vec![node + 1] } else { vec![] });
        assert_eq!(found.len(), 1_000_000);
    }

    #[test]
    fn refs_are_found_by_pointer_anchor_and_own_id() {
        let schema = json!({
            "$id": "https://example.com/root",
            "allOf": [
                {"$ref": "#/$defs/a%20b~1c"}, {"$ref": "#here"}, {"$ref": "https://example.com/root#"},
                {"$ref": "#/components/x"}
            ],
            "$defs": {"a b/c": {"$anchor": "here"}},
            "components": {"x": {"items": {"$ref": "#here"}}},
        });
        let graph = Graph::of(&schema).unwrap();
        let targets: Vec<&str> = graph
            .nodes
            .iter()
            .filter(|node| node.is_ref_target)
            .map(|node| node.pointer.as_str())
            .collect();
        assert_eq!(targets, ["", "/$defs/a b~1c", "/components/x"]);
    }

    #[test]
    fn a_ref_that_leads_out_is_refused_by_name_and_with_the_fix() {
        for (reference, expected) in [
            ("https://example.com/a.json", "inline it under $defs"),
            ("file:///etc/passwd", "inline it under $defs"),
            ("other.json#/a", "inline it under $defs"),
            ("http://json-schema.org/draft-07/schema#", "inline it under $defs"),
            ("#/$defs/none", "leads to nothing"),
            ("#none", "names no $anchor"),
        ] {
            let schema = json!({"properties": {"a": {"$ref": reference}}});
            let message = Graph::of(&schema).unwrap_err();
            assert!(message.contains(expected), "{message}");
            assert!(message.contains(reference) && message.contains("/properties/a"), "{message}");
        }
    }

    #[test]
    fn what_stands_beside_a_ref_counts_from_2019_on() {
        let schema = |draft: &str| {
            json!({"$schema": draft, "definitions": {"a": {}},
                   "items": {"$ref": "#/definitions/a", "allOf": [{"$ref": "other.json"}]}})
        };
        assert!(Graph::of(&schema("http://json-schema.org/draft-07/schema#")).is_ok());
        assert!(Graph::of(&schema("https://json-schema.org/draft/2019-09/schema")).is_err());
    }

    #[test]
    fn keywords_that_rebase_refs_are_refused() {
        for schema in [
            json!({"items": {"$dynamicRef": "#x"}}),
            json!({"$schema": "https://json-schema.org/draft/2019-09/schema", "$recursiveRef": "#"}),
            json!({"$defs": {"a": {"$id": "https://example.com/a"}}}),
        ] {
            assert!(Graph::of(&schema).is_err(), "{schema}");
        }
        // A property that happens to be called $id is no keyword.
        assert!(Graph::of(&json!({"properties": {"$id": {"type": "string"}}})).is_ok());
    }
}
