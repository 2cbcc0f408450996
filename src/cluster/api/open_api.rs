//! The document of the API by the standard OpenAPI 3.1, made from the table of requests and the types of their bodies.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::cluster::access::Right;
use crate::cluster::api::answer::ErrorBody;
use crate::cluster::api::route::{Content, Route};

/// The document of these requests.
pub(super) fn document(routes: &[Route]) -> Value {
    // A field with a default may be missing in a request, but is never missing in an answer.
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
    };
    let mut requests = settings().for_deserialize().into_generator();
    let mut answers = settings().for_serialize().into_generator();
    let error = answers.subschema_for::<ErrorBody>();
    let error = json!({ "description": "An error.", "content": { "application/json": { "schema": error } } });
    let mut paths = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_lowercase()] = operation(route, &error, &mut requests, &mut answers);
    }
    let mut schemas = requests.take_definitions(true);
    schemas.append(&mut answers.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "squall nimbus",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Submits topologies to a cluster of squall, and has them do something.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of a user, if the nimbus has users.",
                },
            },
        },
    })
}

fn operation(
    route: &Route,
    error: &Value,
    requests: &mut SchemaGenerator,
    answers: &mut SchemaGenerator,
) -> Value {
    let mut operation = json!({ "operationId": route.id, "summary": route.summary });
    if let Some(needs) = needs(route.needs) {
        operation["description"] = needs.into();
        // An API without users takes requests without a token.
        operation["security"] = json!([{ "token": [] }, {}]);
    }
    let parameter =
        |name: &str| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
    let names = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = names.map(parameter).collect();
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = &route.body {
        operation["requestBody"] = json!({ "required": true, "content": in_document(body, requests) });
    }
    let mut responses = json!({ "default": error });
    for (status, description, content) in route.answers {
        let mut response = json!({ "description": description });
        if let Some(content) = content {
            response["content"] = in_document(content, answers);
        }
        responses[status.to_string()] = response;
    }
    operation["responses"] = responses;
    operation
}

fn in_document(content: &Content, generator: &mut SchemaGenerator) -> Value {
    match content {
        Content::Bytes => json!({ "application/octet-stream": {} }),
        Content::Json(schema) => json!({ "application/json": { "schema": schema(generator) } }),
    }
}

/// Who may ask, in words.
fn needs(right: Right) -> Option<&'static str> {
    Some(match right {
        Right::Nothing => return None,
        Right::BeUser => "Each user may ask.",
        Right::Submit => "Users with the role `submit`, and administrators, may ask.",
        Right::ReadBlobs => "Users with the role `host`, and administrators, may ask.",
        Right::Read => "The owner, the users and the readers of the topology, and administrators, may ask.",
        Right::Operate => "The owner and the users of the topology, and administrators, may ask.",
        Right::Own => "The owner of the topology, and administrators, may ask.",
        Right::Admin => "Administrators may ask.",
    })
}
