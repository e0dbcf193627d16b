//! The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt section 2): a balancer that we trust says which
//! address the peer has. This file alone names `ppp`. Strict: TCP only, bounded, and nothing without it on a listener that
//! expects it.

use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::{PROXY_HEADER_BYTES, PROXY_LINE_BYTES};

/// Bytes of the shortest header of version 1, `PROXY UNKNOWN` and the end of the line. One of version 2 is longer.
const SHORTEST: usize = 15;
/// Bytes of version 2 before the addresses.
const HEAD: usize = 16;

/// Reads the header and nothing behind it, however its bytes arrive. `None` when it is no header that we take. `own` is the
/// balancer's address, which stands when the connection is the balancer's own (health checks) or it does not know.
/// The caller bounds the time.
pub async fn read<R: AsyncRead + Unpin>(socket: &mut R, own: SocketAddr) -> Option<SocketAddr> {
    let mut bytes = vec![0; SHORTEST];
    socket.read_exact(&mut bytes).await.ok()?;
    match bytes.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        true => {
            line(socket, &mut bytes).await?;
            of_line(&bytes, own)
        }
        false => {
            binary(socket, &mut bytes).await?;
            of_binary(&bytes, own)
        }
    }
}

/// The rest of a line: two bytes at a time are never too many, for it ends with two.
async fn line<R: AsyncRead + Unpin>(socket: &mut R, bytes: &mut Vec<u8>) -> Option<()> {
    while !bytes.ends_with(b"\r\n") {
        // An end of line that is not the last two bytes is no header, and nothing behind it is ours to read.
        let ended = bytes.split_last().is_some_and(|(_, before)| before.contains(&b'\r'));
        let more = if bytes.ends_with(b"\r") { 1 } else { 2 };
        if ended || bytes.len() + more > PROXY_LINE_BYTES {
            return None;
        }
        let read = bytes.len();
        bytes.resize(read + more, 0);
        socket.read_exact(bytes.get_mut(read..)?).await.ok()?;
    }
    Some(())
}

async fn binary<R: AsyncRead + Unpin>(socket: &mut R, bytes: &mut Vec<u8>) -> Option<()> {
    if !bytes.starts_with(v2::PROTOCOL_PREFIX) {
        return None;
    }
    bytes.push(socket.read_u8().await.ok()?);
    let [high, low] = *bytes.last_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > PROXY_HEADER_BYTES {
        return None;
    }
    bytes.resize(HEAD + length, 0);
    socket.read_exact(bytes.get_mut(HEAD..)?).await.ok()?;
    Some(())
}

fn of_line(bytes: &[u8], own: SocketAddr) -> Option<SocketAddr> {
    match v1::Header::try_from(bytes).ok()?.addresses {
        v1::Addresses::Unknown => Some(own),
        v1::Addresses::Tcp4(told) => Some((told.source_address, told.source_port).into()),
        v1::Addresses::Tcp6(told) => Some((told.source_address, told.source_port).into()),
    }
}

fn of_binary(bytes: &[u8], own: SocketAddr) -> Option<SocketAddr> {
    let header = v2::Header::try_from(bytes).ok()?;
    match (header.command, header.protocol, header.addresses) {
        (v2::Command::Local, _, _) => Some(own),
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv4(told)) => {
            Some((told.source_address, told.source_port).into())
        }
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv6(told)) => {
            Some((told.source_address, told.source_port).into())
        }
        _ => None,
    }
}
