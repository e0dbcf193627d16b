//! COSE_Sign1 (RFC 9052) through `coset`, behind our own pre-check: the only file that names it.
//!
//! Two shapes are spoken here: the access token in the one form that RFC 9770 can revoke by hash,
//! and messages of the trust feed, told apart by their external_aad.

use alloc::vec::Vec;

use coset::iana;
use coset::{Algorithm as Label, CborSerializable, CoseSign1, CoseSign1Builder, HeaderBuilder};

use crate::cbor::strict;
use crate::key::{Algorithm, KeyId, Signer};
use crate::refusal::RefusalCode;

/// CBOR tag 61 (CWT), then tag 18 (COSE_Sign1) with an array of four.
pub(crate) const TOKEN_PREFIX: [u8; 4] = [0xd8, 0x3d, 0xd2, 0x84];
/// Bytes of [`TOKEN_PREFIX`] in front of the COSE_Sign1 array.
const TAGS: usize = 3;

/// A COSE_Sign1 whose shape was checked and whose signature was not.
pub(crate) struct Sealed {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: KeyId,
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    signed: Vec<u8>,
}

impl Sealed {
    /// The bytes under the signature (Sig_structure, RFC 9052 section 4.4).
    pub(crate) fn signed_bytes(&self) -> &[u8] {
        &self.signed
    }
}

/// The end of the token at the start of `bytes`, when it has our form.
pub(crate) fn token_end(bytes: &[u8]) -> Result<usize, RefusalCode> {
    if !bytes.starts_with(&TOKEN_PREFIX) {
        // Bytes that are strict CBOR of another form and bytes that are no CBOR differ in code.
        return Err(match strict::check(bytes) {
            Ok(()) => RefusalCode::TokenForm,
            Err(_) if first_is_form(bytes) => RefusalCode::TokenForm,
            Err(_) => RefusalCode::TokenMalformed,
        });
    }
    strict::measure(bytes, TAGS, crate::limits::CBOR_ITEMS).map_err(|_| RefusalCode::TokenMalformed)
}

/// Tags of other COSE messages or a bare array: a token, but in a form that is not ours.
fn first_is_form(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(0x84 | 0xd0 | 0xd1 | 0xd2 | 0xd8))
}

/// Opens a token that starts with [`TOKEN_PREFIX`] and is strict CBOR behind its two tags.
pub(crate) fn open_token(token: &[u8]) -> Result<Sealed, RefusalCode> {
    let array = token.get(TAGS..).ok_or(RefusalCode::TokenMalformed)?;
    open(array, b"")
}

/// Opens an untagged COSE_Sign1 that was made with `aad`.
pub(crate) fn open(array: &[u8], aad: &[u8]) -> Result<Sealed, RefusalCode> {
    let sign1 = CoseSign1::from_slice(array).map_err(|_| RefusalCode::TokenHeader)?;
    if !sign1.unprotected.is_empty() {
        return Err(RefusalCode::TokenHeader);
    }
    let raw = sign1.protected.original_data.as_deref().unwrap_or_default();
    strict::check(raw).map_err(|_| RefusalCode::TokenHeader)?;
    let header = &sign1.protected.header;
    let algorithm = match &header.alg {
        Some(Label::Assigned(iana::Algorithm::Ed25519)) => Algorithm::Ed25519,
        Some(Label::Assigned(iana::Algorithm::EdDSA)) => Algorithm::EdDsa,
        Some(_) => return Err(RefusalCode::AlgorithmNotAllowed),
        None => return Err(RefusalCode::TokenHeader),
    };
    // Two pairs: alg and kid. Nothing else is understood, so nothing else may be there.
    if raw.first() != Some(&0xa2) || !header.rest.is_empty() {
        return Err(RefusalCode::TokenHeader);
    }
    let kid: [u8; 8] = header.key_id.as_slice().try_into().map_err(|_| RefusalCode::TokenHeader)?;
    let signed = sign1.tbs_data(aad);
    Ok(Sealed {
        algorithm,
        key_id: KeyId::from_bytes(kid),
        payload: sign1.payload.ok_or(RefusalCode::TokenForm)?,
        signature: sign1.signature,
        signed,
    })
}

/// Signs `payload` as an untagged COSE_Sign1 with everything in the protected header.
pub(crate) fn seal(
    payload: Vec<u8>,
    aad: &[u8],
    algorithm: Algorithm,
    key: &dyn Signer,
) -> Result<Vec<u8>, RefusalCode> {
    let alg = match algorithm {
        Algorithm::Ed25519 => iana::Algorithm::Ed25519,
        Algorithm::EdDsa => iana::Algorithm::EdDSA,
    };
    // Verifiers take the algorithm from the key: a token that names another one is refused by all of them.
    let public = key.public();
    if !public.accepts(algorithm.number()) {
        return Err(RefusalCode::AlgorithmNotAllowed);
    }
    let kid = public.key_id().as_bytes().to_vec();
    CoseSign1Builder::new()
        .protected(HeaderBuilder::new().algorithm(alg).key_id(kid).build())
        .payload(payload)
        .try_create_signature(aad, |message| key.sign(message).map(|made| made.to_vec()))?
        .build()
        .to_vec()
        .map_err(|_| RefusalCode::Internal)
}

/// As [`seal`], with the two tags of a CWT in front.
pub(crate) fn seal_token(
    payload: Vec<u8>,
    algorithm: Algorithm,
    key: &dyn Signer,
) -> Result<Vec<u8>, RefusalCode> {
    let array = seal(payload, b"", algorithm, key)?;
    let mut token = TOKEN_PREFIX.get(..TAGS).unwrap_or_default().to_vec();
    token.extend_from_slice(&array);
    Ok(token)
}
