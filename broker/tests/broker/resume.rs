//! The contents of a session without a connection.

use tessera_broker::codec::{Disconnect, Packet, Properties, PropertyId, QoS, ReasonCode, Version};

use crate::client::{plan, Client, VERSIONS};
use crate::world::{backend_scope, scope, world, world_with, World};

async fn lost(client: Client, world: &World) {
    drop(client);
    until(|| world.broker.sockets() == 1).await;
}

/// Yields until it holds; the caller's runtime ends the test when it never does.
async fn until(holds: impl Fn() -> bool) {
    let patience = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    });
    patience.await.expect("never came to hold");
}

#[tokio::test(flavor = "multi_thread")]
async fn qos_1_waits_and_qos_0_does_not() {
    let world = world().await;
    for version in VERSIONS {
        let mut hub = plan(&world, "hub", version).scope(backend_scope()).open().await;
        let mut device = plan(&world, "d-1", version).kept(600).open().await;
        device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
        lost(device, &world).await;
        for n in 0..10u8 {
            hub.publish("d/d-1/cmd", QoS::AtMostOnce, b"lost").await;
            hub.publish_acked("d/d-1/cmd", &[n]).await;
        }
        let (mut device, ack) = plan(&world, "d-1", version).kept(600).try_open().await;
        assert!(ack.unwrap().session_present);
        for n in 0..10u8 {
            let message = device.message().await;
            assert_eq!((message.payload[0], message.dup), (n, false));
        }
        device.quiet().await;
        device.goodbye().await;
        hub.goodbye().await;
        let (clean, ack) = plan(&world, "d-1", version).try_open().await;
        assert!(!ack.unwrap().session_present);
        clean.goodbye().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unacknowledged_messages_come_again_first_with_dup_and_the_same_id() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    let mut device = plan(&world, "d-1", Version::V5).kept(600).open().await;
    device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
    hub.publish_acked("d/d-1/cmd", b"1").await;
    hub.publish_acked("d/d-1/cmd", b"2").await;
    let first = device.unacked_message().await;
    let second = device.unacked_message().await;
    lost(device, &world).await;
    hub.publish_acked("d/d-1/cmd", b"3").await;
    let mut device = plan(&world, "d-1", Version::V5).kept(600).open().await;
    for old in [first, second] {
        let again = device.message().await;
        assert_eq!((again.packet_id, again.payload, again.dup), (old.packet_id, old.payload, true));
    }
    let third = device.message().await;
    assert_eq!((&third.payload[..], third.dup), (&b"3"[..], false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_new_token_does_not_cover_is_gone_on_resume() {
    let world = world().await;
    let rights = scope(&[("sub", "d/d-1/cmd"), ("sub", "x/+"), ("sub", "y")]);
    let mut hub = plan(&world, "hub", Version::V5).scope(scope(&[("pub", "#")])).open().await;
    let mut device = plan(&world, "d-1", Version::V5).scope(rights).kept(600).open().await;
    for filter in ["d/d-1/cmd", "x/+", "y"] {
        device.subscribe(filter, QoS::AtLeastOnce).await;
    }
    hub.publish_acked("y", b"in flight").await;
    device.unacked_message().await;
    lost(device, &world).await;
    for topic in ["x/1", "y", "d/d-1/cmd"] {
        hub.publish_acked(topic, b"queued").await;
    }
    let narrow = scope(&[("sub", "d/d-1/cmd")]);
    let mut device = plan(&world, "d-1", Version::V5).scope(narrow.clone()).kept(600).open().await;
    assert_eq!(&*device.message().await.topic, "d/d-1/cmd");
    assert_eq!(hub.publish_acked("y", b"live").await, ReasonCode::NO_MATCHING_SUBSCRIBERS);
    // The router drops a filter a moment later; the right to receive is what counts.
    hub.publish_acked("x/1", b"live").await;
    device.quiet().await;
    assert!(world.metric(r#"tessera_broker_dropped_total{qos="1",why="not_authorised"}"#) >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_offline_queue_is_bounded() {
    let world = world_with(|raw| raw.limits.queue_messages = 5).await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    let mut device = plan(&world, "d-1", Version::V5).kept(600).open().await;
    device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
    lost(device, &world).await;
    for n in 0..5u8 {
        assert_eq!(hub.publish_acked("d/d-1/cmd", &[n]).await, ReasonCode::SUCCESS);
    }
    assert_eq!(hub.publish_acked("d/d-1/cmd", b"x").await, ReasonCode::QUOTA_EXCEEDED);
    let mut device = plan(&world, "d-1", Version::V5).kept(600).open().await;
    for n in 0..5u8 {
        assert_eq!(device.message().await.payload[0], n);
    }
    device.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_when_their_time_is_over() {
    let world = world().await;
    let device = plan(&world, "d-1", Version::V5).kept(100).open().await;
    drop(device);
    until(|| world.broker.sockets() == 0).await;
    world.advance(99);
    assert_eq!(world.broker.sessions(), 1);
    world.advance(2);
    until(|| world.broker.sessions() == 0).await;
    let (_, ack) = plan(&world, "d-1", Version::V5).kept(100).try_open().await;
    assert!(!ack.unwrap().session_present);
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnect_may_shorten_the_session_but_not_make_one() {
    let world = world().await;
    let bye = |seconds| {
        let properties =
            Properties::build().number(PropertyId::SessionExpiry, seconds).finish().unwrap();
        Packet::Disconnect(Disconnect { reason: ReasonCode::SUCCESS, properties })
    };
    let mut device = plan(&world, "d-1", Version::V5).kept(100).open().await;
    device.send(&bye(0)).await;
    device.closed().await;
    assert_eq!(world.broker.sessions(), 0);
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    device.send(&bye(10)).await;
    device.ended_with(ReasonCode::PROTOCOL_ERROR).await;
    assert_eq!(world.broker.sessions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_grants_is_told() {
    let world = world_with(|raw| {
        raw.limits.session_expiry = 50;
        raw.limits.keep_alive = 30;
    })
    .await;
    let (_, ack) = plan(&world, "d-1", Version::V5).kept(1000).keep_alive(60).try_open().await;
    let told = ack.unwrap().properties;
    assert_eq!(told.number(PropertyId::SessionExpiry), Some(50));
    assert_eq!(told.number(PropertyId::ServerKeepAlive), Some(30));
    assert_eq!(told.number(PropertyId::ReceiveMaximum), Some(256));
    assert_eq!(told.number(PropertyId::TopicAliasMaximum), Some(16));
    assert_eq!(told.text(PropertyId::AssignedClientId), None);
}
