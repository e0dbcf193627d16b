//! API tokens: a part of the rights of an account, for a program, for a time.

use serde_json::{json, Value};
use tessera_runtime::http::{HttpClient, HttpError};

use crate::world::{problem, Forced, World};

const DAY: u64 = 24 * 3600;

async fn made(client: &HttpClient, extra: Value) -> Result<Value, HttpError> {
    let mut body = json!({ "purpose": "claims at night", "roles": ["viewer"], "tenants": "all" });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    client.post_json("/v1/api-tokens", &body).await.map(|answer| {
        assert_eq!((answer.status, answer.header("cache-control")), (201, Some("no-store")));
        answer.json().unwrap()
    })
}

/// A client with a new token, and the id of the token.
async fn token(world: &World, by: &HttpClient, extra: Value) -> (HttpClient, String) {
    let made = made(by, extra).await.unwrap();
    let text = made["token"].as_str().unwrap();
    assert!(tessera_runtime::credential::read(text).is_ok(), "{text}");
    (world.with_token(text), made["api_token"].as_str().unwrap().to_owned())
}

async fn account(world: &World, name: &str, roles: &[&str], tenants: Value) -> HttpClient {
    let body = json!({ "operator": name, "roles": roles, "tenants": tenants });
    let made = world.post("/v1/operators", body).await;
    world.with_token(made["token"].as_str().unwrap())
}

async fn ids(client: &HttpClient) -> Vec<String> {
    let list: Value = client.get("/v1/api-tokens").await.unwrap().json().unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|one| one["api_token"].as_str().unwrap().to_owned()).collect()
}

fn refused(code: &str) -> (u16, String) {
    let status = match code {
        "operator_unknown" => 401,
        "operator_not_allowed" => 403,
        "not_found" | "tenant_unknown" => 404,
        "limit_reached" => 429,
        _ => 400,
    };
    (status, code.to_owned())
}

#[tokio::test]
async fn a_token_has_the_roles_and_tenants_that_it_was_given_and_no_others() {
    let world = World::new().await;
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    let give = json!({ "roles": ["viewer", "fleet"], "tenants": ["acme"] });
    let (program, id) = token(&world, &world.operator, give).await;
    program.get("/v1/tenants/acme/devices").await.unwrap();
    program.post_json("/v1/tenants/acme/groups", &json!({ "group": "g" })).await.unwrap();
    let other = program.get("/v1/tenants/default/devices").await;
    assert_eq!(problem(other), refused("tenant_unknown"));
    let stronger = program.post_json("/v1/tenants/acme/keys/rotate", &json!({})).await;
    assert_eq!(problem(stronger), refused("operator_not_allowed"));
    let whoami: Value = program.get("/v1/whoami").await.unwrap().json().unwrap();
    assert_eq!(whoami["roles"], json!(["viewer", "fleet"]));
    assert_eq!(whoami["tenants"], json!(["acme"]));
    assert_eq!(whoami["api_token"], json!(id));
    let log = world.get("/v1/audit").await.to_string();
    assert!(log.contains("api-token.create") && !log.contains("tsr_pat_"), "{log}");
}

