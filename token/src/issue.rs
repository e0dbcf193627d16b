//! Issuing: claims and an issuer key become a token.

use alloc::vec::Vec;

use crate::claims::{Claims, ConfirmationForm};
use crate::cose;
use crate::key::{Algorithm, SecretKey};
use crate::limits;
use crate::proof::DerivationKey;
use crate::refusal::RefusalCode;

/// Signs `claims` as a CWT in COSE_Sign1 of the RFC 9770 form.
///
/// The caller has made the serial durable before (the irreversible act is letting the result go).
///
/// # Errors
/// `token_lifetime` when `exp` is not after `iat` or the life exceeds 30 days, `token_too_large`
/// when the token would exceed 4 KiB, `internal` when encoding fails.
pub fn issue(
    claims: &Claims,
    algorithm: Algorithm,
    key: &SecretKey,
) -> Result<Vec<u8>, RefusalCode> {
    issue_as(claims, ConfirmationForm::Key, algorithm, key)
}

/// As [`issue`], with `cnf` in this form: a reference is shorter, and only verifiers that hold the
/// registry can use it.
///
/// # Errors
/// As [`issue`].
pub fn issue_as(
    claims: &Claims,
    form: ConfirmationForm,
    algorithm: Algorithm,
    key: &SecretKey,
) -> Result<Vec<u8>, RefusalCode> {
    seal(claims, claims.to_cbor_as(form), algorithm, key)
}

/// As [`issue`], bound to the symmetric key that `by` derives from the very token: [`DerivationKey::key_of`] its bytes.
/// A public key in `claims` is left out.
///
/// # Errors
/// As [`issue`], and `audience_mismatch` when the derivation key is for another audience than the token.
pub fn issue_symmetric(
    claims: &Claims,
    by: &DerivationKey,
    algorithm: Algorithm,
    key: &SecretKey,
) -> Result<Vec<u8>, RefusalCode> {
    if by.audience() != &claims.audience {
        return Err(RefusalCode::AudienceMismatch);
    }
    seal(claims, claims.to_cbor_with_kid(&by.kid_of(&claims.serial)), algorithm, key)
}

fn seal(
    claims: &Claims,
    payload: Vec<u8>,
    algorithm: Algorithm,
    key: &SecretKey,
) -> Result<Vec<u8>, RefusalCode> {
    let life = claims.expires.since(claims.issued);
    if life == 0 || life > limits::TOKEN_LIFE_SECONDS {
        return Err(RefusalCode::TokenLifetime);
    }
    let token = cose::seal_token(payload, algorithm, key)?;
    if token.len() > limits::TOKEN_BYTES {
        return Err(RefusalCode::TokenTooLarge);
    }
    Ok(token)
}
