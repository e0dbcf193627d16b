//! What a token says, read without judging it: for its holder, never for a verifier.

use tessera_token::cbor::Reader;
use tessera_token::claims::Claims;
use tessera_token::limits::TOKEN_BYTES;

/// Bytes of the tags 61 and 18 in front of the COSE_Sign1 array.
const TAGS: usize = 3;

/// The claims of `token`; `None` when it is no token of ours. **Nothing is verified.**
pub fn unverified_claims(token: &[u8]) -> Option<Claims> {
    if token.len() > TOKEN_BYTES {
        return None;
    }
    let mut reader = Reader::new(token.get(TAGS..)?);
    reader.array_of(4).ok()?;
    reader.bytes().ok()?;
    reader.skip().ok()?;
    Claims::from_cbor(reader.bytes().ok()?).ok()
}
