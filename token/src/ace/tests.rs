//! Byte vectors of `shared/vectors/rfc9431_derived.json`. A run without them says so.

use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::encoding::hex;
use crate::key::SecretKey;
use crate::pop::{DerivationId, Derived, PopKey, SymmetricKey};

fn vectors() -> Option<Value> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    match std::fs::read(dir.join("rfc9431_derived.json")) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(_) => {
            println!("SKIPPED: no vectors at shared/vectors/rfc9431_derived.json");
            None
        }
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn client(v: &Value) -> SecretKey {
    SecretKey::from_seed(&array(&v["client_key_ed25519"]["seed"]))
}

fn exporter(v: &Value) -> ExporterSecret {
    ExporterSecret::from_bytes(&array(&v["tls_exporter"]["assumed_output"]))
}

#[test]
fn layout_a_proof_over_the_exporter() {
    let Some(v) = vectors() else { return };
    assert_eq!(v["tls_exporter"]["label"], EXPORTER_LABEL);
    assert_eq!(v["tls_exporter"]["length"], EXPORTER_BYTES);
    let case = &v["pop_exporter"];
    let data = bytes(&case["authentication_data"]);
    let Ok(AuthData::Proved { token, pop }) = AuthData::parse(&data) else { panic!("layout (a)") };
    assert_eq!(token, bytes(&v["token_eddsa"]["token"]));
    assert_eq!(pop.as_bytes(), bytes(&case["signature"]));
    let client = client(&v);
    assert_eq!(exporter(&v).prove_by(|m| Pop::Signature(client.sign(m))), pop);
    assert_eq!(AuthData::Proved { token, pop }.to_bytes(), Ok(data));
    let proof = ExporterProof { exporter: exporter(&v), pop };
    assert!(proof.verifies(&PopKey::Public(client.public())));
    let shared = SymmetricKey::from_bytes(&bytes(&case["hmac_key"])).unwrap();
    let pop = exporter(&v).prove_by(|m| shared.prove(m));
    assert_eq!(pop.as_bytes(), bytes(&case["hmac_sha256"]));
    let proof = ExporterProof { exporter: exporter(&v), pop };
    assert!(proof.verifies(&PopKey::Symmetric(Derived {
        key: shared,
        by: DerivationId::from_bytes([1; 4])
    })));
    assert!(!proof.verifies(&PopKey::Public(client.public())));
}

#[test]
fn layouts_b_c_d_challenge_and_response() {
    let Some(v) = vectors() else { return };
    let case = &v["pop_challenge_response"];
    let data = bytes(&case["connect_authentication_data"]);
    let token = bytes(&v["token_eddsa"]["token"]);
    assert_eq!(AuthData::parse(&data), Ok(AuthData::Token(token.clone())));
    assert_eq!(AuthData::Token(token).to_bytes(), Ok(data));
    let broker = Nonce::parse(&bytes(&case["broker_auth_authentication_data"])).unwrap();
    assert_eq!(broker.as_bytes().to_vec(), bytes(&case["rs_nonce"]));
    let data = bytes(&case["client_auth_authentication_data"]);
    let response = Response::parse(&data).unwrap();
    assert_eq!(response.nonce.as_bytes().to_vec(), bytes(&case["client_nonce"]));
    assert_eq!(response.to_bytes(), data);
    let client = client(&v);
    assert_eq!(Response::make(&client, broker, response.nonce), response);
    let proof = ChallengeProof { broker, response };
    assert!(proof.verifies(&PopKey::Public(client.public())));
    let shared = SymmetricKey::from_bytes(&bytes(&v["pop_exporter"]["hmac_key"])).unwrap();
    let response = Response::make_by(|m| shared.prove(m), broker, response_nonce(case));
    assert_eq!(response.pop.as_bytes(), bytes(&case["hmac_sha256"]));
}

fn response_nonce(case: &Value) -> Nonce {
    Nonce::from_bytes(array(&case["client_nonce"]))
}

