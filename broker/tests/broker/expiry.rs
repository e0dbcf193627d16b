//! Rights end by themselves: token expiry, keep-alive, wills.

use tessera_broker::codec::{Disconnect, Packet, Properties, PropertyId, QoS, ReasonCode, Version};

use crate::client::{plan, VERSIONS};
use crate::delivery::with_properties;
use crate::world::{backend_scope, device_scope, world};

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_ends_with_its_token() {
    let world = world().await;
    for version in VERSIONS {
        let mut client = plan(&world, "d-1", version).open().await;
        world.advance(3599);
        client.quiet().await;
        world.advance(1);
        client.ended_with(ReasonCode::NOT_AUTHORIZED).await;
    }
    assert_eq!(world.metric(r#"tessera_broker_connections_ended_total{why="token_expired"}"#), 2);
}

/// Ten minutes without the feed end a client that acts on the topics of others; a device goes on for a day.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_the_broker_can_no_longer_tell_whether_its_rights_hold() {
    let world = world().await;
    let long = |name: &str, scope| {
        world.token_with(name, scope, |claims| claims.expires = claims.issued.plus(200_000))
    };
    let hub = plan(&world, "hub", Version::V5).token(long("hub", backend_scope()));
    let mut hub = hub.kept(90_000).open().await;
    let device = plan(&world, "d-1", Version::V5).token(long("d-1", device_scope("d-1")));
    let mut device = device.open().await;
    world.advance_alone(600);
    hub.quiet().await;
    world.advance_alone(31);
    hub.ended_with(ReasonCode::NOT_AUTHORIZED).await;
    assert_eq!(world.metric(r#"tessera_broker_connections_ended_total{why="trust_stale"}"#), 1);
    device.quiet().await;
    // Its state is kept: nothing was withdrawn.
    world.advance(0);
    let hub = plan(&world, "hub", Version::V5).token(long("hub", backend_scope()));
    let (_hub, ack) = hub.kept(90_000).try_open().await;
    assert!(ack.unwrap().session_present);
    world.advance_alone(24 * 3600 + 31);
    device.ended_with(ReasonCode::NOT_AUTHORIZED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes_after_expiry() {
    for version in VERSIONS {
        nothing_passes_to(version).await;
    }
}

async fn nothing_passes_to(version: Version) {
    let world = world().await;
    let long = world
        .token_with("hub", backend_scope(), |claims| claims.expires = claims.issued.plus(90_000));
    let mut hub = plan(&world, "hub", Version::V5).token(long).open().await;
    hub.subscribe("d/+/telemetry", QoS::AtLeastOnce).await;
    let mut device = plan(&world, "d-1", version).open().await;
    device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
    world.advance(3600);
    device.publish("d/d-1/telemetry", QoS::AtLeastOnce, b"late").await;
    hub.publish("d/d-1/cmd", QoS::AtLeastOnce, b"late").await;
    hub.acked().await;
    device.ended_with(ReasonCode::NOT_AUTHORIZED).await;
    hub.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_connection_after_one_and_a_half_keep_alives() {
    let world = world().await;
    for version in VERSIONS {
        let mut client = plan(&world, "d-1", version).keep_alive(20).open().await;
        world.advance(29);
        client.quiet().await;
        world.advance(29);
        client.quiet().await;
        world.advance(30);
        client.ended_with(ReasonCode::KEEP_ALIVE_TIMEOUT).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wills_are_published_when_nobody_said_goodbye() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.subscribe("d/+/status", QoS::AtLeastOnce).await;
    for version in VERSIONS {
        let with_will = || plan(&world, "d-1", version).will("d/d-1/status", Properties::new());
        drop(with_will().open().await);
        assert_eq!(&hub.message().await.payload[..], b"gone");
        with_will().open().await.goodbye().await;
        hub.quiet().await;
        let mut client = with_will().keep_alive(10).open().await;
        world.advance(15);
        client.closed().await;
        assert_eq!(&hub.message().await.payload[..], b"gone");
    }
    let mut client =
        plan(&world, "d-1", Version::V5).will("d/d-1/status", Properties::new()).open().await;
    let reason = ReasonCode::DISCONNECT_WITH_WILL;
    client.send(&Packet::Disconnect(Disconnect { reason, properties: Properties::new() })).await;
    assert_eq!(&hub.message().await.payload[..], b"gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_outlives_the_token_under_which_it_was_allowed() {
    let world = world().await;
    let long = world
        .token_with("hub", backend_scope(), |claims| claims.expires = claims.issued.plus(90_000));
    let mut hub = plan(&world, "hub", Version::V5).token(long).open().await;
    hub.subscribe("d/+/status", QoS::AtLeastOnce).await;
    let mut client =
        plan(&world, "d-1", Version::V5).will("d/d-1/status", Properties::new()).open().await;
    world.advance(3600);
    client.ended_with(ReasonCode::NOT_AUTHORIZED).await;
    assert_eq!(&*hub.message().await.topic, "d/d-1/status");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_will_waits_and_is_forgotten_when_the_client_returns() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.subscribe("d/+/status", QoS::AtLeastOnce).await;
    let delayed = || {
        let delay = Properties::build().number(PropertyId::WillDelay, 30).finish().unwrap();
        plan(&world, "d-1", Version::V5).kept(600).will("d/d-1/status", delay)
    };
    drop(delayed().open().await);
    let back = delayed().open().await;
    world.advance(31);
    hub.quiet().await;
    drop(back);
    while world.broker.sockets() > 1 {
        tokio::task::yield_now().await;
    }
    hub.quiet().await;
    world.advance(31);
    assert_eq!(&hub.message().await.payload[..], b"gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_will_comes_at_the_latest_with_the_end_of_its_session() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.subscribe("d/+/status", QoS::AtLeastOnce).await;
    let delay = Properties::build().number(PropertyId::WillDelay, 3000).finish().unwrap();
    let scope = device_scope("d-1");
    drop(
        plan(&world, "d-1", Version::V5)
            .scope(scope)
            .kept(20)
            .will("d/d-1/status", delay)
            .open()
            .await,
    );
    while world.broker.sockets() > 1 {
        tokio::task::yield_now().await;
    }
    world.advance(21);
    assert_eq!(&hub.message().await.payload[..], b"gone");
    while world.broker.sessions() > 1 {
        tokio::task::yield_now().await;
    }
}

/// The clock of the service is ahead: no message that waits is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_clock_is_ahead_ends_no_message_that_waits() {
    let world = world().await;
    let mut device = plan(&world, "d-1", Version::V5).kept(3600).open().await;
    device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
    device.goodbye().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    let mut send = async || {
        let expiry = Properties::build().number(PropertyId::MessageExpiry, 60).finish().unwrap();
        hub.send(&with_properties("d/d-1/cmd", QoS::AtLeastOnce, expiry)).await;
        assert_eq!(hub.acked().await, ReasonCode::SUCCESS);
    };
    send().await;
    world.service_is_ahead(600);
    send().await;
    let mut device = plan(&world, "d-1", Version::V5).kept(3600).open().await;
    for _ in 0..2 {
        // Also the life of the second one is counted by the time that two clocks agree on.
        let left = device.message().await.properties.number(PropertyId::MessageExpiry);
        assert_eq!(left, Some(60));
    }
}
