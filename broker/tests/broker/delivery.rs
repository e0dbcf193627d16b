//! Messages arrive as MQTT says, by exact and wildcard routes, and only where the right to receive still exists.

use bytes::Bytes;
use tessera_broker::codec::{
    Packet, Properties, PropertyId, Publish, QoS, ReasonCode, RetainHandling, Subscribe,
    SubscribeOptions, Subscription, Unsubscribe, Version,
};
use tessera_token::encoding::hex;

use crate::client::{plan, publish, retained, Client, VERSIONS};
use crate::world::{backend_scope, scope, world, world_with};

pub fn with_properties(topic: &str, qos: QoS, properties: Properties) -> Packet {
    match publish(topic, qos, b"x") {
        Packet::Publish(publish) => Packet::Publish(Publish { properties, ..publish }),
        other => other,
    }
}

fn options(change: impl FnOnce(&mut SubscribeOptions)) -> SubscribeOptions {
    let mut options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    change(&mut options);
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn wildcards_go_through_the_fleet_lane() {
    let world = world().await;
    for version in VERSIONS {
        let mut hub = plan(&world, "hub", version).scope(backend_scope()).open().await;
        assert_eq!(
            hub.subscribe("d/+/telemetry", QoS::AtLeastOnce).await,
            ReasonCode::GRANTED_QOS_1
        );
        let mut device = plan(&world, "d-1", version).open().await;
        assert_eq!(device.publish_acked("d/d-1/telemetry", b"21").await, ReasonCode::SUCCESS);
        device.publish("d/d-1/telemetry", QoS::AtMostOnce, b"22").await;
        let first = hub.message().await;
        assert_eq!(
            (&*first.topic, &first.payload[..], first.qos),
            ("d/d-1/telemetry", &b"21"[..], QoS::AtLeastOnce)
        );
        let second = hub.message().await;
        assert_eq!((&second.payload[..], second.qos), (&b"22"[..], QoS::AtMostOnce));
        hub.goodbye().await;
        device.goodbye().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_members_take_turns() {
    let world = world().await;
    let mut one = plan(&world, "h-1", Version::V5).scope(backend_scope()).open().await;
    let mut two = plan(&world, "h-2", Version::V5).scope(backend_scope()).open().await;
    for client in [&mut one, &mut two] {
        assert_eq!(
            client.subscribe("$share/g/d/+/telemetry", QoS::AtLeastOnce).await,
            ReasonCode::GRANTED_QOS_1
        );
    }
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    for n in 0..20u8 {
        device.publish_acked("d/d-1/telemetry", &[n]).await;
    }
    let mut seen = Vec::new();
    for client in [&mut one, &mut two] {
        for _ in 0..10 {
            seen.push(client.message().await.payload[0]);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..20).collect::<Vec<u8>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listening_is_told_to_v5() {
    let world = world().await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    assert_eq!(
        device.publish_acked("d/d-1/telemetry", b"x").await,
        ReasonCode::NO_MATCHING_SUBSCRIBERS
    );
    device.subscribe("d/d-1/cmd", QoS::AtMostOnce).await;
    assert_eq!(device.unsubscribe("d/d-1/cmd").await, [ReasonCode::SUCCESS]);
    assert_eq!(device.unsubscribe("d/d-1/cmd").await, [ReasonCode::NO_SUBSCRIPTION_EXISTED]);
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    assert_eq!(hub.publish_acked("d/d-1/cmd", b"x").await, ReasonCode::NO_MATCHING_SUBSCRIBERS);
    device.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_travel_in_order_and_hop_properties_do_not() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    let id = Properties::build().number(PropertyId::SubscriptionId, 42).finish().unwrap();
    hub.subscribe_with("d/+/telemetry", options(|_| {}), id).await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    let sent = Properties::build()
        .number(PropertyId::TopicAlias, 3)
        .number(PropertyId::MessageExpiry, 100)
        .text(PropertyId::ContentType, "text/plain")
        .text(PropertyId::ResponseTopic, "d/d-1/answer")
        .binary(PropertyId::CorrelationData, &[0, 1])
        .user("b", "1")
        .user("a", "2")
        .user("b", "3")
        .finish()
        .unwrap();
    device.send(&with_properties("d/d-1/telemetry", QoS::AtLeastOnce, sent)).await;
    device.acked().await;
    let got = hub.message().await.properties;
    assert_eq!(got.user().collect::<Vec<_>>(), [("b", "1"), ("a", "2"), ("b", "3")]);
    assert_eq!(got.text(PropertyId::ContentType), Some("text/plain"));
    assert_eq!(got.text(PropertyId::ResponseTopic), Some("d/d-1/answer"));
    assert_eq!(got.binary(PropertyId::CorrelationData), Some(Bytes::from_static(&[0, 1])));
    assert_eq!(got.number(PropertyId::SubscriptionId), Some(42));
    assert_eq!(got.number(PropertyId::MessageExpiry), Some(100));
    assert_eq!(got.number(PropertyId::TopicAlias), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_local_and_retain_as_published() {
    let world = world().await;
    let both = scope(&[("both", "x/#")]);
    let mut own = plan(&world, "d-1", Version::V5).scope(both.clone()).open().await;
    for filter in ["x/exact", "x/+/wild"] {
        own.subscribe_with(filter, options(|o| o.no_local = true), Properties::new()).await;
    }
    let mut other = plan(&world, "d-2", Version::V5).scope(both).open().await;
    for filter in ["x/exact", "x/+/wild"] {
        other
            .subscribe_with(filter, options(|o| o.retain_as_published = true), Properties::new())
            .await;
    }
    for topic in ["x/exact", "x/a/wild"] {
        own.send(&retained(topic, b"r")).await;
        assert_eq!(own.acked().await, ReasonCode::SUCCESS);
        let message = other.message().await;
        assert_eq!((&*message.topic, message.retain), (topic, true));
    }
    own.quiet().await;
    // Retained messages come all the same: see `docs/mqtt-coverage.md`.
    for (filter, topic) in [("x/exact", "x/exact"), ("x/+/wild", "x/a/wild")] {
        own.subscribe_with(filter, options(|o| o.no_local = true), Properties::new()).await;
        let message = own.message().await;
        assert_eq!((&*message.topic, message.retain), (topic, true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_follow_the_rules_of_subscribing() {
    let world = world().await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    device.send(&retained("d/d-1/status", b"up")).await;
    assert_eq!(device.acked().await, ReasonCode::SUCCESS);
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    for filter in ["d/d-1/status", "d/+/status"] {
        hub.subscribe(filter, QoS::AtLeastOnce).await;
        let message = hub.message().await;
        assert_eq!((&message.payload[..], message.retain), (&b"up"[..], true));
        let handling = |handling| options(|o| o.retain_handling = handling);
        hub.subscribe_with(filter, handling(RetainHandling::SendIfNew), Properties::new()).await;
        hub.quiet().await;
        hub.subscribe_with(filter, handling(RetainHandling::Never), Properties::new()).await;
        hub.quiet().await;
        hub.unsubscribe(filter).await;
        hub.subscribe_with(filter, handling(RetainHandling::SendIfNew), Properties::new()).await;
        assert_eq!(&hub.message().await.payload[..], b"up");
        hub.unsubscribe(filter).await;
    }
    assert_eq!(hub.subscribe("$share/g/d/+/status", QoS::AtMostOnce).await, ReasonCode::SUCCESS);
    hub.quiet().await;
    device.send(&retained("d/d-1/status", b"")).await;
    device.acked().await;
    hub.message().await;
    hub.subscribe("d/d-1/status", QoS::AtMostOnce).await;
    hub.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_message_that_is_over_already_leaves_none() {
    let world = world().await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    device.send(&retained("d/d-1/status", b"old")).await;
    assert_eq!(device.acked().await, ReasonCode::SUCCESS);
    let properties = Properties::build().number(PropertyId::MessageExpiry, 0).finish().unwrap();
    let Packet::Publish(new) = retained("d/d-1/status", b"new") else { panic!() };
    device.send(&Packet::Publish(Publish { properties, ..new })).await;
    assert_eq!(device.acked().await, ReasonCode::SUCCESS);
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.subscribe("d/d-1/status", QoS::AtMostOnce).await;
    hub.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_reach_only_who_may_receive_them() {
    let world = world().await;
    let mut device = plan(&world, "d-1", Version::V5).scope(scope(&[("pub", "d/#")])).open().await;
    for topic in ["d/a/open", "d/b/secret"] {
        device.send(&retained(topic, b"x")).await;
        device.acked().await;
    }
    let mut reader =
        plan(&world, "d-2", Version::V5).scope(scope(&[("sub", "d/+/open")])).open().await;
    assert_eq!(reader.subscribe("d/#", QoS::AtMostOnce).await, ReasonCode::NOT_AUTHORIZED);
    reader.quiet().await;
    reader.subscribe("d/+/open", QoS::AtMostOnce).await;
    assert_eq!(&*reader.message().await.topic, "d/a/open");
    reader.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_message_ends_with_its_publishers_token() {
    let world = world().await;
    let token = world
        .token_with("d-1", crate::world::device_scope("d-1"), |c| c.expires = c.issued.plus(60));
    let mut device = plan(&world, "d-1", Version::V5).token(token).open().await;
    device.send(&retained("d/d-1/status", b"up")).await;
    device.acked().await;
    world.advance(61);
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.subscribe("d/+/status", QoS::AtMostOnce).await;
    hub.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_of_the_client_is_kept() {
    let world = world().await;
    let small =
        plan(&world, "d-1", Version::V5).properties(|p| p.number(PropertyId::ReceiveMaximum, 2));
    let mut device = small.open().await;
    device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    for n in 0..5u8 {
        assert_eq!(hub.publish_acked("d/d-1/cmd", &[n]).await, ReasonCode::SUCCESS);
    }
    let first = device.unacked_message().await;
    let second = device.unacked_message().await;
    device.quiet().await;
    assert_ne!(first.packet_id, second.packet_id);
    let ack = |id| Packet::PubAck(tessera_broker::codec::Ack::new(id, ReasonCode::SUCCESS));
    device.send(&ack(second.packet_id.unwrap())).await;
    assert_eq!(device.unacked_message().await.payload[0], 2);
    device.quiet().await;
    device.send(&ack(first.packet_id.unwrap())).await;
    assert_eq!(device.message().await.payload[0], 3);
    assert_eq!(device.message().await.payload[0], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_larger_than_the_client_takes_is_left_out() {
    let world = world().await;
    let small = plan(&world, "d-1", Version::V5)
        .properties(|p| p.number(PropertyId::MaximumPacketSize, 100));
    let mut device = small.open().await;
    device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.publish_acked("d/d-1/cmd", &[0; 200]).await;
    hub.publish_acked("d/d-1/cmd", b"small").await;
    assert_eq!(&device.message().await.payload[..], b"small");
    assert_eq!(world.metric(r#"tessera_broker_dropped_total{qos="1",why="too_large"}"#), 1);
}

async fn exactly(client: &mut Client, packet: &Packet, answer: &str) {
    client.send(packet).await;
    assert_eq!(hex::encode(client.next_bytes().await), answer.replace(' ', ""));
}

/// [MQTT-3.1.2-24], [MQTT-3.4.2-2], [MQTT-3.5.2-2], [MQTT-3.9.2-1], [MQTT-3.14.2-3]
#[tokio::test(flavor = "multi_thread")]
async fn no_packet_of_ours_is_larger_than_the_client_takes() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    let small = plan(&world, "d-1", Version::V5)
        .properties(|p| p.number(PropertyId::MaximumPacketSize, 32));
    let mut device = small.open().await;
    let subscribe = |filter: &str, count| {
        let one = Subscription { filter: filter.into(), options: SubscribeOptions::default() };
        let (properties, entries) = (Properties::new(), vec![one; count]);
        Packet::Subscribe(Subscribe { packet_id: 1, properties, entries })
    };
    let outside = |qos| publish("d/x/y", qos, b"x");
    exactly(&mut device, &outside(QoS::AtLeastOnce), "40 03 0009 87").await;
    exactly(&mut device, &outside(QoS::ExactlyOnce), "50 03 0009 87").await;
    exactly(&mut device, &subscribe("d/x/y", 1), "90 04 0001 00 87").await;
    // Codes that cannot be told count as told: what they are for has happened.
    device.send(&subscribe("d/d-1/cmd", 40)).await;
    device.quiet().await;
    hub.publish_acked("d/d-1/cmd", b"x").await;
    assert_eq!(&*device.message().await.topic, "d/d-1/cmd");
    let (properties, filters) = (Properties::new(), vec!["d/d-1/cmd".into(); 40]);
    device.send(&Packet::Unsubscribe(Unsubscribe { packet_id: 2, properties, filters })).await;
    device.quiet().await;
    assert_eq!(hub.publish_acked("d/d-1/cmd", b"x").await, ReasonCode::NO_MATCHING_SUBSCRIBERS);
    assert_eq!(world.metric(NOT_TOLD), 2);
    // The status does not fit, and neither do the last words, which are a PUBLISH.
    exactly(&mut device, &subscribe("$tessera/status", 1), "90 04 0001 00 00").await;
    device.quiet().await;
    exactly(&mut device, &outside(QoS::AtMostOnce), "e0 02 87 00").await;
    device.closed().await;
    assert_eq!(world.metric(NOT_TOLD), 3);
}

const NOT_TOLD: &str = r#"tessera_broker_limits_hit_total{limit="client_max_packet"}"#;

/// [MQTT-3.2.2-19], [MQTT-3.2.2-20]; and a client that does not take the CONNACK is not let in.
#[tokio::test(flavor = "multi_thread")]
async fn a_connack_is_no_larger_than_the_client_takes() {
    let world = world().await;
    let most = |most| {
        let plan = plan(&world, "d-1", Version::V5);
        plan.properties(|p| p.number(PropertyId::MaximumPacketSize, most))
    };
    for (size, words) in [(1_000, true), (32, false)] {
        let (mut client, ack) = most(size).will("d/x/status", Properties::new()).try_open().await;
        let ack = ack.unwrap();
        assert_eq!((ack.reason, ack.properties.is_empty()), (ReasonCode::NOT_AUTHORIZED, !words));
        client.closed().await;
    }
    let mut present = most(1_000).open().await;
    for too_small in [5, 18] {
        assert_eq!(most(too_small).refused().await, ReasonCode::PACKET_TOO_LARGE);
    }
    let (_, untold) = most(4).try_open().await;
    assert!(untold.is_none());
    present.quiet().await;
    most(19).open().await.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_larger_than_the_broker_takes_ends_the_connection() {
    let world = world_with(|raw| raw.limits.max_packet = 10_000).await;
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    client.publish("d/d-1/telemetry", QoS::AtMostOnce, &[0; 11_000]).await;
    assert_eq!(client.end().await, Some(ReasonCode::PACKET_TOO_LARGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_costs_its_queue_and_no_more() {
    let world = world_with(|raw| raw.limits.queue_messages = 50).await;
    let slow =
        plan(&world, "d-1", Version::V5).properties(|p| p.number(PropertyId::ReceiveMaximum, 1));
    let mut device = slow.open().await;
    device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    let mut full = 0;
    for _ in 0..200 {
        match hub.publish_acked("d/d-1/cmd", &[0; 64]).await {
            ReasonCode::SUCCESS => {}
            ReasonCode::QUOTA_EXCEEDED => full += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(full >= 148, "{full}");
    assert_eq!(world.metric(r#"tessera_broker_dropped_total{qos="1",why="queue_full"}"#), full);
    for _ in 0..200 - full {
        device.message().await;
    }
    device.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_out_of_place_end_the_connection() {
    let world = world().await;
    for version in VERSIONS {
        let mut again = plan(&world, "d-1", version);
        let second = Packet::Connect(Box::new(again.connect.clone()));
        again.connect.password = None;
        let mut client = again.open().await;
        client.send(&second).await;
        client.ended_with(ReasonCode::PROTOCOL_ERROR).await;
    }
    // One that does not decode is no other thing: of a version that we do not speak, with an empty id, cut short.
    for second in ["100c00044d515454060200000000", "100c00044d515454040000000000", "10020004"] {
        let mut client = plan(&world, "d-1", Version::V5).open().await;
        client.answered(second, "e0028200").await;
        client.closed().await;
    }
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    client.bytes(&[0xf0, 0x07, 0x19, 0x05, 0x15, 0x00, 0x02, b'G', b'S']).await;
    client.ended_with(ReasonCode::PROTOCOL_ERROR).await;
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    client.bytes(&[0x00, 0x00]).await;
    client.ended_with(ReasonCode::MALFORMED_PACKET).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_in_pieces_and_in_heaps() {
    let world = world().await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    device.subscribe("d/d-1/cmd", QoS::AtMostOnce).await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    let mut bytes = bytes::BytesMut::new();
    for n in 0..300u16 {
        let packet = publish("d/d-1/cmd", QoS::AtMostOnce, &n.to_be_bytes());
        tessera_broker::codec::encode(&packet, Version::V5, &mut bytes).unwrap();
    }
    let (pieces, heap) = bytes.split_at(40);
    for byte in pieces {
        hub.bytes(&[*byte]).await;
    }
    hub.bytes(heap).await;
    for n in 0..300u16 {
        assert_eq!(&device.message().await.payload[..], n.to_be_bytes());
    }
}
