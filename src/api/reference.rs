//! The API reference, made from the CustomResourceDefinitions.

use std::fmt::Write as _;

use serde_json::Value;

use super::crd::all;

/// The API reference as Markdown: every field of every kind, with its type, bounds and meaning.
///
/// # Errors
/// See [`all`].
pub fn markdown() -> Result<String, serde_json::Error> {
    let mut text = String::from(
        "# API reference\n\nMade from the types by `make docs`; do not edit. All kinds are \
         namespaced, in group `kintsugi.dev`, version `v1alpha1`.\n",
    );
    for crd in all()? {
        let json = serde_json::to_value(&crd)?;
        let schema = &json["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let names = &crd.spec.names;
        let short = names.short_names.clone().unwrap_or_default().join(", ");
        let what = schema["description"].as_str().unwrap_or_default();
        let _ = write!(text, "\n## {} (`{short}`)\n\n{what}\n", names.kind);
        for part in ["spec", "status"] {
            let Some(schema) = schema["properties"].get(part) else { continue };
            let _ = write!(text, "\n### {part}\n\n| field | type | meaning |\n|---|---|---|\n");
            describe(schema, "", &mut text);
            let mut rules = Vec::new();
            collect_rules(schema, part, &mut rules);
            for rule in rules {
                let _ = write!(text, "\n- {rule}");
            }
            text.push('\n');
        }
    }
    Ok(text)
}

fn describe(schema: &Value, at: &str, text: &mut String) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        let needed = if required.iter().any(|r| r == name) { ", required" } else { "" };
        let meaning = property["description"].as_str().unwrap_or_default();
        let meaning = meaning.replace('|', "\\|").replace('\n', " ");
        let _ = writeln!(text, "| `{path}` | {}{needed} | {meaning} |", type_of(property));
        // What Kubernetes itself defines is described there.
        if name == "conditions" || name == "selector" {
            continue;
        }
        describe(property, &path, text);
        if let Some(items) = property.get("items") {
            describe(items, &format!("{path}[]"), text);
        }
    }
}

fn type_of(schema: &Value) -> String {
    let kind = schema["type"].as_str().unwrap_or("any");
    if let Some(members) = schema["enum"].as_array() {
        let members: Vec<&str> = members.iter().filter_map(Value::as_str).collect();
        return members.join(" \\| ");
    }
    let bound = |name: &str, word: &str| {
        // Bounds are whole numbers, which the schema may hold as floats.
        let limit = schema.get(name).and_then(Value::as_f64);
        limit.map(|limit| format!(", {word} {limit:.0}")).unwrap_or_default()
    };
    match kind {
        "string" => format!("string{}", bound("maxLength", "at most")),
        "array" => format!("list of {}{}", type_of(&schema["items"]), bound("maxItems", "at most")),
        "integer" => format!("integer{}{}", bound("minimum", "from"), bound("maximum", "to")),
        other => other.to_owned(),
    }
}

fn collect_rules(schema: &Value, at: &str, rules: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        if let Some(message) = rule["message"].as_str() {
            rules.push(format!("`{at}`: {message}"));
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        collect_rules(property, &format!("{at}.{name}"), rules);
    }
    if let Some(items) = schema.get("items") {
        collect_rules(items, &format!("{at}[]"), rules);
    }
}
