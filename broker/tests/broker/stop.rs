//! A stop in good order: it is bounded, and wills are deferred by it, not dropped.

use std::collections::BTreeSet;

use tessera_broker::codec::{Properties, PropertyId, QoS, ReasonCode, Version};

use crate::client::{plan, Client};
use crate::restart::{open, Bed};
use crate::world::{backend_scope, device_scope};

async fn willing(bed: &Bed, device: &str, kept: u32, delay: u32) -> Client {
    let topic = format!("d/{device}/status");
    let delay = Properties::build().number(PropertyId::WillDelay, delay).finish().unwrap();
    plan(&bed.world, device, Version::V5).kept(kept).will(&topic, delay).open().await
}

/// [MQTT-3.1.2-8] and MQTT 5 section 3.1.2.5: a stop defers wills, and drops none.
#[tokio::test(flavor = "multi_thread")]
async fn wills_survive_a_stop() {
    let mut bed = Bed::new().await;
    let process = bed.start();
    let (mut hub, _) = open(&bed, "hub", backend_scope()).await;
    hub.subscribe("d/#", QoS::AtLeastOnce).await;
    let mut present = Vec::new();
    for (device, kept, delay) in
        [("ends", 0, 0), ("kept", 600, 0), ("waits", 600, 30), ("returns", 600, 50)]
    {
        present.push(willing(&bed, device, kept, delay).await);
    }
    let stopping = tokio::task::spawn_blocking(|| process.stop());
    for client in &mut present {
        client.ended_with(ReasonCode::SERVER_SHUTTING_DOWN).await;
    }
    drop(hub);
    stopping.await.unwrap();

    let process = bed.start();
    let (mut hub, _) = open(&bed, "hub", backend_scope()).await;
    assert_eq!(&*hub.message().await.topic, "d/ends/status");
    assert_eq!(&*hub.message().await.topic, "d/kept/status");
    hub.quiet().await;
    let (_back, present) = open(&bed, "returns", device_scope("returns")).await;
    assert!(present);
    process.kill();

    bed.later(60);
    let _process = bed.start();
    let (mut hub, _) = open(&bed, "hub", backend_scope()).await;
    assert_eq!(&*hub.message().await.topic, "d/waits/status");
    hub.quiet().await;
}

/// MQTT 5 section 3.1.3.2.2: at the end of its session a will is due, also when the broker was down at that moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_will_outlives_a_session_that_ends_while_the_broker_is_down() {
    for kills in [true, false] {
        let mut bed = Bed::new().await;
        let process = bed.start();
        let (mut hub, _) = open(&bed, "hub", backend_scope()).await;
        hub.subscribe("d/#", QoS::AtLeastOnce).await;
        let mut client = willing(&bed, "d-1", 50, 3_000).await;
        match kills {
            true => process.kill(),
            false => tokio::task::spawn_blocking(|| process.stop()).await.unwrap(),
        }
        client.closed().await;
        let process = bed.start();
        process.kill();
        bed.later(100);
        let _process = bed.start();
        let (mut hub, _) = open(&bed, "hub", backend_scope()).await;
        assert_eq!(&*hub.message().await.topic, "d/d-1/status");
        let (_, present) = open(&bed, "d-1", device_scope("d-1")).await;
        assert!(!present);
        hub.quiet().await;
    }
}

/// Half of them are published on the way down and reach the disk, the others keep their rows.
#[tokio::test(flavor = "multi_thread")]
async fn many_wills_do_not_hold_up_a_stop() {
    const WILLS: usize = 400;
    let bed = Bed::new().await;
    let process = bed.start();
    let (mut hub, _) = open(&bed, "hub", backend_scope()).await;
    hub.subscribe("d/#", QoS::AtLeastOnce).await;
    drop(hub);
    let mut present = Vec::new();
    for number in 0..WILLS {
        present.push(willing(&bed, &format!("e-{number}"), 0, 0).await);
        present.push(willing(&bed, &format!("k-{number}"), 600, 0).await);
    }
    let stopping = tokio::task::spawn_blocking(|| process.stop());
    for client in &mut present {
        client.ended_with(ReasonCode::SERVER_SHUTTING_DOWN).await;
    }
    stopping.await.unwrap();
    let _process = bed.start();
    let (mut hub, _) = open(&bed, "hub", backend_scope()).await;
    let mut topics = BTreeSet::new();
    for _ in 0..2 * WILLS {
        topics.insert(hub.message().await.topic.to_string());
    }
    hub.quiet().await;
    assert_eq!(topics.len(), 2 * WILLS);
}
