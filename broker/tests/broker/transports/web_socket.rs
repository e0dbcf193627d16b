use actix_http::ws::{CloseCode, Codec, Frame, Item, Message, OpCode, Parser};
use bytes::{Bytes, BytesMut};
use tessera_broker::codec::{Packet, ReasonCode};
use tessera_broker::transport::Transport;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::codec::{Decoder, Encoder};

use super::certs::{Certs, V13};
use super::line::{connect, decode, tcp, tls, Line};
use crate::client::until;
use crate::world::{world_with, World};

const UPGRADE: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

struct Web<S> {
    line: Line<S>,
    codec: Codec,
    raw: BytesMut,
}

async fn ws_world() -> World {
    world_with(|raw| raw.ws = Some("127.0.0.1:0".parse().unwrap())).await
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(io: &mut S, request: &str) -> String {
    io.write_all(request.as_bytes()).await.unwrap();
    io.flush().await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(io.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

impl<S: AsyncRead + AsyncWrite + Unpin> Web<S> {
    async fn open(mut io: S) -> Self {
        let answer = answer(&mut io, UPGRADE).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(answer.contains("Sec-WebSocket-Protocol: mqtt\r\n"));
        let codec = Codec::new().client_mode().max_size(1 << 24);
        Self { line: Line::new(io), codec, raw: BytesMut::new() }
    }

    async fn say(&mut self, message: Message) {
        let mut out = BytesMut::new();
        self.codec.encode(message, &mut out).unwrap();
        self.line.send(&out).await;
    }

    async fn binary(&mut self, bytes: &[u8]) {
        self.say(Message::Binary(Bytes::copy_from_slice(bytes))).await;
    }

    async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.codec.decode(&mut self.raw).unwrap() {
                return Some(frame);
            }
            match self.line.io.read_buf(&mut self.raw).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn packet(&mut self) -> Packet {
        loop {
            if let Some(packet) = decode(&mut self.line.inbox) {
                return packet;
            }
            match self.frame().await {
                Some(Frame::Binary(bytes)) => self.line.inbox.extend_from_slice(&bytes),
                other => panic!("expected a binary frame, got {other:?}"),
            }
        }
    }

    async fn connect(&mut self, world: &World, device: &str) {
        self.binary(&connect(world, device)).await;
        let Packet::ConnAck(ack) = self.packet().await else { panic!("no CONNACK") };
        assert_eq!(ack.reason, ReasonCode::SUCCESS);
    }

    async fn closed_with(&mut self, code: CloseCode) {
        match self.frame().await {
            Some(Frame::Close(Some(reason))) => assert_eq!(reason.code, code),
            other => panic!("expected a close frame, got {other:?}"),
        }
        assert!(self.frame().await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_and_frames_need_not_align() {
    let world = ws_world().await;
    let mut web = Web::open(tcp(&world, Transport::Ws).await).await;
    let connect = connect(&world, "d-1");
    let (one, two) = connect.split_at(7);
    web.say(Message::Continuation(Item::FirstBinary(Bytes::copy_from_slice(one)))).await;
    web.say(Message::Ping(Bytes::from_static(b"are you there"))).await;
    assert!(matches!(web.frame().await, Some(Frame::Pong(bytes)) if bytes == "are you there"));
    web.say(Message::Continuation(Item::Continue(Bytes::new()))).await;
    web.say(Message::Continuation(Item::Last(Bytes::copy_from_slice(two)))).await;
    assert!(
        matches!(web.packet().await, Packet::ConnAck(ack) if ack.reason == ReasonCode::SUCCESS)
    );
    web.binary(&[0xc0, 0, 0xc0, 0, 0xc0]).await;
    web.binary(&[0]).await;
    for _ in 0..3 {
        assert!(matches!(web.packet().await, Packet::PingResp));
    }
    // A packet larger than what is taken before authentication.
    let mut publish = vec![0x30, 0x83, 0xa7, 0x02, 0, 13];
    publish.extend_from_slice(b"d/d-1/telemet");
    publish.resize(6 + 37_763 - 2, b'x');
    web.binary(&publish[..20_000]).await;
    web.say(Message::Close(None)).await;
    web.closed_with(CloseCode::Normal).await;
}

/// RFC 6455 sections 5.5.1 and 7.1.1: nothing behind our close frame, and we close, not the peer that waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_close_in_the_same_read_as_a_packet_ends_the_connection() {
    let world = ws_world().await;
    let mut web = Web::open(tcp(&world, Transport::Ws).await).await;
    web.connect(&world, "d-1").await;
    let mut both = BytesMut::new();
    web.codec.encode(Message::Binary(Bytes::from_static(&[0xc0, 0])), &mut both).unwrap();
    web.codec.encode(Message::Close(None), &mut both).unwrap();
    web.line.send(&both).await;
    web.closed_with(CloseCode::Normal).await;
    until(|| world.broker.sockets() == 0).await;
}

/// The same when the last packet ends the connection by itself.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_behind_a_close_frame() {
    let world = ws_world().await;
    let mut web = Web::open(tcp(&world, Transport::Ws).await).await;
    web.connect(&world, "d-1").await;
    let mut both = BytesMut::new();
    // A packet of no kind: DISCONNECT 0x81 would follow.
    web.codec.encode(Message::Binary(Bytes::from_static(&[0x00, 0])), &mut both).unwrap();
    web.codec.encode(Message::Close(None), &mut both).unwrap();
    web.line.send(&both).await;
    web.closed_with(CloseCode::Normal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_too() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    let mut config = certs.client(V13);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut web = Web::open(tls(&world, Transport::Wss, config).await.unwrap()).await;
    web.connect(&world, "d-1").await;
    web.binary(&[0xc0, 0]).await;
    assert!(matches!(web.packet().await, Packet::PingResp));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_resumption_secret_is_told_inside_tls_alone() {
    let certs = Certs::new();
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.ws = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    // SUBSCRIBE, packet id 1, `$tessera/status`, QoS 0.
    let subscribe = [&b"\x82\x15\0\x01\0\0\x0f"[..], b"$tessera/status", b"\0"].concat();
    let told = |packet: Packet| {
        let Packet::Publish(status) = packet else { panic!("no status") };
        let status: serde_json::Value = serde_json::from_slice(&status.payload).unwrap();
        status["resumption"].is_string()
    };
    let mut web = Web::open(tls(&world, Transport::Wss, certs.client(V13)).await.unwrap()).await;
    web.connect(&world, "d-1").await;
    web.binary(&subscribe).await;
    assert!(matches!(web.packet().await, Packet::SubAck(_)));
    assert!(told(web.packet().await));
    let mut web = Web::open(tcp(&world, Transport::Ws).await).await;
    web.connect(&world, "d-2").await;
    web.binary(&subscribe).await;
    assert!(matches!(web.packet().await, Packet::SubAck(_)));
    assert!(!told(web.packet().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_bounded_binary_and_masked() {
    let world = ws_world().await;
    // Only the head of a frame that would be too large: it is not waited for.
    let heads: [(&[u8], CloseCode); 4] = [
        (&[0x82, 0xfe, 0x20, 0x01], CloseCode::Size),
        (&[0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0], CloseCode::Size),
        (&[0x82, 0x01, 0x00], CloseCode::Protocol),
        (&[0xc2, 0x80, 0, 0, 0, 0], CloseCode::Protocol),
    ];
    for (head, code) in heads {
        let mut web = Web::open(tcp(&world, Transport::Ws).await).await;
        web.line.send(head).await;
        web.closed_with(code).await;
    }
    let mut web = Web::open(tcp(&world, Transport::Ws).await).await;
    web.say(Message::Text("hello".into())).await;
    web.closed_with(CloseCode::Unsupported).await;
    // Messages of an authenticated client may be larger, and are bounded too.
    let mut web = Web::open(tcp(&world, Transport::Ws).await).await;
    web.connect(&world, "d-1").await;
    let mut frame = BytesMut::new();
    Parser::write_message(&mut frame, vec![0u8; 400 * 1024], OpCode::Binary, true, true);
    web.line.send(&frame[..14]).await;
    web.closed_with(CloseCode::Size).await;
    while world.broker.sockets() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_no_upgrade_is_answered_and_closed() {
    let world = ws_world().await;
    let long = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(9_000));
    let cases = [
        (UPGRADE.replace("GET", "POST"), "405"),
        (UPGRADE.replace("/mqtt", "/other"), "404"),
        (UPGRADE.replace("Protocol: mqtt", "Protocol: chat"), "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "426"),
        (long, "431"),
        (UPGRADE.replace("\r\n\r\n", &format!("\r\n{}\r\n", "X: y\r\n".repeat(64))), "400"),
        ("\x10\x20rubbish\r\n\r\n".to_owned(), "400"),
    ];
    for (request, status) in cases {
        let mut io = tcp(&world, Transport::Ws).await;
        let answer = answer(&mut io, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
    let rule = r#"tessera_broker_broken_packets_total{rule="websocket_refused"}"#;
    until(|| world.metric(rule) == 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upgrade_is_cut() {
    let world = ws_world().await;
    let mut line = Line::new(tcp(&world, Transport::Ws).await);
    line.send(b"GET /mqtt HTT").await;
    line.closed().await;
    let rule = r#"tessera_broker_broken_packets_total{rule="websocket_too_slow"}"#;
    until(|| world.metric(rule) == 1).await;
}
