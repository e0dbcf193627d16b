//! Changes of the devices of a group that an operator announces, so that behaviour tracking takes them for what they are.
//! Evidence, such as a token without its key, counts all the same.

use tessera_runtime::sql::Batch;
use tessera_token::ids::{GroupId, TenantId};

use super::suspension::Reason;
use super::{groups, tenants};
use crate::audit::Actor;
use crate::limits::ANNOUNCED_SECONDS_MOST;
use crate::records::{Announcement, GroupRecord};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::pair;
use crate::write::until_committed;

/// How long a change goes on, and why.
pub(crate) struct Announced {
    seconds: u64,
    reason: String,
}

impl Announced {
    /// # Errors
    /// `request_malformed` for a time or a reason outside of its bounds.
    pub(crate) fn of(seconds: u64, reason: String) -> Result<Self, Refused> {
        if seconds > ANNOUNCED_SECONDS_MOST {
            return Err(Refused::malformed(format!(
                "seconds is 0, which ends an announcement, to {ANNOUNCED_SECONDS_MOST}"
            )));
        }
        Reason::of(Some(reason.clone()))?;
        Ok(Self { seconds, reason })
    }
}

/// Announces a change of the group's devices from now on. The newest announcement counts alone; 0 seconds end it.
pub(crate) async fn announce(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    group: &GroupId,
    wanted: &Announced,
) -> Result<GroupRecord, Refused> {
    until_committed(async || {
        tenants::known(service, tenant).await?;
        let old = groups::known(service, tenant, group.as_str()).await?;
        let at = service.now().get();
        let announced = Some(Announcement {
            until: at.saturating_add(wanted.seconds),
            at,
            by: by.name.clone(),
            reason: wanted.reason.clone(),
        });
        let new = GroupRecord { announced, ..old.clone() };
        let (table, key) = (&service.tables.groups, pair(tenant, group.as_str()));
        let mut batch = Batch::new();
        batch.expect(table, key.clone(), &old);
        batch.put(table, key, &new);
        let entry = service.entry(by, "group.announce", tenant.as_str(), group.as_str());
        let entry = entry.change(Some(&old), Some(&new)).detail(wanted.reason.as_str());
        let change = groups::told(tenant, group, &new);
        let tried = service.publish(vec![change], batch, entry).await?;
        Ok(tried.map(|()| new))
    })
    .await
}
