//! Packets in pieces: cut off at every byte, sent in two parts split at every byte, and many in one write.

use bytes::BytesMut;
use tessera_broker::codec::{
    self, Ack, Disconnect, Packet, Password, Properties, PropertyId, QoS, ReasonCode, Subscribe,
    SubscribeOptions, Subscription, Unsubscribe, Version,
};
use tessera_token::scope::Scope;

use crate::client::{plan, publish, retained, until, Client, VERSIONS};
use crate::world::{scope, world, World};

fn rights() -> Scope {
    scope(&[("both", "t/#")])
}

fn bytes(packet: &Packet, version: Version) -> Vec<u8> {
    let mut out = BytesMut::new();
    codec::encode(packet, version, &mut out).unwrap();
    out.to_vec()
}

fn properties(version: Version) -> Properties {
    match version {
        Version::V311 => Properties::new(),
        Version::V5 => Properties::build().user("key", "value").finish().unwrap(),
    }
}

/// Every kind of packet that a connected client may send, and how many packets answer it.
fn packets(version: Version) -> Vec<(Packet, usize)> {
    let properties = || properties(version);
    let ack = |id| Ack::new(id, ReasonCode::SUCCESS);
    let entries = vec![
        Subscription { filter: "t/1".into(), options: SubscribeOptions::default() },
        Subscription { filter: "t/+/x".into(), options: SubscribeOptions::default() },
    ];
    let filters = vec!["t/1".into(), "t/2".into()];
    vec![
        (publish("t/zero", QoS::AtMostOnce, b"payload"), 0),
        (publish("t/one", QoS::AtLeastOnce, b"payload"), 1),
        (publish("t/two", QoS::ExactlyOnce, b"payload"), 1),
        (Packet::PubRel(ack(9)), 1),
        (retained("t/kept", b"payload"), 1),
        (Packet::Subscribe(Subscribe { packet_id: 1, properties: properties(), entries }), 1),
        (Packet::Unsubscribe(Unsubscribe { packet_id: 2, properties: properties(), filters }), 1),
        (Packet::PubAck(ack(300)), 0),
        (Packet::PubRec(ack(300)), 1),
        (Packet::PubComp(ack(300)), 0),
        (Packet::PingReq, 1),
    ]
}

fn goodbye() -> Packet {
    Packet::Disconnect(Disconnect { reason: ReasonCode::SUCCESS, properties: Properties::new() })
}

fn connect(world: &World, name: &str, version: Version) -> Vec<u8> {
    let mut plan = plan(world, name, version).will("d/d-1/status", Properties::new());
    if version == Version::V5 {
        plan = plan.properties(|p| p.number(PropertyId::SessionExpiry, 60).user("k", "v"));
    }
    let token = world.token(name, scope(&[("both", "d/#")]));
    plan.connect.password = Some(Password::new(world.password(name, name, token).into()));
    bytes(&Packet::Connect(Box::new(plan.connect)), version)
}

/// A CONNECT that breaks off leaves nothing: no session, no socket, no half-open place, no use of its proof.
#[tokio::test(flavor = "multi_thread")]
async fn every_prefix_of_a_connect_leaves_nothing_behind() {
    let world = world().await;
    for version in VERSIONS {
        let whole = connect(&world, "d-1", version);
        for cut in 0..whole.len() {
            let mut client = Client::raw(&world, version).await;
            client.bytes(&whole[..cut]).await;
        }
        until(|| world.broker.sockets() == 0).await;
        assert_eq!(world.broker.sessions(), 0);
        let mut client = Client::raw(&world, version).await;
        client.bytes(&whole).await;
        assert!(
            matches!(client.next().await, Some(Packet::ConnAck(ack)) if !ack.reason.is_error())
        );
        client.send(&goodbye()).await;
        client.closed().await;
        plan(&world, "d-1", version).open().await.goodbye().await;
    }
    assert_eq!(world.metric("tessera_broker_half_open_sockets"), 0);
}

