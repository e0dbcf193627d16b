use serde_json::{json, Value};
use tessera_runtime::http::{Method, Request, JSON};

use crate::world::{problem, Forced, World};

const PUBLIC: &[&str] = &[
    "/v1/enrol/nonce",
    "/v1/enrol",
    "/v1/rekey",
    "/v1/token",
    "/token",
    "/.well-known/cose-key-set",
    "/.well-known/oauth-authorization-server",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
];

/// A device that shows no account asks there too, and proves its key.
const ALSO_OF_DEVICES: &[&str] = &["/revoke", "/revoke/trl"];

/// Further paths that the account of a verifier reads, or asks at.
const LISTS: &[&str] =
    &["/introspect", "/revoke/trl", "/v1/tenants/{tenant}/status-list", "/v1/enrol/check"];

/// Every operation of the served document: method and path with its parameters filled in.
async fn operations(world: &World) -> Vec<(Method, String, String)> {
    let document: Value = world.stranger.get("/openapi.json").await.unwrap().json().unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        // A stream that ends at the newest entry.
        let filled = path.replace("/v1/events", "/v1/events?seconds=0");
        let filled = filled.replace("{tenant}", "default").replace("{key}", "0011223344556677");
        let filled =
            filled.replace("{operator}", "o").replace("{role}", "r").replace("{group}", "g");
        let filled = filled
            .replace("{claim}", "0011223344556677")
            .replace("{api_token}", "0011223344556677")
            .replace("{partner_token}", "0011223344556677")
            .replace("{webhook}", "0011223344556677")
            .replace("{device}", "x");
        for method in methods.as_object().unwrap().keys() {
            let method = match method.as_str() {
                "get" => Method::Get,
                "post" => Method::Post,
                "put" => Method::Put,
                "patch" => Method::Patch,
                _ => Method::Delete,
            };
            operations.push((method, path.clone(), filled.clone()));
        }
    }
    operations
}

fn request(method: Method, path: &str) -> Request<'_> {
    let request = Request::new(method, path);
    match method {
        Method::Get | Method::Delete => request,
        _ => request.body(JSON, b"{}".to_vec()),
    }
}

#[tokio::test]
async fn nobody_gets_in_without_a_token() {
    let world = World::new().await;
    let wrong = world.with_token(&format!("tsr_op_{}", "A".repeat(43)));
    let short = world.with_token("tsr_op_x");
    let mut closed = 0;
    for (method, path, filled) in operations(&world).await {
        if PUBLIC.contains(&path.as_str()) {
            continue;
        }
        closed += 1;
        let of_device = ALSO_OF_DEVICES.contains(&path.as_str());
        if of_device {
            let outcome = world.stranger.send(request(method, &filled)).await;
            assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "{path}");
        }
        let unknown = [&world.stranger, &wrong, &short].into_iter().skip(usize::from(of_device));
        for client in unknown {
            let outcome = client.send(request(method, &filled)).await;
            assert_eq!(problem(outcome), (401, "operator_unknown".to_owned()), "{path}");
        }
    }
    assert!(closed >= 20);
}

#[tokio::test]
async fn the_feed_account_reads_the_feed_and_nothing_else() {
    let world = World::new().await;
    for (method, path, filled) in operations(&world).await {
        let open = PUBLIC.contains(&path.as_str()) || path == "/v1/whoami";
        let list = LISTS.contains(&path.as_str());
        if open || list || path == "/v1/evidence" || path.starts_with("/v1/trust/") {
            continue;
        }
        let outcome = world.feed.send(request(method, &filled)).await;
        assert_eq!(problem(outcome), (403, "operator_not_allowed".to_owned()), "{path}");
    }
    for path in ["/v1/trust/snapshot", "/v1/trust/events?after=0"] {
        world.feed.get(path).await.unwrap();
        let outcome = world.operator.get(path).await;
        assert_eq!(
            problem(outcome),
            (403, "operator_not_allowed".to_owned()),
            "no role includes another"
        );
    }
}

