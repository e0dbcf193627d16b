use actix_web::http::StatusCode;
use actix_web::test::{call_service, init_service, read_body, TestRequest};
use actix_web::{web, App};
use tessera_runtime::clock::ManualClock;
use tessera_runtime::random::SystemRandom;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::messages::{RefusalAnswer, TokenKind, TokenRequest, ACE_CBOR};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;

use super::*;
use crate::rest;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

/// A peer of another machine over plain HTTP asks for nothing that must not be read on the way.
#[test]
fn a_symmetric_key_is_asked_for_from_this_machine_alone() {
    actix_rt::System::new().block_on(ask_from_everywhere());
}

async fn ask_from_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let config = ProvisioningConfig::new(dir.path(), "127.0.0.1:0".parse().unwrap()).unwrap();
    let (clock, random) = (ManualClock::at(NOW), SystemRandom::shared());
    let parts = run::Parts { config, clock, random, metrics: Metrics::new(), stop: Stop::new() };
    let place = opening::Place::make(dir.path()).unwrap();
    let store = opening::open(&place, false).unwrap();
    let (service, _) = run::furnish(parts, &place, store.clone()).await.unwrap();
    let app = App::new().app_data(web::Data::from(service)).configure(rest::configure);
    let app = init_service(app).await;
    let (tenant, device) = (TenantId::parse("default").unwrap(), DeviceId::parse("a").unwrap());
    let key = SecretKey::from_seed(&[1; 32]);
    for (peer, kind, expected) in [
        ("192.0.2.1:9", TokenKind::Symmetric, RefusalCode::ChannelInClear),
        ("[2001:db8::1]:9", TokenKind::Symmetric, RefusalCode::ChannelInClear),
        ("192.0.2.1:9", TokenKind::Key, RefusalCode::DeviceUnknown),
        ("127.0.0.1:9", TokenKind::Symmetric, RefusalCode::DeviceUnknown),
        ("[::1]:9", TokenKind::Symmetric, RefusalCode::DeviceUnknown),
        ("[::ffff:127.0.0.1]:9", TokenKind::Symmetric, RefusalCode::DeviceUnknown),
    ] {
        let request = TokenRequest::sign(&key, &tenant, &device, NOW, &[1; 16], kind);
        let request = TestRequest::post()
            .uri("/v1/token")
            .peer_addr(peer.parse().unwrap())
            .insert_header(("content-type", ACE_CBOR))
            // What a peer says of itself counts for nothing.
            .insert_header(("x-forwarded-for", "127.0.0.1"))
            .insert_header(("x-forwarded-proto", "https"))
            .set_payload(request.to_cbor());
        let answer = call_service(&app, request.to_request()).await;
        let forbidden = answer.status() == StatusCode::FORBIDDEN;
        let refusal = RefusalAnswer::from_cbor(&read_body(answer).await).unwrap();
        assert_eq!(refusal.code, Some(expected), "{peer}");
        assert_eq!(forbidden, expected == RefusalCode::ChannelInClear);
    }
    store.close().unwrap();
}

/// The keys of a service that an earlier version founded in 1970 are good again.
#[test]
fn keys_that_were_made_in_1970_are_dated_anew() {
    actix_rt::System::new().block_on(async {
        use crate::keys::{in_state, rotate, State};
        use crate::registry::Actor;
        let dir = tempfile::tempdir().unwrap();
        let config = ProvisioningConfig::new(dir.path(), "127.0.0.1:0".parse().unwrap()).unwrap();
        let (clock, random) = (ManualClock::at(UnixSeconds::new(77)), SystemRandom::shared());
        let place = opening::Place::make(dir.path()).unwrap();
        let store = opening::open(&place, false).unwrap();
        let parts = |config| run::Parts {
            config,
            clock: clock.clone(),
            random: random.clone(),
            metrics: Metrics::new(),
            stop: Stop::new(),
        };
        let (before, _) = run::furnish(parts(config), &place, store.clone()).await.unwrap();
        let tenant = TenantId::parse("default").unwrap();
        rotate::rotate(&before, &Actor("test".to_owned()), &tenant).await.unwrap();
        chained(&before).await;
        clock.set_unix(NOW);
        let config = ProvisioningConfig::new(dir.path(), "127.0.0.1:0".parse().unwrap()).unwrap();
        let (service, _) = run::furnish(parts(config), &place, store.clone()).await.unwrap();
        crate::heal::keys(&service).await.unwrap();
        for (state, valid) in [
            (State::Next, crate::limits::KEY_SECONDS),
            (State::Active, crate::limits::KEY_SECONDS),
            (State::Retiring, tessera_token::limits::TOKEN_LIFE_SECONDS),
        ] {
            let (_, key) = in_state(&service.tables, &tenant, state).unwrap().unwrap();
            assert!(key.not_after >= NOW.get() + valid, "{state:?} {key:?}");
            assert!(key.not_before < NOW.get());
        }
        // Nothing is left to be dated.
        let seq = crate::trust::ledger::Head::read(&service.tables).unwrap().seq;
        crate::heal::keys(&service).await.unwrap();
        assert_eq!(crate::trust::ledger::Head::read(&service.tables).unwrap().seq, seq);
        chained(&service).await;
        store.close().unwrap();
    });
}

/// Nothing is on its way to the store any more. Closing it waits for all who write, and they write on this thread.
async fn chained(service: &crate::service::Service) {
    service.audit.send(crate::audit::actor::ChainPending).await.unwrap().unwrap();
}
