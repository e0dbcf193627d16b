//! Revocation of one token by its hash (RFC 9770). Devices, groups, tenants and keys are revoked where they live.

use tessera_runtime::store::Batch;
use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Change, RevokedToken};

use crate::audit::Actor;
use crate::records::IssuedRecord;
use crate::refused::Refused;
use crate::registry::devices::{self, Ended};
use crate::registry::tenants;
use crate::service::Service;
use crate::tables::{numbered, pair};
use crate::write::{until_committed, Attempt};

/// Ends one token. Ending it twice is the same as once. When verifiers can hold no more revoked tokens, all tokens of its
/// device end, and the device may have new ones. Returns the device it belongs to.
pub(crate) async fn token(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    hash: TokenHash,
) -> Result<(IssuedRecord, Ended), Refused> {
    tenants::known(service, tenant)?;
    until_committed(async || {
        let record: Option<IssuedRecord> =
            service.tables.issued.get_record(pair(tenant, hash.as_bytes()))?;
        let record = record.ok_or(RefusalCode::NotFound)?;
        if service.tables.revoked_tokens.contains(numbered(record.expires, hash.as_bytes()))? {
            service.store.barrier().await?;
            return Ok(Attempt::Committed((record, Ended::Token)));
        }
        let mut batch = Batch::new();
        batch.expect_record(&service.tables.issued, pair(tenant, hash.as_bytes()), &record);
        let device = DeviceId::parse(&record.device).map_err(|_| RefusalCode::Internal)?;
        let change = Change::Token(RevokedToken {
            token: hash,
            tenant: tenant.clone(),
            device: device.clone(),
            expires: UnixSeconds::new(record.expires),
        });
        let entry = service.entry(by, "token.revoke", tenant.as_str(), &record.device);
        let entry = entry.detail(format!("serial {}", record.serial));
        let ended = match service.publish(vec![change], batch, entry.clone()).await {
            Ok(Attempt::Committed(())) => Ended::Token,
            Ok(Attempt::Conflict) => return Ok(Attempt::Conflict),
            Err(refused) if refused.code == RefusalCode::CapacityReached => {
                let entry = entry.detail(format!("no room for serial {} alone", record.serial));
                devices::end(service, tenant, &device, entry, |_| {}).await?.1
            }
            Err(refused) => return Err(refused),
        };
        service.metrics.revoked.inc(&["token"]);
        Ok(Attempt::Committed((record, ended)))
    })
    .await
}
