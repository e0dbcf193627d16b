use tessera_runtime::secret::Secret;
use tessera_runtime::sql::{Batch, Key};
use tessera_token::encoding::hex;
use tessera_token::ids::{DeviceId, GroupId, RoleId, TenantId};
use tessera_token::messages::Way;
use tessera_token::refusal::RefusalCode;

use super::pattern::IdPattern;
use super::{attributes, code, groups, open_claims, roles, templates, tenants, ways};
use crate::audit::Actor;
use crate::limits::{CLAIMS_PER_CALL, CLAIM_SECONDS_MOST, CLAIM_USES};
use crate::once::Keep;
use crate::records::attributes::missing;
use crate::records::{Attributes, ClaimRecord, Counted, Page, RoleRecord};
use crate::refused::Refused;
use crate::revision::Precondition;
use crate::service::Service;
use crate::tables::{bytes, one, pair};
use crate::write::until_committed;

/// The wishes for new claims.
pub(crate) struct NewClaims {
    pub(crate) count: usize,
    pub(crate) role: RoleId,
    pub(crate) group: GroupId,
    /// The ids that may use it; none beside `device`.
    pub(crate) pattern: Option<IdPattern>,
    /// The number of devices that may use each.
    pub(crate) uses: u64,
    /// A claim for each of these devices, which no other may use; none: `count` claims for any.
    pub(crate) devices: Vec<DeviceId>,
    /// Seconds.
    pub(crate) life: u64,
    /// Attributes of the device that uses it.
    pub(crate) attributes: Attributes,
}

/// A claim that was made. The code is shown once.
pub(crate) struct NewClaim {
    pub(crate) id: String,
    pub(crate) device: Option<DeviceId>,
    pub(crate) code: Secret<String>,
}

pub(crate) async fn create(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    wanted: &NewClaims,
    keep: &Keep<'_, (Vec<NewClaim>, u64)>,
) -> Result<(Vec<NewClaim>, u64), Refused> {
    let _turn = service.claims_turn.lock().await;
    until_committed(async || {
        let role = check(service, tenant, wanted).await?;
        let count = u64::try_from(wanted.count).unwrap_or(u64::MAX);
        let mut places = open_claims::places(service, tenant, count).await?;
        places.take(service, count)?;
        let now = service.now().get();
        let record = ClaimRecord {
            role: wanted.role.as_str().to_owned(),
            group: wanted.group.as_str().to_owned(),
            device: None,
            created: now,
            expires: now + wanted.life,
            by: by.name.clone(),
            attributes: wanted.attributes.clone(),
            used: None,
            counted: (wanted.uses > 1).then_some(Counted { uses: wanted.uses, made: 0 }),
            pattern: wanted.pattern.as_ref().map(|pattern| pattern.as_str().to_owned()),
        };
        let mut made = Vec::with_capacity(wanted.count);
        let mut batch = Batch::new();
        roles::expect(service, &mut batch, (tenant, wanted.role.as_str()), &role);
        places.write(service, &mut batch, tenant);
        let devices = wanted.devices.iter().cloned().map(Some);
        let any = wanted.count.saturating_sub(wanted.devices.len());
        for device in devices.chain(std::iter::repeat_n(None, any)) {
            let drawn = code::draw(&*service.random)?;
            let hash = code::hash(drawn.expose());
            let key = pair(tenant, hash);
            let of = device.as_ref().map(|device| device.as_str().to_owned());
            let record = ClaimRecord { device: of, ..record.clone() };
            batch.insert(&service.tables.claims, key, &record);
            made.push(NewClaim { id: code::id(&hash), device, code: drawn });
        }
        let first = made.first().map_or("", |claim| &claim.id).to_owned();
        let entry = service.entry(by, "claim.create", tenant.as_str(), &first).detail(told(wanted));
        let entry = entry.change(None, Some(&record));
        let made = (made, record.expires);
        keep.with(service, &mut batch, &made).await?;
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| made))
    })
    .await
}

fn told(wanted: &NewClaims) -> String {
    let mut told = format!("{} for role {}", wanted.count, wanted.role);
    if wanted.uses > 1 {
        told.push_str(&format!(", {} devices each", wanted.uses));
    }
    if let Some(pattern) = &wanted.pattern {
        told.push_str(&format!(", ids {pattern}"));
    }
    for set in attributes::told(&Attributes::default(), &wanted.attributes) {
        told.push_str(&format!(", {set}"));
    }
    told
}

