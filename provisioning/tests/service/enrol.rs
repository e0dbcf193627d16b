use serde_json::json;
use tessera_runtime::http::{HttpClient, HttpError, ACE_CBOR};
use tessera_token::claims::Claims;
use tessera_token::encoding::base64url;
use tessera_token::messages::{ClaimCheck, ClaimCode, EnrolRequest, RefusalAnswer};
use tessera_token::refusal::RefusalCode;

use crate::world::{problem, Device, Forced, World, START};

/// The claims of a token, read without judging it: the payload is the third item of the COSE_Sign1 array.
pub fn claims(token: &[u8]) -> Claims {
    let mut reader = tessera_token::cbor::Reader::new(&token[3..]);
    reader.array_of(4).unwrap();
    reader.skip().unwrap();
    reader.skip().unwrap();
    Claims::from_cbor(reader.bytes().unwrap()).unwrap()
}

#[tokio::test]
async fn a_claim_and_a_key_become_a_device_with_its_own_rights() {
    let world = World::new().await;
    let (device, answer) = world.enrolled("pump-1").await;
    assert_eq!((answer.expires_in, answer.bearer, answer.server_time.get()), (3600, false, START));
    let claims = claims(&answer.access_token);
    assert_eq!((claims.tenant.as_str(), claims.device.as_str()), ("default", "pump-1"));
    assert_eq!(claims.audience.as_str(), "mqtt");
    assert_eq!(claims.confirmation, Some(device.key.public()));
    assert_eq!(claims.scope, answer.scope);
    let scope: Vec<_> =
        claims.scope.entries().iter().map(|e| (e.filter.as_str(), e.permission.words())).collect();
    assert_eq!(
        scope,
        [("d/pump-1/telemetry", ["pub"].as_slice()), ("d/pump-1/cmd", ["sub"].as_slice())]
    );
    assert_eq!(claims.expires.get(), START + 3600);
    assert!(answer.access_token.len() <= 230, "{}", answer.access_token.len());
    let shown = world.get("/v1/tenants/default/devices/pump-1").await;
    assert_eq!(shown["state"], "active");
    assert_eq!(shown["thumbprint"], base64url(device.key.public().thumbprint().as_bytes()));
}

#[tokio::test]
async fn a_lost_answer_can_be_asked_again_by_the_same_key_alone() {
    let world = World::new().await;
    let claim = world.claim(json!({})).await;
    let device = Device::new("a");
    let first = world.enrol(&device, &claim).await.unwrap();
    let second = world.enrol(&device, &claim).await.unwrap();
    assert_ne!(claims(&first.access_token).serial, claims(&second.access_token).serial);
    assert_eq!(world.enrol(&Device::new("a"), &claim).await, Err(RefusalCode::DeviceKeyMismatch));
    assert_eq!(world.enrol(&Device::new("b"), &claim).await, Err(RefusalCode::ClaimUsed));
    let fresh = world.claim(json!({})).await;
    assert_eq!(world.enrol(&Device::new("a"), &fresh).await, Err(RefusalCode::DeviceKeyMismatch));
    assert_eq!(world.enrol(&device, &fresh).await, Err(RefusalCode::AlreadyExists));
    let state = |name: &'static str| move |claim: &&serde_json::Value| claim["state"] == name;
    let claims = world.get("/v1/tenants/default/claims").await;
    let claims = claims["items"].as_array().unwrap();
    assert_eq!(claims.iter().filter(state("used")).count(), 1);
    assert_eq!(claims.iter().filter(state("open")).count(), 1);
}

