//! The successors when issuer keys of a tenant leave: next becomes active, and a new next is published.

use tessera_runtime::sql::Batch;
use tessera_token::ids::TenantId;
use tessera_token::key::KeyId;
use tessera_token::limits::{CLOCK_SKEW_SECONDS, TOKEN_LIFE_SECONDS};
use tessera_token::refusal::RefusalCode;

use crate::audit::Entry;
use crate::keys::fresh::forget;
use crate::keys::{of_tenant, put};
use crate::records::keys::{KeyRecord, State};
use crate::refused::Refused;
use crate::registry::tenants;
use crate::room::{Hold, Load, Purpose};
use crate::service::Service;
use crate::tables::pair;
use crate::write::Attempt;

/// The keys that sign for a tenant from now on. One is missing where verifiers had no room for a successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rotated {
    pub(crate) active: Option<KeyId>,
    pub(crate) next: Option<KeyId>,
}

/// Whether successors must be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Successors {
    /// All, or nothing changes.
    Required,
    /// As many as verifiers have room for: keys leave in any case.
    IfRoom,
}

/// One look at the keys of a tenant, and the preconditions that hold it together.
pub(super) struct Step {
    pub(super) tenant: TenantId,
    pub(super) keys: Vec<Known>,
}

pub(super) type Known = (KeyId, KeyRecord);

impl Step {
    pub(super) async fn read(service: &Service, tenant: &TenantId) -> Result<Self, Refused> {
        tenants::with_keys(service, tenant).await?;
        let keys = of_tenant(&service.tables, tenant).await?;
        Ok(Self { tenant: tenant.clone(), keys })
    }

    /// Keys that verifiers hold: retired ones are listed for a while, and verifiers have forgotten them.
    pub(super) fn count(&self) -> usize {
        self.keys.iter().filter(|(_, record)| record.state != State::Retired).count()
    }

    pub(super) fn by_state(&self, state: State) -> Option<&Known> {
        self.keys.iter().find(|(_, record)| record.state == state)
    }

    pub(super) fn by_id(&self, id: KeyId) -> Result<&Known, Refused> {
        let found = self.keys.iter().find(|(known, _)| *known == id);
        found.ok_or_else(|| RefusalCode::NotFound.into())
    }

    /// The key that stays in this state when `leaving` go.
    fn staying(&self, state: State, leaving: &[(&Known, State)]) -> Option<&Known> {
        let stays = |known: &&Known| {
            known.1.state == state && !leaving.iter().any(|(gone, _)| gone.0 == known.0)
        };
        self.keys.iter().find(stays)
    }
}

/// Lets `leaving` go, each into its new state, and puts successors in their places, as one write with its events.
pub(super) async fn succeed(
    service: &Service,
    step: &Step,
    leaving: &[(&Known, State)],
    successors: Successors,
    entry: Entry,
) -> Result<Attempt<Rotated>, Refused> {
    let now = service.now().get();
    let (active, next) = (step.staying(State::Active, leaving), step.staying(State::Next, leaving));
    let promoted = if active.is_none() { next } else { None };
    let wanted = usize::from(active.is_none() && promoted.is_none())
        + usize::from(next.is_none() || promoted.is_some());
    let mut batch = Batch::new();
    let (hold, fresh) = fresh(service, step, wanted, successors, &mut batch, now).await?;
    let mut fresh = fresh.into_iter();
    let mut changed: Vec<Known> = Vec::new();
    let mut rotated = Rotated { active: active.map(|key| key.0), next: None };
    match (promoted, active) {
        (Some((id, record)), _) => changed.push((*id, record.in_state(State::Active, now))),
        (None, None) => {
            let first = fresh.next();
            changed.extend(first.map(|(id, record)| (id, record.in_state(State::Active, now))));
        }
        (None, Some(_)) => {}
    }
    rotated.active = rotated.active.or(changed.first().map(|key| key.0));
    let new_next = fresh.next();
    rotated.next = match (&new_next, next, promoted) {
        (Some((id, _)), ..) => Some(*id),
        (None, Some((id, _)), None) => Some(*id),
        _ => None,
    };
    // A verifier hears of the next key first, and of the one that leaves last.
    changed.splice(0..0, new_next);
    let stamp = service.time.stamp().get();
    changed.extend(leaving.iter().map(|(key, state)| (key.0, left(&key.1, *state, now, stamp))));
    let lived = service.time.removal().get();
    let changed: Vec<Known> =
        changed.into_iter().map(|(id, record)| (id, record.counted_from(lived))).collect();
    for (id, record) in leaving.iter().map(|(key, _)| *key).chain(promoted) {
        let row = pair(&step.tenant, id.as_bytes());
        batch.expect(&service.tables.keys, row, record);
    }
    let tried = publish(service, step, hold, batch, changed, entry).await;
    tried.map(|tried| tried.map(|()| rotated))
}

