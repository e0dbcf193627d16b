//! Partner tokens: opaque credentials of devices whose role has the class partner.

use serde_json::{json, Value};
use tessera_runtime::http::{HttpClient, HttpError, Method, Request, JSON};
use tessera_token::encoding::from_base64url;

use crate::introspect::{ask, inactive};
use crate::world::{problem, Forced, World};

const PATH: &str = "/v1/tenants/default/partner-tokens";
const DAY: u64 = 24 * 3600;

async fn with_role(world: &World) {
    let role = json!({
        "class": "partner", "publish": ["orders/new"], "subscribe": ["orders/{device}/in"], "token_seconds": 600,
    });
    world.operator.put_over("/v1/tenants/default/roles/orders", &role).await.unwrap();
}

async fn made(client: &HttpClient, extra: Value) -> Result<Value, HttpError> {
    let mut body = json!({ "device": "erp", "purpose": "ERP of ACME", "role": "orders" });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    client.post_json(PATH, &body).await.map(|answer| {
        assert_eq!((answer.status, answer.header("cache-control")), (201, Some("no-store")));
        answer.json().unwrap()
    })
}

/// A new token, and its id.
async fn token(world: &World, extra: Value) -> (String, String) {
    let made = made(&world.operator, extra).await.unwrap();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("token"), text("partner_token"))
}

/// Gives the device another role.
async fn change(world: &World, role: &str) {
    let body = json!({ "role": role }).to_string().into_bytes();
    let path = "/v1/tenants/default/devices/erp";
    let asked = Request::new(Method::Patch, path).header("if-match", "*").body(JSON, body);
    world.operator.send(asked).await.unwrap();
}

async fn account(world: &World, name: &str, roles: &[&str], tenants: Value) -> HttpClient {
    let body = json!({ "operator": name, "roles": roles, "tenants": tenants });
    let made = world.post("/v1/operators", body).await;
    world.with_token(made["token"].as_str().unwrap())
}

#[tokio::test]
async fn a_broker_alone_gets_an_access_token_for_it() {
    let world = World::new().await;
    with_role(&world).await;
    let (token, id) = token(&world, json!({})).await;
    assert!(token.starts_with("tsr_prt_") && tessera_runtime::credential::read(&token).is_ok());
    let seen = ask(&world.operator, &token).await;
    let wanted = json!({
        "active": true, "client_id": "erp", "sub": "erp", "iss": "default", "aud": "mqtt", "token_type": "Bearer",
        "iat": world.now().get(), "exp": world.now().get() + 90 * DAY,
        "scope": [["orders/new", ["pub"]], ["orders/erp/in", ["sub"]]],
    });
    assert_eq!(seen, wanted, "no access token for a person");
    let for_broker = ask(&world.feed, &token).await;
    assert_eq!(for_broker["exp"], json!(world.now().get() + 600));
    let access = from_base64url(for_broker["access_token"].as_str().unwrap()).unwrap();
    let claims = crate::enrol::claims(&access);
    assert_eq!((claims.device.as_str(), claims.expires.get()), ("erp", world.now().get() + 600));
    let key = tessera_runtime::credential::partner_key(&token).public();
    assert_eq!(claims.confirmation, Some(key), "bound to the key that follows from the token");
    // Of other tenants, unknown, or of a changed character: one answer.
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    let other = account(&world, "edge", &["feed"], json!(["acme"])).await;
    assert_eq!(ask(&other, &token).await, inactive());
    let unknown = tessera_runtime::credential::draw(
        tessera_runtime::credential::Class::Partner,
        &tessera_runtime::random::SystemRandom,
    );
    assert_eq!(ask(&world.feed, unknown.unwrap().expose()).await, inactive());
    assert_eq!(ask(&world.feed, &token.replace("tsr_prt_", "tsr_prt_0")).await, inactive());
    // It opens nothing at this service.
    let shown = world.with_token(&token).get("/v1/whoami").await;
    assert_eq!(problem(shown), (401, "operator_unknown".to_owned()));
    let list = world.get(PATH).await;
    assert_eq!(list["items"][0]["partner_token"], json!(id));
    assert_eq!(list["items"][0]["used_by"], json!("feed"));
    let history = world.get("/v1/tenants/default/devices/erp/history").await.to_string();
    assert!(history.contains("partner-token.create"), "{history}");
    let log = world.get("/v1/audit").await.to_string();
    assert!(!log.contains("tsr_prt_"), "{log}");
    let uses = world.get(&format!("{PATH}/{id}/uses")).await;
    assert_eq!(uses["items"][0]["introspections"], json!(1));
    let world = world.restart().await;
    assert_eq!(ask(&world.feed, &token).await["active"], json!(true));
}

