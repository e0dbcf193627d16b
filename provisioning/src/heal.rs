//! Rows that were written while the clock was wrong, dated anew: keys that no verifier would take yet or any more, claims
//! and API tokens that would live too long. Earlier versions founded a service by a clock that stood in 1970; their keys ended in 1980.

use tessera_runtime::limits::{RELEASED_SECONDS, STORE_SCAN_ROWS};
use tessera_runtime::sql::{Batch, Key, Record, Table};
use tessera_token::ids::TenantId;
use tessera_token::key::KeyId;
use tessera_token::limits::{CLOCK_SKEW_SECONDS, TOKEN_LIFE_SECONDS};
use tessera_token::refusal::RefusalCode;

use crate::audit::Actor;
use crate::keys;
use crate::limits::{KEPT_SECONDS, KEY_RENEW_SECONDS, KEY_SECONDS};
use crate::records::api_tokens::ApiTokenRecord;
use crate::records::kept::KeptRequest;
use crate::records::keys::{KeyRecord, State};
use crate::records::partners::PartnerTokenRecord;
use crate::records::ClaimRecord;
use crate::refused::Refused;
use crate::rotation;
use crate::service::Service;
use crate::tables::pair;

/// Dates anew the keys that a wrong clock has dated, and rotates those that end soon. Called by the sweeper; each call
/// looks at a part of the table.
pub(crate) async fn keys(service: &Service) -> Result<(), Refused> {
    let (now, most) = (service.now().get(), STORE_SCAN_ROWS);
    let by = Actor::service();
    let after = service.keys_healed.lock().take();
    let rows = service.tables.keys.scan(&[], after.as_deref(), most).await?;
    let last = rows.last().filter(|_| rows.len() == most).map(|(key, _)| key.clone());
    for (key, record) in rows {
        let (tenant, id) = (keys::tenant_of(&key)?, keys::id_of(&key)?);
        if let Some(dated) = dated(&record, now) {
            date(service, &by, &tenant, id, &record, &dated).await?;
        } else if ends_soon(&record, service.time.removal().get()) {
            match rotation::rotate(service, &by, &tenant).await {
                Ok(_) => {
                    service.metrics.key_rotations.inc(&["expiry"]);
                    tracing::warn!(%tenant, key = %id, "an issuer key that ends soon was rotated");
                }
                // Other tenants do not wait for this one, and the next round asks again.
                Err(refused) if refused.code == RefusalCode::CapacityReached => tracing::error!(
                    %tenant,
                    key = %id,
                    until = record.not_after,
                    "no room to rotate an issuer key that ends soon"
                ),
                Err(refused) => return Err(refused),
            }
        }
    }
    *service.keys_healed.lock() = last;
    Ok(())
}

/// A whole rotation takes two: the next key is as old as the active one.
fn ends_soon(record: &KeyRecord, now: u64) -> bool {
    record.state == State::Active && record.not_after <= now.saturating_add(KEY_RENEW_SECONDS)
}

/// The record as it should be; `None` when a right clock may have written it.
fn dated(record: &KeyRecord, now: u64) -> Option<KeyRecord> {
    let signs = matches!(record.state, State::Next | State::Active);
    let verifies = signs || record.state == State::Retiring;
    let early = record.created < RELEASED_SECONDS && record.not_after < now + TOKEN_LIFE_SECONDS;
    if verifies
        && (record.not_before > now || (early && record.not_after < RELEASED_SECONDS + KEY_SECONDS))
    {
        let valid = if signs { KEY_SECONDS } else { TOKEN_LIFE_SECONDS + CLOCK_SKEW_SECONDS };
        return Some(KeyRecord {
            created: record.created.max(RELEASED_SECONDS).min(now),
            not_before: record.not_before.min(now.saturating_sub(CLOCK_SKEW_SECONDS)),
            not_after: now.saturating_add(valid),
            since: record.since.max(RELEASED_SECONDS).min(now),
            ..record.clone()
        });
    }
    None
}