async fn publish(
    service: &Service,
    step: &Step,
    hold: Hold,
    mut batch: Batch,
    changed: Vec<Known>,
    entry: Entry,
) -> Result<Attempt<()>, Refused> {
    let mut changes = Vec::with_capacity(changed.len());
    for (id, record) in &changed {
        put(&service.tables, &mut batch, &step.tenant, *id, record);
        changes.push(record.change(&step.tenant)?);
    }
    // Those that leave are known to verifiers: fresh ones alone need room.
    let tried = service.publish_within(hold, changes, batch, entry).await;
    if matches!(tried, Ok(Attempt::Conflict)) {
        let known: Vec<KeyId> = step.keys.iter().map(|(id, _)| *id).collect();
        let fresh = changed.iter().filter(|(id, _)| !known.contains(id));
        forget(&service.issuer_keys, fresh).await;
    }
    tried
}

/// The record of a key that leaves. A retiring one verifies what it has signed for as long as that may live, from the
/// latest time that a token of it may bear.
fn left(record: &KeyRecord, state: State, now: u64, stamp: u64) -> KeyRecord {
    let mut left = record.in_state(state, now);
    if state == State::Retiring {
        left.not_after =
            stamp.saturating_add(TOKEN_LIFE_SECONDS).saturating_add(CLOCK_SKEW_SECONDS);
    }
    left
}

/// As many successors as there is room for, up to `wanted`, with the room that their publication takes.
async fn fresh(
    service: &Service,
    step: &Step,
    wanted: usize,
    successors: Successors,
    batch: &mut Batch,
    now: u64,
) -> Result<(Hold, Vec<Known>), Refused> {
    let (hold, count) = match successors {
        Successors::Required => (
            service.room_for(step.tenant.as_str(), keys(step, wanted), Purpose::Growth).await?,
            wanted,
        ),
        Successors::IfRoom => room_for_some(service, step, wanted).await?,
    };
    // The room is there before the keys are made.
    let mut made = Vec::with_capacity(count);
    for _ in 0..count {
        match service.issuer_keys.make(batch, &*service.random, now).await {
            Ok(key) => made.push(key),
            // A key that leaves does not wait for a module or a disk: the schedule makes its successor.
            Err(error) if successors == Successors::IfRoom => {
                tracing::error!(%error, tenant = %step.tenant, "no successor of an issuer key that leaves");
                break;
            }
            Err(error) => {
                forget(&service.issuer_keys, &made).await;
                return Err(error.into());
            }
        }
    }
    Ok((hold, made))
}

async fn room_for_some(
    service: &Service,
    step: &Step,
    wanted: usize,
) -> Result<(Hold, usize), Refused> {
    let mut count = wanted;
    loop {
        match service.room_for(step.tenant.as_str(), keys(step, count), Purpose::Revocation).await {
            Ok(hold) => return Ok((hold, count)),
            Err(refused) if refused.code == RefusalCode::CapacityReached && count > 0 => count -= 1,
            Err(refused) => return Err(refused),
        }
    }
}

fn keys(step: &Step, count: usize) -> Load {
    let one = Load::key(step.tenant.as_str());
    (0..count).fold(Load::default(), |sum, _| sum.plus(&one))
}
