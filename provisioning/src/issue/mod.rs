//! Issuing: an order becomes a token whose serial is durable before the signature leaves.

pub(crate) mod actor;
mod issuer;
#[cfg(test)]
mod tests;

use tessera_runtime::store::Batch;
use tessera_token::claims::{ConfirmationForm, Epochs};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::key::{KeyId, PublicKey};
use tessera_token::proof::DerivationKey;
use tessera_token::scope::Scope;
use tessera_token::time::UnixSeconds;

use crate::records::IssuedRecord;
use crate::tables::{numbered, pair, Tables};

pub(crate) use issuer::{highest_serial, jump, Issuer};

/// A token to be made.
pub(crate) struct Order {
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    pub(crate) audience: Audience,
    /// Seconds.
    pub(crate) life: u64,
    pub(crate) binding: Binding,
    pub(crate) scope: Scope,
    pub(crate) epochs: Epochs,
}

/// The binding of a token.
pub(crate) enum Binding {
    /// Nothing: a bearer token.
    None,
    /// The device key, and how `cnf` names it.
    Key(PublicKey, ConfirmationForm),
    /// A symmetric key that this key derives from the token.
    Derived(DerivationKey),
}

/// A token that was made and must not leave before [`Issued::record`] is committed.
pub(crate) struct Issued {
    pub(crate) token: Vec<u8>,
    /// The name of its symmetric key; empty when it has none.
    pub(crate) kid: Vec<u8>,
    pub(crate) serial: u64,
    pub(crate) key_id: KeyId,
    pub(crate) issued: UnixSeconds,
    pub(crate) expires: UnixSeconds,
}

impl Issued {
    /// Puts the record by which this single token can be revoked into the batch.
    pub(crate) fn record(
        &self,
        tables: &Tables,
        batch: &mut Batch,
        tenant: &TenantId,
        device: &DeviceId,
    ) {
        let key = pair(tenant, TokenHash::of(&self.token).as_bytes());
        let record = IssuedRecord {
            device: device.as_str().to_owned(),
            serial: self.serial,
            issued: self.issued.get(),
            expires: self.expires.get(),
            key_id: *self.key_id.as_bytes(),
        };
        batch.put_record(&tables.issued, &key, &record);
        batch.put(&tables.issued_expiry, numbered(self.expires.get(), &key), Vec::new());
    }
}
