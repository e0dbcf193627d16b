//! Vectors from elsewhere. They stay in `shared/vectors`; a run without them says so.

use std::path::PathBuf;

use serde_json::Value;

use super::world::*;
use crate::chain::verify;
use crate::claims::Raw;
use crate::cose;
use crate::encoding::hex;
use crate::hash::TokenHash;
use crate::key::{PublicKey, SecretKey};
use crate::proof::Credential;
use crate::refusal::RefusalCode;
use crate::scope::Scope;

fn vectors(name: &str) -> Option<Value> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    match std::fs::read(dir.join(name)) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(_) => {
            println!("SKIPPED: no vectors at shared/vectors/{name}");
            None
        }
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

#[test]
fn rfc_9679_thumbprints() {
    let Some(v) = vectors("rfc9679_cose_key_thumbprint.json") else {
        return;
    };
    let cases = v["okp_ed25519_derived"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let key = PublicKey::from_bytes(&bytes(&case["x"])).unwrap();
        assert_eq!(key.to_cose_key(), bytes(&case["canonical_cbor"]));
        assert_eq!(key.thumbprint().as_bytes().to_vec(), bytes(&case["sha256"]));
        assert_eq!(PublicKey::from_cose_key(&key.to_cose_key()), Ok(key));
    }
}

#[test]
fn rfc_9431_tokens_and_scope() {
    let Some(v) = vectors("rfc9431_derived.json") else {
        return;
    };
    let issuer = PublicKey::from_bytes(&bytes(&v["as_key_ed25519"]["public"])).unwrap();
    assert_eq!(issuer.key_id().as_bytes().to_vec(), bytes(&v["as_key_ed25519"]["kid"]));
    for name in ["token_eddsa", "token_ed25519_fully_specified"] {
        let case = &v[name];
        let token = bytes(&case["token"]);
        assert_eq!(cose::token_end(&token), Ok(token.len()));
        let Ok(sealed) = cose::open_token(&token) else { panic!("{name} does not open") };
        assert_eq!(sealed.signed_bytes(), bytes(&case["to_be_signed"]));
        assert_eq!(sealed.payload, bytes(&case["payload"]));
        assert!(issuer.verifies(sealed.signed_bytes(), &sealed.signature));
        assert_eq!(TokenHash::of(&token).as_bytes().to_vec(), bytes(&case["rfc9770_token_hash"]));
        let raw = Raw::read(&sealed.payload).unwrap();
        assert_eq!((raw.iss, raw.sub), (Some("https://as.example.com"), Some("device-0001")));
        let scope = Scope::from_aif(raw.scope.unwrap()).unwrap();
        assert_eq!(scope.to_aif(), bytes(&v["aif_mqtt_scope"]["cbor"]));
        // Signed again by the same key, our encoder makes the same bytes.
        let key = SecretKey::from_seed(&bytes(&v["as_key_ed25519"]["seed"]).try_into().unwrap());
        assert_eq!(
            cose::seal_token(sealed.payload.clone(), sealed.algorithm, &key).unwrap(),
            token
        );
        // It has no epochs and an issuer that is no tenant: not one of ours.
        assert_eq!(verify(&token, &World::new(), now()).unwrap_err().code, RefusalCode::KeyUnknown);
    }
}

#[test]
fn rfc_8392_claims_and_foreign_tokens() {
    let Some(v) = vectors("rfc8392_appendix_a.json") else {
        return;
    };
    let set = bytes(&v["claims_set"]["cbor"]);
    let raw = Raw::read(&set).unwrap();
    assert_eq!(raw.iss, Some("coap://as.example.com"));
    assert_eq!((raw.sub, raw.aud), (Some("erikw"), Some("coap://light.example.com")));
    assert_eq!(raw.exp.map(|t| t.get()), Some(1_444_064_944));
    assert_eq!(raw.nbf.map(|t| t.get()), Some(1_443_944_944));
    assert_eq!(raw.iat.map(|t| t.get()), Some(1_443_944_944));
    assert_eq!(raw.cti, Some(&[0x0b, 0x71][..]));
    // Every CWT of the appendix is of another form (MAC, encrypted, nested, one tag, ES256).
    let mut seen = 0;
    let mut walk = vec![&v];
    while let Some(value) = walk.pop() {
        match value {
            Value::Object(map) => walk.extend(map.values()),
            Value::Array(list) => walk.extend(list),
            Value::String(text)
                if text.starts_with("d0")
                    || text.starts_with("d2")
                    || text.starts_with("d8")
                    || text.starts_with("d1") =>
            {
                let Some(token) = hex::decode(text) else {
                    continue;
                };
                if token.len() < 60 {
                    continue;
                }
                seen += 1;
                let code = Credential::from_password(&token)
                    .map(|c| verify(&c.token, &World::new(), now()).unwrap_err().code)
                    .unwrap_or_else(|e| e);
                assert!(
                    matches!(
                        code,
                        RefusalCode::TokenForm
                            | RefusalCode::AlgorithmNotAllowed
                            | RefusalCode::TokenHeader
                            | RefusalCode::TokenMalformed
                    ),
                    "{text}: {code}"
                );
            }
            _ => {}
        }
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn cose_wg_sign1_examples_agree_on_signatures() {
    let Some(v) = vectors("cose_sign1_examples.json") else {
        return;
    };
    let mut checked = 0;
    for item in v["items"].as_array().unwrap() {
        let key = &item["key"];
        let cbor = bytes(&item["cbor"]);
        if key["crv"] != "Ed25519" || cbor.first() != Some(&0xd2) {
            continue;
        }
        checked += 1;
        let public = PublicKey::from_bytes(&bytes(&key["x_hex"])).unwrap();
        // As an access token each is refused for its form; the signature itself is judged alike.
        assert_eq!(Credential::from_password(&cbor), Err(RefusalCode::TokenForm));
        let tbs = bytes(&item["to_be_signed"]);
        let signature = &cbor[cbor.len() - 64..];
        assert_eq!(public.verifies(&tbs, signature), item["expect"] == "pass", "{}", item["file"]);
    }
    assert!(checked >= 1);
}

#[test]
fn ed25519_edge_cases_leave_exactly_one() {
    let Some(v) = vectors("cctv_ed25519vectors.json") else {
        return;
    };
    let cases = v.as_array().unwrap();
    let accepted = cases
        .iter()
        .filter(|c| {
            PublicKey::from_bytes(&bytes(&c["key"]))
                .is_ok_and(|k| k.verifies(c["msg"].as_str().unwrap().as_bytes(), &bytes(&c["sig"])))
        })
        .count();
    assert_eq!((cases.len(), accepted), (914, 1));
    let Some(v) = vectors("speccheck_cases.json") else {
        return;
    };
    for case in v.as_array().unwrap() {
        let ok = PublicKey::from_bytes(&bytes(&case["pub_key"]))
            .is_ok_and(|k| k.verifies(&bytes(&case["message"]), &bytes(&case["signature"])));
        assert!(!ok, "{case}");
    }
}
