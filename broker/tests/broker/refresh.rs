//! `$tessera/refresh`: provisioning, and nothing else, hears of sessions and pushes tokens.

use tessera_broker::codec::{Ack, Packet, QoS, ReasonCode, Version};
use tessera_token::claims::Claims;
use tessera_token::hash::TokenHash;
use tessera_token::messages::{PushCall, PushPage, TokenAnswer, SERVICE_TENANT};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;
use tessera_token::time::UnixSeconds;

use crate::client::{plan, publish, until, Client, VERSIONS};
use crate::world::{device_scope, scope, world, World, NOW};

const REFRESH: &str = "$tessera/refresh";
const TOKEN: &str = "$tessera/token";

/// Provisioning, which listens.
async fn service(world: &World) -> Client {
    let mut service = unheard(world).await;
    assert_eq!(service.subscribe(REFRESH, QoS::AtMostOnce).await, ReasonCode::SUCCESS);
    service
}

async fn unheard(world: &World) -> Client {
    let token = world.token_of_service();
    plan(world, "provisioning", Version::V5).token(token).open().await
}

async fn call(service: &mut Client, call: PushCall) {
    service.publish(REFRESH, QoS::AtMostOnce, &call.to_cbor()).await;
}

async fn page(service: &mut Client) -> PushPage {
    let message = service.message().await;
    assert_eq!((&*message.topic, message.retain), (REFRESH, false));
    PushPage::from_cbor(&message.payload).unwrap()
}

/// The next page in which something stands.
async fn news(service: &mut Client) -> PushPage {
    loop {
        call(service, PushCall::Next).await;
        let page = page(service).await;
        if page != PushPage::default() {
            return page;
        }
    }
}

/// A device that takes pushes.
async fn device(world: &World, name: &str, version: Version) -> Client {
    let mut client = plan(world, name, version).open().await;
    client.subscribe(TOKEN, QoS::AtLeastOnce).await;
    client
}

fn names(page: &PushPage) -> Vec<&str> {
    let mut names: Vec<_> = page.sessions.iter().map(|one| one.device.as_str()).collect();
    names.sort_unstable();
    names
}

