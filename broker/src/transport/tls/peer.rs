use rustls::pki_types::CertificateDer;
use tessera_token::key::{PublicKey, Thumbprint};

/// The public key of a TLS peer, of a kind that a token's `cnf` can name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerKey {
    /// Ed25519: the 32 bytes of RFC 8032.
    Ed25519([u8; 32]),
    /// P-256: `04`, x, y.
    P256([u8; 65]),
}

/// SubjectPublicKeyInfo up to the key (RFC 8410 section 4, RFC 5480 section 2).
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

impl PeerKey {
    /// The key in a certificate, or the raw key itself (RFC 7250); `None` for other kinds of key.
    pub(in crate::transport) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        Self::of_spki(certificate).or_else(|| {
            let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
            Self::of_spki(&certificate.subject_public_key_info())
        })
    }

    /// The name of the key as a token's `cnf` yields it (RFC 9679); `None` when it is no point of its curve.
    ///
    /// A key that is not torsion-free has no match: a `cnf` that names it is refused.
    pub fn thumbprint(&self) -> Option<Thumbprint> {
        let bytes: &[u8] = match self {
            Self::Ed25519(bytes) => bytes,
            Self::P256(bytes) => bytes,
        };
        PublicKey::from_known_good(bytes).ok().map(|key| key.thumbprint())
    }

    /// The key in a SubjectPublicKeyInfo.
    pub fn of_spki(spki: &[u8]) -> Option<Self> {
        if let Some(key) = spki.strip_prefix(&ED25519) {
            return Some(Self::Ed25519(key.try_into().ok()?));
        }
        let key: [u8; 65] = spki.strip_prefix(&P256)?.try_into().ok()?;
        (key.first() == Some(&4)).then_some(Self::P256(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_other_forms_are_none() {
        let ed = [&ED25519[..], &[7; 32]].concat();
        assert_eq!(PeerKey::of_spki(&ed), Some(PeerKey::Ed25519([7; 32])));
        let mut p256 = [&P256[..], &[4; 65]].concat();
        assert_eq!(PeerKey::of_spki(&p256), Some(PeerKey::P256([4; 65])));
        p256[P256.len()] = 2;
        assert_eq!(PeerKey::of_spki(&p256), None);
        assert_eq!(PeerKey::of_spki(&ed[..43]), None);
        assert_eq!(PeerKey::of_spki(&[&ed[..], &[0]].concat()), None);
        assert_eq!(PeerKey::of(&CertificateDer::from(vec![0x30, 0x00])), None);
    }
}
