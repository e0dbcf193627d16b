//! Statements of MQTT 5 that are seen best in the bytes: aliases, overlapping subscriptions, empty payloads, packet
//! ids, expiry beside a begun exchange.

use bytes::Bytes;
use tessera_broker::codec::{
    Ack, Packet, Properties, PropertyId, Publish, QoS, ReasonCode, SubscribeOptions, Version,
};
use tessera_token::encoding::hex;

use crate::client::{plan, publish, retained, Client, VERSIONS};
use crate::world::{backend_scope, scope, world, World};

/// A publisher and a reader with every right on `t/…`.
async fn pair(world: &World, version: Version, kept: bool) -> (Client, Client) {
    let rights = || scope(&[("both", "t/#"), ("both", "\u{feff}t")]);
    let writer = plan(world, "w", version).scope(rights()).open().await;
    let reader = plan(world, "r", version).scope(rights());
    let reader = if kept { reader.kept(600) } else { reader };
    (writer, reader.open().await)
}

fn with(packet: Packet, change: impl FnOnce(&mut Publish)) -> Packet {
    match packet {
        Packet::Publish(mut publish) => {
            change(&mut publish);
            Packet::Publish(publish)
        }
        other => other,
    }
}

fn number(id: PropertyId, value: u32) -> Properties {
    Properties::build().number(id, value).finish().unwrap()
}

/// [MQTT-3.3.2-7]
#[tokio::test(flavor = "multi_thread")]
async fn aliases_of_both_sides_end_with_the_connection() {
    const NAMED: &str = "32 0b 0003 742f31 0001 03 230001";
    const ALIAS_ALONE: &str = "32 08 0000 0001 03 230001";
    let world = world().await;
    let taking = || {
        plan(&world, "r", Version::V5).scope(scope(&[("sub", "t/#")])).kept(600).properties(|p| {
            p.number(PropertyId::SessionExpiry, 600).number(PropertyId::TopicAliasMaximum, 1)
        })
    };
    let writing = || plan(&world, "w", Version::V5).scope(scope(&[("pub", "t/#")])).kept(600);
    let mut reader = taking().open().await;
    reader.subscribe("t/1", QoS::AtMostOnce).await;
    for _ in 0..2 {
        let mut writer = writing().open().await;
        writer.answered(NAMED, "40 02 0001").await;
        assert_eq!(hex::encode(reader.next_bytes().await), "30090003742f3103230001");
        writer.answered(ALIAS_ALONE, "40 02 0001").await;
        assert_eq!(hex::encode(reader.next_bytes().await), "3006000003230001");
        drop(writer);
        let mut writer = writing().open().await;
        writer.answered(ALIAS_ALONE, "e0 02 82 00").await;
        writer.closed().await;
        drop(reader);
        reader = taking().open().await;
    }
}

/// MQTT 5 section 3.3.2.3.4: a PUBLISH with a name and an alias maps it anew, also when the name is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_topic_leaves_no_older_one_behind_its_alias() {
    let world = world().await;
    let (mut writer, mut reader) = pair(&world, Version::V5, false).await;
    reader.subscribe("t/#", QoS::AtMostOnce).await;
    let aliased = |topic: &str| {
        with(publish(topic, QoS::AtLeastOnce, b"x"), |one| {
            one.properties = number(PropertyId::TopicAlias, 1);
        })
    };
    writer.send(&aliased("t/1")).await;
    assert_eq!(writer.acked().await, ReasonCode::SUCCESS);
    assert_eq!(&*reader.message().await.topic, "t/1");
    for unusable in ["t/".repeat(40), format!("t/{}", "x".repeat(1_100))] {
        writer.send(&aliased("t/1")).await;
        writer.acked().await;
        reader.message().await;
        writer.send(&aliased(&unusable)).await;
        assert_eq!(writer.acked().await, ReasonCode::TOPIC_NAME_INVALID);
        writer.send(&aliased("")).await;
        writer.ended_with(ReasonCode::PROTOCOL_ERROR).await;
        reader.quiet().await;
        (writer, _) = pair(&world, Version::V5, false).await;
        reader = plan(&world, "r", Version::V5).scope(scope(&[("sub", "t/#")])).open().await;
        reader.subscribe("t/#", QoS::AtMostOnce).await;
    }
}

