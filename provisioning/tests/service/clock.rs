//! A clock that is ahead, behind or jumps, at provisioning alone.

use std::future::Future;
use std::time::Duration;

use serde_json::{json, Value};
use tessera_provisioning::{Provisioning, ProvisioningConfig};
use tessera_runtime::clock::ManualClock;
use tessera_runtime::http::{HttpClient, HttpError, HttpLimits};
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::stop::Stop;
use tessera_token::chain::KeyState;
use tessera_token::encoding::base64url;
use tessera_token::hash::TokenHash;
use tessera_token::limits::TOKEN_LIFE_SECONDS;
use tessera_token::time::UnixSeconds;

use crate::enrol::claims;
use crate::feed::Reader;
use crate::world::{random, Forced, World, START};

const DAY: i64 = 24 * 3600;

fn at(seconds: u64) -> UnixSeconds {
    UnixSeconds::new(seconds)
}

async fn quick() -> World {
    World::with(|config| {
        config.sweep_every = Duration::from_millis(5);
        config.admission.anonymous.burst = 1_000_000;
        config.admission.proved.burst = 1_000_000;
        config.admission.device.burst = 1_000_000;
    })
    .await
}

async fn ready(client: &HttpClient) -> Result<(), String> {
    loop {
        match client.get("/readyz").await {
            Ok(_) => return Ok(()),
            Err(HttpError::Status { response, .. }) => {
                let body: Value = response.json().unwrap();
                assert_eq!(response.status, 503);
                // An entry that waited while the clock was set seems to have waited for long, until it is chained.
                if body["reasons"][0]["part"] != "audit" {
                    assert_eq!(body["reasons"][0]["part"], "clock", "{body}");
                    return Err(body["code"].as_str().unwrap().to_owned());
                }
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Seconds pass, and the service looks at its clock in each.
async fn pass(world: &World, seconds: u64) {
    for _ in 0..seconds {
        world.advance(1);
        let _ = ready(&world.stranger).await;
    }
}

/// Waits until the sweeper has gone round, which heals and removes.
async fn until<F: Future<Output = bool>>(mut done: impl FnMut() -> F) {
    let told = async {
        while !done().await {
            // A stranger who asks without a pause uses up the share of all strangers.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_wrong_for_13_seconds_moves_nothing_and_says_so() {
    for jump in [600, 7200, 40 * DAY, 365 * DAY, -DAY, -(START as i64)] {
        let world = quick().await;
        let (device, _) = world.enrolled("a").await;
        world.clock.set_unix(at(START.saturating_add_signed(jump)));
        assert_eq!(ready(&world.stranger).await, Err("clock_wrong".to_owned()), "{jump}");
        let shown = world.stranger.get("/metrics").await.unwrap().text().to_owned();
        let line = format!("tessera_provisioning_clock_ahead_seconds {jump}");
        assert!(shown.contains(&line), "{line}");
        let answer = world.refresh_with(&device, at(START), &random()).await.unwrap();
        assert_eq!(claims(&answer.access_token).issued, at(START));
        pass(&world, 13).await;
        world.clock.set_unix(at(START + 13));
        assert_eq!(ready(&world.stranger).await, Ok(()));
        let answer = world.refresh(&device).await.unwrap();
        assert_eq!(claims(&answer.access_token).issued, at(START + 13));
    }
}

/// It stays ahead until it is believed; keys are rotated, tokens and devices revoked, everything goes on. Then it is right.
#[tokio::test]
async fn a_clock_that_was_ahead_for_long_stops_no_client_once_it_is_right() {
    for ahead in [7200, 40 * DAY as u64, 365 * DAY as u64] {
        let world = quick().await;
        let (device, first) = world.enrolled("a").await;
        let (_, lost) = world.enrolled("lost").await;
        let hash = TokenHash::of(&first.access_token);
        let body = json!({ "token_hash": base64url(hash.as_bytes()) });
        world.post("/v1/tenants/default/tokens/revoke", body).await;
        world.post("/v1/tenants/default/devices/lost/revoke", json!({})).await;
        world.clock.set_unix(at(START + ahead));
        pass(&world, 40).await;
        assert_eq!(ready(&world.stranger).await, Ok(()));
        world.post("/v1/tenants/default/keys/rotate", json!({})).await;
        let claim = world.claim(json!({ "expires_in": 3600 })).await;
        for _ in 0..64 {
            world.refresh(&device).await.unwrap();
        }
        pass(&world, 5).await;

        world.clock.set_unix(at(START + 45));
        pass(&world, 31).await;
        assert_eq!(ready(&world.stranger).await, Ok(()));
        let now = START + 76;
        // A new key signs what verifiers take now.
        let reader = Reader::snapshot(&world).await;
        let kid = |token: &[u8]| {
            let key = reader.keys().find(|key| {
                let id = key.key.key_id();
                token.windows(8).any(|bytes| bytes == id.as_bytes())
            });
            key.unwrap().clone()
        };
        until(|| async {
            let reader = Reader::snapshot(&world).await;
            let good = reader
                .keys()
                .filter(|key| matches!(key.state, KeyState::Active | KeyState::Next))
                .all(|key| key.not_before <= at(now) && key.not_after > at(now));
            good
        })
        .await;
        let answer = world.refresh(&device).await.unwrap();
        let token = claims(&answer.access_token);
        assert!(token.issued >= at(now) && token.issued <= at(now + 1));
        assert_eq!(kid(&answer.access_token).state, KeyState::Active);
        // A new verifier is told of the earlier revocation.
        assert!(reader.revoked(&hash));
        assert_eq!(reader.device_epoch("lost"), 1);
        let lost = TokenHash::of(&lost.access_token);
        let body = json!({ "token_hash": base64url(lost.as_bytes()) });
        world.post("/v1/tenants/default/tokens/revoke", body).await;
        // The claim of that time is good, and no longer than it was meant to be.
        until(|| async {
            let claims = world.get("/v1/tenants/default/claims").await;
            let items = claims["items"].as_array().unwrap().clone();
            items
                .iter()
                .filter(|item| item["state"] == "open")
                .all(|item| item["expires"].as_u64().unwrap() <= now + 3600)
        })
        .await;
        let other = crate::world::Device::new("b");
        world.enrol(&other, &claim).await.unwrap();
    }
}

/// Rows are removed by time that was lived through, over restarts too.
#[tokio::test]
async fn a_start_under_a_clock_that_is_ahead_removes_nothing() {
    let world = quick().await;
    let (_, first) = world.enrolled("a").await;
    let (device, _) = world.enrolled("b").await;
    let hash = TokenHash::of(&first.access_token);
    let body = json!({ "token_hash": base64url(hash.as_bytes()) });
    world.post("/v1/tenants/default/tokens/revoke", body).await;
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    world.clock.set_unix(at(START + 40 * DAY as u64));
    let world = world.restart().await;
    assert_eq!(ready(&world.stranger).await, Ok(()));
    pass(&world, 13).await;
    world.clock.set_unix(at(START + 13));
    let world = world.restart().await;
    let told = Reader::snapshot(&world).await;
    assert!(told.revoked(&hash));
    assert_eq!(told.device_epoch("a"), 1);
    world.refresh(&device).await.unwrap();
}

/// A device that is revoked while the clock is far behind stays revoked for new verifiers when it is right.
#[tokio::test]
async fn what_is_revoked_by_a_clock_that_is_behind_stays_so() {
    let world = quick().await;
    world.enrolled("a").await;
    world.clock.set_unix(at(START - 40 * DAY as u64));
    let world = world.restart().await;
    assert_eq!(
        ready(&world.stranger).await,
        Ok(()),
        "before the beginning: the beginning was wrong"
    );
    world.clock.set_unix(at(START + 100));
    pass(&world, 31).await;
    world.clock.set_unix(at(START - DAY as u64));
    pass(&world, 31).await;
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    world.clock.set_unix(at(START + 200));
    pass(&world, 31).await;
    assert_eq!(Reader::snapshot(&world).await.device_epoch("a"), 1);
    world.advance(TOKEN_LIFE_SECONDS / 2);
    assert_eq!(Reader::snapshot(&world).await.device_epoch("a"), 1);
}

/// No witness of its own: the clocks of its readers tell.
#[tokio::test]
async fn a_start_under_a_clock_that_is_ahead_is_seen_by_the_clocks_of_its_readers() {
    let world = quick().await;
    world.clock.set_unix(at(START + 7200));
    let world = world.restart().await;
    let poll = |clock: u64| {
        let path = format!("/v1/trust/events?after=1&wait=0&clock={clock}");
        let feed = &world.feed;
        async move { feed.get(&path).await.map(drop).unwrap() }
    };
    assert_eq!(ready(&world.stranger).await, Ok(()));
    poll(START + 1).await;
    poll(START).await;
    assert_eq!(ready(&world.stranger).await, Err("clock_wrong".to_owned()));
    world.clock.set_unix(at(START));
    pass(&world, 31).await;
    assert_eq!(ready(&world.stranger).await, Ok(()));
    // A reader that is behind alone is not believed.
    poll(START - 7200).await;
    assert_eq!(ready(&world.stranger).await, Ok(()));
}

#[tokio::test]
async fn a_first_start_in_1970_founds_nothing_before_the_clock_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let addr = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap()
    };
    let (clock, stop) = (ManualClock::at(at(77)), Stop::new());
    let config = ProvisioningConfig::new(dir.path(), addr).unwrap();
    let starting = tokio::spawn(Provisioning::start(
        config,
        clock.clone(),
        SystemRandom::shared(),
        Metrics::new(),
        stop.clone(),
    ));
    let client = HttpClient::new(format!("http://{addr}"), None, HttpLimits::default()).unwrap();
    until(|| async { client.get("/healthz").await.is_ok() }).await;
    assert_eq!(ready(&client).await, Err("clock_wrong".to_owned()));
    assert!(!starting.is_finished());
    assert!(!dir.path().join("root.thumbprint").exists());
    clock.set_unix(at(START));
    let handle = starting.await.unwrap().unwrap();
    assert_eq!(handle.addr(), addr);
    assert_eq!(ready(&client).await, Ok(()));
    let keys = client.get("/.well-known/cose-key-set?tenant=default").await.unwrap();
    assert!(!keys.body.is_empty());
    assert_eq!(stop.finish(Duration::from_secs(30)).await, Vec::<String>::new());
}

/// An API token that has ended does not come to life again with a clock that is set back, and one that was made by a clock
/// that was ahead lives as long as it was meant to.
#[tokio::test]
async fn api_tokens_end_once_and_in_their_time() {
    let world = quick().await;
    let make = async || {
        let wanted =
            json!({ "purpose": "x", "roles": ["viewer"], "tenants": "all", "expires_in": 60 });
        let made = world.post("/v1/api-tokens", wanted).await;
        let id = made["api_token"].as_str().unwrap().to_owned();
        (world.with_token(made["token"].as_str().unwrap()), id)
    };
    let is_open = async |client: &HttpClient| client.get("/v1/tenants").await.is_ok();
    let (token, _) = make().await;
    assert!(is_open(&token).await);
    pass(&world, 61).await;
    assert!(!is_open(&token).await);
    world.clock.set_unix(at(START + 30));
    assert!(!is_open(&token).await);
    pass(&world, 31).await;
    // A clock that is ahead for long is believed.
    world.clock.set_unix(at(START + 40 * DAY as u64));
    pass(&world, 31).await;
    let (ahead, id) = make().await;
    world.clock.set_unix(at(START + 200));
    let path = format!("/v1/api-tokens/{id}");
    let now = loop {
        pass(&world, 1).await;
        let now = world.now().get();
        let list = world.get("/v1/api-tokens").await;
        let items = list["items"].as_array().unwrap();
        let row = items.iter().find(|row| row["api_token"] == id).unwrap();
        if row["expires"].as_u64().unwrap() <= now + 60 {
            break now;
        }
        assert!(now < START + 1000, "{path}: {row}");
    };
    assert!(is_open(&ahead).await, "{now}");
    pass(&world, 61).await;
    assert!(!is_open(&ahead).await);
}

/// Partner tokens likewise: one that was made by a clock that was ahead has the same life, from the time of the right one.
#[tokio::test]
async fn partner_tokens_of_a_clock_that_was_ahead_are_dated_anew() {
    let world = quick().await;
    let role = json!({ "class": "partner", "publish": ["orders/new"], "token_seconds": 600 });
    world.operator.put_over("/v1/tenants/default/roles/orders", &role).await.unwrap();
    // A clock that is ahead for long is believed.
    world.clock.set_unix(at(START + 40 * DAY as u64));
    pass(&world, 31).await;
    let wanted = json!({ "device": "erp", "purpose": "x", "role": "orders", "expires_in": 60 });
    let made = world.post("/v1/tenants/default/partner-tokens", wanted).await;
    let token = made["token"].as_str().unwrap();
    world.clock.set_unix(at(START + 200));
    let (now, expires) = loop {
        pass(&world, 1).await;
        let now = world.now().get();
        let told = crate::introspect::ask(&world.operator, token).await;
        let expires = told["exp"].as_u64().unwrap();
        if expires <= now + 60 {
            break (now, expires);
        }
        assert!(now < START + 1000, "{told}");
    };
    assert!(expires > now, "it is good for a while");
    pass(&world, 61).await;
    assert_eq!(crate::introspect::ask(&world.operator, token).await, json!({ "active": false }));
}
