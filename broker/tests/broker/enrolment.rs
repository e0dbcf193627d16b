//! Enrolment by a claim code: whom the broker lets in to it, what such a connection reaches, and what it is bounded by. The
//! service behind is a listener that answers as it is told; `tests/system/enrol_mqtt.rs` has the true one.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tessera_broker::codec::{
    Connect, Packet, Password, Properties, PropertyId, Publish, QoS, ReasonCode, SubscribeOptions,
    Version,
};
use tessera_broker::limits::{ENROL_WITHIN, SUSPECT_STRIKES, VISIT_BURST};
use tessera_broker::transport::Transport;
use tessera_broker::{Broker, RawBrokerConfig};
use tessera_runtime::clock::ManualClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::stop::Stop;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::messages::{
    AceError, EnrolRequest, Means, NonceAnswer, RefusalAnswer, ENROL_TOPIC,
};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tokio::net::TcpListener;

use crate::client::{plan, publish, until, Client, VERSIONS};
use crate::control::{answer_one, provisioning, relay_to, token_answer};
use crate::transports::certs::{Certs, V13};
use crate::transports::line::{bytes, settle, tls, Line};
use crate::world::{
    device_id, device_key, device_scope, scope, tenant, world_with, World, NOW, TENANT,
};

const CODE: &str = "TSR-0A1B2-CDEFG-HJKMN-PQRST";
const OTHER: &str = "TSR-0A1B2-CDEFG-HJKMN-PQRSV";
const NO: ReasonCode = ReasonCode::NOT_AUTHORIZED;
const OK: ReasonCode = ReasonCode::SUCCESS;

async fn open(service: SocketAddr) -> World {
    world_with(|raw| {
        raw.enrolment = true;
        relay_to(raw, service);
    })
    .await
}

/// An address where nothing listens.
async fn nowhere() -> SocketAddr {
    provisioning().await.0
}

fn claim(world: &World, device: &str, code: &str, version: Version) -> Connect {
    Connect {
        user_name: Some(format!("$claim/{TENANT}").into()),
        password: Some(Password::new(code.as_bytes().to_vec().into())),
        ..plan(world, device, version).connect
    }
}

/// The reason of the CONNACK.
async fn say(client: &mut Client, connect: Connect) -> ReasonCode {
    client.send(&Packet::Connect(Box::new(connect))).await;
    match client.next().await {
        Some(Packet::ConnAck(ack)) => {
            assert!(!ack.session_present);
            ack.reason
        }
        other => panic!("expected CONNACK, got {other:?}"),
    }
}

/// As 3.1.1 tells it.
fn told(reason: ReasonCode, version: Version) -> ReasonCode {
    match (version, reason) {
        (Version::V311, ReasonCode::SERVER_BUSY) => ReasonCode::SERVER_UNAVAILABLE,
        _ => reason,
    }
}

/// The first line of the next request, which provisioning answers so.
async fn answered(service: &TcpListener, status: &str, body: &[u8]) -> String {
    let asked = tokio::time::timeout(Duration::from_secs(15), answer_one(service, status, body));
    asked.await.expect("provisioning is not asked")
}

/// Asks provisioning once, which answers so; the first line of its request.
async fn asks(
    service: &TcpListener,
    act: impl Future<Output = ReasonCode>,
    status: &str,
    body: &[u8],
) -> (ReasonCode, String) {
    let (reason, line) = tokio::join!(act, answered(service, status, body));
    (reason, line)
}

/// A device that is let in, and listens.
async fn enrolling(world: &World, service: &TcpListener, version: Version) -> Client {
    let mut client = Client::raw(world, version).await;
    let say = say(&mut client, claim(world, "d-1", CODE, version));
    let (reason, line) = asks(service, say, "204 No Content", b"").await;
    assert_eq!((reason, line.as_str()), (OK, "POST /v1/enrol/check HTTP/1.1"));
    assert_eq!(client.subscribe(ENROL_TOPIC, QoS::AtLeastOnce).await, OK, "QoS 0 is granted");
    client
}

fn refusal(code: RefusalCode) -> Vec<u8> {
    RefusalAnswer::new(AceError::InvalidGrant, code, UnixSeconds::new(NOW)).to_cbor()
}

