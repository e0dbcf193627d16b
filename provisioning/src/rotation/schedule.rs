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
    /// The tenant whose rows are looked at.
    tenant: Option<Signing>,
    /// When it was last told that there is no room, and that keys fail, monotonic.
    told: Told,
}

/// The keys of one tenant that sign now and next, as far as its rows were looked at.
struct Signing {
    tenant: TenantId,
    active: bool,
    next: bool,
}

/// The oldest keys by state, and the rotations that are due and were not possible.
#[derive(Default)]
struct Ages {
    next: u64,
    active: u64,
    retiring: u64,
    overdue: u64,
    without_room: u64,
    failed: u64,
    /// The last fault.
    fault: Option<Refused>,
}

#[derive(Clone, Copy, Default)]
struct Told {
    room: Option<Duration>,
    failed: Option<Duration>,
}

/// The outcome of a look at one tenant.
enum Looked {
    /// Nothing is due.
    Nothing,
    Stepped,
    /// Verifiers have no room for another key.
    NoRoom,
    /// It was not possible for another reason. Other tenants do not wait for this one.
    Failed(Refused),
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

/// Rotates the keys whose time is over, and gives a tenant that lacks a key another one. Called by the sweeper. A tenant of
/// which that fails is passed over.
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
        let (tenant, id) = (keys::tenant_of(&key)?, keys::id_of(&key)?);
        if let Some(before) = look.enter(&tenant, record.state) {
            steps += look.count(complete(service, &before).await, 0);
        }
        let signs = matches!(record.state, State::Next | State::Active);
        if signs && record.from() > lived.saturating_add(2 * LIVED_STEP_SECONDS) {
            if let Err(refused) = date(service, &key, &record, lived).await {
                look.count(Looked::Failed(refused), 0);
            }
        } else if record.state == State::Active && schedule.is_over(record.from(), lived) {
            let over = record.from().saturating_add(schedule.rotate_seconds);
            let looked = one_tenant(service, &tenant, async || step(service, &tenant, id).await);
            steps += look.count(looked.await, lived.saturating_sub(over));
        }
        look.after = Some(key);
    }
    if is_end {
        if let Some(last) = look.tenant.take() {
            look.count(complete(service, &last).await, 0);
        }
        look.ages.tell(service);
        let told = tell(service, look);
        *look = Look { told, ..Look::default() };
    }
    Ok(())
}

impl Look {
    /// Notes a row; gives the tenant before it when this is the first one of another.
    fn enter(&mut self, tenant: &TenantId, state: State) -> Option<Signing> {
        let before = self.tenant.take_if(|before| before.tenant != *tenant);
        let new = || Signing { tenant: tenant.clone(), active: false, next: false };
        let present = self.tenant.get_or_insert_with(new);
        present.active |= state == State::Active;
        present.next |= state == State::Next;
        before
    }

    /// Counts an outcome; gives the number of steps that were taken. `late` is for how long it is due.
    fn count(&mut self, looked: Looked, late: u64) -> usize {
        match looked {
            Looked::Nothing => return 0,
            Looked::Stepped => return 1,
            Looked::NoRoom => self.ages.without_room += 1,
            Looked::Failed(refused) => {
                self.ages.failed += 1;
                self.ages.fault = Some(refused);
            }
        }
        self.ages.overdue = self.ages.overdue.max(late);
        0
    }
}

/// Says once an hour that keys cannot be rotated.
fn tell(service: &Service, look: &Look) -> Told {
    let now = service.time.monotonic();
    let is_due = |told: Option<Duration>| {
        told.is_none_or(|told| now.saturating_sub(told) >= KEYS_TOLD_EVERY)
    };
    let mut told = look.told;
    let Ages { without_room, failed, fault, .. } = &look.ages;
    if *without_room > 0 && is_due(told.room) {
        tracing::error!(
            tenants = without_room,
            "issuer keys that are due are not made: no room for others"
        );
        told.room = Some(now);
    }
    if let Some(fault) = fault.as_ref().filter(|_| is_due(told.failed)) {
        let code = fault.code.as_str();
        tracing::error!(tenants = failed, code, "issuer keys that are due are not made: this is a fault; other tenants do not wait for it");
        told.failed = Some(now);
    }
    told
}

/// Gives a tenant the active or the next key that it lacks: verifiers had no room for one when the one before was withdrawn.
async fn complete(service: &Service, tenant: &Signing) -> Looked {
    if tenant.active && tenant.next || !service.config.keys.is_on() {
        return Looked::Nothing;
    }
    let tenant = &tenant.tenant;
    one_tenant(service, tenant, async || {
        if service.tables.tenants.get(one(tenant.as_str())).await?.is_none() {
            return Ok(Attempt::Committed(Looked::Nothing));
        }
        let step = Step::read(service, tenant).await?;
        publish_missing(service, &step).await
    })
    .await
}

/// Publishes the keys that are missing, as one write.
async fn publish_missing(service: &Service, step: &Step) -> Result<Attempt<Looked>, Refused> {
    let why = match (step.by_state(State::Active), step.by_state(State::Next)) {
        (Some(_), Some(_)) => return Ok(Attempt::Committed(Looked::Nothing)),
        (Some(_), None) => "by schedule: there was no next key",
        (None, _) => "by schedule: there was no active key",
    };
    if step.count() >= KEYS_PER_TENANT {
        return Err(RefusalCode::CapacityReached.into());
    }
    let id = step.by_state(State::Active).map(|(id, _)| id.to_string()).unwrap_or_default();
    let entry = service.entry(&Actor::service(), "key.publish", step.tenant.as_str(), &id);
    let tried = succeed(service, step, &[], Successors::Required, entry.detail(why)).await?;
    Ok(tried.map(|_| Looked::Stepped))
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

/// Takes a step of this tenant, alone.
async fn one_tenant(
    service: &Service,
    tenant: &TenantId,
    step: impl AsyncFn() -> Result<Attempt<Looked>, Refused>,
) -> Looked {
    let _turn = service.keys_turn.lock().await;
    match until_committed(async || step().await).await {
        Ok(looked) => looked,
        // Others do not wait for this tenant, and the next round asks again.
        Err(refused) if refused.code == RefusalCode::CapacityReached => Looked::NoRoom,
        Err(refused) => {
            tracing::debug!(%tenant, code = refused.code.as_str(), "its issuer keys are passed over");
            service.metrics.key_faults.inc(&["rotate"]);
            Looked::Failed(refused)
        }
    }
}

/// The step that is due for the tenant whose key `id` was seen active.
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
        return publish_missing(service, &step).await;
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
        forget(&service.issuer_keys, [active]).await;
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
