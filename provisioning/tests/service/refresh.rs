use serde_json::json;
use tessera_token::messages::TokenKind;
use tessera_token::refusal::RefusalCode;

use crate::enrol::claims;
use crate::world::{problem, random, Device, World};

#[tokio::test]
async fn the_key_alone_gets_the_next_token_also_long_after_expiry() {
    let world = World::new().await;
    let (device, first) = world.enrolled("a").await;
    let next = world.refresh(&device).await.unwrap();
    assert_ne!(first.access_token, next.access_token);
    assert_eq!(claims(&next.access_token).confirmation, Some(device.key.public()));
    world.advance(400 * 24 * 3600);
    let late = world.refresh(&device).await.unwrap();
    assert_eq!(claims(&late.access_token).issued, world.now());
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer_and_another_with_its_nonce_none() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let (time, nonce) = (world.now(), random());
    let first = world.refresh_with(&device, time, &nonce).await.unwrap();
    world.advance(30);
    let again = world.refresh_with(&device, time, &nonce).await.unwrap();
    assert_eq!(first.access_token, again.access_token);
    assert_eq!(again.expires_in, first.expires_in - 30);
    let other_time = world.refresh_with(&device, time.plus(1), &nonce).await;
    assert_eq!(other_time, Err(RefusalCode::NonceInvalid));
    world.advance(31);
    assert_eq!(world.refresh_with(&device, time, &nonce).await, Err(RefusalCode::ProofNotFresh));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_sent_many_times_at_once_makes_one_token() {
    let world = std::sync::Arc::new(World::new().await);
    let (device, _) = world.enrolled("a").await;
    let request = world.request(&device, TokenKind::Key);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (world, body) = (world.clone(), request.to_cbor());
            tokio::spawn(async move { world.ask("/v1/token", body).await.unwrap().access_token })
        })
        .collect();
    let mut tokens = Vec::new();
    for task in tasks {
        tokens.push(task.await.unwrap());
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
}

#[tokio::test]
async fn the_clock_window() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    for (time, good) in [
        (world.now().minus(60), true),
        (world.now().plus(60), true),
        (world.now().minus(61), false),
        (world.now().plus(61), false),
    ] {
        let outcome = world.refresh_with(&device, time, &random()).await;
        assert_eq!(outcome.map(drop), if good { Ok(()) } else { Err(RefusalCode::ProofNotFresh) });
    }
}

#[tokio::test]
async fn who_gets_no_token() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let thief = Device::new("a");
    assert_eq!(world.refresh(&thief).await, Err(RefusalCode::ProofInvalid));
    assert_eq!(world.refresh(&Device::new("b")).await, Err(RefusalCode::ProofInvalid));
    assert_eq!(world.refresh(&Device::of("none", "a")).await, Err(RefusalCode::ProofInvalid));
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    assert_eq!(world.refresh(&device).await, Err(RefusalCode::DeviceRevoked));
    assert_eq!(
        world.refresh(&thief).await,
        Err(RefusalCode::ProofInvalid),
        "only the owner learns the state"
    );
    world.post("/v1/tenants/default/devices/a/reinstate", json!({})).await;
    let back = world.refresh(&device).await.unwrap();
    assert_eq!(claims(&back.access_token).epochs.device, 1);
    world.post("/v1/tenants/default/revoke", json!({})).await;
    assert_eq!(world.refresh(&device).await, Err(RefusalCode::TenantSuspended));
}

#[tokio::test]
async fn a_revoked_device_does_not_get_its_stored_answer() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let (time, nonce) = (world.now(), random());
    world.refresh_with(&device, time, &nonce).await.unwrap();
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    assert_eq!(world.refresh_with(&device, time, &nonce).await, Err(RefusalCode::DeviceRevoked));
}

#[tokio::test]
async fn a_device_that_asks_all_the_time_is_slowed_down() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    for _ in 0..64 {
        world.refresh(&device).await.unwrap();
    }
    assert_eq!(world.refresh(&device).await, Err(RefusalCode::RateLimited));
    world.advance(61);
    world.refresh(&device).await.unwrap();
}

#[tokio::test]
async fn bearer_tokens_only_where_the_tenant_gives_them() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let ask = || world.request(&device, TokenKind::Bearer).to_cbor();
    assert_eq!(world.ask("/v1/token", ask()).await, Err(RefusalCode::BearerNotAllowed));
    let set =
        world.operator.put_json("/v1/tenants/default", &json!({ "bearer": true })).await.unwrap();
    assert_eq!(set.json::<serde_json::Value>().unwrap()["bearer"], true);
    let answer = world.ask("/v1/token", ask()).await.unwrap();
    assert!(answer.bearer);
    assert_eq!(claims(&answer.access_token).confirmation, None);
}

#[tokio::test]
async fn a_role_sets_the_life_and_a_changed_role_the_next_scope() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let path = "/v1/tenants/default/roles/sensor";
    let body = json!({ "class": "device", "publish": ["x/{device}"], "token_seconds": 10 });
    assert_eq!(world.operator.put_json(path, &body).await.unwrap().status, 200);
    let next = world.refresh(&device).await.unwrap();
    assert_eq!(next.expires_in, 10);
    assert_eq!(next.scope.entries().len(), 1);
    let class =
        world.operator.put_json(path, &json!({ "class": "service", "publish": ["#"] })).await;
    assert_eq!(problem(class), (422, "role_invalid".to_owned()));
}
