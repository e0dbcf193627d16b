//! The time at which a certificate ends. The facade of `x509-parser`.

use tessera_token::time::UnixSeconds;
use x509_parser::parse_x509_certificate;

/// The end of a certificate in DER; `None` when it cannot be read.
pub fn not_after(certificate: &[u8]) -> Option<UnixSeconds> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    Some(UnixSeconds::new(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rubbish_has_no_end() {
        assert_eq!(not_after(b""), None);
        assert_eq!(not_after(&[0x30, 0x82, 0xff, 0xff, 1]), None);
    }
}
