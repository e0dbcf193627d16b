//! Revocation of one token, which its bytes or its hash name (RFC 9770). Devices, groups, tenants and keys are revoked where
//! they live. [`shown`] is the token that is shown itself, [`taken`] the verifiers that have taken a revocation. [`trl`] and
//! [`status_list`] tell what is revoked in the forms of other standards.

pub(crate) mod shown;
pub(crate) mod status_list;
pub(crate) mod taken;
pub(crate) mod trl;
mod zlib;

use tessera_runtime::sql::{Batch, Key};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::presented::Presented;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Change, RevokedToken};

use crate::audit::Actor;
use crate::limits::TOKENS_LOOK;
use crate::records::IssuedRecord;
use crate::refused::Refused;
use crate::registry::devices::{self, Ended};
use crate::registry::tenants;
use crate::service::Service;
use crate::tables::{number, one};
use crate::write::{until_committed, Attempt};

/// A token that was revoked.
pub(crate) struct Revoked {
    pub(crate) serial: u64,
    pub(crate) record: IssuedRecord,
    pub(crate) ended: Ended,
}

/// By which a token is found.
#[derive(Clone, Copy)]
pub(crate) enum Named<'a> {
    /// Its hash alone: all tokens that live are looked through.
    Hash(TokenHash),
    /// The token, which an issuer key of the tenant has signed: its serial is the key of its row.
    Token(&'a Presented),
}

/// Ends one token. Ending it twice is the same as once. When verifiers can hold no more revoked tokens, all tokens of its
/// device end, and the device may have new ones.
///
/// # Errors
/// `not_found` when the tenant has no such token that lives.
pub(crate) async fn token(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    named: Named<'_>,
) -> Result<Revoked, Refused> {
    tenants::known(service, tenant).await?;
    until_committed(async || {
        let (key, record) = find(service, tenant, named).await?;
        let (serial, hash) = (number(&key, 0)?, TokenHash::from_bytes(record.hash));
        let row = vec![record.expires.into(), hash.as_bytes().into()];
        if service.tables.revoked_tokens.contains(row).await? {
            return Ok(Attempt::Committed(Revoked { serial, record, ended: Ended::Token }));
        }
        let mut batch = Batch::new();
        batch.expect(&service.tables.issued, key, &record);
        let device = DeviceId::parse(&record.device).map_err(|_| RefusalCode::Internal)?;
        let change = Change::Token(RevokedToken {
            token: hash,
            tenant: tenant.clone(),
            device: device.clone(),
            expires: UnixSeconds::new(record.expires),
        });
        let entry = service.entry(by, "token.revoke", tenant.as_str(), device.as_str());
        let entry = entry.detail(format!("serial {serial}"));
        let ended = match service.publish(vec![change], batch, entry.clone()).await {
            Ok(Attempt::Committed(())) => Ended::Token,
            Ok(Attempt::Conflict) => return Ok(Attempt::Conflict),
            Err(refused) if refused.code == RefusalCode::CapacityReached => {
                let entry = entry.detail(format!("no room for serial {serial} alone"));
                devices::end(service, tenant, &device, entry, |_| {}).await?.1
            }
            Err(refused) => return Err(refused),
        };
        service.metrics.revoked.inc(&["token"]);
        Ok(Attempt::Committed(Revoked { serial, record, ended }))
    })
    .await
}

/// The row of the token, in this tenant.
async fn find(
    service: &Service,
    tenant: &TenantId,
    named: Named<'_>,
) -> Result<(Key, IssuedRecord), Refused> {
    let issued = &service.tables.issued;
    let found = match named {
        Named::Hash(hash) => {
            // By nothing else, for which there would be an index: all rows in their order are read much faster.
            let wanted = [("token_hash", hash.as_bytes().into())];
            // No index has the hashes: it would write a page of its own for each token. All tokens that live are looked
            // through, on a thread that may wait.
            let rows = issued.find(&wanted, None, TOKENS_LOOK).await?;
            rows.into_iter().find(|(_, row)| row.tenant == tenant.as_str())
        }
        Named::Token(shown) => {
            let key = one(shown.serial);
            let row = issued.get(key.clone()).await?;
            let is_it = |row: &IssuedRecord| {
                row.tenant == tenant.as_str() && row.hash == *shown.hash.as_bytes()
            };
            row.filter(is_it).map(|row| (key, row))
        }
    };
    found.ok_or_else(|| RefusalCode::NotFound.into())
}
