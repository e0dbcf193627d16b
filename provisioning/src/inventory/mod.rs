//! The inventory: which topics the devices of a role really use, as brokers and gateways tell it, against what the role
//! allows.
//!
//! A topic is noted as the role names it: `d/{device}/up`, not `d/d-17/up`. Each row counts different devices, so that one
//! device that says much weighs as one.

mod advice;
mod role_book;
mod shape;

use std::collections::BTreeMap;

use tessera_runtime::sql::{Batch, Key};
use tessera_token::ids::{DeviceId, RoleId, TenantId};
use tessera_token::refusal::RefusalCode;

pub(crate) use advice::{Advice, LineAdvice, Refusal, Verdict};

use crate::audit::Actor;
use crate::limits::{ADVICE_DAYS_LEAST, ADVICE_DEVICES_PERCENT, INVENTORY_PER_WRITE};
use crate::operators::Tenants;
use crate::records::alert_lines::AlertLine;
use crate::records::uses::{DeviceUses, Usage};
use crate::records::RoleRecord;
use crate::refused::Refused;
use crate::registry::reach::Reach;
use crate::registry::{devices, roles, templates, tenants};
use crate::service::Service;
use crate::tables::pair;
use crate::write::{until_committed, Attempt};
use role_book::RoleBook;

const DAY: u64 = 24 * 3600;

/// The word of a verifier about one device.
pub(crate) struct Told {
    /// Its number in the line of the verifier.
    pub(crate) number: u64,
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    pub(crate) uses: Vec<ToldUse>,
}

/// A topic that a device used or was refused, with the device's own name taken out.
pub(crate) struct ToldUse {
    pub(crate) usage: Usage,
    pub(crate) topic: String,
    pub(crate) count: u64,
}

/// Takes what a verifier says, each number of its line once. Devices that the account does not have or that are gone are
/// passed over.
pub(crate) async fn take(
    service: &Service,
    by: &Actor,
    tenants: &Tenants,
    line: &str,
    told: &[Told],
) -> Result<(), Refused> {
    // One at a time: the rows of a role are the same for all of its devices.
    let _turn = service.evidence.lock().await;
    for some in told.chunks(INVENTORY_PER_WRITE) {
        until_committed(async || take_some(service, by, tenants, line, some).await).await?;
    }
    Ok(())
}

async fn take_some(
    service: &Service,
    by: &Actor,
    tenants: &Tenants,
    line: &str,
    told: &[Told],
) -> Result<Attempt<()>, Refused> {
    let lines = &service.tables.alert_lines;
    let of_line = pair(&by.name, line);
    let known = lines.get(of_line.clone()).await?;
    let taken = known.map_or(0, |line| line.taken);
    let new: Vec<&Told> = told.iter().filter(|one| one.number > taken).collect();
    let Some(last) = new.last().map(|one| one.number) else { return Ok(Attempt::Committed(())) };
    let now = service.now().get();
    let mut batch = Batch::new();
    batch.expect_same(lines, of_line.clone(), known.as_ref());
    batch.put(lines, of_line, &AlertLine { taken: last, touched: now });
    let mut books: BTreeMap<(TenantId, String), Option<RoleBook>> = BTreeMap::new();
    let mut written: BTreeMap<(TenantId, DeviceId), (Option<DeviceUses>, DeviceUses)> =
        BTreeMap::new();
    for one in new {
        if !tenants.cover(one.tenant.as_str()) {
            continue;
        }
        let of = (one.tenant.clone(), one.device.clone());
        let device = service.tables.devices.get(key(&of)).await?;
        let Some(record) = device else { continue };
        let role = record.role.clone();
        let named = (one.tenant.clone(), role.clone());
        if !books.contains_key(&named) {
            let book = RoleBook::read(service, &one.tenant, &role, now).await?;
            books.insert(named.clone(), book);
        }
        let Some(Some(book)) = books.get_mut(&named) else { continue };
        if !written.contains_key(&of) {
            let before = service.tables.device_uses.get(key(&of)).await?;
            let none = DeviceUses { role: role.clone(), lines: Vec::new(), touched: now };
            let present = before.clone().filter(|uses| uses.role == role);
            if before.is_none() {
                // It must still be there when its first row is written.
                batch.expect(&service.tables.devices, key(&of), &record);
            }
            if present.is_none() {
                book.new_device();
            }
            written.insert(of.clone(), (before, present.unwrap_or(none)));
        }
        let Some((_, uses)) = written.get_mut(&of) else { continue };
        uses.touched = now;
        one.uses.iter().for_each(|used| book.note(&mut uses.lines, used, now));
    }
    // A report about nothing that is known leaves no row behind: anyone could make as many as they like.
    if written.is_empty() {
        return Ok(Attempt::Committed(()));
    }
    for (of, (before, after)) in &written {
        batch.expect_same(&service.tables.device_uses, key(of), before.as_ref());
        batch.put(&service.tables.device_uses, key(of), after);
    }
    books.into_values().flatten().for_each(|book| book.write(service, &mut batch));
    service.write_unnoted(batch).await
}

