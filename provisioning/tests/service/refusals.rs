//! The codes of refusals against the document: every refusal of every test of this folder must be one that its endpoint
//! names. With `TESSERA_REFUSALS_UNSEEN=FILE` a run of all tests writes the codes that are named and were not seen.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::LazyLock;

use parking_lot::Mutex;
use serde_json::{json, Value};
use tessera_runtime::http::{Method, Request, JSON};
use tessera_token::encoding::base64url;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::world::{problem, Forced, World};

const TARGET: &str = "tessera_provisioning::rest::measure";

/// Method, path and code.
type Refusal = (String, String, String);

/// The refusals that the document names.
static NAMED: LazyLock<BTreeSet<Refusal>> = LazyLock::new(|| {
    let document: Value = serde_json::from_str(tessera_provisioning::openapi().unwrap()).unwrap();
    let mut named = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for code in operation["x-refusals"].as_array().unwrap() {
                let code = code.as_str().unwrap().to_owned();
                named.insert((method.to_uppercase(), path.clone(), code));
            }
        }
    }
    named
});

static SEEN: Mutex<BTreeSet<Refusal>> = Mutex::new(BTreeSet::new());

/// Those of which a test has failed already.
static TOLD: Mutex<BTreeSet<Refusal>> = Mutex::new(BTreeSet::new());

static LISTENS: LazyLock<()> = LazyLock::new(|| {
    tracing::subscriber::set_global_default(Listener).expect("no test listens to the log itself");
});

/// Notes refusals from now on.
pub fn listen() {
    LazyLock::force(&LISTENS);
}

/// Fails when a refusal was seen that its endpoint does not name.
pub fn check() {
    let seen = SEEN.lock();
    if let Some(file) = std::env::var_os("TESSERA_REFUSALS_UNSEEN") {
        let unseen =
            NAMED.difference(&seen).map(|(method, path, code)| format!("{method} {path} {code}\n"));
        std::fs::write(file, unseen.collect::<String>()).unwrap();
    }
    // A method that a path does not have is none of an endpoint, and is refused for a secret in the URL too.
    let is_there =
        |one: &&Refusal| NAMED.iter().any(|named| (&named.0, &named.1) == (&one.0, &one.1));
    let mut told = TOLD.lock();
    let unnamed: Vec<_> = seen.difference(&NAMED).filter(is_there).cloned().collect();
    let unnamed: Vec<_> = unnamed.into_iter().filter(|one| told.insert(one.clone())).collect();
    drop((seen, told));
    assert!(unnamed.is_empty(), "refusals that the table of endpoints does not name: {unnamed:?}");
}

struct Listener;

#[derive(Default)]
struct Found {
    method: String,
    route: String,
    code: String,
}

