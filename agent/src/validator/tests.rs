use std::time::Duration;

use tessera_token::chain::{KeyState, TenantTrust};
use tessera_token::key::SecretKey;
use tessera_token::trust::Change;

use super::*;
use crate::testing::*;

impl Validator {
    /// The parts before the proof is used up, with these ticket keys.
    fn judged(
        &self,
        presented: impl Into<Presented>,
        client_id: &str,
        tickets: &[TicketKey],
    ) -> Result<Admission, Refusal> {
        self.judge(self.screen(presented, client_id)?, tickets)
    }
}

async fn code(verifier: &Verifier, password: &[u8]) -> Option<RefusalCode> {
    verifier.validator.admit(password, DEVICE).await.err().map(|refusal| refusal.code)
}

#[tokio::test]
async fn a_good_credential_is_admitted_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let verifier = Verifier::trusting(folder.path(), &world);
    let password = world.password(&world.token(), NOW, 1);
    let admission = verifier.validator.admit(&password, DEVICE).await.unwrap();
    assert_eq!(admission.grant.device().as_str(), DEVICE);
    assert_eq!(admission.client_id.as_str(), DEVICE);
    let replayed = verifier.validator.admit(&password, DEVICE).await.unwrap_err();
    assert_eq!(replayed.code, RefusalCode::ProofReplayed);
    assert_eq!(replayed.subject.unwrap().device.as_str(), DEVICE);
    let next = world.password(&world.token(), NOW, 2);
    assert_eq!(code(&verifier, &next).await, None);
}

#[tokio::test]
async fn replay_is_refused_after_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let password = world.password(&world.token(), NOW, 8);
    let verifier = Verifier::trusting(folder.path(), &world);
    assert_eq!(code(&verifier, &password).await, None);
    verifier.ledger.finish(at(NOW)).unwrap();
    verifier.store.close().unwrap();
    drop(verifier);
    let again = Verifier::open(folder.path(), world.pin(), NOW);
    assert_eq!(code(&again, &password).await, Some(RefusalCode::ProofReplayed));
    // Without a network, from the store alone.
    assert_eq!(code(&again, &world.password(&world.token(), NOW, 9)).await, None);
    again.store.close().unwrap();
    drop(again);
    // After a stop without notice it is not known; a proof that is made a few seconds later is good.
    let again = Verifier::open(folder.path(), world.pin(), NOW);
    for counter in [8, 9, 10] {
        let password = world.password(&world.token(), NOW, counter);
        assert_eq!(code(&again, &password).await, Some(RefusalCode::ProofUndecided));
    }
    assert_eq!(again.validator.decides_proofs(), Err(RefusalCode::ProofUndecided));
    assert_eq!(again.validator.ready(), Ok(()));
    again.clock.advance(Duration::from_secs(3));
    assert_eq!(again.validator.decides_proofs(), Ok(()));
    assert_eq!(code(&again, &world.password(&world.token(), NOW + 3, 1)).await, None);
}

