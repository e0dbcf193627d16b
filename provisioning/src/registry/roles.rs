use tessera_runtime::sql::Batch;
use tessera_token::ids::{RoleId, TenantId};
use tessera_token::refusal::RefusalCode;

use super::{templates, tenants};
use crate::audit::Actor;
use crate::records::{Page, RoleRecord};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::pair;
use crate::write::until_committed;

pub(crate) async fn known(
    service: &Service,
    tenant: &TenantId,
    role: &str,
) -> Result<RoleRecord, Refused> {
    let record = service.tables.roles.get(pair(tenant, role)).await?;
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
        tenants::known(service, tenant).await?;
        let old = service.tables.roles.get(key.clone()).await?;
        let mut batch = Batch::new();
        if old.as_ref().is_some_and(|old| old.class != record.class) {
            let why = "the class of a role never changes";
            return Err(Refused::because(RefusalCode::RoleInvalid, why));
        }
        batch.expect_same(&service.tables.roles, key.clone(), old.as_ref());
        batch.put(&service.tables.roles, key.clone(), record);
        let detail = format!("publish {:?} subscribe {:?}", record.publish, record.subscribe);
        let entry = service.entry(by, "role.put", tenant.as_str(), role.as_str()).detail(detail);
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| old.is_none()))
    })
    .await
}

pub(crate) async fn list(
    service: &Service,
    tenant: &TenantId,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<(String, RoleRecord)>, Refused> {
    tenants::known(service, tenant).await?;
    Ok(Page::in_tenant(&service.tables.roles, tenant, after, limit).await?)
}