/// A packet that breaks off does nothing: it is delivered to no client, and its session ends as that of any lost
/// client.
#[tokio::test(flavor = "multi_thread")]
async fn every_prefix_of_every_packet_does_nothing() {
    let world = world().await;
    for version in VERSIONS {
        let mut reader = plan(&world, "r", version).scope(rights()).open().await;
        reader.subscribe("t/#", QoS::AtLeastOnce).await;
        for (packet, _) in packets(version).into_iter().chain([(goodbye(), 0)]) {
            let whole = bytes(&packet, version);
            for cut in 1..whole.len() {
                let one = plan(&world, "d-1", version).scope(rights());
                let mut client = one.will("t/will", Properties::new()).open().await;
                client.bytes(&whole[..cut]).await;
                drop(client);
                let heard = reader.message().await;
                assert_eq!(&*heard.topic, "t/will", "{packet:?} cut at {cut}");
            }
        }
        reader.quiet().await;
        reader.subscribe("t/kept", QoS::AtMostOnce).await;
        reader.quiet().await;
        reader.goodbye().await;
    }
    until(|| world.broker.sockets() == 0).await;
    assert_eq!(world.broker.sessions(), 0);
}

/// The broker has read the first part before the second is sent, for every place of the split.
#[tokio::test(flavor = "multi_thread")]
async fn every_packet_split_at_every_byte_is_one_packet() {
    let world = world().await;
    let read = || world.metric(r#"tessera_broker_bytes_total{way="in"}"#);
    for version in VERSIONS {
        let mut client = plan(&world, "d-1", version).scope(rights()).open().await;
        for (packet, answers) in packets(version) {
            let whole = bytes(&packet, version);
            let mut expected: Option<Vec<Vec<u8>>> = None;
            for cut in 1..=whole.len() {
                let before = read();
                client.bytes(&whole[..cut]).await;
                until(|| read() == before + cut as u64).await;
                client.bytes(&whole[cut..]).await;
                let mut got = Vec::new();
                for _ in 0..answers {
                    got.push(client.next_bytes().await);
                }
                if let Packet::Publish(one) = &packet {
                    if one.qos == QoS::ExactlyOnce {
                        client.send(&Packet::PubRel(Ack::new(9, ReasonCode::SUCCESS))).await;
                        client.next_bytes().await;
                    }
                }
                client.quiet().await;
                // The first SUBSCRIBE and UNSUBSCRIBE find what later ones do not.
                if cut > 1 {
                    let expected = expected.get_or_insert_with(|| got.clone());
                    assert_eq!(&got, expected, "{packet:?} split at {cut}");
                }
            }
        }
    }
}

/// All in one write, twice, and the answers come in order [MQTT-4.6.0-1].
#[tokio::test(flavor = "multi_thread")]
async fn pipelined_packets_are_answered_in_order() {
    let world = world().await;
    for version in VERSIONS {
        let mut client = plan(&world, "d-1", version).scope(rights()).open().await;
        let mut heap = Vec::new();
        for (packet, _) in packets(version) {
            heap.extend(bytes(&packet, version));
        }
        for _ in 0..2 {
            client.bytes(&heap).await;
            let mut kinds = Vec::new();
            while kinds.last() != Some(&0xd0) {
                kinds.push(client.next_bytes().await[0]);
            }
            // PUBACK, PUBREC, PUBCOMP, PUBACK, SUBACK, UNSUBACK, PUBREL, PINGRESP.
            assert_eq!(kinds, [0x40, 0x50, 0x70, 0x40, 0x90, 0xb0, 0x62, 0xd0], "{version:?}");
        }
    }
}

/// Packets after a CONNECT in the same write wait for the CONNACK; after a refusal they are not read [MQTT-3.1.4-6].
#[tokio::test(flavor = "multi_thread")]
async fn packets_behind_a_connect() {
    let world = world().await;
    for version in VERSIONS {
        let mut reader = plan(&world, "r", version).scope(scope(&[("sub", "d/#")])).open().await;
        reader.subscribe("d/#", QoS::AtMostOnce).await;
        let behind = [
            bytes(&publish("d/d-1/x", QoS::AtLeastOnce, b"behind"), version),
            bytes(&goodbye(), version),
        ]
        .concat();
        let good = connect(&world, "d-1", version);
        let mut client = Client::raw(&world, version).await;
        client.bytes(&[good.clone(), behind.clone()].concat()).await;
        assert_eq!(client.next_bytes().await[0], 0x20);
        assert_eq!(client.next_bytes().await[0], 0x40);
        client.closed().await;
        assert_eq!(&reader.message().await.payload[..], b"behind");
        // The same CONNECT again: its proof is used up.
        let mut client = Client::raw(&world, version).await;
        client.bytes(&[good, behind].concat()).await;
        assert_eq!(client.next_bytes().await[0], 0x20);
        client.closed().await;
        reader.quiet().await;
        reader.goodbye().await;
    }
}
