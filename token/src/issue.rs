//! Issuing: claims and an issuer key become a token.

use alloc::vec::Vec;

use crate::claims::{Claims, ConfirmationForm};
use crate::cose;
use crate::key::{Algorithm, Signer};
use crate::limits;
use crate::proof::DerivationKey;
use crate::refusal::RefusalCode;

/// Signs `claims` as a CWT in COSE_Sign1 of the RFC 9770 form.
///
/// The caller has made the serial durable before (the irreversible act is letting the result go).
///
/// # Errors
/// `token_lifetime` when `exp` is not after `iat` or the life exceeds 30 days, `token_too_large`
/// when the token would exceed 4 KiB, `algorithm_not_allowed` when the key is of another kind than the algorithm,
/// `not_ready` or `internal` when the key does not sign ([`crate::key::SignError`]), `internal` when encoding fails.
pub fn issue(
    claims: &Claims,
    algorithm: Algorithm,
    key: &dyn Signer,
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
    key: &dyn Signer,
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
    key: &dyn Signer,
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
    key: &dyn Signer,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::{Epochs, Serial};
    use crate::ids::{Audience, DeviceId, TenantId};
    use crate::key::{PublicKey, SecretKey, SignError, SIGNATURE_BYTES};
    use crate::scope::Scope;
    use crate::time::UnixSeconds;

    /// A key whose device gives this answer.
    struct Device(PublicKey, SignError);

    impl Signer for Device {
        fn public(&self) -> PublicKey {
            self.0.clone()
        }

        fn sign(&self, _: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignError> {
            Err(self.1)
        }
    }

    fn claims() -> Claims {
        Claims {
            tenant: TenantId::parse("t").unwrap(),
            device: DeviceId::parse("d").unwrap(),
            audience: Audience::parse("mqtt").unwrap(),
            expires: UnixSeconds::new(1_800_000_060),
            not_before: None,
            issued: UnixSeconds::new(1_800_000_000),
            serial: Serial::from_counter(7),
            confirmation: None,
            scope: Scope::default(),
            epochs: Epochs::default(),
        }
    }

    #[test]
    fn a_key_that_does_not_sign_makes_no_token() {
        let public = SecretKey::from_seed(&[1; 32]).public();
        for (why, code) in [
            (SignError::Unreachable, RefusalCode::NotReady),
            (SignError::Unusable, RefusalCode::Internal),
        ] {
            let device = Device(public.clone(), why);
            assert_eq!(issue(&claims(), Algorithm::Ed25519, &device), Err(code));
        }
    }

    #[test]
    #[cfg(feature = "p256")]
    fn a_key_of_another_kind_makes_no_token() {
        let base = [
            "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
        ];
        let point = crate::encoding::hex::decode(base.concat()).unwrap();
        let device = Device(PublicKey::from_bytes(&point).unwrap(), SignError::Unreachable);
        for algorithm in [Algorithm::Ed25519, Algorithm::EdDsa] {
            let made = issue(&claims(), algorithm, &device);
            assert_eq!(made, Err(RefusalCode::AlgorithmNotAllowed));
        }
    }
}
