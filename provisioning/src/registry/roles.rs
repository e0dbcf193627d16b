use tessera_runtime::store::Batch;
use tessera_token::ids::{RoleId, TenantId};
use tessera_token::refusal::RefusalCode;

use super::{templates, tenants};
use crate::audit::Actor;
use crate::records::{Page, RoleRecord};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{pair, second};
use crate::write::until_committed;

pub(crate) fn known(
    service: &Service,
    tenant: &TenantId,
    role: &str,
) -> Result<RoleRecord, Refused> {
    let record = service.tables.roles.get_record(pair(tenant, role))?;
    record.ok_or_else(|| RefusalCode::RoleUnknown.into())
}

/// Defines a role, or changes what its later tokens allow. Its class never changes: a fleet of devices must not become
/// a fleet of services by one call. Returns whether it is new.
pub(crate) async fn put(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    role: &RoleId,
    record: &RoleRecord,
) -> Result<bool, Refused> {
    templates::check(record)?;
    let key = pair(tenant, role.as_str());
    until_committed(async || {
        tenants::known(service, tenant)?;
        let old: Option<RoleRecord> = service.tables.roles.get_record(&key)?;
        let mut batch = Batch::new();
        match &old {
            Some(old) if old.class != record.class => {
                return Err(Refused::because(
                    RefusalCode::RoleInvalid,
                    "the class of a role never changes",
                ));
            }
            Some(old) => batch.expect_record(&service.tables.roles, &key, old),
            None => batch.expect_absent(&service.tables.roles, &key),
        }
        batch.put_record(&service.tables.roles, &key, record);
        let detail = format!("publish {:?} subscribe {:?}", record.publish, record.subscribe);
        let entry = service.entry(by, "role.put", tenant.as_str(), role.as_str()).detail(detail);
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| old.is_none()))
    })
    .await
}

pub(crate) fn list(
    service: &Service,
    tenant: &TenantId,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<(String, RoleRecord)>, Refused> {
    tenants::known(service, tenant)?;
    let after = after.map(|name| pair(tenant, name));
    let rows = service.tables.roles.scan_records(&pair(tenant, []), after.as_deref(), limit + 1)?;
    let items = rows
        .into_iter()
        .map(|(key, record)| (String::from_utf8_lossy(second(&key)).into_owned(), record));
    Ok(Page::of(items.collect(), limit, |(id, _)| id.clone()))
}
