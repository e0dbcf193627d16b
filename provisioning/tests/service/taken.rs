//! The answer of a revocation: its event, the verifiers that have taken it, and the wait for them.

use std::time::Duration;

use serde_json::{json, Value};
use tessera_runtime::http::{HttpClient, Method, Request};
use tessera_token::encoding::hex;
use tessera_token::trust::{READER_HEADER, VERIFIER_HEADER, VERIFIER_KIND_HEADER};

use crate::feed::Reader;
use crate::world::{problem, World};

/// One poll of a process of this verifier name, from where the reader stands.
async fn polls(client: &HttpClient, name: &str, process: u8, stands: &str) {
    let path = format!("/v1/trust/events?{stands}");
    let request = Request::new(Method::Get, &path)
        .header(VERIFIER_HEADER, name)
        .header(READER_HEADER, hex::encode([process; 16]))
        .header(VERIFIER_KIND_HEADER, "broker");
    client.send(request).await.unwrap();
}

async fn account(world: &World, name: &str, role: &str, tenants: Value) -> HttpClient {
    let body = json!({ "operator": name, "roles": [role], "tenants": tenants });
    let made = world.post("/v1/operators", body).await;
    world.with_token(made["token"].as_str().unwrap())
}

async fn revoke(client: &HttpClient, path: &str) -> Value {
    let request = Request::new(Method::Post, path)
        .body("application/json", b"{}".to_vec())
        .within(Duration::from_secs(60));
    client.send(request).await.unwrap().json().unwrap()
}

fn counts(answer: &Value) -> (u64, u64, u64, u64) {
    let of = |name: &str| answer["verifiers"][name].as_u64().unwrap();
    (of("known"), of("taken"), of("away"), of("missing_count"))
}

const DEVICE: &str = "/v1/tenants/default/devices/a/revoke";

#[tokio::test]
async fn the_answer_names_its_event_and_counts_the_verifiers_that_have_it() {
    let world = World::new().await;
    world.enrolled("a").await;
    let mut reader = Reader::snapshot(&world).await;
    assert_eq!(counts(&revoke(&world.operator, DEVICE).await), (0, 0, 0, 0));
    reader.read(&world).await;
    polls(&world.feed, "mqtt", 1, &reader.stands()).await;
    let before = reader.stands();
    let answer = revoke(&world.operator, DEVICE).await;
    assert_eq!(counts(&answer), (1, 0, 0, 1));
    assert_eq!(answer["verifiers"]["missing"][0]["verifier"], "mqtt");
    assert_eq!(answer["state"], "revoked");
    reader.read(&world).await;
    let event = answer["event"].as_u64().unwrap();
    assert!(reader.stands().starts_with(&format!("after={event}&")), "{}", reader.stands());
    let listed = async || world.get("/v1/trust/verifiers").await["items"].clone();
    assert_eq!(
        (&listed().await[0]["behind"], &listed().await[0]["state"]),
        (&json!(1), &json!("here"))
    );
    polls(&world.feed, "mqtt", 1, &reader.stands()).await;
    let now = listed().await;
    assert_eq!(
        (&now[0]["event"], &now[0]["behind"], &now[0]["kind"]),
        (&json!(event), &json!(0), &json!("broker"))
    );
    assert_eq!((&now[0]["tenants"], &now[0]["account"]), (&json!("all"), &json!("feed")));
    // An older poll takes nothing back, also not over a restart.
    polls(&world.feed, "mqtt", 1, &before).await;
    assert_eq!(listed().await[0]["event"], event);
    // While a revocation waits, what is confirmed is written at once.
    let event = revoke(&world.operator, &format!("{DEVICE}?wait=1")).await["event"].clone();
    reader.read(&world).await;
    polls(&world.feed, "mqtt", 1, &reader.stands()).await;
    let world = world.restart().await;
    assert_eq!(world.get("/v1/trust/verifiers").await["items"][0]["event"], event);
}