#[tokio::test]
async fn accounts_know_themselves() {
    let world = World::new().await;
    let bootstrap = world.get("/v1/whoami").await;
    assert_eq!(
        bootstrap,
        json!({ "operator": "bootstrap", "roles": ["viewer", "fleet", "security", "admin"] })
    );
    let feed: Value = world.feed.get("/v1/whoami").await.unwrap().json().unwrap();
    assert_eq!(feed, json!({ "operator": "feed", "roles": ["feed"] }));
}

#[tokio::test]
async fn guessing_tokens_is_slow() {
    let world = World::with(|config| config.admission.wrong.burst = 5).await;
    let wrong = world.with_token(&format!("tsr_op_{}", "A".repeat(43)));
    let mut codes = Vec::new();
    for _ in 0..6 {
        codes.push(problem(wrong.get("/v1/tenants").await).1);
    }
    assert_eq!(codes[4], "operator_unknown");
    assert_eq!(codes[5], "rate_limited");
    world.get("/v1/tenants").await;
}

#[tokio::test]
async fn every_change_is_in_the_audit_log_and_the_log_is_a_chain() {
    let world = World::new().await;
    world.enrolled("a").await;
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    world.post("/v1/tenants/default/keys/rotate", json!({})).await;
    let mut entries = Vec::new();
    let mut path = "/v1/audit?limit=2".to_owned();
    loop {
        let page = world.get(&path).await;
        entries.extend(page["items"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/audit?limit=2&cursor={next}"),
            None => break,
        }
    }
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        ["service.found", "claim.create", "device.enrol", "device.revoke", "key.rotate"]
    );
    assert_eq!(entries[3]["actor"], "bootstrap");
    assert_eq!(entries[2]["actor"], "device a");
    let mut previous = vec![0; 32];
    for entry in &entries {
        let bytes = |name: &str| {
            tessera_token::encoding::from_base64url(entry[name].as_str().unwrap()).unwrap()
        };
        assert_eq!(bytes("previous"), previous);
        previous = bytes("hash");
        assert_eq!(chained(entry), previous);
    }
}

/// The hash as the document describes it.
pub fn chained(entry: &Value) -> Vec<u8> {
    let mut w = tessera_token::cbor::Writer::new();
    let previous =
        tessera_token::encoding::from_base64url(entry["previous"].as_str().unwrap()).unwrap();
    w.array(15).text("tessera-audit-2").uint(entry["seq"].as_u64().unwrap()).bytes(&previous);
    w.uint(entry["at"].as_u64().unwrap());
    let names = ["actor", "action", "tenant", "subject", "detail", "how", "credential", "network"];
    for name in names.into_iter().chain(["outcome", "before", "after"]) {
        w.text(entry[name].as_str().unwrap());
    }
    tessera_token::hash::sha256(&w.finish()).to_vec()
}

#[tokio::test]
async fn no_role_includes_another() {
    let world = World::new().await;
    world.enrolled("a").await;
    let code = |made: &Value| made["token"].as_str().unwrap().to_owned();
    let mut tokens = std::collections::HashMap::new();
    for role in ["viewer", "fleet", "security", "admin", "feed"] {
        let body = json!({ "operator": role.to_uppercase(), "roles": [role], "tenants": "all" });
        tokens.insert(role, world.with_token(&code(&world.post("/v1/operators", body).await)));
    }
    let document: Value = world.stranger.get("/openapi.json").await.unwrap().json().unwrap();
    let mut checked = 0;
    for (method, path, filled) in operations(&world).await {
        let name = format!("{method:?}").to_lowercase();
        let Some(allowed) = document["paths"][&path][&name]["x-roles"].as_array() else {
            continue;
        };
        for (role, client) in &tokens {
            if allowed.iter().any(|name| name == *role) {
                continue;
            }
            let outcome = client.send(request(method, &filled)).await;
            assert_eq!(
                problem(outcome),
                (403, "operator_not_allowed".to_owned()),
                "{role} {name} {path}"
            );
            checked += 1;
        }
    }
    assert!(checked > 80, "{checked}");
    let revoke = "/v1/tenants/default/devices/a/revoke";
    assert_eq!(problem(tokens["viewer"].post_json(revoke, &json!({})).await).0, 403);
    tokens["fleet"].post_json(revoke, &json!({})).await.unwrap();
    let back = "/v1/tenants/default/devices/a/reinstate";
    assert_eq!(problem(tokens["fleet"].post_json(back, &json!({})).await).0, 403);
    tokens["security"].post_json(back, &json!({})).await.unwrap();
    tokens["feed"].get("/v1/trust/snapshot").await.unwrap();
}

