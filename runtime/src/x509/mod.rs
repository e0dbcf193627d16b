//! Certificates: their ends, what they say of a device, and whether they chain to an authority. The facade of
//! `x509-parser`; chains are verified by `rustls-webpki`.

use std::fmt;

use pki_types::pem::PemObject;
use pki_types::CertificateDer;
use tessera_token::time::UnixSeconds;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_X509_SERIALNUMBER;
use x509_parser::parse_x509_certificate;
use x509_parser::x509::X509Name;

mod chain;
#[cfg(test)]
mod tests;
mod twin;

pub use chain::chains_to;
pub(crate) use twin::pair;
pub use twin::twin;

/// The end of a certificate in DER; `None` when it cannot be read.
pub fn not_after(certificate: &[u8]) -> Option<UnixSeconds> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    Some(seconds(certificate.validity().not_after.timestamp()))
}

fn seconds(time: i64) -> UnixSeconds {
    UnixSeconds::new(u64::try_from(time).unwrap_or(0))
}

/// Why a certificate cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateFault {
    /// It is no certificate in DER, or has bytes behind it.
    Unreadable,
    /// Its validity has not begun.
    NotYetValid,
    /// Its validity has ended.
    Expired,
    /// Its key is neither on Ed25519 nor on P-256.
    KeyKind,
    /// Its key usage does not allow what the key does here.
    KeyUsage,
    /// It may not sign other certificates.
    NotAnAuthority,
    /// It is an authority and no device.
    IsAnAuthority,
    /// It names another authority as its signer.
    AnotherAuthority,
    /// It does not chain to the authority.
    Chain(String),
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "a certificate cannot be read as DER",
            Self::NotYetValid => "a certificate is not valid yet",
            Self::Expired => "a certificate has expired",
            Self::KeyKind => "the key of a certificate is neither on Ed25519 nor on P-256",
            Self::KeyUsage => "the key usage of a certificate forbids this use of its key",
            Self::NotAnAuthority => "a certificate that signs another is no authority",
            Self::IsAnAuthority => "the certificate of the device is an authority",
            Self::AnotherAuthority => "another authority signed the certificates",
            Self::Chain(why) => return write!(f, "the certificates do not chain: {why}"),
        })
    }
}

impl std::error::Error for CertificateFault {}

/// The statements of the certificate of a device. The signer is not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCertificate {
    /// The common name of the subject, when there is exactly one.
    pub common_name: Option<String>,
    /// The serial number of the subject, when there is exactly one.
    pub serial_number: Option<String>,
    /// DNS names and URIs of the subject.
    pub alternative_names: Vec<String>,
    /// The public key: 32 bytes on Ed25519, 65 on P-256.
    pub key: Vec<u8>,
}

/// Reads the certificate of a device, in DER, and checks what it alone can tell: its validity, its key and its use.
///
/// # Errors
/// [`CertificateFault`].
pub fn device_certificate(
    der: &[u8],
    now: UnixSeconds,
) -> Result<DeviceCertificate, CertificateFault> {
    let certificate = read(der)?;
    in_time(&certificate, now)?;
    if is_authority(&certificate) {
        return Err(CertificateFault::IsAnAuthority);
    }
    let usage = certificate.key_usage().map_err(|_| CertificateFault::Unreadable)?;
    if usage.is_some_and(|usage| !usage.value.digital_signature()) {
        return Err(CertificateFault::KeyUsage);
    }
    let names = certificate.subject_alternative_name();
    let names = names.map_err(|_| CertificateFault::Unreadable)?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let alternative_names = names.filter_map(|name| match name {
        GeneralName::DNSName(text) | GeneralName::URI(text) => Some((*text).to_owned()),
        _ => None,
    });
    let subject = certificate.subject();
    Ok(DeviceCertificate {
        common_name: only(subject.iter_common_name()),
        serial_number: only(subject.iter_by_oid(&OID_X509_SERIALNUMBER)),
        alternative_names: alternative_names.collect(),
        key: key_of(&certificate)?,
    })
}

/// The serial number of a certificate as hexadecimal digits, without leading zeros.
///
/// # Errors
/// [`CertificateFault::Unreadable`].
pub fn serial(der: &[u8]) -> Result<String, CertificateFault> {
    let certificate = read(der)?;
    let digits = tessera_token::encoding::hex::encode(certificate.raw_serial());
    let digits = digits.trim_start_matches('0');
    Ok(if digits.is_empty() { "0".to_owned() } else { digits.to_owned() })
}

/// Reads one authority in PEM, and checks that it may sign certificates now. Gives it in DER.
///
/// # Errors
/// [`CertificateFault`].
pub fn authority(pem: &str, now: UnixSeconds) -> Result<Vec<u8>, CertificateFault> {
    let mut found = CertificateDer::pem_slice_iter(pem.as_bytes());
    let first = found.next().and_then(Result::ok).ok_or(CertificateFault::Unreadable)?;
    if found.next().is_some() {
        return Err(CertificateFault::Unreadable);
    }
    check_authority(&first, now)?;
    Ok(first.to_vec())
}

/// The subject of a certificate, for people.
pub fn subject(der: &[u8]) -> Option<String> {
    read(der).ok().map(|certificate| certificate.subject().to_string())
}

/// Whether a certificate may sign others now; how many may stand between it and a device.
fn check_authority(der: &[u8], now: UnixSeconds) -> Result<Option<u32>, CertificateFault> {
    let certificate = read(der)?;
    in_time(&certificate, now)?;
    if !is_authority(&certificate) {
        return Err(CertificateFault::NotAnAuthority);
    }
    let usage = certificate.key_usage().map_err(|_| CertificateFault::Unreadable)?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(CertificateFault::KeyUsage);
    }
    key_of(&certificate)?;
    let constraints = certificate.basic_constraints().map_err(|_| CertificateFault::Unreadable)?;
    Ok(constraints.and_then(|constraints| constraints.value.path_len_constraint))
}

fn read(der: &[u8]) -> Result<X509Certificate<'_>, CertificateFault> {
    match parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateFault::Unreadable),
    }
}

fn in_time(certificate: &X509Certificate<'_>, now: UnixSeconds) -> Result<(), CertificateFault> {
    let validity = certificate.validity();
    if seconds(validity.not_before.timestamp()) > now {
        return Err(CertificateFault::NotYetValid);
    }
    match seconds(validity.not_after.timestamp()) < now {
        true => Err(CertificateFault::Expired),
        false => Ok(()),
    }
}

fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    let constraints = certificate.basic_constraints().ok().flatten();
    constraints.is_some_and(|constraints| constraints.value.ca)
}

fn only<'a>(
    mut values: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>,
) -> Option<String> {
    let first = values.next()?;
    match values.next() {
        None => first.as_str().ok().map(str::to_owned),
        Some(_) => None,
    }
}

/// SubjectPublicKeyInfo up to the key (RFC 8410 section 4, RFC 5480 section 2).
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

fn key_of(certificate: &X509Certificate<'_>) -> Result<Vec<u8>, CertificateFault> {
    let spki = certificate.public_key().raw;
    let ed25519 = spki.strip_prefix(&ED25519).filter(|key| key.len() == 32);
    let p256 = || spki.strip_prefix(&P256).filter(|key| key.len() == 65 && key.first() == Some(&4));
    ed25519.or_else(p256).map(<[u8]>::to_vec).ok_or(CertificateFault::KeyKind)
}

/// Whether this is the name of the issuer of that certificate.
fn issued_by(certificate: &X509Certificate<'_>, issuer: &X509Name<'_>) -> bool {
    certificate.issuer().as_raw() == issuer.as_raw()
}
