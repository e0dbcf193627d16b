//! A change that verifiers cannot hold is refused here, and a revocation never is.

use serde_json::{json, Value};
use tessera_provisioning::TrustLimits;
use tessera_token::chain::KeyState;
use tessera_token::encoding::base64url;
use tessera_token::hash::TokenHash;
use tessera_token::refusal::RefusalCode;

use crate::feed::Reader;
use crate::world::{problem, Device, Forced, World};

async fn world(limits: TrustLimits) -> World {
    World::with(|config| config.trust = limits).await
}

fn full() -> (u16, String) {
    (409, "capacity_reached".to_owned())
}

async fn metric(world: &World, line: &str) -> bool {
    let answer = world.stranger.get("/metrics").await.unwrap();
    String::from_utf8(answer.body).unwrap().lines().any(|found| found.starts_with(line))
}

fn seeds(world: &World) -> usize {
    std::fs::read_dir(world.dir.path().join("provisioning/keys")).unwrap().count()
}

#[tokio::test]
async fn tenants_end_where_verifiers_do() {
    if crate::postgres::has_no_files() {
        return;
    }
    let most = TrustLimits { tenants: 3, ..TrustLimits::default() };
    let world = world(most).await;
    for name in ["a", "b"] {
        world.post("/v1/tenants", json!({ "tenant": name })).await;
    }
    let mut reader = Reader::snapshot(&world).await;
    let seeds_before = seeds(&world);
    for _ in 0..3 {
        let outcome = world.operator.post_json("/v1/tenants", &json!({ "tenant": "c" })).await;
        assert_eq!(problem(outcome), full());
    }
    assert_eq!(seeds(&world), seeds_before, "no seed of a tenant that was not made");
    assert!(reader.read(&world).await.is_empty(), "nothing was changed");
    let unknown = world.operator.get("/v1/tenants/c").await;
    assert_eq!(problem(unknown), (404, "tenant_unknown".to_owned()));
    world.post("/v1/tenants/a/revoke", json!({})).await;
    assert_eq!(reader.read(&world).await.len(), 1, "what is known can still change");
    assert!(metric(&world, "tessera_provisioning_limits_hit_total{limit=\"tenants\"} 3").await);
    assert!(metric(&world, "tessera_provisioning_trust_taken{limit=\"tenants\"} 3").await);
    let world = world.restart_as(|config| config.trust = most).await;
    let outcome = world.operator.post_json("/v1/tenants", &json!({ "tenant": "d" })).await;
    assert_eq!(problem(outcome), full(), "the count survives a restart");
}

#[tokio::test]
async fn of_many_at_once_as_many_win_as_there_is_room_for() {
    let world = world(TrustLimits { tenants: 5, ..TrustLimits::default() }).await;
    let asks = (0..12).map(|n| {
        let client = world.with_token(&operator_token(&world));
        tokio::spawn(async move {
            client.post_json("/v1/tenants", &json!({ "tenant": format!("t{n}") })).await.is_ok()
        })
    });
    let asks: Vec<_> = asks.collect();
    let mut won = 0;
    for ask in asks {
        won += usize::from(ask.await.unwrap());
    }
    assert_eq!(won, 4);
}

fn operator_token(world: &World) -> String {
    let path = world.dir.path().join("operator.token");
    tessera_runtime::secret::read_secret_text(&path).unwrap().expose().clone()
}

#[tokio::test]
async fn groups_have_their_room_before_they_move() {
    let world = world(TrustLimits { groups: 2, ..TrustLimits::default() }).await;
    world.post("/v1/tenants/default/groups", json!({ "group": "hall" })).await;
    let path = "/v1/tenants/default/groups";
    let outcome = world.operator.post_json(path, &json!({ "group": "roof" })).await;
    assert_eq!(problem(outcome), full());
    let outcome = world.operator.post_json("/v1/tenants", &json!({ "tenant": "x" })).await;
    assert_eq!(problem(outcome), full(), "a tenant comes with a group");
    let mut reader = Reader::snapshot(&world).await;
    for group in ["default", "hall"] {
        world.post(&format!("/v1/tenants/default/groups/{group}/revoke"), json!({})).await;
    }
    assert_eq!(reader.read(&world).await.len(), 2);
}

#[tokio::test]
async fn a_tenant_leaves_the_others_their_share_of_groups() {
    let world = world(TrustLimits { groups: 16, ..TrustLimits::default() }).await;
    world.post("/v1/tenants", json!({ "tenant": "x" })).await;
    let make = async |tenant: &str, number: usize| {
        let path = format!("/v1/tenants/{tenant}/groups");
        world.operator.post_json(&path, &json!({ "group": format!("g-{number}") })).await
    };
    // Each has its default group, and a share of 16 / 2 / 2.
    for number in 0..11 {
        assert!(make("x", number).await.is_ok(), "{number}");
    }
    assert_eq!(problem(make("x", 11).await), full());
    for number in 0..3 {
        assert!(make("default", number).await.is_ok(), "{number}");
    }
    assert_eq!(problem(make("default", 3).await), full());
}

