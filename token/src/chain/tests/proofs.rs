//! Stage 8, each way of proving a key.

use super::world::*;
use crate::ace::{ChallengeProof, ExporterProof, ExporterSecret, Nonce, Response};
use crate::chain::{admit, admit_with, verify, worth_a_challenge, Admission, Attempt, Refusal};
use crate::claims::Claims;
use crate::hash::TokenHash;
use crate::ids::Audience;
use crate::key::{SecretKey, Thumbprint};
use crate::proof::{ConnectProof, Credential, Pop, Presented, Proof, ResumptionSecret, TicketKey};
use crate::refusal::RefusalCode::{self, *};
use crate::time::UnixSeconds;

const BROKER: Nonce = Nonce::from_bytes([0xa0; 8]);
const CLIENT: Nonce = Nonce::from_bytes([0xb0; 8]);

fn judge(token: &[u8], proof: Proof) -> Result<Admission, Refusal> {
    let presented = Presented { token: token.to_vec(), proof };
    admit(&Attempt::new(presented, "s-0042"), &World::new(), now())
}

fn code(outcome: Result<Admission, Refusal>) -> RefusalCode {
    outcome.unwrap_err().code
}

fn answer(key: &SecretKey) -> ChallengeProof {
    ChallengeProof { broker: BROKER, response: Response::make(key, BROKER, CLIENT) }
}

fn exported(key: &SecretKey, seen: [u8; 32]) -> ExporterProof {
    let exporter = ExporterSecret::from_bytes(&seen);
    let pop = ExporterSecret::from_bytes(&[7; 32]).prove_by(|m| Pop::Signature(key.sign(m)));
    ExporterProof { exporter, pop }
}

#[test]
fn challenge_and_response() {
    let token = token_of(&claims());
    let admission = judge(&token, Proof::Challenge(answer(&device_key()))).unwrap();
    assert_eq!(admission.proof_use, None);
    assert_eq!(admission.grant.confirmation(), Some(device_key().public().thumbprint()));
    assert_eq!(code(judge(&token, Proof::Challenge(answer(&issuer())))), ProofInvalid);
    // An answer to another challenge, and one whose own nonce was exchanged.
    let other = ChallengeProof { broker: Nonce::from_bytes([1; 8]), ..answer(&device_key()) };
    assert_eq!(code(judge(&token, Proof::Challenge(other))), ProofInvalid);
    let mut other = answer(&device_key());
    other.response.nonce = BROKER;
    assert_eq!(code(judge(&token, Proof::Challenge(other))), ProofInvalid);
    let mut other = answer(&device_key());
    other.response.pop = Pop::Mac([0; 32]);
    assert_eq!(code(judge(&token, Proof::Challenge(other))), ProofInvalid);
}

#[test]
fn tls_exporter_and_handshake_key() {
    let token = token_of(&claims());
    let admission = judge(&token, Proof::Exporter(exported(&device_key(), [7; 32]))).unwrap();
    assert_eq!(admission.proof_use, None);
    let elsewhere = Proof::Exporter(exported(&device_key(), [8; 32]));
    assert_eq!(code(judge(&token, elsewhere)), ProofInvalid);
    let thief = Proof::Exporter(exported(&issuer(), [7; 32]));
    assert_eq!(code(judge(&token, thief)), ProofInvalid);
    let shaken = Proof::TlsKey(device_key().public().thumbprint());
    assert_eq!(judge(&token, shaken).unwrap().proof_use, None);
    let shaken = Proof::TlsKey(issuer().public().thumbprint());
    assert_eq!(code(judge(&token, shaken)), ProofInvalid);
    assert_eq!(code(judge(&token, Proof::None)), ProofMissing);
}

#[test]
fn no_way_of_proving_carries_a_bearer_token() {
    let token = token_of(&Claims { confirmation: None, ..claims() });
    let mut world = World::new();
    world.acme().bearer = true;
    for (proof, passes) in [
        (Proof::None, true),
        (Proof::Challenge(answer(&device_key())), false),
        (Proof::Exporter(exported(&device_key(), [7; 32])), false),
        (Proof::TlsKey(device_key().public().thumbprint()), false),
        (attempt(&token).presented.proof, false),
    ] {
        let attempt = Attempt::new(Presented { token: token.clone(), proof }, "s-0042");
        let outcome = admit(&attempt, &world, now()).map(drop).map_err(|r| r.code);
        assert_eq!(outcome, if passes { Ok(()) } else { Err(BearerNotAllowed) });
    }
}