/// The role of the claims, when they may be made.
async fn check(
    service: &Service,
    tenant: &TenantId,
    wanted: &NewClaims,
) -> Result<RoleRecord, Refused> {
    tenants::known(service, tenant).await?;
    let role = roles::known(service, tenant, wanted.role.as_str()).await?;
    let mut named = templates::attributes_of(&role);
    if let Some(name) = named.find(|name| wanted.attributes.get(name).is_none()) {
        // No device could enrol by it.
        return Err(missing(name));
    }
    drop(named);
    groups::known(service, tenant, wanted.group.as_str()).await?;
    ways::taken(service, tenant, wanted.group.as_str(), Way::Claim).await?;
    if !(1..=CLAIM_USES).contains(&wanted.uses) {
        return Err(Refused::malformed(format!("uses is 1 to {CLAIM_USES}")));
    }
    if !wanted.devices.is_empty() && (wanted.uses != 1 || wanted.pattern.is_some()) {
        return Err(Refused::malformed("a claim for one device has neither uses nor a pattern"));
    }
    if !(1..=CLAIMS_PER_CALL).contains(&wanted.count) {
        return Err(Refused::malformed(format!("count is 1 to {CLAIMS_PER_CALL}")));
    }
    if !wanted.devices.is_empty() && wanted.count != wanted.devices.len() {
        return Err(Refused::malformed("claims for named devices have no count"));
    }
    match wanted.life {
        1..=CLAIM_SECONDS_MOST => Ok(role),
        _ => Err(Refused::malformed("expires_in is 1 second to 5 years")),
    }
}

/// A stored claim and its key.
pub(crate) type Stored = (Key, ClaimRecord);

/// The claim of a code that a device showed.
pub(crate) async fn by_code(
    service: &Service,
    tenant: &TenantId,
    text: &str,
) -> Result<Stored, Refused> {
    let key = pair(tenant, code::hash(text));
    let record = service.tables.claims.get(key.clone()).await?;
    let record = record.ok_or(RefusalCode::ClaimUnknown)?;
    Ok((key, record))
}

/// The id that a claim is shown by.
///
/// # Errors
/// `internal` when the key is none of a claim.
pub(crate) fn id_of(key: &Key) -> Result<String, Refused> {
    Ok(code::id(&bytes::<32>(key, 1)?))
}

pub(crate) async fn list(
    service: &Service,
    tenant: &TenantId,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<(String, ClaimRecord)>, Refused> {
    tenants::known(service, tenant).await?;
    let after =
        after.map(|cursor| Ok::<_, Refused>(pair(tenant, cursor_bytes(cursor)?))).transpose()?;
    let of = one(tenant.as_str());
    let rows = service.tables.claims.scan(&of, after.as_deref(), limit + 1).await?;
    let rows = rows.into_iter().map(|(key, record)| Ok((bytes::<32>(&key, 1)?, record)));
    let rows: Vec<_> = rows.collect::<Result<_, Refused>>()?;
    let page = Page::of(rows, limit, |(hash, _)| hex::encode(hash));
    let items = page.items.into_iter().map(|(hash, record)| (code::id(&hash), record));
    Ok(Page { items: items.collect(), next: page.next })
}

/// Takes an unused claim back. A used one stays: it says who enrolled by it. One that some devices have used stays too, and
/// no other device may use it from now on.
pub(crate) async fn delete(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    id: &str,
    when: &Precondition,
) -> Result<(), Refused> {
    // Devices that use it at the same moment must not keep it open.
    until_committed(async || {
        let (key, record) = by_id(service, tenant, id).await?;
        when.check(Some(&record))?;
        let mut batch = Batch::new();
        batch.expect(&service.tables.claims, key.clone(), &record);
        let left = match record.counted {
            _ if record.is_unused() => None,
            Some(Counted { uses, made }) if made < uses => {
                let counted = Some(Counted { uses: made, made });
                Some(ClaimRecord { counted, ..record.clone() })
            }
            _ => return Err(RefusalCode::ClaimUsed.into()),
        };
        open_claims::closed(service, &mut batch, tenant, &record).await?;
        match &left {
            Some(left) => batch.put(&service.tables.claims, key, left),
            None => batch.delete(&service.tables.claims, key),
        }
        let entry = service.entry(by, "claim.delete", tenant.as_str(), id);
        service.write(batch, entry.change(Some(&record), left.as_ref())).await
    })
    .await
}

/// The claim that is shown by this id.
pub(crate) async fn by_id(
    service: &Service,
    tenant: &TenantId,
    id: &str,
) -> Result<Stored, Refused> {
    tenants::known(service, tenant).await?;
    let beginning = id_bytes(id)?;
    // The id is the beginning of the hash: a longer value is the next one behind it.
    let (of, before) = (one(tenant.as_str()), pair(tenant, beginning));
    let next = service.tables.claims.scan(&of, Some(&before), 1).await?.into_iter().next();
    let (key, record) = next.ok_or(RefusalCode::NotFound)?;
    match bytes::<32>(&key, 1)?.starts_with(&beginning) {
        true => Ok((key, record)),
        false => Err(RefusalCode::NotFound.into()),
    }
}

fn id_bytes(id: &str) -> Result<[u8; 8], Refused> {
    let bytes = hex::decode(id).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| RefusalCode::NotFound.into())
}

fn cursor_bytes(cursor: &str) -> Result<Vec<u8>, Refused> {
    hex::decode(cursor).ok_or_else(|| Refused::malformed("cursor"))
}
