//! The CONNECT of a local client: client id, user name and password are replaced, everything else stays.

use super::reader::{packet, put_field, put_number, Reader};

const CONNECT: u8 = 0x10;
const WILL: u8 = 0x04;
const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;

const AUTHENTICATION_METHOD: u8 = 0x15;
const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;

/// The version of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    V311,
    V5,
}

/// The fields of a CONNECT, but for user name and password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Connect {
    pub(super) version: Version,
    flags: u8,
    pub(super) keep_alive: u16,
    /// As they came, but for Topic Alias Maximum: an alias that the broker gives in a message for the proxy would be unknown
    /// to the client.
    properties: Vec<u8>,
    /// The client id that the client has for itself.
    pub(super) client_id: String,
    /// The will as it came: properties, topic, payload.
    will: Vec<u8>,
}

/// Why a packet is no CONNECT that can be passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotTaken {
    /// It is none.
    NoConnect,
    /// Its version is neither 3.1.1 nor 5.
    Version,
    /// It wants enhanced authentication, which the proxy does not pass on.
    Method,
}

impl Connect {
    /// Reads a packet.
    pub(super) fn parse(first: u8, body: &[u8]) -> Result<Self, NotTaken> {
        if first != CONNECT {
            return Err(NotTaken::NoConnect);
        }
        let mut rest = Reader(body);
        let name = rest.field().ok_or(NotTaken::NoConnect)?;
        let level = rest.byte().ok_or(NotTaken::NoConnect)?;
        let version = match (name, level) {
            (b"MQTT", 4) => Version::V311,
            (b"MQTT", 5) => Version::V5,
            (b"MQTT" | b"MQIsdp", _) => return Err(NotTaken::Version),
            _ => return Err(NotTaken::NoConnect),
        };
        let (connect, has_method) = Self::fields(version, rest).ok_or(NotTaken::NoConnect)?;
        match has_method {
            true => Err(NotTaken::Method),
            false => Ok(connect),
        }
    }

    /// The fields, and whether there is an Authentication Method.
    fn fields(version: Version, mut rest: Reader<'_>) -> Option<(Self, bool)> {
        let flags = rest.byte()?;
        let keep_alive = rest.two()?;
        let (properties, has_method) = match version {
            Version::V311 => (Vec::new(), false),
            Version::V5 => passed_on(rest.properties()?)?,
        };
        let client_id = std::str::from_utf8(rest.field()?).ok()?.to_owned();
        let will = match flags & WILL {
            0 => Vec::new(),
            _ => as_it_came(&mut rest, |rest| {
                if version == Version::V5 {
                    rest.properties()?;
                }
                rest.field()?;
                rest.field().map(drop)
            })?,
        };
        for flag in [USER_NAME, PASSWORD] {
            if flags & flag != 0 {
                rest.field()?;
            }
        }
        let connect = Self { version, flags, keep_alive, properties, client_id, will };
        rest.0.is_empty().then_some((connect, has_method))
    }

    /// The same CONNECT as this client of the broker.
    pub(super) fn signed(&self, client_id: &str, user_name: &str, password: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        put_field(b"MQTT", &mut body);
        body.push(if self.version == Version::V5 { 5 } else { 4 });
        body.push(self.flags | USER_NAME | PASSWORD);
        body.extend_from_slice(&self.keep_alive.to_be_bytes());
        body.extend_from_slice(&self.properties);
        put_field(client_id.as_bytes(), &mut body);
        body.extend_from_slice(&self.will);
        put_field(user_name.as_bytes(), &mut body);
        put_field(password, &mut body);
        packet(CONNECT, &body)
    }
}

/// The properties that go to the broker, behind their length, and whether an Authentication Method is among them.
fn passed_on(properties: &[u8]) -> Option<(Vec<u8>, bool)> {
    let (mut rest, mut kept, mut has_method) = (Reader(properties), Vec::new(), false);
    while !rest.0.is_empty() {
        let mut name = 0;
        let property = as_it_came(&mut rest, |rest| {
            name = rest.byte()?;
            match name {
                0x11 | 0x27 => rest.bytes(4).map(drop),
                0x21 | TOPIC_ALIAS_MAXIMUM => rest.two().map(drop),
                0x17 | 0x19 => rest.byte().map(drop),
                AUTHENTICATION_METHOD | 0x16 => rest.field().map(drop),
                0x26 => rest.field().and_then(|_| rest.field()).map(drop),
                _ => None,
            }
        })?;
        has_method |= name == AUTHENTICATION_METHOD;
        if name != TOPIC_ALIAS_MAXIMUM {
            kept.extend(property);
        }
    }
    let mut with_length = Vec::new();
    put_number(kept.len(), &mut with_length);
    with_length.extend(kept);
    Some((with_length, has_method))
}

