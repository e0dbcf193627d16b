//! State of each tenant behind a lock of its own: a subscribe that waits for a publish stops the publishers of its tenant,
//! and no others. The lock over all tenants is held to find one, and never while messages are delivered.

use hashbrown::HashMap;
use parking_lot::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use tessera_token::ids::TenantId;

/// A state that is dropped once it is empty.
pub(super) trait Empties: Default {
    fn is_empty(&self) -> bool;
}

/// One state for each tenant that has any.
pub(super) struct PerTenant<T> {
    all: RwLock<HashMap<TenantId, Arc<Slot<T>>>>,
}

#[derive(Default)]
struct Slot<T> {
    state: RwLock<T>,
    /// It was empty and leaves the map: a change begins again with a new one. Set under the write lock.
    retired: AtomicBool,
}

impl<T> Default for PerTenant<T> {
    fn default() -> Self {
        Self { all: RwLock::default() }
    }
}

impl<T: Empties> PerTenant<T> {
    /// Reads the state of a tenant, if it has any. Changes of the same tenant wait.
    pub(super) fn read<R>(&self, tenant: &TenantId, read: impl FnOnce(&T) -> R) -> Option<R> {
        let slot = self.all.read().get(tenant).cloned()?;
        let state = slot.state.read();
        // Only of a state in the map may a reader say that nothing came after it.
        (!slot.is_retired()).then(|| read(&state))
    }

    /// Changes the state of a tenant.
    pub(super) fn change<R>(&self, tenant: &TenantId, change: impl FnOnce(&mut T) -> R) -> R {
        loop {
            let slot = self.slot(tenant);
            let mut state = slot.state.write();
            if slot.is_retired() {
                continue;
            }
            let result = change(&mut state);
            if state.is_empty() {
                slot.retired.store(true, Ordering::Release);
                drop(state);
                self.forget(tenant, &slot);
            }
            return result;
        }
    }

    fn slot(&self, tenant: &TenantId) -> Arc<Slot<T>> {
        if let Some(slot) = self.all.read().get(tenant) {
            if !slot.is_retired() {
                return Arc::clone(slot);
            }
        }
        let mut all = self.all.write();
        let slot = all.entry(tenant.clone()).or_default();
        if slot.is_retired() {
            *slot = Arc::default();
        }
        Arc::clone(slot)
    }

    fn forget(&self, tenant: &TenantId, slot: &Arc<Slot<T>>) {
        let mut all = self.all.write();
        if all.get(tenant).is_some_and(|present| Arc::ptr_eq(present, slot)) {
            all.remove(tenant);
        }
    }
}

impl<T> Slot<T> {
    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::testing::tenant;
    use std::thread;

    impl Empties for Vec<u32> {
        fn is_empty(&self) -> bool {
            self.is_empty()
        }
    }

    #[test]
    fn a_reader_of_one_tenant_stops_no_other_tenant() {
        let all = PerTenant::<Vec<u32>>::default();
        let (one, two) = (tenant("one"), tenant("two"));
        all.change(&one, |state| state.push(1));
        let waits = |other: &thread::ScopedJoinHandle<'_, ()>| !other.is_finished();
        thread::scope(|scope| {
            let other = all.read(&one, |_| {
                // This change waits for the reader; those of another tenant do not, and no reader does.
                let other = scope.spawn(|| all.change(&one, |state| state.push(2)));
                for number in 0..1000 {
                    all.change(&two, |state| state.push(number));
                    all.change(&two, Vec::clear);
                }
                assert_eq!(all.read(&two, Vec::len), None);
                assert!(waits(&other));
                other
            });
            other.unwrap().join().unwrap();
        });
        assert_eq!(all.read(&one, Vec::clone), Some(vec![1, 2]));
    }

    #[test]
    fn a_state_that_was_dropped_takes_no_change() {
        let all = PerTenant::<Vec<u32>>::default();
        let one = tenant("one");
        thread::scope(|scope| {
            for thread in 0..4 {
                let (all, one) = (&all, &one);
                scope.spawn(move || {
                    for _ in 0..2000 {
                        all.change(one, |state| state.push(thread));
                        let own = all.change(one, |state| {
                            let place = state.iter().position(|number| *number == thread);
                            place.map(|place| state.swap_remove(place))
                        });
                        assert_eq!(own, Some(thread), "a change was lost");
                    }
                });
            }
        });
        assert_eq!(all.read(&one, Vec::len), None);
        assert!(all.all.read().is_empty());
    }
}
