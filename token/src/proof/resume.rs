//! The resumption secret: a connection that was fully proved makes the next one cheap.
//!
//! Over TLS only, the broker hands a proved device the HMAC-SHA-256 by its ticket key over
//! `["tessera-resumption-2", audience, name of the device key, token hash]`. A proof by the secret
//! stands in for the device's signature and for nothing else: the issuer's signature, expiry, epochs
//! and revocation are checked as ever, and so are window and counter of the proof.

use zeroize::Zeroizing;

use crate::cbor::Writer;
use crate::hash::TokenHash;
use crate::ids::Audience;
use crate::key::Thumbprint;
use crate::pop::{mac, MAC_BYTES};

const SECRET_CONTEXT: &str = "tessera-resumption-2";
const ID_CONTEXT: &[u8] = b"tessera-ticket-id-1";

/// The key of a broker or cluster from which resumption secrets follow. It rotates. Neither `Debug`
/// nor `Serialize`; wiped on drop.
#[derive(Clone)]
pub struct TicketKey {
    key: Zeroizing<[u8; 32]>,
    id: TicketId,
}

/// Names a ticket key and tells nothing about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TicketId([u8; 8]);

impl TicketKey {
    /// The key of 32 bytes from a good source of randomness.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = mac::mac(bytes, &[ID_CONTEXT]);
        Self { key: Zeroizing::new(*bytes), id: TicketId([a, b, c, d, e, f, g, h]) }
    }

    /// Its name.
    pub fn id(&self) -> TicketId {
        self.id
    }

    /// The secret of a token for this audience whose `cnf` yields the key of this name. To be handed only to
    /// a peer that has proved that key.
    pub fn secret_of(
        &self,
        audience: &Audience,
        key: &Thumbprint,
        token: &TokenHash,
    ) -> ResumptionSecret {
        let mut w = Writer::new();
        w.array(4).text(SECRET_CONTEXT).text(audience.as_str());
        w.bytes(key.as_bytes()).bytes(token.as_bytes());
        ResumptionSecret(Zeroizing::new(mac::mac(&*self.key, &[&w.finish()])))
    }
}

/// A secret with which a device proves itself in the place of its key, for one token. Neither `Debug` nor
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
