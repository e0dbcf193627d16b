use std::sync::Arc;

use tessera_runtime::metrics::{Counter, Metrics};
use tessera_token::ids::{DeviceId, TenantId};

use super::*;
use crate::limits::{SHARE_FREE, SHARE_STEP};

pub(crate) const FREE: Most = Most { device: usize::MAX, tenant: usize::MAX, all: usize::MAX };

/// Nothing is bounded.
pub(crate) const ALL_FREE: ShareLimits = ShareLimits {
    queued_bytes: FREE,
    subscriptions: FREE,
    links: FREE,
    logs: FREE,
    middle_logs: FREE,
    large_logs: FREE,
};

/// With these limits, and the counter of those that are hit.
pub(crate) fn shares_with(most: ShareLimits) -> (Shares, Counter) {
    let hits = Metrics::new().counter("hits", "hits", &["limit"]).unwrap();
    (Shares::new(most, hits.clone()), hits)
}

fn shares(queued_bytes: Most) -> (Shares, Counter) {
    shares_with(ShareLimits { queued_bytes, ..ALL_FREE })
}

/// The account of a device whose sessions may hold so many bytes.
pub(crate) fn account_with(queued_bytes: usize) -> Arc<Account> {
    let (shares, _) = shares(Most { device: queued_bytes, ..FREE });
    account(&shares, "acme", "d-1")
}

pub(crate) fn account(shares: &Shares, tenant: &str, device: &str) -> Arc<Account> {
    shares.account(&TenantId::parse(tenant).unwrap(), &DeviceId::parse(device).unwrap())
}

#[test]
fn each_level_refuses_alone_and_takes_nothing_then() {
    let (shares, hits) = shares(Most { device: 2, tenant: 3, all: 4 });
    let [a, b, c] = [("x", "a"), ("x", "b"), ("y", "c")].map(|(t, d)| account(&shares, t, d));
    assert!(a.take(Kind::QueuedBytes, 2) && !a.take(Kind::QueuedBytes, 1));
    assert_eq!(hits.value(&["queued_bytes_per_device"]), 1);
    assert!(b.take(Kind::QueuedBytes, 1) && !b.take(Kind::QueuedBytes, 1));
    assert_eq!(hits.value(&["queued_bytes_per_tenant"]), 1);
    assert!(c.take(Kind::QueuedBytes, 1) && !c.take(Kind::QueuedBytes, 1));
    assert_eq!(hits.value(&["queued_bytes_in_all"]), 1);
    assert_eq!(shares.held(Kind::QueuedBytes), 4);
    a.give_back(Kind::QueuedBytes, 1);
    assert!(b.take(Kind::QueuedBytes, 1));
}

#[test]
fn sessions_of_a_device_share_an_account_and_nothing_of_it_stays() {
    let (shares, _) = shares(Most { device: 9, tenant: 9, all: 9 });
    let (first, second) = (account(&shares, "x", "a"), account(&shares, "x", "a"));
    assert!(Arc::ptr_eq(&first, &second));
    let part = first.part(Kind::QueuedBytes, 5).unwrap();
    drop((first, second));
    assert_eq!((shares.0.devices.lock().len(), shares.held(Kind::QueuedBytes)), (1, 5));
    drop(part);
    assert_eq!((shares.0.devices.lock().len(), shares.0.tenants.lock().len()), (0, 0));
    assert_eq!(shares.held(Kind::QueuedBytes), 0);
}

#[test]
fn a_session_takes_steps_and_gives_all_back() {
    let most = 2 * SHARE_STEP;
    let (shares, hits) = shares(Most { device: most, tenant: most, all: most });
    let [one, two] = [(); 2].map(|()| Holding::of(Some(account(&shares, "x", "a"))));
    assert!(one.grow_queue(SHARE_FREE));
    assert_eq!(shares.held(Kind::QueuedBytes), 0, "a few waiting bytes count for no share");
    assert!(one.grow_queue(SHARE_FREE + 1));
    assert_eq!(shares.held(Kind::QueuedBytes), SHARE_STEP);
    // Bytes that left the queue and are under way count on.
    one.set_queue(0, SHARE_FREE + 1);
    assert!(!one.grow_queue(2 * SHARE_STEP));
    assert!(two.begin(SHARE_FREE + SHARE_STEP) && !two.begin(1));
    assert_eq!(hits.value(&["queued_bytes_per_device"]), 2);
    one.end(SHARE_FREE + 1);
    assert_eq!(shares.held(Kind::QueuedBytes), SHARE_STEP);
    // Bytes that a restart brings back are there, and new ones are refused.
    one.restore(3 * SHARE_STEP, 0);
    assert!(shares.held(Kind::QueuedBytes) > most && !one.begin(1 + SHARE_FREE));
    drop((one, two));
    assert_eq!(shares.held(Kind::QueuedBytes), 0);
}
