//! Why a device message was not read: which byte, or which member. It holds nothing of the message itself.

use core::fmt;

use super::labels::*;
use crate::cbor::loose::Fault;
use crate::cbor::CborError;
use crate::ids::IdError;

/// A device message could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// It is larger than [`crate::limits::MESSAGE_BYTES`].
    TooLarge,
    /// It is no CBOR, or none that is read here.
    Cbor(Fault),
    /// It is CBOR and no map with integer or text keys.
    NotAMap,
    /// The member with this label is not there.
    Missing(i64),
    /// The member with this label is not what it must be.
    Member(i64),
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLarge => f.write_str("the message is too large"),
            Self::Cbor(fault) => fault.fmt(f),
            Self::NotAMap => f.write_str("the message is no map with integer or text keys"),
            Self::Missing(label) => write!(f, "member {} is missing", Name(label)),
            Self::Member(label) => {
                write!(f, "member {} must be {}", Name(label), must_be(label))
            }
        }
    }
}

impl core::error::Error for MessageError {}

impl From<Fault> for MessageError {
    fn from(fault: Fault) -> Self {
        Self::Cbor(fault)
    }
}

/// The value of a member is not of the expected type. [`in_member`] says which member.
pub(super) struct Bad;

impl From<CborError> for Bad {
    fn from(_: CborError) -> Self {
        Self
    }
}

impl From<IdError> for Bad {
    fn from(_: IdError) -> Self {
        Self
    }
}

/// The result of reading the member with this label.
pub(super) fn in_member<T>(label: Option<i64>, read: Result<T, Bad>) -> Result<T, MessageError> {
    // Members without a label of ours are left out whole, which cannot fail on CBOR that was checked.
    read.map_err(|Bad| label.map_or(MessageError::NotAMap, MessageError::Member))
}

/// The member with this label, which must be there.
pub(super) fn required<T>(label: i64, value: Option<T>) -> Result<T, MessageError> {
    value.ok_or(MessageError::Missing(label))
}

struct Name(i64);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            ACCESS_TOKEN => "access_token",
            EXPIRES_IN => "expires_in",
            REQ_CNF => "req_cnf",
            AUDIENCE => "audience",
            CNF => "cnf",
            SCOPE => "scope",
            TOKEN => "token",
            CLIENT_ID => "client_id",
            ERROR => "error",
            ERROR_DESCRIPTION => "error_description",
            GRANT_TYPE => "grant_type",
            TOKEN_TYPE => "token_type",
            REFRESH_TOKEN => "refresh_token",
            ACE_PROFILE => "ace_profile",
            CNONCE => "cnonce",
            TENANT => "tenant",
            IAT => "iat",
            NONCE => "nonce",
            SIGNATURE => "signature",
            SERVER_TIME => "server_time",
            CODE => "code",
            CLAIM => "claim",
            POP_KEY => "pop_key",
            ANSWER_KEY => "answer_key",
            SEALED_CNF => "sealed_cnf",
            WANT_REFRESH_TOKEN => "want_refresh_token",
            FORMER_THUMBPRINT => "former_thumbprint",
            FORMER_SIGNATURE => "former_signature",
            WAY => "way",
            SECRET_MAC => "secret_mac",
            CERTIFICATES => "certificates",
            CERTIFICATE_SIGNATURE => "certificate_signature",
            _ => "?",
        };
        write!(f, "{name} ({})", self.0)
    }
}

fn must_be(label: i64) -> &'static str {
    match label {
        ACCESS_TOKEN | TOKEN => "a byte string",
        EXPIRES_IN | SERVER_TIME | ERROR => "an unsigned integer",
        IAT => "an unsigned integer, and not beside a cnonce",
        REQ_CNF | CNF => "{1: COSE_Key} with a public key that verifies signatures: OKP Ed25519 or EC2 P-256, without private parts, `key_ops` absent or with 2",
        AUDIENCE => "the text of an audience",
        SCOPE => "a byte string that holds AIF",
        CLIENT_ID => "the text of a device id: a letter or digit, then letters, digits and . _ : -, at most 64",
        TENANT => "the text of a tenant id: a letter or digit, then letters, digits and . _ -, at most 32",
        GRANT_TYPE => "2 (client_credentials); at /token also 3 (refresh_token)",
        TOKEN_TYPE => "1 (Bearer) or 2 (PoP), and 1 with a refresh token",
        REFRESH_TOKEN => "a byte string as it was given, with grant_type 3 alone",
        ACE_PROFILE => "null or an integer",
        WANT_REFRESH_TOKEN => "a boolean, true with token_type 1 alone",
        CNONCE | NONCE => "a byte string of 8 to 32 bytes",
        SIGNATURE | FORMER_SIGNATURE => "a byte string of 64 bytes",
        FORMER_THUMBPRINT => "a byte string of 32 bytes",
        CLAIM => "a text of at most 128 bytes, and only with the way `claim`",
        WAY => "`claim`, `key`, `group_key`, `certificate` or `approval`",
        SECRET_MAC => "a byte string of 32 bytes, and only with the way `group_key`",
        CERTIFICATES => "1 to 3 certificates in DER as byte strings of at most 2,048 bytes, and only with the way `certificate`",
        CERTIFICATE_SIGNATURE => "a byte string of 64 bytes, and only with the way `certificate`",
        POP_KEY => "the text `symmetric`, and not with token_type 1",
        ANSWER_KEY => "an X25519 public key as a byte string of 32, with pop_key `symmetric`",
        SEALED_CNF => "a byte string that the key of the request opens",
        ERROR_DESCRIPTION | CODE => "a text",
        _ => "of another type",
    }
}
