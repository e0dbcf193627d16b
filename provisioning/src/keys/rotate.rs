//! The steps of an issuer key's life, each one write and its events.

use tessera_runtime::store::Batch;
use tessera_token::ids::TenantId;
use tessera_token::key::KeyId;
use tessera_token::limits::{CLOCK_SKEW_SECONDS, TOKEN_LIFE_SECONDS};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Change;

use super::{files, in_state, put, KeyRecord, State};
use crate::audit::Entry;
use crate::limits::ATTEMPTS;
use crate::refused::Refused;
use crate::registry::{tenants, Actor};
use crate::service::{Service, Tried};
use crate::tables::pair;

/// What a rotation did.
pub(crate) struct Rotated {
    pub(crate) active: KeyId,
    pub(crate) next: KeyId,
}

/// Promotes next to active, retires the active one (its tokens live out their time) and publishes a new next.
pub(crate) async fn rotate(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
) -> Result<Rotated, Refused> {
    for _ in 0..ATTEMPTS {
        let step = Step::read(service, tenant)?;
        let (old, next) = (step.required(State::Active)?, step.required(State::Next)?);
        let entry = service.entry(by, "key.rotate", tenant.as_str(), &next.0.to_string());
        match replace(service, &step, old, State::Retiring, next, entry).await? {
            Tried::Done(rotated) => {
                service.key_folder.forget(old.0);
                return Ok(rotated);
            }
            Tried::Again => continue,
        }
    }
    Err(RefusalCode::LimitReached.into())
}

/// Cuts a key at once: every token it signed is refused from the moment a verifier hears of it.
pub(crate) async fn compromise(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    id: KeyId,
) -> Result<(), Refused> {
    for _ in 0..ATTEMPTS {
        let step = Step::read(service, tenant)?;
        let bad = step.by_id(id)?;
        let entry = service.entry(by, "key.compromise", tenant.as_str(), &id.to_string());
        let tried = match bad.1.state {
            State::Active => {
                replace(service, &step, bad, State::Compromised, step.required(State::Next)?, entry)
                    .await?
            }
            State::Next => replace_next(service, &step, bad, entry).await?,
            _ => cut(service, &step, bad, State::Compromised, entry).await?,
        };
        if let Tried::Done(_) = tried {
            service.key_folder.forget(id);
            return Ok(());
        }
    }
    Err(RefusalCode::LimitReached.into())
}

/// Ends retiring keys whose last token has expired. Called by the sweeper.
pub(crate) async fn retire_expired(service: &Service) -> Result<(), Refused> {
    let now = service.time.removal().get();
    let rows = service.tables.keys.scan_records::<KeyRecord>(&[], None, usize::MAX)?;
    for (key, record) in rows {
        if record.state != State::Retiring || record.not_after > now {
            continue;
        }
        let Some((tenant, id)) = tenant_of(&key).zip(super::id_of(&key)) else {
            continue;
        };
        let step = Step::read(service, &tenant)?;
        let entry = service.entry(
            &Actor("service".to_owned()),
            "key.retire",
            tenant.as_str(),
            &id.to_string(),
        );
        cut(service, &step, step.by_id(id)?, State::Retired, entry).await?;
    }
    Ok(())
}

pub(crate) fn tenant_of(key: &[u8]) -> Option<TenantId> {
    let name = key.split(|byte| *byte == 0).next()?;
    TenantId::parse(std::str::from_utf8(name).ok()?).ok()
}

/// One look at the keys of a tenant, and the preconditions that hold it together.
struct Step {
    tenant: TenantId,
    keys: Vec<(KeyId, KeyRecord)>,
}

type Known<'a> = &'a (KeyId, KeyRecord);

impl Step {
    fn read(service: &Service, tenant: &TenantId) -> Result<Self, Refused> {
        tenants::known(service, tenant)?;
        let rows = super::of_tenant(&service.tables, tenant)?;
        let keys = rows.into_iter().filter_map(|(key, record)| Some((super::id_of(&key)?, record)));
        Ok(Self { tenant: tenant.clone(), keys: keys.collect() })
    }

