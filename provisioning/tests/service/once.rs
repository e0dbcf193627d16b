//! Requests with an Idempotency-Key are done once.

use std::collections::BTreeSet;

use serde_json::{json, Value};
use tessera_runtime::http::{HttpClient, HttpError, HttpResponse, Method, Request, JSON};

use crate::world::{problem, Device, World};

const CLAIMS: &str = "/v1/tenants/default/claims";
const WEBHOOKS: &str = "/v1/tenants/default/webhooks";
const API_TOKENS: &str = "/v1/api-tokens";
const KEY: &str = "ThisKeyHas22Characters";

async fn make(
    client: &HttpClient,
    path: &str,
    body: &Value,
    key: &str,
) -> Result<HttpResponse, HttpError> {
    let request = Request::new(Method::Post, path).body(JSON, body.to_string().into_bytes());
    client.send(request.header("idempotency-key", key)).await
}

/// The calls that make something.
fn calls() -> [(&'static str, Value); 8] {
    [
        ("/v1/tenants", json!({ "tenant": "acme" })),
        ("/v1/operators", json!({ "operator": "ann", "roles": ["fleet"], "tenants": "all" })),
        ("/v1/tenants/default/groups", json!({ "group": "hall" })),
        (CLAIMS, json!({ "role": "sensor", "count": 3 })),
        (API_TOKENS, json!({ "purpose": "x", "roles": ["viewer"], "tenants": "all" })),
        ("/v1/tenants/default/group-keys", json!({ "group_key": "line", "role": "sensor" })),
        ("/v1/tenants/default/group-keys/line/rotate", json!({})),
        (WEBHOOKS, json!({ "url": "https://hooks.example.com/in", "actions": ["a.b"] })),
    ]
}

/// The calls that take an Idempotency-Key, as the document says.
async fn in_document(world: &World) -> BTreeSet<String> {
    let document = world.get("/openapi.json").await;
    let paths = document["paths"].as_object().unwrap().iter();
    let takes = |call: &Value| call["parameters"].to_string().contains("\"Idempotency-Key\"");
    // The rotation of a webhook is in its own test: its path has an id that the service draws. Partner tokens have theirs,
    // since they need a role for partners. An import makes its codes from the key, and keeps no answers.
    let apart = |path: &str| {
        ["{webhook}", "/partner-tokens", "/import/"].iter().any(|part| path.contains(part))
    };
    let found = paths.filter(|(path, calls)| takes(&calls["post"]) && !apart(path));
    let named = found.map(|(path, _)| path.replace("{tenant}", "default"));
    named.map(|path| path.replace("{group_key}", "line")).collect()
}

async fn entries(world: &World) -> usize {
    world.get("/v1/audit?limit=1000").await["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer_and_nothing_is_made_again() {
    let world = World::new().await;
    world.take(&["claim", "group_key"]).await;
    let mut answers = Vec::new();
    for (path, body) in calls() {
        let first = make(&world.operator, path, &body, KEY).await.unwrap();
        let status = if path.ends_with("/rotate") { 200 } else { 201 };
        assert_eq!(first.status, status, "{path}");
        let made = entries(&world).await;
        let again = make(&world.operator, path, &body, KEY).await.unwrap();
        assert_eq!((again.status, &again.body), (status, &first.body), "{path}");
        for name in ["etag", "content-type", "cache-control"] {
            assert_eq!(again.header(name), first.header(name), "{path} {name}");
        }
        assert_eq!(entries(&world).await, made, "{path}: nothing is made again");
        // Without a key, or with another one, it is another request.
        let other = make(&world.operator, path, &body, "AnotherKeyOf22Characte").await;
        match [CLAIMS, API_TOKENS, WEBHOOKS].contains(&path) {
            true => assert_ne!(other.unwrap().body, first.body),
            false => assert_eq!(problem(other), (409, "already_exists".to_owned())),
        }
        answers.push((path, body, first.body));
    }
    assert_eq!(BTreeSet::from(calls().map(|(path, _)| path.to_owned())), in_document(&world).await);
    // The answer shows a secret that works, and a restart forgets none.
    let claims: Value = serde_json::from_slice(&answers[3].2).unwrap();
    let code = claims["claims"][0]["code"].as_str().unwrap().to_owned();
    let account: Value = serde_json::from_slice(&answers[1].2).unwrap();
    let token = account["token"].as_str().unwrap().to_owned();
    world.enrol(&Device::new("a"), &code).await.unwrap();
    let world = world.restart().await;
    for (path, body, first) in &answers {
        let again = make(&world.operator, path, body, KEY).await.unwrap();
        assert_eq!(&again.body, first, "{path} after a restart");
    }
    let ann = world.with_token(&token);
    // Another account has keys of its own.
    let theirs = make(&ann, CLAIMS, &json!({ "role": "sensor", "count": 3 }), KEY).await.unwrap();
    assert_ne!(theirs.body, answers[3].2);

    // A copy of the database shows no secret, and not the key that seals them.
    if crate::postgres::has_no_files() {
        return;
    }
    world.stop().await;
    let mut files = vec![world.dir.path().join("provisioning")];
    let mut read = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        read += bytes.len();
        for secret in [&code, &token, KEY] {
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{path:?} holds {secret}");
        }
    }
    assert!(read > 100_000, "{read}");
}

#[tokio::test]
async fn a_key_has_enough_bits_and_belongs_to_one_request() {
    let world = World::new().await;
    let body = json!({ "role": "sensor" });
    let long = "x".repeat(256);
    for bad in ["", "short", "ThisKeyHas21Character", "This Key Has Spaces In It", &long] {
        let outcome = make(&world.operator, CLAIMS, &body, bad).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "{bad:?}");
    }
    let first = make(&world.operator, CLAIMS, &body, KEY).await.unwrap();
    let other = make(&world.operator, CLAIMS, &json!({ "role": "sensor", "count": 2 }), KEY).await;
    assert_eq!(problem(other), (422, "idempotency_key_reused".to_owned()));
    // A refusal is not kept.
    let group = json!({ "group": "hall" });
    let path = "/v1/tenants/acme/groups";
    assert_eq!(problem(make(&world.operator, path, &group, KEY).await).1, "tenant_unknown");
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    assert_eq!(make(&world.operator, path, &group, KEY).await.unwrap().status, 201);
    let again = make(&world.operator, CLAIMS, &body, KEY).await.unwrap();
    assert_eq!(again.body, first.body);
}

