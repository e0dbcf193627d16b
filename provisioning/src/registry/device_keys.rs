//! Keys of devices: which ones a device may have, and the exchange of one for another.

use tessera_runtime::sql::{Batch, Key};
use tessera_token::encoding::base64url;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::PublicKey;
use tessera_token::refusal::RefusalCode;

use super::devices::Moved;
use crate::audit::Actor;
use crate::limits::KEYS_NAMED;
use crate::records::{DeviceRecord, TenantRecord};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{one, text, Tables};
use crate::trust::restored::next_epoch;
use crate::write::Attempt;

/// Whether this device may have this key. Its form was judged when it was read ([`PublicKey::from_bytes`]); its holder was
/// proved before, so that the answers say nothing to strangers.
///
/// # Errors
/// `confirmation_key` for a key of an issuer or the root key, `already_exists` when another device of the tenant has it.
pub(crate) async fn check(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
    key: &PublicKey,
) -> Result<(), Refused> {
    let id = key.key_id();
    let issuers = service.tables.keys.find(&[("key_id", id.as_bytes().into())], None, 1).await?;
    let is_root = [&service.root, &service.founder].iter().any(|root| root.public() == *key);
    if !issuers.is_empty() || is_root {
        let why = "the key of an issuer is no key of a device";
        return Err(Refused::because(RefusalCode::ConfirmationKey, why));
    }
    let named = key.thumbprint();
    let columns = [("tenant", tenant.as_str().into()), ("thumbprint", named.as_bytes().into())];
    // Of two processes that ask at once, the index lets one write.
    for (row, _) in service.tables.devices.find(&columns, None, 2).await? {
        if text(&row, 1)? != device.as_str() {
            let why = "another device of the tenant has this key: make a new one";
            return Err(Refused::because(RefusalCode::AlreadyExists, why));
        }
    }
    Ok(())
}

/// A device that is to have another key.
pub(crate) struct Exchange<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) device: &'a DeviceId,
    pub(crate) owner: &'a TenantRecord,
    pub(crate) old: &'a DeviceRecord,
    pub(crate) key: &'a PublicKey,
    /// The claim that entitles it, when it is a new one.
    pub(crate) claim: Option<&'a str>,
}

/// Gives the device another key: all tokens of the former one end, and verifiers of a tenant with published keys hear the
/// new one. `also` adds to what is written.
pub(crate) async fn exchange(
    service: &Service,
    by: &Actor,
    of: &Exchange<'_>,
    way: &str,
    also: impl Fn(&mut Batch),
) -> Result<Attempt<DeviceRecord>, Refused> {
    let Exchange { tenant, device, owner, old, key, claim } = *of;
    check(service, tenant, device, key).await?;
    let named = key.thumbprint();
    let mut new = old.clone();
    new.key = key.as_bytes().to_vec();
    new.thumbprint = Some(*named.as_bytes());
    new.epoch = next_epoch(&service.tables, old.epoch).await?;
    // Refresh tokens that the former key was given end with it.
    new.refresh_from = Some(new.epoch);
    new.claim = claim.unwrap_or(&old.claim).to_owned();
    let entry = service.entry(by, "device.rekey", tenant.as_str(), device.as_str());
    let former = old.name_of_key().map_or_else(|| "none".to_owned(), |name| base64url(&name));
    let entry = entry.detail(format!("key {former} to {}; {way}", base64url(named.as_bytes())));
    let told = owner.keys_published.then(|| new.key_change(tenant, device));
    let moved = Moved { tenant, device, old, new: &new };
    let tried = moved.publish_with(service, entry, told, |batch| {
        // A tenant that begins to publish its keys meanwhile reads this one, or this is tried again.
        batch.expect(&service.tables.tenants, one(tenant.as_str()), owner);
        also(batch);
        Ok(())
    });
    Ok(tried.await?.map(|_| new.clone()))
}

/// The mark of a database whose devices all have their keys' names.
const NAMED: &str = "device_keys_named";

/// Names the keys of devices that a former version wrote, once. A key that two devices have is found by the first of them.
pub(crate) async fn name_all(service: &Service) -> Result<(), Refused> {
    let tables = &service.tables;
    if tables.marks.get::<bool>(NAMED).await?.is_some() {
        return Ok(());
    }
    let mut after: Option<Key> = None;
    loop {
        let rows = tables.devices.scan(&[], after.as_deref(), KEYS_NAMED).await?;
        let Some((last, _)) = rows.last() else { break };
        after = Some(last.clone());
        let unnamed: Vec<_> =
            rows.into_iter().filter(|(_, record)| record.thumbprint.is_none()).collect();
        if name(service, tables, &unnamed).await? == Attempt::Conflict {
            for row in unnamed {
                // One that has the key of another stays without a name.
                let _ = name(service, tables, std::slice::from_ref(&row)).await?;
            }
        }
    }
    let mut batch = Batch::new();
    tables.marks.put(&mut batch, NAMED, &true);
    service.write_unnoted(batch).await.map(|_| ())
}

async fn name(
    service: &Service,
    tables: &Tables,
    rows: &[(Key, DeviceRecord)],
) -> Result<Attempt<()>, Refused> {
    let mut batch = Batch::new();
    for (key, record) in rows {
        let named = DeviceRecord { thumbprint: record.name_of_key(), ..record.clone() };
        batch.expect(&tables.devices, key.clone(), record);
        batch.put(&tables.devices, key.clone(), &named);
    }
    match batch.is_empty() {
        true => Ok(Attempt::Committed(())),
        false => service.write_unnoted(batch).await,
    }
}
