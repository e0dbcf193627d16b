//! The CONNECT of a local client: client id, user name and password are replaced, everything else stays.

use tessera_broker::codec::{
    self, CodecError, Connect, Frame, Packet, Password, Peer, PropertyId, ReasonCode, Version,
};
use tessera_simulators::mqtt::BytesMut;

/// Why a packet is no CONNECT that can be passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotTaken {
    /// It is none, or breaks this rule of MQTT.
    NoConnect(&'static str),
    /// Its version is neither 3.1.1 nor 5.
    Version,
    /// It has neither a client id nor a clean session (MQTT 3.1.1 section 3.1.3.1).
    ClientId,
    /// It wants enhanced authentication, which the proxy does not pass on.
    Method,
}

/// Reads a packet. Topic Alias Maximum is taken out: an alias that the broker gives in a message for the proxy would be
/// unknown to the client.
pub(super) fn read(frame: &Frame) -> Result<Connect, NotTaken> {
    let mut connect = match codec::decode(frame, Version::V5, Peer::Client) {
        Ok(Packet::Connect(connect)) => *connect,
        Ok(_) => return Err(NotTaken::NoConnect("first_packet_not_connect")),
        Err(error) => {
            return Err(match error.reason {
                ReasonCode::UNSUPPORTED_VERSION => NotTaken::Version,
                ReasonCode::CLIENT_ID_NOT_VALID => NotTaken::ClientId,
                _ => NotTaken::NoConnect(error.rule),
            })
        }
    };
    if connect.properties.text(PropertyId::AuthMethod).is_some() {
        return Err(NotTaken::Method);
    }
    connect.properties = connect.properties.without(&[PropertyId::TopicAliasMaximum]);
    Ok(connect)
}

/// The same CONNECT as this client of the broker.
///
/// # Errors
/// The password is longer than a field of MQTT.
pub(super) fn signed(
    connect: &Connect,
    client_id: &str,
    user_name: &str,
    password: Vec<u8>,
) -> Result<BytesMut, CodecError> {
    let mut signed = connect.clone();
    signed.client_id = client_id.into();
    signed.user_name = Some(user_name.into());
    signed.password = Some(Password::new(password.into()));
    let mut out = BytesMut::new();
    let version = signed.version;
    codec::encode(&Packet::Connect(Box::new(signed)), version, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use tessera_broker::codec::{FrameReader, Step};

    use super::super::testing::{packet, put_field};
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

    fn read_packet(bytes: &[u8]) -> Result<Connect, NotTaken> {
        let Ok(Step::Frame(frame)) = FrameReader::new(70_000).next(&mut BytesMut::from(bytes))
        else {
            panic!("no packet");
        };
        read(&frame)
    }

    fn read_body(body: &[u8]) -> Result<Connect, NotTaken> {
        read_packet(&packet(0x10, body))
    }

    #[test]
    fn client_id_user_name_and_password_are_replaced_and_nothing_else() {
        for (body, version) in [(five(), Version::V5), (old(), Version::V311)] {
            let came = read_body(&body).ok().unwrap();
            assert_eq!(came.version, version);
            let sent = signed(&came, "d-17~2", "d-17", vec![0, 1, 0xff]).unwrap();
            let mut again = read_packet(&sent).ok().unwrap();
            assert_eq!(&*again.client_id, "d-17~2");
            assert!(sent.ends_with(b"\0\x04d-17\0\x03\0\x01\xff"), "{sent:?}");
            assert!(!sent.windows(6).any(|part| part == b"secret"));
            again.client_id = came.client_id.clone();
            (again.user_name, again.password) = (came.user_name.clone(), came.password.clone());
            assert!(again == came);
        }
        let came = read_body(&five()).ok().unwrap();
        assert_eq!((came.keep_alive, &*came.client_id), (60, "sensor"));
        assert_eq!(signed(&came, "a", "b", b"c".to_vec()).unwrap()[9], 0xee);
        assert!(signed(&came, "a", "b", vec![0; 65_536]).is_err());
    }

    #[test]
    fn a_packet_that_is_cut_or_too_long_is_no_connect() {
        for whole in [five(), old()] {
            for length in 0..whole.len() {
                assert!(read_body(&whole[..length]).is_err(), "{length}");
            }
            let longer = [whole, vec![0]].concat();
            assert!(matches!(read_body(&longer), Err(NotTaken::NoConnect(_))));
        }
        assert!(matches!(read_packet(&packet(0xc0, &[])), Err(NotTaken::NoConnect(_))));
    }

    #[test]
    fn topic_aliases_are_not_asked_for_and_no_method_is_passed_on() {
        let with = |properties: &[u8]| {
            let mut body = b"\0\x04MQTT\x05\x02\0\x3c".to_vec();
            body.push(u8::try_from(properties.len()).unwrap());
            body.extend(properties);
            put_field(b"sensor", &mut body);
            read_body(&body)
        };
        let aliases = with(b"\x21\0\x0a\x22\0\x10\x11\0\0\0\x05").ok().unwrap();
        assert!(aliases == with(b"\x21\0\x0a\x11\0\0\0\x05").ok().unwrap());
        assert_eq!(with(b"\x15\0\x03ace").err(), Some(NotTaken::Method));
        for bad in [&b"\x01\x01"[..], b"\x22\0", b"\x26\0\x01a"] {
            assert!(matches!(with(bad), Err(NotTaken::NoConnect(_))), "{bad:?}");
        }
    }

    #[test]
    fn other_versions_and_a_missing_client_id_are_named() {
        for other in [&b"\0\x06MQIsdp\x03\x02\0\0\0\0"[..], b"\0\x04MQTT\x84\x02\0\0\0\0"] {
            assert_eq!(read_body(other).err(), Some(NotTaken::Version));
        }
        assert_eq!(read_body(b"\0\x04MQTT\x04\0\0\x0a\0\0").err(), Some(NotTaken::ClientId));
    }
}
