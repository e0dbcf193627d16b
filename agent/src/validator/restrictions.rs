//! Restrictions beside the rights of tokens, as the trust data have them now.

use std::sync::Arc;

use tessera_token::ids::{DeviceId, TenantId};

use super::Validator;
use crate::rulebook::Rulebook;
use crate::trust::Restrained;

impl Validator {
    /// The rules of a tenant; `None` without any.
    pub fn rulebook(&self, tenant: &TenantId) -> Option<Arc<Rulebook>> {
        self.parts.trust.load().rulebook(tenant).cloned()
    }

    /// The rules of every tenant that has some.
    pub fn rulebooks(&self) -> Vec<(TenantId, Arc<Rulebook>)> {
        let trust = self.parts.trust.load();
        trust.rulebooks().map(|(tenant, book)| (tenant.clone(), Arc::clone(book))).collect()
    }

    /// The last word of the trust data about how a device is held back; it may be over.
    pub fn restrained(&self, tenant: &TenantId, device: &DeviceId) -> Option<Restrained> {
        self.parts.trust.load().restrained(tenant, device)
    }

    /// The name of a group; its number as a text when the name is not known here.
    pub fn group_name(&self, tenant: &TenantId, number: u64) -> Arc<str> {
        let trust = self.parts.trust.load();
        trust.group_name(tenant, number).cloned().unwrap_or_else(|| number.to_string().into())
    }
}
