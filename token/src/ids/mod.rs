//! Names of things, checked once in their constructor.
//!
//! An id is `[A-Za-z0-9][A-Za-z0-9._:-]{0,63}` and compared byte for byte. It can hold none of
//! `/ + # $ ~`, so no id changes the meaning of a topic, a path or a client id.

mod serial;

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

pub use serial::Serial;

use crate::limits;

/// Why a text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdError {
    /// No characters.
    Empty,
    /// More characters than the kind of id allows.
    TooLong,
    /// A character outside the allowed set, or a first character that is no letter or digit.
    BadCharacter,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an id needs at least one character",
            Self::TooLong => "the id is too long",
            Self::BadCharacter => {
                "an id starts with a letter or digit and holds only letters, digits and . _ : -"
            }
        })
    }
}

impl core::error::Error for IdError {}

fn check(text: &str, most: usize, colon: bool) -> Result<(), IdError> {
    let first = *text.as_bytes().first().ok_or(IdError::Empty)?;
    if text.len() > most {
        return Err(IdError::TooLong);
    }
    let good = |b: &u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-') || (colon && *b == b':')
    };
    if !first.is_ascii_alphanumeric() || !text.as_bytes().iter().all(good) {
        return Err(IdError::BadCharacter);
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $most:expr, $colon:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` once; every holder of the value may trust it.
            ///
            /// # Errors
            /// [`IdError`] when the text breaks the rule of the module.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text, $most, $colon)?;
                Ok(Self(text.into()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl core::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl core::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }
    };
}

id!(
    /// A tenant, at most 32 characters. It is the `iss` of its tokens; `:` is not allowed, because
    /// RFC 8392 asks that an issuer with a colon be a URI.
    TenantId, limits::TENANT_CHARS, false
);
id!(
    /// A device (or service) within a tenant: the `sub` of its tokens.
    DeviceId, limits::ID_CHARS, true
);
id!(
    /// A group of devices within a tenant.
    GroupId, limits::ID_CHARS, true
);
id!(
    /// A role within a tenant.
    RoleId, limits::ID_CHARS, true
);
id!(
    /// The name of a broker or cluster that tokens are meant for: `aud`, at most 16 bytes.
    Audience, limits::AUDIENCE_BYTES, false
);

id!(
    /// The name of one verifier (a broker, a gateway) in the proofs that are made for it, at most 64 characters. It is
    /// the audience unless the verifier is given a name of its own; verifiers of one name must share a replay ledger.
    VerifierName, limits::ID_CHARS, true
);

impl From<&Audience> for VerifierName {
    fn from(audience: &Audience) -> Self {
        // An audience is shorter and has no other characters.
        Self(audience.0.clone())
    }
}

/// The MQTT client id of a device: its id, or `id~suffix` for a further connection.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId {
    text: Arc<str>,
    subject: usize,
}

impl ClientId {
    /// Splits and checks a client id.
    ///
    /// # Errors
    /// [`IdError`] when the part before `~` is no device id or the suffix is empty, longer than
    /// 23 characters or holds other than letters, digits and `. _ : -`.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let (subject, suffix) = match text.split_once('~') {
            Some((subject, suffix)) => (subject, Some(suffix)),
            None => (text, None),
        };
        check(subject, limits::ID_CHARS, true)?;
        if let Some(suffix) = suffix {
            check(suffix, limits::CLIENT_SUFFIX_CHARS, true)?;
        }
        Ok(Self { text: text.into(), subject: subject.len() })
    }

    /// The client id of the first connection of `device`.
    pub fn of(device: &DeviceId) -> Self {
        Self { text: device.0.clone(), subject: device.0.len() }
    }

    /// The whole client id.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The device id in front of `~`.
    pub fn subject(&self) -> &str {
        self.text.get(..self.subject).unwrap_or(&self.text)
    }

    /// The whole client id as an owned text.
    pub fn to_text(&self) -> String {
        (*self.text).to_owned()
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
