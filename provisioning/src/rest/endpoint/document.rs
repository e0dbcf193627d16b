//! The OpenAPI document: made from the endpoints and the schemas.

use serde::Serialize;
use serde_json::ser::PrettyFormatter;
use serde_json::{json, Map, Serializer, Value};
use tessera_token::refusal::RefusalCode;

use super::{Answer, Caller, Content, Endpoint, Parameter, Reach};

/// The schemas, which the endpoints name.
const SCHEMAS: &str = include_str!("../schemas.json");

const ABOUT: &str = "Enrol, issue, refresh, revoke. Refusals are RFC 9457 problem details with a stable code; devices may \
speak application/ace+cbor (RFC 9200) instead. x-roles are the roles of an operator account, of which it needs one. x-tenants \
says which tenants an operator account must belong to. own: the tenant of the path; other tenants are answered like tenants \
that do not exist. among: the answer holds entries of the tenants of the account. all: the account belongs to all tenants. \
x-refusals are the codes with which a call is refused.";

/// The document as it is served and committed.
///
/// # Errors
/// The schemas are no JSON.
pub(crate) fn text(endpoints: &[Endpoint]) -> serde_json::Result<String> {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b" "));
    document(endpoints)?.serialize(&mut serializer)?;
    text.push(b'\n');
    String::from_utf8(text).map_err(serde::ser::Error::custom)
}

fn document(endpoints: &[Endpoint]) -> serde_json::Result<Value> {
    let mut paths = Map::new();
    for one in endpoints {
        let path = paths.entry(one.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(one.method.as_str().to_lowercase(), operation(one));
        }
    }
    let schemas: Value = serde_json::from_str(SCHEMAS)?;
    let about = "Opaque operator token, tsr_op_…";
    let operator = json!({ "type": "http", "scheme": "bearer", "description": about });
    Ok(json!({
        "openapi": "3.1.0",
        "info": { "title": "Tessera provisioning", "version": "1", "description": ABOUT },
        "security": [{ "operator": [] }],
        "paths": paths,
        "components": { "securitySchemes": { "operator": operator }, "schemas": schemas },
    }))
}

fn operation(endpoint: &Endpoint) -> Value {
    let mut told = Map::new();
    let mut tell = |name: &str, value: Value| told.insert(name.to_owned(), value);
    tell("summary", json!(endpoint.summary));
    tell("security", security(endpoint));
    if let Caller::Account { roles, tenants } = &endpoint.caller {
        let words: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        let needs = format!("Needs one of the roles: {}.", words.join(", "));
        let words_before = [endpoint.callers, needs.as_str()];
        let said: Vec<&str> = words_before.into_iter().filter(|said| !said.is_empty()).collect();
        tell("description", json!(said.join(" ")));
        tell("x-roles", json!(words));
        tell("x-tenants", json!(reach(*tenants, endpoint.path)));
    }
    if !endpoint.parameters.is_empty() {
        tell("parameters", endpoint.parameters.iter().map(parameter).collect());
    }
    if let Some(body) = &endpoint.body {
        let content = content(&body.content);
        tell("requestBody", json!({ "required": body.is_required, "content": content }));
    }
    let answers = endpoint.answers.iter().map(|one| (one.status.to_string(), answer(one)));
    let refused = ("default".to_owned(), answer(&endpoint.refused));
    tell("responses", answers.chain([refused]).collect::<Map<_, _>>().into());
    let mut codes: Vec<&str> = endpoint.refusals.iter().copied().map(RefusalCode::as_str).collect();
    codes.sort_unstable();
    tell("x-refusals", json!(codes));
    told.into()
}

fn security(endpoint: &Endpoint) -> Value {
    match (&endpoint.caller, endpoint.callers) {
        (Caller::Any, _) => json!([]),
        (Caller::Account { .. }, "") => json!([{ "operator": [] }]),
        (Caller::Account { .. }, _) => json!([{ "operator": [] }, {}]),
    }
}

fn reach(tenants: Reach, path: &str) -> &'static str {
    match tenants {
        Reach::Among => "among",
        Reach::Path if path.contains("{tenant}") => "own",
        Reach::Path => "all",
    }
}

fn parameter(one: &Parameter) -> Value {
    let Parameter { name, place, is_required, about, schema, more } = one;
    let mut told = Map::new();
    told.insert("name".to_owned(), json!(name));
    told.insert("in".to_owned(), json!(place));
    told.insert("required".to_owned(), json!(is_required));
    if !about.is_empty() {
        told.insert("description".to_owned(), json!(about));
    }
    told.insert("schema".to_owned(), schema.clone());
    told.extend(more.as_ref().and_then(Value::as_object).cloned().into_iter().flatten());
    told.into()
}

fn content(content: &[Content]) -> Value {
    let one = |(media, schema): &Content| {
        let told = schema.as_ref().map_or_else(|| json!({}), |schema| json!({ "schema": schema }));
        ((*media).to_owned(), told)
    };
    content.iter().map(one).collect::<Map<_, _>>().into()
}

fn answer(one: &Answer) -> Value {
    let mut told = Map::from_iter([("description".to_owned(), json!(one.about))]);
    if !one.content.is_empty() {
        told.insert("content".to_owned(), content(&one.content));
    }
    if one.has_etag {
        let about = "The revision of the record: If-Match of a change takes it";
        let etag = json!({ "description": about, "schema": { "type": "string" } });
        told.insert("headers".to_owned(), json!({ "ETag": etag }));
    }
    told.into()
}
