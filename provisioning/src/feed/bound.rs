//! The snapshot for a reader of some tenants. It is made beside the publishing actor, one at a time: the tables may be
//! ahead of the number that was read first, which is no harm, since every event behind it is applied once more and says the
//! same.
//!
//! The turn stays with the work: a caller that is gone frees it when the snapshot is made.

use std::sync::Arc;

use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{LinkedSnapshot, TenantSet};

use crate::limits::SNAPSHOT_WAIT;
use crate::refused::Refused;
use crate::service::Service;
use crate::trust::bound::Made;
use crate::trust::ledger::Head;
use crate::trust::{held, snapshot};

/// The snapshot of these tenants as of now, for a reader of the share.
///
/// # Errors
/// `limit_reached` when others are made for too long.
pub(crate) async fn take(
    service: &Service,
    share: &str,
    tenants: &TenantSet,
) -> Result<Arc<Vec<u8>>, Refused> {
    let (id, bound) = (tenants.id(), &service.bound);
    // A snapshot made while this request waited is as good as one that is made for it.
    let asked = Head::read(&service.tables).await?.seq;
    let known = || bound.known(id, asked, service.time.now().get());
    if let Some(bytes) = known() {
        return Ok(bytes);
    }
    let turn = async {
        let of_share = bound.turn_of(share).await;
        match known() {
            Some(bytes) => Err(bytes),
            None => Ok((bound.turn().await, of_share)),
        }
    };
    let turn = tokio::time::timeout(SNAPSHOT_WAIT, turn).await.map_err(|_| {
        service.metrics.limits_hit.inc(&["snapshots_bound"]);
        RefusalCode::LimitReached
    })?;
    let turn = match turn {
        Ok(turn) => turn,
        Err(bytes) => return Ok(bytes),
    };
    if let Some(bytes) = known() {
        return Ok(bytes);
    }
    let (now, removal) = (service.time.now(), service.time.removal());
    let (tables, root, of) = (service.tables.clone(), Arc::clone(&service.root), tenants.clone());
    let (bound, links) = (bound.clone(), Arc::clone(&service.links));
    let made = held::run_reading(turn, move || async move {
        let head = Head::read(&tables).await?;
        let bytes = snapshot::make_of(&tables, &head, &root, &of, now, removal).await?;
        let bytes = Arc::new(LinkedSnapshot::write(&links, bytes));
        let made = Made { tenants: id, seq: head.seq, at: now.get(), bytes: Arc::clone(&bytes) };
        bound.keep(made);
        Ok::<_, Refused>(bytes)
    });
    let (made, _turn) = made.await?;
    made
}
