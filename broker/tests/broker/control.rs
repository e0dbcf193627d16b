//! `$tessera/…`: status, refreshed tokens, alerts.

use std::net::SocketAddr;

use serde_json::Value;
use tessera_broker::codec::{Properties, PropertyId, QoS, ReasonCode, SubscribeOptions, Version};
use tessera_broker::RawBrokerConfig;
use tessera_token::messages::{RefusalAnswer, TokenAnswer, TokenKind, TokenRequest};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;
use tessera_token::seal::OpeningKey;
use tessera_token::time::UnixSeconds;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::client::{plan, retained, until, Client, VERSIONS};
use crate::world::{
    backend_scope, device_id, device_key, device_scope, scope, tenant, world, world_with, World,
    NOW,
};

const TOKEN: &str = "$tessera/token";
const STATUS: &str = "$tessera/status";

async fn status(client: &mut Client) -> Value {
    let message = client.message().await;
    assert_eq!(&*message.topic, STATUS);
    serde_json::from_slice(&message.payload).unwrap()
}

async fn refusal(client: &mut Client) -> RefusalAnswer {
    let message = client.message().await;
    assert_eq!(&*message.topic, TOKEN);
    RefusalAnswer::from_cbor(&message.payload).unwrap()
}

pub fn request(name: &str) -> Vec<u8> {
    request_for(name, TokenKind::Key)
}

pub fn request_for(name: &str, kind: TokenKind) -> Vec<u8> {
    let now = UnixSeconds::new(NOW);
    let mut request = TokenRequest::draft(&tenant(), &device_id(name), now, &[5; 16], kind);
    if kind == TokenKind::Symmetric {
        request = request.answered_to(opening().public());
    }
    request.signed_by(&device_key(name)).to_cbor()
}

/// The key that opens the symmetric keys of all devices here.
pub fn opening() -> OpeningKey {
    OpeningKey::from_random([9; 32])
}

/// The setting by which token requests go to a service of [`provisioning`].
pub fn relay_to(raw: &mut RawBrokerConfig, service: SocketAddr) {
    raw.provisioning = Some(format!("http://{service}"));
}

/// A service that gives this answer to the first request and notes the request.
pub async fn provisioning() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), listener)
}

pub async fn answer_one(listener: &TcpListener, status: &str, body: &[u8]) -> String {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(12).any(|w| w == b"client_token") {
        let mut chunk = [0; 4096];
        let read = socket.read(&mut chunk).await.unwrap();
        seen.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let start = seen.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        if seen.len() >= start + length.parse::<usize>().unwrap() {
            break;
        }
    }
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/ace+cbor\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(body).await.unwrap();
    String::from_utf8_lossy(&seen).lines().next().unwrap_or_default().to_owned()
}

pub fn token_answer(world: &World, scope: &Scope, life: u64) -> Vec<u8> {
    let token =
        world.token_with("d-1", scope.clone(), |claims| claims.expires = claims.issued.plus(life));
    TokenAnswer {
        access_token: token,
        expires_in: life,
        bearer: false,
        key: None,
        audience: "broker".parse().unwrap(),
        scope: scope.clone(),
        server_time: UnixSeconds::new(NOW),
    }
    .to_cbor()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_session_may_ask_for_its_status() {
    let world = world().await;
    for version in VERSIONS {
        let mut client = plan(&world, "d-1", version).scope(scope(&[])).open().await;
        assert_eq!(client.subscribe(STATUS, QoS::AtMostOnce).await, ReasonCode::SUCCESS);
        let told = status(&mut client).await;
        assert_eq!(
            (told["time"].as_u64(), told["expires"].as_u64()),
            (Some(NOW), Some(NOW + 3600))
        );
        client.publish("d/d-2/x", QoS::AtMostOnce, b"x").await;
        assert_eq!(status(&mut client).await["refusal"], "publish_not_authorised");
        client.ended_with(ReasonCode::NOT_AUTHORIZED).await;
    }
}

/// [MQTT-3.3.4-3], for what passes the queue too.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_name_their_subscription() {
    let world = world().await;
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    let id = Properties::build().number(PropertyId::SubscriptionId, 7).finish().unwrap();
    client.subscribe_with(STATUS, SubscribeOptions::default(), id).await;
    client.publish("d/d-2/x", QoS::AtMostOnce, b"x").await;
    for refused in [None, Some("publish_not_authorised")] {
        let message = client.message().await;
        assert_eq!(message.properties.number(PropertyId::SubscriptionId), Some(7));
        let told: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(told["refusal"].as_str(), refused);
    }
    client.ended_with(ReasonCode::NOT_AUTHORIZED).await;
}

