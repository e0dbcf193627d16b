//! Claims of a token, read without a check: for its holder, never for a verifier.

use tessera_token::cbor::Reader;
use tessera_token::claims::Claims;
use tessera_token::limits::TOKEN_BYTES;

/// Bytes of the tags 61 and 18 in front of the COSE_Sign1 array.
const TAGS: usize = 3;

/// The claims of `token`; `None` when it is no token of ours. A key that `cnf` only names is left out. **Nothing is
/// verified.**
pub fn unverified_claims(token: &[u8]) -> Option<Claims> {
    let (_, payload) = parts(token)?;
    Claims::from_cbor(payload).or_else(|_| Claims::from_cbor_without_key(payload)).ok()
}

/// The protected header of `token`, which names algorithm and issuer key. **Nothing is verified.**
pub fn unverified_header(token: &[u8]) -> Option<&[u8]> {
    parts(token).map(|(header, _)| header)
}

/// Protected header and payload.
fn parts(token: &[u8]) -> Option<(&[u8], &[u8])> {
    if token.len() > TOKEN_BYTES {
        return None;
    }
    let mut reader = Reader::new(token.get(TAGS..)?);
    reader.array_of(4).ok()?;
    let header = reader.bytes().ok()?;
    reader.skip().ok()?;
    Some((header, reader.bytes().ok()?))
}
