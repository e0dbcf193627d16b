//! The network of a peer.

use std::net::IpAddr;

/// Where a peer connects from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// An address.
    Address(IpAddr),
    /// A peer without an address, such as one on a Unix socket.
    Local,
}

impl Network {
    /// The network as a number that is never 0: the first 24 bits of an IPv4 address, the first 48 of an IPv6 address.
    pub fn prefix(self) -> u64 {
        match self {
            Self::Local => u64::MAX,
            Self::Address(address) => match address.to_canonical() {
                IpAddr::V4(address) => 1 << 48 | u64::from(address.to_bits() >> 8),
                IpAddr::V6(address) => {
                    u64::try_from(address.to_bits() >> 80).unwrap_or(0) | 1 << 49
                }
            },
        }
    }
}
