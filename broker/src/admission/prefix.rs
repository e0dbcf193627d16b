use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::Turned;
use crate::config::AdmissionLimits;
use crate::limits::{IPV4_PREFIX_BITS, IPV6_PREFIX_BITS};

/// The network part of an address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Prefix {
    /// The first 24 bits.
    V4(u32),
    /// The first 56 bits.
    V6(u128),
}

impl Prefix {
    /// The prefix of an address; an IPv4 address in IPv6 clothes counts as IPv4.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits() >> (32 - IPV4_PREFIX_BITS)),
            IpAddr::V6(v6) => Self::V6(v6.to_bits() >> (128 - IPV6_PREFIX_BITS)),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(bits) => {
                let address = Ipv4Addr::from_bits(bits << (32 - IPV4_PREFIX_BITS));
                write!(f, "{address}/{IPV4_PREFIX_BITS}")
            }
            Self::V6(bits) => {
                let address = Ipv6Addr::from_bits(bits << (128 - IPV6_PREFIX_BITS));
                write!(f, "{address}/{IPV6_PREFIX_BITS}")
            }
        }
    }
}

/// What one prefix uses: sockets, and a token bucket of connects.
pub(super) struct Usage {
    sockets: usize,
    half_open: usize,
    millitokens: u64,
    refilled: Duration,
}

impl Usage {
    pub(super) fn new(per_second: u32, now: Duration) -> Self {
        Self { sockets: 0, half_open: 0, millitokens: u64::from(per_second) * 1000, refilled: now }
    }

    pub(super) fn enter(&mut self, limits: &AdmissionLimits, now: Duration) -> Result<(), Turned> {
        self.refill(limits.connects_per_second, now);
        if self.sockets >= limits.sockets_per_prefix {
            return Err(Turned::PrefixSockets);
        }
        if self.half_open >= limits.half_open_per_prefix {
            return Err(Turned::PrefixHalfOpen);
        }
        self.millitokens = self.millitokens.checked_sub(1000).ok_or(Turned::PrefixRate)?;
        self.sockets += 1;
        self.half_open += 1;
        Ok(())
    }

    pub(super) fn connected(&mut self) {
        self.half_open = self.half_open.saturating_sub(1);
    }

    pub(super) fn closed(&mut self) {
        self.sockets = self.sockets.saturating_sub(1);
    }

    pub(super) fn in_use(&self) -> bool {
        self.sockets > 0
    }

    fn refill(&mut self, per_second: u32, now: Duration) {
        let passed = now.saturating_sub(self.refilled);
        let most = u64::from(per_second) * 1000;
        let gained = passed.as_millis().saturating_mul(u128::from(per_second));
        let gained = u64::try_from(gained).unwrap_or(u64::MAX);
        self.millitokens = self.millitokens.saturating_add(gained).min(most);
        self.refilled = now;
    }
}
