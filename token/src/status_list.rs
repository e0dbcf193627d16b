//! A Token Status List as CWT (draft-ietf-oauth-status-list): one bit for each token, signed as a whole. It is no access
//! token: it has no tag 61, and `typ` says what it is.

use alloc::vec::Vec;

use crate::cbor::Writer;
use crate::key::{Algorithm, SecretKey};
use crate::time::UnixSeconds;

/// `typ` of the protected header.
pub const TYP: &str = "application/statuslist+cwt";

const ALG: i64 = 1;
const KID: i64 = 4;
const HEADER_TYP: i64 = 16;
const SUB: i64 = 2;
const EXP: i64 = 4;
const IAT: i64 = 6;
const STATUS_LIST: i64 = 65533;
const TTL: i64 = 65534;
/// Our own claim: the serial of the token with the index 0.
const BASE: i64 = -65538;
/// COSE_Sign1.
const TAG: u8 = 0xd2;

/// A list before it is signed.
pub struct StatusList<'a> {
    /// Its URI.
    pub subject: &'a str,
    /// When it was made.
    pub issued: UnixSeconds,
    /// From then on it says nothing.
    pub expires: UnixSeconds,
    /// Seconds after which a newer one should be fetched.
    pub ttl: u64,
    /// The serial of the token with the index 0.
    pub base: u64,
    /// One bit for each token, packed and compressed by zlib.
    pub list: &'a [u8],
}

impl StatusList<'_> {
    /// Signs it.
    pub fn sign(&self, key: &SecretKey) -> Vec<u8> {
        let mut w = Writer::new();
        w.map(3).int(ALG).int(Algorithm::Ed25519.number());
        w.int(KID).bytes(key.public().key_id().as_bytes()).int(HEADER_TYP).text(TYP);
        let protected = w.finish();
        w.map(6).int(SUB).text(self.subject);
        w.int(EXP).uint(self.expires.get()).int(IAT).uint(self.issued.get());
        w.int(STATUS_LIST).map(2).text("lst").bytes(self.list).text("bits").uint(1);
        w.int(TTL).uint(self.ttl).int(BASE).uint(self.base);
        let payload = w.finish();
        w.array(4).text("Signature1").bytes(&protected).bytes(&[]).bytes(&payload);
        let signature = key.sign(&w.finish());
        w.raw(&[TAG]).array(4).bytes(&protected).map(0).bytes(&payload).bytes(&signature);
        w.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::RefusalCode;

    #[test]
    fn a_status_list_is_no_access_token() {
        let key = SecretKey::from_seed(&[1; 32]);
        let list = StatusList {
            subject: "urn:tessera:status-list:acme",
            issued: UnixSeconds::new(5),
            expires: UnixSeconds::new(10),
            ttl: 3,
            base: 7,
            list: &[1, 2, 3],
        };
        let signed = list.sign(&key);
        assert_eq!(signed.first(), Some(&TAG));
        let read = crate::presented::Presented::read(&signed);
        assert_eq!(read.err(), Some(RefusalCode::TokenForm));
        // Nor when the tag of a CWT is put in front.
        let tagged = [&[0xd8, 0x3d], signed.as_slice()].concat();
        assert_eq!(
            crate::presented::Presented::read(&tagged).err(),
            Some(RefusalCode::TokenHeader)
        );
    }
}
