//! The share of each device in the tokens that are pushed, at all brokers together: a device that connects again and
//! again, or a broker that asks for it, gets no token after token.
//!
//! A device has a bucket of [`PUSHES_OF_DEVICE`], which is full again after one life of its tokens. The bucket outlives the
//! connections to brokers. A device without room asks for its token itself.

use hashbrown::hash_map::Entry;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tessera_token::ids::{DeviceId, TenantId};

use crate::limits::{PUSHES_OF_DEVICE, PUSH_SHARES};

/// The buckets of all devices. Times are milliseconds of a clock that never goes back.
pub(super) struct Shares(Mutex<Buckets>);

struct Buckets {
    of: HashMap<(TenantId, DeviceId), Bucket>,
    /// At so many of them those that are full are forgotten.
    look_at: usize,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// When it is full again.
    full: u64,
    /// Milliseconds for one push.
    each: u64,
}

/// As few buckets are not looked through.
const FEW: usize = 1024;

impl Default for Shares {
    fn default() -> Self {
        Self(Mutex::new(Buckets { of: HashMap::new(), look_at: FEW }))
    }
}

impl Shares {
    /// Takes one push of the device; false when it has none left. `life` is that of its tokens, as far as it is known, in
    /// milliseconds.
    pub(super) fn take(&self, tenant: &TenantId, device: &DeviceId, life: u64, now: u64) -> bool {
        let mut buckets = self.0.lock();
        if buckets.of.len() >= buckets.look_at {
            buckets.of.retain(|_, bucket| bucket.full > now);
            buckets.look_at = (2 * buckets.of.len()).clamp(FEW, PUSH_SHARES);
        }
        let is_full = buckets.of.len() >= PUSH_SHARES;
        match buckets.of.entry((tenant.clone(), device.clone())) {
            Entry::Occupied(mut bucket) => bucket.get_mut().take(now),
            // A device that is not counted gets none.
            Entry::Vacant(_) if is_full => false,
            Entry::Vacant(place) => place.insert(Bucket::new(life, now)).take(now),
        }
    }

    /// The device has got a token of this life: pushes come back to it at that rate.
    pub(super) fn learn(&self, tenant: &TenantId, device: &DeviceId, life: u64, now: u64) {
        let mut buckets = self.0.lock();
        if let Some(bucket) = buckets.of.get_mut(&(tenant.clone(), device.clone())) {
            let missing = bucket.full.saturating_sub(now);
            let next = Bucket::new(life, now);
            if next.each != bucket.each {
                // As many pushes are missing as before, a part of one for a whole one.
                let full = missing.div_ceil(bucket.each).saturating_mul(next.each);
                *bucket = Bucket { full: now.saturating_add(full), ..next };
            }
        }
    }
}

impl Bucket {
    fn new(life: u64, now: u64) -> Self {
        Self { full: now, each: (life / PUSHES_OF_DEVICE).max(1) }
    }

    fn take(&mut self, now: u64) -> bool {
        let full = self.full.max(now).saturating_add(self.each);
        let fits = full.saturating_sub(now) <= self.each.saturating_mul(PUSHES_OF_DEVICE);
        if fits {
            self.full = full;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn names(device: &str) -> (TenantId, DeviceId) {
        (TenantId::parse("acme").unwrap(), DeviceId::parse(device).unwrap())
    }

    #[test]
    fn a_device_has_its_share_in_a_life_and_takes_nothing_from_others() {
        let shares = Shares::default();
        let ((tenant, one), (_, other)) = (names("d-1"), names("d-2"));
        let taken =
            |device, now| (0..1000).filter(|_| shares.take(&tenant, device, HOUR, now)).count();
        let most = usize::try_from(PUSHES_OF_DEVICE).unwrap();
        assert_eq!(taken(&one, 0), most);
        assert_eq!(taken(&one, HOUR / 4), most / 4, "they come back over the life");
        assert_eq!(taken(&other, HOUR / 4), most);
        assert_eq!(taken(&one, 9 * HOUR), most, "and are no more later");
    }

    #[test]
    fn the_rate_is_that_of_the_life_of_its_tokens() {
        let shares = Shares::default();
        let (tenant, one) = names("d-1");
        let minute = HOUR / 60;
        let take = |life, now| {
            let took = shares.take(&tenant, &one, HOUR, now);
            shares.learn(&tenant, &one, life, now);
            took
        };
        let most = usize::try_from(PUSHES_OF_DEVICE).unwrap();
        assert_eq!((0..1000).filter(|_| take(minute, 0)).count(), most);
        assert_eq!((0..1000).filter(|_| take(minute, minute)).count(), most);
        assert_eq!((0..1000).filter(|_| take(HOUR, minute)).count(), 0, "they are not given back");
        // Time goes on while tokens are made.
        let taken = (0..1000).filter(|n| take(HOUR, 9 * HOUR + n)).count();
        assert_eq!(taken, most);
    }

    #[test]
    fn the_memory_is_that_of_devices_whose_share_is_not_full() {
        let shares = Shares::default();
        for n in 0..10 * FEW {
            let (tenant, device) = names(&format!("d-{n}"));
            // Each is full again before the next one comes.
            assert!(shares.take(&tenant, &device, HOUR, n as u64 * HOUR));
        }
        assert!(shares.0.lock().of.len() <= FEW);
    }
}
