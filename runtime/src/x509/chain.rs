//! Whether certificates chain to an authority (RFC 5280 section 6).

use std::time::Duration;

use pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use tessera_token::time::UnixSeconds;
use webpki::ring::{ECDSA_P256_SHA256, ECDSA_P256_SHA384, ED25519};
use webpki::{anchor_from_trusted_cert, EndEntityCert, KeyUsage};

use super::{check_authority, issued_by, read, CertificateFault};

/// Signatures by the two kinds of keys alone.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] =
    &[ECDSA_P256_SHA256, ECDSA_P256_SHA384, ED25519];

/// Whether `chain`, the certificate of a device first, chains to this authority now. All are in DER. The caller bounds how
/// many there are, and their bytes.
///
/// # Errors
/// [`CertificateFault`].
pub fn chains_to(
    authority: &[u8],
    chain: &[Vec<u8>],
    now: UnixSeconds,
) -> Result<(), CertificateFault> {
    let root = read(authority)?;
    let mut named = false;
    for der in chain {
        named |= issued_by(&read(der)?, root.subject());
    }
    if !named {
        // Cheap, and most authorities of a tenant are not the one.
        return Err(CertificateFault::AnotherAuthority);
    }
    // The library takes an authority as it is: neither its time nor its length of path is looked at there.
    let most = check_authority(authority, now)?;
    let all: Vec<CertificateDer<'_>> =
        chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let (leaf, between) = all.split_first().ok_or(CertificateFault::Unreadable)?;
    for der in between {
        check_authority(der, now)?;
    }
    let fault = |error: webpki::Error| CertificateFault::Chain(format!("{error:?}"));
    let authority = CertificateDer::from(authority);
    let anchors = [anchor_from_trusted_cert(&authority).map_err(fault)?];
    let leaf = EndEntityCert::try_from(leaf).map_err(fault)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now.get()));
    let usage = KeyUsage::client_auth();
    let path = leaf
        .verify_for_usage(ALGORITHMS, &anchors, between, time, usage, None, None)
        .map_err(fault)?;
    let depth = path.intermediate_certificates().count();
    match most.is_some_and(|most| depth > usize::try_from(most).unwrap_or(usize::MAX)) {
        true => Err(CertificateFault::Chain("longer than the authority allows".to_owned())),
        false => Ok(()),
    }
}
