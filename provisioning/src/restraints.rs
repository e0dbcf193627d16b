//! Devices that are held back for a time: by an operator, or as the answer to an alert. Verifiers hear of it by the trust
//! feed, and it ends by itself.

use tessera_runtime::sql::Batch;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Step;

use crate::audit::{Actor, Entry};
use crate::limits::{RESTRAINT_SECONDS_KEPT, RESTRAINT_SECONDS_MOST};
use crate::records::restraints::RestraintRecord;
use crate::refused::Refused;
use crate::registry::suspension::Reason;
use crate::registry::{devices, tenants};
use crate::service::Service;
use crate::tables::pair;
use crate::write::{until_committed, Attempt};

/// A restraint that an operator asks for.
pub(crate) struct Wanted {
    pub(crate) step: Step,
    pub(crate) seconds: u64,
    pub(crate) reason: String,
}

impl Wanted {
    /// # Errors
    /// `request_malformed` for a time or a reason outside of its bounds.
    pub(crate) fn of(step: Step, seconds: u64, reason: String) -> Result<Self, Refused> {
        if !(1..=RESTRAINT_SECONDS_MOST).contains(&seconds) {
            return Err(Refused::malformed(format!("seconds is 1 to {RESTRAINT_SECONDS_MOST}")));
        }
        Reason::of(Some(reason.clone()))?;
        Ok(Self { step, seconds, reason })
    }
}

/// Holds a device back from now on, in the place of what held it back before; `Released` ends that.
///
/// # Errors
/// `tenant_unknown`, `device_unknown`, `capacity_reached`.
pub(crate) async fn set(
    service: &Service,
    by: &Actor,
    (tenant, device): (&TenantId, &DeviceId),
    wanted: &Wanted,
) -> Result<RestraintRecord, Refused> {
    tenants::known(service, tenant).await?;
    until_committed(async || {
        devices::known(service, tenant, device).await?;
        let action = match wanted.step {
            Step::Released => "device.release",
            _ => "device.restrain",
        };
        let entry = service.entry(by, action, tenant.as_str(), device.as_str());
        let old = get(service, tenant, device).await?;
        // A released device is not held back again for the same alert.
        let alert = old.as_ref().filter(|_| wanted.step == Step::Released);
        let alert = alert.and_then(|old| old.alert.clone());
        let new = wanted.record(service, by.name.clone(), alert);
        let entry = entry.detail(wanted.words());
        let tried = write(service, (tenant, device), (old.as_ref(), &new), entry, Batch::new());
        Ok(tried.await?.map(|()| new))
    })
    .await
}

impl Wanted {
    fn words(&self) -> String {
        format!("{} for {} s: {}", self.step, self.seconds, self.reason)
    }

    /// The row, from now on.
    pub(crate) fn record(
        &self,
        service: &Service,
        made_by: String,
        alert: Option<String>,
    ) -> RestraintRecord {
        let begins = service.now().get();
        // A release is told for as long as a verifier may know of a restraint that it ends.
        let seconds = match self.step {
            Step::Released => RESTRAINT_SECONDS_KEPT,
            _ => self.seconds,
        };
        let (step, reason) = (self.step, self.reason.clone());
        RestraintRecord { step, begins, ends: begins + seconds, made_by, reason, alert }
    }
}

/// The row of a device.
pub(crate) async fn get(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<Option<RestraintRecord>, Refused> {
    Ok(service.tables.restraints.get(pair(tenant, device.as_str())).await?)
}

/// Writes the row with its event and its entry, and what else is in the batch.
pub(crate) async fn write(
    service: &Service,
    (tenant, device): (&TenantId, &DeviceId),
    (old, new): (Option<&RestraintRecord>, &RestraintRecord),
    entry: Entry,
    mut batch: Batch,
) -> Result<Attempt<()>, Refused> {
    let (table, key) = (&service.tables.restraints, pair(tenant, device.as_str()));
    batch.expect_same(table, key.clone(), old);
    batch.put(table, key, new);
    let entry = entry.change(old, Some(new));
    service.publish(vec![new.change(tenant, device)], batch, entry).await
}

/// The word of an operator about an alert of a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is an attack: what holds the device back stays.
    Real,
    /// It is none.
    Harmless,
    /// The alert is wrong.
    Wrong,
}

impl Verdict {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Harmless => "harmless",
            Self::Wrong => "wrong",
        }
    }
}

/// Keeps what holds the device back for `seconds` from now on, or ends it.
///
/// # Errors
/// `not_found` when nothing holds the device back.
pub(crate) async fn judge(
    service: &Service,
    by: &Actor,
    (tenant, device): (&TenantId, &DeviceId),
    verdict: Verdict,
    (seconds, reason): (u64, String),
) -> Result<RestraintRecord, Refused> {
    tenants::known(service, tenant).await?;
    let wanted = Wanted::of(Step::Released, seconds, reason)?;
    until_committed(async || {
        let now = service.now().get();
        let old = get(service, tenant, device).await?;
        let old = old.filter(|old| old.step != Step::Released && now < old.ends);
        let Some(old) = old else { return Err(RefusalCode::NotFound.into()) };
        let new = match verdict {
            Verdict::Real => RestraintRecord {
                ends: (now + wanted.seconds).max(old.ends),
                made_by: by.name.clone(),
                ..old.clone()
            },
            Verdict::Harmless | Verdict::Wrong => {
                wanted.record(service, by.name.clone(), old.alert.clone())
            }
        };
        let entry = service.entry(by, "answer.verdict", tenant.as_str(), device.as_str());
        let entry = entry.detail(format!("{}: {}", verdict.as_str(), wanted.reason));
        let tried = write(service, (tenant, device), (Some(&old), &new), entry, Batch::new());
        Ok(tried.await?.map(|()| new))
    })
    .await
}
