//! The key of a certificate as a signer: for a proof that its holder is there, outside of TLS.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::SigningKey;
use rustls::SignatureScheme;

use super::files::{certificates, private_key, FileError};
use crate::x509::pair;

/// A certificate with those that lead to its authority, and its key.
pub struct CertificateKey {
    chain: Vec<Vec<u8>>,
    key: Arc<dyn SigningKey>,
}

impl CertificateKey {
    /// Reads both files, in PEM.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, FileError> {
        let chain = certificates(certificate)?;
        let found = private_key(key)?;
        let found = any_supported_type(&found)
            .map_err(|error| FileError { path: key.to_owned(), why: error.to_string() })?;
        Ok(Self { chain: chain.iter().map(|one| one.to_vec()).collect(), key: found })
    }

    /// The certificates in DER, that of the device first.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// Signs with Ed25519, or with ECDSA and SHA-256 on P-256, then as r and s. `None` for a key of another kind.
    pub fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        let schemes = [SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256];
        let signer = self.key.choose_scheme(&schemes)?;
        let signature = signer.sign(message).ok()?;
        match signer.scheme() {
            SignatureScheme::ED25519 => signature.try_into().ok(),
            _ => fixed(&signature),
        }
    }
}

/// r and s, one behind the other.
fn fixed(der: &[u8]) -> Option<[u8; 64]> {
    let (r, s) = pair(der)?;
    [r, s].concat().try_into().ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
    use tessera_token::key::PublicKey;
    use tessera_token::time::UnixSeconds;

    use super::*;

    #[test]
    fn signatures_of_both_kinds_verify_by_the_key_of_the_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, file) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        for kind in [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256] {
            let key = KeyPair::generate_for(kind).unwrap();
            let made = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
            std::fs::write(&cert, made.pem()).unwrap();
            std::fs::write(&file, key.serialize_pem()).unwrap();
            let loaded = CertificateKey::load(&cert, &file).unwrap();
            let now = UnixSeconds::new(2_000_000_000);
            let read = crate::x509::device_certificate(&loaded.chain()[0], now).unwrap();
            let public = PublicKey::from_bytes(&read.key).unwrap();
            // Numbers of r and s are shorter now and then.
            for n in 0..300_u32 {
                let signature = loaded.sign(&n.to_be_bytes()).unwrap();
                assert!(public.verifies(&n.to_be_bytes(), &signature), "{n}");
                assert!(!public.verifies(b"other", &signature));
            }
        }
        assert_eq!(fixed(&[]), None);
        assert_eq!(fixed(&[0x30, 6, 2, 1, 1, 2, 1]), None);
        assert_eq!(
            fixed(&[0x30, 6, 2, 1, 1, 2, 1, 2]).map(|both| (both[31], both[63])),
            Some((1, 2))
        );
        assert_eq!(fixed(&[0x30, 7, 2, 1, 1, 2, 1, 2, 0]), None);
    }
}
