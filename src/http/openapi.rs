//! The document that describes the JSON API (`OpenAPI` 3.1), made from the operations and their types.
//!
//! Own code, because the libraries want other derives than `JsonSchema`, which all of our types have
//! already, and with them a second description of the custom resources.

use axum::http::StatusCode;
use schemars::{JsonSchema as _, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    api::{Operation, operations, stream},
    caller::COOKIE_NAME,
    name::Name,
    problem::{self, Problem},
};

/// One way in which a request is refused.
struct Refusal {
    status: StatusCode,
    name: &'static str,
    description: &'static str,
    /// A header that says more, and what it says.
    header: Option<(&'static str, &'static str)>,
    /// Can it meet whoever asks for this?
    meets: fn(&Operation) -> bool,
}

const AFTER: Option<(&str, &str)> = Some(("Retry-After", "After how many seconds to ask again"));
const HOW: Option<(&str, &str)> = Some(("WWW-Authenticate", "How to say who asks"));

impl Refusal {
    const fn of_all(status: StatusCode, name: &'static str, description: &'static str) -> Self {
        Self { status, name, description, header: None, meets: |_| true }
    }

    /// Where something is done.
    const fn of_acts(status: StatusCode, name: &'static str, description: &'static str) -> Self {
        Self {
            meets: |operation| operation.method == "post",
            ..Self::of_all(status, name, description)
        }
    }

    /// Where something is sent along.
    const fn of_bodies(status: StatusCode, name: &'static str, description: &'static str) -> Self {
        Self {
            meets: |operation| operation.body.is_some(),
            ..Self::of_all(status, name, description)
        }
    }
}

/// All of them.
const REFUSALS: [Refusal; 13] = [
    Refusal::of_all(
        StatusCode::BAD_REQUEST,
        "Invalid",
        "A parameter cannot be used, or the body cannot be read; the detail says which",
    ),
    Refusal {
        header: HOW,
        ..Refusal::of_all(StatusCode::UNAUTHORIZED, "Unauthorized", "The token is not accepted")
    },
    Refusal::of_all(StatusCode::FORBIDDEN, "Forbidden", "A right is missing; the detail names it"),
    Refusal::of_all(
        StatusCode::NOT_FOUND,
        "NotFound",
        "There is no such object, or it is not watched",
    ),
    Refusal::of_acts(
        StatusCode::CONFLICT,
        "Conflict",
        "The object has changed meanwhile; look at it and ask again",
    ),
    Refusal::of_bodies(
        StatusCode::PAYLOAD_TOO_LARGE,
        "TooLarge",
        "The body is longer than anybody needs",
    ),
    Refusal::of_all(
        StatusCode::URI_TOO_LONG,
        "TooLong",
        "The path and its query are longer than anybody needs",
    ),
    Refusal::of_bodies(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "NotJson",
        "The header Content-Type does not say that the body is JSON",
    ),
    Refusal::of_all(
        StatusCode::MISDIRECTED_REQUEST,
        "Misdirected",
        "Whoever brings no token asks by a name that the operator does not know as its own",
    ),
    Refusal::of_acts(
        StatusCode::UNPROCESSABLE_ENTITY,
        "Unusable",
        "What was sent can be read and not be used, or the API server does not take it; the detail says why",
    ),
    Refusal {
        header: AFTER,
        ..Refusal::of_all(
            StatusCode::TOO_MANY_REQUESTS,
            "TooMany",
            "One person, or one address, asks for too much; Retry-After says when to ask again",
        )
    },
    Refusal::of_all(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "HeadersTooLarge",
        "All headers together are longer than anybody needs",
    ),
    Refusal {
        header: AFTER,
        ..Refusal::of_all(
            StatusCode::SERVICE_UNAVAILABLE,
            "Unavailable",
            "Nobody can answer now; Retry-After says when to ask again, where that is known",
        )
    },
];

fn refusals(problem: &Schema) -> Map<String, Value> {
    let described = |refusal: &Refusal| {
        let content = json!({problem::MEDIA_TYPE: {"schema": problem}});
        let mut described = json!({"description": refusal.description, "content": content});
        if let Some((name, says)) = &refusal.header {
            let header = json!({"description": says, "schema": {"type": "string"}});
            described["headers"] = json!({*name: header});
        }
        (refusal.name.to_owned(), described)
    };
    REFUSALS.iter().map(described).collect()
}

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
    let responses = refusals(&generator.subschema_for::<Problem>());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Kintsugi",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the operator sees and does. Each operation needs a right of Kubernetes' own.",
        },
        "security": [{"token": []}, {"pass": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "pass": {
                    "type": "apiKey", "in": "cookie", "name": COOKIE_NAME,
                    "description": "What /login gives a browser for a token. With it only a page of ours does something: \
                                    the header Sec-Fetch-Site or Origin has to say so",
                },
            },
            "responses": responses,
            "schemas": generator.take_definitions(true),
        },
    })
}

fn described(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let answer = (operation.answer)(generator);
    let mut parameters = in_path(operation.path);
    parameters.extend(in_query((operation.query)(generator), generator));
    if operation.path == stream::PATH {
        parameters.push(json!({
            "name": stream::LAST_EVENT_ID.as_str(), "in": "header", "schema": {"type": "string"},
            "description": "Where to go on: the id of what was told last",
        }));
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "description": format!("Needs the right to {}.", operation.right),
        "parameters": parameters,
        "responses": {"200": {"description": "As asked for", "content": {stream::media_type(operation): {"schema": answer}}}},
    });
    for refusal in REFUSALS.iter().filter(|refusal| (refusal.meets)(operation)) {
        let at = format!("#/components/responses/{}", refusal.name);
        described["responses"][refusal.status.as_str()] = json!({"$ref": at});
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_said_to_refuse_only_what_it_looks_at() {
        let document = document();
        let has = |path: &str, method: &str, status: &str| {
            document["paths"][path][method]["responses"][status].is_object()
        };
        let at = "/api/v1/namespaces/{namespace}";
        let (heal, decision) =
            (format!("{at}/contracts/{{name}}/heal"), format!("{at}/incidents/{{name}}/decision"));
        for (path, method, of_bodies, unusable) in [
            ("/api/v1/health", "get", false, false),
            (&heal, "post", false, true),
            (&decision, "post", true, true),
        ] {
            for status in ["413", "415"] {
                assert_eq!(has(path, method, status), of_bodies, "{path} {status}");
            }
            for status in ["409", "422"] {
                assert_eq!(has(path, method, status), unusable, "{path} {status}");
            }
            for status in ["400", "401", "403", "404", "414", "421", "429", "431", "503"] {
                assert!(has(path, method, status), "{path} {status}");
            }
        }
    }
}
