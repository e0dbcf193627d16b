use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::cbor::{Reader, Writer};
use crate::ids::TenantId;
use crate::limits;

use super::change::tenant;
use super::TrustError;

/// A rule of a tenant, `[kind, tenant, id, rule]`. Its bytes are opaque here: a verifier that does not read their version
/// keeps running.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleEntry {
    /// The tenant.
    pub tenant: TenantId,
    /// The name of the rule within its tenant.
    pub id: String,
    /// The rule in its own CBOR; empty when it was removed.
    pub rule: Vec<u8>,
}

impl RuleEntry {
    pub(super) fn write(&self, w: &mut Writer) {
        w.text(self.tenant.as_str()).text(&self.id).bytes(&self.rule);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, TrustError> {
        let (tenant, id, rule) = (tenant(r)?, r.text()?, r.bytes()?);
        let is_name = !id.is_empty() && id.len() <= limits::ID_CHARS;
        match is_name && rule.len() <= limits::RULE_BYTES {
            true => Ok(Self { tenant, id: id.to_string(), rule: rule.to_vec() }),
            false => Err(TrustError::Malformed),
        }
    }
}
