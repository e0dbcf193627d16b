//! Group keys: a factory derives the secret of each device from one, and the service verifies by it.

use tessera_runtime::random;
use tessera_runtime::secret::Secret;
use tessera_runtime::sql::Batch;
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::messages::{device_secret, Way};
use tessera_token::proof::SymmetricKey;
use tessera_token::refusal::RefusalCode;

use super::{take_off, within, Rights};
use crate::audit::Actor;
use crate::keys::sealed_rows::{opened, sealed, Sealed};
use crate::limits::GROUP_KEYS;
use crate::once::Keep;
use crate::records::ways::GroupKeyRecord;
use crate::refused::Refused;
use crate::registry::tenants;
use crate::service::Service;
use crate::tables::{one, pair};
use crate::write::until_committed;

/// A group key that an operator gave, or none: then the service draws it, and shows it once.
pub(crate) type Given = Option<SymmetricKey>;

/// A row, and the key to show, when the service drew it.
pub(crate) type Shown = (GroupKeyRecord, Option<SymmetricKey>);

/// The key of a new primary place, and whether the service drew it.
struct Primary {
    key: SymmetricKey,
    drawn: bool,
}

impl Primary {
    fn of(service: &Service, given: Given) -> Result<Self, Refused> {
        if let Some(key) = given {
            return Ok(Self { key, drawn: false });
        }
        let bytes = Secret::new(random::bytes::<32>(&*service.random)?);
        let key = SymmetricKey::from_bytes(bytes.expose()).ok_or(RefusalCode::Internal)?;
        Ok(Self { key, drawn: true })
    }

    /// The key to show: one that the operator gave is known there.
    fn shown(&self) -> Option<SymmetricKey> {
        self.drawn.then(|| self.key.clone())
    }
}

/// The context under which the keys of a row are sealed.
fn context(tenant: &TenantId, name: &GroupId) -> Vec<u8> {
    format!("{tenant}/{name}").into_bytes()
}

fn seal(
    service: &Service,
    tenant: &TenantId,
    name: &GroupId,
    key: &SymmetricKey,
) -> Result<Vec<u8>, Refused> {
    let name = context(tenant, name);
    sealed(&service.founder, &*service.random, (Sealed::GroupKey, &name), key)
}

/// Makes a group key. The answer has the key when the service drew it.
pub(crate) async fn create(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    name: &GroupId,
    (rights, given): (&Rights, Given),
    keep: &Keep<'_, Shown>,
) -> Result<Shown, Refused> {
    tenants::known(service, tenant).await?;
    let primary = Primary::of(service, given)?;
    let now = service.now().get();
    let record = GroupKeyRecord {
        role: rights.role.as_str().to_owned(),
        group: rights.group.as_str().to_owned(),
        primary: seal(service, tenant, name, &primary.key)?,
        secondary: None,
        created: now,
        rotated: now,
        by: by.name.clone(),
    };
    until_committed(async || {
        let (table, key) = (&service.tables.group_keys, pair(tenant, name.as_str()));
        if table.contains(key.clone()).await? {
            return Err(RefusalCode::AlreadyExists.into());
        }
        let listed = [("tenant", tenant.as_str().into()), ("group_key", name.as_str().into())];
        if !service.tables.listed_ids.find(&listed, None, 1).await?.is_empty() {
            let why = "ids of a deleted group key of this name are listed: take another name, or remove them";
            return Err(Refused::because(RefusalCode::AlreadyExists, why));
        }
        let present = table.scan(&one(tenant.as_str()), None, GROUP_KEYS).await?;
        within(present.len(), GROUP_KEYS, "group keys")?;
        let mut batch = Batch::new();
        rights.check(service, tenant, Way::GroupKey, &mut batch).await?;
        batch.insert(table, key, &record);
        keep.with(service, &mut batch, &(record.clone(), primary.shown())).await?;
        let entry = service
            .entry(by, "group_key.create", tenant.as_str(), name.as_str())
            .detail(format!("role {} group {}", record.role, record.group))
            .change(None, Some(&record));
        service.write(batch, entry).await
    })
    .await?;
    Ok((record.clone(), primary.shown()))
}

