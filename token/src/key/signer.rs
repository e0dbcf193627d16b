//! A key that signs, wherever its private half is: in memory ([`SecretKey`]) or in a security module.

use core::fmt;

use super::{KeyId, PublicKey, SecretKey, SIGNATURE_BYTES};
use crate::refusal::RefusalCode;

/// A key that signs. Its private half may be out of reach of the process, so a signature may fail.
pub trait Signer {
    /// The public half.
    fn public(&self) -> PublicKey;

    /// The key id of the public half.
    fn key_id(&self) -> KeyId {
        self.public().key_id()
    }

    /// Signs `message`: 64 bytes that [`PublicKey::verifies`] accepts. It may wait for a device.
    ///
    /// # Errors
    /// [`SignError`]; then there is no signature.
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignError>;
}

/// Why a key gave no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignError {
    /// The device that holds the key does not answer now. Later it may.
    Unreachable,
    /// The device answers, and this key is not there or does not sign.
    Unusable,
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "the device that holds the key does not answer",
            Self::Unusable => "the device that holds the key does not sign with it",
        })
    }
}

impl core::error::Error for SignError {}

impl From<SignError> for RefusalCode {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Unreachable => Self::NotReady,
            SignError::Unusable => Self::Internal,
        }
    }
}

impl Signer for SecretKey {
    fn public(&self) -> PublicKey {
        SecretKey::public(self)
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignError> {
        Ok(SecretKey::sign(self, message))
    }
}
