use serde_json::{json, Value};
use tessera_token::chain::KeyState;
use tessera_token::ids::TenantId;
use tessera_token::trust::Change;

use crate::feed::Reader;
use crate::world::{problem, World};

fn kid(token: &[u8]) -> String {
    // 61(18([protected bstr {1: alg, 4: kid}, …: the kid ends the protected header.
    let mut reader = tessera_token::cbor::Reader::new(&token[3..]);
    reader.array_of(4).unwrap();
    let protected = reader.bytes().unwrap();
    protected[protected.len() - 8..].iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn states(world: &World) -> Vec<(String, String)> {
    let keys = world.get("/v1/tenants/default/keys").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut states: Vec<_> = keys["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (text(&key["state"]), text(&key["key"])))
        .collect();
    states.sort();
    states
}

fn of<'a>(states: &'a [(String, String)], state: &str) -> Vec<&'a str> {
    states.iter().filter(|(name, _)| name == state).map(|(_, key)| key.as_str()).collect()
}

#[tokio::test]
async fn the_next_key_is_known_before_it_signs() {
    let world = World::new().await;
    let (device, first) = world.enrolled("a").await;
    let before = states(&world).await;
    assert_eq!(of(&before, "active"), [kid(&first.access_token)]);
    let next = of(&before, "next")[0].to_owned();
    let mut reader = Reader::snapshot(&world).await;
    assert!(reader.keys().any(|key| key.key.key_id().to_string() == next));
    let told = world.post("/v1/tenants/default/keys/rotate", json!({})).await;
    assert_eq!(told["active"], next);
    let after = states(&world).await;
    assert_eq!(of(&after, "active"), [next.as_str()]);
    assert_eq!(of(&after, "retiring"), of(&before, "active"));
    assert_eq!(of(&after, "next"), [told["next"].as_str().unwrap()]);
    assert_eq!(kid(&world.refresh(&device).await.unwrap().access_token), next);
    let changes = reader.read(&world).await;
    let states = changes.iter().map(|change| match change {
        Change::Key(key) => key.state,
        other => panic!("{other:?}"),
    });
    assert_eq!(states.collect::<Vec<_>>(), [KeyState::Next, KeyState::Active, KeyState::Retiring]);
}

#[tokio::test]
async fn a_compromised_key_is_cut_and_replaced_at_once() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let before = states(&world).await;
    let (active, next) = (of(&before, "active")[0], of(&before, "next")[0]);
    let path = |key: &str| format!("/v1/tenants/default/keys/{key}/compromise");
    assert_eq!(world.operator.post_json(&path(active), &json!({})).await.unwrap().status, 200);
    assert_eq!(kid(&world.refresh(&device).await.unwrap().access_token), next);
    let after = states(&world).await;
    assert_eq!(of(&after, "compromised"), [active]);
    let unused = of(&after, "next")[0];
    world.operator.post_json(&path(unused), &json!({})).await.unwrap();
    let last = states(&world).await;
    assert_eq!(
        (of(&last, "active"), of(&last, "next").len(), of(&last, "compromised").len()),
        (vec![next], 1, 2)
    );
    let reader = Reader::snapshot(&world).await;
    assert_eq!(reader.keys().filter(|key| key.state == KeyState::Compromised).count(), 2);
    for unknown in ["0000000000000000", "xyz"] {
        let outcome = world.operator.post_json(&path(unknown), &json!({})).await;
        assert_eq!(problem(outcome), (404, "not_found".to_owned()));
    }
}

#[tokio::test]
async fn the_public_key_set_holds_the_keys_that_verify() {
    let world = World::new().await;
    world.post("/v1/tenants/default/keys/rotate", json!({})).await;
    let answer = world.stranger.get("/.well-known/cose-key-set?tenant=default").await.unwrap();
    assert_eq!(answer.content_type, "application/cose-key-set");
    let mut reader = tessera_token::cbor::Reader::strict(&answer.body, 4096).unwrap();
    let count = reader.array().unwrap();
    assert_eq!(count, 3);
    for _ in 0..count {
        tessera_token::key::PublicKey::from_cose_key(reader.item().unwrap()).unwrap();
    }
    let outcome = world.stranger.get("/.well-known/cose-key-set?tenant=none").await;
    assert_eq!(problem(outcome), (404, "tenant_unknown".to_owned()));
}

#[tokio::test]
async fn every_tenant_has_keys_of_its_own() {
    let world = World::new().await;
    world.post("/v1/tenants", json!({ "tenant": "other" })).await;
    let reader = Reader::snapshot(&world).await;
    let other = TenantId::parse("other").unwrap();
    assert_eq!(reader.keys().filter(|key| key.tenant == other).count(), 2);
    assert_eq!(reader.keys().count(), 4);
}

#[tokio::test]
async fn a_retired_key_is_listed_for_a_week_and_then_let_go_of() {
    let world = World::with(|config| {
        config.sweep_every = std::time::Duration::from_millis(20);
        config.keys = tessera_provisioning::KeySchedule::BY_HAND;
    })
    .await;
    let old = of(&states(&world).await, "active")[0].to_owned();
    world.post("/v1/tenants/default/keys/rotate", json!({})).await;
    let wait_for = |state: Option<&'static str>| {
        let (world, old) = (&world, old.clone());
        async move {
            loop {
                let states = states(world).await;
                let found = states.iter().find(|(_, key)| *key == old).map(|(state, _)| &**state);
                if found == state {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    };
    wait_for(Some("retiring")).await;
    world.advance(30 * 24 * 3600 + 61);
    wait_for(Some("retired")).await;
    world.advance(7 * 24 * 3600 + 1);
    wait_for(None).await;
    assert_eq!(states(&world).await.len(), 2);
}

/// A look at the keys finds the one that signs at every moment, and steps at once wait for each other.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_there_at_every_moment_of_many_rotations() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let world = std::sync::Arc::new(world);
    let mut turns = tokio::task::JoinSet::new();
    for turn in 0..17 {
        let world = std::sync::Arc::clone(&world);
        turns.spawn(async move {
            for step in 0..5 {
                if turn > 0 {
                    world.post("/v1/tenants/default/keys/rotate", json!({})).await;
                    continue;
                }
                let keys = states(&world).await;
                assert_eq!(
                    (of(&keys, "active").len(), of(&keys, "next").len()),
                    (1, 1),
                    "{keys:?}"
                );
                world.enrolled(&format!("e-{step}")).await;
            }
        });
    }
    for _ in 0..8 {
        world.advance(1);
        world.refresh(&device).await.unwrap();
    }
    while let Some(done) = turns.join_next().await {
        done.unwrap();
    }
    let keys = states(&world).await;
    assert_eq!((of(&keys, "active").len(), of(&keys, "next").len()), (1, 1));
    assert_eq!(of(&keys, "retiring").len(), 80);
}