#[tokio::test]
async fn a_revocation_that_waits_is_answered_when_all_that_are_here_have_it() {
    let world = World::new().await;
    world.enrolled("a").await;
    let mut reader = Reader::snapshot(&world).await;
    reader.read(&world).await;
    for (name, process) in [("one", 1), ("two", 2)] {
        polls(&world.feed, name, process, &reader.stands()).await;
    }
    let path = format!("{DEVICE}?wait=30");
    let waiting = revoke(&world.operator, &path);
    let confirming = async {
        // It is durable before it waits.
        while reader.wait(&world, 5).await.is_empty() {}
        polls(&world.feed, "one", 1, &reader.stands()).await;
        polls(&world.feed, "two", 2, &reader.stands()).await;
    };
    let (answer, ()) = tokio::join!(waiting, confirming);
    assert_eq!(counts(&answer), (2, 2, 0, 0));
}

#[tokio::test]
async fn at_the_end_of_the_wait_those_that_are_missing_are_named() {
    let world = World::new().await;
    world.enrolled("a").await;
    let mut reader = Reader::snapshot(&world).await;
    reader.read(&world).await;
    for (name, process) in [("one", 1), ("two", 2), ("gone", 3)] {
        polls(&world.feed, name, process, &reader.stands()).await;
    }
    world.advance(121);
    for (name, process) in [("one", 1), ("two", 2)] {
        polls(&world.feed, name, process, &reader.stands()).await;
    }
    let path = format!("{DEVICE}?wait=1");
    let waiting = revoke(&world.operator, &path);
    let confirming = async {
        while reader.wait(&world, 5).await.is_empty() {}
        polls(&world.feed, "one", 1, &reader.stands()).await;
    };
    let (answer, ()) = tokio::join!(waiting, confirming);
    assert_eq!(counts(&answer), (3, 1, 1, 1));
    assert_eq!(answer["verifiers"]["missing"][0]["verifier"], "two");
    let long = world.operator.post_json(&format!("{DEVICE}?wait=31"), &json!({})).await;
    assert_eq!(problem(long), (400, "request_malformed".to_owned()));
}

#[tokio::test]
async fn no_account_confirms_for_a_verifier_of_another_or_for_what_it_does_not_have() {
    let world = World::new().await;
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    world.enrolled("a").await;
    let other = account(&world, "feed-2", "feed", json!("all")).await;
    let bound = account(&world, "feed-3", "feed", json!(["default"])).await;
    let acme = account(&world, "feed-4", "feed", json!(["acme"])).await;
    let mut reader = Reader::snapshot(&world).await;
    reader.read(&world).await;
    polls(&world.feed, "mqtt", 1, &reader.stands()).await;
    let event = revoke(&world.operator, DEVICE).await["event"].as_u64().unwrap();
    reader.read(&world).await;
    for client in [&other, &bound] {
        polls(client, "mqtt", 1, &reader.stands()).await;
    }
    // Without the hash, or with a wrong one, nothing is confirmed; one of another tenant does not count here.
    polls(&world.feed, "mqtt", 1, &format!("after={event}")).await;
    let wrong = format!("after={}&head={}", event, "A".repeat(43));
    let path = format!("/v1/trust/events?{wrong}");
    let request = Request::new(Method::Get, &path)
        .header(VERIFIER_HEADER, "mqtt")
        .header(READER_HEADER, hex::encode([1; 16]));
    assert!(world.feed.send(request).await.is_err());
    polls(&acme, "mqtt", 1, &reader.stands()).await;
    let path = format!("/v1/trust/events?{}", reader.stands());
    let unauthenticated = Request::new(Method::Get, &path)
        .header(VERIFIER_HEADER, "mqtt")
        .header(READER_HEADER, hex::encode([1; 16]));
    assert_eq!(problem(world.stranger.send(unauthenticated).await).0, 401);
    let answer = revoke(&world.operator, DEVICE).await;
    assert_eq!(counts(&answer), (3, 0, 0, 3));
    let items = world.get("/v1/trust/verifiers").await["items"].clone();
    let of = |account: &str| {
        let mut found = items.as_array().unwrap().iter();
        found.find(|one| one["account"] == account).unwrap()["event"].as_u64().unwrap()
    };
    assert!(of("feed") < event, "{items}");
    assert_eq!((of("feed-2"), of("feed-3"), of("feed-4")), (event, event, event));
}

