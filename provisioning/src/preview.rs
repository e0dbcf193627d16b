//! A dry run of a role: the token that each device would get, without one being made.

use tessera_token::ids::{DeviceId, RoleId, TenantId};
use tessera_token::key::{PublicKey, SecretKey};
use tessera_token::limits::TOKEN_BYTES;
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;

use crate::issue::{highest_serial, measure, Binding, Order};
use crate::records::{DeviceRecord, Page, RoleRecord, TenantRecord};
use crate::refused::Refused;
use crate::registry::devices::{self, Wanted};
use crate::registry::{roles, tenants};
use crate::service::Service;
use crate::token_for_device::{rights, Rights};

/// The devices that are looked at.
pub(crate) enum Whose<'a> {
    /// One device, whatever role it has now.
    Device(&'a DeviceId),
    /// A page of the devices that have the role.
    Holders { wanted: Wanted, after: Option<&'a str>, limit: usize },
}

/// The token that a device would get.
pub(crate) struct Seen {
    pub(crate) device: String,
    pub(crate) group: String,
    pub(crate) outcome: Result<Fit, Refused>,
}

/// Rights that fit a token.
pub(crate) struct Fit {
    pub(crate) scope: Scope,
    pub(crate) scope_bytes: usize,
    pub(crate) token_bytes: usize,
    /// Seconds.
    pub(crate) life: u64,
}

/// The role, and what it would give to each device.
pub(crate) async fn run(
    service: &Service,
    tenant: &TenantId,
    role: &RoleId,
    whose: Whose<'_>,
) -> Result<(RoleRecord, Page<Seen>), Refused> {
    let owner = tenants::known(service, tenant).await?;
    let record = roles::known(service, tenant, role.as_str()).await?;
    let page = match whose {
        Whose::Device(device) => {
            let found = devices::known(service, tenant, device).await?;
            Page { items: vec![(device.as_str().to_owned(), found)], next: None }
        }
        Whose::Holders { wanted, after, limit } => {
            devices::find_all(service, tenant, &wanted, after, limit).await?
        }
    };
    let scale = Scale {
        // The length of a token depends on neither the bytes of its key nor those of its signature.
        key: SecretKey::from_seed(&tessera_runtime::random::bytes(&*service.random)?),
        serial: highest_serial(&service.tables).await?.saturating_add(1),
    };
    let mut items = Vec::with_capacity(page.items.len());
    for (name, found) in page.items {
        let device = DeviceId::parse(&name).map_err(|_| RefusalCode::Internal)?;
        let of = (tenant, &owner);
        let outcome = scale.fit(service, of, (&device, &found), record.clone()).await;
        items.push(Seen { device: name, group: found.group, outcome });
    }
    Ok((record, Page { items, next: page.next }))
}

/// The parts of a token that is only measured.
struct Scale {
    key: SecretKey,
    serial: u64,
}

impl Scale {
    async fn fit(
        &self,
        service: &Service,
        (tenant, owner): (&TenantId, &TenantRecord),
        (device, record): (&DeviceId, &DeviceRecord),
        role: RoleRecord,
    ) -> Result<Fit, Refused> {
        if owner.suspended {
            return Err(RefusalCode::TenantSuspended.into());
        }
        if record.revoked {
            return Err(RefusalCode::DeviceRevoked.into());
        }
        let Rights { scope, life, epochs, .. } =
            rights(service, (tenant, owner), (device, record), role).await?;
        let key = PublicKey::from_known_good(&record.key);
        let key = key.map_err(|_| RefusalCode::ConfirmationKey)?;
        let order = Order {
            latest: None,
            tenant: tenant.clone(),
            device: device.clone(),
            audience: service.config.audience.clone(),
            life,
            binding: Binding::Key(key, owner.confirmation.into()),
            scope: scope.clone(),
            epochs,
        };
        let by = (service.config.issue_algorithm, &self.key);
        let token_bytes =
            measure(order, self.serial, service.now(), by).map_err(|code| match code {
                RefusalCode::TokenTooLarge => {
                    Refused::because(code, format!("the token would exceed {TOKEN_BYTES} bytes"))
                }
                code => code.into(),
            })?;
        Ok(Fit { scope_bytes: scope.to_aif().len(), scope, token_bytes, life })
    }
}