#[test]
fn a_device_key_on_p256() {
    use p256::ecdsa::signature::Signer;
    use p256::ecdsa::{Signature, SigningKey};
    let device = SigningKey::from_slice(&[9; 32]).unwrap();
    let point = device.verifying_key().to_encoded_point(true);
    let public = crate::key::PublicKey::from_bytes(point.as_bytes()).unwrap();
    let token = token_of(&Claims { confirmation: Some(public.clone()), ..claims() });
    let sign = |m: &[u8]| {
        let signature: Signature = device.sign(m);
        Pop::Signature(signature.to_bytes().into())
    };
    let response = Response::make_by(sign, BROKER, CLIENT);
    let proof = Proof::Challenge(ChallengeProof { broker: BROKER, response });
    let admission = judge(&token, proof).unwrap();
    assert_eq!(admission.grant.confirmation(), Some(public.thumbprint()));
    let proof = ConnectProof::make_by(sign, "mqtt", "s-0042", &token, now(), 5);
    let used = judge(&token, Proof::Connect(proof)).unwrap().proof_use.unwrap();
    assert_eq!(used.place.counter(), 5);
    assert_eq!(code(judge(&token, Proof::Challenge(answer(&device_key())))), ProofInvalid);
}

#[test]
fn reauthentication_takes_the_same_key_and_a_fresh_answer() {
    let held = admit(&attempt(&token_of(&claims())), &World::new(), now()).unwrap().grant;
    let next = |change: fn(&mut Claims), by: &SecretKey| {
        let mut claims = claims();
        claims.serial = crate::claims::Serial::from_counter(9);
        change(&mut claims);
        let token = token_of(&claims);
        verify(&token, &World::new(), now()).unwrap().renew_with_proof(&held, &answer(by))
    };
    assert_ne!(next(|_| {}, &device_key()).unwrap().token_hash(), held.token_hash());
    assert_eq!(next(|_| {}, &issuer()), Err(ProofInvalid));
    assert_eq!(next(|c| c.confirmation = None, &device_key()), Err(BearerNotAllowed));
    let rekeyed = next(|c| c.confirmation = Some(issuer().public()), &issuer());
    assert_eq!(rekeyed, Err(ConfirmationKey));
    let other = next(|c| c.device = crate::ids::DeviceId::parse("s-1").unwrap(), &device_key());
    assert_eq!(other, Err(ClientIdMismatch));
}

#[test]
fn a_challenge_costs_no_signature() {
    let mut token = token_of(&claims());
    let world = World::new();
    let last = token.len() - 1;
    token[last] ^= 1;
    assert_eq!(worth_a_challenge(&token, &world, now()), Ok(()));
    assert_eq!(verify(&token, &world, now()).unwrap_err().code, SignatureInvalid);
    let late = now().plus(4000);
    assert_eq!(worth_a_challenge(&token, &world, late), Err(TokenExpired));
}

fn ticket(byte: u8) -> TicketKey {
    TicketKey::from_bytes(&[byte; 32])
}

fn resuming(token: &[u8], of: &[u8], ticket: &TicketKey, time: UnixSeconds) -> Attempt {
    resuming_by(&ticket.secret_of(&audience(), &device_name(), &TokenHash::of(of)), token, time)
}

fn device_name() -> Thumbprint {
    device_key().public().thumbprint()
}

fn audience() -> Audience {
    Audience::parse("mqtt").unwrap()
}

fn resuming_by(secret: &ResumptionSecret, token: &[u8], time: UnixSeconds) -> Attempt {
    let proof = ConnectProof::resume(secret, "mqtt", "s-0042", token, time, 7);
    let password = Credential { token: token.to_vec(), proof: Some(proof) }.to_password();
    assert_eq!(password.len(), token.len() + 42);
    Attempt::new(Credential::from_password(&password).unwrap(), "s-0042")
}

