//! A trust event ends what it names, in every state of a session, and nothing else.

use tessera_broker::codec::{
    Ack, Packet, Properties, PropertiesBuilder, PropertyId, QoS, ReasonCode, Version,
};

use tessera_token::claims::Claims;

use crate::client::{plan, publish, retained, until, VERSIONS};
use crate::world::{backend_scope, device_scope, world, world_with, World};

const ENDED: ReasonCode = ReasonCode::ADMINISTRATIVE_ACTION;

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_event_ends_the_sessions_it_names() {
    type Event = fn(&World, &[u8]);
    let events: [(&str, Event, bool); 6] = [
        ("device_epoch", |world, _| world.revoke_device("d-1"), true),
        ("token_revoked", |world, token| world.revoke_token("d-1", token), true),
        ("group_epoch", |world, _| world.revoke_group(5), true),
        ("tenant_epoch", |world, _| world.revoke_tenant(), false),
        ("tenant_suspended", |world, _| world.suspend_tenant(), false),
        ("key_not_valid", |world, _| world.compromise_key(), false),
    ];
    for (code, event, spares_others) in events {
        for version in VERSIONS {
            let world = world().await;
            let token = world.token("d-1", device_scope("d-1"));
            let mut hit = plan(&world, "d-1", version).token(token.clone()).open().await;
            let other = world
                .token_with("d-2", device_scope("d-2"), |claims| claims.epochs.group_number = 6);
            let mut other = plan(&world, "d-2", version).token(other).open().await;
            event(&world, &token);
            hit.ended_with(ENDED).await;
            if spares_others {
                other.quiet().await;
            } else {
                other.ended_with(ENDED).await;
            }
            let ended = format!(r#"tessera_broker_refusals_total{{code="{code}",what="session"}}"#);
            assert_eq!(world.metric(&ended), if spares_others { 1 } else { 2 }, "{code}");
            let again = plan(&world, "d-1", version).token(token).refused().await;
            assert_eq!(again, ReasonCode::NOT_AUTHORIZED, "{code}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_of_a_device_ends_with_it() {
    let world = world().await;
    let mut of_device = Vec::new();
    for id in ["d-1", "d-1~a", "d-1~b", "d-1~c"] {
        of_device.push(plan(&world, "d-1", Version::V5).client_id(id).open().await);
    }
    let mut other = plan(&world, "d-2", Version::V5).open().await;
    // The first one is gone, and another one was taken over.
    of_device.remove(0).goodbye().await;
    let again = plan(&world, "d-1", Version::V5).client_id("d-1~b").open().await;
    let mut old = std::mem::replace(&mut of_device[1], again);
    old.ended_with(ReasonCode::SESSION_TAKEN_OVER).await;
    assert_eq!(world.broker.sessions(), 4);
    world.revoke_device("d-1");
    for mut one in of_device {
        one.ended_with(ENDED).await;
    }
    other.quiet().await;
    assert_eq!(world.broker.sessions(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_takes_subscriptions_queue_retained_and_will_along() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.subscribe("d/d-1/status", QoS::AtLeastOnce).await;
    let mut device = plan(&world, "d-1", Version::V5)
        .kept(600)
        .will("d/d-1/status", Properties::new())
        .open()
        .await;
    device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
    device.send(&retained("d/d-1/status", b"up")).await;
    device.acked().await;
    assert_eq!(&hub.message().await.payload[..], b"up");
    world.revoke_device("d-1");
    device.ended_with(ENDED).await;
    hub.quiet().await;
    assert_eq!(hub.publish_acked("d/d-1/cmd", b"x").await, ReasonCode::NO_MATCHING_SUBSCRIBERS);
    hub.subscribe("d/+/status", QoS::AtLeastOnce).await;
    hub.quiet().await;
    assert_eq!(world.broker.sessions(), 1);
    // Enrolled anew it starts from nothing.
    let fresh = world.token_with("d-1", device_scope("d-1"), |claims| claims.epochs.device = 1);
    let (_, ack) = plan(&world, "d-1", Version::V5).token(fresh).kept(600).try_open().await;
    assert!(!ack.unwrap().session_present);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_may_be_published_on_revocation_by_setting() {
    let world = world_with(|raw| raw.suppress_will_on_revocation = false).await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.subscribe("d/d-1/status", QoS::AtLeastOnce).await;
    let _device =
        plan(&world, "d-1", Version::V5).will("d/d-1/status", Properties::new()).open().await;
    world.revoke_device("d-1");
    assert_eq!(&hub.message().await.payload[..], b"gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_client_loses_its_session_too() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    let mut device = plan(&world, "d-1", Version::V5).kept(600).open().await;
    device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
    device.goodbye().await;
    assert_eq!(world.broker.sessions(), 2);
    hub.publish_acked("d/d-1/cmd", b"queued").await;
    world.revoke_device("d-1");
    while world.broker.sessions() > 1 {
        tokio::task::yield_now().await;
    }
    // Its routes go a moment after it.
    while hub.publish_acked("d/d-1/cmd", b"x").await != ReasonCode::NO_MATCHING_SUBSCRIBERS {}
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_absent_device_had_retained_goes_with_its_rights() {
    type Event = fn(&World);
    let events: [Event; 3] =
        [|world| world.revoke_device("d-1"), |world| world.revoke_group(5), World::revoke_tenant];
    for event in events {
        let world = world().await;
        let mut device = plan(&world, "d-1", Version::V5).open().await;
        device.send(&retained("d/d-1/status", b"up")).await;
        device.acked().await;
        device.goodbye().await;
        event(&world);
        let change = |claims: &mut tessera_token::claims::Claims| {
            claims.epochs.tenant = 2;
            claims.epochs.group = 1;
        };
        let token = world.token_with("hub", backend_scope(), change);
        let mut hub = plan(&world, "hub", Version::V5).token(token).open().await;
        let ended = || world.metric("tessera_broker_revocation_seconds_count");
        while ended() < 2 {
            tokio::task::yield_now().await;
        }
        hub.subscribe("d/+/status", QoS::AtMostOnce).await;
        hub.quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_publisher_had_waiting_in_other_queues_goes_with_its_rights() {
    type Event = fn(&World, &[u8]);
    let events: [(&str, Event); 3] = [
        ("device", |world, _| world.revoke_device("d-1")),
        ("token", |world, token| world.revoke_token("d-1", token)),
        ("group", |world, _| world.revoke_group(5)),
    ];
    for (what, event) in events {
        let world = world().await;
        let in_group = |name: &str, scope, number| {
            world.token_with(name, scope, |claims| claims.epochs.group_number = number)
        };
        let hub = in_group("hub", backend_scope(), 6);
        let reader = |id: &str| plan(&world, "hub", Version::V5).client_id(id).token(hub.clone());
        let filters: [(&str, &[&str]); 3] = [
            ("hub~exact", &["d/d-1/telemetry", "d/d-2/telemetry"]),
            ("hub~wild", &["d/+/telemetry"]),
            ("hub~shared", &["$share/g/d/+/telemetry"]),
        ];
        for (id, filters) in filters {
            let mut absent = reader(id).kept(600).open().await;
            for filter in filters {
                absent.subscribe(filter, QoS::ExactlyOnce).await;
            }
            absent.goodbye().await;
        }
        let one_at_once = |p: PropertiesBuilder| p.number(PropertyId::ReceiveMaximum, 1);
        let mut slow = reader("hub~slow").properties(one_at_once).open().await;
        slow.subscribe("d/+/telemetry", QoS::AtLeastOnce).await;
        let mut left = reader("hub~left").kept(600).open().await;
        left.subscribe("d/+/telemetry", QoS::AtLeastOnce).await;

        let token = world.token("d-1", device_scope("d-1"));
        let mut bad = plan(&world, "d-1", Version::V5).token(token.clone()).open().await;
        let good = in_group("d-2", device_scope("d-2"), 6);
        let mut good = plan(&world, "d-2", Version::V5).token(good).open().await;
        bad.publish_acked("d/d-1/telemetry", b"first").await;
        let open = slow.unacked_message().await;
        assert_eq!(&left.unacked_message().await.payload[..], b"first");
        bad.publish_acked("d/d-1/telemetry", b"second").await;
        assert_eq!(&left.unacked_message().await.payload[..], b"second");
        drop(left);
        good.publish_acked("d/d-2/telemetry", b"third").await;
        event(&world, &token);

        let ack = Ack::new(open.packet_id.unwrap(), ReasonCode::SUCCESS);
        slow.send(&Packet::PubAck(ack)).await;
        assert_eq!(&slow.message().await.payload[..], b"third", "{what}");
        slow.quiet().await;
        for id in ["hub~exact", "hub~wild", "hub~shared", "hub~left"] {
            let mut back = reader(id).kept(600).open().await;
            assert_eq!(&back.message().await.payload[..], b"third", "{what} {id}");
            back.quiet().await;
        }
        // Two for each of the four who were absent, one for the slow one.
        let dropped = r#"tessera_broker_dropped_total{qos="1",why="publisher_withdrawn"}"#;
        // Counted after it is gone.
        until(|| world.metric(dropped) == 9).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_before_a_refresh_or_an_expiry_still_arrives() {
    let world = world().await;
    let hub = || plan(&world, "hub", Version::V5).scope(backend_scope()).kept(7200);
    let mut reader = hub().open().await;
    reader.subscribe("d/+/telemetry", QoS::AtLeastOnce).await;
    reader.goodbye().await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    device.publish_acked("d/d-1/telemetry", b"kept").await;
    device.goodbye().await;
    let short = world.token_with("d-2", device_scope("d-2"), |claims| {
        claims.expires = claims.issued.plus(60);
    });
    let mut device = plan(&world, "d-2", Version::V5).token(short).open().await;
    device.publish_acked("d/d-2/telemetry", b"before expiry").await;
    world.advance(120);
    world.revoke_device("d-7");
    let mut reader = hub().open().await;
    assert_eq!(&reader.message().await.payload[..], b"kept");
    assert_eq!(&reader.message().await.payload[..], b"before expiry");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_publisher_is_cut_off() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.subscribe("d/d-1/telemetry", QoS::AtMostOnce).await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    for n in 0..2000u32 {
        device.send(&publish("d/d-1/telemetry", QoS::AtMostOnce, &n.to_be_bytes())).await;
        if n == 100 {
            world.revoke_device("d-1");
        }
    }
    device.closed().await;
    assert_eq!(world.broker.sessions(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_change_that_takes_nothing_ends_nothing() {
    let world = world().await;
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    world.allow_bearer();
    world.revoke_group(99);
    world.revoke_device("d-7");
    client.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_session_outlives_its_token_but_not_the_revocation_of_its_device() {
    let world = world().await;
    plan(&world, "d-1", Version::V5).kept(80_000).open().await.goodbye().await;
    world.advance(3700);
    let handled = |events| world.metric("tessera_broker_revocation_seconds_count") >= events;
    world.allow_bearer();
    while !handled(2) {
        tokio::task::yield_now().await;
    }
    let (client, ack) = plan(&world, "d-1", Version::V5).kept(80_000).try_open().await;
    assert!(ack.unwrap().session_present);
    client.goodbye().await;
    world.advance(3700);
    world.revoke_device("d-1");
    while !handled(3) {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.broker.sessions(), 0);
}

/// Epochs move by revocation alone: a token of a later one tells of it before the feed does. Afterwards it could not be
/// told that the session was of the former one.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_later_epoch_ends_what_rests_on_the_former_one() {
    type Later = fn(&mut Claims);
    let later: [(&str, Later); 3] = [
        ("device_epoch", |claims| claims.epochs.device += 1),
        ("group_epoch", |claims| claims.epochs.group += 1),
        ("tenant_epoch", |claims| claims.epochs.tenant += 1),
    ];
    for (code, later) in later {
        let world = world().await;
        let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
        let open = |token: Vec<u8>| plan(&world, "d-1", Version::V5).token(token).kept(600);
        let scope = || device_scope("d-1");
        let next = world.token_with("d-1", scope(), later);
        // Handed in on a session that lives.
        let mut device = open(world.token("d-1", scope())).open().await;
        device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
        device.publish("$tessera/token", QoS::AtMostOnce, &next).await;
        device.ended_with(ENDED).await;
        let refused = format!(r#"tessera_broker_refusals_total{{code="{code}",what="session"}}"#);
        until(|| world.metric(&refused) == 1 && world.broker.sessions() == 1).await;
        let lost = hub.publish_acked("d/d-1/cmd", b"x").await;
        assert_eq!(lost, ReasonCode::NO_MATCHING_SUBSCRIBERS, "{code}");
        // And in the CONNECT that would take up one that waits.
        let mut device = open(world.token("d-1", scope())).open().await;
        device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
        device.goodbye().await;
        hub.publish_acked("d/d-1/cmd", b"for the former one").await;
        let (mut device, ack) = open(next.clone()).try_open().await;
        assert!(!ack.unwrap().session_present, "{code}");
        device.quiet().await;
        assert_eq!(world.metric(&refused), 2, "{code}");
        // The next of the same epoch goes on.
        drop(device);
        let (_, ack) = open(next).try_open().await;
        assert!(ack.unwrap().session_present, "{code}");
        // So does that of a device which has changed its group.
        let (_, ack) = open(world.token_with("d-1", scope(), |claims| {
            later(claims);
            (claims.epochs.group_number, claims.epochs.group) = (9, 7);
        }))
        .try_open()
        .await;
        assert!(ack.unwrap().session_present, "{code}");
    }
}

/// Bytes that were encoded for a peer and are not in the socket yet are not sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalled_gets_nothing_more_once_its_rights_have_ended() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    device.subscribe("d/d-1/cmd", QoS::AtMostOnce).await;
    // More than the kernel's buffers take, and the queue behind them.
    let full = r#"tessera_broker_dropped_total{qos="0",why="queue_full"}"#;
    while world.metric(full) == 0 {
        hub.publish("d/d-1/cmd", QoS::AtMostOnce, &[7; 200_000]).await;
        hub.quiet().await;
    }
    world.revoke_device("d-1");
    until(|| world.broker.sessions() == 1).await;
    // The connection ends within a message: nothing can be said behind it.
    while let Some(packet) = device.next().await {
        assert!(matches!(packet, Packet::Publish(_)), "{packet:?}");
    }
}

/// The service signs a snapshot by a clock that is far ahead. Until its time is known no device is let in, no message reaches a
/// subscriber, and nothing is removed. Then the messages come by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_removed_or_admitted_while_the_length_of_an_absence_is_open() {
    let world = world().await;
    let kept = |name: &str| plan(&world, name, Version::V5).scope(backend_scope()).kept(90_000);
    let mut away = kept("away").open().await;
    away.subscribe("d/+/telemetry", QoS::AtLeastOnce).await;
    drop(away);
    let mut hub = kept("hub").open().await;
    hub.subscribe("d/+/telemetry", QoS::AtLeastOnce).await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    world.absence_opens();
    device.publish_acked("d/d-1/telemetry", b"held").await;
    hub.quiet().await;
    let (_, refused) = plan(&world, "d-2", Version::V5).try_open().await;
    assert_eq!(refused.unwrap().reason, ReasonCode::NOT_AUTHORIZED);
    let stale = r#"tessera_broker_refusals_total{code="trust_stale",what="connect"}"#;
    assert_eq!(world.metric(stale), 1);
    world.absence_was_short();
    assert_eq!(hub.message().await.payload, b"held"[..]);
    let (mut away, ack) = kept("away").try_open().await;
    assert!(ack.unwrap().session_present);
    assert_eq!(away.message().await.payload, b"held"[..]);
}
