//! Each refusal writes one line with its kind, its code, the peer and its address.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tessera_broker::codec::{
    Ack, Auth, Packet, Password, Properties, PropertyId, Publish, QoS, ReasonCode, Version,
};
use tessera_broker::transport::Transport;
use tessera_broker::RawBrokerConfig;
use tessera_runtime::clock::Clock;
use tessera_runtime::log::{subscriber, Format};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::{plan, publish, until, Client, VERSIONS};
use crate::transports::certs::{Certs, V13};
use crate::transports::line::{bytes, settle, tls_over, Line};
use crate::transports::proxy::proxied;
use crate::world::{device_scope, scope, world, world_with, World};

/// All lines of this process at `info`, of all tests.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An hour passes with every look, so that the lines of other tests leave out none of these.
#[derive(Default)]
struct Hurrying(AtomicU64);

impl Clock for Hurrying {
    fn unix_millis(&self) -> u64 {
        0
    }
    fn monotonic(&self) -> Duration {
        Duration::from_secs(3_600 * self.0.fetch_add(1, Ordering::SeqCst))
    }
}

fn lines() -> &'static Lines {
    static LINES: OnceLock<Lines> = OnceLock::new();
    LINES.get_or_init(|| {
        let lines = Lines::default();
        let copy = lines.clone();
        let clock = Arc::new(Hurrying::default());
        let (subscriber, _) =
            subscriber("info", Format::Text, move || copy.clone(), clock).unwrap();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        lines
    })
}

/// A stranger with an address of its own on this machine, by which its lines are found.
struct Stranger(Ipv4Addr);

impl Stranger {
    fn new(number: u8) -> Self {
        lines();
        Self(Ipv4Addr::new(127, 77, number, 9))
    }

    async fn tcp(&self, world: &World, transport: Transport) -> TcpStream {
        self.to(world.broker.addr(transport).unwrap()).await
    }

