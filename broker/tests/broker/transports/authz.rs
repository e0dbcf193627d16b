//! `authz-info` (RFC 9431 section 2.2.2): who may publish tokens there, what is told, and whom a token lets in.

use tessera_broker::codec::{
    Ack, Connect, Disconnect, Packet, Properties, PropertyId, Publish, QoS, ReasonCode, Subscribe,
    SubscribeOptions, Subscription, Version,
};
use tessera_broker::limits::{SUSPECT_STRIKES, VISIT_PART, VISIT_PREFIX_PART};
use tessera_broker::transport::Transport;
use tessera_broker::RawBrokerConfig;
use tessera_token::key::SecretKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::ace::{answer, connack, connect as ace_connect, nonce};
use super::certs::{ed25519, Certs, V13};
use super::line::{bytes, settle, tcp, tls, Line};
use crate::client::{plan, publish};
use crate::world::{device_key, device_scope, scope, world_with, World};

const AUTHZ: &str = "authz-info";
const NO: ReasonCode = ReasonCode::NOT_AUTHORIZED;
const OK: ReasonCode = ReasonCode::SUCCESS;
type Secure = Line<TlsStream<TcpStream>>;

fn counted(what: &str) -> String {
    format!("tessera_broker_authz_info_total{{what=\"{what}\"}}")
}

/// A broker that takes tokens on `authz-info`, and client keys in handshakes.
async fn open(certs: &Certs) -> World {
    open_with(certs, |_| {}).await
}

async fn open_with(certs: &Certs, change: impl FnOnce(&mut RawBrokerConfig)) -> World {
    world_with(|raw| {
        certs.settings(raw);
        raw.tls.client_auth = Some("key".to_owned());
        raw.authz_info = true;
        raw.ace_as_hint = Some(r#"{"AS":"https://as.example"}"#.to_owned());
        change(raw);
    })
    .await
}

/// A CONNECT with nothing in it.
fn bare(world: &World, client_id: &str, version: Version) -> Connect {
    Connect { user_name: None, ..plan(world, client_id, version).connect }
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Line<S>,
    connect: Connect,
) -> ReasonCode {
    line.send(&bytes(&Packet::Connect(Box::new(connect)))).await;
    connack(line).await.reason
}

async fn anonymous(world: &World, certs: &Certs) -> Secure {
    let mut line = Line::new(tls(world, Transport::Mqtts, certs.client(V13)).await.unwrap());
    assert_eq!(say(&mut line, bare(world, "x", Version::V5)).await, OK);
    line
}

fn with_id(packet: Packet, id: u16) -> Packet {
    match packet {
        Packet::Publish(one) => Packet::Publish(Publish { packet_id: Some(id), ..one }),
        other => other,
    }
}

/// The answer to QoS 1 or 2.
async fn acked<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Line<S>,
    topic: &str,
    qos: QoS,
    payload: &[u8],
) -> ReasonCode {
    line.send(&bytes(&publish(topic, qos, payload))).await;
    match (line.next().await, qos) {
        (Some(Packet::PubAck(ack)), QoS::AtLeastOnce) => ack.reason,
        (Some(Packet::PubRec(ack)), QoS::ExactlyOnce) => ack.reason,
        (other, _) => panic!("expected an acknowledgement, got {other:?}"),
    }
}

async fn ends_with<S: AsyncRead + AsyncWrite + Unpin>(line: &mut Line<S>, reason: ReasonCode) {
    match line.next().await {
        Some(Packet::Disconnect(bye)) => assert_eq!(bye.reason, reason),
        other => panic!("expected DISCONNECT, got {other:?}"),
    }
    line.closed().await;
}

/// Publishes a token and goes.
async fn upload(world: &World, certs: &Certs, token: &[u8]) {
    let mut line = anonymous(world, certs).await;
    assert_eq!(acked(&mut line, AUTHZ, QoS::AtLeastOnce, token).await, OK);
    let bye = Disconnect { reason: OK, properties: Properties::new() };
    line.send(&bytes(&Packet::Disconnect(bye))).await;
    line.closed().await;
}

