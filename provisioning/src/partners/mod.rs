//! Partner tokens: opaque credentials of devices whose role has the class `partner`.
//!
//! 1. An operator makes a token for a device (this file). It is hashed at rest and shown once. A device that is not there is
//!    made with a key that no one holds.
//! 2. A broker shows the token of a CONNECT ([`access`]) and gets an access token of the device for a short time. So rights,
//!    epochs, suspension and the trust feed hold for a partner as for each device.
//! 3. Brokers tell the use of each token, which is summed by day ([`uses`]).
//!
//! The end of a token moves the epoch of its device: verifiers hear it at once, and connections by its access tokens end.
//! Connections by other tokens of the device come again.

pub(crate) mod access;
pub(crate) mod uses;

use tessera_runtime::credential::{self, Class};
use tessera_runtime::random;
use tessera_runtime::secret::Secret;
use tessera_runtime::sql::{Batch, Key};
use tessera_token::hash::sha256;
use tessera_token::ids::{DeviceId, GroupId, RoleId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::refusal::RefusalCode;

use crate::limits::{
    PARTNER_TOKENS_PER_DEVICE, PARTNER_TOKEN_ROWS, PARTNER_TOKEN_SECONDS_LEAST,
    PARTNER_TOKEN_SECONDS_MOST, PARTNER_TOKEN_SECONDS_USUAL,
};
use crate::once::Keep;
use crate::operators::{check_life, check_purpose, Operator};
pub(crate) use crate::records::partners::PartnerTokenRecord;
use crate::records::{Attributes, Page, RoleClass};
use crate::refused::Refused;
use crate::registry::departure::partner_turn;
use crate::registry::devices::{self, Moved};
use crate::registry::imports::devices::{Seen, WantedDevice};
use crate::registry::imports::{self, Import, Line, Outcome};
use crate::registry::roles;
use crate::registry::standing::State;
use crate::registry::tenants::{self, DEFAULT_GROUP};
use crate::service::Service;
use crate::tables::{one, pair, text};
use crate::trust::restored::next_epoch;
use crate::warrant::Warrant;
use crate::write::until_committed;

/// A partner token as an operator wishes it.
pub(crate) struct Wanted {
    pub(crate) device: DeviceId,
    pub(crate) purpose: String,
    /// Role and group of a device that is not there yet.
    pub(crate) role: Option<RoleId>,
    pub(crate) group: Option<GroupId>,
    /// Seconds.
    pub(crate) expires_in: Option<u64>,
}

/// A new token, which is shown now and never again.
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) record: PartnerTokenRecord,
    pub(crate) token: Secret<String>,
}

/// A new token of a device.
///
/// # Errors
/// `device_unknown` without a role for a new device, `role_invalid` when the role of the device is of another class,
/// `limit_reached`.
pub(crate) async fn create(
    service: &Service,
    by: &Operator,
    warrant: &Warrant,
    tenant: &TenantId,
    wanted: &Wanted,
    keep: &Keep<'_, Made>,
) -> Result<Made, Refused> {
    let life = check(wanted)?;
    tenants::known(service, tenant).await?;
    if let Some(role) = &wanted.role {
        is_for_partners(service, tenant, role.as_str()).await?;
        if devices::find(service, tenant, &wanted.device).await?.is_none() {
            make_device(service, by, warrant, tenant, (wanted, role)).await?;
        }
    }
    until_committed(async || {
        let (tables, mut batch) = (&service.tables, Batch::new());
        warrant.demand(service, &mut batch).await?;
        // Before the rows whose number it guards.
        partner_turn(service, &mut batch, tenant, true).await?;
        let device = devices::known(service, tenant, &wanted.device).await?;
        if wanted.role.as_ref().is_some_and(|role| role.as_str() != device.role) {
            let why = format!("the device is there with the role {}", device.role);
            return Err(Refused::because(RefusalCode::AlreadyExists, why));
        }
        is_for_partners(service, tenant, &device.role).await?;
        let present = of_device(service, tenant, &wanted.device).await?;
        let now = service.time.latest().get();
        let alive = present.iter().filter(|(_, token)| token.end() > now).count();
        if alive >= PARTNER_TOKENS_PER_DEVICE || present.len() >= PARTNER_TOKEN_ROWS {
            let why = format!(
                "a device has at most {PARTNER_TOKENS_PER_DEVICE} partner tokens, and {PARTNER_TOKEN_ROWS} with those \
                 that have expired lately: delete some"
            );
            return Err(Refused::because(RefusalCode::LimitReached, why));
        }
        let token = credential::draw(Class::Partner, &*service.random)?;
        let (id, now) = (credential::id(token.expose()), service.now().get());
        let record = PartnerTokenRecord {
            token_hash: sha256(token.expose().as_bytes()),
            tenant: tenant.as_str().to_owned(),
            device: wanted.device.as_str().to_owned(),
            maker: by.name.clone(),
            purpose: wanted.purpose.clone(),
            created: now,
            expires: now.saturating_add(life),
            used: None,
        };
        batch.expect(&tables.devices, pair(tenant, wanted.device.as_str()), &device);
        batch.insert(&tables.partner_tokens, one(id.as_str()), &record);
        let (action, subject) = ("partner-token.create", wanted.device.as_str());
        let entry = service.entry(&by.actor(), action, tenant.as_str(), subject);
        let entry = entry.detail(format!("{id}, until {}", record.expires));
        let entry = entry.change(None, Some(&record));
        let made = Made { id, record, token };
        keep.with(service, &mut batch, &made).await?;
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| made))
    })
    .await
}