/// A bearer token is as good as a key: it waits in no queue, where the next connection of the session would find it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_a_bearer_token_passes_no_queue() {
    let (address, service) = provisioning().await;
    let world = world_with(|raw| relay_to(raw, address)).await;
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    client.subscribe(TOKEN, QoS::AtLeastOnce).await;
    let answer = TokenAnswer::from_cbor(&token_answer(&world, &device_scope("d-1"), 600)).unwrap();
    for (bearer, qos) in [(false, QoS::AtLeastOnce), (true, QoS::AtMostOnce)] {
        let answer = TokenAnswer { bearer, ..answer.clone() };
        client.publish(TOKEN, QoS::AtMostOnce, &request("d-1")).await;
        answer_one(&service, "200 OK", &answer.to_cbor()).await;
        let got = client.message().await;
        assert_eq!((&got.payload[..], got.qos), (&answer.to_cbor()[..], qos));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_through_the_broker_swaps_the_rights() {
    let (address, service) = provisioning().await;
    let world = world_with(|raw| relay_to(raw, address)).await;
    let wide = scope(&[("both", "d/d-1/#"), ("sub", "x")]);
    let mut hub = plan(&world, "hub", Version::V5).scope(scope(&[("both", "#")])).open().await;
    let mut client = plan(&world, "d-1", Version::V5).scope(wide).open().await;
    for filter in [TOKEN, "x", "d/d-1/cmd", "d/d-1/+"] {
        client.subscribe(filter, QoS::AtLeastOnce).await;
    }
    client.send(&retained("d/d-1/old", b"x")).await;
    client.acked().await;
    assert_eq!(&*client.message().await.topic, "d/d-1/old");
    client.send(&retained("d/d-1/telemetry", b"x")).await;
    client.acked().await;
    assert_eq!(&*client.message().await.topic, "d/d-1/telemetry");
    let narrow = scope(&[("sub", "d/d-1/cmd"), ("pub", "d/d-1/telemetry")]);
    let body = token_answer(&world, &narrow, 7200);
    assert_eq!(client.publish_acked(TOKEN, &request("d-1")).await, ReasonCode::SUCCESS);
    assert!(answer_one(&service, "200 OK", &body).await.starts_with("POST /v1/token "));
    let got = client.message().await;
    assert_eq!((&*got.topic, &got.payload[..]), (TOKEN, &body[..]));
    assert_eq!(hub.publish_acked("x", b"x").await, ReasonCode::NO_MATCHING_SUBSCRIBERS);
    hub.publish_acked("d/d-1/other", b"x").await;
    client.quiet().await;
    hub.publish_acked("d/d-1/cmd", b"on").await;
    assert_eq!(&client.message().await.payload[..], b"on");
    assert_eq!(client.publish_acked("d/d-1/x", b"x").await, ReasonCode::NOT_AUTHORIZED);
    // The retained message that it may still publish stays.
    hub.subscribe("d/d-1/+", QoS::AtMostOnce).await;
    assert_eq!(&*hub.message().await.topic, "d/d-1/telemetry");
    hub.quiet().await;
    world.advance(3601);
    client.quiet().await;
    world.advance(3600);
    client.ended_with(ReasonCode::NOT_AUTHORIZED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_be_handed_in_directly() {
    let world = world().await;
    for version in VERSIONS {
        let mut client = plan(&world, "d-1", version).open().await;
        for topic in [TOKEN, STATUS] {
            client.subscribe(topic, QoS::AtLeastOnce).await;
        }
        status(&mut client).await;
        let next = world.token_with("d-1", device_scope("d-1"), |claims| {
            claims.expires = claims.issued.plus(9000)
        });
        client.publish(TOKEN, QoS::AtMostOnce, &next).await;
        assert_eq!(status(&mut client).await["expires"].as_u64(), Some(NOW + 9000));
        let others = [
            (world.token("d-2", device_scope("d-2")), RefusalCode::ClientIdMismatch),
            (
                world.token_with("d-1", device_scope("d-1"), |c| {
                    c.confirmation = Some(device_key("x").public())
                }),
                RefusalCode::ConfirmationKey,
            ),
            (
                world.token_with("d-1", device_scope("d-1"), |c| c.epochs.tenant = 0),
                RefusalCode::TenantEpoch,
            ),
            (next[..next.len() - 1].to_vec(), RefusalCode::TokenForm),
        ];
        for (token, code) in others {
            client.publish(TOKEN, QoS::AtMostOnce, &token).await;
            let got = refusal(&mut client).await.code;
            assert!(got == Some(code) || code == RefusalCode::TokenForm, "{got:?} for {code:?}");
        }
        client.quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_not_the_sessions_own_are_not_carried() {
    let (address, service) = provisioning().await;
    let world = world_with(|raw| relay_to(raw, address)).await;
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    client.subscribe(TOKEN, QoS::AtLeastOnce).await;
    for (payload, code) in [
        (request("d-2"), RefusalCode::ClientIdMismatch),
        (b"rubbish".to_vec(), RefusalCode::RequestMalformed),
        (Vec::new(), RefusalCode::RequestMalformed),
    ] {
        client.publish(TOKEN, QoS::AtMostOnce, &payload).await;
        assert_eq!(refusal(&mut client).await.code, Some(code));
    }
    let said = RefusalAnswer::new(
        tessera_token::messages::AceError::InvalidClient,
        RefusalCode::DeviceRevoked,
        UnixSeconds::new(NOW),
    );
    client.publish(TOKEN, QoS::AtMostOnce, &request("d-1")).await;
    answer_one(&service, "401 Unauthorized", &said.to_cbor()).await;
    assert_eq!(refusal(&mut client).await, said);
    client.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_provisioning_ends_nothing() {
    // The port is taken and no server listens.
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = silent.local_addr().unwrap();
    for url in [None, Some(format!("http://{address}"))] {
        let world = world_with(|raw| raw.provisioning = url).await;
        let mut client = plan(&world, "d-1", Version::V5).open().await;
        client.subscribe(TOKEN, QoS::AtLeastOnce).await;
        client.publish(TOKEN, QoS::AtMostOnce, &request("d-1")).await;
        assert_eq!(refusal(&mut client).await.code, Some(RefusalCode::NotReady));
        client.quiet().await;
        plan(&world, "d-2", Version::V5).open().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_reach_those_whose_scope_says_so() {
    let world = world().await;
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    assert_eq!(hub.subscribe("$tessera/alerts", QoS::AtLeastOnce).await, ReasonCode::GRANTED_QOS_1);
    let mut nosy = plan(&world, "d-2", Version::V5).scope(scope(&[("sub", "#")])).open().await;
    assert_eq!(
        nosy.subscribe("$tessera/alerts", QoS::AtLeastOnce).await,
        ReasonCode::NOT_AUTHORIZED
    );
    let mut prober = plan(&world, "d-1", Version::V5).open().await;
    for n in 0..60 {
        prober.publish_acked(&format!("d/victim-{n}/cmd"), b"x").await;
        // The tracker looks at what was seen once a second, by the clock.
        world.advance(1);
    }
    let alert = hub.message().await;
    assert_eq!(&*alert.topic, "$tessera/alerts");
    let alert: Value = serde_json::from_slice(&alert.payload).unwrap();
    assert_eq!(
        (alert["tenant"].as_str(), alert["subject"]["device"].as_str()),
        (Some("acme"), Some("d-1"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_request_of_a_session_at_a_time() {
    let (address, service) = provisioning().await;
    let world = world_with(|raw| relay_to(raw, address)).await;
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    client.subscribe(TOKEN, QoS::AtLeastOnce).await;
    client.publish(TOKEN, QoS::AtMostOnce, &request("d-1")).await;
    client.publish(TOKEN, QoS::AtMostOnce, &request("d-1")).await;
    assert_eq!(refusal(&mut client).await.code, Some(RefusalCode::LimitReached));
    let body = token_answer(&world, &device_scope("d-1"), 7200);
    answer_one(&service, "200 OK", &body).await;
    assert_eq!(&client.message().await.payload[..], &body[..]);
}

/// [MQTT-4.4.0-1] binds messages that a session took; the number of those without room is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_told_how_many_messages_it_missed() {
    for (kept, filter) in
        [(false, "d/d-1/cmd"), (true, "d/d-1/cmd"), (true, "d/d-1/+"), (true, "$share/g/d/d-1/+")]
    {
        let world = world_with(|raw| raw.limits.queue_messages = 20).await;
        let mut slow = plan(&world, "d-1", Version::V5).scope(scope(&[("sub", "d/d-1/#")]));
        slow.connect.clean_start = !kept;
        let slow = slow.properties(|p| {
            p.number(PropertyId::ReceiveMaximum, 1)
                .number(PropertyId::SessionExpiry, if kept { 600 } else { 0 })
        });
        let mut device = slow.open().await;
        device.subscribe(STATUS, QoS::AtMostOnce).await;
        assert_eq!(status(&mut device).await.get("missed"), None, "{filter}");
        device.subscribe(filter, QoS::AtLeastOnce).await;
        let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
        let mut refused = 0;
        for _ in 0..60 {
            match hub.publish_acked("d/d-1/cmd", &[0; 64]).await {
                ReasonCode::QUOTA_EXCEEDED => refused += 1,
                code => assert_eq!(code, ReasonCode::SUCCESS),
            }
        }
        assert!((30..60).contains(&refused), "{refused} {filter}");
        let (mut got, mut missed) = (0, 0);
        while got + refused < 60 || missed < refused {
            let message = device.message().await;
            if &*message.topic != STATUS {
                got += 1;
                continue;
            }
            let told: Value = serde_json::from_slice(&message.payload).unwrap();
            missed = told["missed"].as_u64().unwrap();
        }
        assert_eq!((got, missed), (60 - refused, refused), "{filter}");
        device.quiet().await;
    }
}

/// An answer on `$tessera/token` that finds no room is lost like any message, and counted like one.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_finds_no_room_is_counted() {
    let world = world_with(|raw| raw.limits.queue_messages = 1).await;
    let lost = || world.metric(r#"tessera_broker_dropped_total{qos="1",why="queue_full"}"#);
    let slow = plan(&world, "d-1", Version::V5)
        .properties(|properties| properties.number(PropertyId::ReceiveMaximum, 1));
    let mut slow = slow.open().await;
    for filter in ["$tessera/token", "d/d-1/cmd"] {
        assert!(!slow.subscribe(filter, QoS::AtLeastOnce).await.is_error());
    }
    // One is under way and not acknowledged, and one waits.
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    assert_eq!(hub.publish_acked("d/d-1/cmd", b"1").await, ReasonCode::SUCCESS);
    slow.unacked_message().await;
    assert_eq!(hub.publish_acked("d/d-1/cmd", b"2").await, ReasonCode::SUCCESS);
    slow.publish("$tessera/token", QoS::AtLeastOnce, b"rubbish").await;
    assert_eq!(slow.acked().await, ReasonCode::SUCCESS);
    until(|| lost() == 1).await;
}