async fn date(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    id: KeyId,
    before: &KeyRecord,
    dated: &KeyRecord,
) -> Result<(), Refused> {
    let mut batch = Batch::new();
    batch.expect(&service.tables.keys, pair(tenant, id.as_bytes()), before);
    keys::put(&service.tables, &mut batch, tenant, id, dated);
    let entry = service.entry(by, "key.date", tenant.as_str(), &id.to_string());
    let entry =
        entry.detail(format!("was valid from {} to {}", before.not_before, before.not_after));
    // When another change got in between, the next sweep looks again.
    service.publish(vec![dated.change(tenant)?], batch, entry).await?;
    tracing::warn!(%tenant, key = %id, "an issuer key that a wrong clock had dated was dated anew");
    Ok(())
}

/// Claims that were made by a clock that was ahead live as long as was meant, from now on.
pub(crate) async fn claims(service: &Service, rows: &[(Key, ClaimRecord)]) -> Result<(), Refused> {
    let now = service.now().get();
    for (key, claim) in rows.iter().filter(|(_, claim)| claim.used.is_none()) {
        let Some((created, expires)) = anew((claim.created, claim.expires), now) else { continue };
        let dated = ClaimRecord { created, expires, ..claim.clone() };
        put(service, &service.tables.claims, (key, claim), &dated).await?;
    }
    Ok(())
}

/// API tokens that were made by such a clock likewise.
pub(crate) async fn api_tokens(
    service: &Service,
    rows: &[(Key, ApiTokenRecord)],
) -> Result<(), Refused> {
    // By a clock that is behind, tokens that are good would begin in the past and end early.
    let now = service.time.latest().get();
    for (key, token) in rows {
        let Some((created, expires)) = anew((token.created, token.expires), now) else { continue };
        let dated = ApiTokenRecord { created, expires, ..token.clone() };
        put(service, &service.tables.api_tokens, (key, token), &dated).await?;
    }
    Ok(())
}

/// Partner tokens likewise.
pub(crate) async fn partner_tokens(
    service: &Service,
    rows: &[(Key, PartnerTokenRecord)],
) -> Result<(), Refused> {
    // By a clock that is behind, tokens that are good would begin in the past and end early.
    let now = service.time.latest().get();
    for (key, token) in rows {
        let Some((created, expires)) = anew((token.created, token.expires), now) else { continue };
        let dated = PartnerTokenRecord { created, expires, ..token.clone() };
        put(service, &service.tables.partner_tokens, (key, token), &dated).await?;
    }
    Ok(())
}

/// Kept answers that would be kept longer than they are meant to.
pub(crate) async fn kept_requests(service: &Service) -> Result<(), Refused> {
    let (now, table) = (service.now().get(), &service.tables.kept_requests);
    let latest = now.saturating_add(KEPT_SECONDS).saturating_add(CLOCK_SKEW_SECONDS);
    let late = ("expires", latest..=i64::MAX.unsigned_abs());
    for (key, kept) in table.find_within(&[], late, STORE_SCAN_ROWS).await? {
        let dated = KeptRequest { expires: now.saturating_add(KEPT_SECONDS), ..kept.clone() };
        put(service, table, (&key, &kept), &dated).await?;
    }
    Ok(())
}

/// The times of a row that a clock that was ahead has made: the same life, from now on.
fn anew((created, expires): (u64, u64), now: u64) -> Option<(u64, u64)> {
    let life = expires.saturating_sub(created);
    (created > now.saturating_add(CLOCK_SKEW_SECONDS)).then(|| (now, now.saturating_add(life)))
}

async fn put<R: Record>(
    service: &Service,
    table: &Table<R>,
    (key, old): (&Key, &R),
    new: &R,
) -> Result<(), Refused> {
    let mut batch = Batch::new();
    batch.expect(table, key.clone(), old);
    batch.put(table, key.clone(), new);
    // After a conflict it was used meanwhile, and the next sweep looks again.
    service.write_unnoted(batch).await.map(|_| ())
}
