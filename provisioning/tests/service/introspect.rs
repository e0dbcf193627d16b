//! Introspection (RFC 7662): a token is active for accounts of its tenant, until it ends.

use serde_json::{json, Value};
use tessera_runtime::http::{HttpClient, Method, Request, JSON};
use tessera_token::encoding::base64url;
use tessera_token::messages::TokenKind;

use crate::world::{problem, random, Forced, World};

const FORM: &str = "application/x-www-form-urlencoded";

pub async fn ask(client: &HttpClient, token: &str) -> Value {
    let answer = client.post_json("/introspect", &json!({ "token": token })).await.unwrap();
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    answer.json().unwrap()
}

async fn account(world: &World, name: &str, roles: &[&str], tenants: Value) -> HttpClient {
    let body = json!({ "operator": name, "roles": roles, "tenants": tenants });
    let made = world.post("/v1/operators", body).await;
    world.with_token(made["token"].as_str().unwrap())
}

pub fn inactive() -> Value {
    json!({ "active": false })
}

#[tokio::test]
async fn a_token_is_active_for_accounts_of_its_tenant_alone() {
    let world = World::new().await;
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    let (device, _) = world.enrolled("a").await;
    let token = base64url(&world.refresh(&device).await.unwrap().access_token);
    let wanted = json!({
        "active": true, "client_id": "a", "sub": "a", "iss": "default", "aud": "mqtt", "token_type": "PoP",
        "exp": world.now().get() + 3600, "iat": world.now().get(),
        "scope": [["d/a/telemetry", ["pub"]], ["d/a/cmd", ["sub"]]],
    });
    assert_eq!(ask(&world.operator, &token).await, wanted);
    assert_eq!(ask(&world.feed, &token).await, wanted);
    let form = format!("token={token}&token_type_hint=access_token&more=1");
    let asked = Request::new(Method::Post, "/introspect").body(FORM, form.into_bytes());
    let answer: Value = world.operator.send(asked).await.unwrap().json().unwrap();
    assert_eq!(answer, wanted);
    let own = account(&world, "own", &["viewer"], json!(["default"])).await;
    assert_eq!(ask(&own, &token).await, wanted);
    let body = json!({ "purpose": "gate", "roles": ["viewer"], "tenants": ["default"] });
    let made: Value = own.post_json("/v1/api-tokens", &body).await.unwrap().json().unwrap();
    let program = world.with_token(made["token"].as_str().unwrap());
    assert_eq!(ask(&program, &token).await, wanted);

    let other = account(&world, "other", &["viewer"], json!(["acme"])).await;
    assert_eq!(ask(&other, &token).await, inactive());
    for (client, code) in [
        (&world.stranger, (401, "operator_unknown".to_owned())),
        (
            &account(&world, "fleet", &["fleet"], json!("all")).await,
            (403, "operator_not_allowed".to_owned()),
        ),
    ] {
        let refused = client.post_json("/introspect", &json!({ "token": token })).await;
        assert_eq!(problem(refused), code);
    }
    for bad in [json!({}), json!({ "token": 1 }), json!([token])] {
        let refused = world.operator.post_json("/introspect", &bad).await;
        assert_eq!(problem(refused), (400, "request_malformed".to_owned()), "{bad}");
    }
    let text = Request::new(Method::Post, "/introspect").body("text/plain", token.into_bytes());
    assert_eq!(problem(world.operator.send(text).await).0, 415);
}

#[tokio::test]
async fn a_token_that_is_not_good_has_one_answer() {
    let world = World::new().await;
    let (device, first) = world.enrolled("a").await;
    let first = base64url(&first.access_token);
    assert_eq!(ask(&world.operator, &first).await["active"], json!(true));
    let mut changed = first.clone().into_bytes();
    let last = changed.len() - 2;
    changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    let path = world.dir.path().join("operator.token");
    let operator = std::fs::read_to_string(path).unwrap();
    for text in ["", "x", "!", changed.as_str(), operator.trim(), &base64url(&random())] {
        assert_eq!(ask(&world.operator, text).await, inactive(), "{text}");
    }
    // One token, and not the other one of the device.
    let second = base64url(&world.refresh(&device).await.unwrap().access_token);
    world.post("/v1/tenants/default/tokens/revoke", json!({ "token": second })).await;
    assert_eq!(ask(&world.operator, &second).await, inactive());
    assert_eq!(ask(&world.operator, &first).await["active"], json!(true));
    // Every larger revocation; the token from after it is good.
    let mut token = first;
    for verb in ["devices/a/revoke", "groups/default/revoke", "revoke", "devices/a/suspend"] {
        world.post(&format!("/v1/tenants/default/{verb}"), json!({})).await;
        assert_eq!(ask(&world.operator, &token).await, inactive(), "{verb}");
        for again in ["reinstate", "devices/a/reinstate"] {
            world.post(&format!("/v1/tenants/default/{again}"), json!({})).await;
        }
        assert_eq!(ask(&world.operator, &token).await, inactive(), "{verb}");
        token = base64url(&world.refresh(&device).await.unwrap().access_token);
        assert_eq!(ask(&world.operator, &token).await["active"], json!(true), "{verb}");
    }
    let keys = world.get("/v1/tenants/default/keys").await;
    let items = keys["items"].as_array().unwrap();
    let active = items.iter().find(|key| key["state"] == "active").unwrap();
    let path = format!("/v1/tenants/default/keys/{}/compromise", active["key"].as_str().unwrap());
    world.post(&path, json!({})).await;
    assert_eq!(ask(&world.operator, &token).await, inactive());
    token = base64url(&world.refresh(&device).await.unwrap().access_token);
    world.advance(3599);
    assert_eq!(ask(&world.operator, &token).await["active"], json!(true));
    world.advance(1);
    assert_eq!(ask(&world.operator, &token).await, inactive());
}

#[tokio::test]
async fn bearer_tokens_are_told_and_deleted_devices_have_none() {
    let world = World::new().await;
    let path = "/v1/tenants/default";
    let asked = Request::new(Method::Put, path).body(JSON, br#"{"bearer":true}"#.to_vec());
    let asked = asked.header("if-match", "*");
    world.operator.send(asked).await.unwrap();
    let (device, _) = world.enrolled("a").await;
    let answer = world.refresh_as(&device, world.now(), &random(), TokenKind::Bearer).await;
    let token = base64url(&answer.unwrap().access_token);
    assert_eq!(ask(&world.operator, &token).await["token_type"], json!("Bearer"));
    world.operator.delete_any("/v1/tenants/default/devices/a?force=true").await.unwrap();
    assert_eq!(ask(&world.operator, &token).await, inactive());
}