/// Puts a new primary key in place. The former one becomes the secondary: devices with secrets of either enrol.
pub(crate) async fn rotate(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    name: &GroupId,
    given: Given,
    keep: &Keep<'_, Shown>,
) -> Result<Shown, Refused> {
    let primary = Primary::of(service, given)?;
    let text = seal(service, tenant, name, &primary.key)?;
    tenants::known(service, tenant).await?;
    until_committed(async || {
        let mut batch = Batch::new();
        let with = |old: &GroupKeyRecord| match old.secondary {
            Some(_) => Err(Refused::because(
                RefusalCode::AlreadyExists,
                "a former key is still accepted: drop it before the next rotation, which would end its secrets",
            )),
            None => Ok(GroupKeyRecord {
                primary: text.clone(),
                secondary: Some(old.primary.clone()),
                rotated: service.now().get(),
                ..old.clone()
            }),
        };
        let (old, new) = put(service, tenant, name, with, &mut batch).await?;
        let entry = service.entry(by, "group_key.rotate", tenant.as_str(), name.as_str());
        let entry = entry.change(Some(&old), Some(&new));
        let made = (new, primary.shown());
        keep.with(service, &mut batch, &made).await?;
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| made))
    })
    .await
}

/// Forgets the secondary key: secrets that follow from it are refused from now on.
pub(crate) async fn drop_secondary(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    name: &GroupId,
) -> Result<GroupKeyRecord, Refused> {
    let forget = |old: &GroupKeyRecord| Ok(GroupKeyRecord { secondary: None, ..old.clone() });
    tenants::known(service, tenant).await?;
    until_committed(async || {
        let mut batch = Batch::new();
        let (old, new) = put(service, tenant, name, forget, &mut batch).await?;
        let entry = service.entry(by, "group_key.drop_secondary", tenant.as_str(), name.as_str());
        let entry = entry.change(Some(&old), Some(&new));
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| new))
    })
    .await
}

/// Puts the row that `with` makes of the present one in its place. Returns both.
async fn put(
    service: &Service,
    tenant: &TenantId,
    name: &GroupId,
    with: impl Fn(&GroupKeyRecord) -> Result<GroupKeyRecord, Refused>,
    batch: &mut Batch,
) -> Result<(GroupKeyRecord, GroupKeyRecord), Refused> {
    let (table, key) = (&service.tables.group_keys, pair(tenant, name.as_str()));
    let old = table.get(key.clone()).await?.ok_or(RefusalCode::NotFound)?;
    let new = with(&old)?;
    batch.expect(table, key.clone(), &old);
    batch.put(table, key, &new);
    Ok((old, new))
}

/// Deletes a group key. Listed ids that name it enrol no device from now on.
pub(crate) async fn delete(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    name: &GroupId,
) -> Result<(), Refused> {
    take_off(service, by, tenant, &service.tables.group_keys, (name.as_str(), "group_key.delete"))
        .await
}

pub(crate) async fn known(
    service: &Service,
    tenant: &TenantId,
    name: &str,
) -> Result<GroupKeyRecord, Refused> {
    let found = service.tables.group_keys.get(pair(tenant, name)).await?;
    found.ok_or_else(|| RefusalCode::NotFound.into())
}

/// Whether `tag` is the MAC of `message` by the secret of this device, under the primary or the secondary key.
pub(crate) fn verifies(
    service: &Service,
    tenant: &TenantId,
    (name, record): (&str, &GroupKeyRecord),
    device: &DeviceId,
    message: &[u8],
    tag: &[u8; 32],
) -> Result<bool, Refused> {
    let name = GroupId::parse(name).map_err(|_| RefusalCode::Internal)?;
    let context = context(tenant, &name);
    let mut is_right = false;
    for text in std::iter::once(&record.primary).chain(&record.secondary) {
        let group_key = opened(&service.founder, (Sealed::GroupKey, &context), text)?;
        is_right |= device_secret(&group_key, device).verifies(message, tag);
    }
    Ok(is_right)
}
