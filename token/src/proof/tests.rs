use super::*;
use crate::encoding::hex;
use crate::hash::TokenHash;
use crate::ids::Serial;
use crate::ids::{Audience, DeviceId, TenantId};
use crate::key::{SecretKey, Thumbprint};
use crate::pop::mac;

fn shared(key: SymmetricKey) -> PopKey {
    PopKey::Symmetric(Derived { key, by: DerivationId::from_bytes([1; 4]) })
}

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
    let (secret, both) = (SecretKey::from_seed(&[3; 32]), symmetric(3));
    let (public, symmetric) = (PopKey::Public(secret.public()), shared(both.clone()));
    let signature = Pop::Signature(secret.sign(b"m"));
    let mac = both.prove(b"m");
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
        shared(symmetric(byte)).name(&tenant, &DeviceId::parse(device).unwrap())
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
fn a_secret_belongs_to_one_token_audience_device_key_and_ticket_key() {
    let secret = |ticket: u8, audience: &str, key: u8, token: &[u8]| {
        let (ticket, audience) = (TicketKey::from_bytes(&[ticket; 32]), Audience::parse(audience));
        let (key, token) = (Thumbprint::from_bytes([key; 32]), TokenHash::of(token));
        *ticket.secret_of(&audience.unwrap(), &key, &token).expose_bytes()
    };
    let told = secret(1, "mqtt", 2, b"a");
    assert_eq!(told, secret(1, "mqtt", 2, b"a"));
    let others = [
        secret(9, "mqtt", 2, b"a"),
        secret(1, "mqtt2", 2, b"a"),
        secret(1, "mqtt", 9, b"a"),
        secret(1, "mqtt", 2, b"b"),
    ];
    assert!(others.iter().all(|other| *other != told));
    assert_eq!(*ResumptionSecret::from_bytes(&told).expose_bytes(), told);
}

#[test]
fn a_ticket_key_has_a_name() {
    let id = |byte| TicketKey::from_bytes(&[byte; 32]).id();
    assert_eq!(id(1), id(1));
    assert_ne!(id(1), id(2));
}

fn derivation(byte: u8, audience: &str) -> DerivationKey {
    DerivationKey::new(&[byte; 32], Audience::parse(audience).unwrap()).unwrap()
}

#[test]
fn a_derived_key_belongs_to_one_token_one_derivation_key_and_one_audience() {
    let (by, token) = (derivation(1, "mqtt"), b"token".as_slice());
    let key = by.key_of(token).unwrap();
    assert!(key == by.key_of(token).unwrap());
    assert!(key != by.key_of(b"tokem").unwrap());
    assert!(key != derivation(2, "mqtt").key_of(token).unwrap());
    // The id alone tells audiences apart, so that a key that was copied to another broker is unknown there.
    assert_ne!(by.id(), derivation(1, "mqtt2").id());
    assert_ne!(by.id(), derivation(2, "mqtt").id());
    let serial = Serial::from_counter(300);
    assert_eq!(by.kid_of(&serial), [by.id().as_bytes().as_slice(), &[1, 44]].concat());
}

#[test]
fn a_kid_finds_its_derivation_key_or_none() {
    let audience = Audience::parse("mqtt").unwrap();
    let line = |byte: &str| format!("mqtt {}\n", byte.repeat(32));
    let keys = DerivationKeys::parse(&(line("02") + &line("01")), &audience).unwrap();
    let (new, old) = (derivation(2, "mqtt"), derivation(1, "mqtt"));
    assert_eq!(keys.newest().map(DerivationKey::id), Some(new.id()));
    for by in [&new, &old] {
        let found = keys.key_behind(&by.kid_of(&Serial::from_counter(7)), b"token").unwrap();
        assert!(found.by == by.id() && found.key == by.key_of(b"token").unwrap());
        assert!(keys.key_behind(by.id().as_bytes(), b"token").is_none(), "no serial");
        assert!(keys.key_behind(&by.id().as_bytes()[..3], b"token").is_none());
    }
    let unknown = derivation(3, "mqtt").kid_of(&Serial::from_counter(7));
    assert!(keys.key_behind(&unknown, b"token").is_none());
    assert!(DerivationKeys::default().key_behind(&unknown, b"token").is_none());
}

#[test]
fn derivation_keys_are_read_whole_or_not_at_all() {
    let read = |text: &str| {
        let keys = DerivationKeys::parse(text, &Audience::parse("mqtt").unwrap());
        keys.map(|keys| keys.ids().count())
    };
    let line = |byte: &str| format!("mqtt {}\n", byte.repeat(32));
    let (a, b, c) = (line("0a"), line("0B"), line("0c"));
    assert_eq!(read(&a), Ok(1));
    assert_eq!(read(&format!("{a}{b}{c}")), Ok(3));
    assert_eq!(read(&a.replace(' ', "   ")), Ok(1));
    for bad in [
        String::new(),
        "\n".to_owned(),
        format!("{a}\n"),
        format!("{a}{a}"),
        format!("{a}{b}{c}{}", line("0d")),
        "mqtt".to_owned(),
        format!("mqtt {}", "0".repeat(63)),
        format!("mqtt {}", "0".repeat(65)),
        format!("mqtt {}g", "0".repeat(63)),
        format!("mqtt +{}", "0".repeat(63)),
        format!("mqtt {} x", "0".repeat(64)),
    ] {
        assert_eq!(read(&bad), Err(DerivationKeysError::Malformed), "{bad:?}");
    }
    for foreign in [format!("{a}mqtt2 {}", "0".repeat(64)), a.replace("mqtt", "MQTT")] {
        assert_eq!(read(&foreign), Err(DerivationKeysError::Audience), "{foreign:?}");
    }
}
