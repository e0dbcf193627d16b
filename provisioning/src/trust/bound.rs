//! Snapshots of some tenants. They are made beside the publishing actor, one at a time: the tables may be ahead of the
//! number that was read first, which is no harm, since every event behind it is applied once more and says the same.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tessera_token::limits::SNAPSHOT_BYTES;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{TenantSet, TenantSetId};

use super::ledger::Head;
use super::snapshot;
use crate::limits::{SNAPSHOTS_BOUND, SNAPSHOT_REUSE_SECONDS, SNAPSHOT_WAIT};
use crate::refused::Refused;
use crate::service::Service;

/// Those that can be served again, the oldest first.
#[derive(Default)]
pub(crate) struct BoundSnapshots {
    turn: tokio::sync::Mutex<()>,
    made: Mutex<VecDeque<Made>>,
}

struct Made {
    tenants: TenantSetId,
    seq: u64,
    at: u64,
    bytes: Arc<Vec<u8>>,
}

impl BoundSnapshots {
    fn known(&self, tenants: TenantSetId, seq: u64, now: u64) -> Option<Arc<Vec<u8>>> {
        let mut made = self.made.lock();
        made.retain(|one| now.abs_diff(one.at) <= SNAPSHOT_REUSE_SECONDS);
        // Never an older one: its reader may stand behind it.
        let found = made.iter().find(|one| one.tenants == tenants && one.seq == seq);
        found.map(|one| Arc::clone(&one.bytes))
    }

    fn keep(&self, new: Made) {
        let mut made = self.made.lock();
        made.retain(|one| one.tenants != new.tenants);
        made.push_back(new);
        let bytes = |made: &VecDeque<Made>| made.iter().map(|one| one.bytes.len()).sum::<usize>();
        while made.len() > SNAPSHOTS_BOUND || (made.len() > 1 && bytes(&made) > SNAPSHOT_BYTES) {
            made.pop_front();
        }
    }
}

/// The snapshot of these tenants as of now.
///
/// # Errors
/// `limit_reached` when others are made for too long.
pub(crate) async fn take(service: &Service, tenants: &TenantSet) -> Result<Arc<Vec<u8>>, Refused> {
    let id = tenants.id();
    let known = || -> Result<_, Refused> {
        let seq = Head::read(&service.tables)?.seq;
        Ok(service.bound.known(id, seq, service.time.now().get()))
    };
    if let Some(bytes) = known()? {
        return Ok(bytes);
    }
    let turn = tokio::time::timeout(SNAPSHOT_WAIT, service.bound.turn.lock()).await;
    let _turn = turn.map_err(|_| {
        service.metrics.limits_hit.inc(&["snapshots_bound"]);
        RefusalCode::LimitReached
    })?;
    if let Some(bytes) = known()? {
        return Ok(bytes);
    }
    let (now, removal) = (service.time.now(), service.time.removal());
    let (tables, root, of) = (service.tables.clone(), Arc::clone(&service.root), tenants.clone());
    let made = tokio::task::spawn_blocking(move || {
        let head = Head::read(&tables)?;
        let bytes = snapshot::make_of(&tables, &head, &root, &of, now, removal)?;
        Ok::<_, Refused>(Made { tenants: id, seq: head.seq, at: now.get(), bytes: Arc::new(bytes) })
    });
    let made = made.await.map_err(|_| RefusalCode::Internal)??;
    let bytes = Arc::clone(&made.bytes);
    service.bound.keep(made);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_token::ids::TenantId;

    fn id(name: &str) -> TenantSetId {
        TenantSet::new([TenantId::parse(name).unwrap()]).unwrap().id()
    }

    fn made(name: &str, at: u64, bytes: usize) -> Made {
        Made { tenants: id(name), seq: 7, at, bytes: Arc::new(vec![0; bytes]) }
    }

    #[test]
    fn they_are_served_again_for_a_moment_to_the_same_tenants_alone() {
        let bound = BoundSnapshots::default();
        bound.keep(made("a", 100, 1));
        assert!(bound.known(id("a"), 7, 100).is_some());
        assert!(bound.known(id("b"), 7, 100).is_none());
        assert!(bound.known(id("a"), 8, 100).is_none());
        assert!(bound.known(id("a"), 7, 101 + SNAPSHOT_REUSE_SECONDS).is_none());
        assert!(bound.made.lock().is_empty());
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let bound = BoundSnapshots::default();
        for n in 0..SNAPSHOTS_BOUND + 3 {
            bound.keep(made(&format!("t{n}"), 100, 1));
        }
        assert_eq!(bound.made.lock().len(), SNAPSHOTS_BOUND);
        bound.keep(made("large", 100, SNAPSHOT_BYTES));
        assert_eq!(bound.made.lock().len(), 1);
        assert!(bound.known(id("large"), 7, 100).is_some());
    }
}
