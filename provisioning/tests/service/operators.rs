use serde_json::{json, Value};
use tessera_runtime::http::{Method, Request, JSON};

use crate::world::{problem, World};

const PUBLIC: &[&str] = &[
    "/v1/enrol/nonce",
    "/v1/enrol",
    "/v1/token",
    "/.well-known/cose-key-set",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
];

/// Every operation of the served document: method and path with its parameters filled in.
async fn operations(world: &World) -> Vec<(Method, String, String)> {
    let document: Value = world.nobody.get("/openapi.json").await.unwrap().json().unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let filled = path.replace("{tenant}", "default").replace("{key}", "0011223344556677");
        let filled = filled.replace("{role}", "r").replace("{group}", "g");
        let filled = filled.replace("{claim}", "0011223344556677").replace("{device}", "x");
        for method in methods.as_object().unwrap().keys() {
            let method = match method.as_str() {
                "get" => Method::Get,
                "post" => Method::Post,
                "put" => Method::Put,
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
        for client in [&world.nobody, &wrong, &short] {
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
        if open || path.starts_with("/v1/trust/") {
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
    let world = World::with(|config| config.admission.address_burst = 100).await;
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
            tessera_token::text::from_base64url(entry[name].as_str().unwrap()).unwrap()
        };
        assert_eq!(bytes("previous"), previous);
        previous = bytes("hash");
        assert_eq!(chained(entry), previous);
    }
}

/// The hash as the document describes it.
fn chained(entry: &Value) -> Vec<u8> {
    let mut w = tessera_token::cbor::Writer::new();
    let previous =
        tessera_token::text::from_base64url(entry["previous"].as_str().unwrap()).unwrap();
    w.array(9).text("tessera-audit-1").uint(entry["seq"].as_u64().unwrap()).bytes(&previous);
    w.uint(entry["at"].as_u64().unwrap());
    for name in ["actor", "action", "tenant", "subject", "detail"] {
        w.text(entry[name].as_str().unwrap());
    }
    tessera_token::hash::sha256(&w.finish()).to_vec()
}
