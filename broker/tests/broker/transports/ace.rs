//! RFC 9431: proof over the exporter, by challenge, again on a live session, and by the key of the handshake.

use std::sync::Arc;

use tessera_broker::codec::{
    Auth, ConnAck, Connect, Packet, Password, Properties, PropertyId, ReasonCode, Version,
};
use tessera_broker::transport::Transport;
use tessera_token::ace::{self, AuthData, ExporterSecret, Nonce, Response};
use tessera_token::key::SecretKey;
use tessera_token::proof::Pop;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::certs::{ed25519, Certs, V12, V13};
use super::line::{bytes, tcp, tls, tls_over, Line};
use crate::client::{plan, publish};
use crate::world::{device_key, device_scope, scope, world, world_with, World};

pub fn auth(reason: ReasonCode, data: &[u8]) -> Vec<u8> {
    let properties = Properties::build()
        .text(PropertyId::AuthMethod, ace::METHOD)
        .binary(PropertyId::AuthData, data)
        .finish()
        .unwrap();
    bytes(&Packet::Auth(Auth { reason, properties }))
}

/// A CONNECT of this method.
pub fn connect(world: &World, device: &str, method: &str, data: &[u8]) -> Vec<u8> {
    bytes(&Packet::Connect(Box::new(connect_packet(world, device, method, data))))
}

pub fn connect_packet(world: &World, device: &str, method: &str, data: &[u8]) -> Connect {
    let mut connect: Connect = plan(world, device, Version::V5).connect;
    let mut properties = Properties::build().text(PropertyId::AuthMethod, method);
    if !data.is_empty() {
        properties = properties.binary(PropertyId::AuthData, data);
    }
    connect.properties = properties.finish().unwrap();
    connect
}

pub fn layout_b(token: Vec<u8>) -> Vec<u8> {
    AuthData::Token(token).to_bytes().unwrap()
}

fn sign(key: &SecretKey) -> impl Fn(&[u8]) -> Pop + '_ {
    |message| Pop::Signature(key.sign(message))
}

fn exporter_proof(io: &TlsStream<TcpStream>, key: &SecretKey) -> Pop {
    exporter_proof_by(io, sign(key))
}

pub fn exporter_proof_by(io: &TlsStream<TcpStream>, sign: impl FnOnce(&[u8]) -> Pop) -> Pop {
    let session = &io.get_ref().1;
    let exported =
        session.export_keying_material([0; 32], ace::EXPORTER_LABEL.as_bytes(), Some(&[])).unwrap();
    ExporterSecret::from_bytes(&exported).prove_by(sign)
}

pub async fn connack<S: AsyncRead + AsyncWrite + Unpin>(line: &mut Line<S>) -> ConnAck {
    match line.next().await {
        Some(Packet::ConnAck(ack)) => ack,
        other => panic!("expected CONNACK, got {other:?}"),
    }
}

pub async fn nonce<S: AsyncRead + AsyncWrite + Unpin>(line: &mut Line<S>) -> Nonce {
    match line.next().await {
        Some(Packet::Auth(auth)) => {
            assert_eq!(auth.reason, ReasonCode::CONTINUE_AUTHENTICATION);
            assert_eq!(auth.properties.text(PropertyId::AuthMethod), Some("ace"));
            Nonce::parse(&auth.properties.binary(PropertyId::AuthData).unwrap()).unwrap()
        }
        other => panic!("expected AUTH, got {other:?}"),
    }
}

pub fn answer(key: &SecretKey, broker: Nonce) -> Vec<u8> {
    answer_by(sign(key), broker)
}

pub fn answer_by(sign: impl FnOnce(&[u8]) -> Pop, broker: Nonce) -> Vec<u8> {
    let response = Response::make_by(sign, broker, Nonce::from_bytes([9; 8]));
    auth(ReasonCode::CONTINUE_AUTHENTICATION, &response.to_bytes())
}