    async fn to(&self, broker: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(IpAddr::V4(self.0), 0)).unwrap();
        socket.connect(broker).await.unwrap()
    }

    fn lines(&self) -> Vec<String> {
        let all = lines().0.lock().unwrap().clone();
        let own = format!("address={} ", self.0);
        let text = String::from_utf8(all).unwrap();
        text.lines().filter(|line| line.contains(&own)).map(str::to_owned).collect()
    }

    /// The one line that was written since the last time, with all of this in it.
    async fn told(&self, after: &mut usize, parts: &[&str]) -> String {
        settle(|| self.lines().len() > *after).await;
        let lines = self.lines();
        *after += 1;
        assert_eq!(lines.len(), *after, "{lines:#?}");
        let line = lines.last().unwrap();
        assert!(line.contains(" INFO "), "{line}");
        for part in parts {
            assert!(line.contains(part), "{part} in {line}");
        }
        line.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_place_of_a_connect_is_told() {
    let (world, stranger) = (world().await, Stranger::new(1));
    let mut told = 0;
    let kind = "connect refused";
    for (sent, code) in [
        (&b"\xc0\x00"[..], "first_packet_not_connect"),
        (b"GET / HTTP/1.1\r\n\r\n", "reserved_flags"),
        (b"\x10\x0c\x00\x04MQTT\x04\x01\x00\x00\x00\x00", "connect_reserved_flag"),
        (b"\x10\xff\xff\xff\x7f", "packet_too_large"),
        (b"\x10\xff\xff\xff\xff", "varint_too_long"),
    ] {
        let mut line = Line::new(stranger.tcp(&world, Transport::Mqtt).await);
        line.send(sent).await;
        line.closed().await;
        let code = format!("code={code} ");
        stranger.told(&mut told, &[kind, &code, "transport=mqtt"]).await;
    }
    drop(stranger.tcp(&world, Transport::Mqtt).await);
    stranger.told(&mut told, &[kind, "code=lost_before_connect "]).await;
    let mut silent = Line::new(stranger.tcp(&world, Transport::Mqtt).await);
    silent.send(b"\x10").await;
    silent.closed().await;
    stranger.told(&mut told, &[kind, "code=connect_too_slow "]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_over_a_limit_is_told() {
    let stranger = Stranger::new(2);
    let world = world_with(|raw| raw.limits.sockets_per_prefix = 1).await;
    let _held = stranger.tcp(&world, Transport::Mqtt).await;
    settle(|| world.broker.sockets() == 1).await;
    let mut line = Line::new(stranger.tcp(&world, Transport::Mqtt).await);
    line.closed().await;
    let parts = ["connection turned away", "code=prefix_sockets ", "transport=mqtt"];
    stranger.told(&mut 0, &parts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_that_is_refused_is_told() {
    let (stranger, mut told) = (Stranger::new(3), 0);
    let world = proxied("10.0.0.0/8", 100).await;
    Line::new(stranger.tcp(&world, Transport::Mqtt).await).closed().await;
    let kind = "PROXY header refused";
    stranger.told(&mut told, &[kind, "code=proxy_source ", "transport=mqtt"]).await;
    let world = proxied("127.0.0.0/8", 100).await;
    let mut line = Line::new(stranger.tcp(&world, Transport::Mqtt).await);
    line.send(&[b'x'; 64]).await;
    line.closed().await;
    stranger.told(&mut told, &[kind, "code=proxy_header ", "transport=mqtt"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_are_refused_are_told() {
    let (stranger, certs, mut told) = (Stranger::new(4), Certs::new(), 0);
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.ws = Some("127.0.0.1:0".parse().unwrap());
        raw.quic = Some("127.0.0.1:0".parse().unwrap());
        raw.tls.alpn_required = true;
    })
    .await;
    let mut line = Line::new(stranger.tcp(&world, Transport::Mqtts).await);
    line.send(b"\x16\x03\x01\x00\x05rubbish").await;
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut line.io, &mut Vec::new()).await;
    let kind = "TLS handshake refused";
    let parts = [kind, "code=tls_refused ", "transport=mqtts", "detail=\""];
    stranger.told(&mut told, &parts).await;
    drop(stranger.tcp(&world, Transport::Mqtts).await);
    stranger.told(&mut told, &[kind, "code=tls_lost ", "transport=mqtts"]).await;
    let socket = stranger.tcp(&world, Transport::Wss).await;
    drop(tls_over(socket, &Arc::new(certs.client(V13))).await);
    stranger.told(&mut told, &[kind, "code=tls_no_alpn ", "transport=wss"]).await;

    let mut line = Line::new(stranger.tcp(&world, Transport::Ws).await);
    line.send(b"GET /\x1b[2Jadmin HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut line.io, &mut Vec::new()).await;
    let kind = "WebSocket upgrade refused";
    let parts = [kind, "code=websocket_refused ", "transport=ws ", "detail=\"400 Bad Request\""];
    stranger.told(&mut told, &parts).await;
    drop(stranger.tcp(&world, Transport::Ws).await);
    stranger.told(&mut told, &[kind, "code=websocket_lost ", "transport=ws"]).await;

    let mut line = Line::new(stranger.tcp(&world, Transport::Ws).await);
    line.send(
        b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Protocol: mqtt\r\n\r\n\x09\x80\x00\x00\x00\x00",
    )
    .await;
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut line.io, &mut Vec::new()).await;
    let parts = ["connect refused", "code=transport_broken ", "transport=ws"];
    stranger.told(&mut told, &parts).await;

    let at = world.broker.addr(Transport::Quic).unwrap();
    crate::transports::quic::speaks_wrong_protocol(&certs, stranger.0, at).await;
    let parts = ["QUIC handshake refused", "code=quic_refused ", "transport=quic"];
    stranger.told(&mut told, &parts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_names_what_was_shown_and_what_was_proved() {
    let (world, stranger, mut told) = (world().await, Stranger::new(5), 0);
    // Nothing is proved: the id is cut, and its characters end no line.
    let mut connect = plan(&world, "d-1", Version::V5).connect;
    connect.client_id = format!("a\u{1b}[2J\nb{}", "c".repeat(1_000)).as_str().into();
    connect.password = Some(Password::new(b"rubbish"[..].into()));
    let mut line = Line::new(stranger.tcp(&world, Transport::Mqtt).await);
    line.send(&bytes(&Packet::Connect(Box::new(connect)))).await;
    line.closed().await;
    let parts = ["connect refused", "shown_client_id=\"a", "transport=mqtt"];
    let written = stranger.told(&mut told, &parts).await;
    assert!(!written.contains(" client_id="), "{written}");
    assert!(!written.contains('\u{1b}') && written.len() < 400, "{written}");

    // The issuer signed the token, and its key is not proved.
    let mut connect = plan(&world, "d-2", Version::V5).connect;
    let token = world.token("d-2", device_scope("d-2"));
    let proof = world.password("d-2", "d-2~other", token);
    connect.password = Some(Password::new(proof.into()));
    let mut line = Line::new(stranger.tcp(&world, Transport::Mqtt).await);
    line.send(&bytes(&Packet::Connect(Box::new(connect)))).await;
    line.closed().await;
    let parts = ["code=proof_invalid tenant=", "device=d-2 shown_client_id=\"d-2\""];
    stranger.told(&mut told, &parts).await;

    // All is proved, and the will is refused.
    let mut connect = plan(&world, "d-3", Version::V5).will("d/other/status", Properties::new());
    let token = world.token("d-3", device_scope("d-3"));
    connect.connect.password = Some(Password::new(world.password("d-3", "d-3", token).into()));
    let mut line = Line::new(stranger.tcp(&world, Transport::Mqtt).await);
    line.send(&bytes(&Packet::Connect(Box::new(connect.connect)))).await;
    line.closed().await;
    let parts = ["code=will_not_authorised tenant=", "device=d-3 client_id=\"d-3\""];
    let written = stranger.told(&mut told, &parts).await;
    assert!(!written.contains("shown_"), "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_is_not_answered_is_told() {
    let (world, stranger, mut told) = (world().await, Stranger::new(6), 0);
    let mut connect = plan(&world, "d-1", Version::V5).connect;
    let token = world.token("d-1", device_scope("d-1"));
    let mut data = u16::try_from(token.len()).unwrap().to_be_bytes().to_vec();
    data.extend(token);
    let method = Properties::build().text(PropertyId::AuthMethod, "ace");
    connect.properties = method.binary(PropertyId::AuthData, &data).finish().unwrap();
    let connect = bytes(&Packet::Connect(Box::new(connect)));
    for leaves in [true, false] {
        let mut line = Line::new(stranger.tcp(&world, Transport::Mqtt).await);
        line.send(&connect).await;
        assert!(matches!(line.next().await, Some(Packet::Auth(Auth { .. }))));
        if !leaves {
            line.send(b"\xc0\x00").await;
            line.closed().await;
        }
        drop(line);
        let code = if leaves { "code=auth_lost " } else { "code=auth_expected " };
        stranger.told(&mut told, &["connect refused", code, "shown_client_id=\"d-1\""]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_is_refused_is_told_and_what_it_is_allowed_is_not() {
    let (world, stranger, mut told) = (world().await, Stranger::new(7), 0);
    let client = Client::from(&world, stranger.0, Version::V5).await;
    let (mut client, ack) = plan(&world, "d-1", Version::V5).try_over(client).await;
    assert_eq!(ack.unwrap().reason, ReasonCode::SUCCESS);
    assert_eq!(client.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await, ReasonCode(1));
    client.publish_acked("d/d-1/telemetry", b"1").await;
    assert_eq!(stranger.lines(), Vec::<String>::new());

    let known = ["tenant=", "device=d-1 client_id=\"d-1\"", "transport=mqtt"];
    let told_of = |kind, code, topic| {
        let parts: Vec<&str> = known.iter().copied().chain([kind, code, topic]).collect();
        parts
    };
    assert_eq!(client.subscribe("d/#", QoS::AtMostOnce).await, ReasonCode::NOT_AUTHORIZED);
    let parts = told_of("subscribe refused", "code=subscribe_not_authorised ", "topic=\"d/#\"");
    stranger.told(&mut told, &parts).await;
    let long = format!("d/other/{}", "x".repeat(500));
    assert_eq!(client.publish_acked(&long, b"1").await, ReasonCode::NOT_AUTHORIZED);
    let parts = told_of("publish refused", "code=publish_not_authorised ", "topic=\"d/other/");
    let line = stranger.told(&mut told, &parts).await;
    assert!(line.len() < 1_000, "{line}");
    client.publish_acked("$tessera/token", b"rubbish").await;
    let parts = told_of("token request refused", "code=request_malformed ", "");
    stranger.told(&mut told, &parts).await;
    world.advance(3_601);
    client.send(&publish("d/d-1/telemetry", QoS::AtLeastOnce, b"1")).await;
    client.closed().await;
    settle(|| stranger.lines().iter().any(|line| line.contains("connection ended"))).await;
    let lines = stranger.lines();
    let ended = lines.iter().find(|line| line.contains("connection ended by the broker")).unwrap();
    assert!(ended.contains("code=token_expired tenant="), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_breaks_the_protocol_is_told() {
    let (world, stranger) = (world().await, Stranger::new(8));
    let client = Client::from(&world, stranger.0, Version::V311).await;
    let (mut client, _) = plan(&world, "d-1", Version::V311).try_over(client).await;
    client.bytes(b"\x10\x02\x00\x00").await;
    client.closed().await;
    let parts = ["connection ended by the broker", "code=second_connect ", "client_id=\"d-1\""];
    stranger.told(&mut 0, &parts).await;
}

const QUOTA: ReasonCode = ReasonCode::QUOTA_EXCEEDED;
const LARGE: [u8; 10 * 1024] = [7; 10 * 1024];

fn refused(world: &World, what: &str, code: &str) -> u64 {
    world.metric(&format!(r#"tessera_broker_refusals_total{{code="{code}",what="{what}"}}"#))
}

/// A session on `t/poor` of a device whose share another session of it has used up: larger messages are lost to it.
async fn poor(world: &World) -> Client {
    let all = || scope(&[("both", "t/#")]);
    let away = plan(world, "d-2", Version::V5).client_id("d-2~away").scope(all()).kept(600);
    let mut away = away.open().await;
    away.subscribe("t/away", QoS::AtLeastOnce).await;
    drop(away);
    let mut hub = plan(world, "hub", Version::V5).scope(all()).open().await;
    while hub.publish_acked("t/away", &LARGE).await == ReasonCode::SUCCESS {}
    let mut poor = plan(world, "d-2", Version::V5).scope(all()).open().await;
    poor.subscribe("t/poor", QoS::ExactlyOnce).await;
    poor
}

/// The reason that the publisher is told at the end, if it is told anything.
async fn publish_wholly(client: &mut Client, packet: Publish) -> Option<ReasonCode> {
    let qos = packet.qos;
    client.send(&Packet::Publish(packet)).await;
    match qos {
        QoS::AtMostOnce => {
            client.quiet().await;
            return None;
        }
        QoS::AtLeastOnce => return Some(client.acked().await),
        QoS::ExactlyOnce => {}
    }
    assert!(matches!(client.next().await, Some(Packet::PubRec(ack)) if !ack.reason.is_error()));
    client.send(&Packet::PubRel(Ack::new(9, ReasonCode::SUCCESS))).await;
    match client.next().await {
        Some(Packet::PubComp(ack)) => Some(ack.reason),
        other => panic!("expected PUBCOMP, got {other:?}"),
    }
}

/// One line, one count and one code, whatever the QoS, and a reason wherever the answer has one.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_limit_takes_of_a_publish_is_told_in_every_qos() {
    type Limit = fn(&mut RawBrokerConfig);
    let cases: [(&str, Limit, &str); 3] = [
        ("t/poor", |raw| raw.limits.queued_bytes_per_device = 32 * 1024, "limit_reached"),
        ("t/kept", |raw| raw.limits.retained_per_device = 1, "share_used_up"),
        ("t/kept", |raw| raw.limits.retained_messages = 1, "limit_reached"),
    ];
    let mut number = 20;
    for (topic, limit, code) in cases {
        for version in VERSIONS {
            let (world, stranger, mut told) = (world_with(limit).await, Stranger::new(number), 0);
            number += 1;
            let is_kept = topic == "t/kept";
            let _poor = if is_kept { None } else { Some(poor(&world).await) };
            let client = Client::from(&world, stranger.0, version).await;
            let plan = plan(&world, "d-1", version).scope(scope(&[("both", "t/#")]));
            let (mut client, _) = plan.try_over(client).await;
            if is_kept {
                client.send(&crate::client::retained("t/first", b"1")).await;
                assert_eq!(client.acked().await, ReasonCode::SUCCESS);
            }
            let before = refused(&world, "publish", code);
            for (qos, count) in [(QoS::AtMostOnce, 1), (QoS::AtLeastOnce, 2), (QoS::ExactlyOnce, 3)]
            {
                let Packet::Publish(packet) = publish(topic, qos, &LARGE) else { unreachable!() };
                let reason =
                    publish_wholly(&mut client, Publish { retain: is_kept, ..packet }).await;
                let expected = match (qos, version) {
                    (QoS::AtMostOnce, _) => None,
                    (QoS::AtLeastOnce, Version::V5) => Some(QUOTA),
                    _ => Some(ReasonCode::SUCCESS),
                };
                assert_eq!(reason, expected, "{topic} {code} {version:?} {qos:?}");
                let [code_shown, topic_shown] =
                    [format!("code={code} "), format!("topic=\"{topic}\"")];
                let peer = "device=d-1 client_id=\"d-1\"";
                let parts = ["publish refused", &code_shown, peer, &topic_shown];
                stranger.told(&mut told, &parts).await;
                assert_eq!(refused(&world, "publish", code), before + count);
            }
        }
    }
}

/// A will is published like any message: what a limit takes of it is told and counted as of a will.
#[tokio::test(flavor = "multi_thread")]
async fn a_will_that_finds_no_room_among_the_retained_is_counted() {
    let world = world_with(|raw| raw.limits.retained_per_device = 1).await;
    let plan = plan(&world, "d-1", Version::V5).scope(scope(&[("both", "t/#")]));
    let mut client = plan.will("t/will", Properties::new()).retained().open().await;
    client.send(&crate::client::retained("t/first", b"1")).await;
    assert_eq!(client.acked().await, ReasonCode::SUCCESS);
    drop(client);
    until(|| refused(&world, "will", "share_used_up") == 1).await;
    assert_eq!(refused(&world, "publish", "share_used_up"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_beyond_a_share_is_told_with_one_code() {
    for (version, number) in VERSIONS.into_iter().zip(30..) {
        let world = world_with(|raw| raw.limits.subscriptions_per_device = 1).await;
        let (stranger, mut told) = (Stranger::new(number), 0);
        let client = Client::from(&world, stranger.0, version).await;
        let plan = plan(&world, "d-1", version).scope(scope(&[("both", "t/#")]));
        let (mut client, _) = plan.try_over(client).await;
        assert_eq!(client.subscribe("t/1", QoS::AtMostOnce).await, ReasonCode::SUCCESS);
        let expected = if version == Version::V5 { QUOTA } else { ReasonCode::UNSPECIFIED };
        for (filter, count) in [("t/2", 1), ("t/+", 2)] {
            assert_eq!(client.subscribe(filter, QoS::AtMostOnce).await, expected);
            let topic = format!("topic=\"{filter}\"");
            let parts = ["subscribe refused", "code=share_used_up ", &topic];
            stranger.told(&mut told, &parts).await;
            assert_eq!(refused(&world, "subscribe", "share_used_up"), count);
        }
        assert_eq!(refused(&world, "subscribe", "limit_reached"), 0);
    }
}
