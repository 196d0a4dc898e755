//! The CustomResourceDefinitions, made from the Rust types.
//!
//! Three things are better said here once than on each type: «exactly one of», which people should
//! read as a sentence and not as «must validate one and only one schema»; formats that Kubernetes
//! does not know and would warn about; and that an Incident's spec is written once, whatever fields
//! it has.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::{Map, Value, json};

use super::{Incident, RemediationPolicy, WidgetClass, WidgetContract};

/// The fields of an Incident's spec that people change.
pub const FOR_PEOPLE: [&str; 3] = ["approval", "close", "undo"];

/// All CustomResourceDefinitions, in the order of their names.
///
/// # Errors
/// When a definition cannot be written as JSON: a fault of the types, shown by any test.
pub fn all() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    [Incident::crd(), RemediationPolicy::crd(), WidgetClass::crd(), WidgetContract::crd()]
        .into_iter()
        .map(|crd| {
            let mut json = serde_json::to_value(crd)?;
            tidy(&mut json);
            if json["spec"]["names"]["kind"] == "Incident" {
                write_once(&mut json);
            }
            serde_json::from_value(json)
        })
        .collect()
}

fn tidy(node: &mut Value) {
    match node {
        Value::Object(map) => {
            map.values_mut().for_each(tidy);
            known_formats_only(map);
            say_exactly_one_of(map);
            // Optional fields may be absent; storing an explicit null would be a third state. Where
            // any JSON may stand, null is a value, and CEL fails on one that is not expected.
            if map.contains_key("type") {
                map.remove("nullable");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Kubernetes knows `int32` and `int64`; `uint32` and the like come from Rust's types.
fn known_formats_only(map: &mut Map<String, Value>) {
    let Some(Value::String(format)) = map.get("format") else { return };
    match format.as_str() {
        "uint" | "uint8" | "uint16" | "uint32" | "int8" | "int16" => {
            map.insert("format".to_owned(), json!("int32"));
        }
        "uint64" => {
            map.insert("format".to_owned(), json!("int64"));
        }
        _ => {}
    }
}

/// Turns `oneOf: [{required: [a]}, {required: [b]}]`, which serde's enums become, into a rule
/// whose message names the fields.
fn say_exactly_one_of(map: &mut Map<String, Value>) {
    let Some(fields) = map.get("oneOf").and_then(Value::as_array).and_then(|branches| {
        branches.iter().map(sole_required_field).collect::<Option<Vec<String>>>()
    }) else {
        return;
    };
    map.remove("oneOf");
    let given: Vec<String> = fields.iter().map(|field| format!("has(self.{field})")).collect();
    let rule = json!({
        "rule": format!("[{}].exists_one(given, given)", given.join(", ")),
        "message": format!("exactly one of {} must be set", fields.join(", ")),
    });
    let rules = map.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
    if let Some(rules) = rules.as_array_mut() {
        rules.push(rule);
    }
}

fn sole_required_field(branch: &Value) -> Option<String> {
    let required = branch.get("required")?.as_array()?;
    match required.as_slice() {
        [Value::String(field)] => Some(field.clone()),
        _ => None,
    }
}

/// Makes every field of the spec immutable but those [`FOR_PEOPLE`]. On the parent and with `has()`: a
/// rule on a field is not asked when the field comes or goes.
fn write_once(crd: &mut Value) {
    let spec = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    let Some(spec) = spec.and_then(Value::as_object_mut) else { return };
    let fields = spec.get("properties").and_then(Value::as_object).into_iter().flatten();
    let same =
        fields.filter(|(field, _)| !FOR_PEOPLE.contains(&field.as_str())).map(|(field, _)| {
            format!(
                "(has(self.{field}) ? has(oldSelf.{field}) && self.{field} == oldSelf.{field} : \
             !has(oldSelf.{field}))"
            )
        });
    let but = FOR_PEOPLE.join(", ");
    let rule = json!({
        "rule": same.collect::<Vec<_>>().join(" && "),
        "message": format!("an Incident's spec is written once; only {but} may change"),
    });
    let of_one_or_many = json!({
        "rule": "has(self.contractName) != has(self.about)",
        "message": "exactly one of contractName, about must be set",
    });
    spec.insert("x-kubernetes-validations".to_owned(), json!([rule, of_one_or_many]));
}

/// The definitions as files: name and YAML.
///
/// # Errors
/// See [`all`].
pub fn files() -> anyhow::Result<Vec<(String, String)>> {
    all()?
        .into_iter()
        .map(|crd| {
            let name = format!("{}.yaml", crd.spec.names.plural);
            Ok((name, serde_saphyr::to_string(&crd)?))
        })
        .collect()
}
