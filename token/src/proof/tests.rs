use super::*;
use crate::hash::TokenHash;
use crate::ids::{DeviceId, TenantId};
use crate::key::SecretKey;

fn symmetric(byte: u8) -> SymmetricKey {
    SymmetricKey::from_bytes(&[byte; 32]).unwrap()
}

#[test]
fn hmac_of_rfc_4231() {
    // Test case 6 has a key longer than the block: it is hashed first.
    let key = [0xaa; 131];
    let mac = mac::mac(&key, &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
    assert_eq!(
        hex::encode(mac),
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    );
    let mac = mac::mac(&[0x0b; 20], &[b"Hi ", b"There"]);
    assert_eq!(
        hex::encode(mac),
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    );
}

#[test]
fn only_the_right_mac_verifies() {
    let key = symmetric(1);
    let tag = key.mac(b"message");
    assert!(key.verifies(b"message", &tag));
    assert!(!key.verifies(b"messagf", &tag));
    assert!(!symmetric(2).verifies(b"message", &tag));
    for bit in 0..256 {
        let mut bent = tag;
        bent[bit / 8] ^= 1 << (bit % 8);
        assert!(!key.verifies(b"message", &bent));
    }
}

#[test]
fn symmetric_keys_have_a_length() {
    for (length, taken) in
        [(0, false), (16, false), (31, false), (32, true), (64, true), (65, false)]
    {
        assert_eq!(SymmetricKey::from_bytes(&vec![1; length]).is_some(), taken, "{length}");
    }
}

#[test]
fn the_kind_of_key_decides_what_proves_it() {
    let (secret, shared) = (SecretKey::from_seed(&[3; 32]), symmetric(3));
    let (public, symmetric) = (PopKey::Public(secret.public()), PopKey::Symmetric(shared.clone()));
    let signature = Pop::Signature(secret.sign(b"m"));
    let mac = shared.prove(b"m");
    assert!(public.verifies(b"m", &signature) && symmetric.verifies(b"m", &mac));
    assert!(!public.verifies(b"m", &mac) && !symmetric.verifies(b"m", &signature));
    // A public key used as a symmetric one: the oldest confusion.
    let confused = SymmetricKey::from_bytes(secret.public().as_bytes()).unwrap();
    assert!(!public.verifies(b"m", &confused.prove(b"m")));
}

#[test]
fn a_symmetric_key_is_named_by_its_holder() {
    let tenant = TenantId::parse("acme").unwrap();
    let name = |byte, device: &str| {
        PopKey::Symmetric(symmetric(byte)).name(&tenant, &DeviceId::parse(device).unwrap())
    };
    assert_eq!(name(1, "a"), name(2, "a"));
    assert_ne!(name(1, "a"), name(1, "b"));
}

#[test]
fn proofs_have_one_of_two_lengths() {
    for length in 0..=128 {
        let taken = Pop::from_bytes(&vec![1; length]);
        match length {
            32 | 64 => assert_eq!(taken.unwrap().as_bytes().len(), length),
            _ => assert_eq!(taken, Err(RefusalCode::ProofMalformed), "{length}"),
        }
    }
}

#[test]
fn a_secret_belongs_to_one_token_and_one_ticket_key() {
    let ticket = |byte| TicketKey::from_bytes(&[byte; 32]);
    let secret = |byte, token: &[u8]| *ticket(byte).secret_of(&TokenHash::of(token)).expose_bytes();
    assert_eq!(secret(1, b"a"), secret(1, b"a"));
    assert_ne!(secret(1, b"a"), secret(2, b"a"));
    assert_ne!(secret(1, b"a"), secret(1, b"b"));
    let told = ResumptionSecret::from_bytes(&secret(1, b"a"));
    assert_eq!(*told.expose_bytes(), secret(1, b"a"));
}
