//! Issuer keys are rotated by schedule.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use serde_json::{json, Value};
use tessera_provisioning::{KeySchedule, ProvisioningConfig};
use tessera_token::chain::KeyState;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::Change;

use crate::feed::Reader;
use crate::world::{World, START};

const DAY: u64 = 24 * 3600;
const KEYS: &str = "/v1/tenants/default/keys";
/// A key signs for ten days, and is published for one before.
const SCHEDULE: KeySchedule = KeySchedule { rotate_seconds: 10 * DAY, publish_ahead_seconds: DAY };
/// More than the time for which a test lets the clock go on while it waits for a sweep.
const MARGIN: u64 = 4 * 3600;
/// The longest budget of a tenant is a day, and lived time may go on faster by an eighth.
const AHEAD: u64 = (DAY + 60) + (DAY + 60) / 8 + 1;

pub fn quick(config: &mut ProvisioningConfig) {
    config.sweep_every = Duration::from_millis(5);
    config.keys = SCHEDULE;
}

async fn keys(world: &World) -> BTreeMap<String, Vec<Value>> {
    let mut by_state: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for key in world.get(KEYS).await["items"].as_array().unwrap() {
        by_state.entry(key["state"].as_str().unwrap().to_owned()).or_default().push(key.clone());
    }
    by_state
}

async fn of(world: &World, state: &str) -> Value {
    let keys = keys(world).await;
    let found = keys.get(state).unwrap_or_else(|| panic!("no key is {state}: {keys:?}"));
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

async fn rotations(world: &World) -> u64 {
    let text = world.stranger.get("/metrics").await.unwrap().body;
    let text = String::from_utf8(text).unwrap();
    let name = "tessera_provisioning_key_rotations_total{by=\"schedule\"} ";
    text.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |n| n.parse().unwrap())
}

async fn gauge(world: &World, name: &str) -> u64 {
    let text = world.stranger.get("/metrics").await.unwrap().body;
    let text = String::from_utf8(text).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    value.map_or(0, |value| value.parse().unwrap())
}

