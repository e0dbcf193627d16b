//! Why a token gave no signature, or no key.

use std::fmt;
use std::path::PathBuf;

use tessera_token::key::SignError;

use super::ObjectId;
use crate::secret::SecretFileError;

/// Why a call to a token failed. None holds the PIN.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ModuleError {
    /// This program was built without the feature `pkcs11`.
    NotBuilt,
    /// The module cannot be loaded.
    Load(PathBuf, String),
    /// The module shows no token with this label.
    NoToken(String),
    /// The module shows several tokens with this label.
    SeveralTokens(String),
    /// The file of the PIN.
    Pin(String),
    /// The token refused the PIN. It is not shown again, so that the token does not lock it.
    PinRefused(String),
    /// The token has locked the PIN.
    PinLocked(String),
    /// One more wrong PIN would lock it.
    PinFinalTry(String),
    /// The token makes no keys of this kind.
    NoMechanism(String),
    /// The key is not in the token.
    NoKey(ObjectId),
    /// The token has several private keys with one id.
    SeveralKeys(ObjectId),
    /// The key that the token made could leave it; it was destroyed.
    NotKept(ObjectId),
    /// The signature is not one of this key.
    WrongSignature(ObjectId),
    /// The public half cannot be read.
    PublicKey(ObjectId),
    /// As many calls wait as may.
    Busy,
    /// The call took too long. It may still be done.
    Late,
    /// The call was given up: the threads of the module have ended.
    Ended,
    /// Another answer of the module: the function and its code.
    Device(String),
}

impl ModuleError {
    /// A word for metrics and logs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotBuilt => "not_built",
            Self::Load(..) => "load",
            Self::NoToken(_) => "no_token",
            Self::SeveralTokens(_) => "several_tokens",
            Self::Pin(_) => "pin_file",
            Self::PinRefused(_) => "pin_refused",
            Self::PinLocked(_) => "pin_locked",
            Self::PinFinalTry(_) => "pin_final_try",
            Self::NoMechanism(_) => "no_mechanism",
            Self::NoKey(_) => "no_key",
            Self::SeveralKeys(_) => "several_keys",
            Self::NotKept(_) => "not_kept",
            Self::WrongSignature(_) => "wrong_signature",
            Self::PublicKey(_) => "public_key",
            Self::Busy => "busy",
            Self::Late => "late",
            Self::Ended => "ended",
            Self::Device(_) => "device",
        }
    }

    /// Whether it is about one key, and says nothing about the others.
    pub const fn is_of_a_key(&self) -> bool {
        matches!(
            self,
            Self::NoKey(_)
                | Self::SeveralKeys(_)
                | Self::NotKept(_)
                | Self::WrongSignature(_)
                | Self::PublicKey(_)
        )
    }
}

impl From<&ModuleError> for SignError {
    fn from(error: &ModuleError) -> Self {
        match error.is_of_a_key() {
            true => Self::Unusable,
            false => Self::Unreachable,
        }
    }
}

impl From<SecretFileError> for ModuleError {
    fn from(error: SecretFileError) -> Self {
        Self::Pin(error.to_string())
    }
}

impl fmt::Display for ModuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt => f.write_str(
                "this program was built without PKCS#11: build it with the cargo feature pkcs11 (cargo build --features \
                 pkcs11)",
            ),
            Self::Load(path, why) => write!(
                f,
                "{}: the PKCS#11 module cannot be loaded: {why}. Name the shared library of the module, such as \
                 /usr/lib/softhsm/libsofthsm2.so",
                path.display()
            ),
            Self::NoToken(label) => write!(
                f,
                "the PKCS#11 module shows no token with the label {label:?}: connect it, or look at the labels with \
                 pkcs11-tool --module FILE --list-token-slots"
            ),
            Self::SeveralTokens(label) => write!(
                f,
                "the PKCS#11 module shows several tokens with the label {label:?}: give each a label of its own"
            ),
            Self::Pin(why) => write!(f, "the PIN cannot be read: {why}"),
            Self::PinRefused(label) => write!(
                f,
                "the token {label:?} refused the PIN. It is not shown again before it is another one, so that the token \
                 does not lock it: put the right PIN into the file"
            ),
            Self::PinLocked(label) => write!(
                f,
                "the token {label:?} has locked the PIN of its user: its security officer sets a new one \
                 (pkcs11-tool --init-pin)"
            ),
            Self::PinFinalTry(label) => write!(
                f,
                "the PIN of the token {label:?} has one try left, and is not shown: a wrong one would lock it. Log in once \
                 with the right one (pkcs11-tool --login --list-objects), which resets the count"
            ),
            Self::NoMechanism(what) => {
                write!(f, "the token makes no keys of this kind: {what}. Use one that does")
            }
            Self::NoKey(id) => write!(f, "the token holds no private key with the id {id}"),
            Self::SeveralKeys(id) => write!(
                f,
                "the token holds several private keys with the id {id}: remove those that are copies of another"
            ),
            Self::NotKept(id) => write!(
                f,
                "the key {id} that the token made could leave it (it is extractable, or not sensitive), and was \
                 destroyed: set the policy of the token so that it keeps private keys"
            ),
            Self::WrongSignature(id) => write!(
                f,
                "the token gave a signature that is not one of the key {id}: the object holds another key, or the module is \
                 faulty"
            ),
            Self::PublicKey(id) => {
                write!(f, "the token shows no public half of the key {id} that can be read")
            }
            Self::Busy => f.write_str("as many calls to the PKCS#11 module wait as may"),
            Self::Late => f.write_str("the PKCS#11 module did not answer in time"),
            Self::Ended => f.write_str("the PKCS#11 module is closed"),
            Self::Device(why) => write!(f, "the PKCS#11 module answered: {why}"),
        }
    }
}

impl std::error::Error for ModuleError {}
