//! The PROXY protocol, version 2 (haproxy.org, proxy-protocol.txt section 2.2): a balancer that we trust says who the
//! peer is. Strict: TCP only, bounded, and nothing without it on a listener that expects it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::PROXY_HEADER_BYTES;

const SIGNATURE: [u8; 12] =
    [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];

/// Addresses that may send the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    address: IpAddr,
    bits: u32,
}

impl Source {
    /// `address/bits`, or one address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    /// Whether this address is one of them; an IPv4 address in IPv6 clothes counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same(own.to_bits().into(), other.to_bits().into(), 32, self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                same(own.to_bits(), other.to_bits(), 128, self.bits)
            }
            _ => false,
        }
    }
}

fn same(one: u128, other: u128, width: u32, bits: u32) -> bool {
    (one ^ other).checked_shr(width - bits).unwrap_or(0) == 0
}

/// Reads the header and nothing behind it. `None` when it is no header that we take. `own` is the balancer's address,
/// which stands when the connection is the balancer's own (health checks).
pub(crate) async fn read<R: AsyncRead + Unpin>(
    socket: &mut R,
    own: SocketAddr,
) -> Option<SocketAddr> {
    let mut head = [0; 16];
    socket.read_exact(&mut head).await.ok()?;
    let [rest @ .., command, family, high, low] = head;
    if rest != SIGNATURE {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > PROXY_HEADER_BYTES {
        return None;
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    match (command, family) {
        (0x20, _) => Some(own),
        (0x21, 0x11) => {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *body.first_chunk::<12>()?;
            let port = u16::from_be_bytes([high, low]);
            Some((Ipv4Addr::new(a, b, c, d), port).into())
        }
        (0x21, 0x21) => {
            let address: [u8; 16] = *body.first_chunk::<16>()?;
            let [high, low] = *body.get(32..34)?.first_chunk::<2>()?;
            body.get(..36)?;
            Some((Ipv6Addr::from(address), u16::from_be_bytes([high, low])).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body, b"next"].concat()
    }

    async fn told(bytes: &[u8]) -> Option<String> {
        let mut input = bytes;
        let address = read(&mut input, OWN).await?;
        assert_eq!(input, b"next");
        Some(address.to_string())
    }

    #[tokio::test]
    async fn headers_are_taken_strictly() {
        let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 7, 91];
        assert_eq!(told(&header(0x21, 0x11, &v4)).await.as_deref(), Some("192.0.2.1:12345"));
        let with_tlv = [&v4[..], &[4, 0, 1, 0]].concat();
        assert_eq!(told(&header(0x21, 0x11, &with_tlv)).await.as_deref(), Some("192.0.2.1:12345"));
        let mut v6 = [0; 36];
        v6[15] = 1;
        v6[33] = 5;
        assert_eq!(told(&header(0x21, 0x21, &v6)).await.as_deref(), Some("[::1]:5"));
        assert_eq!(told(&header(0x20, 0x00, &[])).await.as_deref(), Some("127.0.0.1:9"));
        for wrong in [
            header(0x11, 0x11, &v4),
            header(0x22, 0x11, &v4),
            header(0x21, 0x12, &v4),
            header(0x21, 0x31, &[0; 216]),
            header(0x21, 0x11, &v4[..11]),
            header(0x21, 0x21, &v6[..35]),
            header(0x21, 0x11, &vec![0; PROXY_HEADER_BYTES + 1]),
            header(0x21, 0x11, &v4)[..20].to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(),
        ] {
            assert_eq!(told(&wrong).await, None);
        }
    }

    #[test]
    fn sources_are_prefixes() {
        let one = Source::parse("10.1.0.0/16").unwrap();
        assert!(one.contains("10.1.255.1".parse().unwrap()));
        assert!(one.contains("::ffff:10.1.0.1".parse().unwrap()));
        assert!(!one.contains("10.2.0.1".parse().unwrap()));
        assert!(!one.contains("::1".parse().unwrap()));
        assert!(Source::parse("0.0.0.0/0").unwrap().contains("8.8.8.8".parse().unwrap()));
        assert!(Source::parse("::/0").unwrap().contains("2001:db8::1".parse().unwrap()));
        assert!(!Source::parse("::1").unwrap().contains("::2".parse().unwrap()));
        for wrong in ["10.0.0.0/33", "::/129", "x/8", "10.0.0.0/", ""] {
            assert_eq!(Source::parse(wrong), None, "{wrong}");
        }
    }
}
