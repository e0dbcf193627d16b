use tessera_broker::codec::ReasonCode;
use tessera_broker::transport::Transport;

use super::certs::{Certs, V13};
use super::line::{settle, tcp, tls_over, Line};
use crate::world::{world_with, World};

pub fn header(from: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    header.extend_from_slice(&from);
    header.extend_from_slice(&[10, 0, 0, 1, 0x30, 0x39, 0x07, 0x5b]);
    header
}

pub async fn proxied(from: &'static str, limit: usize) -> World {
    world_with(|raw| {
        raw.proxy.listeners = vec!["mqtt".to_owned()];
        raw.proxy.from = vec![from.to_owned()];
        raw.limits.sockets_per_prefix = limit;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_that_the_balancer_names_is_the_one_that_counts() {
    let world = proxied("127.0.0.0/8", 1).await;
    let mut lines = Vec::new();
    for (n, device) in (1..=3).zip(["d-1", "d-2", "d-3"]) {
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        line.send(&header([192, 0, n, 1])).await;
        assert_eq!(line.connect(&world, device).await, ReasonCode::SUCCESS);
        lines.push(line);
    }
    let mut same = Line::new(tcp(&world, Transport::Mqtt).await);
    same.send(&header([192, 0, 2, 77])).await;
    same.closed().await;
    assert_eq!(world.metric(r#"tessera_broker_turned_away_total{limit="prefix_sockets"}"#), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_missing_and_late_headers_are_closed() {
    let world = proxied("10.0.0.0/8", 100).await;
    let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
    line.send(&header([192, 0, 2, 1])).await;
    line.closed().await;
    assert_eq!(world.metric(r#"tessera_broker_turned_away_total{limit="proxy_source"}"#), 1);

    let world = proxied("127.0.0.1", 100).await;
    let mut bare = Line::new(tcp(&world, Transport::Mqtt).await);
    bare.send(&super::line::connect(&world, "d-1")).await;
    bare.closed().await;
    let mut silent = Line::new(tcp(&world, Transport::Mqtt).await);
    silent.send(b"\r\n\r\n").await;
    silent.closed().await;
    let count = || world.metric(r#"tessera_broker_broken_packets_total{rule="proxy_header"}"#);
    settle(|| count() == 2).await;
    assert_eq!(world.broker.sockets(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_begins_behind_the_header() {
    let certs = Certs::new();
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.proxy.listeners = vec!["mqtts".to_owned()];
        raw.proxy.from = vec!["127.0.0.1/32".to_owned()];
    })
    .await;
    let mut socket = tcp(&world, Transport::Mqtts).await;
    tokio::io::AsyncWriteExt::write_all(&mut socket, &header([192, 0, 2, 1])).await.unwrap();
    let config = std::sync::Arc::new(certs.client(V13));
    let mut line = Line::new(tls_over(socket, &config).await.unwrap());
    assert_eq!(line.connect(&world, "d-1").await, ReasonCode::SUCCESS);
}

/// The line of version 1, as nginx sends it, is as good as version 2.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_names_the_client_too() {
    let world = proxied("127.0.0.0/8", 1).await;
    let mut lines = Vec::new();
    for (n, device) in (1..=2).zip(["d-1", "d-2"]) {
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        for byte in format!("PROXY TCP4 192.0.{n}.1 10.0.0.1 40000 1883\r\n").as_bytes() {
            line.send(&[*byte]).await;
        }
        assert_eq!(line.connect(&world, device).await, ReasonCode::SUCCESS);
        lines.push(line);
    }
    let mut third = Line::new(tcp(&world, Transport::Mqtt).await);
    third.send(b"PROXY TCP4 192.0.1.9 10.0.0.1 40000 1883\r\n").await;
    third.closed().await;
    assert_eq!(world.metric(r#"tessera_broker_turned_away_total{limit="prefix_sockets"}"#), 1);
    let mut broken = Line::new(tcp(&world, Transport::Mqtt).await);
    broken.send(b"PROXY TCP4 192.0.5.1 10.0.0.1 99999 1883\r\n").await;
    broken.closed().await;
    let count = || world.metric(r#"tessera_broker_broken_packets_total{rule="proxy_header"}"#);
    settle(|| count() == 1).await;
}

async fn upgrade(world: &World, forwarded: &str) -> Option<tokio::net::TcpStream> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tcp(world, Transport::Ws).await;
    let request = format!(
        "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Forwarded-For: {forwarded}\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.ok()?;
    let mut begin = [0; 12];
    socket.read_exact(&mut begin).await.ok()?;
    (&begin == b"HTTP/1.1 101").then_some(socket)
}

async fn behind_http(trusted: &'static str) -> World {
    world_with(|raw| {
        raw.ws = Some("127.0.0.1:0".parse().unwrap());
        raw.proxy.trusted = vec![trusted.to_owned()];
        raw.limits.sockets_per_prefix = 1;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_names_the_client_of_a_web_socket() {
    let world = behind_http("127.0.0.1").await;
    let turned = || world.metric(r#"tessera_broker_turned_away_total{limit="prefix_sockets"}"#);
    let held = (
        upgrade(&world, "192.0.1.1").await.unwrap(),
        upgrade(&world, "203.0.113.5, 192.0.2.1").await.unwrap(),
    );
    settle(|| world.broker.sockets() == 2).await;
    let _third = upgrade(&world, "192.0.1.9").await;
    settle(|| turned() == 1).await;
    // An entry that the client wrote in front of it does not count.
    let _fourth = upgrade(&world, "198.51.100.1, 192.0.2.7").await;
    settle(|| turned() == 2).await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_says_of_itself_counts_for_nothing() {
    let world = behind_http("10.0.0.0/8").await;
    let _held = upgrade(&world, "192.0.1.1").await.unwrap();
    assert!(upgrade(&world, "192.0.2.1").await.is_none());
    assert_eq!(world.metric(r#"tessera_broker_turned_away_total{limit="prefix_sockets"}"#), 1);
}
