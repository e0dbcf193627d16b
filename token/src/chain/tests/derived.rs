//! Tokens whose key follows from the token itself, through the whole chain.

use super::world::*;
use crate::ace::{Answer, ChallengeProof, ExporterProof, ExporterSecret, Nonce, Response};
use crate::chain::{admit, admit_with, still_holds, verify, Admission, Attempt, Refusal};
use crate::claims::Claims;
use crate::grant::Grant;
use crate::hash::TokenHash;
use crate::ids::Serial;
use crate::ids::{Audience, DeviceId};
use crate::issue::issue_symmetric;
use crate::key::Algorithm;
use crate::pop::{DerivationKey, DerivationKeys, SymmetricKey};
use crate::proof::{ConnectProof, Presented, Proof, TicketKey};
use crate::refusal::RefusalCode::{self, *};

const OLD: &str = "mqtt 0101010101010101010101010101010101010101010101010101010101010101\n";
const NEW: &str = "mqtt 0202020202020202020202020202020202020202020202020202020202020202\n";

fn keys(lines: &[&str]) -> DerivationKeys {
    DerivationKeys::parse(&lines.concat(), &Audience::parse("mqtt").unwrap()).unwrap()
}

fn world_of(lines: &[&str]) -> World {
    let mut world = World::new();
    world.derivation = keys(lines);
    world
}

/// A token by this derivation key, and its key.
fn bound(line: &str, change: impl FnOnce(&mut Claims)) -> (Vec<u8>, SymmetricKey) {
    let keys = keys(&[line]);
    let by = keys.newest().unwrap();
    let mut claims = claims();
    change(&mut claims);
    let token = issue_symmetric(&claims, by, Algorithm::Ed25519, &issuer()).unwrap();
    let key = by.key_of(&token).unwrap();
    (token, key)
}

fn answer(key: &SymmetricKey) -> ChallengeProof {
    let (broker, client) = (Nonce::from_bytes([1; 8]), Nonce::from_bytes([2; 8]));
    ChallengeProof { broker, response: Response::make_by(|m| key.prove(m), broker, client) }
}

fn exported(key: &SymmetricKey) -> Proof {
    let exporter = ExporterSecret::from_bytes(&[7; 32]);
    let pop = exporter.prove_by(|m| key.prove(m));
    Proof::Exporter(ExporterProof { exporter, pop })
}

fn connect(key: &SymmetricKey, token: &[u8]) -> Proof {
    Proof::Connect(ConnectProof::make_by(|m| key.prove(m), "mqtt", "s-0042", token, now(), 3))
}

fn judge(world: &World, token: &[u8], proof: Proof) -> Result<Admission, Refusal> {
    let presented = Presented { token: token.to_vec(), proof };
    admit(&Attempt::new(presented, "s-0042"), world, now())
}

fn code(outcome: Result<Admission, Refusal>) -> RefusalCode {
    outcome.unwrap_err().code
}

#[test]
fn every_way_of_proving_takes_the_key_of_this_token_and_no_other() {
    let world = world_of(&[NEW, OLD]);
    for line in [NEW, OLD] {
        let (token, key) = bound(line, |_| {});
        let (_, of_another) = bound(line, |claims| claims.serial = Serial::from_counter(1));
        // The oldest confusion: a public key, taken for a secret.
        let public = SymmetricKey::from_bytes(device_key().public().as_bytes()).unwrap();
        let ways: [fn(&SymmetricKey, &[u8]) -> Proof; 3] =
            [|key, _| Proof::Challenge(answer(key)), |key, _| exported(key), connect];
        for way in ways {
            assert!(judge(&world, &token, way(&key, &token)).is_ok());
            for wrong in [&of_another, &public] {
                assert_eq!(code(judge(&world, &token, way(wrong, &token))), ProofInvalid);
            }
        }
        // A signature by the key of the device, which the token does not name.
        assert_eq!(code(judge(&world, &token, attempt(&token).presented.proof)), ProofInvalid);
        let shaken = Proof::TlsKey(device_key().public().thumbprint());
        assert_eq!(code(judge(&world, &token, shaken)), ProofInvalid);
        assert_eq!(code(judge(&world, &token, Proof::None)), ProofMissing);
    }
}

#[test]
fn an_unknown_derivation_key_is_an_unknown_key() {
    let (token, key) = bound(OLD, |_| {});
    for world in [World::new(), world_of(&[NEW])] {
        assert_eq!(code(judge(&world, &token, Proof::Challenge(answer(&key)))), ConfirmationKey);
        // Also for who has shown the token and its key before.
        let ticket = TicketKey::from_bytes(&[6; 32]);
        let name = crate::pop::symmetric_name(&claims().tenant, &claims().device);
        let secret =
            ticket.secret_of(&Audience::parse("mqtt").unwrap(), &name, &TokenHash::of(&token));
        let proof = ConnectProof::resume(&secret, "mqtt", "s-0042", &token, now(), 4);
        let presented = Presented { token: token.clone(), proof: Proof::Connect(proof) };
        let resumed = admit_with(&Attempt::new(presented, "s-0042"), &[ticket], &world, now());
        assert_eq!(code(resumed), ConfirmationKey);
    }
}

