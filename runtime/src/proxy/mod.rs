//! The address of a peer behind a balancer or a proxy that we trust: [`header`] reads the PROXY protocol in front of a
//! connection, [`forwarded`] the headers that HTTP proxies add. [`entrance`] is the way from a socket to HTTP. A peer
//! that is not trusted can name no address.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

pub mod entrance;
pub mod forwarded;
pub mod header;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::{ProxyError, ProxySettings, RawProxy};

/// Addresses that are trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source(IpNet);

impl Source {
    /// `address/bits`, or one address.
    pub fn parse(text: &str) -> Option<Self> {
        let net = match text.contains('/') {
            true => IpNet::from_str(text).ok()?,
            false => IpNet::from(IpAddr::from_str(text).ok()?.to_canonical()),
        };
        Some(Self(net.trunc()))
    }

    /// Whether this address is one of them; an IPv4 address in IPv6 clothes counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

/// Whether the address is one of a list.
pub fn trusted(sources: &[Source], address: IpAddr) -> bool {
    sources.iter().any(|source| source.contains(address))
}
