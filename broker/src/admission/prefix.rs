use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::{IPV4_PREFIX_BITS, IPV6_PREFIX_BITS};

/// The network part of an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Prefix {
    /// The first 24 bits.
    V4(u32),
    /// The first 56 bits.
    V6(u64),
}

impl Prefix {
    /// The prefix of an address; an IPv4 address in IPv6 clothes counts as IPv4.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits() >> (32 - IPV4_PREFIX_BITS)),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                let network = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                Self::V6(network >> (64 - IPV6_PREFIX_BITS))
            }
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
                let address = Ipv6Addr::from_bits(u128::from(*bits) << (128 - IPV6_PREFIX_BITS));
                write!(f, "{address}/{IPV6_PREFIX_BITS}")
            }
        }
    }
}
