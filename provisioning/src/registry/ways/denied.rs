//! The deny list of certificates: by the fingerprint of one certificate, or by a serial number under any authority of the
//! tenant. It holds for every certificate of a chain.

use tessera_runtime::sql::Batch;
use tessera_runtime::x509;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;

use super::authorities::fingerprint;
use super::{take_off, within};
use crate::audit::Actor;
use crate::limits::DENIED_CERTIFICATES;
use crate::records::ways::DeniedCertificate;
use crate::refused::Refused;
use crate::registry::tenants;
use crate::service::Service;
use crate::tables::{one, pair};
use crate::write::{until_committed, Attempt};

/// Hexadecimal digits of a serial number: 20 bytes (RFC 5280 section 4.1.2.2).
const SERIAL_DIGITS: usize = 40;

/// The one form of a name on the list: `sha256:` with 64 digits, or `serial:` with those of the number.
fn name(text: &str) -> Result<String, Refused> {
    let lower = text.to_ascii_lowercase();
    let digits = |rest: &str| rest.chars().filter(|c| *c != ':').collect::<String>();
    let is_hex = |digits: &str| digits.chars().all(|c| c.is_ascii_hexdigit());
    if let Some(rest) = lower.strip_prefix("sha256:").map(digits) {
        if rest.len() == 64 && is_hex(&rest) {
            return Ok(format!("sha256:{rest}"));
        }
    }
    if let Some(rest) = lower.strip_prefix("serial:").map(digits) {
        if (1..=SERIAL_DIGITS).contains(&rest.len()) && is_hex(&rest) {
            let rest = rest.trim_start_matches('0');
            return Ok(format!("serial:{}", if rest.is_empty() { "0" } else { rest }));
        }
    }
    Err(Refused::malformed(format!(
        "{text:?} names no certificate: use sha256: and 64 hexadecimal digits, or serial: and at most {SERIAL_DIGITS}"
    )))
}

/// Denies a certificate. One that is denied already stays so.
pub(crate) async fn add(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    certificate: &str,
) -> Result<(String, DeniedCertificate), Refused> {
    tenants::known(service, tenant).await?;
    let name = name(certificate)?;
    let new = DeniedCertificate { created: service.now().get(), by: by.name.clone() };
    let added = until_committed(async || {
        let (table, key) = (&service.tables.denied_certificates, pair(tenant, name.as_str()));
        if let Some(old) = table.get(key.clone()).await? {
            return Ok(Attempt::Committed(old));
        }
        // Read in pages as a scan gives them; an operator adds few.
        let mut rows = table.walk(&one(tenant.as_str()));
        let mut count = 0;
        while let Some(page) = rows.next().await? {
            count += page.len();
        }
        within(count, DENIED_CERTIFICATES, "denied certificates")?;
        let mut batch = Batch::new();
        batch.insert(table, key, &new);
        let entry = service.entry(by, "certificate.deny", tenant.as_str(), &name);
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| new.clone()))
    })
    .await?;
    Ok((name, added))
}

/// Takes a certificate off the list.
pub(crate) async fn delete(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    certificate: &str,
) -> Result<(), Refused> {
    let name = name(certificate).map_err(|_| RefusalCode::NotFound)?;
    take_off(
        service,
        by,
        tenant,
        &service.tables.denied_certificates,
        (name.as_str(), "certificate.allow"),
    )
    .await
}

/// Whether a certificate of this chain, that of the authority included, is on the list. The batch that enrols demands that none is.
pub(crate) async fn check(
    service: &Service,
    tenant: &TenantId,
    chain: impl Iterator<Item = &Vec<u8>>,
    batch: &mut Batch,
) -> Result<(), Refused> {
    let table = &service.tables.denied_certificates;
    for der in chain {
        let invalid = |_| RefusalCode::CertificateInvalid;
        let serial = x509::serial(der).map_err(invalid)?;
        // Its holder can make the other form.
        let twin = x509::twin(der).map_err(invalid)?;
        let forms = std::iter::once(der.as_slice()).chain(twin.as_deref());
        let prints = forms.map(|form| format!("sha256:{}", fingerprint(form)));
        for name in prints.chain([format!("serial:{serial}")]) {
            let key = pair(tenant, name);
            if table.contains(key.clone()).await? {
                return Err(RefusalCode::CertificateDenied.into());
            }
            batch.expect_missing(table, key);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_form() {
        let hash = "AB".repeat(32);
        for (text, form) in [
            (format!("sha256:{hash}"), Some(format!("sha256:{}", "ab".repeat(32)))),
            ("SERIAL:00:0A:BC".to_owned(), Some("serial:abc".to_owned())),
            ("serial:000".to_owned(), Some("serial:0".to_owned())),
            ("serial:".to_owned(), None),
            ("serial:xy".to_owned(), None),
            (format!("serial:{}", "1".repeat(41)), None),
            ("sha256:ab".to_owned(), None),
            (hash, None),
        ] {
            assert_eq!(name(&text).ok(), form, "{text}");
        }
    }
}
