//! Answers to alerts, by the policies of tenants and groups: note, clamp, step up, quarantine, end. Each is timed, counted
//! against the devices that a policy may touch in an hour, and written into the audit log with its evidence.

use serde_json::Value;
use tessera_runtime::sql::Batch;
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Step;

use crate::audit::Actor;
use crate::limits::{ANSWERS_AN_HOUR, RESTRAINT_SECONDS_MOST};
use crate::records::restraints::{Answer, AnswerPolicy, RestraintRecord};
use crate::records::DeviceRecord;
use crate::refused::Refused;
use crate::registry::{devices, groups, tenants};
use crate::restraints::{self, Wanted};
use crate::service::Service;
use crate::tables::pair;
use crate::write::{until_committed, Attempt};

const HOUR: u64 = 3600;

/// An alert about one device, as far as an answer needs it.
struct Asked {
    tenant: TenantId,
    device: DeviceId,
    severity: &'static str,
    /// Number and severity: the same alert at the same severity is answered once.
    name: String,
    words: String,
}

impl Asked {
    /// `None` when no answer follows: it is about no single device, has ended, or is only for the record.
    fn of(tenant: &TenantId, alert: &Value) -> Option<Self> {
        let text = |name: &str| alert.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("state") == "closed" || alert.get("shadow").and_then(Value::as_bool) == Some(true) {
            return None;
        }
        let device = alert.get("subject")?.get("device")?.as_str()?;
        let severity = match text("severity") {
            "low" => "low",
            "moderate" => "moderate",
            "high" => "high",
            _ => return None,
        };
        Some(Self {
            tenant: tenant.clone(),
            device: DeviceId::parse(device).ok()?,
            severity,
            name: format!("{} {severity}", alert.get("alert").and_then(Value::as_u64)?),
            words: super::signals(alert),
        })
    }
}

impl AnswerPolicy {
    fn to(&self, severity: &str) -> Answer {
        match severity {
            "high" => self.high,
            "moderate" => self.moderate,
            _ => self.low,
        }
    }
}

/// Answers an alert. One that was answered before is not answered again, so a report may come twice.
pub(super) async fn follow(
    service: &Service,
    tenant: &TenantId,
    alert: &Value,
) -> Result<(), Refused> {
    let Some(asked) = Asked::of(tenant, alert) else { return Ok(()) };
    let by = Actor::service();
    until_committed(async || {
        let Some(record) =
            service.tables.devices.get(pair(&asked.tenant, asked.device.as_str())).await?
        else {
            return Ok(Attempt::Committed(()));
        };
        let Some((group, policy)) = policy(service, &asked.tenant, &record).await? else {
            return Ok(Attempt::Committed(()));
        };
        let old = restraints::get(service, &asked.tenant, &asked.device).await?;
        let is_known = |old: &RestraintRecord| old.alert.as_ref() == Some(&asked.name);
        let answer = policy.to(asked.severity);
        if answer == Answer::Note || old.as_ref().is_some_and(is_known) {
            return Ok(Attempt::Committed(()));
        }
        answer_one(service, &by, &asked, (&group, &policy), answer, old).await
    })
    .await
}

/// The policy for a device, and the group under which it stands; empty for the tenant's own.
async fn policy(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceRecord,
) -> Result<Option<(String, AnswerPolicy)>, Refused> {
    let table = &service.tables.answer_policies;
    for group in [device.group.as_str(), ""] {
        if let Some(policy) = table.get(pair(tenant, group)).await? {
            return Ok(Some((group.to_owned(), policy)));
        }
    }
    Ok(None)
}

