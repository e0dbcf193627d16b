use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::fields::Fields;
use super::{Caller, Endpoint, Reach};
use crate::rest::{openapi, table};

/// The command that writes the document anew.
const WRITE: &str = "cargo run --quiet -- openapi > docs/openapi.json";

fn document() -> Value {
    serde_json::from_str(openapi().unwrap()).unwrap()
}

fn name(endpoint: &Endpoint) -> String {
    format!("{} {}", endpoint.method, endpoint.path)
}

#[test]
fn document_in_docs_is_that_of_the_endpoints() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let made = openapi().unwrap();
    let differs = kept.lines().zip(made.lines()).position(|(kept, made)| kept != made);
    assert!(
        kept == made,
        "docs/openapi.json differs in line {:?}: run {WRITE}",
        differs.map(|n| n + 1)
    );
}

#[test]
fn endpoints_say_all_that_the_document_needs_and_none_stands_twice() {
    let mut seen = BTreeSet::new();
    for one in table() {
        let name = name(&one);
        assert!(!one.summary.is_empty() && !one.answers.is_empty(), "{name}");
        let (is_tenant, reach) = (one.path.contains("{tenant}"), one.caller.reach());
        assert!(
            !is_tenant || reach == Some(Reach::Path),
            "{name}: the account must be of the tenant"
        );
        let parameters: BTreeSet<_> =
            one.parameters.iter().map(|parameter| (parameter.place, parameter.name)).collect();
        assert_eq!(parameters.len(), one.parameters.len(), "{name}");
        assert!(seen.insert(name.clone()), "{name}");
    }
    assert!(seen.len() > 100, "{}", seen.len());
}

#[test]
fn references_of_the_document_resolve_and_every_schema_is_named() {
    let document = document();
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let known: BTreeSet<_> =
        schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
    // Named by words alone: the last line of an import.
    let by_words = ["#/components/schemas/ImportEnd".to_owned()];
    references.extend(by_words);
    assert_eq!(references, known);
}

fn collect(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            into.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| collect(value, into));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, into)),
        _ => {}
    }
}

/// The query of `/revoke/trl` is read by hand: RFC 9770 has parameters that are unknown ignored.
const READ_BY_HAND: &str = "GET /revoke/trl";

#[test]
fn parameters_of_the_query_are_those_that_the_handler_reads() {
    for one in table() {
        let named = one.parameters.iter().filter(|parameter| parameter.place == "query");
        // `attr` stands for many, which no type names.
        let named: BTreeSet<&str> =
            named.map(|one| one.name).filter(|name| *name != "attr").collect();
        match one.taken.query {
            Some(fields) => assert_eq!(named, of(fields), "{}", name(&one)),
            None if name(&one) == READ_BY_HAND => {}
            None => assert_eq!(named, BTreeSet::new(), "{}", name(&one)),
        }
    }
}

#[test]
fn members_of_a_body_are_those_that_the_handler_reads() {
    let document = document();
    let mut compared = 0;
    for one in table() {
        let name = name(&one);
        let content = one.body.as_ref().map_or(&[][..], |body| &body.content);
        let json = match content {
            [("application/json", Some(schema))] => Some(schema),
            _ => None,
        };
        let Some(fields) = one.taken.body else {
            // Devices speak several media types, and a reason may be left out.
            let is_optional = one.body.as_ref().is_some_and(|body| !body.is_required);
            assert!(json.is_none() || is_optional, "{name}: no handler reads this body");
            continue;
        };
        let schema = json.unwrap_or_else(|| panic!("{name}: the body is not told"));
        let at = schema["$ref"].as_str().unwrap().trim_start_matches('#');
        let told = document.pointer(at).unwrap();
        // A body of one of several forms has its members there.
        let forms = told["anyOf"].as_array().or(told["oneOf"].as_array()).into_iter().flatten();
        let members =
            std::iter::once(told).chain(forms).filter_map(|one| one["properties"].as_object());
        let members: BTreeSet<&str> = members.flatten().map(|(name, _)| name.as_str()).collect();
        assert_eq!(members, of(fields), "{name}");
        compared += 1;
    }
    assert!(compared > 20, "{compared}");
}

fn of(fields: Fields) -> BTreeSet<&'static str> {
    fields.unwrap_or_default().iter().copied().collect()
}

#[test]
fn roles_and_tenants_of_an_endpoint_are_those_that_its_handler_asks_for() {
    let of = |method: &str, path: &str| {
        let mut table = table().into_iter();
        table.find(|one| one.method == method && one.path == path).unwrap().caller
    };
    let account = |roles: &[crate::operators::OperatorRole], tenants| Caller::Account {
        roles: roles.to_vec(),
        tenants,
    };
    use crate::operators::OperatorRole::{Admin, Feed, Fleet, Security};
    assert_eq!(of("POST", "/v1/operators"), account(&[Admin], Reach::Among));
    assert_eq!(of("GET", "/revoke/trl"), account(&[Security, Feed], Reach::Among));
    assert_eq!(of("POST", "/v1/tenants"), account(&[Admin], Reach::Path));
    let path = "/v1/tenants/{tenant}/devices/{device}/revoke";
    assert_eq!(of("POST", path), account(&[Fleet, Security], Reach::Path));
    assert_eq!(of("POST", "/v1/enrol"), Caller::Any);
}
