//! Peers before authentication: limits, malformed bytes, readiness, DISCONNECT.

use std::net::Ipv4Addr;
use std::time::Duration;

use tessera_broker::codec::{Packet, ReasonCode, Version};
use tessera_runtime::http::{HttpClient, HttpLimits};

use crate::client::{plan, until, Client};
use crate::world::{backend_scope, world, world_with, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_first_packet_that_is_no_connect_is_closed_without_an_answer() {
    let world = world().await;
    let firsts: [&[u8]; 6] = [
        &[0xc0, 0x00],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16, 0x03, 0x01, 0x02, 0x00],
        &[0x30, 0x05, 0, 1, b'a', 0, 0],
        &[0xf0, 0x00],
        &[0x10, 0xff, 0xff, 0xff, 0x7f],
    ];
    for first in firsts {
        let mut client = Client::raw(&world, Version::V5).await;
        client.bytes(first).await;
        assert!(client.next().await.is_none(), "{first:?}");
    }
    assert_eq!(world.broker.sessions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_we_do_not_speak_are_told() {
    let world = world().await;
    let connect = |name: &[u8], level: u8| {
        let mut body = vec![0, name.len() as u8];
        body.extend_from_slice(name);
        body.extend_from_slice(&[level, 2, 0, 0, 0, 1, b'a']);
        [&[0x10, body.len() as u8][..], &body].concat()
    };
    let cases: [(&[u8], u8, Version, &str); 3] = [
        (b"MQIsdp", 3, Version::V311, "1"),
        (b"MQTT", 3, Version::V311, "1"),
        (b"MQTT", 6, Version::V5, "0x84"),
    ];
    for (name, level, version, _) in cases {
        let mut client = Client::raw(&world, version).await;
        client.bytes(&connect(name, level)).await;
        let Some(Packet::ConnAck(ack)) = client.next().await else { panic!("{level}") };
        assert_eq!(ack.reason, ReasonCode::UNSUPPORTED_VERSION);
        client.closed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_sockets_are_bounded_and_given_back() {
    let world = world_with(|raw| raw.limits.half_open = 3).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = Client::raw(&world, Version::V5).await;
        client.bytes(&[0x10]).await;
        held.push(client);
    }
    while world.broker.sockets() < 3 {
        tokio::task::yield_now().await;
    }
    let mut turned = Client::raw(&world, Version::V5).await;
    turned.closed().await;
    assert_eq!(world.metric(r#"tessera_broker_turned_away_total{limit="half_open"}"#), 1);
    drop(held);
    while world.broker.sockets() > 0 {
        tokio::task::yield_now().await;
    }
    let mut kept = Vec::new();
    for n in 0..6 {
        kept.push(plan(&world, &format!("d-{n}"), Version::V5).open().await);
    }
    assert_eq!(world.broker.sessions(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_says_nothing_is_closed() {
    let world = world().await;
    let mut client = Client::raw(&world, Version::V5).await;
    client.bytes(&[0x10, 0x50, 0x00]).await;
    client.closed().await;
    assert_eq!(world.metric(r#"tessera_broker_broken_packets_total{rule="connect_too_slow"}"#), 1);
}

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 99);

fn turned(world: &World, limit: &str) -> u64 {
    world.metric(&format!(r#"tessera_broker_turned_away_total{{limit="{limit}"}}"#))
}

/// A first packet that is no CONNECT, closed before the next step.
async fn rubbish(world: &World, from: Ipv4Addr) {
    let mut client = Client::from(world, from, Version::V5).await;
    client.bytes(&[0xc0, 0x00]).await;
    client.closed().await;
    until(|| world.broker.half_open() == 0).await;
}

async fn gets_in(world: &World, name: &str, from: Ipv4Addr) -> bool {
    let client = Client::from(world, from, Version::V5).await;
    let (_client, ack) = plan(world, name, Version::V5).try_over(client).await;
    ack.is_some_and(|ack| ack.reason == ReasonCode::SUCCESS)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_prefix_leaves_others_served_and_its_honest_neighbours_too() {
    // One socket of suspects in each window of 200 ms.
    let world = world_with(|raw| raw.limits.suspects_per_second = 5).await;
    let mut held = plan(&world, "d-1", Version::V5).open().await;
    for _ in 0..tessera_broker::limits::STRIKES_MOST {
        rubbish(&world, ATTACKER).await;
        if turned(&world, "suspect_rate") > 0 {
            break;
        }
    }
    // Sixteen strikes, then one of suspects, then nothing more at this time.
    assert_eq!(turned(&world, "suspect_rate"), 1);
    let unread = r#"tessera_broker_broken_packets_total{rule="first_packet_not_connect"}"#;
    let read = u64::from(tessera_broker::limits::SUSPECT_STRIKES) + 1;
    assert_eq!(world.metric(unread), read);
    assert!(!gets_in(&world, "d-2", NEIGHBOUR).await);
    assert_eq!(turned(&world, "suspect_rate"), 2);
    // Others notice nothing.
    plan(&world, "d-3", Version::V5).open().await;
    held.quiet().await;
    // The neighbour tries again; the attacker goes on all the time.
    let mut tries = 1;
    while !gets_in(&world, "d-2", NEIGHBOUR).await {
        world.clock.advance(tessera_broker::limits::SUSPECT_WINDOW);
        rubbish(&world, ATTACKER).await;
        tries += 1;
        assert!(tries < 40);
    }
    held.quiet().await;
}

/// A feed that is too old is the broker's own trouble: clients that connect meanwhile are not suspects afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_for_want_of_fresh_trust_are_no_strikes() {
    let world = world_with(|raw| raw.limits.suspects_per_second = 5).await;
    world.advance_alone(631);
    let tries = 2 * u64::from(tessera_broker::limits::SUSPECT_STRIKES);
    for _ in 0..tries {
        let hub = plan(&world, "hub", Version::V5).scope(backend_scope());
        assert_eq!(hub.refused().await, ReasonCode::NOT_AUTHORIZED);
    }
    let stale = r#"tessera_broker_refusals_total{code="trust_stale",what="connect"}"#;
    assert_eq!((world.metric(stale), turned(&world, "suspect_rate")), (tries, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_are_ours_are_no_strikes() {
    let world = world_with(|raw| {
        raw.limits.sessions = 1;
        raw.limits.suspects_per_second = 5;
    })
    .await;
    let mut held = plan(&world, "d-1", Version::V5).open().await;
    for _ in 0..2 * tessera_broker::limits::SUSPECT_STRIKES {
        assert_eq!(plan(&world, "d-2", Version::V5).refused().await, ReasonCode::SERVER_BUSY);
    }
    assert_eq!(turned(&world, "suspect_rate"), 0);
    held.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_silent_socket_makes_room() {
    let world = world_with(|raw| raw.limits.half_open = 2).await;
    let mut oldest = Client::raw(&world, Version::V5).await;
    until(|| world.broker.sockets() == 1).await;
    world.clock.advance(tessera_broker::limits::SILENT_AT_LEAST);
    let _younger = Client::raw(&world, Version::V5).await;
    until(|| world.broker.sockets() == 2).await;
    let mut honest = plan(&world, "d-1", Version::V5).open().await;
    oldest.closed().await;
    // It is closed first and counted then.
    until(|| turned(&world, "made_room") == 1).await;
    assert_eq!(turned(&world, "half_open"), 0);
    honest.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_readiness_and_metrics_are_served() {
    let world = world().await;
    let url = format!("http://{}", world.broker.http_addr);
    let http = HttpClient::new(&url, None, HttpLimits::default()).unwrap();
    assert_eq!(http.get("/healthz").await.unwrap().status, 200);
    assert_eq!(http.get("/readyz").await.unwrap().status, 200);
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    client.quiet().await;
    let text = http.get("/metrics").await.unwrap().text();
    assert!(text.contains(r#"tessera_broker_sessions{state="connected"} 1"#), "{text}");
    assert!(http.get("/").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_every_task_and_sees_off_those_who_leave() {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    let world = world().await;
    let mut there = plan(&world, "d-1", Version::V5).open().await;
    // One that leaves at the same moment.
    drop(plan(&world, "d-2", Version::V5).kept(3600).open().await);
    let left = world.stop.finish(Duration::from_secs(10)).await;
    assert_eq!(left, Vec::<String>::new());
    there.ended_with(ReasonCode::SERVER_SHUTTING_DOWN).await;
    assert_eq!(world.broker.sockets(), 0);
    // The last ones have told their end and are put away; none goes on.
    until(|| alive() == before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_says_goodbye_and_leaves_nothing() {
    // An address at which nothing else on this machine listens, whatever port is taken meanwhile.
    let world = world_with(|raw| raw.mqtt = Some("127.0.19.1:0".parse().unwrap())).await;
    let mut v5 = plan(&world, "d-1", Version::V5).open().await;
    let mut v311 = plan(&world, "d-2", Version::V311).open().await;
    let left = world.stop.finish(Duration::from_secs(10)).await;
    assert_eq!(left, Vec::<String>::new());
    v5.ended_with(ReasonCode::SERVER_SHUTTING_DOWN).await;
    v311.ended_with(ReasonCode::SERVER_SHUTTING_DOWN).await;
    assert!(!world.broker.is_ready());
    assert!(tokio::net::TcpStream::connect(world.mqtt()).await.is_err());
}