#[tokio::test]
async fn a_key_is_cut_also_without_room_for_a_successor() {
    if crate::postgres::has_no_files() {
        return;
    }
    let world = world(TrustLimits { keys: 4, keys_unasked: 3, ..TrustLimits::default() }).await;
    let path = "/v1/tenants/default/keys";
    let rotate = format!("{path}/rotate");
    let keys = |listed: &Value, state: &str| -> Vec<String> {
        let items = listed["items"].as_array().unwrap().iter();
        let of = items.filter(|key| key["state"] == state);
        of.map(|key| key["key"].as_str().unwrap().to_owned()).collect()
    };
    world.post(&rotate, json!({})).await;
    let seeds_before = seeds(&world);
    assert_eq!(problem(world.operator.post_json(&rotate, &json!({})).await), full());
    assert_eq!(seeds(&world), seeds_before);
    // The reserve holds one successor, then none.
    for (active, next) in [(1, 1), (1, 0), (0, 0)] {
        let listed = world.get(path).await;
        let bad = keys(&listed, "active").remove(0);
        let cut = format!("{path}/{bad}/compromise");
        assert_eq!(world.operator.post_json(&cut, &json!({})).await.unwrap().status, 200);
        let listed = world.get(path).await;
        assert_eq!((keys(&listed, "active").len(), keys(&listed, "next").len()), (active, next));
        assert!(keys(&listed, "compromised").contains(&bad));
    }
    let reader = Reader::snapshot(&world).await;
    assert_eq!(reader.keys().filter(|key| key.state == KeyState::Compromised).count(), 3);
    assert_eq!(reader.keys().count(), 4);
    let claim = world.claim(json!({})).await;
    let refused = world.enrol(&Device::new("late"), &claim).await.err();
    assert_eq!(refused, Some(RefusalCode::IssuerKeyMissing), "no key signs any more");
    let world = world.restart_as(|_| {}).await;
    let told = world.post(&rotate, json!({})).await;
    assert!(told["active"].is_string() && told["next"].is_string(), "with room it goes on");
    world.enrol(&Device::new("late"), &claim).await.unwrap();
}

/// Room that is kept back for successors is used by them, one by one.
#[tokio::test]
async fn lost_keys_are_replaced_and_keys_retired_between_the_two_limits_of_keys() {
    if crate::postgres::has_no_files() {
        return;
    }
    let (unasked, most) = (2, 5);
    let world = world(TrustLimits { keys_unasked: unasked, ..TrustLimits::default() }).await;
    let keys = world.dir.path().join("provisioning/keys");
    let lose = |dir: &std::path::Path| {
        for entry in std::fs::read_dir(dir.join("provisioning/keys")).unwrap() {
            let path = entry.unwrap().path();
            if !path.file_name().unwrap().to_string_lossy().contains("root") {
                std::fs::remove_file(path).unwrap();
            }
        }
    };
    assert_eq!(std::fs::read_dir(&keys).unwrap().count(), 3);
    lose(world.dir.path());
    let world = world
        .restart_as(|config| {
            config.trust = TrustLimits { keys: most, keys_unasked: unasked, ..config.trust };
            config.replace_keys = true;
        })
        .await;
    let listed = world.get("/v1/tenants/default/keys").await;
    let states = |listed: &Value, state: &str| -> usize {
        listed["items"].as_array().unwrap().iter().filter(|key| key["state"] == state).count()
    };
    assert_eq!(states(&listed, "active"), 1, "{listed}");
    assert_eq!(states(&listed, "next"), 1, "{listed}");
    world.enrolled("a").await;
    // Once more: there is room for one successor of two, and it signs.
    lose(world.dir.path());
    let world = world
        .restart_as(|config| {
            config.trust = TrustLimits { keys: most, keys_unasked: unasked, ..config.trust };
            config.replace_keys = true;
        })
        .await;
    let listed = world.get("/v1/tenants/default/keys").await;
    assert_eq!((states(&listed, "active"), states(&listed, "next")), (1, 0), "{listed}");
    world.enrolled("b").await;
}

#[tokio::test]
async fn device_keys_end_where_verifiers_do() {
    let world = world(TrustLimits { device_keys: 2, ..TrustLimits::default() }).await;
    world.post("/v1/tenants", json!({ "tenant": "wide" })).await;
    let (_first, _) = world.enrolled("a").await;
    let by_name = json!({ "confirmation": "kid" });
    world.operator.put_over("/v1/tenants/default", &by_name).await.unwrap();
    world.enrolled("b").await;
    let mut reader = Reader::snapshot(&world).await;
    let claim = world.claim(json!({})).await;
    let refused = world.enrol(&Device::new("c"), &claim).await;
    assert_eq!(refused.err(), Some(RefusalCode::CapacityReached));
    assert!(reader.read(&world).await.is_empty());
    let unknown = world.operator.get("/v1/tenants/default/devices/c").await;
    assert_eq!(problem(unknown), (404, "device_unknown".to_owned()));
    let world = world.restart_as(|_| {}).await;
    world.enrol(&Device::new("c"), &claim).await.unwrap();
}

