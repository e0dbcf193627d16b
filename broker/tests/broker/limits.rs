//! Every limit that a client can reach, reached: what it is told, what it costs others, and the metric that counts it.
//! The table is `docs/limits.md`.

use tessera_broker::codec::{
    self, Ack, Packet, Password, Properties, PropertyId, Publish, QoS, ReasonCode, Subscribe,
    SubscribeOptions, Subscription, Version,
};
use tessera_token::proof::{ConnectProof, Credential};
use tokio::net::TcpListener;

use crate::client::{plan, publish, retained, until, Client, VERSIONS};
use crate::world::{backend_scope, scope, world, world_with, World, AUDIENCE, NOW};

const QUOTA: ReasonCode = ReasonCode::QUOTA_EXCEEDED;

fn hit(world: &World, limit: &str) -> u64 {
    world.metric(&format!(r#"tessera_broker_limits_hit_total{{limit="{limit}"}}"#))
}

fn turned(world: &World, limit: &str) -> u64 {
    world.metric(&format!(r#"tessera_broker_turned_away_total{{limit="{limit}"}}"#))
}

fn broken(world: &World, rule: &str) -> u64 {
    world.metric(&format!(r#"tessera_broker_broken_packets_total{{rule="{rule}"}}"#))
}

fn ended(world: &World, why: &str) -> u64 {
    world.metric(&format!(r#"tessera_broker_connections_ended_total{{why="{why}"}}"#))
}

fn refused(world: &World, what: &str, code: &str) -> u64 {
    world.metric(&format!(r#"tessera_broker_refusals_total{{code="{code}",what="{what}"}}"#))
}

/// A client with every right on `t/…`.
async fn free(world: &World, name: &str, version: Version) -> Client {
    plan(world, name, version).scope(scope(&[("both", "t/#")])).open().await
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_in_total() {
    let world = world_with(|raw| raw.limits.sockets = 2).await;
    let first = plan(&world, "d-1", Version::V5).open().await;
    let mut second = plan(&world, "d-2", Version::V5).open().await;
    until(|| hit(&world, "sockets") == 1).await;
    // The next one waits in the kernel's backlog and is served when there is room.
    let (third, ()) = tokio::join!(plan(&world, "d-3", Version::V5).open(), async {
        second.quiet().await;
        assert_eq!(world.broker.sockets(), 2);
        drop(first);
    });
    drop(third);
    second.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_half_open_sockets_and_connects_of_one_prefix() {
    let world = world_with(|raw| raw.limits.sockets_per_prefix = 1).await;
    let mut held = plan(&world, "d-1", Version::V5).open().await;
    Client::raw(&world, Version::V5).await.closed().await;
    assert_eq!(turned(&world, "prefix_sockets"), 1);
    held.quiet().await;

    let world = world_with(|raw| raw.limits.half_open_per_prefix = 1).await;
    let silent = Client::raw(&world, Version::V5).await;
    until(|| world.broker.sockets() == 1).await;
    Client::raw(&world, Version::V5).await.closed().await;
    assert_eq!(turned(&world, "prefix_half_open"), 1);
    drop(silent);
    until(|| world.broker.sockets() == 0).await;
    plan(&world, "d-1", Version::V5).open().await;

    let world = world_with(|raw| raw.limits.connects_per_second = 2).await;
    let mut held = plan(&world, "d-1", Version::V5).open().await;
    plan(&world, "d-2", Version::V5).open().await;
    Client::raw(&world, Version::V5).await.closed().await;
    assert_eq!(turned(&world, "prefix_rate"), 1);
    world.advance(1);
    plan(&world, "d-2", Version::V5).open().await;
    held.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn balancers_that_send_no_header() {
    let world = world_with(|raw| {
        raw.proxy.listeners = vec!["mqtt".to_owned()];
        raw.proxy.from = vec!["127.0.0.1".to_owned()];
        raw.limits.half_open = 1;
    })
    .await;
    let _silent = Client::raw(&world, Version::V5).await;
    Client::raw(&world, Version::V5).await.closed().await;
    assert_eq!(turned(&world, "proxy_waiting"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_before_and_after_authentication() {
    let world = world_with(|raw| raw.limits.max_packet = 8192).await;
    let mut client = Client::raw(&world, Version::V5).await;
    // A CONNECT of 8,193 bytes, fixed header included: refused by its header alone.
    client.answered("10 fe3f", "").await;
    assert_eq!(broken(&world, "packet_too_large"), 1);
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    client.bytes(&[0x30, 0xfe, 0x3f]).await;
    client.ended_with(ReasonCode::PACKET_TOO_LARGE).await;
    assert_eq!(broken(&world, "packet_too_large"), 2);
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    client.publish("d/d-1/telemetry", QoS::AtLeastOnce, &[0; 8192 - 3 - 2 - 15 - 2 - 1]).await;
    client.acked().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_total() {
    let world = world_with(|raw| raw.limits.sessions = 2).await;
    let kept = plan(&world, "d-1", Version::V5).kept(600).open().await;
    drop(kept);
    let mut other = plan(&world, "d-2", Version::V5).open().await;
    assert_eq!(plan(&world, "d-3", Version::V5).refused().await, ReasonCode::SERVER_BUSY);
    let old = plan(&world, "d-3", Version::V311).refused().await;
    assert_eq!(old, ReasonCode::SERVER_UNAVAILABLE);
    assert_eq!((hit(&world, "sessions"), refused(&world, "connect", "limit_reached")), (2, 2));
    other.quiet().await;
    // Its own session may be taken up, replaced, and given back.
    plan(&world, "d-1", Version::V5).kept(600).open().await;
    plan(&world, "d-1", Version::V5).open().await.goodbye().await;
    plan(&world, "d-3", Version::V5).open().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_one_device() {
    let world = world_with(|raw| raw.limits.sessions_per_device = 2).await;
    let open = |id: &'static str| plan(&world, "d-1", Version::V5).client_id(id);
    drop(open("d-1~a").kept(600).open().await);
    let mut other = open("d-1~b").open().await;
    assert_eq!(open("d-1~c").refused().await, ReasonCode::SERVER_BUSY);
    assert_eq!(open("d-1").refused().await, ReasonCode::SERVER_BUSY);
    assert_eq!(hit(&world, "sessions_per_device"), 2);
    other.quiet().await;
    // Those it has may be taken up and replaced, and others have their own.
    open("d-1~a").kept(600).open().await;
    plan(&world, "d-2", Version::V5).open().await;
    open("d-1~a").open().await.goodbye().await;
    open("d-1~c").open().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_of_one_session() {
    let world = world_with(|raw| raw.limits.subscriptions = 2).await;
    for version in VERSIONS {
        let mut client = free(&world, "d-1", version).await;
        for filter in ["t/1", "t/+", "t/1"] {
            assert_eq!(client.subscribe(filter, QoS::AtMostOnce).await, ReasonCode::SUCCESS);
        }
        let told = if version == Version::V5 { QUOTA } else { ReasonCode::UNSPECIFIED };
        assert_eq!(client.subscribe("t/2", QoS::AtMostOnce).await, told);
        client.unsubscribe("t/1").await;
        assert_eq!(client.subscribe("t/2", QoS::AtMostOnce).await, ReasonCode::SUCCESS);
    }
    assert_eq!(refused(&world, "subscribe", "limit_reached"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_levels_and_properties_of_one_packet() {
    let world = world().await;
    let entry =
        |filter: &str| Subscription { filter: filter.into(), options: SubscribeOptions::default() };
    let subscribe = |entries| {
        Packet::Subscribe(Subscribe { packet_id: 1, properties: Properties::new(), entries })
    };
    let bytes = |packet: &Packet| {
        let mut out = bytes::BytesMut::new();
        codec::encode(packet, Version::V5, &mut out).unwrap();
        out
    };
    let mut most = free(&world, "d-1", Version::V5).await;
    most.send(&subscribe(vec![entry("t/1"); 512])).await;
    assert!(matches!(most.next().await, Some(Packet::SubAck(ack)) if ack.reasons.len() == 512));
    // One more, by hand: what the codec refuses to write.
    let mut raw = bytes(&subscribe(vec![entry("t/1"); 512])).to_vec();
    raw.extend_from_slice(&[0, 3, b't', b'/', b'1', 0]);
    let body = raw.len() - 3;
    (raw[1], raw[2]) = ((body & 0x7f) as u8 | 0x80, (body >> 7) as u8);
    most.bytes(&raw).await;
    most.ended_with(QUOTA).await;
    assert_eq!(broken(&world, "filters_too_many"), 1);

    let deep = |levels: usize| "t/".repeat(levels - 1) + "t";
    for (packet, reason, rule) in [
        (
            publish(&deep(128), QoS::AtMostOnce, b""),
            ReasonCode::TOPIC_NAME_INVALID,
            "topic_name_levels",
        ),
        (
            subscribe(vec![entry(&deep(128))]),
            ReasonCode::TOPIC_FILTER_INVALID,
            "topic_filter_levels",
        ),
    ] {
        // The codec writes no more than it reads: a level is added in the bytes.
        let mut raw = bytes(&packet).to_vec();
        let place = raw.windows(5).position(|w| w == b"t/t/t").unwrap();
        raw[place] = b'/';
        let mut client = free(&world, "d-1", Version::V5).await;
        client.bytes(&raw).await;
        client.ended_with(reason).await;
        assert_eq!(broken(&world, rule), 1);
    }

    let mut client = free(&world, "d-1", Version::V5).await;
    let mut properties = Vec::new();
    for _ in 0..10_001 {
        properties.extend_from_slice(&[0x26, 0, 0, 0, 0]);
    }
    let length = varint(properties.len());
    let body = varint(5 + length.len() + properties.len());
    let topic = [0, 3, b't', b'/', b'1'];
    client.bytes(&[&[0x30], &body[..], &topic, &length, &properties].concat()).await;
    client.ended_with(QUOTA).await;
    assert_eq!(broken(&world, "user_properties_too_many"), 1);
}

/// A length of three bytes.
fn varint(length: usize) -> [u8; 3] {
    [length & 0x7f | 0x80, length >> 7 & 0x7f | 0x80, length >> 14].map(|byte| byte as u8)
}

/// Names and filters that MQTT allows and the broker does not route: 1,024 bytes, 32 levels.
#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_too_long_or_too_deep_to_route() {
    let world = world().await;
    for topic in [format!("t/{}", "x".repeat(1023)), "t/".repeat(32) + "t"] {
        let before = refused(&world, "publish", "publish_not_authorised");
        let mut client = free(&world, "d-1", Version::V5).await;
        assert_eq!(client.publish_acked(&topic, b"").await, ReasonCode::TOPIC_NAME_INVALID);
        let told = client.subscribe(&topic, QoS::AtMostOnce).await;
        assert_eq!(told, ReasonCode::TOPIC_FILTER_INVALID);
        client.quiet().await;
        client.publish(&topic, QoS::AtMostOnce, b"").await;
        client.ended_with(ReasonCode::TOPIC_NAME_INVALID).await;
        let mut client = free(&world, "d-1", Version::V311).await;
        assert_eq!(client.subscribe(&topic, QoS::AtMostOnce).await, ReasonCode::UNSPECIFIED);
        client.publish(&topic, QoS::AtLeastOnce, b"").await;
        client.closed().await;
        assert_eq!(refused(&world, "publish", "publish_not_authorised"), before + 3);
        let shorter = &topic[..topic.len() - 2];
        let mut client = free(&world, "d-1", Version::V5).await;
        assert_eq!(client.subscribe(shorter, QoS::AtMostOnce).await, ReasonCode::SUCCESS);
        assert_eq!(client.publish_acked(shorter, b"").await, ReasonCode::SUCCESS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_and_aliases_of_the_client() {
    let world = world_with(|raw| raw.limits.receive_maximum = 1).await;
    let mut client = free(&world, "d-1", Version::V5).await;
    for id in [1, 2] {
        client.bytes(&[0x34, 8, 0, 3, b't', b'/', b'1', 0, id, 0]).await;
    }
    client.ended_with(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED).await;
    assert_eq!(ended(&world, "receive_maximum_exceeded"), 1);
    let mut client = free(&world, "d-1", Version::V5).await;
    client.bytes(&[0x30, 9, 0, 3, b't', b'/', b'1', 3, 0x23, 0, 17]).await;
    client.ended_with(ReasonCode::TOPIC_ALIAS_INVALID).await;
    assert_eq!(ended(&world, "topic_alias_above_maximum"), 1);
}

/// Of ours: 256 open deliveries and 16 aliases, whatever more the client offers. Nothing is lost by it.
#[tokio::test(flavor = "multi_thread")]
async fn exchanges_and_aliases_of_the_broker() {
    let world = world().await;
    let mut hub = free(&world, "hub", Version::V5).await;
    let generous = plan(&world, "d-1", Version::V5).scope(scope(&[("sub", "t/#")]));
    let generous = generous.properties(|p| {
        p.number(PropertyId::ReceiveMaximum, 65_535).number(PropertyId::TopicAliasMaximum, 65_535)
    });
    let mut device = generous.open().await;
    for n in 0..20 {
        device.subscribe(&format!("t/{n}"), QoS::AtLeastOnce).await;
    }
    for n in 0..20 {
        hub.publish_acked(&format!("t/{n}"), b"x").await;
        let got = device.message().await;
        let alias = got.properties.number(PropertyId::TopicAlias);
        assert_eq!((&*got.topic, alias), (&*format!("t/{n}"), (n < 16).then_some(n + 1)));
    }
    for _ in 0..300 {
        hub.publish_acked("t/1", b"x").await;
    }
    let mut last = 0;
    for _ in 0..256 {
        last = device.unacked_message().await.packet_id.unwrap();
    }
    device.quiet().await;
    device.send(&Packet::PubAck(Ack::new(last, ReasonCode::SUCCESS))).await;
    device.unacked_message().await;
    device.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_wait_for_one_client() {
    let world = world_with(|raw| raw.limits.queue_bytes = 4096).await;
    for (n, kept) in [(0, false), (1, true)] {
        let slow = plan(&world, "d-1", Version::V5);
        let slow = if kept { slow.kept(600) } else { slow };
        let slow = slow.properties(|p| {
            p.number(PropertyId::ReceiveMaximum, 1)
                .number(PropertyId::SessionExpiry, if kept { 600 } else { 0 })
        });
        let mut device = slow.open().await;
        device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
        let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
        hub.publish_acked("d/d-1/cmd", b"first").await;
        let first = device.unacked_message().await.packet_id.unwrap();
        assert_eq!(hub.publish_acked("d/d-1/cmd", &[1; 3000]).await, ReasonCode::SUCCESS);
        assert_eq!(hub.publish_acked("d/d-1/cmd", &[2; 3000]).await, QUOTA);
        let dropped = world.metric(r#"tessera_broker_dropped_total{qos="1",why="queue_full"}"#);
        assert_eq!(dropped, n + 1);
        device.send(&Packet::PubAck(Ack::new(first, ReasonCode::SUCCESS))).await;
        assert_eq!(device.message().await.payload[0], 1);
        device.quiet().await;
        hub.publish_acked("d/d-1/cmd", &[3; 3000]).await;
        assert_eq!(device.message().await.payload[0], 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_and_their_bytes() {
    let few = world_with(|raw| raw.limits.retained_messages = 2).await;
    let small = world_with(|raw| raw.limits.retained_bytes = 1024).await;
    for (world, payload) in [(&few, vec![0; 1]), (&small, vec![0; 400])] {
        let mut client = free(world, "d-1", Version::V5).await;
        let mut keep = async |topic: &str, payload: &[u8]| {
            client.send(&retained(topic, payload)).await;
            client.acked().await
        };
        assert_eq!(keep("t/1", &payload).await, ReasonCode::SUCCESS);
        assert_eq!(keep("t/2", &payload).await, ReasonCode::SUCCESS);
        assert_eq!(keep("t/3", &payload).await, QUOTA);
        assert_eq!(hit(world, "retained"), 1);
        assert_eq!(keep("t/2", &payload).await, ReasonCode::SUCCESS);
        assert_eq!(keep("t/1", b"").await, ReasonCode::SUCCESS);
        assert_eq!(keep("t/3", &payload).await, ReasonCode::SUCCESS);
        let mut reader = free(world, "r", Version::V5).await;
        reader.subscribe("t/#", QoS::AtMostOnce).await;
        let mut topics = [reader.message().await, reader.message().await].map(|m| m.topic);
        topics.sort();
        assert_eq!(topics.map(|topic| topic.to_string()), ["t/2", "t/3"]);
        reader.quiet().await;
    }
}

/// Limits of a credential, as the broker counts them; the peer gets the same answer for all of them.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_too_large_or_not_of_now() {
    let world = world().await;
    let now = world.agent.validator().now();
    let none = || scope(&[]);
    let early = world.token_with("d-1", none(), |claims| claims.not_before = Some(now.plus(61)));
    let skewed = world.token_with("d-1", none(), |claims| claims.not_before = Some(now.plus(60)));
    let proved = |token: &[u8], at: u64| {
        let at = tessera_token::time::UnixSeconds::new(at);
        let key = crate::world::device_key("d-1");
        let proof = ConnectProof::make(&key, AUDIENCE, "d-1", token, at, 1_000);
        Credential { token: token.to_vec(), proof: Some(proof) }.to_password()
    };
    let token = world.token("d-1", none());
    // COSE_Sign1 with a payload of 4,100 bytes.
    let head = [0xd8, 0x3d, 0xd2, 0x84, 0x40, 0xa0, 0x59, 0x10, 0x04];
    let cases = [
        ("token_too_large", [&head[..], &[0; 4100], &[0x40]].concat()),
        ("token_too_large", vec![b'A'; 5601]),
        ("token_not_yet_valid", world.password("d-1", "d-1", early)),
        ("proof_not_fresh", proved(&token, NOW - 61)),
        ("proof_not_fresh", proved(&token, NOW + 61)),
    ];
    for (code, password) in cases {
        let before = refused(&world, "connect", code);
        let mut plan = plan(&world, "d-1", Version::V5);
        plan.connect.password = Some(Password::new(password.into()));
        assert_eq!(plan.refused().await, ReasonCode::NOT_AUTHORIZED, "{code}");
        assert_eq!(refused(&world, "connect", code), before + 1, "{code}");
    }
    let long = format!("d-1~{}", "x".repeat(24));
    let one = plan(&world, "d-1", Version::V5).client_id(&long);
    assert_eq!(one.refused().await, ReasonCode::NOT_AUTHORIZED);
    plan(&world, "d-1", Version::V5).token(skewed).client_id(&long[..27]).open().await;
}

/// One request of a session at a time, 64 in total; an answer of provisioning has 16 KiB at most.
#[tokio::test(flavor = "multi_thread")]
async fn token_requests_that_are_carried_at_once() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", service.local_addr().unwrap());
    let world = world_with(|raw| raw.provisioning = Some(url)).await;
    let mut clients = Vec::new();
    for n in 0..65 {
        let mut client = plan(&world, &format!("d-{n}"), Version::V5).open().await;
        client.subscribe("$tessera/token", QoS::AtMostOnce).await;
        clients.push(client);
    }
    // From the first request to the last the time of a relay runs.
    for (n, client) in clients.iter_mut().enumerate() {
        let request = crate::control::request(&format!("d-{n}"));
        client.publish("$tessera/token", QoS::AtMostOnce, &request).await;
        client.send(&Packet::PingReq).await;
        // Only the last one finds no place, and is told so.
        if n == 64 {
            assert_eq!(&*client.message().await.topic, "$tessera/token");
        }
        assert!(matches!(client.next().await, Some(Packet::PingResp)));
    }
    assert_eq!(hit(&world, "token_requests"), 1);
    let second = publish("$tessera/token", QoS::AtMostOnce, &crate::control::request("d-0"));
    clients[0].send(&second).await;
    assert_eq!(&*clients[0].message().await.topic, "$tessera/token");
    assert_eq!(hit(&world, "token_requests"), 2);
    let outcome = r#"tessera_broker_token_requests_total{outcome="limit_reached"}"#;
    assert_eq!(world.metric(outcome), 2);
}

/// A device that asks in a loop is refused before anything is carried; others are not.
#[tokio::test(flavor = "multi_thread")]
async fn token_requests_of_one_device() {
    let (address, service) = crate::control::provisioning().await;
    let world = world_with(|raw| {
        crate::control::relay_to(raw, address);
        raw.limits.token_requests_per_second = 1;
    })
    .await;
    let mut looping = plan(&world, "d-1", Version::V5).open().await;
    looping.subscribe("$tessera/token", QoS::AtMostOnce).await;
    for n in 0..60 {
        // Neither is carried, and both are charged: a token of another device, and rubbish.
        let bad = if n % 2 == 0 { crate::control::request("d-2") } else { b"rubbish".to_vec() };
        looping.publish("$tessera/token", QoS::AtMostOnce, &bad).await;
        assert_eq!(&*looping.message().await.topic, "$tessera/token");
    }
    assert_eq!(hit(&world, "token_requests_per_device"), 40);
    // A second session of the device has no turns of its own.
    let mut second = plan(&world, "d-1", Version::V5).client_id("d-1~2").open().await;
    second.subscribe("$tessera/token", QoS::AtMostOnce).await;
    second.publish("$tessera/token", QoS::AtMostOnce, &crate::control::request("d-1")).await;
    assert_eq!(&*second.message().await.topic, "$tessera/token");
    assert_eq!(hit(&world, "token_requests_per_device"), 41);
    let mut other = plan(&world, "d-3", Version::V5).open().await;
    other.subscribe("$tessera/token", QoS::AtMostOnce).await;
    other.publish("$tessera/token", QoS::AtMostOnce, &crate::control::request("d-3")).await;
    let request = crate::control::answer_one(&service, "401 Unauthorized", b"x").await;
    assert!(request.starts_with("POST /v1/token "), "{request}");
    world.advance(1);
    second.publish("$tessera/token", QoS::AtMostOnce, &crate::control::request("d-1")).await;
    crate::control::answer_one(&service, "401 Unauthorized", b"x").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_provisioning_that_is_too_large_is_none() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", service.local_addr().unwrap());
    let world = world_with(|raw| raw.provisioning = Some(url)).await;
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    client.subscribe("$tessera/token", QoS::AtMostOnce).await;
    client.publish("$tessera/token", QoS::AtMostOnce, &crate::control::request("d-1")).await;
    crate::control::answer_one(&service, "200 OK", &[0; 16 * 1024 + 1]).await;
    assert_eq!(&*client.message().await.topic, "$tessera/token");
    let outcome = r#"tessera_broker_token_requests_total{outcome="not_ready"}"#;
    assert_eq!(world.metric(outcome), 1);
    client.quiet().await;
}

/// Nor at its most: nothing is set aside for what may never come.
#[tokio::test(flavor = "multi_thread")]
async fn every_limit_at_its_most() {
    let world = world_with(|raw| {
        let limits = &mut raw.limits;
        limits.max_packet = tessera_broker::limits::MAX_PACKET_MOST;
        limits.receive_maximum = u16::MAX;
        limits.queue_messages = 1_000_000;
        limits.queue_bytes = 1024 * 1024 * 1024;
        limits.subscriptions = 100_000;
        limits.sessions = 10_000_000;
        limits.session_expiry = u32::MAX - 1;
        limits.keep_alive = u16::MAX;
        limits.retained_messages = 10_000_000;
        limits.retained_bytes = 1 << 36;
        limits.verification_workers = 256;
        limits.sockets = 10_000_000;
        limits.sockets_per_prefix = 10_000_000;
        limits.half_open = 1_000_000;
        limits.half_open_per_prefix = 1_000_000;
        limits.connects_per_second = 1_000_000;
        limits.suspects_per_second = 1_000_000;
    })
    .await;
    for version in VERSIONS {
        let kept = plan(&world, "d-1", version).scope(scope(&[("both", "t/#")])).kept(u32::MAX);
        let mut client = kept.open().await;
        client.subscribe("t/1", QoS::AtLeastOnce).await;
        // The largest packet of all is kept, and the store goes on.
        let largest = vec![7; tessera_broker::limits::MAX_PACKET_MOST - 64];
        for _ in 0..2 {
            assert_eq!(client.publish_acked("t/1", &largest).await, ReasonCode::SUCCESS);
            assert_eq!(client.message().await.payload.len(), largest.len());
        }
        world.advance(1);
        client.quiet().await;
    }
}

/// No setting makes the broker stumble at its least: it serves, or says that it cannot.
#[tokio::test(flavor = "multi_thread")]
async fn every_limit_at_its_least() {
    let least = || {
        world_with(|raw| {
            let limits = &mut raw.limits;
            limits.max_packet = 8192;
            limits.receive_maximum = 1;
            limits.queue_messages = 1;
            limits.queue_bytes = 1024;
            limits.subscriptions = 1;
            limits.sessions = 1;
            limits.session_expiry = 0;
            limits.keep_alive = 1;
            limits.retained_messages = 1;
            limits.retained_bytes = 1024;
            limits.verification_workers = 1;
            limits.sockets = 1;
            limits.sockets_per_prefix = 1;
            limits.half_open = 1;
            limits.half_open_per_prefix = 1;
            limits.connects_per_second = 1;
            limits.suspects_per_second = 1;
        })
    };
    for version in VERSIONS {
        let world = least().await;
        let mut client = free(&world, "d-1", version).await;
        client.subscribe("t/1", QoS::AtLeastOnce).await;
        for n in 0..3u8 {
            client.send(&retained("t/1", &[n])).await;
            // PUBACK and the message, in either order.
            for _ in 0..2 {
                match client.next().await {
                    Some(Packet::Publish(Publish { packet_id: Some(id), .. })) => {
                        client.send(&Packet::PubAck(Ack::new(id, ReasonCode::SUCCESS))).await;
                    }
                    Some(Packet::PubAck(ack)) => assert_eq!(ack.reason, ReasonCode::SUCCESS),
                    other => panic!("{other:?}"),
                }
            }
        }
        client.quiet().await;
    }
}
