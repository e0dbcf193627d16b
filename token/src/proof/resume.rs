//! The resumption secret: a connection that was fully proved makes the next one cheap.
//!
//! Over TLS only, the broker hands a proved device `HMAC-SHA-256(ticket key, token hash)`. Whoever
//! holds it has shown this very token and its key to a holder of the ticket key before, so neither
//! the issuer's signature nor the device's needs to be computed again. Expiry, epochs and revocation
//! are checked as ever, and so are window and counter of the proof.

use zeroize::Zeroizing;

use super::{mac, MAC_BYTES};
use crate::hash::TokenHash;

/// The key of a broker or cluster from which resumption secrets follow. It rotates. Neither `Debug`
/// nor `Serialize`; wiped on drop.
#[derive(Clone)]
pub struct TicketKey(Zeroizing<[u8; 32]>);

impl TicketKey {
    /// The key of 32 bytes from a good source of randomness.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// The secret of a token. To be handed only to a peer that has proved the token's key.
    pub fn secret_of(&self, token: &TokenHash) -> ResumptionSecret {
        ResumptionSecret(Zeroizing::new(mac::mac(&*self.0, &[token.as_bytes()])))
    }
}

/// What a device proves itself with in the place of its key, for one token. Neither `Debug` nor
/// `Serialize`; wiped on drop.
#[derive(Clone)]
pub struct ResumptionSecret(Zeroizing<[u8; MAC_BYTES]>);

impl ResumptionSecret {
    /// The secret as the broker told it.
    pub fn from_bytes(bytes: &[u8; MAC_BYTES]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// Its bytes, for the message that hands it over and for the place where the device keeps it.
    pub fn expose_bytes(&self) -> &[u8; MAC_BYTES] {
        &self.0
    }

    pub(super) fn mac(&self, message: &[u8]) -> [u8; MAC_BYTES] {
        mac::mac(&*self.0, &[message])
    }

    pub(super) fn verifies(&self, message: &[u8], tag: &[u8; MAC_BYTES]) -> bool {
        mac::verify(&*self.0, &[message], tag)
    }
}
