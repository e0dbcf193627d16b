//! Schemas of parameters, and the contents of bodies and answers by the names of their schemas.

use serde_json::{json, Value};
use tessera_runtime::http::NDJSON;

use super::Content;

/// The pattern of the ids of devices, groups, roles and accounts.
pub(crate) const ID: &str = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$";

const TENANT: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$";
const TENANT_WORDS: &str = "Tenant id, never reused";

/// A schema of the document.
pub(crate) fn of(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// JSON of this schema.
pub(crate) fn json_of(name: &str) -> Content {
    typed("application/json", name)
}

/// Lines of this schema.
pub(crate) fn lines_of(name: &str) -> Content {
    typed(NDJSON, name)
}

/// A media type with the members of this schema.
pub(crate) fn typed(media: &'static str, name: &str) -> Content {
    (media, Some(of(name)))
}

/// A media type whose schema the document does not tell.
pub(crate) fn plain(media: &'static str) -> Content {
    (media, None)
}

/// CBOR by the names of RFC 9200.
pub(crate) fn cbor() -> Content {
    plain("application/ace+cbor")
}

/// JSON of this schema, or CBOR.
pub(crate) fn either(name: &str) -> Vec<Content> {
    vec![json_of(name), cbor()]
}

/// Any text.
pub(crate) fn text() -> Value {
    json!({ "type": "string" })
}

/// A text of this form.
pub(crate) fn pattern(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

/// The same, with words.
pub(crate) fn told(pattern: &str, about: &str) -> Value {
    json!({ "type": "string", "pattern": pattern, "description": about })
}

/// One of these words.
pub(crate) fn words(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

/// An id of a device, a group, a role or an account.
pub(crate) fn id() -> Value {
    pattern(ID)
}

/// An id of a tenant.
pub(crate) fn tenant() -> Value {
    told(TENANT, TENANT_WORDS)
}

/// The same; this one when it is left out.
pub(crate) fn tenant_or(default: &str) -> Value {
    json!({ "type": "string", "pattern": TENANT, "description": TENANT_WORDS, "default": default })
}

/// Off unless it is asked for.
pub(crate) fn flag() -> Value {
    json!({ "type": "boolean", "default": false })
}

/// A number from 0 on.
pub(crate) fn number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

/// A number from 0 to this one.
pub(crate) fn at_most(most: u64) -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": most })
}

/// The same; 0 when it is left out.
pub(crate) fn from_zero(most: u64) -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": most, "default": 0 })
}

/// A number from 1 to this one; 1 when it is left out.
pub(crate) fn from_one(most: u64) -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": most, "default": 1 })
}

/// The rows of a page.
pub(crate) fn rows(most: usize, some: usize) -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": most, "default": some })
}
