//! Wakes the long polls of readers of some tenants: what happens to other tenants wakes none of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tessera_runtime::stop::Stop;
use tessera_token::ids::TenantId;
use tessera_token::trust::TenantSet;
use tokio::sync::Notify;

use crate::limits::{POLLERS_BOUND, POLLERS_OF_SHARE};

/// The readers that wait for news of each tenant, and how many of each share.
#[derive(Clone, Default)]
pub(crate) struct Bells(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    next: u64,
    of: HashMap<TenantId, Vec<(u64, Arc<Notify>)>>,
    shares: HashMap<String, usize>,
}

/// A reader that waits; forgotten when dropped.
pub(crate) struct Bell {
    number: u64,
    share: String,
    tenants: TenantSet,
    rings: Arc<Notify>,
    bells: Bells,
}

impl Bells {
    /// A place to wait for news of these tenants; `None` when the share has no more, or all are taken.
    pub(crate) fn listen(&self, share: &str, tenants: &TenantSet) -> Option<Bell> {
        let rings = Arc::new(Notify::new());
        let mut waiting = self.0.lock();
        let of_share = waiting.shares.get(share).copied().unwrap_or(0);
        let all: usize = waiting.shares.values().sum();
        if of_share >= POLLERS_OF_SHARE || all >= POLLERS_BOUND {
            return None;
        }
        *waiting.shares.entry(share.to_owned()).or_default() += 1;
        let number = waiting.next;
        waiting.next += 1;
        for tenant in tenants.iter() {
            waiting.of.entry(tenant.clone()).or_default().push((number, Arc::clone(&rings)));
        }
        let (share, tenants, bells) = (share.to_owned(), tenants.clone(), self.clone());
        Some(Bell { number, share, tenants, rings, bells })
    }

    /// Something happened to these tenants.
    pub(crate) fn ring(&self, tenants: &[TenantId]) {
        let waiting = self.0.lock();
        let of = |tenant| waiting.of.get(tenant).into_iter().flatten();
        tenants.iter().flat_map(of).for_each(|(_, rings)| rings.notify_one());
    }

    /// The line of the feed jumped.
    pub(crate) fn ring_all(&self) {
        let waiting = self.0.lock();
        waiting.of.values().flatten().for_each(|(_, rings)| rings.notify_one());
    }
}

impl Bell {
    /// Returns when something happened to the tenants since the bell is there, after `wait`, or when the service stops.
    pub(crate) async fn rung(&self, wait: Duration, stop: &Stop) {
        tokio::select! {
            () = self.rings.notified() => {}
            () = tokio::time::sleep(wait) => {}
            () = stop.stopping() => {}
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        let mut waiting = self.bells.0.lock();
        for tenant in self.tenants.iter() {
            let Some(of) = waiting.of.get_mut(tenant) else { continue };
            of.retain(|(number, _)| *number != self.number);
            if of.is_empty() {
                waiting.of.remove(tenant);
            }
        }
        if let Some(count) = waiting.shares.get_mut(&self.share) {
            *count -= 1;
            if *count == 0 {
                waiting.shares.remove(&self.share);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn set(names: &[&str]) -> TenantSet {
        TenantSet::new(names.iter().map(|name| tenant(name))).unwrap()
    }

    async fn is_rung(bell: &Bell) -> bool {
        let mut rung = std::pin::pin!(bell.rings.notified());
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(rung.as_mut().poll(context).is_ready())
        })
        .await
    }

    use std::future::Future;

    #[tokio::test]
    async fn news_of_a_tenant_wake_its_readers_and_no_others() {
        let bells = Bells::default();
        let one = bells.listen("one", &set(&["a", "b"])).unwrap();
        let two = bells.listen("two", &set(&["c"])).unwrap();
        bells.ring(&[tenant("b"), tenant("d")]);
        assert_eq!((is_rung(&one).await, is_rung(&two).await), (true, false));
        assert!(!is_rung(&one).await, "one ring wakes once");
        bells.ring_all();
        assert_eq!((is_rung(&one).await, is_rung(&two).await), (true, true));
        drop(one);
        bells.ring(&[tenant("a")]);
        drop(two);
        let waiting = bells.0.lock();
        assert!(waiting.of.is_empty() && waiting.shares.is_empty());
    }

    #[test]
    fn places_are_bounded_for_each_share_and_for_all() {
        let bells = Bells::default();
        let of = set(&["a"]);
        let first: Vec<_> =
            (0..POLLERS_OF_SHARE).map(|_| bells.listen("one", &of).unwrap()).collect();
        assert!(bells.listen("one", &of).is_none());
        let others = POLLERS_BOUND - first.len();
        let rest: Vec<_> =
            (0..others).map(|n| bells.listen(&format!("n{}", n % 64), &of).unwrap()).collect();
        assert!(bells.listen("more", &of).is_none());
        drop(first);
        assert!(bells.listen("one", &of).is_some());
        drop(rest);
    }
}
