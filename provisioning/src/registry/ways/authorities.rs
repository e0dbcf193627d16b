//! Authorities of manufacturers: a device enrols by a certificate that chains to one.

use tessera_runtime::sql::Batch;
use tessera_runtime::x509;
use tessera_token::encoding::hex;
use tessera_token::hash::sha256;
use tessera_token::ids::TenantId;
use tessera_token::messages::Way;
use tessera_token::refusal::RefusalCode;

use super::{take_off, within, Rights};
use crate::audit::Actor;
use crate::limits::{AUTHORITIES, AUTHORITY_BYTES};
use crate::records::ways::{AuthorityRecord, IdFrom};
use crate::refused::Refused;
use crate::registry::tenants;
use crate::service::Service;
use crate::tables::{one, pair, text};
use crate::write::{until_committed, Attempt};

/// The name of a certificate: SHA-256 of its DER, as hexadecimal digits.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    hex::encode(sha256(der))
}

/// Takes an authority in PEM. The same one with the same rights once more changes nothing.
pub(crate) async fn add(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    pem: &str,
    rights: &Rights,
    id_from: IdFrom,
) -> Result<(String, AuthorityRecord), Refused> {
    tenants::known(service, tenant).await?;
    let certificate = x509::authority(pem, service.now()).map_err(|fault| {
        Refused::because(RefusalCode::CertificateInvalid, format!("the authority: {fault}"))
    })?;
    if certificate.len() > AUTHORITY_BYTES {
        let detail = format!("the authority is larger than {AUTHORITY_BYTES} bytes");
        return Err(Refused::because(RefusalCode::CertificateInvalid, detail));
    }
    let name = fingerprint(&certificate);
    let new = AuthorityRecord {
        certificate,
        role: rights.role.as_str().to_owned(),
        group: rights.group.as_str().to_owned(),
        id_from,
        created: service.now().get(),
        by: by.name.clone(),
    };
    let added = until_committed(async || {
        let (table, key) = (&service.tables.authorities, pair(tenant, name.as_str()));
        if let Some(old) = table.get(key.clone()).await? {
            let same = (&old.role, &old.group, old.id_from) == (&new.role, &new.group, new.id_from);
            return match same {
                true => Ok(Attempt::Committed(old)),
                false => Err(RefusalCode::AlreadyExists.into()),
            };
        }
        within(of_tenant(service, tenant).await?.len(), AUTHORITIES, "authorities")?;
        let mut batch = Batch::new();
        rights.check(service, tenant, Way::Certificate, &mut batch).await?;
        batch.insert(table, key, &new);
        let entry = service
            .entry(by, "authority.add", tenant.as_str(), &name)
            .detail(format!("role {} group {}", new.role, new.group));
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| new.clone()))
    })
    .await?;
    Ok((name, added))
}

/// All authorities of a tenant.
pub(crate) async fn of_tenant(
    service: &Service,
    tenant: &TenantId,
) -> Result<Vec<(String, AuthorityRecord)>, Refused> {
    // A few more than there may be, when several were made at once.
    let of = one(tenant.as_str());
    let rows = service.tables.authorities.scan(&of, None, 2 * AUTHORITIES).await?;
    rows.into_iter().map(|(key, record)| Ok((text(&key, 1)?.to_owned(), record))).collect()
}

/// Removes an authority: no further device enrols by its certificates. Devices that have enrolled stay enrolled.
pub(crate) async fn delete(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    name: &str,
) -> Result<(), Refused> {
    if name.len() != 64 || !name.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(RefusalCode::NotFound.into());
    }
    take_off(service, by, tenant, &service.tables.authorities, (name, "authority.delete")).await
}
