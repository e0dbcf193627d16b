//! The Token Status List of a tenant for verifiers that are seldom connected: one bit for each serial, 1 for a token that
//! is revoked.
//!
//! Tokens carry no status claim, to stay small. The index of a token is its serial minus the base that the list names.

use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;
use tessera_token::status_list::StatusList;

use super::trl::answer::serials;
use super::zlib::compress;
use crate::limits::{STATUS_LIST_ENTRIES, STATUS_LIST_SECONDS, STATUS_LIST_TTL_SECONDS};
use crate::refused::Refused;
use crate::registry::tenants;
use crate::service::Service;
use crate::tables::number;

/// The signed list of a tenant.
///
/// # Errors
/// `capacity_reached` when the serials that live span more than a list holds, or more tokens are revoked than are listed.
pub(crate) async fn make(service: &Service, tenant: &TenantId) -> Result<Vec<u8>, Refused> {
    tenants::known(service, tenant).await?;
    let revoked = serials(service, tenant).await?;
    let issued = &service.tables.issued;
    let first = issued.scan(&[], None, 1).await?;
    let base = first.first().map_or(Ok(0), |(key, _)| number(key, 0))?;
    let end = match issued.last().await? {
        Some((key, _)) => number(&key, 0)?.saturating_add(1),
        None => base,
    };
    let entries = usize::try_from(end.saturating_sub(base)).unwrap_or(usize::MAX);
    if entries > STATUS_LIST_ENTRIES {
        return Err(Refused::because(
            RefusalCode::CapacityReached,
            format!("the serials that live span {entries}, and a list holds {STATUS_LIST_ENTRIES}: read the trust feed"),
        ));
    }
    let mut bits = vec![0_u8; entries.div_ceil(8)];
    for serial in revoked {
        let at = serial.checked_sub(base).and_then(|at| usize::try_from(at).ok());
        let Some(at) = at else { continue };
        if let Some(byte) = bits.get_mut(at / 8) {
            *byte |= 1 << (at % 8);
        }
    }
    let now = service.now();
    let list = StatusList {
        subject: &format!("urn:tessera:status-list:{tenant}"),
        issued: now,
        expires: now.plus(STATUS_LIST_SECONDS),
        ttl: STATUS_LIST_TTL_SECONDS,
        base,
        list: &compress(&bits),
    };
    Ok(list.sign(&service.root))
}
