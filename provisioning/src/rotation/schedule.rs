//! Rotation by schedule: a part of the table of keys in each sweep, and so many rotations in each.
//!
//! Ages are counted by lived time, which a wrong clock does not bring ahead. Several processes may look at once: each step
//! names the keys that it saw, so one process takes it and the others find it done.

use std::time::Duration;

use tessera_runtime::limits::STORE_SCAN_ROWS;
use tessera_runtime::sql::{Batch, Key};
use tessera_token::ids::TenantId;
use tessera_token::key::KeyId;
use tessera_token::refusal::RefusalCode;

use super::forget;
use super::succession::{succeed, Step, Successors};
use crate::audit::Actor;
use crate::key_schedule::Signers;
use crate::keys;
use crate::limits::{
    KEYS_PER_TENANT, KEYS_TOLD_EVERY, KEY_KEPT_SECONDS, LIVED_STEP_SECONDS, ROTATIONS_PER_SWEEP,
};
use crate::records::keys::{KeyRecord, State};
use crate::records::TenantRecord;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::one;
use crate::write::{until_committed, Attempt};

/// How far the table was looked through, and what was seen since its beginning.
#[derive(Default)]
pub(crate) struct Look {
    after: Option<Key>,
    ages: Ages,
    /// When it was last told that there is no room, monotonic.
    told: Option<Duration>,
}

/// The oldest keys by state, and the rotations that are due and were not possible.
#[derive(Default)]
struct Ages {
    next: u64,
    active: u64,
    retiring: u64,
    overdue: u64,
    without_room: u64,
}

/// The outcome of a look at one tenant.
enum Looked {
    /// Nothing is due.
    Nothing,
    Stepped,
    /// Verifiers have no room for another key.
    NoRoom,
}

impl Ages {
    fn see(&mut self, record: &KeyRecord, lived: u64) {
        let oldest = match record.state {
            State::Next => &mut self.next,
            State::Active => &mut self.active,
            State::Retiring => &mut self.retiring,
            State::Retired | State::Compromised => return,
        };
        *oldest = (*oldest).max(lived.saturating_sub(record.from()));
    }

    fn tell(&self, service: &Service) {
        let whole = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        let ages = [("next", self.next), ("active", self.active), ("retiring", self.retiring)];
        for (state, age) in ages {
            service.metrics.key_age.set(&[state], whole(age));
        }
        service.metrics.key_overdue.set(&[], whole(self.overdue));
    }
}

/// Rotates the keys whose time is over. Called by the sweeper.
pub(crate) async fn run(service: &Service, look: &mut Look) -> Result<(), Refused> {
    let (schedule, lived) = (service.config.keys, service.time.removal().get());
    let rows = service.tables.keys.scan(&[], look.after.as_deref(), STORE_SCAN_ROWS).await?;
    let is_end = rows.len() < STORE_SCAN_ROWS;
    let mut steps = 0;
    for (key, record) in rows {
        // The rest has its turn in the next sweep.
        if steps >= ROTATIONS_PER_SWEEP {
            return Ok(());
        }
        look.ages.see(&record, lived);
        let signs = matches!(record.state, State::Next | State::Active);
        if signs && record.from() > lived.saturating_add(2 * LIVED_STEP_SECONDS) {
            date(service, &key, &record, lived).await?;
        } else if record.state == State::Active && schedule.is_over(record.from(), lived) {
            match one_tenant(service, &keys::tenant_of(&key)?, keys::id_of(&key)?).await? {
                Looked::Nothing => {}
                Looked::Stepped => steps += 1,
                Looked::NoRoom => {
                    let over = record.from().saturating_add(schedule.rotate_seconds);
                    look.ages.overdue = look.ages.overdue.max(lived.saturating_sub(over));
                    look.ages.without_room += 1;
                }
            }
        }
        look.after = Some(key);
    }
    if is_end {
        look.ages.tell(service);
        let told = tell_of_room(service, look);
        *look = Look { told, ..Look::default() };
    }
    Ok(())
}

/// Says once an hour that keys cannot be rotated.
fn tell_of_room(service: &Service, look: &Look) -> Option<Duration> {
    let (tenants, now) = (look.ages.without_room, service.time.monotonic());
    let is_told = look.told.is_some_and(|told| now.saturating_sub(told) < KEYS_TOLD_EVERY);
    if tenants == 0 || is_told {
        return look.told;
    }
    tracing::error!(tenants, "issuer keys whose time is over are not rotated: no room for others");
    Some(now)
}

