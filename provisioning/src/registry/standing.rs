//! The standing of a device: whether it may have a token now, and why not.
//!
//! A revoked device has lost its right; a suspended one waits for the end of a pause. Its own suspension and that of its group
//! are apart: to end one leaves the other.

use std::collections::HashMap;

use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;

use super::groups;
use crate::records::{DeviceRecord, GroupRecord, Suspension, TenantRecord};
use crate::refused::Refused;
use crate::service::Service;

/// The state of a device as operators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Active,
    Suspended,
    Revoked,
}

impl State {
    /// The state of a device, whose group may be suspended.
    pub(crate) fn of(record: &DeviceRecord, group: Option<&Suspension>) -> Self {
        match (record.revoked, record.suspended.as_ref().or(group)) {
            (true, _) => Self::Revoked,
            (false, Some(_)) => Self::Suspended,
            (false, None) => Self::Active,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        }
    }
}

/// Whether a device of these records may have a token.
///
/// # Errors
/// `tenant_suspended`, `device_revoked`, `device_suspended`, `group_suspended`.
pub(crate) fn may_have_token(
    owner: &TenantRecord,
    record: &DeviceRecord,
    group: &GroupRecord,
) -> Result<(), RefusalCode> {
    if owner.suspended {
        return Err(RefusalCode::TenantSuspended);
    }
    if record.revoked {
        return Err(RefusalCode::DeviceRevoked);
    }
    if record.suspended.is_some() {
        return Err(RefusalCode::DeviceSuspended);
    }
    match group.suspended {
        Some(_) => Err(RefusalCode::GroupSuspended),
        None => Ok(()),
    }
}

/// As [`may_have_token`], with the group of the device as it is now.
pub(crate) async fn check(
    service: &Service,
    tenant: &TenantId,
    owner: &TenantRecord,
    record: &DeviceRecord,
) -> Result<(), Refused> {
    let group = groups::known(service, tenant, &record.group).await?;
    Ok(may_have_token(owner, record, &group)?)
}

/// The suspensions of groups of one tenant, each read once.
pub(crate) struct OfGroups<'a> {
    service: &'a Service,
    tenant: &'a TenantId,
    known: HashMap<String, Option<Suspension>>,
}

impl<'a> OfGroups<'a> {
    pub(crate) fn new(service: &'a Service, tenant: &'a TenantId) -> Self {
        Self { service, tenant, known: HashMap::new() }
    }

    /// That of this group, when it is suspended.
    pub(crate) async fn get(&mut self, group: &str) -> Result<Option<Suspension>, Refused> {
        if let Some(known) = self.known.get(group) {
            return Ok(known.clone());
        }
        let suspended = groups::known(self.service, self.tenant, group).await?.suspended;
        self.known.insert(group.to_owned(), suspended.clone());
        Ok(suspended)
    }
}
