//! The documents of the benchmark: shop finders of about 1.9 KB, their schema, and the manifests
//! around them. Made from their number alone, so every run has the same ones.

use serde_json::{Value, json};

/// What they must be; `zodSchema` in `validate.mjs` says the same.
pub fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["title", "layout", "country", "updated", "stores"],
        "additionalProperties": false,
        "properties": {
            "title": {"type": "string", "minLength": 1, "maxLength": 60},
            "layout": {"enum": ["grid", "list"], "default": "grid"},
            "country": {"enum": ["gb", "de", "fr"]},
            "updated": {"type": "string", "format": "date-time"},
            "radius": {"type": "number", "exclusiveMinimum": 0, "maximum": 500},
            "stores": {"type": "array", "minItems": 1, "maxItems": 40, "items": {
                "type": "object",
                "required": ["id", "name", "position"],
                "additionalProperties": false,
                "properties": {
                    "id": {"type": "string", "pattern": "^[a-z]{2}-[0-9]{4}$"},
                    "name": {"type": "string", "minLength": 1, "maxLength": 40},
                    "phone": {"type": "string", "pattern": "^\\+[1-9][0-9]{6,14}$"},
                    "image": {"type": "string", "format": "uri"},
                    "position": {
                        "type": "object",
                        "required": ["lat", "lng"],
                        "additionalProperties": false,
                        "properties": {
                            "lat": {"type": "number", "minimum": -90, "maximum": 90},
                            "lng": {"type": "number", "minimum": -180, "maximum": 180},
                        },
                    },
                    "opens": {"type": "array", "maxItems": 7, "items": {
                        "type": "string", "pattern": "^[0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2}$",
                    }},
                    "tags": {"type": "array", "maxItems": 6, "items": {
                        "enum": ["atm", "parking", "repair", "returns", "step-free"],
                    }},
                },
            }},
        },
    })
}

/// A valid document.
pub fn document(number: usize) -> Value {
    let stores: Vec<Value> = (0..8).map(|at| store(number * 8 + at)).collect();
    let country = ["gb", "de", "fr"][number % 3];
    json!({
        "title": format!("Shops near you, page {number}"),
        "layout": "grid",
        "country": country,
        "updated": format!("2026-05-{:02}T10:00:00Z", number % 28 + 1),
        "radius": 12.5,
        "stores": stores,
    })
}

fn store(number: usize) -> Value {
    let towns = ["Aldgate", "Bank", "Camden", "Dalston", "Euston", "Fulham"];
    let number = number % 10_000;
    json!({
        "id": format!("gb-{number:04}"),
        "name": format!("{} {number}", towns[number % towns.len()]),
        "phone": format!("+44207{number:06}"),
        "image": format!("https://cdn.example.com/shops/{number:04}.png"),
        "position": {"lat": 51.5 + f64::from(u16::try_from(number).unwrap_or(0)) / 16384.0, "lng": -0.09},
        "opens": ["08:30-18:00", "10:00-16:00"],
        "tags": ["atm", "step-free"],
    })
}

/// The same with one thing wrong.
pub fn invalid(number: usize) -> Value {
    let mut document = document(number);
    match number % 6 {
        0 => document["layout"] = Value::Null,
        1 => document["stores"][0]["id"] = json!("GB-1"),
        2 => document["unknown"] = json!(1),
        3 => document["stores"][3]["position"]["lat"] = json!(91),
        4 => document["updated"] = json!("yesterday"),
        _ => document["stores"] = json!([]),
    }
    document
}

/// The class of all contracts here.
pub fn class() -> Value {
    json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "WidgetClass",
        "metadata": {"name": "storefinder"},
        "spec": {"schema": {"inline": schema()}},
    })
}

/// Repairs what has a default, at once, and lets the Incident end at once.
pub fn policy() -> Value {
    json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": {"name": "defaults"},
        "spec": {
            "default": true,
            "steps": [{"name": "defaults", "repairDocument": {"allow": ["SetDefault"]}}],
            "retry": {"minHealthyPeriod": "0s"},
            // Hundreds of heals in a few minutes, of nearly every contract there is.
            "storm": {"maxUnhealthy": "100%"},
            "budget": {"limit": 100_000},
        },
    })
}

/// A contract for document `number`.
pub fn contract(name: &str, number: usize) -> Value {
    json!({
        "apiVersion": "kintsugi.dev/v1alpha1", "kind": "WidgetContract",
        "metadata": {"name": name},
        "spec": {
            "widget": "storefinder",
            "classRef": {"name": "storefinder"},
            "document": {"inline": document(number)},
        },
    })
}
