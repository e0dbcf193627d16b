//! The OpenAPI document of the agent: made from the table of calls and the schemas.

use serde::Serialize;
use serde_json::ser::PrettyFormatter;
use serde_json::{json, Map, Serializer, Value};

/// The schemas, which the calls name.
const SCHEMAS: &str = include_str!("schemas.json");

const ABOUT: &str = "Decides on MQTT credentials, publishes and subscriptions on a gateway, online or offline. The API \
listens on loopback, and on a Unix socket where --socket names one. It asks for no credential. Bodies are JSON or CBOR \
with the same members; in CBOR a byte string may stand for base64url text. An unknown member is refused.";

/// A question in a body, and its answer.
struct Question {
    path: &'static str,
    about: &'static str,
    body: &'static str,
    answer: &'static str,
    answered: &'static str,
}

const QUESTIONS: [Question; 6] = [
    Question {
        path: "/v1/validate",
        about: "Decide on one MQTT password. It is used up when the answer is allow",
        body: "Question",
        answer: "Answer",
        answered: "The decision; a refusal has this status too",
    },
    Question {
        path: "/v1/connect",
        about: "Decide on one MQTT password, and open a session for what follows on the connection",
        body: "Connect",
        answer: "Opened",
        answered: "The decision; a refusal has this status too",
    },
    Question {
        path: "/v1/publish",
        about: "Decide on a publish",
        body: "Publish",
        answer: "Verdict",
        answered: "The decision; a refusal has this status too",
    },
    Question {
        path: "/v1/subscribe",
        about: "Decide on a subscription",
        body: "Subscribe",
        answer: "Verdict",
        answered: "The decision; a refusal has this status too",
    },
    Question {
        path: "/v1/batch",
        about: "Decide on several connects, publishes and subscriptions",
        body: "Batch",
        answer: "Decisions",
        answered: "One answer for each question",
    },
    Question {
        path: "/v1/report",
        about: "Report what passed on the connections of sessions",
        body: "Reports",
        answer: "Noted",
        answered: "One answer for each report",
    },
];

/// Paths that are read, with their words, and the media type and schema of the answer.
const READS: [(&str, &str, &str, &str); 4] = [
    ("/healthz", "The process runs", "text/plain", "string"),
    ("/readyz", "The agent can decide; a second line is a warning", "text/plain", "string"),
    ("/metrics", "Metrics in the text format of Prometheus", "text/plain", "string"),
    ("/openapi.json", "This document", "application/json", "object"),
];

/// The document as it is served and committed.
///
/// # Errors
/// The schemas are no JSON.
pub fn text() -> serde_json::Result<String> {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b" "));
    document()?.serialize(&mut serializer)?;
    text.push(b'\n');
    String::from_utf8(text).map_err(serde::ser::Error::custom)
}

fn document() -> serde_json::Result<Value> {
    let mut paths = Map::new();
    for question in &QUESTIONS {
        paths.insert(question.path.to_owned(), json!({ "post": asked(question) }));
    }
    for (path, about, media, kind) in READS {
        paths.insert(path.to_owned(), json!({ "get": read(path, about, media, kind) }));
    }
    let schemas: Value = serde_json::from_str(SCHEMAS)?;
    let problem = json!({
        "description": "A problem detail of RFC 9457 with a stable refusal code",
        "content": { "application/problem+json": { "schema": named("Problem") } },
    });
    Ok(json!({
        "openapi": "3.1.0",
        "info": { "title": "Tessera agent", "version": "1", "description": ABOUT },
        "paths": paths,
        "components": { "responses": { "Problem": problem }, "schemas": schemas },
    }))
}

fn asked(question: &Question) -> Value {
    let mut responses = Map::new();
    let answer = json!({ "description": question.answered, "content": both(question.answer) });
    responses.insert("200".to_owned(), answer);
    for status in ["400", "408", "413", "415"] {
        responses.insert(status.to_owned(), json!({ "$ref": "#/components/responses/Problem" }));
    }
    json!({
        "operationId": name(question.path),
        "summary": question.about,
        "requestBody": { "required": true, "content": both(question.body) },
        "responses": responses,
    })
}

fn read(path: &str, about: &str, media: &str, kind: &str) -> Value {
    let mut content = Map::new();
    content.insert(media.to_owned(), json!({ "schema": { "type": kind } }));
    let mut responses = Map::new();
    responses.insert("200".to_owned(), json!({ "description": about, "content": content }));
    if path == "/readyz" {
        responses.insert("503".to_owned(), json!({ "$ref": "#/components/responses/Problem" }));
    }
    json!({ "operationId": name(path), "summary": about, "responses": responses })
}

/// The last part of a path.
fn name(path: &str) -> &str {
    let last = path.rsplit('/').next().unwrap_or(path);
    last.strip_suffix(".json").unwrap_or(last)
}

fn both(schema: &str) -> Value {
    json!({
        "application/json": { "schema": named(schema) },
        "application/cbor": { "schema": named(schema) },
    })
}

fn named(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}