/// A holder of a resumption secret, or of a ticket key, can make a proof with any counter.
#[tokio::test]
async fn the_highest_counter_by_a_stolen_secret_does_not_end_the_device() {
    use tessera_token::hash::TokenHash;
    use tessera_token::proof::{ConnectProof, TicketKey};
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let verifier = Verifier::trusting(folder.path(), &world);
    let token = world.token();
    let tickets = [TicketKey::from_bytes(&[9; 32])];
    let name = world.device_key.public().thumbprint();
    let secret = tickets[0].secret_of(&"broker".parse().unwrap(), &name, &TokenHash::of(&token));
    let last = ConnectProof::resume(&secret, "broker", DEVICE, &token, at(NOW + 60), u32::MAX);
    let stolen = Credential { token: token.clone(), proof: Some(last) };
    let admission = verifier.validator.judged(stolen, DEVICE, &tickets).unwrap();
    assert!(verifier.validator.settle(admission).await.is_ok());
    let refused = code(&verifier, &world.password(&token, NOW, 7)).await;
    assert_eq!(refused, Some(RefusalCode::ProofReplayed));
    verifier.clock.advance(Duration::from_secs(61));
    assert_eq!(code(&verifier, &world.password(&token, NOW + 61, 1)).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_with_one_proof_exactly_one_is_admitted() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let verifier = Verifier::trusting(folder.path(), &world);
    let password = world.password(&world.token(), NOW, 1);
    let tries: Vec<_> = (0..12)
        .map(|_| {
            let (validator, password) = (verifier.validator.clone(), password.clone());
            tokio::spawn(async move { validator.admit(&password, DEVICE).await.is_ok() })
        })
        .collect();
    let mut admitted = 0;
    for one in tries {
        admitted += usize::from(one.await.unwrap());
    }
    assert_eq!(admitted, 1);
}

#[tokio::test]
async fn without_trust_data_nobody_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let verifier = Verifier::open(folder.path(), world.pin(), NOW);
    assert_eq!(verifier.validator.ready(), Err(RefusalCode::TrustMissing));
    assert_eq!(verifier.validator.trust_age(), None);
    let password = world.password(&world.token(), NOW, 1);
    assert_eq!(code(&verifier, &password).await, Some(RefusalCode::TrustMissing));
}

#[tokio::test]
async fn a_store_that_does_not_write_makes_it_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let verifier = Verifier::trusting(folder.path(), &world);
    assert_eq!(verifier.validator.ready(), Ok(()));
    verifier.store.close().unwrap();
    assert_eq!(verifier.validator.ready(), Err(RefusalCode::NotReady));
    let password = world.password(&world.token(), NOW, 1);
    assert_eq!(code(&verifier, &password).await, Some(RefusalCode::NotReady));
}

#[tokio::test]
async fn stale_proofs_name_their_devices_but_not_in_a_flood() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let verifier = Verifier::trusting(folder.path(), &world);
    let stale = world.password(&world.token(), NOW - 61, 1);
    let mut named = 0;
    for _ in 0..2 * limits::LATE_PROOFS_PER_SECOND {
        let refusal = verifier.validator.admit(&stale, DEVICE).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::ProofNotFresh);
        named += u64::from(refusal.subject.is_some());
    }
    assert_eq!(named, limits::LATE_PROOFS_PER_SECOND);
}

#[tokio::test]
async fn each_guard_speaks_with_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let verifier = Verifier::trusting(folder.path(), &world);
    let token = world.token();
    let thief = SecretKey::from_seed(&[66; 32]);
    let forged =
        tessera_token::proof::ConnectProof::make(&thief, "broker", DEVICE, &token, at(NOW), 1);
    let forged = Credential { token: token.clone(), proof: Some(forged) }.to_password();
    let mut bent = token.clone();
    *bent.last_mut().unwrap() ^= 1;
    let bearer = world.token_with(|claims| claims.confirmation = None);
    let table: Vec<(&str, Vec<u8>, RefusalCode)> = vec![
        ("empty", vec![], RefusalCode::CredentialMissing),
        ("copied token", token.clone(), RefusalCode::ProofMissing),
        ("another's key", forged, RefusalCode::ProofInvalid),
        ("old proof", world.password(&token, NOW - 61, 1), RefusalCode::ProofNotFresh),
        ("tampered", world.password(&bent, NOW, 1), RefusalCode::SignatureInvalid),
        ("bearer", bearer, RefusalCode::BearerNotAllowed),
        (
            "other audience",
            world.password(
                &world
                    .token_with(|c| c.audience = tessera_token::ids::Audience::parse("x").unwrap()),
                NOW,
                1,
            ),
            RefusalCode::AudienceMismatch,
        ),
        (
            "other tenant",
            world.password(
                &world.token_with(|c| {
                    c.tenant = tessera_token::ids::TenantId::parse("evil").unwrap()
                }),
                NOW,
                1,
            ),
            RefusalCode::IssuerMismatch,
        ),
    ];
    for (name, password, wanted) in table {
        assert_eq!(code(&verifier, &password).await, Some(wanted), "{name}");
    }
    // None of them has used a counter up.
    assert_eq!(code(&verifier, &world.password(&token, NOW, 1)).await, None);
}

