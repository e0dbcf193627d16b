//! Issuing: claims and an issuer key become a token.

use alloc::vec::Vec;

use crate::claims::{Claims, ConfirmationForm};
use crate::cose;
use crate::key::{Algorithm, SecretKey};
use crate::limits;
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
    let life = claims.expires.since(claims.issued);
    if life == 0 || life > limits::TOKEN_LIFE_SECONDS {
        return Err(RefusalCode::TokenLifetime);
    }
    let token = cose::seal_token(claims.to_cbor_as(form), algorithm, key)?;
    if token.len() > limits::TOKEN_BYTES {
        return Err(RefusalCode::TokenTooLarge);
    }
    Ok(token)
}
