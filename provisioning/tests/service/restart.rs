use serde_json::json;
use tessera_provisioning::{Provisioning, ProvisioningConfig, StartError};
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::stop::Stop;
use tessera_runtime::store::StoreError;
use tessera_token::claims::Serial;
use tessera_token::refusal::RefusalCode;

use crate::enrol::claims;
use crate::feed::Reader;
use crate::world::{random, World};

fn number(serial: &Serial) -> u64 {
    serial.as_bytes().iter().fold(0, |sum, byte| sum * 256 + u64::from(*byte))
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_a_restart() {
    let world = World::new().await;
    let (device, first) = world.enrolled("a").await;
    let (revoked, _) = world.enrolled("b").await;
    let (time, nonce) = (world.now(), random());
    let refreshed = world.refresh_with(&device, time, &nonce).await.unwrap();
    world.post("/v1/tenants/default/devices/b/revoke", json!({})).await;
    let before = Reader::snapshot(&world).await;
    let root = world.handle.root_thumbprint();
    let world = world.restart().await;
    assert!(world.handle.first_start().is_none());
    assert_eq!(world.handle.root_thumbprint(), root);
    assert_eq!(
        world.refresh_with(&device, time, &nonce).await.unwrap().access_token,
        refreshed.access_token
    );
    assert_eq!(world.refresh(&revoked).await, Err(RefusalCode::DeviceRevoked));
    let mut reader = before;
    assert!(reader.read(&world).await.is_empty(), "the chain goes on where it was");
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    assert_eq!(reader.read(&world).await.len(), 1);
    let next = claims(&world.enrolled("c").await.1.access_token).serial;
    assert!(number(&next) > number(&claims(&first.access_token).serial));
    assert!(number(&next) > number(&claims(&refreshed.access_token).serial));
}

#[tokio::test]
async fn serials_grow_across_restarts() {
    let mut world = World::new().await;
    let (device, first) = world.enrolled("a").await;
    let mut last = number(&claims(&first.access_token).serial);
    for _ in 0..3 {
        world = world.restart().await;
        for _ in 0..3 {
            let serial =
                number(&claims(&world.refresh(&device).await.unwrap().access_token).serial);
            assert!(serial > last);
            last = serial;
        }
        world.advance(120);
    }
}

#[tokio::test]
async fn two_services_do_not_share_a_folder() {
    if crate::postgres::has_no_files() {
        return;
    }
    let world = World::new().await;
    let config = ProvisioningConfig::new(world.dir.path(), "127.0.0.1:0".parse().unwrap()).unwrap();
    let random = SystemRandom::shared();
    let outcome =
        Provisioning::start(config, world.clock.clone(), random, Metrics::new(), Stop::new()).await;
    assert!(matches!(outcome.err(), Some(StartError::Store(StoreError::Locked(_)))));
    world.enrolled("a").await;
}

#[tokio::test]
async fn a_taken_port_and_bad_settings_are_told_at_start() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let start = |config| {
        Provisioning::start(
            config,
            world.clock.clone(),
            SystemRandom::shared(),
            Metrics::new(),
            Stop::new(),
        )
    };
    let taken = ProvisioningConfig::new(dir.path(), world.handle.addr()).unwrap();
    assert!(matches!(start(taken.clone()).await.err(), Some(StartError::Bind(..))));
    let mut bad = taken.clone();
    bad.token_seconds = 1;
    assert!(matches!(start(bad).await.err(), Some(StartError::Config(_))));
    let mut free = taken;
    free.http_addr.set_port(0);
    assert!(start(free).await.is_ok(), "a start that failed leaves a folder that can be used");
}

#[tokio::test]
async fn a_foreign_root_key_is_noticed() {
    if crate::postgres::has_no_files() {
        return;
    }
    let world = World::new().await;
    assert!(world.stop().await.is_empty());
    let other = World::new().await;
    let root = |world: &World| world.dir.path().join("provisioning/keys/root.seed");
    std::fs::copy(root(&other), root(&world)).unwrap();
    let config = ProvisioningConfig::new(world.dir.path(), "127.0.0.1:0".parse().unwrap()).unwrap();
    let random = SystemRandom::shared();
    let outcome =
        Provisioning::start(config, world.clock.clone(), random, Metrics::new(), Stop::new()).await;
    assert!(matches!(outcome.err(), Some(StartError::Keys)));
}