/// Checks the wishes; gives the life in seconds.
fn check(wanted: &Wanted) -> Result<u64, Refused> {
    let Wanted { purpose, role, group, expires_in, .. } = wanted;
    check_purpose(purpose)?;
    if group.is_some() && role.is_none() {
        return Err(Refused::malformed("group is for a new device: send role too"));
    }
    let bounds = PARTNER_TOKEN_SECONDS_LEAST..=PARTNER_TOKEN_SECONDS_MOST;
    check_life(*expires_in, PARTNER_TOKEN_SECONDS_USUAL, bounds)
}

async fn is_for_partners(service: &Service, tenant: &TenantId, role: &str) -> Result<(), Refused> {
    match roles::known(service, tenant, role).await?.class {
        RoleClass::Partner => Ok(()),
        _ => {
            let why = format!("the role {role} is not of the class partner");
            Err(Refused::because(RefusalCode::RoleInvalid, why))
        }
    }
}

/// A device whose key no one holds: only partner tokens get access tokens for it.
async fn make_device(
    service: &Service,
    by: &Operator,
    warrant: &Warrant,
    tenant: &TenantId,
    (wanted, role): (&Wanted, &RoleId),
) -> Result<(), Refused> {
    let seed = random::bytes(&*service.random)?;
    let default = || GroupId::parse(DEFAULT_GROUP).map_err(|_| RefusalCode::Internal);
    let device = WantedDevice {
        device: wanted.device.clone(),
        key: SecretKey::from_seed(&seed).public(),
        role: role.clone(),
        group: wanted.group.clone().map_or_else(default, Ok)?,
        attributes: Attributes::default(),
        state: State::Active,
    };
    let import = Import {
        id: "partner".to_owned(),
        by: by.actor(),
        warrant: warrant.clone(),
        tenant: tenant.clone(),
        dry_run: false,
        with: (),
    };
    let line = Line { number: 1, wanted: Ok(device) };
    let (outcomes, ended) = imports::take(service, &import, &mut Seen::default(), &[line]).await;
    ended?;
    match outcomes.into_iter().next() {
        Some(Outcome::Refused(fault)) => Err(fault.refused),
        _ => Ok(()),
    }
}

/// The rows of a device's tokens, also of those that have expired.
async fn of_device(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<Vec<(Key, PartnerTokenRecord)>, Refused> {
    let of = [("tenant", tenant.as_str().into()), ("device", device.as_str().into())];
    Ok(service.tables.partner_tokens.find(&of, None, PARTNER_TOKEN_ROWS).await?)
}

/// The tokens of a tenant, or of one of its devices.
pub(crate) async fn list(
    service: &Service,
    tenant: &TenantId,
    device: Option<&DeviceId>,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<(String, PartnerTokenRecord)>, Refused> {
    tenants::known(service, tenant).await?;
    let mut of = vec![("tenant", tenant.as_str().into())];
    of.extend(device.map(|device| ("device", device.as_str().into())));
    let after: Option<Key> = after.map(one);
    let rows = service.tables.partner_tokens.find(&of, after.as_deref(), limit + 1).await?;
    let items = rows.into_iter().map(|(key, row)| Ok((text(&key, 0)?.to_owned(), row)));
    let items = items.collect::<Result<Vec<_>, Refused>>()?;
    Ok(Page::of(items, limit, |(id, _)| id.clone()))
}

/// A token of this tenant by its public name.
pub(crate) async fn known(
    service: &Service,
    tenant: &TenantId,
    id: &str,
) -> Result<PartnerTokenRecord, Refused> {
    tenants::known(service, tenant).await?;
    let row = service.tables.partner_tokens.get(one(id)).await?;
    row.filter(|row| row.tenant == tenant.as_str()).ok_or_else(|| RefusalCode::NotFound.into())
}

/// Ends a token. While it may have access tokens that are good, all tokens of its device from before end with it.
pub(crate) async fn delete(
    service: &Service,
    by: &Operator,
    tenant: &TenantId,
    id: &str,
) -> Result<(), Refused> {
    until_committed(async || {
        let row = known(service, tenant, id).await?;
        let entry =
            service.entry(&by.actor(), "partner-token.delete", tenant.as_str(), &row.device);
        let entry = entry.detail(format!("{id}: {}", row.purpose));
        let device = DeviceId::parse(&row.device).map_err(|_| RefusalCode::Internal)?;
        let present = devices::find(service, tenant, &device).await?;
        // Not as it was read: a note of its use in between changes nothing about this.
        let remove = |batch: &mut Batch| batch.delete(&service.tables.partner_tokens, one(id));
        // An access token ends with its partner token. Of two clocks the earlier one decides that it is over.
        match present.filter(|_| row.end() > service.time.removal().get()) {
            None => {
                let mut batch = Batch::new();
                remove(&mut batch);
                service.write(batch, entry.change(Some(&row), None)).await
            }
            Some(old) => {
                let epoch = next_epoch(&service.tables, old.epoch).await?;
                let new = crate::records::DeviceRecord { epoch, ..old.clone() };
                let moved = Moved { tenant, device: &device, old: &old, new: &new };
                let also = |batch: &mut Batch| {
                    remove(batch);
                    Ok(())
                };
                Ok(moved.publish(service, entry, also).await?.map(drop))
            }
        }
    })
    .await
}
