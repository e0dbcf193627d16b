//! One valid packet of every kind and shape, with the side it comes from.

use super::codec::*;
use bytes::Bytes;

/// The packets.
pub(super) fn all() -> Vec<(Packet, Version, Peer)> {
    let mut all = Vec::new();
    for version in [Version::V311, Version::V5] {
        both_versions(version, &mut all);
    }
    only_v5(&mut all);
    all
}

fn properties() -> Properties {
    Properties::build()
        .text(PropertyId::ReasonString, "because")
        .user("a", "1")
        .user("b", "")
        .user("a", "2")
        .finish()
        .unwrap()
}

fn message_properties() -> Properties {
    Properties::build()
        .number(PropertyId::PayloadFormat, 1)
        .user("z", "first")
        .number(PropertyId::MessageExpiry, 3600)
        .text(PropertyId::ContentType, "text/plain")
        .text(PropertyId::ResponseTopic, "back/here")
        .user("a", "second")
        .binary(PropertyId::CorrelationData, &[0, 255, 7])
        .finish()
        .unwrap()
}

fn connect(version: Version, will: bool) -> Packet {
    let v5 = version == Version::V5;
    Packet::Connect(Box::new(Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        properties: if v5 { connect_properties() } else { Properties::new() },
        client_id: "device-0001".into(),
        will: will.then(|| Will {
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: if v5 {
                Properties::build()
                    .number(PropertyId::WillDelay, 5)
                    .all_of(&message_properties())
                    .finish()
                    .unwrap()
            } else {
                Properties::new()
            },
            topic: "d/device-0001/gone".into(),
            payload: Bytes::from_static(b"\0binary\xff"),
        }),
        user_name: will.then(|| "name".into()),
        password: will.then(|| Password::new(Bytes::from_static(&[0xd8, 0x3d, 0, 0xff]))),
    }))
}

fn connect_properties() -> Properties {
    Properties::build()
        .number(PropertyId::SessionExpiry, 120)
        .number(PropertyId::ReceiveMaximum, 20)
        .number(PropertyId::MaximumPacketSize, 4096)
        .number(PropertyId::TopicAliasMaximum, 0)
        .number(PropertyId::RequestResponseInfo, 1)
        .number(PropertyId::RequestProblemInfo, 0)
        .text(PropertyId::AuthMethod, "ace")
        .binary(PropertyId::AuthData, &[1, 2, 3])
        .user("k", "v")
        .finish()
        .unwrap()
}

fn publish(qos: QoS, dup: bool, properties: Properties) -> Packet {
    Packet::Publish(Publish {
        dup,
        qos,
        retain: true,
        topic: "a/Ä/𝄞".into(),
        packet_id: (qos != QoS::AtMostOnce).then_some(65_535),
        properties,
        payload: Bytes::from(vec![7; 300]),
    })
}

fn both_versions(version: Version, all: &mut Vec<(Packet, Version, Peer)>) {
    use Peer::{Client, Server};
    let ok = ReasonCode::SUCCESS;
    let ack = |id| Ack::new(id, ok);
    let suback = |reasons: &[u8]| SubAck {
        packet_id: 9,
        properties: Properties::new(),
        reasons: reasons.iter().map(|code| ReasonCode(*code)).collect(),
    };
    let unsuback = if version == Version::V5 { suback(&[0, 0x11]) } else { suback(&[]) };
    let filters = ["+/a/#", "#", "/", "$share/g/+/x", "a//b"];
    for (packet, peer) in [
        (connect(version, false), Client),
        (connect(version, true), Client),
        (
            Packet::ConnAck(ConnAck {
                session_present: true,
                reason: ok,
                properties: Properties::new(),
            }),
            Server,
        ),
        (
            Packet::ConnAck(ConnAck {
                session_present: false,
                reason: ReasonCode::NOT_AUTHORIZED,
                properties: Properties::new(),
            }),
            Server,
        ),
        (publish(QoS::AtMostOnce, false, Properties::new()), Client),
        (publish(QoS::AtLeastOnce, true, Properties::new()), Server),
        (publish(QoS::ExactlyOnce, false, Properties::new()), Client),
        (Packet::PubAck(ack(1)), Client),
        (Packet::PubRec(ack(2)), Server),
        (Packet::PubRel(ack(3)), Client),
        (Packet::PubComp(ack(65_535)), Server),
        (
            Packet::Subscribe(Subscribe {
                packet_id: 9,
                properties: Properties::new(),
                entries: filters
                    .iter()
                    .map(|filter| Subscription {
                        filter: (*filter).into(),
                        options: SubscribeOptions { qos: QoS::ExactlyOnce, ..Default::default() },
                    })
                    .collect(),
            }),
            Client,
        ),
        (Packet::SubAck(suback(&[0, 1, 2, 0x80])), Server),
        (
            Packet::Unsubscribe(Unsubscribe {
                packet_id: 10,
                properties: Properties::new(),
                filters: filters.iter().map(|filter| (*filter).into()).collect(),
            }),
            Client,
        ),
        (Packet::UnsubAck(unsuback), Server),
        (Packet::PingReq, Client),
        (Packet::PingResp, Server),
        (Packet::Disconnect(Disconnect { reason: ok, properties: Properties::new() }), Client),
    ] {
        all.push((packet, version, peer));
    }
}

