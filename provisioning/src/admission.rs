//! Admission: token buckets, so that no peer takes the share of others.
//!
//! A peer that proved a credential is charged to one bucket, a peer that showed none to another, a peer that showed a
//! wrong one to a third. Each bucket is of an address, so a flood of one kind refuses the same kind from the same
//! address alone. Requests that a broker relays are charged to the account of its feed token and to the device that
//! proved its key, not to the broker's address.
//!
//! A request that is refused by one bucket takes nothing from the next.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tessera_token::ids::TenantId;

use crate::limits::{AdmissionLimits, Rate, ADDRESSES, APPROVAL_ASKS, APPROVAL_ASKS_TOTAL};

/// An IPv4 address, or the /64 that one IPv6 host owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// The source of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A peer of its own.
    Peer(Peer),
    /// A broker that relays, by the name of its account.
    Relay(String),
    /// A broker that asks about claim codes of strangers, by the name of its account: nothing of the rates of what it relays is
    /// taken.
    Checks(String),
}

/// A claim code, by its tenant and its hash.
pub(crate) type Claim = (TenantId, [u8; 32]);

/// The token buckets of all kinds of requests.
pub(crate) struct Admission {
    proved: Shared<Peer>,
    anonymous: Shared<Peer>,
    wrong: Mutex<Buckets<Source>>,
    relayed: Mutex<Buckets<String>>,
    devices: Mutex<Buckets<String>>,
    /// Questions about claim codes, by the account that asks.
    checks: Mutex<Buckets<String>>,
    /// The same by the code, for those that are good.
    claims: Mutex<Buckets<Claim>>,
    approvals: Shared<Source>,
}

impl Admission {
    pub(crate) fn new(limits: AdmissionLimits) -> Self {
        Self {
            proved: Shared::new(limits.proved, limits.proved_total),
            anonymous: Shared::new(limits.anonymous, limits.anonymous_total),
            wrong: Buckets::shared(limits.wrong),
            relayed: Buckets::shared(limits.relayed),
            devices: Buckets::shared(limits.device),
            checks: Buckets::shared(limits.relayed),
            claims: Buckets::shared(limits.device),
            approvals: Shared::new(APPROVAL_ASKS, APPROVAL_ASKS_TOTAL),
        }
    }

    /// Charges a request for approval, which everyone may make.
    pub(crate) fn approval(&self, source: &Source, now: Duration) -> bool {
        self.approvals.take(source.clone(), now)
    }

    /// Whether a wrong credential of this source is still told what was wrong. A guess past it is not even looked at.
    pub(crate) fn may_guess(&self, source: &Source, now: Duration) -> bool {
        self.wrong.lock().bucket(source.clone(), now).holds_one()
    }

    /// Charges a request without a credential. `now` is monotonic, here and below.
    pub(crate) fn anonymous(&self, source: Source, now: Duration) -> bool {
        match source {
            Source::Peer(peer) => self.anonymous.take(peer, now),
            Source::Relay(account) => self.relayed.lock().take(account, now),
            Source::Checks(account) => self.checks.lock().take(account, now),
        }
    }

    /// Charges a wrong credential. Without room the peer is only not told what was wrong.
    pub(crate) fn wrong(&self, source: Source, now: Duration) -> bool {
        self.wrong.lock().take(source, now)
    }

    /// Charges a request of a device that has proved its key.
    pub(crate) fn proved(&self, source: &Source, device: &str, now: Duration) -> bool {
        let mut devices = self.devices.lock();
        let device = devices.bucket(device.to_owned(), now);
        // Asked first and charged last: a device in a loop takes nothing from others of its source, nor they from it.
        device.holds_one()
            && match source {
                Source::Peer(peer) => self.proved.take(*peer, now),
                Source::Relay(account) => self.relayed.lock().take(account.clone(), now),
                Source::Checks(account) => self.checks.lock().take(account.clone(), now),
            }
            && device.take()
    }

    /// Charges a question about a claim code that is good, to the account that asks and to the code: the device has proved
    /// nothing, so nothing of its own is taken.
    pub(crate) fn claim(&self, source: &Source, claim: Claim, now: Duration) -> bool {
        let mut claims = self.claims.lock();
        let claim = claims.bucket(claim, now);
        claim.holds_one() && self.anonymous(source.clone(), now) && claim.take()
    }
}

/// Buckets of addresses with one for all behind them.
struct Shared<K>(Mutex<(Buckets<K>, Bucket, Rate)>);

impl<K: Eq + Hash + Clone> Shared<K> {
    fn new(each: Rate, total: Rate) -> Self {
        Self(Mutex::new((Buckets::new(each), Bucket::full(total, Duration::ZERO), total)))
    }

    fn take(&self, key: K, now: Duration) -> bool {
        let (each, total, rate) = &mut *self.0.lock();
        total.refill(*rate, now);
        // A request that the common bucket refuses costs its address nothing either.
        total.holds_one() && each.take(key, now) && total.take()
    }
}

/// A bucket for each key. Past [`ADDRESSES`] those that are full are forgotten, then newcomers share one.
struct Buckets<K> {
    rate: Rate,
    of: HashMap<K, Bucket>,
    strangers: Bucket,
}

impl<K: Eq + Hash> Buckets<K> {
    fn new(rate: Rate) -> Self {
        Self { rate, of: HashMap::new(), strangers: Bucket::full(rate, Duration::ZERO) }
    }

    fn shared(rate: Rate) -> Mutex<Self> {
        Mutex::new(Self::new(rate))
    }

    fn take(&mut self, key: K, now: Duration) -> bool {
        self.bucket(key, now).take()
    }

