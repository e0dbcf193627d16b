//! Limits on unauthenticated peers over QUIC.

use std::collections::HashSet;
use std::future::Future;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionError, TransportConfig};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::NamedGroup;
use tessera_broker::codec::ReasonCode;
use tessera_broker::limits::{MAX_PACKET_BEFORE_AUTH, QUIC_UNPROVED};

use super::{at, config, endpoint, quic_world, shake, udp, Peer};
use crate::transports::certs::{Certs, V13};
use crate::transports::line::settle;
use crate::world::World;

fn broken(world: &World, rule: &str) -> u64 {
    world.metric(&format!(r#"tessera_broker_broken_packets_total{{rule="{rule}"}}"#))
}

#[tokio::test(flavor = "multi_thread")]
async fn alpn_names_mqtt() {
    let certs = Certs::new();
    let world = quic_world(&certs, |_| {}).await;
    let shaken = async |names: &[&str]| {
        let mut tls = certs.client(V13);
        tls.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        shake(&endpoint(config(tls)), &world).await
    };
    assert!(matches!(shaken(&["h3"]).await, Err(ConnectionError::ConnectionClosed(_))));
    assert!(shaken(&["x", "mqtt"]).await.is_ok());
    settle(|| broken(&world, "quic_refused") == 1).await;
    // A client that names nothing at all.
    let tls = certs.client(V13);
    let bare = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let bare = endpoint(quinn::ClientConfig::new(Arc::new(bare)));
    assert!(matches!(shake(&bare, &world).await, Err(ConnectionError::ConnectionClosed(_))));
    settle(|| broken(&world, "quic_refused") == 2).await;
}

/// Keeps no ticket and counts them.
#[derive(Default, Debug)]
struct Tickets(AtomicUsize);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_before_the_handshake_and_no_session_is_taken_up() {
    let certs = Certs::new();
    let world = quic_world(&certs, |_| {}).await;
    let mut tls = certs.client(V13);
    tls.enable_early_data = true;
    let tickets = Arc::new(Tickets::default());
    tls.resumption = Resumption::store(tickets.clone());
    let endpoint = endpoint(config(tls));
    for _ in 0..2 {
        let connecting = endpoint.connect(at(&world), "localhost").unwrap();
        let Err(connecting) = connecting.into_0rtt() else { panic!("early data is taken") };
        let connection = connecting.await.unwrap();
        let (send, receive) = connection.open_bi().await.unwrap();
        let mut line = crate::transports::line::Line::new(tokio::io::join(receive, send));
        assert_eq!(line.connect(&world, "d-1").await, ReasonCode::SUCCESS);
        line.ping().await;
    }
    // They would have come before the CONNACK.
    assert_eq!(tickets.0.load(Ordering::SeqCst), 0);
}

/// Whether it comes about while the connection does something else, there and back.
async fn comes_about(peer: &mut Peer, what: impl Future) -> bool {
    tokio::select! {
        biased;
        _ = what => true,
        () = async { for _ in 0..3 { peer.line.ping().await } } => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_stream_and_nothing_else() {
    let certs = Certs::new();
    let world = quic_world(&certs, |_| {}).await;
    let mut peer = Peer::connected(&world, &certs, "d-1").await;
    let connection = peer.connection.clone();
    assert!(!comes_about(&mut peer, connection.open_bi()).await, "a second stream");
    assert!(!comes_about(&mut peer, connection.open_uni()).await, "a stream of one direction");
    assert_eq!(connection.max_datagram_size(), None);
    peer.line.ping().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stays_silent_is_cut_at_the_deadline_and_gives_its_place_back() {
    let certs = Certs::new();
    let world = quic_world(&certs, |_| {}).await;
    // Neither is looked at twice, nor answered.
    let stranger = udp("127.0.0.1");
    stranger.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    stranger.send_to(&[0x30; 1_200], at(&world)).unwrap();
    let no_stream = shake(&endpoint(config(certs.client(V13))), &world).await.unwrap();
    let mut no_packet = Peer::new(&world, &certs).await;
    no_packet.line.send(&[0x10]).await;
    settle(|| world.broker.half_open() == 2).await;
    no_packet.line.closed().await;
    assert!(matches!(no_stream.closed().await, ConnectionError::ApplicationClosed(_)));
    settle(|| world.broker.sockets() == 0).await;
    let cut = || (broken(&world, "quic_too_slow"), broken(&world, "connect_too_slow"));
    settle(|| cut() == (1, 1)).await;
    assert!(stranger.recv(&mut [0; 1_500]).is_err(), "a packet that is no QUIC was answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_packet_that_is_too_large_or_no_connect_is_cut() {
    let certs = Certs::new();
    let world = quic_world(&certs, |_| {}).await;
    let [low, high] = [MAX_PACKET_BEFORE_AUTH % 128 + 128, MAX_PACKET_BEFORE_AUTH / 128];
    for (bytes, rule) in [
        (&[0x10, low as u8, high as u8][..], "packet_too_large"),
        (&[0xc0, 0], "first_packet_not_connect"),
    ] {
        let mut peer = Peer::new(&world, &certs).await;
        peer.line.send(bytes).await;
        peer.line.closed().await;
        settle(|| broken(&world, rule) == 1).await;
    }
    settle(|| world.broker.sockets() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_bounded_and_given_back() {
    let certs = Certs::new();
    let world = quic_world(&certs, |raw| raw.limits.sockets_per_prefix = 1).await;
    let first = Peer::connected(&world, &certs, "d-1").await;
    // Turned away without a word, it asks again by itself.
    let second = endpoint(config(certs.client(V13)));
    let second = second.connect(at(&world), "localhost").unwrap();
    let turned = || world.metric(r#"tessera_broker_turned_away_total{limit="prefix_sockets"}"#);
    settle(|| turned() >= 1).await;
    assert_eq!(world.broker.sockets(), 1);
    first.connection.close(0u32.into(), b"");
    second.await.unwrap();
}

/// First packets of clients that will never hear an answer.
async fn spoofed(certs: &Certs, sink: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    let client = endpoint(config(certs.client(V13)));
    let target = sink.local_addr().unwrap();
    let mut held = Vec::new();
    let (mut seen, mut packets) = (HashSet::new(), Vec::new());
    sink.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for _ in 0..count {
        held.push(client.connect(target, "localhost").unwrap());
        let mut packet = vec![0; 1_500];
        loop {
            let length = sink.recv(&mut packet).unwrap();
            let id = packet[6..6 + usize::from(packet[5])].to_vec();
            if seen.insert(id) {
                packet.truncate(length);
                packets.push(packet);
                break;
            }
        }
    }
    packets
}

#[tokio::test(flavor = "multi_thread")]
async fn spoofed_packets_cost_a_retry_and_are_held_against_nobody() {
    let certs = Certs::new();
    // A suspect prefix would get one of these a second, and the clock stands still.
    let world = quic_world(&certs, |raw| raw.limits.suspects_per_second = 1).await;
    let unproved = || world.metric(r#"tessera_broker_limits_hit_total{limit="quic_unproved"}"#);
    let sink = udp("127.0.0.1");
    let spoofed = spoofed(&certs, &sink, 3 * QUIC_UNPROVED).await;
    let mut sent = 0;
    // As many at once as a socket surely holds; they are to be there before the first deadline.
    for packets in spoofed.chunks(16) {
        for packet in packets {
            sink.send_to(packet, at(&world)).unwrap();
        }
        sent += packets.len();
        settle(|| world.broker.half_open() + unproved() as usize == sent).await;
    }
    assert_eq!(world.broker.half_open(), QUIC_UNPROVED);
    // A peer with a true address is asked for a token and gets in.
    let mut peer = Peer::connected(&world, &certs, "d-1").await;
    peer.line.ping().await;
    // More than once when its first packet was slow to be answered, and it sent it again.
    assert!(unproved() > 2 * QUIC_UNPROVED as u64);
    // Its deadline takes away what the spoofed ones held, without a strike against the prefix.
    settle(|| world.broker.half_open() == 0).await;
    assert_eq!(broken(&world, "quic_too_slow"), QUIC_UNPROVED as u64);
    for device in ["d-2", "d-3", "d-4"] {
        Peer::connected(&world, &certs, device).await.line.ping().await;
    }
    assert_eq!(world.metric(r#"tessera_broker_turned_away_total{limit="suspect_rate"}"#), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_change_within_its_network_and_not_leave_it() {
    let certs = Certs::new();
    let world = quic_world(&certs, |_| {}).await;
    let mut peer = Peer::connected(&world, &certs, "d-1").await;
    peer.endpoint.rebind(udp("127.0.0.77")).unwrap();
    peer.line.ping().await;
    peer.endpoint.rebind(udp("127.9.9.9")).unwrap();
    peer.line.send(&[0xc0, 0]).await;
    peer.line.closed().await;
    assert_eq!(peer.closed_with().await, 1);
    settle(|| world.broker.sockets() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_of_two_keep_alives_ends_a_connection_that_named_none() {
    let certs = Certs::new();
    // The broker's clock stands still: MQTT's own deadline never comes.
    let world = quic_world(&certs, |raw| raw.limits.keep_alive = 3).await;
    let mut patient = TransportConfig::default();
    patient.max_idle_timeout(None);
    let mut client = config(certs.client(V13));
    client.transport_config(patient.into());
    let mut peer = Peer::over(endpoint(client), &world).await.unwrap();
    assert_eq!(peer.line.connect(&world, "d-1").await, ReasonCode::SUCCESS);
    assert_eq!(world.broker.sockets(), 1);
    settle(|| world.broker.sockets() == 0).await;
    let ended = r#"tessera_broker_connections_ended_total{why="lost"}"#;
    settle(|| world.metric(ended) == 1).await;
}
