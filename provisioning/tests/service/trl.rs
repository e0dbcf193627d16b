//! `GET /revoke/trl` (RFC 9770): the hashes of tokens that are revoked and have not expired.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{json, Value};
use tessera_provisioning::Rate;
use tessera_runtime::http::{HttpClient, HttpError, Method, Request};
use tessera_token::cbor::Reader;
use tessera_token::encoding::base64url;
use tessera_token::hash::TokenHash;
use tessera_token::messages::RevokeRequest;

use crate::world::{problem, Device, Forced, World};

const TRL: &str = "application/ace-trl+cbor";

async fn quick() -> World {
    World::with(|config| {
        config.sweep_every = Duration::from_millis(5);
        config.admission.anonymous.burst = 1_000_000;
    })
    .await
}

async fn asked(client: &HttpClient, query: &str) -> Value {
    let path = format!("/revoke/trl{query}");
    let request = Request::new(Method::Get, &path);
    client.send(request.accept("application/json")).await.unwrap().json().unwrap()
}

fn set(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

async fn full(client: &HttpClient) -> BTreeSet<String> {
    set(&asked(client, "").await["full_set"])
}

fn hash(token: &[u8]) -> String {
    base64url(TokenHash::of(token).as_bytes())
}

fn hashes(tokens: &[&[u8]]) -> BTreeSet<String> {
    tokens.iter().map(|token| hash(token)).collect()
}

async fn account(world: &World, name: &str, role: &str, tenants: Value) -> HttpClient {
    let body = json!({ "operator": name, "roles": [role], "tenants": tenants });
    let made = world.post("/v1/operators", body).await;
    world.with_token(made["token"].as_str().unwrap())
}

async fn own(world: &World, device: &Device, token: &[u8]) -> Result<BTreeSet<String>, HttpError> {
    let proof = RevokeRequest::sign_list(&device.key, token, world.now()).to_cbor();
    let request = Request::new(Method::Get, "/revoke/trl")
        .header("tessera-proof", base64url(&proof))
        .accept("application/json");
    Ok(set(&world.stranger.send(request).await?.json::<Value>().unwrap()["full_set"]))
}

#[tokio::test]
async fn each_kind_of_revocation_lists_the_tokens_that_it_ends_and_no_later_ones() {
    let world = World::new().await;
    world.post("/v1/tenants/default/groups", json!({ "group": "hall" })).await;
    let (a, a1) = world.enrolled("a").await;
    let a2 = world.refresh(&a).await.unwrap().access_token;
    let (_, b1) = world.enrolled("b").await;
    let c = Device::new("c");
    let claim = world.claim(json!({ "group": "hall" })).await;
    let c1 = world.enrol(&c, &claim).await.unwrap().access_token;
    let (a1, b1) = (a1.access_token, b1.access_token);
    assert_eq!(full(&world.feed).await, hashes(&[]));
    let body = json!({ "token_hash": hash(&a1) });
    world.post("/v1/tenants/default/tokens/revoke", body).await;
    assert_eq!(full(&world.feed).await, hashes(&[&a1]));
    world.post("/v1/tenants/default/groups/hall/revoke", json!({})).await;
    // Before the list follows the event.
    let c2 = world.refresh(&c).await.unwrap().access_token;
    assert_eq!(full(&world.feed).await, hashes(&[&a1, &c1]), "a later token is good");
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    world.post("/v1/tenants/default/devices/a/reinstate", json!({})).await;
    let a3 = world.refresh(&a).await.unwrap().access_token;
    // A change of the tenant that is no revocation lists nothing.
    world.operator.put_over("/v1/tenants/default", &json!({ "bearer": true })).await.unwrap();
    assert_eq!(full(&world.feed).await, hashes(&[&a1, &c1, &a2]));
    let world = world.restart().await;
    assert_eq!(full(&world.feed).await, hashes(&[&a1, &c1, &a2]));
    world.post("/v1/tenants/default/revoke", json!({})).await;
    assert_eq!(full(&world.feed).await, hashes(&[&a1, &a2, &a3, &b1, &c1, &c2]));
}

#[tokio::test]
async fn none_of_very_many_tokens_of_a_device_is_left_out() {
    let world = World::with(|config| {
        config.token_seconds = 24 * 3600;
        for rate in [&mut config.admission.device, &mut config.admission.proved] {
            *rate = Rate { per_second: 1_000, burst: 1_000_000 };
        }
    })
    .await;
    let (a, a1) = world.enrolled("a").await;
    let (_, b1) = world.enrolled("b").await;
    let mut of_a = hashes(&[&a1.access_token]);
    // More than one step looks at, at the pace at which answers are kept.
    for n in 0..1_040 {
        if n % 50 == 49 {
            world.advance(200);
        }
        of_a.insert(hash(&world.refresh(&a).await.unwrap().access_token));
    }
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    assert_eq!(full(&world.feed).await.len(), of_a.len());
    assert_eq!(full(&world.feed).await, of_a);
    assert_eq!(own(&world, &a, &a1.access_token).await.unwrap(), of_a);
    let patches = asked(&world.feed, "?diff=0").await["diff_set"].clone();
    let patches = patches.as_array().unwrap();
    let added: BTreeSet<String> = patches.iter().flat_map(|patch| set(&patch[1])).collect();
    assert_eq!((patches.len(), added), (2, of_a.clone()), "one update for each step");
    // Those of other devices follow behind it.
    world.post("/v1/tenants/default/revoke", json!({})).await;
    of_a.insert(hash(&b1.access_token));
    assert_eq!(full(&world.feed).await, of_a);
}

#[tokio::test]
async fn a_compromised_key_lists_the_tokens_that_it_has_signed() {
    let world = World::new().await;
    let (a, a1) = world.enrolled("a").await;
    let keys = world.get("/v1/tenants/default/keys").await;
    let active = keys["items"].as_array().unwrap().iter().find(|key| key["state"] == "active");
    let key = active.unwrap()["key"].as_str().unwrap().to_owned();
    world.post("/v1/tenants/default/keys/rotate", json!({})).await;
    let a2 = world.refresh(&a).await.unwrap().access_token;
    world.post(&format!("/v1/tenants/default/keys/{key}/compromise"), json!({})).await;
    assert_eq!(full(&world.feed).await, hashes(&[&a1.access_token]));
    assert!(!full(&world.feed).await.contains(&hash(&a2)));
}

#[tokio::test]
async fn each_requester_gets_what_pertains_to_it() {
    let world = World::new().await;
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    let (a, a1) = world.enrolled("a").await;
    let (b, b1) = world.enrolled("b").await;
    let (a1, b1) = (a1.access_token, b1.access_token);
    for device in ["a", "b"] {
        world.post(&format!("/v1/tenants/default/devices/{device}/revoke"), json!({})).await;
    }
    let feed = account(&world, "f", "feed", json!(["default"])).await;
    let theirs = account(&world, "t", "feed", json!(["acme"])).await;
    let guard = account(&world, "g", "security", json!(["default", "acme"])).await;
    let viewer = account(&world, "v", "viewer", json!("all")).await;
    let both = hashes(&[&a1, &b1]);
    for client in [&world.feed, &world.operator, &feed, &guard] {
        assert_eq!(full(client).await, both);
    }
    assert_eq!(full(&theirs).await, hashes(&[]));
    assert_eq!(problem(viewer.get("/revoke/trl").await).0, 403);
    assert_eq!(own(&world, &a, &a1).await.unwrap(), hashes(&[&a1]));
    assert_eq!(own(&world, &b, &b1).await.unwrap(), hashes(&[&b1]));
    // The key of another, a token of another, and a request that was signed to end a token.
    for refused in [own(&world, &a, &b1).await, own(&world, &b, &a1).await] {
        assert_eq!(problem(refused), (401, "proof_invalid".to_owned()));
    }
    let ends = RevokeRequest::sign(&a.key, &a1, world.now()).to_cbor();
    let request =
        Request::new(Method::Get, "/revoke/trl").header("tessera-proof", base64url(&ends));
    assert_eq!(problem(world.stranger.send(request.accept("application/json")).await).0, 401);
    assert_eq!(problem(world.stranger.get("/revoke/trl").await).0, 400);
}

#[tokio::test]
async fn updates_are_told_behind_a_cursor_and_tokens_leave_when_they_expire() {
    let world = quick().await;
    let (_, a1) = world.enrolled("a").await;
    let (_, b1) = world.enrolled("b").await;
    assert_eq!(
        asked(&world.feed, "?diff=0").await,
        json!({ "diff_set": [], "cursor": null, "more": false })
    );
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    let first = asked(&world.feed, "").await;
    let cursor = first["cursor"].as_u64().unwrap();
    assert_eq!(cursor, 0);
    world.post("/v1/tenants/default/devices/b/revoke", json!({})).await;
    let (a, b) = (hash(&a1.access_token), hash(&b1.access_token));
    let behind = asked(&world.feed, &format!("?diff=0&cursor={cursor}")).await;
    assert_eq!(behind, json!({ "diff_set": [[[], [b]]], "cursor": 1, "more": false }));
    let newest = asked(&world.feed, "?diff=0").await;
    assert_eq!(newest["diff_set"], json!([[[], [b]], [[], [a]]]));
    assert_eq!(asked(&world.feed, "?diff=1").await["diff_set"], json!([[[], [b]]]));
    let nothing = asked(&world.feed, "?diff=0&cursor=1").await;
    assert_eq!(nothing, json!({ "diff_set": [], "cursor": 1, "more": false }));
    world.advance(a1.expires_in + 120);
    let left = async {
        while !full(&world.feed).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), left).await.unwrap();
    let behind = asked(&world.feed, "?diff=0&cursor=1").await;
    let removed: BTreeSet<String> =
        behind["diff_set"].as_array().unwrap().iter().flat_map(|patch| set(&patch[0])).collect();
    assert_eq!(removed, [a, b].into());
    // Nothing comes back, also when the tokens are revoked once more.
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    assert!(full(&world.feed).await.is_empty());
}

