//! `cnf` that refers to a key, symmetric keys, and the cache of judged keys.

use super::world::*;
use crate::ace::{ChallengeProof, Nonce, Response};
use crate::chain::{admit, verify, Attempt};
use crate::claims::{Claims, ConfirmationForm, CNF};
use crate::encoding::hex;
use crate::issue::issue_as;
use crate::key::Algorithm;
use crate::pop::SymmetricKey;
use crate::proof::{ConnectProof, Presented, Proof};
use crate::refusal::RefusalCode::{self, *};

fn token_as(form: ConfirmationForm) -> Vec<u8> {
    issue_as(&claims(), form, Algorithm::Ed25519, &issuer()).unwrap()
}

fn outcome(token: &[u8], world: &World) -> Result<(), RefusalCode> {
    admit(&attempt(token), world, now()).map(drop).map_err(|refusal| refusal.code)
}

#[test]
fn references_are_resolved_from_the_registry() {
    for form in [ConfirmationForm::KeyId, ConfirmationForm::Thumbprint] {
        let token = token_as(form);
        let mut world = World::new();
        assert_eq!(outcome(&token, &world), Err(ConfirmationKey));
        world.device_key = Some(issuer().public());
        assert_eq!(outcome(&token, &world), Err(ConfirmationKey));
        world.device_key = Some(device_key().public());
        let admission = admit(&attempt(&token), &world, now()).unwrap();
        assert_eq!(admission.grant.confirmation(), Some(device_key().public().thumbprint()));
        // The same key in another form is the same holder.
        let whole = verify(&token_as(ConfirmationForm::Key), &world, now()).unwrap();
        assert!(whole.renew(&admission.grant).is_ok());
        assert_eq!(ConfirmationForm::parse(form.name()), Some(form));
    }
}

#[test]
fn a_device_reads_a_reference_to_its_own_key() {
    let cbor = claims().to_cbor_as(ConfirmationForm::KeyId);
    assert_eq!(Claims::from_cbor(&cbor), Err(ConfirmationKey));
    let key = device_key().public();
    assert_eq!(Claims::from_cbor_for(&cbor, &key), Ok(claims()));
    assert_eq!(Claims::from_cbor_for(&cbor, &issuer().public()), Err(ConfirmationKey));
}

#[test]
fn cnf_names_exactly_one_key() {
    let key = device_key().public();
    let mut world = World::new();
    world.device_key = Some(key.clone());
    let kid = key.key_id();
    let long = [1; 33];
    for cnf in [
        item(|w| {
            w.map(0);
        }),
        item(|w| {
            w.map(2).int(1).raw(&key.to_cose_key()).int(3).bytes(kid.as_bytes());
        }),
        item(|w| {
            w.map(2).int(3).bytes(kid.as_bytes()).int(5).bytes(key.thumbprint().as_bytes());
        }),
        item(|w| {
            w.map(2).int(2).array(0).int(3).bytes(kid.as_bytes());
        }),
        item(|w| {
            w.map(1).int(3).text("kid");
        }),
        item(|w| {
            w.map(1).int(3).bytes(&[]);
        }),
        item(|w| {
            w.map(1).int(3).bytes(&long);
        }),
        item(|w| {
            w.map(1).int(5).bytes(&kid.as_bytes()[..]);
        }),
        item(|w| {
            w.map(1).int(1).map(3).int(1).int(4).int(3).int(5).int(-1).bytes(&[7; 32]);
        }),
    ] {
        let token = bent(|list| set(list, CNF, cnf.clone()));
        assert_eq!(outcome(&token, &world), Err(ConfirmationKey), "{}", hex::encode(cnf));
    }
}

#[test]
fn a_symmetric_key_is_found_by_its_kid() {
    let key = SymmetricKey::from_bytes(&[8; 32]).unwrap();
    let other = SymmetricKey::from_bytes(&[9; 32]).unwrap();
    let cnf = item(|w| {
        w.map(1).int(3).bytes(b"meter-7");
    });
    let token = bent(|list| set(list, CNF, cnf));
    let mut world = World::new();
    let prove = |key: &SymmetricKey| {
        let (broker, client) = (Nonce::from_bytes([1; 8]), Nonce::from_bytes([2; 8]));
        let response = Response::make_by(|m| key.prove(m), broker, client);
        let proof = Proof::Challenge(ChallengeProof { broker, response });
        Attempt::new(Presented { token: token.clone(), proof }, "s-0042")
    };
    let code = |world: &World, attempt: &Attempt| admit(attempt, world, now()).unwrap_err().code;
    assert_eq!(code(&world, &prove(&key)), ConfirmationKey);
    world.symmetric_key = Some((b"meter-8".to_vec(), key.clone()));
    assert_eq!(code(&world, &prove(&key)), ConfirmationKey);
    world.symmetric_key = Some((b"meter-7".to_vec(), key.clone()));
    let grant = admit(&prove(&key), &world, now()).unwrap().grant;
    assert!(grant.confirmation().is_some(), "bound, not bearer");
    assert_eq!(code(&world, &prove(&other)), ProofInvalid);
    // A signature by whatever key is no proof of a symmetric one.
    assert_eq!(code(&world, &attempt(&token)), ProofInvalid);
    let proof = ConnectProof::make_by(|m| key.prove(m), "mqtt", "s-0042", &token, now(), 3);
    let presented = Presented { token: token.clone(), proof: Proof::Connect(proof) };
    let admission = admit(&Attempt::new(presented, "s-0042"), &world, now()).unwrap();
    assert_eq!(
        admission.proof_use.map(|used| (used.key, used.place.counter())),
        Some((grant.confirmation().unwrap(), 3))
    );
}

#[test]
fn a_judged_key_is_remembered() {
    let world = World::new();
    let token = token_of(&claims());
    assert_eq!(outcome(&token, &world), Ok(()));
    let key = device_key().public_bytes();
    assert_eq!(*world.known_good.borrow(), [key]);
    assert_eq!(outcome(&token, &world), Ok(()));
    assert_eq!(world.known_good.borrow().len(), 1);
    // Nothing is learned from a token without a good signature.
    let forged = craft(&good_header(), &[0xa0], &claims().to_cbor(), &device_key());
    let fresh = World::new();
    assert_eq!(outcome(&forged, &fresh), Err(SignatureInvalid));
    assert!(fresh.known_good.borrow().is_empty());
}
