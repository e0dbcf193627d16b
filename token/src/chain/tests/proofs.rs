//! Stage 8, each way of proving a key.

use super::world::*;
use crate::ace::{
    Answer, BoundNonce, BoundProof, BoundResponse, ChallengeProof, Channel, ExporterProof,
    ExporterSecret, Meant, Nonce, Response,
};
use crate::chain::{admit, admit_with, verify, Admission, Attempt, Refusal};
use crate::claims::{Claims, Epochs};
use crate::hash::TokenHash;
use crate::ids::Audience;
use crate::ids::Serial;
use crate::key::{SecretKey, Thumbprint};
use crate::pop::Pop;
use crate::proof::{ConnectProof, Credential, Presented, Proof, ResumptionSecret, TicketKey};
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
        claims.serial = Serial::from_counter(70_000);
        change(&mut claims);
        let token = token_of(&claims);
        let verified = verify(&token, &World::new(), now()).unwrap();
        verified.renew_with_proof(&held, &Answer::Challenge(answer(by)), "s-0042", &token)
    };
    assert_ne!(next(|_| {}, &device_key()).unwrap().token_hash(), held.token_hash());
    assert_eq!(next(|_| {}, &issuer()), Err(ProofInvalid));
    assert_eq!(next(|c| c.confirmation = None, &device_key()), Err(BearerNotAllowed));
    let rekeyed = next(|c| c.confirmation = Some(issuer().public()), &issuer());
    assert_eq!(rekeyed, Err(ConfirmationKey));
    let other = next(|c| c.device = crate::ids::DeviceId::parse("s-1").unwrap(), &device_key());
    assert_eq!(other, Err(ClientIdMismatch));
    // No older one takes its place: by its time and serial, within one second by its serial, or by an epoch.
    let earlier = |claims: &mut Claims| {
        claims.issued = claims.issued.minus(1);
        claims.serial = Serial::from_counter(9);
    };
    let lower = |claims: &mut Claims| claims.serial = Serial::from_counter(9);
    for older in [earlier, lower] {
        assert_eq!(next(older, &device_key()), Err(TokenOlder));
    }
}

#[test]
fn a_token_of_a_lower_epoch_is_older_whatever_its_time() {
    let age = |change: fn(&mut Claims), later: u64| {
        let mut claims = claims();
        claims.epochs = Epochs { tenant: 2, group_number: 5, group: 2, device: 2 };
        claims.issued = claims.issued.plus(later);
        change(&mut claims);
        claims.age()
    };
    let held = age(|_| {}, 100);
    let lower: [fn(&mut Claims); 3] = [
        |claims| claims.epochs.tenant = 1,
        |claims| claims.epochs.group = 1,
        |claims| claims.epochs.device = 1,
    ];
    for change in lower {
        assert!(age(change, 200).is_before(&held));
        assert!(!held.is_before(&age(change, 200)));
    }
    // One of a later epoch shows that something was revoked: it is judged by that.
    assert!(!age(|claims| claims.epochs.device = 3, 0).is_before(&held));
    // The counter of another group says nothing, and the time counts.
    let moved = |claims: &mut Claims| (claims.epochs.group_number, claims.epochs.group) = (6, 0);
    assert!(!age(moved, 100).is_before(&held) && age(moved, 99).is_before(&held));
    assert!(!held.is_before(&held.clone()));
    // An issuer whose clock was set back: its next token has a lower `iat` and a higher serial.
    let next = age(|claims| claims.serial = Serial::from_counter(1 << 30), 50);
    assert!(!next.is_before(&held) && !held.is_before(&next));
}

fn bound_answer(
    key: &SecretKey,
    audience: &str,
    client_id: &str,
    token: &[u8],
    channel: &Channel,
) -> BoundProof {
    let (broker, client) = (BoundNonce::from_bytes([3; 16]), BoundNonce::from_bytes([4; 16]));
    let sign = |message: &[u8]| Pop::Signature(key.sign(message));
    let meant = Meant { audience, client_id, token };
    let response = BoundResponse::make_by(sign, meant, channel, broker, client);
    BoundProof { broker, channel: channel.clone(), response }
}

