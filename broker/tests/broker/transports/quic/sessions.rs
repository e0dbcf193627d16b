use std::time::Duration;

use bytes::Bytes;
use quinn::{TransportConfig, VarInt};
use tessera_broker::codec::{
    Ack, Disconnect, Packet, Password, Properties, PropertyId, Publish, QoS, ReasonCode, Subscribe,
    SubscribeOptions, Subscription, Version,
};
use tessera_token::ace::{self, AuthData, ExporterSecret};
use tessera_token::proof::Pop;

use super::{config, endpoint, quic_world, shake, Peer};
use crate::client::{plan, publish};
use crate::transports::ace::{answer, connack, connect, layout_b, nonce};
use crate::transports::bound;
use crate::transports::certs::{ed25519, Certs, V13};
use crate::transports::line::{bytes, settle};
use crate::world::{backend_scope, device_key, device_scope, scope, World};

fn subscribe(filter: &str, qos: QoS) -> Vec<u8> {
    let options = SubscribeOptions { qos, ..SubscribeOptions::default() };
    let entries = vec![Subscription { filter: filter.into(), options }];
    bytes(&Packet::Subscribe(Subscribe { packet_id: 1, properties: Properties::new(), entries }))
}

async fn connect_as(
    peer: &mut Peer,
    world: &World,
    name: &str,
    scope: tessera_token::scope::Scope,
) {
    let mut connect = plan(world, name, Version::V5).connect;
    let password = world.password(name, name, world.token(name, scope));
    connect.password = Some(Password::new(password.into()));
    peer.line.send(&bytes(&Packet::Connect(Box::new(connect)))).await;
    assert_eq!(connack(&mut peer.line).await.reason, ReasonCode::SUCCESS);
}