fn key((tenant, device): &(TenantId, DeviceId)) -> Key {
    pair(tenant, device.as_str())
}

/// The topics that a device used since it has its role.
pub(crate) async fn of_device(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<DeviceUses, Refused> {
    let record = devices::known(service, tenant, device).await?;
    let uses = service.tables.device_uses.get(pair(tenant, device.as_str())).await?;
    let none = DeviceUses { role: record.role.clone(), lines: Vec::new(), touched: 0 };
    Ok(uses.filter(|uses| uses.role == record.role).unwrap_or(none))
}

/// The use of a role, as far as it is known.
pub(crate) struct Inventory {
    /// Since when; `None` when none of its devices was told yet.
    pub(crate) since: Option<u64>,
    /// Devices that were told.
    pub(crate) devices_seen: u64,
    pub(crate) rows: Vec<advice::Seen>,
}

/// The topics that the devices of a role used.
pub(crate) async fn of_role(
    service: &Service,
    tenant: &TenantId,
    role: &RoleId,
) -> Result<Inventory, Refused> {
    tenants::known(service, tenant).await?;
    roles::known(service, tenant, role.as_str()).await?;
    let book = RoleBook::read(service, tenant, role.as_str(), service.now().get()).await?;
    book.map(RoleBook::shown).ok_or_else(|| RefusalCode::RoleUnknown.into())
}

/// The advice about a role, and how much it is worth.
pub(crate) struct Advised {
    pub(crate) advice: Advice,
    pub(crate) since: Option<u64>,
    pub(crate) devices_seen: u64,
    /// Devices of the role, of which there may be more.
    pub(crate) devices: usize,
    pub(crate) more_devices: bool,
    /// Why the role should not be changed by it yet, in words.
    pub(crate) not_yet: Vec<String>,
}

/// Compares a role with what its devices used in so many days.
pub(crate) async fn advise(
    service: &Service,
    tenant: &TenantId,
    role: &RoleId,
    days: u64,
) -> Result<Advised, Refused> {
    let Inventory { since, devices_seen, rows } = of_role(service, tenant, role).await?;
    let record = roles::known(service, tenant, role.as_str()).await?;
    let reach = Reach::of(service, tenant, role, &record).await?;
    let now = service.now().get();
    let advice = advice::advise(&record, &rows, now.saturating_sub(days * DAY));
    let watched = since.map_or(0, |since| now.saturating_sub(since) / DAY);
    let mut not_yet = Vec::new();
    if watched < ADVICE_DAYS_LEAST {
        not_yet.push(format!(
            "its devices were watched for {watched} of at least {ADVICE_DAYS_LEAST} days"
        ));
    }
    let counted = reach.devices as u64;
    if devices_seen.saturating_mul(100) < counted.saturating_mul(ADVICE_DEVICES_PERCENT) {
        not_yet.push(format!(
            "{devices_seen} of {counted} devices were seen; {ADVICE_DEVICES_PERCENT} % are needed"
        ));
    }
    let publish = advice.proposed(Usage::Publish);
    let subscribe = advice.proposed(Usage::Subscribe);
    let proposed = RoleRecord { publish, subscribe, ..record };
    if let Err(refused) = templates::check(&proposed) {
        let why = refused.detail.as_deref().unwrap_or(refused.code.words());
        not_yet.push(format!("the lines that were used make no role: {why}"));
    }
    let (devices, more_devices) = (reach.devices, reach.more);
    Ok(Advised { advice, since, devices_seen, devices, more_devices, not_yet })
}