impl Visit for Found {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let place = match field.name() {
            "method" => &mut self.method,
            "route" => &mut self.route,
            "code" => &mut self.code,
            _ => return,
        };
        *place = format!("{value:?}");
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == TARGET
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut found = Found::default();
        event.record(&mut found);
        let method = if found.method == "HEAD" { "GET".to_owned() } else { found.method };
        // A path that is not there has none.
        if found.route != "none" {
            SEEN.lock().insert((method, found.route, found.code));
        }
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[tokio::test]
async fn refusals_are_noted_as_they_are_answered() {
    let world = World::new().await;
    let outcome = world.stranger.send(Request::new(Method::Get, "/v1/tenants/default/keys")).await;
    assert_eq!(problem(outcome).1, "operator_unknown");
    let path = "/v1/tenants/{tenant}/keys".to_owned();
    let refusal = ("GET".to_owned(), path, "operator_unknown".to_owned());
    assert!(NAMED.contains(&refusal) && SEEN.lock().contains(&refusal));
}

/// Refusals of calls that are well formed and name things that are not there.
#[tokio::test]
async fn calls_about_things_that_are_not_there_have_the_codes_that_their_endpoints_name() {
    let world = World::new().await;
    for (role, publish) in [("named", "d/{device}/{attr.site}"), ("plain", "d/{device}/up")] {
        let body = json!({ "class": "device", "publish": [publish] });
        world.operator.put_over(&format!("/v1/tenants/default/roles/{role}"), &body).await.unwrap();
    }
    world.post("/v1/tenants/default/groups", json!({ "group": "closed" })).await;
    let ways = "/v1/tenants/default/groups/closed/ways";
    world.operator.put_over(ways, &json!({ "ways": [] })).await.unwrap();
    let hash = json!({ "token_hash": base64url(&[1; 33]) });
    let decided = json!({ "thumbprint": base64url(&[1; 32]) });
    let shown = |token: &[u8]| json!({ "token": base64url(token) });
    let mut calls = vec![
        (Method::Patch, "devices/none", json!({ "role": "plain" }), "device_unknown"),
        (Method::Patch, "groups/none", json!({ "reenrol": "device" }), "group_unknown"),
        (Method::Put, "groups/none/ways", json!({ "ways": ["claim"] }), "group_unknown"),
        (Method::Post, "devices/none/rekey/approve", decided.clone(), "not_found"),
        (Method::Post, "devices/none/rekey/refuse", decided, "not_found"),
        (Method::Post, "group-keys/none/devices", json!({ "devices": ["a"] }), "not_found"),
        (Method::Post, "group-keys/none/rotate", json!({}), "not_found"),
        (Method::Post, "tokens/revoke", hash, "not_found"),
        (Method::Post, "tokens/revoke", shown(&[1; 8]), "token_malformed"),
        (Method::Post, "tokens/revoke", shown(&[1; 4097]), "token_too_large"),
        (Method::Post, "groups/none/suspend", json!({}), "group_unknown"),
        (Method::Post, "groups/none/reinstate", json!({}), "group_unknown"),
        (Method::Post, "devices/none/suspend", json!({}), "device_unknown"),
    ];
    let things = [
        ("listed-keys", json!({ "device": "x", "thumbprint": base64url(&[1; 32]) })),
        ("group-keys", json!({ "group_key": "g" })),
        ("claims", json!({})),
    ];
    for (path, thing) in things {
        for (rights, code) in [
            (json!({ "role": "none" }), "role_unknown"),
            (json!({ "role": "named" }), "attribute_missing"),
            (json!({ "role": "plain", "group": "none" }), "group_unknown"),
            (json!({ "role": "plain", "group": "closed" }), "way_not_taken"),
        ] {
            let mut body = thing.clone();
            body.as_object_mut().unwrap().extend(rights.as_object().unwrap().clone());
            calls.push((Method::Post, path, body, code));
        }
    }
    for (method, path, body, code) in calls {
        let path = format!("/v1/tenants/default/{path}");
        let request = Request::new(method, &path).body(JSON, body.to_string().into_bytes());
        let outcome = world.operator.send(request.header("if-match", "*")).await;
        assert_eq!(problem(outcome).1, code, "{path} {body}");
    }
    let some = "0011223344556677";
    let of_some = [
        (format!("approvals/{some}/approve"), Some(json!({ "role": "plain" }))),
        (format!("approvals/{some}/refuse"), Some(json!({}))),
        (format!("webhooks/{some}/rotate"), Some(json!({}))),
        (format!("webhooks/{some}/test"), Some(json!({}))),
        (format!("webhooks/{some}/replay"), Some(json!({ "first": 1 }))),
        (format!("webhooks/{some}"), None),
        (format!("claims/{some}"), None),
        (format!("approvals/{some}"), None),
        ("listed-keys/none".to_owned(), None),
        ("group-keys/none".to_owned(), None),
    ];
    for (path, body) in of_some {
        let path = format!("/v1/tenants/default/{path}");
        let outcome = match &body {
            Some(body) => world.operator.post_json(&path, body).await,
            None => world.operator.delete_any(&path).await,
        };
        assert_eq!(problem(outcome), (404, "not_found".to_owned()), "{path}");
    }
}