fn seed(name: &str) -> [u8; 32] {
    let mut seed = [7; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    seed
}

/// A TLS connection whose handshake key is that of the device.
async fn known(world: &World, certs: &Certs, device: &str) -> Secure {
    let config = certs.client_with(ed25519(&seed(device)), true);
    Line::new(tls(world, Transport::Mqtts, config).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_or_without_tls_strangers_are_refused() {
    let certs = Certs::new();
    let off = world_with(|raw| certs.settings(raw)).await;
    let mut line = Line::new(tls(&off, Transport::Mqtts, certs.client(V13)).await.unwrap());
    assert_eq!(say(&mut line, bare(&off, "x", Version::V5)).await, NO);
    let on = open(&certs).await;
    let mut line = Line::new(tcp(&on, Transport::Mqtt).await);
    assert_eq!(say(&mut line, bare(&on, "x", Version::V5)).await, NO);
    // A user name, a will, a password: a CONNECT that carries one is authenticated by it.
    let will = plan(&on, "x", Version::V5).will(AUTHZ, Properties::new()).connect;
    let user = Connect { user_name: Some("x".into()), ..bare(&on, "x", Version::V5) };
    for connect in [will, user] {
        let mut line = Line::new(tls(&on, Transport::Mqtts, certs.client(V13)).await.unwrap());
        assert_eq!(say(&mut line, connect).await, NO);
    }
    assert_eq!(on.metric(&counted("connected")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_and_what_is_no_valid_one_are_told() {
    let certs = Certs::new();
    let world = open(&certs).await;
    let rights = || device_scope("d-1");
    let good = world.token("d-1", rights());
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let wrong = [
        forged,
        world.token_with("d-1", rights(), |claims| claims.audience = "other".parse().unwrap()),
        world.token_with("d-1", rights(), |claims| claims.epochs.tenant = 0),
        world.token_with("d-1", rights(), |claims| claims.confirmation = None),
        world.token_with("d-1", rights(), |claims| {
            claims.issued = claims.issued.minus(7200);
            claims.expires = claims.issued.plus(3600);
        }),
    ];
    let rubbish: [&[u8]; 4] = [b"", b"rubbish", &good[1..], &good[..good.len() - 1]];
    let invalid = ReasonCode::PAYLOAD_FORMAT_INVALID;
    let cases = wrong.iter().map(|token| (&token[..], NO));
    for (payload, reason) in cases.chain(rubbish.map(|payload| (payload, invalid))) {
        let mut line = anonymous(&world, &certs).await;
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            assert_eq!(acked(&mut line, AUTHZ, qos, payload).await, reason, "{payload:x?}");
        }
        line.ping().await;
        line.send(&bytes(&publish(AUTHZ, QoS::AtMostOnce, payload))).await;
        ends_with(&mut line, reason).await;
    }
    assert_eq!(world.metric(&counted("kept")), 0);
    // The good one, with each QoS.
    let mut line = anonymous(&world, &certs).await;
    line.send(&bytes(&publish(AUTHZ, QoS::AtMostOnce, &good))).await;
    line.ping().await;
    assert_eq!(acked(&mut line, AUTHZ, QoS::AtLeastOnce, &good).await, OK);
    for _ in 0..2 {
        assert_eq!(acked(&mut line, AUTHZ, QoS::ExactlyOnce, &good).await, OK);
    }
    for expected in [OK, ReasonCode::PACKET_ID_NOT_FOUND] {
        line.send(&bytes(&Packet::PubRel(Ack::new(9, OK)))).await;
        match line.next().await {
            Some(Packet::PubComp(ack)) => assert_eq!(ack.reason, expected),
            other => panic!("expected PUBCOMP, got {other:?}"),
        }
    }
    assert_eq!(world.metric(&counted("kept")), 3, "what is repeated is not verified again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_311_stranger_is_told_nothing() {
    let certs = Certs::new();
    let world = open(&certs).await;
    let good = world.token("d-1", device_scope("d-1"));
    for (payload, qos, told) in [
        (&b"rubbish"[..], QoS::AtMostOnce, None),
        (b"rubbish", QoS::AtLeastOnce, None),
        (b"rubbish", QoS::ExactlyOnce, None),
        (&good, QoS::AtLeastOnce, Some([0x40, 2, 0, 9])),
        (&good, QoS::ExactlyOnce, Some([0x50, 2, 0, 9])),
    ] {
        let mut io = tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap();
        let mut out = ::bytes::BytesMut::new();
        for packet in [
            Packet::Connect(Box::new(bare(&world, "x", Version::V311))),
            publish(AUTHZ, qos, payload),
        ] {
            tessera_broker::codec::encode(&packet, Version::V311, &mut out).unwrap();
        }
        tokio::io::AsyncWriteExt::write_all(&mut io, &out).await.unwrap();
        let mut answer = [0; 4];
        io.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [0x20, 2, 0, 0]);
        match told {
            Some(expected) => {
                io.read_exact(&mut answer).await.unwrap();
                assert_eq!(answer, expected);
            }
            None => assert!(matches!(io.read(&mut answer).await, Ok(0))),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_nothing_else_and_nothing_reaches_anybody() {
    let certs = Certs::new();
    let world = open(&certs).await;
    let mut hub = plan(&world, "hub", Version::V5).scope(scope(&[("both", "#")])).open().await;
    assert_eq!(hub.subscribe("#", QoS::AtLeastOnce).await, ReasonCode::GRANTED_QOS_1);
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    let mut line = Line::new(tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap());
    // The client id of another session is no more than a word here.
    assert_eq!(say(&mut line, bare(&world, "d-1", Version::V5)).await, OK);
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for topic in ["d/d-1/telemetry", "authz-info/x", "$tessera/token", "AUTHZ-INFO"] {
            assert_eq!(acked(&mut line, topic, qos, b"x").await, NO, "{topic}");
        }
    }
    line.send(&bytes(&publish("d/d-1/telemetry", QoS::AtMostOnce, b"x"))).await;
    ends_with(&mut line, NO).await;
    let entries = vec![Subscription { filter: AUTHZ.into(), options: SubscribeOptions::default() }];
    let subscribe = Subscribe { packet_id: 1, properties: Properties::new(), entries };
    let mut line = anonymous(&world, &certs).await;
    line.send(&bytes(&Packet::Subscribe(subscribe))).await;
    ends_with(&mut line, NO).await;
    let alias = Properties::build().number(PropertyId::TopicAlias, 1).finish().unwrap();
    let Packet::Publish(one) = publish(AUTHZ, QoS::AtMostOnce, b"x") else { panic!() };
    let mut line = anonymous(&world, &certs).await;
    line.send(&bytes(&Packet::Publish(Publish { properties: alias, ..one }))).await;
    ends_with(&mut line, ReasonCode::TOPIC_ALIAS_INVALID).await;
    upload(&world, &certs, &world.token("d-1", device_scope("d-1"))).await;
    // A message there of a client with a token is refused too.
    assert_eq!(hub.publish_acked(AUTHZ, b"x").await, NO);
    hub.quiet().await;
    device.quiet().await;
    assert_eq!(world.broker.sessions(), 2);
    settle(|| world.broker.sockets() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_the_handshake_is_all_that_the_connect_needs() {
    let certs = Certs::new();
    let world = open(&certs).await;
    let enter = |device: &'static str, id: &'static str| {
        let (world, certs) = (&world, &certs);
        async move {
            let mut line = known(world, certs, device).await;
            (say(&mut line, bare(world, id, Version::V5)).await, line)
        }
    };
    assert_eq!(enter("d-1", "d-1").await.0, NO, "nothing was published yet");
    let old = world.token_with("d-1", scope(&[]), |claims| {
        claims.issued = claims.issued.minus(10);
    });
    upload(&world, &certs, &world.token("d-1", device_scope("d-1"))).await;
    let (reason, mut line) = enter("d-1", "d-1").await;
    assert_eq!(reason, OK);
    // With the rights of the token, and no others.
    assert!(!acked(&mut line, "d/d-1/telemetry", QoS::AtLeastOnce, b"x").await.is_error());
    assert_eq!(acked(&mut line, "d/d-2/telemetry", QoS::AtLeastOnce, b"x").await, NO);
    for (device, id) in [("d-2", "d-2"), ("d-2", "d-1"), ("d-1", "d-2")] {
        assert_eq!(enter(device, id).await.0, NO, "{device} as {id}");
    }
    assert_eq!(enter("d-1", "d-1~2").await.0, OK);
    // An older token does not take its place.
    let mut stranger = anonymous(&world, &certs).await;
    assert_eq!(acked(&mut stranger, AUTHZ, QoS::AtLeastOnce, &old).await, NO);
    let newer = world.token_with("d-1", scope(&[]), |claims| {
        claims.issued = claims.issued.plus(10);
    });
    assert_eq!(acked(&mut stranger, AUTHZ, QoS::AtLeastOnce, &newer).await, OK);
    let (_, mut line) = enter("d-1", "d-1").await;
    assert_eq!(acked(&mut line, "d/d-1/telemetry", QoS::AtLeastOnce, b"x").await, NO);
    world.revoke_device("d-1");
    line.closed().await;
    assert_eq!(enter("d-1", "d-1").await.0, NO);
    upload(&world, &certs, &world.token("d-3", device_scope("d-3"))).await;
    assert_eq!(enter("d-3", "d-3").await.0, OK);
    world.advance(3600);
    assert_eq!(enter("d-3", "d-3").await.0, NO);
}

#[tokio::test(flavor = "multi_thread")]
async fn ace_without_a_token_is_a_challenge_of_the_published_one() {
    let certs = Certs::new();
    let world = open(&certs).await;
    let refused = |data: &'static [u8]| {
        let world = &world;
        async move {
            let mut line = Line::new(tcp(world, Transport::Mqtt).await);
            line.send(&ace_connect(world, "d-1", "ace", data)).await;
            let ack = connack(&mut line).await;
            assert_eq!((ack.reason, ack.properties.user().count()), (NO, 1), "the hint is told");
        }
    };
    refused(b"").await;
    upload(&world, &certs, &world.token("d-1", device_scope("d-1"))).await;
    let thief = SecretKey::from_seed(&[9; 32]);
    for (data, key, expected) in [
        (&b""[..], device_key("d-1"), OK),
        (&[0, 0], device_key("d-1"), OK),
        (b"", device_key("d-2"), NO),
        (b"", thief, NO),
    ] {
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        line.send(&ace_connect(&world, "d-1", "ace", data)).await;
        let nonce = nonce(&mut line).await;
        line.send(&answer(&key, nonce)).await;
        assert_eq!(connack(&mut line).await.reason, expected);
    }
    world.advance(3600);
    refused(b"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_bounded_in_packets_time_and_tries() {
    let certs = Certs::new();
    let world = open(&certs).await;
    let mut silent = anonymous(&world, &certs).await;
    let mut line = anonymous(&world, &certs).await;
    for id in 1..=16 {
        line.send(&bytes(&with_id(publish("x", QoS::AtLeastOnce, b"x"), id))).await;
        assert!(matches!(line.next().await, Some(Packet::PubAck(_))));
    }
    ends_with(&mut line, ReasonCode::QUOTA_EXCEEDED).await;
    let mut reasons = Vec::new();
    while reasons.len() < 60 {
        let mut line = anonymous(&world, &certs).await;
        for _ in 0..15 {
            reasons.push(acked(&mut line, AUTHZ, QoS::AtLeastOnce, b"x").await);
        }
    }
    // The clock stands still: a burst of 50, and no more.
    let (tried, limited) = reasons.split_at(50);
    assert!(tried.iter().all(|reason| *reason == ReasonCode::PAYLOAD_FORMAT_INVALID));
    assert!(limited.iter().all(|reason| *reason == ReasonCode::QUOTA_EXCEEDED));
    let hit = r#"tessera_broker_limits_hit_total{limit="authz_info"}"#;
    assert_eq!(world.metric(hit), limited.len() as u64);
    ends_with(&mut silent, ReasonCode::MAXIMUM_CONNECT_TIME).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_bring_no_token_are_strikes_and_those_that_do_are_none() {
    let certs = Certs::new();
    let world = open_with(&certs, |raw| raw.limits.suspects_per_second = 5).await;
    let turned = || world.metric(r#"tessera_broker_turned_away_total{limit="suspect_rate"}"#);
    let gone = || settle(|| world.broker.sockets() == 0);
    let token = world.token("d-1", device_scope("d-1"));
    for _ in 0..2 * SUSPECT_STRIKES {
        upload(&world, &certs, &token).await;
        gone().await;
    }
    for _ in 0..SUSPECT_STRIKES {
        drop(anonymous(&world, &certs).await);
        gone().await;
    }
    assert_eq!(turned(), 0);
    // One socket of suspects in this window, then none.
    drop(anonymous(&world, &certs).await);
    gone().await;
    assert!(tls(&world, Transport::Mqtts, certs.client(V13)).await.is_err());
    assert_eq!(turned(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_have_few_places_and_others_are_served() {
    let certs = Certs::new();
    let places = 2 * VISIT_PART * VISIT_PREFIX_PART;
    let world = open_with(&certs, |raw| raw.limits.half_open = places).await;
    let first = anonymous(&world, &certs).await;
    let mut second = anonymous(&world, &certs).await;
    for (version, reason) in
        [(Version::V5, ReasonCode::SERVER_BUSY), (Version::V311, ReasonCode::SERVER_UNAVAILABLE)]
    {
        let io = tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap();
        let mut line = Line::new(io);
        let refused = match version {
            Version::V5 => say(&mut line, bare(&world, "x", version)).await,
            Version::V311 => {
                let connect = Packet::Connect(Box::new(bare(&world, "x", version)));
                let mut out = ::bytes::BytesMut::new();
                tessera_broker::codec::encode(&connect, version, &mut out).unwrap();
                line.send(&out).await;
                let mut answer = [0; 4];
                line.io.read_exact(&mut answer).await.unwrap();
                assert_eq!(answer, [0x20, 2, 0, 3]);
                reason
            }
        };
        assert_eq!(refused, reason);
        line.closed().await;
    }
    let hit = r#"tessera_broker_limits_hit_total{limit="anonymous"}"#;
    assert_eq!(world.metric(hit), 2);
    let mut device = Line::new(tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap());
    assert_eq!(device.connect(&world, "d-1").await, OK);
    second.ping().await;
    drop(first);
    settle(|| world.broker.sockets() == 2).await;
    anonymous(&world, &certs).await;
    assert_eq!(world.metric(hit), 2);
}
