//! The certificate that both servers show. rcgen is named here alone.

use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::folder::Folder;
use crate::error::Fault;

/// A self-signed ECDSA P-256 certificate, in files as servers want it.
pub(super) struct Certificate {
    /// The certificate in PEM.
    pub(super) chain: PathBuf,
    /// Its key in PEM.
    pub(super) key: PathBuf,
    /// The certificate in DER.
    pub(super) der: Vec<u8>,
}

impl Certificate {
    /// Makes one and writes it into the folder, which only its owner may enter.
    pub(super) fn write(folder: &Folder) -> Result<Self, Fault> {
        let failed = |error: rcgen::Error| Fault::new(format!("certificate: {error}"));
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let params = CertificateParams::new(vec!["localhost".to_owned()]).map_err(failed)?;
        let certificate = params.self_signed(&pair).map_err(failed)?;
        let (chain, key) = (folder.fresh("certificate.pem"), folder.fresh("key.pem"));
        std::fs::write(&chain, certificate.pem())?;
        std::fs::write(&key, pair.serialize_pem())?;
        Ok(Self { chain, key, der: certificate.der().to_vec() })
    }
}
