//! The verifier, with the issuer's key inside: claims, header, trust data and proof are bent, the token is signed over
//! what they became, and what [`chain::admit`] says is compared with [`oracle`], which reads the same bytes with
//! another CBOR library and knows the rules from `ARCHITECTURE.md`.

mod boundaries;
mod mutate;
mod oracle;

use tessera_token::cbor::Writer;
use tessera_token::chain::{self, Attempt};
use tessera_token::key::SecretKey;
use tessera_token::proof::{ConnectProof, Credential};
use tessera_token::time::UnixSeconds;

use super::cbor::strict;
use super::numbered;
use super::world::{at, keys, World, AUDIENCE, NOW};
use crate::draw::{interesting, Draw};
use crate::signal::note;

/// Runs one input: a byte that chooses between one bound and a tape of bends.
pub fn target(data: &[u8]) {
    let mut draw = Draw::new(data);
    let mut world = World::new();
    if draw.one_in(4) {
        let (token, time) = boundaries::token(&mut draw, &mut world);
        let key = &keys().device;
        let proof = ConnectProof::make(key, AUDIENCE, "s-0042", &token, at(time), 1);
        let credential = Credential { token, proof: Some(proof) };
        return compare(&credential, "s-0042", &world, at(NOW));
    }
    let now = at(if draw.one_in(8) { interesting(&mut draw, NOW) } else { NOW });
    let token = mutate::token(&mut draw);
    mutate::world(&mut draw, &mut world, &token);
    let (credential, client_id) = attempt(&mut draw, token, now.get());
    compare(&credential, &client_id, &world, now);
}

fn compare(credential: &Credential, client_id: &str, world: &World, now: UnixSeconds) {
    let attempt = Attempt { presented: credential.clone().into(), client_id: client_id.to_owned() };
    let judged = oracle::judge(credential, client_id, world, now.get());
    match chain::admit(&attempt, world, now) {
        Ok(admission) => {
            note("admitted");
            let facts = judged.unwrap_or_else(|why| panic!("admitted although {why}"));
            let grant = &admission.grant;
            assert_eq!(grant.tenant().as_str(), facts.tenant);
            assert_eq!(grant.device().as_str(), facts.device);
            assert_eq!(admission.client_id.subject(), facts.device);
            assert_eq!(admission.client_id.as_str(), client_id);
            assert_eq!(grant.expires().get(), facts.expires);
            assert_eq!(grant.confirmation().is_some(), facts.bound);
            assert_eq!(admission.proof_use.is_some(), facts.bound);
            assert_eq!(chain::still_holds(grant, world, now), Ok(()));
            assert!(chain::still_holds(grant, world, grant.expires()).is_err());
            assert!(chain::verify(&credential.token, world, now).is_ok());
        }
        Err(refusal) => {
            note((refusal.code.as_str(), judged.as_ref().err()));
            assert!(judged.is_err(), "{} although nothing is wrong", refusal.code);
            if let Some(subject) = refusal.subject {
                let names = oracle::signed_names(&credential.token, world);
                let told = (subject.tenant.to_string(), subject.device.to_string());
                assert_eq!(names, Some(told), "a subject that nobody signed");
            }
        }
    }
}

fn attempt(draw: &mut Draw<'_>, token: Vec<u8>, now: u64) -> (Credential, String) {
    let client_id = match draw.below(10) {
        0 => "s-0042~b".to_owned(),
        1 => "s-0043".to_owned(),
        2 => String::from_utf8_lossy(draw.bytes(80)).into_owned(),
        _ => "s-0042".to_owned(),
    };
    let time = if draw.one_in(4) { interesting(draw, now) } else { now };
    let counter = u32::from(draw.u16());
    let key: &SecretKey = if draw.one_in(12) { &keys().other_device } else { &keys().device };
    let audience = if draw.one_in(16) { "other" } else { AUDIENCE };
    let named = if draw.one_in(16) { "s-0042~c" } else { &client_id };
    let over = if draw.one_in(16) { b"another token".to_vec() } else { token.clone() };
    let proof = ConnectProof::make(key, audience, named, &over, at(time), counter);
    let proof = (!draw.one_in(8)).then_some(proof);
    let credential = Credential { token, proof };
    (through_the_wire(draw, credential), client_id)
}

/// Sometimes as a password, as it comes in a CONNECT: it must not change on the way.
fn through_the_wire(draw: &mut Draw<'_>, credential: Credential) -> Credential {
    // A token that is no whole item ends elsewhere once the proof stands behind it.
    let whole = credential.token.get(3..).is_some_and(strict);
    if draw.one_in(2) || !whole {
        return credential;
    }
    match Credential::from_password(&credential.to_password()) {
        Ok(read) => {
            assert_eq!(read.token, credential.token);
            let short = |c: &Credential| c.proof.as_ref().map(|p| (p.time.get() as u32, p.counter));
            let same =
                credential.proof.as_ref().is_none_or(|p| p.time.get() <= u64::from(u32::MAX));
            assert!(!same || short(&read) == short(&credential));
            read
        }
        Err(code) => {
            note(("password", code.as_str()));
            credential
        }
    }
}

/// One item.
pub(super) fn item(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::new();
    write(&mut w);
    w.finish()
}

/// Every bound, the tape that bends nothing, and tapes that bend one thing each.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let edges = (0..boundaries::EDGES).flat_map(|edge| (0..3).map(move |step| vec![3, step, edge]));
    let straight = vec![0u8; 24];
    let bent = (1..24).flat_map(|place| {
        [1u8, 3, 7, 11, 15].map(|value| {
            let mut tape = vec![0u8; 64];
            tape[place] = value;
            tape
        })
    });
    numbered(edges.chain([straight]).chain(bent))
}
