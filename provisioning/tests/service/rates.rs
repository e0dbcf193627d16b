//! Rates: one kind of request uses up nothing of another.

use serde_json::json;
use tessera_provisioning::{Rate, RawLimits};
use tessera_runtime::http::{HttpClient, HttpError, ACE_CBOR, JSON};
use tessera_token::key::SecretKey;
use tessera_token::messages::{RefusalAnswer, TokenAnswer, TokenKind};
use tessera_token::refusal::RefusalCode;

use crate::world::{problem, Device, World};

/// A refresh as a broker relays it.
async fn relay(feed: &HttpClient, body: Vec<u8>) -> Result<TokenAnswer, RefusalCode> {
    match feed.post("/v1/token", ACE_CBOR, body).await {
        Ok(answer) => Ok(TokenAnswer::from_cbor(&answer.body).unwrap()),
        Err(HttpError::Status { response, .. }) => {
            Err(RefusalAnswer::from_cbor(&response.body).unwrap().code.unwrap())
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn wrong_tokens_and_wrong_proofs_take_nothing_from_honest_refreshes() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let wrong = world.with_token(&format!("tsr_op_{}", "A".repeat(43)));
    let mut thief = Device::new("a");
    thief.key = SecretKey::from_seed(&[9; 32]);
    let mut told = Vec::new();
    for n in 0..400 {
        let refused = match n % 3 {
            0 => problem(wrong.get("/v1/tenants").await).1,
            1 => world.ask("/v1/token", b"rubbish".to_vec()).await.unwrap_err().as_str().to_owned(),
            _ => world.refresh(&thief).await.unwrap_err().as_str().to_owned(),
        };
        told.push(refused);
    }
    assert_eq!(told.iter().filter(|code| *code == "rate_limited").count(), 150, "{told:?}");
    for _ in 0..40 {
        world.refresh(&device).await.unwrap();
    }
    // Nor from those that show nothing, and these take nothing from them either.
    world.nonce().await;
}

#[tokio::test]
async fn requests_without_a_credential_take_nothing_from_refreshes() {
    let world = World::with(|config| {
        config.admission.anonymous.burst = 3;
        config.admission.anonymous_total.burst = 5;
    })
    .await;
    let (device, _) = world.enrolled("a").await;
    for _ in 0..20 {
        let _ = world.stranger.post("/v1/enrol/nonce", JSON, Vec::new()).await;
    }
    assert_eq!(problem(world.stranger.get("/openapi.json").await).1, "rate_limited");
    for _ in 0..40 {
        world.refresh(&device).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_broker_relays_is_charged_to_the_device_and_not_to_its_address() {
    let world = World::with(|config| {
        config.admission.proved = Rate { per_second: 1, burst: 4 };
        config.admission.wrong = Rate { per_second: 1, burst: 5 };
        config.admission.device = Rate { per_second: 1, burst: 10 };
        config.admission.relayed = Rate { per_second: 1, burst: 60 };
    })
    .await;
    let (bad, _) = world.enrolled("bad").await;
    let mut others = Vec::new();
    for n in 0..3 {
        others.push(world.enrolled(&format!("d{n}")).await.0);
    }
    // The address has nothing left for the fifth.
    assert_eq!(world.refresh(&bad).await, Err(RefusalCode::RateLimited));
    let mut stale = world.request(&bad, TokenKind::Key).to_cbor();
    *stale.last_mut().unwrap() ^= 1;
    for _ in 0..50 {
        assert!(relay(&world.feed, stale.clone()).await.is_err());
    }
    assert_eq!(relay(&world.feed, stale).await, Err(RefusalCode::RateLimited));
    for _ in 0..3 {
        for device in &others {
            let request = world.request(device, TokenKind::Key).to_cbor();
            relay(&world.feed, request).await.unwrap();
        }
    }
    // A device that asks rightly in a loop uses up its own, and a stolen feed token is not without an end.
    let ask = || relay(&world.feed, world.request(&bad, TokenKind::Key).to_cbor());
    let mut outcomes = Vec::new();
    for _ in 0..20 {
        outcomes.push(ask().await.is_ok());
    }
    assert_eq!(outcomes.iter().filter(|good| **good).count(), 9, "one was used by its enrolment");
    let request = world.request(&others[0], TokenKind::Key).to_cbor();
    relay(&world.feed, request).await.unwrap();
}

#[tokio::test]
async fn a_feed_token_has_a_rate_of_its_own() {
    let world = World::with(|config| {
        config.admission.relayed = Rate { per_second: 1, burst: 5 };
        config.admission.device.burst = 1000;
    })
    .await;
    let (device, _) = world.enrolled("a").await;
    for n in 0..8 {
        let asked = relay(&world.feed, world.request(&device, TokenKind::Key).to_cbor()).await;
        assert_eq!(asked.is_ok(), n < 5, "{n}: {asked:?}");
    }
    world.advance(2);
    relay(&world.feed, world.request(&device, TokenKind::Key).to_cbor()).await.unwrap();
}

#[tokio::test]
async fn every_rate_is_a_setting_and_none_is_zero() {
    let world = World::with(|config| {
        let limits = RawLimits { wrong_burst: 2, wrong_per_second: 1, ..RawLimits::default() };
        limits.apply(config).unwrap();
    })
    .await;
    let wrong = world.with_token(&format!("tsr_op_{}", "A".repeat(43)));
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(problem(wrong.get("/v1/tenants").await).1);
    }
    assert_eq!(codes, ["operator_unknown", "operator_unknown", "rate_limited"]);
    assert_eq!(world.get("/v1/whoami").await["operator"], json!("bootstrap"));
    let mut config = tessera_provisioning::ProvisioningConfig::new(
        world.dir.path(),
        "127.0.0.1:0".parse().unwrap(),
    )
    .unwrap();
    for raw in [
        RawLimits { wrong_burst: 0, ..RawLimits::default() },
        RawLimits { device_per_second: 0, ..RawLimits::default() },
        RawLimits { relayed_burst: u32::MAX, ..RawLimits::default() },
        RawLimits { connections: 0, ..RawLimits::default() },
    ] {
        let error = raw.apply(&mut config).unwrap_err().to_string();
        assert!(error.contains("limits."), "{error}");
    }
}