fn change_trust(verifier: &Verifier, world: &mut World, change: Change) {
    let after = world.seq();
    world.event(change);
    let applied = verifier.trust.load().with_feed(&world.feed(after, NOW), &NONCE);
    assert_eq!(applied.refused, None);
    verifier.trust.publish(applied.state, applied.effects);
}

#[tokio::test]
async fn every_revocation_ends_a_held_grant_and_refuses_the_next_connect() {
    type Make = fn(&World, &[u8]) -> Change;
    let table: [(Make, RefusalCode); 6] = [
        (|_, _| device_change(DEVICE, 1, NOW), RefusalCode::DeviceEpoch),
        (|_, _| group_change(5, 1), RefusalCode::GroupEpoch),
        (|_, _| Change::Tenant(tenant_trust(2)), RefusalCode::TenantEpoch),
        (
            |_, _| Change::Tenant(TenantTrust { suspended: true, ..tenant_trust(1) }),
            RefusalCode::TenantSuspended,
        ),
        (|world, _| world.key_change(KeyState::Compromised), RefusalCode::KeyNotValid),
        (|_, token| token_change(token, NOW + 3600), RefusalCode::TokenRevoked),
    ];
    for (make, wanted) in table {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new();
        let verifier = Verifier::trusting(folder.path(), &world);
        let mut effects = verifier.validator.trust_effects();
        let token = world.token();
        let held = verifier.validator.admit(&world.password(&token, NOW, 1), DEVICE).await.unwrap();
        assert_eq!(verifier.validator.still_holds(&held.grant), Ok(()));
        let change = make(&world, &token);
        change_trust(&verifier, &mut world, change);
        assert!(effects.try_recv().is_ok(), "{wanted}");
        assert_eq!(verifier.validator.still_holds(&held.grant), Err(wanted));
        assert_eq!(code(&verifier, &world.password(&token, NOW, 2)).await, Some(wanted));
    }
}

#[tokio::test]
async fn a_revocation_between_judgement_and_ledger_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let verifier = Verifier::trusting(folder.path(), &world);
    let credential = world.credential(&world.token(), NOW, 1);
    let judged = verifier.validator.judged(credential, DEVICE, &[]).unwrap();
    change_trust(&verifier, &mut world, device_change(DEVICE, 1, NOW));
    let refusal = verifier.validator.settle(judged).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::DeviceEpoch);
}

#[tokio::test]
async fn a_clock_that_jumps_back_revives_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let verifier = Verifier::trusting(folder.path(), &world);
    let token = world.token();
    let held = verifier.validator.admit(&world.password(&token, NOW, 1), DEVICE).await.unwrap();
    verifier.clock.advance(Duration::from_secs(3601));
    assert_eq!(verifier.validator.still_holds(&held.grant), Err(RefusalCode::TokenExpired));
    verifier.trust_store.save_time(&verifier.trust.time().to_store(), None).unwrap();
    verifier.clock.set_unix(at(NOW + 10));
    assert_eq!(
        code(&verifier, &world.password(&token, NOW + 10, 2)).await,
        Some(RefusalCode::TokenExpired)
    );
    verifier.store.close().unwrap();
    drop(verifier);
    // Nor does a restart with the wrong clock.
    let again = Verifier::open(folder.path(), world.pin(), NOW + 10);
    assert_eq!(
        code(&again, &world.password(&token, NOW + 10, 3)).await,
        Some(RefusalCode::TokenExpired)
    );
}