/// A moment ahead of lived time was written by a clock that was ahead, or before lived time was written down with keys: the
/// age counts from now on.
async fn date(service: &Service, key: &Key, record: &KeyRecord, lived: u64) -> Result<(), Refused> {
    let mut batch = Batch::new();
    batch.expect(&service.tables.keys, key.clone(), record);
    let dated = record.clone().counted_from(lived);
    batch.put(&service.tables.keys, key.clone(), &dated);
    // Another change got in between: the next look judges it.
    service.write_unnoted(batch).await.map(drop)
}

/// Takes the step that is due for the tenant whose key `id` was seen active.
async fn one_tenant(service: &Service, tenant: &TenantId, id: KeyId) -> Result<Looked, Refused> {
    let _turn = service.keys_turn.lock().await;
    match until_committed(async || step(service, tenant, id).await).await {
        // Others do not wait for this tenant, and the next round asks again.
        Err(refused) if refused.code == RefusalCode::CapacityReached => Ok(Looked::NoRoom),
        stepped => stepped,
    }
}

async fn step(service: &Service, tenant: &TenantId, id: KeyId) -> Result<Attempt<Looked>, Refused> {
    let nothing = Ok(Attempt::Committed(Looked::Nothing));
    let (schedule, lived) = (service.config.keys, service.time.removal().get());
    let Some(record) = service.tables.tenants.get(one(tenant.as_str())).await? else {
        return nothing;
    };
    let step = Step::read(service, tenant).await?;
    let Some(active) = step.by_state(State::Active).filter(|(active, _)| *active == id) else {
        return nothing;
    };
    if step.count() >= KEYS_PER_TENANT {
        return Err(RefusalCode::CapacityReached.into());
    }
    let by = Actor::service();
    let Some((next_id, next)) = step.by_state(State::Next) else {
        let entry = service.entry(&by, "key.publish", tenant.as_str(), &id.to_string());
        let entry = entry.detail("by schedule: there was no next key");
        let tried = succeed(service, &step, &[], Successors::Required, entry).await?;
        return Ok(tried.map(|_| Looked::Stepped));
    };
    let signers = Signers { active: active.1.from(), next: Some(next.from()) };
    let due = schedule.due(signers, longest(&record, tenant), lived);
    if due.is_none_or(|due| due > lived) {
        return nothing;
    }
    let entry = service.entry(&by, "key.rotate", tenant.as_str(), &next_id.to_string());
    let entry = entry.detail("by schedule");
    let leaving = [(active, State::Retiring)];
    let tried = succeed(service, &step, &leaving, Successors::Required, entry).await?;
    if matches!(tried, Attempt::Committed(_)) {
        forget(service, [&id]).await;
        service.metrics.key_rotations.inc(&["schedule"]);
    }
    Ok(tried.map(|_| Looked::Stepped))
}

/// The longest age of trust data by which a verifier of this tenant decides.
fn longest(record: &TenantRecord, tenant: &TenantId) -> u64 {
    let staleness = record.trust(tenant).staleness;
    staleness.telemetry.max(staleness.command).max(staleness.actuation)
}

/// When each key of a tenant leaves its present state, in seconds since 1970, as far as the schedule says; `None` for a
/// compromised key, and for those that sign when keys are rotated by hand alone.
pub(crate) fn ends(
    service: &Service,
    tenant: &TenantId,
    record: &TenantRecord,
    keys: &[(KeyId, KeyRecord)],
) -> Vec<Option<u64>> {
    let (now, lived) = (service.now().get(), service.time.removal().get());
    let from = |state| keys.iter().find(|(_, key)| key.state == state).map(|(_, key)| key.from());
    let signers = from(State::Active).map(|active| Signers { active, next: from(State::Next) });
    let staleness = longest(record, tenant);
    let due = signers.and_then(|keys| service.config.keys.due(keys, staleness, lived));
    let end = |key: &KeyRecord| match key.state {
        State::Next | State::Active => due,
        State::Retiring => Some(key.not_after),
        State::Retired => Some(key.since.saturating_add(KEY_KEPT_SECONDS)),
        State::Compromised => None,
    };
    // Lived time that is left, from now on.
    let wall = |at: u64| now.saturating_add(at.saturating_sub(lived));
    keys.iter().map(|(_, key)| end(key).map(wall)).collect()
}