fn request(device: &str, code: &str) -> Vec<u8> {
    EnrolRequest::sign(&device_key(device), &tenant(), &device_id(device), code, &[5; 16]).to_cbor()
}

/// Publishes a request, which provisioning answers so, and gives its request line and the message.
async fn exchange(
    client: &mut Client,
    service: &TcpListener,
    request: &[u8],
    (status, body): (&str, &[u8]),
) -> (String, Publish) {
    client.publish(ENROL_TOPIC, QoS::AtLeastOnce, request).await;
    let (message, line) = tokio::join!(
        async {
            assert_eq!(client.acked().await, OK);
            client.message().await
        },
        answered(service, status, body)
    );
    (line, message)
}

/// The refusal of the broker itself to a request.
async fn refused(client: &mut Client, request: &[u8]) -> Option<RefusalCode> {
    assert_eq!(client.publish_acked(ENROL_TOPIC, request).await, OK);
    let message = client.message().await;
    assert_eq!(
        (&*message.topic, message.qos, message.retain),
        (ENROL_TOPIC, QoS::AtMostOnce, false)
    );
    RefusalAnswer::from_cbor(&message.payload).unwrap().code
}

fn counted(world: &World, what: &str) -> u64 {
    world.metric(&format!(r#"tessera_broker_enrolments_total{{what="{what}"}}"#))
}

fn refusals(world: &World, what: &str, code: &str) -> u64 {
    let series = format!(r#"tessera_broker_refusals_total{{code="{code}",what="{what}"}}"#);
    world.metric(&series)
}

fn limit(world: &World) -> u64 {
    world.metric(r#"tessera_broker_limits_hit_total{limit="enrolments"}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_goes_the_whole_way_and_a_lost_answer_is_asked_for_again() {
    let (address, service) = provisioning().await;
    let world = open(address).await;
    let nonce =
        NonceAnswer { nonce: vec![7; 32], expires_in: 60, server_time: UnixSeconds::new(NOW) };
    let (nonce, token) = (nonce.to_cbor(), token_answer(&world, &device_scope("d-1"), 3600));
    let stale = RefusalAnswer::new(
        AceError::InvalidGrant,
        RefusalCode::NonceInvalid,
        UnixSeconds::new(NOW),
    );
    let stale = stale.with_cnonce(&[9; 32]).to_cbor();
    for version in VERSIONS {
        let mut client = enrolling(&world, &service, version).await;
        let (line, got) = exchange(&mut client, &service, b"", ("200 OK", &nonce)).await;
        assert_eq!(line, "POST /v1/enrol/nonce HTTP/1.1");
        assert_eq!((&*got.topic, &got.payload[..]), (ENROL_TOPIC, &nonce[..]));
        // The bytes of a refusal come as they are, with the nonce in it; then the token, and once more.
        let request = request("d-1", CODE);
        let (_, got) = exchange(&mut client, &service, &request, ("400 Bad Request", &stale)).await;
        assert_eq!(got.payload, stale);
        for _ in 0..2 {
            let (line, got) = exchange(&mut client, &service, &request, ("200 OK", &token)).await;
            assert_eq!((line.as_str(), &got.payload[..]), ("POST /v1/enrol HTTP/1.1", &token[..]));
        }
        // Answers that are none, and a service that has gone.
        exchange(&mut client, &service, &request, ("200 OK", b"rubbish")).await;
        client.goodbye().await;
        // The same code once more: provisioning has the word.
        let mut again = enrolling(&world, &service, version).await;
        let (_, got) = exchange(&mut again, &service, &request, ("200 OK", &token)).await;
        assert_eq!(got.payload, token);
        again.quiet().await;
    }
    assert_eq!((counted(&world, "connected"), counted(&world, "nonce")), (4, 2));
    let rest =
        (counted(&world, "enrolled"), counted(&world, "refused"), counted(&world, "not_ready"));
    assert_eq!(rest, (6, 2, 2));
    assert_eq!(world.broker.sessions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_asks_nothing_for_a_connect_of_the_wrong_form() {
    let world = open(nowhere().await).await;
    for version in VERSIONS {
        let good = || claim(&world, "d-1", CODE, version);
        let user = |name: &str| Connect { user_name: Some(name.into()), ..good() };
        let code = |code: &str| claim(&world, "d-1", code, version);
        let raw = |bytes: &[u8]| {
            let password = Some(Password::new(bytes.to_vec().into()));
            Connect { password, ..good() }
        };
        let will = Connect {
            will: plan(&world, "d-1", version).will("x", Properties::new()).connect.will,
            ..good()
        };
        let long = "A".repeat(4000);
        for (what, connect, code) in [
            ("will", will, "will_not_authorised"),
            ("no tenant", user("$claim"), "claim_unknown"),
            ("empty tenant", user("$claim/"), "claim_unknown"),
            ("bad tenant", user("$claim/a/b"), "claim_unknown"),
            ("short", code("TSR-0A1B2"), "claim_unknown"),
            ("letter", code("TSR-0A1B2-CDEFG-HJKMN-PQRSU"), "claim_unknown"),
            ("long", code(&long), "claim_unknown"),
            ("empty", code(""), "claim_unknown"),
            ("no text", raw(&[0xff; 20]), "claim_unknown"),
        ] {
            let before = refusals(&world, "connect", code);
            let mut client = Client::raw(&world, version).await;
            assert_eq!(say(&mut client, connect).await, NO, "{what}");
            client.closed().await;
            assert_eq!(refusals(&world, "connect", code), before + 1, "{what}");
        }
        for id in ["d-1~2", "", "d/1"] {
            let mut client = Client::raw(&world, version).await;
            let reason = say(&mut client, Connect { client_id: id.into(), ..good() }).await;
            assert_eq!(reason, ReasonCode::CLIENT_ID_NOT_VALID, "{id:?}");
        }
        // One of the right form is asked about, and no one answers.
        for connect in [good(), code(&CODE.to_lowercase()), code("0A1B2CDEFGHJKMNPQRST")] {
            let mut client = Client::raw(&world, version).await;
            assert_eq!(say(&mut client, connect).await, ReasonCode::SERVER_UNAVAILABLE);
            client.closed().await;
        }
    }
    let mut client = Client::raw(&world, Version::V5).await;
    let method = Properties::build().text(PropertyId::AuthMethod, "ace").finish().unwrap();
    let connect = Connect { properties: method, ..claim(&world, "d-1", CODE, Version::V5) };
    assert_eq!(say(&mut client, connect).await, ReasonCode::BAD_AUTHENTICATION_METHOD);
    // A name that only begins so is any user name.
    let mut client = Client::raw(&world, Version::V5).await;
    let user_name = Some("$claimant".into());
    let connect = Connect { user_name, ..claim(&world, "d-1", CODE, Version::V5) };
    assert_eq!(say(&mut client, connect).await, NO);
    assert_eq!((counted(&world, "connected"), limit(&world)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_tells_one_reason_for_every_claim_that_is_not_good() {
    let (address, service) = provisioning().await;
    let world = open(address).await;
    let (busy, away) = (ReasonCode::SERVER_BUSY, ReasonCode::SERVER_UNAVAILABLE);
    let bad = "400 Bad Request";
    for version in VERSIONS {
        for (code, reason) in [
            (RefusalCode::ClaimUnknown, NO),
            (RefusalCode::ClaimUsed, NO),
            (RefusalCode::ClaimMismatch, NO),
            (RefusalCode::TenantSuspended, NO),
            (RefusalCode::OperatorNotAllowed, NO),
            (RefusalCode::RateLimited, busy),
            (RefusalCode::LimitReached, busy),
            // Not about the claim: a fault between broker and provisioning.
            (RefusalCode::NotReady, away),
            (RefusalCode::Internal, away),
            (RefusalCode::OperatorUnknown, away),
            (RefusalCode::NotFound, away),
        ] {
            let mut client = Client::raw(&world, version).await;
            let say = say(&mut client, claim(&world, "d-1", CODE, version));
            let (got, _) = asks(&service, say, bad, &refusal(code)).await;
            assert_eq!(got, told(reason, version), "{code}");
            client.closed().await;
        }
        // Anything but 204 lets no one in.
        for (status, body) in [("200 OK", &b""[..]), (bad, b"rubbish"), ("302 Found", b"")] {
            let mut client = Client::raw(&world, version).await;
            let say = say(&mut client, claim(&world, "d-1", CODE, version));
            assert_eq!(asks(&service, say, status, body).await.0, away, "{status}");
        }
    }
    assert_eq!(refusals(&world, "connect", "claim_used"), 2);
    assert_eq!(counted(&world, "connected"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_reaches_its_topic_and_nothing_else() {
    let (address, service) = provisioning().await;
    let world = open(address).await;
    let mut hub = plan(&world, "hub", Version::V5).scope(scope(&[("both", "#")])).open().await;
    assert_eq!(hub.subscribe("#", QoS::AtLeastOnce).await, ReasonCode::GRANTED_QOS_1);
    // Its topic belongs to no session.
    assert_eq!(hub.subscribe(ENROL_TOPIC, QoS::AtMostOnce).await, NO);
    assert_eq!(hub.publish_acked(ENROL_TOPIC, b"").await, NO);
    // The session of this client id is not touched.
    let mut device = plan(&world, "d-1", Version::V5).open().await;
    for version in VERSIONS {
        let no = if version == Version::V5 { NO } else { ReasonCode::UNSPECIFIED };
        let mut client = enrolling(&world, &service, version).await;
        for filter in [
            "#",
            "$tessera/#",
            "$tessera/+",
            "+/enrol",
            "$share/g/$tessera/enrol",
            "$tessera/token",
            "$tessera/enrol/x",
            "d/d-1/cmd",
        ] {
            assert_eq!(client.subscribe(filter, QoS::AtMostOnce).await, no, "{filter}");
        }
        for topic in ["d/d-1/telemetry", "$tessera/token", "$tessera/enrol/x", "authz-info"] {
            if version == Version::V5 {
                assert_eq!(client.publish_acked(topic, b"x").await, NO, "{topic}");
            }
        }
        client.publish("d/d-1/telemetry", QoS::AtMostOnce, b"x").await;
        client.ended_with(NO).await;
        // Other packets, and a quality of service that is not offered.
        let mut client = enrolling(&world, &service, version).await;
        client.publish(ENROL_TOPIC, QoS::ExactlyOnce, b"").await;
        client.ended_with(ReasonCode::QOS_NOT_SUPPORTED).await;
        let mut client = enrolling(&world, &service, version).await;
        client.send(&Packet::PubRel(tessera_broker::codec::Ack::new(3, OK))).await;
        client.ended_with(NO).await;
        if version == Version::V311 {
            let mut client = enrolling(&world, &service, version).await;
            client.publish("d/d-1/telemetry", QoS::AtLeastOnce, b"x").await;
            client.closed().await;
        }
    }
    let property = |id, value| Properties::build().number(id, value).finish().unwrap();
    let mut client = enrolling(&world, &service, Version::V5).await;
    let Packet::Publish(one) = publish(ENROL_TOPIC, QoS::AtMostOnce, b"") else { panic!() };
    let properties = property(PropertyId::TopicAlias, 1);
    client.send(&Packet::Publish(Publish { properties, ..one })).await;
    client.ended_with(ReasonCode::TOPIC_ALIAS_INVALID).await;
    // Before it listens nothing is asked for it; the broker tells what it offers.
    let mut client = Client::raw(&world, Version::V5).await;
    let connect = claim(&world, "d-1", CODE, Version::V5);
    client.send(&Packet::Connect(Box::new(connect))).await;
    answered(&service, "204 No Content", b"").await;
    let Some(Packet::ConnAck(ack)) = client.next().await else { panic!("no CONNACK") };
    let told = |id| ack.properties.number(id);
    assert_eq!((ack.reason, told(PropertyId::MaximumQos)), (OK, Some(1)));
    assert_eq!(told(PropertyId::ServerKeepAlive), Some(ENROL_WITHIN.as_secs() as u32));
    assert_eq!(
        (told(PropertyId::SessionExpiry), told(PropertyId::WildcardAvailable)),
        (Some(0), Some(0))
    );
    let none = ReasonCode::NO_MATCHING_SUBSCRIBERS;
    assert_eq!(client.publish_acked(ENROL_TOPIC, b"").await, none);
    let (options, id) = (SubscribeOptions::default(), property(PropertyId::SubscriptionId, 7));
    let entries = vec![tessera_broker::codec::Subscription { filter: ENROL_TOPIC.into(), options }];
    let subscribe = tessera_broker::codec::Subscribe { packet_id: 1, properties: id, entries };
    client.send(&Packet::Subscribe(subscribe)).await;
    client.ended_with(ReasonCode::SUBSCRIPTION_IDS_NOT_SUPPORTED).await;
    hub.quiet().await;
    device.quiet().await;
    assert_eq!(world.broker.sessions(), 2);
    assert_eq!(refusals(&world, "enrolment", "subscribe_not_authorised"), 16);
    assert_eq!(counted(&world, "nonce"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_relays_a_request_of_its_device_by_its_claim_alone() {
    let (address, service) = provisioning().await;
    let world = open(address).await;
    let mut client = enrolling(&world, &service, Version::V5).await;
    let other_tenant = EnrolRequest::sign(
        &device_key("d-1"),
        &TenantId::parse("other").unwrap(),
        &DeviceId::parse("d-1").unwrap(),
        CODE,
        &[5; 16],
    );
    let by_key = EnrolRequest::sign_by(
        &device_key("d-1"),
        &tenant(),
        &device_id("d-1"),
        &Means::Key,
        &[5; 16],
    );
    for (request, code) in [
        (request("d-1", OTHER), RefusalCode::ClaimMismatch),
        (request("d-1", "x"), RefusalCode::ClaimMismatch),
        (by_key.unwrap().to_cbor(), RefusalCode::ClaimMismatch),
        (request("d-2", CODE), RefusalCode::ClientIdMismatch),
        (other_tenant.to_cbor(), RefusalCode::ClientIdMismatch),
        (b"rubbish".to_vec(), RefusalCode::RequestMalformed),
        (vec![0xa0], RefusalCode::RequestMalformed),
    ] {
        assert_eq!(refused(&mut client, &request).await, Some(code));
        assert_eq!(refusals(&world, "enrolment", code.as_str()), counted(&world, code.as_str()));
    }
    // The same code as a person types it is the same code.
    let token = token_answer(&world, &device_scope("d-1"), 3600);
    let typed = request("d-1", &CODE.to_lowercase().replace('-', " "));
    let (line, _) = exchange(&mut client, &service, &typed, ("200 OK", &token)).await;
    assert_eq!(line, "POST /v1/enrol HTTP/1.1");
    // Without an answer the device is told so, and may ask again.
    drop(service);
    let request = request("d-1", CODE);
    assert_eq!(refused(&mut client, &request).await, Some(RefusalCode::NotReady));
    assert_eq!(refused(&mut client, b"").await, Some(RefusalCode::NotReady));
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_is_off_unless_it_is_set_and_needs_provisioning() {
    let (address, service) = provisioning().await;
    let world = world_with(|raw| relay_to(raw, address)).await;
    for version in VERSIONS {
        let mut client = Client::raw(&world, version).await;
        assert_eq!(say(&mut client, claim(&world, "d-1", CODE, version)).await, NO);
    }
    let asked = tokio::time::timeout(Duration::ZERO, service.accept()).await;
    assert!(asked.is_err(), "nothing is asked");
    let raw = RawBrokerConfig { enrolment: true, ..RawBrokerConfig::default() };
    let (config, clock) = (raw.validate().unwrap(), ManualClock::at(UnixSeconds::new(NOW)));
    let started = Broker::start(config, &world.agent, clock, &Metrics::new(), &Stop::new()).await;
    let told = started.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(told.contains("needs the address of provisioning"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_takes_no_code_in_clear_from_beyond_this_machine() {
    let (address, service) = provisioning().await;
    let certs = Certs::new();
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.enrolment = true;
        raw.mqtt = Some(SocketAddr::from(([0, 0, 0, 0], 0)));
        relay_to(raw, address);
    })
    .await;
    let port = world.broker.addr(Transport::Mqtt).unwrap().port();
    *world.elsewhere.lock().unwrap() = Some(SocketAddr::from(([127, 0, 0, 1], port)));
    for version in VERSIONS {
        let mut client = Client::raw(&world, version).await;
        assert_eq!(say(&mut client, claim(&world, "d-1", CODE, version)).await, NO);
    }
    assert_eq!(refusals(&world, "connect", "claim_in_clear"), 2);
    let mut line = Line::new(tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap());
    let connect = claim(&world, "d-1", CODE, Version::V5);
    line.send(&bytes(&Packet::Connect(Box::new(connect)))).await;
    answered(&service, "204 No Content", b"").await;
    match line.next().await {
        Some(Packet::ConnAck(ack)) => assert_eq!(ack.reason, OK),
        other => panic!("expected CONNACK, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_bounds_wrong_codes_of_a_prefix_and_others_are_served() {
    let (address, service) = provisioning().await;
    let world = open(address).await;
    let wrong = refusal(RefusalCode::ClaimUnknown);
    let version = Version::V5;
    // Right codes cost their prefix nothing.
    for _ in 0..VISIT_BURST + 10 {
        enrolling(&world, &service, version).await.goodbye().await;
    }
    for _ in 0..VISIT_BURST {
        let mut client = Client::raw(&world, version).await;
        let say = say(&mut client, claim(&world, "d-1", OTHER, version));
        assert_eq!(asks(&service, say, "400 Bad Request", &wrong).await.0, NO);
    }
    // The clock stands still: no more of this prefix, and nothing is asked.
    let mut client = Client::raw(&world, version).await;
    let reason = say(&mut client, claim(&world, "d-1", CODE, version)).await;
    assert_eq!((reason, limit(&world)), (ReasonCode::SERVER_BUSY, 1));
    let mut other = Client::from(&world, Ipv4Addr::new(127, 9, 9, 9), version).await;
    let say = say(&mut other, claim(&world, "d-1", CODE, version));
    assert_eq!(asks(&service, say, "204 No Content", b"").await.0, OK);
    world.advance(1);
    enrolling(&world, &service, version).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_counts_a_wrong_code_as_a_strike_and_a_right_one_as_none() {
    let (address, service) = provisioning().await;
    let world = world_with(|raw| {
        raw.enrolment = true;
        raw.limits.suspects_per_second = 5;
        relay_to(raw, address);
    })
    .await;
    let turned = || world.metric(r#"tessera_broker_turned_away_total{limit="suspect_rate"}"#);
    let gone = || settle(|| world.broker.sockets() == 0);
    let away = refusal(RefusalCode::NotReady);
    let code = |code| claim(&world, "d-1", code, Version::V5);
    for _ in 0..2 * SUSPECT_STRIKES {
        drop(enrolling(&world, &service, Version::V5).await);
        gone().await;
        // Nor is the service's own fault one.
        let mut client = Client::raw(&world, Version::V5).await;
        asks(&service, say(&mut client, code(CODE)), "503 Service Unavailable", &away).await;
        drop(client);
        gone().await;
    }
    for _ in 0..SUSPECT_STRIKES {
        let mut client = Client::raw(&world, Version::V5).await;
        say(&mut client, code("rubbish")).await;
        drop(client);
        gone().await;
    }
    assert_eq!(turned(), 0);
    drop(enrolling(&world, &service, Version::V5).await);
    gone().await;
    let mut client = Client::raw(&world, Version::V5).await;
    client.closed().await;
    until(|| turned() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_ends_after_its_packets_and_its_time() {
    let (address, service) = provisioning().await;
    let world = open(address).await;
    let mut silent = enrolling(&world, &service, Version::V5).await;
    let mut busy = enrolling(&world, &service, Version::V5).await;
    // The SUBSCRIBE was the first of 16.
    for _ in 0..15 {
        busy.send(&Packet::PingReq).await;
        assert!(matches!(busy.next().await, Some(Packet::PingResp)));
    }
    busy.ended_with(ReasonCode::QUOTA_EXCEEDED).await;
    let end = silent.next_within(ENROL_WITHIN + Duration::from_secs(10)).await;
    match end {
        Some(Packet::Disconnect(bye)) => assert_eq!(bye.reason, ReasonCode::MAXIMUM_CONNECT_TIME),
        other => panic!("expected DISCONNECT, got {other:?}"),
    }
    silent.closed().await;
}
