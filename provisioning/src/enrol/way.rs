//! The interface of the ways of enrolment: each decides whether a request entitles, and to which rights.

use tessera_runtime::sql::Batch;
use tessera_token::key::PublicKey;
use tessera_token::messages::EnrolRequest;
use tessera_token::refusal::RefusalCode;

use crate::admission::Source;
use crate::records::{Attributes, DeviceRecord, TenantRecord};
use crate::refused::Refused;
use crate::registry::{devices, tenants};
use crate::service::Service;

/// A request whose signature by the device key is right, over a nonce of the service.
pub(super) struct Ask<'a> {
    pub(super) service: &'a Service,
    pub(super) request: &'a EnrolRequest,
    pub(super) key: &'a PublicKey,
    pub(super) source: &'a Source,
}

/// A request that is entitled.
pub(super) struct Entitled {
    pub(super) owner: TenantRecord,
    /// The device, when it was enrolled by this entitlement before: it gets its answer again.
    pub(super) known: Option<DeviceRecord>,
    pub(super) role: String,
    pub(super) group: String,
    pub(super) attributes: Attributes,
    /// The entitlement as the device's record names it.
    pub(super) named: String,
    /// The rows that entitle, as they were read, and what becomes of them.
    pub(super) batch: Batch,
    /// Whether the batch gives the device another key: then `known` is the device with its former key.
    pub(super) renews: bool,
}

impl Entitled {
    /// By an entitlement that carries no attributes and gives no device another key.
    pub(super) fn plain(
        (owner, known): (TenantRecord, Option<DeviceRecord>),
        (role, group): (String, String),
        named: String,
        batch: Batch,
    ) -> Self {
        let attributes = Attributes::default();
        Self { owner, known, role, group, attributes, named, batch, renews: false }
    }
}

/// A way of enrolment.
pub(super) trait Verifier {
    /// Whether the request entitles its device. A peer that is not entitled learns nothing of what exists.
    async fn verify(ask: &Ask<'_>) -> Result<Entitled, Refused>;
}

impl Ask<'_> {
    /// The refusal of a peer that proved no entitlement: one for all reasons.
    pub(super) fn stranger(&self, truth: RefusalCode) -> Refused {
        self.service.strangers.refused(truth, RefusalCode::NotEntitled)
    }

    /// The tenant, for a peer that has not proved an entitlement yet.
    pub(super) async fn tenant_of_stranger(&self) -> Result<(), Refused> {
        match tenants::known(self.service, &self.request.tenant).await {
            Ok(_) => Ok(()),
            Err(refused) if refused.code == RefusalCode::TenantUnknown => {
                Err(self.stranger(refused.code))
            }
            Err(refused) => Err(refused),
        }
    }

    /// The tenant and the device as they are, for a peer that has proved its entitlement.
    ///
    /// # Errors
    /// `tenant_suspended`; `device_key_mismatch` and `device_revoked` for a device that is enrolled.
    pub(super) async fn standing(&self) -> Result<(TenantRecord, Option<DeviceRecord>), Refused> {
        let EnrolRequest { tenant, device, .. } = self.request;
        let owner = tenants::serving(self.service, tenant).await?;
        let known = devices::find(self.service, tenant, device).await?;
        match &known {
            Some(record) if record.key != self.key.as_bytes() => {
                Err(RefusalCode::DeviceKeyMismatch.into())
            }
            Some(record) if record.revoked => Err(RefusalCode::DeviceRevoked.into()),
            _ => Ok((owner, known)),
        }
    }

    /// The device when it was enrolled by the entitlement of this name.
    ///
    /// # Errors
    /// `already_exists` when it was enrolled by another.
    pub(super) fn again(
        &self,
        known: Option<DeviceRecord>,
        named: &str,
    ) -> Result<Option<DeviceRecord>, Refused> {
        match known {
            Some(record) if record.claim != named => Err(RefusalCode::AlreadyExists.into()),
            known => Ok(known),
        }
    }
}
