//! Restart: sessions whose rights have changed since, or ended.

use std::path::Path;

use tessera_broker::codec::{Properties, PropertyId, QoS, Version};
use tessera_runtime::store::{Batch, Store};
use tessera_token::chain::KeyState;

use crate::client::{plan, retained, until};
use crate::restart::{open, Bed};
use crate::world::{
    backend_scope, copy_folder, device_scope, restarted, sessions_by_an_unconfirmed_clock,
    world_in, NOW,
};

/// The rows of sessions that a stopped broker left.
fn rows(folder: &Path, then: impl FnOnce(&mut Batch, &tessera_runtime::store::Table)) -> usize {
    let store = Store::open(&folder.join("sessions")).unwrap();
    let table = store.table("session").unwrap();
    let mut batch = Batch::new();
    then(&mut batch, &table);
    store.commit_blocking(batch).unwrap();
    let count = table.len().unwrap();
    store.close().unwrap();
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_key_ends_no_session_whose_token_had_expired() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [first, second, third] = folders.each_ref().map(|folder| folder.path());
    let world = world_in(first, NOW, |_| {}).await;
    let device = plan(&world, "d-1", Version::V5).kept(200_000).open().await;
    device.goodbye().await;
    // At the second start the row is one that the first wrote.
    let world = restarted(world, first, second, 3601).await;
    assert_eq!(world.broker.sessions(), 1);
    let world = restarted(world, second, third, 1).await;
    let mut other = plan(&world, "d-2", Version::V5).open().await;
    assert_eq!(world.broker.sessions(), 2);
    world.key_becomes(KeyState::Retired);
    other.closed().await;
    until(|| world.broker.sessions() == 1).await;
    // It waits for the next token of its device, but not for one that was revoked.
    world.revoke_device("d-1");
    until(|| world.broker.sessions() == 0).await;
}

/// A clock that is weeks ahead at one start, before any heartbeat: a row that seemed over is there once it is right.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_no_heartbeat_confirmed_deletes_nothing_kept() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [first, second, third] = folders.each_ref().map(|folder| folder.path());
    let world = world_in(first, NOW, |_| {}).await;
    let device = plan(&world, "d-1", Version::V5).scope(device_scope("d-1")).kept(3600);
    let mut line = device.open().await;
    line.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
    line.send(&retained("d/d-1/status", b"up")).await;
    line.acked().await;
    line.goodbye().await;
    assert_eq!(world.stop.finish(std::time::Duration::from_secs(10)).await, Vec::<String>::new());
    copy_folder(first, second);
    assert_eq!(sessions_by_an_unconfirmed_clock(second, NOW + 40 * 86_400).await, 1);
    copy_folder(second, third);
    let world = world_in(third, NOW + 10, |_| {}).await;
    assert_eq!(world.broker.sessions(), 1);
    let device = plan(&world, "d-1", Version::V5).scope(device_scope("d-1")).kept(3600);
    let (_line, ack) = device.try_open().await;
    assert!(ack.unwrap().session_present);
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.subscribe("d/#", QoS::AtMostOnce).await;
    assert_eq!(&hub.message().await.payload[..], b"up");
}

