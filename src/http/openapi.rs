//! The document that describes the JSON API (`OpenAPI` 3.1), made from the operations and their types.
//!
//! Own code, because the libraries want other derives than `JsonSchema`, which all of our types have
//! already, and with them a second description of the custom resources.

use schemars::{JsonSchema as _, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    api::{Operation, operations, stream},
    name::Name,
    problem::{self, Problem},
};

/// The document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for operation in operations() {
        let at = paths.entry(operation.path).or_insert_with(|| json!({}));
        at[operation.method] = described(operation, &mut generator);
    }
    let problem = generator.subschema_for::<Problem>();
    let refusal = |description: &str| json!({"description": description, "content": {problem::MEDIA_TYPE: {"schema": problem}}});
    let responses = json!({
        "Invalid": refusal("A parameter cannot be used; the detail names it"),
        "Unauthorized": refusal("The token is not accepted"),
        "Forbidden": refusal("A right is missing; the detail names it"),
        "NotFound": refusal("There is no such object"),
        "Misdirected": refusal("Whoever brings no token asks by a name that the operator does not know as its own"),
        "TooMany": refusal("One person, or one address, asks for too much; Retry-After says when to ask again"),
        "Unavailable": refusal("Nobody can answer now; Retry-After says when to ask again"),
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Kintsugi",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the operator sees and does. Each operation needs a right of Kubernetes' own.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": responses,
            "schemas": generator.take_definitions(true),
        },
    })
}

fn described(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let answer = (operation.answer)(generator);
    let mut parameters = in_path(operation.path);
    parameters.extend(in_query((operation.query)(generator), generator));
    let refused = |name: &str| json!({"$ref": format!("#/components/responses/{name}")});
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "description": format!("Needs the right to {}.", operation.right),
        "parameters": parameters,
        "responses": {
            "200": {"description": "As asked for", "content": {stream::media_type(operation): {"schema": answer}}},
            "400": refused("Invalid"),
            "401": refused("Unauthorized"),
            "403": refused("Forbidden"),
            "404": refused("NotFound"),
            "421": refused("Misdirected"),
            "429": refused("TooMany"),
            "503": refused("Unavailable"),
        },
    });
    if let Some(body) = operation.body {
        let content = json!({"application/json": {"schema": body(generator)}});
        described["requestBody"] = json!({"required": true, "content": content});
    }
    described
}

fn in_path(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let schema = Name::json_schema(&mut SchemaGenerator::default());
    let schema_of = |name: &str| match name {
        "number" => json!({"type": "integer", "minimum": 1, "maximum": u32::MAX}),
        _ => json!(schema),
    };
    names
        .map(
            |name| json!({"name": name, "in": "path", "required": true, "schema": schema_of(name)}),
        )
        .collect()
}

/// Each property of a query's schema is a parameter.
fn in_query(query: Schema, generator: &SchemaGenerator) -> Vec<Value> {
    let query = query.to_value();
    let name = query["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
    let query = name.and_then(|name| generator.definitions().get(name)).unwrap_or(&query);
    let properties = query["properties"].as_object().into_iter().flatten();
    let parameter = |(name, schema): (&String, &Value)| json!({"name": name, "in": "query", "description": schema["description"], "schema": schema});
    properties.map(parameter).collect()
}
