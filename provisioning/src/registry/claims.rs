use tessera_runtime::secret::Secret;
use tessera_runtime::store::Batch;
use tessera_token::encoding::hex;
use tessera_token::ids::{DeviceId, GroupId, RoleId, TenantId};
use tessera_token::refusal::RefusalCode;

use super::{code, groups, roles, tenants};
use crate::audit::Actor;
use crate::limits::{CLAIMS_PER_CALL, CLAIM_SECONDS_MOST};
use crate::records::{ClaimRecord, Page};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{pair, second};
use crate::write::Attempt;

/// The wishes for new claims.
pub(crate) struct NewClaims {
    pub(crate) count: usize,
    pub(crate) role: RoleId,
    pub(crate) group: GroupId,
    /// The only device id that may use it; then there is one claim.
    pub(crate) device: Option<DeviceId>,
    /// Seconds.
    pub(crate) life: u64,
}

/// A claim that was made. The code is shown once.
pub(crate) struct NewClaim {
    pub(crate) id: String,
    pub(crate) code: Secret<String>,
}

pub(crate) async fn create(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    wanted: &NewClaims,
) -> Result<(Vec<NewClaim>, u64), Refused> {
    check(service, tenant, wanted)?;
    let now = service.now().get();
    let record = ClaimRecord {
        role: wanted.role.as_str().to_owned(),
        group: wanted.group.as_str().to_owned(),
        device: wanted.device.as_ref().map(|device| device.as_str().to_owned()),
        created: now,
        expires: now + wanted.life,
        by: by.0.clone(),
        used: None,
    };
    let mut made = Vec::with_capacity(wanted.count);
    let mut batch = Batch::new();
    for _ in 0..wanted.count {
        let drawn = code::draw(&*service.random)?;
        let hash = code::hash(drawn.expose());
        let key = pair(tenant, hash);
        batch.expect_absent(&service.tables.claims, &key);
        batch.put_record(&service.tables.claims, &key, &record);
        made.push(NewClaim { id: code::id(&hash), code: drawn });
    }
    let first = made.first().map_or("", |claim| &claim.id).to_owned();
    let entry = service
        .entry(by, "claim.create", tenant.as_str(), &first)
        .detail(format!("{} for role {}", wanted.count, wanted.role));
    match service.write(batch, entry).await? {
        Attempt::Committed(()) => Ok((made, record.expires)),
        Attempt::Conflict => Err(RefusalCode::LimitReached.into()),
    }
}

fn check(service: &Service, tenant: &TenantId, wanted: &NewClaims) -> Result<(), Refused> {
    tenants::known(service, tenant)?;
    roles::known(service, tenant, wanted.role.as_str())?;
    groups::known(service, tenant, wanted.group.as_str())?;
    if !(1..=CLAIMS_PER_CALL).contains(&wanted.count) {
        return Err(Refused::malformed(format!("count is 1 to {CLAIMS_PER_CALL}")));
    }
    if wanted.device.is_some() && wanted.count != 1 {
        return Err(Refused::malformed("a claim for one device is made alone"));
    }
    match wanted.life {
        1..=CLAIM_SECONDS_MOST => Ok(()),
        _ => Err(Refused::malformed("expires_in is 1 second to 5 years")),
    }
}

/// A stored claim and its key.
pub(crate) type Stored = (Vec<u8>, ClaimRecord);

/// The claim of a code that a device showed.
pub(crate) fn by_code(service: &Service, tenant: &TenantId, text: &str) -> Result<Stored, Refused> {
    let key = pair(tenant, code::hash(text));
    let record: Option<ClaimRecord> = service.tables.claims.get_record(&key)?;
    let record = record.ok_or(RefusalCode::ClaimUnknown)?;
    Ok((key, record))
}

pub(crate) fn list(
    service: &Service,
    tenant: &TenantId,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<(String, ClaimRecord)>, Refused> {
    tenants::known(service, tenant)?;
    let after =
        after.map(|cursor| Ok::<_, Refused>(pair(tenant, cursor_bytes(cursor)?))).transpose()?;
    let rows: Vec<Stored> =
        service.tables.claims.scan_records(&pair(tenant, []), after.as_deref(), limit + 1)?;
    let page = Page::of(rows, limit, |(key, _)| hex::encode(second(key)));
    Ok(Page {
        items: page
            .items
            .into_iter()
            .map(|(key, record)| (code::id(second(&key)), record))
            .collect(),
        next: page.next,
    })
}

/// Takes an unused claim back. A used one stays: it says who enrolled by it.
pub(crate) async fn delete(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    id: &str,
) -> Result<(), Refused> {
    tenants::known(service, tenant)?;
    let prefix = pair(tenant, id_bytes(id)?);
    let rows: Vec<Stored> = service.tables.claims.scan_records(&prefix, None, 1)?;
    let (key, record) = rows.into_iter().next().ok_or(RefusalCode::NotFound)?;
    if record.used.is_some() {
        return Err(RefusalCode::ClaimUsed.into());
    }
    let mut batch = Batch::new();
    batch.expect_record(&service.tables.claims, &key, &record);
    batch.delete(&service.tables.claims, &key);
    let entry = service.entry(by, "claim.delete", tenant.as_str(), id);
    match service.write(batch, entry).await? {
        Attempt::Committed(()) => Ok(()),
        Attempt::Conflict => Err(RefusalCode::ClaimUsed.into()),
    }
}

fn id_bytes(id: &str) -> Result<[u8; 8], Refused> {
    let bytes = hex::decode(id).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| RefusalCode::NotFound.into())
}

fn cursor_bytes(cursor: &str) -> Result<Vec<u8>, Refused> {
    hex::decode(cursor).ok_or_else(|| Refused::malformed("cursor"))
}