#[tokio::test]
async fn old_trust_data_refuses_by_class() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let verifier = Verifier::trusting(folder.path(), &world);
    let long = |claims: &mut tessera_token::claims::Claims| claims.expires = at(NOW + 20 * 86_400);
    let exact = world.token_with(long);
    let service = world.token_with(|claims| {
        long(claims);
        claims.scope = tessera_token::scope::Scope::new(vec![tessera_token::scope::ScopeEntry {
            filter: tessera_token::topic::TopicFilter::parse("d/+/cmd").unwrap(),
            permission: tessera_token::scope::Permission::Publish,
        }])
        .unwrap();
    });
    verifier.clock.advance(Duration::from_secs(601));
    assert_eq!(verifier.validator.trust_age(), Some(601));
    let now = NOW + 601;
    assert_eq!(
        code(&verifier, &world.password(&service, now, 1)).await,
        Some(RefusalCode::TrustStale)
    );
    assert_eq!(code(&verifier, &world.password(&exact, now, 1)).await, None);
    verifier.clock.advance(Duration::from_secs(86_400));
    let now = now + 86_400;
    assert_eq!(
        code(&verifier, &world.password(&exact, now, 2)).await,
        Some(RefusalCode::TrustStale)
    );
}

#[tokio::test]
async fn a_refreshed_token_is_for_the_same_holder() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let verifier = Verifier::trusting(folder.path(), &world);
    let validator = &verifier.validator;
    let held =
        validator.admit(&world.password(&world.token(), NOW, 1), DEVICE).await.unwrap().grant;
    let next = world.token_with(|claims| claims.expires = at(NOW + 7200));
    assert_eq!(validator.renew(&next, &held).unwrap().expires(), at(NOW + 7200));
    let other = world.token_with(|claims| claims.device = device("d-2"));
    assert_eq!(validator.renew(&other, &held).unwrap_err().code, RefusalCode::ClientIdMismatch);
    let key = SecretKey::from_seed(&[66; 32]).public();
    let rekeyed = world.token_with(|claims| claims.confirmation = Some(key));
    assert_eq!(validator.renew(&rekeyed, &held).unwrap_err().code, RefusalCode::ConfirmationKey);
    assert_eq!(validator.renew(b"rubbish", &held).unwrap_err().subject, None);
}

#[tokio::test]
async fn the_method_ace_and_the_resumption_secret() {
    use tessera_token::ace::{Answer, ChallengeProof, Nonce, Response};
    use tessera_token::hash::TokenHash;
    use tessera_token::proof::{ConnectProof, Presented, Proof, TicketKey};
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let verifier = Verifier::trusting(folder.path(), &world);
    let validator = &verifier.validator;
    let token = world.token();
    let answer = |key: &SecretKey| {
        let (broker, client) = (Nonce::from_bytes([1; 8]), Nonce::from_bytes([2; 8]));
        ChallengeProof { broker, response: Response::make(key, broker, client) }
    };
    let presented =
        Presented { token: token.clone(), proof: Proof::Challenge(answer(&world.device_key)) };
    let admission = validator.judged(presented, DEVICE, &[]).unwrap();
    assert_eq!(admission.proof_use, None);
    let held = validator.settle(admission).await.unwrap().grant;
    let next = world.token_with(|claims| claims.expires = at(NOW + 7200));
    let again =
        |key| validator.reauthenticate(&next, &held, &Answer::Challenge(answer(key)), DEVICE);
    let renewed = again(&world.device_key).unwrap();
    assert_eq!(renewed.expires(), at(NOW + 7200));
    let refusal = again(&SecretKey::from_seed(&[66; 32])).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::ProofInvalid);

    let tickets = [TicketKey::from_bytes(&[9; 32])];
    let name = world.device_key.public().thumbprint();
    let secret = tickets[0].secret_of(&"broker".parse().unwrap(), &name, &TokenHash::of(&token));
    let resume = |counter| {
        let proof = ConnectProof::resume(&secret, "broker", DEVICE, &token, at(NOW), counter);
        Credential { token: token.clone(), proof: Some(proof) }
    };
    let admission = validator.judged(resume(1), DEVICE, &tickets).unwrap();
    assert!(validator.settle(admission).await.is_ok());
    let replayed = validator.judged(resume(1), DEVICE, &tickets).unwrap();
    let refusal = validator.settle(replayed).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::ProofReplayed);
    // The counters of both kinds of proof are one.
    assert_eq!(
        code(&verifier, &world.password(&token, NOW, 1)).await,
        Some(RefusalCode::ProofReplayed)
    );
    let refusal = validator.judged(resume(2), DEVICE, &[]).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::ProofInvalid);
}