#[tokio::test]
async fn answers_and_errors_are_those_of_the_rfc() {
    let world = World::new().await;
    let (_, a1) = world.enrolled("a").await;
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    let answer = world.feed.get("/revoke/trl").await.unwrap();
    assert_eq!(answer.content_type, TRL);
    let mut r = Reader::new(&answer.body);
    assert_eq!((r.map().unwrap(), r.int().unwrap(), r.array().unwrap()), (2, 0, 1));
    assert_eq!(r.bytes().unwrap(), TokenHash::of(&a1.access_token).as_bytes());
    assert_eq!((r.int().unwrap(), r.uint().unwrap()), (2, 0));
    let diff = world.feed.get("/revoke/trl?diff=5").await.unwrap();
    let mut r = Reader::new(&diff.body);
    assert_eq!((r.map().unwrap(), r.int().unwrap(), r.array().unwrap()), (3, 1, 1));
    assert_eq!((r.array().unwrap(), r.array().unwrap(), r.array().unwrap()), (2, 0, 1));
    for (query, id, cursor) in [
        ("diff=x", 0, None),
        ("diff=1&cursor=x", 0, Some(0)),
        ("cursor=0", 1, None),
        ("diff=1&cursor=7", 2, None),
    ] {
        let refused = world.feed.get(&format!("/revoke/trl?{query}")).await;
        let Err(HttpError::Status { response, .. }) = refused else { panic!("{query}") };
        assert_eq!(response.status, 400);
        assert_eq!(response.content_type, "application/concise-problem-details+cbor");
        let mut r = Reader::new(&response.body);
        assert_eq!((r.map().unwrap(), r.int().unwrap()), (2, -1));
        r.text().unwrap();
        assert_eq!((r.int().unwrap(), r.map().unwrap()), (1, 1 + usize::from(cursor.is_some())));
        assert_eq!((r.int().unwrap(), r.int().unwrap()), (0, id), "{query}");
        if let Some(cursor) = cursor {
            assert_eq!((r.int().unwrap(), r.uint().unwrap()), (1, cursor));
        }
    }
}