#[tokio::test]
async fn a_token_makes_no_tokens_and_no_accounts() {
    let world = World::new().await;
    let (program, id) =
        token(&world, &world.operator, json!({ "roles": ["admin", "viewer"] })).await;
    let more = made(&program, json!({})).await;
    assert_eq!(problem(more), refused("operator_not_allowed"));
    let account = json!({ "operator": "x", "roles": ["viewer"], "tenants": "all" });
    let account = program.post_json("/v1/operators", &account).await;
    assert_eq!(problem(account), refused("operator_not_allowed"));
    let gone = program.delete("/v1/operators/feed").await;
    assert_eq!(problem(gone), refused("operator_not_allowed"));
    // It ends itself, and no other.
    let (_, other) = token(&world, &world.operator, json!({})).await;
    let gone = program.delete(&format!("/v1/api-tokens/{other}")).await;
    assert_eq!(problem(gone), refused("operator_not_allowed"));
    program.delete(&format!("/v1/api-tokens/{id}")).await.unwrap();
    assert_eq!(problem(program.get("/v1/whoami").await), refused("operator_unknown"));
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_have() {
    let world = World::new().await;
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    let ann = account(&world, "ann", &["viewer", "fleet"], json!(["acme"])).await;
    for (give, code) in [
        (json!({ "tenants": ["acme"], "roles": ["security"] }), "operator_not_allowed"),
        (json!({ "tenants": ["acme"], "roles": ["viewer", "admin"] }), "operator_not_allowed"),
        (json!({ "tenants": "all" }), "operator_not_allowed"),
        (json!({ "tenants": ["default"] }), "tenant_unknown"),
        (json!({ "tenants": ["nothing"] }), "tenant_unknown"),
        (json!({ "tenants": [] }), "request_malformed"),
        (json!({ "tenants": ["acme"], "roles": [] }), "request_malformed"),
        (json!({ "tenants": ["acme"], "roles": ["feed"] }), "request_malformed"),
        (json!({ "tenants": ["acme"], "purpose": "" }), "request_malformed"),
        (json!({ "tenants": ["acme"], "purpose": "a\nb" }), "request_malformed"),
        (json!({ "tenants": ["acme"], "expires_in": 59 }), "request_malformed"),
        (json!({ "tenants": ["acme"], "expires_in": 367 * DAY }), "request_malformed"),
        (json!({ "tenants": ["acme"], "more": 1 }), "request_malformed"),
    ] {
        assert_eq!(problem(made(&ann, give.clone()).await), refused(code), "{give}");
    }
    assert_eq!(ids(&ann).await, Vec::<String>::new());
    assert_eq!(problem(made(&world.feed, json!({})).await), refused("operator_not_allowed"));
    assert_eq!(problem(made(&world.stranger, json!({})).await), refused("operator_unknown"));
}

#[tokio::test]
async fn a_token_ends_at_its_time_and_with_its_account() {
    let world = World::new().await;
    let ann = account(&world, "ann", &["viewer"], json!("all")).await;
    let (short, _) = token(&world, &ann, json!({ "expires_in": 60 })).await;
    let (long, _) = token(&world, &ann, json!({ "expires_in": 366 * DAY })).await;
    world.advance(59);
    short.get("/v1/tenants").await.unwrap();
    world.advance(1);
    assert_eq!(problem(short.get("/v1/tenants").await), refused("operator_unknown"));
    long.get("/v1/tenants").await.unwrap();
    world.operator.delete_any("/v1/operators/ann").await.unwrap();
    assert_eq!(ids(&world.operator).await, Vec::<String>::new());
    // Another account of the name is another account.
    let again = account(&world, "ann", &["viewer", "admin"], json!("all")).await;
    assert_eq!(ids(&again).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_token_of_a_deleted_account_opens_nothing() {
    let world = World::new().await;
    let ann = account(&world, "ann", &["viewer"], json!("all")).await;
    let (program, _) = token(&world, &ann, json!({})).await;
    program.get("/v1/tenants").await.unwrap();
    world.operator.delete_any("/v1/operators/ann").await.unwrap();
    assert_eq!(problem(program.get("/v1/tenants").await), refused("operator_unknown"));
    account(&world, "ann", &["viewer"], json!("all")).await;
    assert_eq!(problem(program.get("/v1/tenants").await), refused("operator_unknown"));
}

#[tokio::test]
async fn the_list_shows_last_use_and_no_token_of_others() {
    let world = World::new().await;
    for tenant in ["acme", "other"] {
        world.post("/v1/tenants", json!({ "tenant": tenant })).await;
    }
    let ann = account(&world, "ann", &["viewer"], json!(["acme"])).await;
    let bob = account(&world, "bob", &["viewer"], json!(["acme"])).await;
    let guard = account(&world, "guard", &["security"], json!(["acme"])).await;
    let theirs = account(&world, "theirs", &["admin", "viewer"], json!(["other"])).await;
    let (program, of_ann) = token(&world, &ann, json!({ "tenants": ["acme"] })).await;
    let (_, of_theirs) = token(&world, &theirs, json!({ "tenants": ["other"] })).await;
    assert_eq!(ids(&ann).await, std::slice::from_ref(&of_ann));
    assert_eq!(ids(&guard).await, std::slice::from_ref(&of_ann));
    assert_eq!(ids(&theirs).await, std::slice::from_ref(&of_theirs));
    assert_eq!(ids(&bob).await, Vec::<String>::new());
    assert_eq!(ids(&world.operator).await.len(), 2);
    // One of others is answered like one that does not exist.
    for by in [&bob, &theirs] {
        let gone = by.delete(&format!("/v1/api-tokens/{of_ann}")).await;
        assert_eq!(problem(gone), refused("not_found"));
    }
    let used = async || -> Value {
        let list: Value = ann.get("/v1/api-tokens").await.unwrap().json().unwrap();
        assert!(!list.to_string().contains("tsr_"), "{list}");
        list["items"][0].clone()
    };
    assert_eq!((&used().await["used"], &used().await["used_from"]), (&Value::Null, &Value::Null));
    let first = world.now().get();
    for wanted in [first, first, first + 60] {
        program.get("/v1/tenants").await.unwrap();
        let shown = used().await;
        assert_eq!((&shown["used"], &shown["used_from"]), (&json!(wanted), &json!("127.0.0.0/24")));
        // Written once a minute at most.
        world.advance(30);
    }
    guard.delete(&format!("/v1/api-tokens/{of_ann}")).await.unwrap();
    assert_eq!(problem(program.get("/v1/tenants").await), refused("operator_unknown"));
    // Pages that hold none of the account's go on to the next.
    let page: Value = theirs.get("/v1/api-tokens?limit=1").await.unwrap().json().unwrap();
    assert_eq!(page["items"][0]["api_token"], json!(of_theirs));
}

#[tokio::test]
async fn an_account_has_so_many_tokens_and_expired_ones_go() {
    let world = World::new().await;
    let ann = account(&world, "ann", &["viewer"], json!("all")).await;
    for _ in 0..50 {
        made(&ann, json!({ "expires_in": 60 })).await.unwrap();
    }
    assert_eq!(problem(made(&ann, json!({})).await), refused("limit_reached"));
    // The bound is of the account: others are not touched.
    made(&world.operator, json!({})).await.unwrap();
    assert_eq!(ids(&ann).await.len(), 50);
}

#[tokio::test]
async fn a_secret_in_a_url_is_refused_before_anything_else() {
    let world = World::new().await;
    let (_, id) = token(&world, &world.operator, json!({})).await;
    let made = made(&world.operator, json!({})).await.unwrap();
    let token = made["token"].as_str().unwrap();
    for path in [
        format!("/v1/whoami?access_token={token}"),
        format!("/v1/tenants?cursor={token}"),
        format!("/v1/api-tokens/{token}"),
        format!("/v1/{token}"),
    ] {
        for client in [&world.stranger, &world.operator] {
            assert_eq!(problem(client.get(&path).await), refused("request_malformed"), "{path}");
        }
    }
    assert!(ids(&world.operator).await.contains(&id));
}
