//! COSE_Key (RFC 9052 section 7) to and from the record form of a key; nothing is judged here.

use alloc::vec::Vec;

use super::{Algorithm, KeyError, ES256, ESP256};
use crate::cbor::{CborError, Reader, Writer};

const KTY: i64 = 1;
const ALG: i64 = 3;
const KEY_OPS: i64 = 4;
const CRV: i64 = -1;
const X: i64 = -2;
const Y: i64 = -3;
const PRIVATE: i64 = -4;
/// The value of `key_ops` for a key that verifies signatures.
const VERIFY: i64 = 2;
const OKP: i64 = 1;
const EC2: i64 = 2;
const ED25519: i64 = 6;
const P256: i64 = 1;

/// Which algorithms go with which kind of key.
pub(super) fn goes_with(ed25519: bool, algorithm: i64) -> bool {
    match ed25519 {
        true => [Algorithm::Ed25519.number(), Algorithm::EdDsa.number()].contains(&algorithm),
        false => [ESP256, ES256].contains(&algorithm),
    }
}

/// The COSE_Key of a key in record form.
pub(crate) fn write(record: &[u8]) -> Vec<u8> {
    let mut w = Writer::new();
    match record {
        [4, xy @ ..] if xy.len() == 64 => {
            let (x, y) = xy.split_at_checked(32).unwrap_or_default();
            w.map(4).int(KTY).int(EC2).int(CRV).int(P256).int(X).bytes(x).int(Y).bytes(y);
        }
        [sign @ (2 | 3), x @ ..] if x.len() == 32 => {
            w.map(4).int(KTY).int(EC2).int(CRV).int(P256).int(X).bytes(x).int(Y).bool(*sign == 3);
        }
        x => {
            w.map(3).int(KTY).int(OKP).int(CRV).int(ED25519).int(X).bytes(x);
        }
    }
    w.finish()
}

/// The record form of a public COSE_Key that passed the strict pre-check.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
    Members::read(bytes).ok().and_then(|members| members.record()).ok_or(KeyError::NotSupported)
}

#[derive(Default)]
struct Members<'b> {
    kty: Option<i64>,
    crv: Option<i64>,
    alg: Option<i64>,
    x: Option<&'b [u8]>,
    y: Option<&'b [u8]>,
    private: bool,
    /// Whether `key_ops` is there and does not list `verify`.
    not_to_verify: bool,
}

impl<'b> Members<'b> {
    fn read(bytes: &'b [u8]) -> Result<Self, CborError> {
        let mut r = Reader::new(bytes);
        let mut members = Self::default();
        for _ in 0..r.map()? {
            match r.label()? {
                Some(KTY) => members.kty = Some(r.int()?),
                Some(CRV) => members.crv = Some(r.int()?),
                Some(ALG) => members.alg = Some(r.int()?),
                Some(KEY_OPS) => members.not_to_verify = !lists_verify(&mut r)?,
                Some(X) => members.x = Some(r.bytes()?),
                Some(Y) => members.y = Some(r.item()?),
                Some(PRIVATE) => {
                    members.private = true;
                    r.skip()?;
                }
                _ => r.skip()?,
            }
        }
        r.end()?;
        Ok(members)
    }

    fn record(&self) -> Option<Vec<u8>> {
        let ed25519 = match (self.kty?, self.crv?) {
            (OKP, ED25519) => true,
            (EC2, P256) => false,
            _ => return None,
        };
        if self.private
            || self.not_to_verify
            || self.alg.is_some_and(|alg| !goes_with(ed25519, alg))
        {
            return None;
        }
        let x = self.x?;
        match ed25519 {
            true => (self.y.is_none()).then(|| x.to_vec()),
            false => sec1(x, self.y?),
        }
    }
}

/// RFC 9052 section 7.1: the key is for these operations alone.
fn lists_verify(r: &mut Reader<'_>) -> Result<bool, CborError> {
    let mut found = false;
    for _ in 0..r.array()? {
        found |= r.label()? == Some(VERIFY);
    }
    Ok(found)
}

fn sec1(x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
    if x.len() != 32 {
        return None;
    }
    let mut r = Reader::new(y);
    if let Ok(sign) = r.bool() {
        return Some([&[2 + u8::from(sign)], x].concat());
    }
    let y = Reader::new(y).bytes().ok()?;
    (y.len() == 32).then(|| [&[4], x, y].concat())
}