#[tokio::test]
async fn an_account_of_some_tenants_sees_the_verifiers_that_serve_them() {
    let world = World::new().await;
    for tenant in ["acme", "other"] {
        world.post("/v1/tenants", json!({ "tenant": tenant })).await;
    }
    let reader = Reader::snapshot(&world).await;
    let both = account(&world, "f-both", "feed", json!(["acme", "other"])).await;
    let theirs = account(&world, "f-other", "feed", json!(["other"])).await;
    polls(&world.feed, "all", 1, &reader.stands()).await;
    polls(&both, "both", 2, &reader.stands()).await;
    polls(&theirs, "theirs", 3, &reader.stands()).await;
    let viewer = account(&world, "v", "viewer", json!(["acme"])).await;
    let seen: Value = viewer.get("/v1/trust/verifiers").await.unwrap().json().unwrap();
    let seen: Vec<_> = seen["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["verifier"].clone(), one["tenants"].clone(), one["account"].clone()))
        .collect();
    let expected =
        [(json!("all"), json!("all"), Value::Null), (json!("both"), json!(["acme"]), Value::Null)];
    assert_eq!(seen, expected);
    // Page by page.
    let first = world.get("/v1/trust/verifiers?limit=2").await;
    let next = first["next"].as_str().unwrap();
    let second = world.get(&format!("/v1/trust/verifiers?limit=2&cursor={next}")).await;
    assert_eq!(second["items"][0]["verifier"], "theirs");
    assert_eq!(second["next"], Value::Null);
}

#[tokio::test]
async fn a_restarted_verifier_takes_the_place_of_its_former_process_and_a_second_one_does_not() {
    let world = World::new().await;
    world.enrolled("a").await;
    let reader = Reader::snapshot(&world).await;
    polls(&world.feed, "mqtt", 1, &reader.stands()).await;
    world.advance(5);
    polls(&world.feed, "mqtt", 2, &reader.stands()).await;
    assert_eq!(counts(&revoke(&world.operator, DEVICE).await), (1, 0, 0, 1));
    world.advance(5);
    polls(&world.feed, "mqtt", 1, &reader.stands()).await;
    assert_eq!(counts(&revoke(&world.operator, DEVICE).await), (2, 0, 0, 2));
}

#[tokio::test]
async fn every_kind_of_revocation_tells_its_event() {
    let world = World::new().await;
    let (_, token) = world.enrolled("a").await;
    world.enrolled("b").await;
    let mut reader = Reader::snapshot(&world).await;
    let keys = world.get("/v1/tenants/default/keys").await;
    let active = keys["items"].as_array().unwrap().iter().find(|key| key["state"] == "active");
    let key = active.unwrap()["key"].as_str().unwrap().to_owned();
    let token = tessera_token::encoding::base64url(&token.access_token);
    for (path, body) in [
        ("tokens/revoke".to_owned(), json!({ "token": token })),
        ("devices/b/revoke".to_owned(), json!({})),
        ("groups/default/revoke".to_owned(), json!({})),
        (format!("keys/{key}/compromise"), json!({})),
        ("revoke".to_owned(), json!({})),
    ] {
        let answer = world.post(&format!("/v1/tenants/default/{path}"), body).await;
        reader.read(&world).await;
        let event = answer["event"].as_u64().unwrap();
        assert!(reader.stands().starts_with(&format!("after={event}&")), "{path} {answer}");
        assert_eq!(counts(&answer), (0, 0, 0, 0));
    }
}