async fn until<F: Future<Output = bool>>(mut done: impl FnMut() -> F) {
    let told = async {
        while !done().await {
            // A stranger who asks without a pause uses up the share of all strangers.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.unwrap();
}

/// The sweeper has gone through the keys at least once since now.
pub async fn swept(world: &World) {
    // The ages are told at the end of each round; a clock that stands still tells the same again, so it goes on.
    for _ in 0..2 {
        world.advance(1);
        let name = "tessera_provisioning_key_age_seconds{state=\"next\"}";
        let before = gauge(world, name).await;
        until(async || {
            world.advance(1);
            gauge(world, name).await != before
        })
        .await;
    }
}

#[tokio::test]
async fn the_next_key_signs_when_the_period_is_over_and_verifiers_hear_of_its_successor_first() {
    let world = World::with(quick).await;
    let (active, next) = (of(&world, "active").await, of(&world, "next").await);
    assert_eq!((&active["until"], &next["until"]), (&json!(START + 10 * DAY), &active["until"]));
    let mut reader = Reader::snapshot(&world).await;
    world.advance(10 * DAY - MARGIN);
    swept(&world).await;
    assert_eq!((rotations(&world).await, &of(&world, "active").await["key"]), (0, &active["key"]));
    world.advance(MARGIN);
    until(async || rotations(&world).await == 1).await;
    let states = reader.read(&world).await.into_iter().map(|change| match change {
        Change::Key(key) => key.state,
        other => panic!("{other:?}"),
    });
    assert_eq!(states.collect::<Vec<_>>(), [KeyState::Next, KeyState::Active, KeyState::Retiring]);
    assert_eq!(of(&world, "active").await["key"], next["key"]);
    let retiring = of(&world, "retiring").await;
    assert_eq!(retiring["key"], active["key"]);
    // As long as the longest life of a token, from the last moment at which it may have signed.
    let left = retiring["until"].as_u64().unwrap() - world.now().get();
    assert!((30 * DAY..30 * DAY + 120).contains(&left), "{left}");
    let audit = world.get("/v1/audit?limit=200").await;
    let entries = audit["items"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["action"] == "key.rotate").unwrap();
    assert_eq!((&entry["actor"], &entry["detail"]), (&json!("service"), &json!("by schedule")));
    // And again, and the first one retires in its time.
    world.advance(10 * DAY);
    until(async || rotations(&world).await == 2).await;
    assert_eq!(keys(&world).await["retiring"].len(), 2);
}

#[tokio::test]
async fn a_key_that_was_published_late_waits_until_verifiers_have_it() {
    let world = World::with(quick).await;
    world.advance(10 * DAY - 600);
    let active = of(&world, "active").await;
    let path = format!("{KEYS}/{}/compromise", of(&world, "next").await["key"].as_str().unwrap());
    world.post(&path, json!({})).await;
    let late = of(&world, "next").await;
    let due = late["until"].as_u64().unwrap();
    assert!(due.abs_diff(world.now().get() + AHEAD) <= 2, "{due}");
    world.advance(AHEAD - MARGIN);
    swept(&world).await;
    assert_eq!(of(&world, "active").await["key"], active["key"]);
    world.advance(MARGIN);
    until(async || rotations(&world).await == 1).await;
    assert_eq!(of(&world, "active").await["key"], late["key"]);
}

#[tokio::test]
async fn a_longer_staleness_budget_of_the_tenant_makes_the_wait_longer() {
    let world = World::with(quick).await;
    let body = json!({ "staleness": { "telemetry": 5 * DAY, "command": 60, "actuation": 60 } });
    let path = "/v1/tenants/default";
    let body = body.to_string().into_bytes();
    let put = tessera_runtime::http::Request::new(tessera_runtime::http::Method::Put, path);
    let put = put.body(tessera_runtime::http::JSON, body).header("if-match", "*");
    world.operator.send(put).await.unwrap();
    world.advance(10 * DAY - 600);
    let path = format!("{KEYS}/{}/compromise", of(&world, "next").await["key"].as_str().unwrap());
    world.post(&path, json!({})).await;
    let ahead = 5 * DAY + 60;
    let due = of(&world, "next").await["until"].as_u64().unwrap();
    assert!(due.abs_diff(world.now().get() + ahead + ahead / 8) <= 2, "{due}");
}

/// It is believed after half a minute, and neither rotates nor retires a key.
#[tokio::test]
async fn a_clock_that_jumps_makes_no_rotation_and_retires_no_key() {
    let world = World::with(quick).await;
    world.post(&format!("{KEYS}/rotate"), json!({})).await;
    let before = keys(&world).await;
    for place in [START + 400 * DAY, START + 4000 * DAY, START - 5 * DAY, START + 300] {
        world.clock.set_unix(UnixSeconds::new(place));
        for _ in 0..40 {
            world.advance(1);
            let _ = world.stranger.get("/readyz").await;
        }
        swept(&world).await;
        let now = keys(&world).await;
        let names = |keys: &BTreeMap<String, Vec<Value>>| -> Vec<(String, Value)> {
            let all = keys.iter();
            all.flat_map(|(state, keys)| keys.iter().map(|key| (state.clone(), key["key"].clone())))
                .collect()
        };
        assert_eq!(names(&now), names(&before), "{place}");
        assert_eq!(rotations(&world).await, 0);
    }
    // And the schedule goes on. Lived time, which fell behind, catches up by an eighth: no period is shorter than that.
    world.advance(10 * DAY * 8 / 9 - MARGIN);
    swept(&world).await;
    assert_eq!(rotations(&world).await, 0);
    world.advance(10 * DAY / 9 + 2 * MARGIN);
    until(async || rotations(&world).await == 1).await;
}

/// A key that was rotated in by a clock that was ahead does not sign for as long as that was ahead.
#[tokio::test]
async fn a_rotation_by_a_clock_that_was_ahead_is_not_the_last() {
    let world = World::with(quick).await;
    world.clock.set_unix(UnixSeconds::new(START + 400 * DAY));
    for _ in 0..40 {
        world.advance(1);
        let _ = world.stranger.get("/readyz").await;
    }
    world.post("/v1/tenants", json!({ "tenant": "other" })).await;
    world.post(&format!("{KEYS}/rotate"), json!({})).await;
    world.clock.set_unix(UnixSeconds::new(START + 80));
    for _ in 0..40 {
        world.advance(1);
        let _ = world.stranger.get("/readyz").await;
    }
    swept(&world).await;
    world.advance(10 * DAY + 60);
    // Both tenants.
    until(async || rotations(&world).await == 2).await;
}

#[tokio::test]
async fn ages_are_measured_and_a_service_by_hand_rotates_nothing() {
    let world = World::with(|config| {
        quick(config);
        config.keys = KeySchedule::BY_HAND;
    })
    .await;
    world.advance(400 * DAY);
    let age = "tessera_provisioning_key_age_seconds{state=\"active\"}";
    until(async || gauge(&world, age).await >= 400 * DAY).await;
    assert_eq!(rotations(&world).await, 0);
    assert_eq!(of(&world, "active").await["until"], Value::Null);
}