#[tokio::test]
async fn of_many_at_once_one_is_done_and_all_get_its_answer() {
    let world = World::new().await;
    let body = json!({ "role": "sensor" });
    let before =
        world.get(&format!("{CLAIMS}?limit=1000")).await["items"].as_array().unwrap().len();
    let all = (0..32).map(|_| make(&world.operator, CLAIMS, &body, KEY));
    let outcomes = futures_util::future::join_all(all).await;
    let answer = make(&world.operator, CLAIMS, &body, KEY).await.unwrap();
    for outcome in outcomes {
        match outcome {
            Ok(one) => assert_eq!(one.body, answer.body),
            busy => assert_eq!(problem(busy), (409, "idempotency_key_busy".to_owned())),
        }
    }
    let after = world.get(&format!("{CLAIMS}?limit=1000")).await["items"].as_array().unwrap().len();
    assert_eq!(after, before + 1);
}

#[tokio::test]
async fn kept_answers_are_bounded_and_end_after_a_day() {
    let world =
        World::with(|config| config.sweep_every = std::time::Duration::from_millis(20)).await;
    let body = json!({ "role": "sensor" });
    let key = |number: usize| format!("ThisKeyHas22Characters-{number}");
    let first = make(&world.operator, CLAIMS, &body, &key(0)).await.unwrap();
    world.advance(1);
    let second = make(&world.operator, CLAIMS, &body, &key(1)).await.unwrap();
    world.advance(1);
    for number in 2..257 {
        make(&world.operator, CLAIMS, &body, &key(number)).await.unwrap();
    }
    let again = make(&world.operator, CLAIMS, &body, &key(1)).await.unwrap();
    assert_eq!(again.body, second.body);
    let again = make(&world.operator, CLAIMS, &body, &key(0)).await.unwrap();
    assert_ne!(again.body, first.body, "the oldest of 257 was forgotten");
    world.advance(24 * 3600 + 7200);
    loop {
        let answer = world.stranger.get("/metrics").await.unwrap();
        let text = String::from_utf8(answer.body).unwrap();
        let line = text.lines().find(|line| {
            line.starts_with("tessera_provisioning_swept_total{") && line.contains("kept")
        });
        if line.is_some_and(|line| line.ends_with(" 256")) {
            break;
        }
        tokio::task::yield_now().await;
    }
    let again = make(&world.operator, CLAIMS, &body, &key(256)).await.unwrap();
    assert_eq!(again.status, 201);
}

/// A refusal is not kept: the same request with the same key is done once its cause has gone, and from then on it has its
/// answer.
#[tokio::test]
async fn a_refused_request_is_done_when_it_comes_again() {
    let world = World::new().await;
    let body = json!({ "role": "sensor", "group": "hall" });
    for _ in 0..2 {
        let refused = make(&world.operator, CLAIMS, &body, KEY).await;
        assert_eq!(problem(refused), (404, "group_unknown".to_owned()));
    }
    world.post("/v1/tenants/default/groups", json!({ "group": "hall" })).await;
    let done = make(&world.operator, CLAIMS, &body, KEY).await.unwrap();
    assert_eq!(done.status, 201);
    let again = make(&world.operator, CLAIMS, &body, KEY).await.unwrap();
    assert_eq!(again.body, done.body);
    assert_eq!(world.get(CLAIMS).await["items"].as_array().unwrap().len(), 1);
}
