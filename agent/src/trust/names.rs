//! Keys of two parts, and their borrowed forms, so that a lookup on the packet path allocates nothing.

use hashbrown::Equivalent;
use tessera_token::ids::{DeviceId, TenantId};

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct DeviceKey {
    pub(super) tenant: TenantId,
    pub(super) device: DeviceId,
}

#[derive(Hash)]
pub(super) struct DeviceName<'a> {
    pub(super) tenant: &'a str,
    pub(super) device: &'a str,
}

impl Equivalent<DeviceKey> for DeviceName<'_> {
    fn equivalent(&self, key: &DeviceKey) -> bool {
        self.device == key.device.as_str() && self.tenant == key.tenant.as_str()
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct GroupKey {
    pub(super) tenant: TenantId,
    pub(super) number: u64,
}

#[derive(Hash)]
pub(super) struct GroupName<'a> {
    pub(super) tenant: &'a str,
    pub(super) number: u64,
}

impl Equivalent<GroupKey> for GroupName<'_> {
    fn equivalent(&self, key: &GroupKey) -> bool {
        self.number == key.number && self.tenant == key.tenant.as_str()
    }
}