#[test]
fn a_grant_ends_with_its_derivation_key() {
    let (token, key) = bound(OLD, |_| {});
    let held = judge(&world_of(&[NEW, OLD]), &token, connect(&key, &token)).unwrap().grant;
    assert_eq!(held.derived_by(), Some(keys(&[OLD]).newest().unwrap().id()));
    let identity = crate::token_identity::TokenIdentity::of(&held).without_rights().unwrap();
    for grant in [&held, &identity] {
        assert_eq!(still_holds(grant, &world_of(&[OLD]), now()), Ok(()));
        assert_eq!(still_holds(grant, &world_of(&[NEW]), now()), Err(ConfirmationKey));
        assert_eq!(still_holds(grant, &World::new(), now()), Err(ConfirmationKey));
    }
}

#[test]
fn a_derivation_key_signs_for_its_audience_alone() {
    let keys = keys(&[NEW]);
    let elsewhere = Claims { audience: Audience::parse("other").unwrap(), ..claims() };
    let made = issue_symmetric(&elsewhere, keys.newest().unwrap(), Algorithm::Ed25519, &issuer());
    assert_eq!(made, Err(AudienceMismatch));
}

fn held_by_key() -> Grant {
    admit(&attempt(&token_of(&claims())), &World::new(), now()).unwrap().grant
}

#[test]
fn a_device_changes_between_its_two_kinds_of_key_by_a_fresh_answer_alone() {
    let world = world_of(&[NEW]);
    let (token, key) = bound(NEW, |_| {});
    let (next, next_key) = bound(NEW, |claims| claims.serial = Serial::from_counter(70_000));
    let held = judge(&world, &token, connect(&key, &token)).unwrap().grant;
    let again = |token: &[u8], held: &Grant, by: &ChallengeProof| {
        let (verified, by) = (verify(token, &world, now()).unwrap(), Answer::Challenge(by.clone()));
        verified.renew_with_proof(held, &by, "s-0042", token).map(drop)
    };
    let whole = token_of(&claims());
    let signed = {
        let (broker, client) = (Nonce::from_bytes([1; 8]), Nonce::from_bytes([2; 8]));
        ChallengeProof { broker, response: Response::make(&device_key(), broker, client) }
    };
    assert_eq!(again(&next, &held, &answer(&next_key)), Ok(()));
    assert_eq!(again(&next, &held, &answer(&key)), Err(ProofInvalid));
    assert_eq!(again(&next, &held_by_key(), &answer(&next_key)), Ok(()));
    assert_eq!(again(&whole, &held, &signed), Ok(()));
    assert_eq!(again(&whole, &held, &answer(&key)), Err(ProofInvalid));
    let (others, others_key) = bound(NEW, |claims| claims.device = DeviceId::parse("s-1").unwrap());
    assert_eq!(again(&others, &held, &answer(&others_key)), Err(ClientIdMismatch));
    // Without an answer no proof of another key speaks for the key of a further token.
    let handed_in =
        |token: &[u8], held: &Grant| verify(token, &world, now()).unwrap().renew(held).map(drop);
    assert_eq!(handed_in(&next, &held), Err(ProofMissing));
    assert_eq!(handed_in(&next, &held_by_key()), Err(ProofMissing));
    assert_eq!(handed_in(&whole, &held), Err(ConfirmationKey));
    // An answer of the issuer to a request that the device's key signed.
    let issued = |token: &[u8], held: &Grant| {
        verify(token, &world, now()).unwrap().renew_as_issued(held).map(drop)
    };
    assert_eq!(issued(&next, &held), Ok(()));
    assert_eq!(issued(&next, &held_by_key()), Ok(()));
    assert_eq!(issued(&whole, &held), Ok(()));
    assert_eq!(issued(&others, &held), Err(ClientIdMismatch));
    let rekeyed = token_of(&Claims { confirmation: Some(issuer().public()), ..claims() });
    assert_eq!(issued(&rekeyed, &held_by_key()), Err(ConfirmationKey));
    let mut open = world_of(&[NEW]);
    open.acme().bearer = true;
    let bearer = token_of(&Claims { confirmation: None, ..claims() });
    let bearer = verify(&bearer, &open, now()).unwrap();
    assert_eq!(bearer.renew_as_issued(&held).map(drop), Err(ConfirmationKey));
}

#[test]
fn proofs_of_all_symmetric_tokens_of_a_device_are_those_of_one_key() {
    let world = world_of(&[NEW, OLD]);
    let used = |line| {
        let (token, key) = bound(line, |_| {});
        judge(&world, &token, connect(&key, &token)).unwrap().proof_use.unwrap().key
    };
    assert_eq!(used(NEW), used(OLD));
    assert_ne!(used(NEW), device_key().public().thumbprint());
}

#[test]
fn whoever_holds_the_token_reads_it_without_the_key() {
    let by = DerivationKey::new(&[1; 32], Audience::parse("mqtt").unwrap()).unwrap();
    let payload = claims().to_cbor_with_kid(&by.kid_of(&claims().serial));
    assert_eq!(Claims::from_cbor(&payload), Err(ConfirmationKey));
    let read = Claims::from_cbor_without_key(&payload).unwrap();
    assert_eq!(read, Claims { confirmation: None, ..claims() });
}
