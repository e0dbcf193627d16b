//! The devices that a role reaches, and the cheapest way to end all of their tokens.

use std::collections::BTreeSet;

use tessera_token::ids::{RoleId, TenantId};

use super::templates;
use crate::limits::{ROLE_DEVICES_READ, ROLE_ENDS_DEVICES, ROLE_ENDS_GROUPS};
use crate::records::{DeviceRecord, RoleRecord};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::text;

/// Devices read at a time.
const STEP: usize = 1000;

/// The devices that have a role.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// How many were counted.
    pub(crate) devices: usize,
    /// Whether there are more than were counted.
    pub(crate) more: bool,
    /// Counted devices to which the role gives no token: it names an attribute that they do not have.
    pub(crate) refused: usize,
    /// The first of them that are not revoked: one more than would be ended singly.
    first: Vec<(String, DeviceRecord)>,
    groups: BTreeSet<String>,
}

/// The epochs that move so that all tokens of a role's devices end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moves<'a> {
    /// None: no device has the role, or all of them are revoked.
    Nothing,
    /// Those of the devices.
    Devices(&'a [(String, DeviceRecord)]),
    /// Those of their groups. Other devices of these groups refresh once more too.
    Groups(&'a BTreeSet<String>),
    /// That of the tenant. All of its devices refresh once more.
    Tenant,
}

impl Reach {
    /// Reads the devices that have the role; `record` is what it will say.
    pub(crate) async fn of(
        service: &Service,
        tenant: &TenantId,
        role: &RoleId,
        record: &RoleRecord,
    ) -> Result<Self, Refused> {
        let columns = [("tenant", tenant.as_str().into()), ("role", role.as_str().into())];
        let (mut reach, mut after) = (Self::default(), None);
        loop {
            let rows = service.tables.devices.find(&columns, after.as_deref(), STEP).await?;
            let is_last = rows.len() < STEP;
            after = rows.last().map(|(key, _)| key.clone());
            for (key, device) in rows {
                if reach.devices == ROLE_DEVICES_READ {
                    reach.more = true;
                    return Ok(reach);
                }
                reach.take(text(&key, 1)?, device, record);
            }
            if is_last {
                return Ok(reach);
            }
        }
    }

    pub(super) fn take(&mut self, name: &str, device: DeviceRecord, role: &RoleRecord) {
        self.devices += 1;
        let named = |attribute| device.attributes.get(attribute).is_some();
        self.refused += usize::from(!templates::attributes_of(role).all(named));
        if device.revoked {
            // It has no token.
            return;
        }
        if !self.groups.contains(&device.group) {
            self.groups.insert(device.group.clone());
        }
        if self.first.len() <= ROLE_ENDS_DEVICES {
            self.first.push((name.to_owned(), device));
        }
    }

    /// The epochs that move.
    pub(crate) fn moves(&self) -> Moves<'_> {
        match (self.first.len(), self.groups.len()) {
            _ if self.more => Moves::Tenant,
            (0, _) => Moves::Nothing,
            (1..=ROLE_ENDS_DEVICES, _) => Moves::Devices(&self.first),
            _ => self.moves_of_groups(),
        }
    }

    /// The epochs that move when verifiers can hold no more devices.
    pub(crate) fn moves_of_groups(&self) -> Moves<'_> {
        match self.groups.len() {
            _ if self.more => Moves::Tenant,
            0..=ROLE_ENDS_GROUPS => Moves::Groups(&self.groups),
            _ => Moves::Tenant,
        }
    }
}

impl Moves<'_> {
    /// As answers call it.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Devices(_) => "devices",
            Self::Groups(_) => "groups",
            Self::Tenant => "tenant",
        }
    }
}
