//! A public key as a JWK (RFC 7517, RFC 8037).

use serde::Deserialize;
use tessera_token::encoding::from_base64url;

/// The members of a public key. A private one is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Jwk {
    kty: String,
    crv: String,
    x: String,
    #[serde(default)]
    y: Option<String>,
}

impl Jwk {
    /// The key in record form: 32 bytes of Ed25519, or an uncompressed point of P-256.
    ///
    /// # Errors
    /// The fault in words, behind the name of the member in which the key stands.
    pub(crate) fn key(&self) -> Result<Vec<u8>, &'static str> {
        let bytes = |text: &str| from_base64url(text).ok_or("is a JWK with x and y as base64url");
        let x = bytes(&self.x)?;
        match (self.kty.as_str(), self.crv.as_str(), &self.y) {
            ("OKP", "Ed25519", None) => Ok(x),
            ("EC", "P-256", Some(y)) => Ok([vec![4], x, bytes(y)?].concat()),
            _ => Err("is an OKP key on Ed25519, or an EC key on P-256"),
        }
    }
}
