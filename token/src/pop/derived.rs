//! Symmetric keys that follow from a token (RFC 9202 section 3.3.2): the only file that names the HKDF library.
//!
//! Issuer and verifier of one audience share a derivation key. The key of a token is
//! `HKDF-SHA-256(salt: empty, IKM: derivation key, info: ["ACE-CoAP-DTLS-key-derivation", 32, token])`, so nothing is
//! stored for a device, and a key is good for this very token alone. `cnf {3: kid}` says which derivation key it was:
//! `kid` is its 4-byte id and the token's `cti`. (With 8 bytes the CONNECT of a default sensor would not fit 256.)

use alloc::vec::Vec;
use core::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{SymmetricKey, MAC_BYTES};
use crate::cbor::Writer;
use crate::encoding;
use crate::ids::Audience;
use crate::ids::Serial;
use crate::limits;

const KEY_CONTEXT: &str = "ACE-CoAP-DTLS-key-derivation";
const ID_CONTEXT: &str = "tessera-derivation-key-id-1";

/// The name of a derivation key: it follows from the key and its audience, and tells nothing about the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DerivationId([u8; 4]);

impl DerivationId {
    /// An id from a record.
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The 4 bytes.
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Debug for DerivationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for DerivationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A symmetric key of one token, and by which derivation key it was made.
#[derive(Clone)]
pub struct Derived {
    /// The key.
    pub key: SymmetricKey,
    /// The derivation key.
    pub by: DerivationId,
}

/// A key that the issuer and the verifier of one audience share with no other party. Neither `Debug` nor `Serialize`;
/// wiped on drop.
#[derive(Clone)]
pub struct DerivationKey {
    /// The pseudorandom key of HKDF-Extract: all that is ever needed of the derivation key.
    extracted: Zeroizing<[u8; 32]>,
    id: DerivationId,
    audience: Audience,
}

impl DerivationKey {
    /// The key of 32 bytes from a good source of randomness, for this audience alone. `None` never happens: the
    /// lengths are constants that HKDF takes.
    pub fn new(bytes: &[u8; 32], audience: Audience) -> Option<Self> {
        let (extracted, _) = Hkdf::<Sha256>::extract(None, bytes);
        let extracted = Zeroizing::new(extracted.into());
        let mut info = Writer::new();
        info.array(3).text(ID_CONTEXT).uint(4).text(audience.as_str());
        let id = DerivationId(*expand(&extracted, &info.finish())?);
        Some(Self { extracted, id, audience })
    }

    /// Its name.
    pub fn id(&self) -> DerivationId {
        self.id
    }

    /// The one audience that it is for: RFC 9200 section 5.2 forbids the same symmetric key at several.
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// The `kid` of the token with this serial.
    pub fn kid_of(&self, serial: &Serial) -> Vec<u8> {
        [self.id.as_bytes(), serial.as_bytes()].concat()
    }

    /// The key of a token. `None` never happens, as in [`DerivationKey::new`].
    pub fn key_of(&self, token: &[u8]) -> Option<SymmetricKey> {
        let mut info = Writer::new();
        info.array(3).text(KEY_CONTEXT).uint(MAC_BYTES as u64).bytes(token);
        let key = expand::<MAC_BYTES>(&self.extracted, &info.finish())?;
        SymmetricKey::from_bytes(&*key)
    }
}

fn expand<const N: usize>(extracted: &[u8; 32], info: &[u8]) -> Option<Zeroizing<[u8; N]>> {
    let mut out = Zeroizing::new([0; N]);
    Hkdf::<Sha256>::from_prk(extracted).ok()?.expand(info, &mut *out).ok()?;
    Some(out)
}

/// Why a text holds no derivation keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DerivationKeysError {
    /// Not one to three different lines of an audience, a space and 64 hexadecimal digits.
    Malformed,
    /// A key in it belongs to another audience: it must not be here.
    Audience,
}

impl fmt::Display for DerivationKeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => {
                "not one to three different lines of an audience, a space and 64 hexadecimal digits"
            }
            Self::Audience => "a derivation key of another audience must not be here",
        })
    }
}

impl core::error::Error for DerivationKeysError {}

/// The derivation keys of one audience: the first one makes new keys, all of them are accepted. None by default.
#[derive(Clone, Default)]
pub struct DerivationKeys(Vec<DerivationKey>);

impl DerivationKeys {
    /// Reads one to three lines of an audience, a space and 64 hexadecimal digits, newest first.
    ///
    /// # Errors
    /// [`DerivationKeysError`]: not even the good lines are taken then.
    pub fn parse(lines: &str, audience: &Audience) -> Result<Self, DerivationKeysError> {
        let mut keys = Vec::new();
        for line in lines.lines() {
            let malformed = DerivationKeysError::Malformed;
            let (name, digits) = line.trim().split_once(' ').ok_or(malformed)?;
            if name != audience.as_str() {
                return Err(DerivationKeysError::Audience);
            }
            let key = encoding::hex::decode_key(digits.trim_start()).ok_or(malformed)?;
            keys.push(DerivationKey::new(&key, audience.clone()).ok_or(malformed)?);
            if keys.len() > limits::DERIVATION_KEYS {
                return Err(malformed);
            }
        }
        let keys = Self(keys);
        let twice = keys
            .ids()
            .enumerate()
            .any(|(place, id)| keys.ids().skip(place + 1).any(|other| other == id));
        match keys.0.is_empty() || twice {
            true => Err(DerivationKeysError::Malformed),
            false => Ok(keys),
        }
    }

    /// The one for new tokens.
    pub fn newest(&self) -> Option<&DerivationKey> {
        self.0.first()
    }

    /// The one of this name.
    pub fn get(&self, id: DerivationId) -> Option<&DerivationKey> {
        self.0.iter().find(|key| key.id == id)
    }

    /// Their names, newest first.
    pub fn ids(&self) -> impl Iterator<Item = DerivationId> + '_ {
        self.0.iter().map(DerivationKey::id)
    }

    /// The key that a token with this `kid` is bound to, when the derivation key is one of these.
    pub fn key_behind(&self, kid: &[u8], token: &[u8]) -> Option<Derived> {
        let (id, serial) = kid.split_first_chunk()?;
        let by = self.get(DerivationId(*id)).filter(|_| !serial.is_empty())?;
        Some(Derived { key: by.key_of(token)?, by: by.id })
    }
}
