//! Issuing: an order becomes a token whose serial is durable before the signature leaves.

pub(crate) mod actor;
mod issuer;
#[cfg(test)]
mod tests;
mod unsigned;

use actix::Addr;
use tessera_runtime::sql::{self, Batch};
use tessera_token::claims::{ConfirmationForm, Epochs};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::key::{KeyId, PublicKey};
use tessera_token::proof::DerivationKey;
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;
use tessera_token::time::UnixSeconds;

use self::actor::{Issue, IssuerActor};
use self::unsigned::Made;
use crate::keys::signing;
use crate::records::{AnsweredRequest, IssuedRecord};
use crate::refused::Refused;
use crate::tables::{one, Tables};

pub(crate) use issuer::{highest_serial, jump, measure, Issuer, SERIALS};

/// Has a token made by the key that signs for its tenant now. It must not leave before its record is committed.
///
/// # Errors
/// `not_ready` when the security module of the key does not answer; others as of [`Issuer::issue`].
pub(crate) async fn issue(
    tables: &Tables,
    issuer: &Addr<IssuerActor>,
    order: Order,
) -> Result<Issued, Refused> {
    let mut ended = None;
    loop {
        let key = signing(tables, &order.tenant).await?;
        let unsigned = match issuer.send(Issue(order.clone(), key)).await?? {
            Made::Signed(issued) => return Ok(issued),
            Made::Unsigned(unsigned) => unsigned,
        };
        let key_id = unsigned.key_id();
        match unsigned.sign().await {
            // A rotation may have destroyed the key since it was looked up: then another one signs now.
            Err(refused) if refused.code == RefusalCode::Internal && ended != Some(key_id) => {
                ended = Some(key_id);
                sql::forget();
            }
            signed => return signed,
        }
    }
}

/// A token to be made.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    pub(crate) audience: Audience,
    /// Seconds.
    pub(crate) life: u64,
    /// The token ends at this time at the latest, however long the order waits.
    pub(crate) latest: Option<UnixSeconds>,
    pub(crate) binding: Binding,
    pub(crate) scope: Scope,
    pub(crate) epochs: Epochs,
}

/// The binding of a token.
#[derive(Clone)]
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
    pub(crate) epochs: Epochs,
    pub(crate) issued: UnixSeconds,
    pub(crate) expires: UnixSeconds,
}

impl Issued {
    /// Adds the record by which this single token can be revoked, and the request is answered again, to the batch.
    pub(crate) fn record(
        &self,
        tables: &Tables,
        batch: &mut Batch,
        (tenant, device): (&TenantId, &DeviceId),
        answer: Option<AnsweredRequest>,
    ) {
        let record = IssuedRecord {
            tenant: tenant.as_str().to_owned(),
            device: device.as_str().to_owned(),
            hash: *TokenHash::of(&self.token).as_bytes(),
            issued: self.issued.get(),
            expires: self.expires.get(),
            key_id: *self.key_id.as_bytes(),
            epochs: Some(self.epochs),
            answer,
        };
        batch.add(&tables.issued, one(self.serial), &record);
    }
}