#[tokio::test]
async fn a_tenant_whose_device_keys_find_no_room_does_not_publish_them() {
    let world = world(TrustLimits { device_keys: 1, ..TrustLimits::default() }).await;
    world.enrolled("a").await;
    world.enrolled("b").await;
    let mut reader = Reader::snapshot(&world).await;
    let by_name = json!({ "confirmation": "kid" });
    let outcome = world.operator.put_over("/v1/tenants/default", &by_name).await;
    assert_eq!(problem(outcome), full());
    assert!(reader.read(&world).await.is_empty());
    assert_eq!(world.get("/v1/tenants/default").await["confirmation"], "key");
    world.enrolled("c").await;
}

#[tokio::test]
async fn a_token_that_finds_no_room_ends_with_its_device_and_a_device_with_its_group() {
    let world = world(TrustLimits { tokens: 1, devices: 1, ..TrustLimits::default() }).await;
    let mut tokens = Vec::new();
    for name in ["a", "b", "c"] {
        let (device, answer) = world.enrolled(name).await;
        tokens.push((device, answer.access_token));
    }
    let mut reader = Reader::snapshot(&world).await;
    let mut ended = Vec::new();
    for (_, token) in &tokens {
        let hash = base64url(TokenHash::of(token).as_bytes());
        let told =
            world.post("/v1/tenants/default/tokens/revoke", json!({ "token_hash": hash })).await;
        ended.push(told["ended"].as_str().unwrap().to_owned());
    }
    assert_eq!(ended, ["token", "device", "group"]);
    assert_eq!(reader.read(&world).await.len(), 3);
    assert!(reader.revoked(&TokenHash::of(&tokens[0].1)));
    assert_eq!((reader.device_epoch("b"), reader.group_epoch(0)), (1, 1));
    for (device, _) in &tokens {
        let next = crate::enrol::claims(&world.refresh(device).await.unwrap().access_token);
        assert_eq!(next.epochs.group, 1, "none of them is revoked as a device");
    }
    world.post("/v1/tenants/default/devices/c/revoke", json!({})).await;
    reader.read(&world).await;
    assert_eq!(reader.group_epoch(0), 2);
    assert_eq!(world.refresh(&tokens[2].0).await, Err(RefusalCode::DeviceRevoked));
    world.refresh(&tokens[1].0).await.unwrap();
    world.post("/v1/tenants/default/devices/b/revoke", json!({})).await;
    reader.read(&world).await;
    assert_eq!(reader.device_epoch("b"), 2, "a device that verifiers know already needs no room");
    let audit = world.get("/v1/audit").await.to_string();
    assert!(audit.contains("no room for it alone: group default moved"), "{audit}");
}

#[tokio::test]
async fn bytes_of_a_snapshot_are_counted_and_some_are_kept_for_revocations() {
    let most = TrustLimits { bytes: 1500, bytes_unasked: 1000, ..TrustLimits::default() };
    let world = world(most).await;
    let mut made = 0;
    let refused = loop {
        let body = json!({ "group": format!("g{made}") });
        match world.operator.post_json("/v1/tenants/default/groups", &body).await {
            Ok(_) => made += 1,
            refused => break refused,
        }
    };
    assert_eq!(problem(refused), full());
    assert!((3..40).contains(&made), "{made}");
    for n in 0..made {
        world.post(&format!("/v1/tenants/default/groups/g{n}/revoke"), json!({})).await;
    }
    let mut devices = Vec::new();
    for n in 0..20 {
        devices.push(world.enrolled(&format!("d{n}")).await.0);
    }
    for device in &devices {
        world.post(&format!("/v1/tenants/default/devices/{}/revoke", device.id), json!({})).await;
    }
    let bytes = world.feed.get("/v1/trust/snapshot").await.unwrap().body.len();
    assert!(bytes > 600 && bytes < most.bytes + 300, "{bytes}");
    for device in &devices {
        assert_eq!(world.refresh(device).await, Err(RefusalCode::DeviceRevoked));
    }
}

#[tokio::test]
async fn what_time_has_ended_makes_room_again() {
    let most = TrustLimits { tokens: 1, ..TrustLimits::default() };
    let world = World::with(|config| {
        config.trust = most;
        config.sweep_every = std::time::Duration::from_millis(20);
    })
    .await;
    let (device, first) = world.enrolled("a").await;
    let revoke = |token: &[u8]| json!({ "token_hash": base64url(TokenHash::of(token).as_bytes()) });
    let path = "/v1/tenants/default/tokens/revoke";
    assert_eq!(world.post(path, revoke(&first.access_token)).await["ended"], "token");
    let second = world.refresh(&device).await.unwrap();
    assert_eq!(world.post(path, revoke(&second.access_token)).await["ended"], "device");
    world.advance(40 * 24 * 3600);
    let third = loop {
        let swept =
            metric(&world, "tessera_provisioning_swept_total{table=\"revoked_tokens\"}").await;
        if swept {
            break world.refresh(&device).await.unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert_eq!(world.post(path, revoke(&third.access_token)).await["ended"], "token");
}