#[tokio::test]
async fn accounts_come_and_go() {
    let world = World::new().await;
    let new = json!({ "operator": "ann", "roles": ["viewer", "admin"], "tenants": "all" });
    let made = world.operator.post_json("/v1/operators", &new).await.unwrap();
    assert_eq!(made.status, 201);
    let ann = world.with_token(made.json::<Value>().unwrap()["token"].as_str().unwrap());
    ann.get("/v1/tenants").await.unwrap();
    assert_eq!(
        problem(world.operator.post_json("/v1/operators", &new).await),
        (409, "already_exists".to_owned())
    );
    // Nothing that is left out means all.
    for bad in [
        json!({ "operator": "x", "roles": [], "tenants": "all" }),
        json!({ "operator": "a/b", "roles": ["viewer"], "tenants": "all" }),
        json!({ "operator": "x", "roles": ["viewer"] }),
        json!({ "operator": "x", "roles": ["viewer"], "tenants": [] }),
        json!({ "operator": "x", "roles": ["viewer"], "tenants": null }),
        json!({ "operator": "x", "roles": ["feed"] }),
    ] {
        assert_eq!(
            problem(world.operator.post_json("/v1/operators", &bad).await).1,
            "request_malformed"
        );
    }
    let listed = world.get("/v1/operators").await;
    assert!(!listed.to_string().contains("tsr_op_"));
    let names: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["operator"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["ann", "bootstrap", "feed"]);
    assert_eq!(
        problem(ann.delete_any("/v1/operators/ann").await),
        (403, "operator_not_allowed".to_owned())
    );
    assert_eq!(
        problem(world.operator.delete_any("/v1/operators/none").await),
        (404, "not_found".to_owned())
    );
    world.operator.delete_any("/v1/operators/ann").await.unwrap();
    assert_eq!(problem(ann.get("/v1/tenants").await), (401, "operator_unknown".to_owned()));
    world.post("/v1/operators", new).await;
}

/// An account that has ended ends no other: one of two that end each other stays.
#[tokio::test]
async fn of_two_accounts_that_end_each_other_one_stays() {
    let world = World::new().await;
    for round in 0..10 {
        let names = ["a", "b"].map(|name| format!("{name}-{round}"));
        let mut clients = Vec::new();
        for name in &names {
            let account = json!({ "operator": name, "roles": ["admin"], "tenants": "all" });
            let made = world.post("/v1/operators", account).await;
            clients.push(world.with_token(made["token"].as_str().unwrap()));
        }
        let paths = names.map(|name| format!("/v1/operators/{name}"));
        let (first, second) =
            tokio::join!(clients[0].delete_any(&paths[1]), clients[1].delete_any(&paths[0]));
        let ended = [first, second].into_iter().filter(Result::is_ok).count();
        let mut left = 0;
        for path in &paths {
            left += usize::from(world.operator.get(path).await.is_ok());
        }
        assert_eq!((ended, left), (1, 1), "{round}");
    }
}

#[tokio::test]
async fn a_broker_that_relays_for_its_devices_is_not_slowed_down() {
    let world = World::with(|config| config.admission.anonymous.burst = 5).await;
    for _ in 0..20 {
        world.feed.post("/v1/enrol/nonce", JSON, Vec::new()).await.unwrap();
    }
    let operator = world.operator.post("/v1/enrol/nonce", JSON, Vec::new());
    operator.await.unwrap();
    for _ in 0..4 {
        world.stranger.post("/v1/enrol/nonce", JSON, Vec::new()).await.unwrap();
    }
    let outcome = world.stranger.post("/v1/enrol/nonce", JSON, Vec::new()).await;
    assert_eq!(problem(outcome), (429, "rate_limited".to_owned()));
}
