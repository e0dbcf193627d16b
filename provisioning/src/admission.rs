//! Admission before work: token buckets per address and in total for the endpoints that anybody may call.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::config::AdmissionLimits;
use crate::limits::ADDRESSES;

/// An IPv4 address, or the /64 that one IPv6 host owns. All strangers share [`Peer::Strangers`] once the map is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Peer {
    V4([u8; 4]),
    V6([u8; 8]),
    Strangers,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Thousandths of a request.
    level: u64,
    at: Duration,
}

/// Who may ask now.
pub(crate) struct Admission {
    limits: AdmissionLimits,
    state: Mutex<State>,
}

struct State {
    total: Bucket,
    peers: HashMap<Peer, Bucket>,
}

impl Admission {
    pub(crate) fn new(limits: AdmissionLimits) -> Self {
        let total = Bucket::full(limits.total_burst, Duration::ZERO);
        let state = State { total, peers: HashMap::new() };
        Self { limits, state: Mutex::new(state) }
    }

    /// Takes `cost` requests from the address's bucket and one from the common one. `now` is monotonic.
    pub(crate) fn admit(&self, address: IpAddr, cost: u32, now: Duration) -> bool {
        let limits = self.limits;
        let mut state = self.state.lock();
        let peer = state.room_for(peer(address), limits, now);
        let fresh = Bucket::full(limits.address_burst, now);
        let bucket = state.peers.entry(peer).or_insert(fresh);
        bucket.refill(limits.per_address, limits.address_burst, now);
        if !bucket.take(cost) {
            return false;
        }
        state.total.refill(limits.total, limits.total_burst, now);
        state.total.take(1)
    }
}

impl State {
    fn room_for(&mut self, peer: Peer, limits: AdmissionLimits, now: Duration) -> Peer {
        if self.peers.len() < ADDRESSES || self.peers.contains_key(&peer) {
            return peer;
        }
        self.peers.retain(|_, bucket| {
            bucket.refill(limits.per_address, limits.address_burst, now);
            bucket.level < u64::from(limits.address_burst) * 1000
        });
        match self.peers.len() < ADDRESSES {
            true => peer,
            false => Peer::Strangers,
        }
    }
}

impl Bucket {
    fn full(burst: u32, at: Duration) -> Self {
        Self { level: u64::from(burst) * 1000, at }
    }

    fn refill(&mut self, rate: u32, burst: u32, now: Duration) {
        let millis = now.saturating_sub(self.at).as_millis();
        let gained = u64::try_from(millis).unwrap_or(u64::MAX).saturating_mul(u64::from(rate));
        if gained > 0 {
            self.level = self.level.saturating_add(gained).min(u64::from(burst) * 1000);
            self.at = now;
        }
    }

    fn take(&mut self, cost: u32) -> bool {
        let cost = u64::from(cost) * 1000;
        let enough = self.level >= cost;
        self.level = self.level.saturating_sub(cost);
        enough
    }
}

fn peer(address: IpAddr) -> Peer {
    match address.to_canonical() {
        IpAddr::V4(address) => Peer::V4(address.octets()),
        IpAddr::V6(address) => {
            let octets = address.octets();
            octets.first_chunk().map_or(Peer::Strangers, |prefix| Peer::V6(*prefix))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const LIMITS: AdmissionLimits =
        AdmissionLimits { per_address: 2, address_burst: 3, total: 1000, total_burst: 1_000_000 };

    fn ip(n: u32) -> IpAddr {
        Ipv4Addr::from(n).into()
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn an_address_has_its_own_rate() {
        let admission = Admission::new(LIMITS);
        assert_eq!((0..5).filter(|_| admission.admit(ip(1), 1, at(0))).count(), 3);
        assert!(admission.admit(ip(2), 1, at(0)));
        assert!(admission.admit(ip(1), 1, at(500)));
        assert!(!admission.admit(ip(1), 1, at(500)));
    }

    #[test]
    fn the_total_has_a_rate() {
        let admission = Admission::new(AdmissionLimits { total_burst: 4, ..LIMITS });
        assert_eq!((0..10).filter(|n| admission.admit(ip(*n), 1, at(0))).count(), 4);
    }

    #[test]
    fn one_ipv6_host_is_one_peer() {
        let admission = Admission::new(LIMITS);
        let host = |n: u16| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
        assert_eq!((0..9).filter(|n| admission.admit(host(*n), 1, at(0))).count(), 3);
        let mapped = IpAddr::from(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
        assert!(admission.admit(mapped, 1, at(0)));
    }

    #[test]
    fn many_addresses_do_not_grow_memory() {
        let admission = Admission::new(LIMITS);
        let most = u32::try_from(ADDRESSES).unwrap();
        for n in 0..most + 100 {
            admission.admit(ip(n), 1, at(0));
        }
        assert!(admission.state.lock().peers.len() <= ADDRESSES + 1);
        assert!(!admission.admit(ip(most + 200), 1, at(0)), "strangers share one bucket");
        assert!(admission.admit(ip(most + 300), 1, at(60_000)), "idle addresses are forgotten");
    }
}
