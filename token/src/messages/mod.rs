//! Messages between a device and provisioning (RFC 9200 labels, `application/ace+cbor`).
//!
//! A device signs what it asks for with its own key; the same bytes travel over HTTPS and over
//! MQTT on `$tessera/token`, where the broker relays them unchanged.

mod enrol;
mod labels;
mod pop_key;
#[cfg(test)]
mod tests;
mod token;

pub use enrol::{EnrolRequest, NonceAnswer};
pub use pop_key::{IssuedKey, TokenKind};
pub use token::{AceError, RefusalAnswer, TokenAnswer, TokenRequest};

/// The media type of every device message.
pub const ACE_CBOR: &str = "application/ace+cbor";

/// A device message could not be read: not strict CBOR, a member missing or of the wrong type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageError;

impl core::fmt::Display for MessageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the message is not what application/ace+cbor prescribes here")
    }
}

impl core::error::Error for MessageError {}

impl From<crate::cbor::CborError> for MessageError {
    fn from(_: crate::cbor::CborError) -> Self {
        Self
    }
}

impl From<crate::ids::IdError> for MessageError {
    fn from(_: crate::ids::IdError) -> Self {
        Self
    }
}
