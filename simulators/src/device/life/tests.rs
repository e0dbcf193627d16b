use std::sync::Arc;

use tessera_runtime::clock::ManualClock;
use tessera_runtime::random::SystemRandom;
use tessera_token::messages::{AceError, RefusalAnswer, TokenAnswer};
use tessera_token::refusal::RefusalCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::device::tests::{answer, identity, NOW};

struct Idle;

impl Duty for Idle {
    fn filters(&self) -> Vec<String> {
        Vec::new()
    }

    fn message(&mut self, topic: &str, _: &[u8], _: &Tally) {
        panic!("{topic}");
    }

    fn tick(&mut self, _: &Link, _: &Tally) {}
}

/// The broker's end of a connection of MQTT 3.1.1.
struct Line(TcpStream);

impl Line {
    /// First byte and body of the next packet; only a broken device lets it run out of patience.
    async fn packet(&mut self) -> (u8, Vec<u8>) {
        let packet = tokio::time::timeout(limits::KEEP_ALIVE / 2, self.any_packet());
        packet.await.expect("the device says nothing")
    }

    async fn any_packet(&mut self) -> (u8, Vec<u8>) {
        let first = self.0.read_u8().await.unwrap();
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = usize::from(self.0.read_u8().await.unwrap());
            length |= (byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        (first, body)
    }

    /// Lets the device in, with its only subscription.
    async fn welcome(&mut self) {
        assert_eq!(self.packet().await.0, 0x10);
        self.0.write_all(&[0x20, 2, 0, 0]).await.unwrap();
        let (first, body) = self.packet().await;
        assert_eq!(first, 0x82);
        self.0.write_all(&[0x90, 3, body[0], body[1], 1]).await.unwrap();
    }

    /// Takes what is published with QoS 1 on the topic of tokens.
    async fn published(&mut self) -> Vec<u8> {
        let (first, body) = self.packet().await;
        let rest = body[2..].strip_prefix(TOKEN_TOPIC.as_bytes()).unwrap();
        assert_eq!(first, 0x32);
        self.0.write_all(&[0x40, 2, rest[0], rest[1]]).await.unwrap();
        rest[2..].to_vec()
    }

    async fn no_room(&mut self) {
        let refusal =
            RefusalAnswer::new(AceError::InvalidRequest, RefusalCode::LimitReached, NOW).to_cbor();
        let mut packet = vec![0x30, u8::try_from(2 + TOKEN_TOPIC.len() + refusal.len()).unwrap()];
        assert!(packet[1] < 0x80);
        packet.extend_from_slice(&[0, u8::try_from(TOKEN_TOPIC.len()).unwrap()]);
        packet.extend_from_slice(TOKEN_TOPIC.as_bytes());
        packet.extend_from_slice(&refusal);
        self.0.write_all(&packet).await.unwrap();
    }
}

/// Answers one request over REST.
async fn give(service: &TcpListener, body: &[u8]) {
    let (mut socket, _) = service.accept().await.unwrap();
    let mut seen = Vec::new();
    loop {
        socket.read_buf(&mut seen).await.unwrap();
        let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        if seen.len() >= head.len() + 4 + length.parse::<usize>().unwrap() {
            break;
        }
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(body).await.unwrap();
}

#[tokio::test]
async fn a_device_that_finds_no_room_asks_over_rest_and_hands_its_token_in() {
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let identity = identity();
    let first = answer(&identity);
    let next = TokenAnswer { expires_in: 3600, ..answer(&identity) };
    let old = HeldToken {
        received: NOW.minus(50),
        expires: NOW.plus(10),
        bytes: vec![1],
        ..HeldToken::of(&first)
    };
    let clock = DeviceClock::new(ManualClock::at(NOW), 0);
    let device = Device::new(identity, clock, SystemRandom::shared(), Habits::default(), old);
    let tally = Arc::new(Tally::default());
    let world = World {
        broker: Broker::parse(&broker.local_addr().unwrap().to_string()).unwrap(),
        api: DeviceApi::new(format!("http://{}", service.local_addr().unwrap())).unwrap(),
        tally: Arc::clone(&tally),
        gangway: Arc::new(Semaphore::new(1)),
    };
    let stop = Stop::new();
    let life = tokio::spawn(device.live(Box::new(Idle), world, stop.clone()));
    let mut line = Line(broker.accept().await.unwrap().0);
    line.welcome().await;
    assert_ne!(line.published().await, next.access_token);
    line.no_room().await;
    give(&service, &next.to_cbor()).await;
    // Until the broker has room for it.
    for _ in 0..2 {
        assert_eq!(line.published().await, next.access_token);
        line.no_room().await;
    }
    assert_eq!(line.published().await, next.access_token);
    stop.trigger();
    life.await.unwrap();
    assert_eq!(tally.report(1, 1, Duration::ZERO).failures_by_code, Default::default());
    assert_eq!((tally.asked_twice.get(), tally.refreshes.get()), (1, 1));
    assert_eq!(tally.refreshed_by_mqtt.get(), 0);
}
