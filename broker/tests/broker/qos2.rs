//! QoS 2 both ways, and what of MQTT 5 belongs to a session.

use tessera_broker::codec::{
    self, Ack, Packet, Properties, PropertyId, Publish, QoS, ReasonCode, Subscribe,
    SubscribeOptions, Subscription, Version,
};

use crate::client::{plan, publish, Client, VERSIONS};
use crate::world::{backend_scope, restarted, scope, world, world_in, world_with, NOW};

fn exactly(topic: &str, id: u16, payload: &[u8], dup: bool) -> Packet {
    match publish(topic, QoS::ExactlyOnce, payload) {
        Packet::Publish(one) => Packet::Publish(Publish { packet_id: Some(id), dup, ..one }),
        other => other,
    }
}

fn pubrel(id: u16) -> Packet {
    Packet::PubRel(Ack::new(id, ReasonCode::SUCCESS))
}

async fn received(client: &mut Client, id: u16) -> ReasonCode {
    match client.next().await {
        Some(Packet::PubRec(ack)) if ack.packet_id == id => ack.reason,
        other => panic!("expected PUBREC, got {other:?}"),
    }
}

async fn completed(client: &mut Client, id: u16) -> ReasonCode {
    match client.next().await {
        Some(Packet::PubComp(ack)) if ack.packet_id == id => ack.reason,
        other => panic!("expected PUBCOMP, got {other:?}"),
    }
}

async fn released(client: &mut Client) -> (u16, ReasonCode) {
    match client.next().await {
        Some(Packet::PubRel(ack)) => (ack.packet_id, ack.reason),
        other => panic!("expected PUBREL, got {other:?}"),
    }
}

/// The whole of one QoS 2 exchange from the client's side.
async fn send_exactly(client: &mut Client, topic: &str, id: u16, payload: &[u8]) {
    client.send(&exactly(topic, id, payload, false)).await;
    assert_eq!(received(client, id).await, ReasonCode::SUCCESS);
    client.send(&pubrel(id)).await;
    assert_eq!(completed(client, id).await, ReasonCode::SUCCESS);
}