/// [MQTT-3.3.4-2] to [MQTT-3.3.4-5]: one copy for each subscription, with its QoS and its identifier alone.
#[tokio::test(flavor = "multi_thread")]
async fn overlapping_subscriptions_send_a_copy_each_with_their_identifier() {
    let world = world().await;
    for kept in [false, true] {
        let (mut writer, mut reader) = pair(&world, Version::V5, kept).await;
        let filters = [
            ("t/1", QoS::AtMostOnce, Some(1)),
            ("t/+", QoS::AtLeastOnce, Some(200)),
            ("t/#", QoS::ExactlyOnce, Some(0x0fff_ffff)),
            ("t/1/#", QoS::AtLeastOnce, None),
            ("t/2", QoS::AtMostOnce, Some(9)),
        ];
        for (filter, qos, id) in filters {
            let options = SubscribeOptions { qos, ..SubscribeOptions::default() };
            let id = id.map_or_else(Properties::new, |id| number(PropertyId::SubscriptionId, id));
            reader.subscribe_with(filter, options, id).await;
        }
        writer.send(&publish("t/1", QoS::ExactlyOnce, b"x")).await;
        writer.next_bytes().await;
        writer.answered("62 02 0009", "70 02 0009").await;
        let (mut copies, mut released) = (Vec::new(), false);
        while copies.len() < 4 || !released {
            let mut packet = reader.next_bytes().await;
            if packet[0] == 0x62 {
                reader.bytes(&[0x70, 2, packet[2], packet[3]]).await;
                released = true;
                continue;
            }
            let qos = packet[0] >> 1 & 0b11;
            if qos > 0 {
                let id: Vec<u8> = packet.splice(7..9, []).collect();
                assert_ne!(id, [0, 0]);
                reader.bytes(&[if qos == 1 { 0x40 } else { 0x50 }, 2, id[0], id[1]]).await;
            }
            copies.push(hex::encode(packet));
        }
        copies.sort();
        let expected = [
            "30090003742f31020b0178",
            "32090003742f310078",
            "320c0003742f31030bc80178",
            "340e0003742f31050bffffff7f78",
        ]
        .map(str::to_owned);
        assert_eq!(copies, expected, "kept: {kept}");
        reader.quiet().await;
        for (filter, ..) in filters {
            reader.unsubscribe(filter).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_payloads_are_messages() {
    let world = world().await;
    for version in VERSIONS {
        let (mut writer, mut reader) = pair(&world, version, false).await;
        for (filter, topic) in [("t/1", "t/1"), ("t/+", "t/2")] {
            reader.subscribe(filter, QoS::AtLeastOnce).await;
            writer.publish(topic, QoS::AtMostOnce, b"").await;
            assert!(reader.message().await.payload.is_empty());
            writer.publish_acked(topic, b"").await;
            assert!(reader.message().await.payload.is_empty());
        }
        // [MQTT-3.3.1-10] of 3.1.1: one that deletes a retained message is delivered as any other.
        writer.send(&retained("t/1", b"here")).await;
        writer.acked().await;
        reader.message().await;
        reader.message().await;
        writer.send(&retained("t/1", b"")).await;
        writer.acked().await;
        for _ in 0..2 {
            let gone = reader.message().await;
            assert_eq!((gone.payload.len(), gone.retain), (0, false));
        }
        reader.subscribe("t/1", QoS::AtLeastOnce).await;
        reader.quiet().await;
    }
}

/// [MQTT-3.10.4-1] to [MQTT-3.10.4-6]: filters are compared character by character, one code for each, in order.
#[tokio::test(flavor = "multi_thread")]
async fn unsubscribing_answers_each_filter() {
    let world = world().await;
    for version in VERSIONS {
        let (mut writer, mut reader) = pair(&world, version, false).await;
        reader.subscribe("t/1", QoS::AtMostOnce).await;
        reader.subscribe("t/+", QoS::AtMostOnce).await;
        // t/2, t/1, t/1 again, t/#.
        let filters = "0003 742f32 0003 742f31 0003 742f31 0003 742f23";
        match version {
            Version::V5 => {
                reader
                    .answered(&format!("a2 17 0007 00 {filters}"), "b0 07 0007 00 11 00 11 11")
                    .await;
            }
            Version::V311 => reader.answered(&format!("a2 16 0007 {filters}"), "b0 02 0007").await,
        }
        writer.publish("t/1", QoS::AtMostOnce, b"x").await;
        // Only t/+ is left, so the message comes once.
        assert_eq!(&*reader.message().await.topic, "t/1");
        reader.quiet().await;
    }
}

/// [MQTT-2.2.1-3], [MQTT-2.2.1-6]: ids of the two sides, and of different exchanges of one side, do not meet.
#[tokio::test(flavor = "multi_thread")]
async fn packet_ids_are_free_once_their_exchange_is_over() {
    let world = world().await;
    for version in VERSIONS {
        let (mut writer, mut reader) = pair(&world, version, false).await;
        reader.subscribe("t/1", QoS::AtLeastOnce).await;
        for n in 0..3u8 {
            writer.publish_acked("t/1", &[n]).await;
            assert_eq!(reader.message().await.payload[0], n);
        }
        // Id 9 is open both ways: a QoS 2 publish of ours, and whatever the broker chose.
        writer.send(&publish("t/1", QoS::ExactlyOnce, b"held")).await;
        writer.next_bytes().await;
        writer.publish_acked("t/1", b"beside").await;
        assert_eq!(&reader.message().await.payload[..], b"beside");
        let pubrel = Packet::PubRel(Ack::new(9, ReasonCode::SUCCESS));
        writer.send(&pubrel).await;
        writer.next_bytes().await;
        assert_eq!(&reader.message().await.payload[..], b"held");
        // After PUBCOMP the same id is a new message [MQTT-4.3.3-12].
        writer.send(&publish("t/1", QoS::ExactlyOnce, b"new")).await;
        writer.next_bytes().await;
        writer.send(&pubrel).await;
        writer.next_bytes().await;
        assert_eq!(&reader.message().await.payload[..], b"new");
        reader.quiet().await;
        writer.quiet().await;
    }
}

/// [MQTT-4.3.3-13]: the exchange with the publisher goes on; the message is not delivered late [MQTT-3.3.2-5].
#[tokio::test(flavor = "multi_thread")]
async fn expiry_does_not_end_an_exchange_that_a_client_began() {
    let world = world().await;
    let (mut writer, mut reader) = pair(&world, Version::V5, false).await;
    reader.subscribe("t/1", QoS::ExactlyOnce).await;
    let soon = |retain| {
        with(publish("t/1", QoS::ExactlyOnce, b"late"), |p| {
            p.retain = retain;
            p.properties = number(PropertyId::MessageExpiry, 1);
        })
    };
    for retain in [false, true] {
        writer.send(&soon(retain)).await;
        assert_eq!(writer.next_bytes().await, [0x50, 2, 0, 9]);
        world.advance(5);
        writer.send(&soon(retain)).await;
        assert_eq!(writer.next_bytes().await, [0x50, 2, 0, 9]);
        writer.answered("62 02 0009", "70 02 0009").await;
        reader.quiet().await;
    }
    reader.subscribe("t/1", QoS::ExactlyOnce).await;
    reader.quiet().await;
}

/// [MQTT-4.3.3-7], [MQTT-4.4.0-1]: a message that was sent once is sent again until it is acknowledged, expired or not.
/// An expired message that was never sent is not.
#[tokio::test(flavor = "multi_thread")]
async fn expiry_does_not_end_an_exchange_that_the_broker_began() {
    let world = world().await;
    for (qos, name) in [(QoS::AtLeastOnce, "r1"), (QoS::ExactlyOnce, "r2")] {
        let mut writer =
            plan(&world, "w", Version::V5).scope(scope(&[("pub", "t/#")])).open().await;
        let reading = || {
            let one = plan(&world, name, Version::V5).scope(scope(&[("sub", "t/#")])).kept(600);
            one.properties(|p| {
                p.number(PropertyId::SessionExpiry, 600).number(PropertyId::ReceiveMaximum, 1)
            })
        };
        let mut reader = reading().open().await;
        reader.subscribe("t/1", qos).await;
        for text in [b"begun", b"never"] {
            let timed = with(publish("t/1", qos, text), |p| {
                p.properties = number(PropertyId::MessageExpiry, 10);
            });
            writer.send(&timed).await;
            writer.next_bytes().await;
            if qos == QoS::ExactlyOnce {
                writer.answered("62 02 0009", "70 02 0009").await;
            }
        }
        let first = reader.unacked_message().await;
        assert_eq!(first.properties.number(PropertyId::MessageExpiry), Some(10));
        drop(reader);
        world.advance(11);
        let mut reader = reading().open().await;
        let again = reader.unacked_message().await;
        assert_eq!(
            (again.dup, again.packet_id, &again.payload[..]),
            (true, first.packet_id, &b"begun"[..])
        );
        assert_eq!(again.properties.number(PropertyId::MessageExpiry), Some(0));
        let id = first.packet_id.unwrap();
        match qos {
            QoS::ExactlyOnce => {
                reader.send(&Packet::PubRec(Ack::new(id, ReasonCode::SUCCESS))).await;
                assert_eq!(reader.next_bytes().await, [[0x62, 2], id.to_be_bytes()].concat());
                reader.send(&Packet::PubComp(Ack::new(id, ReasonCode::SUCCESS))).await;
            }
            _ => reader.send(&Packet::PubAck(Ack::new(id, ReasonCode::SUCCESS))).await,
        }
        reader.quiet().await;
    }
}

/// [MQTT-1.5.4-3]: U+FEFF is a character like others, in topics and in values.
#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_is_not_stripped() {
    let world = world().await;
    for version in VERSIONS {
        let (mut writer, mut reader) = pair(&world, version, false).await;
        assert_eq!(reader.subscribe("t", QoS::AtMostOnce).await, ReasonCode::SUCCESS);
        assert_eq!(reader.subscribe("\u{feff}t", QoS::AtMostOnce).await, ReasonCode::SUCCESS);
        let marked = with(publish("\u{feff}t", QoS::AtMostOnce, b"x"), |p| {
            if version == Version::V5 {
                p.properties = Properties::build()
                    .text(PropertyId::ContentType, "\u{feff}c")
                    .user("\u{feff}k", "v\u{feff}")
                    .finish()
                    .unwrap();
            }
        });
        writer.send(&marked).await;
        let got = reader.next_bytes().await;
        let sent = match version {
            Version::V311 => "30 07 0004 efbbbf74 78",
            Version::V5 => {
                "30 1c 0004 efbbbf74 14 03 0004 efbbbf63 26 0004 efbbbf6b 0004 76efbbbf 78"
            }
        };
        assert_eq!(hex::encode(got), sent.replace(' ', ""));
        reader.quiet().await;
        // Outside the scope: "t" with the mark is another topic than "t".
        let mut narrow = plan(&world, "n", version).scope(scope(&[("both", "t")])).open().await;
        assert!(narrow.subscribe("\u{feff}t", QoS::AtMostOnce).await.is_error());
    }
}

/// [MQTT-3.1.2-28] allows Response Information only for a client that asks; the broker never sends it.
#[tokio::test(flavor = "multi_thread")]
async fn response_information_is_never_sent() {
    let world = world().await;
    for asked in [None, Some(0), Some(1)] {
        let one = plan(&world, "d-1", Version::V5);
        let one = match asked {
            None => one,
            Some(value) => one.properties(|p| p.number(PropertyId::RequestResponseInfo, value)),
        };
        let (_, ack) = one.try_open().await;
        let ack = ack.unwrap();
        assert_eq!(ack.reason, ReasonCode::SUCCESS);
        assert_eq!(ack.properties.text(PropertyId::ResponseInfo), None, "{asked:?}");
    }
}

/// A request and its answer, by the properties made for it; topics are plain topics with plain rights.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_and_its_answer() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.subscribe("d/d-1/telemetry", QoS::AtMostOnce).await;
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    device.subscribe("d/d-1/cmd", QoS::AtMostOnce).await;
    let request = with(publish("d/d-1/cmd", QoS::AtMostOnce, b"?"), |p| {
        p.properties = Properties::build()
            .text(PropertyId::ResponseTopic, "d/d-1/telemetry")
            .binary(PropertyId::CorrelationData, &[0, 255])
            .finish()
            .unwrap();
    });
    hub.send(&request).await;
    let got = device.message().await.properties;
    let to = got.text(PropertyId::ResponseTopic).unwrap().to_owned();
    let answer = with(publish(&to, QoS::AtMostOnce, b"!"), |p| {
        let data = got.binary(PropertyId::CorrelationData).unwrap();
        p.properties =
            Properties::build().binary(PropertyId::CorrelationData, &data).finish().unwrap();
    });
    device.send(&answer).await;
    let answer = hub.message().await;
    let data = answer.properties.binary(PropertyId::CorrelationData);
    assert_eq!((&answer.payload[..], data), (&b"!"[..], Some(Bytes::from_static(&[0, 255]))));
}
