use serde_json::{json, Value};
use tessera_runtime::http::{HttpError, ACE_CBOR};
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::messages::{NonceAnswer, RefusalAnswer, TokenKind, TokenRequest};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;

use crate::enrol::claims;
use crate::world::{problem, random, Device, Forced, World};

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

/// The code of a refused request, and the nonce that it got to sign instead of a time.
async fn nonce_after(world: &World, request: &TokenRequest) -> (RefusalCode, Vec<u8>) {
    let asked = world.stranger.post("/v1/token", ACE_CBOR, request.to_cbor()).await;
    let Err(HttpError::Status { response, .. }) = asked else { panic!("not refused") };
    let refusal = RefusalAnswer::from_cbor(&response.body).unwrap();
    (refusal.code.unwrap(), refusal.cnonce.unwrap())
}

#[tokio::test]
async fn a_device_without_a_clock_signs_a_nonce_of_the_service() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let Device { tenant, id, key } = &device;
    let by = |cnonce: &[u8], nonce: &[u8]| {
        TokenRequest::sign_nonce(key, tenant, id, cnonce, nonce, TokenKind::Key).to_cbor()
    };
    let (epoch, kind) = (UnixSeconds::new(9), TokenKind::Key);
    let in_1970 = TokenRequest::sign(key, tenant, id, epoch, &random(), kind);
    let (code, cnonce) = nonce_after(&world, &in_1970).await;
    assert_eq!(code, RefusalCode::ProofNotFresh);
    let nonce = random();
    let first = world.ask("/v1/token", by(&cnonce, &nonce)).await.unwrap();
    assert_eq!(claims(&first.access_token).issued, world.now());
    // A lost answer can be asked for again; another request by the same nonce is refused, and gets a new one.
    world.advance(60);
    let again = world.ask("/v1/token", by(&cnonce, &nonce)).await.unwrap();
    assert_eq!(again.access_token, first.access_token);
    let second = TokenRequest::sign_nonce(key, tenant, id, &cnonce, &random(), kind);
    let (code, fresh) = nonce_after(&world, &second).await;
    assert_eq!(code, RefusalCode::NonceInvalid);
    assert!(world.ask("/v1/token", by(&fresh, &nonce)).await.is_ok());
    // A signature over a nonce ends with the nonce, and one over bytes of a stranger was never good.
    world.advance(121);
    for stale in [&cnonce, &vec![7; 32], &vec![7; 8]] {
        let asked = world.ask("/v1/token", by(stale, &nonce)).await;
        assert_eq!(asked.map(drop), Err(RefusalCode::NonceInvalid));
    }
    // The nonces of enrolment are the same; signatures over them are told apart.
    let given = world.stranger.post("/v1/enrol/nonce", ACE_CBOR, Vec::new()).await.unwrap();
    let given = NonceAnswer::from_cbor(&given.body).unwrap().nonce;
    let thief = Device::new("a");
    let stolen = TokenRequest::sign_nonce(&thief.key, tenant, id, &given, &nonce, kind);
    let asked = world.ask("/v1/token", stolen.to_cbor()).await;
    assert_eq!(asked.map(drop), Err(RefusalCode::ProofInvalid));
    assert!(world.ask("/v1/token", by(&given, &nonce)).await.is_ok());
}

#[tokio::test]
async fn json_devices_sign_a_nonce_too() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let Device { tenant, id, key } = &device;
    let body = |members: Value, request: &TokenRequest| {
        let mut body = json!({
            "grant_type": "client_credentials", "client_id": "a", "tenant": "default",
            "nonce": base64url(&request.nonce), "signature": base64url(&request.signature),
        });
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        body
    };
    let late = TokenRequest::sign(key, tenant, id, UnixSeconds::new(9), &random(), TokenKind::Key);
    let refused = world.stranger.post_json("/v1/token", &body(json!({ "iat": 9 }), &late)).await;
    let Err(HttpError::Status { response, .. }) = &refused else { panic!("not refused") };
    let problem: Value = response.json().unwrap();
    assert_eq!(problem["code"], "proof_not_fresh");
    let cnonce = from_base64url(problem["cnonce"].as_str().unwrap()).unwrap();
    let signed = TokenRequest::sign_nonce(key, tenant, id, &cnonce, &random(), TokenKind::Key);
    let both = body(json!({ "iat": 9, "cnonce": base64url(&cnonce) }), &signed);
    assert!(world.stranger.post_json("/v1/token", &both).await.is_err());
    let one = body(json!({ "cnonce": base64url(&cnonce) }), &signed);
    assert!(world.stranger.post_json("/v1/token", &one).await.is_ok());
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
        world.operator.put_over("/v1/tenants/default", &json!({ "bearer": true })).await.unwrap();
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
    assert_eq!(world.operator.put_over(path, &body).await.unwrap().status, 200);
    let next = world.refresh(&device).await.unwrap();
    assert_eq!(next.expires_in, 10);
    assert_eq!(next.scope.entries().len(), 1);
    let class =
        world.operator.put_over(path, &json!({ "class": "service", "publish": ["#"] })).await;
    assert_eq!(problem(class), (422, "role_invalid".to_owned()));
}

/// A refusal uses up no nonce, neither of the device nor of the service: the same request gets its token once its cause has
/// gone, and the same token when it comes again.
#[tokio::test]
async fn a_refused_request_gets_its_token_when_it_comes_again() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let own = world.request(&device, TokenKind::Key);
    let Device { tenant, id, key } = &device;
    let (epoch, kind) = (UnixSeconds::new(9), TokenKind::Key);
    let in_1970 = TokenRequest::sign(key, tenant, id, epoch, &random(), kind);
    let (_, cnonce) = nonce_after(&world, &in_1970).await;
    let served = TokenRequest::sign_nonce(key, tenant, id, &cnonce, &random(), kind);
    for request in [own, served] {
        let ask = async || world.ask("/v1/token", request.to_cbor()).await;
        world.post("/v1/tenants/default/devices/a/suspend", json!({})).await;
        for _ in 0..2 {
            assert_eq!(ask().await, Err(RefusalCode::DeviceSuspended));
        }
        world.post("/v1/tenants/default/devices/a/reinstate", json!({})).await;
        let first = ask().await.unwrap();
        assert_eq!(ask().await.unwrap().access_token, first.access_token);
    }
}
