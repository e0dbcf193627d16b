//! The names of a module, a token and a key, and the place of a PIN.

use std::fmt;
use std::path::PathBuf;

use tessera_token::encoding::hex;
use tessera_token::key::PublicKey;

use crate::limits::{PKCS11_SESSIONS, PKCS11_SESSIONS_MOST};
use crate::secret::Secret;

/// A token of a module, and how to log in there.
#[derive(Clone, Debug)]
pub struct ModuleSettings {
    /// The file of the module, a shared library.
    pub module: PathBuf,
    /// The label of the token.
    pub token: String,
    /// The PIN of its user.
    pub pin: Pin,
    /// Sessions, and so calls, at a time.
    pub sessions: usize,
}

impl ModuleSettings {
    /// The settings with the default number of sessions.
    pub fn new(module: impl Into<PathBuf>, token: impl Into<String>, pin: Pin) -> Self {
        Self { module: module.into(), token: token.into(), pin, sessions: PKCS11_SESSIONS }
    }

    /// Whether the values can be.
    ///
    /// # Errors
    /// What would be right.
    pub fn check(&self) -> Result<(), &'static str> {
        if !self.module.is_absolute() {
            return Err("pkcs11.module must be the whole path of the module, from / on");
        }
        if self.token.is_empty() || self.token.len() > 32 {
            return Err("pkcs11.token must be the label of a token, 1 to 32 bytes");
        }
        match (1..=PKCS11_SESSIONS_MOST).contains(&self.sessions) {
            true => Ok(()),
            false => Err("pkcs11.sessions must be 1 to 64"),
        }
    }
}

/// The place of a PIN.
#[derive(Clone)]
pub enum Pin {
    /// A file that only its owner can read. It is read at each login.
    File(PathBuf),
    /// The PIN itself, from the environment.
    Given(Secret<String>),
}

impl fmt::Debug for Pin {
    /// The PIN is never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Given(_) => f.write_str("(not shown)"),
        }
    }
}

/// The kinds of keys that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519, signing by `CKM_EDDSA`.
    Ed25519,
    /// P-256, signing by `CKM_ECDSA` over a SHA-256.
    P256,
}

/// The `CKA_ID` of a key that was made here: random bytes, drawn before the key is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectId([u8; 16]);

impl ObjectId {
    /// Takes the bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for ObjectId {
    /// As `pkcs11-tool --id` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A key in a token: its object, and the public half by which each of its signatures is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleKey {
    /// The private key's object.
    pub object: ObjectId,
    /// The public half.
    pub public: PublicKey,
}

impl ModuleKey {
    /// The kind of the public half.
    pub fn kind(&self) -> KeyKind {
        match self.public.as_ed25519() {
            Some(_) => KeyKind::Ed25519,
            None => KeyKind::P256,
        }
    }
}