/// A crash can come between the first row of a session and the end of the one in whose place it came.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_sessions_of_one_client_the_newer_one_stays() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [first, second, third] = folders.each_ref().map(|folder| folder.path());
    let world = world_in(first, NOW, |_| {}).await;
    let mut device = plan(&world, "d-1", Version::V5).kept(3600).open().await;
    device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
    device.goodbye().await;
    let stopped = restarted(world, first, second, 0).await;
    drop(stopped.stop.finish(std::time::Duration::from_secs(10)).await);
    crate::world::copy_folder(second, third);
    let twice = rows(third, |batch, table| {
        let (mut key, value) = table.scan_prefix(&[], None, 10).unwrap().remove(0);
        *key.last_mut().unwrap() += 100;
        batch.put(table, key, value);
    });
    assert_eq!(twice, 2);
    let world = world_in(third, NOW, |_| {}).await;
    assert_eq!(world.broker.sessions(), 1);
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    // The newer one has no subscription.
    let nobody = tessera_broker::codec::ReasonCode::NO_MATCHING_SUBSCRIBERS;
    assert_eq!(hub.publish_acked("d/d-1/cmd", b"x").await, nobody);
    drop(hub);
    let left = tempfile::tempdir().unwrap();
    drop(world.stop.finish(std::time::Duration::from_secs(10)).await);
    crate::world::copy_folder(third, left.path());
    assert_eq!(rows(left.path(), |_, _| {}), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_will_retains_after_a_crash_ends_with_the_token_that_allowed_it() {
    let mut bed = Bed::new().await;
    let process = bed.start();
    let delay = Properties::build().number(PropertyId::WillDelay, 30).finish().unwrap();
    let willing = plan(&bed.world, "d-1", Version::V5).scope(device_scope("d-1")).kept(100);
    willing.will("d/d-1/status", delay).retained().open().await;
    process.kill();
    // Only now it is known since when it has been gone.
    let process = bed.start();
    let (hub, _) = open(&bed, "hub", backend_scope()).await;
    drop(hub);
    process.kill();
    bed.later(40);
    let process = bed.start();
    let (mut hub, _) = open(&bed, "hub", backend_scope()).await;
    hub.subscribe("d/#", QoS::AtLeastOnce).await;
    assert_eq!(&hub.message().await.payload[..], b"gone");
    drop(hub);
    process.kill();
    bed.later(3601);
    let _process = bed.start();
    let (mut hub, _) = open(&bed, "hub-2", backend_scope()).await;
    hub.subscribe("d/#", QoS::AtLeastOnce).await;
    hub.quiet().await;
}

/// A token that has expired meanwhile takes nothing from a will that was set under it, as without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_will_outlives_the_token_over_a_restart_and_not_its_revocation() {
    for revoked in [false, true] {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [first, second] = folders.each_ref().map(|folder| folder.path());
        let world = world_in(first, NOW, |_| {}).await;
        let hub = plan(&world, "hub", Version::V5).scope(backend_scope()).kept(200_000);
        let mut hub = hub.open().await;
        hub.subscribe("d/#", QoS::AtLeastOnce).await;
        hub.goodbye().await;
        let delay = Properties::build().number(PropertyId::WillDelay, 3700).finish().unwrap();
        let device = plan(&world, "d-1", Version::V5).kept(200_000);
        drop(device.will("d/d-1/status", delay).open().await);
        until(|| world.broker.sockets() == 0).await;
        let world = restarted(world, first, second, 3601).await;
        if revoked {
            world.revoke_device("d-1");
            until(|| world.broker.sessions() == 1).await;
        }
        world.advance(200);
        let hub = plan(&world, "hub", Version::V5).scope(backend_scope()).kept(200_000);
        let (mut hub, ack) = hub.try_open().await;
        assert!(ack.unwrap().session_present);
        match revoked {
            false => assert_eq!(&hub.message().await.payload[..], b"gone"),
            true => hub.quiet().await,
        }
    }
}

/// Beside what says that there was one, an empty folder is no first start.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_there_and_is_gone_is_a_loss() {
    let folder = tempfile::tempdir().unwrap();
    let pin = tessera_token::key::SecretKey::from_seed(&[1; 32]).public().thumbprint();
    let audience = tessera_token::ids::Audience::parse("broker").unwrap();
    let mut config = tessera_agent::AgentConfig::new(folder.path().join("agent"), audience, pin);
    config.must_exist = true;
    let started = async |config: &tessera_agent::AgentConfig| {
        let clock = tessera_runtime::clock::SystemClock::shared();
        let random = tessera_runtime::random::SystemRandom::shared();
        let (metrics, stop) = (Default::default(), tessera_runtime::stop::Stop::new());
        let agent =
            tessera_agent::Agent::start(config.clone(), clock, random, &metrics, &stop).await;
        stop.finish(std::time::Duration::from_secs(10)).await;
        agent.map(drop).map_err(|error| error.to_string())
    };
    let told = started(&config).await.unwrap_err();
    assert!(told.contains("the store itself is missing") && told.contains("--accept-loss"));
    config.must_exist = false;
    assert_eq!(started(&config).await, Ok(()));
}