#[tokio::test]
async fn bound_expired_deleted_and_unknown_claims() {
    let world = World::new().await;
    let device = Device::new("a");
    let bound = world.claim(json!({ "device": "b" })).await;
    assert_eq!(world.enrol(&device, &bound).await, Err(RefusalCode::ClaimMismatch));
    world.enrol(&Device::new("b"), &bound.to_lowercase()).await.unwrap();
    assert_eq!(
        world.enrol(&device, "TSR-00000-00000-00000-00000").await,
        Err(RefusalCode::ClaimUnknown)
    );
    let short = world.claim(json!({ "expires_in": 5 })).await;
    world.advance(5);
    assert_eq!(world.enrol(&device, &short).await, Err(RefusalCode::ClaimUnknown));
    let made = world.post("/v1/tenants/default/claims", json!({ "role": "sensor" })).await;
    let (id, code) =
        (made["claims"][0]["claim"].as_str().unwrap(), made["claims"][0]["code"].as_str().unwrap());
    let path = format!("/v1/tenants/default/claims/{id}");
    assert_eq!(world.operator.delete_any(&path).await.unwrap().status, 204);
    assert_eq!(world.enrol(&device, code).await, Err(RefusalCode::ClaimUnknown));
    assert_eq!(problem(world.operator.delete_any(&path).await), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn nonces_and_proofs() {
    let world = World::new().await;
    let claim = world.claim(json!({})).await;
    let device = Device::new("a");
    let sign =
        |nonce: &[u8]| EnrolRequest::sign(&device.key, &device.tenant, &device.id, &claim, nonce);
    assert_eq!(
        world.ask("/v1/enrol", sign(&[7; 32]).to_cbor()).await,
        Err(RefusalCode::NonceInvalid)
    );
    let stale = world.nonce().await;
    world.advance(121);
    assert_eq!(
        world.ask("/v1/enrol", sign(&stale).to_cbor()).await,
        Err(RefusalCode::NonceInvalid)
    );
    let nonce = world.nonce().await;
    let mut forged = sign(&nonce);
    forged.key = Device::new("x").key.public().as_bytes().to_vec();
    assert_eq!(world.ask("/v1/enrol", forged.to_cbor()).await, Err(RefusalCode::ProofInvalid));
    let mut other_device = sign(&nonce);
    other_device.device = Device::new("b").id;
    assert_eq!(
        world.ask("/v1/enrol", other_device.to_cbor()).await,
        Err(RefusalCode::ProofInvalid)
    );
    let mut weak = sign(&nonce);
    weak.key = [vec![1], vec![0; 31]].concat();
    assert_eq!(world.ask("/v1/enrol", weak.to_cbor()).await, Err(RefusalCode::ConfirmationKey));
    let no_claim = "TSR-00000-00000-00000-00000";
    let stranger = EnrolRequest::sign(&device.key, &device.tenant, &device.id, no_claim, &nonce);
    assert_eq!(world.ask("/v1/enrol", stranger.to_cbor()).await, Err(RefusalCode::ClaimUnknown));
    // None of these has used the nonce up.
    let request = sign(&nonce).to_cbor();
    world.ask("/v1/enrol", request.clone()).await.unwrap();
    assert_eq!(
        world.ask("/v1/enrol", request).await,
        Err(RefusalCode::NonceInvalid),
        "a nonce is good once"
    );
}

#[tokio::test]
async fn unknown_and_suspended_tenants() {
    let world = World::new().await;
    let claim = world.claim(json!({})).await;
    assert_eq!(world.enrol(&Device::of("none", "a"), &claim).await, Err(RefusalCode::ClaimUnknown));
    world.post("/v1/tenants", json!({ "tenant": "other" })).await;
    assert_eq!(
        world.enrol(&Device::of("other", "a"), &claim).await,
        Err(RefusalCode::ClaimUnknown)
    );
    world.post("/v1/tenants/default/revoke", json!({})).await;
    assert_eq!(world.enrol(&Device::new("a"), &claim).await, Err(RefusalCode::TenantSuspended));
    world.post("/v1/tenants/default/reinstate", json!({})).await;
    world.enrol(&Device::new("a"), &claim).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_devices_with_one_claim_exactly_one_is_enrolled() {
    let world = std::sync::Arc::new(World::new().await);
    for _ in 0..4 {
        let claim = world.claim(json!({})).await;
        let tasks: Vec<_> = (0..12)
            .map(|n| {
                let (world, claim) = (world.clone(), claim.clone());
                tokio::spawn(async move {
                    world.enrol(&Device::new(&format!("{claim}-{n}")), &claim).await
                })
            })
            .collect();
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.unwrap().map(drop));
        }
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert_eq!(
            outcomes.iter().filter(|outcome| **outcome == Err(RefusalCode::ClaimUsed)).count(),
            11
        );
    }
    assert_eq!(
        world.get("/v1/tenants/default/devices").await["items"].as_array().unwrap().len(),
        4
    );
}

#[tokio::test]
async fn anybody_may_ask_only_so_often() {
    let world = World::with(|config| config.admission.anonymous.burst = 3).await;
    let ask = || world.stranger.post("/v1/enrol/nonce", ACE_CBOR, Vec::new());
    for _ in 0..3 {
        ask().await.unwrap();
    }
    let refused = ask().await.unwrap_err();
    assert_eq!(refused.status(), Some(429));
    world.advance(1);
    ask().await.unwrap();
    assert_eq!(world.stranger.get("/healthz").await.unwrap().status, 200);
}

/// The answer to a broker's question about a claim code.
async fn checked(
    client: &HttpClient,
    (tenant, device): (&str, &str),
    code: &str,
) -> Result<u16, RefusalCode> {
    let claim = ClaimCode::parse(code).unwrap();
    let (tenant, device) = (tenant.parse().unwrap(), device.parse().unwrap());
    let check = ClaimCheck { tenant, device, claim }.to_cbor();
    match client.post("/v1/enrol/check", ACE_CBOR, check).await {
        Ok(answer) => Ok(answer.status),
        Err(HttpError::Status { response, .. }) => {
            let refusal = RefusalAnswer::from_cbor(&response.body).unwrap();
            assert_eq!(refusal.cnonce, None);
            Err(refusal.code.unwrap())
        }
        Err(error) => panic!("{error}"),
    }
}

const NO_CODE: &str = "TSR-00000-00000-00000-00000";

#[tokio::test]
async fn a_broker_learns_whether_a_claim_is_good_and_nothing_is_changed_by_it() {
    let world = World::new().await;
    let check =
        async |device: &str, code: &str| checked(&world.feed, ("default", device), code).await;
    let code = world.claim(json!({})).await;
    let before = world.get("/v1/tenants/default/claims").await;
    for device in ["a", "b", "a"] {
        assert_eq!(check(device, &code.to_lowercase()).await, Ok(204));
    }
    assert_eq!(world.get("/v1/tenants/default/claims").await, before);
    assert_eq!(check("a", NO_CODE).await, Err(RefusalCode::ClaimUnknown));
    let of_no_tenant = checked(&world.feed, ("nothing", "a"), &code).await;
    assert_eq!(of_no_tenant, Err(RefusalCode::ClaimUnknown));
    // The device that used it may ask for its answer again, also when the code is over; no other may use it.
    let device = Device::new("a");
    world.enrol(&device, &code).await.unwrap();
    assert_eq!(check("a", &code).await, Ok(204));
    assert_eq!(check("b", &code).await, Err(RefusalCode::ClaimUsed));
    let bound = world.claim(json!({ "device": "d", "expires_in": 5 })).await;
    assert_eq!(check("d", &bound).await, Ok(204));
    assert_eq!(check("e", &bound).await, Err(RefusalCode::ClaimMismatch));
    let pattern = world.claim(json!({ "uses": 2, "pattern": "press-*" })).await;
    assert_eq!(check("press-1", &pattern).await, Ok(204));
    assert_eq!(check("pump-1", &pattern).await, Err(RefusalCode::ClaimMismatch));
    world.advance(5);
    assert_eq!(check("d", &bound).await, Err(RefusalCode::ClaimUnknown));
    assert_eq!(check("a", &code).await, Ok(204));
    world.advance(10 * 365 * 24 * 3600);
    assert_eq!(check("a", &code).await, Ok(204));
    let json = json!({ "tenant": "default", "client_id": "a", "claim": code });
    let answer = world.feed.post_json("/v1/enrol/check", &json).await.unwrap();
    assert_eq!(answer.status, 204);
    let wrong = json!({ "tenant": "default", "client_id": "a", "claim": "x" });
    let outcome = world.feed.post_json("/v1/enrol/check", &wrong).await;
    assert_eq!(problem(outcome), (400, "request_malformed".to_owned()));
}

#[tokio::test]
async fn a_broker_of_some_tenants_asks_about_their_claims_alone() {
    let world = World::new().await;
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    let account = json!({ "operator": "edge", "roles": ["feed"], "tenants": ["acme"] });
    let made = world.post("/v1/operators", account).await;
    let edge = world.with_token(made["token"].as_str().unwrap());
    let code = world.claim(json!({})).await;
    let no = Err(RefusalCode::OperatorNotAllowed);
    assert_eq!(checked(&edge, ("default", "a"), &code).await, no);
    assert_eq!(checked(&edge, ("nothing", "a"), &code).await, no);
    assert_eq!(checked(&edge, ("acme", "a"), &code).await, Err(RefusalCode::ClaimUnknown));
}

#[tokio::test]
async fn wrong_codes_that_a_broker_relays_cost_its_devices_nothing() {
    let world = World::with(|config| {
        config.admission.wrong.burst = 3;
        config.admission.relayed.burst = 5;
        config.admission.relayed.per_second = 1;
    })
    .await;
    let code = world.claim(json!({})).await;
    let mut codes = Vec::new();
    for _ in 0..20 {
        codes.push(checked(&world.feed, ("default", "a"), NO_CODE).await.unwrap_err());
    }
    // They are no attempts of the broker's account: the audit log has their sum, and no entry for each.
    let audit = world.get("/v1/audit").await.to_string();
    assert!(!audit.contains("request.refused"), "{audit}");
    // Past the rate the source is told no more whether a code is there.
    assert_eq!(codes[..3], [RefusalCode::ClaimUnknown; 3]);
    assert!(codes[3..].iter().all(|code| *code == RefusalCode::RateLimited), "{codes:?}");
    // A right one is charged apart from what the broker relays, and to no device.
    for _ in 0..5 {
        assert_eq!(checked(&world.feed, ("default", "a"), &code).await, Ok(204));
    }
    let limited = checked(&world.feed, ("default", "a"), &code).await;
    assert_eq!(limited, Err(RefusalCode::LimitReached));
    let device = Device::new("a");
    world.enrol(&device, &code).await.unwrap();
    for _ in 0..5 {
        let nonce = world.feed.post("/v1/enrol/nonce", ACE_CBOR, Vec::new()).await;
        assert_eq!(nonce.unwrap().status, 200, "the broker's own share is whole");
    }
}

/// A stranger who knows a good code and names a device takes nothing of what the device may ask for.
#[tokio::test]
async fn questions_about_a_claim_leave_the_share_of_the_named_device_whole() {
    let world = World::with(|config| config.admission.device.burst = 3).await;
    let code = world.claim(json!({})).await;
    let check = async || checked(&world.feed, ("default", "a"), &code).await;
    for _ in 0..3 {
        assert_eq!(check().await, Ok(204));
    }
    assert_eq!(check().await, Err(RefusalCode::LimitReached), "the share of the code is used up");
    let other = world.claim(json!({})).await;
    assert_eq!(checked(&world.feed, ("default", "a"), &other).await, Ok(204));
    let device = Device::new("a");
    world.enrol(&device, &code).await.unwrap();
    for _ in 0..2 {
        world.refresh(&device).await.unwrap();
    }
    assert_eq!(world.refresh(&device).await.err(), Some(RefusalCode::RateLimited), "its own share");
}