#[test]
fn user_name_and_password_of_3_1_1() {
    let Some(v) = vectors() else { return };
    let token = bytes(&v["token_eddsa"]["token"]);
    let username = to_username(&token);
    assert_eq!(from_username(&username), Ok(Some(token)));
    let packet = bytes(&v["packets"]["mqtt311_connect_username_password"]);
    let pop = bytes(&v["pop_exporter"]["signature"]);
    let mut tail = (username.len() as u16).to_be_bytes().to_vec();
    tail.extend(username.as_bytes());
    tail.extend((pop.len() as u16).to_be_bytes());
    tail.extend(pop);
    assert!(packet.ends_with(&tail));
}

#[test]
fn malformed_data_is_refused() {
    let Some(v) = vectors() else { return };
    let cases = v["malformed_authentication_data"].as_array().unwrap();
    let mut seen = 0;
    for case in cases {
        let data = bytes(&case["hex"]);
        let name = case["name"].as_str().unwrap();
        let expected = match name {
            "empty" | "zero token length only" => Ok(AuthData::NoToken),
            "one byte" | "token length beyond data" => Err(RefusalCode::AuthDataMalformed),
            "challenge response with 7-byte nonce" => {
                assert_eq!(Response::parse(&data), Err(RefusalCode::AuthDataMalformed));
                seen += 1;
                continue;
            }
            _ => Err(RefusalCode::ProofMalformed),
        };
        assert_eq!(AuthData::parse(&data), expected, "{name}");
        seen += 1;
    }
    assert_eq!((seen, cases.len()), (8, 8));
}

#[test]
fn every_cut_of_every_layout_is_refused_or_means_something_else() {
    let token = vec![0xd8; 100];
    let pop = Pop::Signature([5; 64]);
    let whole = AuthData::Proved { token: token.clone(), pop }.to_bytes().unwrap();
    assert_eq!(whole.len(), 166);
    for end in 0..=whole.len() {
        let expected = match end {
            0 => Ok(AuthData::NoToken),
            1..=101 => Err(RefusalCode::AuthDataMalformed),
            102 => Ok(AuthData::Token(token.clone())),
            134 => Ok(AuthData::Proved { token: token.clone(), pop: Pop::Mac([5; 32]) }),
            166 => Ok(AuthData::Proved { token: token.clone(), pop }),
            _ => Err(RefusalCode::ProofMalformed),
        };
        assert_eq!(AuthData::parse(&whole[..end]), expected, "{end}");
    }
    assert_eq!(AuthData::parse(&[0, 0, 1]), Err(RefusalCode::AuthDataMalformed));
    assert_eq!(AuthData::parse(&[0xff; 4]), Err(RefusalCode::TokenTooLarge));
    let large = AuthData::Token(vec![0; 4097]);
    assert_eq!(large.to_bytes(), Err(RefusalCode::TokenTooLarge));
    for length in (0..100).filter(|n| ![40, 72].contains(n)) {
        assert_eq!(Response::parse(&vec![1; length]), Err(RefusalCode::AuthDataMalformed));
    }
    for length in (0..20).filter(|n| *n != 8) {
        assert_eq!(Nonce::parse(&vec![1; length]), Err(RefusalCode::AuthDataMalformed));
    }
}

#[test]
fn user_names_that_are_no_tokens() {
    assert_eq!(from_username("operator"), Ok(None));
    assert_eq!(from_username(""), Ok(None));
    assert_eq!(from_username("ace"), Err(RefusalCode::CredentialMissing));
    assert_eq!(from_username("ace!"), Err(RefusalCode::CredentialMalformed));
    assert_eq!(from_username("ace2D0="), Err(RefusalCode::CredentialMalformed));
    let long = format!("ace{}", "A".repeat(5465));
    assert_eq!(from_username(&long), Err(RefusalCode::TokenTooLarge));
}
