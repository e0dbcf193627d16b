//! One client id, one subject: takeover by its own subject only, and a failed CONNECT changes nothing.

use tessera_broker::codec::{Packet, Password, Properties, QoS, ReasonCode, Version};

use crate::client::{plan, VERSIONS};
use crate::world::{backend_scope, device_scope, world};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_subject_takes_over() {
    let world = world().await;
    for version in VERSIONS {
        let mut old = plan(&world, "d-1", version).open().await;
        let mut new = plan(&world, "d-1", version).open().await;
        old.ended_with(ReasonCode::SESSION_TAKEN_OVER).await;
        new.subscribe("d/d-1/cmd", QoS::AtMostOnce).await;
        let mut hub = plan(&world, "hub", version).scope(backend_scope()).open().await;
        hub.publish("d/d-1/cmd", QoS::AtMostOnce, b"x").await;
        new.message().await;
        assert_eq!(world.broker.sessions(), 2);
        new.goodbye().await;
        hub.goodbye().await;
        assert_eq!(world.broker.sessions(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suffix_is_a_further_connection() {
    let world = world().await;
    let mut first = plan(&world, "d-1", Version::V5).open().await;
    let mut second = plan(&world, "d-1", Version::V5).client_id("d-1~b").open().await;
    first.quiet().await;
    second.quiet().await;
    assert_eq!(world.broker.sessions(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_victim_of_an_attempt_notices_nothing() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    let mut victim = plan(&world, "d-1", Version::V5).kept(600).open().await;
    victim.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
    for version in VERSIONS {
        // Its own good token and proof, another's client id.
        let ids = [
            "d-1",
            "d-1~x",
            "#",
            "+",
            "d/1",
            "d-1\u{7f}",
            ".*",
            "d-.",
            "D-1",
            "d\u{2011}1",
            "d-1\n",
        ];
        for id in ids {
            let token = world.token("thief", device_scope("thief"));
            let mut attempt = plan(&world, "thief", version).token(token).client_id(id);
            attempt.connect.clean_start = true;
            assert_eq!(attempt.refused().await, ReasonCode::NOT_AUTHORIZED, "{id}");
        }
        // The victim's token, without its key.
        let token = world.token("d-1", device_scope("d-1"));
        let mut attempt = plan(&world, "d-1", version);
        attempt.connect.password =
            Some(Password::new(world.password("thief", "d-1", token).into()));
        assert_eq!(attempt.refused().await, ReasonCode::NOT_AUTHORIZED);
    }
    // Its own, with a will that is not allowed.
    let will = plan(&world, "d-1", Version::V5).will("d/d-2/status", Properties::new());
    assert_eq!(will.refused().await, ReasonCode::NOT_AUTHORIZED);
    victim.quiet().await;
    hub.publish_acked("d/d-1/cmd", b"x").await;
    assert_eq!(&victim.message().await.payload[..], b"x");
    assert_eq!(world.broker.sessions(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn taking_over_resumes_what_was_there() {
    let world = world().await;
    let mut old = plan(&world, "d-1", Version::V5).kept(600).open().await;
    old.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
    let (mut new, ack) = plan(&world, "d-1", Version::V5).kept(600).try_open().await;
    assert!(ack.unwrap().session_present);
    old.ended_with(ReasonCode::SESSION_TAKEN_OVER).await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    for n in 0..50u8 {
        hub.publish_acked("d/d-1/cmd", &[n]).await;
        assert_eq!(new.message().await.payload[0], n);
    }
    new.goodbye().await;
    hub.send(&Packet::PingReq).await;
    assert_eq!(world.broker.sessions(), 2);
}