#[test]
fn an_answer_of_our_own_method_is_good_for_what_it_was_made_for_alone() {
    let token = token_of(&claims());
    let tls = |byte: u8| Channel::Tls(ExporterSecret::from_bytes(&[byte; 32]));
    let made = |audience: &str, client_id: &str, of: &[u8], channel: &Channel| {
        bound_answer(&device_key(), audience, client_id, of, channel)
    };
    for channel in [Channel::Clear, tls(1)] {
        let good = made("mqtt", "s-0042", &token, &channel);
        let admission = judge(&token, Proof::Bound(good)).unwrap();
        assert_eq!((admission.proof_use, admission.resumed), (None, None));
    }
    let mut newer = claims();
    newer.serial = Serial::from_counter(70_000);
    let newer = token_of(&newer);
    let wrong = [
        made("mqtt2", "s-0042", &token, &tls(1)),
        made("mqtt", "s-0042~2", &token, &tls(1)),
        made("mqtt", "s-0042", &newer, &tls(1)),
        BoundProof { channel: tls(2), ..made("mqtt", "s-0042", &token, &tls(1)) },
        BoundProof { channel: Channel::Clear, ..made("mqtt", "s-0042", &token, &tls(1)) },
        BoundProof { channel: tls(1), ..made("mqtt", "s-0042", &token, &Channel::Clear) },
        BoundProof {
            broker: BoundNonce::from_bytes([9; 16]),
            ..made("mqtt", "s-0042", &token, &tls(1))
        },
        bound_answer(&issuer(), "mqtt", "s-0042", &token, &tls(1)),
    ];
    for proof in wrong {
        assert_eq!(code(judge(&token, Proof::Bound(proof))), ProofInvalid);
    }
    // Nor is the answer of one method one of the other.
    let both = bound_answer(&device_key(), "mqtt", "s-0042", &token, &Channel::Clear);
    let response = Response { nonce: CLIENT, pop: both.response.pop };
    let rfc = ChallengeProof { broker: BROKER, response };
    assert_eq!(code(judge(&token, Proof::Challenge(rfc))), ProofInvalid);
}

#[test]
fn reauthentication_by_our_own_method_is_bound_too() {
    let held = admit(&attempt(&token_of(&claims())), &World::new(), now()).unwrap().grant;
    let mut next = claims();
    next.serial = Serial::from_counter(70_000);
    let next = token_of(&next);
    let answer = bound_answer(&device_key(), "mqtt", "s-0042", &next, &Channel::Clear);
    for (client_id, expected) in [("s-0042", true), ("s-0042~2", false)] {
        let verified = verify(&next, &World::new(), now()).unwrap();
        let answer = Answer::Bound(answer.clone());
        let renewed = verified.renew_with_proof(&held, &answer, client_id, &next);
        assert_eq!(renewed.map(drop), if expected { Ok(()) } else { Err(ProofInvalid) });
    }
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
    newer.serial = crate::ids::Serial::from_counter(4712);
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
fn a_proof_is_good_at_the_verifier_that_it_names_and_at_no_other() {
    let token = token_of(&claims());
    let names = ["mqtt", "gw-1", "gw-2"];
    for made_for in names {
        let by_key = ConnectProof::make(&device_key(), made_for, "s-0042", &token, now(), 5);
        let secret = ticket(1).secret_of(&audience(), &device_name(), &TokenHash::of(&token));
        let by_secret = ConnectProof::resume(&secret, made_for, "s-0042", &token, now(), 6);
        for asked in [None, Some("mqtt"), Some("gw-1"), Some("gw-2")] {
            let world = World { verifier: asked.map(str::to_owned), ..World::new() };
            let good = asked.unwrap_or("mqtt") == made_for;
            for proof in [by_key.clone(), by_secret.clone()] {
                let presented = Presented { token: token.clone(), proof: Proof::Connect(proof) };
                let attempt = Attempt::new(presented, "s-0042");
                let outcome = admit_with(&attempt, &[ticket(1)], &world, now()).map(drop);
                let wanted = if good { Ok(()) } else { Err(ProofInvalid) };
                assert_eq!(outcome.map_err(|r| r.code), wanted, "{made_for} at {asked:?}");
            }
        }
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

/// The holder of a ticket key can make the secret of every token, and can make no token.
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
