//! Introspection (RFC 7662): whether a token that is shown is good now, for an account of its tenant.
//!
//! The registry is asked, and not what verifiers have heard: a revoked token is inactive from the moment at which its
//! revocation is durable. The reason for which a token is inactive is not told: `None` is all of them.

use tessera_token::cbor::Reader;
use tessera_token::claims::{Claims, Epochs};
use tessera_token::encoding::from_base64url;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::PublicKey;
use tessera_token::presented::Presented;
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;

use crate::families::{self, Shown};
use crate::operators::Tenants;
use crate::records::families::FamilyRecord;
use crate::records::keys::State;
use crate::refused::Refused;
use crate::registry::{devices, groups, standing, tenants};
use crate::revoke::shown;
use crate::service::Service;
use crate::tables::{one, pair};
use crate::trust::restored::epoch_floor;

/// Bytes of the tags before the array of a token: 61 and 18. Each token that is read has them.
const TAGS: usize = 3;

/// A token that is good now.
pub(crate) struct Active {
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    pub(crate) audience: String,
    pub(crate) scope: Option<Scope>,
    pub(crate) issued: u64,
    pub(crate) expires: u64,
    pub(crate) kind: Kind,
}

/// The kind of a token, as the answer names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An access token that needs a proof of a key.
    Pop,
    /// An access token that needs none.
    Bearer,
    /// A refresh token.
    Refresh,
}

/// The token, when it is good now and of one of these tenants.
///
/// # Errors
/// Those of the database.
pub(crate) async fn look(
    service: &Service,
    tenants: &Tenants,
    text: &str,
) -> Result<Option<Active>, Refused> {
    let found = match families::of_token(service, text.as_bytes()).await? {
        Some((shown, row)) if tenants.cover(&row.tenant) => refresh(service, &shown, row).await,
        Some(_) => return Ok(None),
        None => match from_base64url(text) {
            Some(bytes) => access(service, tenants, &bytes).await,
            None => return Ok(None),
        },
    };
    match found {
        Err(refused) if !is_fault(refused.code) => Ok(None),
        found => found,
    }
}

async fn access(
    service: &Service,
    tenants: &Tenants,
    bytes: &[u8],
) -> Result<Option<Active>, Refused> {
    let shown = shown::ours(service, bytes).await?;
    let of_us = tenants.cover(shown.tenant.as_str()) && shown.expires > service.now();
    if !of_us || !is_known(service, &shown).await? {
        return Ok(None);
    }
    let claims = claims(bytes)?;
    let owner = tenants::known(service, &shown.tenant).await?;
    let record = devices::known(service, &shown.tenant, &shown.device).await?;
    let group = groups::known(service, &shown.tenant, &record.group).await?;
    standing::may_have_token(&owner, &record, &group)?;
    let now = Epochs {
        tenant: owner.epoch,
        group_number: group.number,
        group: group.epoch,
        device: record.epoch,
    };
    if now.moved_since(claims.epochs).is_some() {
        return Ok(None);
    }
    let key = PublicKey::from_known_good(&record.key).map_err(|_| RefusalCode::ConfirmationKey)?;
    let kind = match Claims::from_cbor_for(payload(bytes)?, &key) {
        Ok(Claims { confirmation: None, .. }) => Kind::Bearer,
        // A `cnf` with a symmetric key is none that is read here.
        _ => Kind::Pop,
    };
    Ok(Some(Active {
        tenant: shown.tenant,
        device: shown.device,
        audience: claims.audience.as_str().to_owned(),
        scope: Some(claims.scope),
        issued: claims.issued.get(),
        expires: claims.expires.get(),
        kind,
    }))
}

/// Whether the service has the row of the token, has not revoked it, and the key that signed it is in use.
async fn is_known(service: &Service, shown: &Presented) -> Result<bool, Refused> {
    let tables = &service.tables;
    let key = tables.keys.get(pair(&shown.tenant, shown.key_id.as_bytes())).await?;
    if key.is_none_or(|key| matches!(key.state, State::Retired | State::Compromised)) {
        return Ok(false);
    }
    let row = tables.issued.get(one(shown.serial)).await?;
    if row.is_none_or(|row| row.hash != *shown.hash.as_bytes()) {
        return Ok(false);
    }
    let revoked = vec![shown.expires.get().into(), shown.hash.as_bytes().into()];
    Ok(!tables.revoked_tokens.contains(revoked).await?)
}

fn payload(token: &[u8]) -> Result<&[u8], RefusalCode> {
    let malformed = RefusalCode::TokenMalformed;
    let mut reader = Reader::new(token.get(TAGS..).ok_or(malformed)?);
    let mut read = || {
        reader.array_of(4)?;
        reader.skip()?;
        reader.skip()?;
        reader.bytes()
    };
    read().map_err(|_| malformed)
}

fn claims(token: &[u8]) -> Result<Claims, RefusalCode> {
    Claims::from_cbor_without_key(payload(token)?)
}

/// A refresh token is good while it was not used and its family lives.
async fn refresh(
    service: &Service,
    shown: &Shown,
    row: FamilyRecord,
) -> Result<Option<Active>, Refused> {
    let floor = epoch_floor(&service.tables).await?;
    let is_over = row.ends <= service.now().get()
        || shown.place != row.place
        || families::is_before_restoration(&row, floor);
    let (tenant, device) = families::ids(&row)?;
    let owner = tenants::known(service, &tenant).await?;
    let record = devices::known(service, &tenant, &device).await?;
    let group = groups::known(service, &tenant, &record.group).await?;
    standing::may_have_token(&owner, &record, &group)?;
    if is_over || record.refresh_from.is_some_and(|from| row.epoch < from) {
        return Ok(None);
    }
    Ok(Some(Active {
        tenant,
        device,
        audience: row.audience,
        scope: row.scope.as_deref().and_then(|aif| Scope::from_aif(aif).ok()),
        issued: row.created,
        expires: row.ends,
        kind: Kind::Refresh,
    }))
}

/// Whether the service is the cause: then the caller tries again.
fn is_fault(code: RefusalCode) -> bool {
    matches!(code, RefusalCode::NotReady | RefusalCode::Internal | RefusalCode::LimitReached)
}
