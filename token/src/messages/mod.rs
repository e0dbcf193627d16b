//! Messages between a device and provisioning (RFC 9200 labels, `application/ace+cbor`).
//!
//! A device signs what it asks for with its own key; the same bytes travel over HTTPS and over
//! MQTT on `$tessera/token`, where the broker relays them unchanged.

use alloc::borrow::Cow;

use crate::cbor::{loose, Reader};
use crate::limits;

mod ace_answer;
mod ace_cbor;
mod ace_request;
#[cfg(test)]
mod ace_tests;
mod claim;
mod enrol;
mod error;
mod labels;
mod pop_key;
mod push;
mod refused;
mod rekey;
mod request;
mod revoke;
pub mod scope_text;
#[cfg(test)]
mod tests;
mod token;
mod way;

pub use ace_answer::AceAnswer;
pub use ace_request::{
    AceFault, AceGrant, AceMembers, AceRequest, AskedToken, GrantType, NamedKey, Profile,
    RefreshProof, RefreshRequest, Wish,
};
pub use claim::{ClaimCheck, ClaimCode, CLAIM_USER, ENROL_TOPIC};
pub use enrol::{EnrolRequest, NonceAnswer};
pub use error::MessageError;
pub use pop_key::{IssuedKey, TokenKind};
pub use push::{is_service_tenant, PushCall, PushPage, PushSession, SERVICE_TENANT};
pub use refused::{AceError, RefusalAnswer};
pub use rekey::{FormerKey, RekeyRequest};
pub use request::TokenRequest;
pub use revoke::RevokeRequest;
pub use token::TokenAnswer;
pub use way::{device_secret, Entitlement, Means, ShownCertificate, ShownMembers, Way};

/// The media type of every device message.
pub const ACE_CBOR: &str = "application/ace+cbor";

/// A message in the form that [`Reader`] takes. Its bytes are neither signed nor compared, so any well-formed CBOR will do.
fn body(bytes: &[u8]) -> Result<Cow<'_, [u8]>, MessageError> {
    if bytes.len() > limits::MESSAGE_BYTES {
        return Err(MessageError::TooLarge);
    }
    Ok(loose::deterministic(bytes)?)
}

/// The pairs of a message.
fn pairs(r: &mut Reader<'_>) -> Result<usize, MessageError> {
    r.map().map_err(|_| MessageError::NotAMap)
}

/// The label of the next pair.
fn label(r: &mut Reader<'_>) -> Result<Option<i64>, MessageError> {
    r.label().map_err(|_| MessageError::NotAMap)
}