fn answer(
    world: &World,
    name: &str,
    scope: Scope,
    change: impl FnOnce(&mut Claims),
) -> TokenAnswer {
    TokenAnswer {
        access_token: world.token_with(name, scope.clone(), change),
        expires_in: 3600,
        bearer: false,
        key: None,
        audience: "broker".parse().unwrap(),
        scope,
        server_time: UnixSeconds::new(NOW),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_is_closed_to_all_but_provisioning_with_each_quality_of_service() {
    let world = world().await;
    let all = || scope(&[("both", "#")]);
    for version in VERSIONS {
        let mut client = plan(&world, "d-1", version).scope(all()).open().await;
        let refused = match version {
            Version::V311 => ReasonCode::UNSPECIFIED,
            Version::V5 => ReasonCode::NOT_AUTHORIZED,
        };
        for filter in [REFRESH, "$share/g/$tessera/refresh", "$tessera/+", "$tessera/#"] {
            assert_eq!(client.subscribe(filter, QoS::AtMostOnce).await, refused, "{filter}");
        }
        client.quiet().await;
    }
    let begin = PushCall::Begin.to_cbor();
    let mut client = plan(&world, "d-1", Version::V5).scope(all()).open().await;
    assert_eq!(client.publish_acked(REFRESH, &begin).await, ReasonCode::NOT_AUTHORIZED);
    client.publish(REFRESH, QoS::ExactlyOnce, &begin).await;
    match client.next().await {
        Some(Packet::PubRec(ack)) => assert_eq!(ack.reason, ReasonCode::NOT_AUTHORIZED),
        other => panic!("expected PUBREC, got {other:?}"),
    }
    client.quiet().await;
    client.publish(REFRESH, QoS::AtMostOnce, &begin).await;
    client.ended_with(ReasonCode::NOT_AUTHORIZED).await;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut client = plan(&world, "d-1", Version::V311).scope(all()).open().await;
        client.publish(REFRESH, qos, &begin).await;
        client.closed().await;
    }
    let line = r#"tessera_broker_refusals_total{code="publish_not_authorised",what="publish"}"#;
    assert_eq!(world.metric(line), 6);
    // Provisioning itself has this topic, its own token and its status, and nothing of a tenant.
    let mut service = unheard(&world).await;
    for filter in ["$share/g/$tessera/refresh", "$tessera/alerts", "#", "d/1/telemetry"] {
        let ack = service.subscribe(filter, QoS::AtMostOnce).await;
        assert_eq!(ack, ReasonCode::NOT_AUTHORIZED, "{filter}");
    }
    assert_eq!(service.publish_acked("d/1/cmd", b"x").await, ReasonCode::NOT_AUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_taken_with_each_quality_of_service_and_nothing_of_it_is_retained() {
    let world = world().await;
    let _device = device(&world, "d-1", Version::V5).await;
    let begin = PushCall::Begin.to_cbor();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        // The next connection takes the one before over.
        let mut service = service(&world).await;
        let Packet::Publish(mut packet) = publish(REFRESH, qos, &begin) else { panic!() };
        packet.retain = true;
        let packet_id = packet.packet_id;
        service.send(&Packet::Publish(packet)).await;
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => assert_eq!(service.acked().await, ReasonCode::SUCCESS),
            QoS::ExactlyOnce => {
                let ack = |reason| Ack::new(packet_id.unwrap(), reason);
                let success = || ack(ReasonCode::SUCCESS);
                assert_eq!(service.next().await, Some(Packet::PubRec(success())));
                service.send(&Packet::PubRel(success())).await;
                assert_eq!(service.next().await, Some(Packet::PubComp(success())));
            }
        }
        assert_eq!(names(&page(&mut service).await), ["d-1"], "{qos:?}");
    }
    let mut again = service(&world).await;
    again.quiet().await;
    let line = r#"tessera_broker_token_requests_total{outcome="key_not_proved"}"#;
    assert_eq!(world.metric(line), 0, "no call is taken for a token request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_token_takes_its_place_and_the_device_hears_of_it() {
    let world = world().await;
    for version in VERSIONS {
        let mut device = device(&world, "d-1", version).await;
        let mut service = service(&world).await;
        call(&mut service, PushCall::Begin).await;
        let begun = page(&mut service).await;
        assert_eq!(names(&begun), ["d-1"]);
        let session = begun.sessions[0].session;
        let next = answer(&world, "d-1", device_scope("d-1"), |claims| {
            claims.expires = claims.issued.plus(9000)
        });
        call(&mut service, PushCall::Token { session, answer: next.to_cbor() }).await;
        let got = device.message().await;
        assert_eq!((&*got.topic, &got.payload[..]), (TOKEN, &next.to_cbor()[..]));
        let told = news(&mut service).await;
        assert_eq!((told.sessions.len(), told.failed.len(), told.gone.len()), (1, 0, 0));
        assert_eq!(told.sessions[0].token, TokenHash::of(&next.access_token));
        assert_eq!(told.sessions[0].session, session);
        assert_eq!(told.sessions[0].expires, UnixSeconds::new(NOW + 9000));
        device.goodbye().await;
        assert_eq!(news(&mut service).await.gone, [session]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_not_for_the_session_changes_nothing_and_its_code_is_told() {
    let world = world().await;
    let mut device = device(&world, "d-1", Version::V5).await;
    let mut service = service(&world).await;
    call(&mut service, PushCall::Begin).await;
    let session = page(&mut service).await.sessions[0].session;
    let own = || device_scope("d-1");
    let good = answer(&world, "d-1", own(), |_| {});
    let wrong = [
        (session, answer(&world, "d-2", own(), |_| {}), RefusalCode::ClientIdMismatch),
        (
            session,
            answer(&world, "d-1", own(), |c| c.confirmation = None),
            RefusalCode::ConfirmationKey,
        ),
        (
            session,
            answer(&world, "d-1", scope(&[("both", "#")]), |_| {}),
            RefusalCode::ScopeNotAllowed,
        ),
        (session, TokenAnswer { bearer: true, ..good.clone() }, RefusalCode::BearerNotAllowed),
        (session + 1_000, good.clone(), RefusalCode::NotFound),
    ];
    for (to, answer, code) in wrong {
        call(&mut service, PushCall::Token { session: to, answer: answer.to_cbor() }).await;
        let told = news(&mut service).await;
        assert_eq!((told.failed, told.sessions.len()), (vec![(to, code)], 0), "{code:?}");
    }
    let call_of_bytes = PushCall::Token { session, answer: b"x".to_vec() };
    call(&mut service, call_of_bytes).await;
    assert_eq!(news(&mut service).await.failed, [(session, RefusalCode::RequestMalformed)]);
    // Payloads that are no call, and a call for all sessions that came before.
    for payload in [&b""[..], b"x", &[0x81, 9], &PushCall::Begin.to_cbor()] {
        service.publish(REFRESH, QoS::AtMostOnce, payload).await;
    }
    service.quiet().await;
    let count = |outcome: &str| {
        world.metric(&format!(r#"tessera_broker_token_requests_total{{outcome="{outcome}"}}"#))
    };
    until(|| count("push_malformed") == 3 && count("push_begun") == 1).await;
    device.quiet().await;
    world.advance(3601);
    device.ended_with(ReasonCode::NOT_AUTHORIZED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_told_when_they_take_pushes_and_when_they_take_none() {
    let world = world().await;
    let mut service = service(&world).await;
    call(&mut service, PushCall::Begin).await;
    let mut kept = plan(&world, "d-1", Version::V5).kept(600).open().await;
    kept.subscribe(TOKEN, QoS::AtLeastOnce).await;
    let first = page(&mut service).await;
    assert_eq!(names(&first), ["d-1"]);
    let session = first.sessions[0].session;
    assert!(first.sessions.iter().all(|one| one.tenant.as_str() != SERVICE_TENANT));
    // One that does not listen on the topic of tokens is not told.
    let mut silent = plan(&world, "d-2", Version::V5).open().await;
    silent.subscribe("d/d-2/cmd", QoS::AtMostOnce).await;
    kept.unsubscribe(TOKEN).await;
    assert_eq!(news(&mut service).await.gone, [session]);
    kept.subscribe(TOKEN, QoS::AtLeastOnce).await;
    assert_eq!(news(&mut service).await.sessions[0].session, session);
    // It is kept without a connection, and has its number when its device comes back.
    kept.goodbye().await;
    assert_eq!(news(&mut service).await.gone, [session]);
    let back = plan(&world, "d-1", Version::V5).kept(600).open().await;
    assert_eq!(news(&mut service).await.sessions[0].session, session);
    drop(back);
    world.revoke_device("d-1");
    assert_eq!(news(&mut service).await.gone, [session]);
    silent.quiet().await;
}
