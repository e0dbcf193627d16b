//! Revocation of one token by its hash (RFC 9770). Devices, groups, tenants and keys are revoked where they live.

use tessera_runtime::sql::Batch;
use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, TenantId};
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
use crate::tables::number;
use crate::write::{until_committed, Attempt};

/// A token that was revoked.
pub(crate) struct Revoked {
    pub(crate) serial: u64,
    pub(crate) record: IssuedRecord,
    pub(crate) ended: Ended,
}

/// Ends one token. Ending it twice is the same as once. When verifiers can hold no more revoked tokens, all tokens of its
/// device end, and the device may have new ones.
pub(crate) async fn token(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    hash: TokenHash,
) -> Result<Revoked, Refused> {
    tenants::known(service, tenant).await?;
    until_committed(async || {
        // By nothing else, for which there would be an index: all rows in their order are read much faster.
        let wanted = [("token_hash", hash.as_bytes().into())];
        // No index has the hashes: it would write a page of its own for each token. All tokens that live are looked
        // through, on a thread that may wait.
        let look = service.tables.issued.find(&wanted, None, TOKENS_LOOK);
        let found = look.await?.into_iter().find(|(_, row)| row.tenant == tenant.as_str());
        let (key, record) = found.ok_or(RefusalCode::NotFound)?;
        let serial = number(&key, 0)?;
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
        let entry = service.entry(by, "token.revoke", tenant.as_str(), &record.device);
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
