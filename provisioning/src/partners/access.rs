//! Introspection of a partner token (RFC 7662): whether it is good now, and an access token of its device for the broker at
//! which it was shown.

use tessera_runtime::credential;
use tessera_runtime::sql::Batch;
use tessera_token::hash::sha256;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;
use tessera_token::time::UnixSeconds;

use super::uses;
use crate::admission::Source;
use crate::limits::{API_TOKEN_USED_EVERY, PARTNER_ACCESS_SECONDS_LEAST};
use crate::operators::{Operator, Tenants};
use crate::records::partners::{PartnerTokenRecord, PartnerUse};
use crate::records::{DeviceRecord, RoleClass, TenantRecord};
use crate::refused::Refused;
use crate::registry::{devices, roles, standing, tenants};
use crate::service::Service;
use crate::tables::{one, pair};
use crate::token_for_device::{self, rights};
use crate::write::{until_committed, Attempt};

/// A partner token that is good now.
pub(crate) struct Good {
    pub(crate) id: String,
    pub(crate) row: PartnerTokenRecord,
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    pub(crate) scope: Scope,
    owner: TenantRecord,
    record: DeviceRecord,
}

/// The token, when it is good now and of one of these tenants.
///
/// # Errors
/// Those of the database.
pub(crate) async fn look(
    service: &Service,
    tenants: &Tenants,
    token: &str,
) -> Result<Option<Good>, Refused> {
    match good(service, tenants, token).await {
        Ok(good) => Ok(Some(good)),
        Err(refused) if refused.code.is_of_the_server() => Err(refused),
        Err(_) => Ok(None),
    }
}

async fn good(service: &Service, tenants: &Tenants, token: &str) -> Result<Good, Refused> {
    let (id, hash) = (credential::id(token), sha256(token.as_bytes()));
    let row = service.tables.partner_tokens.get(one(id.as_str())).await?;
    let row = row.filter(|row| row.token_hash == hash && tenants.cover(&row.tenant));
    let row = row.ok_or(RefusalCode::NotFound)?;
    let least = service.time.latest().plus(PARTNER_ACCESS_SECONDS_LEAST);
    if row.end() < least.get() {
        return Err(RefusalCode::TokenExpired.into());
    }
    let tenant = TenantId::parse(&row.tenant).map_err(|_| RefusalCode::NotFound)?;
    let device = DeviceId::parse(&row.device).map_err(|_| RefusalCode::NotFound)?;
    let owner = tenants::known(service, &tenant).await?;
    let record = devices::known(service, &tenant, &device).await?;
    standing::check(service, &tenant, &owner, &record).await?;
    let role = roles::known(service, &tenant, &record.role).await?;
    if role.class != RoleClass::Partner {
        // The role was changed since: an opaque token never has the rights of another class.
        return Err(RefusalCode::RoleInvalid.into());
    }
    let rights = rights(service, (&tenant, &owner), (&device, &record), role).await?;
    rights.standing?;
    Ok(Good { id, row, tenant, device, scope: rights.scope, owner, record })
}

/// An access token for a connection by this partner token, bound to the key that follows from it. It lives no longer than
/// that. Its record is durable.
///
/// # Errors
/// `rate_limited`; the code for which the device would be refused itself.
pub(crate) async fn issue(
    service: &Service,
    by: &Operator,
    token: &str,
    good: Good,
) -> Result<(Vec<u8>, u64), Refused> {
    if service.time.wrong().is_some() {
        return Err(RefusalCode::ClockWrong.into());
    }
    service.charge(&Source::Relay(by.share()), &good.tenant, &good.device)?;
    let mut known = Some(good);
    until_committed(async || {
        let good = match known.take() {
            Some(good) => good,
            None => self::good(service, &by.tenants, token).await?,
        };
        let (row, of) = (&good.row, (&good.tenant, &good.owner, &good.device, &good.record));
        let key = credential::partner_key(token).public();
        let granted =
            token_for_device::issue_to(service, of, key, UnixSeconds::new(row.end())).await?;
        let tables = &service.tables;
        let mut batch = Batch::new();
        batch.expect(&tables.devices, pair(of.0, of.2.as_str()), of.3);
        granted.expect(service, &mut batch);
        granted.issued.record(tables, &mut batch, (of.0, of.2), None);
        note(service, &mut batch, &by.name, (&good.id, row));
        let once = PartnerUse { introspections: 1, ..PartnerUse::default() };
        uses::add(service, &mut batch, &good.id, once).await?;
        let tried = service.write_unnoted(batch).await?;
        if tried == Attempt::Committed(()) {
            service.metrics.issued.inc(&["partner"]);
        }
        Ok(tried.map(|()| (granted.issued.token, granted.issued.expires.get())))
    })
    .await
}

/// Demands that the partner token still is there, and notes its use at most once a minute.
fn note(
    service: &Service,
    batch: &mut Batch,
    broker: &str,
    (id, row): (&str, &PartnerTokenRecord),
) {
    let (table, now) = (&service.tables.partner_tokens, service.now().get());
    batch.expect(table, one(id), row);
    let lately = |(at, _): &(u64, String)| now.abs_diff(*at) < API_TOKEN_USED_EVERY;
    if !row.used.as_ref().is_some_and(lately) {
        let used = PartnerTokenRecord { used: Some((now, broker.to_owned())), ..row.clone() };
        batch.put(table, one(id), &used);
    }
}