async fn challenged(world: &World, device: &str) -> Line<TcpStream> {
    let mut line = Line::new(tcp(world, Transport::Mqtt).await);
    let token = world.token(device, device_scope(device));
    line.send(&connect(world, device, "ace", &layout_b(token))).await;
    let nonce = nonce(&mut line).await;
    line.send(&answer(&device_key(device), nonce)).await;
    let ack = connack(&mut line).await;
    assert_eq!(ack.reason, ReasonCode::SUCCESS);
    assert_eq!(ack.properties.text(PropertyId::AuthMethod), Some("ace"));
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_answered_by_the_key_of_the_token_alone() {
    let world = world().await;
    challenged(&world, "d-1").await.ping().await;
    let good = layout_b(world.token("d-1", device_scope("d-1")));
    let strangers = layout_b(world.token_with("d-1", device_scope("d-1"), |claims| {
        claims.audience = tessera_token::ids::Audience::parse("elsewhere").unwrap();
    }));
    // Another key, an old nonce, a token for another broker: all are challenged and all end alike.
    for (data, key, fresh) in
        [(&good, "d-2", true), (&good, "d-1", false), (&strangers, "d-1", true)]
    {
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        line.send(&connect(&world, "d-1", "ace", data)).await;
        let nonce = nonce(&mut line).await;
        let nonce = if fresh { nonce } else { Nonce::from_bytes([1; 8]) };
        line.send(&answer(&device_key(key), nonce)).await;
        assert_eq!(connack(&mut line).await.reason, ReasonCode::NOT_AUTHORIZED);
        line.closed().await;
    }
    // Nothing but AUTH comes before CONNACK.
    let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
    line.send(&connect(&world, "d-1", "ace", &good)).await;
    nonce(&mut line).await;
    line.send(&[0xc0, 0]).await;
    assert!(line.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ace_or_not_whole_is_refused_with_its_code() {
    let hint = r#"{"AS":"https://as.example/token"}"#;
    let world = world_with(|raw| raw.ace_as_hint = Some(hint.to_owned())).await;
    let token = world.token("d-1", device_scope("d-1"));
    let long = [&[0xff, 0xff][..], &token].concat();
    let pop = Pop::Signature([1; 64]);
    // Without TLS there is no exporter to prove anything over.
    let proved = AuthData::Proved { token, pop }.to_bytes().unwrap();
    let cases: [(&str, &[u8], ReasonCode, bool); 7] = [
        ("SCRAM-SHA-256", b"x", ReasonCode::BAD_AUTHENTICATION_METHOD, false),
        ("ACE", b"x", ReasonCode::BAD_AUTHENTICATION_METHOD, false),
        ("ace", b"", ReasonCode::NOT_AUTHORIZED, true),
        ("ace", &[0, 0], ReasonCode::NOT_AUTHORIZED, true),
        ("ace", &[7], ReasonCode::NOT_AUTHORIZED, true),
        ("ace", &long, ReasonCode::NOT_AUTHORIZED, true),
        ("ace", &proved, ReasonCode::NOT_AUTHORIZED, true),
    ];
    for (method, data, reason, hinted) in cases {
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        line.send(&connect(&world, "d-1", method, data)).await;
        let ack = connack(&mut line).await;
        assert_eq!(ack.reason, reason, "{method} {data:?}");
        let told: Vec<_> = ack.properties.user().collect();
        assert_eq!(told, if hinted { vec![(ace::AS_HINT, hint)] } else { vec![] });
        line.closed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_name_and_password_are_absent_on_the_path_of_ace() {
    let world = world().await;
    let data = layout_b(world.token("d-1", device_scope("d-1")));
    let password = world.password("d-1", "d-1", world.token("d-1", device_scope("d-1")));
    for (user, password) in
        [(Some("d-1"), None), (None, Some(&password)), (Some("d-1"), Some(&password)), (None, None)]
    {
        let mut packet = connect_packet(&world, "d-1", "ace", &data);
        packet.user_name = user.map(Into::into);
        packet.password = password.map(|bytes| Password::new(bytes.clone().into()));
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        line.send(&bytes(&Packet::Connect(Box::new(packet)))).await;
        if user.is_none() && password.is_none() {
            nonce(&mut line).await;
            continue;
        }
        assert_eq!(connack(&mut line).await.reason, ReasonCode::NOT_AUTHORIZED);
        line.closed().await;
    }
    let refused = r#"tessera_broker_refusals_total{code="auth_data_malformed",what="connect"}"#;
    assert_eq!(world.metric(refused), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn reserved_flags_of_auth_are_zero() {
    let world = world().await;
    for flags in [1, 2, 8, 15] {
        // Before CONNACK the socket is closed.
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        let data = layout_b(world.token("d-1", device_scope("d-1")));
        line.send(&connect(&world, "d-1", "ace", &data)).await;
        let nonce = nonce(&mut line).await;
        let mut packet = answer(&device_key("d-1"), nonce);
        packet[0] |= flags;
        line.send(&packet).await;
        assert!(line.next().await.is_none(), "{flags}");
        // On a session it is told.
        let mut line = challenged(&world, "d-1").await;
        let mut packet = auth(ReasonCode::RE_AUTHENTICATE, &data);
        packet[0] |= flags;
        line.send(&packet).await;
        ends_with(&mut line, ReasonCode::MALFORMED_PACKET).await;
    }
    // The reason codes of others: success is the broker's, and nothing else exists.
    for reason in [ReasonCode::SUCCESS, ReasonCode(0x17), ReasonCode(0x1a)] {
        let mut line = challenged(&world, "d-1").await;
        let data = layout_b(world.token("d-1", device_scope("d-1")));
        let mut packet = auth(ReasonCode::RE_AUTHENTICATE, &data);
        let place = packet.iter().position(|byte| *byte == 0x19).unwrap();
        packet[place] = reason.0;
        line.send(&packet).await;
        ends_with(&mut line, ReasonCode::PROTOCOL_ERROR).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_outside_the_scope_refuses_on_the_path_of_ace_too() {
    let world = world().await;
    for (topic, expected) in [
        ("d/d-2/status", ReasonCode::NOT_AUTHORIZED),
        ("authz-info", ReasonCode::NOT_AUTHORIZED),
        ("d/d-1/status", ReasonCode::SUCCESS),
    ] {
        let data = layout_b(world.token("d-1", scope(&[("pub", "d/d-1/#"), ("pub", "#")])));
        let data = if topic == "d/d-2/status" {
            layout_b(world.token("d-1", device_scope("d-1")))
        } else {
            data
        };
        let mut packet = connect_packet(&world, "d-1", "ace", &data);
        packet.will = Some(tessera_broker::codec::Will {
            qos: tessera_broker::codec::QoS::AtLeastOnce,
            retain: false,
            properties: Properties::new(),
            topic: topic.into(),
            payload: ::bytes::Bytes::from_static(b"gone"),
        });
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        line.send(&bytes(&Packet::Connect(Box::new(packet)))).await;
        let nonce = nonce(&mut line).await;
        line.send(&answer(&device_key("d-1"), nonce)).await;
        assert_eq!(connack(&mut line).await.reason, expected, "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exporter_proves_once_and_never_on_a_resumed_session() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    for versions in [V12, V13] {
        let config = Arc::new(certs.client(versions));
        let mut seen = Vec::new();
        for resumed in [false, true] {
            let io = tls_over(tcp(&world, Transport::Mqtts).await, &config).await.unwrap();
            let token = world.token("d-1", device_scope("d-1"));
            let pop = exporter_proof(&io, &device_key("d-1"));
            let data = AuthData::Proved { token, pop }.to_bytes().unwrap();
            let mut line = Line::new(io);
            line.send(&connect(&world, "d-1", "ace", &data)).await;
            seen.push(connack(&mut line).await.reason);
            let kind = line.io.get_ref().1.handshake_kind();
            assert_eq!(kind == Some(rustls::HandshakeKind::Resumed), resumed, "{kind:?}");
        }
        assert_eq!(seen, [ReasonCode::SUCCESS, ReasonCode::NOT_AUTHORIZED]);
    }
    // A proof of another connection.
    let config = Arc::new(certs.client(V13));
    let other = tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap();
    let pop = exporter_proof(&other, &device_key("d-1"));
    let token = world.token("d-1", device_scope("d-1"));
    let data = AuthData::Proved { token, pop }.to_bytes().unwrap();
    let mut line = Line::new(tls_over(tcp(&world, Transport::Mqtts).await, &config).await.unwrap());
    line.send(&connect(&world, "d-1", "ace", &data)).await;
    assert_eq!(connack(&mut line).await.reason, ReasonCode::NOT_AUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_311_client_proves_itself_by_user_name_and_password() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    for (key, expected) in [("d-1", ReasonCode::SUCCESS), ("d-2", ReasonCode::NOT_AUTHORIZED)] {
        let io = tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap();
        let pop = exporter_proof(&io, &device_key(key));
        let mut connect = plan(&world, "d-1", Version::V311).connect;
        let token = world.token("d-1", device_scope("d-1"));
        connect.user_name = Some(ace::to_username(&token).into());
        connect.password = Some(Password::new(pop.as_bytes().to_vec().into()));
        let mut out = ::bytes::BytesMut::new();
        let packet = Packet::Connect(Box::new(connect));
        tessera_broker::codec::encode(&packet, Version::V311, &mut out).unwrap();
        let mut line = Line::new(io);
        line.send(&out).await;
        let mut answer = [0; 4];
        tokio::io::AsyncReadExt::read_exact(&mut line.io, &mut answer).await.unwrap();
        assert_eq!(answer, [0x20, 2, 0, if expected == ReasonCode::SUCCESS { 0 } else { 5 }]);
    }
}

/// The challenge is good for ten seconds; a peer that stays silent has no session and leaves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_is_not_answered_is_cut() {
    let world = world().await;
    let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
    let token = layout_b(world.token("d-1", device_scope("d-1")));
    line.send(&connect(&world, "d-1", "ace", &token)).await;
    nonce(&mut line).await;
    line.closed().await;
    let rule = r#"tessera_broker_broken_packets_total{rule="auth_too_slow"}"#;
    assert_eq!((world.metric(rule), world.broker.sessions()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_session_gets_its_next_token_by_a_fresh_proof() {
    let world = world().await;
    let mut line = challenged(&world, "d-1").await;
    let next = world.token("d-1", scope(&[("pub", "d/d-1/more")]));
    line.send(&auth(ReasonCode::RE_AUTHENTICATE, &layout_b(next))).await;
    let nonce = nonce(&mut line).await;
    // Meanwhile the old rights hold.
    line.send(&bytes(&publish("d/d-1/telemetry", tessera_broker::codec::QoS::AtLeastOnce, b"x")))
        .await;
    let Some(Packet::PubAck(ack)) = line.next().await else { panic!("no PUBACK") };
    assert!(!ack.reason.is_error());
    line.send(&answer(&device_key("d-1"), nonce)).await;
    match line.next().await {
        Some(Packet::Auth(done)) => assert_eq!(done.reason, ReasonCode::SUCCESS),
        other => panic!("expected AUTH, got {other:?}"),
    }
    for (topic, refused) in [("d/d-1/more", false), ("d/d-1/telemetry", true)] {
        line.send(&bytes(&publish(topic, tessera_broker::codec::QoS::AtLeastOnce, b"x"))).await;
        let Some(Packet::PubAck(ack)) = line.next().await else { panic!("no PUBACK") };
        assert_eq!(ack.reason.is_error(), refused, "{topic}");
    }
}

/// [MQTT-3.1.2-24]: CONNACK and AUTH too. A client that does not take the challenge is refused instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_client_of_ace_gets_small_packets() {
    let hint = r#"{"AS":"https://as.example/token"}"#;
    let world = world_with(|raw| raw.ace_as_hint = Some(hint.to_owned())).await;
    let opening = |most| {
        let token = world.token("d-1", device_scope("d-1"));
        let mut connect = connect_packet(&world, "d-1", "ace", &layout_b(token));
        let p = Properties::build().all_of(&connect.properties);
        connect.properties = p.number(PropertyId::MaximumPacketSize, most).finish().unwrap();
        bytes(&Packet::Connect(Box::new(connect)))
    };
    for (most, challenged) in [(20, false), (21, true), (24, true)] {
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        line.send(&opening(most)).await;
        if challenged {
            let nonce = nonce(&mut line).await;
            line.send(&answer(&device_key("d-1"), nonce)).await;
        }
        let ack = connack(&mut line).await;
        assert_eq!((ack.reason, ack.properties.is_empty()), (ReasonCode::PACKET_TOO_LARGE, true));
        line.closed().await;
    }
    for (key, reason) in [("d-2", ReasonCode::NOT_AUTHORIZED), ("d-1", ReasonCode::SUCCESS)] {
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        line.send(&opening(25)).await;
        let nonce = nonce(&mut line).await;
        line.send(&answer(&device_key(key), nonce)).await;
        let ack = connack(&mut line).await;
        assert_eq!((ack.reason, ack.properties.user().count()), (reason, 0));
    }
}

/// [MQTT-3.1.2-22]: every packet counts, AUTH too.
#[tokio::test(flavor = "multi_thread")]
async fn auth_keeps_a_connection_alive() {
    let world = world_with(|raw| raw.limits.keep_alive = 10).await;
    let mut line = challenged(&world, "d-1").await;
    world.advance(3);
    let mut silent = plan(&world, "d-2", Version::V5).open().await;
    world.advance(6);
    let next = world.token("d-1", device_scope("d-1"));
    line.send(&auth(ReasonCode::RE_AUTHENTICATE, &layout_b(next))).await;
    let nonce = nonce(&mut line).await;
    world.advance(4);
    line.send(&answer(&device_key("d-1"), nonce)).await;
    assert!(matches!(line.next().await, Some(Packet::Auth(_))));
    // The end of another one, later than the first one's would be, shows that the deadlines were looked at.
    world.advance(5);
    silent.ended_with(ReasonCode::KEEP_ALIVE_TIMEOUT).await;
    line.ping().await;
}

pub async fn ends_with<S: AsyncRead + AsyncWrite + Unpin>(line: &mut Line<S>, reason: ReasonCode) {
    match line.next().await {
        Some(Packet::Disconnect(bye)) => assert_eq!(bye.reason, reason),
        other => panic!("expected DISCONNECT, got {other:?}"),
    }
    line.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_reauthentication_ends_the_session() {
    let world = world().await;
    let token = |device: &str| layout_b(world.token(device, device_scope(device)));
    // A wrong key, another device's token, no token.
    for (data, key) in [(token("d-1"), "d-2"), (token("d-2"), "d-2"), (token("d-2"), "d-1")] {
        let mut line = challenged(&world, "d-1").await;
        line.send(&auth(ReasonCode::RE_AUTHENTICATE, &data)).await;
        let nonce = nonce(&mut line).await;
        line.send(&answer(&device_key(key), nonce)).await;
        ends_with(&mut line, ReasonCode::NOT_AUTHORIZED).await;
    }
    let mut line = challenged(&world, "d-1").await;
    line.send(&auth(ReasonCode::RE_AUTHENTICATE, &[])).await;
    ends_with(&mut line, ReasonCode::NOT_AUTHORIZED).await;
    // An answer that comes too late.
    let mut line = challenged(&world, "d-1").await;
    line.send(&auth(ReasonCode::RE_AUTHENTICATE, &token("d-1"))).await;
    let late = nonce(&mut line).await;
    world.advance(31);
    line.send(&answer(&device_key("d-1"), late)).await;
    ends_with(&mut line, ReasonCode::NOT_AUTHORIZED).await;
    // An answer without a challenge, two challenges at once, and a session that did not begin with `ace`.
    let mut line = challenged(&world, "d-1").await;
    line.send(&answer(&device_key("d-1"), Nonce::from_bytes([1; 8]))).await;
    ends_with(&mut line, ReasonCode::PROTOCOL_ERROR).await;
    let mut line = challenged(&world, "d-1").await;
    line.send(&auth(ReasonCode::RE_AUTHENTICATE, &token("d-1"))).await;
    nonce(&mut line).await;
    line.send(&auth(ReasonCode::RE_AUTHENTICATE, &token("d-1"))).await;
    ends_with(&mut line, ReasonCode::PROTOCOL_ERROR).await;
    let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
    assert_eq!(line.connect(&world, "d-1").await, ReasonCode::SUCCESS);
    line.send(&auth(ReasonCode::RE_AUTHENTICATE, &token("d-1"))).await;
    ends_with(&mut line, ReasonCode::PROTOCOL_ERROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_the_handshake_stands_in_for_the_proof() {
    let certs = Certs::new();
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.tls.client_auth = Some("key".to_owned());
    })
    .await;
    let seed = |name: &str| {
        let mut seed = [7; 32];
        seed[..name.len()].copy_from_slice(name.as_bytes());
        seed
    };
    let token = world.token("d-1", device_scope("d-1"));
    let cases = [
        (Some("d-1"), ReasonCode::SUCCESS),
        (Some("d-2"), ReasonCode::NOT_AUTHORIZED),
        (None, ReasonCode::NOT_AUTHORIZED),
    ];
    for (holder, expected) in cases {
        let config = match holder {
            Some(name) => certs.client_with(ed25519(&seed(name)), true),
            None => certs.client(V13),
        };
        let mut connect = plan(&world, "d-1", Version::V5).connect;
        connect.password = Some(Password::new(token.clone().into()));
        let mut line = Line::new(tls(&world, Transport::Mqtts, config).await.unwrap());
        line.send(&bytes(&Packet::Connect(Box::new(connect)))).await;
        assert_eq!(connack(&mut line).await.reason, expected, "{holder:?}");
    }
}