/// The bytes that `read` reads.
fn as_it_came<'a>(
    rest: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Option<()>,
) -> Option<Vec<u8>> {
    let before = rest.0;
    read(rest)?;
    before.get(..before.len() - rest.0.len()).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MQTT 5, clean start, keep alive 60, a property, a will with properties (QoS 1, retained), user name and password.
    fn five() -> Vec<u8> {
        let mut body = b"\0\x04MQTT\x05\xee\0\x3c".to_vec();
        body.extend(b"\x05\x11\0\0\0\x0a");
        put_field(b"sensor", &mut body);
        body.extend(b"\x05\x18\0\0\0\x05");
        put_field(b"d/x/will", &mut body);
        put_field(b"gone", &mut body);
        put_field(b"ann", &mut body);
        put_field(b"secret", &mut body);
        body
    }

    fn old() -> Vec<u8> {
        let mut body = b"\0\x04MQTT\x04\x02\0\x0a".to_vec();
        put_field(b"", &mut body);
        body
    }

    fn parsed(bytes: &[u8]) -> Connect {
        let (head, start) = super::super::scanner::head(bytes).unwrap().unwrap();
        assert_eq!(bytes.len(), start + head.body);
        Connect::parse(head.first, &bytes[start..]).unwrap()
    }

    #[test]
    fn client_id_user_name_and_password_are_replaced_and_nothing_else() {
        for (body, version) in [(five(), Version::V5), (old(), Version::V311)] {
            let came = Connect::parse(CONNECT, &body).unwrap();
            assert_eq!(came.version, version);
            let sent = came.signed("d-17~2", "d-17", &[0, 1, 0xff]);
            let read = parsed(&sent);
            assert_eq!(read.client_id, "d-17~2");
            let same = Connect { client_id: came.client_id.clone(), flags: came.flags, ..read };
            assert_eq!(same, came);
            assert!(sent.ends_with(b"\0\x04d-17\0\x03\0\x01\xff"), "{sent:?}");
            assert!(!sent.windows(6).any(|part| part == b"secret"));
        }
        let came = Connect::parse(CONNECT, &five()).unwrap();
        assert_eq!((came.keep_alive, came.client_id.as_str()), (60, "sensor"));
        assert_eq!(came.signed("a", "b", b"c")[9], 0xee);
    }

    #[test]
    fn a_packet_that_is_cut_or_too_long_is_no_connect() {
        for whole in [five(), old()] {
            for length in 0..whole.len() {
                assert_eq!(
                    Connect::parse(CONNECT, &whole[..length]),
                    Err(NotTaken::NoConnect),
                    "{length}"
                );
            }
            let longer = [whole, vec![0]].concat();
            assert_eq!(Connect::parse(CONNECT, &longer), Err(NotTaken::NoConnect));
        }
        assert_eq!(Connect::parse(0x30, &five()), Err(NotTaken::NoConnect));
        assert_eq!(Connect::parse(CONNECT, b"GET / HTTP/1.1"), Err(NotTaken::NoConnect));
    }

    #[test]
    fn topic_aliases_are_not_asked_for_and_no_method_is_passed_on() {
        let with = |properties: &[u8]| {
            let mut body = b"\0\x04MQTT\x05\x02\0\x3c".to_vec();
            body.push(u8::try_from(properties.len()).unwrap());
            body.extend(properties);
            put_field(b"sensor", &mut body);
            Connect::parse(CONNECT, &body)
        };
        let aliases = with(b"\x21\0\x0a\x22\0\x10\x11\0\0\0\x05").unwrap();
        assert_eq!(aliases, with(b"\x21\0\x0a\x11\0\0\0\x05").unwrap());
        assert_eq!(with(b"\x15\0\x03ace"), Err(NotTaken::Method));
        for bad in [&b"\x01\x01"[..], b"\x22\0", b"\x26\0\x01a"] {
            assert_eq!(with(bad), Err(NotTaken::NoConnect), "{bad:?}");
        }
    }

    #[test]
    fn other_versions_are_named() {
        for other in [&b"\0\x06MQIsdp\x03\x02\0\0\0\0"[..], b"\0\x04MQTT\x84\x02\0\0\0\0"] {
            assert_eq!(Connect::parse(CONNECT, other), Err(NotTaken::Version));
        }
    }
}
