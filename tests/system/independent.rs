//! A token of ours, read by a CWT library that is not ours, and the key of one, derived by code that is not ours.

use std::process::Command;

use serde_json::{json, Value};
use tessera_tests::process::{ok, python, root};
use tessera_tests::stranger::claims;
use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::encoding::hex;
use tessera_token::issue::issue;
use tessera_token::key::{Algorithm, SecretKey};
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicFilter;

#[test]
fn an_independent_cwt_library_reads_our_token() {
    let issuer = SecretKey::from_seed(&[1; 32]);
    let entry = |filter: &str, permission| ScopeEntry {
        filter: TopicFilter::parse(filter).unwrap(),
        permission,
    };
    // The library checks expiry against the real clock: a date far ahead keeps this test timeless.
    let issued = UnixSeconds::new(4_102_444_800 - 2_000_000);
    let times = (issued, UnixSeconds::new(4_102_444_800));
    let claims = Claims {
        serial: Serial::from_counter(300),
        scope: Scope::new(vec![
            entry("d/s-1/telemetry", Permission::Publish),
            entry("d/s-1/cmd", Permission::Both),
        ])
        .unwrap(),
        epochs: Epochs { tenant: 1, group_number: 2, group: 0, device: 4 },
        ..claims("acme", "s-1", &SecretKey::from_seed(&[2; 32]).public(), times)
    };
    for algorithm in [Algorithm::Ed25519, Algorithm::EdDsa] {
        let token = issue(&claims, algorithm, &issuer).unwrap();
        let text = ok(Command::new(python())
            .arg(root().join("tests/clients/cwt_reads.py"))
            .arg(hex::encode(&token))
            .arg(hex::encode(issuer.public().as_bytes()))
            .arg(hex::encode(issuer.public().key_id().as_bytes())));
        let read: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({
            "iss": "acme", "sub": "s-1", "aud": "mqtt", "exp": 4_102_444_800_u64,
            "iat": issued.get(), "epochs": [1, 2, 0, 4],
            "scope": [["d/s-1/telemetry", ["pub"]], ["d/s-1/cmd", ["pub", "sub"]]],
        });
        assert_eq!(read, expected);
    }
}

#[test]
fn an_independent_derivation_makes_the_same_key_of_a_token() {
    let vector = root().join("tests/vectors/ace/derived_key.json");
    let ours: Value = serde_json::from_slice(&std::fs::read(&vector).unwrap()).unwrap();
    let script = root().join("tests/clients/derived_keys.py");
    let text = ok(Command::new(python()).arg(script).arg(vector));
    let theirs: Value = serde_json::from_str(&text).unwrap();
    for name in ["key", "derivation_key_id", "kid"] {
        assert_eq!(theirs[name], ours[name], "{name}");
    }
}

#[test]
fn an_independent_hpke_opens_a_sealed_key() {
    let vector = root().join("tests/vectors/ace/sealed_key.json");
    let ours: Value = serde_json::from_slice(&std::fs::read(&vector).unwrap()).unwrap();
    let script = root().join("tests/clients/sealed_keys.py");
    let text = ok(Command::new(python()).arg(script).arg(vector));
    let theirs: Value = serde_json::from_str(&text).unwrap();
    for name in ["key", "kid", "answer_key"] {
        assert_eq!(theirs[name], ours[name], "{name}");
    }
}
