//! Attempts of the past that operators read, and events that they have sent again.

use tessera_runtime::sql::Key;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;

use super::queue;
use super::registry::{begin, record_of};
use crate::limits::{WEBHOOK_ATTEMPTS, WEBHOOK_REPLAY};
use crate::operators::Operator;
use crate::records::webhooks::{WebhookAttempt, WebhookMessage};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{number, pair};
use crate::write::until_committed;

/// Sends events again that a webhook wants, under their ids: those of the entries of these numbers. Returns how many.
pub(crate) async fn replay(
    service: &Service,
    by: &Operator,
    tenant: &TenantId,
    id: &str,
    (first, last): (u64, u64),
) -> Result<usize, Refused> {
    if last < first || last - first >= WEBHOOK_REPLAY {
        let why = format!("first to last are at most {WEBHOOK_REPLAY} entries");
        return Err(Refused::malformed(why));
    }
    until_committed(async || {
        let record = record_of(service, tenant, id).await?;
        let tables = &service.tables;
        let range = ("number", first..=last);
        let of_tenant = [("tenant", tenant.as_str().into())];
        let most = usize::try_from(WEBHOOK_REPLAY).unwrap_or(usize::MAX);
        let rows = tables.audit.find_within(&of_tenant, range, most).await?;
        let mut batch = begin(service, by, tenant).await?;
        let (now, mut count) = (service.now().get(), 0);
        for (key, row) in rows {
            let number = number(&key, 0)?;
            if !queue::is_for(id, &record, &row.entry) {
                continue;
            }
            count += 1;
            // One that waits, or is under way, begins anew: an attempt that ends meanwhile leaves the row as it is.
            let message = WebhookMessage { due: now, attempts: 0 };
            let key = queue::key(tenant.as_str(), id, number);
            batch.put(&tables.webhook_messages, key, &message);
        }
        if count == 0 {
            let why = "no entry of these numbers is an event for this webhook";
            return Err(Refused::because(RefusalCode::NotFound, why));
        }
        queue::room_for(service, (tenant.as_str(), id), count).await?;
        batch.expect(&tables.webhooks, pair(tenant, id), &record);
        let entry = service.entry(&by.actor(), "webhook.replay", tenant.as_str(), id);
        let entry = entry.detail(format!("{count} events from {first} to {last}"));
        Ok(service.write(batch, entry).await?.map(|()| count))
    })
    .await
}

/// The last attempts of a webhook, the newest first.
pub(crate) async fn attempts(
    service: &Service,
    tenant: &TenantId,
    id: &str,
) -> Result<Vec<(u64, WebhookAttempt)>, Refused> {
    record_of(service, tenant, id).await?;
    let most = usize::try_from(WEBHOOK_ATTEMPTS).unwrap_or(usize::MAX).saturating_add(1);
    let of: Key = pair(tenant, id);
    let rows = service.tables.webhook_attempts.scan(&of, None, most).await?;
    let mut found = Vec::with_capacity(rows.len());
    for (key, row) in rows {
        found.push((number(&key, 2)?, row));
    }
    found.reverse();
    Ok(found)
}
