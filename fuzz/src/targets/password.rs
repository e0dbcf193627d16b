//! The CONNECT password: any bytes are taken apart without harm, and what was taken apart goes together again.

use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::issue::issue;
use tessera_token::key::{Algorithm, SIGNATURE_BYTES};
use tessera_token::limits::{PASSWORD_BYTES, TOKEN_BYTES};
use tessera_token::proof::{ConnectProof, Credential, MAC_BYTES};
use tessera_token::refusal::RefusalCode;

use super::cbor::strict;
use super::numbered;
use super::world::{at, claims, keys, AUDIENCE, NOW};
use crate::signal::note;

/// Runs one input.
pub fn target(data: &[u8]) {
    let read = Credential::from_password(data);
    let credential = match read {
        Ok(credential) => credential,
        Err(code) => {
            note((code.as_str(), data.len().min(16)));
            assert_eq!(data.is_empty(), code == RefusalCode::CredentialMissing);
            return;
        }
    };
    note(("read", credential.proof.is_some(), credential.token.len() / 8));
    assert!(data.len() <= PASSWORD_BYTES && credential.token.len() <= TOKEN_BYTES);
    assert!(credential.token.starts_with(&[0xd8, 0x3d, 0xd2, 0x84]), "another form");
    assert!(strict(&credential.token[3..]), "a token that is no strict item");

    let raw = credential.to_password();
    let text = data.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let meant = if text {
        std::str::from_utf8(data).ok().and_then(from_base64url).expect("it was read as text")
    } else {
        data.to_vec()
    };
    assert_eq!(raw, meant, "bytes were lost or added");
    assert_eq!(raw.len() - credential.token.len(), proof_bytes(&credential));
    assert!(Credential::from_password(&raw).is_ok_and(|again| again == credential));
    let armoured = base64url(&raw);
    if armoured.len() <= PASSWORD_BYTES {
        let again = Credential::from_password(armoured.as_bytes());
        assert!(again.is_ok_and(|again| again == credential), "text is not the same credential");
    }
}

fn proof_bytes(credential: &Credential) -> usize {
    match &credential.proof {
        Some(proof) if proof.has_mac() => 2 + 8 + MAC_BYTES,
        Some(_) => 2 + 8 + SIGNATURE_BYTES,
        None => 0,
    }
}

/// Tokens with and without proof, raw and as text.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let token = issue(&claims(), Algorithm::Ed25519, &keys().issuer).expect("a good token");
    let proof = ConnectProof::make(&keys().device, AUDIENCE, "s-0042", &token, at(NOW), 7);
    let bound = Credential { token: token.clone(), proof: Some(proof) }.to_password();
    let small = vec![0xd8, 0x3d, 0xd2, 0x84, 0x40, 0xa0, 0x40, 0x40];
    let text = |bytes: &[u8]| base64url(bytes).into_bytes();
    numbered([text(&token), text(&bound), text(&small), token, bound, small, b"password".to_vec()])
}
