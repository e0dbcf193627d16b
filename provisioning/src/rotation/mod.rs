//! The steps of an issuer key's life, each one write and its events: rotation by hand and by [`schedule`], compromise,
//! retirement.

use tessera_runtime::sql::Batch;
use tessera_token::ids::TenantId;
use tessera_token::key::KeyId;
use tessera_token::refusal::RefusalCode;

use crate::audit::Actor;
use crate::keys;
use crate::keys::fresh::forget;
use crate::limits::{KEYS_PER_TENANT, KEY_KEPT_SECONDS};
use crate::records::keys::State;
use crate::refused::Refused;
use crate::room::Load;
use crate::service::Service;
use crate::write::{until_committed, Attempt};

pub(crate) mod schedule;
mod succession;

pub(crate) use succession::Rotated;
use succession::{succeed, Step, Successors};

/// Promotes next to active, retires the active one (its tokens live out their time) and publishes a new next.
pub(crate) async fn rotate(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
) -> Result<Rotated, Refused> {
    let _turn = service.keys_turn.lock().await;
    until_committed(async || {
        let step = Step::read(service, tenant).await?;
        if step.count() >= KEYS_PER_TENANT {
            service.metrics.limits_hit.inc(&["keys_of_a_tenant"]);
            let detail = format!("no more than {KEYS_PER_TENANT} issuer keys of one tenant");
            return Err(Refused::because(RefusalCode::CapacityReached, detail));
        }
        let old = step.by_state(State::Active);
        let leaving: Vec<_> = old.map(|old| (old, State::Retiring)).into_iter().collect();
        let next = step.by_state(State::Next).map(|(id, _)| id.to_string()).unwrap_or_default();
        let entry = service.entry(by, "key.rotate", tenant.as_str(), &next);
        let tried = succeed(service, &step, &leaving, Successors::Required, entry).await?;
        if matches!(tried, Attempt::Committed(_)) {
            forget(&service.issuer_keys, old).await;
        }
        Ok(tried)
    })
    .await
}

/// Cuts a key at once: every token it signed is refused from the moment a verifier hears of it. It is never refused for
/// want of room; then the tenant has no new next key until one is rotated in.
pub(crate) async fn compromise(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    id: KeyId,
) -> Result<(), Refused> {
    let _turn = service.keys_turn.lock().await;
    until_committed(async || {
        let step = Step::read(service, tenant).await?;
        let key = step.by_id(id)?;
        let leaving = [(key, State::Compromised)];
        let entry = service.entry(by, "key.compromise", tenant.as_str(), &id.to_string());
        let tried = succeed(service, &step, &leaving, Successors::IfRoom, entry).await?;
        if matches!(tried, Attempt::Committed(_)) {
            forget(&service.issuer_keys, [key]).await;
        }
        Ok(tried.map(|_| ()))
    })
    .await
}

/// Replaces keys of a tenant whose seeds are lost. Tokens that they signed stay good.
pub(crate) async fn replace_lost(
    service: &Service,
    tenant: &TenantId,
    lost: &[KeyId],
) -> Result<Rotated, Refused> {
    until_committed(async || {
        let step = Step::read(service, tenant).await?;
        let mut leaving = Vec::new();
        for id in lost {
            let key = step.by_id(*id)?;
            match key.1.state {
                State::Active => leaving.push((key, State::Retiring)),
                State::Next => leaving.push((key, State::Retired)),
                _ => {}
            }
        }
        let ids: Vec<String> = lost.iter().map(ToString::to_string).collect();
        let by = Actor::service();
        let entry = service.entry(&by, "key.replace", tenant.as_str(), &ids.join(" "));
        let entry = entry.detail("the seed was missing, or not the one of the key");
        let tried = succeed(service, &step, &leaving, Successors::IfRoom, entry).await?;
        if matches!(tried, Attempt::Committed(_)) {
            forget(&service.issuer_keys, leaving.iter().map(|(key, _)| *key)).await;
        }
        Ok(tried)
    })
    .await
}

/// Ends retiring keys whose last token has expired, and lets go of those that ended long ago. Called by the sweeper; each
/// call looks at a part of the table.
pub(crate) async fn retire_expired(service: &Service) -> Result<(), Refused> {
    let now = service.time.removal().get();
    let after = service.keys_looked.lock().take();
    let most = tessera_runtime::limits::STORE_SCAN_ROWS;
    let rows = service.tables.keys.scan(&[], after.as_deref(), most).await?;
    let last = rows.last().filter(|_| rows.len() == most).map(|(key, _)| key.clone());
    for (key, record) in rows {
        let (tenant, id) = (keys::tenant_of(&key)?, keys::id_of(&key)?);
        match record.state {
            State::Retiring if record.not_after <= now => {
                match retire(service, &tenant, id).await {
                    // Others do not wait for this one; the next look tries it again.
                    Err(refused) if refused.code == RefusalCode::CapacityReached => {
                        tracing::warn!(%tenant, key = %id, "an issuer key is not retired yet: no room");
                    }
                    Err(refused) => {
                        let code = refused.code.as_str();
                        tracing::error!(%tenant, key = %id, code, "an issuer key is not retired: this is a fault");
                        service.metrics.key_faults.inc(&["retire"]);
                    }
                    Ok(()) => {}
                }
            }
            State::Retired if record.since.saturating_add(KEY_KEPT_SECONDS) < now => {
                let mut batch = Batch::new();
                batch.expect(&service.tables.keys, key.clone(), &record);
                batch.delete(&service.tables.keys, key);
                if service.write_unnoted(batch).await? == Attempt::Committed(()) {
                    service.room.gone(tenant.as_str(), &Load::key(tenant.as_str()));
                }
            }
            _ => {}
        }
    }
    *service.keys_looked.lock() = last;
    Ok(())
}

async fn retire(service: &Service, tenant: &TenantId, id: KeyId) -> Result<(), Refused> {
    let by = Actor::service();
    let entry = service.entry(&by, "key.retire", tenant.as_str(), &id.to_string());
    let _turn = service.keys_turn.lock().await;
    let step = Step::read(service, tenant).await?;
    let leaving = [(step.by_id(id)?, State::Retired)];
    succeed(service, &step, &leaving, Successors::IfRoom, entry).await.map(|_| ())
}