    /// The bucket of a key as of now.
    fn bucket(&mut self, key: K, now: Duration) -> &mut Bucket {
        let rate = self.rate;
        if self.of.len() >= ADDRESSES && !self.of.contains_key(&key) {
            self.of.retain(|_, bucket| {
                bucket.refill(rate, now);
                !bucket.is_full(rate)
            });
        }
        let bucket = match self.of.len() < ADDRESSES || self.of.contains_key(&key) {
            true => self.of.entry(key).or_insert(Bucket::full(rate, now)),
            false => &mut self.strangers,
        };
        bucket.refill(rate, now);
        bucket
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Thousandths of a request.
    level: u64,
    at: Duration,
}

impl Bucket {
    fn full(rate: Rate, at: Duration) -> Self {
        Self { level: u64::from(rate.burst) * 1000, at }
    }

    fn refill(&mut self, rate: Rate, now: Duration) {
        let millis = now.saturating_sub(self.at).as_millis();
        let gained =
            u64::try_from(millis).unwrap_or(u64::MAX).saturating_mul(u64::from(rate.per_second));
        if gained > 0 {
            self.level = self.level.saturating_add(gained).min(u64::from(rate.burst) * 1000);
            self.at = now;
        }
    }

    fn is_full(&self, rate: Rate) -> bool {
        self.level >= u64::from(rate.burst) * 1000
    }

    fn holds_one(&self) -> bool {
        self.level >= 1000
    }

    fn take(&mut self) -> bool {
        let enough = self.holds_one();
        if enough {
            self.level -= 1000;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const SMALL: Rate = Rate { per_second: 2, burst: 3 };
    const LARGE: Rate = Rate { per_second: 1000, burst: 1_000_000 };

    fn limits() -> AdmissionLimits {
        AdmissionLimits {
            proved: SMALL,
            proved_total: LARGE,
            anonymous: SMALL,
            anonymous_total: LARGE,
            wrong: SMALL,
            relayed: Rate { per_second: 10, burst: 10 },
            device: LARGE,
        }
    }

    fn ip(n: u32) -> Source {
        Source::Peer(IpAddr::from(Ipv4Addr::from(n)).into())
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn an_address_has_its_own_rate() {
        let admission = Admission::new(limits());
        assert_eq!((0..5).filter(|_| admission.anonymous(ip(1), at(0))).count(), 3);
        assert!(admission.anonymous(ip(2), at(0)));
        assert!(admission.anonymous(ip(1), at(500)));
        assert!(!admission.anonymous(ip(1), at(500)));
    }

    #[test]
    fn kinds_do_not_share() {
        let admission = Admission::new(limits());
        let me = ip(1);
        assert_eq!((0..9).filter(|_| admission.anonymous(ip(1), at(0))).count(), 3);
        assert_eq!((0..9).filter(|_| admission.wrong(me.clone(), at(0))).count(), 3);
        assert_eq!((0..9).filter(|_| admission.proved(&me, "d", at(0))).count(), 3);
        let relay = Source::Relay("broker".to_owned());
        assert_eq!((0..20).filter(|_| admission.wrong(relay.clone(), at(0))).count(), 3);
        assert_eq!((0..20).filter(|_| admission.proved(&relay, "d", at(0))).count(), 10);
    }

    #[test]
    fn the_total_has_a_rate_and_a_refusal_takes_nothing() {
        let anonymous_total = Rate { per_second: 1, burst: 4 };
        let admission = Admission::new(AdmissionLimits { anonymous_total, ..limits() });
        // Refused by its own bucket, an address leaves the common one to others.
        assert_eq!((0..100).filter(|_| admission.anonymous(ip(1), at(0))).count(), 3);
        assert!(admission.anonymous(ip(2), at(0)));
        // Refused by the common bucket, an address keeps its own.
        assert_eq!((0..100).filter(|_| admission.anonymous(ip(3), at(0))).count(), 0);
        let later = (0..3).filter(|n| admission.anonymous(ip(3), at(1000 * (n + 1)))).count();
        assert_eq!(later, 3);
    }

    #[test]
    fn a_device_in_a_loop_takes_nothing_from_its_relay() {
        let device = Rate { per_second: 1, burst: 2 };
        let admission = Admission::new(AdmissionLimits { device, ..limits() });
        let relay = Source::Relay("broker".to_owned());
        assert_eq!((0..100).filter(|_| admission.proved(&relay, "loop", at(0))).count(), 2);
        let others = (0..8).filter(|n| admission.proved(&relay, &format!("d{n}"), at(0)));
        assert_eq!(others.count(), 8);
    }

    #[test]
    fn one_ipv6_host_is_one_peer() {
        let admission = Admission::new(limits());
        let host = |n: u16| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
        let asks = |address: IpAddr| admission.anonymous(Source::Peer(address.into()), at(0));
        assert_eq!((0..9).filter(|n| asks(host(*n))).count(), 3);
        let mapped = IpAddr::from(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
        assert!(asks(mapped));
    }

    #[test]
    fn many_addresses_do_not_grow_memory() {
        let admission = Admission::new(limits());
        let most = u32::try_from(ADDRESSES).unwrap();
        for n in 0..most + 100 {
            admission.anonymous(ip(n), at(0));
        }
        assert!(admission.anonymous.0.lock().0.of.len() <= ADDRESSES);
        assert!(!admission.anonymous(ip(most + 200), at(0)), "strangers share one bucket");
        assert!(admission.anonymous(ip(most + 300), at(60_000)), "idle addresses are forgotten");
    }
}
