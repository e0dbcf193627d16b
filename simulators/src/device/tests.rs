use tessera_runtime::clock::ManualClock;
use tessera_runtime::random::{SeededRandom, SystemRandom};
use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::encoding::from_base64url;
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::issue::issue;
use tessera_token::key::{Algorithm, SecretKey};
use tessera_token::messages::{AceError, RefusalAnswer, TokenAnswer, TokenKind, TokenRequest};
use tessera_token::proof::{Credential, ResumptionSecret};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicFilter;

use super::api::{token_answer, token_request, ApiError};
use super::clock::DeviceClock;
use super::credential::HeldToken;
use super::identity::Identity;
use super::unverified_claims::unverified_claims;

pub(super) const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

pub(super) fn identity() -> Identity {
    let (tenant, device) = (TenantId::parse("t").unwrap(), DeviceId::parse("d-1").unwrap());
    Identity::new(tenant, device, &SeededRandom::predictable(1)).unwrap()
}

fn scope() -> Scope {
    let filter = TopicFilter::parse("d/d-1/telemetry").unwrap();
    Scope::new(vec![ScopeEntry { filter, permission: Permission::Publish }]).unwrap()
}

pub(super) fn answer(identity: &Identity) -> TokenAnswer {
    answer_until(identity, NOW, 60)
}

/// A token that is issued at this time, for so many seconds.
pub(super) fn answer_until(identity: &Identity, issued: UnixSeconds, life: u64) -> TokenAnswer {
    let claims = Claims {
        tenant: identity.tenant.clone(),
        device: identity.device.clone(),
        audience: Audience::parse("mqtt").unwrap(),
        expires: issued.plus(life),
        not_before: None,
        issued,
        serial: Serial::from_counter(7),
        confirmation: Some(identity.key.public()),
        scope: scope(),
        epochs: Epochs::default(),
    };
    let issuer = SecretKey::from_seed(&[9; 32]);
    TokenAnswer {
        access_token: issue(&claims, Algorithm::Ed25519, &issuer).unwrap(),
        expires_in: life,
        bearer: false,
        key: None,
        audience: claims.audience,
        scope: scope(),
        server_time: issued,
    }
}

#[test]
fn a_password_holds_the_token_and_a_proof_by_the_device_key() {
    let identity = identity();
    let held = HeldToken::of(&answer(&identity));
    let text = held.password_text(&identity.key, "d-1", NOW, 5);
    for password in [text.as_bytes().to_vec(), from_base64url(&text).unwrap()] {
        let credential = Credential::from_password(&password).unwrap();
        let proof = credential.proof.unwrap();
        assert_eq!((proof.counter, proof.time), (5, NOW));
        let public = identity.key.public();
        assert!(proof.verifies(&public, "mqtt", "d-1", &credential.token));
        assert!(!proof.verifies(&public, "mqtt", "d-2", &credential.token));
    }
}

#[test]
fn a_resumed_password_holds_the_token_and_a_proof_by_the_secret() {
    let held = HeldToken::of(&answer(&identity()));
    let secret = ResumptionSecret::from_bytes(&[7; 32]);
    let password = held.password_resumed(&secret, "d-1", NOW, 6);
    let credential = Credential::from_password(&password).unwrap();
    let proof = credential.proof.unwrap();
    assert_eq!((proof.counter, proof.time, proof.has_mac()), (6, NOW, true));
    assert!(proof.resumes(&secret, "mqtt", "d-1", &credential.token));
    assert!(!proof.resumes(&secret, "mqtt", "d-2", &credential.token));
    assert!(!proof.resumes(&secret, "mqtt", "d-1", b"another token"));
}

#[test]
fn a_bearer_password_is_the_token_alone() {
    let identity = identity();
    let held = HeldToken { bearer: true, ..HeldToken::of(&answer(&identity)) };
    assert_eq!(held.password(&identity.key, "d-1", NOW, 5), held.bytes);
}

#[test]
fn the_holder_can_read_the_token() {
    let answer = answer(&identity());
    let claims = unverified_claims(&answer.access_token).unwrap();
    assert_eq!((claims.device.as_str(), claims.scope), ("d-1", scope()));
    assert!(unverified_claims(b"").is_none());
    assert!(unverified_claims(&answer.access_token[..50]).is_none());
    assert!(unverified_claims(&[0x84; 5000]).is_none());
}

#[test]
fn answers_and_refusals_are_told_apart_and_a_token_alone_sets_the_clock() {
    let identity = identity();
    let late = || DeviceClock::new(ManualClock::at(NOW), -300);
    let clock = late();
    assert_eq!(token_answer(&answer(&identity).to_cbor(), &clock, None).unwrap().expires_in, 60);
    assert_eq!(clock.now(), NOW);
    // A refusal that names a future: nothing is signed for it.
    let future = NOW.plus(1_000_000);
    let refusal = RefusalAnswer::new(AceError::InvalidGrant, RefusalCode::ProofNotFresh, future);
    let clock = late();
    let told = token_answer(&refusal.with_cnonce(&[9; 32]).to_cbor(), &clock, None);
    assert!(matches!(told, Err(ApiError::Refused(RefusalCode::ProofNotFresh))));
    assert_eq!((clock.now(), clock.hint()), (NOW.minus(300), 1_000_300));
    let next = || {
        let bytes = token_request(&identity, &clock, &SystemRandom, TokenKind::Key).unwrap();
        TokenRequest::from_cbor(&bytes.bytes).unwrap()
    };
    let request = next();
    assert_eq!((request.cnonce.as_deref(), request.time.get()), (Some(&[9; 32][..]), 0));
    assert!(request.verifies(&identity.key.public()));
    assert_eq!((next().cnonce, next().time), (None, NOW.minus(300)));
    // An answer does not move the clock beyond the times in its token either.
    let clock = late();
    let bent = TokenAnswer { server_time: future, ..answer(&identity) };
    token_answer(&bent.to_cbor(), &clock, None).unwrap();
    assert_eq!(clock.now(), NOW.plus(60));
    assert_eq!(HeldToken::of(&bent).received, NOW.plus(60));
    let clock = DeviceClock::new(ManualClock::at(NOW), 0);
    assert!(matches!(token_answer(b"nonsense", &clock, None), Err(ApiError::Http(_))));
}

#[test]
fn a_request_is_signed_with_the_own_time_whatever_a_token_said() {
    let identity = identity();
    for (skew, told) in [(500, NOW), (-500, NOW), (0, NOW.plus(1_000_000)), (0, NOW.minus(900))] {
        let clock = DeviceClock::new(ManualClock::at(NOW), skew);
        clock.hear(told);
        let bytes = token_request(&identity, &clock, &SystemRandom, TokenKind::Key).unwrap();
        let request = TokenRequest::from_cbor(&bytes.bytes).unwrap();
        assert_eq!(request.time.get(), NOW.get().saturating_add_signed(skew));
        assert!(request.verifies(&identity.key.public()));
    }
}

#[test]
fn a_proof_is_for_the_audience_in_the_token() {
    let identity = identity();
    let bent = TokenAnswer { audience: Audience::parse("other").unwrap(), ..answer(&identity) };
    assert_eq!(HeldToken::of(&bent).audience, "mqtt");
}

#[test]
fn a_seed_makes_the_same_key_again() {
    assert_eq!(identity().key.public(), identity().key.public());
}
