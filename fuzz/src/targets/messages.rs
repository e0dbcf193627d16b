//! Device messages: any bytes are read without harm, what is read is written back the same, and a signature holds for
//! exactly what was signed.

use std::fmt::Debug;

use tessera_token::cbor::loose;
use tessera_token::ids::Audience;
use tessera_token::messages::{
    AceError, EnrolRequest, Entitlement, IssuedKey, NonceAnswer, RefusalAnswer, TokenAnswer, TokenKind,
    TokenRequest,
};
use tessera_token::proof::SymmetricKey;
use tessera_token::refusal::RefusalCode;

use super::cbor::strict;
use super::numbered;
use super::world::{at, claims, device, keys, tenant, NOW};
use crate::draw::{interesting, Draw};
use crate::signal::note;

/// Runs one input: a byte that chooses the message, then its bytes or a tape to make and bend one.
pub fn target(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    match choice % 7 {
        0 => read(bytes, "enrol", EnrolRequest::from_cbor, EnrolRequest::to_cbor),
        1 => read(bytes, "token", TokenRequest::from_cbor, TokenRequest::to_cbor),
        2 => read(bytes, "answer", TokenAnswer::from_cbor, TokenAnswer::to_cbor),
        3 => read(bytes, "nonce", NonceAnswer::from_cbor, NonceAnswer::to_cbor),
        4 => read(bytes, "refusal", RefusalAnswer::from_cbor, RefusalAnswer::to_cbor),
        5 => signed_enrol(&mut Draw::new(bytes)),
        _ => signed_token(&mut Draw::new(bytes)),
    }
}

fn read<T: PartialEq, E: Debug>(
    bytes: &[u8],
    name: &str,
    from: fn(&[u8]) -> Result<T, E>,
    to: fn(&T) -> Vec<u8>,
) {
    let Ok(message) = from(bytes) else {
        return note((name, bytes.first(), strict(bytes), bytes.len() / 16));
    };
    note((name, bytes.len()));
    // Any encoding is read, and it says the same as its deterministic form.
    let plain = loose::deterministic(bytes).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    assert!(strict(&plain) && plain.len() <= bytes.len(), "{name} has no deterministic form");
    assert!(from(&plain).is_ok_and(|same| same == message), "{name} depends on its encoding");
    let written = to(&message);
    assert!(strict(&written), "{name} is not written deterministically");
    let again = from(&written).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert!(again == message, "{name} came back different");
    assert_eq!(to(&again), written);
}

fn signed_enrol(draw: &mut Draw<'_>) {
    let key = &keys().device;
    let claim: String = String::from_utf8_lossy(draw.bytes(120)).chars().take(30).collect();
    let nonce = [&[1; 8], draw.bytes(24)].concat();
    let good = EnrolRequest::sign(key, &tenant("acme"), &device("s-0042"), &claim, &nonce);
    let Ok(mut request) = EnrolRequest::from_cbor(&good.to_cbor()) else {
        panic!("a good enrolment cannot be read")
    };
    assert!(request == good && request.verify() == Ok(key.public()));
    match draw.below(7) {
        0 => request.tenant = tenant("rival"),
        1 => request.device = device("s-0043"),
        2 => request.entitlement = Entitlement::Claim(format!("{claim}x")),
        3 => request.nonce.push(0),
        4 => request.signature[draw.below(64)] ^= 1 << draw.below(8),
        5 => request.key = keys().other_device.public().as_bytes().to_vec(),
        _ => request.key[draw.below(32)] ^= 1 << draw.below(8),
    }
    let refused = request.verify().expect_err("a bent enrolment verifies");
    note(("enrol", refused.as_str()));
    assert!(matches!(refused, RefusalCode::ProofInvalid | RefusalCode::ConfirmationKey));
}

fn signed_token(draw: &mut Draw<'_>) {
    let key = &keys().device;
    let time = at(interesting(draw, NOW));
    let nonce = [&[1; 8], draw.bytes(24)].concat();
    let kinds = [TokenKind::Key, TokenKind::Symmetric, TokenKind::Bearer];
    let (at_first, then) = (draw.below(3), 1 + draw.below(2));
    let kind = kinds[at_first];
    let (acme, name) = (tenant("acme"), device("s-0042"));
    let good = TokenRequest::sign(key, &acme, &name, time, &nonce, kind);
    let Ok(mut request) = TokenRequest::from_cbor(&good.to_cbor()) else {
        panic!("a good request cannot be read")
    };
    assert!(request == good && request.verifies(&key.public()));
    assert!(!request.verifies(&keys().other_device.public()), "another key verifies");
    match draw.below(6) {
        0 => request.tenant = tenant("rival"),
        1 => request.device = device("s-0043"),
        2 => request.time = at(request.time.get() ^ 1),
        3 => request.nonce[draw.below(8)] ^= 1,
        4 => request.kind = kinds[(at_first + then) % 3],
        _ => request.signature[draw.below(64)] ^= 1 << draw.below(8),
    }
    assert!(!request.verifies(&key.public()), "a bent request verifies");
    note(("token request", at_first, time.get() > NOW));
}

/// One message of every kind, and tapes for the signed ones.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let key = &keys().device;
    let (acme, name) = (tenant("acme"), device("s-0042"));
    let shared = SymmetricKey::from_bytes(&[7; 32]).expect("a key");
    let answer = TokenAnswer {
        access_token: vec![0xd8; 40],
        expires_in: 3600,
        bearer: false,
        key: Some(IssuedKey { kid: vec![7; 6], key: shared }),
        audience: Audience::parse("mqtt").expect("an audience"),
        scope: claims().scope,
        server_time: at(NOW),
    };
    let nonce = NonceAnswer { nonce: vec![7; 32], expires_in: 60, server_time: at(NOW) };
    let refusal = RefusalAnswer::new(AceError::InvalidGrant, RefusalCode::ClaimUsed, at(NOW));
    let mut inputs = vec![
        [vec![0], EnrolRequest::sign(key, &acme, &name, "TSR-1", &[7; 32]).to_cbor()].concat(),
        [
            vec![1],
            TokenRequest::sign(key, &acme, &name, at(NOW), &[7; 16], TokenKind::Symmetric)
                .to_cbor(),
        ]
        .concat(),
        [vec![2], answer.to_cbor()].concat(),
        [vec![3], nonce.to_cbor()].concat(),
        [vec![4], refusal.to_cbor()].concat(),
    ];
    for bend in 0..7 {
        inputs.push(vec![5, 0, 0, bend, 9, 3]);
        inputs.push(vec![6, 0, 0, 0, 1, bend, 9, 3]);
    }
    numbered(inputs)
}
