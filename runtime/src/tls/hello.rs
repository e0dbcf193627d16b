//! How large the records may be that a client takes, as its ClientHello says (RFC 6066 section 4, RFC 8449).
//!
//! rustls reads neither extension, so the bytes of the ClientHello are looked at before it gets them. It cannot answer
//! them either; a client that gets no answer takes records of any size in theory, and in practice has the buffers that
//! it asked for. All of our records fit into them, those of the handshake too.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpStream;

use crate::limits::{TLS_HELLO_BYTES, TLS_HELLO_CHUNK};

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const MAX_FRAGMENT_LENGTH: u16 = 1;
const RECORD_SIZE_LIMIT: u16 = 28;
/// The largest record of all: a limit above it says nothing.
const LARGEST: usize = 1 << 14;
/// The least that RFC 8449 allows.
const LEAST: usize = 64;
/// The head of a record, which rustls counts too.
const RECORD_HEAD: usize = 5;

/// The first bytes of a client: its ClientHello, as far as it is looked at. The caller bounds the time.
///
/// # Errors
/// The client is gone.
pub async fn read(socket: &TcpStream) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    while look(&first) == Hello::NeedMore && first.len() < TLS_HELLO_BYTES {
        socket.readable().await?;
        first.reserve(TLS_HELLO_CHUNK);
        match socket.try_read_buf(&mut first) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(first)
}

/// The configuration with which our records are as small as the client asks.
pub fn with_records_for(first: &[u8], config: Arc<ServerConfig>) -> Arc<ServerConfig> {
    match look(first) {
        Hello::Asks(Some(most)) => {
            let mut own = (*config).clone();
            own.max_fragment_size = Some(most + RECORD_HEAD);
            Arc::new(own)
        }
        _ => config,
    }
}

/// The finding in the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hello {
    /// The ClientHello is not whole yet.
    NeedMore,
    /// Records of at most so many bytes of content are asked for, or nothing is.
    Asks(Option<usize>),
}

/// Looks at the first bytes. Bytes that are no ClientHello ask for nothing: rustls says what is wrong with them.
fn look(bytes: &[u8]) -> Hello {
    let mut rest = bytes;
    let mut message = Vec::new();
    loop {
        let Some((head, body)) = rest.split_first_chunk::<5>() else {
            let plausible = rest.first().is_none_or(|kind| *kind == HANDSHAKE);
            return if plausible { Hello::NeedMore } else { Hello::Asks(None) };
        };
        let [kind, _, _, high, low] = *head;
        if kind != HANDSHAKE {
            return Hello::Asks(None);
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let part = body.get(..length).unwrap_or(body);
        message.extend_from_slice(part);
        match whole(&message) {
            Some(hello) => return Hello::Asks(hello.and_then(asked)),
            None if part.len() < length => return Hello::NeedMore,
            None => rest = body.get(length..).unwrap_or_default(),
        }
    }
}

/// The body of a ClientHello; `None` while it is not whole, `Some(None)` when it is something else.
fn whole(message: &[u8]) -> Option<Option<&[u8]>> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Some(None);
    }
    let ([_, a, b, c], body) = message.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
    body.get(..length).map(Some)
}

fn asked(mut body: &[u8]) -> Option<usize> {
    // Version and random, session id, cipher suites, compression methods.
    take(&mut body, 34)?;
    for prefix in [1, 2, 1] {
        let length = number(&mut body, prefix)?;
        take(&mut body, length)?;
    }
    let length = number(&mut body, 2)?;
    let mut extensions = take(&mut body, length)?;
    let (mut fragment, mut record) = (None, None);
    while !extensions.is_empty() {
        let kind = number(&mut extensions, 2)?;
        let length = number(&mut extensions, 2)?;
        let value = take(&mut extensions, length)?;
        match (u16::try_from(kind).ok()?, value) {
            // 2^9 to 2^12.
            (MAX_FRAGMENT_LENGTH, [code @ 1..=4]) => fragment = Some(256 << *code),
            // It counts the byte of the content's type in TLS 1.3, and is the weaker of the two in TLS 1.2.
            (RECORD_SIZE_LIMIT, [high, low]) => {
                record = usize::from(u16::from_be_bytes([*high, *low])).checked_sub(1);
            }
            _ => {}
        }
    }
    // RFC 8449 section 5: it takes the place of the older one.
    record.or(fragment).filter(|most| (LEAST - 1..LARGEST).contains(most))
}

fn number(from: &mut &[u8], bytes: usize) -> Option<usize> {
    Some(take(from, bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

fn take<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello with these extensions, in records of at most so many bytes.
    fn hello(extensions: &[u8], record: usize) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        let mut message = vec![CLIENT_HELLO, 0];
        message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        message.extend(body);
        let records = message.chunks(record).map(|part| {
            let length = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[HANDSHAKE, 3, 1][..], &length, part].concat()
        });
        records.collect::<Vec<_>>().concat()
    }

    #[test]
    fn what_a_client_asks_for_is_found() {
        let fragment = |code| vec![0, 1, 0, 1, code];
        let limit = |limit: u16| [&[0, 28, 0, 2][..], &limit.to_be_bytes()].concat();
        let other = [0, 10, 0, 4, 0, 2, 0, 23];
        for (extensions, asked) in [
            (vec![], None),
            (other.to_vec(), None),
            (fragment(1), Some(512)),
            (fragment(4), Some(4096)),
            (fragment(0), None),
            (fragment(5), None),
            ([&other[..], &fragment(2)].concat(), Some(1024)),
            (limit(64), Some(63)),
            (limit(63), None),
            (limit(1), None),
            (limit(0), None),
            (limit(16_384), Some(16_383)),
            (limit(16_385), None),
            (limit(u16::MAX), None),
            ([fragment(1), limit(1_000)].concat(), Some(999)),
            (vec![0, 1, 0, 9, 1], None),
            (vec![0, 1, 0, 0], None),
        ] {
            for record in [1, 7, 16_384] {
                let whole = hello(&extensions, record);
                assert_eq!(look(&whole), Hello::Asks(asked), "{extensions:?} {record}");
                for length in 0..whole.len() {
                    assert_eq!(look(&whole[..length]), Hello::NeedMore, "{length}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_client_hello_asks_for_nothing() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], &[0x10], &[22, 3, 1, 0, 1, 2], &[21, 3, 1, 0, 2]]
        {
            assert_eq!(look(bytes), Hello::Asks(None), "{bytes:?}");
        }
        let mut cut = hello(&[0, 1, 0, 1, 1], 16_384);
        let last = cut.len() - 7;
        cut[last] = 0xff;
        assert_eq!(look(&cut), Hello::Asks(None));
    }
}
