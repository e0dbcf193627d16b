//! The identity of provisioning at brokers: a tenant of its own, and for each connection a key that is drawn for it, that
//! never leaves the memory of this process, and a token that is bound to it.

use tessera_runtime::sql::Batch;
use tessera_token::claims::{ConfirmationForm, Epochs};
use tessera_token::encoding;
use tessera_token::ids::{ClientId, DeviceId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::messages::SERVICE_TENANT;
use tessera_token::proof::{ConnectProof, Credential};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;

use crate::audit::Actor;
use crate::issue::{Binding, Order};
use crate::keys::files;
use crate::limits::PUSH_OWN_TOKEN_SECONDS;
use crate::refused::Refused;
use crate::registry::{groups, tenants};
use crate::service::Service;
use crate::write::Attempt;

/// Its subject and client id: a broker has one connection of it, and a later one takes it over.
const SUBJECT: &str = "provisioning";

/// A key, and the names that go with it.
pub(super) struct Own {
    tenant: TenantId,
    device: DeviceId,
    key: SecretKey,
}

/// A token of its own.
pub(super) struct OwnToken {
    pub(super) bytes: Vec<u8>,
    /// Seconds.
    pub(super) life: u64,
}

impl Own {
    /// Makes a key, and the tenant when it is not there.
    ///
    /// # Errors
    /// Of the database; `capacity_reached` when verifiers have no room for another tenant; `internal` when a former version
    /// let operators make a tenant of this name, and it has devices.
    pub(super) async fn make(service: &Service) -> Result<Self, Refused> {
        let tenant = TenantId::parse(SERVICE_TENANT).map_err(|_| RefusalCode::Internal)?;
        let device = DeviceId::parse(SUBJECT).map_err(|_| RefusalCode::Internal)?;
        tenants::found_own(service, &Actor::service(), &tenant).await?;
        let first = service.tables.devices.scan(&[tenant.as_str().into()], None, 1).await?;
        if !first.is_empty() {
            tracing::error!(%tenant, "this tenant has devices: nothing is pushed in its name");
            return Err(RefusalCode::Internal.into());
        }
        let key = files::draw(&*service.random).map_err(|_| RefusalCode::NotReady)?;
        Ok(Self { tenant, device, key })
    }

    /// The client id.
    pub(super) fn client_id(&self) -> ClientId {
        ClientId::of(&self.device)
    }

    /// A token for the key. Its record is durable.
    ///
    /// # Errors
    /// Of the database, and `not_ready`.
    pub(super) async fn token(&self, service: &Service) -> Result<OwnToken, Refused> {
        let owner = tenants::find(service, &self.tenant).await?;
        let owner = owner.ok_or(RefusalCode::TenantUnknown)?;
        let group = groups::known(service, &self.tenant, tenants::DEFAULT_GROUP).await?;
        let life = service.config.token_seconds.min(PUSH_OWN_TOKEN_SECONDS);
        let order = Order {
            latest: None,
            tenant: self.tenant.clone(),
            device: self.device.clone(),
            audience: service.config.audience.clone(),
            life,
            binding: Binding::Key(self.key.public(), ConfirmationForm::Key),
            scope: Scope::default(),
            epochs: Epochs {
                tenant: owner.epoch,
                group_number: group.number,
                group: group.epoch,
                device: 0,
            },
        };
        let issued = service.issue(order).await?;
        let mut batch = Batch::new();
        issued.record(&service.tables, &mut batch, (&self.tenant, &self.device), None);
        match service.write_unnoted(batch).await? {
            Attempt::Committed(()) => {
                service.metrics.issued.inc(&["own"]);
                Ok(OwnToken { bytes: issued.token, life })
            }
            Attempt::Conflict => Err(RefusalCode::NotReady.into()),
        }
    }

    /// The password for the one connection of this key, at the verifier of this name.
    pub(super) fn password(&self, service: &Service, verifier: &str, token: &OwnToken) -> String {
        let client_id = self.client_id();
        let (key, now) = (&self.key, service.now());
        let proof = ConnectProof::make(key, verifier, client_id.as_str(), &token.bytes, now, 1);
        let credential = Credential { token: token.bytes.clone(), proof: Some(proof) };
        encoding::base64url(&credential.to_password())
    }
}
