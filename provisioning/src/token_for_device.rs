//! From a device's record to a token: shared by enrolment and refresh.

use tessera_runtime::sql::Batch;
use tessera_token::claims::{ConfirmationForm, Epochs};
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::key::PublicKey;
use tessera_token::messages::{TokenAnswer, TokenKind};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;
use tessera_token::time::UnixSeconds;

use crate::issue::{Binding, Issued, Order};
use crate::records::{DeviceRecord, RoleRecord, TenantRecord};
use crate::refused::Refused;
use crate::registry::templates::Placeholders;
use crate::registry::{groups, roles, standing, templates};
use crate::service::Service;

/// A token and what it allows. It must not leave before its record is committed.
pub(crate) struct IssuedToken {
    pub(crate) issued: Issued,
    pub(crate) scope: Scope,
    tenant: TenantId,
    /// The role as it was read, and its name.
    role: (String, RoleRecord),
}

impl IssuedToken {
    /// Demands that the role still is what the token was made from: a token with former rights must not be made after the
    /// tokens with these rights were ended.
    pub(crate) fn expect(&self, service: &Service, batch: &mut Batch) {
        let (name, record) = &self.role;
        roles::expect_for_token(service, batch, (&self.tenant, name), record);
    }

    /// As [`IssuedToken::expect`], for a new device: a change of the role must find it, or be found by its batch.
    pub(crate) fn expect_of_new(&self, service: &Service, batch: &mut Batch) {
        let (name, record) = &self.role;
        roles::expect(service, batch, (&self.tenant, name), record);
    }
}

/// The rights of a device at this moment.
pub(crate) struct Rights {
    pub(crate) role: RoleRecord,
    pub(crate) scope: Scope,
    /// Seconds.
    pub(crate) life: u64,
    pub(crate) epochs: Epochs,
    /// Whether it may have a token, by the very records whose epochs go into it: a suspension in between ends it too.
    pub(crate) standing: Result<(), RefusalCode>,
}

/// The rights that `role` gives to the device.
pub(crate) async fn rights(
    service: &Service,
    (tenant, owner): (&TenantId, &TenantRecord),
    (device, record): (&DeviceId, &DeviceRecord),
    role: RoleRecord,
) -> Result<Rights, Refused> {
    let group = groups::known(service, tenant, &record.group).await?;
    let group_id = GroupId::parse(&record.group).map_err(|_| RefusalCode::Internal)?;
    let attributes = &record.attributes;
    let of = Placeholders { tenant, group: &group_id, device, attributes };
    let scope = templates::resolve(&role, &of)?;
    let life = templates::life(&role, service.config.token_seconds);
    let epochs = Epochs {
        tenant: owner.epoch,
        group_number: group.number,
        group: group.epoch,
        device: record.epoch,
    };
    let standing = standing::may_have_token(owner, record, &group);
    Ok(Rights { role, scope, life, epochs, standing })
}

impl IssuedToken {
    /// The answer that brings it, bound to the key of the device.
    pub(crate) fn answer(self, service: &Service) -> TokenAnswer {
        let now = service.now();
        TokenAnswer {
            access_token: self.issued.token,
            expires_in: self.issued.expires.since(now),
            bearer: false,
            key: None,
            audience: service.config.audience.clone(),
            scope: self.scope,
            server_time: now,
        }
    }
}

/// Issues a token for what the device is at this moment. Epochs are read before the token is signed: a
/// revocation in between revokes this token too.
pub(crate) async fn issue(
    service: &Service,
    tenant: &TenantId,
    owner: &TenantRecord,
    device: &DeviceId,
    record: &DeviceRecord,
    kind: TokenKind,
) -> Result<IssuedToken, Refused> {
    issue_within(service, (tenant, owner, device, record), kind, Ok).await
}

/// As [`issue`], with the part of the role's scope that `narrow` gives.
pub(crate) async fn issue_within(
    service: &Service,
    (tenant, owner, device, record): (&TenantId, &TenantRecord, &DeviceId, &DeviceRecord),
    kind: TokenKind,
    narrow: impl FnOnce(Scope) -> Result<Scope, RefusalCode>,
) -> Result<IssuedToken, Refused> {
    let binding = binding(service, owner, record, kind)?;
    make(service, (tenant, owner, device, record), (binding, None), narrow).await
}

/// As [`issue`], bound to this key in the place of the device's, and good until `latest` at most.
pub(crate) async fn issue_to(
    service: &Service,
    of: (&TenantId, &TenantRecord, &DeviceId, &DeviceRecord),
    key: PublicKey,
    latest: UnixSeconds,
) -> Result<IssuedToken, Refused> {
    make(service, of, (Binding::Key(key, ConfirmationForm::Key), Some(latest)), Ok).await
}

async fn make(
    service: &Service,
    (tenant, owner, device, record): (&TenantId, &TenantRecord, &DeviceId, &DeviceRecord),
    (binding, latest): (Binding, Option<UnixSeconds>),
    narrow: impl FnOnce(Scope) -> Result<Scope, RefusalCode>,
) -> Result<IssuedToken, Refused> {
    let role = roles::known(service, tenant, &record.role).await?;
    let Rights { role, scope, life, epochs, standing } =
        rights(service, (tenant, owner), (device, record), role).await?;
    standing?;
    let scope = narrow(scope)?;
    let order = Order {
        tenant: tenant.clone(),
        device: device.clone(),
        audience: service.config.audience.clone(),
        life,
        latest,
        binding,
        scope: scope.clone(),
        epochs,
    };
    let issued = service.issue(order).await?;
    Ok(IssuedToken { issued, scope, tenant: tenant.clone(), role: (record.role.clone(), role) })
}

fn binding(
    service: &Service,
    owner: &TenantRecord,
    record: &DeviceRecord,
    kind: TokenKind,
) -> Result<Binding, RefusalCode> {
    match kind {
        TokenKind::Key => {
            // As it enrolled: see `refresh`.
            let key = PublicKey::from_known_good(&record.key);
            let key = key.map_err(|_| RefusalCode::ConfirmationKey)?;
            Ok(Binding::Key(key, owner.confirmation.into()))
        }
        TokenKind::Symmetric => {
            let newest = service.derivation.read().newest().cloned();
            newest.map(Binding::Derived).ok_or(RefusalCode::SymmetricNotOffered)
        }
        TokenKind::Bearer if owner.bearer => Ok(Binding::None),
        TokenKind::Bearer => Err(RefusalCode::BearerNotAllowed),
    }
}