async fn answer_one(
    service: &Service,
    by: &Actor,
    asked: &Asked,
    (group, policy): (&str, &AnswerPolicy),
    answer: Answer,
    old: Option<RestraintRecord>,
) -> Result<Attempt<()>, Refused> {
    let Asked { tenant, device, .. } = asked;
    let now = service.now().get();
    let hour = now / HOUR;
    let counted = if policy.counted.0 == hour { policy.counted.1 } else { 0 };
    let is_over = counted >= policy.devices_an_hour;
    let action = match (is_over, policy.shadow) {
        (true, _) => "answer.capped",
        (false, true) => "answer.would",
        (false, false) => "answer.given",
    };
    let word = serde_json::to_value(answer).unwrap_or_default();
    let detail = format!(
        "{} for {} s, alert {}: {}",
        word.as_str().unwrap_or_default(),
        policy.seconds,
        asked.name,
        asked.words
    );
    let entry = service.entry(by, action, tenant.as_str(), device.as_str()).detail(detail);
    if is_over && counted > policy.devices_an_hour {
        // It was told once in this hour.
        return Ok(Attempt::Committed(()));
    }
    let mut batch = Batch::new();
    let (table, key) = (&service.tables.answer_policies, pair(tenant, group));
    batch.expect(table, key.clone(), policy);
    batch.put(table, key, &AnswerPolicy { counted: (hour, counted + 1), ..policy.clone() });
    if is_over || policy.shadow {
        return service.write(batch, entry).await;
    }
    let step = match answer {
        Answer::Note => return Ok(Attempt::Committed(())),
        Answer::Clamp => Step::Clamp,
        Answer::StepUp => Step::StepUp,
        Answer::Quarantine => Step::Quarantine,
        Answer::End => {
            let tried = service.write_unnoted(batch).await?;
            if tried == Attempt::Committed(()) {
                devices::end(service, tenant, device, entry, |_| {}).await?;
            }
            return Ok(tried);
        }
    };
    // A device that is held back more strongly stays so.
    let stronger = old.as_ref().filter(|old| now < old.ends && old.step > step);
    let step = stronger.map_or(step, |old| old.step);
    let reason = format!("the answer to alert {}", asked.name);
    let wanted = Wanted { step, seconds: policy.seconds, reason };
    let new = wanted.record(service, by.name.clone(), Some(asked.name.clone()));
    restraints::write(service, (tenant, device), (old.as_ref(), &new), entry, batch).await
}

/// A policy that an operator sets.
pub(crate) struct Set {
    pub(crate) group: Option<GroupId>,
    pub(crate) low: Answer,
    pub(crate) moderate: Answer,
    pub(crate) high: Answer,
    pub(crate) seconds: u64,
    pub(crate) devices_an_hour: u64,
    pub(crate) shadow: bool,
}

/// Sets the answers to alerts about the devices of a group, or of a tenant.
///
/// # Errors
/// `request_malformed`, `tenant_unknown`, `group_unknown`.
pub(crate) async fn set(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    wanted: &Set,
) -> Result<AnswerPolicy, Refused> {
    if !(60..=RESTRAINT_SECONDS_MOST).contains(&wanted.seconds) {
        return Err(Refused::malformed(format!("seconds is 60 to {RESTRAINT_SECONDS_MOST}")));
    }
    if !(1..=ANSWERS_AN_HOUR).contains(&wanted.devices_an_hour) {
        return Err(Refused::malformed(format!("devices_an_hour is 1 to {ANSWERS_AN_HOUR}")));
    }
    if wanted.low > wanted.moderate || wanted.moderate > wanted.high {
        let why =
            "an answer to a worse alert must not be milder: low, moderate, high in this order";
        return Err(Refused::malformed(why));
    }
    until_committed(async || {
        tenants::known(service, tenant).await?;
        let group = wanted.group.as_ref().map_or("", GroupId::as_str);
        if !group.is_empty() {
            groups::known(service, tenant, group).await?;
        }
        let (table, key) = (&service.tables.answer_policies, pair(tenant, group));
        let old = table.get(key.clone()).await?;
        let new = AnswerPolicy {
            low: wanted.low,
            moderate: wanted.moderate,
            high: wanted.high,
            seconds: wanted.seconds,
            devices_an_hour: wanted.devices_an_hour,
            shadow: wanted.shadow,
            counted: old.as_ref().map_or((0, 0), |old| old.counted),
            changed: service.now().get(),
            made_by: by.name.clone(),
        };
        let mut batch = Batch::new();
        batch.expect_same(table, key.clone(), old.as_ref());
        batch.put(table, key, &new);
        let entry = service.entry(by, "answer.set", tenant.as_str(), group);
        let entry = entry.change(old.as_ref(), Some(&new));
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| new))
    })
    .await
}

/// Takes the policy of a group, or of the tenant, away: its alerts are noted alone.
///
/// # Errors
/// `not_found`.
pub(crate) async fn remove(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    group: &str,
) -> Result<(), Refused> {
    until_committed(async || {
        tenants::known(service, tenant).await?;
        let (table, key) = (&service.tables.answer_policies, pair(tenant, group));
        let Some(old) = table.get(key.clone()).await? else {
            return Err(RefusalCode::NotFound.into());
        };
        let mut batch = Batch::new();
        batch.expect(table, key.clone(), &old);
        batch.delete(table, key);
        let entry = service.entry(by, "answer.remove", tenant.as_str(), group);
        service.write(batch, entry.change(Some(&old), None)).await
    })
    .await
}