#[test]
fn the_resumption_secret_stands_in_for_the_signature_of_the_device() {
    let token = token_of(&claims());
    let world = World::new();
    let resume = |attempt: &Attempt, tickets: &[TicketKey]| {
        admit_with(attempt, tickets, &world, now()).map_err(|r| r.code)
    };
    let good = resuming(&token, &token, &ticket(1), now());
    let admission = resume(&good, &[ticket(2), ticket(1)]).unwrap();
    assert_eq!(admission.resumed, Some(ticket(1).id()));
    let used = admission.proof_use.unwrap();
    assert_eq!((used.key, used.place.counter()), (device_key().public().thumbprint(), 7));
    assert_eq!(admission.grant.confirmation(), Some(device_key().public().thumbprint()));
    // Not without a ticket key, not by another, not by one that has rotated out of the list.
    assert_eq!(resume(&good, &[]), Err(ProofInvalid));
    assert_eq!(resume(&good, &[ticket(2)]), Err(ProofInvalid));
    let old = [ticket(5), ticket(4), ticket(3), ticket(1)];
    assert_eq!(resume(&good, &old), Err(ProofInvalid));
    // The secret of one token does not carry another, and a client id stays what it was.
    let mut newer = claims();
    newer.serial = crate::claims::Serial::from_counter(4712);
    let newer = token_of(&newer);
    let crossed = resuming(&newer, &token, &ticket(1), now());
    assert_eq!(resume(&crossed, &[ticket(1)]), Err(ProofInvalid));
    // Nor does one that was made for another audience or another key of the device.
    let hash = TokenHash::of(&token);
    let elsewhere = ticket(1).secret_of(&Audience::parse("mqtt2").unwrap(), &device_name(), &hash);
    let rekeyed = ticket(1).secret_of(&audience(), &Thumbprint::from_bytes([1; 32]), &hash);
    for secret in [elsewhere, rekeyed] {
        assert_eq!(resume(&resuming_by(&secret, &token, now()), &[ticket(1)]), Err(ProofInvalid));
    }
    let renamed = Attempt { client_id: "s-0042~b".into(), ..good.clone() };
    assert_eq!(resume(&renamed, &[ticket(1)]), Err(ProofInvalid));
    for at in [now().minus(61), now().plus(61)] {
        let stale = resuming(&token, &token, &ticket(1), at);
        assert_eq!(resume(&stale, &[ticket(1)]), Err(ProofNotFresh));
    }
}

#[test]
fn resumption_looks_at_expiry_epochs_and_revocation_as_ever() {
    let token = token_of(&claims());
    let attempt = resuming(&token, &token, &ticket(1), now());
    let says = |change: &dyn Fn(&mut World)| {
        let mut world = World::new();
        change(&mut world);
        admit_with(&attempt, &[ticket(1)], &world, now()).unwrap_err().code
    };
    assert_eq!(says(&|w| w.acme().epoch = 1), TenantEpoch);
    assert_eq!(says(&|w| w.device_epoch = 1), DeviceEpoch);
    assert_eq!(says(&|w| w.revoked.push(TokenHash::of(&token))), TokenRevoked);
    assert_eq!(says(&|w| w.key().state = crate::chain::KeyState::Compromised), KeyNotValid);
    assert_eq!(says(&|w| w.trusted_at = Some(now().minus(90_000))), TrustStale);
    assert_eq!(says(&|w| w.acme().suspended = true), TenantSuspended);
}

/// Who holds a ticket key makes the secret of every token; a token he does not make.
#[test]
fn a_ticket_key_forges_no_token() {
    let mut all = claims();
    all.scope = crate::scope::Scope::from_aif(b"\x81\x82\x61#\x81\x63sub").unwrap();
    for claims in [claims(), all] {
        let token = token_of(&claims);
        let resume = |token: &[u8]| {
            let attempt = resuming(token, token, &ticket(1), now());
            admit_with(&attempt, &[ticket(1)], &World::new(), now())
        };
        assert!(resume(&token).is_ok());
        let (signed, signature) = token.split_at(token.len() - 64);
        let bent = signature.iter().map(|byte| byte ^ 1).collect();
        for signature in [vec![0; 64], bent] {
            let refusal = resume(&[signed, &signature].concat()).unwrap_err();
            assert_eq!((refusal.code, refusal.subject), (SignatureInvalid, None));
        }
    }
}
