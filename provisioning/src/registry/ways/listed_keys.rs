//! Keys that an operator lists before the devices enrol, such as a manufacturer's list: a device enrols by its key alone,
//! once.

use tessera_runtime::sql::Batch;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::messages::Way;
use tessera_token::refusal::RefusalCode;

use super::{take_off, Rights};
use crate::audit::Actor;
use crate::records::ways::ListedKey;
use crate::refused::Refused;
use crate::registry::{devices, tenants};
use crate::service::Service;
use crate::tables::pair;
use crate::write::{until_committed, Attempt};

/// Lists a key. The same entry once more changes nothing.
pub(crate) async fn add(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    device: &DeviceId,
    thumbprint: [u8; 32],
    rights: &Rights,
) -> Result<ListedKey, Refused> {
    let new = ListedKey {
        thumbprint,
        role: rights.role.as_str().to_owned(),
        group: rights.group.as_str().to_owned(),
        created: service.now().get(),
        by: by.name.clone(),
        used: None,
    };
    tenants::known(service, tenant).await?;
    until_committed(async || {
        let (table, key) = (&service.tables.listed_keys, pair(tenant, device.as_str()));
        if let Some(old) = table.get(key.clone()).await? {
            let is_same =
                (old.thumbprint, &old.role, &old.group) == (new.thumbprint, &new.role, &new.group);
            return match is_same {
                true => Ok(Attempt::Committed(old)),
                false => Err(RefusalCode::AlreadyExists.into()),
            };
        }
        if devices::find(service, tenant, device).await?.is_some() {
            return Err(RefusalCode::AlreadyExists.into());
        }
        let mut batch = Batch::new();
        rights.check(service, tenant, Way::Key, &mut batch).await?;
        batch.insert(table, key, &new);
        let entry = service
            .entry(by, "listed_key.add", tenant.as_str(), device.as_str())
            .detail(format!("role {} group {}", new.role, new.group));
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| new.clone()))
    })
    .await
}

/// Takes an entry off the list. A device that has enrolled by it stays enrolled.
pub(crate) async fn delete(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<(), Refused> {
    take_off(
        service,
        by,
        tenant,
        &service.tables.listed_keys,
        (device.as_str(), "listed_key.delete"),
    )
    .await
}
