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
