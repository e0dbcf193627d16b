//! Enrolment by the certificate of a manufacturer.

use tessera_runtime::sql::Batch;
use tessera_runtime::x509::{self, CertificateFault, DeviceCertificate};
use tessera_token::key::PublicKey;
use tessera_token::messages::{Entitlement, ShownCertificate};
use tessera_token::refusal::RefusalCode;

use super::way::{Ask, Entitled, Verifier};
use crate::records::ways::{AuthorityRecord, IdFrom};
use crate::refused::Refused;
use crate::registry::ways::{authorities, denied};
use crate::tables::pair;

pub(super) struct ByCertificate;

impl Verifier for ByCertificate {
    async fn verify(ask: &Ask<'_>) -> Result<Entitled, Refused> {
        let Entitlement::Certificate(shown) = &ask.request.entitlement else {
            return Err(RefusalCode::Internal.into());
        };
        // These faults are of the request alone: they say nothing of tenants and devices.
        let read = read(ask, shown)?;
        ask.tenant_of_stranger().await?;
        let (service, request) = (ask.service, ask.request);
        let (name, authority) = authority_of(ask, shown).await?;
        let mut batch = Batch::new();
        let chain = shown.chain.iter().chain(std::iter::once(&authority.certificate));
        denied::check(service, &request.tenant, chain, &mut batch).await?;
        if !is_of(&read, authority.id_from, request.device.as_str()) {
            let detail = "the certificate names another device";
            return Err(Refused::because(RefusalCode::NotEntitled, detail));
        }
        let (owner, known) = ask.standing().await?;
        let leaf = shown.chain.first().map(|leaf| authorities::fingerprint(leaf));
        let named = format!("certificate {}", leaf.unwrap_or_default());
        let known = ask.again(known, &named)?;
        let place = pair(&request.tenant, name);
        batch.expect(&service.tables.authorities, place, &authority);
        let AuthorityRecord { role, group, .. } = authority;
        Ok(Entitled::plain((owner, known), (role, group), named, batch))
    }
}

/// The certificate of the device, when it can be used, and its key made the signature.
fn read(ask: &Ask<'_>, shown: &ShownCertificate) -> Result<DeviceCertificate, Refused> {
    let leaf = shown.chain.first().ok_or(RefusalCode::CertificateInvalid)?;
    let read =
        x509::device_certificate(leaf, ask.service.now()).map_err(|fault| invalid(&fault))?;
    let key = PublicKey::from_bytes(&read.key).map_err(|_| RefusalCode::CertificateInvalid)?;
    match key.verifies(&ask.request.signed_bytes(ask.key), &shown.signature) {
        true => Ok(read),
        false => {
            let detail = "the signature by the key of the certificate is wrong";
            Err(Refused::because(RefusalCode::CertificateInvalid, detail))
        }
    }
}

fn invalid(fault: &CertificateFault) -> Refused {
    Refused::because(RefusalCode::CertificateInvalid, fault.to_string())
}

/// The authority of the tenant to which the certificates chain.
async fn authority_of(
    ask: &Ask<'_>,
    shown: &ShownCertificate,
) -> Result<(String, AuthorityRecord), Refused> {
    let now = ask.service.now();
    for (name, record) in authorities::of_tenant(ask.service, &ask.request.tenant).await? {
        match x509::chains_to(&record.certificate, &shown.chain, now) {
            Ok(()) => return Ok((name, record)),
            // The device learns nothing of it; an operator whose authority has expired does.
            Err(fault @ CertificateFault::AnotherAuthority) => {
                tracing::debug!(authority = %name, %fault, "no chain to this authority");
            }
            Err(fault) => {
                tracing::info!(authority = %name, %fault, "no chain to the authority that is named");
            }
        }
    }
    Err(ask.stranger(RefusalCode::CertificateInvalid))
}

/// Whether the certificate names this device by the rule of its authority.
fn is_of(read: &DeviceCertificate, id_from: IdFrom, device: &str) -> bool {
    match id_from {
        IdFrom::CommonName => read.common_name.as_deref() == Some(device),
        IdFrom::SerialNumber => read.serial_number.as_deref() == Some(device),
        IdFrom::AlternativeName => read.alternative_names.iter().any(|name| name == device),
    }
}
