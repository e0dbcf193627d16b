//! Which key a token is to be bound to, and the symmetric one that comes with a token (RFC 9200 section 5.8.4.5,
//! RFC 9202 section 3.3.1).

use alloc::vec::Vec;
use core::fmt;

use super::error::Bad;
use super::labels::{BEARER, COSE_KEY, POP};
use crate::cbor::{CborError, Reader, Writer};
use crate::pop::SymmetricKey;

const KTY: i64 = 1;
const KID: i64 = 2;
const ALG: i64 = 3;
const K: i64 = -1;
const SYMMETRIC_KTY: i64 = 4;
/// HMAC 256/256 (RFC 9053).
const HS256: i64 = 5;
/// The value of `pop_key`.
const SYMMETRIC: &str = "symmetric";

/// The kind of token that a device asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TokenKind {
    /// Bound to the key with which the device was enrolled.
    #[default]
    Key,
    /// Bound to a symmetric key that the service derives for this token and tells once (`pop_key`: `symmetric`).
    Symmetric,
    /// Bound to nothing (`token_type` Bearer), which only some tenants give.
    Bearer,
}

impl TokenKind {
    /// `token_type` of RFC 9200.
    pub(super) const fn token_type(self) -> u64 {
        match self {
            Self::Bearer => BEARER,
            Self::Key | Self::Symmetric => POP,
        }
    }

    /// The member `pop_key`, when there is one.
    pub const fn pop_key(self) -> Option<&'static str> {
        match self {
            Self::Symmetric => Some(SYMMETRIC),
            Self::Key | Self::Bearer => None,
        }
    }

    /// The kind that these two members ask for; `None` when they contradict each other or one is unknown.
    pub fn of(bearer: bool, pop_key: Option<&str>) -> Option<Self> {
        match (bearer, pop_key) {
            (false, None) => Some(Self::Key),
            (false, Some(SYMMETRIC)) => Some(Self::Symmetric),
            (true, None) => Some(Self::Bearer),
            _ => None,
        }
    }
}

/// A symmetric key on its way to the one device that asked for it. Only its name is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedKey {
    /// Its name: the `kid` in the `cnf` of the token.
    pub kid: Vec<u8>,
    /// The key.
    pub key: SymmetricKey,
}

impl fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IssuedKey ")?;
        self.kid.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl IssuedKey {
    /// Appends the value of `cnf`: `{1: {1: 4, 2: kid, 3: 5, -1: k}}`.
    pub(super) fn write(&self, w: &mut Writer) {
        w.map(1).int(COSE_KEY).map(4);
        w.int(KTY).int(SYMMETRIC_KTY).int(KID).bytes(&self.kid);
        w.int(ALG).int(HS256).int(K).bytes(self.key.expose_bytes());
    }

    /// Reads the value of `cnf`.
    pub(super) fn read(cnf: &[u8]) -> Result<Self, Bad> {
        let key = Members::of_cnf(cnf)?;
        let good = key.kty == Some(SYMMETRIC_KTY) && key.alg.is_none_or(|alg| alg == HS256);
        let secret = key.k.filter(|_| good).and_then(SymmetricKey::from_bytes);
        Ok(Self { kid: key.kid.ok_or(Bad)?.to_vec(), key: secret.ok_or(Bad)? })
    }
}

/// Whether a `req_cnf` brings a symmetric key. RFC 9200 section 5.8.4.1 recommends to refuse it: the service cannot know
/// who else has it.
pub(super) fn is_symmetric(req_cnf: &[u8]) -> Result<bool, Bad> {
    Ok(Members::of_cnf(req_cnf)?.kty == Some(SYMMETRIC_KTY))
}

#[derive(Default)]
struct Members<'b> {
    kty: Option<i64>,
    kid: Option<&'b [u8]>,
    alg: Option<i64>,
    k: Option<&'b [u8]>,
}

impl<'b> Members<'b> {
    /// The members of the COSE_Key in a `cnf`; none when it names its key in another way.
    fn of_cnf(cnf: &'b [u8]) -> Result<Self, CborError> {
        let mut r = Reader::new(cnf);
        let mut members = Self::default();
        for _ in 0..r.map()? {
            match r.label()? {
                Some(COSE_KEY) => members = Self::of_key(&mut r)?,
                _ => r.skip()?,
            }
        }
        Ok(members)
    }

    fn of_key(r: &mut Reader<'b>) -> Result<Self, CborError> {
        let mut members = Self::default();
        for _ in 0..r.map()? {
            match r.label()? {
                Some(KTY) => members.kty = Some(r.int()?),
                Some(KID) => members.kid = Some(r.bytes()?),
                Some(ALG) => members.alg = Some(r.int()?),
                Some(K) if members.kty == Some(SYMMETRIC_KTY) => members.k = Some(r.bytes()?),
                _ => r.skip()?,
            }
        }
        Ok(members)
    }
}