fn only_v5(all: &mut Vec<(Packet, Version, Peer)>) {
    use Peer::{Client, Server};
    let auth = |reason| {
        let properties = Properties::build()
            .text(PropertyId::AuthMethod, "ace")
            .binary(PropertyId::AuthData, &[9; 8])
            .text(PropertyId::ReasonString, "more")
            .user("x", "y")
            .finish()
            .unwrap();
        Packet::Auth(Auth { reason, properties })
    };
    let alias = Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "".into(),
        packet_id: None,
        properties: Properties::build().number(PropertyId::TopicAlias, 1).finish().unwrap(),
        payload: Bytes::new(),
    });
    let several_ids = Properties::build()
        .number(PropertyId::SubscriptionId, 1)
        .number(PropertyId::SubscriptionId, 268_435_455)
        .all_of(&message_properties())
        .finish()
        .unwrap();
    for (packet, peer) in [
        (publish(QoS::AtLeastOnce, false, message_properties()), Client),
        (publish(QoS::AtLeastOnce, false, several_ids), Server),
        (alias, Client),
        (connack_with_everything(), Server),
        (
            Packet::PubAck(Ack {
                packet_id: 5,
                reason: ReasonCode(0x10),
                properties: Properties::new(),
            }),
            Server,
        ),
        (
            Packet::PubRec(Ack {
                packet_id: 5,
                reason: ReasonCode(0x97),
                properties: properties(),
            }),
            Server,
        ),
        (
            Packet::PubRel(Ack {
                packet_id: 5,
                reason: ReasonCode(0x92),
                properties: properties(),
            }),
            Client,
        ),
        (subscribe_with_options(), Client),
        (
            Packet::SubAck(SubAck {
                packet_id: 4,
                properties: properties(),
                reasons: vec![ReasonCode(0x87)],
            }),
            Server,
        ),
        (
            Packet::Disconnect(Disconnect {
                reason: ReasonCode::DISCONNECT_WITH_WILL,
                properties: Properties::build()
                    .number(PropertyId::SessionExpiry, 9)
                    .finish()
                    .unwrap(),
            }),
            Client,
        ),
        (
            Packet::Disconnect(Disconnect { reason: ReasonCode(0x98), properties: properties() }),
            Server,
        ),
        (auth(ReasonCode::CONTINUE_AUTHENTICATION), Client),
        (auth(ReasonCode::RE_AUTHENTICATE), Client),
        (auth(ReasonCode::CONTINUE_AUTHENTICATION), Server),
        (auth(ReasonCode::SUCCESS), Server),
    ] {
        all.push((packet, Version::V5, peer));
    }
}

fn connack_with_everything() -> Packet {
    let properties = Properties::build()
        .number(PropertyId::SessionExpiry, u32::MAX)
        .number(PropertyId::ReceiveMaximum, 1)
        .number(PropertyId::MaximumQos, 1)
        .number(PropertyId::RetainAvailable, 0)
        .number(PropertyId::MaximumPacketSize, 1)
        .text(PropertyId::AssignedClientId, "made-up")
        .number(PropertyId::TopicAliasMaximum, 65_535)
        .text(PropertyId::ReasonString, "fine")
        .user("ace_as_hint", "{}")
        .number(PropertyId::WildcardAvailable, 1)
        .number(PropertyId::SubscriptionIdAvailable, 1)
        .number(PropertyId::SharedAvailable, 1)
        .number(PropertyId::ServerKeepAlive, 30)
        .text(PropertyId::ResponseInfo, "r")
        .text(PropertyId::ServerReference, "other")
        .text(PropertyId::AuthMethod, "ace")
        .binary(PropertyId::AuthData, &[1])
        .finish()
        .unwrap();
    Packet::ConnAck(ConnAck { session_present: false, reason: ReasonCode::SUCCESS, properties })
}

fn subscribe_with_options() -> Packet {
    Packet::Subscribe(Subscribe {
        packet_id: 77,
        properties: Properties::build()
            .number(PropertyId::SubscriptionId, 200)
            .user("a", "b")
            .finish()
            .unwrap(),
        entries: vec![Subscription {
            filter: "x/+".into(),
            options: SubscribeOptions {
                qos: QoS::AtLeastOnce,
                no_local: true,
                retain_as_published: true,
                retain_handling: RetainHandling::Never,
            },
        }],
    })
}
