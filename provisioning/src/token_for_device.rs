//! From a device's record to a token: shared by enrolment and refresh.

use tessera_token::claims::Epochs;
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::key::PublicKey;
use tessera_token::messages::TokenKind;
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;

use crate::issue::actor::Issue;
use crate::issue::{Binding, Issued, Order};
use crate::records::{DeviceRecord, TenantRecord};
use crate::refused::Refused;
use crate::registry::{groups, roles, templates};
use crate::service::Service;

/// A token and what it allows. It must not leave before its record is committed.
pub(crate) struct IssuedToken {
    pub(crate) issued: Issued,
    pub(crate) scope: Scope,
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
    let binding = binding(service, owner, record, kind)?;
    let role = roles::known(service, tenant, &record.role).await?;
    let group = groups::known(service, tenant, &record.group).await?;
    let group_id = GroupId::parse(&record.group).map_err(|_| RefusalCode::Internal)?;
    let scope = templates::resolve(&role, tenant, &group_id, device)?;
    let order = Order {
        tenant: tenant.clone(),
        device: device.clone(),
        audience: service.config.audience.clone(),
        life: role.token_seconds.unwrap_or(service.config.token_seconds),
        binding,
        scope: scope.clone(),
        epochs: Epochs {
            tenant: owner.epoch,
            group_number: group.number,
            group: group.epoch,
            device: record.epoch,
        },
    };
    let issued = service.issuer.send(Issue(order)).await??;
    Ok(IssuedToken { issued, scope })
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
