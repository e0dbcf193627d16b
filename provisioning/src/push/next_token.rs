//! The token that is pushed: for what the device is at this moment, as for a device that asks.

use tessera_runtime::sql::Batch;
use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::messages::TokenKind;
use tessera_token::refusal::RefusalCode;

use super::shares::Shares;
use crate::refused::Refused;
use crate::registry::{devices, standing, tenants};
use crate::service::Service;
use crate::tables::pair;
use crate::token_for_device;
use crate::write::{until_committed, Attempt};

/// The answer with the next token, whose record is durable. It is bound to the device key: to any other holder it is of no
/// use. A device that may have none gets none.
///
/// # Errors
/// The code for which the device would be refused itself; `rate_limited` when it had its share of pushes.
pub(super) async fn next_token(
    service: &Service,
    shares: &Shares,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<(Vec<u8>, TokenHash), Refused> {
    if service.time.wrong().is_some() {
        return Err(RefusalCode::ClockWrong.into());
    }
    let now = || u64::try_from(service.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
    let usual = service.config.token_seconds.saturating_mul(1000);
    let mut is_charged = false;
    until_committed(async || {
        let owner = tenants::known(service, tenant).await?;
        let record = devices::known(service, tenant, device).await?;
        standing::check(service, tenant, &owner, &record).await?;
        // A name that is no device takes no place among the shares, and a write that is repeated is one push.
        if !is_charged && !shares.take(tenant, device, usual, now()) {
            service.metrics.limits_hit.inc(&["pushes_of_device"]);
            return Err(RefusalCode::RateLimited.into());
        }
        is_charged = true;
        let of = (tenant, &owner, device, &record);
        let granted =
            token_for_device::issue(service, of.0, of.1, of.2, of.3, TokenKind::Key).await?;
        let life = granted.issued.expires.since(service.now()).saturating_mul(1000);
        shares.learn(tenant, device, life, now());
        let mut batch = Batch::new();
        batch.expect(&service.tables.devices, pair(tenant, device.as_str()), &record);
        granted.expect(service, &mut batch);
        granted.issued.record(&service.tables, &mut batch, (tenant, device), None);
        let tried = service.write_unnoted(batch).await?;
        if tried == Attempt::Committed(()) {
            service.metrics.issued.inc(&["push"]);
        }
        let hash = TokenHash::of(&granted.issued.token);
        Ok(tried.map(|()| (granted.answer(service).to_cbor(), hash)))
    })
    .await
}
