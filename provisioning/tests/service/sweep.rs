use std::time::Duration;

use serde_json::{json, Value};
use tessera_token::chain::KeyState;
use tessera_token::encoding::base64url;
use tessera_token::hash::TokenHash;
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::limits::TOKEN_LIFE_SECONDS;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Change;

use crate::feed::Reader;
use crate::world::{problem, Forced, World};

pub async fn swept(world: &World, table: &str, rows: u64) {
    let wanted = format!("tessera_provisioning_swept_total{{table=\"{table}\"}} {rows}");
    counted(world, &wanted).await;
}

/// Waits until the metrics say so.
async fn counted(world: &World, wanted: &str) {
    let told = async {
        while !world.stranger.get("/metrics").await.unwrap().text().contains(wanted) {
            // With a clock that stands, all strangers together have a fixed number of requests.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.unwrap();
}

pub async fn quick() -> World {
    World::with(|config| {
        config.sweep_every = Duration::from_millis(5);
        config.admission.anonymous.burst = 1_000_000;
        config.admission.proved.burst = 1_000_000;
        config.admission.device.burst = 1_000_000;
    })
    .await
}

#[tokio::test]
async fn what_has_expired_is_forgotten_and_the_device_goes_on() {
    let world = quick().await;
    let (device, first) = world.enrolled("a").await;
    let body = json!({ "token_hash": base64url(TokenHash::of(&first.access_token).as_bytes()) });
    world.post("/v1/tenants/default/tokens/revoke", body.clone()).await;
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    world.post("/v1/tenants/default/devices/a/reinstate", json!({})).await;
    world.advance(3600);
    swept(&world, "issued", 1).await;
    swept(&world, "revoked_tokens", 1).await;
    let again = world.operator.post_json("/v1/tenants/default/tokens/revoke", &body).await;
    assert_eq!(problem(again), (404, "not_found".to_owned()));
    world.advance(TOKEN_LIFE_SECONDS);
    swept(&world, "moved_devices", 1).await;
    let next = world.refresh(&device).await.unwrap();
    assert_eq!(
        crate::enrol::claims(&next.access_token).epochs.device,
        1,
        "the epoch itself never goes back"
    );
}

#[tokio::test]
async fn unused_claims_are_forgotten_after_a_while_and_used_ones_stay() {
    let world = quick().await;
    let open = world.claim(json!({ "expires_in": 10 })).await;
    world.enrolled("a").await;
    world.advance(10 + 7 * 24 * 3600 + 1);
    swept(&world, "claims", 1).await;
    let left: Value = world.get("/v1/tenants/default/claims").await;
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    assert_eq!(left["items"][0]["state"], "used");
    let late = world.enrol(&crate::world::Device::new("b"), &open).await;
    assert_eq!(late, Err(RefusalCode::ClaimUnknown));
}

#[tokio::test]
async fn a_retiring_key_is_retired_when_its_last_token_has_expired() {
    let world = quick().await;
    world.post("/v1/tenants/default/keys/rotate", json!({})).await;
    let mut reader = Reader::snapshot(&world).await;
    let old: Vec<_> = reader
        .keys()
        .filter(|key| key.state == KeyState::Retiring)
        .map(|key| key.key.clone())
        .collect();
    world.advance(TOKEN_LIFE_SECONDS + 60);
    let changes = reader.wait(&world, 60).await;
    let Some(Change::Key(key)) = changes.first() else { panic!("{changes:?}") };
    assert_eq!((key.state, vec![key.key.clone()]), (KeyState::Retired, old.clone()));
    let fresh = Reader::snapshot(&world).await;
    assert_eq!(fresh.keys().count(), 2, "a retired key is no longer told");
}

/// A rotation that finds no room holds up nothing else: else no room would ever be made.
#[tokio::test]
async fn a_key_that_finds_no_room_for_its_successor_holds_up_no_sweep() {
    let world = World::with(|config| {
        config.sweep_every = Duration::from_millis(5);
        config.admission.anonymous.burst = 1_000_000;
        config.admission.proved.burst = 1_000_000;
        config.admission.device.burst = 1_000_000;
        config.trust.keys_unasked = 2;
    })
    .await;
    let (_, first) = world.enrolled("a").await;
    let body = json!({ "token_hash": base64url(TokenHash::of(&first.access_token).as_bytes()) });
    world.post("/v1/tenants/default/tokens/revoke", body).await;
    let shown = world.get("/v1/tenants/default/keys").await;
    let ends = shown["items"].as_array().unwrap().iter().map(|key| key["not_after"].as_u64());
    world.advance(ends.max().flatten().unwrap() - world.now().get() - 3600);
    swept(&world, "revoked_tokens", 1).await;
    // The step for keys of the sweep that saw the new time first may be still to come.
    counted(&world, "tessera_provisioning_limits_hit_total{limit=\"keys\"}").await;
}

/// The token of an answer may end long before its request is stale.
#[tokio::test]
async fn the_same_request_gets_the_same_token_also_when_that_has_ended_and_was_swept() {
    let world = quick().await;
    let role = json!({ "class": "device", "publish": ["d/{device}/t"], "token_seconds": 2 });
    let path = "/v1/tenants/default/roles/brief";
    world.operator.put_over(path, &role).await.unwrap();
    let claim = world.claim(json!({ "role": "brief" })).await;
    let device = crate::world::Device::new("a");
    world.enrol(&device, &claim).await.unwrap();
    let (time, nonce) = (world.now(), [7; 16]);
    let first = world.refresh_with(&device, time, &nonce).await.unwrap();
    world.advance(30);
    // That of the enrolment has no answer to keep.
    swept(&world, "issued", 1).await;
    let again = world.refresh_with(&device, time, &nonce).await.unwrap();
    assert_eq!(again.access_token, first.access_token);
    assert_eq!(again.expires_in, 0);
    world.advance(PROOF_WINDOW_SECONDS + 31);
    swept(&world, "issued", 2).await;
}