/// Takes one QoS 2 message with all four packets.
async fn take_exactly(client: &mut Client) -> Publish {
    let message = client.unacked_message().await;
    let id = message.packet_id.unwrap();
    assert_eq!(message.qos, QoS::ExactlyOnce);
    client.send(&Packet::PubRec(Ack::new(id, ReasonCode::SUCCESS))).await;
    assert_eq!(released(client).await, (id, ReasonCode::SUCCESS));
    client.send(&Packet::PubComp(Ack::new(id, ReasonCode::SUCCESS))).await;
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn four_packets_each_way() {
    let world = world().await;
    for version in VERSIONS {
        let mut hub = plan(&world, "hub", version).scope(backend_scope()).open().await;
        let (mut device, ack) = plan(&world, "d-1", version).try_open().await;
        assert_eq!(ack.unwrap().properties.number(PropertyId::MaximumQos), None);
        let granted = device.subscribe("d/d-1/cmd", QoS::ExactlyOnce).await;
        assert_eq!(granted, ReasonCode::GRANTED_QOS_2);
        for n in 0..3u8 {
            send_exactly(&mut hub, "d/d-1/cmd", 5, &[n]).await;
            assert_eq!(take_exactly(&mut device).await.payload[0], n);
        }
        device.quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_before_the_release_is_the_same_message() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    device.subscribe("d/d-1/cmd", QoS::ExactlyOnce).await;
    for dup in [false, true, false] {
        hub.send(&exactly("d/d-1/cmd", 5, b"once", dup)).await;
        assert_eq!(received(&mut hub, 5).await, ReasonCode::SUCCESS);
    }
    device.quiet().await;
    hub.send(&pubrel(5)).await;
    assert_eq!(completed(&mut hub, 5).await, ReasonCode::SUCCESS);
    assert_eq!(&take_exactly(&mut device).await.payload[..], b"once");
    hub.send(&pubrel(5)).await;
    assert_eq!(completed(&mut hub, 5).await, ReasonCode::PACKET_ID_NOT_FOUND);
    device.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_no_longer_be_published_is_not_when_it_is_released() {
    let world = world().await;
    let rights = scope(&[("pub", "a"), ("pub", "b")]);
    let mut reader = plan(&world, "hub", Version::V5).scope(scope(&[("sub", "#")])).open().await;
    reader.subscribe("a", QoS::AtMostOnce).await;
    reader.subscribe("b", QoS::AtMostOnce).await;
    let mut device = plan(&world, "d-1", Version::V5).scope(rights).kept(600).open().await;
    for (id, topic) in [(1, "a"), (2, "b")] {
        device.send(&exactly(topic, id, topic.as_bytes(), false)).await;
        assert_eq!(received(&mut device, id).await, ReasonCode::SUCCESS);
    }
    drop(device);
    let fewer = scope(&[("pub", "b")]);
    let mut device = plan(&world, "d-1", Version::V5).scope(fewer).kept(600).open().await;
    for id in [1, 2] {
        device.send(&pubrel(id)).await;
        assert_eq!(completed(&mut device, id).await, ReasonCode::SUCCESS);
    }
    assert_eq!(&reader.unacked_message().await.payload[..], b"b");
    reader.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_publish_is_answered_with_pubrec_and_holds_no_id() {
    let world = world().await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    device.send(&exactly("d/d-2/telemetry", 3, b"x", false)).await;
    assert_eq!(received(&mut device, 3).await, ReasonCode::NOT_AUTHORIZED);
    device.send(&pubrel(3)).await;
    assert_eq!(completed(&mut device, 3).await, ReasonCode::PACKET_ID_NOT_FOUND);
    send_exactly(&mut device, "d/d-1/telemetry", 3, b"y").await;
    let mut old = plan(&world, "d-1", Version::V311).open().await;
    old.send(&exactly("d/d-2/telemetry", 3, b"x", false)).await;
    old.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_open_publishes_than_allowed_end_the_connection() {
    let world = world_with(|raw| raw.limits.receive_maximum = 2).await;
    let (mut device, ack) = plan(&world, "d-1", Version::V5).try_open().await;
    assert_eq!(ack.unwrap().properties.number(PropertyId::ReceiveMaximum), Some(2));
    for id in [1, 2] {
        device.send(&exactly("d/d-1/telemetry", id, b"x", false)).await;
        received(&mut device, id).await;
    }
    device.send(&exactly("d/d-1/telemetry", 3, b"x", false)).await;
    device.ended_with(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_counts_until_pubcomp_and_an_error_ends_the_exchange() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    let small =
        plan(&world, "d-1", Version::V5).properties(|p| p.number(PropertyId::ReceiveMaximum, 1));
    let mut device = small.open().await;
    device.subscribe("d/d-1/cmd", QoS::ExactlyOnce).await;
    for n in 0..3u8 {
        send_exactly(&mut hub, "d/d-1/cmd", 5, &[n]).await;
    }
    let first = device.unacked_message().await.packet_id.unwrap();
    device.quiet().await;
    device.send(&Packet::PubRec(Ack::new(first, ReasonCode::SUCCESS))).await;
    released(&mut device).await;
    device.quiet().await;
    device.send(&Packet::PubComp(Ack::new(first, ReasonCode::SUCCESS))).await;
    let second = device.unacked_message().await;
    assert_eq!(second.payload[0], 1);
    let refusal = Ack::new(second.packet_id.unwrap(), ReasonCode::UNSPECIFIED);
    device.send(&Packet::PubRec(refusal)).await;
    assert_eq!(device.unacked_message().await.payload[0], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_out_of_place() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    type Make = fn(Ack) -> Packet;
    let cases: [(QoS, Make); 3] = [
        (QoS::ExactlyOnce, Packet::PubAck),
        (QoS::ExactlyOnce, Packet::PubComp),
        (QoS::AtLeastOnce, Packet::PubRec),
    ];
    for (qos, make) in cases {
        let mut device = plan(&world, "d-1", Version::V5).open().await;
        device.subscribe("d/d-1/cmd", qos).await;
        send_exactly(&mut hub, "d/d-1/cmd", 5, b"x").await;
        let id = device.unacked_message().await.packet_id.unwrap();
        device.send(&make(Ack::new(id, ReasonCode::SUCCESS))).await;
        device.ended_with(ReasonCode::PROTOCOL_ERROR).await;
    }
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    device.send(&Packet::PubRec(Ack::new(99, ReasonCode::SUCCESS))).await;
    assert_eq!(released(&mut device).await, (99, ReasonCode::PACKET_ID_NOT_FOUND));
    device.send(&Packet::PubComp(Ack::new(99, ReasonCode::SUCCESS))).await;
    device.send(&Packet::PubAck(Ack::new(99, ReasonCode::SUCCESS))).await;
    device.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_exchange_goes_on_where_it_stood() {
    let world = world().await;
    for version in VERSIONS {
        let mut hub = plan(&world, "hub", version).scope(backend_scope()).open().await;
        let mut device = plan(&world, "d-1", version).kept(600).open().await;
        device.subscribe("d/d-1/cmd", QoS::ExactlyOnce).await;
        send_exactly(&mut hub, "d/d-1/cmd", 5, b"1").await;
        send_exactly(&mut hub, "d/d-1/cmd", 5, b"2").await;
        let first = device.unacked_message().await.packet_id.unwrap();
        let second = device.unacked_message().await.packet_id.unwrap();
        device.send(&Packet::PubRec(Ack::new(first, ReasonCode::SUCCESS))).await;
        released(&mut device).await;
        drop(device);
        let mut device = plan(&world, "d-1", version).kept(600).open().await;
        assert_eq!(released(&mut device).await, (first, ReasonCode::SUCCESS));
        let again = device.unacked_message().await;
        assert_eq!(
            (again.packet_id, again.dup, &again.payload[..]),
            (Some(second), true, &b"2"[..])
        );
        device.goodbye().await;
        plan(&world, "d-1", version).open().await.goodbye().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wills_and_retained_messages_with_qos_2() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.subscribe("d/d-1/status", QoS::ExactlyOnce).await;
    let mut willing = plan(&world, "d-1", Version::V5).will("d/d-1/status", Properties::new());
    willing.connect.will.as_mut().unwrap().qos = QoS::ExactlyOnce;
    willing.connect.will.as_mut().unwrap().retain = true;
    drop(willing.open().await);
    assert_eq!(&take_exactly(&mut hub).await.payload[..], b"gone");
    hub.subscribe("d/d-1/status", QoS::ExactlyOnce).await;
    let kept = take_exactly(&mut hub).await;
    assert!(kept.retain && &kept.payload[..] == b"gone");
}

/// [MQTT-3.1.2-14]: without the flag it is a plain message, which a later subscription does not find.
#[tokio::test(flavor = "multi_thread")]
async fn a_will_without_the_retain_flag_is_not_retained() {
    let world = world().await;
    for version in VERSIONS {
        let mut hub = plan(&world, "hub", version).scope(backend_scope()).open().await;
        hub.subscribe("d/d-1/status", QoS::AtMostOnce).await;
        let willing = plan(&world, "d-1", version).will("d/d-1/status", Properties::new());
        drop(willing.open().await);
        let live = hub.message().await;
        assert_eq!((&live.payload[..], live.retain), (&b"gone"[..], false));
        hub.subscribe("d/d-1/status", QoS::AtMostOnce).await;
        hub.quiet().await;
        hub.quiet().await;
        hub.goodbye().await;
    }
}

/// [MQTT-4.6.0-2] to [MQTT-4.6.0-4]: PUBACK, PUBREC and PUBREL in the order of what they answer, by their ids, and each
/// exchange of its own.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_keep_the_order_of_what_they_answer() {
    let world = world().await;
    let ids = [7, 3, 9, 1, 65_535, 2];
    let at_least = |id| match publish("d/d-1/telemetry", QoS::AtLeastOnce, b"x") {
        Packet::Publish(one) => Packet::Publish(Publish { packet_id: Some(id), ..one }),
        other => other,
    };
    for version in VERSIONS {
        let mut hub = plan(&world, "hub", version).scope(backend_scope()).open().await;
        let mut device = plan(&world, "d-1", version).open().await;
        // With a subscriber behind a queue, and with none.
        for subscribes in [false, true] {
            if subscribes {
                hub.subscribe("d/+/telemetry", QoS::AtLeastOnce).await;
            }
            let one_each = |make: &dyn Fn(u16) -> Packet| ids.map(make).to_vec();
            device.send_all(&one_each(&at_least)).await;
            assert_eq!(device.ack_ids(ids.len()).await, ids.map(|id| (0x40, id)));
            device.send_all(&one_each(&|id| exactly("d/d-1/telemetry", id, b"x", false))).await;
            assert_eq!(device.ack_ids(ids.len()).await, ids.map(|id| (0x50, id)));
            let mut released = ids;
            released.reverse();
            device.send_all(&released.map(pubrel)).await;
            assert_eq!(device.ack_ids(ids.len()).await, released.map(|id| (0x70, id)));
        }
        device.goodbye().await;
        hub.goodbye().await;
    }
    // PUBREL to the client, in the order of its PUBRECs.
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    device.subscribe("d/d-1/cmd", QoS::ExactlyOnce).await;
    let mut received = Vec::new();
    for n in 0..5u8 {
        send_exactly(&mut hub, "d/d-1/cmd", 5, &[n]).await;
        received.push(device.unacked_message().await.packet_id.unwrap());
    }
    received.swap(0, 3);
    let recs = received.iter().map(|id| Packet::PubRec(Ack::new(*id, ReasonCode::SUCCESS)));
    device.send_all(&recs.collect::<Vec<_>>()).await;
    let expected: Vec<_> = received.iter().map(|id| (0x62, *id)).collect();
    assert_eq!(device.ack_ids(5).await, expected);
}

/// [MQTT-4.6.0-1] and the order of what was half done: messages again in the order of the first time, and the PUBRELs
/// in the order of the PUBRECs.
#[tokio::test(flavor = "multi_thread")]
async fn repetitions_come_in_the_order_of_the_first_time() {
    let world = world().await;
    for (qos, version) in
        VERSIONS.iter().flat_map(|v| [(QoS::AtLeastOnce, *v), (QoS::ExactlyOnce, *v)])
    {
        let mut hub = plan(&world, "hub", version).scope(backend_scope()).open().await;
        let mut device = plan(&world, "d-1", version).kept(600).open().await;
        device.subscribe("d/d-1/cmd", qos).await;
        let mut first = Vec::new();
        for n in 0..6u8 {
            send_exactly(&mut hub, "d/d-1/cmd", 5, &[n]).await;
            first.push(device.unacked_message().await.packet_id.unwrap());
        }
        // The first three of QoS 2 are half done.
        let half = if qos == QoS::ExactlyOnce { 3 } else { 0 };
        for id in &first[..half] {
            device.send(&Packet::PubRec(Ack::new(*id, ReasonCode::SUCCESS))).await;
            assert_eq!(released(&mut device).await.0, *id);
        }
        drop(device);
        let mut device = plan(&world, "d-1", version).kept(600).open().await;
        for id in &first[..half] {
            assert_eq!(released(&mut device).await.0, *id);
        }
        for (n, id) in first.iter().enumerate().skip(half) {
            let again = device.unacked_message().await;
            assert_eq!((again.packet_id, again.dup), (Some(*id), true));
            assert_eq!(usize::from(again.payload[0]), n);
        }
        device.goodbye().await;
        plan(&world, "d-1", version).open().await.goodbye().await;
        hub.goodbye().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_aliases_of_ours_stay_within_what_the_client_takes() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(scope(&[("pub", "#")])).open().await;
    let rights = scope(&[("sub", "t/+")]);
    let one = plan(&world, "d-1", Version::V5).scope(rights);
    let mut device = one.properties(|p| p.number(PropertyId::TopicAliasMaximum, 1)).open().await;
    device.subscribe("t/1", QoS::AtLeastOnce).await;
    device.subscribe("t/2", QoS::AtMostOnce).await;
    let mut seen = Vec::new();
    for topic in ["t/1", "t/1", "t/2", "t/1"] {
        hub.publish_acked(topic, b"x").await;
        let message = device.message().await;
        let alias = message.properties.number(PropertyId::TopicAlias);
        seen.push((message.topic.to_string(), alias));
    }
    let expected = [("t/1", Some(1)), ("", Some(1)), ("t/2", None), ("", Some(1))]
        .map(|(t, a)| (t.to_owned(), a));
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_client_id_is_refused_with_the_code_for_it() {
    let world = world().await;
    for version in VERSIONS {
        let reason = plan(&world, "d-1", version).client_id("").refused().await;
        assert_eq!(reason, ReasonCode::CLIENT_ID_NOT_VALID, "{version:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let world = world().await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    let plain =
        Subscription { filter: "$share/g/d/d-1/cmd".into(), options: SubscribeOptions::default() };
    let properties = Properties::new();
    let packet = Subscribe { packet_id: 1, properties, entries: vec![plain] };
    // No Local is set in the bytes: the encoder would not write it.
    let mut out = bytes::BytesMut::new();
    codec::encode(&Packet::Subscribe(packet), Version::V5, &mut out).unwrap();
    *out.last_mut().unwrap() |= 0b100;
    device.bytes(&out).await;
    device.ended_with(ReasonCode::PROTOCOL_ERROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_leaving_member_did_not_get_goes_to_the_others() {
    let world = world().await;
    let rights = || scope(&[("sub", "jobs/#")]);
    let mut hub = plan(&world, "hub", Version::V5).scope(scope(&[("pub", "#")])).open().await;
    let small = plan(&world, "w-1", Version::V5)
        .scope(rights())
        .properties(|p| p.number(PropertyId::ReceiveMaximum, 1));
    let mut slow = small.open().await;
    slow.subscribe("$share/g/jobs/#", QoS::AtLeastOnce).await;
    for n in 0..6u8 {
        hub.publish_acked("jobs/1", &[n]).await;
    }
    assert_eq!(slow.unacked_message().await.payload[0], 0);
    let mut other = plan(&world, "w-2", Version::V5).scope(rights()).open().await;
    other.subscribe("$share/g/jobs/#", QoS::AtLeastOnce).await;
    drop(slow);
    let mut got: Vec<u8> = Vec::new();
    while got.len() < 6 {
        got.push(other.message().await.payload[0]);
    }
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2, 3, 4, 5]);
}

/// MQTT 3.1.1 has no Receive Maximum: a client that knows no limit is not cut at one. Further messages are passed on
/// at once ([MQTT-4.3.3-2], method B), and only their packet ids are held.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_knows_no_limit_may_have_thousands_open() {
    const OPEN: u16 = 3_000;
    let world = world_with(|raw| {
        raw.limits.receive_maximum = 100;
        raw.limits.queue_messages = 10_000;
    })
    .await;
    let mut back = plan(&world, "back", Version::V5).scope(backend_scope()).open().await;
    back.subscribe("d/d-1/telemetry", QoS::AtMostOnce).await;
    for kept in [0, u32::MAX] {
        let mut device = plan(&world, "d-1", Version::V311).kept(kept).open().await;
        let number = |id: u16| id.to_be_bytes();
        for id in 1..=OPEN {
            device.send(&exactly("d/d-1/telemetry", id, &number(id), false)).await;
        }
        for id in 1..=OPEN {
            received(&mut device, id).await;
        }
        // The same once more, of both kinds.
        for id in [1, OPEN] {
            device.send(&exactly("d/d-1/telemetry", id, &number(id), true)).await;
            received(&mut device, id).await;
        }
        device.publish_acked("d/d-1/status", b"qos 1 goes on").await;
        for id in 1..=OPEN {
            device.send(&pubrel(id)).await;
        }
        for id in 1..=OPEN {
            completed(&mut device, id).await;
        }
        let mut seen = Vec::new();
        for _ in 1..=OPEN {
            let payload = back.message().await.payload;
            seen.push(u16::from_be_bytes([payload[0], payload[1]]));
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=OPEN).collect::<Vec<_>>());
        back.quiet().await;
        // All ids are free again.
        for id in [1, OPEN] {
            send_exactly(&mut device, "d/d-1/telemetry", id, &number(id)).await;
            assert_eq!(back.message().await.payload[..], number(id));
        }
        device.goodbye().await;
    }
}

/// That a message was passed on, and its id, survive together.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_passed_on_before_a_restart_is_not_passed_on_again() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let first = world_in(folder.path(), NOW, |raw| raw.limits.receive_maximum = 1).await;
    let mut device = plan(&first, "d-1", Version::V311).kept(u32::MAX).open().await;
    for id in [1, 2] {
        device.send(&exactly("d/d-1/telemetry", id, b"x", false)).await;
        received(&mut device, id).await;
    }
    drop(device);
    let world = restarted(first, folder.path(), copy.path(), 10).await;
    let mut back = plan(&world, "back", Version::V5).scope(backend_scope()).open().await;
    back.subscribe("d/d-1/telemetry", QoS::AtMostOnce).await;
    let mut device = plan(&world, "d-1", Version::V311).kept(u32::MAX).open().await;
    device.send(&exactly("d/d-1/telemetry", 2, b"x", true)).await;
    received(&mut device, 2).await;
    for id in [2, 1] {
        device.send(&pubrel(id)).await;
        assert_eq!(completed(&mut device, id).await, ReasonCode::SUCCESS);
    }
    assert_eq!(back.message().await.payload[..], *b"x");
    back.quiet().await;
}