async fn message(peer: &mut Peer) -> Publish {
    match peer.line.next().await {
        Some(Packet::Publish(publish)) => publish,
        other => panic!("expected PUBLISH, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_both_ways_and_meets_those_on_other_transports() {
    let certs = Certs::new();
    let world = quic_world(&certs, |_| {}).await;
    let mut backend = plan(&world, "b-1", Version::V5).scope(backend_scope()).open().await;
    assert_eq!(backend.subscribe("d/#", QoS::AtLeastOnce).await, ReasonCode::GRANTED_QOS_1);
    let mut device = Peer::connected(&world, &certs, "d-1").await;
    device.line.send(&publish_bytes("d/d-1/telemetry", QoS::AtLeastOnce, b"21.5")).await;
    assert!(
        matches!(device.line.next().await, Some(Packet::PubAck(ack)) if !ack.reason.is_error())
    );
    let told = backend.message().await;
    assert_eq!((&*told.topic, &told.payload[..]), ("d/d-1/telemetry", &b"21.5"[..]));

    device.line.send(&subscribe("d/d-1/cmd", QoS::AtLeastOnce)).await;
    assert!(matches!(device.line.next().await, Some(Packet::SubAck(_))));
    assert_eq!(backend.publish_acked("d/d-1/cmd", b"on").await, ReasonCode::SUCCESS);
    let command = message(&mut device).await;
    assert_eq!(&command.payload[..], b"on");
    let ack = Ack::new(command.packet_id.unwrap(), ReasonCode::SUCCESS);
    device.line.send(&bytes(&Packet::PubAck(ack))).await;
    // A publish without the right is refused over QUIC as elsewhere.
    device.line.send(&publish_bytes("d/d-2/telemetry", QoS::AtLeastOnce, b"x")).await;
    let refused = device.line.next().await;
    assert!(
        matches!(refused, Some(Packet::PubAck(ack)) if ack.reason == ReasonCode::NOT_AUTHORIZED)
    );

    let bye = Disconnect { reason: ReasonCode::SUCCESS, properties: Properties::new() };
    device.line.send(&bytes(&Packet::Disconnect(bye))).await;
    device.line.closed().await;
    assert_eq!(device.closed_with().await, 0);
    settle(|| world.broker.sockets() == 1).await;
}

fn publish_bytes(topic: &str, qos: QoS, payload: &[u8]) -> Vec<u8> {
    bytes(&publish(topic, qos, payload))
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_larger_than_every_window_go_there_and_back() {
    let certs = Certs::new();
    let world = quic_world(&certs, |_| {}).await;
    let mut peer = Peer::new(&world, &certs).await;
    connect_as(&mut peer, &world, "big", scope(&[("both", "d/big/x")])).await;
    peer.line.send(&subscribe("d/big/x", QoS::AtMostOnce)).await;
    assert!(matches!(peer.line.next().await, Some(Packet::SubAck(_))));
    let payload = Bytes::from((0..200_000u32).map(|n| n as u8).collect::<Vec<_>>());
    // As many as the client's own window takes: it reads when it has written all.
    for _ in 0..4 {
        peer.line.send(&publish_bytes("d/big/x", QoS::AtMostOnce, &payload)).await;
    }
    for _ in 0..4 {
        assert_eq!(message(&mut peer).await.payload, payload);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exporter_of_this_connection_proves_the_key_and_that_of_another_does_not() {
    let certs = Certs::new();
    let world = quic_world(&certs, |raw| raw.ace_challenge = Some("always".to_owned())).await;
    let exported = |peer: &Peer, label: &str| {
        let mut exported = [0; 32];
        let label = label.as_bytes();
        peer.connection.export_keying_material(&mut exported, label, &[]).unwrap();
        ExporterSecret::from_bytes(&exported)
    };
    let exporter = |peer: &Peer| exported(peer, ace::EXPORTER_LABEL);
    let key = device_key("d-1");
    let other = Peer::new(&world, &certs).await;
    for (own, expected) in [(true, ReasonCode::SUCCESS), (false, ReasonCode::NOT_AUTHORIZED)] {
        let mut peer = Peer::new(&world, &certs).await;
        let secret = exporter(if own { &peer } else { &other });
        let pop = secret.prove_by(|message| Pop::Signature(key.sign(message)));
        let token = world.token("d-1", device_scope("d-1"));
        let data = AuthData::Proved { token, pop }.to_bytes().unwrap();
        peer.line.send(&connect(&world, "d-1", "ace", &data)).await;
        let ack = connack(&mut peer.line).await;
        assert_eq!(ack.reason, expected);
        let method = own.then_some("ace");
        assert_eq!(ack.properties.text(PropertyId::AuthMethod), method);
    }
    // By challenge, too.
    let mut peer = Peer::new(&world, &certs).await;
    let token = world.token("d-1", device_scope("d-1"));
    peer.line.send(&connect(&world, "d-1", "ace", &layout_b(token))).await;
    let nonce = nonce(&mut peer.line).await;
    peer.line.send(&answer(&key, nonce)).await;
    assert_eq!(connack(&mut peer.line).await.reason, ReasonCode::SUCCESS);
    // And by our own, which is bound to the connection.
    for (own, expected) in [(true, ReasonCode::SUCCESS), (false, ReasonCode::NOT_AUTHORIZED)] {
        let mut peer = Peer::new(&world, &certs).await;
        let token = world.token("d-1", device_scope("d-1"));
        let channel = exported(if own { &peer } else { &other }, ace::BINDING_LABEL);
        let begin = connect(&world, "d-1", ace::BOUND_METHOD, &layout_b(token.clone()));
        peer.line.send(&begin).await;
        let nonce = bound::nonce(&mut peer.line).await;
        let channel = ace::Channel::Tls(channel);
        peer.line.send(&bound::answer_for("d-1", &token, &channel, nonce)).await;
        assert_eq!(connack(&mut peer.line).await.reason, expected);
    }
}

/// The key of a device, as [`device_key`] makes it.
fn key_pair(name: &str) -> rcgen::KeyPair {
    let mut seed = [7; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    ed25519(&seed)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_the_handshake_stands_for_the_proof() {
    let certs = Certs::new();
    let world = quic_world(&certs, |raw| raw.tls.client_auth = Some("key".to_owned())).await;
    let token = world.token("d-1", device_scope("d-1"));
    for (holder, expected) in [
        (Some("d-1"), ReasonCode::SUCCESS),
        (Some("d-2"), ReasonCode::NOT_AUTHORIZED),
        (None, ReasonCode::NOT_AUTHORIZED),
    ] {
        let tls = match holder {
            Some(name) => certs.client_with(key_pair(name), true),
            None => certs.client(V13),
        };
        let mut peer = Peer::with(&world, tls).await;
        let mut connect = plan(&world, "d-1", Version::V5).connect;
        connect.password = Some(Password::new(token.clone().into()));
        peer.line.send(&bytes(&Packet::Connect(Box::new(connect)))).await;
        assert_eq!(connack(&mut peer.line).await.reason, expected, "{holder:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_decide_about_client_certificates() {
    let certs = Certs::new();
    let world = quic_world(&certs, |raw| {
        raw.tls.client_ca = Some(certs.path("ca.pem"));
        raw.tls.client_auth = Some("ca".to_owned());
    })
    .await;
    let works = async |tls| {
        // TLS 1.3 tells a client that its certificate is missing after its handshake.
        let Ok(mut peer) = Peer::over(endpoint(config(tls)), &world).await else { return false };
        peer.line.send(&crate::transports::line::connect(&world, "d-1")).await;
        peer.line.next().await.is_some()
    };
    let p256 = crate::transports::certs::p256;
    assert!(!works(certs.client(V13)).await, "no certificate");
    assert!(!works(certs.client_with(p256(), true)).await, "its own certificate");
    assert!(works(certs.client_with(p256(), false)).await);
    let refused = r#"tessera_broker_broken_packets_total{rule="quic_refused"}"#;
    settle(|| world.metric(refused) >= 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_used_and_open_sessions_stay() {
    let certs = Certs::new();
    let world = quic_world(&certs, |_| {}).await;
    let shown = |peer: &Peer| {
        let identity = peer.connection.peer_identity().unwrap();
        identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap()[0].clone()
    };
    let mut old = Peer::connected(&world, &certs, "d-1").await;
    let first = shown(&old);
    std::fs::write(certs.path("key.pem"), "no key").unwrap();
    assert!(world.broker.reload_certificates().is_err());
    assert_eq!(shown(&Peer::new(&world, &certs).await), first);

    let renewed = certs.renew();
    world.broker.reload_certificates().unwrap();
    let mut new = Peer::connected(&world, &certs, "d-2").await;
    assert_eq!(shown(&new), renewed);
    assert_ne!(renewed, first);
    old.line.ping().await;
    new.line.ping().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_costs_its_queue_and_no_more() {
    let certs = Certs::new();
    let world = quic_world(&certs, |raw| raw.limits.queue_messages = 8).await;
    let mut narrow = TransportConfig::default();
    narrow.receive_window(VarInt::from_u32(16 * 1024));
    let mut client = config(certs.client(V13));
    client.transport_config(narrow.into());
    let mut slow = Peer::over(endpoint(client), &world).await.unwrap();
    connect_as(&mut slow, &world, "d-1", device_scope("d-1")).await;
    slow.line.send(&subscribe("d/d-1/cmd", QoS::AtMostOnce)).await;
    assert!(matches!(slow.line.next().await, Some(Packet::SubAck(_))));

    let mut backend = plan(&world, "b-1", Version::V5).scope(backend_scope()).open().await;
    let dropped = || world.metric(r#"tessera_broker_dropped_total{qos="0",why="queue_full"}"#);
    let mut sent = 0u32;
    while dropped() == 0 {
        assert!(sent < 2_000, "the broker holds {sent} messages for one that does not read");
        let payload = [&sent.to_be_bytes()[..], &[0; 8_000]].concat();
        backend.publish("d/d-1/cmd", QoS::AtMostOnce, &payload).await;
        backend.quiet().await;
        sent += 1;
    }
    // 16 KiB at the client, 64 in quinn, some 64 encoded ahead, 8 in the queue.
    assert!(sent < 40, "{sent} messages were held");
    // The queued messages come in order, and the session goes on.
    for expected in 0..sent - 1 {
        assert_eq!(message(&mut slow).await.payload[..4], expected.to_be_bytes());
    }
    slow.line.ping().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_says_goodbye_and_leaves_nothing() {
    let certs = Certs::new();
    // Nothing but QUIC.
    let world = quic_world(&certs, |raw| {
        raw.mqtt = None;
        (raw.mqtts, raw.wss) = (None, None);
    })
    .await;
    let mut peer = Peer::connected(&world, &certs, "d-1").await;
    let half_open = shake(&endpoint(config(certs.client(V13))), &world).await.unwrap();
    let left = world.stop.finish(Duration::from_secs(15)).await;
    assert_eq!(left, Vec::<String>::new());
    match peer.line.next().await {
        Some(Packet::Disconnect(bye)) => assert_eq!(bye.reason, ReasonCode::SERVER_SHUTTING_DOWN),
        other => panic!("expected DISCONNECT, got {other:?}"),
    }
    peer.line.closed().await;
    assert_eq!(peer.closed_with().await, 0);
    assert!(matches!(half_open.closed().await, quinn::ConnectionError::ApplicationClosed(_)));
    settle(|| world.broker.sockets() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_public_key_stands_for_a_certificate() {
    let certs = Certs::new();
    let world = quic_world(&certs, |raw| raw.tls.client_auth = Some("raw_key".to_owned())).await;
    let token = world.token("d-1", device_scope("d-1"));
    for (name, expected) in [("d-1", ReasonCode::SUCCESS), ("d-2", ReasonCode::NOT_AUTHORIZED)] {
        let mut peer = Peer::with(&world, certs.client_with_raw_key(&key_pair(name))).await;
        let mut connect = plan(&world, "d-1", Version::V5).connect;
        connect.password = Some(Password::new(token.clone().into()));
        peer.line.send(&bytes(&Packet::Connect(Box::new(connect)))).await;
        assert_eq!(connack(&mut peer.line).await.reason, expected, "{name}");
    }
}