    fn required(&self, state: State) -> Result<Known<'_>, Refused> {
        let found = self.keys.iter().find(|(_, record)| record.state == state);
        found.ok_or_else(|| RefusalCode::Internal.into())
    }

    fn by_id(&self, id: KeyId) -> Result<Known<'_>, Refused> {
        let found = self.keys.iter().find(|(known, _)| *known == id);
        found.ok_or_else(|| RefusalCode::NotFound.into())
    }

    fn expect(&self, service: &Service, batch: &mut Batch, key: Known<'_>) {
        batch.expect_record(&service.tables.keys, pair(&self.tenant, key.0.as_bytes()), &key.1);
    }
}

async fn replace(
    service: &Service,
    step: &Step,
    old: Known<'_>,
    old_becomes: State,
    next: Known<'_>,
    entry: Entry,
) -> Result<Tried<Rotated>, Refused> {
    let now = service.now().get();
    let mut batch = Batch::new();
    step.expect(service, &mut batch, old);
    step.expect(service, &mut batch, next);
    let mut left = old.1.in_state(old_becomes, now);
    if old_becomes == State::Retiring {
        left.not_after = service.time.stamp().get() + TOKEN_LIFE_SECONDS + CLOCK_SKEW_SECONDS;
    }
    let active = next.1.in_state(State::Active, now);
    let (fresh_id, fresh) = fresh_next(service, now)?;
    let mut changes: Vec<Change> = Vec::new();
    for (id, record) in [(fresh_id, &fresh), (next.0, &active), (old.0, &left)] {
        put(&service.tables, &mut batch, &step.tenant, id, record);
        changes.push(record.change(&step.tenant)?);
    }
    let tried = service.publish(changes, batch, entry).await?;
    Ok(tried.map(|()| Rotated { active: next.0, next: fresh_id }))
}

async fn replace_next(
    service: &Service,
    step: &Step,
    bad: Known<'_>,
    entry: Entry,
) -> Result<Tried<Rotated>, Refused> {
    let now = service.now().get();
    let active = step.required(State::Active)?;
    let mut batch = Batch::new();
    step.expect(service, &mut batch, bad);
    let (fresh_id, fresh) = fresh_next(service, now)?;
    let cut = bad.1.in_state(State::Compromised, now);
    put(&service.tables, &mut batch, &step.tenant, fresh_id, &fresh);
    put(&service.tables, &mut batch, &step.tenant, bad.0, &cut);
    let changes = vec![fresh.change(&step.tenant)?, cut.change(&step.tenant)?];
    let tried = service.publish(changes, batch, entry).await?;
    Ok(tried.map(|()| Rotated { active: active.0, next: fresh_id }))
}

async fn cut(
    service: &Service,
    step: &Step,
    key: Known<'_>,
    becomes: State,
    entry: Entry,
) -> Result<Tried<Rotated>, Refused> {
    let record = key.1.in_state(becomes, service.now().get());
    let mut batch = Batch::new();
    step.expect(service, &mut batch, key);
    put(&service.tables, &mut batch, &step.tenant, key.0, &record);
    let tried = service.publish(vec![record.change(&step.tenant)?], batch, entry).await?;
    let next = step.required(State::Next)?.0;
    Ok(tried.map(|()| Rotated { active: key.0, next }))
}

/// A new next key; its seed is on disk before any record names it.
pub(crate) fn fresh_next(service: &Service, now: u64) -> Result<(KeyId, KeyRecord), Refused> {
    let key = files::draw(&*service.random)?;
    let id = service.key_folder.store(&key).map_err(|error| {
        tracing::error!(%error, "issuer key not stored");
        Refused::from(RefusalCode::Internal)
    })?;
    Ok((id, KeyRecord::next(key.public_bytes(), now)))
}

/// The active and next key of a new tenant.
pub(crate) fn first_pair(
    service: &Service,
    tenant: &TenantId,
    batch: &mut Batch,
) -> Result<Vec<Change>, Refused> {
    let now = service.now().get();
    let (active_id, active) = fresh_next(service, now)?;
    let (next_id, next) = fresh_next(service, now)?;
    let active = active.in_state(State::Active, now);
    put(&service.tables, batch, tenant, active_id, &active);
    put(&service.tables, batch, tenant, next_id, &next);
    Ok(vec![active.change(tenant)?, next.change(tenant)?])
}

/// The key that signs for a tenant now.
pub(crate) fn signing(
    service_tables: &crate::tables::Tables,
    tenant: &TenantId,
) -> Result<KeyId, Refused> {
    let found = in_state(service_tables, tenant, State::Active)?;
    found.map(|(id, _)| id).ok_or_else(|| RefusalCode::TenantUnknown.into())
}
