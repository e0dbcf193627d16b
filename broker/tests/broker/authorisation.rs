//! Rights on every path: who may connect, publish, subscribe, have a will, receive.

use bytes::Bytes;
use tessera_broker::codec::{
    Packet, Password, Properties, PropertyId, Publish, QoS, ReasonCode, Subscribe,
    SubscribeOptions, Subscription, Version,
};
use tessera_token::proof::{ConnectProof, Credential};

use crate::client::{plan, publish, Client, VERSIONS};
use crate::world::{backend_scope, device_key, scope, world, world_with, AUDIENCE};

const NOT_AUTHORIZED: ReasonCode = ReasonCode::NOT_AUTHORIZED;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_connects_and_speaks_on_the_device_lane() {
    let world = world().await;
    for version in VERSIONS {
        let mut device = plan(&world, "d-1", version).open().await;
        let mut backend =
            plan(&world, "hub", version).scope(scope(&[("pub", "d/+/cmd")])).open().await;
        assert_eq!(
            device.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await,
            ReasonCode::GRANTED_QOS_1
        );
        assert_eq!(backend.publish_acked("d/d-1/cmd", b"on").await, ReasonCode::SUCCESS);
        let message = device.message().await;
        assert_eq!(
            (&*message.topic, &message.payload[..], message.qos),
            ("d/d-1/cmd", &b"on"[..], QoS::AtLeastOnce)
        );
        device.goodbye().await;
        backend.goodbye().await;
    }
    assert_eq!(world.metric(r#"tessera_broker_connects_total{session="new",version="5"}"#), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_all_look_the_same_outside() {
    let world = world().await;
    for version in VERSIONS {
        let token = world.token("d-1", scope(&[]));
        let good = world.password("d-1", "d-1", token.clone());
        let mut forged = good.clone();
        *forged.last_mut().unwrap() ^= 1;
        let expired = world.token_with("d-1", scope(&[]), |claims| {
            claims.issued = claims.issued.minus(7200);
            claims.expires = claims.issued.plus(3600);
        });
        let foreign = world
            .token_with("d-1", scope(&[]), |claims| claims.audience = "other".parse().unwrap());
        let stale_epoch = world.token_with("d-1", scope(&[]), |claims| claims.epochs.tenant = 0);
        let thief = ConnectProof::make(
            &device_key("thief"),
            AUDIENCE,
            "d-1",
            &token,
            world.agent.validator().now(),
            9,
        );
        let stolen = Credential { token: token.clone(), proof: Some(thief) }.to_password();
        let cases: Vec<(&str, Option<Vec<u8>>)> = vec![
            ("credential_missing", None),
            ("credential_missing", Some(Vec::new())),
            ("credential_malformed", Some(b"A".to_vec())),
            ("token_form", Some(vec![0xa0])),
            ("proof_missing", Some(token.clone())),
            ("proof_invalid", Some(forged)),
            ("proof_invalid", Some(stolen)),
            ("token_expired", Some(world.password("d-1", "d-1", expired))),
            ("audience_mismatch", Some(world.password("d-1", "d-1", foreign))),
            ("tenant_epoch", Some(world.password("d-1", "d-1", stale_epoch))),
        ];
        for (code, password) in cases {
            let metric =
                format!(r#"tessera_broker_refusals_total{{code="{code}",what="connect"}}"#);
            let before = world.metric(&metric);
            let mut plan = plan(&world, "d-1", version);
            match password {
                Some(password) => plan.connect.password = Some(Password::new(password.into())),
                None => {
                    plan.connect.password = None;
                    let mut client = Client::raw(&world, version).await;
                    client.send(&Packet::Connect(Box::new(plan.connect))).await;
                    let Some(Packet::ConnAck(ack)) = client.next().await else { panic!("{code}") };
                    assert_eq!(
                        (ack.reason, ack.properties.is_empty()),
                        (NOT_AUTHORIZED, true),
                        "{code}"
                    );
                    client.closed().await;
                    assert_eq!(world.metric(&metric), before + 1, "{code}");
                    continue;
                }
            }
            let (mut client, ack) = plan.try_open().await;
            let ack = ack.unwrap();
            assert_eq!((ack.reason, ack.properties.is_empty()), (NOT_AUTHORIZED, true), "{code}");
            client.closed().await;
            assert_eq!(world.metric(&metric), before + 1, "{code}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_good_once() {
    let world = world().await;
    let password = world.password("d-1", "d-1", world.token("d-1", scope(&[])));
    let again = || {
        let mut plan = plan(&world, "d-1", Version::V5);
        plan.connect.password = Some(Password::new(password.clone().into()));
        plan
    };
    again().open().await;
    assert_eq!(again().refused().await, NOT_AUTHORIZED);
    assert_eq!(
        world.metric(r#"tessera_broker_refusals_total{code="proof_replayed",what="connect"}"#),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bearer_only_where_the_tenant_says_so() {
    let world = world().await;
    let bearer = || {
        let token = world.token_with("d-1", scope(&[]), |claims| claims.confirmation = None);
        let mut plan = plan(&world, "d-1", Version::V5);
        plan.connect.password = Some(Password::new(token.into()));
        plan
    };
    assert_eq!(bearer().refused().await, NOT_AUTHORIZED);
    world.allow_bearer();
    let mut client = bearer().open().await;
    world.forbid_bearer();
    client.ended_with(NOT_AUTHORIZED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_authentication_methods_are_refused() {
    let world = world().await;
    let asked =
        plan(&world, "d-1", Version::V5).properties(|p| p.text(PropertyId::AuthMethod, "GS2-KRB5"));
    assert_eq!(asked.refused().await, ReasonCode::BAD_AUTHENTICATION_METHOD);
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_outside_the_scope() {
    let world = world().await;
    let topics = [
        "d/d-2/telemetry",
        "d/d-1/cmd",
        "d/d-1/telemetry/x",
        "$SYS/x",
        "$tessera/status",
        "$tessera/alerts",
        "authz-info",
    ];
    for topic in topics {
        let mut client = plan(&world, "d-1", Version::V5).open().await;
        client.send(&publish(topic, QoS::AtLeastOnce, b"x")).await;
        let Some(Packet::PubAck(ack)) = client.next().await else { panic!("{topic}") };
        assert_eq!(ack.reason, NOT_AUTHORIZED, "{topic}");
        let words = ack.properties.text(PropertyId::ReasonString).unwrap_or_default().to_owned();
        assert!(words.starts_with("publish_not_authorised: "), "{words}");
        client.quiet().await;
        client.publish(topic, QoS::AtMostOnce, b"x").await;
        client.ended_with(NOT_AUTHORIZED).await;
        let mut client = plan(&world, "d-1", Version::V5).open().await;
        client.send(&publish(topic, QoS::ExactlyOnce, b"x")).await;
        let Some(Packet::PubRec(ack)) = client.next().await else { panic!("{topic}") };
        assert_eq!(ack.reason, NOT_AUTHORIZED, "{topic}");
        client.quiet().await;
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut client = plan(&world, "d-1", Version::V311).open().await;
            client.publish(topic, qos, b"x").await;
            client.ended_with(NOT_AUTHORIZED).await;
        }
    }
    let refused = world
        .metric(r#"tessera_broker_refusals_total{code="publish_not_authorised",what="publish"}"#);
    assert_eq!(refused, 6 * topics.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn words_can_be_turned_off_by_either_side() {
    let silent = world_with(|raw| raw.reason_strings = false).await;
    let talkative = world().await;
    let declined = plan(&talkative, "d-1", Version::V5)
        .properties(|p| p.number(PropertyId::RequestProblemInfo, 0));
    for plan in [plan(&silent, "d-1", Version::V5), declined] {
        let mut client = plan.open().await;
        client.send(&publish("d/d-2/telemetry", QoS::AtLeastOnce, b"x")).await;
        let Some(Packet::PubAck(ack)) = client.next().await else { panic!() };
        assert_eq!((ack.reason, ack.properties.is_empty()), (NOT_AUTHORIZED, true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_behind_an_alias_is_what_is_authorised() {
    let world = world().await;
    let aliased = |topic: &str, alias: u32| {
        Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: topic.into(),
            packet_id: Some(4),
            properties: Properties::build().number(PropertyId::TopicAlias, alias).finish().unwrap(),
            payload: Bytes::from_static(b"x"),
        })
    };
    let mut hub = plan(&world, "hub", Version::V5).scope(backend_scope()).open().await;
    hub.subscribe("d/d-1/telemetry", QoS::AtLeastOnce).await;
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    client.send(&aliased("d/d-2/telemetry", 1)).await;
    assert_eq!(client.acked().await, NOT_AUTHORIZED);
    client.send(&aliased("", 1)).await;
    assert_eq!(client.acked().await, NOT_AUTHORIZED);
    client.send(&aliased("d/d-1/telemetry", 2)).await;
    assert_eq!(client.acked().await, ReasonCode::SUCCESS);
    client.send(&aliased("", 2)).await;
    assert_eq!(client.acked().await, ReasonCode::SUCCESS);
    assert_eq!(&*hub.message().await.topic, "d/d-1/telemetry");
    assert_eq!(&*hub.message().await.topic, "d/d-1/telemetry");
    client.send(&aliased("", 3)).await;
    client.ended_with(ReasonCode::PROTOCOL_ERROR).await;
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    client.send(&aliased("", 2)).await;
    client.ended_with(ReasonCode::PROTOCOL_ERROR).await;
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    client.send(&aliased("d/d-1/telemetry", 17)).await;
    client.ended_with(ReasonCode::TOPIC_ALIAS_INVALID).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_judged_one_by_one() {
    let world = world_with(|raw| raw.shared_for_v311 = true).await;
    let rights = scope(&[("sub", "d/+/telemetry"), ("sub", "a/#"), ("sub", "#"), ("pub", "p/#")]);
    let narrow = scope(&[("sub", "d/d-1/cmd"), ("pub", "p/x")]);
    let wide = ["d/+/telemetry", "d/x/telemetry", "a/#", "a", "a/b/+", "#", "p/x", "$share/g/a/#"];
    let closed = [
        "$SYS/#",
        "$SYS/broker",
        "$share/g/$SYS/x",
        "$tessera/#",
        "$tessera/alerts",
        "$queue/a",
        "$x",
        "authz-info",
        "$share/g/authz-info",
    ];
    let outside =
        ["d/+/cmd", "d/#", "#", "+/+/+", "p/x", "$share/g/d/+/cmd", "$share/g/$tessera/token"];
    for version in VERSIONS {
        let mut client = plan(&world, "d-1", version).scope(rights.clone()).open().await;
        for filter in wide {
            assert_eq!(
                client.subscribe(filter, QoS::AtLeastOnce).await,
                ReasonCode::GRANTED_QOS_1,
                "{filter}"
            );
        }
        let refusal = if version == Version::V5 { NOT_AUTHORIZED } else { ReasonCode::UNSPECIFIED };
        for filter in closed {
            assert_eq!(client.subscribe(filter, QoS::AtLeastOnce).await, refusal, "{filter}");
        }
        client.goodbye().await;
        let mut client = plan(&world, "d-1", version).scope(narrow.clone()).open().await;
        for filter in outside {
            assert_eq!(client.subscribe(filter, QoS::AtLeastOnce).await, refusal, "{filter}");
        }
        client.goodbye().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_of_a_long_subscribe_is_checked() {
    let world = world().await;
    let mut client = plan(&world, "d-1", Version::V5).open().await;
    let entry = |filter: String| Subscription {
        filter: filter.into(),
        options: SubscribeOptions::default(),
    };
    let mut entries: Vec<_> = (0..200).map(|n| entry(format!("d/d-{n}/telemetry"))).collect();
    entries[100] = entry("d/d-1/cmd".to_owned());
    client
        .send(&Packet::Subscribe(Subscribe {
            packet_id: 1,
            properties: Properties::new(),
            entries,
        }))
        .await;
    let Some(Packet::SubAck(ack)) = client.next().await else { panic!() };
    for (place, reason) in ack.reasons.iter().enumerate() {
        let expected = if place == 100 { ReasonCode::SUCCESS } else { NOT_AUTHORIZED };
        assert_eq!(*reason, expected, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wills_outside_the_scope_refuse_the_connect() {
    let world = world().await;
    for topic in ["d/d-2/telemetry", "$SYS/x", "$tessera/token", "$tessera/alerts"] {
        for version in VERSIONS {
            let refused =
                plan(&world, "d-1", version).will(topic, Properties::new()).refused().await;
            assert_eq!(refused, NOT_AUTHORIZED, "{topic}");
        }
    }
    assert_eq!(world.broker.sessions(), 0);
    plan(&world, "d-1", Version::V5).will("d/d-1/status", Properties::new()).open().await;
}