#[tokio::test]
async fn it_ends_at_once_and_other_tokens_of_the_device_go_on() {
    let world = World::new().await;
    with_role(&world).await;
    let (first, id) = token(&world, json!({})).await;
    let (second, _) = token(&world, json!({})).await;
    let epoch = async || {
        let token = ask(&world.feed, &second).await;
        let access = from_base64url(token["access_token"].as_str().unwrap()).unwrap();
        crate::enrol::claims(&access).epochs.device
    };
    let before = epoch().await;
    world.operator.delete_any(&format!("{PATH}/{id}")).await.unwrap();
    assert_eq!(ask(&world.feed, &first).await, inactive());
    assert_eq!(epoch().await, before + 1, "access tokens from before have ended");
    let again = world.operator.delete_any(&format!("{PATH}/{id}")).await;
    assert_eq!(problem(again), (404, "not_found".to_owned()));
    // A suspension is a pause, a deletion is not.
    world.post("/v1/tenants/default/devices/erp/suspend", json!({})).await;
    assert_eq!(ask(&world.feed, &second).await, inactive());
    world.post("/v1/tenants/default/devices/erp/reinstate", json!({})).await;
    assert_eq!(ask(&world.feed, &second).await["active"], json!(true));
    let path = "/v1/tenants/default/devices/erp?force=true";
    world.operator.delete_any(path).await.unwrap();
    assert_eq!(ask(&world.feed, &second).await, inactive());
    let (third, _) = token(&world, json!({})).await;
    assert_eq!(ask(&world.feed, &second).await, inactive(), "of the former device");
    assert_eq!(ask(&world.feed, &third).await["active"], json!(true));
    assert_eq!(world.get(PATH).await["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_access_token_outlives_no_partner_token_and_no_change_of_class() {
    let world = crate::sweep::quick().await;
    with_role(&world).await;
    let (token, id) = token(&world, json!({ "expires_in": 100 })).await;
    assert_eq!(ask(&world.feed, &token).await["exp"], json!(world.now().get() + 100));
    world.advance(60);
    assert_eq!(ask(&world.feed, &token).await["exp"], json!(world.now().get() + 40));
    change(&world, "sensor").await;
    assert_eq!(ask(&world.feed, &token).await, inactive());
    assert_eq!(ask(&world.operator, &token).await, inactive());
    change(&world, "orders").await;
    assert_eq!(ask(&world.feed, &token).await["active"], json!(true));
    world.advance(40);
    assert_eq!(ask(&world.feed, &token).await, inactive());
    assert_eq!(world.get(PATH).await["items"][0]["state"], json!("expired"));
    world.advance(31 * DAY);
    crate::sweep::swept(&world, "partner_tokens", 1).await;
    let uses = world.operator.get(&format!("{PATH}/{id}/uses")).await;
    assert_eq!(problem(uses), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn tokens_are_bounded_and_wrong_ones_are_refused() {
    let world = World::new().await;
    with_role(&world).await;
    let refused = async |extra: Value| problem(made(&world.operator, extra).await);
    let malformed = (400, "request_malformed".to_owned());
    for extra in [
        json!({ "purpose": "" }),
        json!({ "purpose": "a\nb" }),
        json!({ "expires_in": 59 }),
        json!({ "expires_in": 366 * DAY + 1 }),
        json!({ "role": null, "group": "default" }),
        json!({ "device": "a b" }),
    ] {
        assert_eq!(refused(extra.clone()).await, malformed, "{extra}");
    }
    let class = (422, "role_invalid".to_owned());
    assert_eq!(refused(json!({ "role": "sensor" })).await, class);
    assert_eq!(refused(json!({ "role": "none" })).await, (404, "role_unknown".to_owned()));
    assert_eq!(refused(json!({ "role": null })).await, (401, "device_unknown".to_owned()));
    world.enrolled("a").await;
    assert_eq!(refused(json!({ "role": null, "device": "a" })).await, class);
    let there = (409, "already_exists".to_owned());
    assert_eq!(refused(json!({ "device": "a" })).await, there);
    assert_eq!(world.get(PATH).await["items"], json!([]));
    let devices = world.get("/v1/tenants/default/devices").await;
    assert_eq!(devices["items"].as_array().unwrap().len(), 1, "a refusal makes no device");
    for _ in 0..8 {
        token(&world, json!({})).await;
    }
    assert_eq!(refused(json!({})).await, (429, "limit_reached".to_owned()));
    // No token makes tokens, and no tenant those of another.
    let body = json!({ "purpose": "x", "roles": ["fleet"], "tenants": "all" });
    let program = world.post("/v1/api-tokens", body).await;
    let program = world.with_token(program["token"].as_str().unwrap());
    let by_program = made(&program, json!({ "device": "other" })).await;
    assert_eq!(problem(by_program), (403, "operator_not_allowed".to_owned()));
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    let acme = account(&world, "acme", &["fleet", "viewer"], json!(["acme"])).await;
    let theirs = made(&acme, json!({})).await;
    assert_eq!(problem(theirs), (404, "tenant_unknown".to_owned()));
    let id = world.get(PATH).await["items"][0]["partner_token"].as_str().unwrap().to_owned();
    let path = format!("/v1/tenants/acme/partner-tokens/{id}");
    assert_eq!(problem(acme.delete_any(&path).await), (404, "not_found".to_owned()));
    assert_eq!(problem(acme.get(&format!("{path}/uses")).await), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn a_lost_answer_comes_again_and_makes_one_token() {
    let world = World::new().await;
    with_role(&world).await;
    let body = json!({ "device": "erp", "purpose": "x", "role": "orders" }).to_string();
    let ask = async || {
        let asked = Request::new(Method::Post, PATH)
            .header("Idempotency-Key", "0123456789abcdef0123456789abcdef")
            .body(JSON, body.clone().into_bytes());
        world.operator.send(asked).await.unwrap().json::<Value>().unwrap()
    };
    let first = ask().await;
    assert_eq!(ask().await, first);
    assert_eq!(world.get(PATH).await["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn brokers_tell_the_use_by_day() {
    let world = World::new().await;
    with_role(&world).await;
    let (_, id) = token(&world, json!({})).await;
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    let other = account(&world, "edge", &["feed"], json!(["acme"])).await;
    let tell = async |client: &HttpClient, items: Value| {
        client.post_json("/v1/trust/partner-uses", &json!({ "items": items })).await
    };
    let one = json!({
        "partner_token": id, "connects": 1, "published": 2, "published_bytes": 30, "delivered": 4,
        "delivered_bytes": 50,
    });
    tell(&world.feed, json!([one, one, { "partner_token": "none", "connects": 1 }])).await.unwrap();
    // Of tenants of others nothing is taken, and nothing is told.
    tell(&other, json!([one])).await.unwrap();
    let by_person = tell(&world.operator, json!([one])).await;
    assert_eq!(problem(by_person), (403, "operator_not_allowed".to_owned()));
    let longest = json!({
        "partner_token": id, "connects": u64::MAX, "published": u64::MAX, "published_bytes": u64::MAX,
        "delivered": u64::MAX, "delivered_bytes": u64::MAX,
    });
    let mut widest = vec![longest; 100];
    widest.iter_mut().for_each(|one| one["partner_token"] = json!("0123456789abcdef"));
    tell(&world.feed, json!(widest)).await.unwrap();
    let many = vec![json!({ "partner_token": "x" }); 101];
    let too_many = tell(&world.feed, json!(many)).await;
    assert_eq!(problem(too_many), (400, "request_malformed".to_owned()));
    let today = world.now().get() / DAY * DAY;
    world.advance(DAY);
    tell(&world.feed, json!([one])).await.unwrap();
    let uses = world.get(&format!("{PATH}/{id}/uses")).await;
    let row = |day: u64, n: u64| {
        json!({
            "day": day, "introspections": 0, "connects": n, "published": 2 * n, "published_bytes": 30 * n,
            "delivered": 4 * n, "delivered_bytes": 50 * n,
        })
    };
    assert_eq!(uses["items"], json!([row(today + DAY, 1), row(today, 2)]));
}

#[tokio::test]
async fn of_two_that_make_and_delete_at_once_no_token_stays_of_a_device_that_is_gone() {
    let world = World::with(|config| {
        config.admission.anonymous.burst = 1_000_000;
    })
    .await;
    with_role(&world).await;
    for round in 0..10 {
        token(&world, json!({})).await;
        let make = made(&world.operator, json!({ "role": null }));
        let path = "/v1/tenants/default/devices/erp?force=true";
        let (made, gone) = tokio::join!(make, world.operator.delete_any(path));
        gone.unwrap();
        let rows = world.get(PATH).await;
        assert_eq!(rows["items"], json!([]), "round {round}: {made:?}");
    }
}
