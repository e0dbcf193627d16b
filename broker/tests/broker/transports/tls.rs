use std::sync::Arc;

use bytes::Bytes;
use tessera_broker::codec::{
    Packet, Properties, Publish, QoS, ReasonCode, Subscribe, SubscribeOptions, Subscription,
};
use tessera_broker::limits::TLS_HANDSHAKE_BYTES;
use tessera_broker::transport::Transport;
use tessera_runtime::http::{HttpClient, HttpError, HttpLimits};
use tokio::io::AsyncWriteExt;

use super::certs::{p256, Certs, V12, V13};
use super::line::{bytes, connect, settle, tcp, tls, tls_over, Line};
use crate::world::{scope, world_with, World};

const BROKEN: &str = "tessera_broker_broken_packets_total";

fn broken(world: &World, rule: &str) -> u64 {
    world.metric(&format!("{BROKEN}{{rule=\"{rule}\"}}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_carry_sessions_and_large_messages() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    for (device, versions) in [("d-1", V12), ("d-2", V13)] {
        let mut config = certs.client(versions);
        config.alpn_protocols = vec![b"mqtt".to_vec()];
        let io = tls(&world, Transport::Mqtts, config).await.unwrap();
        assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"mqtt"[..]));
        let mut line = Line::new(io);
        assert_eq!(line.connect(&world, device).await, ReasonCode::SUCCESS);
        line.ping().await;
    }
    // A message of many records, there and back.
    let token = world.token("big", scope(&[("both", "d/big/x")]));
    let mut big = crate::client::plan(&world, "big", tessera_broker::codec::Version::V5).connect;
    let password = world.password("big", "big", token);
    big.password = Some(tessera_broker::codec::Password::new(password.into()));
    let mut line = Line::new(tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap());
    line.send(&bytes(&Packet::Connect(Box::new(big)))).await;
    assert!(matches!(line.next().await, Some(Packet::ConnAck(_))));
    let entries =
        vec![Subscription { filter: "d/big/x".into(), options: SubscribeOptions::default() }];
    let subscribe = Subscribe { packet_id: 1, properties: Properties::new(), entries };
    line.send(&bytes(&Packet::Subscribe(subscribe))).await;
    assert!(matches!(line.next().await, Some(Packet::SubAck(_))));
    let payload = Bytes::from((0..200_000u32).map(|n| n as u8).collect::<Vec<_>>());
    let publish = Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "d/big/x".into(),
        packet_id: None,
        properties: Properties::new(),
        payload: payload.clone(),
    });
    for _ in 0..8 {
        line.send(&bytes(&publish)).await;
    }
    for _ in 0..8 {
        let Some(Packet::Publish(back)) = line.next().await else { panic!("no message") };
        assert_eq!(back.payload, payload);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hello_in_single_bytes_is_understood() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    let socket = tcp(&world, Transport::Mqtts).await;
    socket.set_nodelay(true).unwrap();
    let (mut near, far) = tokio::io::duplex(1);
    let (mut reader, mut writer) = socket.into_split();
    tokio::spawn(async move {
        let (mut from, mut to) = tokio::io::split(far);
        let up = async {
            let mut one = [0];
            while tokio::io::AsyncReadExt::read_exact(&mut from, &mut one).await.is_ok() {
                if writer.write_all(&one).await.is_err() {
                    return;
                }
            }
        };
        let down = tokio::io::copy(&mut reader, &mut to);
        tokio::join!(up, down)
    });
    let connector = tokio_rustls::TlsConnector::from(Arc::new(certs.client(V13)));
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut line = Line::new(connector.connect(name, &mut near).await.unwrap());
    assert_eq!(line.connect(&world, "d-1").await, ReasonCode::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_is_cut_at_the_deadline_and_gives_its_place_back() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    let mut line = Line::new(tcp(&world, Transport::Mqtts).await);
    line.send(&[0x16, 0x03, 0x01]).await;
    let mut after = Line::new(tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap());
    line.closed().await;
    after.closed().await;
    // They are closed first and counted then.
    let cut = || (broken(&world, "tls_too_slow"), broken(&world, "connect_too_slow"));
    settle(|| cut() == (1, 1)).await;
    settle(|| world.broker.sockets() == 0).await;
}

/// The beginning of a ClientHello that is to be so long, in records of 16,000 bytes: all but its last byte.
fn endless_hello(long: usize) -> Vec<u8> {
    let mut hello = vec![1];
    hello.extend_from_slice(&(long as u32).to_be_bytes()[1..]);
    hello.resize(4 + long - 1, 0);
    let records = hello.chunks(16_000).map(|part| {
        let long = (part.len() as u16).to_be_bytes();
        [&[0x16, 0x03, 0x01][..], &long, part].concat()
    });
    records.collect::<Vec<_>>().concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_a_handshake_are_bounded() {
    let certs = Certs::new();
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.tls.client_ca = Some(certs.path("ca.pem"));
        raw.tls.client_auth = Some("ca_optional".to_owned());
    })
    .await;
    // One byte less than the limit is waited for, records' headers included.
    let most = usize::try_from(TLS_HANDSHAKE_BYTES).unwrap();
    let hello = endless_hello(65_000);
    let mut waits = Line::new(tcp(&world, Transport::Mqtts).await);
    waits.send(&hello[..most - 1]).await;
    let mut line = Line::new(tcp(&world, Transport::Mqtts).await);
    line.send(&hello).await;
    line.closed().await;
    settle(|| broken(&world, "tls_too_large") == 1).await;
    waits.closed().await;
    settle(|| broken(&world, "tls_too_slow") == 1).await;
    assert_eq!(broken(&world, "tls_too_large"), 1);
    // Certificates of clients have room.
    assert!(works(&world, certs.client_with_long_name(12_000)).await);
    assert!(!works(&world, certs.client_with_long_name(20_000)).await);
    settle(|| broken(&world, "tls_too_large") == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tls_is_refused() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    let mut line = Line::new(tcp(&world, Transport::Mqtts).await);
    line.send(&connect(&world, "d-1")).await;
    // The answer is an alert, no MQTT.
    let mut answer = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut line.io, &mut answer).await;
    settle(|| broken(&world, "tls_refused") == 1).await;
    assert_eq!(world.broker.sessions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn alpn_names_mqtt_or_nothing() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    let with = |names: &[&str]| {
        let mut config = certs.client(V13);
        config.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    };
    assert!(tls(&world, Transport::Mqtts, with(&["http/1.1"])).await.is_err());
    assert!(tls(&world, Transport::Mqtts, with(&["x", "mqtt"])).await.is_ok());
    assert!(tls(&world, Transport::Mqtts, with(&[])).await.is_ok());
    assert!(tls(&world, Transport::Wss, with(&["mqtt"])).await.is_err());

    let strict = world_with(|raw| {
        certs.settings(raw);
        raw.tls.alpn_required = true;
    })
    .await;
    let mut line = Line::new(tls(&strict, Transport::Mqtts, with(&[])).await.unwrap());
    line.closed().await;
    settle(|| broken(&strict, "tls_no_alpn") == 1).await;
    let mut line = Line::new(tls(&strict, Transport::Mqtts, with(&["mqtt"])).await.unwrap());
    assert_eq!(line.connect(&strict, "d-1").await, ReasonCode::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_version_holds() {
    let certs = Certs::new();
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.tls.min_version = Some("1.3".to_owned());
    })
    .await;
    assert!(tls(&world, Transport::Mqtts, certs.client(V12)).await.is_err());
    assert!(tls(&world, Transport::Mqtts, certs.client(V13)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_used_and_open_sessions_stay() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    let shown = |io: &tokio_rustls::client::TlsStream<_>| {
        io.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let old = tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap();
    let first = shown(&old);
    let mut old = Line::new(old);
    assert_eq!(old.connect(&world, "d-1").await, ReasonCode::SUCCESS);

    std::fs::write(certs.path("key.pem"), "no key").unwrap();
    assert!(world.broker.reload_certificates().is_err());
    std::fs::write(certs.path("key.pem"), p256().serialize_pem()).unwrap();
    assert!(world.broker.reload_certificates().is_err(), "a key of another certificate");
    let io = tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap();
    assert_eq!(shown(&io), first);

    let renewed = certs.renew();
    world.broker.reload_certificates().unwrap();
    let io = tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap();
    assert_eq!(shown(&io), renewed);
    assert_ne!(renewed, first);
    old.ping().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_files_are_noticed() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    let renewed = certs.renew();
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, async {
        loop {
            // So many connections in a row without a CONNECT meet the broker's limits, and its clock stands still.
            let Ok(io) = tls(&world, Transport::Mqtts, certs.client(V13)).await else {
                world.advance(1);
                continue;
            };
            if io.get_ref().1.peer_certificates().unwrap()[0] == renewed {
                return;
            }
        }
    })
    .await
    .expect("the files changed and nobody looked");
}

async fn works(world: &World, config: rustls::ClientConfig) -> bool {
    let Ok(io) = tls(world, Transport::Mqtts, config).await else { return false };
    let mut line = Line::new(io);
    line.send(&connect(world, "d-1")).await;
    line.next().await.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_decide_about_client_certificates() {
    let certs = Certs::new();
    let settings = |auth: &'static str| {
        let (certs, ca) = (&certs, certs.path("ca.pem"));
        move |raw: &mut tessera_broker::RawBrokerConfig| {
            certs.settings(raw);
            raw.tls.client_ca = Some(ca);
            raw.tls.client_auth = Some(auth.to_owned());
        }
    };
    let world = world_with(settings("ca")).await;
    assert!(!works(&world, certs.client(V13)).await, "no certificate");
    assert!(!works(&world, certs.client_with(p256(), true)).await, "its own certificate");
    let stranger = Certs::new();
    let mut config = certs.builder(V13).with_no_client_auth();
    config.client_auth_cert_resolver =
        stranger.client_with(p256(), false).client_auth_cert_resolver;
    assert!(!works(&world, config).await, "a certificate of another authority");
    assert!(works(&world, certs.client_with(p256(), false)).await);

    let world = world_with(settings("ca_optional")).await;
    assert!(works(&world, certs.client(V13)).await);
    assert!(!works(&world, certs.client_with(p256(), true)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_handshakes_are_bounded() {
    let certs = Certs::new();
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.limits.half_open = 2;
    })
    .await;
    let config = Arc::new(certs.client(V13));
    let held = [tcp(&world, Transport::Mqtts).await, tcp(&world, Transport::Mqtts).await];
    settle(|| world.broker.sockets() == 2).await;
    assert!(tls_over(tcp(&world, Transport::Mqtts).await, &config).await.is_err());
    assert_eq!(world.metric(r#"tessera_broker_turned_away_total{limit="half_open"}"#), 1);
    drop(held);
    settle(|| world.broker.sockets() == 0).await;
    assert!(tls_over(tcp(&world, Transport::Mqtts).await, &config).await.is_ok());
}

/// The status and the body of `/readyz`.
async fn readyz(world: &World) -> (u16, serde_json::Value) {
    let url = format!("http://{}", world.broker.http_addr);
    let client = HttpClient::new(&url, None, HttpLimits::default()).unwrap();
    let response = match client.get("/readyz").await {
        Ok(response) => response,
        Err(HttpError::Status { response, .. }) => *response,
        Err(error) => panic!("{error}"),
    };
    (response.status, response.json().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_tells_of_certificates_that_ended_or_are_not_used() {
    let certs = Certs::new();
    certs.ends_after_days(10);
    let world = world_with(|raw| certs.settings(raw)).await;
    assert_eq!(readyz(&world).await, (200, serde_json::json!({ "status": "ready" })));
    std::fs::write(certs.path("key.pem"), "rubbish").unwrap();
    assert!(world.broker.reload_certificates().is_err());
    let (status, body) = readyz(&world).await;
    assert_eq!((status, &body["status"]), (200, &"ready".into()), "{body}");
    let warning = &body["warnings"][0];
    assert_eq!(warning["part"], "tls", "{body}");
    assert!(warning["why"].as_str().unwrap().contains("key.pem"), "{body}");
    world.advance(11 * 86_400);
    let (status, body) = readyz(&world).await;
    assert_eq!((status, &body["part"]), (503, &"tls".into()), "{body}");
    assert_eq!(body["reasons"].as_array().unwrap().len(), 1, "{body}");
    certs.renew();
    world.broker.reload_certificates().unwrap();
    assert_eq!(readyz(&world).await, (200, serde_json::json!({ "status": "ready" })));
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_every_reason() {
    let world = world_with(|_| {}).await;
    // The feed is silent beyond every budget.
    world.advance_alone(3 * 86_400);
    let (status, body) = readyz(&world).await;
    assert_eq!((status, &body["code"]), (503, &"trust_stale".into()), "{body}");
    assert_eq!(body["reasons"][0]["part"], "trust", "{body}");
}
