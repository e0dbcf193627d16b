//! The source of a request, as HTTP proxies name it: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! Both lists grow at their right end, so they are walked from there: while a hop is trusted, the entry that it added
//! is believed, and the first address that is not a trusted hop's is the peer's. An unreadable entry ends the walk at
//! the hop that sent it.

use std::net::{IpAddr, SocketAddr};

use super::{trusted, Source};
use crate::limits::FORWARDED_HOPS;

/// Which header counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Header {
    /// The one that is there. When both are and name different peers, neither counts.
    #[default]
    Either,
    /// `Forwarded` alone.
    Forwarded,
    /// `X-Forwarded-For` alone.
    XForwardedFor,
}

/// Why a header does not count, or not in full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ignored {
    /// It comes from a peer that is not trusted.
    Untrusted,
    /// The two headers name different peers.
    Disagree,
    /// An entry that a trusted hop has added cannot be read.
    Unreadable,
}

impl Ignored {
    /// In words, for the log.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Untrusted => {
                "Forwarded or X-Forwarded-For from a peer that is no trusted proxy counts for nothing: when it is yours, \
                 name it under proxy.trusted"
            }
            Self::Disagree => {
                "Forwarded and X-Forwarded-For of a trusted proxy name different peers, so its own address counts: say \
                 under proxy.header which one it sets"
            }
            Self::Unreadable => {
                "an entry of Forwarded or X-Forwarded-For by a trusted proxy cannot be read, so its own address counts"
            }
        }
    }
}

/// The outcome of the headers of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// The address that counts.
    pub address: IpAddr,
    /// The reason why a header does not count, if there is one.
    pub ignored: Option<Ignored>,
}

/// The address behind the trusted hops. `peer` is the other end of the connection; the values of each header come in
/// the order of the request.
pub fn resolve(
    peer: IpAddr,
    sources: &[Source],
    which: Header,
    forwarded: &[&[u8]],
    x_forwarded_for: &[&[u8]],
) -> Found {
    let peer = peer.to_canonical();
    let nothing = |ignored| Found { address: peer, ignored };
    if !trusted(sources, peer) {
        let has = !forwarded.is_empty() || !x_forwarded_for.is_empty();
        return nothing(has.then_some(Ignored::Untrusted));
    }
    let standard = || walk(peer, sources, forwarded, elements, of_element);
    let other = || walk(peer, sources, x_forwarded_for, entries, node);
    match which {
        Header::Forwarded => standard(),
        Header::XForwardedFor => other(),
        Header::Either if x_forwarded_for.is_empty() => standard(),
        Header::Either if forwarded.is_empty() => other(),
        Header::Either => match (standard(), other()) {
            (one, two) if one.address == two.address => one,
            _ => nothing(Some(Ignored::Disagree)),
        },
    }
}

fn walk(
    peer: IpAddr,
    sources: &[Source],
    values: &[&[u8]],
    split: impl Fn(&str) -> Option<Vec<&str>>,
    address: impl Fn(&str) -> Option<IpAddr>,
) -> Found {
    let mut at = peer;
    let mut hops = 0;
    for value in values.iter().rev() {
        // One line that cannot be taken apart is one entry that cannot be read.
        // Bytes that are no text spoil their own entry alone: a client cannot take the entries of proxies with it.
        let text = String::from_utf8_lossy(value);
        let entries = split(&text);
        let unreadable = Found { address: at, ignored: Some(Ignored::Unreadable) };
        let Some(entries) = entries else { return unreadable };
        for entry in entries.into_iter().rev() {
            hops += 1;
            if !trusted(sources, at) || hops > FORWARDED_HOPS {
                return Found { address: at, ignored: None };
            }
            match address(entry) {
                Some(address) => at = address.to_canonical(),
                None => return Found { address: at, ignored: Some(Ignored::Unreadable) },
            }
        }
        if !trusted(sources, at) {
            break;
        }
    }
    Found { address: at, ignored: None }
}

/// The entries of `X-Forwarded-For`.
fn entries(value: &str) -> Option<Vec<&str>> {
    Some(value.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect())
}

/// The elements of `Forwarded`; `None` when a quoted string does not end. So an open quote of a client cannot swallow what
/// a proxy has added behind it.
fn elements(value: &str) -> Option<Vec<&str>> {
    let parts = apart(value, ',')?;
    Some(parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect())
}

/// Splits where `at` stands outside of quoted strings.
fn apart(text: &str, at: char) -> Option<Vec<&str>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    let (mut quoted, mut escaped) = (false, false);
    for (index, one) in text.char_indices() {
        match one {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if one == at && !quoted => {
                let begun = text.len() - rest.len();
                parts.push(text.get(begun..index)?);
                rest = text.get(index + one.len_utf8()..)?;
            }
            _ => {}
        }
    }
    parts.push(rest);
    (!quoted).then_some(parts)
}

/// The node of the parameter `for`, which must be there once.
fn of_element(element: &str) -> Option<IpAddr> {
    let pairs = apart(element, ';')?;
    let named = |pair: &&str| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().to_owned())
    };
    let mut found = pairs.iter().filter_map(named);
    match (found.next(), found.next()) {
        (Some(value), None) => node(&unquoted(&value)?),
        _ => None,
    }
}

fn unquoted(value: &str) -> Option<String> {
    let Some(inside) = value.strip_prefix('"') else { return Some(value.to_owned()) };
    let inside = inside.strip_suffix('"')?;
    let (mut text, mut escaped) = (String::new(), false);
    for one in inside.chars() {
        match one {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return None,
            _ => {
                escaped = false;
                text.push(one);
            }
        }
    }
    (!escaped).then_some(text)
}

/// An address, with or without a port; `unknown` and obfuscated names are none.
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(place) = text.parse::<SocketAddr>() {
        return Some(place.ip());
    }
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    inside.parse().ok().map(IpAddr::V6)
}
